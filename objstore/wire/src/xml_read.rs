//! Reading of documents: a pull parser with bounds, strict about what it does not know. S3 validates against a
//! schema, and an element that is skipped could be a condition that the client relies on.

use quick_xml::Reader;
use quick_xml::events::{BytesStart, Event};

use crate::error::WireError;
use crate::generated::ErrorCode;
use crate::text::FromText;
use crate::time::{TimeFormat, Timestamp};

/// The deepest nesting; the model's deepest document has seven levels.
const DEPTH_MAX: usize = 16;

/// Elements of one document: 10,000 parts with every member, and as much again.
const ELEMENTS_MAX: usize = 200_000;

/// Reads a document that must be there.
pub(crate) fn document<'a, T>(
    body: &'a [u8],
    root: &str,
    limit_bytes: usize,
    read: impl FnOnce(&mut XmlReader<'a>) -> Result<T, WireError>,
) -> Result<T, WireError> {
    if body.is_empty() {
        return Err(WireError::new(ErrorCode::MissingRequestBodyError));
    }
    if body.len() > limit_bytes {
        return Err(WireError::new(ErrorCode::MaxMessageLengthExceeded));
    }
    let text = std::str::from_utf8(body).map_err(|_| malformed())?;
    if text.bytes().any(is_forbidden) {
        return Err(malformed());
    }
    let mut xml = XmlReader::new(text.strip_prefix('\u{feff}').unwrap_or(text));
    if !xml.next_child()? || xml.name() != root {
        return Err(malformed());
    }
    let value = read(&mut xml)?;
    xml.end()?;
    Ok(value)
}

/// Reads a document that may be left out.
pub(crate) fn optional_document<'a, T>(
    body: &'a [u8],
    root: &str,
    limit_bytes: usize,
    read: impl FnOnce(&mut XmlReader<'a>) -> Result<T, WireError>,
) -> Result<Option<T>, WireError> {
    if body.is_empty() { Ok(None) } else { document(body, root, limit_bytes, read).map(Some) }
}

/// Reads a document that is no XML and that the use case understands.
pub(crate) fn text_document(body: &[u8], limit_bytes: usize) -> Result<String, WireError> {
    if body.is_empty() {
        return Err(WireError::new(ErrorCode::MissingRequestBodyError));
    }
    if body.len() > limit_bytes {
        return Err(WireError::new(ErrorCode::MaxMessageLengthExceeded));
    }
    String::from_utf8(body.to_vec()).map_err(|_| malformed())
}

/// Control characters stand in no document (XML 1.0, 2.2). Keys have them by reference, as in our listings.
fn is_forbidden(byte: u8) -> bool {
    byte < b' ' && !matches!(byte, b'\t' | b'\n' | b'\r')
}

fn malformed() -> WireError {
    WireError::new(ErrorCode::MalformedXML)
}

/// A position in a document: inside the element that was entered last.
pub(crate) struct XmlReader<'a> {
    reader: Reader<&'a [u8]>,
    current: BytesStart<'a>,
    depth: usize,
    elements: usize,
}

impl<'a> XmlReader<'a> {
    fn new(text: &'a str) -> Self {
        let mut reader = Reader::from_str(text);
        reader.config_mut().expand_empty_elements = true;
        Self { reader, current: BytesStart::new(""), depth: 0, elements: 0 }
    }

    fn event(&mut self) -> Result<Event<'a>, WireError> {
        self.reader.read_event().map_err(|_| malformed())
    }

    /// Enters the next child of the current element; false when there is none and the element was left.
    pub(crate) fn next_child(&mut self) -> Result<bool, WireError> {
        loop {
            match self.event()? {
                Event::Start(start) => {
                    self.depth += 1;
                    self.elements += 1;
                    if self.depth > DEPTH_MAX || self.elements > ELEMENTS_MAX {
                        return Err(malformed());
                    }
                    self.current = start;
                    return Ok(true);
                }
                Event::End(_) if self.depth > 0 => {
                    self.depth -= 1;
                    return Ok(false);
                }
                Event::Text(text) if is_blank(&text) => {}
                Event::Comment(_) | Event::PI(_) | Event::Decl(_) => {}
                _ => return Err(malformed()),
            }
        }
    }

    /// Makes sure that nothing follows the root element.
    fn end(&mut self) -> Result<(), WireError> {
        loop {
            match self.event()? {
                Event::Eof => return Ok(()),
                Event::Text(text) if is_blank(&text) => {}
                Event::Comment(_) | Event::PI(_) => {}
                _ => return Err(malformed()),
            }
        }
    }

    /// The local name of the element that was entered last.
    pub(crate) fn name(&self) -> &str {
        local(self.current.name().into_inner())
    }

    /// An attribute of the element that was entered last, by its local name.
    pub(crate) fn attribute<T: FromText>(&self, name: &str) -> Result<Option<T>, WireError> {
        for attribute in self.current.attributes() {
            let attribute = attribute.map_err(|_| malformed())?;
            let key = attribute.key.into_inner();
            if !key.starts_with("xmlns") && local(key) == local(name) {
                return T::from_text(&attribute.value).map(Some).ok_or_else(malformed);
            }
        }
        Ok(None)
    }

    /// The text of the current element, which is left.
    fn text(&mut self) -> Result<String, WireError> {
        let mut text = String::new();
        loop {
            match self.event()? {
                Event::Text(part) => text.push_str(&part.xml10_content()),
                Event::CData(part) => text.push_str(&part.xml10_content()),
                Event::GeneralRef(reference) => match reference.resolve_char_ref().map_err(|_| malformed())? {
                    Some(character) => text.push(character),
                    None => text.push(named_character(&reference.into_inner())?),
                },
                Event::End(_) => {
                    self.depth -= 1;
                    return Ok(text);
                }
                Event::Comment(_) | Event::PI(_) => {}
                _ => return Err(malformed()),
            }
        }
    }

    fn value<T: FromText>(&mut self) -> Result<T, WireError> {
        T::from_text(&self.text()?).ok_or_else(malformed)
    }

    pub(crate) fn scalar<T: FromText>(&mut self, slot: &mut Option<T>) -> Result<(), WireError> {
        let value = self.value()?;
        once(slot, value)
    }

    pub(crate) fn time(&mut self, slot: &mut Option<Timestamp>, format: TimeFormat) -> Result<(), WireError> {
        let value = Timestamp::parse(&self.text()?, format).ok_or_else(malformed)?;
        once(slot, value)
    }

    pub(crate) fn structure<T>(&mut self, slot: &mut Option<T>, read: ReadFn<'a, T>) -> Result<(), WireError> {
        let value = read(self)?;
        once(slot, value)
    }

    pub(crate) fn item<T>(&mut self, items: &mut Vec<T>, limit: usize, read: ReadFn<'a, T>) -> Result<(), WireError> {
        if items.len() >= limit {
            return Err(malformed());
        }
        items.push(read(self)?);
        Ok(())
    }

    pub(crate) fn scalar_item<T: FromText>(&mut self, items: &mut Vec<T>, limit: usize) -> Result<(), WireError> {
        self.item(items, limit, Self::value)
    }

    pub(crate) fn list<T>(
        &mut self,
        items: &mut Vec<T>,
        tag: &str,
        limit: usize,
        read: ReadFn<'a, T>,
    ) -> Result<(), WireError> {
        while self.next_child()? {
            if self.name() != tag {
                return Err(malformed());
            }
            self.item(items, limit, read)?;
        }
        Ok(())
    }

    /// The value of an element that must be there.
    pub(crate) fn required<T>(&self, value: Option<T>) -> Result<T, WireError> {
        value.ok_or_else(malformed)
    }

    /// A list that must have items.
    pub(crate) fn filled<T>(&self, items: Vec<T>) -> Result<Vec<T>, WireError> {
        if items.is_empty() { Err(malformed()) } else { Ok(items) }
    }

    /// An element that the schema does not have here.
    pub(crate) fn unexpected(&self) -> WireError {
        malformed()
    }

    /// An element that asks for what is not implemented.
    pub(crate) fn refused(&self) -> WireError {
        WireError::new(ErrorCode::NotImplemented)
    }
}

/// Reads the structure inside the current element and leaves it.
type ReadFn<'a, T> = fn(&mut XmlReader<'a>) -> Result<T, WireError>;

fn once<T>(slot: &mut Option<T>, value: T) -> Result<(), WireError> {
    if slot.replace(value).is_some() { Err(malformed()) } else { Ok(()) }
}

fn local(name: &str) -> &str {
    name.rsplit_once(':').map_or(name, |(_, local)| local)
}

fn is_blank(text: &str) -> bool {
    text.bytes().all(|byte| matches!(byte, b' ' | b'\t' | b'\r' | b'\n'))
}

fn named_character(name: &str) -> Result<char, WireError> {
    Ok(match name {
        "amp" => '&',
        "lt" => '<',
        "gt" => '>',
        "quot" => '"',
        "apos" => '\'',
        _ => return Err(malformed()),
    })
}
