//! The actions of IAM: from the typed input, over authorisation and the account's rows, to the typed output.

mod about;
mod account_policies;
mod accounts;
mod answers;
mod certificates;
mod details;
mod dispatch;
mod groups;
mod inline;
mod keys;
mod managed_policies;
pub(crate) mod mfa;
mod oidc;
mod paging;
mod passwords;
mod profiles;
mod report;
mod roles;
mod simulate;
mod tags;
mod templates;
mod users;

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use karri_iam_policy::{Context, Policies, Principal, PrincipalKind, Request, evaluate};
use karri_iam_wire::WireError;
use karri_iam_wire::iam::{ErrorCode, types as t};

use crate::change::Change;
use crate::ids;
use crate::model::AccountRecord;
use crate::state::Account;
use crate::store::{Store, StoreError};
use crate::view::View;

pub(crate) use self::accounts::create as create_account;
pub use self::dispatch::Answered;
pub(crate) use self::templates::install as install_template;

/// The region of a service that has only one, wherever its clients are.
const GLOBAL_REGION: &str = "us-east-1";

/// The account of the cloud's administrator.
pub const ADMIN_ACCOUNT: &str = "000000000000";

/// What uses accounts outside of IAM.
#[async_trait]
pub trait AccountUse: Send + Sync + 'static {
    /// Whether an account still owns something, as buckets.
    async fn owns_something(&self, account_id: &str, canonical_id: &str) -> Result<bool, String>;
}

/// Answers IAM's actions.
pub struct Api {
    store: Arc<Store>,
    usage: Arc<dyn AccountUse>,
    region: String,
}

/// What is known of the request beside its parameters.
#[derive(Clone, Debug)]
pub struct CallInfo {
    /// Who asks.
    pub caller: Arc<Principal>,
    /// Where from.
    pub source_ip: IpAddr,
    /// Whether it came over TLS.
    pub secure: bool,
    /// The client's `User-Agent`.
    pub user_agent: Option<String>,
    /// The client's `Referer`.
    pub referer: Option<String>,
}

/// One call while it is answered.
struct Call<'a> {
    api: &'a Api,
    info: &'a CallInfo,
    /// `iam:CreateUser`.
    action: String,
    is_authorized: AtomicBool,
}

type Answer<T> = Result<T, WireError>;

impl From<StoreError> for WireError {
    fn from(error: StoreError) -> Self {
        tracing::warn!(error = &error as &dyn std::error::Error, "the identities cannot be read or changed");
        match error {
            StoreError::Unreadable(_) => ErrorCode::InternalFailure.into(),
            StoreError::Meta(_) | StoreError::Busy => ErrorCode::ServiceUnavailable.into(),
        }
    }
}

impl Api {
    /// Actions over `store`.
    pub fn new(store: Arc<Store>, usage: Arc<dyn AccountUse>, region: impl Into<String>) -> Self {
        Self { store, usage, region: region.into() }
    }

    /// Notes that a key was used for an action.
    pub(crate) fn note_use(&self, access_key: &str) {
        self.store.note_use(access_key, "iam", &self.region);
    }
}

/// Keys that say what a request is about.
type Keys<'k> = &'k [(&'k str, Vec<String>)];

impl Call<'_> {
    fn store(&self) -> &Store {
        &self.api.store
    }

    fn view(&self) -> &View {
        self.api.store.view()
    }

    fn account_id(&self) -> &str {
        &self.info.caller.account_id
    }

    /// The caller's account as it is known now.
    fn account(&self) -> Answer<Arc<Account>> {
        self.view().account(self.account_id()).ok_or_else(|| ErrorCode::InvalidClientTokenId.into())
    }

    fn arn(&self, kind: &str, path: &str, name: &str) -> String {
        ids::arn(self.account_id(), kind, path, name)
    }

    /// Decides on a change of the caller's account.
    async fn change<T>(&self, decide: impl Fn(&mut Change) -> Answer<T>) -> Answer<T> {
        self.store().change(self.account_id(), decide).await
    }

    fn policies(&self) -> Arc<Policies> {
        self.view().policies(&self.info.caller)
    }

    /// Refuses the call unless the caller may do it to `resource`.
    fn authorize(&self, resource: &str) -> Answer<()> {
        self.authorize_with(resource, &[])
    }

    /// As [`Call::authorize`], with condition keys.
    fn authorize_with(&self, resource: &str, keys: Keys<'_>) -> Answer<()> {
        let caller = &self.info.caller;
        let mut context = Context::new(i64::try_from(self.store().clock().now().as_secs()).unwrap_or(i64::MAX));
        context.set("aws:SourceIp", self.info.source_ip.to_string());
        context.set("aws:SecureTransport", if self.info.secure { "true" } else { "false" });
        context.set("aws:ResourceAccount", self.account_id().to_owned());
        context.set("aws:RequestedRegion", GLOBAL_REGION);
        context.set("aws:ViaAWSService", "false");
        if let Some(account) = self.view().account(self.account_id()) {
            about::describe(&account, &self.action, resource, &mut context);
        }
        if let Some(referer) = &self.info.referer {
            context.offer("aws:Referer", referer.as_str());
        }
        if let Some(agent) = &self.info.user_agent {
            context.offer("aws:UserAgent", agent.as_str());
        }
        for (key, values) in keys {
            context.set_all(*key, values.iter().map(String::as_str));
        }
        let request = Request {
            principal: caller,
            action: &self.action,
            resource,
            resource_account: self.account_id(),
            context: &context,
        };
        self.is_authorized.store(true, Ordering::Relaxed);
        let decision = evaluate(&request, &self.policies(), None);
        if decision.is_allowed() {
            return Ok(());
        }
        let why = match decision {
            karri_iam_policy::Decision::ExplicitDeny(_) => "with an explicit deny in a policy",
            _ => "because no policy allows it",
        };
        let message =
            format!("User: {} is not authorized to perform: {} on resource: {resource} {why}", caller.arn, self.action);
        Err(ErrorCode::AccessDenied.with(message))
    }

    /// Refuses the call unless the caller may do `action` too.
    fn authorize_also(&self, action: &str, resource: &str) -> Answer<()> {
        self.authorize_also_with(action, resource, &[])
    }

    fn authorize_also_with(&self, action: &str, resource: &str, keys: Keys<'_>) -> Answer<()> {
        let also =
            Call { api: self.api, info: self.info, action: action.to_owned(), is_authorized: AtomicBool::new(false) };
        also.authorize_with(resource, keys)
    }

    /// Refuses the call unless the caller may make `resource`, and tag it with `tag_action` if it is to have tags.
    fn authorize_new(
        &self,
        resource: &str,
        (tag_action, tags): (&str, &[t::Tag]),
        more: Option<(&str, &str)>,
    ) -> Answer<()> {
        let mut all = tags::keys(tags);
        all.extend(more.map(|(key, value)| (key.to_owned(), vec![value.to_owned()])));
        let keys: Vec<_> = all.iter().map(|(key, values)| (key.as_str(), values.clone())).collect();
        self.authorize_with(resource, &keys)?;
        if tags.is_empty() {
            return Ok(());
        }
        self.authorize_also_with(tag_action, resource, &keys)
    }

    /// Refuses whoever is not of the cloud administrator's account.
    fn require_administrator(&self) -> Answer<()> {
        if self.account_id() == ADMIN_ACCOUNT {
            return Ok(());
        }
        let message = format!(
            "User: {} is not authorized to perform: {}: it belongs to the cloud's administrator",
            self.info.caller.arn, self.action
        );
        Err(ErrorCode::AccessDenied.with(message))
    }

    /// The user that a request means which names none: the caller.
    fn own_user_name(&self) -> Answer<Option<String>> {
        match &self.info.caller.kind {
            PrincipalKind::AccountRoot => Ok(None),
            PrincipalKind::User => Ok(Some(self.info.caller.name.clone())),
            _ => Err(ErrorCode::ValidationError.with("Must specify userName when calling with non-User credentials")),
        }
    }
}

/// The record of an account that is known to be there.
fn record(account: &Account) -> Answer<&Arc<AccountRecord>> {
    account.record().ok_or_else(|| ErrorCode::InvalidClientTokenId.into())
}

fn no_such(what: &str, name: &str) -> WireError {
    ErrorCode::NoSuchEntity.with(format!("The {what} with name {name} cannot be found."))
}

fn exists(what: &str, name: &str) -> WireError {
    ErrorCode::EntityAlreadyExists.with(format!("{what} with name {name} already exists."))
}

fn over_quota(quota: &str, limit: usize) -> WireError {
    ErrorCode::LimitExceeded.with(format!("Cannot exceed quota for {quota}: {limit}"))
}

fn conflict(what: &str) -> WireError {
    ErrorCode::DeleteConflict.with(format!("Cannot delete entity, must {what} first."))
}

fn wire_tags(tags: &[crate::model::Tag]) -> Vec<t::Tag> {
    tags.iter().map(|(key, value)| t::Tag { key: key.clone(), value: value.clone() }).collect()
}
