//! The S3 operations over HTTP, signed, on one real node in this process.

mod access;
mod acls;
mod buckets;
mod client;
mod configs;
mod encryption;
mod forms;
mod lifecycle;
mod logging;
mod multipart;
mod node;
mod objects;
mod people;
mod policies;
mod renames;
mod tagging;
mod versions;
mod websites;
