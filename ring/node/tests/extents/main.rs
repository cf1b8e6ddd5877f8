//! Extents on several nodes, with real stores and a network in memory.

#![expect(clippy::disallowed_methods, reason = "it looks at the files of the host behind the node's back")]

mod quorum;
mod repair;
mod schemes;
mod support;
