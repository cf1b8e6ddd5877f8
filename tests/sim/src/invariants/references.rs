//! I7: after healing references equal a recount, nothing names an extent that is not there, and every extent has all its
//! copies, each with all its bytes. What `karri fsck --deep` does, until it finds nothing more.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use karri_objstore_maintain::FsckOptions;
use karri_objstore_service::{Fault, FaultKind, InspectCursor, Inspection, ServiceError};
use karri_ring_types::NodeId;

use crate::cluster::Cluster;
use crate::process::{ORPHAN_AGE, Parts};
use crate::report::Checked;

/// Longest time from healing until nothing is wrong.
const REPAIR_MAX: Duration = Duration::from_secs(90);
/// Longest wait for one look at everything.
const LOOK: Duration = Duration::from_secs(30);
/// Between two looks.
const PAUSE: Duration = Duration::from_millis(1500);
/// Faults that are told.
const TOLD: usize = 5;

/// Looks at everything until nothing is wrong; says how long that took.
pub(crate) fn recount(cluster: &mut Cluster, violations: &mut Vec<String>) -> Duration {
    let begin = cluster.now();
    let mut faults = vec!["no node could look".to_owned()];
    while cluster.now() < begin + REPAIR_MAX {
        let gone = cluster.gone.clone();
        let Some(&node) = cluster.up().first() else { break };
        let looked = cluster.ask_node(node, LOOK, move |parts| async move { look(&parts, &gone).await });
        match looked {
            Some(Ok((checked, found))) if found.is_empty() => {
                cluster.world.lock().checked.add(&checked);
                return cluster.now() - begin;
            }
            Some(Ok((_, found))) => {
                faults = found.iter().map(|fault| format!("{}: {}", fault.place, fault.text)).collect();
            }
            Some(Err(error)) => faults = vec![format!("a look failed: {error}: {}", cluster.told())],
            None => faults = vec![format!("a look never ended: {}", cluster.told())],
        }
        cluster.run_until(PAUSE, |_| false);
    }
    let more = faults.len().saturating_sub(TOLD);
    faults.truncate(TOLD);
    violations.push(format!("I7: {REPAIR_MAX:?} after healing: {}; {more} more", faults.join("; ")));
    cluster.now() - begin
}

/// What spans pages.
#[derive(Default)]
struct Look {
    checked: Checked,
    faults: Vec<Fault>,
    /// Holdings that nobody was seen to use yet.
    holdings: BTreeMap<Vec<u8>, String>,
}

impl Look {
    fn add(&mut self, page: Inspection) {
        self.checked.rows += page.rows;
        self.faults.extend(page.faults);
        self.holdings.extend(page.holdings.into_iter().map(|holding| (holding.row, holding.place)));
        for row in page.loans.iter().map(|loan| &loan.row).chain(&page.returned) {
            self.holdings.remove(row);
        }
    }
}

async fn look(parts: &Arc<Parts>, gone: &BTreeSet<NodeId>) -> Result<(Checked, Vec<Fault>), ServiceError> {
    let pending_ms = u64::try_from(ORPHAN_AGE.as_millis()).unwrap_or(u64::MAX);
    let options = FsckOptions { deep: true, repair: false, pending_ms };
    let mut look = Look::default();
    let mut cursor = Some(InspectCursor::default());
    while let Some(at) = cursor.take() {
        let page = parts.fsck.metadata(&at, options).await?;
        look.checked.extents += page.extents;
        look.checked.copies += page.copies;
        cursor = page.inspection.next.clone();
        look.add(page.inspection);
    }
    for (_, place) in std::mem::take(&mut look.holdings) {
        let text = "a holding that nobody uses".to_owned();
        look.faults.push(Fault { kind: FaultKind::References, place, text });
    }
    for node in parts.fsck.nodes().into_iter().filter(|node| !gone.contains(node)) {
        let mut after = None;
        loop {
            let page = parts.fsck.held(node, after, options).await?;
            look.faults.extend(page.faults);
            after = page.next;
            if after.is_none() {
                break;
            }
        }
    }
    // Nobody brings back what was on a disk that is lost; who has its places now has copies.
    let of_gone = |fault: &Fault| {
        fault.kind == FaultKind::Copy && gone.iter().any(|node| fault.text.starts_with(&format!("node {node} ")))
    };
    look.faults.retain(|fault| !of_gone(fault));
    Ok((look.checked, look.faults))
}
