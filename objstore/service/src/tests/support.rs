//! Ranges and extents in memory.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures::stream::{self, BoxStream, StreamExt, TryStreamExt};
use karri_ring_meta::{EvaluateError, EvaluatorId, Route, Table};
use karri_ring_node::{ExtentRef, Owner};
use karri_ring_types::{Clock, ClusterKey, Digest, ExtentId, ManualClock, Redundancy, SeededRng, Timestamp};
use parking_lot::Mutex;

use crate::evaluator::{self, answer_directory, evaluate_directory};
use crate::maintenance::{WorkList, work_rows};
use crate::messages::{Command, Query};
use crate::ports::{Extents, Meta, Sink};
use crate::records::{decode, decode_with_tail};
use crate::rows::{Rows, Step, Visit};
use crate::{
    ByteSource, CallerKeys, Checksum, CreateBucketRequest, GetOutcome, GetRequest, KeyFault, NamedKey, NamedKeys,
    ObjectService, Owner as BucketOwner, PutOutcome, PutRequest, ServiceConfig, ServiceError, SourceError,
    StorageClasses,
};

type State = BTreeMap<(bool, u8, Vec<u8>), Bytes>;

/// Rows of one range of a map.
pub(crate) struct MemoryRows<'a> {
    state: &'a State,
    system: bool,
    start: Vec<u8>,
    end: Option<Vec<u8>>,
    pub(crate) writes: BTreeMap<(bool, u8, Vec<u8>), Option<Bytes>>,
}

impl<'a> MemoryRows<'a> {
    pub(crate) fn new(state: &'a State, system: bool, start: Vec<u8>, end: Option<Vec<u8>>) -> Self {
        Self { state, system, start, end, writes: BTreeMap::new() }
    }
}

impl Rows for MemoryRows<'_> {
    fn get(&mut self, table: Table, key: &[u8]) -> Result<Option<Bytes>, EvaluateError> {
        assert!(self.holds(key), "a row of another range");
        let row = (self.system, table.0, key.to_vec());
        Ok(match self.writes.get(&row) {
            Some(written) => written.clone(),
            None => self.state.get(&row).cloned(),
        })
    }

    fn scan(&mut self, table: Table, start: &[u8], end: &[u8], visit: Visit<'_>) -> Result<(), EvaluateError> {
        let mut from = start.max(&self.start).to_vec();
        let inside = |key: &[u8]| (end.is_empty() || key < end) && self.end.as_deref().is_none_or(|end| key < end);
        loop {
            let next = self.state.range((self.system, table.0, from.clone())..).next();
            let Some(((system, of, key), value)) = next else { return Ok(()) };
            if *system != self.system || *of != table.0 || !inside(key) {
                return Ok(());
            }
            from = match visit(key, value)? {
                Step::Next => [key, &[0][..]].concat(),
                Step::Seek(to) => to,
                Step::Stop => return Ok(()),
            };
        }
    }

    fn put(&mut self, table: Table, key: Vec<u8>, value: Vec<u8>) {
        assert!(self.holds(&key), "a row of another range");
        self.writes.insert((self.system, table.0, key), Some(value.into()));
    }

    fn delete(&mut self, table: Table, key: Vec<u8>) {
        assert!(self.holds(&key), "a row of another range");
        self.writes.insert((self.system, table.0, key), None);
    }

    fn discard(&mut self) {
        self.writes.clear();
    }

    fn holds(&self, key: &[u8]) -> bool {
        key >= &self.start[..] && self.end.as_deref().is_none_or(|end| key < end)
    }

    fn end(&self) -> Option<Vec<u8>> {
        self.end.clone()
    }
}

/// The metadata, cut into ranges at `cuts`. Each command is carried out `times` times, as a retry would.
pub(crate) struct MemoryMeta {
    pub(crate) state: Mutex<State>,
    pub(crate) cuts: Mutex<Vec<Vec<u8>>>,
    clock: Arc<ManualClock>,
    pub(crate) times: AtomicU64,
    pub(crate) commands: AtomicU64,
    /// What happens to the next commit of a version.
    pub(crate) next_commit: Mutex<Fate>,
    /// Commands that keep parts of a move and are not lost.
    pub(crate) stages_left: AtomicU64,
    /// Bytes of the last answer to a query.
    pub(crate) answer_bytes: AtomicUsize,
    /// Whether leaders are of the version before [`Query::Head`].
    pub(crate) before_heads: AtomicBool,
}

/// What happens to a command.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Fate {
    #[default]
    Answered,
    /// Carried out, and the answer is lost.
    Silent,
    /// Lost.
    Lost,
}

impl MemoryMeta {
    fn bounds(&self, route: &Route) -> (bool, Vec<u8>, Option<Vec<u8>>) {
        let Route::Key(key) = route else { return (true, Vec::new(), None) };
        let cuts = self.cuts.lock();
        let at = cuts.partition_point(|cut| cut <= key);
        let start = at.checked_sub(1).map_or(Vec::new(), |before| cuts[before].clone());
        (false, start, cuts.get(at).cloned())
    }

    /// Rows of a table.
    pub(crate) fn count(&self, table: Table) -> usize {
        self.state.lock().keys().filter(|(system, of, _)| !system && *of == table.0).count()
    }
}

#[async_trait]
impl Meta for MemoryMeta {
    async fn execute(&self, route: Route, evaluator: EvaluatorId, command: Bytes) -> Result<Bytes, ServiceError> {
        let (system, start, end) = self.bounds(&route);
        let mut first = None;
        let number = self.commands.fetch_add(1, Ordering::SeqCst);
        // Other requests come between.
        for _ in 0..number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 62 {
            tokio::task::yield_now().await;
        }
        let is_commit = evaluator == ObjectService::EVALUATOR
            && matches!(decode_with_tail::<Command>(&command), Ok((Command::Put(_) | Command::Move(_), _)));
        let fate = if is_commit { std::mem::take(&mut *self.next_commit.lock()) } else { Fate::Answered };
        if let Ok((Command::Stage(stage), _)) = decode_with_tail::<Command>(&command)
            && !stage.parts.is_empty()
            && self.stages_left.fetch_sub(1, Ordering::SeqCst) == 0
        {
            return Err(ServiceError::Unavailable);
        }
        if fate == Fate::Lost {
            return Err(ServiceError::Unavailable);
        }
        for _ in 0..self.times.load(Ordering::SeqCst) {
            let mut state = self.state.lock();
            let mut rows = MemoryRows::new(&state, system, start.clone(), end.clone());
            let reply = match evaluator {
                ObjectService::EVALUATOR => evaluator::evaluate(&mut rows, &command, self.clock.now()),
                _ => evaluate_directory(&mut rows, &command, self.clock.now()),
            };
            let reply = reply.map_err(|error| ServiceError::Internal(error.to_string()))?;
            for (row, value) in rows.writes {
                match value {
                    Some(value) => state.insert(row, value),
                    None => state.remove(&row),
                };
            }
            first.get_or_insert(Bytes::from(reply));
        }
        match fate {
            Fate::Answered => Ok(first.expect("at least once")),
            _ => Err(ServiceError::Unavailable),
        }
    }

    async fn query(&self, route: Route, evaluator: EvaluatorId, query: Bytes) -> Result<Bytes, ServiceError> {
        let (system, start, end) = self.bounds(&route);
        let state = self.state.lock();
        let mut rows = MemoryRows::new(&state, system, start, end);
        let reply = match evaluator {
            ObjectService::EVALUATOR => {
                let is_head = matches!(decode(&query), Ok(Query::Head { .. }));
                match is_head && self.before_heads.load(Ordering::SeqCst) {
                    true => Err(EvaluateError::Malformed("unreadable".to_owned())),
                    false => evaluator::answer(&mut rows, &query),
                }
            }
            _ => answer_directory(&mut rows, &query),
        };
        assert!(rows.writes.is_empty(), "a query wrote");
        self.answer_bytes.store(reply.as_ref().map_or(0, Vec::len), Ordering::SeqCst);
        reply.map(Bytes::from).map_err(|error| ServiceError::Internal(error.to_string()))
    }
}

/// Bytes of an extent in memory.
pub(crate) const EXTENT_BYTES: usize = 100_000;

type Stored = Arc<Mutex<BTreeMap<ExtentId, Bytes>>>;

/// Extents in memory.
#[derive(Default)]
pub(crate) struct MemoryExtents {
    pub(crate) stored: Stored,
    next: Arc<AtomicU64>,
    /// Bytes that were written so far.
    pub(crate) written: Arc<AtomicU64>,
}

struct MemorySink {
    stored: Stored,
    next: Arc<AtomicU64>,
    written: Arc<AtomicU64>,
    redundancy: Redundancy,
    bytes: BytesMut,
    refs: Vec<ExtentRef>,
}

impl MemorySink {
    fn seal(&mut self, length: usize) {
        let bytes = self.bytes.split_to(length).freeze();
        let number = self.next.fetch_add(1, Ordering::SeqCst);
        let clock = ManualClock::new(Timestamp(number));
        let id = ExtentId::generate_for(&clock, &SeededRng::new(number), self.redundancy);
        self.refs.push(ExtentRef { id, length_bytes: bytes.len() as u64, root: Digest::of(&bytes) });
        self.stored.lock().insert(id, bytes);
    }
}

#[async_trait]
impl Sink for MemorySink {
    async fn write(&mut self, bytes: Bytes) -> Result<(), ServiceError> {
        self.written.fetch_add(bytes.len() as u64, Ordering::SeqCst);
        self.bytes.extend_from_slice(&bytes);
        while self.bytes.len() > EXTENT_BYTES {
            self.seal(EXTENT_BYTES);
        }
        Ok(())
    }

    async fn wanted(&self) {
        std::future::pending().await
    }

    async fn shed(&mut self) -> Result<(), ServiceError> {
        Ok(())
    }

    async fn finish(&mut self) -> Result<Vec<ExtentRef>, ServiceError> {
        if !self.bytes.is_empty() {
            self.seal(self.bytes.len());
        }
        Ok(self.refs.clone())
    }

    fn begun(&self) -> Vec<ExtentId> {
        self.refs.iter().map(|extent| extent.id).collect()
    }

    async fn abort(self: Box<Self>) {}
}

#[async_trait]
impl Extents for MemoryExtents {
    fn writer(&self, _: Owner, _: Option<u64>, redundancy: Redundancy) -> Box<dyn Sink> {
        let (stored, next, written) = (self.stored.clone(), self.next.clone(), self.written.clone());
        Box::new(MemorySink { stored, next, written, redundancy, bytes: BytesMut::new(), refs: Vec::new() })
    }

    fn read(&self, extent: &ExtentRef, range: Range<u64>) -> BoxStream<'static, Result<Bytes, ServiceError>> {
        let found = self.stored.lock().get(&extent.id).cloned();
        let place = |at: u64| usize::try_from(at).expect("small");
        let piece = found.map(|bytes| bytes.slice(place(range.start)..place(range.end)));
        stream::once(async move { piece.ok_or(ServiceError::Unavailable) }).boxed()
    }

    async fn delete(&self, ids: &[ExtentId]) -> bool {
        let mut stored = self.stored.lock();
        ids.iter().for_each(|id| {
            stored.remove(id);
        });
        true
    }
}

/// A service over memory.
pub(crate) struct World {
    pub(crate) service: Arc<ObjectService>,
    pub(crate) meta: Arc<MemoryMeta>,
    pub(crate) extents: Arc<MemoryExtents>,
    pub(crate) clock: Arc<ManualClock>,
}

pub(crate) const BUCKET: &str = "bucket";

/// A service with an empty bucket.
pub(crate) async fn world() -> World {
    world_with(StorageClasses::default()).await
}

/// As [`world`], with classes that are kept in their own ways.
pub(crate) async fn world_with(classes: StorageClasses) -> World {
    world_of(ServiceConfig { classes, ..ServiceConfig::default() }).await
}

/// As [`world`], with a configuration.
pub(crate) async fn world_of(config: ServiceConfig) -> World {
    let clock = Arc::new(ManualClock::new(Timestamp(1_800_000_000_000)));
    let meta = Arc::new(MemoryMeta {
        state: Mutex::default(),
        cuts: Mutex::default(),
        clock: clock.clone(),
        times: AtomicU64::new(2),
        commands: AtomicU64::new(0),
        next_commit: Mutex::default(),
        stages_left: AtomicU64::new(u64::MAX),
        answer_bytes: AtomicUsize::new(0),
        before_heads: AtomicBool::new(false),
    });
    let extents = Arc::new(MemoryExtents::default());
    let rng = Arc::new(SeededRng::new(1));
    let cluster_key = Some(ClusterKey::generate(&SeededRng::new(9)));
    let config = ServiceConfig { cluster_key, ..config };
    let service = ObjectService::over(meta.clone(), extents.clone(), clock.clone(), rng, config);
    let world = World { service, meta, extents, clock };
    world.service.create_bucket(new_bucket(BUCKET, "me")).await.expect("created");
    world
}

pub(crate) fn new_bucket(name: &str, account: &str) -> CreateBucketRequest {
    let owner = BucketOwner { account_id: account.into(), user_id: account.into(), display_name: account.into() };
    CreateBucketRequest { name: name.into(), owner, region: "r".into(), object_lock: false, documents: Vec::new() }
}

/// Bytes that are different everywhere.
pub(crate) fn content(size: usize) -> Bytes {
    let mut x: u32 = 12345;
    let next = |_| {
        x = x.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        x.to_be_bytes()[0]
    };
    (0..size).map(next).collect()
}

/// A key service of one byte: it turns over what it wraps, and says what for.
struct TestKeys;

#[async_trait]
impl NamedKeys for TestKeys {
    async fn wrap(&self, key: &NamedKey, plain: &[u8; 32]) -> Result<Vec<u8>, ServiceError> {
        let turned = plain.iter().map(|byte| byte ^ 0xff);
        Ok(turned.chain(format!("{key:?}").into_bytes()).collect())
    }

    async fn unwrap(&self, key: &NamedKey, wrapped: &[u8]) -> Result<[u8; 32], ServiceError> {
        let (turned, asked) = wrapped.split_at(32);
        if asked != format!("{key:?}").as_bytes() {
            return Err(ServiceError::Key(KeyFault::NotFound("wrapped for something else".into())));
        }
        Ok(std::array::from_fn(|at| turned[at] ^ 0xff))
    }
}

/// The named keys of who may use all of them.
pub(crate) fn named_keys() -> CallerKeys {
    CallerKeys::new(Arc::new(TestKeys))
}

pub(crate) fn put_request(key: &str) -> PutRequest {
    PutRequest { bucket: BUCKET.into(), key: key.into(), keys: named_keys(), ..Default::default() }
}

pub(crate) fn get_request(key: &str) -> GetRequest {
    GetRequest { bucket: BUCKET.into(), key: key.into(), keys: named_keys(), ..Default::default() }
}

impl World {
    pub(crate) async fn put(&self, key: &str, bytes: &Bytes) -> PutOutcome {
        self.service.put_object(put_request(key), &mut Some(bytes.clone())).await.expect("put")
    }

    pub(crate) async fn get(&self, key: &str) -> Result<Bytes, ServiceError> {
        collect(self.service.get_object(get_request(key)).await?).await
    }

    /// Collects garbage until there is none.
    pub(crate) async fn collect_garbage(&self) {
        self.clock.advance(Duration::from_secs(60));
        loop {
            let mut items = Vec::new();
            for list in [WorkList::Garbage, WorkList::Condemned] {
                let state = self.meta.state.lock();
                let mut rows = MemoryRows::new(&state, false, Vec::new(), None);
                let page = work_rows(&mut rows, list, std::ops::Bound::Unbounded, 1000).expect("readable");
                items.extend(page.items);
            }
            if items.is_empty() {
                return;
            }
            for item in items {
                self.service.collect(&item).await.expect("collected");
            }
        }
    }

    pub(crate) fn extent_count(&self) -> usize {
        self.extents.stored.lock().len()
    }
}

pub(crate) async fn collect(outcome: GetOutcome) -> Result<Bytes, ServiceError> {
    let pieces: Vec<Bytes> = outcome.content.try_collect().await?;
    Ok(pieces.concat().into())
}

/// A body in pieces, with a trailer, that may fail at its end.
pub(crate) struct Pieces {
    pub(crate) pieces: Vec<Bytes>,
    pub(crate) trailer: Option<Checksum>,
    pub(crate) fails: bool,
}

impl Pieces {
    pub(crate) fn of(bytes: &Bytes, piece: usize) -> Self {
        let mut pieces: Vec<Bytes> = bytes.chunks(piece).map(Bytes::copy_from_slice).collect();
        pieces.reverse();
        Self { pieces, trailer: None, fails: false }
    }
}

#[async_trait]
impl ByteSource for Pieces {
    async fn next(&mut self) -> Option<Result<Bytes, SourceError>> {
        match self.pieces.pop() {
            Some(piece) => Some(Ok(piece)),
            None => std::mem::take(&mut self.fails).then(|| Err(SourceError::new("cut off"))),
        }
    }

    fn trailing_checksums(&self) -> Vec<Checksum> {
        self.trailer.clone().into_iter().collect()
    }
}
