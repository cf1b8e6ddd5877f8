//! Who there is: accounts, users, groups, roles, their keys and their policies, in rows of the system range; and the
//! [`View`] of them that each node holds, from which requests are authorised without a Raft read.
//!
//! A change is decided on by the node that serves it, on its view of one account, and committed when nothing in that
//! account has changed since ([`IamEvaluator`]). Every node follows a log of changes; the node that made one has it
//! before it answers. Secrets are sealed under a key that is derived from the cluster's and lies in no row.

mod api;
mod attempts;
mod change;
mod compiled;
mod credentials;
mod evaluator;
mod front;
mod ids;
pub mod kms_model;
pub mod managed;
mod messages;
pub mod model;
mod names;
mod principals;
mod root;
mod seal;
mod state;
mod store;
mod sts;
mod totp;
mod view;

pub use api::{ADMIN_ACCOUNT, AccountUse, Answered, Api, CallInfo};
pub use change::Change;
pub use credentials::IamCredentials;
pub use evaluator::{IAM_EVALUATOR, IamEvaluator};
pub use root::{ADMIN_ALIAS, NewKey, RootError};
pub use seal::{Sealed, Sealer, Unsealable};
pub use state::{Account, Entity, Table};
pub use store::{Store, StoreError, StoreParts};
pub use sts::{AuthorizationMessages, ProviderSettings, Sessions, Sts};
pub use view::{Holder, Key, View};
