//! From a document to a compiled policy.

use std::collections::HashSet;

use crate::condition::{Condition, Form, Operands};
use crate::error::{PolicyError, PolicyErrorKind};
use crate::json::{self, Member, Node, Value};
use crate::key::ConditionKey;
use crate::parse_principal;
use crate::pattern::{Pattern, Syntax};
use crate::policy::{Effect, Matcher, POLICY_BYTES_MAX, Policy, PolicyKind, STATEMENTS_MAX, Span, Statement};
use crate::quota::QuotaKey;

pub(crate) type Result<T> = std::result::Result<T, PolicyError>;

/// Compiles `text`.
pub(crate) fn policy(text: &str, kind: PolicyKind) -> Result<Policy> {
    let document = Document { text, kind };
    if text.len() > POLICY_BYTES_MAX {
        return Err(document.error(POLICY_BYTES_MAX, PolicyErrorKind::TooLarge("too many bytes")));
    }
    let root = json::parse(text)?;
    let members = document.object(&root, "a policy")?;
    let mut version = None;
    let mut id = None;
    let mut statements = None;
    for member in members {
        match member.name.as_str() {
            "Version" => version = Some(&member.node),
            "Id" => id = Some(document.string(&member.node, "Id")?.to_owned()),
            "Statement" => statements = Some(&member.node),
            _ => return Err(document.error(member.at, PolicyErrorKind::UnknownField(member.name.clone()))),
        }
    }
    let variables = match version {
        Some(node) => document.version(node)?,
        None => false,
    };
    let missing = || document.error(root.at, PolicyErrorKind::MissingField("Statement"));
    let nodes = one_or_many(statements.ok_or_else(missing)?);
    if nodes.is_empty() {
        return Err(missing());
    }
    if nodes.len() > STATEMENTS_MAX {
        return Err(document.error(root.at, PolicyErrorKind::TooLarge("too many statements")));
    }
    let statements = nodes.iter().map(|node| document.statement(node, variables)).collect::<Result<Vec<_>>>()?;
    document.check_sids(nodes, &statements)?;
    let has_limits = statements.iter().any(|statement| statement.effect == Effect::Limit);
    Ok(Policy { kind, id, statements, has_limits })
}

/// A list, or one value in place of a list.
pub(crate) fn one_or_many(node: &Node) -> &[Node] {
    match &node.value {
        Value::List(nodes) => nodes,
        _ => std::slice::from_ref(node),
    }
}

/// The document that is read, for the places in errors.
#[derive(Clone, Copy)]
pub(crate) struct Document<'a> {
    pub(crate) text: &'a str,
    kind: PolicyKind,
}

/// The elements of one statement, found by name.
#[derive(Default)]
struct Elements<'n> {
    sid: Option<&'n Node>,
    effect: Option<&'n Node>,
    principal: Option<(&'n Node, bool)>,
    action: Option<(&'n Node, bool)>,
    resource: Option<(&'n Node, bool)>,
    condition: Option<&'n Node>,
}

impl Document<'_> {
    pub(crate) fn error(&self, at: usize, kind: PolicyErrorKind) -> PolicyError {
        json::error_at(self.text, at, kind)
    }

    pub(crate) fn object<'n>(&self, node: &'n Node, what: &str) -> Result<&'n [Member]> {
        match &node.value {
            Value::Object(members) => Ok(members),
            _ => Err(self.error(node.at, PolicyErrorKind::Syntax(format!("{what} must be an object")))),
        }
    }

    pub(crate) fn string<'n>(&self, node: &'n Node, what: &str) -> Result<&'n str> {
        match &node.value {
            Value::String(text) => Ok(text),
            _ => Err(self.error(node.at, PolicyErrorKind::Syntax(format!("{what} must be a string")))),
        }
    }

    /// A list of strings that is not empty, or one string.
    pub(crate) fn strings<'n>(&self, node: &'n Node, what: &'static str) -> Result<Vec<(&'n Node, &'n str)>> {
        let nodes = one_or_many(node);
        if nodes.is_empty() {
            return Err(self.error(node.at, PolicyErrorKind::MissingField(what)));
        }
        nodes.iter().map(|node| Ok((node, self.string(node, what)?))).collect()
    }

    /// True if the version knows variables.
    fn version(&self, node: &Node) -> Result<bool> {
        match &node.value {
            Value::String(text) if text == "2012-10-17" => Ok(true),
            Value::String(text) if text == "2008-10-17" => Ok(false),
            _ => Err(self.error(node.at, PolicyErrorKind::Version)),
        }
    }

    fn elements<'n>(&self, members: &'n [Member]) -> Result<Elements<'n>> {
        let mut found = Elements::default();
        for member in members {
            let node = &member.node;
            let (slot, is_negated) = match member.name.as_str() {
                "Sid" => {
                    found.sid = Some(node);
                    continue;
                }
                "Effect" => {
                    found.effect = Some(node);
                    continue;
                }
                "Condition" => {
                    found.condition = Some(node);
                    continue;
                }
                "Principal" => (&mut found.principal, false),
                "NotPrincipal" => (&mut found.principal, true),
                "Action" => (&mut found.action, false),
                "NotAction" => (&mut found.action, true),
                "Resource" => (&mut found.resource, false),
                "NotResource" => (&mut found.resource, true),
                _ => return Err(self.error(member.at, PolicyErrorKind::UnknownField(member.name.clone()))),
            };
            if slot.replace((node, is_negated)).is_some() {
                return Err(self.error(member.at, PolicyErrorKind::Conflict(member.name.clone())));
            }
        }
        Ok(found)
    }

    fn statement(&self, node: &Node, variables: bool) -> Result<Statement> {
        let found = self.elements(self.object(node, "a statement")?)?;
        let missing = |field| self.error(node.at, PolicyErrorKind::MissingField(field));
        let sid = found.sid.map(|sid| self.sid(sid)).transpose()?;
        let effect = self.effect(found.effect.ok_or_else(|| missing("Effect"))?)?;
        let principals = match (self.kind, found.principal) {
            (PolicyKind::Identity, Some((at, _))) => {
                return Err(self.error(at.at, PolicyErrorKind::ProhibitedField("Principal")));
            }
            (PolicyKind::Identity, None) => None,
            (_, None) => return Err(missing("Principal")),
            (_, Some((at, true))) if effect == Effect::Allow => {
                return Err(self.error(at.at, PolicyErrorKind::AllowNotPrincipal));
            }
            (_, Some((at, is_negated))) => Some(parse_principal::principals(self, at, is_negated)?),
        };
        let (action, is_not_action) = found.action.ok_or_else(|| missing("Action"))?;
        let actions = self.actions(action, is_not_action)?;
        let resources = match (self.kind, found.resource) {
            (PolicyKind::Trust, Some((at, _))) => {
                return Err(self.error(at.at, PolicyErrorKind::ProhibitedField("Resource")));
            }
            (PolicyKind::Trust, None) => None,
            (_, None) => return Err(missing("Resource")),
            (_, Some((at, is_negated))) => Some(self.resources(at, is_negated, variables)?),
        };
        let mut limits = Vec::new();
        let conditions = match found.condition {
            Some(block) => self.conditions(block, variables, (effect == Effect::Limit).then_some(&mut limits))?,
            None => Vec::new(),
        };
        if effect == Effect::Limit && limits.is_empty() {
            return Err(missing("Condition with a quota key"));
        }
        let span = Span { start: self.place(node.at), end: self.place(node.end) };
        Ok(Statement { sid, effect, span, principals, actions, resources, conditions, limits })
    }

    fn place(&self, at: usize) -> (usize, usize) {
        let error = self.error(at, PolicyErrorKind::Version);
        (error.line, error.column)
    }

    fn sid(&self, node: &Node) -> Result<String> {
        let sid = self.string(node, "Sid")?;
        // Resource policies take any text.
        if !matches!(self.kind, PolicyKind::Resource | PolicyKind::Key)
            && !sid.bytes().all(|b| b.is_ascii_alphanumeric())
        {
            return Err(self.error(node.at, PolicyErrorKind::SidCharacters));
        }
        Ok(sid.to_owned())
    }

    fn check_sids(&self, nodes: &[Node], statements: &[Statement]) -> Result<()> {
        let mut seen = HashSet::new();
        for (node, statement) in nodes.iter().zip(statements) {
            let sid = statement.sid.as_deref().filter(|sid| !sid.is_empty());
            if sid.is_some_and(|sid| !seen.insert(sid)) {
                return Err(self.error(node.at, PolicyErrorKind::SidNotUnique));
            }
        }
        Ok(())
    }

    fn effect(&self, node: &Node) -> Result<Effect> {
        match self.string(node, "Effect")? {
            "Allow" => Ok(Effect::Allow),
            "Deny" => Ok(Effect::Deny),
            // Eucalyptus writes it either way. A quota is of a caller, not of a resource.
            "Limit" | "limit" if self.kind == PolicyKind::Identity => Ok(Effect::Limit),
            other => Err(self.error(node.at, PolicyErrorKind::Effect(other.to_owned()))),
        }
    }

    fn actions(&self, node: &Node, is_negated: bool) -> Result<Matcher> {
        let syntax = Syntax { wildcards: true, variables: false, ignore_case: true };
        let compile = |(node, text): (&Node, &str)| {
            let is_valid = match text.split_once(':') {
                Some((vendor, name)) => !vendor.is_empty() && !name.is_empty() && !name.contains(':') && is_plain(text),
                None => text == "*",
            };
            if !is_valid {
                return Err(self.error(node.at, PolicyErrorKind::Action(text.to_owned())));
            }
            if self.kind == PolicyKind::Trust && !text.to_ascii_lowercase().starts_with("sts:") {
                return Err(self.error(node.at, PolicyErrorKind::TrustAction(text.to_owned())));
            }
            Pattern::compile(text, syntax).map_err(|kind| self.error(node.at, kind))
        };
        let patterns = self.strings(node, "Action")?.into_iter().map(compile).collect::<Result<_>>()?;
        Ok(Matcher { is_negated, patterns })
    }

    /// Matched as whole texts: AWS lets a `*` at the end of an ARN's segment match beyond colons ("Using wildcards in
    /// resource ARNs", IAM User Guide).
    fn resources(&self, node: &Node, is_negated: bool, variables: bool) -> Result<Matcher> {
        let syntax = Syntax { wildcards: true, variables, ignore_case: false };
        let compile = |(node, text): (&Node, &str)| {
            let is_arn = text.strip_prefix("arn:").is_some_and(|rest| rest.contains(':'));
            if text != "*" && !is_arn {
                return Err(self.error(node.at, PolicyErrorKind::Resource(text.to_owned())));
            }
            Pattern::compile(text, syntax).map_err(|kind| self.error(node.at, kind))
        };
        let patterns = self.strings(node, "Resource")?.into_iter().map(compile).collect::<Result<_>>()?;
        Ok(Matcher { is_negated, patterns })
    }

    /// `limits` takes the quotas of a statement that sets some.
    fn conditions(
        &self,
        block: &Node,
        variables: bool,
        mut limits: Option<&mut Vec<(QuotaKey, u64)>>,
    ) -> Result<Vec<Condition>> {
        let mut conditions = Vec::new();
        for operator in self.object(block, "Condition")? {
            let form = Form::parse(&operator.name)
                .ok_or_else(|| self.error(operator.at, PolicyErrorKind::Operator(operator.name.clone())))?;
            for key in self.object(&operator.node, "a condition")? {
                // Keys need a vendor; one that nobody knows is simply never there.
                if !key.name.split_once(':').is_some_and(|(vendor, name)| !vendor.is_empty() && !name.is_empty()) {
                    return Err(self.error(key.at, PolicyErrorKind::ConditionKey(key.name.clone())));
                }
                let nodes = one_or_many(&key.node);
                let values = nodes.iter().map(|node| self.condition_value(node)).collect::<Result<Vec<_>>>()?;
                if values.is_empty() {
                    return Err(self.error(key.node.at, PolicyErrorKind::MissingField("a condition's value")));
                }
                if let Some(limits) = limits.as_deref_mut()
                    && is_quota(&key.name)
                {
                    limits.push(self.limit(&operator.name, key, nodes, &values)?);
                    continue;
                }
                let operands = Operands::compile(form.base, &operator.name, &values, variables)
                    .map_err(|(at, kind)| self.error(nodes[at].at, kind))?;
                conditions.push(Condition::new(form, ConditionKey::new(&key.name), operands));
            }
        }
        Ok(conditions)
    }

    fn limit(&self, operator: &str, key: &Member, nodes: &[Node], values: &[&str]) -> Result<(QuotaKey, u64)> {
        if !operator.eq_ignore_ascii_case("NumericLessThanEquals") {
            return Err(self.error(key.at, PolicyErrorKind::Operator(operator.to_owned())));
        }
        // A quota that nobody would enforce is refused.
        let known = QuotaKey::parse(&key.name);
        let known = known.ok_or_else(|| self.error(key.at, PolicyErrorKind::QuotaKey(key.name.clone())))?;
        match values {
            [value] if value.bytes().all(|byte| byte.is_ascii_digit()) => value.parse().ok(),
            _ => None,
        }
        .map(|limit| (known, limit))
        .ok_or_else(|| {
            let value = values.join(", ");
            self.error(nodes[0].at, PolicyErrorKind::ConditionValue { operator: operator.to_owned(), value })
        })
    }

    fn condition_value<'n>(&self, node: &'n Node) -> Result<&'n str> {
        match &node.value {
            Value::String(text) | Value::Bare(text) => Ok(text),
            _ => Err(self.error(node.at, PolicyErrorKind::Syntax("a condition's value must be a string".to_owned()))),
        }
    }
}

fn is_quota(key: &str) -> bool {
    key.split_once(':').is_some_and(|(_, name)| name.get(..6).is_some_and(|head| head.eq_ignore_ascii_case("quota-")))
}

fn is_plain(action: &str) -> bool {
    action.bytes().all(|b| b.is_ascii_alphanumeric() || b":-_*?".contains(&b))
}
