//! What a node knows of all accounts: access keys, identities and their compiled policies, without a Raft read.

use std::collections::HashMap;
use std::sync::Arc;

use karri_iam_policy::{Policies, Policy, PolicyKind, Principal, PrincipalKind};
use parking_lot::{Mutex, RwLock};
use tokio::sync::watch;
use zeroize::Zeroizing;

use crate::compiled::Compiled;
use crate::managed;
use crate::messages::{RowKey, Unreadable};
use crate::model::{AccessKey, AccountRecord, Grants, Status, User};
use crate::seal::Sealer;
use crate::state::{Account, Directory};
use crate::{ids, names};

/// Identities whose policies are kept compiled.
const COMPILED_MAX: usize = 10_000;
/// Documents that are kept compiled.
const DOCUMENTS_MAX: usize = 10_000;
/// Tells policies of keys from others of the same text, which are compiled otherwise.
const KEY_POLICIES: &[u8; 32] = b"karri 2026 compiled key policies";
/// What stands for a document that cannot be read: nothing that it might deny is allowed.
pub(crate) const DENY_ALL: &str =
    r#"{"Version":"2012-10-17","Statement":{"Effect":"Deny","Action":"*","Resource":"*"}}"#;
/// What the root user of an account gives to a federated user, as far as the session's policies go.
const ALLOW_ALL: &str = r#"{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"*","Resource":"*"}}"#;
/// In place of an identity's id: the root user of an account, and whoever it federated.
const ROOT: &str = "root";
const FEDERATED_ROOT: &str = "federated";

/// Whose an access key is.
#[derive(Clone, Debug)]
pub enum Holder {
    /// The root user of an account.
    Root(Arc<AccountRecord>),
    /// A user.
    User(Arc<User>),
}

/// An access key of a user, ready for use.
pub struct Key {
    /// `AKIA...`.
    pub id: String,
    /// The account.
    pub account: Arc<AccountRecord>,
    /// Whose it is.
    pub holder: Holder,
    /// Whether requests may be signed with it.
    pub status: Status,
    /// What requests are signed with.
    pub secret: Zeroizing<String>,
    /// The holder as policies see it.
    pub principal: Arc<Principal>,
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Key({})", self.id)
    }
}

#[derive(Default)]
struct Inner {
    directory: Directory,
    keys: HashMap<String, Arc<Key>>,
    keys_of: HashMap<String, Vec<String>>,
}

/// What a node knows of all accounts.
pub struct View {
    sealer: Sealer,
    inner: RwLock<Inner>,
    loaded: watch::Sender<bool>,
    /// Of an account and an identity in it, by the number of the account's change.
    compiled: Compiled<(String, String), Arc<Policies>>,
    documents: Mutex<HashMap<blake3::Hash, Arc<Policy>>>,
}

impl View {
    /// A view that knows nothing yet. It is filled by a [`crate::Store`].
    pub fn new(sealer: Sealer) -> Arc<Self> {
        Arc::new(Self {
            sealer,
            inner: RwLock::default(),
            loaded: watch::Sender::new(false),
            compiled: Compiled::new(COMPILED_MAX),
            documents: Mutex::default(),
        })
    }

    /// Seals and opens secrets of the rows.
    pub fn sealer(&self) -> &Sealer {
        &self.sealer
    }

    /// Number of the newest change that is known.
    pub fn sequence(&self) -> u64 {
        self.inner.read().directory.sequence
    }

    /// Whether the rows were ever read.
    pub fn is_loaded(&self) -> bool {
        *self.loaded.borrow()
    }

    /// Waits until the rows were read for the first time.
    pub async fn loaded(&self) {
        // The sender lives in this view.
        let _ = self.loaded.subscribe().wait_for(|loaded| *loaded).await;
    }

    /// Takes in rows; `whole`: there are no others.
    pub(crate) fn apply(
        &self,
        rows: &[(RowKey, Option<Vec<u8>>)],
        through: u64,
        whole: bool,
    ) -> Result<(), Unreadable> {
        let mut inner = self.inner.write();
        if whole {
            *inner = Inner::default();
        }
        let touched = inner.directory.apply(rows)?;
        inner.directory.sequence = through;
        for account in touched {
            inner.index_keys(&account, &self.sealer);
        }
        drop(inner);
        self.loaded.send_replace(true);
        Ok(())
    }

    pub(crate) fn account_and_cloud(&self, id: &str) -> (Option<Arc<Account>>, u64) {
        let inner = self.inner.read();
        // Of a deleted account too: its version goes on.
        (inner.directory.accounts.get(id).cloned(), inner.directory.cloud_version)
    }

    /// The account with this id.
    pub fn account(&self, id: &str) -> Option<Arc<Account>> {
        self.inner.read().directory.account(id).cloned()
    }

    /// The account with this name.
    pub fn account_by_alias(&self, alias: &str) -> Option<Arc<Account>> {
        self.inner.read().directory.by_alias(alias).cloned()
    }

    /// The account with this canonical id.
    pub fn account_by_canonical_id(&self, id: &str) -> Option<Arc<Account>> {
        self.inner.read().directory.by_canonical_id(id).cloned()
    }

    /// The account with this e-mail address.
    pub fn account_by_email(&self, email: &str) -> Option<Arc<Account>> {
        self.inner.read().directory.by_email(email).cloned()
    }

    /// All accounts by id.
    pub fn accounts(&self) -> Vec<Arc<Account>> {
        let inner = self.inner.read();
        let mut accounts: Vec<_> =
            inner.directory.accounts.values().filter(|account| account.record().is_some()).cloned().collect();
        drop(inner);
        accounts.sort_by(|left, right| left.id.cmp(&right.id));
        accounts
    }

    /// An access key, active or not.
    pub fn access_key(&self, id: &str) -> Option<Arc<Key>> {
        self.inner.read().keys.get(id).cloned()
    }

    /// The document of a managed policy, of an account or of AWS's.
    pub fn managed_policy(&self, account: &Account, arn: &str) -> Option<String> {
        managed_document(account, arn)
    }

    /// A user as policies see it.
    pub fn principal_of_user(&self, record: &AccountRecord, user: &User) -> Principal {
        principal_of_user(record, user)
    }

    /// The policies of whoever asks; those of a session come with the principal itself. Nothing for an identity that is
    /// not there any more.
    pub fn policies(&self, principal: &Principal) -> Arc<Policies> {
        let Some(account) = self.account(&principal.account_id) else { return Arc::default() };
        match &principal.kind {
            PrincipalKind::User => match account.users.get(&names::key(&principal.name)) {
                Some(user) if user.id == principal.unique_id => self.policies_of_user(&account, user),
                _ => Arc::default(),
            },
            PrincipalKind::AssumedRole { role_id, role_name, .. } => match account.roles.get(&names::key(role_name)) {
                Some(role) if role.id == *role_id => {
                    self.compiled(&account, &role.id, || self.compile(&account, &[&role.grants], &role.grants))
                }
                _ => Arc::default(),
            },
            PrincipalKind::FederatedUser => {
                let by = principal.session.as_ref().and_then(|session| session.federated_by.as_deref());
                match by.map(|id| account.user_by_id(id)) {
                    Some(Some(user)) => self.policies_of_user(&account, user),
                    Some(None) => Arc::default(),
                    None => self.compiled(&account, FEDERATED_ROOT, || Policies {
                        identity: vec![self.document(ALLOW_ALL)],
                        boundary: None,
                        account: self.policies_of_account(&account),
                    }),
                }
            }
            PrincipalKind::AccountRoot => self.policies_of_root(&account),
            PrincipalKind::WebIdentity { .. } | PrincipalKind::Service { .. } | PrincipalKind::Anonymous => {
                Arc::default()
            }
        }
    }

    /// The policies of a user: its own and those of its groups.
    pub fn policies_of_user(&self, account: &Account, user: &User) -> Arc<Policies> {
        self.compiled(account, &user.id, || {
            let groups: Vec<_> = user.groups.iter().filter_map(|id| account.group_by_id(id)).collect();
            let mut grants = vec![&user.grants];
            grants.extend(groups.iter().map(|group| &group.grants));
            self.compile(account, &grants, &user.grants)
        })
    }

    fn compiled(&self, account: &Account, id: &str, compile: impl FnOnce() -> Policies) -> Arc<Policies> {
        self.compiled.get((account.id.clone(), id.to_owned()), account.version, || Arc::new(compile()))
    }

    fn compile(&self, account: &Account, grants: &[&Grants], own: &Grants) -> Policies {
        let mut identity = Vec::new();
        for grants in grants {
            identity.extend(grants.inline.values().map(|document| self.document(document)));
            identity.extend(grants.attached.iter().map(|arn| self.managed(account, arn)));
        }
        let boundary = own.boundary.as_ref().map(|arn| self.managed(account, arn));
        Policies { identity, boundary, account: self.policies_of_account(account) }
    }

    /// The policies of the account itself: they set quotas, for its root user too.
    fn policies_of_account(&self, account: &Account) -> Vec<Arc<Policy>> {
        let documents = account.record().into_iter().flat_map(|record| record.policies.values());
        documents.map(|document| self.document(document)).collect()
    }

    /// What the root user of an account has: the account's policies.
    fn policies_of_root(&self, account: &Account) -> Arc<Policies> {
        self.compiled(account, ROOT, || Policies { account: self.policies_of_account(account), ..Policies::default() })
    }

    /// The policy of a key, as a compiled document; one that cannot be read allows nothing.
    pub fn key_policy(&self, text: &str) -> Option<Arc<Policy>> {
        let hash = blake3::keyed_hash(KEY_POLICIES, text.as_bytes());
        if let Some(policy) = self.documents.lock().get(&hash) {
            return Some(policy.clone());
        }
        let policy = Policy::parse(text, PolicyKind::Key).map(Arc::new).ok()?;
        self.keep_document(hash, &policy);
        Some(policy)
    }

    fn keep_document(&self, hash: blake3::Hash, policy: &Arc<Policy>) {
        let mut cache = self.documents.lock();
        if cache.len() >= DOCUMENTS_MAX {
            cache.clear();
        }
        cache.insert(hash, policy.clone());
    }

    pub(crate) fn managed(&self, account: &Account, arn: &str) -> Arc<Policy> {
        self.document(managed_document(account, arn).as_deref().unwrap_or(DENY_ALL))
    }

    /// A document that was checked when it was stored, compiled.
    pub(crate) fn document(&self, text: &str) -> Arc<Policy> {
        let hash = blake3::hash(text.as_bytes());
        if let Some(policy) = self.documents.lock().get(&hash) {
            return policy.clone();
        }
        let parsed = Policy::parse(text, PolicyKind::Identity).or_else(|error| {
            tracing::error!(%error, "a stored policy cannot be read: it denies all");
            Policy::parse(DENY_ALL, PolicyKind::Identity)
        });
        let policy = Arc::new(parsed.expect("the constant is a policy"));
        self.keep_document(hash, &policy);
        policy
    }
}

fn managed_document(account: &Account, arn: &str) -> Option<String> {
    if let Some(policy) = managed::by_arn(arn) {
        return Some(policy.document.to_owned());
    }
    let policy =
        account.policies.values().find(|policy| ids::arn(&account.id, "policy", &policy.path, &policy.name) == arn)?;
    let version = policy.versions.iter().find(|version| version.number == policy.default_version)?;
    Some(version.document.clone())
}

/// A user as policies see it.
pub(crate) fn principal_of_user(record: &AccountRecord, user: &User) -> Principal {
    Principal {
        kind: PrincipalKind::User,
        account_id: record.id.clone(),
        canonical_id: record.canonical_id.clone(),
        arn: ids::arn(&record.id, "user", &user.path, &user.name),
        unique_id: user.id.clone(),
        name: user.name.clone(),
        tags: user.tags.clone(),
        session: None,
    }
}

/// What an access key's secret is sealed for.
pub(crate) fn place_of_key(id: &str) -> String {
    format!("access key {id}")
}

impl Inner {
    /// Makes the account's access keys anew, where they may have changed.
    fn index_keys(&mut self, id: &str, sealer: &Sealer) {
        let before = self.keys_of.remove(id).unwrap_or_default();
        let mut old: HashMap<String, Arc<Key>> = before.iter().filter_map(|key| self.keys.remove_entry(key)).collect();
        let Some(account) = self.directory.account(id).cloned() else { return };
        let Some(record) = account.record() else { return };
        let mut ids = Vec::new();
        let root = record.root.access_keys.iter().map(|key| (key, Holder::Root(record.clone())));
        let users = account
            .users
            .values()
            .flat_map(|user| user.secrets.access_keys.iter().map(move |key| (key, Holder::User(user.clone()))));
        for (key, holder) in root.chain(users) {
            let known = old.remove(&key.id).filter(|known| known.is_of(&holder, record));
            let Some(ready) = known.or_else(|| ready(key, holder, record, sealer)) else { continue };
            ids.push(key.id.clone());
            self.keys.insert(key.id.clone(), ready);
        }
        self.keys_of.insert(id.to_owned(), ids);
    }
}

impl Key {
    fn is_of(&self, holder: &Holder, record: &Arc<AccountRecord>) -> bool {
        let same = match (&self.holder, holder) {
            (Holder::Root(one), Holder::Root(other)) => Arc::ptr_eq(one, other),
            (Holder::User(one), Holder::User(other)) => Arc::ptr_eq(one, other),
            _ => false,
        };
        same && Arc::ptr_eq(&self.account, record)
    }
}

fn ready(key: &AccessKey, holder: Holder, record: &Arc<AccountRecord>, sealer: &Sealer) -> Option<Arc<Key>> {
    let secret = match sealer.open_text(&place_of_key(&key.id), &key.secret) {
        Ok(secret) => secret,
        Err(error) => {
            tracing::error!(key = key.id, %error, "an access key cannot be used");
            return None;
        }
    };
    let principal = match &holder {
        Holder::Root(record) => Principal::account_root(record.id.clone(), record.canonical_id.clone()),
        Holder::User(user) => principal_of_user(record, user),
    };
    Some(Arc::new(Key {
        id: key.id.clone(),
        account: record.clone(),
        holder,
        status: key.status,
        secret,
        principal: Arc::new(principal),
    }))
}
