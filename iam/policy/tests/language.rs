//! The language itself: what parses, where an error is, and rules that are easily got wrong.

use std::sync::Arc;

use karri_iam_policy::{
    Context, Decision, Policies, Policy, PolicyKind, PolicySource, Principal, PrincipalKind, QuotaKey, Request,
    Session, evaluate, quota,
};

const ACCOUNT: &str = "123456789012";

fn identity(statement: &str) -> Arc<Policy> {
    let text = format!(r#"{{"Version": "2012-10-17", "Statement": [{statement}]}}"#);
    Arc::new(Policy::parse(&text, PolicyKind::Identity).unwrap_or_else(|error| panic!("{error}: {text}")))
}

fn refusal(text: &str, kind: PolicyKind) -> String {
    Policy::parse(text, kind).expect_err(text).to_string()
}

fn user(name: &str) -> Principal {
    let mut principal = Principal::account_root(ACCOUNT, "");
    principal.kind = PrincipalKind::User;
    principal.name = name.to_owned();
    principal.arn = format!("arn:aws:iam::{ACCOUNT}:user/{name}");
    principal
}

fn ask(principal: &Principal, policies: &Policies, context: &Context<'_>) -> Decision {
    let request = Request {
        principal,
        action: "s3:GetObject",
        resource: "arn:aws:s3:::photos/cat.jpg",
        resource_account: ACCOUNT,
        context,
    };
    evaluate(&request, policies, None)
}

#[test]
fn errors_say_where() {
    let cases = [
        ("", "Policies must be valid JSON and the first byte must be '{': an object is expected (line 1, column 1)"),
        ("{\n  \"Statement\": [\n    {\"Effect\": \"Allow\",}]}", "a name in quotes is expected (line 3, column 24)"),
        ("{\"Statement\": []}", "Missing required field Statement (line 1, column 1)"),
        ("{\"Version\": \"2013-01-01\", \"Statement\": {}}", "valid version string (line 1, column 13)"),
        ("{\"Statement\": {\"Effect\": \"Allow\", \"Action\": \"s3:*\"}}", "Missing required field Resource"),
        (
            "{\"Statement\": {\"Effect\": \"Allow\", \"Action\": \"getall\", \"Resource\": \"*\"}}",
            "getall (line 1, column 45)",
        ),
        ("{\"Statement\": {\"Effect\": \"Allow\", \"Action\": \"s3:*\", \"Resource\": \"photos\"}}", "in ARN format"),
        (
            "{\"Statement\": {\"Effect\": \"Allow\", \"Action\": \"s3:*\", \"NotAction\": \"s3:*\"}}",
            "conflicting field NotAction",
        ),
        ("{\"Statement\": {\"Effect\": \"Allow\", \"Effect\": \"Deny\"}}", "conflicting field Effect"),
        ("{\"Statements\": {}}", "Unknown field Statements (line 1, column 2)"),
        (
            r#"{"Statement": {"Effect": "Deny", "Action": "*", "Resource": "*", "Condition": {"StringIs": {"a:b": "c"}}}}"#,
            "Invalid Condition type : StringIs",
        ),
        (
            r#"{"Statement": {"Effect": "Deny", "Action": "*", "Resource": "*", "Condition": {"Bool": {"secure": "true"}}}}"#,
            "invalid condition key",
        ),
        (
            r#"{"Statement": {"Effect": "Deny", "Action": "*", "Resource": "*", "Condition": {"IpAddress": {"aws:SourceIp": "here"}}}}"#,
            "Invalid value for condition operator IpAddress: here",
        ),
        (
            r#"{"Statement": {"Effect": "Deny", "Principal": "*", "Action": "*", "Resource": "*"}}"#,
            "Has prohibited field Principal",
        ),
    ];
    for (text, expected) in cases {
        let told = refusal(text, PolicyKind::Identity);
        assert!(told.contains(expected), "{text}: {told}");
    }
}

#[test]
fn resource_and_trust_policies_have_their_own_rules() {
    let wild = r#"{"Statement": {"Effect": "Allow", "Principal": {"AWS": "arn:aws:iam::123456789012:user/*"}, "Action": "s3:*", "Resource": "*"}}"#;
    assert!(refusal(wild, PolicyKind::Resource).starts_with("Invalid principal in policy"));
    let open = r#"{"Statement": {"Effect": "Allow", "NotPrincipal": {"AWS": "123456789012"}, "Action": "s3:*", "Resource": "*"}}"#;
    assert!(refusal(open, PolicyKind::Resource).starts_with("Allow with NotPrincipal"));
    let trust = r#"{"Statement": {"Effect": "Allow", "Principal": "*", "Action": "s3:GetObject"}}"#;
    assert!(refusal(trust, PolicyKind::Trust).starts_with("AssumeRole policy may only specify STS AssumeRole actions"));
    let trust = r#"{"Statement": {"Effect": "Allow", "Principal": "*", "Action": "sts:AssumeRole", "Resource": "*"}}"#;
    assert!(refusal(trust, PolicyKind::Trust).starts_with("Has prohibited field Resource"));
}

#[test]
fn size_and_depth_have_bounds() {
    let deep = format!("{{\"Statement\": {}{}}}", "[".repeat(5_000), "]".repeat(5_000));
    assert!(refusal(&deep, PolicyKind::Identity).contains("too many levels"));
    let long = format!("{{\"Id\": \"{}\"}}", "x".repeat(70_000));
    assert!(refusal(&long, PolicyKind::Identity).contains("too many bytes"));
    let statement = r#"{"Effect":"Deny","Action":"*","Resource":"*"}"#;
    let many = format!("{{\"Statement\": [{}]}}", vec![statement; 600].join(","));
    assert!(refusal(&many, PolicyKind::Identity).contains("too many statements"));
}

#[test]
fn what_a_request_brings_never_stands_for_what_the_server_knows() {
    let policies = Policies {
        identity: vec![identity(
            r#"{"Effect": "Allow", "Action": "s3:*", "Resource": "*", "Condition": {
                "StringEquals": {"aws:username": "ann", "aws:PrincipalTag/team": "red"},
                "IpAddress": {"aws:SourceIp": "10.0.0.0/8"}, "Bool": {"aws:MultiFactorAuthPresent": "true"}}}"#,
        )],
        ..Policies::default()
    };
    let mut bob = user("bob");
    let mut context = Context::new(0);
    for (key, value) in [
        ("aws:username", "ann"),
        ("AWS:PrincipalTag/team", "red"),
        ("aws:SourceIp", "10.0.0.1"),
        ("aws:MultiFactorAuthPresent", "true"),
    ] {
        context.offer(key, value);
        context.set(key, value);
    }
    context.set("aws:SourceIp", "198.51.100.1");
    context.offer("aws:sourceip", "10.0.0.1");
    assert!(!ask(&bob, &policies, &context).is_allowed());
    bob = user("ann");
    bob.tags.push(("Team".to_owned(), "red".to_owned()));
    bob.session = Some(Session { mfa_at_seconds: Some(0), ..Session::default() });
    assert!(!ask(&bob, &policies, &context).is_allowed(), "the address is not the one that was offered");
    context.set("aws:SourceIp", "10.0.0.1");
    assert!(ask(&bob, &policies, &context).is_allowed());
}

#[test]
fn session_policies_and_boundaries_never_widen() {
    let everything = identity(r#"{"Effect": "Allow", "Action": "*", "Resource": "*"}"#);
    let other = identity(r#"{"Effect": "Allow", "Action": "iam:*", "Resource": "*"}"#);
    let context = Context::new(0);
    let mut ann = user("ann");
    let only_boundary = Policies { identity: Vec::new(), boundary: Some(everything.clone()), ..Policies::default() };
    assert_eq!(ask(&ann, &only_boundary, &context), Decision::ImplicitDeny(PolicySource::Identity));
    let bounded = Policies { identity: vec![everything.clone()], boundary: Some(other.clone()), ..Policies::default() };
    assert_eq!(ask(&ann, &bounded, &context), Decision::ImplicitDeny(PolicySource::Boundary));
    ann.session = Some(Session { policies: vec![everything.clone()], ..Session::default() });
    assert_eq!(ask(&ann, &Policies::default(), &context), Decision::ImplicitDeny(PolicySource::Identity));
    ann.session = Some(Session { policies: vec![other], ..Session::default() });
    let unbounded = Policies { identity: vec![everything], ..Policies::default() };
    assert_eq!(ask(&ann, &unbounded, &context), Decision::ImplicitDeny(PolicySource::Session));
}

#[test]
fn policies_are_public_unless_pinned_to_somebody() {
    let is_public = |principal: &str, condition: &str| {
        let text = format!(
            r#"{{"Statement": {{"Effect": "Allow", "Principal": {principal}, "Action": "s3:*", "Resource": "*", "Condition": {{{condition}}}}}}}"#
        );
        Policy::parse(&text, PolicyKind::Resource).unwrap_or_else(|error| panic!("{error}: {text}")).is_public()
    };
    assert!(is_public(r#""*""#, ""));
    assert!(is_public(r#"{"AWS": ["123456789012", "*"]}"#, ""));
    assert!(!is_public(r#"{"AWS": "123456789012"}"#, ""));
    assert!(!is_public(r#""*""#, r#""IpAddress": {"aws:SourceIp": "10.0.0.0/32"}"#));
    assert!(is_public(r#""*""#, r#""IpAddress": {"aws:SourceIp": "0.0.0.0/1"}"#));
    assert!(is_public(r#""*""#, r#""NotIpAddress": {"aws:SourceIp": "10.0.0.0/32"}"#));
    assert!(!is_public(r#""*""#, r#""StringLike": {"aws:PrincipalAccount": "123456789012"}"#));
    assert!(is_public(r#""*""#, r#""StringLike": {"aws:PrincipalAccount": "12345678*"}"#));
    assert!(is_public(r#""*""#, r#""StringEqualsIfExists": {"aws:PrincipalAccount": "123456789012"}"#));
    assert!(is_public(r#""*""#, r#""Bool": {"aws:SecureTransport": "true"}"#));
}

#[test]
fn limits_neither_allow_nor_deny_and_the_lowest_counts() {
    let limit = |action: &str, key: &str, number: &str| {
        format!(
            r#"{{"Effect": "Limit", "Action": "{action}", "Resource": "arn:aws:s3:::a*",
                "Condition": {{"NumericLessThanEquals": {{"{key}": {number}}}}}}}"#
        )
    };
    let parse = |statements: &[String]| {
        let text = format!(r#"{{"Version": "2012-10-17", "Statement": [{}]}}"#, statements.join(","));
        Policy::parse(&text, PolicyKind::Identity)
    };
    let statements = [
        limit("s3:PutObject", "s3:quota-bucketsize", "\"20\""),
        limit("s3:*", "S3:Quota-BucketSize", "10"),
        limit("s3:CreateBucket", "s3:quota-bucketnumber", "\"3\""),
    ];
    let policies = Policies {
        identity: vec![parse(&statements).map(Arc::new).expect("the document is valid")],
        ..Policies::default()
    };
    let mut principal = Principal::account_root("123456789012", "");
    principal.kind = PrincipalKind::User;
    let context = Context::new(0);
    let ask = |action: &'static str, resource: &'static str, key| {
        let request =
            Request { principal: &principal, action, resource, resource_account: "123456789012", context: &context };
        assert!(!evaluate(&request, &policies, None).is_allowed());
        quota(&request, &policies, key)
    };
    assert_eq!(ask("s3:PutObject", "arn:aws:s3:::abc/k", QuotaKey::BucketSize), Some(10));
    assert_eq!(ask("s3:PutObject", "arn:aws:s3:::b/k", QuotaKey::BucketSize), None);
    assert_eq!(ask("s3:PutObject", "arn:aws:s3:::abc/k", QuotaKey::BucketNumber), None);
    assert_eq!(ask("s3:CreateBucket", "arn:aws:s3:::abc", QuotaKey::BucketNumber), Some(3));
    assert!(parse(&[limit("s3:PutObject", "s3:quota-buckettotalsize", "1")]).is_ok());
    for refused in [
        limit("s3:PutObject", "s3:quota-dreams", "1"),
        limit("s3:PutObject", "ec2:quota-vminstancenumber", "1"),
        limit("s3:PutObject", "s3:quota-bucketsize", "\"-1\""),
        limit("s3:PutObject", "s3:quota-bucketsize", "[1, 2]"),
        limit("s3:PutObject", "s3:prefix", "1"),
        limit("s3:PutObject", "s3:quota-bucketsize", "1").replace("LessThanEquals", "LessThan"),
    ] {
        assert!(parse(std::slice::from_ref(&refused)).is_err(), "{refused}");
    }
    let of_a_bucket = statements[0].replace(r#""Action""#, r#""Principal": "*", "Action""#);
    let text = format!(r#"{{"Version": "2012-10-17", "Statement": [{of_a_bucket}]}}"#);
    assert!(Policy::parse(&text, PolicyKind::Resource).is_err());
}
