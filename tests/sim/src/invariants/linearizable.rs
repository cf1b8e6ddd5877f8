//! I2: the history of each key could be that of one copy of it.

use std::fmt::Write as _;

use karri_tests_linearizability::{Input, Operation, Output, Register, Verdict, check_within as search};

use super::SEARCH_STEPS_MAX;
use crate::history::History;

/// Operations that are printed around a violation.
const SHOWN: usize = 12;

/// Checks all keys; says of how many the search for an order was given up.
pub(crate) fn check(history: &History, violations: &mut Vec<String>) -> u64 {
    let mut unsettled = 0;
    for (key, operations) in &history.keys {
        match search::<Register>(operations, SEARCH_STEPS_MAX) {
            Verdict::Linearizable => {}
            Verdict::Unknown => unsettled += 1,
            Verdict::Violated(violation) => {
                let stuck = &operations[violation.stuck];
                let mut text = format!("I2: {key} is not linearizable:");
                for operation in around(operations, stuck) {
                    let mark = if std::ptr::eq(operation, stuck) { '*' } else { ' ' };
                    let _ = write!(text, "\n  {mark} {}", told(operation));
                }
                violations.push(text);
            }
        }
    }
    unsettled
}

/// What was under way near an operation.
fn around<'a>(
    operations: &'a [Operation<Input, Output>],
    stuck: &Operation<Input, Output>,
) -> Vec<&'a Operation<Input, Output>> {
    let end = stuck.done.as_ref().map_or(u64::MAX, |done| done.at);
    let mut before: Vec<_> = operations.iter().filter(|operation| operation.called <= end).collect();
    before.sort_by_key(|operation| operation.called);
    before.split_off(before.len().saturating_sub(SHOWN))
}

fn told(operation: &Operation<Input, Output>) -> String {
    let Operation { client, input, called, done } = operation;
    match done {
        Some(done) => format!("client {client} {called}..{} {input:?} -> {:?}", done.at, done.output),
        None => format!("client {client} {called}.. {input:?} -> unknown"),
    }
}
