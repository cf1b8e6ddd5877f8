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
        Self::with_capacity(namespace, CAPACITY_BYTES)
    }

    /// A document that will have about so many bytes.
    pub(crate) fn with_capacity(namespace: &'static str, bytes: usize) -> Self {
        let mut text = String::with_capacity(bytes.max(CAPACITY_BYTES));
        text.push_str(DECLARATION);
        Self { text, namespace: Some(namespace) }
    }

    /// What is printed so far, to go on with by hand.
    pub(crate) fn text(&mut self) -> &mut String {
        &mut self.text
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

/// The first byte from `from` on that does not stand for itself, eight at a time: names, times and ETags are short, and
/// there are five in each line of a listing.
fn special(bytes: &[u8], from: usize) -> Option<usize> {
    const LOW: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = 0x8080_8080_8080_8080;
    let below = |word: u64, limit: u64| word.wrapping_sub(LOW * limit) & !word & HIGH;
    let is = |word: u64, byte: u8| below(word ^ (LOW * u64::from(byte)), 1);
    let alone = |byte: &u8| *byte < 0x20 || matches!(byte, b'&' | b'<' | b'>' | b'"');
    let (words, _) = bytes[from..].as_chunks::<8>();
    let mut at = from;
    for word in words {
        let word = u64::from_le_bytes(*word);
        if (below(word, 0x20) | is(word, b'&') | is(word, b'<') | is(word, b'>') | is(word, b'"')) != 0 {
            break;
        }
        at += 8;
    }
    bytes[at..].iter().position(alone).map(|found| at + found)
}

/// Appends `text` so that a reader gets back every character. Control characters, which XML 1.0 cannot hold, go out
/// as references as S3 sends them; clients that care ask for `encoding-type=url`.
pub(crate) fn escape(out: &mut String, text: &str) {
    let mut told = 0;
    while let Some(at) = special(text.as_bytes(), told) {
        out.push_str(&text[told..at]);
        match text.as_bytes()[at] {
            b'&' => out.push_str("&amp;"),
            b'<' => out.push_str("&lt;"),
            b'>' => out.push_str("&gt;"),
            b'"' => out.push_str("&quot;"),
            byte @ (b'\t' | b'\n') => out.push(char::from(byte)),
            byte => out.push_str(&format!("&#x{byte:X};")),
        }
        told = at + 1;
    }
    out.push_str(&text[told..]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_each_special_byte_at_each_place() {
        for byte in (0..0x20).chain(*b"&<>\"") {
            for length in 0..20 {
                for place in 0..=length {
                    let mut text = vec![b'~'; length];
                    text.insert(place, byte);
                    for from in 0..=place {
                        assert_eq!(special(&text, from), Some(place), "{byte} at {place} of {length}");
                    }
                    assert_eq!(special(&text, place + 1), None);
                }
            }
        }
        assert_eq!(special("\u{20}!~\u{7f}\u{80}\u{a6}\u{bc}\u{1f980}".repeat(3).as_bytes(), 0), None);
    }

    #[test]
    fn escapes_what_a_reader_would_lose() {
        let mut out = String::new();
        escape(&mut out, "a<b>&\"c'\u{1}\r\n\té\u{fffd}");
        assert_eq!(out, "a&lt;b&gt;&amp;&quot;c'&#x1;&#xD;\n\té\u{fffd}");
    }
}
