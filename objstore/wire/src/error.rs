//! What the wire layer refuses.

use crate::generated::ErrorCode;

/// A refusal, ready to be told to the client.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}: {message}", code.as_str())]
pub struct WireError {
    /// The code with its status.
    pub code: ErrorCode,
    /// What the client is told.
    pub message: String,
    /// Further elements of the error document, such as `ArgumentName`.
    pub extra: Vec<(&'static str, String)>,
}

impl WireError {
    /// The code with its usual message.
    pub fn new(code: ErrorCode) -> Self {
        Self::with_message(code, code.message())
    }

    /// The code with a message of its own.
    pub fn with_message(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), extra: Vec::new() }
    }

    /// `InvalidArgument` that names the argument and its value.
    pub fn argument(name: &str, value: &str, message: impl Into<String>) -> Self {
        let extra = vec![("ArgumentName", name.to_owned()), ("ArgumentValue", value.to_owned())];
        Self { code: ErrorCode::InvalidArgument, message: message.into(), extra }
    }

    /// The HTTP status.
    pub fn status(&self) -> u16 {
        self.code.status()
    }
}
