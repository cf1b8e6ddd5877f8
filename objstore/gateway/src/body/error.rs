//! What can be wrong with a body.

use crate::error::ApiError;

/// Why a body could not be read to its end. Nothing that was read of it may be published.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// Fewer or more bytes than the request's headers say.
    #[error("the body has another length than its headers say")]
    Incomplete,
    /// The signature of a chunk or of the trailers is wrong.
    #[error("the signature of a chunk or trailer does not match")]
    Signature,
    /// The SHA-256 is not the one in `x-amz-content-sha256`; both in hexadecimal.
    #[error("the body's sha-256 is {computed}, not {claimed}")]
    Sha256 {
        /// As the client said.
        claimed: String,
        /// As received.
        computed: String,
    },
    /// More bytes than the reader takes.
    #[error("the body is longer than {limit} bytes")]
    TooLarge {
        /// The reader's limit.
        limit: usize,
    },
    /// The file of a form is longer than its policy allows.
    #[error("the file is longer than {max} bytes")]
    FormTooLarge {
        /// Bytes so far.
        size: u64,
        /// The policy's limit.
        max: u64,
    },
    /// The file of a form is shorter than its policy allows.
    #[error("the file is shorter than {min} bytes")]
    FormTooSmall {
        /// Its bytes.
        size: u64,
        /// The policy's limit.
        min: u64,
    },
    /// The client sent too little for too long.
    #[error("the body came too slowly")]
    TimedOut,
    /// The chunk framing is not well-formed.
    #[error("the chunk framing is malformed")]
    Framing,
    /// The trailers are not well-formed or not those that were announced.
    #[error("the trailers are malformed")]
    Trailers,
    /// The connection ended.
    #[error("the connection ended inside the body")]
    Disconnected,
}

impl From<BodyError> for ApiError {
    fn from(error: BodyError) -> Self {
        match error {
            BodyError::Incomplete | BodyError::Disconnected => {
                let message = "You did not provide the number of bytes specified by the Content-Length HTTP header";
                Self::new("IncompleteBody", 400, message)
            }
            BodyError::Signature => Self::new(
                "SignatureDoesNotMatch",
                403,
                "The request signature we calculated does not match the signature you provided. Check your key and \
                 signing method.",
            ),
            BodyError::Sha256 { claimed, computed } => {
                let message = "The provided 'x-amz-content-sha256' header does not match what was computed.";
                Self::new("XAmzContentSHA256Mismatch", 400, message)
                    .with("ClientComputedContentSHA256", claimed)
                    .with("S3ComputedContentSHA256", computed)
            }
            BodyError::TooLarge { limit } => {
                Self::new("EntityTooLarge", 400, "Your proposed upload exceeds the maximum allowed object size.")
                    .with("MaxSizeAllowed", limit.to_string())
            }
            BodyError::FormTooLarge { size, max } => {
                Self::new("EntityTooLarge", 400, "Your proposed upload exceeds the maximum allowed size")
                    .with("ProposedSize", size.to_string())
                    .with("MaxSizeAllowed", max.to_string())
            }
            BodyError::FormTooSmall { size, min } => {
                Self::new("EntityTooSmall", 400, "Your proposed upload is smaller than the minimum allowed size")
                    .with("ProposedSize", size.to_string())
                    .with("MinSizeAllowed", min.to_string())
            }
            BodyError::TimedOut => Self::new(
                "RequestTimeout",
                400,
                "Your socket connection to the server was not read from or written to within the timeout period. Idle \
                 connections will be closed.",
            ),
            BodyError::Framing => {
                Self::new("InvalidRequest", 400, "The body of an aws-chunked request is not well-formed.")
            }
            BodyError::Trailers => Self::new(
                "MalformedTrailerError",
                400,
                "The request contained trailing data that was not well-formed or did not conform to our published \
                 schema.",
            ),
        }
    }
}
