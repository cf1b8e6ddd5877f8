//! Who asks: what an authenticated request is known to come from.

use std::sync::Arc;

use crate::policy::Policy;

/// An authenticated caller (or [`PrincipalKind::Anonymous`]), as far as policies can see it.
///
/// The keys that describe it (`aws:username`, `aws:PrincipalTag/...`) are read from here and from nowhere else:
/// nothing in a [`Context`](crate::Context) can stand in for them.
#[derive(Clone, Debug)]
pub struct Principal {
    /// What it is.
    pub kind: PrincipalKind,
    /// The account that it belongs to, 12 digits; empty for an anonymous caller.
    pub account_id: String,
    /// The canonical user id of that account, 64 hex digits; empty where there is none.
    pub canonical_id: String,
    /// Its own ARN, as GetCallerIdentity prints it; of an assumed role that is the session's; empty if anonymous.
    pub arn: String,
    /// `aws:userid`, as GetCallerIdentity prints it: `AIDA...` of a user, the account id of a root user,
    /// `AROA...:session` of an assumed role, `account:name` of a federated user.
    pub unique_id: String,
    /// The user's or federated user's name, the session's name of an assumed role; empty otherwise.
    pub name: String,
    /// Tags of the user, or of the role with the session's tags laid over them.
    pub tags: Vec<(String, String)>,
    /// Present for temporary credentials.
    pub session: Option<Session>,
}

/// The kinds of caller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PrincipalKind {
    /// The root user of an account: everything in its own account is allowed to it.
    AccountRoot,
    /// An IAM user, with keys of its own or from GetSessionToken.
    User,
    /// A session of a role.
    AssumedRole {
        /// `arn:aws:iam::account:role/path/name`.
        role_arn: String,
        /// `AROA...`.
        role_id: String,
        /// The name without its path.
        role_name: String,
    },
    /// A session from GetFederationToken; its identity policies are those of the user who asked for it.
    FederatedUser,
    /// A token of an identity provider, while AssumeRoleWithWebIdentity decides about it.
    WebIdentity {
        /// The provider's ARN or its well-known name (`accounts.google.com`).
        provider: String,
    },
    /// A service that acts by itself, such as `ec2.amazonaws.com` taking a role.
    Service {
        /// Its name.
        name: String,
    },
    /// Nobody: the request was not signed.
    Anonymous,
}

/// What temporary credentials add.
#[derive(Clone, Debug, Default)]
pub struct Session {
    /// The session's name.
    pub name: String,
    /// When the credentials were issued, seconds since 1970.
    pub issued_at_seconds: i64,
    /// When they end, seconds since 1970. Not looked at here: who verifies the credentials refuses expired ones.
    pub expires_at_seconds: i64,
    /// When the caller proved a second factor, if it did.
    pub mfa_at_seconds: Option<i64>,
    /// Session policies: each request must be allowed by one of them, if there are any.
    pub policies: Vec<Arc<Policy>>,
    /// `aws:SourceIdentity`.
    pub source_identity: Option<String>,
    /// Keys of a web identity's claims with their values (`provider:aud`, `provider:sub`), and
    /// `aws:FederatedProvider`.
    pub claims: Vec<(String, Vec<String>)>,
    /// Of a federated user: the unique id of the user who asked for the session; none of the account's root user.
    pub federated_by: Option<String>,
    /// Keys of the tags that pass on to the next role in a chain.
    pub transitive_tag_keys: Vec<String>,
}

impl Principal {
    /// The caller of a request that was not signed.
    pub fn anonymous() -> Self {
        Self {
            kind: PrincipalKind::Anonymous,
            account_id: String::new(),
            canonical_id: String::new(),
            arn: String::new(),
            unique_id: "anonymous".to_owned(),
            name: String::new(),
            tags: Vec::new(),
            session: None,
        }
    }

    /// The root user of `account_id`.
    pub fn account_root(account_id: impl Into<String>, canonical_id: impl Into<String>) -> Self {
        let account_id = account_id.into();
        Self {
            kind: PrincipalKind::AccountRoot,
            arn: format!("arn:aws:iam::{account_id}:root"),
            unique_id: account_id.clone(),
            account_id,
            canonical_id: canonical_id.into(),
            name: String::new(),
            tags: Vec::new(),
            session: None,
        }
    }

    /// True for a request that was not signed.
    pub fn is_anonymous(&self) -> bool {
        self.kind == PrincipalKind::Anonymous
    }

    /// `aws:PrincipalArn`: a role's own ARN for its sessions.
    pub fn principal_arn(&self) -> &str {
        match &self.kind {
            PrincipalKind::AssumedRole { role_arn, .. } => role_arn,
            _ => &self.arn,
        }
    }
}
