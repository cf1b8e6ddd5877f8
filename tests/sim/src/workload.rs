//! The clients: each does one thing after the other through whichever node it picks, and records it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures::{Future, StreamExt};
use karri_objstore_service::{
    CompleteRequest, CompletedPart, Conditions, CreateUploadRequest, DeleteItem, DeleteRequest, EtagCondition,
    GetRequest, ListRequest, ObjectService, PartRequest, PutOutcome, PutRequest, ServiceError, UploadRef, VersionRef,
};
use karri_ring_types::NodeId;
use karri_tests_linearizability::{Input, Output, Value};

use crate::chance::Chance;
use crate::cluster::Doors;
use crate::history::{Body, HEAD_BYTES, Listing, SharedHistory, Version, body_of, value_of};
use crate::mutant::Mutant;
use crate::process::{PART_BYTES_MIN, Parts};
use crate::world::SharedWorld;

/// The buckets of all objects. Their rows may be in different ranges.
pub(crate) const BUCKETS: [&str; 3] = ["simulation-0", "simulation-1", "simulation-2"];
/// Most parts of an upload.
const PARTS_MAX: u64 = 4;
/// How long a client waits for an answer.
const PATIENCE: Duration = Duration::from_secs(12);

/// The bucket that has a key.
pub(crate) fn bucket_of(key: &str) -> &'static str {
    BUCKETS[number_of(key) as usize % BUCKETS.len()]
}

pub(crate) fn number_of(key: &str) -> u64 {
    key.trim_start_matches(|digit: char| !digit.is_ascii_digit()).parse().unwrap_or(0)
}

/// One client.
pub(crate) struct Client {
    pub(crate) number: u64,
    pub(crate) chance: Chance,
    pub(crate) doors: Doors,
    pub(crate) world: SharedWorld,
    pub(crate) history: SharedHistory,
    pub(crate) stop: Arc<AtomicBool>,
    pub(crate) keys: u64,
    pub(crate) pause_ms: u64,
}

/// How an operation ended, as far as its client knows.
pub(crate) enum Ended<T> {
    Answered(T),
    Failed(ServiceError),
    /// No answer came: it may have been carried out.
    Unknown,
    /// No node was there to ask.
    NotAsked,
}

/// What a failed operation means for the history.
pub(crate) enum Meaning {
    /// Its condition did not hold.
    Refused,
    /// Nothing was done.
    Nothing,
    /// It may have been done.
    Maybe,
}

pub(crate) fn meaning(error: &ServiceError) -> Meaning {
    match error {
        ServiceError::PreconditionFailed { .. } | ServiceError::NoSuchKey | ServiceError::DeleteMarker { .. } => {
            Meaning::Refused
        }
        ServiceError::ConditionalRequestConflict | ServiceError::VersionsKept => Meaning::Nothing,
        _ => Meaning::Maybe,
    }
}

impl Client {
    /// Works until it is told to stop.
    pub(crate) async fn run(self) {
        while !self.stop.load(Ordering::SeqCst) {
            let key = format!("key-{}", self.chance.below(self.keys));
            match self.chance.below(100) {
                0..28 => self.put(&key).await,
                28..53 => drop(self.get(&key).await),
                53..62 => self.delete(&key).await,
                62..69 => self.put_if_absent(&key).await,
                69..76 => self.put_if_match(&key).await,
                76..82 => self.copy(&key).await,
                82..87 => self.rename(&key).await,
                87..92 => self.upload(&key).await,
                92..95 => self.delete_old_version(&key).await,
                _ => self.list().await,
            }
            tokio::time::sleep(Duration::from_millis(self.chance.below(self.pause_ms))).await;
        }
    }

    /// Has a node do something.
    pub(crate) async fn at_node<T, F>(&self, work: impl FnOnce(Arc<ObjectService>) -> F) -> Ended<T>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, ServiceError>> + Send + 'static,
    {
        let door = {
            let doors = self.doors.lock();
            let nodes: Vec<NodeId> = doors.keys().copied().collect();
            if nodes.is_empty() { None } else { doors.get(self.chance.pick(&nodes)).cloned() }
        };
        let Some((handle, parts)) = door else { return Ended::NotAsked };
        let task = handle.spawn(work(service(&parts)));
        drop(parts);
        match tokio::time::timeout(PATIENCE, task).await {
            Ok(Ok(Ok(answer))) => Ended::Answered(answer),
            Ok(Ok(Err(error))) => Ended::Failed(error),
            Ok(Err(_)) | Err(_) => Ended::Unknown,
        }
    }

    pub(crate) fn event(&self, what: std::fmt::Arguments<'_>) -> u64 {
        self.world.lock().event(format_args!("client {} {what}", self.number))
    }

    pub(crate) fn begin(&self, key: &str, input: Input) -> usize {
        let at = self.event(format_args!("{key} {input:?}"));
        self.history.lock().called(self.number, key, input, at)
    }

    /// Records a write's end; true when it was carried out.
    pub(crate) fn end<T>(&self, key: &str, place: usize, ended: &Ended<T>) -> bool {
        let (output, known) = match ended {
            Ended::Answered(_) => (Some(Output::Accepted), true),
            Ended::NotAsked => (None, true),
            Ended::Unknown => (None, false),
            Ended::Failed(error) => match meaning(error) {
                Meaning::Refused => (Some(Output::Refused), true),
                Meaning::Nothing => (None, true),
                Meaning::Maybe => (None, false),
            },
        };
        let at = self.event(format_args!("{key} {output:?} {known}"));
        let mut history = self.history.lock();
        match (output, known) {
            (Some(output), _) => history.done(key, place, at, output),
            (None, true) => history.not_done(key, place),
            (None, false) => history.unknown += 1,
        }
        matches!(ended, Ended::Answered(_))
    }

    fn length(&self) -> usize {
        let above = match self.chance.below(1000) {
            0..450 => self.chance.below(2000),
            450..720 => (33 << 10) + self.chance.below(10 << 10),
            720..930 => (45 << 10) + self.chance.below(16 << 10),
            930..990 => (62 << 10) + self.chance.below(200 << 10),
            // Several chunks.
            _ => (1 << 20) + self.chance.below(1 << 20),
        };
        HEAD_BYTES + above as usize
    }

    fn new_body(&self) -> (Value, Bytes) {
        let length = self.length();
        let value = self.history.lock().new_value(length, None);
        (value, body_of(value, length))
    }

    async fn put_with(&self, key: &str, value: Value, body: Bytes, conditions: Conditions, input: Input) {
        let place = self.begin(key, input);
        let length = Some(body.len() as u64);
        let forgets = self.world.lock().forgery.mutant == Some(Mutant::DropPrecondition);
        let conditions = if forgets { Conditions::default() } else { conditions };
        let request =
            PutRequest { bucket: bucket_of(key).into(), key: key.into(), length, conditions, ..PutRequest::default() };
        let ended =
            self.at_node(move |service| async move { service.put_object(request, &mut Some(body)).await }).await;
        self.end(key, place, &ended);
        if let Ended::Answered(outcome) = ended {
            self.written(key, value, &outcome);
        }
    }

    pub(crate) fn written(&self, key: &str, value: Value, outcome: &PutOutcome) {
        let mut history = self.history.lock();
        history.tag(&outcome.etag, value);
        // Null versions replace each other.
        if let Some(version @ VersionRef::Id(_)) = outcome.version {
            history.versions.push((Version { key: key.into(), version }, value));
        }
    }

    pub(crate) async fn put(&self, key: &str) {
        let (value, body) = self.new_body();
        self.put_with(key, value, body, Conditions::default(), Input::Write(value)).await;
    }

    async fn put_if_absent(&self, key: &str) {
        let (value, body) = self.new_body();
        let conditions = Conditions { if_none_match: Some(EtagCondition::Any), ..Conditions::default() };
        self.put_with(key, value, body, conditions, Input::WriteIfAbsent(value)).await;
    }

    async fn put_if_match(&self, key: &str) {
        let Some(Some((expected, etag))) = self.get(key).await else { return };
        let (value, body) = self.new_body();
        self.put_with(key, value, body, only(&etag), Input::WriteIfMatch { expected, value }).await;
    }

    /// Reads a key: `None` when that failed, else its value and entity tag, if it has one.
    pub(crate) async fn get(&self, key: &str) -> Option<Option<(Value, String)>> {
        let place = self.begin(key, Input::Read);
        let request = GetRequest { bucket: bucket_of(key).into(), key: key.into(), ..GetRequest::default() };
        let ended = self.at_node(move |service| async move { read(&service, request).await }).await;
        let found = match ended {
            Ended::Answered((etag, bytes)) => match value_of(&bytes) {
                Ok(value) => Some((value, etag, bytes.len())),
                Err(fault) => {
                    self.history.lock().violations.push(format!("I1: {key}: {fault}"));
                    return None;
                }
            },
            Ended::Failed(ServiceError::NoSuchKey) => None,
            Ended::Failed(error) => {
                self.event(format_args!("{key} unread: {error}"));
                self.history.lock().unknown += 1;
                return None;
            }
            Ended::Unknown | Ended::NotAsked => {
                self.event(format_args!("{key} unread"));
                self.history.lock().unknown += 1;
                return None;
            }
        };
        let value = found.as_ref().map(|(value, ..)| *value);
        let at = self.event(format_args!("{key} is {value:?}"));
        let mut history = self.history.lock();
        history.done(key, place, at, Output::Found(value));
        let Some((value, etag, length)) = found else { return Some(None) };
        history.tag(&etag, value);
        if history.bodies.get(&value).is_none_or(|body| body.length != length) {
            history.violations.push(format!("I1: {key} has {length} bytes of value {value}, which nobody wrote"));
        }
        Some(Some((value, etag)))
    }

    pub(crate) async fn delete(&self, key: &str) {
        let place = self.begin(key, Input::Delete);
        let item = DeleteItem { key: key.into(), ..DeleteItem::default() };
        let request = DeleteRequest { bucket: bucket_of(key).into(), item };
        let ended = self.at_node(move |service| async move { service.delete_object(request).await }).await;
        self.end(key, place, &ended);
    }

    /// Uploads some parts, completes or aborts.
    async fn upload(&self, key: &str) {
        let length = self.length();
        let value = self.history.lock().new_value(length, Some(false));
        let body = body_of(value, length);
        let request =
            CreateUploadRequest { bucket: bucket_of(key).into(), key: key.into(), ..CreateUploadRequest::default() };
        let created = self.at_node(move |service| async move { service.create_upload(request).await }).await;
        let Ended::Answered(created) = created else { return };
        let mut parts = Vec::new();
        for (number, piece) in (1..).zip(self.pieces(&body)) {
            let request = PartRequest {
                bucket: bucket_of(key).into(),
                key: key.into(),
                upload_id: created.upload_id.clone(),
                part_number: number,
                length: Some(piece.len() as u64),
                ..PartRequest::default()
            };
            let sent =
                self.at_node(move |service| async move { service.upload_part(request, &mut Some(piece)).await }).await;
            // An upload that is left alone must do no harm either.
            let Ended::Answered(part) = sent else { return };
            parts.push(CompletedPart { part_number: number, etag: part.etag, checksum: None });
        }
        if self.chance.of_1000(200) {
            let upload = UploadRef { bucket: bucket_of(key).into(), key: key.into(), upload_id: created.upload_id };
            self.event(format_args!("{key} abort {value}"));
            self.at_node(move |service| async move { service.abort_upload(upload).await }).await;
            return;
        }
        self.complete(key, value, length, created.upload_id, parts).await;
    }

    /// The parts of a body.
    fn pieces(&self, body: &Bytes) -> Vec<Bytes> {
        let wanted = 1 + self.chance.below(PARTS_MAX) as usize;
        let piece = body.len().div_ceil(wanted).max(PART_BYTES_MIN as usize);
        (0..body.len()).step_by(piece).map(|start| body.slice(start..body.len().min(start + piece))).collect()
    }

    async fn complete(&self, key: &str, value: Value, length: usize, upload_id: String, parts: Vec<CompletedPart>) {
        let place = self.begin(key, Input::Write(value));
        self.history.lock().bodies.insert(value, Body { length, completed: Some(true) });
        let request = CompleteRequest {
            bucket: bucket_of(key).into(),
            key: key.into(),
            upload_id,
            parts,
            ..CompleteRequest::default()
        };
        let ended = self.at_node(move |service| async move { service.complete_upload(request).await }).await;
        self.end(key, place, &ended);
        if let Ended::Answered(outcome) = ended {
            self.written(key, value, &outcome);
        }
    }

    pub(crate) async fn list(&self) {
        let bucket = *self.chance.pick(&BUCKETS);
        let called = self.event(format_args!("list {bucket}"));
        let request = ListRequest { bucket: bucket.into(), limit: 1000, ..ListRequest::default() };
        let ended = self.at_node(move |service| async move { service.list_objects(request).await }).await;
        let Ended::Answered(page) = ended else {
            self.history.lock().unknown += 1;
            return;
        };
        let done = self.event(format_args!("listed {}", page.entries.len()));
        let mut history = self.history.lock();
        history.answered += 1;
        let keys = page.entries.into_iter().map(|entry| {
            let value = history.etags.get(&entry.etag).copied();
            (entry.key, value)
        });
        let keys = keys.collect();
        history.listings.push(Listing { bucket, called, done, keys });
    }
}

fn service(parts: &Parts) -> Arc<ObjectService> {
    parts.service.clone()
}

pub(crate) fn only(etag: &str) -> Conditions {
    Conditions { if_match: Some(EtagCondition::OneOf(vec![etag.to_owned()])), ..Conditions::default() }
}

/// All bytes of an object with its entity tag.
pub(crate) async fn read(service: &ObjectService, request: GetRequest) -> Result<(String, Bytes), ServiceError> {
    let found = service.get_object(request).await;
    // Of a key whose newest version is a delete marker nothing else is to be seen.
    let marked =
        |error| if matches!(error, ServiceError::DeleteMarker { .. }) { ServiceError::NoSuchKey } else { error };
    let mut found = found.map_err(marked)?;
    let mut bytes = Vec::new();
    while let Some(piece) = found.content.next().await {
        bytes.extend_from_slice(&piece?);
    }
    Ok((found.info.etag, bytes.into()))
}
