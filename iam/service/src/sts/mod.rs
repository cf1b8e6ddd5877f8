//! STS: sessions of users, roles and federated users, and who holds them.

mod federation;
mod fetch;
#[cfg(test)]
mod golden_tests;
mod info;
mod jwt;
mod mfa;
mod provider;
mod role;
mod session;
#[cfg(test)]
mod tests;
mod trust;
mod web_identity;

use std::sync::Arc;

use async_trait::async_trait;
use karri_iam_policy::{Context, Decision, Policy, PolicyKind, Principal, PrincipalKind, Request, evaluate};
use karri_iam_wire::sts::{self as wire, ErrorCode, Operation, types as t};
use karri_iam_wire::{Form, Sensitive, Timestamp, WireError};
use karri_objstore_gateway::{FormBackend, FormRequest, FormResponse};
use karri_ring_types::Clock;

pub use self::info::AuthorizationMessages;
pub use self::provider::ProviderSettings;
use self::provider::Providers;
pub use self::session::Sessions;
pub(crate) use self::session::{Grant, Issued, KEY_PREFIX, Who};
use crate::model::Tag;
use crate::state::Account;
use crate::store::Store;
use crate::{ids, names};

type Answer<T> = Result<T, WireError>;

/// Characters of session policies, tags and claims in one token: what is told as `PackedPolicySize` is of this.
const PACKED_BYTES_MAX: usize = 8192;

/// Answers STS's actions.
pub struct Sts {
    store: Arc<Store>,
    sessions: Arc<Sessions>,
    messages: Arc<AuthorizationMessages>,
    providers: Providers,
}

/// One call while it is answered.
struct Call<'a> {
    sts: &'a Sts,
    request: &'a FormRequest,
    now: u64,
}

impl Sts {
    /// Actions over the identities of `store`.
    pub fn new(
        store: Arc<Store>,
        sessions: Arc<Sessions>,
        messages: Arc<AuthorizationMessages>,
        providers: ProviderSettings,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self { store, sessions, messages, providers: Providers::new(providers, clock) }
    }

    async fn answer(&self, form: &Form, operation: Operation, request: &FormRequest) -> Answer<Vec<u8>> {
        let call = Call { sts: self, request, now: self.store.clock().now().as_secs() };
        let id = request.request_id.to_string();
        Ok(match operation {
            Operation::GetCallerIdentity => wire::write_get_caller_identity(&info::caller_identity(&call)?, &id),
            Operation::GetAccessKeyInfo => {
                let output = info::access_key_info(&call, wire::parse_get_access_key_info(form)?)?;
                wire::write_get_access_key_info(&output, &id)
            }
            Operation::DecodeAuthorizationMessage => {
                let output = info::decode_message(&call, wire::parse_decode_authorization_message(form)?)?;
                wire::write_decode_authorization_message(&output, &id)
            }
            Operation::GetSessionToken => {
                let output = federation::session_token(&call, wire::parse_get_session_token(form)?).await?;
                wire::write_get_session_token(&output, &id)
            }
            Operation::GetFederationToken => {
                let output = federation::federation_token(&call, wire::parse_get_federation_token(form)?)?;
                wire::write_get_federation_token(&output, &id)
            }
            Operation::AssumeRole => {
                let output = role::assume(&call, wire::parse_assume_role(form)?).await?;
                wire::write_assume_role(&output, &id)
            }
            Operation::AssumeRoleWithWebIdentity => {
                let input = wire::parse_assume_role_with_web_identity(form)?;
                wire::write_assume_role_with_web_identity(&web_identity::assume(&call, input).await?, &id)
            }
        })
    }
}

#[async_trait]
impl FormBackend for Sts {
    async fn call(&self, request: FormRequest) -> FormResponse {
        let id = request.request_id.to_string();
        let refused = |operation: Option<Operation>, error: WireError| {
            let body = error.to_xml(wire::XMLNS, &id);
            FormResponse::error(operation.map(Operation::as_str), error.status, error.code, body)
        };
        let form = match Form::parse(&request.parameters) {
            Ok(form) => form,
            Err(error) => return refused(None, error),
        };
        match wire::route(&form) {
            Err(error) => refused(None, error),
            Ok(operation) => match self.answer(&form, operation, &request).await {
                Ok(body) => FormResponse::xml(operation.as_str(), body),
                Err(error) => refused(Some(operation), error),
            },
        }
    }
}

impl Call<'_> {
    fn store(&self) -> &Store {
        &self.sts.store
    }

    /// Who asks; the gateway has let nobody else through.
    fn caller(&self) -> Answer<&Arc<Principal>> {
        let caller = self.request.caller.principal().map(|principal| &principal.identity);
        caller
            .ok_or_else(|| WireError::new("MissingAuthenticationToken", 403, "Request is missing Authentication Token"))
    }

    fn account(&self, id: &str) -> Answer<Arc<Account>> {
        self.store().view().account(id).ok_or_else(|| ErrorCode::InvalidClientTokenId.into())
    }

    /// What policies may ask of the request.
    fn context(&self) -> Context<'static> {
        let mut context = Context::new(i64::try_from(self.now).unwrap_or(i64::MAX));
        context.set("aws:SourceIp", self.request.remote.to_string());
        context.set("aws:SecureTransport", self.request.secure.to_string());
        context.set("aws:RequestedRegion", self.request.region.clone());
        context.set("aws:ViaAWSService", "false");
        if let Some(agent) = &self.request.user_agent {
            context.offer("aws:UserAgent", agent.clone());
        }
        if let Some(referer) = &self.request.referer {
            context.offer("aws:Referer", referer.clone());
        }
        context
    }

    /// Refuses the call unless the caller's own policies allow it.
    fn authorize(&self, action: &str, resource: &str, context: &Context<'_>) -> Answer<()> {
        let caller = self.caller()?;
        let policies = self.store().view().policies(caller);
        let request = Request { principal: caller, action, resource, resource_account: &caller.account_id, context };
        let decision = evaluate(&request, &policies, None);
        if decision.is_allowed() { Ok(()) } else { Err(self.denied(caller, action, resource, Some(decision))) }
    }

    /// The refusal of a call, told as AWS does.
    fn denied(&self, caller: &Principal, action: &str, resource: &str, why: Option<Decision>) -> WireError {
        let why = match why {
            Some(Decision::ExplicitDeny(_)) => " with an explicit deny",
            _ => "",
        };
        let message =
            format!("User: {} is not authorized to perform: {action} on resource: {resource}{why}", caller.arn);
        ErrorCode::AccessDenied.with(message)
    }

    /// Refuses sessions of users, which may only say who they are and take roles, and of federated users, which may not
    /// even do that.
    fn require_no_user_session(&self, action: &str) -> Answer<()> {
        match self.caller()?.kind {
            PrincipalKind::AssumedRole { .. } => Ok(()),
            _ => self.require_no_session(action),
        }
    }

    /// Refuses all sessions.
    fn require_no_session(&self, action: &str) -> Answer<()> {
        let caller = self.caller()?;
        if caller.session.is_none() {
            return Ok(());
        }
        let message = format!("Cannot call {action} with session credentials");
        Err(ErrorCode::AccessDenied.with(message))
    }
}

/// The policies that are to limit a session, and how much of a token they take.
struct Limits {
    policies: Vec<String>,
    arns: Vec<String>,
    packed_percent: Option<i32>,
}

/// Reads session policies and measures what goes into the token.
fn limits(
    account: &Account,
    policy: Option<String>,
    arns: Vec<t::PolicyDescriptorType>,
    tags: &[Tag],
) -> Answer<Limits> {
    if let Some(document) = &policy {
        Policy::parse(document, PolicyKind::Identity)
            .map_err(|error| ErrorCode::MalformedPolicyDocument.with(error.to_string()))?;
    }
    let arns: Vec<String> = arns.into_iter().filter_map(|descriptor| descriptor.arn).collect();
    for arn in &arns {
        if crate::managed::by_arn(arn).is_none() && !is_policy_of(account, arn) {
            let message = format!("The policy {arn} does not exist or is not of the account {}.", account.id);
            return Err(ErrorCode::InvalidParameterValue.with(message));
        }
    }
    let bytes = policy.as_ref().map_or(0, String::len)
        + arns.iter().map(String::len).sum::<usize>()
        + tags.iter().map(|(key, value)| key.len() + value.len()).sum::<usize>();
    if bytes > PACKED_BYTES_MAX {
        let message = format!(
            "Packed size of session tags and policies consumes {}% of allotted space.",
            bytes * 100 / PACKED_BYTES_MAX
        );
        return Err(ErrorCode::PackedPolicyTooLarge.with(message));
    }
    let percent = i32::try_from((bytes * 100).div_ceil(PACKED_BYTES_MAX)).unwrap_or(100);
    Ok(Limits { policies: policy.into_iter().collect(), arns, packed_percent: (bytes > 0).then_some(percent) })
}

fn is_policy_of(account: &Account, arn: &str) -> bool {
    account.policies.values().any(|policy| ids::arn(&account.id, "policy", &policy.path, &policy.name) == arn)
}

/// Session tags, whose keys must differ by more than case.
fn session_tags(tags: Vec<t::Tag>) -> Answer<Vec<Tag>> {
    let mut all: Vec<Tag> = Vec::with_capacity(tags.len());
    for tag in tags {
        if tag.key.to_ascii_lowercase().starts_with("aws:") {
            return Err(ErrorCode::InvalidParameterValue.with("Tag keys must not begin with aws:"));
        }
        if all.iter().any(|(known, _)| names::key(known) == names::key(&tag.key)) {
            let message = "Duplicate tag keys found. Please note that Tag keys are case insensitive.";
            return Err(ErrorCode::InvalidParameterValue.with(message));
        }
        all.push((tag.key, tag.value));
    }
    Ok(all)
}

fn offer_tags(context: &mut Context<'static>, tags: &[Tag], transitive: &[String]) {
    for (key, value) in tags {
        context.set(format!("aws:RequestTag/{key}"), value.clone());
    }
    context.set_all("aws:TagKeys", tags.iter().map(|(key, _)| key.clone()));
    context.set_all("sts:TransitiveTagKeys", transitive.to_vec());
}

fn credentials(issued: Issued) -> t::Credentials {
    let millis = i64::try_from(issued.expires_at_seconds * 1000).unwrap_or(i64::MAX);
    t::Credentials {
        access_key_id: issued.access_key,
        secret_access_key: Sensitive::new(issued.secret_key),
        session_token: issued.token,
        expiration: Timestamp::from_millis(millis),
    }
}

/// The duration of a session, checked by the model's bounds already.
fn seconds(given: Option<i32>, usual: u64) -> u64 {
    given.map_or(usual, |given| u64::try_from(given).unwrap_or(usual))
}
