//! The values of condition keys for one request: of the principal, of the clock, or of the context.

use std::borrow::Cow;

use crate::evaluate::Request;
use crate::key::{ConditionKey, KeySource, PRINCIPAL_TAG};
use crate::principal::PrincipalKind;
use crate::time;

/// Answers what a key's value is.
pub(crate) struct Facts<'a> {
    pub(crate) request: &'a Request<'a>,
}

/// One value. Times and numbers are turned into text only where an operator asks for text.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Scalar<'a> {
    Text(&'a str),
    Time(i64),
    Number(i64),
    Flag(bool),
}

impl<'a> Scalar<'a> {
    pub(crate) fn text(self) -> Cow<'a, str> {
        match self {
            Self::Text(text) => Cow::Borrowed(text),
            Self::Time(seconds) => Cow::Owned(time::format(seconds)),
            Self::Number(number) => Cow::Owned(number.to_string()),
            Self::Flag(flag) => Cow::Borrowed(if flag { "true" } else { "false" }),
        }
    }
}

/// The values of one key.
pub(crate) enum Found<'a> {
    One(Scalar<'a>),
    Borrowed(&'a [Cow<'a, str>]),
    Owned(&'a [String]),
    Missing,
}

impl<'a> Found<'a> {
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::One(_) => 1,
            Self::Borrowed(values) => values.len(),
            Self::Owned(values) => values.len(),
            Self::Missing => 0,
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = Scalar<'a>> + '_ {
        (0..self.len()).map(|at| match self {
            Self::One(value) => *value,
            Self::Borrowed(values) => Scalar::Text(&values[at]),
            Self::Owned(values) => Scalar::Text(&values[at]),
            Self::Missing => unreachable!("a missing key has no values"),
        })
    }
}

impl<'a> Facts<'a> {
    /// The values of `key`.
    pub(crate) fn values(&self, key: &ConditionKey) -> Found<'a> {
        let request = self.request;
        if let Some(values) = request.context.simulated(&key.name) {
            return Found::Borrowed(values);
        }
        if key.source != KeySource::Context {
            return self.principal(key).map_or(Found::Missing, Found::One);
        }
        let session = request.principal.session.as_ref();
        let claims = session.map(|session| &session.claims[..]).unwrap_or_default();
        if let Some((_, values)) = claims.iter().find(|(name, _)| name.eq_ignore_ascii_case(&key.name)) {
            return Found::Owned(values);
        }
        request.context.values(&key.name).map_or(Found::Missing, Found::Borrowed)
    }

    /// The value of a key that has exactly one: only those can stand in variables.
    pub(crate) fn single(&self, key: &ConditionKey) -> Option<Scalar<'a>> {
        let found = self.values(key);
        if found.len() == 1 { found.iter().next() } else { None }
    }

    fn principal(&self, key: &ConditionKey) -> Option<Scalar<'a>> {
        let principal = self.request.principal;
        let now = self.request.context.now_seconds();
        let text = |text: &'a str| (!text.is_empty()).then_some(Scalar::Text(text));
        match key.source {
            KeySource::UserName => text(&principal.name).filter(|_| principal.kind == PrincipalKind::User),
            KeySource::UserId => text(&principal.unique_id),
            KeySource::PrincipalArn => text(principal.principal_arn()),
            KeySource::PrincipalAccount if principal.is_anonymous() => text("anonymous"),
            KeySource::PrincipalAccount => text(&principal.account_id),
            KeySource::PrincipalType => text(match &principal.kind {
                PrincipalKind::AccountRoot => "Account",
                PrincipalKind::User => "User",
                PrincipalKind::AssumedRole { .. } => "AssumedRole",
                PrincipalKind::FederatedUser | PrincipalKind::WebIdentity { .. } => "FederatedUser",
                PrincipalKind::Service { .. } => "Service",
                PrincipalKind::Anonymous => "Anonymous",
            }),
            KeySource::PrincipalTag => {
                let name = &key.name[PRINCIPAL_TAG.len()..];
                let tag = principal.tags.iter().find(|(tag, _)| tag.eq_ignore_ascii_case(name));
                tag.map(|(_, value)| Scalar::Text(value))
            }
            KeySource::PrincipalIsService => {
                Some(Scalar::Flag(matches!(principal.kind, PrincipalKind::Service { .. })))
            }
            KeySource::PrincipalServiceName => match &principal.kind {
                PrincipalKind::Service { name } => text(name),
                _ => None,
            },
            KeySource::CurrentTime => Some(Scalar::Time(now)),
            KeySource::EpochTime => Some(Scalar::Number(now)),
            KeySource::ResourceAccount => text(self.request.resource_account),
            _ => self.session(key.source),
        }
    }

    fn session(&self, source: KeySource) -> Option<Scalar<'a>> {
        let session = self.request.principal.session.as_ref()?;
        match source {
            KeySource::SourceIdentity => session.source_identity.as_deref().map(Scalar::Text),
            // Absent for long-term keys, as AWS has it: only temporary credentials say yes or no.
            KeySource::MfaPresent => Some(Scalar::Flag(session.mfa_at_seconds.is_some())),
            KeySource::MfaAge => {
                let at = session.mfa_at_seconds?;
                Some(Scalar::Number(self.request.context.now_seconds().saturating_sub(at)))
            }
            KeySource::TokenIssueTime => Some(Scalar::Time(session.issued_at_seconds)),
            _ => None,
        }
    }
}
