//! Memory that all writers of a process share.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use super::WriteError;

/// Bytes of one permit.
pub(super) const PERMIT_BYTES: usize = 4096;

/// Bounds what writers hold. Who waits for some is known, so that others can let go of what they need not keep.
pub(crate) struct WriteMemory {
    permits: Arc<Semaphore>,
    waiting: watch::Sender<usize>,
}

/// Somebody waits, until this is dropped.
struct Waiting<'a>(&'a watch::Sender<usize>);

impl<'a> Waiting<'a> {
    fn new(waiting: &'a watch::Sender<usize>) -> Self {
        waiting.send_modify(|count| *count += 1);
        Self(waiting)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count -= 1);
    }
}

fn permits_of(bytes: usize) -> Result<u32, WriteError> {
    u32::try_from(bytes.div_ceil(PERMIT_BYTES)).map_err(|_| WriteError::Closed)
}

impl WriteMemory {
    pub(crate) fn new(bytes_max: usize) -> Self {
        let permits = (bytes_max / PERMIT_BYTES).min(Semaphore::MAX_PERMITS);
        Self { permits: Arc::new(Semaphore::new(permits)), waiting: watch::Sender::new(0) }
    }

    /// Memory for `bytes`, if there is some at once.
    pub(super) fn try_take(&self, bytes: usize) -> Result<Option<OwnedSemaphorePermit>, WriteError> {
        Ok(self.permits.clone().try_acquire_many_owned(permits_of(bytes)?).ok())
    }

    /// Waits for memory for `bytes`. Whoever waits holds none.
    pub(super) async fn take(&self, bytes: usize) -> Result<OwnedSemaphorePermit, WriteError> {
        let permits = permits_of(bytes)?;
        let _waiting = Waiting::new(&self.waiting);
        self.permits.clone().acquire_many_owned(permits).await.map_err(|_| WriteError::Closed)
    }

    /// Returns while somebody waits. Cancelling it loses nothing.
    pub(super) async fn wanted(&self) {
        // The sender is here as long as this is waited for.
        let _ = self.waiting.subscribe().wait_for(|count| *count > 0).await;
    }
}
