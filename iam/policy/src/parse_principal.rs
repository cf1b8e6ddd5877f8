//! The Principal element.

use crate::error::PolicyErrorKind;
use crate::json::{Node, Value};
use crate::parse::{Document, Result};
use crate::principal_match::{Entry, Principals};

/// Reads `"*"` or `{"AWS": ..., "Federated": ..., "Service": ..., "CanonicalUser": ...}`.
pub(crate) fn principals(document: &Document<'_>, node: &Node, is_negated: bool) -> Result<Principals> {
    if let Value::String(text) = &node.value {
        if text != "*" {
            return Err(document.error(node.at, PolicyErrorKind::Principal(text.clone())));
        }
        return Ok(Principals { is_negated, entries: vec![Entry::Everyone] });
    }
    let members = document.object(node, "Principal")?;
    let mut entries = Vec::new();
    for member in members {
        let read: fn(&str) -> Option<Entry> = match member.name.as_str() {
            "AWS" => aws,
            "Federated" => federated,
            "Service" => service,
            "CanonicalUser" => canonical,
            _ => return Err(document.error(member.at, PolicyErrorKind::Principal(member.name.clone()))),
        };
        for (node, text) in document.strings(&member.node, "Principal")? {
            let fault =
                || document.error(node.at, PolicyErrorKind::Principal(format!("\"{}\":\"{text}\"", member.name)));
            entries.push(read(text).ok_or_else(fault)?);
        }
    }
    if entries.is_empty() {
        return Err(document.error(node.at, PolicyErrorKind::MissingField("Principal")));
    }
    Ok(Principals { is_negated, entries })
}

/// True for an account's id: 12 digits.
pub(crate) fn is_account_id(text: &str) -> bool {
    text.len() == 12 && text.bytes().all(|b| b.is_ascii_digit())
}

/// True for an account's name. Eucalyptus has names in ARNs, so policies that come from there parse; here they name
/// nobody, because principals are known by ids alone.
fn is_account_name(text: &str) -> bool {
    let is_part = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    (3..=63).contains(&text.len()) && text.bytes().all(is_part) && text.bytes().any(|b| b.is_ascii_lowercase())
}

fn aws(text: &str) -> Option<Entry> {
    if text == "*" {
        return Some(Entry::Everyone);
    }
    if is_account_id(text) {
        return Some(Entry::Account(text.to_owned()));
    }
    let Some(rest) = text.strip_prefix("arn:") else { return unique_id(text) };
    let mut parts = rest.splitn(5, ':');
    let (partition, service, region) = (parts.next()?, parts.next()?, parts.next()?);
    let (account, resource) = (parts.next()?, parts.next()?);
    if partition.is_empty() || !region.is_empty() || text.contains(['*', '?', '$']) {
        return None;
    }
    if !is_account_id(account) && !is_account_name(account) {
        return None;
    }
    let (kind, name) = resource.split_once('/').unwrap_or((resource, ""));
    match (service, kind) {
        ("iam", "root") if name.is_empty() => Some(Entry::Account(account.to_owned())),
        ("iam", "user" | "role") | ("sts", "federated-user") if !name.is_empty() => Some(Entry::Arn(text.to_owned())),
        ("sts", "assumed-role") => {
            let (role, session) = name.split_once('/')?;
            (!role.is_empty() && !session.is_empty()).then(|| Entry::Arn(text.to_owned()))
        }
        _ => None,
    }
}

/// `AIDA...`, `AROA...`, or `AROA...:session`.
fn unique_id(text: &str) -> Option<Entry> {
    let id = text.split(':').next()?;
    let is_id = (16..=128).contains(&id.len())
        && (id.starts_with("AIDA") || id.starts_with("AROA"))
        && id.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit());
    is_id.then(|| Entry::UniqueId(text.to_owned()))
}

fn federated(text: &str) -> Option<Entry> {
    (!text.is_empty() && !text.contains(['*', '?'])).then(|| Entry::Federated(text.to_owned()))
}

fn service(text: &str) -> Option<Entry> {
    let is_name = text.bytes().all(|b| b.is_ascii_alphanumeric() || b".-".contains(&b)) && text.contains('.');
    is_name.then(|| Entry::Service(text.to_owned()))
}

fn canonical(text: &str) -> Option<Entry> {
    let is_id = !text.is_empty() && text.len() <= 128 && text.bytes().all(|b| b.is_ascii_alphanumeric());
    is_id.then(|| Entry::CanonicalUser(text.to_owned()))
}
