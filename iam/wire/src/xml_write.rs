//! Printing of documents.

use crate::text::ToText;

/// Where a document's buffer starts.
const CAPACITY_BYTES: usize = 512;

/// Appends elements to a document whose root is open from the start.
pub(crate) struct XmlWriter {
    text: String,
    root: &'static str,
}

impl XmlWriter {
    pub(crate) fn new(namespace: &str, root: &'static str) -> Self {
        let mut text = String::with_capacity(CAPACITY_BYTES);
        text.push('<');
        text.push_str(root);
        text.push_str(" xmlns=\"");
        escape(&mut text, namespace);
        text.push_str("\">");
        Self { text, root }
    }

    pub(crate) fn open(&mut self, tag: &str) {
        self.text.push('<');
        self.text.push_str(tag);
        self.text.push('>');
    }

    pub(crate) fn close(&mut self, tag: &str) {
        self.text.push_str("</");
        self.text.push_str(tag);
        self.text.push('>');
    }

    pub(crate) fn element<T: ToText>(&mut self, tag: &str, value: &T) {
        self.open(tag);
        value.with_text(|text| escape(&mut self.text, text));
        self.close(tag);
    }

    pub(crate) fn optional<T: ToText>(&mut self, tag: &str, value: Option<&T>) {
        if let Some(value) = value {
            self.element(tag, value);
        }
    }

    pub(crate) fn map<T: ToText>(&mut self, tag: &str, map: &[(String, T)]) {
        self.open(tag);
        for (key, value) in map {
            self.open("entry");
            self.element("key", key);
            self.element("value", value);
            self.close("entry");
        }
        self.close(tag);
    }

    /// Ends the document with what every answer has.
    pub(crate) fn finish(mut self, request_id: &str) -> Vec<u8> {
        self.open("ResponseMetadata");
        self.open("RequestId");
        escape(&mut self.text, request_id);
        self.close("RequestId");
        self.close("ResponseMetadata");
        self.close(self.root);
        self.text.into_bytes()
    }
}

/// Appends `text` so that a reader gets back every character that XML 1.0 can hold; others become U+FFFD, because
/// a reference to them would make the whole answer unreadable.
pub(crate) fn escape(out: &mut String, text: &str) {
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\r' => out.push_str("&#xD;"),
            '\t' | '\n' => out.push(c),
            '\u{0}'..'\u{20}' | '\u{fffe}' | '\u{ffff}' => out.push('\u{fffd}'),
            _ => out.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_what_a_reader_would_lose() {
        let mut out = String::new();
        escape(&mut out, "a<b>&\"c'\u{1}\r\n\té");
        assert_eq!(out, "a&lt;b&gt;&amp;&quot;c'\u{fffd}&#xD;\n\té");
    }
}
