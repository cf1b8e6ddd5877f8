//! Placeholder.

pub mod join;
pub mod membership;
