//! The metadata of one process: opens, bootstraps, places and reports its ranges.

use std::collections::BTreeSet;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use karri_ring_disk::DiskPath;
use karri_ring_raft::{Group, ProposeError, RaftError, RaftHost};
use karri_ring_rpc::{Lane, Request, Router, Transport};
use karri_ring_types::{Clock, NodeId, RangeId, Rng};

use crate::client::MetaClient;
use crate::codec::decode;
use crate::directory::{Command, DIRECTORY, Directory, Entry, encode_command, even_bounds};
use crate::host::{Host, Service};
use crate::message::{PROGRESS, Progress};
use crate::range::Range;
use crate::row::Bounds;
use crate::snapshot::{fingerprint, recover};
use crate::storage::Storage;
use crate::transaction::Description;
use crate::{
    Evaluator, EvaluatorId, Fingerprint, METHODS, MetaError, RangeInfo, RangeStatus, Route, SYSTEM_RANGE, View,
};

/// Voters of the system range, where there are as many nodes.
const SYSTEM_VOTERS: usize = 5;
/// Voters of every other range, where there are as many nodes.
const DATA_VOTERS: usize = 3;
/// Longest wait for a group of one to elect itself.
const FIRST_LEADER_WAIT: Duration = Duration::from_secs(30);
/// Longest wait for a change of the directory.
const DIRECTORY_WAIT: Duration = Duration::from_secs(15);
/// Longest wait for a replica to tell how far it is.
const PROGRESS_WAIT: Duration = Duration::from_secs(1);
/// Ranges whose voters are changed at the same time.
const PLACED_AT_ONCE: usize = 4;
/// A replica that lacks more entries does not get the leadership.
const TRANSFER_LAG_MAX: u64 = 1000;

/// Settings of a [`MetaNode`].
#[derive(Clone, Debug)]
pub struct MetaConfig {
    /// This node.
    pub node: NodeId,
    /// Folder of the applied state.
    pub dir: DiskPath,
    /// Bytes of blocks, indexes and filters kept in memory.
    pub cache_bytes: usize,
    /// Bytes of applied writes that are gathered before they are written to a file.
    pub write_buffer_bytes: usize,
}

impl MetaConfig {
    /// The usual settings.
    pub fn new(node: NodeId, dir: DiskPath) -> Self {
        Self { node, dir, cache_bytes: 128 << 20, write_buffer_bytes: 32 << 20 }
    }
}

/// What [`MetaNode::place`] has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Placed {
    /// Ranges that are led here.
    pub led: usize,
    /// Ranges whose voters were changed.
    pub changed: usize,
    /// Ranges whose voters are not yet as wanted; place again later.
    pub failed: usize,
    /// Leaderships given to the first of the wanted voters.
    pub transferred: usize,
}

/// The metadata ranges of this process.
pub struct MetaNode {
    host: Arc<Host>,
    client: Arc<MetaClient>,
    transport: Arc<dyn Transport>,
}

impl MetaNode {
    /// Opens the store and the groups that were here before, and registers methods 100..=199. Nothing is
    /// answered before [`MetaNode::start`].
    pub async fn open(
        config: MetaConfig,
        raft: Arc<RaftHost>,
        transport: Arc<dyn Transport>,
        router: &Router,
        clock: Arc<dyn Clock>,
        rng: Arc<dyn Rng>,
    ) -> Result<Arc<Self>, MetaError> {
        let node = config.node;
        let storage = karri_ring_types::blocking(move || {
            let storage = Storage::open(&config)?;
            recover(&storage)?;
            Ok::<_, MetaError>(Arc::new(storage))
        });
        let storage = storage.await.map_err(|e| MetaError::Io(std::io::Error::other(e)))??;
        let host = Arc::new(Host::new(node, raft.clone(), storage, clock, rng.clone()));
        host.register(DIRECTORY, Arc::new(Directory));
        for range in raft.groups() {
            host.open_range(range).await?;
        }
        let weak = Arc::downgrade(&host);
        raft.on_unknown_group(Arc::new(move |range| weak.upgrade()?.unknown_group(range)));
        router.register(METHODS, Arc::new(Service(Arc::downgrade(&host))));
        let client = Arc::new(MetaClient::new(host.clone(), transport.clone(), rng));
        Ok(Arc::new(Self { host, client, transport }))
    }

    /// Gives commands and queries for `id` to `evaluator`; before [`MetaNode::start`].
    pub fn register(&self, id: EvaluatorId, evaluator: Arc<dyn Evaluator>) {
        self.host.register(id, evaluator);
    }

    /// Begins to answer.
    pub async fn start(&self) -> Result<(), MetaError> {
        self.host.serve(true);
        Ok(())
    }

    /// On the first node of a new cluster, after [`MetaNode::start`]: makes the system range, `data_ranges` ranges
    /// that cut the keys evenly by their first two bytes, and the directory. This node is the only voter. Does
    /// nothing where it has been done, and goes on where it was interrupted.
    pub async fn bootstrap(&self, data_ranges: u16) -> Result<(), MetaError> {
        let me = self.host.node;
        self.begin_range(SYSTEM_RANGE, Bounds::default()).await?;
        let mut entries = Vec::new();
        for (id, bounds) in (1..).map(RangeId).zip(even_bounds(data_ranges.max(1))) {
            self.begin_range(id, bounds.clone()).await?;
            entries.push(Entry { id, bounds, voters: vec![me] });
        }
        let command = encode_command(&Command::Begin(entries));
        self.client.execute(&Route::System, DIRECTORY, command, true, FIRST_LEADER_WAIT).await?;
        Ok(())
    }

    async fn begin_range(&self, id: RangeId, bounds: Bounds) -> Result<(), MetaError> {
        self.host.open_range(id).await?;
        let group = self.host.raft.group(id).ok_or(MetaError::Unavailable)?;
        let range = self.host.range(id).ok_or(MetaError::Unavailable)?;
        if range.is_described() {
            return Ok(());
        }
        match group.initialize(&[self.host.node]).await {
            Ok(()) => {}
            // It has grown since: its first entry was applied long ago, if perhaps not again after a restart.
            Err(RaftError::AlreadyInitialized) if group.voters() != [self.host.node] => return Ok(()),
            Err(RaftError::AlreadyInitialized) => {}
            Err(error) => return Err(error.into()),
        }
        group.wait_leader(FIRST_LEADER_WAIT).await.ok_or(MetaError::Unavailable)?;
        range.describe(Description { bounds, version_base: 0 }).await.map_err(|error| match error {
            ProposeError::Unknown => MetaError::OutcomeUnknown,
            _ => MetaError::Unavailable,
        })
    }

    /// Asks ranges, here or on other nodes.
    pub fn client(&self) -> Arc<MetaClient> {
        self.client.clone()
    }

    /// Gives the ranges that are led here the voters that `layout_choose(range, count)` names, tells the
    /// directory, and hands the leadership to the first of them when it is well. New members need not know the
    /// range beforehand. Call it again when the layout has changed, and from time to time.
    pub fn place<'a>(
        &'a self,
        layout_choose: &dyn Fn(RangeId, usize) -> Vec<NodeId>,
    ) -> impl Future<Output = Placed> + Send + use<'a> {
        // The choice is made at once so that the future need not hold the function.
        let led = self.host.ranges().into_iter().filter(|range| range.is_leader());
        let wanted: Vec<(Arc<Range>, Vec<NodeId>)> = led
            .map(|range| {
                let count = if range.id() == SYSTEM_RANGE { SYSTEM_VOTERS } else { DATA_VOTERS };
                let wanted = layout_choose(range.id(), count);
                (range, wanted)
            })
            .collect();
        async move {
            let mut placed = Placed { led: wanted.len(), ..Placed::default() };
            // One range that waits for a new voter must not keep the others from moving.
            let changes = wanted.into_iter().map(|(range, wanted)| async move {
                let mut placed = Placed::default();
                self.place_range(&range, &wanted, &mut placed).await;
                placed
            });
            let mut changes = futures::stream::iter(changes).buffer_unordered(PLACED_AT_ONCE);
            while let Some(one) = changes.next().await {
                placed.changed += one.changed;
                placed.failed += one.failed;
                placed.transferred += one.transferred;
            }
            placed
        }
    }

    async fn place_range(&self, range: &Range, wanted: &[NodeId], placed: &mut Placed) {
        let Some(group) = self.host.raft.group(range.id()) else { return };
        let Some(&first) = wanted.first() else { return };
        if as_set(&group.voters()) != as_set(wanted) {
            match group.set_voters(wanted).await {
                Ok(()) => placed.changed += 1,
                Err(error) => {
                    let error = &error as &dyn std::error::Error;
                    tracing::warn!(range = %range.id(), error, "cannot change the voters of a range");
                    placed.failed += 1;
                    return;
                }
            }
        }
        self.tell_directory(range, wanted).await;
        if first != self.host.node && group.is_leader() && self.is_well(&group, range.id(), first).await {
            match group.transfer_leader(first).await {
                Ok(()) => placed.transferred += 1,
                Err(error) => {
                    let error = &error as &dyn std::error::Error;
                    tracing::debug!(range = %range.id(), to = %first, error, "cannot hand over a range");
                }
            }
        }
    }

    async fn tell_directory(&self, range: &Range, voters: &[NodeId]) {
        let Some(bounds) = range.bounds().filter(|_| range.id() != SYSTEM_RANGE) else { return };
        let command = Command::SetVoters { start: bounds.start, id: range.id(), voters: voters.to_vec() };
        let command = encode_command(&command);
        if let Err(error) = self.client.execute(&Route::System, DIRECTORY, command, true, DIRECTORY_WAIT).await {
            // Clients find the range all the same, by asking; the next placement tells again.
            tracing::debug!(range = %range.id(), error = &error as &dyn std::error::Error, "directory not told");
        }
    }

    /// Whether `node` answers, has nearly all of the group's log, and room for more.
    async fn is_well(&self, group: &Group, range: RangeId, node: NodeId) -> bool {
        if !self.host.raft.has_room(node).await {
            return false;
        }
        let request = Request { group: range.0, ..Request::default() };
        let Ok(response) = self.transport.call(node, Lane::Control, PROGRESS, request, PROGRESS_WAIT).await else {
            return false;
        };
        match decode::<Option<Progress>>(&response.head, "progress") {
            Ok(Some(progress)) => {
                progress.leader == Some(self.host.node)
                    && progress.applied_index + TRANSFER_LAG_MAX >= group.applied_index()
            }
            _ => false,
        }
    }

    /// Ranges that are led here.
    pub fn led_ranges(&self) -> Vec<RangeInfo> {
        self.host.ranges().iter().filter_map(|range| range.led()).collect()
    }

    /// All ranges that have a replica here.
    pub fn status(&self) -> Vec<RangeStatus> {
        self.host.ranges().iter().map(|range| range.status()).collect()
    }

    /// Reads a range that is led here; it may lag behind when leadership has just been lost. For background
    /// work that proves by a command what it acts on.
    pub fn leader_read<T>(&self, range: RangeId, f: impl FnOnce(&mut View<'_>) -> T) -> Option<T> {
        self.host.range(range)?.leader_read(f)
    }

    /// What this node has applied of a range; `None` where it has no replica. Reads all its rows.
    pub fn fingerprint(&self, range: RangeId) -> Result<Option<Fingerprint>, MetaError> {
        if self.host.range(range).is_none() {
            return Ok(None);
        }
        fingerprint(&self.host.storage, range).map(Some)
    }

    /// Stops answering and makes what is applied durable, so that the next start is quick. Shut the
    /// [`RaftHost`] down afterwards.
    pub async fn shutdown(&self) {
        self.host.serve(false);
        let storage = self.host.storage.clone();
        let flushed = karri_ring_types::blocking(move || storage.flush(storage.sequence())).await;
        if let Ok(Err(error)) = flushed {
            tracing::warn!(error = &error as &dyn std::error::Error, "cannot flush the metadata");
        }
    }
}

fn as_set(nodes: &[NodeId]) -> BTreeSet<NodeId> {
    nodes.iter().copied().collect()
}
