//! What the wire layer and the handlers refuse.

use crate::xml_write::escape;

/// A refusal, ready to be told to the client.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {message}")]
pub struct WireError {
    /// The code.
    pub code: &'static str,
    /// The HTTP status.
    pub status: u16,
    /// What the client is told.
    pub message: String,
}

impl WireError {
    /// A refusal by code, status and message.
    pub fn new(code: &'static str, status: u16, message: impl Into<String>) -> Self {
        Self { code, status, message: message.into() }
    }

    /// 400 for values that the model does not allow.
    pub fn validation(message: impl Into<String>) -> Self {
        Self::new("ValidationError", 400, message)
    }

    /// The body of an error answer of the `json` protocol.
    pub fn to_json(&self) -> Vec<u8> {
        serde_json::json!({ "__type": self.code, "message": self.message }).to_string().into_bytes()
    }

    /// The document of an error answer; `namespace` is the service's.
    pub fn to_xml(&self, namespace: &str, request_id: &str) -> Vec<u8> {
        let fault = if self.status < 500 { "Sender" } else { "Receiver" };
        let mut text = format!("<ErrorResponse xmlns=\"{namespace}\"><Error><Type>{fault}</Type><Code>");
        escape(&mut text, self.code);
        text.push_str("</Code><Message>");
        escape(&mut text, &self.message);
        text.push_str("</Message></Error><RequestId>");
        escape(&mut text, request_id);
        text.push_str("</RequestId></ErrorResponse>");
        text.into_bytes()
    }
}
