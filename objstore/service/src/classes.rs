//! Storage classes: how the bytes of each are kept, and moving what is there from one to another.

use std::collections::BTreeMap;

use futures::StreamExt;
use karri_ring_node::Owner;
use karri_ring_types::{DataId, Redundancy, VersionId};

use crate::api::Content;
use crate::body::{Unpublished, disk_size};
use crate::keys;
use crate::messages::{Answer, Change, Command, MoveCommand, Query, Refusal, UpdateCommand, Written};
use crate::read::{Found, found_version, stored_bytes};
use crate::records::{Data, PartRun, encode_with_tail};
use crate::{ObjectService, STORAGE_CLASS_DEFAULT, ServiceError, VersionRef};

/// Storage classes that objects can have.
pub const STORAGE_CLASSES: [&str; 8] = [
    "STANDARD",
    "REDUCED_REDUNDANCY",
    "STANDARD_IA",
    "ONEZONE_IA",
    "INTELLIGENT_TIERING",
    "GLACIER",
    "DEEP_ARCHIVE",
    "GLACIER_IR",
];

/// Most bytes of the rows of the parts of an object that moves to another class: they are written in one transaction.
const PART_ROWS_BYTES_MAX: usize = 1 << 20;

/// How the bytes of each storage class are kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StorageClasses(BTreeMap<String, Redundancy>);

/// A class that there is not.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no storage class: one of {STORAGE_CLASSES:?}")]
pub struct UnknownClass(String);

impl StorageClasses {
    /// Classes that are kept otherwise than the cluster keeps anything.
    ///
    /// # Errors
    /// When there is no class of a name.
    pub fn new(classes: BTreeMap<String, Redundancy>) -> Result<Self, UnknownClass> {
        match classes.keys().find(|class| !STORAGE_CLASSES.contains(&class.as_str())) {
            Some(unknown) => Err(UnknownClass(unknown.clone())),
            None => Ok(Self(classes)),
        }
    }

    /// How objects of a class are kept; `None` is the default class.
    pub fn redundancy(&self, class: Option<&str>) -> Redundancy {
        self.0.get(class.unwrap_or(STORAGE_CLASS_DEFAULT)).copied().unwrap_or_default()
    }

    /// The numbers of nodes that hold an extent of any class.
    pub fn widths(&self) -> Vec<u8> {
        let mut widths: Vec<u8> = self.0.values().filter_map(|redundancy| redundancy.width()).collect();
        widths.sort_unstable();
        widths.dedup();
        widths
    }
}

/// New places of a version's bytes, which no commit names yet.
struct Rewritten {
    data: Data,
    /// Rows of parts, where it has some.
    parts: Vec<(u16, Vec<u8>)>,
    unpublished: Vec<(Data, Unpublished)>,
}

impl Rewritten {
    async fn discard(self) {
        for (_, unpublished) in self.unpublished {
            unpublished.discard().await;
        }
    }
}

impl ObjectService {
    /// How objects of a class are kept.
    pub(crate) fn redundancy(&self, class: Option<&str>) -> Redundancy {
        self.config.classes.redundancy(class)
    }

    /// Moves a version to another class. Where that keeps bytes in another way, they are written anew first; one commit
    /// then names them and hands the former ones to the collector. Until then nothing has changed.
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
        let Some(rewritten) = self.rewrite(&found, redundancy).await? else { return Ok(Err(Refusal::EntityTooLarge)) };
        let moving = MoveCommand {
            route: route.to_vec(),
            issued: self.clock.now(),
            operation: self.new_version(),
            version,
            class,
            from,
            data: rewritten.data.clone(),
            parts: rewritten.parts.clone(),
        };
        match self.command::<Written>(route, &Command::Move(Box::new(moving))).await {
            Ok(Ok(_)) => {
                rewritten.unpublished.into_iter().for_each(|(data, unpublished)| unpublished.publish(&data));
                Ok(Ok(()))
            }
            Ok(Err(refusal)) => {
                rewritten.discard().await;
                Ok(Err(refusal))
            }
            // In doubt: what was committed after all is not thrown away.
            Err(failure) => {
                rewritten.discard().await;
                Err(failure)
            }
        }
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

    /// Writes the bytes of a version anew, as they are on the disks: encrypted ones stay so. `None`: it has too many
    /// parts.
    async fn rewrite(&self, found: &Found, redundancy: Redundancy) -> Result<Option<Rewritten>, ServiceError> {
        match &found.record.data {
            Data::Parts { data, runs, .. } => self.rewrite_parts(found, *data, runs, redundancy).await,
            _ => {
                let length = disk_size(found.record.size, found.record.encryption.is_some());
                let owner = Owner { data: self.new_data(), route: found.route.clone() };
                let Some(content) = stored_bytes(&self.extents, &found.record.data, length) else {
                    return Err(ServiceError::Internal("inline data is not moved".to_owned()));
                };
                let (data, unpublished) = self.store_again(content, length, owner, redundancy).await?;
                let unpublished = vec![(data.clone(), unpublished)];
                Ok(Some(Rewritten { data, parts: Vec::new(), unpublished }))
            }
        }
    }

    async fn rewrite_parts(
        &self,
        found: &Found,
        data: DataId,
        runs: &[PartRun],
        redundancy: Redundancy,
    ) -> Result<Option<Rewritten>, ServiceError> {
        let new = self.new_data();
        let mut rewritten = Rewritten {
            data: Data::Parts { data: new, loan: None, runs: runs.to_vec() },
            parts: Vec::new(),
            unpublished: Vec::new(),
        };
        let mut bytes = 0;
        for number in runs.iter().flat_map(|run| run.first..run.first + run.count) {
            match self.rewrite_part(found, data, number, new, redundancy, &mut rewritten).await {
                Ok(row_bytes) => bytes += row_bytes,
                Err(failure) => {
                    rewritten.discard().await;
                    return Err(failure);
                }
            }
            if bytes > PART_ROWS_BYTES_MAX {
                tracing::warn!(version = %found.record.version, "an object has too many parts to move to another class");
                rewritten.discard().await;
                return Ok(None);
            }
        }
        Ok(Some(rewritten))
    }

    /// Writes one part anew; gives the bytes of its row.
    async fn rewrite_part(
        &self,
        found: &Found,
        data: DataId,
        number: u16,
        new: DataId,
        redundancy: Redundancy,
        rewritten: &mut Rewritten,
    ) -> Result<usize, ServiceError> {
        let page = self.part_rows(found.data_route(), data, number - 1, 1).await?.0;
        let Some(part) = page.into_iter().find(|part| part.number == number) else {
            return Err(ServiceError::Unavailable);
        };
        let mut record = part.record;
        let length = disk_size(record.size, found.record.encryption.is_some());
        if let Some(content) = stored_bytes(&self.extents, &record.data, length) {
            let owner = Owner { data: self.new_data(), route: keys::part(&found.route, new, number) };
            let (data, unpublished) = self.store_again(content, length, owner, redundancy).await?;
            rewritten.unpublished.push((data.clone(), unpublished));
            record.data = data;
        }
        let row = encode_with_tail(&record, &part.inline);
        let bytes = row.len();
        rewritten.parts.push((number, row));
        Ok(bytes)
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
