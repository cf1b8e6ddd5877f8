//! JSON with positions: policy errors say where, which a parser into plain values cannot.

use crate::error::{PolicyError, PolicyErrorKind};

/// Levels of objects and lists; the deepest policy needs six.
const DEPTH_MAX: usize = 10;
/// Values of all kinds in one document.
const VALUES_MAX: usize = 8_192;
/// Members of one object.
const MEMBERS_MAX: usize = 256;

/// A value, and the byte at which it begins.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) at: usize,
    pub(crate) end: usize,
    pub(crate) value: Value,
}

#[derive(Debug)]
pub(crate) enum Value {
    Object(Vec<Member>),
    List(Vec<Node>),
    String(String),
    /// A number or a boolean as it is written: conditions take both in place of a string.
    Bare(String),
    Null,
}

#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) at: usize,
    pub(crate) name: String,
    pub(crate) node: Node,
}

/// Reads one document that must be an object.
pub(crate) fn parse(text: &str) -> Result<Node, PolicyError> {
    let mut reader = Reader { text, at: 0, values: 0 };
    reader.space();
    if reader.peek() != Some(b'{') {
        return Err(reader.fault("an object is expected"));
    }
    let node = reader.value(0)?;
    reader.space();
    if reader.at < text.len() {
        return Err(reader.fault("nothing may follow the document"));
    }
    Ok(node)
}

/// The error `kind` at byte `at` of `text`.
pub(crate) fn error_at(text: &str, at: usize, kind: PolicyErrorKind) -> PolicyError {
    let before = text.get(..at).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    PolicyError { kind, line, column }
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
    values: usize,
}

impl Reader<'_> {
    fn fault(&self, what: &'static str) -> PolicyError {
        error_at(self.text, self.at, PolicyErrorKind::Json(what))
    }

    fn too_large(&self, what: &'static str) -> PolicyError {
        error_at(self.text, self.at, PolicyErrorKind::TooLarge(what))
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn expect(&mut self, byte: u8, what: &'static str) -> Result<(), PolicyError> {
        if self.peek() != Some(byte) {
            return Err(self.fault(what));
        }
        self.at += 1;
        Ok(())
    }

    fn value(&mut self, depth: usize) -> Result<Node, PolicyError> {
        self.values += 1;
        if self.values > VALUES_MAX {
            return Err(self.too_large("too many values"));
        }
        if depth >= DEPTH_MAX {
            return Err(self.too_large("too many levels"));
        }
        let at = self.at;
        let value = match self.peek() {
            Some(b'{') => Value::Object(self.object(depth)?),
            Some(b'[') => Value::List(self.list(depth)?),
            Some(b'"') => Value::String(self.string()?),
            Some(_) => self.bare()?,
            None => return Err(self.fault("the document ends too early")),
        };
        Ok(Node { at, end: self.at, value })
    }

    fn object(&mut self, depth: usize) -> Result<Vec<Member>, PolicyError> {
        self.at += 1;
        let mut members: Vec<Member> = Vec::new();
        self.space();
        if self.peek() == Some(b'}') {
            self.at += 1;
            return Ok(members);
        }
        loop {
            self.space();
            let at = self.at;
            if self.peek() != Some(b'"') {
                return Err(self.fault("a name in quotes is expected"));
            }
            let name = self.string()?;
            if members.len() == MEMBERS_MAX {
                return Err(self.too_large("too many members in one object"));
            }
            if members.iter().any(|member| member.name == name) {
                return Err(error_at(self.text, at, PolicyErrorKind::Conflict(name)));
            }
            self.space();
            self.expect(b':', "a colon is expected")?;
            self.space();
            let node = self.value(depth + 1)?;
            members.push(Member { at, name, node });
            self.space();
            if self.peek() == Some(b'}') {
                self.at += 1;
                return Ok(members);
            }
            self.expect(b',', "a comma or a closing brace is expected")?;
        }
    }

    fn list(&mut self, depth: usize) -> Result<Vec<Node>, PolicyError> {
        self.at += 1;
        let mut nodes = Vec::new();
        self.space();
        if self.peek() == Some(b']') {
            self.at += 1;
            return Ok(nodes);
        }
        loop {
            self.space();
            nodes.push(self.value(depth + 1)?);
            self.space();
            if self.peek() == Some(b']') {
                self.at += 1;
                return Ok(nodes);
            }
            self.expect(b',', "a comma or a closing bracket is expected")?;
        }
    }

    fn string(&mut self) -> Result<String, PolicyError> {
        self.at += 1;
        let mut out = String::new();
        loop {
            let rest = &self.text[self.at..];
            let plain = rest.find(|c: char| c == '"' || c == '\\' || c < ' ').unwrap_or(rest.len());
            out.push_str(&rest[..plain]);
            self.at += plain;
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(out);
                }
                Some(b'\\') => out.push(self.escape()?),
                Some(_) => return Err(self.fault("a control character in a string")),
                None => return Err(self.fault("a string is not closed")),
            }
        }
    }

    fn escape(&mut self) -> Result<char, PolicyError> {
        let Some(&kind) = self.text.as_bytes().get(self.at + 1) else {
            return Err(self.fault("a string is not closed"));
        };
        if kind == b'u' {
            return self.unicode();
        }
        let plain = match kind {
            b'"' | b'\\' | b'/' => char::from(kind),
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            _ => return Err(self.fault("an unknown escape in a string")),
        };
        self.at += 2;
        Ok(plain)
    }

    fn unicode(&mut self) -> Result<char, PolicyError> {
        let first = self.hex4()?;
        let code = if (0xd800..0xdc00).contains(&first) {
            if !self.text[self.at..].starts_with("\\u") {
                return Err(self.fault("half of a surrogate pair"));
            }
            let second = self.hex4()?;
            if !(0xdc00..0xe000).contains(&second) {
                return Err(self.fault("half of a surrogate pair"));
            }
            0x1_0000 + ((first - 0xd800) << 10) + (second - 0xdc00)
        } else {
            first
        };
        char::from_u32(code).ok_or_else(|| self.fault("half of a surrogate pair"))
    }

    /// Reads `\uXXXX`.
    fn hex4(&mut self) -> Result<u32, PolicyError> {
        let digits = self.text.get(self.at + 2..self.at + 6).filter(|hex| hex.bytes().all(|b| b.is_ascii_hexdigit()));
        let code = digits.and_then(|hex| u32::from_str_radix(hex, 16).ok());
        let code = code.ok_or_else(|| self.fault("four hex digits are expected"))?;
        self.at += 6;
        Ok(code)
    }

    fn bare(&mut self) -> Result<Value, PolicyError> {
        let rest = &self.text[self.at..];
        let length = rest.find(|c: char| !c.is_ascii_alphanumeric() && !"+-.".contains(c)).unwrap_or(rest.len());
        let word = &rest[..length];
        let value = match word {
            "null" => Value::Null,
            "true" | "false" => Value::Bare(word.to_owned()),
            _ if is_number(word) => Value::Bare(word.to_owned()),
            _ => return Err(self.fault("a value is expected")),
        };
        self.at += length;
        Ok(value)
    }
}

/// JSON's grammar of numbers.
fn is_number(word: &str) -> bool {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let unsigned = word.strip_prefix('-').unwrap_or(word);
    let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent.strip_prefix(['+', '-']).unwrap_or(exponent))),
        None => (unsigned, None),
    };
    let (whole, fraction) = match mantissa.split_once('.') {
        Some((whole, fraction)) => (whole, Some(fraction)),
        None => (mantissa, None),
    };
    digits(whole)
        && (whole == "0" || !whole.starts_with('0'))
        && fraction.is_none_or(digits)
        && exponent.is_none_or(digits)
}
