//! Steps on uploads in parts, and listings.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use karri_tests_model::Outcome;

use super::driver::{Fault, Pair, agree, key_of, md5_of, same};
use super::reference::{Ending, Line, Upload, Version};
use super::steps::{DELIMITERS, PREFIXES, When};
use crate::tests::support::BUCKET;
use crate::{
    CompleteRequest, CompletedPart, CreateUploadRequest, ListPartsRequest, ListRequest, ListUploadsRequest,
    ListVersionsRequest, ObjectLock, PART_SIZE_BYTES_MIN, PartCopyRequest, PartRequest, UploadRef,
};

impl Pair {
    fn upload(&self, pick: u8) -> Option<(usize, Upload)> {
        let at = usize::from(pick).checked_rem(self.reference.uploads.len())?;
        // The last ones are more likely to be open.
        let at = self.reference.uploads.len() - 1 - at;
        Some((at, self.reference.uploads[at].clone()))
    }

    pub(super) async fn begin(&mut self, key: &str) -> Outcome {
        let create = CreateUploadRequest { bucket: BUCKET.into(), key: key.into(), ..Default::default() };
        let id = self.world.service.create_upload(create).await.map_err(|error| error.to_string())?.upload_id;
        self.reference.uploads.push(Upload { key: key.into(), id, parts: BTreeMap::new(), completed: None });
        Ok(())
    }

    pub(super) async fn large_part(&mut self, upload: u8, number: u16) -> Outcome {
        self.part(upload, number, vec![number as u8; PART_SIZE_BYTES_MIN as usize].into()).await
    }

    pub(super) async fn part(&mut self, pick: u8, part_number: u16, body: Bytes) -> Outcome {
        let Some((at, upload)) = self.upload(pick) else { return Ok(()) };
        let part = PartRequest {
            bucket: BUCKET.into(),
            key: upload.key,
            upload_id: upload.id,
            part_number,
            ..Default::default()
        };
        let found = self.world.service.upload_part(part, &mut Some(body.clone())).await;
        let expected = if upload.completed.is_none() { Ok(md5_of(&body)) } else { Err("no upload") };
        if let Some((outcome, etag)) = agree(found, expected)? {
            same("entity tag", &outcome.etag, &etag)?;
            self.reference.uploads[at].parts.insert(part_number, (body, etag));
        }
        Ok(())
    }

    pub(super) async fn copy_part(&mut self, pick: u8, part_number: u16, from: &str) -> Outcome {
        let Some((at, upload)) = self.upload(pick) else { return Ok(()) };
        let source = self.reference.find(from, None).map(|version| version.body.clone().expect("an object"));
        let expected = if upload.completed.is_none() { source } else { Err("no upload") };
        let copy = PartCopyRequest {
            source_bucket: BUCKET.into(),
            source_key: from.into(),
            bucket: BUCKET.into(),
            key: upload.key,
            upload_id: upload.id,
            part_number,
            ..Default::default()
        };
        let found = self.world.service.upload_part_copy(copy).await;
        if let Some((outcome, body)) = agree(found, expected)? {
            same("entity tag", &outcome.part.etag, &md5_of(&body))?;
            self.reference.uploads[at].parts.insert(part_number, (body, outcome.part.etag));
        }
        Ok(())
    }

    pub(super) async fn complete(&mut self, pick: u8, mut numbers: Vec<u16>, when: When) -> Outcome {
        let Some((at, upload)) = self.upload(pick) else { return Ok(()) };
        numbers.sort_unstable();
        numbers.dedup();
        let (conditions, allowed) = self.condition(&upload.key, when);
        let etag_of = |number: &u16| upload.parts.get(number).map_or_else(|| md5_of(b"?"), |(_, etag)| etag.clone());
        let listed = |number: &u16| CompletedPart { part_number: *number, etag: etag_of(number), checksum: None };
        let request = CompleteRequest {
            bucket: BUCKET.into(),
            key: upload.key.clone(),
            upload_id: upload.id.clone(),
            parts: numbers.iter().map(listed).collect(),
            conditions,
            ..Default::default()
        };
        let found = self.world.service.complete_upload(request).await;
        if let Some(etag) = &upload.completed {
            // Answered again as long as it is remembered.
            return match found {
                Ok(outcome) => same("entity tag", &outcome.etag, etag),
                Err(_) => agree(found, Err::<(), _>("no upload")).map(drop),
            };
        }
        let expected = allowed.and_then(|()| whole(&upload, &numbers));
        let Some((outcome, (body, etag))) = agree(found, expected)? else { return Ok(()) };
        same("entity tag", &outcome.etag, &etag)?;
        let id = self.named(outcome.version)?;
        self.reference.uploads[at].completed = Some(etag.clone());
        let lock = ObjectLock::default();
        self.reference.write(&upload.key, Version { id, body: Some(body), etag, tag: None, lock });
        Ok(())
    }

    pub(super) async fn abort(&mut self, pick: u8) -> Outcome {
        let Some((at, upload)) = self.upload(pick) else { return Ok(()) };
        let abort = UploadRef { bucket: BUCKET.into(), key: upload.key, upload_id: upload.id };
        let expected = if upload.completed.is_none() { Ok(()) } else { Err("no upload") };
        if agree(self.world.service.abort_upload(abort).await, expected)?.is_some() {
            self.reference.uploads.remove(at);
        }
        Ok(())
    }

    pub(super) async fn list_uploads(&self) -> Outcome {
        let (list, mut found) = (ListRequest { bucket: BUCKET.into(), limit: 2, ..Default::default() }, Vec::new());
        let mut request = ListUploadsRequest { list, after_upload: None };
        loop {
            let page = self.world.service.list_uploads(request.clone()).await.map_err(|error| error.to_string())?;
            found.extend(page.uploads.into_iter().map(|upload| (upload.key, upload.upload_id)));
            let Some((key, upload)) = page.next else { break };
            (request.list.after, request.after_upload) = (Some(key), upload);
        }
        let open = || self.reference.uploads.iter().filter(|upload| upload.completed.is_none());
        let mut expected: Vec<_> = open().map(|upload| (upload.key.clone(), upload.id.clone())).collect();
        same("keys of uploads", &found.is_sorted_by_key(|(key, _)| key.clone()), &true)?;
        found.sort();
        expected.sort();
        same("uploads", &found, &expected)?;
        for upload in open() {
            let upload_ref = UploadRef { bucket: BUCKET.into(), key: upload.key.clone(), upload_id: upload.id.clone() };
            let mut request = ListPartsRequest { upload: upload_ref, after: 0, limit: 2 };
            let mut parts = Vec::new();
            loop {
                let page = self.world.service.list_parts(request.clone()).await.map_err(|error| error.to_string())?;
                parts.extend(page.parts.into_iter().map(|part| (part.part_number, part.etag)));
                let Some(next) = page.next else { break };
                request.after = next;
            }
            let expected: Vec<_> = upload.parts.iter().map(|(number, (_, etag))| (*number, etag.clone())).collect();
            same("parts", &parts, &expected)?;
        }
        Ok(())
    }

    pub(super) async fn list_step(&self, prefix: u8, delimiter: u8, after: Option<u8>, limit: u8) -> Outcome {
        let delimiter = Some(DELIMITERS[usize::from(delimiter)]).filter(|delimiter| !delimiter.is_empty());
        self.list(PREFIXES[usize::from(prefix)], delimiter, after.map(key_of), limit.into()).await
    }

    pub(super) async fn versions_step(&self, prefix: u8, delimiter: u8, limit: u8) -> Outcome {
        let delimiter = Some(DELIMITERS[usize::from(delimiter)]).filter(|delimiter| !delimiter.is_empty());
        self.list_versions(PREFIXES[usize::from(prefix)], delimiter, limit.into()).await
    }

    /// Lists objects page by page.
    pub(super) async fn list(&self, prefix: &str, delimiter: Option<&str>, after: Option<&str>, limit: u32) -> Outcome {
        let expected = self.reference.listing(prefix, delimiter, after);
        let mut request = ListRequest {
            bucket: BUCKET.into(),
            prefix: prefix.into(),
            delimiter: delimiter.map(str::to_owned),
            after: after.map(str::to_owned),
            limit,
        };
        let (mut found, mut skip) = (Vec::new(), 0);
        loop {
            let page = self.world.service.list_objects(request.clone()).await.map_err(|error| error.to_string())?;
            for entry in &page.entries {
                let etag = self.reference.current(&entry.key).map(|version| version.etag.as_str());
                same("entity tag in the listing", &Some(entry.etag.as_str()), &etag)?;
            }
            let keys = page.entries.into_iter().map(|entry| entry.key);
            let lines: BTreeSet<String> = keys.chain(page.common_prefixes).collect();
            same("lines of a page", &(lines.len() <= limit as usize), &true)?;
            found.extend(lines.into_iter().skip(skip));
            let Some(next) = page.next else { break };
            request.after = Some(next);
            skip = usize::from(self.fault == Fault::BorderSkipped);
        }
        same("listing", &found, &expected.into_iter().collect())
    }

    pub(super) async fn list_versions(&self, prefix: &str, delimiter: Option<&str>, limit: u32) -> Outcome {
        let expected = self.reference.versions(prefix, delimiter);
        let list = ListRequest {
            bucket: BUCKET.into(),
            prefix: prefix.into(),
            delimiter: delimiter.map(str::to_owned),
            after: None,
            limit,
        };
        let mut request = ListVersionsRequest { list, after_version: None };
        let (mut lines, mut prefixes) = (Vec::new(), BTreeSet::new());
        loop {
            let page = self.world.service.list_versions(request.clone()).await.map_err(|error| error.to_string())?;
            lines.extend(page.versions.into_iter().map(|version| Line {
                key: version.entry.key,
                id: version.version,
                marker: version.delete_marker,
                latest: version.latest,
                etag: if version.delete_marker { String::new() } else { version.entry.etag },
            }));
            prefixes.extend(page.common_prefixes);
            let Some((key, version)) = page.next else { break };
            (request.list.after, request.after_version) = (Some(key), version);
        }
        same("versions", &(lines, prefixes), &expected)
    }
}

/// The body and entity tag of an object made of these parts.
fn whole(upload: &Upload, numbers: &[u16]) -> Result<(Bytes, String), Ending> {
    let mut parts = Vec::new();
    for number in numbers {
        parts.push(upload.parts.get(number).ok_or("invalid part")?);
    }
    let (_, inner) = parts.split_last().ok_or("invalid")?;
    if inner.iter().any(|(body, _)| (body.len() as u64) < PART_SIZE_BYTES_MIN) {
        return Err("too small");
    }
    let etags: Vec<String> = parts.iter().map(|(_, etag)| etag.clone()).collect();
    let body: Vec<u8> = parts.iter().flat_map(|(body, _)| body.to_vec()).collect();
    Ok((body.into(), Pair::etag_of_parts(&etags)))
}
