//! Access control lists: what they say, how they are kept, and what they grant.

#[cfg(test)]
mod golden_tests;
mod handlers;
mod read;
mod write;

use karri_iam_policy::{Grant as PolicyGrant, Principal};
use karri_objstore_service::Owner;
use serde::{Deserialize, Serialize};

pub(crate) use handlers::{get_acl, put_acl};
pub(crate) use read::{asked_by_headers, log_grants};
pub(crate) use write::{acl_not_supported, check_public, new_object, writer};

/// Most grants of a list.
pub(crate) const GRANTS_MAX: usize = 100;

/// First byte of a kept list.
const FORMAT: u8 = 1;

/// Grants, in the order in which they are told.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Acl {
    pub(crate) grants: Vec<Grant>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Grant {
    pub(crate) grantee: Grantee,
    pub(crate) permission: Permission,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Grantee {
    /// An account, by its canonical id.
    Account(String),
    AllUsers,
    AuthenticatedUsers,
    /// Who writes access logs.
    LogDelivery,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Permission {
    Read,
    Write,
    ReadAcp,
    WriteAcp,
    FullControl,
}

impl Permission {
    fn covers(self, needed: Self) -> bool {
        self == needed || self == Self::FullControl
    }
}

impl Acl {
    /// What holds where no list was given.
    pub(crate) fn private(owner: &Owner) -> Self {
        Self { grants: vec![Grant::to_account(&owner.user_id, Permission::FullControl)] }
    }

    /// The bytes that are kept.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![FORMAT];
        // Writing plain data into memory cannot fail; an empty list would grant nothing.
        bytes.extend(postcard::to_stdvec(self).unwrap_or_default());
        bytes
    }

    /// Reads what [`Acl::encode`] wrote.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        match bytes.split_first() {
            Some((&FORMAT, rest)) => postcard::from_bytes(rest).ok(),
            _ => None,
        }
    }

    /// The list of an object or bucket as it was kept; a list that cannot be read grants nothing.
    pub(crate) fn kept(bytes: Option<&[u8]>, owner: &Owner) -> Self {
        match bytes {
            Some(bytes) => Self::decode(bytes).unwrap_or_default(),
            None => Self::private(owner),
        }
    }

    /// Whether everybody, or everybody with an account anywhere, is granted something.
    pub(crate) fn is_public(&self) -> bool {
        self.grants.iter().any(|grant| matches!(grant.grantee, Grantee::AllUsers | Grantee::AuthenticatedUsers))
    }

    /// Whether the group that writes access logs has `needed`.
    pub(crate) fn lets_log_delivery(&self, needed: Permission) -> bool {
        self.grants.iter().any(|grant| grant.grantee == Grantee::LogDelivery && grant.permission.covers(needed))
    }

    /// What it gives `principal` of `needed`. `ignores_public`: grants to groups count for nothing.
    pub(crate) fn grant(&self, principal: &Principal, needed: Permission, ignores_public: bool) -> PolicyGrant {
        let of = |grant: &Grant| match &grant.grantee {
            _ if !grant.permission.covers(needed) => PolicyGrant::None,
            Grantee::Account(id) if !id.is_empty() && *id == principal.canonical_id => PolicyGrant::Account,
            Grantee::AllUsers if !ignores_public => PolicyGrant::Direct,
            Grantee::AuthenticatedUsers if !ignores_public && !principal.is_anonymous() => PolicyGrant::Direct,
            _ => PolicyGrant::None,
        };
        self.grants.iter().map(of).max().unwrap_or(PolicyGrant::None)
    }
}

impl Grant {
    pub(crate) fn to_account(canonical_id: &str, permission: Permission) -> Self {
        Self { grantee: Grantee::Account(canonical_id.to_owned()), permission }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grants_reach_whom_they_name() {
        let acl = Acl {
            grants: vec![
                Grant::to_account("aa", Permission::FullControl),
                Grant { grantee: Grantee::AuthenticatedUsers, permission: Permission::Read },
                Grant { grantee: Grantee::AllUsers, permission: Permission::WriteAcp },
            ],
        };
        let owner = Principal::account_root("111111111111", "aa");
        let other = Principal::account_root("222222222222", "bb");
        let nobody = Principal::anonymous();
        assert_eq!(acl.grant(&owner, Permission::Write, false), PolicyGrant::Account);
        assert_eq!(acl.grant(&other, Permission::Write, false), PolicyGrant::None);
        assert_eq!(acl.grant(&other, Permission::Read, false), PolicyGrant::Direct);
        assert_eq!(acl.grant(&other, Permission::Read, true), PolicyGrant::None);
        assert_eq!(acl.grant(&nobody, Permission::Read, false), PolicyGrant::None);
        assert_eq!(acl.grant(&nobody, Permission::WriteAcp, false), PolicyGrant::Direct);
        assert_eq!(acl.grant(&nobody, Permission::WriteAcp, true), PolicyGrant::None);
        let no_id = Acl { grants: vec![Grant::to_account("", Permission::FullControl)] };
        assert_eq!(no_id.grant(&nobody, Permission::Read, false), PolicyGrant::None);
    }

    #[test]
    fn lists_are_kept_and_read_again() {
        let acl = Acl { grants: vec![Grant { grantee: Grantee::AllUsers, permission: Permission::Read }] };
        assert_eq!(Acl::decode(&acl.encode()), Some(acl));
        assert_eq!(Acl::decode(b""), None);
        assert_eq!(Acl::decode(b"\x02\x00"), None);
    }
}
