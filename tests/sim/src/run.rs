//! One run: the cluster is made, works under faults, is healed, must work again, and is checked.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use karri_objstore_service::{CreateBucketRequest, Owner, PutRequest, ServiceError, Versioning};

use crate::chance::Chance;
use crate::cluster::{Cluster, Pace};
use crate::history::SharedHistory;
use crate::host;
use crate::invariants;
use crate::mutant::Mutant;
use crate::report::{Faults, Report};
use crate::trouble::Trouble;
use crate::workload::{BUCKETS, Client};

/// From healing to an acknowledged write (I10).
pub(crate) const RECOVERY_MAX: Duration = Duration::from_secs(10);
/// Longest wait for clients to end what they do.
const CLIENTS_END: Duration = Duration::from_secs(30);

/// What buckets may do about versions, as often as it stands here.
const VERSIONING: [Versioning; 6] = [
    Versioning::Unversioned,
    Versioning::Unversioned,
    Versioning::Unversioned,
    Versioning::Enabled,
    Versioning::Enabled,
    Versioning::Suspended,
];

/// What a run is asked to do beside its seed.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// A planted fault.
    pub mutant: Option<Mutant>,
    /// Prints every event.
    pub print: bool,
}

/// What the seed decides about a run as a whole.
struct Plan {
    nodes: u64,
    pace: Pace,
    clients: u64,
    keys: u64,
    pause_ms: u64,
    safety: Duration,
    /// Of each bucket.
    versioning: [Versioning; BUCKETS.len()],
}

impl Plan {
    fn new(seed: u64) -> Self {
        let chance = Chance::new(seed, 3);
        Self {
            nodes: *chance.pick(&[3, 3, 3, 4, 5]),
            pace: *chance.pick(&[(100, (500, 1000)), (100, (600, 1200)), (150, (700, 1500)), (400, (2000, 4000))]),
            clients: 3 + chance.below(4),
            keys: 3 + chance.below(5),
            pause_ms: 50 + chance.below(400),
            safety: Duration::from_secs(12 + chance.below(12)),
            versioning: BUCKETS.map(|_| *chance.pick(&VERSIONING)),
        }
    }
}

/// Runs a seed. This thread's clock and randomness are simulated from then on.
///
/// # Errors
/// When the cluster could not be made. What the checks find is in the report.
pub fn run(seed: u64, options: &Options) -> Result<Report> {
    host::enter(seed);
    let plan = Plan::new(seed);
    let mut cluster = Cluster::new(seed, plan.pace);
    cluster.world.lock().print = options.print;
    cluster.found(plan.nodes).context("found the cluster")?;
    for (bucket, versioning) in BUCKETS.into_iter().zip(plan.versioning) {
        create_bucket(&mut cluster, bucket, versioning)?;
    }
    if let Some(mutant) = options.mutant {
        cluster.plant(mutant);
    }
    cluster.world.lock().faults = Faults::default();
    let history = SharedHistory::default();
    let mut trouble = Trouble::new(seed);
    let clients = Clients::begin(&cluster, &plan, seed, &history);
    let end = cluster.now() + plan.safety;
    while cluster.now() < end {
        trouble.tick(&mut cluster);
        cluster.step();
    }
    trouble.heal(&mut cluster);
    let mut violations = Vec::new();
    let recovery = recover(&mut cluster, &mut violations);
    clients.stop.store(true, Ordering::SeqCst);
    if !cluster.run_until(CLIENTS_END, |_| clients.left.load(Ordering::SeqCst) == 0) {
        violations.push("I10: a client still waits long after the cluster was healed".to_owned());
    }
    let found = invariants::check(&mut cluster, seed, plan.keys, &history, &mut violations);
    let report = {
        let (world, history) = (cluster.world.lock(), history.lock());
        Report {
            seed,
            nodes: plan.nodes,
            answered: history.answered,
            unknown: history.unknown,
            refused: history.refused,
            simulated_ms: cluster.now().as_millis() as u64,
            recovery_ms: recovery.as_millis() as u64,
            repair_ms: found.repaired.as_millis() as u64,
            unsettled: found.unsettled,
            faults: world.faults,
            checked: world.checked,
            trace: world.trace(),
            violations,
        }
    };
    // The process ends now, and nobody looks at its disks again.
    std::mem::forget(cluster);
    Ok(report)
}

struct Clients {
    stop: Arc<AtomicBool>,
    left: Arc<AtomicUsize>,
}

impl Clients {
    fn begin(cluster: &Cluster, plan: &Plan, seed: u64, history: &SharedHistory) -> Self {
        let all = Self { stop: Arc::default(), left: Arc::new(AtomicUsize::new(plan.clients as usize)) };
        for number in 0..plan.clients {
            let client = new_client(cluster, number, seed, history, (plan.keys, plan.pause_ms), &all.stop);
            let left = all.left.clone();
            cluster.spawn_client(async move {
                client.run().await;
                left.fetch_sub(1, Ordering::SeqCst);
            });
        }
        all
    }
}

/// A client of a cluster.
pub(crate) fn new_client(
    cluster: &Cluster,
    number: u64,
    seed: u64,
    history: &SharedHistory,
    (keys, pause_ms): (u64, u64),
    stop: &Arc<AtomicBool>,
) -> Client {
    Client {
        number,
        chance: Chance::new(seed, 100 + number),
        doors: cluster.doors.clone(),
        world: cluster.world.clone(),
        history: history.clone(),
        stop: stop.clone(),
        keys,
        pause_ms,
    }
}

fn create_bucket(cluster: &mut Cluster, name: &'static str, versioning: Versioning) -> Result<()> {
    let owner = Owner { account_id: "1".into(), user_id: "1".into(), display_name: "1".into() };
    let request = CreateBucketRequest {
        name: name.into(),
        owner,
        region: "us-east-1".into(),
        object_lock: false,
        documents: Default::default(),
    };
    let node = *cluster.running().first().context("a node")?;
    let made = cluster.ask_node(node, Duration::from_secs(30), move |parts| async move {
        parts.service.create_bucket(request).await?;
        if versioning == Versioning::Unversioned {
            Ok(())
        } else {
            parts.service.set_versioning(name, versioning).await
        }
    });
    match made {
        Some(Ok(())) => Ok(()),
        other => bail!("no bucket {name}: {other:?}"),
    }
}

/// I10: waits until every node acknowledges a write, and says how long that took.
fn recover(cluster: &mut Cluster, violations: &mut Vec<String>) -> Duration {
    let healed = cluster.now();
    let limit = RECOVERY_MAX + Duration::from_secs(50);
    let up = cluster.run_until(limit, |cluster| cluster.doors.lock().len() == cluster.running().len());
    if !up {
        violations.push(format!("I10: nodes do not come up again: {:?}", cluster.failures()));
    }
    for node in cluster.running() {
        let left = (healed + limit).saturating_sub(cluster.now());
        let acknowledged = cluster.ask_node(node, left, move |parts| async move {
            loop {
                let request =
                    PutRequest { bucket: BUCKETS[0].into(), key: format!("probe-{node}"), ..PutRequest::default() };
                match parts.service.put_object(request, &mut Some("probe".into())).await {
                    Ok(_) => return Ok(()),
                    // A node looks now and then whether its disk has room again.
                    Err(ServiceError::Unavailable | ServiceError::DiskFull) => {
                        tokio::time::sleep(Duration::from_millis(10)).await;
                    }
                    Err(error) => return Err(error.to_string()),
                }
            }
        });
        if acknowledged != Some(Ok(())) {
            violations.push(format!("I10: node {node} acknowledges nothing after healing: {acknowledged:?}"));
        }
    }
    let took = cluster.now() - healed;
    if took > RECOVERY_MAX {
        violations.push(format!("I10: {took:?} from healing to a write acknowledged by each node"));
    }
    took
}
