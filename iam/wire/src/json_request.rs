//! What the emitted parsers of JSON bodies call. Faults are gathered as [`crate::request`] does; a value of another
//! kind than the model's (a text for a number) is refused at once, for then the whole body is not what it says.

use std::cell::RefCell;

use serde_json::{Map, Value};

use crate::error::WireError;
use crate::json::{Document, serialization};
use crate::rules::Rules;
use crate::text::{FromText, JsonKind, Measure, quoted};

/// Faults that a refusal lists; the rest are only counted.
const FAULTS_LISTED_MAX: usize = 20;

#[derive(Default)]
struct Faults {
    listed: Vec<String>,
    /// The first value of a wrong kind.
    kind: Option<String>,
}

/// The members of the input, or of a structure inside it.
pub(crate) struct Fields<'a> {
    members: &'a Map<String, Value>,
    path: String,
    faults: &'a RefCell<Faults>,
}

impl<'a> Fields<'a> {
    /// Reads an input, or refuses it with all of its faults.
    pub(crate) fn read<T>(document: &'a Document, read: impl FnOnce(&Fields<'_>) -> Option<T>) -> Result<T, WireError> {
        let faults = RefCell::new(Faults::default());
        let input = read(&Fields { members: &document.root, path: String::new(), faults: &faults });
        let faults = faults.into_inner();
        match (input, faults.kind) {
            (_, Some(kind)) => Err(serialization(kind)),
            (Some(input), None) if faults.listed.is_empty() => Ok(input),
            _ => Err(refusal(&faults.listed)),
        }
    }

    /// A value; none where it is missing or null.
    fn member(&self, name: &str) -> Option<&'a Value> {
        self.members.get(name).filter(|value| !value.is_null())
    }

    /// An optional value.
    pub(crate) fn get<T: FromText>(&self, name: &str, rules: Option<&Rules>) -> Option<T> {
        self.value(&self.spelled(name), self.member(name)?, rules)
    }

    /// A value that must be there.
    pub(crate) fn must<T: FromText>(&self, name: &str, rules: Option<&Rules>) -> Option<T> {
        self.present(name);
        self.get(name, rules)
    }

    /// An optional structure.
    pub(crate) fn get_structure<T>(&self, name: &str, read: fn(&Fields<'_>) -> Option<T>) -> Option<T> {
        self.structure(self.spelled(name), self.member(name)?, read)
    }

    /// A list of values; empty when it is not given.
    pub(crate) fn get_list<T: FromText>(
        &self,
        name: &str,
        _tag: &str,
        limit: usize,
        rules: Option<&Rules>,
        item_rules: Option<&Rules>,
    ) -> Vec<T> {
        let items = self.items(name, limit, rules);
        items.into_iter().filter_map(|(path, value)| self.value(&path, value, item_rules)).collect()
    }

    /// A list of values that must be there.
    pub(crate) fn must_list<T: FromText>(
        &self,
        name: &str,
        tag: &str,
        limit: usize,
        rules: Option<&Rules>,
        item_rules: Option<&Rules>,
    ) -> Option<Vec<T>> {
        self.present(name);
        Some(self.get_list(name, tag, limit, rules, item_rules))
    }

    /// A list of structures; empty when it is not given.
    pub(crate) fn get_structures<T>(
        &self,
        name: &str,
        _tag: &str,
        limit: usize,
        rules: Option<&Rules>,
        read: fn(&Fields<'_>) -> Option<T>,
    ) -> Vec<T> {
        let items = self.items(name, limit, rules);
        items.into_iter().filter_map(|(path, value)| self.structure(path, value, read)).collect()
    }

    /// A list of structures that must be there.
    pub(crate) fn must_structures<T>(
        &self,
        name: &str,
        tag: &str,
        limit: usize,
        rules: Option<&Rules>,
        read: fn(&Fields<'_>) -> Option<T>,
    ) -> Option<Vec<T>> {
        self.present(name);
        Some(self.get_structures(name, tag, limit, rules, read))
    }

    /// A map of texts to values; empty when it is not given.
    pub(crate) fn get_map<T: FromText>(&self, name: &str, limit: usize) -> Vec<(String, T)> {
        let path = self.spelled(name);
        match self.member(name) {
            None => Vec::new(),
            Some(Value::Object(entries)) if entries.len() > limit => {
                self.fault(&path, None, &format!("Member must have length less than or equal to {limit}"));
                Vec::new()
            }
            Some(Value::Object(entries)) => {
                let value =
                    |key: &String, value| Some((key.clone(), self.value(&format!("{path}.{key}"), value, None)?));
                entries.iter().filter_map(|(key, entry)| value(key, entry)).collect()
            }
            Some(_) => {
                self.wrong_kind(&path, "a map");
                Vec::new()
            }
        }
    }

    fn items(&self, name: &str, limit: usize, rules: Option<&Rules>) -> Vec<(String, &'a Value)> {
        let path = self.spelled(name);
        let items = match self.member(name) {
            None => return Vec::new(),
            Some(Value::Array(items)) => items,
            Some(_) => {
                self.wrong_kind(&path, "a list");
                return Vec::new();
            }
        };
        if items.len() > limit {
            self.fault(&path, None, &format!("Member must have length less than or equal to {limit}"));
            return Vec::new();
        }
        if let Some(broken) = rules.and_then(|rules| rules.broken(Measure::Length(items.len()), None)) {
            self.fault(&path, None, &broken);
        }
        items.iter().enumerate().map(|(at, value)| (format!("{path}.{}.member", at + 1), value)).collect()
    }

    fn structure<T>(&self, path: String, value: &'a Value, read: fn(&Fields<'_>) -> Option<T>) -> Option<T> {
        match value {
            Value::Object(members) => read(&Fields { members, path: path + ".", faults: self.faults }),
            _ => {
                self.wrong_kind(&path, "a structure");
                None
            }
        }
    }

    fn value<T: FromText>(&self, path: &str, value: &Value, rules: Option<&Rules>) -> Option<T> {
        let number;
        let text = match (T::JSON, value) {
            (JsonKind::Text, Value::String(text)) => text.as_str(),
            (JsonKind::Boolean, Value::Bool(true)) => "true",
            (JsonKind::Boolean, Value::Bool(false)) => "false",
            (JsonKind::Number, Value::Number(given)) => {
                number = given.to_string();
                number.as_str()
            }
            (expected, _) => {
                self.wrong_kind(path, expected.article());
                return None;
            }
        };
        let shown = T::SHOWN.then_some(text);
        let Some(read) = T::from_text(text) else {
            self.fault(path, shown, &T::expected());
            return None;
        };
        if let Some(broken) = rules.and_then(|rules| rules.broken(read.measure(), Some(text))) {
            self.fault(path, shown, &broken);
        }
        Some(read)
    }

    fn present(&self, name: &str) {
        if self.member(name).is_none() {
            let path = self.spelled(name);
            let fault = format!("Value null at '{path}' failed to satisfy constraint: Member must not be null");
            self.faults.borrow_mut().listed.push(fault);
        }
    }

    fn wrong_kind(&self, path: &str, expected: &str) {
        self.faults.borrow_mut().kind.get_or_insert_with(|| format!("The value of {path} is not {expected}"));
    }

    fn fault(&self, path: &str, value: Option<&str>, constraint: &str) {
        let value = value.map(|value| format!(" '{}'", quoted(value))).unwrap_or_default();
        let fault = format!("Value{value} at '{path}' failed to satisfy constraint: {constraint}");
        self.faults.borrow_mut().listed.push(fault);
    }

    /// `KeyId` as `keyId`, below the path.
    fn spelled(&self, name: &str) -> String {
        let mut chars = name.chars();
        let first = chars.next().map(|c| c.to_ascii_lowercase());
        let mut path = self.path.clone();
        path.extend(first);
        path + chars.as_str()
    }
}

fn refusal(faults: &[String]) -> WireError {
    let (count, noun) = (faults.len(), if faults.len() == 1 { "error" } else { "errors" });
    let listed = faults[..count.min(FAULTS_LISTED_MAX)].join("; ");
    WireError::new("ValidationException", 400, format!("{count} validation {noun} detected: {listed}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kms;

    fn parse(body: &str) -> Result<kms::types::GenerateDataKeyInput, WireError> {
        kms::parse_generate_data_key(&Document::parse(body.as_bytes()).unwrap())
    }

    #[test]
    fn what_the_model_says_is_checked() {
        let input = parse(r#"{"KeyId":"k","EncryptionContext":{"a":"b"},"NumberOfBytes":32,"KeySpec":null}"#).unwrap();
        assert_eq!((input.key_id.as_str(), input.number_of_bytes, input.key_spec), ("k", Some(32), None));
        assert_eq!(input.encryption_context, [("a".to_owned(), "b".to_owned())]);
        for (body, code) in [
            (r#"{}"#, "ValidationException"),
            (r#"{"KeyId":""}"#, "ValidationException"),
            (r#"{"KeyId":"k","NumberOfBytes":1025}"#, "ValidationException"),
            (r#"{"KeyId":"k","KeySpec":"AES_257"}"#, "ValidationException"),
            (r#"{"KeyId":5}"#, "SerializationException"),
            (r#"{"KeyId":"k","NumberOfBytes":"32"}"#, "SerializationException"),
            (r#"{"KeyId":"k","EncryptionContext":[]}"#, "SerializationException"),
            (r#"{"KeyId":"k","EncryptionContext":{"a":1}}"#, "SerializationException"),
            (r#"{"KeyId":"k","GrantTokens":{}}"#, "SerializationException"),
        ] {
            assert_eq!(parse(body).unwrap_err().code, code, "{body}");
        }
        let message = parse(r#"{"KeyId":"k","NumberOfBytes":0}"#).unwrap_err().message;
        assert_eq!(
            message,
            "1 validation error detected: Value '0' at 'numberOfBytes' failed to satisfy constraint: Member must have \
             value greater than or equal to 1"
        );
    }

    #[test]
    fn refusals_do_not_show_plain_texts() {
        let document = Document::parse(br#"{"KeyId":"k","Plaintext":"*canary*"}"#).unwrap();
        let refused = kms::parse_encrypt(&document).unwrap_err();
        assert!(!refused.message.contains("canary") && refused.code == "ValidationException");
    }
}
