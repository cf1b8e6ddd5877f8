//! Lists as requests give them: a canned one, grants in headers, or a document.

use http::HeaderMap;
use karri_objstore_gateway::ApiError;
use karri_objstore_service::Owner;
use karri_objstore_wire::types;

use super::{Acl, GRANTS_MAX, Grant, Grantee, Permission};
use crate::authorize::Identities;
use crate::error::{S3Result, access_denied, error, invalid_argument, invalid_request, malformed_xml};
use crate::headers::text;

const ALL_USERS: &str = "http://acs.amazonaws.com/groups/global/AllUsers";
const AUTHENTICATED_USERS: &str = "http://acs.amazonaws.com/groups/global/AuthenticatedUsers";
const LOG_DELIVERY: &str = "http://acs.amazonaws.com/groups/s3/LogDelivery";

const GRANT_HEADERS: [(&str, Permission); 5] = [
    ("x-amz-grant-read", Permission::Read),
    ("x-amz-grant-write", Permission::Write),
    ("x-amz-grant-read-acp", Permission::ReadAcp),
    ("x-amz-grant-write-acp", Permission::WriteAcp),
    ("x-amz-grant-full-control", Permission::FullControl),
];

/// Lists that go by a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Canned {
    Private,
    PublicRead,
    PublicReadWrite,
    AuthenticatedRead,
    AwsExecRead,
    BucketOwnerRead,
    BucketOwnerFullControl,
    LogDeliveryWrite,
}

impl Canned {
    fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "private" => Self::Private,
            "public-read" => Self::PublicRead,
            "public-read-write" => Self::PublicReadWrite,
            "authenticated-read" => Self::AuthenticatedRead,
            "aws-exec-read" => Self::AwsExecRead,
            "bucket-owner-read" => Self::BucketOwnerRead,
            "bucket-owner-full-control" => Self::BucketOwnerFullControl,
            "log-delivery-write" => Self::LogDeliveryWrite,
            _ => return None,
        })
    }

    /// The list that it stands for, of what `owner` owns in a bucket of `bucket_owner`.
    fn acl(self, owner: &Owner, bucket_owner: &Owner) -> Acl {
        let mut acl = Acl::private(owner);
        let mut add = |grantee, permission| acl.grants.push(Grant { grantee, permission });
        match self {
            // EC2 images are read from snapshots here, never by a group of AWS's.
            Self::Private | Self::AwsExecRead => {}
            Self::PublicRead => add(Grantee::AllUsers, Permission::Read),
            Self::PublicReadWrite => {
                add(Grantee::AllUsers, Permission::Read);
                add(Grantee::AllUsers, Permission::Write);
            }
            Self::AuthenticatedRead => add(Grantee::AuthenticatedUsers, Permission::Read),
            Self::LogDeliveryWrite => {
                add(Grantee::LogDelivery, Permission::Write);
                add(Grantee::LogDelivery, Permission::ReadAcp);
            }
            Self::BucketOwnerRead | Self::BucketOwnerFullControl if owner.user_id == bucket_owner.user_id => {}
            Self::BucketOwnerRead => add(Grantee::Account(bucket_owner.user_id.clone()), Permission::Read),
            Self::BucketOwnerFullControl => {
                add(Grantee::Account(bucket_owner.user_id.clone()), Permission::FullControl);
            }
        }
        acl
    }
}

/// What the headers of a request ask for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    Nothing,
    Canned(Canned),
    Grants(Vec<Grant>),
}

impl Asked {
    /// The list of what `owner` owns; `None` where nothing but the default was asked for.
    pub(crate) fn acl(&self, owner: &Owner, bucket_owner: &Owner) -> Option<Acl> {
        match self {
            Self::Nothing | Self::Canned(Canned::Private) => None,
            Self::Canned(canned) => Some(canned.acl(owner, bucket_owner)),
            Self::Grants(grants) => Some(Acl { grants: grants.clone() }),
        }
    }

    /// Whether the bucket's owner is to have full control.
    pub(crate) fn gives_bucket_owner_full_control(&self) -> bool {
        *self == Self::Canned(Canned::BucketOwnerFullControl)
    }

    /// Whether a write may say so where lists do not count: AWS refuses even `private` there.
    pub(crate) fn holds_without_acls(&self) -> bool {
        matches!(self, Self::Nothing | Self::Canned(Canned::BucketOwnerFullControl))
    }

    /// Whether no more is asked for than what holds anyway.
    pub(crate) fn is_default(&self) -> bool {
        matches!(self, Self::Nothing | Self::Canned(Canned::Private))
    }
}

/// Reads `x-amz-acl` and `x-amz-grant-*`.
pub(crate) fn asked_by_headers(headers: &HeaderMap, identities: &dyn Identities) -> S3Result<Asked> {
    let mut grants = Vec::new();
    let mut is_granting = false;
    for (name, permission) in GRANT_HEADERS {
        for value in headers.get_all(name) {
            let value = std::str::from_utf8(value.as_bytes()).map_err(|_| invalid_argument(name, "", "Not UTF-8"))?;
            is_granting = true;
            for entry in value.split(',').map(str::trim).filter(|entry| !entry.is_empty()) {
                grants.push(Grant { grantee: header_grantee(name, entry, identities)?, permission });
            }
        }
    }
    if grants.len() > GRANTS_MAX {
        return Err(too_many());
    }
    match (text(headers, "x-amz-acl")?, is_granting) {
        (Some(_), true) => Err(invalid_request("Specifying both Canned ACLs and Header Grants is not allowed")),
        (Some(name), false) => {
            Canned::parse(name).map(Asked::Canned).ok_or_else(|| invalid_argument("x-amz-acl", name, ""))
        }
        (None, true) => Ok(Asked::Grants(grants)),
        (None, false) => Ok(Asked::Nothing),
    }
}

/// `id="..."`, `uri="..."` or `emailAddress="..."`.
fn header_grantee(name: &str, entry: &str, identities: &dyn Identities) -> S3Result<Grantee> {
    let malformed = || invalid_argument(name, entry, "Argument format not recognized");
    let (kind, value) = entry.split_once('=').ok_or_else(malformed)?;
    let value = value.trim().trim_matches('"');
    match kind.trim() {
        "id" => account(value, identities),
        "uri" => group(value),
        "emailAddress" => by_email(value, identities),
        _ => Err(malformed()),
    }
}

fn account(id: &str, identities: &dyn Identities) -> S3Result<Grantee> {
    match identities.account_by_canonical_id(id) {
        Some(account) => Ok(Grantee::Account(account.canonical_id)),
        None => Err(invalid_argument("CanonicalUser/ID", id, "Invalid id")),
    }
}

fn by_email(email: &str, identities: &dyn Identities) -> S3Result<Grantee> {
    match identities.account_by_email(email) {
        Some(account) => Ok(Grantee::Account(account.canonical_id)),
        None => {
            let message = "The e-mail address you provided does not match any account on record.";
            Err(error("UnresolvableGrantByEmailAddress", 400, message))
        }
    }
}

fn group(uri: &str) -> S3Result<Grantee> {
    match uri {
        ALL_USERS => Ok(Grantee::AllUsers),
        AUTHENTICATED_USERS => Ok(Grantee::AuthenticatedUsers),
        LOG_DELIVERY => Ok(Grantee::LogDelivery),
        _ => Err(invalid_argument("Group/URI", uri, "Invalid group uri")),
    }
}

/// Reads a document for what `owner` owns; it must name that owner.
pub(super) fn document(policy: &types::AccessControlPolicy, owner: &Owner, ids: &dyn Identities) -> S3Result<Acl> {
    let named = policy.owner.as_ref().and_then(|owner| owner.id.as_deref()).ok_or_else(malformed_acl)?;
    if named != owner.user_id {
        return Err(access_denied());
    }
    if policy.grants.len() > GRANTS_MAX {
        return Err(too_many());
    }
    let grant = |grant: &types::Grant| {
        let grantee = grant.grantee.as_ref().ok_or_else(malformed_acl)?;
        let permission = grant.permission.as_ref().ok_or_else(malformed_acl)?;
        let grantee = match grantee.type_ {
            types::Type::CanonicalUser => account(grantee.id.as_deref().ok_or_else(malformed_acl)?, ids)?,
            types::Type::AmazonCustomerByEmail => {
                by_email(grantee.email_address.as_deref().ok_or_else(malformed_acl)?, ids)?
            }
            types::Type::Group => group(grantee.uri.as_deref().ok_or_else(malformed_acl)?)?,
        };
        Ok(Grant { grantee, permission: from_wire(permission) })
    };
    Ok(Acl { grants: policy.grants.iter().map(grant).collect::<S3Result<_>>()? })
}

/// Reads the grants of log objects, in which accounts are named by their canonical ids from then on.
pub(crate) fn log_grants(grants: &mut [types::TargetGrant], ids: &dyn Identities) -> S3Result<Vec<Grant>> {
    if grants.len() > GRANTS_MAX {
        return Err(too_many());
    }
    let read = |grant: &mut types::TargetGrant| {
        let (Some(told), Some(permission)) = (&mut grant.grantee, &grant.permission) else {
            return Err(malformed_xml());
        };
        let grantee = match told.type_ {
            types::Type::CanonicalUser => account(told.id.as_deref().ok_or_else(malformed_xml)?, ids)?,
            types::Type::AmazonCustomerByEmail => {
                by_email(told.email_address.as_deref().ok_or_else(malformed_xml)?, ids)?
            }
            types::Type::Group => group(told.uri.as_deref().ok_or_else(malformed_xml)?)?,
        };
        if let Grantee::Account(id) = &grantee {
            (told.type_, told.id, told.email_address) = (types::Type::CanonicalUser, Some(id.clone()), None);
        }
        let permission = match permission {
            types::BucketLogsPermission::FullControl => Permission::FullControl,
            types::BucketLogsPermission::Read => Permission::Read,
            types::BucketLogsPermission::Write => Permission::Write,
        };
        Ok(Grant { grantee, permission })
    };
    grants.iter_mut().map(read).collect()
}

/// The grants as a read tells them.
pub(super) fn wire_grants(acl: &Acl, identities: &dyn Identities, known: &[&Owner]) -> Vec<types::Grant> {
    let grantee = |grantee: &Grantee| {
        let mut told =
            types::Grantee { display_name: None, email_address: None, id: None, type_: types::Type::Group, uri: None };
        match grantee {
            Grantee::Account(id) => {
                let owner = known.iter().find(|owner| owner.user_id == *id).map(|owner| owner.display_name.clone());
                let name = owner.or_else(|| identities.account_by_canonical_id(id).map(|account| account.display_name));
                told.type_ = types::Type::CanonicalUser;
                told.id = Some(id.clone());
                told.display_name = name;
            }
            Grantee::AllUsers => told.uri = Some(ALL_USERS.to_owned()),
            Grantee::AuthenticatedUsers => told.uri = Some(AUTHENTICATED_USERS.to_owned()),
            Grantee::LogDelivery => told.uri = Some(LOG_DELIVERY.to_owned()),
        }
        told
    };
    let grant = |grant: &Grant| types::Grant {
        grantee: Some(grantee(&grant.grantee)),
        permission: Some(to_wire(grant.permission)),
    };
    // Groups first: their number tells at a glance how open it is, and clients' tests count on the order.
    let is_group = |grant: &&Grant| !matches!(grant.grantee, Grantee::Account(_));
    let groups = acl.grants.iter().filter(is_group);
    groups.chain(acl.grants.iter().filter(|grant| !is_group(grant))).map(grant).collect()
}

fn from_wire(permission: &types::Permission) -> Permission {
    match permission {
        types::Permission::Read => Permission::Read,
        types::Permission::Write => Permission::Write,
        types::Permission::ReadAcp => Permission::ReadAcp,
        types::Permission::WriteAcp => Permission::WriteAcp,
        types::Permission::FullControl => Permission::FullControl,
    }
}

fn to_wire(permission: Permission) -> types::Permission {
    match permission {
        Permission::Read => types::Permission::Read,
        Permission::Write => types::Permission::Write,
        Permission::ReadAcp => types::Permission::ReadAcp,
        Permission::WriteAcp => types::Permission::WriteAcp,
        Permission::FullControl => types::Permission::FullControl,
    }
}

fn malformed_acl() -> ApiError {
    let message = "The XML you provided was not well-formed or did not validate against our published schema";
    error("MalformedACLError", 400, message)
}

fn too_many() -> ApiError {
    error("MalformedACLError", 400, format!("An access control list has at most {GRANTS_MAX} grants"))
}
