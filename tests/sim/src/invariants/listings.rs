//! I4: a listing holds all that was acknowledged before it began, and nothing that was never begun. I6: nor does it or any
//! read hold an upload that nobody asked to be completed.
//!
//! For each key a listing is a read, and with all other operations on the key it must be linearizable.

use karri_tests_linearizability::{Done, Input, Operation, Output, Register, Verdict, check_within as search};

use super::SEARCH_STEPS_MAX;
use crate::history::History;
use crate::workload::bucket_of;

/// A reader that is no client.
const LISTER: u64 = 9999;

/// Checks the listings together with the operations on each key; says of how many the search for an order was given up.
pub(crate) fn check(history: &History, violations: &mut Vec<String>) -> u64 {
    let mut unsettled = 0;
    for (key, operations) in &history.keys {
        let mut all = operations.clone();
        for listing in history.listings.iter().filter(|listing| listing.bucket == bucket_of(key)) {
            let entry = listing.keys.iter().find(|(listed, _)| listed == key);
            let found = match entry {
                // A tag that no answer told of: it is there, and that is all that is known.
                Some((_, None)) => continue,
                Some((_, Some(value))) => Some(*value),
                None => None,
            };
            let done = Some(Done { at: listing.done, output: Output::Found(found) });
            all.push(Operation { client: LISTER, input: Input::Read, called: listing.called, done });
        }
        match search::<Register>(&all, SEARCH_STEPS_MAX) {
            Verdict::Linearizable => {}
            // Without the listings it may be violated just as well, which is told by another check.
            Verdict::Violated(_) if search::<Register>(operations, SEARCH_STEPS_MAX) != Verdict::Linearizable => {}
            Verdict::Violated(_) => violations.push(format!("I4: a listing has {key} as no read could have it")),
            Verdict::Unknown => unsettled += 1,
        }
        for operation in operations {
            let Some(Done { output: Output::Found(Some(value)), .. }) = operation.done else { continue };
            if history.bodies.get(&value).is_some_and(|body| body.completed == Some(false)) {
                violations.push(format!("I6: {key} has the upload of value {value}, which nobody completed"));
            }
        }
    }
    unsettled
}
