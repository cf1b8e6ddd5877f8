//! The S3 operations: requests of the gateway become calls of the object service, and its answers become responses.
//!
//! ```no_run
//! # use std::sync::Arc;
//! # use karri_objstore_s3::{Identities, KeyService};
//! # use karri_objstore_service::ObjectService;
//! # fn serve(service: Arc<ObjectService>, identities: Arc<dyn Identities>, keys: Arc<dyn KeyService>) {
//! use karri_objstore_s3::{S3, S3Config};
//! use karri_ring_types::SystemClock;
//!
//! let clock = Arc::new(SystemClock::default());
//! let backend = S3::new(service, identities, keys, clock, S3Config::new("us-east-1"));
//! # }
//! ```
//!
//! The way of each request: route, check names, authorise, check the expected owner, then the operation's handler
//! reads headers and body, calls the service and writes the response. Nothing polls the body before it is authorised.
//!
//! It knows neither connections and signatures (the gateway's) nor how objects are kept (the service's).

mod access_log;
mod acl;
mod attributes;
mod authorize;
mod body;
mod bucket;
mod checksum;
mod conditions;
mod config;
mod convert;
mod copy;
mod copy_source;
mod delete;
mod dispatch;
mod encoding;
mod encryption;
mod error;
mod fault;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod get;
mod headers;
mod key_service;
mod lifecycle;
mod lifecycle_rules;
mod list;
mod list_versions;
mod lock;
mod multipart;
mod multipart_list;
mod names;
mod new_bucket;
mod object_lock;
mod post;
mod put;
mod range;
mod rename;
mod response;
mod restore;
mod subresource;
mod tagging;
mod version;
mod versioning;
mod website;

pub use access_log::AccessLogCounts;
pub use authorize::{Account, Identities, OneAccount};
pub use dispatch::{S3, S3Config};
pub use key_service::{KeyService, KeyUser};
