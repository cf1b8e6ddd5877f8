//! Steps on objects.

use std::time::Duration;

use bytes::Bytes;
use karri_tests_model::Outcome;

use super::driver::{CUT, Fault, Pair, agree, body_of, ending, etag_of, key_of, md5_of, same};
use super::reference::{Ending, Version, is_kept};
use super::steps::{Keep, Kind, Luck, Step, When};
use crate::keys::VERSIONS;
use crate::tests::support::{BUCKET, Fate, collect, put_request};
use crate::{
    Conditions, CopyRequest, DeleteItem, DeleteRequest, GetRequest, LockMode, MetadataDirective, ObjectLock, ObjectRef,
    PutRequest, RangeSpec, RenameRequest, ServiceError, VersionRef, Versioning,
};

impl Pair {
    pub(super) async fn take(&mut self, step: Step) -> Outcome {
        match step {
            Step::Put { key, body, when, luck, keep } => self.put(key_of(key), body, when, luck, keep).await,
            Step::Get { key, version, when, range } => self.get(key_of(key), version, when, range).await,
            Step::Delete { key, version, when, bypass } => self.delete(key_of(key), version, when, bypass).await,
            Step::DeleteMany { keys } => self.delete_many(&keys).await,
            Step::Copy { from, version, to, when } => self.copy(key_of(from), version, key_of(to), when).await,
            Step::Rename { from, to } => self.rename(key_of(from), key_of(to)).await,
            Step::Tag { key, version, tag } => self.tag(key_of(key), version, tag).await,
            Step::Hold { key, version, on } => self.hold(key_of(key), version, on).await,
            Step::Retain { key, version, keep, bypass } => self.retain(key_of(key), version, keep, bypass).await,
            Step::Versioning { on } => self.versioning(on).await,
            Step::Begin { key } => self.begin(key_of(key)).await,
            Step::Part { upload, number, body } => self.part(upload, number, body_of(body)).await,
            Step::LargePart { upload, number } => self.large_part(upload, number).await,
            Step::CopyPart { upload, number, from } => self.copy_part(upload, number, key_of(from)).await,
            Step::Complete { upload, numbers, when } => self.complete(upload, numbers, when).await,
            Step::Abort { upload } => self.abort(upload).await,
            Step::List { prefix, delimiter, after, limit } => self.list_step(prefix, delimiter, after, limit).await,
            Step::ListVersions { prefix, delimiter, limit } => self.versions_step(prefix, delimiter, limit).await,
            Step::Collect => {
                self.collect().await;
                Ok(())
            }
            Step::Reopen => {
                self.reopen();
                Ok(())
            }
            Step::Wait { seconds } => {
                self.world.clock.advance(Duration::from_secs(seconds.into()));
                Ok(())
            }
        }
    }

    fn current_etag(&self, key: &str) -> Option<String> {
        self.reference.current(key).map(|version| version.etag.clone())
    }

    /// The condition as it is sent, and whether it holds.
    pub(super) fn condition(&self, key: &str, when: When) -> (Conditions, Result<(), Ending>) {
        let current = self.current_etag(key);
        let sent = match self.fault {
            Fault::ConditionsDropped => Conditions::default(),
            _ => when.conditions(current.as_deref(), etag_of),
        };
        (sent, when.allows(current.as_deref(), etag_of))
    }

    /// How a version that was just written is to be named.
    pub(super) fn named(&self, told: Option<VersionRef>) -> Result<VersionRef, String> {
        match (self.reference.versioning, told) {
            (Versioning::Unversioned, None) => Ok(VersionRef::Null),
            (Versioning::Suspended, Some(VersionRef::Null)) => Ok(VersionRef::Null),
            (Versioning::Enabled, Some(VersionRef::Id(id))) => {
                let id = VersionRef::Id(id);
                let known = self.reference.keys.values().flatten().any(|version| version.id == id);
                (!known).then_some(id).ok_or_else(|| format!("version {id} is given twice"))
            }
            (versioning, told) => Err(format!("version {told:?} of a bucket that is {versioning:?}")),
        }
    }

    async fn put(&mut self, key: &str, body: u8, when: When, luck: Luck, keep: Keep) -> Outcome {
        let (conditions, allowed) = self.condition(key, when);
        let expected = match keep == Keep::No || self.reference.locked {
            true => allowed,
            false => Err("no lock"),
        };
        let lock = self.lock_of(keep);
        let sent = if self.fault == Fault::LockForgotten { ObjectLock::default() } else { lock };
        let put = PutRequest { conditions, lock: sent, ..put_request(key) };
        self.fate(luck);
        let found = self.world.service.put_object(put, &mut Some(body_of(body))).await;
        *self.world.meta.next_commit.lock() = Fate::Answered;
        let (body, etag) = (body_of(body), etag_of(body));
        let told = match (luck, expected) {
            (_, Err(refusal)) if luck == Luck::Answered => return agree(found, Err::<(), _>(refusal)).map(drop),
            // Refused by what was asked before, or at the commit of which no answer came.
            (_, Err(refusal)) => {
                let error = found.err().ok_or_else(|| format!("it succeeded instead of: {refusal}"))?;
                let told = ending(&error)?;
                return match told == refusal || told == "unavailable" {
                    true => Ok(()),
                    false => Err(format!("refused as {told} instead of {refusal}")),
                };
            }
            (Luck::Lost, Ok(())) => return agree(found, Err::<(), _>("unavailable")).map(drop),
            (Luck::Silent, Ok(())) => {
                agree(found, Err::<(), _>("unavailable"))?;
                self.newest(key).await?
            }
            (Luck::Answered, Ok(())) => {
                let Some((outcome, ())) = agree(found, Ok(()))? else { return Ok(()) };
                same("entity tag", &outcome.etag, &etag)?;
                same("size", &outcome.size, &(body.len() as u64))?;
                outcome.version
            }
        };
        let id = self.named(told)?;
        self.reference.write(key, Version { id, body: Some(body), etag, tag: None, lock });
        Ok(())
    }

    /// The version of a write of which no answer came.
    async fn newest(&self, key: &str) -> Result<Option<VersionRef>, String> {
        let get = GetRequest { bucket: BUCKET.into(), key: key.into(), ..Default::default() };
        let head = self.world.service.head_object(get).await;
        Ok(head.map_err(|error| format!("what was committed cannot be read: {error}"))?.info.version)
    }

    async fn get(&mut self, key: &str, pick: Option<u8>, when: When, range: Option<(u8, u8)>) -> Outcome {
        let version = self.reference.named(key, pick);
        let target = self.reference.find(key, version).cloned();
        let etag = target.as_ref().ok().map(|version| version.etag.clone());
        let conditions = when.conditions(etag.as_deref(), etag_of);
        let size = target.as_ref().map_or(0, |version| version.body.as_ref().map_or(0, Bytes::len)) as u64;
        let bounds = range.map(|(first, length)| {
            let first = u64::from(first) * size / 256;
            (first, first + u64::from(length) * 300)
        });
        let expected = target.and_then(|version| {
            let etag = Some(version.etag.as_str());
            match when {
                When::Absent => return Err("not modified"),
                When::IsNot(body) if etag == Some(&etag_of(body)) => return Err("not modified"),
                _ => when.allows(etag, etag_of)?,
            }
            let body = version.body.expect("an object");
            match bounds {
                Some(_) if body.is_empty() => Err("range"),
                Some((first, last)) => Ok(body.slice(first as usize..(last as usize + 1).min(body.len()))),
                None => Ok(body),
            }
        });
        let range = bounds.map(|(first, last)| RangeSpec::Between { first, last });
        let get =
            GetRequest { bucket: BUCKET.into(), key: key.into(), version, range, conditions, ..Default::default() };
        let found = match self.world.service.get_object(get).await {
            Ok(outcome) => collect(outcome).await,
            Err(error) => Err(error),
        };
        match agree(found, expected)? {
            Some((found, expected)) if found != expected => Err(format!("{} other bytes", found.len())),
            _ => Ok(()),
        }
    }

    /// What a delete should answer.
    fn deletes(&self, key: &str, version: Option<VersionRef>, when: When, bypass: bool) -> Result<(), Ending> {
        let conditional = when != When::Always;
        match version {
            None => match self.current_etag(key) {
                None if conditional => Err("no key"),
                etag => when.allows(etag.as_deref(), etag_of),
            },
            Some(id) => {
                let versions = self.reference.keys.get(key).map_or(&[][..], Vec::as_slice);
                let Some(version) = versions.iter().find(|version| version.id == id) else { return Ok(()) };
                when.allows(Some(&version.etag), etag_of)?;
                if is_kept(&version.lock, self.now(), bypass) { Err("locked") } else { Ok(()) }
            }
        }
    }

    fn deleted(&mut self, key: &str, version: Option<VersionRef>, told: Option<VersionRef>, marker: bool) -> Outcome {
        match (version, self.reference.versioning) {
            (Some(id), versioning) => {
                let versions = self.reference.keys.get(key).map_or(&[][..], Vec::as_slice);
                let before = versions.iter().find(|version| version.id == id);
                same("marker", &marker, &before.is_some_and(|version| version.body.is_none()))?;
                same("version", &told, &(versioning != Versioning::Unversioned).then_some(id))?;
                if before.is_some() {
                    self.reference.remove(key, id);
                }
            }
            (None, Versioning::Unversioned) => {
                same("told", &(told, marker), &(None, false))?;
                self.reference.keys.remove(key);
            }
            (None, _) => {
                same("marker", &marker, &true)?;
                let id = self.named(told)?;
                let (etag, lock) = (String::new(), ObjectLock::default());
                self.reference.write(key, Version { id, body: None, etag, tag: None, lock });
            }
        }
        Ok(())
    }

    async fn delete(&mut self, key: &str, pick: Option<u8>, when: When, bypass: bool) -> Outcome {
        let version = self.reference.named(key, pick);
        // A delete marker has no entity tag to compare.
        let is_object = version.is_none() || self.reference.find(key, version).is_ok();
        let when = if is_object { when } else { When::Always };
        let of_version = version.and_then(|id| self.reference.find(key, Some(id)).ok()).map(|found| found.etag.clone());
        let etag = of_version.or_else(|| self.current_etag(key));
        let conditions = match self.fault {
            Fault::ConditionsDropped => Conditions::default(),
            _ => when.conditions(etag.as_deref(), etag_of),
        };
        let expected = self.deletes(key, version, when, bypass);
        let rows = self.world.meta.state.lock().clone();
        let item = DeleteItem { key: key.into(), version, conditions, bypass_governance: bypass, ..Default::default() };
        let found = self.world.service.delete_object(DeleteRequest { bucket: BUCKET.into(), item }).await;
        if self.fault == Fault::VersionLeft {
            let mut state = self.world.meta.state.lock();
            for (row, value) in rows.into_iter().filter(|((_, table, _), _)| *table == VERSIONS.0) {
                state.entry(row).or_insert(value);
            }
        }
        match agree(found, expected)? {
            Some((outcome, ())) => self.deleted(key, version, outcome.version, outcome.delete_marker),
            None => Ok(()),
        }
    }

    async fn delete_many(&mut self, keys: &[u8]) -> Outcome {
        let mut keys: Vec<&str> = keys.iter().map(|key| key_of(*key)).collect();
        keys.sort_unstable();
        keys.dedup();
        let items = keys.iter().map(|key| DeleteItem { key: (*key).into(), ..Default::default() }).collect();
        let results = self.world.service.delete_objects(BUCKET, items).await.map_err(|error| error.to_string())?;
        same("results", &results.len(), &keys.len())?;
        for (key, result) in keys.into_iter().zip(results) {
            if let Some((outcome, ())) = agree(result, Ok(()))? {
                self.deleted(key, None, outcome.version, outcome.delete_marker)?;
            }
        }
        Ok(())
    }

    async fn copy(&mut self, from: &str, pick: Option<u8>, to: &str, when: When) -> Outcome {
        let version = self.reference.named(from, pick);
        let (conditions, allowed) = self.condition(to, when);
        let source = self.reference.find(from, version).cloned();
        let expected = source.and_then(|source| allowed.map(|()| source));
        let copy = CopyRequest {
            source_bucket: BUCKET.into(),
            source_key: from.into(),
            source_version: version,
            bucket: BUCKET.into(),
            key: to.into(),
            conditions,
            metadata: MetadataDirective::Replace { content: Default::default(), user_metadata: Vec::new() },
            ..Default::default()
        };
        let found = self.world.service.copy_object(copy).await;
        let Some((outcome, source)) = agree(found, expected)? else { return Ok(()) };
        same("entity tag", &outcome.object.etag, &source.etag)?;
        let id = self.named(outcome.object.version)?;
        self.reference.write(to, Version { id, lock: ObjectLock::default(), ..source });
        Ok(())
    }

    async fn rename(&mut self, from: &str, to: &str) -> Outcome {
        let far = self.kind == Kind::Cut && (from < CUT) != (to < CUT);
        let expected = match self.reference.find(from, None) {
            _ if from == to => Err("invalid"),
            Err(refusal) => Err(refusal),
            Ok(_) if self.reference.versioning != Versioning::Unversioned => Err("versions are kept"),
            Ok(_) if far => Err("other range"),
            Ok(source) => Ok(source.clone()),
        };
        let rename =
            RenameRequest { bucket: BUCKET.into(), source_key: from.into(), key: to.into(), ..Default::default() };
        let found = self.world.service.rename_object(rename).await;
        if let Some(((), source)) = agree(found, expected)? {
            self.reference.keys.remove(from);
            self.reference.write(to, source);
        }
        Ok(())
    }

    /// A change of a version that is there.
    fn changed(
        &mut self,
        key: &str,
        version: Option<VersionRef>,
        found: Result<Option<VersionRef>, ServiceError>,
        expected: Result<(), Ending>,
        change: impl FnOnce(&mut Version),
    ) -> Outcome {
        let target = self.reference.find(key, version).map(|version| version.id);
        let expected = target.and_then(|id| expected.map(|()| id));
        if let Some((told, id)) = agree(found, expected)? {
            let versioned = self.reference.versioning != Versioning::Unversioned;
            same("version", &told, &versioned.then_some(id))?;
            change(self.reference.version_mut(key, id));
        }
        Ok(())
    }

    fn object(&self, key: &str, pick: Option<u8>) -> ObjectRef {
        ObjectRef { bucket: BUCKET.into(), key: key.into(), version: self.reference.named(key, pick) }
    }

    async fn tag(&mut self, key: &str, pick: Option<u8>, tag: u8) -> Outcome {
        let object = self.object(key, pick);
        let found = self.world.service.set_tags(&object, vec![("t".into(), tag.to_string())]).await;
        self.changed(key, object.version, found, Ok(()), |version| version.tag = Some(tag.to_string()))
    }

    async fn hold(&mut self, key: &str, pick: Option<u8>, on: bool) -> Outcome {
        let object = self.object(key, pick);
        let found = self.world.service.set_legal_hold(&object, on).await;
        let expected = self.reference.locked.then_some(()).ok_or("no lock");
        self.changed(key, object.version, found, expected, |version| version.lock.legal_hold = Some(on))
    }

    async fn retain(&mut self, key: &str, pick: Option<u8>, keep: Keep, bypass: bool) -> Outcome {
        let object = self.object(key, pick);
        let after = self.lock_of(keep).retention;
        let before = self.reference.find(key, object.version).ok().and_then(|version| version.lock.retention);
        let holds = before.filter(|before| before.until > self.now());
        let longer = |before: crate::Retention| {
            after.is_some_and(|after| after.mode == before.mode && after.until >= before.until)
        };
        let free = |before: crate::Retention| longer(before) || (bypass && before.mode == LockMode::Governance);
        let expected = match self.reference.locked {
            false => Err("no lock"),
            true if holds.is_none_or(free) => Ok(()),
            true => Err("locked"),
        };
        let found = self.world.service.set_retention(&object, after, bypass).await;
        self.changed(key, object.version, found, expected, |version| version.lock.retention = after)
    }

    async fn versioning(&mut self, on: bool) -> Outcome {
        if self.kind == Kind::Cut {
            // Not offered: only one of the halves would know.
            return Ok(());
        }
        let versioning = if on { Versioning::Enabled } else { Versioning::Suspended };
        let expected = if self.reference.locked && !on { Err("needs versions") } else { Ok(()) };
        if agree(self.world.service.set_versioning(BUCKET, versioning).await, expected)?.is_some() {
            self.reference.versioning = versioning;
        }
        Ok(())
    }

    /// The entity tag of an object made of parts.
    pub(super) fn etag_of_parts(etags: &[String]) -> String {
        let bytes: Vec<u8> = etags.iter().flat_map(|etag| hex::decode(etag).unwrap_or_default()).collect();
        format!("{}-{}", md5_of(&bytes), etags.len())
    }
}
