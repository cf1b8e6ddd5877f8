//! Calls between nodes: one versioned, multiplexed transport over mTLS, and the same in memory for tests.
//!
//! Each peer has two connections ([`Lane`]): small urgent calls never wait behind bodies of megabytes. Calls are
//! pipelined and answered in any order. Who calls is proven by a certificate of the cluster's own authority.
//!
//! It knows no Raft, no extents and no S3: a message is a head and a body of bytes.

mod ca;
mod certificate;
mod client;
mod connection;
mod frame;
mod memory;
mod message;
mod router;
mod server;
mod socket;
mod tls;

pub use ca::{ClusterCa, Identity, IdentityError};
pub use certificate::CertificateFacts;
pub use client::{AddressBook, TlsTransport, join_call};
pub use memory::MemoryNetwork;
pub use message::{
    BODY_BYTES_MAX, Caller, HEAD_BYTES_MAX, Handler, Lane, Method, Request, Response, RpcError, Transport,
};
pub use router::Router;
pub use server::RpcServer;
