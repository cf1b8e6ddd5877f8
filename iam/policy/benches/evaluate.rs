//! A request against 20 statements: promised in less than 10 µs.

#![allow(missing_docs, reason = "criterion_group makes an undocumented function")]

use std::hint::black_box;
use std::sync::Arc;

use criterion::{Criterion, criterion_group, criterion_main};
use karri_iam_policy::{Context, Policies, Policy, PolicyKind, Principal, PrincipalKind, Request, evaluate};

/// Twenty statements of which the last one allows: all are looked at.
fn policy() -> Policy {
    let mut statements: Vec<String> = (0..19)
        .map(|number| {
            format!(
                r#"{{"Effect": "{}", "Action": ["s3:Get*", "s3:ListBucket"],
                "Resource": ["arn:aws:s3:::bucket-{number}", "arn:aws:s3:::*-{number}/${{aws:username}}/*"],
                "Condition": {{"StringLike": {{"s3:prefix": "home/*"}}, "IpAddress": {{"aws:SourceIp": "10.0.0.0/8"}}}}}}"#,
                if number % 2 == 0 { "Allow" } else { "Deny" }
            )
        })
        .collect();
    statements.push(
        r#"{"Effect": "Allow", "Action": "s3:*", "Resource": "arn:aws:s3:::photos/${aws:username}/*",
            "Condition": {"Bool": {"aws:SecureTransport": "true"}, "DateLessThan": {"aws:CurrentTime": "2099-01-01"}}}"#
            .to_owned(),
    );
    let text = format!(r#"{{"Version": "2012-10-17", "Statement": [{}]}}"#, statements.join(","));
    Policy::parse(&text, PolicyKind::Identity).expect("the document is valid")
}

fn bench(criterion: &mut Criterion) {
    let identity = Policies { identity: vec![Arc::new(policy())], ..Policies::default() };
    let mut principal = Principal::account_root("123456789012", "");
    principal.kind = PrincipalKind::User;
    principal.name = "ann".to_owned();
    let decide = |resource: &str| {
        let mut context = Context::new(1_700_000_000);
        context.set("aws:SourceIp", "10.1.2.3");
        context.set("aws:SecureTransport", "true");
        context.set("s3:authType", "REST-HEADER");
        context.offer("aws:UserAgent", "bench");
        context.offer("s3:prefix", "home/ann");
        let request = Request {
            principal: &principal,
            action: "s3:GetObject",
            resource,
            resource_account: "123456789012",
            context: &context,
        };
        evaluate(&request, &identity, None).is_allowed()
    };
    assert!(decide("arn:aws:s3:::photos/ann/cat.jpg") && !decide("arn:aws:s3:::photos/bob/cat.jpg"));
    criterion.bench_function("20 statements, context built", |bencher| {
        bencher.iter(|| decide(black_box("arn:aws:s3:::photos/ann/cat.jpg")));
    });
    let text = "arn:aws:s3:::x-3/ann/".to_owned() + &"y".repeat(1_000);
    criterion.bench_function("20 statements, a key of 1,000 bytes", |bencher| {
        bencher.iter(|| decide(black_box(&text)));
    });
}

criterion_group!(benches, bench);
criterion_main!(benches);
