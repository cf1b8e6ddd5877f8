//! One S3 key without versions.

use crate::Model;

/// A body. Each write has one of its own, so that a read tells which write it saw.
pub type Value = u64;

/// What is asked of a key.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Input {
    /// GET or HEAD.
    Read,
    /// PUT, Copy or CompleteMultipartUpload.
    Write(Value),
    /// The same with `If-None-Match: *`.
    WriteIfAbsent(Value),
    /// The same with `If-Match` of the ETag of `expected`.
    WriteIfMatch {
        /// What must be there.
        expected: Value,
        /// What is there afterwards.
        value: Value,
    },
    /// DELETE.
    Delete,
    /// DELETE with `If-Match` of the ETag of this body.
    DeleteIfMatch(Value),
}

/// What a key answers.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Output {
    /// To a read: what is there.
    Found(Option<Value>),
    /// To anything else: it was carried out.
    Accepted,
    /// Its condition did not hold: 412, or 404 where `If-Match` met no object.
    Refused,
}

/// The model of one key.
#[derive(Clone, Copy, Debug)]
pub struct Register;

impl Model for Register {
    type State = Option<Value>;
    type Input = Input;
    type Output = Output;

    fn step(state: &Self::State, input: &Input, output: Option<&Output>) -> Option<Self::State> {
        let (holds, after) = match *input {
            Input::Read => {
                return match output {
                    None => Some(*state),
                    Some(Output::Found(found)) => (found == state).then_some(*state),
                    Some(Output::Accepted | Output::Refused) => None,
                };
            }
            Input::Write(value) => (true, Some(value)),
            Input::WriteIfAbsent(value) => (state.is_none(), Some(value)),
            Input::WriteIfMatch { expected, value } => (*state == Some(expected), Some(value)),
            Input::Delete => (true, None),
            Input::DeleteIfMatch(expected) => (*state == Some(expected), None),
        };
        match output {
            None => Some(if holds { after } else { *state }),
            Some(Output::Accepted) => holds.then_some(after),
            Some(Output::Refused) => (!holds).then_some(*state),
            Some(Output::Found(_)) => None,
        }
    }

    fn writes(input: &Input) -> bool {
        !matches!(input, Input::Read)
    }
}
