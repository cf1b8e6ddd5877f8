//! The evaluator against a second, naive one on random policies and requests.
//!
//! `KARRI_SEED` replays a run, `KARRI_CASES` makes it longer.

mod model;
mod naive;

use std::collections::HashMap;
use std::env;
use std::hash::{BuildHasher, RandomState};

use karri_iam_policy::{Context, Decision, Policies, PolicyKind, Request, evaluate};
use model::{Case, Dice, NOW_SECONDS};
use naive::{Answer, Bug};

const CASES: usize = 100_000;

fn seed() -> u64 {
    let seed = env::var("KARRI_SEED").ok().map(|text| text.parse().expect("KARRI_SEED is a number"));
    let seed = seed.unwrap_or_else(|| RandomState::new().hash_one(0));
    println!("KARRI_SEED={seed}");
    seed
}

fn real(case: &Case) -> Answer {
    let mut principal = case.principal.clone();
    if let Some(session) = &mut principal.session {
        session.policies = case.session.iter().map(|document| document.compile(PolicyKind::Identity)).collect();
    }
    let identity = Policies {
        identity: case.identity.iter().map(|document| document.compile(PolicyKind::Identity)).collect(),
        boundary: case.boundary.as_ref().map(|document| document.compile(PolicyKind::Identity)),
        account: Vec::new(),
    };
    let kind = if case.is_trust { PolicyKind::Trust } else { PolicyKind::Resource };
    let resource_policy = case.resource_policy.as_ref().map(|document| document.compile(kind));
    let mut context = Context::new(NOW_SECONDS);
    for (key, values) in &case.context {
        context.set_all(key.as_str(), values.iter().map(String::as_str));
    }
    let request = Request {
        principal: &principal,
        action: &case.action,
        resource: &case.resource,
        resource_account: &case.resource_account,
        context: &context,
    };
    match evaluate(&request, &identity, resource_policy.as_deref()) {
        Decision::Allow(_) => Answer::Allow,
        Decision::ExplicitDeny(_) => Answer::ExplicitDeny,
        Decision::ImplicitDeny(_) => Answer::ImplicitDeny,
    }
}

#[test]
fn both_evaluators_agree() {
    let seed = seed();
    let cases = env::var("KARRI_CASES").map_or(CASES, |text| text.parse().expect("KARRI_CASES is a number"));
    let mut dice = Dice::new(seed);
    let mut answers: HashMap<String, usize> = HashMap::new();
    for number in 0..cases {
        let case = model::case(&mut dice);
        let (real, naive) = (real(&case), naive::decide(&case, Bug::None));
        assert_eq!(real, naive, "seed {seed}, case {number}: {case:#?}");
        *answers.entry(format!("{real:?}")).or_default() += 1;
    }
    println!("{cases} cases: {answers:?}");
    // A comparison where one answer hardly comes up would prove little.
    assert!(answers.len() == 3 && answers.values().all(|&count| count > cases / 50), "{answers:?}");
}

#[test]
fn planted_bugs_are_found() {
    let seed = seed();
    for bug in [
        Bug::ForAllValuesNeedsKey,
        Bug::SessionIgnored,
        Bug::AccountGrantIsDirect,
        Bug::VariablesInOldVersions,
        Bug::NegatedNeedsKey,
        Bug::NotPrincipalSparesByName,
    ] {
        let mut dice = Dice::new(seed);
        let found = (0..CASES).find(|_| {
            let case = model::case(&mut dice);
            real(&case) != naive::decide(&case, bug)
        });
        println!("{bug:?}: found in case {found:?}");
        assert!(found.is_some(), "{bug:?} was not found in {CASES} cases of seed {seed}");
    }
}
