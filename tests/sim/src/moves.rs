//! What clients do to a key with what another has, and to the versions that it had.

use karri_objstore_service::{
    CopyRequest, DeleteItem, DeleteRequest, ListRequest, ListVersionsRequest, MetadataDirective, RenameRequest,
    VersionRef,
};
use karri_tests_linearizability::Input;

use crate::history::{Body, Version};
use crate::workload::{BUCKETS, Client, Ended, Meaning, bucket_of, meaning, number_of, only};

impl Client {
    /// Copies from another key what was read there a moment before.
    pub(crate) async fn copy(&self, key: &str) {
        let source = format!("key-{}", self.chance.below(self.keys));
        let Some(Some((value, etag))) = self.get(&source).await else { return };
        let place = self.begin(key, Input::Write(value));
        let request = CopyRequest {
            source_bucket: bucket_of(&source).into(),
            source_key: source.clone(),
            source_conditions: only(&etag),
            bucket: bucket_of(key).into(),
            key: key.into(),
            metadata: replaced(&source, key),
            ..CopyRequest::default()
        };
        let ended = self.at_node(move |service| async move { service.copy_object(request).await }).await;
        // A condition on the source that does not hold says nothing of what is at the key.
        if matches!(ended, Ended::Answered(_)) && self.history.lock().bodies.get(&value).is_some_and(Body::has_extents)
        {
            self.world.lock().checked.shared += 1;
        }
        self.end(key, place, &of_destination(&ended));
        if let Ended::Answered(outcome) = ended {
            self.written(key, value, &outcome.object);
        }
    }

    /// Gives a key of the bucket to what was read at another a moment before.
    pub(crate) async fn rename(&self, key: &str) {
        let (number, step) = (number_of(key), BUCKETS.len() as u64);
        let source = if number + step < self.keys { Some(number + step) } else { number.checked_sub(step) };
        let Some(source) = source.map(|source| format!("key-{source}")) else { return self.copy(key).await };
        let Some(Some((value, etag))) = self.get(&source).await else { return };
        let (taken, given) = (self.begin(&source, Input::DeleteIfMatch(value)), self.begin(key, Input::Write(value)));
        let request = RenameRequest {
            bucket: bucket_of(key).into(),
            source_key: source.clone(),
            source_conditions: only(&etag),
            key: key.into(),
            ..RenameRequest::default()
        };
        let ended = self.at_node(move |service| async move { service.rename_object(request).await }).await;
        self.end(key, given, &of_destination(&ended));
        if self.end(&source, taken, &ended) {
            self.world.lock().checked.renamed += 1;
        }
    }

    /// Deletes one of the versions that others are newer than; as nobody deletes the newest, it stays the newest.
    pub(crate) async fn delete_old_version(&self, key: &str) {
        let list =
            ListRequest { bucket: bucket_of(key).into(), prefix: key.into(), limit: 1000, ..ListRequest::default() };
        let request = ListVersionsRequest { list, ..ListVersionsRequest::default() };
        let listed = self.at_node(move |service| async move { service.list_versions(request).await }).await;
        let Ended::Answered(page) = listed else { return };
        let old: Vec<VersionRef> =
            page.versions.iter().filter(|found| !found.latest).map(|found| found.version).collect();
        if old.is_empty() {
            return;
        }
        let version = *self.chance.pick(&old);
        self.event(format_args!("{key} delete version {version}"));
        let named = Version { key: key.into(), version };
        self.history.lock().deleting.insert(named.clone());
        let item = DeleteItem { key: key.into(), version: Some(version), ..DeleteItem::default() };
        let request = DeleteRequest { bucket: bucket_of(key).into(), item };
        let ended = self.at_node(move |service| async move { service.delete_object(request).await }).await;
        if matches!(ended, Ended::Answered(_)) {
            self.history.lock().deleted.insert(named);
        }
    }
}

/// What the end of a copy or of a rename, whose condition is on its source, means for its destination.
fn of_destination<T>(ended: &Ended<T>) -> Ended<()> {
    match ended {
        Ended::Answered(_) => Ended::Answered(()),
        Ended::Failed(error) if matches!(meaning(error), Meaning::Maybe) => Ended::Unknown,
        Ended::Failed(_) | Ended::NotAsked => Ended::NotAsked,
        Ended::Unknown => Ended::Unknown,
    }
}

/// A copy onto itself must change something.
fn replaced(source: &str, key: &str) -> MetadataDirective {
    if source == key {
        MetadataDirective::Replace { content: Default::default(), user_metadata: vec![("again".into(), "yes".into())] }
    } else {
        MetadataDirective::Copy
    }
}
