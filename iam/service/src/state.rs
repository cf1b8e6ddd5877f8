//! All accounts as a node knows them: typed tables that are built from the rows, and ways to find an account.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::evaluator::VERSION_KIND;
use crate::kms_model::{KmsAlias, KmsKey};
use crate::messages::{CLOUD, RowKey, Unreadable, decode, encode};
use crate::model::{
    AccountRecord, Group, InstanceProfile, ManagedPolicy, MfaDevice, OidcProvider, Role, ServerCertificate, User,
};

/// Entities of one kind by key. The key is the lowercase name, so that names differ by more than case.
pub type Table<T> = BTreeMap<String, Arc<T>>;

/// What lies in a row of its own.
pub trait Entity: Serialize + DeserializeOwned + Clone + Send + Sync + 'static {
    /// The kind's number in the rows' keys.
    const KIND: u8;

    /// Its key among those of its kind.
    fn key(&self) -> String;

    /// Those of its kind in an account.
    fn table(account: &Account) -> &Table<Self>;

    /// Those of its kind in an account.
    fn table_mut(account: &mut Account) -> &mut Table<Self>;
}

macro_rules! entities {
    ($($entity:ty, $kind:literal, $field:ident, |$value:ident| $key:expr;)*) => {
        $(impl Entity for $entity {
            const KIND: u8 = $kind;

            fn key(&self) -> String {
                let $value = self;
                $key
            }

            fn table(account: &Account) -> &Table<Self> {
                &account.$field
            }

            fn table_mut(account: &mut Account) -> &mut Table<Self> {
                &mut account.$field
            }
        })*

        impl Account {
            fn apply(&mut self, kind: u8, key: &str, value: Option<&[u8]>) -> Result<(), Unreadable> {
                match kind {
                    $($kind => replace(&mut self.$field, key, value)?,)*
                    VERSION_KIND => self.version = value.map(decode::<u64>).transpose()?.unwrap_or(0),
                    // A later version's: this one does not know what it is.
                    _ => {}
                }
                Ok(())
            }

            /// The keys of all rows of the account but the version's.
            pub(crate) fn row_keys(&self) -> Vec<RowKey> {
                let mut keys = Vec::new();
                $(keys.extend(self.$field.keys().map(|key| row_key(&self.id, $kind, key)));)*
                keys
            }
        }
    };
}

/// An account and all that is in it.
#[derive(Clone, Debug, Default)]
pub struct Account {
    /// Twelve digits.
    pub id: String,
    /// Number of the last change in it.
    pub version: u64,
    /// The account itself: one record with an empty key.
    pub records: Table<AccountRecord>,
    /// Its users.
    pub users: Table<User>,
    /// Its groups.
    pub groups: Table<Group>,
    /// Its roles.
    pub roles: Table<Role>,
    /// Its managed policies.
    pub policies: Table<ManagedPolicy>,
    /// Its instance profiles.
    pub profiles: Table<InstanceProfile>,
    /// Its server certificates.
    pub certificates: Table<ServerCertificate>,
    /// Its OpenID Connect providers.
    pub providers: Table<OidcProvider>,
    /// Its virtual MFA devices.
    pub devices: Table<MfaDevice>,
    /// Its keys of the key service, by id.
    pub kms_keys: Table<KmsKey>,
    /// Their aliases.
    pub kms_aliases: Table<KmsAlias>,
}

entities! {
    AccountRecord, 1, records, |_account| String::new();
    User, 2, users, |user| user.name.to_lowercase();
    Group, 3, groups, |group| group.name.to_lowercase();
    Role, 4, roles, |role| role.name.to_lowercase();
    ManagedPolicy, 5, policies, |policy| policy.name.to_lowercase();
    InstanceProfile, 6, profiles, |profile| profile.name.to_lowercase();
    ServerCertificate, 7, certificates, |certificate| certificate.name.to_lowercase();
    OidcProvider, 8, providers, |provider| provider.host_and_path.clone();
    MfaDevice, 9, devices, |device| format!("{}{}", device.path, device.name).to_lowercase();
    KmsKey, 10, kms_keys, |key| key.id.clone();
    KmsAlias, 11, kms_aliases, |alias| alias.name.clone();
}

fn replace<T: Entity>(table: &mut Table<T>, key: &str, value: Option<&[u8]>) -> Result<(), Unreadable> {
    match value {
        Some(value) => table.insert(key.to_owned(), Arc::new(decode(value)?)),
        None => table.remove(key),
    };
    Ok(())
}

/// `scope | 0 | kind | name`.
pub(crate) fn row_key(scope: &str, kind: u8, key: &str) -> RowKey {
    [scope.as_bytes(), &[0, kind], key.as_bytes()].concat()
}

/// The row of an entity.
pub(crate) fn row<T: Entity>(scope: &str, entity: &T) -> (RowKey, Vec<u8>) {
    (row_key(scope, T::KIND, &entity.key()), encode(entity))
}

impl Account {
    /// An account of which nothing is known.
    pub(crate) fn empty(id: &str) -> Self {
        Self { id: id.to_owned(), ..Self::default() }
    }

    /// The account's own record; `None` while there is no such account.
    pub fn record(&self) -> Option<&Arc<AccountRecord>> {
        self.records.get("")
    }

    /// The user with this id.
    pub fn user_by_id(&self, id: &str) -> Option<&Arc<User>> {
        self.users.values().find(|user| user.id == id)
    }

    /// The group with this id.
    pub fn group_by_id(&self, id: &str) -> Option<&Arc<Group>> {
        self.groups.values().find(|group| group.id == id)
    }
}

/// All accounts.
#[derive(Debug, Default)]
pub(crate) struct Directory {
    /// Number of the newest change that is in it.
    pub(crate) sequence: u64,
    /// Number of the last change to what is unique in the whole cloud.
    pub(crate) cloud_version: u64,
    pub(crate) accounts: HashMap<String, Arc<Account>>,
    aliases: HashMap<String, String>,
    canonical_ids: HashMap<String, String>,
    emails: HashMap<String, String>,
}

impl Directory {
    /// Takes in rows. The ids of the accounts that they belong to come back.
    pub(crate) fn apply(&mut self, rows: &[(RowKey, Option<Vec<u8>>)]) -> Result<Vec<String>, Unreadable> {
        let mut touched = Vec::new();
        for (key, value) in rows {
            let (scope, kind, name) = parse(key).ok_or(Unreadable("IAM row key"))?;
            if scope == CLOUD {
                if kind == VERSION_KIND {
                    self.cloud_version = value.as_deref().map(decode::<u64>).transpose()?.unwrap_or(0);
                }
                continue;
            }
            let account = self.accounts.entry(scope.to_owned()).or_insert_with(|| Arc::new(Account::empty(scope)));
            Arc::make_mut(account).apply(kind, name, value.as_deref())?;
            if touched.last().is_none_or(|last| last != scope) {
                touched.push(scope.to_owned());
            }
        }
        touched.sort();
        touched.dedup();
        for id in &touched {
            self.index(id);
        }
        Ok(touched)
    }

    fn index(&mut self, id: &str) {
        self.aliases.retain(|_, account| account != id);
        self.canonical_ids.retain(|_, account| account != id);
        self.emails.retain(|_, account| account != id);
        let Some(record) = self.accounts.get(id).and_then(|account| account.record()) else { return };
        self.canonical_ids.insert(record.canonical_id.clone(), id.to_owned());
        if let Some(alias) = &record.alias {
            self.aliases.insert(alias.clone(), id.to_owned());
        }
        if let Some(email) = &record.email {
            self.emails.insert(email.to_lowercase(), id.to_owned());
        }
    }

    /// The account with this id.
    pub(crate) fn account(&self, id: &str) -> Option<&Arc<Account>> {
        self.accounts.get(id).filter(|account| account.record().is_some())
    }

    pub(crate) fn by_alias(&self, alias: &str) -> Option<&Arc<Account>> {
        self.account(self.aliases.get(alias)?)
    }

    pub(crate) fn by_canonical_id(&self, id: &str) -> Option<&Arc<Account>> {
        self.account(self.canonical_ids.get(id)?)
    }

    pub(crate) fn by_email(&self, email: &str) -> Option<&Arc<Account>> {
        self.account(self.emails.get(&email.to_lowercase())?)
    }
}

fn parse(key: &[u8]) -> Option<(&str, u8, &str)> {
    let end = key.iter().position(|&byte| byte == 0)?;
    let (scope, rest) = key.split_at(end);
    let (&kind, name) = rest.get(1..)?.split_first()?;
    Some((std::str::from_utf8(scope).ok()?, kind, std::str::from_utf8(name).ok()?))
}
