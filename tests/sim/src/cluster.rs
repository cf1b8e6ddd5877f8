//! The nodes and the clients of a run, moved forward together.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, bail};
use karri_ring_node::join::{Credentials, join_by};
use karri_ring_rpc::{Caller, RpcError};
use karri_ring_types::{ClusterId, NodeId, SeededRng};
use parking_lot::Mutex;
use tokio::runtime::Handle;

use crate::chance::Chance;
use crate::host;
use crate::invariants::raft::Leaders;
use crate::process::{Parts, Process, Site, Stepped, node_of};
use crate::world::{SharedWorld, World, deliver};

/// The step of all clocks.
const STEP: Duration = Duration::from_millis(1);
/// Each how many steps the Raft groups are looked at.
const LOOK_STEPS: u64 = 10;
/// Longest wait for the cluster to be made.
const SETUP: Duration = Duration::from_secs(120);

/// Heartbeat, and shortest and longest election.
pub(crate) type Pace = (u64, (u64, u64));

/// The nodes that clients can reach.
pub(crate) type Doors = Arc<Mutex<BTreeMap<NodeId, (Handle, Arc<Parts>)>>>;

/// See the module.
pub(crate) struct Cluster {
    pub(crate) world: SharedWorld,
    pub(crate) sites: BTreeMap<NodeId, Site>,
    pub(crate) doors: Doors,
    pub(crate) leaders: Leaders,
    processes: BTreeMap<NodeId, Process>,
    clients: Stepped,
    pace: Pace,
    seed: u64,
    runs: u64,
    steps: u64,
    now: Duration,
}

impl Cluster {
    /// A cluster without nodes.
    pub(crate) fn new(seed: u64, pace: Pace) -> Self {
        host::set_time(Duration::ZERO);
        let world = Arc::new(Mutex::new(World::new(Chance::new(seed, 1))));
        crate::process::simulate_disks(&world);
        Self {
            world,
            sites: BTreeMap::new(),
            doors: Doors::default(),
            leaders: Leaders::default(),
            processes: BTreeMap::new(),
            clients: Stepped::new(),
            pace,
            seed,
            runs: 0,
            steps: 0,
            now: Duration::ZERO,
        }
    }

    pub(crate) fn now(&self) -> Duration {
        self.now
    }

    /// Makes a cluster of `nodes`, each in its zone, and waits until all hold ranges and extents.
    pub(crate) fn found(&mut self, nodes: u64) -> Result<()> {
        let rng = SeededRng::new(self.seed);
        let first = Credentials::first(ClusterId(u128::from(self.seed)), &rng)?;
        self.admit(first, true);
        self.wait_up()?;
        for _ in 1..nodes {
            self.join()?;
        }
        self.wait_placed(nodes as usize)
    }

    /// Adds a node by a token of one that is up.
    pub(crate) fn join(&mut self) -> Result<NodeId> {
        let outcome: Arc<Mutex<Option<Result<Credentials>>>> = Arc::default();
        let (told, doors, seed) = (outcome.clone(), self.doors.clone(), self.seed ^ self.now.as_millis() as u64);
        self.clients.spawn(async move { *told.lock() = Some(join(&doors, seed).await) });
        if !self.run_until(SETUP, |_| outcome.lock().is_some()) {
            bail!("no node could join");
        }
        let credentials = outcome.lock().take().expect("it was there")?;
        let node = credentials.identity().node;
        self.admit(credentials, false);
        self.wait_up()?;
        Ok(node)
    }

    fn admit(&mut self, credentials: Credentials, first: bool) {
        let node = credentials.identity().node;
        let site = Site::new(credentials, self.pace, self.seed ^ node.0);
        self.sites.insert(node, site);
        self.start(node, first);
    }

    fn wait_up(&mut self) -> Result<()> {
        if !self.run_until(SETUP, |cluster| cluster.doors.lock().len() == cluster.processes.len()) {
            bail!("a node does not come up: {:?}", self.failures());
        }
        Ok(())
    }

    /// Waits until the layout has so many nodes and as many ranges have all their voters as can.
    pub(crate) fn wait_placed(&mut self, nodes: usize) -> Result<()> {
        let placed = self.run_until(SETUP, |cluster| {
            cluster.steps.is_multiple_of(50)
                && cluster.doors.lock().values().all(|(handle, parts)| {
                    let _runtime = handle.enter();
                    is_placed(parts, nodes)
                })
        });
        if placed { Ok(()) } else { bail!("the cluster of {nodes} nodes is not placed") }
    }

    /// Nodes that run, whether they are up or not.
    pub(crate) fn running(&self) -> Vec<NodeId> {
        self.processes.keys().copied().collect()
    }

    /// Starts a node's process.
    pub(crate) fn start(&mut self, node: NodeId, first: bool) {
        let Some(site) = self.sites.get(&node) else { return };
        self.runs += 1;
        self.world.lock().event(format_args!("start {node}"));
        let process = Process::start(site, self.runs, &self.world, first);
        self.processes.insert(node, process);
    }

    /// Takes a node's power; what it had not synced is lost, or in part when `torn`.
    pub(crate) fn kill(&mut self, node: NodeId, torn: bool) {
        let Some(process) = self.processes.remove(&node) else { return };
        self.world.lock().event(format_args!("kill {node} run {}", process.run));
        self.world.lock().leave(node);
        self.doors.lock().remove(&node);
        let disk = process.site.disk.clone();
        process.kill();
        if torn {
            let rng = SeededRng::new(self.seed ^ self.steps);
            disk.restart_torn(&rng);
        } else {
            disk.restart();
        }
    }

    /// Lets a client begin.
    pub(crate) fn spawn_client(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.clients.spawn(task);
    }

    /// Moves everything forward by one step.
    pub(crate) fn step(&mut self) {
        self.steps += 1;
        self.now += STEP;
        self.world.lock().now = self.now;
        for (&node, process) in &self.processes {
            deliver(&self.world, node);
            process.step(STEP);
        }
        self.open_doors();
        self.bury();
        host::set_time(self.now);
        self.clients.step();
        if self.steps.is_multiple_of(LOOK_STEPS) {
            let doors = self.doors.lock();
            for (&node, (_, parts)) in doors.iter() {
                self.leaders.look(node, &parts.raft);
            }
        }
    }

    fn open_doors(&mut self) {
        let mut doors = self.doors.lock();
        for (&node, process) in &self.processes {
            if !doors.contains_key(&node)
                && let Some(parts) = process.parts()
            {
                self.world.lock().event(format_args!("up {node}"));
                doors.insert(node, (process.handle(), parts));
            }
        }
    }

    /// Ends nodes whose disk has crashed at a write.
    fn bury(&mut self) {
        let dead: Vec<NodeId> = self
            .processes
            .iter()
            .filter(|(_, process)| process.site.disk.is_crashed())
            .map(|(&node, _)| node)
            .collect();
        for node in dead {
            self.world.lock().faults.crashes_at_a_write += 1;
            let torn = self.seed.wrapping_add(self.steps).is_multiple_of(2);
            self.world.lock().faults.torn += u64::from(torn);
            self.kill(node, torn);
        }
    }

    /// Steps until `done`, at most for `limit`; whether it was.
    pub(crate) fn run_until(&mut self, limit: Duration, mut done: impl FnMut(&mut Self) -> bool) -> bool {
        let end = self.now + limit;
        while self.now < end {
            self.step();
            if done(self) {
                return true;
            }
        }
        false
    }

    /// Why nodes that run could not start.
    pub(crate) fn failures(&self) -> Vec<(NodeId, String)> {
        self.processes.iter().filter_map(|(&node, process)| Some((node, process.failure()?))).collect()
    }

    /// Does something with the clients' runtime and waits for it.
    pub(crate) fn ask<T: Send + 'static>(
        &mut self,
        limit: Duration,
        question: impl Future<Output = T> + Send + 'static,
    ) -> Option<T> {
        let answer: Arc<Mutex<Option<T>>> = Arc::default();
        let told = answer.clone();
        self.clients.spawn(async move {
            let answer = question.await;
            *told.lock() = Some(answer);
        });
        self.run_until(limit, |_| answer.lock().is_some());
        answer.lock().take()
    }

    /// As [`Cluster::ask`], of the runtime of a node.
    pub(crate) fn ask_node<T: Send + 'static, F: Future<Output = T> + Send + 'static>(
        &mut self,
        node: NodeId,
        limit: Duration,
        question: impl FnOnce(Arc<Parts>) -> F,
    ) -> Option<T> {
        let (handle, parts) = self.doors.lock().get(&node).cloned()?;
        let task = handle.spawn(question(parts));
        self.ask(limit, task)?.ok()
    }
}

fn is_placed(parts: &Parts, nodes: usize) -> bool {
    if parts.membership.layout().nodes.len() != nodes {
        return false;
    }
    parts.meta.status().iter().all(|range| {
        let wanted = if range.id.0 == 0 { nodes.min(5) } else { nodes.min(3) };
        range.leader.is_some() && range.voters.len() == wanted
    })
}

async fn join(doors: &Doors, seed: u64) -> Result<Credentials> {
    let open: Vec<(Handle, Arc<Parts>)> = doors.lock().values().cloned().collect();
    let mut last = None;
    for (handle, parts) in open {
        let made =
            handle.spawn(async move { parts.membership.create_join_token(Duration::from_secs(7200), Some(1)).await });
        let token = match made.await {
            Ok(Ok(token)) => token,
            Ok(Err(error)) => {
                last = Some(anyhow::Error::from(error));
                continue;
            }
            Err(error) => {
                last = Some(error.into());
                continue;
            }
        };
        // The certificates are not part of the simulation.
        let call = |address: String, _, method, request| async move {
            let node = node_of(&address).ok_or(RpcError::UnknownMethod(0))?;
            let unreachable = || RpcError::Unreachable { node, reason: "down".to_owned() };
            let (handle, parts) = doors.lock().get(&node).cloned().ok_or_else(unreachable)?;
            let router = parts.router.clone();
            drop(parts);
            let call = handle.spawn(async move { router.dispatch(Caller::Unauthenticated, method, request).await });
            call.await.unwrap_or_else(|_| Err(unreachable()))
        };
        match join_by(&token, &SeededRng::new(seed), call).await {
            Ok(credentials) => return Ok(credentials),
            Err(error) => last = Some(error.into()),
        }
    }
    Err(last.unwrap_or_else(|| anyhow::anyhow!("no node is up")))
}
