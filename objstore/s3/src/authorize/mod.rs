//! Who may do what. The gateway says who calls; this decides, before a byte of the body is read.
//!
//! A decision takes the caller's own policies ([`Identities`]), the bucket's policy, its access control list and that
//! of the object, and the bucket's public access block and ownership. All but the object's own list are remembered,
//! compiled, on this node. An object is looked at before the decision only where the decision hangs on it: its list,
//! its tags, or that it does not exist.

mod actions;
mod context;
mod identities;
mod judge;
mod quota;
mod rules;

pub use identities::{Account, Identities, OneAccount};

pub(crate) use actions::{action, creation_actions, extra_actions};
pub(crate) use judge::{Target, identity, says_that_it_pays};
pub(crate) use rules::{BucketPolicy, Ownership, Rules, ownership_document};
