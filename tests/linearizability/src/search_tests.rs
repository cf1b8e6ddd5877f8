use super::*;
use crate::{Done, Input, Output, Register};

type Op = Operation<Input, Output>;

fn op(input: Input, called: u64, at: u64, output: Output) -> Op {
    Operation { client: 0, input, called, done: Some(Done { at, output }) }
}

fn maybe(input: Input, called: u64) -> Op {
    Operation { client: 0, input, called, done: None }
}

fn read(called: u64, at: u64, found: Option<u64>) -> Op {
    op(Input::Read, called, at, Output::Found(found))
}

fn write(value: u64, called: u64, at: u64) -> Op {
    op(Input::Write(value), called, at, Output::Accepted)
}

fn holds(history: &[Op]) -> bool {
    match check::<Register>(history) {
        Verdict::Linearizable => true,
        Verdict::Violated(_) => false,
        Verdict::Unknown => panic!("out of steps"),
    }
}

#[test]
fn a_read_sees_the_last_write_before_it_or_one_beside_it() {
    assert!(holds(&[]));
    assert!(holds(&[write(1, 0, 1), read(2, 3, Some(1))]));
    assert!(!holds(&[write(1, 0, 1), read(2, 3, None)]));
    assert!(!holds(&[write(1, 0, 1), write(2, 2, 3), read(4, 5, Some(1))]));
    assert!(holds(&[write(1, 0, 1), write(2, 2, 9), read(3, 4, Some(1)), read(5, 6, Some(2))]));
    assert!(!holds(&[write(1, 0, 1), write(2, 2, 9), read(3, 4, Some(2)), read(5, 6, Some(1))]));
}

#[test]
fn a_maybe_happens_late_or_never_but_once() {
    let put = maybe(Input::Write(2), 2);
    let old = [write(1, 0, 1), put.clone(), read(5, 6, Some(1))];
    assert!(holds(&old));
    assert!(holds(&[&old[..], &[read(7, 8, Some(2))]].concat()));
    assert!(!holds(&[&old[..], &[read(7, 8, Some(2)), read(9, 10, Some(1))]].concat()));
    assert!(!holds(&[read(0, 1, Some(2)), put]));
}

#[test]
fn an_acknowledged_delete_is_not_undone() {
    let delete = op(Input::Delete, 2, 3, Output::Accepted);
    assert!(!holds(&[write(1, 0, 1), delete.clone(), read(4, 5, Some(1))]));
    assert!(holds(&[write(1, 0, 1), delete, read(4, 5, None)]));
}

#[test]
fn of_racing_conditional_writers_one_wins() {
    let first = |value, output| op(Input::WriteIfAbsent(value), 0, 10, output);
    assert!(holds(&[first(1, Output::Accepted), first(2, Output::Refused), read(11, 12, Some(1))]));
    assert!(!holds(&[first(1, Output::Accepted), first(2, Output::Accepted)]));
    assert!(!holds(&[first(1, Output::Refused), first(2, Output::Refused)]));
    let swap = |value| op(Input::WriteIfMatch { expected: 1, value }, 2, 9, Output::Accepted);
    assert!(holds(&[write(1, 0, 1), swap(2), read(10, 11, Some(2))]));
    assert!(!holds(&[write(1, 0, 1), swap(2), swap(3)]));
    // A refusal needs somebody who changed it.
    let refused = op(Input::WriteIfMatch { expected: 1, value: 4 }, 4, 5, Output::Refused);
    assert!(!holds(&[write(1, 0, 1), refused.clone()]));
    assert!(holds(&[write(1, 0, 1), maybe(Input::Delete, 2), refused]));
}

#[test]
fn a_violation_names_where_it_is() {
    let history = [write(1, 0, 1), write(2, 2, 3), read(4, 5, Some(2)), read(6, 7, Some(1)), write(3, 8, 9)];
    let Verdict::Violated(violation) = check::<Register>(&history) else { panic!("not caught") };
    assert_eq!(violation, Violation { longest: vec![0, 1, 2], stuck: 3 });
}

/// Every order of a few operations, tried one by one.
fn holds_naively(history: &[Op], taken: &mut Vec<bool>, state: Option<u64>) -> bool {
    if history.iter().zip(&*taken).all(|(op, taken)| *taken || op.done.is_none()) {
        return true;
    }
    let waits_for = |op: &Op, taken: &[bool]| {
        let earlier = |other: &Op| other.done.as_ref().is_some_and(|done| done.at < op.called);
        history.iter().zip(taken).any(|(other, taken)| !taken && earlier(other))
    };
    for place in 0..history.len() {
        let op = &history[place];
        if taken[place] || waits_for(op, taken) {
            continue;
        }
        if let Some(next) = Register::step(&state, &op.input, op.done.as_ref().map(|done| &done.output)) {
            taken[place] = true;
            if holds_naively(history, taken, next) {
                return true;
            }
            taken[place] = false;
        }
    }
    false
}

#[test]
fn agrees_with_trying_every_order() {
    let mut word = 7_u64;
    let mut random = move |below: u64| {
        word = word.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (word >> 33) % below
    };
    let mut both = [0; 2];
    for _ in 0..20_000 {
        let history: Vec<Op> = (1..=6)
            .map(|value| {
                let called = random(12);
                let done = Done { at: called + random(6), output: Output::Accepted };
                let input = match random(6) {
                    0 => Input::Delete,
                    1 => Input::WriteIfAbsent(value),
                    2 => Input::WriteIfMatch { expected: 1 + random(6), value },
                    3 => Input::Write(value),
                    _ => Input::Read,
                };
                let output = match input {
                    Input::Read => Output::Found((random(3) > 0).then(|| 1 + random(6))),
                    Input::WriteIfAbsent(_) | Input::WriteIfMatch { .. } if random(2) == 0 => Output::Refused,
                    _ => Output::Accepted,
                };
                let done = (random(6) > 0).then_some(Done { output, ..done });
                Operation { client: 0, input, called, done }
            })
            .collect();
        let naive = holds_naively(&history, &mut vec![false; history.len()], None);
        assert_eq!(holds(&history), naive, "{history:#?}");
        both[usize::from(naive)] += 1;
    }
    assert!(both[0] > 1000 && both[1] > 1000, "{both:?}");
}
