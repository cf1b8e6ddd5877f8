//! Values as they are written in headers, queries and elements.

use crate::error::WireError;

/// A value read from text.
pub(crate) trait FromText: Sized {
    /// Whether an empty header or query value means that it was not given.
    const EMPTY_IS_ABSENT: bool = true;

    /// The value, when the text is one.
    fn from_text(text: &str) -> Option<Self>;

    /// The refusal of a header or query value that is none.
    fn invalid(name: &str, value: &str) -> WireError {
        WireError::argument(name, value, format!("The value specified for {name} is invalid"))
    }
}

impl FromText for String {
    const EMPTY_IS_ABSENT: bool = false;

    fn from_text(text: &str) -> Option<Self> {
        Some(text.to_owned())
    }
}

impl FromText for bool {
    fn from_text(text: &str) -> Option<Self> {
        let text = text.trim_ascii();
        if text.eq_ignore_ascii_case("true") || text == "1" {
            Some(true)
        } else if text.eq_ignore_ascii_case("false") || text == "0" {
            Some(false)
        } else {
            None
        }
    }
}

/// Digits. Numbers below zero are read, for some have errors of their own there; a plus is no digit.
fn is_number(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
}

fn not_a_count(name: &str, value: &str) -> WireError {
    WireError::argument(name, value, format!("Provided {name} not an integer or within integer range"))
}

impl FromText for i32 {
    fn from_text(text: &str) -> Option<Self> {
        let text = text.trim_ascii();
        is_number(text).then(|| text.parse().ok()).flatten()
    }

    fn invalid(name: &str, value: &str) -> WireError {
        not_a_count(name, value)
    }
}

impl FromText for i64 {
    fn from_text(text: &str) -> Option<Self> {
        let text = text.trim_ascii();
        is_number(text).then(|| text.parse().ok()).flatten()
    }

    fn invalid(name: &str, value: &str) -> WireError {
        not_a_count(name, value)
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

impl ToText for str {
    fn with_text<R>(&self, then: impl FnOnce(&str) -> R) -> R {
        then(self)
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
