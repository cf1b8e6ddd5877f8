//! The wire layer of IAM and STS, the services of AWS's `query` protocol, and of KMS, of its `json` protocol: which
//! operation a request asks for, its typed input, and the document of its typed output.
//!
//! Everything below `iam`, `sts` and `kms` is printed by `tools/codegen` from the AWS service models and the allow-lists
//! `tools/codegen/iam.toml`, `sts.toml` and `kms.toml`; an operation is added there. Beside it stand the pieces that the emitted
//! code calls.
//!
//! ```
//! use karri_iam_wire::{Form, iam};
//!
//! let parameters = [("Action", "CreateUser"), ("Version", "2010-05-08"), ("UserName", "ada"), ("Tags.member.1.Key", "k"),
//!     ("Tags.member.1.Value", "v")].map(|(name, value)| (name.to_owned(), value.to_owned()));
//! let form = Form::parse(&parameters).unwrap();
//! assert_eq!(iam::route(&form).unwrap(), iam::Operation::CreateUser);
//! let input = iam::parse_create_user(&form).unwrap();
//! assert_eq!((input.user_name.as_str(), input.tags.len()), ("ada", 1));
//! let document = iam::write_create_user(&iam::types::CreateUserOutput::default(), "request-id");
//! assert!(document.starts_with(b"<CreateUserResponse xmlns="));
//!
//! let refusal = iam::ErrorCode::NoSuchEntity.with("The user with name ada cannot be found.");
//! assert_eq!(refusal.status, 404);
//! assert!(refusal.to_xml(iam::XMLNS, "request-id").starts_with(b"<ErrorResponse xmlns="));
//! ```
//!
//! It does no IO, knows no identity, and checks only what the models say: what must be there, bounds, patterns, and
//! the values of enumerations.

mod error;
mod form;
pub mod iam;
mod json;
mod json_request;
pub mod kms;
mod request;
mod router;
mod rules;
mod sensitive;
pub mod sts;
mod text;
mod time;
mod xml_write;

pub use error::WireError;
pub use form::Form;
pub use json::Document;
pub use sensitive::Sensitive;
pub use text::UnknownValue;
pub use time::Timestamp;
