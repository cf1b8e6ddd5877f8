//! The front door of a Karri cluster: HTTP/1.1, HTTP/2, TLS, virtual hosts, request ids, AWS signatures, the
//! `aws-chunked` framing, limits, metrics, the access log. Behind it stands a [`Backend`] for each service.
//!
//! ```no_run
//! # async fn run(credentials: std::sync::Arc<dyn karri_objstore_gateway::Credentials>,
//! #     s3: std::sync::Arc<dyn karri_objstore_gateway::Backend>,
//! #     admin: std::sync::Arc<dyn karri_objstore_gateway::AdminPages>) -> std::io::Result<()> {
//! use std::sync::Arc;
//! use karri_objstore_gateway::{Gateway, GatewayConfig};
//! use karri_ring_types::{SystemClock, SystemRng};
//! use tokio_util::sync::CancellationToken;
//!
//! let config = GatewayConfig::new(([127, 0, 0, 1], 9000).into(), "us-east-1");
//! let (clock, rng) = (Arc::new(SystemClock::default()), Arc::new(SystemRng));
//! let gateway = Gateway::bind(config, credentials, s3, admin, clock, rng).await?;
//! gateway.serve(CancellationToken::new()).await;
//! # Ok(())
//! # }
//! ```
//!
//! It does not know operations and does not decide who may do what: it says who asks, and verifies what it hands on.

mod activity;
mod admin;
mod admission;
mod api;
mod auth;
#[cfg(test)]
mod benches;
mod body;
mod config;
mod error;
mod flight;
mod form;
mod form_api;
mod form_error;
mod form_handler;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod handler;
mod json_api;
mod json_handler;
mod metrics;
mod response;
mod server;
mod target;
mod tls;

pub use self::admission::Room;
pub use self::api::{
    AdminPages, ApiRequest, ApiResponse, AuthKind, Backend, Caller, Credential, CredentialRefusal, Credentials,
    Crossing, Done, OperationName, Principal, Secret, TlsSession, WhenDone,
};
pub use self::body::{BodyError, RequestBody};
pub use self::config::{GatewayConfig, Limits, TlsFiles};
pub use self::error::{ApiError, ErrorContext};
pub use self::form::PostForm;
pub use self::form_api::{FormBackend, FormRequest, FormResponse};
pub use self::json_api::{JSON_MEDIA_TYPE, JsonBackend, JsonRequest};
pub use self::response::ResponseBody;
pub use self::server::Gateway;
pub use self::tls::check_tls_files;
