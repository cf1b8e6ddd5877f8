//! The copy of the directory that all requests share, and how one of them replaces it when it has proved outdated.
//!
//! `tests/schedules` tries it under every order of threads.

use std::future::Future;
use std::sync::Arc;

use parking_lot::RwLock;
use tokio::sync::Mutex;

/// The newest copy of a directory `D`.
#[derive(Default)]
pub(crate) struct DirectoryCache<D> {
    newest: RwLock<Arc<D>>,
    /// Held by the one who reads the directory.
    reading: Mutex<()>,
}

impl<D> DirectoryCache<D> {
    /// The newest copy, which may be outdated.
    pub(crate) fn newest(&self) -> Arc<D> {
        self.newest.read().clone()
    }

    /// A newer copy than `outdated`, which `read` brings unless it is there. One reads at a time, and who waited takes what
    /// was read, unless that failed: each copy is replaced by one reading, however many found it outdated.
    pub(crate) async fn newer<E>(
        &self,
        outdated: &Arc<D>,
        read: impl Future<Output = Result<D, E>>,
    ) -> Result<Arc<D>, E> {
        let _one = self.reading.lock().await;
        let newest = self.newest();
        if !Arc::ptr_eq(outdated, &newest) {
            return Ok(newest);
        }
        let newest = Arc::new(read.await?);
        *self.newest.write() = newest.clone();
        Ok(newest)
    }
}

/// The copies that one request has gone by.
#[derive(Default)]
pub(crate) struct Followed<D> {
    used: Option<Arc<D>>,
    outdated: Option<Arc<D>>,
}

impl<D> Followed<D> {
    /// The request goes by `copy`.
    pub(crate) fn go_by(&mut self, copy: Arc<D>) {
        self.used = Some(copy);
    }

    /// The copy that the request went by is outdated. The newest may be another by now, which nobody has found wrong.
    pub(crate) fn misled(&mut self) {
        self.outdated = self.used.take();
    }

    /// Whether `copy` has misled the request.
    pub(crate) fn is_outdated(&self, copy: &Arc<D>) -> bool {
        self.outdated.as_ref().is_some_and(|outdated| Arc::ptr_eq(outdated, copy))
    }

    /// No newer copy can be had: the outdated one will do.
    pub(crate) fn make_do(&mut self) {
        self.outdated = None;
    }
}
