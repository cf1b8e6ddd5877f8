//! Printing of documents.

use crate::text::ToText;
use crate::time::{TimeFormat, Timestamp};

const DECLARATION: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n";

/// Where a document's buffer starts; most answers but listings fit.
const CAPACITY_BYTES: usize = 512;

/// Appends elements to a document.
pub(crate) struct XmlWriter {
    text: String,
    /// The namespace that the root element declares.
    namespace: Option<&'static str>,
}

impl XmlWriter {
    pub(crate) fn new(namespace: &'static str) -> Self {
        Self { namespace: Some(namespace), ..Self::without_namespace() }
    }

    pub(crate) fn without_namespace() -> Self {
        let mut text = String::with_capacity(CAPACITY_BYTES);
        text.push_str(DECLARATION);
        Self { text, namespace: None }
    }

    #[inline]
    pub(crate) fn open(&mut self, tag: &str) {
        if self.namespace.is_some() {
            return self.open_with(tag, &[]);
        }
        self.text.push('<');
        self.text.push_str(tag);
        self.text.push('>');
    }

    pub(crate) fn open_with(&mut self, tag: &str, attributes: &[(&str, &str)]) {
        self.text.push('<');
        self.text.push_str(tag);
        if let Some(namespace) = self.namespace.take() {
            self.attribute("xmlns", namespace);
        }
        for (name, value) in attributes {
            self.attribute(name, value);
        }
        self.text.push('>');
    }

    fn attribute(&mut self, name: &str, value: &str) {
        self.text.push(' ');
        self.text.push_str(name);
        self.text.push_str("=\"");
        escape(&mut self.text, value);
        self.text.push('"');
    }

    #[inline]
    pub(crate) fn close(&mut self, tag: &str) {
        self.text.push_str("</");
        self.text.push_str(tag);
        self.text.push('>');
    }

    pub(crate) fn element<T: ToText + ?Sized>(&mut self, tag: &str, value: &T) {
        self.open(tag);
        value.with_text(|text| escape(&mut self.text, text));
        self.close(tag);
    }

    pub(crate) fn optional<T: ToText>(&mut self, tag: &str, value: Option<&T>) {
        if let Some(value) = value {
            self.element(tag, value);
        }
    }

    pub(crate) fn time(&mut self, tag: &str, value: Timestamp, format: TimeFormat) {
        self.element(tag, &value.format(format));
    }

    pub(crate) fn optional_time(&mut self, tag: &str, value: Option<Timestamp>, format: TimeFormat) {
        if let Some(value) = value {
            self.time(tag, value, format);
        }
    }

    /// A root element that holds nothing but text.
    pub(crate) fn unwrapped(&mut self, tag: &str, value: Option<&String>) {
        self.element(tag, value.map_or("", String::as_str));
    }

    pub(crate) fn finish(self) -> Vec<u8> {
        self.text.into_bytes()
    }
}

/// Whether every byte stands for itself. Without an early exit, so that it is done many bytes at a time.
fn plain(text: &str) -> bool {
    let special = |byte: u8| (byte < 0x20) | (byte == b'&') | (byte == b'<') | (byte == b'>') | (byte == b'"');
    !text.bytes().fold(false, |found, byte| found | special(byte))
}

/// Appends `text` so that a reader gets back every character. Control characters, which XML 1.0 cannot hold, go out
/// as references as S3 sends them; clients that care ask for `encoding-type=url`.
fn escape(out: &mut String, text: &str) {
    if plain(text) {
        out.push_str(text);
        return;
    }
    let mut plain = 0;
    for (at, byte) in text.bytes().enumerate() {
        let reference = match byte {
            b'&' => "&amp;",
            b'<' => "&lt;",
            b'>' => "&gt;",
            b'"' => "&quot;",
            b'\r' => "&#xD;",
            b'\t' | b'\n' => continue,
            0..0x20 => "",
            _ => continue,
        };
        out.push_str(&text[plain..at]);
        if reference.is_empty() {
            out.push_str(&format!("&#x{byte:X};"));
        } else {
            out.push_str(reference);
        }
        plain = at + 1;
    }
    out.push_str(&text[plain..]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_what_a_reader_would_lose() {
        let mut out = String::new();
        escape(&mut out, "a<b>&\"c'\u{1}\r\n\té\u{fffd}");
        assert_eq!(out, "a&lt;b&gt;&amp;&quot;c'&#x1;&#xD;\n\té\u{fffd}");
    }
}
