//! Roles for delegation that are shipped with Karri: readable documents with parameters, rendered into policies.
//!
//! ```
//! let template = karri_iam_templates::find("UploadOnly").expect("it is shipped");
//! let policy = template.render(&[("bucket", "inbox"), ("prefix", "photos/")])?;
//! assert!(policy.contains("arn:aws:s3:::inbox/photos/*"));
//! # Ok::<(), karri_iam_templates::TemplateError>(())
//! ```
//!
//! It is pure: it neither keeps nor installs anything. A value is checked by its kind before it is put into a
//! document, so that no value can widen what the template says.

mod difference;

use std::collections::BTreeMap;

use karri_iam_policy::{Policy, PolicyError, PolicyKind};
use serde::Deserialize;
use serde_json::Value;
use thiserror::Error;

pub use self::difference::differences;

/// Most bytes of a prefix: a key has no more.
const PREFIX_BYTES_MAX: usize = 1_024;

const DOCUMENTS: [&str; 8] = [
    include_str!("../templates/account-administrator.json"),
    include_str!("../templates/infrastructure-administrator.json"),
    include_str!("../templates/resource-administrator.json"),
    include_str!("../templates/read-only-auditor.json"),
    include_str!("../templates/backup-operator.json"),
    include_str!("../templates/image-publisher.json"),
    include_str!("../templates/bucket-owner.json"),
    include_str!("../templates/upload-only.json"),
];

/// A shipped role.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub struct Template {
    /// Its name, which is also the role's.
    pub name: String,
    /// What it is for, in a sentence.
    pub description: String,
    /// What must be said before it can be rendered, by name.
    pub parameters: BTreeMap<String, Parameter>,
    policy: Value,
}

/// Something that a template leaves open.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub struct Parameter {
    /// What to say.
    pub description: String,
    /// What values it takes.
    pub kind: ParameterKind,
    /// The value where none is given; without one it must be given.
    pub default: Option<String>,
}

/// Values that a parameter takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ParameterKind {
    /// A bucket's name.
    Bucket,
    /// What keys begin with.
    Prefix,
}

/// Why a template cannot be rendered.
#[derive(Debug, Error)]
pub enum TemplateError {
    /// A parameter without default was not given.
    #[error("the parameter {0} is missing")]
    Missing(String),
    /// A parameter that the template does not have.
    #[error("there is no parameter {0}")]
    Unknown(String),
    /// A value that its kind does not take.
    #[error("{value:?} is no value of the parameter {name}")]
    Value {
        /// The parameter.
        name: String,
        /// What was given.
        value: String,
    },
    /// The document is no policy: a fault of the template.
    #[error("the template is no valid policy")]
    Policy(#[from] PolicyError),
}

/// All templates, in the order in which they are listed.
pub fn all() -> Vec<Template> {
    // A test reads each of them: a document that does not parse is never shipped.
    DOCUMENTS.iter().filter_map(|document| serde_json::from_str(document).ok()).collect()
}

/// The template of this name, in any case.
pub fn find(name: &str) -> Option<Template> {
    all().into_iter().find(|template| template.name.eq_ignore_ascii_case(name))
}

impl Template {
    /// The policy with `values` in place of the parameters, as indented JSON.
    ///
    /// # Errors
    /// A value that is missing, unknown or not of its kind.
    pub fn render(&self, values: &[(&str, &str)]) -> Result<String, TemplateError> {
        if let Some((name, _)) = values.iter().find(|(name, _)| !self.parameters.contains_key(*name)) {
            return Err(TemplateError::Unknown((*name).to_owned()));
        }
        let mut policy = self.policy.clone();
        for (name, parameter) in &self.parameters {
            let given = values.iter().find(|(given, _)| given == name).map(|(_, value)| *value);
            let value = given.or(parameter.default.as_deref());
            let value = value.ok_or_else(|| TemplateError::Missing(name.clone()))?;
            if !parameter.kind.takes(value) {
                return Err(TemplateError::Value { name: name.clone(), value: value.to_owned() });
            }
            replace(&mut policy, &format!("{{{{{name}}}}}"), value);
        }
        let text = format!("{policy:#}");
        Policy::parse(&text, PolicyKind::Identity)?;
        Ok(text)
    }
}

impl ParameterKind {
    /// Wildcards and variables are refused: they would make one bucket many.
    fn takes(self, value: &str) -> bool {
        let is_plain = !value.contains(['*', '?', '$', '{', '}']) && !value.contains(char::is_control);
        match self {
            Self::Bucket => {
                let is_name = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-.".contains(&byte);
                (3..=63).contains(&value.len()) && value.bytes().all(is_name)
            }
            Self::Prefix => is_plain && value.len() <= PREFIX_BYTES_MAX,
        }
    }
}

/// Puts `value` for `mark` into every text of a document; texts stay texts whatever is in them.
fn replace(document: &mut Value, mark: &str, value: &str) {
    match document {
        Value::String(text) => *text = text.replace(mark, value),
        Value::Array(items) => items.iter_mut().for_each(|item| replace(item, mark, value)),
        Value::Object(members) => members.values_mut().for_each(|member| replace(member, mark, value)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}
