//! Extents on several nodes, with real stores and a network in memory.

mod quorum;
mod repair;
mod support;
