//! Whether a resource policy opens a resource to the public, as S3's Block Public Access means it.

use crate::condition::{Condition, Operands};
use crate::policy::{Effect, Policy, Statement};
use crate::principal_match::Entry;

/// Keys that narrow a grant to somebody when they are held to fixed values.
/// <https://docs.aws.amazon.com/AmazonS3/latest/userguide/access-control-block-public-access.html>
const NARROWING_KEYS: [&str; 14] = [
    "aws:principalarn",
    "aws:principalaccount",
    "aws:principalorgid",
    "aws:principalorgpaths",
    "aws:sourceip",
    "aws:sourcearn",
    "aws:sourceaccount",
    "aws:sourceowner",
    "aws:sourceorgid",
    "aws:sourcevpc",
    "aws:sourcevpce",
    "aws:userid",
    "s3:dataaccesspointarn",
    "s3:dataaccesspointaccount",
];

impl Policy {
    /// True if some statement allows something to everyone, or to whom it does not pin down.
    pub fn is_public(&self) -> bool {
        self.statements.iter().any(Statement::is_public)
    }
}

impl Statement {
    fn is_public(&self) -> bool {
        let is_open = self.principals.as_ref().is_some_and(|principals| principals.entries.contains(&Entry::Everyone));
        self.effect == Effect::Allow && is_open && !self.conditions.iter().any(narrows)
    }
}

fn narrows(condition: &Condition) -> bool {
    if condition.is_open() || !NARROWING_KEYS.contains(&&*condition.key.name) {
        return false;
    }
    match &condition.operands {
        Operands::Patterns(patterns) => patterns.iter().all(|pattern| pattern.literal().is_some()),
        Operands::Arns(patterns) => patterns.iter().flatten().all(|pattern| {
            pattern.is_fixed() || (&*condition.key.name == "s3:dataaccesspointarn" && pattern.has_fixed_account())
        }),
        Operands::Networks(networks) => networks.iter().all(|network| !network.is_wide()),
        _ => false,
    }
}
