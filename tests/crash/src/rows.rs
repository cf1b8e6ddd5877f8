//! A small evaluator: pairs of rows that are only ever written together.

use bytes::Bytes;
use karri_ring_meta::{EvaluateError, Evaluator, EvaluatorId, Latches, Table, View};
use karri_ring_types::Timestamp;
use serde::{Deserialize, Serialize};

/// Number of the evaluator.
pub const PAIRS: EvaluatorId = EvaluatorId(16);
const TABLE: Table = Table(16);

/// A write of a pair.
#[derive(Debug, Serialize, Deserialize)]
pub struct WritePair {
    /// The key of both, without its last letter.
    pub key: Vec<u8>,
    /// What both become; `None` deletes them.
    pub value: Option<Bytes>,
}

/// The two rows of a pair.
pub type Pair = [Option<Bytes>; 2];

/// See the module.
#[derive(Debug)]
pub struct Pairs;

fn halves(key: &[u8]) -> [Vec<u8>; 2] {
    [b'a', b'b'].map(|half| [key, &[half]].concat())
}

impl Evaluator for Pairs {
    fn latches(&self, command: &[u8]) -> Latches {
        let pair: Result<WritePair, _> = postcard::from_bytes(command);
        Latches { shared: vec![], exclusive: pair.map(|pair| vec![pair.key]).unwrap_or_default() }
    }

    fn evaluate(&self, view: &mut View<'_>, command: &[u8], _now: Timestamp) -> Result<Vec<u8>, EvaluateError> {
        let WritePair { key, value } =
            postcard::from_bytes(command).map_err(|e| EvaluateError::Malformed(e.to_string()))?;
        for half in halves(&key) {
            view.get(TABLE, &half)?;
            match &value {
                Some(value) => view.put(TABLE, half, value.clone()),
                None => view.delete(TABLE, half),
            }
        }
        Ok(vec![])
    }

    fn query(&self, view: &mut View<'_>, key: &[u8]) -> Result<Vec<u8>, EvaluateError> {
        let [a, b] = halves(key);
        let pair: Pair = [view.get(TABLE, &a)?, view.get(TABLE, &b)?];
        postcard::to_stdvec(&pair).map_err(|e| EvaluateError::Malformed(e.to_string()))
    }
}
