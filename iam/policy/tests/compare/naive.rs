//! The second evaluator: slow, written from AWS's documentation alone, sharing no code with the crate.

use std::collections::HashMap;
use std::net::IpAddr;

use karri_iam_policy::PrincipalKind;

use crate::model::{Case, Document, NOW_SECONDS, NOW_TEXT, Statement};

/// The three answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Allow,
    ExplicitDeny,
    ImplicitDeny,
}

/// Mistakes that can be planted, to see that the comparison finds them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bug {
    None,
    ForAllValuesNeedsKey,
    SessionIgnored,
    AccountGrantIsDirect,
    VariablesInOldVersions,
    NegatedNeedsKey,
    NotPrincipalSparesByName,
}

pub(crate) struct Naive<'a> {
    case: &'a Case,
    keys: HashMap<String, Vec<String>>,
    bug: Bug,
}

pub(crate) fn decide(case: &Case, bug: Bug) -> Answer {
    Naive { case, keys: keys(case), bug }.decide()
}

fn keys(case: &Case) -> HashMap<String, Vec<String>> {
    let mut keys = HashMap::new();
    for (key, values) in &case.context {
        keys.insert(key.to_lowercase(), values.clone());
    }
    let principal = &case.principal;
    let mut put = |key: &str, value: &str| {
        keys.insert(key.to_owned(), vec![value.to_owned()]);
    };
    if principal.kind == PrincipalKind::User {
        put("aws:username", &principal.name);
    }
    put("aws:userid", &principal.unique_id);
    match &principal.kind {
        PrincipalKind::AssumedRole { role_arn, .. } => put("aws:principalarn", role_arn),
        _ if !principal.arn.is_empty() => put("aws:principalarn", &principal.arn),
        _ => {}
    }
    for (tag, value) in &principal.tags {
        put(&format!("aws:principaltag/{}", tag.to_lowercase()), value);
    }
    put("aws:currenttime", NOW_TEXT);
    if let Some(session) = &principal.session {
        assert_eq!(session.issued_at_seconds, NOW_SECONDS - 60);
        put("aws:tokenissuetime", "2023-11-14T22:12:20Z");
        put("aws:multifactorauthpresent", "false");
    }
    keys
}

impl Naive<'_> {
    fn decide(&self) -> Answer {
        let case = self.case;
        let kind = &case.principal.kind;
        let is_root = *kind == PrincipalKind::AccountRoot;
        let is_outsider = matches!(
            kind,
            PrincipalKind::Anonymous | PrincipalKind::Service { .. } | PrincipalKind::WebIdentity { .. }
        );
        let no_documents: Vec<Document> = Vec::new();
        let (identity, boundary) = match (is_root || kind == &PrincipalKind::Anonymous, &case.boundary) {
            (true, _) => (&no_documents, Vec::new()),
            (false, boundary) => (&case.identity, boundary.iter().cloned().collect()),
        };
        let resource: Vec<Document> = case.resource_policy.iter().cloned().collect();

        let own_denies = [identity, &boundary, &case.session].iter().any(|documents| self.any(documents, false));
        let resource_denies = resource.iter().any(|document| {
            document.statements.iter().any(|s| !s.is_allow && self.names_for_deny(s) && self.applies(document, s))
        });
        if own_denies || resource_denies {
            return Answer::ExplicitDeny;
        }
        let granted: Vec<&str> = resource
            .iter()
            .flat_map(|document| document.statements.iter().map(move |statement| (document, statement)))
            .filter(|(document, statement)| statement.is_allow && self.applies(document, statement))
            .flat_map(|(_, statement)| self.ways(statement))
            .collect();
        if case.is_trust && granted.is_empty() {
            return Answer::ImplicitDeny;
        }
        let answer = |is_allowed| if is_allowed { Answer::Allow } else { Answer::ImplicitDeny };
        if is_outsider {
            return answer(!granted.is_empty());
        }
        let in_boundary = boundary.is_empty() || self.any(&boundary, true);
        let in_session = case.session.is_empty() || self.any(&case.session, true) || self.bug == Bug::SessionIgnored;
        let has_identity = is_root || self.any(identity, true);
        let own_allows = has_identity && in_boundary && in_session;
        if case.principal.account_id != case.resource_account {
            return answer(own_allows && !granted.is_empty());
        }
        let is_direct = granted.contains(&"itself") || (self.bug == Bug::AccountGrantIsDirect && !granted.is_empty());
        let by_role = granted.contains(&"role") && in_boundary && in_session;
        answer(is_direct || by_role || own_allows)
    }

    fn any(&self, documents: &[Document], allow: bool) -> bool {
        documents
            .iter()
            .any(|document| document.statements.iter().any(|s| s.is_allow == allow && self.applies(document, s)))
    }

    /// The names by which a policy may call the caller, each with what naming it so means.
    fn names(&self) -> Vec<(&'static str, String, &'static str)> {
        let principal = &self.case.principal;
        let mut names = vec![("AWS", "*".to_owned(), "itself"), ("*", "*".to_owned(), "itself")];
        let by_account = if principal.kind == PrincipalKind::AccountRoot { "itself" } else { "account" };
        if !principal.account_id.is_empty() {
            names.push(("AWS", principal.account_id.clone(), by_account));
            names.push(("AWS", format!("arn:aws:iam::{}:root", principal.account_id), by_account));
            names.push(("CanonicalUser", principal.canonical_id.clone(), by_account));
        }
        match &principal.kind {
            PrincipalKind::User | PrincipalKind::FederatedUser => names.push(("AWS", principal.arn.clone(), "itself")),
            PrincipalKind::AssumedRole { role_arn, role_id, .. } => {
                names.push(("AWS", role_arn.clone(), "role"));
                names.push(("AWS", role_id.clone(), "role"));
                names.push(("AWS", principal.arn.clone(), "itself"));
            }
            PrincipalKind::Service { name } => names.push(("Service", name.clone(), "itself")),
            PrincipalKind::WebIdentity { provider } => names.push(("Federated", provider.clone(), "itself")),
            PrincipalKind::AccountRoot | PrincipalKind::Anonymous => {}
        }
        names
    }

    fn listed(&self, names: &[(String, String)]) -> Vec<&'static str> {
        let mine = self.names();
        let is_named = |(kind, name): &&(String, String)| mine.iter().find(|(k, n, _)| k == kind && n == name);
        names.iter().filter_map(|name| is_named(&name)).map(|(_, _, way)| *way).collect()
    }

    /// How an allowing statement reaches the caller.
    fn ways(&self, statement: &Statement) -> Vec<&'static str> {
        let (is_negated, names) = statement.principals.as_ref().expect("a resource policy names principals");
        let listed = self.listed(names);
        match (is_negated, listed.is_empty()) {
            (false, _) => listed,
            (true, true) => vec!["itself"],
            (true, false) => Vec::new(),
        }
    }

    fn names_for_deny(&self, statement: &Statement) -> bool {
        let (is_negated, names) = statement.principals.as_ref().expect("a resource policy names principals");
        let listed = self.listed(names);
        if !is_negated {
            return !listed.is_empty();
        }
        if names.iter().any(|(_, name)| name == "*") {
            return false;
        }
        let needed: &[&str] = match &self.case.principal.kind {
            _ if self.bug == Bug::NotPrincipalSparesByName => &["itself"],
            PrincipalKind::AssumedRole { .. } => &["account", "role", "itself"],
            PrincipalKind::User | PrincipalKind::FederatedUser => &["account", "itself"],
            _ => &["itself"],
        };
        !needed.iter().all(|way| listed.contains(way))
    }

    fn applies(&self, document: &Document, statement: &Statement) -> bool {
        let variables = document.has_variables || self.bug == Bug::VariablesInOldVersions;
        let action = self.case.action.to_lowercase();
        let has_action = statement.actions.1.iter().any(|pattern| glob(&chars(&pattern.to_lowercase()), &action));
        let has_resource = statement.resources.as_ref().is_none_or(|(is_negated, patterns)| {
            let is_match = |pattern: &String| {
                self.substitute(pattern, variables, true).is_some_and(|pattern| glob(&pattern, &self.case.resource))
            };
            patterns.iter().any(is_match) != *is_negated
        });
        has_action != statement.actions.0
            && has_resource
            && statement
                .conditions
                .iter()
                .all(|(operator, key, values)| self.condition(operator, key, values, variables))
    }

    /// The pattern as characters; wildcards are marked `None` for `*` and `Some(None)` for `?`.
    fn substitute(&self, pattern: &str, variables: bool, wildcards: bool) -> Option<Vec<Unit>> {
        let mut units = Vec::new();
        let mut rest = pattern.to_owned();
        while !rest.is_empty() {
            if variables && rest.starts_with("${") {
                let end = rest.find('}').expect("variables are closed");
                let inner = rest[2..end].to_owned();
                rest = rest[end + 1..].to_owned();
                let value = match inner.split_once(',') {
                    _ if inner == "*" => Some("*".to_owned()),
                    Some((key, default)) => {
                        Some(self.value(key.trim()).unwrap_or_else(|| default.trim().trim_matches('\'').to_owned()))
                    }
                    None => self.value(&inner),
                };
                units.extend(value?.chars().map(Unit::Is));
                continue;
            }
            let c = rest.remove(0);
            units.push(match c {
                '*' if wildcards => Unit::Run,
                '?' if wildcards => Unit::One,
                c => Unit::Is(c),
            });
        }
        Some(units)
    }

    fn value(&self, key: &str) -> Option<String> {
        self.keys.get(&key.to_lowercase()).filter(|values| values.len() == 1).map(|values| values[0].clone())
    }

    fn condition(&self, operator: &str, key: &str, wanted: &[String], variables: bool) -> bool {
        let mut name = operator.to_owned();
        let present = self.keys.get(&key.to_lowercase());
        if name == "Null" {
            return wanted.contains(&present.is_none().to_string());
        }
        let for_all = name.starts_with("ForAllValues:");
        let for_any = name.starts_with("ForAnyValue:");
        name = name.replace("ForAllValues:", "").replace("ForAnyValue:", "");
        let if_exists = name.ends_with("IfExists");
        name = name.replace("IfExists", "");
        let is_negated = name.contains("Not");
        name = name.replace("Not", "");
        let Some(values) = present else {
            if if_exists {
                return true;
            }
            if for_all {
                return self.bug != Bug::ForAllValuesNeedsKey;
            }
            return !for_any && is_negated && self.bug != Bug::NegatedNeedsKey;
        };
        let equal = |value: &String| wanted.iter().any(|wanted| self.compare(&name, value, wanted, variables));
        if for_all {
            values.iter().all(|value| equal(value) != is_negated)
        } else if for_any {
            values.iter().any(|value| equal(value) != is_negated)
        } else {
            values.iter().any(equal) != is_negated
        }
    }

    fn compare(&self, name: &str, value: &str, wanted: &str, variables: bool) -> bool {
        match name {
            "StringEquals" => self.substitute(wanted, variables, false).is_some_and(|w| glob(&w, value)),
            "StringEqualsIgnoreCase" => self.substitute(wanted, variables, false).is_some_and(|w| {
                let lower = |unit: &Unit| match unit {
                    Unit::Is(c) => Unit::Is(c.to_ascii_lowercase()),
                    other => *other,
                };
                glob(&w.iter().map(lower).collect::<Vec<_>>(), &value.to_lowercase())
            }),
            "StringLike" => self.substitute(wanted, variables, true).is_some_and(|w| glob(&w, value)),
            "ArnEquals" | "ArnLike" => arn_like(wanted, value),
            "Bool" => value == wanted,
            "IpAddress" => in_network(value, wanted),
            _ => {
                let (value, wanted) = if name.starts_with("Date") {
                    (Some(seconds(value)), seconds(wanted))
                } else {
                    (value.parse::<f64>().ok(), wanted.parse().expect("a number"))
                };
                let Some(value) = value else { return false };
                match name.trim_start_matches("Date").trim_start_matches("Numeric") {
                    "Equals" => value == wanted,
                    "LessThan" => value < wanted,
                    "LessThanEquals" => value <= wanted,
                    "GreaterThan" => value > wanted,
                    "GreaterThanEquals" => value >= wanted,
                    other => panic!("operator {other}"),
                }
            }
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Unit {
    Is(char),
    One,
    Run,
}

fn chars(pattern: &str) -> Vec<Unit> {
    let unit = |c| match c {
        '*' => Unit::Run,
        '?' => Unit::One,
        c => Unit::Is(c),
    };
    pattern.chars().map(unit).collect()
}

/// The definition of a wildcard match, by recursion.
fn glob(pattern: &[Unit], text: &str) -> bool {
    match pattern.split_first() {
        None => text.is_empty(),
        Some((Unit::Run, rest)) => (0..=text.len()).any(|at| text.is_char_boundary(at) && glob(rest, &text[at..])),
        Some((unit, rest)) => {
            let mut left = text.chars();
            left.next().is_some_and(|c| (*unit == Unit::One || *unit == Unit::Is(c)) && glob(rest, left.as_str()))
        }
    }
}

fn arn_like(wanted: &str, value: &str) -> bool {
    let mut patterns: Vec<&str> = wanted.splitn(6, ':').collect();
    if wanted == "*" || (wanted.starts_with("arn:") && wanted.ends_with('*')) {
        patterns.resize(6, "*");
    }
    let values: Vec<&str> = value.splitn(6, ':').collect();
    patterns.len() == 6 && values.len() == 6 && patterns.iter().zip(values).all(|(p, v)| glob(&chars(p), v))
}

fn seconds(text: &str) -> f64 {
    match text {
        NOW_TEXT | "1700000000" => 1_700_000_000.0,
        "2023-11-14T22:12:20Z" => 1_699_999_940.0,
        "2020-01-01T00:00:00Z" => 1_577_836_800.0,
        "2030-01-01T00:00:00Z" => 1_893_456_000.0,
        other => panic!("date {other}"),
    }
}

fn in_network(value: &str, network: &str) -> bool {
    let value: IpAddr = value.parse().expect("an address");
    match network {
        "192.0.2.0/24" => matches!(value, IpAddr::V4(v4) if v4.octets()[..3] == [192, 0, 2]),
        "192.0.2.7" => value.to_string() == network,
        "2001:db8::/32" => matches!(value, IpAddr::V6(v6) if v6.segments()[..2] == [0x2001, 0xdb8]),
        "0.0.0.0/0" => value.is_ipv4(),
        other => panic!("network {other}"),
    }
}
