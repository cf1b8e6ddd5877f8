//! A compiled policy document.

use crate::condition::Condition;
use crate::error::PolicyError;
use crate::facts::Facts;
use crate::key::ConditionKey;
use crate::parse;
use crate::pattern::Pattern;
use crate::principal_match::{Entry, Principals};
use crate::quota::QuotaKey;

/// The largest document that is compiled. AWS's own limits are lower (20 KiB of a bucket, 6,144 characters of a
/// managed policy) and for the caller to hold, who knows which applies.
pub const POLICY_BYTES_MAX: usize = 64 * 1024;
/// The most statements of one document.
pub const STATEMENTS_MAX: usize = 512;

/// What a document is attached to: that decides which elements it must and must not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PolicyKind {
    /// Of a user, group or role; also permission boundaries and session policies. No Principal.
    Identity,
    /// Of a resource, such as a bucket. Principal and Resource.
    Resource,
    /// Of a role: who may take it. Principal, no Resource.
    Trust,
    /// Of a key of the key service. Principal and Resource; without it not even the account's root user is allowed.
    Key,
}

/// What a statement does to the requests that it matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Effect {
    /// They may go on, unless another statement denies them.
    Allow,
    /// They are refused, whatever else allows them.
    Deny,
    /// They neither allow nor deny: they set a [quota](crate::quota).
    Limit,
}

/// A compiled policy: immutable, and cheap to evaluate and to share (`Arc<Policy>`).
///
/// ```
/// use karri_iam_policy::{Policy, PolicyKind};
/// let text = r#"{"Version": "2012-10-17", "Statement": [
///     {"Effect": "Allow", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::photos/${aws:username}/*"}]}"#;
/// let policy = Policy::parse(text, PolicyKind::Identity)?;
/// assert_eq!(policy.statements().len(), 1);
/// let error = Policy::parse(r#"{"Statement": [{"Effect": "Maybe"}]}"#, PolicyKind::Identity).unwrap_err();
/// assert_eq!(error.to_string(), "Invalid effect: Maybe (line 1, column 27)");
/// # Ok::<(), karri_iam_policy::PolicyError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Policy {
    pub(crate) kind: PolicyKind,
    pub(crate) id: Option<String>,
    pub(crate) statements: Vec<Statement>,
    /// Whether a statement sets a quota.
    pub(crate) has_limits: bool,
}

/// One compiled statement.
#[derive(Clone, Debug)]
pub struct Statement {
    pub(crate) sid: Option<String>,
    pub(crate) effect: Effect,
    pub(crate) span: Span,
    pub(crate) principals: Option<Principals>,
    pub(crate) actions: Matcher,
    /// Absent in a trust policy, whose resource is the role itself.
    pub(crate) resources: Option<Matcher>,
    pub(crate) conditions: Vec<Condition>,
    /// Of a Limit.
    pub(crate) limits: Vec<(QuotaKey, u64)>,
}

/// Where a statement is in its document: lines and columns from 1, the end exclusive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// Line and column of the opening brace.
    pub start: (usize, usize),
    /// Line and column behind the closing brace.
    pub end: (usize, usize),
}

/// Patterns of which one must match, or none.
#[derive(Clone, Debug)]
pub(crate) struct Matcher {
    pub(crate) is_negated: bool,
    pub(crate) patterns: Vec<Pattern>,
}

impl Matcher {
    pub(crate) fn matches(&self, text: &str, facts: &Facts<'_>) -> bool {
        self.patterns.iter().any(|pattern| pattern.matches(text, facts)) != self.is_negated
    }
}

impl Policy {
    /// Compiles a document. The error's text is AWS's, with the place.
    pub fn parse(text: &str, kind: PolicyKind) -> Result<Self, PolicyError> {
        parse::policy(text, kind)
    }

    /// Whether it decides nothing: every statement sets a quota.
    pub fn only_sets_quotas(&self) -> bool {
        self.statements.iter().all(|statement| statement.effect == Effect::Limit)
    }

    /// What it was compiled as.
    pub fn kind(&self) -> PolicyKind {
        self.kind
    }

    /// The document's `Id`.
    pub fn id(&self) -> Option<&str> {
        self.id.as_deref()
    }

    /// Its statements, in the document's order.
    pub fn statements(&self) -> &[Statement] {
        &self.statements
    }

    /// Condition keys (in lower case) that its conditions and variables ask for, with repetitions. A caller for whom
    /// a key is dear to find out looks here first; see also [`Policy::asks_for`].
    pub fn condition_keys(&self) -> impl Iterator<Item = &str> {
        self.statements.iter().flat_map(Statement::keys).map(|key| &*key.name)
    }

    /// True if it asks for a key that begins with `prefix`, such as `s3:ExistingObjectTag/`.
    pub fn asks_for(&self, prefix: &str) -> bool {
        self.condition_keys().any(|key| key.get(..prefix.len()).is_some_and(|head| head.eq_ignore_ascii_case(prefix)))
    }
}

impl Statement {
    /// Its `Sid`.
    pub fn sid(&self) -> Option<&str> {
        self.sid.as_deref()
    }

    /// Allow, Deny or Limit.
    pub fn effect(&self) -> Effect {
        self.effect
    }

    /// Where it is in its document.
    pub fn span(&self) -> Span {
        self.span
    }

    /// The texts under `Action`, or under `NotAction` if [`Statement::is_not_action`].
    pub fn actions(&self) -> impl Iterator<Item = &str> {
        self.actions.patterns.iter().map(|pattern| &*pattern.text)
    }

    /// True if the actions are those that it is *not* about.
    pub fn is_not_action(&self) -> bool {
        self.actions.is_negated
    }

    /// The texts under `Resource` or `NotResource`; none in a trust policy.
    pub fn resources(&self) -> impl Iterator<Item = &str> {
        self.resources.iter().flat_map(|matcher| matcher.patterns.iter().map(|pattern| &*pattern.text))
    }

    /// The accounts, ARNs and ids under `AWS` in `Principal` or `NotPrincipal`, without `*`: whoever keeps the
    /// policy may check that they exist.
    pub fn aws_principals(&self) -> impl Iterator<Item = &str> {
        let entries = self.principals.iter().flat_map(|principals| &principals.entries);
        entries.filter_map(|entry| match entry {
            Entry::Account(text) | Entry::Arn(text) | Entry::UniqueId(text) => Some(text.as_str()),
            _ => None,
        })
    }

    /// The ids under `CanonicalUser`.
    pub fn canonical_users(&self) -> impl Iterator<Item = &str> {
        let entries = self.principals.iter().flat_map(|principals| &principals.entries);
        entries.filter_map(|entry| match entry {
            Entry::CanonicalUser(id) => Some(id.as_str()),
            _ => None,
        })
    }

    /// The names under `Service`.
    pub fn services(&self) -> impl Iterator<Item = &str> {
        let entries = self.principals.iter().flat_map(|principals| &principals.entries);
        entries.filter_map(|entry| match entry {
            Entry::Service(name) => Some(name.as_str()),
            _ => None,
        })
    }

    fn keys(&self) -> impl Iterator<Item = &ConditionKey> {
        let conditions = self.conditions.iter().flat_map(Condition::keys);
        let resources = self.resources.iter().flat_map(|matcher| matcher.patterns.iter().flat_map(Pattern::keys));
        conditions.chain(resources)
    }

    /// True if action, resource and conditions are met; the principal is another question.
    pub(crate) fn applies(&self, facts: &Facts<'_>) -> bool {
        self.actions.matches(facts.request.action, facts)
            && self.resources.as_ref().is_none_or(|resources| resources.matches(facts.request.resource, facts))
            && self.conditions.iter().all(|condition| condition.holds(facts))
    }
}
