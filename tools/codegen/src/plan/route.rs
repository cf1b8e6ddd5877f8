//! The routing table: every operation of the whole model, so that what is not served is refused by name.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Result, ensure};

use crate::model::{Model, Operation};
use crate::settings::Settings;

/// What a request's path names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Service,
    Bucket,
    Object,
}

/// The whole table.
pub(crate) struct Routing {
    /// Query parameters that take part, with the value that they must have; the index is the bit.
    pub(crate) selectors: Vec<(String, Option<String>)>,
    /// Bits that an operation may ignore.
    pub(crate) weak: u64,
    /// The bit of the version id.
    pub(crate) version: u64,
    /// Every other query parameter of the model.
    pub(crate) parameters: BTreeSet<String>,
    /// Rules by path kind and method, most selective first.
    pub(crate) rules: BTreeMap<(Kind, String), Vec<Rule>>,
    /// The header that decides between neighbours.
    pub(crate) deciding_header: Option<String>,
}

pub(crate) struct Rule {
    pub(crate) operation: String,
    pub(crate) served: bool,
    pub(crate) required: u64,
    pub(crate) accepted: u64,
    /// Whether the deciding header must be there, or must not.
    pub(crate) header: Option<bool>,
}

/// An operation's place in the table before bits are given out.
struct Draft<'a> {
    name: &'a str,
    kind: Kind,
    method: &'a str,
    required: BTreeMap<String, Option<String>>,
    optional: BTreeSet<String>,
    header: bool,
}

impl Routing {
    pub(crate) fn resolve(model: &Model, settings: &Settings) -> Result<Self> {
        ensure!(settings.deciding_headers.len() <= 1, "the router knows one deciding header");
        let mut drafts = Vec::new();
        for (name, operation) in &model.operations {
            if !settings.foreign_operations.contains(name) {
                drafts.push(draft(model, settings, name, operation)?);
            }
        }
        let mut known: BTreeMap<String, Option<String>> = BTreeMap::new();
        for draft in &drafts {
            known.extend(draft.required.iter().map(|(name, value)| (name.clone(), value.clone())));
        }
        known.extend(settings.version_selector.iter().map(|name| (name.clone(), None)));
        let selectors: Vec<_> = known.into_iter().collect();
        ensure!(selectors.len() <= 64, "more selectors than bits");
        let bit = |name: &str| selectors.iter().position(|(known, _)| known == name).map_or(0, |index| 1u64 << index);
        let bits = |names: &mut dyn Iterator<Item = &String>| names.map(|name| bit(name)).fold(0, |all, one| all | one);

        let parameters = drafts.iter().flat_map(|draft| draft.optional.iter());
        let parameters = parameters.filter(|name| bit(name) == 0).cloned().collect();
        let mut rules: BTreeMap<(Kind, String), Vec<Rule>> = BTreeMap::new();
        for draft in &drafts {
            let rule = Rule {
                operation: draft.name.to_owned(),
                served: settings.operations.contains(draft.name),
                required: bits(&mut draft.required.keys()),
                accepted: bits(&mut draft.optional.iter()),
                header: draft.header.then_some(true),
            };
            let group = rules.entry((draft.kind, draft.method.to_owned())).or_default();
            let twin = group.iter_mut().find(|known| (known.required, known.header) == (rule.required, rule.header));
            match twin {
                // The model keeps the older form of some operations beside the newer.
                Some(twin) if rule.served && !twin.served => *twin = rule,
                Some(twin) => ensure!(
                    !(rule.served && twin.served),
                    "{} and {} cannot be told apart",
                    rule.operation,
                    twin.operation
                ),
                None => group.push(rule),
            }
        }
        for group in rules.values_mut() {
            let decided: Vec<u64> =
                group.iter().filter(|rule| rule.header.is_some()).map(|rule| rule.required).collect();
            for rule in group.iter_mut().filter(|rule| rule.header.is_none() && decided.contains(&rule.required)) {
                rule.header = Some(false);
            }
            group.sort_by_key(|rule| std::cmp::Reverse(rule.required.count_ones()));
        }
        let weak = bits(&mut settings.weak_selectors.iter());
        let version = bits(&mut settings.version_selector.iter());
        let deciding_header = settings.deciding_headers.first().cloned();
        Ok(Self { selectors, weak, version, parameters, rules, deciding_header })
    }
}

fn draft<'a>(model: &Model, settings: &Settings, name: &'a str, operation: &'a Operation) -> Result<Draft<'a>> {
    let (path, query) = operation.http.request_uri.split_once('?').unwrap_or((&operation.http.request_uri, ""));
    let kind = match path {
        "/" => Kind::Service,
        "/{Bucket}" => Kind::Bucket,
        "/{Bucket}/{Key+}" => Kind::Object,
        other => anyhow::bail!("operation {name} is at {other}; list it in foreign_operations or teach the router"),
    };
    let mut required: BTreeMap<String, Option<String>> = BTreeMap::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once('=').map_or((pair, None), |(key, value)| (key, Some(value.to_owned())));
        required.insert(key.to_owned(), value);
    }
    let mut optional = BTreeSet::new();
    let mut header = false;
    if let Some(input) = &operation.input {
        let shape = model.shape(&input.shape)?;
        for (member, reference) in &shape.members.0 {
            let wire = reference.location_name.clone().unwrap_or_else(|| member.clone());
            let must = shape.required.contains(member);
            match reference.location.as_deref() {
                Some("querystring") if must => {
                    required.entry(wire).or_default();
                }
                Some("querystring") => {
                    optional.insert(wire);
                }
                Some("header") if must => header |= settings.deciding_headers.contains(&wire.to_lowercase()),
                _ => {}
            }
        }
    }
    Ok(Draft { name, kind, method: &operation.http.method, required, optional, header })
}
