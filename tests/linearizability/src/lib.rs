//! Says whether a recorded history could have come from one copy of the data that does one thing at a time.
//!
//! The search is that of Wing and Gong (1993) with Lowe's memory of what was tried (2017), as porcupine has it: it takes
//! operations in an order that agrees with the clock until the model accepts all of them, or until none is left to try.
//!
//! An operation without an outcome is a "maybe": it happens at some moment after its call, or never.
//! [`Register`] is the model of one S3 key; each key of a history is checked by itself.
//!
//! ```
//! use karri_tests_linearizability::{check, Done, Input, Operation, Output, Register, Verdict};
//!
//! let put = Operation { client: 0, input: Input::Write(1), done: Some(Done { at: 5, output: Output::Accepted }), called: 1 };
//! let get = |called, found| {
//!     Operation { client: 1, input: Input::Read, done: Some(Done { at: called + 1, output: Output::Found(found) }), called }
//! };
//! assert_eq!(check::<Register>(&[put.clone(), get(2, None), get(6, Some(1))]), Verdict::Linearizable);
//! assert!(matches!(check::<Register>(&[put, get(2, Some(1)), get(6, None)]), Verdict::Violated(_)));
//! ```

mod register;
mod search;

pub use register::{Input, Output, Register, Value};
pub use search::{STEPS_MAX, Violation, check, check_within};

/// What the data is and how operations change it.
pub trait Model {
    /// All of the data. Starts as its default.
    type State: Clone + Eq + std::hash::Hash + Default;
    /// What is asked.
    type Input;
    /// What is answered.
    type Output;

    /// The state after `input` was carried out on `state` and answered with `output`, or `None` when it cannot have been
    /// answered so. Without an output: the state after `input` was carried out, whatever the answer.
    fn step(state: &Self::State, input: &Self::Input, output: Option<&Self::Output>) -> Option<Self::State>;

    /// Whether `input` can change a state. One that cannot and has no outcome tells nothing.
    fn writes(input: &Self::Input) -> bool;
}

/// The end of an operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Done<O> {
    /// When the answer came, on the clock of [`Operation::called`].
    pub at: u64,
    /// The answer.
    pub output: O,
}

/// One operation of one client. An operation that certainly was not carried out is left out of the history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operation<I, O> {
    /// Who asked; only for people to read.
    pub client: u64,
    /// What was asked.
    pub input: I,
    /// When, on one clock that all clients share, in any unit.
    pub called: u64,
    /// The outcome; `None` when it is not known.
    pub done: Option<Done<O>>,
}

/// What a search found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// There is an order.
    Linearizable,
    /// There is none.
    Violated(Violation),
    /// Nothing was found within the steps that were allowed.
    Unknown,
}
