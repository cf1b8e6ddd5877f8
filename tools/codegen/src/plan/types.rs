//! What a plan is made of.

use std::collections::{BTreeMap, BTreeSet};

use super::route::Routing;
use crate::emit::protocol::Protocol;
use crate::settings::StatusWhen;

/// A service, ready to be emitted.
pub(crate) struct Plan {
    pub(crate) protocol: Protocol,
    /// The operations of the allow-list by name.
    pub(crate) operations: Vec<Operation>,
    /// Structures that are not an operation's own input or output, by Rust name.
    pub(crate) structs: BTreeMap<String, Struct>,
    pub(crate) enums: Vec<Enum>,
    pub(crate) errors: BTreeMap<String, (u16, String)>,
    /// How a request finds its operation; none where the operation's name is a parameter.
    pub(crate) routing: Option<Routing>,
    /// The model's version.
    pub(crate) version: String,
    /// What stands before an operation's name in `X-Amz-Target`.
    pub(crate) target_prefix: String,
    /// Bounds and patterns of shapes that inputs use, by the name of their constant.
    pub(crate) rules: BTreeMap<String, Rules>,
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
    /// A list whose element must be there, with items or without.
    pub(crate) may_be_empty: bool,
    /// The constant of its bounds.
    pub(crate) rules: Option<String>,
    /// An empty list of an answer is left out.
    pub(crate) omit_empty: bool,
}

/// What a value of a shape must satisfy.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Rules {
    pub(crate) min: Option<i64>,
    pub(crate) max: Option<i64>,
    /// The model's pattern, and the expression that it is checked by.
    pub(crate) pattern: Option<(String, String)>,
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
    /// A text that must not be printed.
    Secret,
    Blob,
    SecretBlob,
    Integer,
    Long,
    Boolean,
    Timestamp(TimeFormat),
    Enum(String),
    Struct(String),
    List {
        item: Box<Type>,
        tag: String,
        flattened: bool,
        limit: Option<usize>,
        rules: Option<String>,
    },
    /// Of texts to values.
    Map(Box<Type>),
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
            Type::Secret => "Sensitive<String>".to_owned(),
            Type::Blob => "Vec<u8>".to_owned(),
            Type::SecretBlob => "Sensitive<Vec<u8>>".to_owned(),
            Type::Integer => "i32".to_owned(),
            Type::Long => "i64".to_owned(),
            Type::Boolean => "bool".to_owned(),
            Type::Timestamp(_) => "Timestamp".to_owned(),
            Type::Enum(name) | Type::Struct(name) => name.clone(),
            Type::List { item, .. } => format!("Vec<{}>", item.rust()),
            Type::Map(value) => format!("Vec<(String, {})>", value.rust()),
        }
    }

    /// Enums and structures named inside.
    pub(crate) fn named(&self) -> Option<&str> {
        match self {
            Type::Enum(name) | Type::Struct(name) => Some(name),
            Type::List { item, .. } | Type::Map(item) => item.named(),
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
        matches!(self, Type::List { .. } | Type::Map(_))
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
