//! A node whose own storage fails ends: nobody knows then what is on its disk, and to wait for it helps nobody.

use std::error::Error;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};

use karri_ring_disk::DiskPath;
use tokio::sync::watch;

use crate::config::OnFailedLog;
use crate::error::RaftError;

/// There when what is on the disk is damaged. A restart would find the same, as the leader perhaps.
const MARK: &str = "DAMAGED";

/// Where failures of this node's storage are told.
pub(crate) struct Failure {
    mode: OnFailedLog,
    mark: DiskPath,
    found: watch::Sender<Option<String>>,
    closed: AtomicBool,
}

impl Failure {
    pub(crate) fn new(mode: OnFailedLog, dir: &DiskPath) -> Self {
        Self { mode, mark: dir.join(MARK), found: watch::Sender::new(None), closed: AtomicBool::new(false) }
    }

    /// Refuses a disk that was found damaged before; blocking.
    pub(crate) fn check_mark(&self) -> Result<(), RaftError> {
        match self.mark.read_if_there()? {
            None => Ok(()),
            Some(text) => Err(RaftError::Damaged {
                what: String::from_utf8_lossy(&text).trim().to_owned(),
                mark: self.mark.to_string(),
            }),
        }
    }

    /// From here on the stores are being closed, and what fails is of no interest.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::Release);
    }

    pub(crate) fn found(&self) -> Option<String> {
        self.found.borrow().clone()
    }

    pub(crate) async fn wait(&self) -> String {
        let mut found = self.found.subscribe();
        match found.wait_for(Option::is_some).await {
            Ok(found) => found.clone().unwrap_or_default(),
            Err(_) => std::future::pending().await,
        }
    }

    /// Ends the process, or notes the failure where it is restarted within its process. The first one counts.
    pub(crate) fn raise(&self, what: &str, error: &(dyn Error + 'static)) {
        if self.closed.load(Ordering::Acquire) || is_end_of_runtime(error) {
            return;
        }
        let text = format!("{what}: {}", chain(error));
        let first = self.found.send_if_modified(|found| {
            let first = found.is_none();
            found.get_or_insert_with(|| text.clone());
            first
        });
        if !first {
            return;
        }
        if is_damage(error)
            && let Err(error) = self.mark.replace(text.as_bytes())
        {
            tracing::warn!(%error, "the damage could not be noted");
        }
        match self.mode {
            OnFailedLog::Abort => {
                tracing::error!(error = text, "this node's storage failed; the process ends");
                std::process::abort();
            }
            OnFailedLog::Halt => tracing::error!(error = text, "this node's storage failed"),
        }
    }

    /// Passes a result on, and raises its error.
    pub(crate) fn watch<T>(&self, what: &str, result: io::Result<T>) -> io::Result<T> {
        if let Err(error) = &result {
            self.raise(what, error);
        }
        result
    }
}

fn next<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a (dyn Error + 'static)> {
    // The source of an `io::Error` is that of the error within it, which would be left out.
    match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
        Some(inner) => Some(inner),
        None => error.source(),
    }
}

fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut error = error;
    while let Some(source) = next(error) {
        let more = source.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        error = source;
    }
    text
}

/// Blocking work is given up when the runtime ends.
fn is_end_of_runtime(error: &(dyn Error + 'static)) -> bool {
    let mut error = Some(error);
    while let Some(one) = error {
        if one.downcast_ref::<tokio::task::JoinError>().is_some_and(tokio::task::JoinError::is_cancelled) {
            return true;
        }
        error = next(one);
    }
    false
}

/// Whether the bytes on the disk are wrong, rather than that the disk did not obey.
fn is_damage(error: &(dyn Error + 'static)) -> bool {
    let mut error = Some(error);
    while let Some(one) = error {
        let store = one.downcast_ref::<rocksdb::Error>();
        if store.is_some_and(|error| error.kind() == rocksdb::ErrorKind::Corruption) {
            return true;
        }
        error = next(one);
    }
    false
}
