//! AWS's evaluation logic over all policies that bear on one request.

use std::sync::Arc;

use crate::context::Context;
use crate::facts::Facts;
use crate::policy::{Effect, Policy, PolicyKind};
use crate::principal::{Principal, PrincipalKind};
use crate::principal_match::Reach;

/// One question: may `principal` do `action` to `resource`?
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// Who asks.
    pub principal: &'a Principal,
    /// The action with its service, such as `s3:GetObject`; compared without regard to case.
    pub action: &'a str,
    /// The resource's ARN, or `*` for actions without one.
    pub resource: &'a str,
    /// The account that owns the resource, 12 digits.
    pub resource_account: &'a str,
    /// Condition keys.
    pub context: &'a Context<'a>,
}

/// What an identity has: its own policies with those of its groups, and the bound on them.
///
/// Of a federated user they are those of the user who asked for the session.
#[derive(Clone, Debug, Default)]
pub struct Policies {
    /// Inline and attached policies, of the user and its groups or of the role.
    pub identity: Vec<Arc<Policy>>,
    /// The permissions boundary, if one is set.
    pub boundary: Option<Arc<Policy>>,
    /// The policies of the account itself. They set quotas and decide nothing.
    pub account: Vec<Arc<Policy>>,
}

/// What an access control list, or another grant that is no policy, gives the caller.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Grant {
    /// Nothing.
    #[default]
    None,
    /// To the caller's account: its own policies must allow the request too.
    Account,
    /// To everyone, so to the caller itself.
    Direct,
}

/// The answer, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// The request may go on.
    Allow(Reason),
    /// A statement denies it.
    ExplicitDeny(Cause),
    /// No statement of this kind of policy allows it.
    ImplicitDeny(PolicySource),
}

/// What allowed a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// This statement.
    Statement(Cause),
    /// A [`Grant`] that is no policy.
    Grant,
    /// The caller is the root user of the resource's account.
    Root,
}

/// One statement among the policies of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cause {
    /// Among which policies.
    pub source: PolicySource,
    /// Which policy of them, from 0.
    pub policy: usize,
    /// Which statement in it, from 0.
    pub statement: usize,
}

/// The kinds of policy that take part, by where they are attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PolicySource {
    /// [`Policies::identity`].
    Identity,
    /// [`Policies::boundary`].
    Boundary,
    /// [`Session::policies`](crate::Session::policies).
    Session,
    /// The resource's policy, or the role's trust policy.
    Resource,
}

impl Decision {
    /// True for [`Decision::Allow`].
    pub fn is_allowed(&self) -> bool {
        matches!(self, Self::Allow(_))
    }
}

/// Decides about `request`.
///
/// Explicit denies come first, from any policy. A resource policy that names the caller itself suffices within one
/// account; one that names the caller's account, and every resource policy of another account, needs the caller's own
/// policies too. Session policies and the boundary limit what identity policies give, and what a resource policy
/// gives to a role. A trust policy or a key's policy must allow, whatever else does. The root user of the resource's account is only held back
/// by an explicit deny of the resource policy and by session policies.
pub fn evaluate(request: &Request<'_>, identity: &Policies, resource_policy: Option<&Policy>) -> Decision {
    evaluate_with(request, identity, resource_policy, Grant::None)
}

/// As [`evaluate`], where the resource also has an access control list that gives the caller `grant`.
pub fn evaluate_with(
    request: &Request<'_>,
    identity: &Policies,
    resource_policy: Option<&Policy>,
    grant: Grant,
) -> Decision {
    let facts = Facts { request };
    let own = own_side(&facts, identity);
    let resource = resource_policy.map(|policy| resource_side(policy, &facts)).unwrap_or_default();
    if let Some(cause) = own.deny.or(resource.deny) {
        return Decision::ExplicitDeny(cause);
    }
    let (reach, resource_reason) = match resource.allow {
        Some((reach, cause)) if reach >= grant_reach(grant) => (reach, Reason::Statement(cause)),
        _ => (grant_reach(grant), Reason::Grant),
    };
    let must_allow = |policy: &Policy| matches!(policy.kind, PolicyKind::Trust | PolicyKind::Key);
    if resource_policy.is_some_and(must_allow) && reach == Reach::None {
        return Decision::ImplicitDeny(PolicySource::Resource);
    }
    match &request.principal.kind {
        // They have no policies of their own.
        PrincipalKind::Anonymous | PrincipalKind::Service { .. } | PrincipalKind::WebIdentity { .. } => {
            if reach == Reach::None {
                Decision::ImplicitDeny(PolicySource::Resource)
            } else {
                Decision::Allow(resource_reason)
            }
        }
        _ if request.principal.account_id != request.resource_account => match own.decision() {
            Decision::Allow(_) if reach == Reach::None => Decision::ImplicitDeny(PolicySource::Resource),
            Decision::Allow(_) => Decision::Allow(resource_reason),
            denied => denied,
        },
        // Named itself: nothing but an explicit deny stands against it.
        _ if reach == Reach::Direct => Decision::Allow(resource_reason),
        // Named by its role: what a boundary or a session leaves out is still left out.
        _ if reach == Reach::Role => own.limits().map_or(Decision::Allow(resource_reason), Decision::ImplicitDeny),
        _ => own.decision(),
    }
}

/// What one side says: the first statement that denies, and the first that allows.
#[derive(Clone, Copy, Default)]
struct Verdict {
    deny: Option<Cause>,
    allow: Option<Cause>,
}

/// What the caller's own policies say.
struct OwnSide {
    deny: Option<Cause>,
    identity: Option<Reason>,
    is_bounded_out: bool,
    is_outside_session: bool,
}

impl OwnSide {
    fn limits(&self) -> Option<PolicySource> {
        match self {
            Self { is_bounded_out: true, .. } => Some(PolicySource::Boundary),
            Self { is_outside_session: true, .. } => Some(PolicySource::Session),
            _ => None,
        }
    }

    fn decision(&self) -> Decision {
        match (self.identity, self.limits()) {
            (None, _) => Decision::ImplicitDeny(PolicySource::Identity),
            (Some(_), Some(source)) => Decision::ImplicitDeny(source),
            (Some(reason), None) => Decision::Allow(reason),
        }
    }
}

fn own_side(facts: &Facts<'_>, identity: &Policies) -> OwnSide {
    let principal = facts.request.principal;
    let is_root = principal.kind == PrincipalKind::AccountRoot;
    let has_policies = !is_root && !principal.is_anonymous();
    let mut own = OwnSide { deny: None, identity: None, is_bounded_out: false, is_outside_session: false };
    if has_policies {
        let verdict = side(&identity.identity, PolicySource::Identity, facts);
        own.deny = verdict.deny;
        own.identity = verdict.allow.map(Reason::Statement);
        if let Some(boundary) = &identity.boundary {
            let verdict = side(std::slice::from_ref(boundary), PolicySource::Boundary, facts);
            own.deny = own.deny.or(verdict.deny);
            own.is_bounded_out = verdict.allow.is_none();
        }
    } else if is_root {
        own.identity = Some(Reason::Root);
    }
    if let Some(session) = principal.session.as_ref().filter(|session| !session.policies.is_empty()) {
        let verdict = side(&session.policies, PolicySource::Session, facts);
        own.deny = own.deny.or(verdict.deny);
        own.is_outside_session = verdict.allow.is_none();
    }
    own
}

fn side(policies: &[Arc<Policy>], source: PolicySource, facts: &Facts<'_>) -> Verdict {
    let mut verdict = Verdict::default();
    for (policy_index, policy) in policies.iter().enumerate() {
        for (statement_index, statement) in policy.statements.iter().enumerate() {
            let slot = match statement.effect {
                Effect::Allow => &mut verdict.allow,
                Effect::Deny => &mut verdict.deny,
                Effect::Limit => continue,
            };
            if slot.is_none() && statement.applies(facts) {
                *slot = Some(Cause { source, policy: policy_index, statement: statement_index });
            }
        }
        if verdict.deny.is_some() {
            break;
        }
    }
    verdict
}

/// What a resource policy says: the first deny, and the allow that reaches the caller most directly.
#[derive(Clone, Copy, Default)]
struct ResourceVerdict {
    deny: Option<Cause>,
    allow: Option<(Reach, Cause)>,
}

fn resource_side(policy: &Policy, facts: &Facts<'_>) -> ResourceVerdict {
    let principal = facts.request.principal;
    let mut verdict = ResourceVerdict::default();
    for (statement_index, statement) in policy.statements.iter().enumerate() {
        // A policy without principals is an identity policy: it names nobody.
        let Some(principals) = &statement.principals else { continue };
        let cause = Cause { source: PolicySource::Resource, policy: 0, statement: statement_index };
        match statement.effect {
            Effect::Deny => {
                if verdict.deny.is_none() && principals.denies(principal) && statement.applies(facts) {
                    verdict.deny = Some(cause);
                }
            }
            Effect::Allow => {
                let reach = principals.reach(principal);
                let best = verdict.allow.map_or(Reach::None, |(reach, _)| reach);
                if reach > best && statement.applies(facts) {
                    verdict.allow = Some((reach, cause));
                }
            }
            Effect::Limit => {}
        }
    }
    verdict
}

fn grant_reach(grant: Grant) -> Reach {
    match grant {
        Grant::None => Reach::None,
        Grant::Account => Reach::Account,
        Grant::Direct => Reach::Direct,
    }
}
