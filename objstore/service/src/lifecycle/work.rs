//! What is due in a bucket: found in the rows of the range that has it, page by page, and put before that range as
//! commands that look again. So it does not matter how often something is found, or whether it has changed since.

use std::mem;

use karri_ring_meta::{EvaluateError, View};
use karri_ring_types::{DataId, Timestamp, VersionId};
use serde::{Deserialize, Serialize};

use super::{Candidate, Due, Lifecycle, LifecycleDay};
use crate::keys::{self, BUCKET_CONFIGS, BUCKETS, BucketId, LIFECYCLE, UPLOADS, VERSIONS};
use crate::maintenance::evaluate_error;
use crate::messages::{Answer, Command, DeleteCommand, DeleteOnly, MarkCommand, Refusal, Written};
use crate::records::{BucketRecord, UploadRecord, VersionRecord, decode, decode_with_tail};
use crate::rows::{Rows, Step, load, store};
use crate::{BucketConfigKind, ObjectService, ServiceError, Versioning};

/// How far the pass through a bucket has come. Kept in the bucket's range, for whoever leads it next.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LifecycleProgress {
    /// Which pass.
    pub pass: u64,
    /// Where it goes on; `None`: it is at its end.
    pub cursor: Option<Cursor>,
}

/// Where a pass goes on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Cursor {
    /// In the versions, after this row.
    Versions(Vec<u8>, Box<Before>),
    /// In the uploads, after this row.
    Uploads(Vec<u8>),
}

impl Cursor {
    /// At the start.
    pub fn start() -> Self {
        Self::Versions(Vec::new(), Box::default())
    }
}

/// What is known of the object whose versions are looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Before {
    route: Vec<u8>,
    /// When the version was written that took the place of the next one.
    written: Timestamp,
    /// Noncurrent versions that were seen.
    noncurrent: u32,
    /// The delete marker that is newest, while nothing was seen behind it.
    marker: Option<VersionId>,
}

/// Something that is due.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LifecycleAction {
    route: Vec<u8>,
    what: What,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum What {
    /// The object ends.
    Expire(VersionId, Versioning),
    /// A version ends that is not current.
    ExpireNoncurrent(VersionId),
    /// A delete marker hides nothing.
    DropMarker(VersionId),
    /// A version moves to another class.
    Move(VersionId, Option<String>),
    /// An upload is given up.
    AbortUpload(DataId),
}

/// What is due in some rows of a bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LifecyclePage {
    /// What there is to do.
    pub actions: Vec<LifecycleAction>,
    /// Where the pass goes on; `None`: it is at its end.
    pub next: Option<Cursor>,
}

/// A bucket with rules.
#[derive(Clone, Debug)]
pub struct LifecycleBucket {
    id: BucketId,
    versioning: Versioning,
    lifecycle: Lifecycle,
    /// How far the last pass came.
    pub progress: LifecycleProgress,
}

impl LifecycleBucket {
    /// What tells it from other buckets.
    pub fn key(&self) -> &[u8] {
        &self.id.0
    }
}

/// The buckets with rules among up to `limit` buckets of a range that this node leads, after a key; and where to go
/// on.
///
/// # Errors
/// When the store fails.
pub fn lifecycle_buckets(
    view: &mut View<'_>,
    after: &[u8],
    limit: usize,
) -> Result<(Vec<LifecycleBucket>, Option<Vec<u8>>), ServiceError> {
    bucket_rows(view, after, limit).map_err(evaluate_error)
}

pub(crate) fn bucket_rows(
    rows: &mut dyn Rows,
    after: &[u8],
    limit: usize,
) -> Result<(Vec<LifecycleBucket>, Option<Vec<u8>>), EvaluateError> {
    let mut seen: Vec<BucketId> = Vec::new();
    let mut more = false;
    rows.scan(BUCKETS, after, &[], &mut |key, _| {
        if seen.len() == limit {
            more = true;
            return Ok(Step::Stop);
        }
        if key != after
            && let Ok(id) = key.try_into()
        {
            seen.push(BucketId(id));
        }
        Ok(Step::Next)
    })?;
    let next = seen.last().filter(|_| more).map(|id| id.0.to_vec());
    let mut found = Vec::new();
    for id in seen {
        found.extend(bucket_row(rows, id)?);
    }
    Ok((found, next))
}

/// A bucket, if it is there and has rules.
fn bucket_row(rows: &mut dyn Rows, id: BucketId) -> Result<Option<LifecycleBucket>, EvaluateError> {
    let Some(record) = load::<BucketRecord>(rows, BUCKETS, &id.0)? else { return Ok(None) };
    let row = rows.get(BUCKET_CONFIGS, &keys::config(id, BucketConfigKind::Lifecycle.row()))?;
    let Some(row) = row else { return Ok(None) };
    let progress = load(rows, LIFECYCLE, &id.0)?.unwrap_or_default();
    Ok(Some(LifecycleBucket { id, versioning: record.state.versioning, lifecycle: decode(&row)?, progress }))
}

/// What is due in up to `limit` rows of a bucket in a range that this node leads.
///
/// # Errors
/// When the store fails.
pub fn lifecycle_page(
    view: &mut View<'_>,
    bucket: &LifecycleBucket,
    cursor: Cursor,
    limit: usize,
    now: Timestamp,
    day: LifecycleDay,
) -> Result<LifecyclePage, ServiceError> {
    page_rows(view, bucket, cursor, limit, now, day).map_err(evaluate_error)
}

pub(crate) fn page_rows(
    rows: &mut dyn Rows,
    bucket: &LifecycleBucket,
    cursor: Cursor,
    limit: usize,
    now: Timestamp,
    day: LifecycleDay,
) -> Result<LifecyclePage, EvaluateError> {
    // Its rules may have been changed since the pass began, or taken away.
    let Some(bucket) = bucket_row(rows, bucket.id)? else {
        return Ok(LifecyclePage { actions: Vec::new(), next: None });
    };
    let mut pass = Pass { bucket: &bucket, now, day, actions: Vec::new() };
    let next = match cursor {
        Cursor::Versions(after, before) => pass.versions(rows, after, *before, limit)?,
        Cursor::Uploads(after) => pass.uploads(rows, after, limit)?,
    };
    Ok(LifecyclePage { actions: pass.actions, next })
}

struct Pass<'a> {
    bucket: &'a LifecycleBucket,
    now: Timestamp,
    day: LifecycleDay,
    actions: Vec<LifecycleAction>,
}

impl Pass<'_> {
    fn versions(
        &mut self,
        rows: &mut dyn Rows,
        after: Vec<u8>,
        mut before: Before,
        limit: usize,
    ) -> Result<Option<Cursor>, EvaluateError> {
        let (from, end) = self.range(&after);
        let mut last = after;
        let mut seen = 0;
        let mut more = false;
        rows.scan(VERSIONS, &from, &end, &mut |key, row| {
            if seen == limit {
                more = true;
                return Ok(Step::Stop);
            }
            seen += 1;
            last = key.to_vec();
            let Some(parsed) = keys::parse(key) else { return Ok(Step::Next) };
            let (record, _) = decode_with_tail::<VersionRecord>(row)?;
            if parsed.route != before.route {
                self.end_object(&mut before)?;
                before = Before { route: parsed.route.to_vec(), ..Before::default() };
                self.newest(&parsed.key, &record, &mut before);
            } else {
                self.noncurrent(&parsed.key, &record, &mut before);
            }
            before.written = record.modified;
            Ok(Step::Next)
        })?;
        if more {
            return Ok(Some(Cursor::Versions(last, Box::new(before))));
        }
        self.end_object(&mut before)?;
        Ok(self.bucket.lifecycle.aborts_uploads().then(|| Cursor::Uploads(Vec::new())))
    }

    fn newest(&mut self, key: &str, record: &VersionRecord, before: &mut Before) {
        if record.delete_marker {
            before.marker = Some(record.version);
            return;
        }
        let due = self.bucket.lifecycle.current(&candidate(key, record), record.modified, self.now, self.day);
        let what = match due {
            Some(Due::Expire) => What::Expire(record.version, self.bucket.versioning),
            Some(Due::Move(class)) => What::Move(record.version, class),
            None => return,
        };
        self.actions.push(LifecycleAction { route: before.route.clone(), what });
    }

    fn noncurrent(&mut self, key: &str, record: &VersionRecord, before: &mut Before) {
        before.marker = None;
        let lifecycle = &self.bucket.lifecycle;
        let due = lifecycle.noncurrent(&candidate(key, record), before.written, before.noncurrent, self.now, self.day);
        before.noncurrent = before.noncurrent.saturating_add(1);
        let what = match due {
            Some(Due::Expire) => What::ExpireNoncurrent(record.version),
            Some(Due::Move(class)) if !record.delete_marker => What::Move(record.version, class),
            _ => return,
        };
        self.actions.push(LifecycleAction { route: before.route.clone(), what });
    }

    /// A marker behind which nothing was seen hides nothing.
    fn end_object(&mut self, before: &mut Before) -> Result<(), EvaluateError> {
        let Some(marker) = before.marker.take() else { return Ok(()) };
        let key = keys::parse(&before.route).map(|parsed| parsed.key).unwrap_or_default();
        if self.bucket.lifecycle.lone_marker_is_due(&key, before.written, self.now, self.day) {
            let route = mem::take(&mut before.route);
            self.actions.push(LifecycleAction { route, what: What::DropMarker(marker) });
        }
        Ok(())
    }

    fn uploads(&mut self, rows: &mut dyn Rows, after: Vec<u8>, limit: usize) -> Result<Option<Cursor>, EvaluateError> {
        let (from, end) = self.range(&after);
        let mut last = after;
        let mut seen = 0;
        let mut more = false;
        rows.scan(UPLOADS, &from, &end, &mut |key, row| {
            if seen == limit {
                more = true;
                return Ok(Step::Stop);
            }
            seen += 1;
            last = key.to_vec();
            let Some(parsed) = keys::parse(key) else { return Ok(Step::Next) };
            let record = decode::<UploadRecord>(row)?;
            let due = self.bucket.lifecycle.upload_is_due(&parsed.key, record.initiated, self.now, self.day);
            if let Some(id) = keys::parse_id(parsed.rest).filter(|_| due) {
                let what = What::AbortUpload(DataId(id));
                self.actions.push(LifecycleAction { route: parsed.route.to_vec(), what });
            }
            Ok(Step::Next)
        })?;
        Ok(more.then_some(Cursor::Uploads(last)))
    }

    /// The rows of the bucket after one of them.
    fn range(&self, after: &[u8]) -> (Vec<u8>, Vec<u8>) {
        let start = &self.bucket.id.0;
        let from = if after.is_empty() { start.to_vec() } else { [after, &[0]].concat() };
        (from, keys::successor(start))
    }
}

fn candidate<'a>(key: &'a str, record: &'a VersionRecord) -> Candidate<'a> {
    Candidate {
        key,
        size: record.size,
        tags: &record.description.tags,
        class: record.description.storage_class.as_deref(),
    }
}

/// Keeps how far a pass has come.
pub(crate) fn progress_rows(
    rows: &mut dyn Rows,
    id: BucketId,
    progress: &LifecycleProgress,
) -> Result<(), EvaluateError> {
    if rows.get(BUCKETS, &id.0)?.is_some() {
        store(rows, LIFECYCLE, id.0.to_vec(), progress);
    }
    Ok(())
}

/// Forgets it, with the bucket.
pub(crate) fn drop_progress(rows: &mut dyn Rows, id: BucketId) -> Result<(), EvaluateError> {
    if rows.get(LIFECYCLE, &id.0)?.is_some() {
        rows.delete(LIFECYCLE, id.0.to_vec());
    }
    Ok(())
}

impl ObjectService {
    /// Does what is due; false when it was not so any more, or a lock stood against it.
    ///
    /// # Errors
    /// `Unavailable`; it is found again.
    pub async fn apply_lifecycle(&self, action: &LifecycleAction) -> Result<bool, ServiceError> {
        let LifecycleAction { route, what } = action;
        let answer = match what {
            What::Expire(version, Versioning::Unversioned) => {
                self.delete_only(route, *version, DeleteOnly::Current).await?
            }
            What::Expire(version, _) => {
                let mark = MarkCommand {
                    route: route.clone(),
                    issued: self.clock.now(),
                    marker: self.new_version(),
                    current: Some(*version),
                    owner: None,
                };
                let answer = self.command::<Written>(route, &Command::Mark(Box::new(mark))).await?;
                answer.map(|_| ())
            }
            What::ExpireNoncurrent(version) => self.delete_only(route, *version, DeleteOnly::Noncurrent).await?,
            What::DropMarker(version) => self.delete_only(route, *version, DeleteOnly::LoneMarker).await?,
            What::Move(version, class) => self.move_to_class(route, *version, class.clone()).await?,
            What::AbortUpload(upload) => {
                let abort = Command::AbortUpload { route: route.clone(), upload: *upload };
                self.command::<()>(route, &abort).await?
            }
        };
        match answer {
            Ok(()) => Ok(true),
            Err(Refusal::Stale | Refusal::Condemned) => Err(ServiceError::Unavailable),
            // Changed since, or locked.
            Err(_) => Ok(false),
        }
    }

    async fn delete_only(
        &self,
        route: &[u8],
        version: VersionId,
        only: DeleteOnly,
    ) -> Result<Answer<()>, ServiceError> {
        let delete = DeleteCommand { route: route.to_vec(), version, only, exclusive: None, bypass: false };
        self.command(route, &Command::Delete(Box::new(delete))).await
    }

    /// Keeps how far the pass through a bucket has come.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn keep_lifecycle_progress(
        &self,
        bucket: &LifecycleBucket,
        progress: LifecycleProgress,
    ) -> Result<(), ServiceError> {
        let command = Command::LifecycleProgress { id: bucket.id, progress: Box::new(progress) };
        self.execute::<()>(&bucket.id.0, crate::records::encode(&command)).await
    }
}
