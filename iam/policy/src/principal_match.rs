//! `Principal` and `NotPrincipal`: whom a statement names, and how directly.

use crate::principal::{Principal, PrincipalKind};

/// Whom a statement is about.
#[derive(Clone, Debug)]
pub(crate) struct Principals {
    pub(crate) is_negated: bool,
    pub(crate) entries: Vec<Entry>,
}

/// One named principal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Entry {
    Everyone,
    /// An account by its id or its root user's ARN.
    Account(String),
    /// A user, role, session or federated user.
    Arn(String),
    /// `AIDA...` or `AROA...`: what AWS keeps of a principal, so that a later one of the same name is another.
    UniqueId(String),
    CanonicalUser(String),
    Federated(String),
    Service(String),
}

/// How a statement reaches a principal: the ways differ in what else must allow the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Reach {
    /// Not at all.
    None,
    /// Through its account: the account's own policies must allow it too.
    Account,
    /// Through its role: boundary and session policies still limit it.
    Role,
    /// Itself.
    Direct,
}

impl Entry {
    pub(crate) fn reach(&self, principal: &Principal) -> Reach {
        let is = |matches: bool, reach| if matches { reach } else { Reach::None };
        match self {
            Self::Everyone => Reach::Direct,
            Self::Account(id) => {
                let reach = if principal.kind == PrincipalKind::AccountRoot { Reach::Direct } else { Reach::Account };
                is(*id == principal.account_id, reach)
            }
            Self::CanonicalUser(id) => {
                let reach = if principal.kind == PrincipalKind::AccountRoot { Reach::Direct } else { Reach::Account };
                is(*id == principal.canonical_id, reach)
            }
            Self::Arn(arn) => match &principal.kind {
                PrincipalKind::AssumedRole { role_arn, .. } if arn == role_arn => Reach::Role,
                PrincipalKind::WebIdentity { .. } | PrincipalKind::Service { .. } => Reach::None,
                _ => is(*arn == principal.arn, Reach::Direct),
            },
            Self::UniqueId(id) => match &principal.kind {
                PrincipalKind::AssumedRole { role_id, .. } if id == role_id => Reach::Role,
                _ => is(*id == principal.unique_id, Reach::Direct),
            },
            Self::Federated(name) => is(
                matches!(&principal.kind, PrincipalKind::WebIdentity { provider } if provider == name),
                Reach::Direct,
            ),
            Self::Service(service) => {
                is(matches!(&principal.kind, PrincipalKind::Service { name } if name == service), Reach::Direct)
            }
        }
    }
}

impl Principals {
    /// How an Allow reaches `principal`.
    pub(crate) fn reach(&self, principal: &Principal) -> Reach {
        // An Allow with NotPrincipal does not compile.
        if self.is_negated {
            return Reach::None;
        }
        self.entries.iter().map(|entry| entry.reach(principal)).max().unwrap_or(Reach::None)
    }

    /// True if a Deny is about `principal`. Under NotPrincipal a caller is spared only if all that it is is listed:
    /// its account and itself, and of a role's session the role as well.
    pub(crate) fn denies(&self, principal: &Principal) -> bool {
        if !self.is_negated {
            return self.reach(principal) != Reach::None;
        }
        let has = |reach| self.entries.iter().any(|entry| entry.reach(principal) == reach);
        if self.entries.contains(&Entry::Everyone) {
            return false;
        }
        let is_spared = match &principal.kind {
            PrincipalKind::AssumedRole { .. } => has(Reach::Account) && has(Reach::Role) && has(Reach::Direct),
            PrincipalKind::User | PrincipalKind::FederatedUser => has(Reach::Account) && has(Reach::Direct),
            _ => has(Reach::Direct),
        };
        !is_spared
    }
}
