//! Documents of the `json` protocol: bounded on their way in, written member by member on their way out.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};

use crate::error::WireError;
use crate::sensitive::Sensitive;
use crate::time::Timestamp;

/// Objects and lists in each other; no model has more.
const DEPTH_MAX: usize = 12;
/// Values of one document.
const VALUES_MAX: usize = 20_000;

/// The body of a request.
pub struct Document {
    pub(crate) root: Map<String, Value>,
}

// Documents hold plain texts and keys.
impl std::fmt::Debug for Document {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Document(..)")
    }
}

impl Document {
    /// Reads a body; an empty one is an empty object.
    ///
    /// # Errors
    /// `SerializationException` for what is no JSON object, or is too deep or too large.
    pub fn parse(body: &[u8]) -> Result<Self, WireError> {
        if body.trim_ascii().is_empty() {
            return Ok(Self { root: Map::new() });
        }
        // serde_json itself goes no deeper than 128.
        match serde_json::from_slice::<Value>(body) {
            Ok(Value::Object(root)) => {
                let mut values = 0;
                if root.values().all(|value| is_bounded(value, 1, &mut values)) {
                    return Ok(Self { root });
                }
                Err(serialization("The document is too deep or too large"))
            }
            Ok(_) => Err(serialization("Start of structure or map found where not expected.")),
            Err(_) => Err(serialization("The document is not valid JSON")),
        }
    }
}

fn is_bounded(value: &Value, depth: usize, values: &mut usize) -> bool {
    *values += 1;
    if depth > DEPTH_MAX || *values > VALUES_MAX {
        return false;
    }
    match value {
        Value::Object(members) => members.values().all(|inner| is_bounded(inner, depth + 1, values)),
        Value::Array(items) => items.iter().all(|inner| is_bounded(inner, depth + 1, values)),
        _ => true,
    }
}

/// 400 for bodies that are not what the model says.
pub(crate) fn serialization(message: impl Into<String>) -> WireError {
    WireError::new("SerializationException", 400, message)
}

/// A value of an answer.
pub(crate) trait ToJson {
    /// The value.
    fn to_json(&self) -> Value;
}

/// An object of an answer.
#[derive(Default)]
pub(crate) struct Object(Map<String, Value>);

impl Object {
    pub(crate) fn member<T: ToJson>(&mut self, name: &str, value: &T) {
        self.0.insert(name.to_owned(), value.to_json());
    }

    pub(crate) fn optional<T: ToJson>(&mut self, name: &str, value: Option<&T>) {
        if let Some(value) = value {
            self.member(name, value);
        }
    }

    pub(crate) fn list<T: ToJson>(&mut self, name: &str, items: &[T]) {
        self.0.insert(name.to_owned(), Value::Array(items.iter().map(ToJson::to_json).collect()));
    }

    pub(crate) fn map(&mut self, name: &str, entries: &[(String, String)]) {
        let map = entries.iter().map(|(key, value)| (key.clone(), Value::String(value.clone())));
        self.0.insert(name.to_owned(), Value::Object(map.collect()));
    }

    pub(crate) fn into_value(self) -> Value {
        Value::Object(self.0)
    }

    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.into_value().to_string().into_bytes()
    }
}

impl ToJson for String {
    fn to_json(&self) -> Value {
        Value::String(self.clone())
    }
}

impl ToJson for Vec<u8> {
    fn to_json(&self) -> Value {
        Value::String(STANDARD.encode(self))
    }
}

impl ToJson for bool {
    fn to_json(&self) -> Value {
        Value::Bool(*self)
    }
}

impl ToJson for i32 {
    fn to_json(&self) -> Value {
        (*self).into()
    }
}

impl ToJson for Timestamp {
    fn to_json(&self) -> Value {
        // Seconds with milliseconds behind the point, which doubles hold exactly enough.
        #[allow(clippy::cast_precision_loss, reason = "milliseconds since 1970 fit a double for 280,000 years")]
        let seconds = self.millis() as f64 / 1000.0;
        seconds.into()
    }
}

impl<T: ToJson> ToJson for Sensitive<T> {
    fn to_json(&self) -> Value {
        self.reveal().to_json()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_have_bounds() {
        let nested = |depth: usize| format!("{{\"a\":{}1{}}}", "[".repeat(depth), "]".repeat(depth));
        assert!(Document::parse(nested(DEPTH_MAX - 1).as_bytes()).is_ok());
        for depth in [DEPTH_MAX, 127, 128, 100_000] {
            let refused = Document::parse(nested(depth).as_bytes()).unwrap_err();
            assert_eq!((refused.code, refused.status), ("SerializationException", 400), "{depth}");
        }
        let wide = format!("{{\"a\":[{}1]}}", "1,".repeat(VALUES_MAX));
        assert_eq!(Document::parse(wide.as_bytes()).unwrap_err().code, "SerializationException");
        for body in ["[]", "1", "\"a\"", "{", "{\"a\":}", "\u{0}"] {
            assert_eq!(Document::parse(body.as_bytes()).unwrap_err().code, "SerializationException", "{body}");
        }
        assert!(Document::parse(b" ").is_ok() && Document::parse(b"{}").is_ok());
    }

    #[test]
    fn values_are_written_as_clients_read_them() {
        assert_eq!(Timestamp::from_millis(1_700_000_000_250).to_json().to_string(), "1700000000.25");
        assert_eq!(vec![1_u8, 2].to_json(), Value::String("AQI=".to_owned()));
        let mut object = Object::default();
        object.list("l", &[true, false]);
        assert_eq!(object.into_bytes(), b"{\"l\":[true,false]}");
    }
}
