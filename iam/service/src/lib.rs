//! Who there is: accounts, users, groups, roles, their keys and their policies, in rows of the system range; and the
//! [`View`] of them that each node holds, from which requests are authorised without a Raft read.
//!
//! A change is decided on by the node that serves it, on its view of one account, and committed when nothing in that
//! account has changed since ([`IamEvaluator`]). Every node follows a log of changes; the node that made one has it
//! before it answers. Secrets are sealed under a key that is derived from the cluster's and lies in no row.

mod change;
mod evaluator;
mod ids;
pub mod managed;
mod messages;
pub mod model;
mod names;
mod seal;
mod state;
mod store;
mod view;

pub use change::Change;
pub use evaluator::{IAM_EVALUATOR, IamEvaluator};
pub use seal::{Sealed, Sealer, Unsealable};
pub use state::{Account, Entity, Table};
pub use store::{Store, StoreError, StoreParts};
pub use view::{Holder, Key, View};
