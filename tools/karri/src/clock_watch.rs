//! Looks at the machine's clock: whether it jumps, and how far it is from those of the other nodes.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use karri_ring_rpc::{Lane, Request, Transport};
use karri_ring_types::{Clock, NodeId};
use tokio_util::sync::CancellationToken;

use crate::status::{PROBE, Probe};

const INTERVAL: Duration = Duration::from_secs(5);
const DEADLINE: Duration = Duration::from_secs(2);
/// A difference from which on something is said; commands of nodes that differ by five minutes are refused.
const SKEW_MS_MAX: i64 = 2_000;

/// How far the clocks of other nodes were away at last.
#[derive(Debug, Default)]
pub(crate) struct ClockWatch {
    skew_ms: AtomicU64,
}

impl ClockWatch {
    /// The largest difference to another node.
    pub(crate) fn skew_ms(&self) -> u64 {
        self.skew_ms.load(Ordering::Relaxed)
    }

    /// Looks until `shutdown`. `nodes` are the members.
    pub(crate) async fn run(
        self: Arc<Self>,
        clock: Arc<dyn Clock>,
        transport: Arc<dyn Transport>,
        nodes: impl Fn() -> Vec<NodeId> + Send + Sync + 'static,
        shutdown: CancellationToken,
    ) {
        let look = async {
            let mut said = false;
            let mut before = offset(&*clock);
            loop {
                tokio::time::sleep(INTERVAL).await;
                let now = offset(&*clock);
                if (now - before).abs() > SKEW_MS_MAX {
                    tracing::warn!(by_ms = now - before, "this machine's clock jumped");
                }
                before = now;
                let others = nodes().into_iter().filter(|&node| node != transport.local());
                let mut found: Option<(NodeId, i64)> = None;
                for node in others {
                    let Some(ahead_ms) = ahead(&*clock, &*transport, node).await else { continue };
                    if found.is_none_or(|(_, most)| ahead_ms.abs() > most.abs()) {
                        found = Some((node, ahead_ms));
                    }
                }
                self.skew_ms.store(found.map_or(0, |(_, ahead_ms)| ahead_ms.unsigned_abs()), Ordering::Relaxed);
                let far = found.filter(|(_, ahead_ms)| ahead_ms.abs() > SKEW_MS_MAX);
                match far {
                    Some((node, ahead_ms)) if !said => tracing::warn!(
                        %node, ahead_ms,
                        "the clocks of this node and another differ: see to their time service; from five minutes on \
                         writes are refused"
                    ),
                    None if said => tracing::info!("the clocks of the nodes agree again"),
                    _ => {}
                }
                said = far.is_some();
            }
        };
        shutdown.run_until_cancelled(look).await;
    }
}

/// Wall-clock time against the monotonic one, in milliseconds: it changes when the clock is set.
fn offset(clock: &dyn Clock) -> i64 {
    let millis = |value: u128| i64::try_from(value).unwrap_or(i64::MAX);
    millis(clock.now().as_millis().into()) - millis(clock.monotonic().as_millis())
}

/// By how much another node's clock is ahead; `None` when it does not say.
async fn ahead(clock: &dyn Clock, transport: &dyn Transport, node: NodeId) -> Option<i64> {
    let start = clock.monotonic();
    let response = transport.call(node, Lane::Control, PROBE, Request::default(), DEADLINE).await.ok()?;
    let half_ms = (clock.monotonic().saturating_sub(start)).as_millis() / 2;
    let probe: Probe = serde_json::from_slice(&response.body).ok()?;
    let theirs = i64::try_from(u128::from(probe.now_ms) + half_ms).ok()?;
    Some(theirs - i64::try_from(clock.now().as_millis()).ok()?)
}
