//! Values as they are written in parameters and elements.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::sensitive::Sensitive;
use crate::time::Timestamp;

/// A text that is no value of an enumeration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a value of the enumeration")]
pub struct UnknownValue;

/// A value read from a parameter.
pub(crate) trait FromText: Sized {
    /// Refusals show the value.
    const SHOWN: bool = true;

    /// What it is in a JSON body.
    const JSON: JsonKind = JsonKind::Text;

    /// The value, when the text is one.
    fn from_text(text: &str) -> Option<Self>;

    /// What a text must be, in AWS's words.
    fn expected() -> String;

    /// What bounds are about: a number, or the length of a text.
    fn measure(&self) -> Measure {
        Measure::Nothing
    }
}

/// The kinds of JSON's values that are not made of others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum JsonKind {
    Text,
    Number,
    Boolean,
}

impl JsonKind {
    pub(crate) fn article(self) -> &'static str {
        match self {
            Self::Text => "a text",
            Self::Number => "a number",
            Self::Boolean => "a boolean",
        }
    }
}

/// What bounds and patterns are checked against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Measure {
    Nothing,
    Length(usize),
    Value(i64),
}

/// The constraint of an enumeration.
pub(crate) fn one_of<'a>(values: impl Iterator<Item = &'a str>) -> String {
    let values: Vec<&str> = values.collect();
    format!("Member must satisfy enum value set: [{}]", values.join(", "))
}

impl FromText for String {
    fn from_text(text: &str) -> Option<Self> {
        Some(text.to_owned())
    }

    fn expected() -> String {
        "Member must be a text".to_owned()
    }

    fn measure(&self) -> Measure {
        // AWS counts UTF-16 units, as Java does.
        Measure::Length(self.encode_utf16().count())
    }
}

impl FromText for Vec<u8> {
    fn from_text(text: &str) -> Option<Self> {
        STANDARD.decode(text.trim_ascii()).ok()
    }

    fn expected() -> String {
        "Member must be base64 encoded".to_owned()
    }

    fn measure(&self) -> Measure {
        Measure::Length(self.len())
    }
}

impl<T: FromText> FromText for Sensitive<T> {
    const SHOWN: bool = false;
    const JSON: JsonKind = T::JSON;

    fn from_text(text: &str) -> Option<Self> {
        T::from_text(text).map(Sensitive::new)
    }

    fn expected() -> String {
        T::expected()
    }

    fn measure(&self) -> Measure {
        self.reveal().measure()
    }
}

impl FromText for bool {
    const JSON: JsonKind = JsonKind::Boolean;

    fn from_text(text: &str) -> Option<Self> {
        if text.eq_ignore_ascii_case("true") {
            Some(true)
        } else if text.eq_ignore_ascii_case("false") {
            Some(false)
        } else {
            None
        }
    }

    fn expected() -> String {
        "Member must be a boolean".to_owned()
    }
}

impl FromText for i32 {
    const JSON: JsonKind = JsonKind::Number;

    fn from_text(text: &str) -> Option<Self> {
        text.parse().ok()
    }

    fn expected() -> String {
        "Member must be an integer".to_owned()
    }

    fn measure(&self) -> Measure {
        Measure::Value(i64::from(*self))
    }
}

impl FromText for i64 {
    const JSON: JsonKind = JsonKind::Number;

    fn from_text(text: &str) -> Option<Self> {
        text.parse().ok()
    }

    fn expected() -> String {
        "Member must be an integer".to_owned()
    }

    fn measure(&self) -> Measure {
        Measure::Value(*self)
    }
}

impl FromText for Timestamp {
    fn from_text(text: &str) -> Option<Self> {
        Timestamp::parse_iso8601(text)
    }

    fn expected() -> String {
        "Member must be a timestamp".to_owned()
    }
}

/// A value printed as text, unescaped.
pub(crate) trait ToText {
    /// Hands the text to `then`.
    fn with_text<R>(&self, then: impl FnOnce(&str) -> R) -> R;
}

impl ToText for String {
    fn with_text<R>(&self, then: impl FnOnce(&str) -> R) -> R {
        then(self)
    }
}

impl ToText for Vec<u8> {
    fn with_text<R>(&self, then: impl FnOnce(&str) -> R) -> R {
        then(&STANDARD.encode(self))
    }
}

impl<T: ToText> ToText for Sensitive<T> {
    fn with_text<R>(&self, then: impl FnOnce(&str) -> R) -> R {
        self.reveal().with_text(then)
    }
}

impl ToText for bool {
    fn with_text<R>(&self, then: impl FnOnce(&str) -> R) -> R {
        then(if *self { "true" } else { "false" })
    }
}

impl ToText for i32 {
    fn with_text<R>(&self, then: impl FnOnce(&str) -> R) -> R {
        then(&self.to_string())
    }
}

impl ToText for i64 {
    fn with_text<R>(&self, then: impl FnOnce(&str) -> R) -> R {
        then(&self.to_string())
    }
}

impl ToText for Timestamp {
    fn with_text<R>(&self, then: impl FnOnce(&str) -> R) -> R {
        then(&self.iso8601())
    }
}

/// A value as refusals quote it: not without end.
pub(crate) fn quoted(text: &str) -> Cow<'_, str> {
    const QUOTED_CHARACTERS_MAX: usize = 512;
    match text.char_indices().nth(QUOTED_CHARACTERS_MAX) {
        Some((end, _)) => Cow::Owned(format!("{}...", &text[..end])),
        None => Cow::Borrowed(text),
    }
}
