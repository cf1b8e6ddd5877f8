//! `multipart/form-data` of a browser's upload: small fields first, then the file, which is never gathered.

use bytes::{Buf, Bytes, BytesMut};

use crate::body::{BodyError, RequestBody};
use crate::error::ApiError;

/// Bytes before the file, at most: AWS's bound.
const FIELDS_BYTES_MAX: usize = 20_480;
/// Bytes of the headers of one part.
const PART_HEADERS_BYTES_MAX: usize = 4096;
/// Characters of a boundary (RFC 2046).
const BOUNDARY_LENGTH_MAX: usize = 70;
/// Fields, at most.
const FIELDS_MAX: usize = 256;
/// Bytes behind the file that are read and dropped.
const TAIL_BYTES_MAX: usize = 64 << 10;

/// The boundary in a `Content-Type`, when it is that of a form.
pub(crate) fn boundary(content_type: &str) -> Option<&str> {
    let mut parts = content_type.split(';').map(str::trim);
    if !parts.next()?.eq_ignore_ascii_case("multipart/form-data") {
        return None;
    }
    parts.find_map(|part| {
        let (name, value) = part.split_once('=')?;
        name.trim().eq_ignore_ascii_case("boundary").then(|| value.trim().trim_matches('"'))
    })
}

/// The fields before the file, and the file.
#[derive(Debug)]
pub(crate) struct Parts {
    /// Names in lower case.
    pub(crate) fields: Vec<(String, String)>,
    pub(crate) file: FilePart,
    /// As the browser gave it.
    pub(crate) file_name: String,
    /// `Content-Type` of the file's part.
    pub(crate) file_type: Option<String>,
}

/// Reads up to the first byte of the file.
pub(crate) async fn read(body: RequestBody, boundary: &str) -> Result<Parts, ApiError> {
    if boundary.is_empty() || boundary.len() > BOUNDARY_LENGTH_MAX {
        return Err(malformed());
    }
    let mut input = Input::new(body, boundary);
    let mut budget = FIELDS_BYTES_MAX;
    // What stands before the first boundary means nothing.
    input.until_delimiter(&mut budget).await?;
    let mut fields: Vec<(String, String)> = Vec::new();
    while !input.at_end().await? {
        let head = PartHead::read(&mut input, &mut budget).await?;
        if head.name == "file" {
            let (file_name, file_type) = (head.file_name.unwrap_or_default(), head.content_type);
            return Ok(Parts { fields, file: FilePart::new(input), file_name, file_type });
        }
        let value = input.until_delimiter(&mut budget).await?;
        let value = String::from_utf8(value).map_err(|_| malformed())?;
        if fields.len() >= FIELDS_MAX {
            return Err(too_large());
        }
        // Whoever checks a field must see the one that is used.
        if fields.iter().any(|(known, _)| *known == head.name) {
            let message = "POST form fields must not be given twice.";
            return Err(ApiError::invalid_argument(&head.name, &value, message));
        }
        fields.push((head.name, value));
    }
    Err(ApiError::invalid_argument("file", "0", "POST requires exactly one file upload per request."))
}

struct PartHead {
    /// In lower case.
    name: String,
    file_name: Option<String>,
    content_type: Option<String>,
}

impl PartHead {
    async fn read(input: &mut Input, budget: &mut usize) -> Result<Self, ApiError> {
        let mut bytes = PART_HEADERS_BYTES_MAX.min(*budget);
        let allowed = bytes;
        let head = input.until(b"\r\n\r\n", &mut bytes).await?;
        *budget -= allowed - bytes;
        let head = String::from_utf8(head).map_err(|_| malformed())?;
        let header = |wanted: &str| {
            head.split("\r\n").find_map(|line| {
                let (name, value) = line.split_once(':')?;
                name.trim().eq_ignore_ascii_case(wanted).then(|| value.trim())
            })
        };
        let disposition = header("content-disposition").ok_or_else(malformed)?;
        let name = parameter(disposition, "name").ok_or_else(malformed)?.to_ascii_lowercase();
        let file_name = parameter(disposition, "filename");
        Ok(Self { name, file_name, content_type: header("content-type").map(str::to_owned) })
    }
}

/// A parameter of `Content-Disposition`, quoted as browsers do it: `"` as `%22` or behind a backslash.
fn parameter(header: &str, wanted: &str) -> Option<String> {
    let mut rest = header.split_once(';')?.1;
    loop {
        let (name, after) = rest.split_once('=')?;
        let name = name.trim_matches([' ', '\t', ';']);
        let (value, next) = match after.strip_prefix('"') {
            Some(quoted) => quoted_text(quoted)?,
            None => {
                let end = after.find(';').unwrap_or(after.len());
                (after[..end].trim().to_owned(), &after[end..])
            }
        };
        if name.eq_ignore_ascii_case(wanted) {
            return Some(value);
        }
        rest = next;
    }
}

/// The text up to the closing quote, and what follows it. A backslash stands for itself unless a quote follows:
/// paths of some systems have many.
fn quoted_text(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut characters = text.char_indices().peekable();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Some((value.replace("%22", "\""), &text[at + 1..])),
            '\\' if characters.peek().is_some_and(|(_, next)| *next == '"') => {
                characters.next();
                value.push('"');
            }
            other => value.push(other),
        }
    }
    None
}

/// The body with what was read of it and not yet used.
#[derive(Debug)]
struct Input {
    body: RequestBody,
    buffer: Bytes,
    /// Line end, two hyphens, boundary.
    delimiter: Vec<u8>,
}

impl Input {
    fn new(body: RequestBody, boundary: &str) -> Self {
        let delimiter = [b"\r\n--", boundary.as_bytes()].concat();
        // The first boundary may be the first line.
        Self { body, buffer: Bytes::from_static(b"\r\n"), delimiter }
    }

    /// Reads more behind what is there.
    async fn fill(&mut self) -> Result<(), BodyError> {
        let piece = match self.body.next().await {
            Some(piece) => piece?,
            None => return Err(BodyError::Incomplete),
        };
        if self.buffer.is_empty() {
            self.buffer = piece;
        } else {
            let mut joined = BytesMut::with_capacity(self.buffer.len() + piece.len());
            joined.extend_from_slice(&self.buffer);
            joined.extend_from_slice(&piece);
            self.buffer = joined.freeze();
        }
        Ok(())
    }

    /// What stands before `end`, which is passed over too. Takes from `budget`.
    async fn until(&mut self, end: &[u8], budget: &mut usize) -> Result<Vec<u8>, ApiError> {
        let mut taken = Vec::new();
        loop {
            if let Some(at) = memchr::memmem::find(&self.buffer, end) {
                *budget = budget.checked_sub(at + end.len()).ok_or_else(too_large)?;
                taken.extend_from_slice(&self.buffer.split_to(at));
                self.buffer.advance(end.len());
                return Ok(taken);
            }
            let sure = self.buffer.len().saturating_sub(end.len() - 1);
            *budget = budget.checked_sub(sure).ok_or_else(too_large)?;
            taken.extend_from_slice(&self.buffer.split_to(sure));
            self.fill().await?;
        }
    }

    async fn until_delimiter(&mut self, budget: &mut usize) -> Result<Vec<u8>, ApiError> {
        let delimiter = std::mem::take(&mut self.delimiter);
        let taken = self.until(&delimiter, budget).await;
        self.delimiter = delimiter;
        taken
    }

    /// Behind a delimiter: whether it was the last one.
    async fn at_end(&mut self) -> Result<bool, ApiError> {
        while self.buffer.len() < 2 {
            self.fill().await?;
        }
        let next = self.buffer.split_to(2);
        match &next[..] {
            b"\r\n" => Ok(false),
            b"--" => Ok(true),
            _ => Err(malformed()),
        }
    }
}

/// How many bytes the file may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LengthRange {
    pub(crate) min: u64,
    pub(crate) max: u64,
}

/// The file of a form, piece by piece.
#[derive(Debug)]
pub(crate) struct FilePart {
    input: Input,
    read: u64,
    range: Option<LengthRange>,
    finished: bool,
}

impl FilePart {
    fn new(input: Input) -> Self {
        Self { input, read: 0, range: None, finished: false }
    }

    /// Refuses a file of another length.
    pub(crate) fn limited(mut self, range: Option<LengthRange>) -> Self {
        self.range = range;
        self
    }

    /// The next bytes, never none of them. The end is told only when the length is in its range.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, BodyError> {
        while !self.finished {
            let buffer = &mut self.input.buffer;
            let (length, found) = match memchr::memmem::find(buffer, &self.input.delimiter) {
                Some(at) => (at, true),
                None => (buffer.len() - held_back(buffer, &self.input.delimiter), false),
            };
            let piece = buffer.split_to(length);
            self.read += length as u64;
            if let Some(range) = self.range.filter(|range| self.read > range.max) {
                return Err(BodyError::FormTooLarge { size: self.read, max: range.max });
            }
            if found {
                self.finished = true;
                if let Some(range) = self.range.filter(|range| self.read < range.min) {
                    return Err(BodyError::FormTooSmall { size: self.read, min: range.min });
                }
                self.drop_tail().await?;
            } else if piece.is_empty() {
                self.input.fill().await?;
            }
            if !piece.is_empty() {
                return Ok(Some(piece));
            }
        }
        Ok(None)
    }

    /// Fields behind the file are ignored, but the body must be there to its end.
    async fn drop_tail(&mut self) -> Result<(), BodyError> {
        let mut tail = self.input.buffer.len();
        while let Some(piece) = self.input.body.next().await {
            tail += piece?.len();
            if tail > TAIL_BYTES_MAX {
                return Err(BodyError::TooLarge { limit: TAIL_BYTES_MAX });
            }
        }
        Ok(())
    }
}

/// Bytes at the end that may be the beginning of a delimiter.
fn held_back(buffer: &[u8], delimiter: &[u8]) -> usize {
    let longest = buffer.len().min(delimiter.len() - 1);
    (1..=longest).rev().find(|length| delimiter.starts_with(&buffer[buffer.len() - length..])).unwrap_or(0)
}

pub(crate) fn malformed() -> ApiError {
    let message = "The body of your POST request is not well-formed multipart/form-data.";
    ApiError::new("MalformedPOSTRequest", 400, message)
}

fn too_large() -> ApiError {
    let message = "Your POST request fields preceding the upload file were too large.";
    ApiError::new("MaxPostPreDataLengthExceeded", 400, message)
        .with("MaxPostPreDataLengthBytes", FIELDS_BYTES_MAX.to_string())
}

#[cfg(test)]
#[path = "multipart_tests.rs"]
mod tests;
