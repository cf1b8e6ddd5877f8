//! The model and the settings resolved into what the emitted Rust needs: names, types, places on the wire, and which
//! file a structure goes to. Nothing here depends on how a protocol spells things.

mod pattern;
mod route;
#[cfg(test)]
mod tests;
mod types;

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, bail, ensure};

use crate::emit::protocol::Protocol;
use crate::model::{Model, Reference, Shape};
use crate::naming::{pascal, snake};
use crate::settings::Settings;

pub(crate) use self::route::{Kind, Routing, Rule};
pub(crate) use self::types::{Body, Enum, Member, Operation, Place, Plan, Rules, Struct, TimeFormat, Type};

/// Request documents of operations without a limit of their own.
const DOCUMENT_BYTES: usize = 64 << 10;

/// Which side of the wire a structure is seen from.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Request,
    Answer,
}

struct Resolver<'a> {
    model: &'a Model,
    settings: &'a Settings,
    /// Enum shapes that some input of the allow-list reaches.
    closed: BTreeSet<String>,
    protocol: Protocol,
    structs: BTreeMap<String, Struct>,
    enums: BTreeSet<String>,
    rules: BTreeMap<String, Rules>,
    /// Shapes that are being resolved, against recursion.
    open: Vec<String>,
}

impl Plan {
    pub(crate) fn resolve(model: &Model, settings: &Settings) -> Result<Self> {
        let protocol = Protocol::named(&model.metadata.protocol)?;
        for name in &settings.operations {
            ensure!(model.operations.contains_key(name), "the allow-list names {name}, which the model does not have");
        }
        let mut resolver = Resolver {
            model,
            settings,
            closed: BTreeSet::new(),
            protocol,
            structs: BTreeMap::new(),
            enums: BTreeSet::new(),
            rules: BTreeMap::new(),
            open: Vec::new(),
        };
        resolver.closed = resolver.closed_enums()?;
        let mut operations = Vec::new();
        for name in &settings.operations {
            operations.push(resolver.operation(name).with_context(|| format!("operation {name}"))?);
        }
        let enums = resolver.emitted_enums()?;
        let (structs, rules) = (resolver.structs, resolver.rules);
        assign_files(&mut operations, &structs);
        let coverage = model.operations.keys().map(|name| (name.clone(), settings.operations.contains(name))).collect();
        let routing = if protocol.routes_by_path() { Some(Routing::resolve(model, settings)?) } else { None };
        let (errors, version) = (errors(model, settings, protocol)?, model.metadata.api_version.clone());
        let target_prefix = model.metadata.target_prefix.clone();
        Ok(Self { protocol, operations, structs, enums, errors, routing, version, target_prefix, rules, coverage })
    }
}

impl Resolver<'_> {
    /// Enum shapes reachable from the inputs of the allow-list, less the open ones.
    fn closed_enums(&self) -> Result<BTreeSet<String>> {
        let mut seen = BTreeSet::new();
        let mut queue: Vec<&str> = Vec::new();
        for name in &self.settings.operations {
            queue.extend(self.model.operations[name].input.as_ref().map(|input| input.shape.as_str()));
        }
        while let Some(name) = queue.pop() {
            if seen.insert(name.to_owned()) {
                let shape = self.model.shape(name)?;
                queue.extend(shape.members.0.iter().map(|(_, member)| member.shape.as_str()));
                queue.extend(shape.member.as_ref().map(|item| item.shape.as_str()));
            }
        }
        seen.retain(|name| self.model.shapes[name].values.is_some() && !self.settings.open_enums.contains(name));
        Ok(seen)
    }

    fn operation(&mut self, name: &str) -> Result<Operation> {
        let operation = &self.model.operations[name];
        let input = self.top(operation.input.as_ref(), format!("{}Input", pascal(name)), Side::Request)?;
        let output = self.top(operation.output.as_ref(), format!("{}Output", pascal(name)), Side::Answer)?;
        let streams = operation.input.as_ref().map(|input| self.streaming(&input.shape)).transpose()?.unwrap_or(false);
        let document = input.members.iter().any(|member| member.place == Place::Body);
        let limit = self.settings.body_limits.get(name).copied().unwrap_or(DOCUMENT_BYTES);
        let body = match (streams, document) {
            (true, _) => Body::Stream,
            (false, true) => Body::Document(limit),
            (false, false) => Body::None,
        };
        let named = self.settings.root_elements.get(name).cloned();
        let root = match (named, output.payload) {
            (Some(root), _) => root,
            (None, Some(index)) => output.members[index].wire.clone(),
            (None, None) => {
                let wrapper = operation.output.as_ref().and_then(|output| output.result_wrapper.clone());
                match output.members.is_empty() {
                    true => wrapper.unwrap_or_default(),
                    false => wrapper.unwrap_or_else(|| format!("{name}Result")),
                }
            }
        };
        Ok(Operation {
            name: name.to_owned(),
            snake: snake(name),
            input,
            output,
            status: operation.http.response_code.unwrap_or(200),
            status_when: self.settings.status_when.get(name).cloned(),
            body,
            root,
            unwrapped: self.settings.unwrapped.contains(name),
            payload_type: self.settings.payload_types.get(name).cloned(),
            own: BTreeSet::new(),
        })
    }

    /// Whether the shape's payload is a body that is streamed.
    fn streaming(&self, shape: &str) -> Result<bool> {
        let shape = self.model.shape(shape)?;
        Ok(shape.members.0.iter().any(|(_, member)| self.is_stream(member)))
    }

    fn is_stream(&self, member: &Reference) -> bool {
        let blob = || self.model.shapes.get(&member.shape).is_some_and(|shape| shape.kind == "blob");
        member.streaming || (self.protocol.streams_blobs() && blob())
    }

    /// An operation's input or output; empty where the model has none.
    fn top(&mut self, reference: Option<&Reference>, name: String, side: Side) -> Result<Struct> {
        match reference {
            Some(reference) => self.structure(&reference.shape, name, side),
            None => Ok(Struct {
                name,
                members: Vec::new(),
                refused: Vec::new(),
                payload: None,
                namespace: None,
                defaults: true,
                read: side == Side::Request,
                written: side == Side::Answer,
            }),
        }
    }

    fn structure(&mut self, shape_name: &str, name: String, side: Side) -> Result<Struct> {
        ensure!(!self.open.iter().any(|open| open == shape_name), "{shape_name} contains itself");
        self.open.push(shape_name.to_owned());
        let shape = self.model.shape(shape_name)?;
        let mut members = Vec::new();
        let mut refused = Vec::new();
        for (member_name, reference) in &shape.members.0 {
            if self.is_stream(reference) {
                continue;
            }
            let member = self.member(shape, member_name, reference, side)?;
            if self.settings.refused_members.contains(member_name) {
                refused.push(member);
            } else {
                members.push(member);
            }
        }
        self.open.pop();
        let payload = shape.payload.as_ref();
        let payload = payload.and_then(|payload| members.iter().position(|member| member.model_name == *payload));
        let defaults = members.iter().all(|member| !member.required || self.has_default(&member.ty));
        let namespace = shape.xml_namespace.as_ref();
        let namespace = namespace.and_then(|ns| ns.prefix.as_ref().map(|prefix| (prefix.clone(), ns.uri.clone())));
        let (read, written) = (side == Side::Request, side == Side::Answer);
        Ok(Struct { name, members, refused, payload, namespace, defaults, read, written })
    }

    fn has_default(&self, ty: &Type) -> bool {
        match ty {
            Type::Enum(_) => false,
            Type::Struct(name) => self.structs.get(name).is_some_and(|inner| inner.defaults),
            _ => true,
        }
    }

    fn member(&mut self, owner: &Shape, name: &str, reference: &Reference, side: Side) -> Result<Member> {
        let place = match reference.location.as_deref() {
            None if reference.xml_attribute => Place::Attribute,
            None => Place::Body,
            Some("uri") => Place::Path,
            Some("querystring") => Place::Query,
            Some("header") => Place::Header,
            Some("headers") => Place::HeaderMap,
            Some(other) => bail!("member {name} is at {other}, which the generator does not know"),
        };
        let wire = reference.location_name.clone().unwrap_or_else(|| name.to_owned());
        let wire = if place == Place::Header || place == Place::HeaderMap { wire.to_lowercase() } else { wire };
        let rules = if side == Side::Request { self.rules_of(&reference.shape)? } else { None };
        Ok(Member {
            rules,
            omit_empty: self.settings.omit_empty.contains(name),
            model_name: name.to_owned(),
            field: snake(name),
            wire,
            place,
            required: owner.required.iter().any(|required| required == name),
            ty: self.ty(reference, place, side).with_context(|| format!("member {name}"))?,
            empty_is_absent: self.settings.empty_is_absent.contains(name),
            may_be_empty: self.settings.may_be_empty.contains(name),
        })
    }

    fn ty(&mut self, reference: &Reference, place: Place, side: Side) -> Result<Type> {
        let name = reference.shape.as_str();
        let shape = self.model.shape(name)?;
        Ok(match shape.kind.as_str() {
            "string" if self.closed.contains(name) => {
                self.enums.insert(name.to_owned());
                Type::Enum(pascal(name))
            }
            "string" if self.protocol.hides_secrets() && shape.sensitive => Type::Secret,
            "string" | "character" => Type::Text,
            "blob" if shape.sensitive => Type::SecretBlob,
            "blob" => Type::Blob,
            "integer" => Type::Integer,
            "long" => Type::Long,
            "boolean" => Type::Boolean,
            "timestamp" if self.settings.text_timestamps.contains(name) => Type::Text,
            "timestamp" => Type::Timestamp(time_format(shape, place)?),
            "structure" => Type::Struct(self.nested(name, side)?),
            "list" => {
                let item = shape.member.as_ref().context("a list without an item")?;
                let tag = item.location_name.clone().unwrap_or_else(|| "member".to_owned());
                let flattened = shape.flattened || reference.flattened;
                let limit = self.settings.list_limits.get(name).copied();
                let rules = if side == Side::Request { self.rules_of(&item.shape)? } else { None };
                Type::List { item: Box::new(self.ty(item, place, side)?), tag, flattened, limit, rules }
            }
            "map" => {
                let value = shape.value.as_ref().context("a map without a value")?;
                Type::Map(Box::new(self.ty(value, place, side)?))
            }
            other => bail!("shape {name} is a {other}, which the generator does not know"),
        })
    }

    /// The constant of a shape's bounds, where it has some that the parser checks.
    fn rules_of(&mut self, name: &str) -> Result<Option<String>> {
        let shape = self.model.shape(name)?;
        if !self.protocol.checks_bounds() || self.closed.contains(name) {
            return Ok(None);
        }
        let pattern = shape.pattern.as_ref().and_then(|pattern| match self.settings.patterns.get(pattern) {
            Some(ours) => (!ours.is_empty()).then(|| (pattern.clone(), ours.clone())),
            None => Some((pattern.clone(), pattern::translate(pattern))),
        });
        let rules = Rules { min: shape.min, max: shape.max, pattern };
        if rules == (Rules { min: None, max: None, pattern: None }) {
            return Ok(None);
        }
        let constant = snake(name).to_uppercase();
        if let Some(known) = self.rules.get(&constant) {
            ensure!(*known == rules, "two shapes share the name {constant} of their bounds");
        }
        self.rules.insert(constant.clone(), rules);
        Ok(Some(constant))
    }

    /// Resolves a structure that is a member of another; a structure may serve requests and answers alike.
    fn nested(&mut self, shape: &str, side: Side) -> Result<String> {
        let name = pascal(shape);
        let (read, written) = (side == Side::Request, side == Side::Answer);
        if let Some(known) = self.structs.get(&name)
            && (known.read || !read)
            && (known.written || !written)
        {
            return Ok(name);
        }
        let mut resolved = self.structure(shape, name.clone(), side)?;
        if let Some(known) = self.structs.get(&name) {
            if known.read {
                // What a request must satisfy is known from that side alone.
                resolved.members = known.members.clone();
            }
            resolved.read |= known.read;
            resolved.written |= known.written;
        }
        self.structs.insert(name.clone(), resolved);
        Ok(name)
    }

    fn emitted_enums(&self) -> Result<Vec<Enum>> {
        let mut enums = Vec::new();
        for shape in &self.enums {
            let all = self.model.shape(shape)?.values.clone().unwrap_or_default();
            let served = self.settings.enum_values.get(shape);
            for value in served.into_iter().flatten() {
                ensure!(all.contains(value), "enum_values: {shape} has no {value}");
            }
            enums.push(Enum {
                name: pascal(shape),
                shape: shape.clone(),
                values: served.cloned().unwrap_or(all),
                error: self.settings.enum_errors.get(shape).cloned().unwrap_or_else(|| "InvalidArgument".to_owned()),
                ignore_case: self.settings.ignore_case.contains(shape),
            });
        }
        Ok(enums)
    }
}

fn time_format(shape: &Shape, place: Place) -> Result<TimeFormat> {
    Ok(match shape.timestamp_format.as_deref() {
        Some("iso8601") => TimeFormat::Iso8601,
        Some("rfc822") => TimeFormat::HttpDate,
        Some(other) => bail!("timestamp format {other}"),
        None if place == Place::Header => TimeFormat::HttpDate,
        None => TimeFormat::Iso8601,
    })
}

/// Puts each structure and enumeration that one operation alone reaches into that operation's file.
fn assign_files(operations: &mut [Operation], structs: &BTreeMap<String, Struct>) {
    let mut users: BTreeMap<String, BTreeSet<usize>> = BTreeMap::new();
    for (index, operation) in operations.iter().enumerate() {
        let mut queue: Vec<&str> = operation.input.names().chain(operation.output.names()).collect();
        while let Some(name) = queue.pop() {
            if users.entry(name.to_owned()).or_default().insert(index) {
                queue.extend(structs.get(name).into_iter().flat_map(Struct::names));
            }
        }
    }
    for (name, indexes) in users {
        if let (1, Some(index)) = (indexes.len(), indexes.first()) {
            operations[*index].own.insert(name);
        }
    }
}

/// The settings' error codes, checked against what the model says of their statuses; where errors are named by code,
/// those of the model too.
fn errors(model: &Model, settings: &Settings, protocol: Protocol) -> Result<BTreeMap<String, (u16, String)>> {
    let mut errors = settings.errors.clone();
    for (name, shape) in model.shapes.iter().filter(|(_, shape)| shape.exception) {
        if shape.error.is_none() && protocol != Protocol::Json {
            continue;
        }
        let code = shape.error.as_ref().and_then(|fault| fault.code.as_ref()).unwrap_or(name);
        let status = shape.error.as_ref().and_then(|fault| fault.http_status_code);
        if let (Some(status), Some((ours, _))) = (status, settings.errors.get(code)) {
            ensure!(status == *ours, "error {code} has status {ours} in the settings and {status} in the model");
        }
        if protocol.lists_model_errors() {
            errors.entry(code.clone()).or_insert((status.unwrap_or(400), String::new()));
        }
    }
    for code in settings.enum_errors.values() {
        ensure!(settings.errors.contains_key(code), "enum_errors names {code}, which is not in errors");
    }
    Ok(errors)
}
