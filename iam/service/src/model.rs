//! The records of accounts and identities, as they are kept in rows.

use std::collections::BTreeMap;

use karri_ring_types::Timestamp;
use serde::{Deserialize, Serialize};

use crate::seal::Sealed;

/// A tag's key and value.
pub type Tag = (String, String);

/// Whether a key or a certificate may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Status {
    /// It may.
    Active,
    /// It may not, for now.
    Inactive,
}

/// An access key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccessKey {
    /// `AKIA...`.
    pub id: String,
    /// The secret.
    pub secret: Sealed,
    /// Whether requests may be signed with it.
    pub status: Status,
    /// When it was made.
    pub created: Timestamp,
}

/// A password.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoginProfile {
    /// The hash in PHC format, sealed.
    pub hash: Sealed,
    /// Hashes of earlier passwords, the newest first, for the password policy.
    pub earlier: Vec<Sealed>,
    /// When the profile was made.
    pub created: Timestamp,
    /// When the password was set.
    pub changed: Timestamp,
    /// A new one must be set at the next sign-in.
    pub reset_required: bool,
}

/// An X.509 certificate with which a user signs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SigningCertificate {
    /// Its id.
    pub id: String,
    /// PEM.
    pub body: String,
    /// Whether it may be used.
    pub status: Status,
    /// When it was uploaded.
    pub uploaded: Timestamp,
}

/// What a user, or an account's root user, proves itself with.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretsOfUser {
    /// At most two access keys.
    pub access_keys: Vec<AccessKey>,
    /// The password for the console.
    pub login: Option<LoginProfile>,
    /// Serial numbers of the MFA devices that are enabled, with when.
    pub mfa: Vec<(String, Timestamp)>,
    /// Signing certificates.
    pub certificates: Vec<SigningCertificate>,
}

/// What an identity may do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grants {
    /// Inline policies: documents by name.
    pub inline: BTreeMap<String, String>,
    /// ARNs of attached managed policies.
    pub attached: Vec<String>,
    /// ARN of the managed policy that bounds it.
    pub boundary: Option<String>,
}

/// An account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccountRecord {
    /// Twelve digits.
    pub id: String,
    /// 64 hexadecimal digits, as in `<Owner><ID>`.
    pub canonical_id: String,
    /// The account's name and alias, unique in the cloud.
    pub alias: Option<String>,
    /// For people and for grants by e-mail.
    pub email: Option<String>,
    /// When it was made.
    pub created: Timestamp,
    /// What the root user proves itself with.
    pub root: SecretsOfUser,
    /// The password policy, if one was set.
    pub password_policy: Option<PasswordPolicy>,
    /// The account's own policies, which set its quotas: documents by name.
    pub policies: BTreeMap<String, String>,
    /// The newest credential report: its text and when it was made.
    pub report: Option<(String, Timestamp)>,
}

/// What passwords must be like.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PasswordPolicy {
    /// Fewest characters.
    pub length_min: u32,
    /// Must have a symbol.
    pub symbols: bool,
    /// Must have a digit.
    pub numbers: bool,
    /// Must have an uppercase letter.
    pub uppercase: bool,
    /// Must have a lowercase letter.
    pub lowercase: bool,
    /// Users may change their own.
    pub users_may_change: bool,
    /// Days after which they expire.
    pub age_days_max: Option<u32>,
    /// Earlier passwords that may not be used again.
    pub reuse_prevention: Option<u32>,
    /// An expired one can be reset by an administrator only.
    pub hard_expiry: Option<bool>,
}

/// A user.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    /// Its name.
    pub name: String,
    /// `AIDA...`.
    pub id: String,
    /// `/`, or `/division/`.
    pub path: String,
    /// When it was made.
    pub created: Timestamp,
    /// Its tags.
    pub tags: Vec<Tag>,
    /// Its policies.
    pub grants: Grants,
    /// Ids of the groups that it is in.
    pub groups: Vec<String>,
    /// What it proves itself with.
    pub secrets: SecretsOfUser,
}

/// A group of users.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Group {
    /// Its name.
    pub name: String,
    /// `AGPA...`.
    pub id: String,
    /// Its path.
    pub path: String,
    /// When it was made.
    pub created: Timestamp,
    /// Its policies.
    pub grants: Grants,
}

/// A role.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Role {
    /// Its name.
    pub name: String,
    /// `AROA...`.
    pub id: String,
    /// Its path.
    pub path: String,
    /// When it was made.
    pub created: Timestamp,
    /// Its tags.
    pub tags: Vec<Tag>,
    /// Its policies.
    pub grants: Grants,
    /// Who may take it.
    pub trust: String,
    /// For people.
    pub description: Option<String>,
    /// Longest session.
    pub session_seconds_max: u32,
}

/// A managed policy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ManagedPolicy {
    /// Its name.
    pub name: String,
    /// `ANPA...`.
    pub id: String,
    /// Its path.
    pub path: String,
    /// For people.
    pub description: Option<String>,
    /// When it was made.
    pub created: Timestamp,
    /// When its versions last changed.
    pub updated: Timestamp,
    /// Its tags.
    pub tags: Vec<Tag>,
    /// Its versions, the newest last; never empty.
    pub versions: Vec<PolicyVersion>,
    /// Number of the version in force.
    pub default_version: u32,
    /// Number of the next version.
    pub next_version: u32,
}

/// A version of a managed policy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyVersion {
    /// `3` of `v3`.
    pub number: u32,
    /// The document.
    pub document: String,
    /// When it was made.
    pub created: Timestamp,
}

/// What gives a role to an instance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstanceProfile {
    /// Its name.
    pub name: String,
    /// `AIPA...`.
    pub id: String,
    /// Its path.
    pub path: String,
    /// When it was made.
    pub created: Timestamp,
    /// Its tags.
    pub tags: Vec<Tag>,
    /// Names of its roles; at most one.
    pub roles: Vec<String>,
}

/// A certificate for TLS.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerCertificate {
    /// Its name.
    pub name: String,
    /// `ASCA...`.
    pub id: String,
    /// Its path.
    pub path: String,
    /// When it was uploaded.
    pub uploaded: Timestamp,
    /// When it ends.
    pub expires: Timestamp,
    /// PEM.
    pub body: String,
    /// PEM of the chain.
    pub chain: Option<String>,
    /// PEM of the key.
    pub key: Sealed,
    /// Its tags.
    pub tags: Vec<Tag>,
}

/// An identity provider that speaks OpenID Connect.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OidcProvider {
    /// Its address without `https://`.
    pub host_and_path: String,
    /// Audiences that are accepted.
    pub client_ids: Vec<String>,
    /// SHA-1 of its certificates, in hexadecimal.
    pub thumbprints: Vec<String>,
    /// When it was made.
    pub created: Timestamp,
    /// Its tags.
    pub tags: Vec<Tag>,
}

/// A virtual MFA device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MfaDevice {
    /// Its name.
    pub name: String,
    /// Its path.
    pub path: String,
    /// When it was made.
    pub created: Timestamp,
    /// Its tags.
    pub tags: Vec<Tag>,
    /// The seed.
    pub seed: Sealed,
    /// Whose it is.
    pub owner: Option<MfaOwner>,
    /// When it was enabled.
    pub enabled: Option<Timestamp>,
    /// Steps by which its clock differs from ours.
    pub drift_steps: i64,
    /// The newest step of which a code was used: none is taken twice.
    pub last_step: u64,
}

/// Who uses an MFA device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum MfaOwner {
    /// The account's root user.
    Root,
    /// A user, by id.
    User(String),
}

/// When and for what an access key was last used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastUsed {
    /// When.
    pub at: Timestamp,
    /// `s3`, `iam`...
    pub service: String,
    /// Region of the request.
    pub region: String,
}
