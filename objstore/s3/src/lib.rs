//! The S3 operations: requests of the gateway become calls of the object service, and its answers become responses.
//!
//! ```no_run
//! # fn serve(service: std::sync::Arc<karri_objstore_service::ObjectService>) {
//! use std::sync::Arc;
//! use karri_objstore_s3::{AccountAuthorizer, S3, S3Config};
//!
//! let authorizer = Arc::new(AccountAuthorizer::new("000000000000"));
//! let backend = S3::new(service, authorizer, S3Config { region: "us-east-1".to_owned() });
//! # }
//! ```
//!
//! The way of each request: route, check names, authorise, check the expected owner, then the operation's handler
//! reads headers and body, calls the service and writes the response. Nothing polls the body before it is authorised.
//!
//! It knows neither connections and signatures (the gateway's) nor how objects are kept (the service's).

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
mod error;
mod fault;
mod get;
mod headers;
mod lifecycle;
mod lifecycle_rules;
mod list;
mod list_versions;
mod lock;
mod multipart;
mod multipart_list;
mod names;
mod object_lock;
mod post;
mod put;
mod range;
mod response;
mod subresource;
mod tagging;
mod version;
mod versioning;

pub use authorize::{Access, AccountAuthorizer, Authorizer, Decision};
pub use dispatch::{S3, S3Config};
