//! The S3 wire layer: which operation a request asks for, its typed input, and the answer of its typed output.
//!
//! Everything below `generated` is printed by `tools/codegen` from the AWS service model and its allow-list
//! `tools/codegen/s3.toml`; an operation is added there. Beside it stand the few pieces that the emitted code calls.
//!
//! ```
//! use http::{HeaderMap, Method};
//! use karri_objstore_wire::{Operation, WireRequest, parse_list_objects_v2, route, types::ListObjectsV2Output};
//!
//! let query = vec![("list-type".to_owned(), "2".to_owned()), ("prefix".to_owned(), "a/".to_owned())];
//! let (method, headers) = (Method::GET, HeaderMap::new());
//! let request = WireRequest { method: &method, bucket: Some("b"), key: None, query: &query, headers: &headers };
//! assert_eq!(route(&request), Ok(Operation::ListObjectsV2));
//! let input = parse_list_objects_v2(&request, &[]).unwrap();
//! let answer = karri_objstore_wire::write_list_objects_v2(&ListObjectsV2Output {
//!     name: Some(input.bucket),
//!     prefix: input.prefix,
//!     ..Default::default()
//! });
//! assert_eq!(answer.status, 200);
//! ```
//!
//! It does no IO, knows no object store, leaves body streams to the gateway, and checks only what the model says:
//! limits of names, of part numbers and of the sense of an input are the use case's.

mod error;
mod error_document;
mod generated;
mod listing;
mod request;
mod response;
mod router;
mod text;
mod time;
mod xml_read;
mod xml_write;

pub use error::WireError;
pub use error_document::ErrorDocument;
// The module lists each name; this only lifts the list to the crate's root.
pub use generated::*;
pub use listing::{ObjectLine, ObjectLines, write_list_objects_lines, write_list_objects_v2_lines};
pub use request::WireRequest;
pub use response::WireResponse;
pub use router::{BodyKind, KeyKind, RouteError, route};
pub use time::{TimeFormat, Timestamp};
