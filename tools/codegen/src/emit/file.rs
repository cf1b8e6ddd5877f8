//! Import lines, found from the names that a file's code mentions.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use super::protocol::Protocol;
use crate::naming::snake;
use crate::plan::Plan;

/// Names of the wire crates' hand-written parts that emitted code may use.
const COMMON: &[(&str, &str)] = &[
    ("Fields", "crate::request"),
    ("FromStr", "std::str"),
    ("FromText", "crate::text"),
    ("Timestamp", "crate::time"),
    ("ToText", "crate::text"),
    ("WireError", "crate::error"),
    ("XmlWriter", "crate::xml_write"),
    ("ErrorCode", "super::errors"),
    ("XMLNS", "super"),
];

/// Those of the protocols of path, query and headers.
const REST: &[(&str, &str)] = &[
    ("Answer", "crate::response"),
    ("TimeFormat", "crate::time"),
    ("WireRequest", "crate::request"),
    ("WireResponse", "crate::response"),
    ("XmlReader", "crate::xml_read"),
    ("document", "crate::xml_read"),
    ("optional_document", "crate::xml_read"),
    ("text_document", "crate::xml_read"),
];

/// Those of the protocols of form parameters.
const FORMS: &[(&str, &str)] = &[
    ("Form", "crate::form"),
    ("Sensitive", "crate::sensitive"),
    ("UnknownValue", "crate::text"),
    ("one_of", "crate::text"),
    ("rules", "super"),
];

/// Those of the protocol of JSON bodies.
const JSON: &[(&str, &str)] = &[
    ("Document", "crate::json"),
    ("Fields", "crate::json_request"),
    ("Object", "crate::json"),
    ("Sensitive", "crate::sensitive"),
    ("ToJson", "crate::json"),
    ("UnknownValue", "crate::text"),
    ("Value", "serde_json"),
    ("one_of", "crate::text"),
    ("rules", "super"),
];

/// Where each name that needs an import comes from.
pub(crate) struct Imports {
    origins: BTreeMap<String, String>,
}

impl Imports {
    pub(crate) fn new(plan: &Plan) -> Self {
        let own = match plan.protocol {
            Protocol::Json => JSON,
            _ if plan.routing.is_some() => REST,
            _ => FORMS,
        };
        let runtime = COMMON.iter().chain(own);
        let mut origins: BTreeMap<String, String> =
            runtime.map(|(name, origin)| ((*name).to_owned(), (*origin).to_owned())).collect();
        for item in plan.enums.iter().filter(|item| !super::is_owned(plan, &item.name)) {
            origins.insert(item.name.clone(), "super::enums".to_owned());
        }
        for name in plan.structs.keys().filter(|name| !super::is_owned(plan, name)) {
            let shared = "super::shared".to_owned();
            origins.insert(format!("read_{}", snake(name)), shared.clone());
            origins.insert(format!("write_{}", snake(name)), shared.clone());
            origins.insert(name.clone(), shared);
        }
        Self { origins }
    }

    /// A file of docs, imports and code.
    pub(crate) fn file(&self, docs: &str, code: &str) -> String {
        let mut needed: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for word in code.lines().filter(|line| !is_docs_or_variant(line)).flat_map(free_words) {
            if let Some((name, origin)) = self.origins.get_key_value(word)
                && !defines(code, name)
            {
                needed.entry(origin).or_default().insert(name);
            }
        }
        let mut text = docs.to_owned();
        for (origin, names) in needed {
            let names: Vec<&str> = names.into_iter().collect();
            let _ = writeln!(text, "use {origin}::{{{}}};", names.join(", "));
        }
        text + "\n" + code
    }
}

fn defines(code: &str, name: &str) -> bool {
    ["struct", "enum", "fn"].iter().any(|keyword| {
        code.match_indices(&format!("{keyword} {name}"))
            .any(|(at, found)| !code[at + found.len()..].starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_'))
    })
}

/// Lines that name nothing which is used: documentation, and the variants of an enumeration.
fn is_docs_or_variant(line: &str) -> bool {
    let line = line.trim();
    let variant = line.strip_suffix(',').is_some_and(|name| name.chars().all(|c| c.is_ascii_alphanumeric()));
    line.starts_with("///") || variant
}

/// Identifiers of a line that are not in a string, not methods or fields, and not inside a path.
fn free_words(line: &str) -> impl Iterator<Item = &str> {
    // Emitted string literals hold no escaped quotes, so every second piece is outside of them.
    line.split('"').step_by(2).flat_map(|piece| {
        let words = piece.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').filter(|word| !word.is_empty());
        words.filter(move |word| {
            let before = &piece[..word.as_ptr() as usize - piece.as_ptr() as usize];
            !before.ends_with('.') && !before.ends_with("::")
        })
    })
}
