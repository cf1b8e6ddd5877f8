//! The model and the settings resolved into what the emitted Rust needs: names, types, places on the wire, and which
//! file a structure goes to. Nothing here depends on how a protocol spells things.

mod route;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, bail, ensure};

use crate::emit::protocol::Protocol;
use crate::model::{Model, Reference, Shape};
use crate::naming::{pascal, snake};
use crate::settings::{Settings, StatusWhen};

pub(crate) use self::route::{Kind, Routing, Rule};

/// A service, ready to be emitted.
pub(crate) struct Plan {
    pub(crate) protocol: Protocol,
    /// The operations of the allow-list by name.
    pub(crate) operations: Vec<Operation>,
    /// Structures that are not an operation's own input or output, by Rust name.
    pub(crate) structs: BTreeMap<String, Struct>,
    pub(crate) enums: Vec<Enum>,
    pub(crate) errors: BTreeMap<String, (u16, String)>,
    pub(crate) routing: Routing,
    /// Each operation of the whole model and whether it is in the allow-list.
    pub(crate) coverage: BTreeMap<String, bool>,
}

pub(crate) struct Operation {
    pub(crate) name: String,
    pub(crate) snake: String,
    pub(crate) input: Struct,
    pub(crate) output: Struct,
    pub(crate) status: u16,
    pub(crate) status_when: Option<StatusWhen>,
    pub(crate) body: Body,
    /// The root element of the answer.
    pub(crate) root: String,
    /// The answer is the text of its only member.
    pub(crate) unwrapped: bool,
    pub(crate) payload_type: Option<String>,
    /// Rust names of the structures and enumerations that only this operation uses: they stand in its file.
    pub(crate) own: BTreeSet<String>,
}

/// What an operation's request carries.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Body {
    None,
    Document(usize),
    Stream,
}

/// Request documents of operations without a limit of their own.
const DOCUMENT_BYTES: usize = 64 << 10;

#[derive(Clone)]
pub(crate) struct Struct {
    pub(crate) name: String,
    pub(crate) members: Vec<Member>,
    /// Members of requests whose presence is refused; they have no field.
    pub(crate) refused: Vec<Member>,
    /// Index of the member that is the whole body.
    pub(crate) payload: Option<usize>,
    /// A namespace that its element declares, as prefix and URI.
    pub(crate) namespace: Option<(String, String)>,
    pub(crate) defaults: bool,
    /// It is part of some request, or of some answer.
    pub(crate) read: bool,
    pub(crate) written: bool,
}

#[derive(Clone)]
pub(crate) struct Member {
    pub(crate) model_name: String,
    pub(crate) field: String,
    /// The header, query parameter or element.
    pub(crate) wire: String,
    pub(crate) place: Place,
    pub(crate) required: bool,
    pub(crate) ty: Type,
    pub(crate) empty_is_absent: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Path,
    Query,
    Header,
    /// A map of headers with a common prefix.
    HeaderMap,
    /// An element or a field of the body.
    Body,
    Attribute,
}

#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Type {
    Text,
    Integer,
    Long,
    Boolean,
    Timestamp(TimeFormat),
    Enum(String),
    Struct(String),
    List { item: Box<Type>, tag: String, flattened: bool, limit: Option<usize> },
    Map,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum TimeFormat {
    Iso8601,
    HttpDate,
}

pub(crate) struct Enum {
    pub(crate) name: String,
    pub(crate) shape: String,
    pub(crate) values: Vec<String>,
    pub(crate) error: String,
    pub(crate) ignore_case: bool,
}

impl Type {
    /// The field's type without `Option`.
    pub(crate) fn rust(&self) -> String {
        match self {
            Type::Text => "String".to_owned(),
            Type::Integer => "i32".to_owned(),
            Type::Long => "i64".to_owned(),
            Type::Boolean => "bool".to_owned(),
            Type::Timestamp(_) => "Timestamp".to_owned(),
            Type::Enum(name) | Type::Struct(name) => name.clone(),
            Type::List { item, .. } => format!("Vec<{}>", item.rust()),
            Type::Map => "Vec<(String, String)>".to_owned(),
        }
    }

    /// Enums and structures named inside.
    fn named(&self) -> Option<&str> {
        match self {
            Type::Enum(name) | Type::Struct(name) => Some(name),
            Type::List { item, .. } => item.named(),
            _ => None,
        }
    }

    pub(crate) fn structure(&self) -> Option<&str> {
        match self {
            Type::Struct(name) => Some(name),
            Type::List { item, .. } => item.structure(),
            _ => None,
        }
    }

    pub(crate) fn is_collection(&self) -> bool {
        matches!(self, Type::List { .. } | Type::Map)
    }
}

impl Member {
    /// The field's type.
    pub(crate) fn rust(&self) -> String {
        let ty = self.ty.rust();
        if self.required || self.ty.is_collection() { ty } else { format!("Option<{ty}>") }
    }
}

impl Struct {
    /// Names of enums and structures in the fields.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.members.iter().filter_map(|member| member.ty.named())
    }
}

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
    structs: BTreeMap<String, Struct>,
    enums: BTreeSet<String>,
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
            structs: BTreeMap::new(),
            enums: BTreeSet::new(),
            open: Vec::new(),
        };
        resolver.closed = resolver.closed_enums()?;
        let mut operations = Vec::new();
        for name in &settings.operations {
            operations.push(resolver.operation(name).with_context(|| format!("operation {name}"))?);
        }
        let enums = resolver.emitted_enums()?;
        let structs = resolver.structs;
        assign_files(&mut operations, &structs);
        let coverage = model.operations.keys().map(|name| (name.clone(), settings.operations.contains(name))).collect();
        let routing = Routing::resolve(model, settings)?;
        Ok(Self { protocol, operations, structs, enums, errors: errors(model, settings)?, routing, coverage })
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
            (None, None) => format!("{name}Result"),
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
        member.streaming || self.model.shapes.get(&member.shape).is_some_and(|shape| shape.kind == "blob")
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
        Ok(Member {
            model_name: name.to_owned(),
            field: snake(name),
            wire,
            place,
            required: owner.required.iter().any(|required| required == name),
            ty: self.ty(reference, place, side).with_context(|| format!("member {name}"))?,
            empty_is_absent: self.settings.empty_is_absent.contains(name),
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
            "string" | "character" => Type::Text,
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
                Type::List { item: Box::new(self.ty(item, place, side)?), tag, flattened, limit }
            }
            "map" => Type::Map,
            other => bail!("shape {name} is a {other}, which the generator does not know"),
        })
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

/// The settings' error codes, checked against what the model says of their statuses.
fn errors(model: &Model, settings: &Settings) -> Result<BTreeMap<String, (u16, String)>> {
    for (name, shape) in model.shapes.iter().filter(|(_, shape)| shape.exception) {
        let status = shape.error.as_ref().and_then(|fault| fault.http_status_code);
        if let (Some(status), Some((ours, _))) = (status, settings.errors.get(name)) {
            ensure!(status == *ours, "error {name} has status {ours} in the settings and {status} in the model");
        }
    }
    for code in settings.enum_errors.values() {
        ensure!(settings.errors.contains_key(code), "enum_errors names {code}, which is not in errors");
    }
    Ok(settings.errors.clone())
}
