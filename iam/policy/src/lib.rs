//! The policy language of IAM: documents are compiled once, and requests are decided on by AWS's rules.
//!
//! ```
//! use std::sync::Arc;
//! use karri_iam_policy::{Context, Policies, Policy, PolicyKind, Principal, Request, evaluate};
//!
//! let document = r#"{"Version": "2012-10-17", "Statement":
//!     [{"Effect": "Allow", "Principal": "*", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::site/*"}]}"#;
//! let bucket_policy = Policy::parse(document, PolicyKind::Resource)?;
//! let request = Request {
//!     principal: &Principal::anonymous(),
//!     action: "s3:GetObject",
//!     resource: "arn:aws:s3:::site/index.html",
//!     resource_account: "123456789012",
//!     context: &Context::new(1_700_000_000),
//! };
//! assert!(evaluate(&request, &Policies::default(), Some(&bucket_policy)).is_allowed());
//! # Ok::<(), karri_iam_policy::PolicyError>(())
//! ```
//!
//! It is pure: no clock, no input or output, no knowledge of who exists. Who keeps policies checks the limits of the
//! place where they are kept, and that the principals they name exist.

mod arn;
mod condition;
mod context;
mod error;
mod evaluate;
mod facts;
mod json;
mod key;
mod operand;
mod parse;
mod parse_principal;
mod pattern;
mod policy;
mod principal;
mod principal_match;
mod public;
mod quota;
mod time;

pub use arn::{Arn, ArnError};
pub use context::Context;
pub use error::{PolicyError, PolicyErrorKind};
pub use evaluate::{Cause, Decision, Grant, Policies, PolicySource, Reason, Request, evaluate, evaluate_with};
pub use policy::{Effect, POLICY_BYTES_MAX, Policy, PolicyKind, STATEMENTS_MAX, Span, Statement};
pub use principal::{Principal, PrincipalKind, Session};
pub use quota::{QuotaKey, has_quotas, quota};
