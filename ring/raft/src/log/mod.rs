//! The log store: one RocksDB and one flusher thread for the logs and votes of all groups.

mod db;
mod flusher;
mod queue;
mod store;
#[cfg(test)]
mod suite_test;
mod view;

pub(crate) use db::LogDb;
pub(crate) use flusher::Flusher;
pub(crate) use store::{FlushGate, GroupLog, GroupStore};
