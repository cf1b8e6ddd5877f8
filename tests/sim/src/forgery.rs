//! What planted faults do to messages: answers that nobody gave, and entries that nobody wrote.

use std::collections::BTreeMap;

use bytes::{Bytes, BytesMut};
use karri_ring_rpc::{Method, Request, Response};

use crate::chance::Chance;
use crate::mutant::Mutant;

/// Methods, as `ring/raft`, `ring/meta` and `ring/node` number them.
const APPEND: Method = Method(1);
const QUERY: Method = Method(101);
const WRITE_RUN: Method = Method(200);
const SEAL: Method = Method(201);
/// Of 1,000 questions that were asked before, how many are answered as they were then.
const STALE: u64 = 150;
/// Of 1,000 answers to a question, how many are remembered.
const REMEMBERED: u64 = 300;
/// Of 1,000 messages with entries, how many are damaged.
const DAMAGED: u64 = 10;

/// What becomes of a message.
pub(crate) enum Fate {
    /// As it is.
    True(Request),
    /// The caller is answered so at once, and the message goes on when there is one.
    Forged(Response, Option<Request>),
}

/// The answers that were given, for the faults that give them again.
#[derive(Default)]
pub(crate) struct Forgery {
    pub(crate) mutant: Option<Mutant>,
    /// How often each answer was given: the most frequent means that all is well.
    answers: BTreeMap<u16, BTreeMap<Vec<u8>, u64>>,
    asked: BTreeMap<(u64, Bytes), Response>,
}

impl Forgery {
    /// What is needed later to remember an answer; `None`: nothing.
    pub(crate) fn question(&self, method: Method, request: &Request) -> Option<(Method, u64, Bytes)> {
        let heard = match self.mutant? {
            Mutant::AcknowledgeEntries => method == APPEND && !request.body.is_empty(),
            Mutant::AcknowledgeExtents => method == WRITE_RUN || method == SEAL,
            Mutant::StaleRead => method == QUERY,
            _ => false,
        };
        heard.then(|| (method, request.group, request.body.clone()))
    }

    /// Remembers an answer.
    pub(crate) fn answered(&mut self, question: (Method, u64, Bytes), response: &Response, chance: &Chance) {
        let (method, group, body) = question;
        if method != QUERY {
            *self.answers.entry(method.0).or_default().entry(response.head.to_vec()).or_default() += 1;
        } else if !self.asked.contains_key(&(group, body.clone())) || chance.of_1000(REMEMBERED) {
            self.asked.insert((group, body), response.clone());
        }
    }

    /// Decides about a message.
    pub(crate) fn fate(&self, method: Method, mut request: Request, chance: &Chance) -> Fate {
        let known = self.answers.get(&method.0).and_then(|answers| answers.iter().max_by_key(|(_, times)| **times));
        let known = known.map(|(head, _)| Response { head: head.clone().into(), body: Bytes::new() });
        match (self.mutant, known) {
            (Some(Mutant::AcknowledgeEntries), Some(known)) if method == APPEND && !request.body.is_empty() => {
                Fate::Forged(known, Some(request))
            }
            (Some(Mutant::AcknowledgeExtents), Some(known)) => Fate::Forged(known, None),
            (Some(Mutant::StaleRead), _) if method == QUERY && chance.of_1000(STALE) => {
                match self.asked.get(&(request.group, request.body.clone())) {
                    Some(before) => Fate::Forged(before.clone(), None),
                    None => Fate::True(request),
                }
            }
            (Some(Mutant::DamageEntry), _)
                if method == APPEND && !request.body.is_empty() && chance.of_1000(DAMAGED) =>
            {
                let mut body = BytesMut::from(&request.body[..]);
                let last = body.len() - 1;
                body[last] ^= 1;
                request.body = body.freeze();
                Fate::True(request)
            }
            _ => Fate::True(request),
        }
    }
}
