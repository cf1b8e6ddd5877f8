//! The search for an order.

use std::collections::HashSet;

use crate::{Model, Operation, Verdict};

/// Steps after which [`check`] gives up.
pub const STEPS_MAX: u64 = 20_000_000;

/// Why there is no order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The longest order that the model accepts, as places in the history.
    pub longest: Vec<usize>,
    /// The operation whose answer fits nowhere after it.
    pub stuck: usize,
}

/// A call or an answer, in a list that is linked both ways. Place 0 is the list's head.
struct Event {
    /// Place in the history.
    operation: usize,
    /// The answer that belongs to this call; `None` for answers and for calls without one.
    answer: Option<usize>,
    is_call: bool,
    before: usize,
    after: usize,
}

/// As [`check_within`] with [`STEPS_MAX`].
pub fn check<M: Model>(history: &[Operation<M::Input, M::Output>]) -> Verdict {
    check_within::<M>(history, STEPS_MAX)
}

/// Searches for an order of `history`, which is of one key.
pub fn check_within<M: Model>(history: &[Operation<M::Input, M::Output>], steps_max: u64) -> Verdict {
    let mut search = Search::<M>::new(history);
    let mut steps = 0;
    while search.answers > 0 {
        steps += 1;
        if steps > steps_max {
            return Verdict::Unknown;
        }
        if !search.step(history) {
            return Verdict::Violated(Violation { longest: search.longest, stuck: search.stuck });
        }
    }
    Verdict::Linearizable
}

struct Search<M: Model> {
    events: Vec<Event>,
    /// Answers that are not in the order yet.
    answers: usize,
    state: M::State,
    /// Which operations are in the order.
    taken: Vec<u64>,
    tried: HashSet<(Vec<u64>, M::State)>,
    /// The order: calls with the states before them.
    order: Vec<(usize, M::State)>,
    at: usize,
    longest: Vec<usize>,
    stuck: usize,
}

impl<M: Model> Search<M> {
    fn new(history: &[Operation<M::Input, M::Output>]) -> Self {
        // A call before an answer of the same moment: they were under way together.
        let mut moments: Vec<(u64, bool, usize)> = Vec::new();
        for (place, operation) in history.iter().enumerate() {
            match &operation.done {
                Some(done) => {
                    moments.push((operation.called, false, place));
                    moments.push((done.at.max(operation.called), true, place));
                }
                None if M::writes(&operation.input) => moments.push((operation.called, false, place)),
                None => {}
            }
        }
        moments.sort_unstable();
        let mut events = vec![Event { operation: 0, answer: None, is_call: false, before: 0, after: 0 }];
        let mut calls = vec![0; history.len()];
        for (_, is_answer, operation) in moments {
            let place = events.len();
            events[place - 1].after = place;
            events.push(Event { operation, answer: None, is_call: !is_answer, before: place - 1, after: 0 });
            if is_answer {
                events[calls[operation]].answer = Some(place);
            } else {
                calls[operation] = place;
            }
        }
        Self {
            at: events[0].after,
            events,
            answers: history.iter().filter(|operation| operation.done.is_some()).count(),
            state: M::State::default(),
            taken: vec![0; history.len().div_ceil(64)],
            tried: HashSet::new(),
            order: Vec::new(),
            longest: Vec::new(),
            stuck: 0,
        }
    }

    /// Looks at one event; false when all has been tried.
    fn step(&mut self, history: &[Operation<M::Input, M::Output>]) -> bool {
        if self.at != 0 && self.events[self.at].is_call {
            if !self.take(history) {
                self.at = self.events[self.at].after;
            }
            return true;
        }
        // Here an answer comes whose operation had to be in the order by now, or the end.
        if self.at != 0 && (self.longest.is_empty() || self.order.len() > self.longest.len()) {
            self.longest = self.order.iter().map(|(call, _)| self.events[*call].operation).collect();
            self.stuck = self.events[self.at].operation;
        }
        self.give_back()
    }

    /// Puts the operation of the call at `at` into the order if it fits and leads to something new.
    fn take(&mut self, history: &[Operation<M::Input, M::Output>]) -> bool {
        let place = self.events[self.at].operation;
        let operation = &history[place];
        let output = operation.done.as_ref().map(|done| &done.output);
        let Some(next) = M::step(&self.state, &operation.input, output) else { return false };
        if operation.done.is_none() && next == self.state {
            // It may as well never happen.
            return false;
        }
        self.taken[place / 64] |= 1 << (place % 64);
        if !self.tried.insert((self.taken.clone(), next.clone())) {
            self.taken[place / 64] &= !(1 << (place % 64));
            return false;
        }
        self.order.push((self.at, std::mem::replace(&mut self.state, next)));
        let answer = self.events[self.at].answer;
        self.unlink(self.at);
        if let Some(answer) = answer {
            self.unlink(answer);
            self.answers -= 1;
        }
        self.at = self.events[0].after;
        true
    }

    /// Takes the last operation out of the order and goes on behind it.
    fn give_back(&mut self) -> bool {
        let Some((call, state)) = self.order.pop() else { return false };
        let place = self.events[call].operation;
        self.taken[place / 64] &= !(1 << (place % 64));
        self.state = state;
        if let Some(answer) = self.events[call].answer {
            self.link(answer);
            self.answers += 1;
        }
        self.link(call);
        self.at = self.events[call].after;
        true
    }

    fn unlink(&mut self, place: usize) {
        let (before, after) = (self.events[place].before, self.events[place].after);
        self.events[before].after = after;
        // The head's `before` is never read.
        self.events[after].before = before;
    }

    fn link(&mut self, place: usize) {
        let (before, after) = (self.events[place].before, self.events[place].after);
        self.events[before].after = place;
        self.events[after].before = place;
    }
}

#[cfg(test)]
#[path = "search_tests.rs"]
mod tests;
