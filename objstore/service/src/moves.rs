//! Moving versions to other storage classes. Where that keeps bytes in another way, they are written anew, as they are on
//! the disks: encrypted ones stay so. One commit then names them and hands the former ones to the collector.
//!
//! Of an object of parts the rows of the new parts are committed as they are written, beside the object, and noted in
//! [`crate::keys::MOVES`]: a move that is cut off goes on there, and no transaction has more than a few of them.

use futures::StreamExt;
use karri_ring_node::Owner;
use karri_ring_types::{DataId, Redundancy, Timestamp, VersionId};
use serde::{Deserialize, Serialize};

use crate::api::Content;
use crate::body::{Unpublished, disk_size};
use crate::keys;
use crate::messages::{Answer, Change, Command, Query, Refusal, UpdateCommand, Written};
use crate::read::{Found, FoundPart, PART_ROWS_PER_QUERY, found_version, stored_bytes};
use crate::records::{Data, PartRun, encode_with_tail};
use crate::{ObjectService, ServiceError, VersionRef};

/// Bytes of part rows from which they are committed.
const STAGED_ROWS_BYTES_MIN: usize = 256 << 10;
/// Bytes of parts from which their rows are committed: so much is written again at most after a move was cut off.
const STAGED_BYTES_MIN: u64 = 256 << 20;
/// Parts that are written anew at a time.
const PARTS_IN_FLIGHT_MAX: usize = 4;

/// Moves a version to a class whose bytes are kept in another way: they have been written anew.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct MoveCommand {
    pub(crate) route: Vec<u8>,
    pub(crate) issued: Timestamp,
    pub(crate) operation: VersionId,
    pub(crate) version: VersionId,
    pub(crate) class: Option<String>,
    /// What the version's bytes were known by when they were read.
    pub(crate) from: DataId,
    /// Parts are those that were staged under this id.
    pub(crate) data: Data,
}

/// Keeps parts that a move has written anew. The answer is [`Staged`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StageCommand {
    pub(crate) route: Vec<u8>,
    pub(crate) issued: Timestamp,
    pub(crate) version: VersionId,
    pub(crate) class: Option<String>,
    pub(crate) from: DataId,
    /// The id of the new parts, if none were staged yet.
    pub(crate) data: DataId,
    /// Rows of parts, by their numbers. None: only begins.
    pub(crate) parts: Vec<(u16, Vec<u8>)>,
}

/// How far a move has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Staged {
    /// The id of the new parts.
    pub(crate) data: DataId,
    /// The number of the last one.
    pub(crate) last: u16,
}

/// A part that was written anew and that no commit names.
struct NewPart {
    number: u16,
    row: Vec<u8>,
    size: u64,
    /// None of a part whose bytes are in its row.
    unpublished: Option<(Data, Unpublished)>,
}

/// A move of a version, as it was found.
struct Moving<'a> {
    found: &'a Found,
    version: VersionId,
    class: Option<String>,
    from: DataId,
    redundancy: Redundancy,
}

impl ObjectService {
    /// Moves a version to another class. Until the commit nothing has changed.
    pub(crate) async fn move_to_class(
        &self,
        route: &[u8],
        version: VersionId,
        class: Option<String>,
    ) -> Result<Answer<()>, ServiceError> {
        let query = Query::Object { route: route.to_vec(), version: Some(VersionRef::Id(version)) };
        let Some(found) = found_version(route, &self.query_raw(route, &query).await?)? else {
            return Ok(Err(Refusal::NoSuchVersion));
        };
        let before = self.redundancy(found.record.description.storage_class.as_deref());
        let redundancy = self.redundancy(class.as_deref());
        let Some(from) = found.record.data.garbage_id().filter(|_| before != redundancy) else {
            return self.relabel(route, version, class).await;
        };
        let moving = Moving { found: &found, version, class, from, redundancy };
        if let Data::Parts { data, runs, .. } = &found.record.data {
            let new = match self.stage_parts(&moving, *data, runs).await? {
                Ok(new) => new,
                Err(refusal) => return Ok(Err(refusal)),
            };
            return self.commit_move(&moving, Data::Parts { data: new, loan: None, runs: runs.clone() }).await;
        }
        let length = disk_size(found.record.size, found.record.encryption.is_some());
        let owner = Owner { data: self.new_data(), route: found.route.clone() };
        let Some(content) = stored_bytes(&self.extents, &found.record.data, length) else {
            return Err(ServiceError::Internal("inline data is not moved".to_owned()));
        };
        let (data, unpublished) = self.store_again(content, length, owner, redundancy).await?;
        let answer = self.commit_move(&moving, data.clone()).await;
        settle(&answer, Some((data, unpublished))).await;
        answer
    }

    async fn commit_move(&self, moving: &Moving<'_>, data: Data) -> Result<Answer<()>, ServiceError> {
        let route = moving.found.route.clone();
        let command = Command::Move(Box::new(MoveCommand {
            route: route.clone(),
            issued: self.clock.now(),
            operation: self.new_version(),
            version: moving.version,
            class: moving.class.clone(),
            from: moving.from,
            data,
        }));
        Ok(self.command::<Written>(&route, &command).await?.map(|_| ()))
    }

    async fn relabel(
        &self,
        route: &[u8],
        version: VersionId,
        class: Option<String>,
    ) -> Result<Answer<()>, ServiceError> {
        let update = UpdateCommand {
            route: route.to_vec(),
            issued: self.clock.now(),
            operation: self.new_version(),
            version,
            change: Change::StorageClass(class),
        };
        let answer = self.command::<Written>(route, &Command::Update(Box::new(update))).await?;
        Ok(answer.map(|_| ()))
    }

    /// Writes the parts anew that are not yet; gives the id that they are staged under.
    async fn stage_parts(
        &self,
        moving: &Moving<'_>,
        data: DataId,
        runs: &[PartRun],
    ) -> Result<Answer<DataId>, ServiceError> {
        let Staged { data: new, mut last } = match self.stage(moving, self.new_data(), Vec::new()).await? {
            Ok(staged) => staged,
            Err(refusal) => return Ok(Err(refusal)),
        };
        let end = runs.last().map_or(0, |run| run.first + (run.count - 1));
        let is_used = |number: &u16| runs.iter().any(|run| *number >= run.first && number - run.first < run.count);
        while last < end {
            let (page, _) = self.part_rows(moving.found.data_route(), data, last, PART_ROWS_PER_QUERY).await?;
            let Some(seen) = page.last().map(|part| part.number) else { return Err(ServiceError::Unavailable) };
            let parts = page.into_iter().filter(|part| is_used(&part.number));
            let parts = futures::stream::iter(parts.map(|part| self.rewrite_part(moving, part, new)));
            let mut parts = parts.buffered(PARTS_IN_FLIGHT_MAX);
            let mut batch: Vec<NewPart> = Vec::new();
            while let Some(part) = parts.next().await {
                batch.push(part?);
                let rows: usize = batch.iter().map(|part| part.row.len()).sum();
                let bytes: u64 = batch.iter().map(|part| part.size).sum();
                if (rows >= STAGED_ROWS_BYTES_MIN || bytes >= STAGED_BYTES_MIN)
                    && let Err(refusal) = self.stage_batch(moving, new, &mut batch).await?
                {
                    return Ok(Err(refusal));
                }
            }
            drop(parts);
            if !batch.is_empty()
                && let Err(refusal) = self.stage_batch(moving, new, &mut batch).await?
            {
                return Ok(Err(refusal));
            }
            last = seen;
        }
        Ok(Ok(new))
    }

    async fn stage(
        &self,
        moving: &Moving<'_>,
        data: DataId,
        parts: Vec<(u16, Vec<u8>)>,
    ) -> Result<Answer<Staged>, ServiceError> {
        let route = moving.found.route.clone();
        let command = Command::Stage(Box::new(StageCommand {
            route: route.clone(),
            issued: self.clock.now(),
            version: moving.version,
            class: moving.class.clone(),
            from: moving.from,
            data,
            parts,
        }));
        self.command::<Staged>(&route, &command).await
    }

    async fn stage_batch(
        &self,
        moving: &Moving<'_>,
        data: DataId,
        batch: &mut Vec<NewPart>,
    ) -> Result<Answer<()>, ServiceError> {
        let (mut rows, mut written) = (Vec::new(), Vec::new());
        for part in batch.drain(..) {
            rows.push((part.number, part.row));
            written.extend(part.unpublished);
        }
        let answer = self.stage(moving, data, rows).await.map(|answer| answer.map(|_| ()));
        settle(&answer, written).await;
        answer
    }

    /// Writes one part anew.
    async fn rewrite_part(&self, moving: &Moving<'_>, part: FoundPart, new: DataId) -> Result<NewPart, ServiceError> {
        let FoundPart { number, mut record, inline } = part;
        let size = record.size;
        let length = disk_size(size, moving.found.record.encryption.is_some());
        let mut unpublished = None;
        if let Some(content) = stored_bytes(&self.extents, &record.data, length) {
            let owner = Owner { data: self.new_data(), route: keys::part(&moving.found.route, new, number) };
            let (data, written) = self.store_again(content, length, owner, moving.redundancy).await?;
            record.data = data.clone();
            unpublished = Some((data, written));
        }
        Ok(NewPart { number, row: encode_with_tail(&record, &inline), size, unpublished })
    }

    /// Writes stored bytes to new extents.
    async fn store_again(
        &self,
        mut content: Content,
        length: u64,
        owner: Owner,
        redundancy: Redundancy,
    ) -> Result<(Data, Unpublished), ServiceError> {
        let data = owner.data;
        let mut unpublished = self.unpublished(owner, Some(length), redundancy);
        let written = async {
            let sink = unpublished.sink()?;
            while let Some(piece) = content.next().await {
                sink.write(piece?).await?;
            }
            let extents = sink.finish().await?;
            let written: u64 = extents.iter().map(|extent| extent.length_bytes).sum();
            match written == length {
                true => Ok(extents),
                false => Err(ServiceError::Internal(format!("extents hold {written} bytes for {length}"))),
            }
        };
        match written.await {
            Ok(extents) => Ok((Data::Extents { data, loan: None, extents, skip: 0 }, unpublished)),
            Err(failure) => {
                unpublished.discard().await;
                Err(failure)
            }
        }
    }
}

/// What a commit named is published; what it refused, or may not have seen, is thrown away unless it is named after all.
async fn settle(answer: &Result<Answer<()>, ServiceError>, written: impl IntoIterator<Item = (Data, Unpublished)>) {
    for (data, unpublished) in written {
        match answer {
            Ok(Ok(())) => unpublished.publish(&data),
            Ok(Err(_)) | Err(_) => unpublished.discard().await,
        }
    }
}
