//! The records of the key service, which lie in the rows of the accounts that own the keys.

use karri_ring_types::Timestamp;
use serde::{Deserialize, Serialize};

use crate::model::Tag;
use crate::seal::Sealed;

/// Whether a key may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum KmsKeyState {
    /// It may.
    Enabled,
    /// It may not, for now.
    Disabled,
    /// It is destroyed at this time, unless that is called off.
    PendingDeletion {
        /// When.
        at: Timestamp,
        /// How long was asked for.
        window_days: u32,
    },
}

/// A key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KmsKey {
    /// A UUID.
    pub id: String,
    /// When it was made.
    pub created: Timestamp,
    /// For people.
    pub description: String,
    /// Whether it may be used.
    pub state: KmsKeyState,
    /// Made for a service of the cloud, which alone may change it.
    pub is_aws_managed: bool,
    /// Who may use it: the document.
    pub policy: String,
    /// Its tags.
    pub tags: Vec<Tag>,
    /// What it encrypts with, the newest last; never empty. Older ones stay, to decrypt with.
    pub materials: Vec<KmsMaterial>,
    /// Automatic rotation, if it is on.
    pub rotation: Option<KmsRotation>,
    /// Who else may use it.
    pub grants: Vec<KmsGrant>,
}

/// One version of a key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KmsMaterial {
    /// 64 hexadecimal digits.
    pub id: String,
    /// The secret.
    pub secret: Sealed,
    /// When it came into use.
    pub since: Timestamp,
    /// Whether somebody asked for it; else the time did, or it is the first.
    pub on_demand: bool,
}

/// Automatic rotation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KmsRotation {
    /// How often.
    pub period_days: u32,
    /// When next.
    pub next: Timestamp,
}

/// The right of a principal to some operations with a key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KmsGrant {
    /// 64 hexadecimal digits.
    pub id: String,
    /// For people, and against making the same twice.
    pub name: Option<String>,
    /// When it was made.
    pub created: Timestamp,
    /// ARN of who has the right.
    pub grantee: String,
    /// ARN of who may give it up.
    pub retiring: Option<String>,
    /// Account that made it.
    pub issuing_account: String,
    /// Names of operations.
    pub operations: Vec<String>,
    /// What encryption contexts must be, if anything is said of them.
    pub constraint: Option<KmsConstraint>,
}

/// What a grant asks of encryption contexts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum KmsConstraint {
    /// They have these pairs, and may have others.
    Subset(Vec<(String, String)>),
    /// They have these pairs alone.
    Equals(Vec<(String, String)>),
}

/// Another name of a key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KmsAlias {
    /// `alias/...`.
    pub name: String,
    /// The key's id.
    pub key_id: String,
    /// When it was made.
    pub created: Timestamp,
    /// When it last got another key.
    pub updated: Timestamp,
}
