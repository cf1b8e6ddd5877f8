//! Figures of the front door, in the Prometheus text format.

use std::sync::atomic::AtomicU64;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode_registry;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

const DURATION_BUCKETS_SECONDS: [f64; 15] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0];
const END: &str = "# EOF\n";

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    operation: &'static str,
    status: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OperationLabels {
    operation: &'static str,
}

/// The gateway's metrics.
pub(crate) struct Metrics {
    registry: Registry,
    requests: Family<RequestLabels, Counter>,
    durations: Family<OperationLabels, Histogram, fn() -> Histogram>,
    pub(crate) in_flight: Gauge,
    pub(crate) connections: Gauge,
    pub(crate) connections_refused: Counter,
    pub(crate) memory: Gauge,
    pub(crate) overloaded: Counter,
    received: Counter<u64, AtomicU64>,
    sent: Counter<u64, AtomicU64>,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        let durations: fn() -> Histogram = || Histogram::new(DURATION_BUCKETS_SECONDS);
        let mut metrics = Self {
            registry: Registry::default(),
            requests: Family::default(),
            durations: Family::new_with_constructor(durations),
            in_flight: Gauge::default(),
            connections: Gauge::default(),
            connections_refused: Counter::default(),
            memory: Gauge::default(),
            overloaded: Counter::default(),
            received: Counter::default(),
            sent: Counter::default(),
        };
        let registry = &mut metrics.registry;
        registry.register("karri_http_requests", "Requests by operation and status class", metrics.requests.clone());
        registry.register(
            "karri_http_request_duration_seconds",
            "Time from a request's head to the end of its answer",
            metrics.durations.clone(),
        );
        registry.register("karri_http_requests_in_flight", "Requests in work", metrics.in_flight.clone());
        registry.register("karri_http_connections", "Open connections", metrics.connections.clone());
        registry.register(
            "karri_http_connections_refused",
            "Connections closed because their address has its share",
            metrics.connections_refused.clone(),
        );
        registry.register("karri_http_memory_bytes", "Memory taken for bodies", metrics.memory.clone());
        registry.register("karri_http_overloaded", "Requests answered SlowDown", metrics.overloaded.clone());
        registry.register("karri_http_received_bytes", "Bytes of request bodies", metrics.received.clone());
        registry.register("karri_http_sent_bytes", "Bytes of response bodies", metrics.sent.clone());
        metrics
    }

    /// Counts a finished request.
    pub(crate) fn request(&self, operation: &'static str, status: u16, time: Duration, received: u64, sent: u64) {
        let status = match status {
            100..200 => "1xx",
            200..300 => "2xx",
            300..400 => "3xx",
            400..500 => "4xx",
            _ => "5xx",
        };
        self.requests.get_or_create(&RequestLabels { operation, status }).inc();
        self.durations.get_or_create(&OperationLabels { operation }).observe(time.as_secs_f64());
        self.received.inc_by(received);
        self.sent.inc_by(sent);
    }

    /// One page of `others` and the gateway's own metrics.
    pub(crate) fn page(&self, others: &str) -> String {
        let mut page = others.strip_suffix(END).unwrap_or(others).to_owned();
        if !page.is_empty() && !page.ends_with('\n') {
            page.push('\n');
        }
        // Writing to a String cannot fail.
        let _ = encode_registry(&mut page, &self.registry);
        page.push_str(END);
        page
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_joins_both_sets_and_ends_once() {
        let metrics = Metrics::new();
        metrics.request("PutObject", 200, Duration::from_millis(3), 4096, 0);
        let page = metrics.page("other_metric 1\n# EOF\n");
        assert!(page.starts_with("other_metric 1\n# HELP"));
        assert!(page.contains("karri_http_requests_total{operation=\"PutObject\",status=\"2xx\"} 1"), "{page}");
        assert!(page.contains("karri_http_received_bytes_total 4096"), "{page}");
        assert_eq!(page.matches("# EOF").count(), 1);
    }
}
