//! Sessions: temporary credentials that lie nowhere but in their token, which any node of the cluster can open.

use std::collections::HashMap;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use karri_iam_policy::{Principal, PrincipalKind, Session};
use karri_objstore_gateway::{Credential, CredentialRefusal, Secret};
use karri_ring_types::{Clock, ClusterKey, Rng};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use crate::credentials::gateway_principal;
use crate::model::{Role, Tag};
use crate::seal::{Sealed, Sealer};
use crate::state::Account;
use crate::view::{View, principal_of_user};
use crate::{ids, names};

/// The purpose of the key, for its derivation.
const PURPOSE: &str = "karri 2026 sts: session tokens";
/// What temporary access keys begin with.
pub(crate) const KEY_PREFIX: &str = "ASIA";
/// The first byte of a token, for another form some day.
const FORM: u8 = 1;
/// Longer tokens are not opened: none is made.
const TOKEN_BYTES_MAX: usize = 16 << 10;
/// Opened tokens that are remembered.
const OPENED_MAX: usize = 10_000;
/// What a federated user may do who was given no policy.
const NOTHING: &str =
    r#"{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"sts:GetCallerIdentity","Resource":"*"}}"#;

/// Whose session it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Who {
    /// The account's root user.
    Root,
    /// A user, by id.
    User(String),
    /// A role, by id, with the session's name.
    Role { id: String, session: String },
    /// A federated user, by name, and the id of the user who asked; none is the root user.
    Federated { name: String, by: Option<String> },
}

/// What a session token holds.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Grant {
    pub(crate) account_id: String,
    pub(crate) who: Who,
    pub(crate) issued_at_seconds: u64,
    pub(crate) expires_at_seconds: u64,
    pub(crate) mfa_at_seconds: Option<u64>,
    /// Documents of session policies.
    pub(crate) policies: Vec<String>,
    /// Managed policies that limit the session.
    pub(crate) policy_arns: Vec<String>,
    pub(crate) tags: Vec<Tag>,
    pub(crate) transitive_tag_keys: Vec<String>,
    pub(crate) source_identity: Option<String>,
    pub(crate) claims: Vec<(String, Vec<String>)>,
}

#[derive(Serialize, Deserialize)]
pub(crate) struct Content {
    access_key: String,
    secret_key: String,
    grant: Grant,
}

/// Credentials as they are handed out.
pub(crate) struct Issued {
    pub(crate) access_key: String,
    pub(crate) secret_key: String,
    pub(crate) token: String,
    pub(crate) expires_at_seconds: u64,
}

struct Opened {
    access_key: String,
    expires_at_seconds: u64,
    /// Number of the account's last change when the credential was made.
    version: u64,
    credential: Credential,
}

/// Makes and opens session tokens.
pub struct Sessions {
    sealer: Sealer,
    view: Arc<View>,
    clock: Arc<dyn Clock>,
    rng: Arc<dyn Rng>,
    opened: Mutex<HashMap<blake3::Hash, Arc<Opened>>>,
}

impl Sessions {
    /// Sessions of the identities in `view`. Every node with the same cluster key opens the same tokens.
    pub fn new(key: &ClusterKey, view: Arc<View>, clock: Arc<dyn Clock>, rng: Arc<dyn Rng>) -> Arc<Self> {
        let sealer = Sealer::for_purpose(key, PURPOSE);
        Arc::new(Self { sealer, view, clock, rng, opened: Mutex::default() })
    }

    pub(crate) fn issue(&self, grant: Grant) -> Issued {
        let access_key = ids::temporary_key(&*self.rng, &grant.account_id);
        let secret_key = ids::secret_key(&*self.rng);
        let expires_at_seconds = grant.expires_at_seconds;
        let content = Content { access_key: access_key.clone(), secret_key: secret_key.clone(), grant };
        let bytes = postcard::to_stdvec(&content).expect("texts and numbers can be written");
        let sealed = self.sealer.seal(&*self.rng, &access_key, &bytes);
        let token = STANDARD.encode([&[FORM], sealed.as_bytes()].concat());
        Issued { access_key, secret_key, token, expires_at_seconds }
    }

    /// The credential of a temporary key.
    pub(crate) fn open(&self, access_key: &str, token: &str) -> Result<Credential, CredentialRefusal> {
        let now = self.clock.now().as_secs();
        let hash = blake3::hash(token.as_bytes());
        let known = self.opened.lock().get(&hash).cloned();
        let known =
            known.filter(|known| self.version_of(&known.credential.principal.account_id) == Some(known.version));
        let opened = match known {
            Some(known) => known,
            None => {
                let opened = Arc::new(self.open_new(access_key, token, now)?);
                let mut cache = self.opened.lock();
                if cache.len() >= OPENED_MAX {
                    cache.clear();
                }
                cache.insert(hash, opened.clone());
                opened
            }
        };
        if opened.access_key != access_key {
            return Err(CredentialRefusal::InvalidToken);
        }
        if now >= opened.expires_at_seconds {
            return Err(CredentialRefusal::ExpiredToken);
        }
        Ok(opened.credential.clone())
    }

    fn version_of(&self, account_id: &str) -> Option<u64> {
        self.view.account(account_id).map(|account| account.version)
    }

    fn open_new(&self, access_key: &str, token: &str, now: u64) -> Result<Opened, CredentialRefusal> {
        let content = self.content(access_key, token).ok_or(CredentialRefusal::InvalidToken)?;
        if now >= content.grant.expires_at_seconds {
            return Err(CredentialRefusal::ExpiredToken);
        }
        let account = self.view.account(&content.grant.account_id).ok_or(CredentialRefusal::UnknownKey)?;
        let record = account.record().ok_or(CredentialRefusal::UnknownKey)?;
        let identity = self.identity(&account, &content.grant).ok_or(CredentialRefusal::UnknownKey)?;
        let principal = gateway_principal(record, Arc::new(identity));
        Ok(Opened {
            access_key: content.access_key,
            expires_at_seconds: content.grant.expires_at_seconds,
            version: account.version,
            credential: Credential::new(Secret::new(content.secret_key), principal),
        })
    }

    fn content(&self, access_key: &str, token: &str) -> Option<Content> {
        if token.len() > TOKEN_BYTES_MAX {
            return None;
        }
        let bytes = STANDARD.decode(token).ok()?;
        let (form, sealed) = bytes.split_first()?;
        if *form != FORM {
            return None;
        }
        let opened = self.sealer.open(access_key, &Sealed::from_bytes(sealed.to_vec())).ok()?;
        let content: Content = postcard::from_bytes(&opened).ok()?;
        (content.access_key == access_key).then_some(content)
    }

    /// Who the session is now; nobody when its user or role is gone.
    fn identity(&self, account: &Account, grant: &Grant) -> Option<Principal> {
        let record = account.record()?;
        let session = self.session(account, grant);
        let mut principal = match &grant.who {
            Who::Root => Principal::account_root(record.id.clone(), record.canonical_id.clone()),
            Who::User(id) => principal_of_user(record, account.user_by_id(id)?),
            Who::Role { id, session } => {
                let role = account.roles.values().find(|role| role.id == *id)?;
                principal_of_role(account, role, session, &grant.tags)?
            }
            Who::Federated { name, by } => {
                if let Some(id) = by {
                    account.user_by_id(id)?;
                }
                Principal {
                    kind: PrincipalKind::FederatedUser,
                    arn: format!("arn:aws:sts::{}:federated-user/{name}", account.id),
                    unique_id: format!("{}:{name}", account.id),
                    name: name.clone(),
                    tags: grant.tags.clone(),
                    ..Principal::account_root(record.id.clone(), record.canonical_id.clone())
                }
            }
        };
        principal.session = Some(session);
        Some(principal)
    }

    fn session(&self, account: &Account, grant: &Grant) -> Session {
        let mut policies: Vec<_> = grant.policies.iter().map(|document| self.view.document(document)).collect();
        policies.extend(grant.policy_arns.iter().map(|arn| self.view.managed(account, arn)));
        let (name, federated_by) = match &grant.who {
            Who::Role { session, .. } => (session.clone(), None),
            Who::Federated { name, by } => {
                if policies.is_empty() {
                    policies.push(self.view.document(NOTHING));
                }
                (name.clone(), by.clone())
            }
            Who::Root | Who::User(_) => (String::new(), None),
        };
        let signed = |seconds: u64| i64::try_from(seconds).unwrap_or(i64::MAX);
        Session {
            name,
            issued_at_seconds: signed(grant.issued_at_seconds),
            expires_at_seconds: signed(grant.expires_at_seconds),
            mfa_at_seconds: grant.mfa_at_seconds.map(signed),
            policies,
            source_identity: grant.source_identity.clone(),
            claims: grant.claims.clone(),
            federated_by,
            transitive_tag_keys: grant.transitive_tag_keys.clone(),
        }
    }
}

/// A role's session as policies see it, without what the session adds beside its tags.
pub(crate) fn principal_of_role(account: &Account, role: &Role, session: &str, tags: &[Tag]) -> Option<Principal> {
    let record = account.record()?;
    let mut all: Vec<Tag> = tags.to_vec();
    let is_given = |key: &str| tags.iter().any(|(given, _)| names::key(given) == names::key(key));
    all.extend(role.tags.iter().filter(|(key, _)| !is_given(key)).cloned());
    Some(Principal {
        kind: PrincipalKind::AssumedRole {
            role_arn: ids::arn(&account.id, "role", &role.path, &role.name),
            role_id: role.id.clone(),
            role_name: role.name.clone(),
        },
        account_id: account.id.clone(),
        canonical_id: record.canonical_id.clone(),
        arn: format!("arn:aws:sts::{}:assumed-role/{}/{session}", account.id, role.name),
        unique_id: format!("{}:{session}", role.id),
        name: session.to_owned(),
        tags: all,
        session: None,
    })
}
