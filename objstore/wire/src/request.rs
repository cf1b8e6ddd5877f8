//! A request's path, query and headers, and the typed reading of them.

use std::borrow::Cow;

use http::{HeaderMap, HeaderValue, Method};

use crate::error::WireError;
use crate::generated::ErrorCode;
use crate::router::KeyKind;
use crate::text::FromText;
use crate::time::{TimeFormat, Timestamp};

/// What the wire layer sees of a request.
#[derive(Clone, Copy, Debug)]
pub struct WireRequest<'a> {
    /// The method.
    pub method: &'a Method,
    /// The bucket's name, from path or host.
    pub bucket: Option<&'a str>,
    /// The object's key, decoded once.
    pub key: Option<&'a str>,
    /// Decoded pairs in the request's order; a parameter without `=` has an empty value.
    pub query: &'a [(String, String)],
    /// The headers.
    pub headers: &'a HeaderMap,
}

impl WireRequest<'_> {
    /// What the path names.
    pub fn kind(&self) -> KeyKind {
        match (self.bucket, self.key) {
            (None, _) => KeyKind::Service,
            (Some(_), None | Some("")) => KeyKind::Bucket,
            (Some(_), Some(_)) => KeyKind::Object,
        }
    }
}

/// Headers that a presigned request may carry in its query instead.
const HOISTED: &str = "x-amz-";

/// Conditional headers of HTTP itself, whose malformed dates are ignored (RFC 9110, section 13.1).
const LENIENT_DATES: &[&str] = &["if-modified-since", "if-unmodified-since"];

/// Typed access to a request's fields.
pub(crate) struct Fields<'a> {
    request: &'a WireRequest<'a>,
    hoisted: bool,
}

impl<'a> Fields<'a> {
    pub(crate) fn new(request: &'a WireRequest<'a>) -> Self {
        let hoisted = request.query.iter().any(|(name, _)| starts_with(name, HOISTED));
        Self { request, hoisted }
    }

    pub(crate) fn bucket(&self) -> Result<String, WireError> {
        self.request.bucket.map(str::to_owned).ok_or_else(|| WireError::new(ErrorCode::InvalidBucketName))
    }

    pub(crate) fn key(&self) -> Result<String, WireError> {
        self.request.key.map(str::to_owned).ok_or_else(|| WireError::new(ErrorCode::InvalidURI))
    }

    /// Refuses the request when one of these headers is there.
    pub(crate) fn refuse(&self, names: &[&str]) -> Result<(), WireError> {
        match names.iter().find(|name| self.has_header(name)) {
            None => Ok(()),
            Some(name) => Err(WireError {
                extra: vec![("Header", (*name).to_owned())],
                ..WireError::new(ErrorCode::NotImplemented)
            }),
        }
    }

    pub(crate) fn has_header(&self, name: &str) -> bool {
        self.request.headers.contains_key(name) || self.hoisted_value(name).is_some()
    }

    // Query.

    fn query_text(&self, name: &str) -> Result<Option<&'a str>, WireError> {
        let mut found = self.request.query.iter().filter(|(known, _)| known == name);
        let value = found.next().map(|(_, value)| value.as_str());
        match found.next() {
            // Whoever authorised the request may have looked at the other one.
            Some((_, other)) => Err(WireError::argument(name, other, format!("{name} must be given once"))),
            None => Ok(value),
        }
    }

    pub(crate) fn query<T: FromText>(&self, name: &str) -> Result<Option<T>, WireError> {
        self.query_text(name)?.map_or(Ok(None), |text| convert(name, text))
    }

    pub(crate) fn must_query<T: FromText>(&self, name: &str) -> Result<T, WireError> {
        self.query(name)?.ok_or_else(|| WireError::argument(name, "", format!("Missing required parameter {name}")))
    }

    /// A text that counts only when it is not empty.
    pub(crate) fn query_filled(&self, name: &str) -> Result<Option<String>, WireError> {
        Ok(self.query_text(name)?.filter(|text| !text.is_empty()).map(str::to_owned))
    }

    /// A text that becomes a header of the answer.
    pub(crate) fn query_header(&self, name: &str) -> Result<Option<String>, WireError> {
        match self.query_filled(name)? {
            Some(text) if HeaderValue::from_bytes(text.as_bytes()).is_err() => {
                Err(WireError::argument(name, "", format!("{name} is not a header value")))
            }
            text => Ok(text),
        }
    }

    // Headers.

    /// The header's text. Several of one name are joined by commas, as they were for the signature.
    fn header_text(&self, name: &str) -> Result<Option<Cow<'a, str>>, WireError> {
        let mut values = self.request.headers.get_all(name).iter();
        let Some(first) = values.next() else {
            return match self.hoisted_value(name) {
                Some(text) if HeaderValue::from_bytes(text.as_bytes()).is_err() => Err(not_text(name)),
                found => Ok(found.map(Cow::Borrowed)),
            };
        };
        let mut text = Cow::Borrowed(header_str(name, first)?);
        for value in values {
            let joined = text.to_mut();
            joined.push(',');
            joined.push_str(header_str(name, value)?);
        }
        Ok(Some(text))
    }

    fn hoisted_value(&self, name: &str) -> Option<&'a str> {
        if !self.hoisted || !name.starts_with(HOISTED) {
            return None;
        }
        let found = self.request.query.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

    pub(crate) fn header<T: FromText>(&self, name: &str) -> Result<Option<T>, WireError> {
        self.header_text(name)?.map_or(Ok(None), |text| convert(name, &text))
    }

    pub(crate) fn must_header<T: FromText>(&self, name: &str) -> Result<T, WireError> {
        self.header(name)?.ok_or_else(|| missing_header(name))
    }

    pub(crate) fn header_list<T: FromText>(&self, name: &str) -> Result<Vec<T>, WireError> {
        let Some(text) = self.header_text(name)? else { return Ok(Vec::new()) };
        let items = text.split(',').map(str::trim_ascii).filter(|item| !item.is_empty());
        items.map(|item| T::from_text(item).ok_or_else(|| T::invalid(name, item))).collect()
    }

    pub(crate) fn must_header_list<T: FromText>(&self, name: &str) -> Result<Vec<T>, WireError> {
        let items = self.header_list(name)?;
        if items.is_empty() { Err(missing_header(name)) } else { Ok(items) }
    }

    pub(crate) fn header_time(&self, name: &str, format: TimeFormat) -> Result<Option<Timestamp>, WireError> {
        let Some(text) = self.header_text(name)?.filter(|text| !text.is_empty()) else { return Ok(None) };
        match Timestamp::parse(&text, format) {
            None if !LENIENT_DATES.contains(&name) => {
                Err(WireError::argument(name, &text, format!("The value specified for {name} is not a date")))
            }
            parsed => Ok(parsed),
        }
    }

    /// Headers whose names begin with `prefix`, without it; several of one name are joined by commas.
    pub(crate) fn header_map(&self, prefix: &str) -> Result<Vec<(String, String)>, WireError> {
        let mut map = Vec::new();
        for name in self.request.headers.keys() {
            if let Some(rest) = name.as_str().strip_prefix(prefix) {
                let text = self.header_text(name.as_str())?.unwrap_or_default();
                map.push((rest.to_owned(), text.into_owned()));
            }
        }
        let hoisted = self.request.query.iter().filter(|(name, _)| self.hoisted && starts_with(name, prefix));
        for (name, value) in hoisted {
            let name = name[prefix.len()..].to_ascii_lowercase();
            if HeaderValue::from_bytes(value.as_bytes()).is_err() {
                return Err(not_text(&name));
            }
            if !map.iter().any(|(known, _)| *known == name) {
                map.push((name, value.clone()));
            }
        }
        Ok(map)
    }
}

fn starts_with(name: &str, prefix: &str) -> bool {
    name.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix))
}

fn convert<T: FromText>(name: &str, text: &str) -> Result<Option<T>, WireError> {
    if text.is_empty() && T::EMPTY_IS_ABSENT {
        return Ok(None);
    }
    T::from_text(text).map(Some).ok_or_else(|| T::invalid(name, text))
}

fn header_str<'v>(name: &str, value: &'v HeaderValue) -> Result<&'v str, WireError> {
    std::str::from_utf8(value.as_bytes()).map_err(|_| not_text(name))
}

fn not_text(name: &str) -> WireError {
    WireError::argument(name, "", format!("The value specified for {name} is not UTF-8 text"))
}

fn missing_header(name: &str) -> WireError {
    WireError::with_message(ErrorCode::InvalidRequest, format!("Missing required header for this request: {name}"))
}
