//! The pages below `/-/`.

use std::fmt::Write as _;
use std::sync::Arc;

use karri_iam_service::View;
use karri_objstore_gateway::AdminPages;
use karri_objstore_s3::S3;

use crate::status::StatusSources;

/// Health and metrics.
pub(crate) struct Admin {
    sources: Arc<StatusSources>,
    identities: Arc<View>,
    s3: Arc<S3>,
}

impl Admin {
    pub(crate) fn new(sources: Arc<StatusSources>, identities: Arc<View>, s3: Arc<S3>) -> Self {
        Self { sources, identities, s3 }
    }
}

impl AdminPages for Admin {
    fn live(&self) -> bool {
        true
    }

    /// The layout and the identities are known, this node is in the layout, and every range here has a leader.
    fn ready(&self) -> bool {
        let layout = self.sources.membership.layout();
        let local = self.sources.membership.local();
        self.identities.is_loaded()
            && layout.nodes.iter().any(|node| node.id == local)
            && self.sources.meta.status().iter().all(|range| range.leader.is_some())
    }

    fn metrics(&self) -> String {
        let mut page = String::new();
        let usage = self.sources.storage.usage();
        let log = self.sources.raft.log_stats();
        let gauges = [
            ("karri_extents", "Sealed extents on this node.", usage.extents),
            ("karri_extent_bytes", "Bytes of the sealed extents on this node.", usage.bytes),
            ("karri_disk_free_bytes", "Free bytes of the data folder's file system.", usage.free_bytes),
            ("karri_layout_epoch", "Epoch of the layout.", self.sources.membership.layout().epoch.0),
            (
                "karri_scrub_finished_seconds",
                "When the scrub of this node last came to its end, since 1970.",
                self.sources.storage.scrub_finished().map_or(0, |at| at.as_secs()),
            ),
            (
                "karri_clock_skew_milliseconds",
                "Largest difference to the clock of another node.",
                self.sources.clock_watch.skew_ms(),
            ),
            ("karri_ranges_led", "Metadata ranges led by this node.", self.sources.meta.led_ranges().len() as u64),
        ];
        let logs = self.s3.access_log_counts();
        let counters = [
            ("karri_access_log_records_delivered_total", "Records of buckets' access logs written.", logs.delivered),
            ("karri_access_log_records_lost_total", "Records of buckets' access logs given up.", logs.lost),
            ("karri_raft_log_syncs_total", "Syncs of the Raft log.", log.syncs),
            ("karri_raft_log_entries_total", "Entries written to the Raft log.", log.entries),
            ("karri_raft_log_bytes_total", "Bytes of entries written to the Raft log.", log.bytes),
        ];
        for (name, help, value) in gauges {
            metric(&mut page, name, help, "gauge", value);
        }
        for (name, help, value) in counters {
            metric(&mut page, name, help, "counter", value);
        }
        for (name, help, value) in self.sources.storage.counters().each() {
            metric(&mut page, &format!("karri_extent_{name}_total"), help, "counter", value);
        }
        for (name, help, value) in self.sources.maintenance.counters().each() {
            metric(&mut page, &format!("karri_maintain_{name}_total"), help, "counter", value);
        }
        page
    }
}

fn metric(page: &mut String, name: &str, help: &str, kind: &str, value: u64) {
    // Writing to a string does not fail.
    let _ = writeln!(page, "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}");
}
