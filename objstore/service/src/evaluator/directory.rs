//! The directory of buckets, in the system range.

use karri_ring_meta::{EvaluateError, Evaluator, Latches, View};
use karri_ring_types::Timestamp;

use super::reply;
use crate::keys::{self, BUCKET_NAMES, BUCKET_OWNERS, METERED_ACCOUNTS};
use crate::messages::{DirectoryCommand, DirectoryQuery, Refusal};
use crate::records::{DirectoryEntry, EntryState, decode};
use crate::rows::{Rows, Step, load, store};

/// The evaluator of the directory of buckets.
#[derive(Debug, Default)]
pub(crate) struct DirectoryEvaluator;

impl Evaluator for DirectoryEvaluator {
    fn latches(&self, command: &[u8]) -> Latches {
        let name = match decode::<DirectoryCommand>(command) {
            Ok(DirectoryCommand::Reserve { entry, buckets_max }) => {
                // Who counts an account's buckets does so alone.
                let owner = super::latch(BUCKET_OWNERS, entry.record.owner.account_id.as_bytes());
                let name = super::latch(BUCKET_NAMES, entry.record.name.as_bytes());
                return match buckets_max {
                    Some(_) => Latches { shared: vec![], exclusive: vec![name, owner] },
                    None => Latches { shared: vec![owner], exclusive: vec![name] },
                };
            }
            Ok(DirectoryCommand::Activate { name, .. } | DirectoryCommand::Remove { name, .. }) => name,
            Ok(DirectoryCommand::Meter { account_id }) => {
                let owner = super::latch(BUCKET_OWNERS, account_id.as_bytes());
                return Latches { shared: Vec::new(), exclusive: vec![owner] };
            }
            Err(_) => return Latches::default(),
        };
        Latches { shared: Vec::new(), exclusive: vec![super::latch(BUCKET_NAMES, name.as_bytes())] }
    }

    fn evaluate(&self, view: &mut View<'_>, command: &[u8], now: Timestamp) -> Result<Vec<u8>, EvaluateError> {
        evaluate(view, command, now)
    }

    fn query(&self, view: &mut View<'_>, query: &[u8]) -> Result<Vec<u8>, EvaluateError> {
        answer(view, query)
    }
}

/// Carries out a command.
pub(crate) fn evaluate(rows: &mut dyn Rows, command: &[u8], now: Timestamp) -> Result<Vec<u8>, EvaluateError> {
    match decode::<DirectoryCommand>(command)? {
        DirectoryCommand::Reserve { mut entry, buckets_max } => {
            let name = entry.record.name.clone().into_bytes();
            if let Some(there) = load::<DirectoryEntry>(rows, BUCKET_NAMES, &name)? {
                return reply(&Ok::<_, Refusal>(there));
            }
            if let Some(max) = buckets_max
                && has_buckets(rows, &entry.record.owner.account_id, max)?
            {
                return reply(&Err::<DirectoryEntry, _>(Refusal::QuotaExceeded));
            }
            entry.record.created = now;
            entry.record.metered = rows.get(METERED_ACCOUNTS, entry.record.owner.account_id.as_bytes())?.is_some();
            let owner = keys::owner(&entry.record.owner.account_id, &entry.record.name);
            rows.put(BUCKET_OWNERS, owner, Vec::new());
            store(rows, BUCKET_NAMES, name, &entry);
            reply(&Ok::<_, Refusal>(entry))
        }
        DirectoryCommand::Activate { name, id } => {
            let entry = load::<DirectoryEntry>(rows, BUCKET_NAMES, name.as_bytes())?;
            if let Some(mut entry) = entry.filter(|entry| entry.id == id && entry.state == EntryState::Creating) {
                entry.state = EntryState::Active;
                entry.documents.clear();
                store(rows, BUCKET_NAMES, name.into_bytes(), &entry);
            }
            reply(&())
        }
        DirectoryCommand::Remove { name, id } => {
            let entry = load::<DirectoryEntry>(rows, BUCKET_NAMES, name.as_bytes())?;
            if let Some(entry) = entry.filter(|entry| entry.id == id && entry.state == EntryState::Active) {
                rows.delete(BUCKET_OWNERS, keys::owner(&entry.record.owner.account_id, &name));
                rows.delete(BUCKET_NAMES, name.into_bytes());
            }
            reply(&())
        }
        DirectoryCommand::Meter { account_id } => {
            let account = account_id.into_bytes();
            if rows.get(METERED_ACCOUNTS, &account)?.is_none() {
                rows.put(METERED_ACCOUNTS, account, Vec::new());
            }
            reply(&())
        }
    }
}

/// Whether an account has this many buckets or more.
fn has_buckets(rows: &mut dyn Rows, account_id: &str, count: u64) -> Result<bool, EvaluateError> {
    let start = keys::owner(account_id, "");
    let mut found = 0;
    if count > 0 {
        rows.scan(BUCKET_OWNERS, &start, &keys::successor(&start), &mut |_, _| {
            found += 1;
            Ok(if found < count { Step::Next } else { Step::Stop })
        })?;
    }
    Ok(found >= count)
}

/// Answers a query.
pub(crate) fn answer(rows: &mut dyn Rows, query: &[u8]) -> Result<Vec<u8>, EvaluateError> {
    match decode::<DirectoryQuery>(query)? {
        DirectoryQuery::Lookup { name } => reply(&load::<DirectoryEntry>(rows, BUCKET_NAMES, name.as_bytes())?),
        DirectoryQuery::List { account_id, after, limit } => {
            let start = keys::owner(&account_id, "");
            let from = keys::owner(&account_id, &after);
            let mut names = Vec::new();
            rows.scan(BUCKET_OWNERS, &from, &keys::successor(&start), &mut |key, _| {
                if names.len() >= usize::try_from(limit).unwrap_or(usize::MAX) {
                    return Ok(Step::Stop);
                }
                if key != from || after.is_empty() {
                    names.push(key[start.len()..].to_vec());
                }
                Ok(Step::Next)
            })?;
            let mut entries = Vec::with_capacity(names.len());
            for name in names {
                entries.extend(load::<DirectoryEntry>(rows, BUCKET_NAMES, &name)?);
            }
            reply(&entries)
        }
    }
}
