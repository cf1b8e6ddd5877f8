//! Random policies and requests from a vocabulary so small that they meet often.

use std::sync::Arc;

use karri_iam_policy::{Policy, PolicyKind, Principal, PrincipalKind, Session};

/// A small generator (xorshift64*): the same seed gives the same cases on every machine.
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed | 1)
    }

    pub(crate) fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        ((self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize) % limit
    }

    pub(crate) fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    pub(crate) fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from[self.below(from.len())]
    }

    fn some_of(&mut self, from: &[&str], most: usize) -> Vec<String> {
        (0..=self.below(most)).map(|_| self.pick(from).to_owned()).collect()
    }
}

/// A document as data.
#[derive(Clone, Debug)]
pub(crate) struct Document {
    pub(crate) has_variables: bool,
    pub(crate) statements: Vec<Statement>,
}

#[derive(Clone, Debug)]
pub(crate) struct Statement {
    pub(crate) is_allow: bool,
    /// Negated; kind and name of each. `("*", "*")` stands for a bare star.
    pub(crate) principals: Option<(bool, Vec<(String, String)>)>,
    pub(crate) actions: (bool, Vec<String>),
    pub(crate) resources: Option<(bool, Vec<String>)>,
    /// Operator, key, values.
    pub(crate) conditions: Vec<(String, String, Vec<String>)>,
}

/// One case: all policies that bear on a request, and the request.
#[derive(Debug)]
pub(crate) struct Case {
    pub(crate) identity: Vec<Document>,
    pub(crate) boundary: Option<Document>,
    pub(crate) session: Vec<Document>,
    pub(crate) resource_policy: Option<Document>,
    pub(crate) is_trust: bool,
    pub(crate) principal: Principal,
    pub(crate) action: String,
    pub(crate) resource: String,
    pub(crate) resource_account: String,
    pub(crate) context: Vec<(String, Vec<String>)>,
}

pub(crate) const NOW_SECONDS: i64 = 1_700_000_000;
pub(crate) const NOW_TEXT: &str = "2023-11-14T22:13:20Z";
const ACCOUNTS: [&str; 2] = ["111111111111", "222222222222"];
const ACTIONS: [&str; 5] = ["s3:GetObject", "s3:PutObject", "s3:ListBucket", "s3:GetObjectAcl", "iam:GetUser"];
const ACTION_PATTERNS: [&str; 9] =
    ["s3:GetObject", "s3:Get*", "s3:*", "*", "S3:getobject", "s3:?utObject", "s3:List*t", "iam:*", "s3:*Object*"];
const TRUST_PATTERNS: [&str; 4] = ["sts:AssumeRole", "sts:*", "sts:Assume*", "sts:TagSession"];
const RESOURCES: [&str; 6] = [
    "arn:aws:s3:::red",
    "arn:aws:s3:::red/ann/a.txt",
    "arn:aws:s3:::red/bob/b.txt",
    "arn:aws:s3:::blue/x",
    "arn:aws:s3:::red/a*b",
    "arn:aws:s3:::red/é",
];
const RESOURCE_PATTERNS: [&str; 12] = [
    "*",
    "arn:aws:s3:::red",
    "arn:aws:s3:::red/*",
    "arn:aws:s3:::red*",
    "arn:aws:s3:::*/x",
    "arn:aws:s3:::red/${aws:username}/*",
    "arn:aws:s3:::red/${aws:PrincipalTag/team, 'ann'}/*",
    "arn:aws:s3:::red/a${*}b",
    "arn:aws:s3:::r?d/???/?.t*t",
    "arn:aws:s3:::red/?",
    "arn:aws:s3:::*a*b*",
    "arn:aws:s3:::blue/${s3:prefix}",
];
const STRING_KEYS: [&str; 7] =
    ["s3:prefix", "aws:username", "aws:PrincipalTag/team", "aws:TagKeys", "S3:Prefix", "x:unknown", "aws:userid"];
const STRING_VALUES: [&str; 10] =
    ["ann", "bob", "ANN", "a*", "*", "${aws:username}", "?nn", "${x:unknown, 'bob'}", "x", "${x:unknown}"];
const ARN_VALUES: [&str; 6] = [
    "arn:aws:iam::111111111111:user/ann",
    "arn:aws:iam::*:user/*",
    "arn:aws:iam::111111111111:role/ops",
    "arn:aws:*",
    "*",
    "not-an-arn",
];

pub(crate) fn document(dice: &mut Dice, kind: PolicyKind) -> Document {
    let statements = (0..=dice.below(3)).map(|_| statement(dice, kind)).collect();
    Document { has_variables: !dice.one_in(4), statements }
}

fn statement(dice: &mut Dice, kind: PolicyKind) -> Statement {
    let is_allow = !dice.one_in(4);
    let principals = (kind != PolicyKind::Identity).then(|| principals(dice, is_allow));
    let actions = if kind == PolicyKind::Trust { &TRUST_PATTERNS[..] } else { &ACTION_PATTERNS[..] };
    let conditions = if dice.one_in(2) { (0..=dice.below(2)).map(|_| condition(dice)).collect() } else { Vec::new() };
    let mut unique: Vec<(String, String, Vec<String>)> = Vec::new();
    for condition in conditions {
        let is_new = |other: &(String, String, Vec<String>)| other.0 != condition.0;
        if unique.iter().all(is_new) {
            unique.push(condition);
        }
    }
    Statement {
        is_allow,
        principals,
        actions: (dice.one_in(6), dice.some_of(actions, 2)),
        resources: (kind != PolicyKind::Trust).then(|| (dice.one_in(6), dice.some_of(&RESOURCE_PATTERNS, 2))),
        conditions: unique,
    }
}

fn principals(dice: &mut Dice, is_allow: bool) -> (bool, Vec<(String, String)>) {
    const NAMED: [(&str, &str); 10] = [
        ("AWS", "*"),
        ("AWS", "111111111111"),
        ("AWS", "arn:aws:iam::222222222222:root"),
        ("AWS", "arn:aws:iam::111111111111:user/ann"),
        ("AWS", "arn:aws:iam::111111111111:role/ops"),
        ("AWS", "arn:aws:sts::111111111111:assumed-role/ops/bob"),
        ("AWS", "AROAAAAAAAAAAAAAAAAA1"),
        ("CanonicalUser", "c1"),
        ("Service", "ec2.amazonaws.com"),
        ("Federated", "accounts.example.com"),
    ];
    if dice.one_in(5) {
        return (!is_allow && dice.one_in(3), vec![("*".to_owned(), "*".to_owned())]);
    }
    let mut picked: Vec<(String, String)> = Vec::new();
    for _ in 0..=dice.below(4) {
        let (kind, name) = NAMED[dice.below(NAMED.len())];
        picked.push((kind.to_owned(), name.to_owned()));
    }
    (!is_allow && dice.one_in(2), picked)
}

fn condition(dice: &mut Dice) -> (String, String, Vec<String>) {
    const STRINGS: [&str; 6] = [
        "StringEquals",
        "StringNotEquals",
        "StringEqualsIgnoreCase",
        "StringNotEqualsIgnoreCase",
        "StringLike",
        "StringNotLike",
    ];
    const NUMERIC: [&str; 6] = [
        "NumericEquals",
        "NumericNotEquals",
        "NumericLessThan",
        "NumericLessThanEquals",
        "NumericGreaterThan",
        "NumericGreaterThanEquals",
    ];
    const DATES: [&str; 6] = [
        "DateEquals",
        "DateNotEquals",
        "DateLessThan",
        "DateLessThanEquals",
        "DateGreaterThan",
        "DateGreaterThanEquals",
    ];
    let (operator, key, values) = match dice.below(8) {
        0..=2 => (dice.pick(&STRINGS), dice.pick(&STRING_KEYS), dice.some_of(&STRING_VALUES, 3)),
        3 => (dice.pick(&NUMERIC), dice.pick(&["s3:max-keys", "x:unknown"]), dice.some_of(&["5", "10", "-1.5"], 2)),
        4 => (
            dice.pick(&DATES),
            dice.pick(&["aws:CurrentTime", "aws:TokenIssueTime"]),
            dice.some_of(&[NOW_TEXT, "2020-01-01T00:00:00Z", "2030-01-01T00:00:00Z", "1700000000"], 2),
        ),
        5 => (
            dice.pick(&["IpAddress", "NotIpAddress"]),
            "aws:SourceIp",
            dice.some_of(&["192.0.2.0/24", "192.0.2.7", "2001:db8::/32", "0.0.0.0/0"], 2),
        ),
        6 => (
            dice.pick(&["ArnEquals", "ArnLike", "ArnNotEquals", "ArnNotLike"]),
            "aws:PrincipalArn",
            dice.some_of(&ARN_VALUES, 2),
        ),
        _ if dice.one_in(2) => {
            let key = dice.pick(&["aws:username", "aws:TagKeys", "x:unknown", "aws:TokenIssueTime"]);
            return ("Null".to_owned(), key.to_owned(), vec![dice.pick(&["true", "false"]).to_owned()]);
        }
        _ => (
            "Bool",
            dice.pick(&["aws:SecureTransport", "aws:MultiFactorAuthPresent"]),
            dice.some_of(&["true", "false"], 1),
        ),
    };
    let set = dice.pick(&["", "", "ForAllValues:", "ForAnyValue:"]);
    let suffix = if dice.one_in(4) { "IfExists" } else { "" };
    (format!("{set}{operator}{suffix}"), key.to_owned(), values)
}

fn principal(dice: &mut Dice) -> Principal {
    let account = ACCOUNTS[dice.below(2)];
    let name = dice.pick(&["ann", "bob"]);
    let mut principal = Principal::account_root(account, format!("c{}", &account[..1]));
    let session = || Session { name: name.to_owned(), issued_at_seconds: NOW_SECONDS - 60, ..Session::default() };
    match dice.below(8) {
        0 => return Principal::anonymous(),
        1 => {}
        2 | 3 => {
            principal.kind = PrincipalKind::User;
            principal.name = name.to_owned();
            principal.arn = format!("arn:aws:iam::{account}:user/{name}");
            principal.unique_id = format!("AIDA{name}");
        }
        4 | 5 => {
            let role_arn = format!("arn:aws:iam::{account}:role/ops");
            let role_id = "AROAAAAAAAAAAAAAAAAA1".to_owned();
            principal.unique_id = format!("{role_id}:{name}");
            principal.kind = PrincipalKind::AssumedRole { role_arn, role_id, role_name: "ops".to_owned() };
            principal.name = name.to_owned();
            principal.arn = format!("arn:aws:sts::{account}:assumed-role/ops/{name}");
            principal.session = Some(session());
        }
        6 => {
            principal.kind = PrincipalKind::FederatedUser;
            principal.name = name.to_owned();
            principal.arn = format!("arn:aws:sts::{account}:federated-user/{name}");
            principal.unique_id = format!("{account}:{name}");
            principal.session = Some(session());
        }
        _ => {
            principal = Principal::anonymous();
            principal.kind = if dice.one_in(2) {
                PrincipalKind::Service { name: "ec2.amazonaws.com".to_owned() }
            } else {
                PrincipalKind::WebIdentity { provider: "accounts.example.com".to_owned() }
            };
        }
    }
    if dice.one_in(2) {
        principal.tags.push(("Team".to_owned(), dice.pick(&["ann", "bob", "a*"]).to_owned()));
    }
    principal
}

pub(crate) fn case(dice: &mut Dice) -> Case {
    let is_trust = dice.one_in(6);
    let resource_kind = if is_trust { PolicyKind::Trust } else { PolicyKind::Resource };
    let mut context = Vec::new();
    let mut maybe = |dice: &mut Dice, key: &str, values: &[&str], most: usize| {
        if !dice.one_in(3) {
            context.push((key.to_owned(), dice.some_of(values, most)));
        }
    };
    maybe(dice, "s3:prefix", &["ann", "bob", "ANN", "x"], 1);
    maybe(dice, "aws:TagKeys", &["ann", "bob", "x"], 3);
    maybe(dice, "s3:max-keys", &["5", "7.5", "10", "many"], 1);
    maybe(dice, "aws:SourceIp", &["192.0.2.7", "198.51.100.1", "2001:db8::5"], 1);
    maybe(dice, "aws:SecureTransport", &["true", "false"], 1);
    let principal = principal(dice);
    let has_session = principal.session.is_some();
    Case {
        identity: (0..dice.below(3)).map(|_| document(dice, PolicyKind::Identity)).collect(),
        boundary: dice.one_in(3).then(|| document(dice, PolicyKind::Identity)),
        session: (0..if has_session { dice.below(3) } else { 0 })
            .map(|_| document(dice, PolicyKind::Identity))
            .collect(),
        resource_policy: (is_trust || dice.one_in(2)).then(|| document(dice, resource_kind)),
        is_trust,
        principal,
        action: if is_trust { "sts:AssumeRole" } else { dice.pick(&ACTIONS) }.to_owned(),
        resource: dice.pick(&RESOURCES).to_owned(),
        resource_account: ACCOUNTS[dice.below(2)].to_owned(),
        context,
    }
}

impl Document {
    /// The document as a client would send it.
    pub(crate) fn json(&self) -> String {
        let list = |values: &[String]| {
            let quoted: Vec<String> = values.iter().map(|value| format!("\"{value}\"")).collect();
            if let [one] = &quoted[..] { one.clone() } else { format!("[{}]", quoted.join(",")) }
        };
        let negated = |name: &str, is_negated| if is_negated { format!("Not{name}") } else { name.to_owned() };
        let statement = |statement: &Statement| {
            let mut parts = vec![format!("\"Effect\":\"{}\"", if statement.is_allow { "Allow" } else { "Deny" })];
            if let Some((is_negated, names)) = &statement.principals {
                let name = negated("Principal", *is_negated);
                if names[0].0 == "*" {
                    parts.push(format!("\"{name}\":\"*\""));
                } else {
                    let of = |kind: &str| -> Vec<String> {
                        names.iter().filter(|(k, _)| k == kind).map(|(_, name)| name.clone()).collect()
                    };
                    let kinds = ["AWS", "CanonicalUser", "Service", "Federated"];
                    let kinds = kinds.iter().map(|kind| (kind, of(kind))).filter(|(_, names)| !names.is_empty());
                    let kinds: Vec<String> =
                        kinds.map(|(kind, names)| format!("\"{kind}\":{}", list(&names))).collect();
                    parts.push(format!("\"{name}\":{{{}}}", kinds.join(",")));
                }
            }
            parts.push(format!("\"{}\":{}", negated("Action", statement.actions.0), list(&statement.actions.1)));
            if let Some((is_negated, resources)) = &statement.resources {
                parts.push(format!("\"{}\":{}", negated("Resource", *is_negated), list(resources)));
            }
            let conditions: Vec<String> = statement
                .conditions
                .iter()
                .map(|(operator, key, values)| format!("\"{operator}\":{{\"{key}\":{}}}", list(values)))
                .collect();
            parts.push(format!("\"Condition\":{{{}}}", conditions.join(",")));
            format!("{{{}}}", parts.join(","))
        };
        let statements: Vec<String> = self.statements.iter().map(statement).collect();
        let version = if self.has_variables { "2012-10-17" } else { "2008-10-17" };
        format!("{{\"Version\":\"{version}\",\"Statement\":[{}]}}", statements.join(","))
    }

    pub(crate) fn compile(&self, kind: PolicyKind) -> Arc<Policy> {
        let json = self.json();
        Arc::new(Policy::parse(&json, kind).unwrap_or_else(|error| panic!("{error}: {json}")))
    }
}
