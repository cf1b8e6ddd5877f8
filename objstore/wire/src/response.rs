//! An answer's status, headers and document.

use http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use http::{HeaderMap, StatusCode};

use crate::text::ToText;
use crate::time::{TimeFormat, Timestamp};
use crate::xml_write::XmlWriter;

/// An answer without its body stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WireResponse {
    /// The status.
    pub status: StatusCode,
    /// The headers; `content-type` is among them when there is a body.
    pub headers: HeaderMap,
    /// The document, for operations that answer with one.
    pub body: Option<Vec<u8>>,
}

/// Builds a [`WireResponse`]. A value that no header can hold is left out: inputs are checked when they are read,
/// so this only meets what was stored by other means, and an answer without it is better than none.
pub(crate) struct Answer {
    response: WireResponse,
}

impl Answer {
    pub(crate) fn new(status: u16) -> Self {
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        Self { response: WireResponse { status, headers: HeaderMap::new(), body: None } }
    }

    pub(crate) fn header<T: ToText>(&mut self, name: &'static str, value: Option<&T>) {
        if let Some(value) =
            value.and_then(|value| value.with_text(|text| HeaderValue::from_bytes(text.as_bytes()).ok()))
        {
            self.response.headers.insert(HeaderName::from_static(name), value);
        }
    }

    pub(crate) fn header_time(&mut self, name: &'static str, value: Option<Timestamp>, format: TimeFormat) {
        self.header(name, value.map(|value| value.format(format)).as_ref());
    }

    pub(crate) fn header_map(&mut self, prefix: &str, map: &[(String, String)]) {
        for (name, value) in map {
            let name = HeaderName::from_bytes(format!("{prefix}{name}").as_bytes());
            if let (Ok(name), Ok(value)) = (name, HeaderValue::from_bytes(value.as_bytes())) {
                self.response.headers.insert(name, value);
            }
        }
    }

    pub(crate) fn document(&mut self, xml: XmlWriter) {
        self.response.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/xml"));
        self.response.body = Some(xml.finish());
    }

    pub(crate) fn text(&mut self, content_type: &'static str, text: Option<&str>) {
        if let Some(text) = text {
            self.response.headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
            self.response.body = Some(text.as_bytes().to_vec());
        }
    }

    pub(crate) fn finish(self) -> WireResponse {
        self.response
    }
}
