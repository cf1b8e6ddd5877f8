//! Who calls in these tests: two accounts, and a user of the first one.

use std::sync::Arc;

use async_trait::async_trait;
use karri_iam_policy::{Policies, Policy, PolicyKind, PrincipalKind};
use karri_objstore_gateway::{Credential, CredentialRefusal, Credentials, Principal};
use karri_objstore_s3::{Account, Identities};

/// The secret of every key.
pub(crate) const SECRET_KEY: &str = "secret";
/// Root user of the first account.
pub(crate) const ROOT_KEY: &str = "AKIATEST";
/// Root user of the second account.
pub(crate) const OTHER_KEY: &str = "AKIAOTHER";
/// The user ann of the first account.
pub(crate) const ANN_KEY: &str = "AKIAANN";

const ROOT_ACCOUNT: &str = "000000000000";
pub(crate) const OTHER_ACCOUNT: &str = "111111111111";

/// Canonical id of the first account.
pub(crate) fn root_id() -> String {
    "0".repeat(64)
}

/// Canonical id of the second account.
pub(crate) fn other_id() -> String {
    "1".repeat(64)
}

/// Keeps what ann may do.
pub(crate) struct People {
    ann: Arc<Policies>,
}

impl People {
    /// Ann has one policy with these statements.
    pub(crate) fn new(statements: &str) -> Self {
        let text = format!(r#"{{"Version": "2012-10-17", "Statement": [{statements}]}}"#);
        let policy = Policy::parse(&text, PolicyKind::Identity).expect("ann's policy");
        Self { ann: Arc::new(Policies { identity: vec![Arc::new(policy)], ..Policies::default() }) }
    }

    fn accounts() -> [Account; 2] {
        let account = |id: &str, canonical_id, name: &str| Account {
            account_id: id.to_owned(),
            canonical_id,
            display_name: name.to_owned(),
            email: Some(format!("{name}@example.com")),
        };
        [account(ROOT_ACCOUNT, root_id(), "root"), account(OTHER_ACCOUNT, other_id(), "other")]
    }
}

impl Identities for People {
    fn policies(&self, principal: &karri_iam_policy::Principal) -> Arc<Policies> {
        if principal.kind == PrincipalKind::User { self.ann.clone() } else { Arc::default() }
    }

    fn account_by_canonical_id(&self, canonical_id: &str) -> Option<Account> {
        Self::accounts().into_iter().find(|account| account.canonical_id == canonical_id)
    }

    fn account_by_email(&self, email: &str) -> Option<Account> {
        Self::accounts().into_iter().find(|account| account.email.as_deref() == Some(email))
    }
}

#[async_trait]
impl Credentials for People {
    async fn lookup(&self, access_key: &str, _: Option<&str>) -> Result<Credential, CredentialRefusal> {
        let principal = match access_key {
            ROOT_KEY => Principal::account_root(ROOT_ACCOUNT, &root_id(), "root"),
            OTHER_KEY => Principal::account_root(OTHER_ACCOUNT, &other_id(), "other"),
            ANN_KEY => {
                let mut principal = Principal::account_root(ROOT_ACCOUNT, &root_id(), "root");
                let mut identity = (*principal.identity).clone();
                identity.kind = PrincipalKind::User;
                identity.name = "ann".to_owned();
                identity.arn = format!("arn:aws:iam::{ROOT_ACCOUNT}:user/ann");
                principal.arn = identity.arn.clone();
                principal.identity = Arc::new(identity);
                principal
            }
            _ => return Err(CredentialRefusal::UnknownKey),
        };
        Ok(Credential::new(SECRET_KEY, principal))
    }
}
