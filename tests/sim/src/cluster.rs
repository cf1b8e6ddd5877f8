//! The nodes and the clients of a run, moved forward together.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::{Result, bail};
use karri_ring_node::join::{Credentials, join_by};
use karri_ring_rpc::{Caller, RpcError};
use karri_ring_types::{ClusterId, NodeId, SeededRng};
use parking_lot::Mutex;
use tokio::runtime::Handle;

use crate::chance::Chance;
use crate::host;
use crate::invariants::logs::Logs;
use crate::invariants::raft::Leaders;
use crate::invariants::state::States;
use crate::mutant::Mutant;
use crate::process::{Parts, Process, Site, Stepped, node_of};
use crate::world::{SharedWorld, World, deliver};

/// The step of all clocks.
const STEP: Duration = Duration::from_millis(1);
/// Of 1,000 chances, one after each step of a node, how many let RocksDB do a piece of what it has left to do.
const BACKGROUND: u64 = 300;
/// Each how many steps the Raft groups are looked at.
const LOOK_STEPS: u64 = 10;
/// Each how many steps the states of the members are compared.
const COMPARE_STEPS: u64 = 400;
/// A node may end so often after healing: what failed before it is noticed with the next write.
const LATE_ENDS_MAX: u64 = 3;
/// From a failure of its storage to the end of a process.
const LAST_WORDS: Duration = Duration::from_millis(20);
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
    pub(crate) states: States,
    pub(crate) logs: Logs,
    /// Nodes that will not come back.
    pub(crate) gone: BTreeSet<NodeId>,
    /// Once all is healed, nodes that end begin again at once; how often they did.
    pub(crate) supervised: bool,
    /// Milliseconds that the wall clock of a node that comes new is ahead.
    ahead_ms: u64,
    late_ends: BTreeMap<NodeId, u64>,
    joining: Option<Arc<Mutex<Option<Result<Credentials>>>>>,
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
        karri_tests_disk::hold_background_work();
        let world = Arc::new(Mutex::new(World::new(Chance::new(seed, 1))));
        crate::process::simulate_disks(&world);
        Self {
            world,
            sites: BTreeMap::new(),
            doors: Doors::default(),
            leaders: Leaders::default(),
            states: States::default(),
            logs: Logs::default(),
            gone: BTreeSet::new(),
            supervised: false,
            ahead_ms: 0,
            late_ends: BTreeMap::new(),
            joining: None,
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
    fn join(&mut self) -> Result<()> {
        let before = self.sites.len();
        self.begin_join();
        if !self.run_until(SETUP, |cluster| cluster.sites.len() > before) {
            bail!("no node could join");
        }
        self.wait_up()
    }

    /// Begins to add a node, which comes up when it has got its token and used it.
    pub(crate) fn begin_join(&mut self) {
        if self.joining.is_some() {
            return;
        }
        let outcome: Arc<Mutex<Option<Result<Credentials>>>> = Arc::default();
        let (told, doors, seed) = (outcome.clone(), self.doors.clone(), self.seed ^ self.now.as_millis() as u64);
        self.clients.spawn(async move {
            let joined = join(&doors, seed).await;
            *told.lock() = Some(joined);
        });
        self.joining = Some(outcome);
    }

    /// Whether a node is joining.
    pub(crate) fn is_joining(&self) -> bool {
        self.joining.is_some()
    }

    fn end_join(&mut self) {
        let Some(outcome) = self.joining.as_ref().and_then(|joining| joining.lock().take()) else { return };
        self.joining = None;
        match outcome {
            Ok(credentials) => {
                self.world.lock().faults.joins += 1;
                self.admit(credentials, false);
            }
            // Nobody was there to take it in; somebody may be later.
            Err(error) => _ = self.world.lock().event(format_args!("no join: {error}")),
        }
    }

    /// A node's disk is lost, and the node does not come back.
    pub(crate) fn lose(&mut self, node: NodeId) {
        self.world.lock().event(format_args!("lose {node}"));
        self.kill(node, false);
        self.sites.remove(&node);
        self.gone.insert(node);
    }

    /// All wall clocks show the same from now on, those of nodes that are still to come too.
    pub(crate) fn set_wall_clocks(&mut self, ahead_ms: u64) {
        self.ahead_ms = ahead_ms;
        for site in self.sites.values() {
            site.clock.ahead_ms.store(ahead_ms, Ordering::SeqCst);
        }
    }

    fn admit(&mut self, credentials: Credentials, first: bool) {
        let node = credentials.identity().node;
        let site = Site::new(credentials, self.pace, self.seed ^ node.0);
        site.clock.ahead_ms.store(self.ahead_ms, Ordering::SeqCst);
        if let Some(mutant) = self.mutant() {
            mutant.plant(&site.disk);
        }
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
        if placed {
            return Ok(());
        }
        bail!("the cluster of {nodes} nodes is not placed: {}", self.told())
    }

    /// What each node knows of the layout and of its ranges, for people to read.
    pub(crate) fn told(&self) -> String {
        let doors = self.doors.lock();
        let seen = doors.iter().map(|(node, (handle, parts))| {
            let _runtime = handle.enter();
            format!("node {node}: {} nodes, {:?}", parts.membership.layout().nodes.len(), parts.meta.status())
        });
        seen.collect::<Vec<_>>().join("; ")
    }

    /// The planted fault.
    pub(crate) fn mutant(&self) -> Option<Mutant> {
        self.world.lock().forgery.mutant
    }

    /// Plants a fault in the nodes that there are, and in those that come.
    pub(crate) fn plant(&self, mutant: Mutant) {
        self.world.lock().forgery.mutant = Some(mutant);
        for site in self.sites.values() {
            mutant.plant(&site.disk);
        }
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
        self.logs.read(node, &disk);
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
            if self.world.lock().chance.of_1000(BACKGROUND) {
                karri_tests_disk::do_background_work();
            }
        }
        self.open_doors();
        self.bury();
        host::set_time(self.now);
        self.clients.step();
        self.end_join();
        self.look();
    }

    fn look(&mut self) {
        let doors = self.doors.lock();
        for (&node, (handle, parts)) in doors.iter() {
            let _runtime = handle.enter();
            if self.steps.is_multiple_of(LOOK_STEPS) {
                self.leaders.look(node, &parts.raft);
            }
            if self.steps.is_multiple_of(COMPARE_STEPS) {
                self.states.look(node, &parts.meta);
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

    /// Ends nodes whose disk has crashed at a write, and those whose storage has failed.
    fn bury(&mut self) {
        let dead: Vec<(NodeId, bool)> = self
            .processes
            .iter()
            .map(|(&node, process)| (node, process.site.disk.is_crashed(), process))
            .filter(|(_, crashed, process)| *crashed || process.has_failed(LAST_WORDS))
            .map(|(node, crashed, _)| (node, crashed))
            .collect();
        for (node, crashed) in dead {
            let torn = self.seed.wrapping_add(self.steps).is_multiple_of(2);
            let mut world = self.world.lock();
            world.faults.crashes_at_a_write += u64::from(crashed);
            world.faults.torn += u64::from(torn);
            drop(world);
            self.kill(node, torn);
            if self.supervised {
                *self.late_ends.entry(node).or_default() += 1;
                self.start(node, false);
            }
        }
    }

    /// What must not be of nodes after healing.
    pub(crate) fn late_failures(&self) -> Option<String> {
        let often = self.late_ends.iter().find(|(_, ends)| **ends > LATE_ENDS_MAX);
        often.map(|(node, ends)| format!("I10: node {node} ended {ends} times after healing"))
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

    /// The nodes that are up.
    pub(crate) fn up(&self) -> Vec<NodeId> {
        self.doors.lock().keys().copied().collect()
    }

    /// Ends all nodes, so that their logs are read.
    pub(crate) fn end(&mut self) {
        for node in self.running() {
            self.kill(node, false);
        }
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
    // What has moved away stays behind, and nobody need tell it of its leader.
    let here = parts.membership.local();
    parts.meta.status().iter().filter(|range| range.voters.contains(&here)).all(|range| {
        let wanted = if range.id.0 == 0 { nodes.min(5) } else { nodes.min(3) };
        range.leader.is_some() && range.voters.len() == wanted
    })
}

async fn join(doors: &Doors, seed: u64) -> Result<Credentials> {
    let nodes: Vec<NodeId> = doors.lock().keys().copied().collect();
    let mut last = None;
    for node in nodes {
        // Its parts go to a task of its own, which ends with it.
        let Some((handle, parts)) = doors.lock().get(&node).cloned() else { continue };
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
