//! What may be in work at the same time: bounds by number and by bytes, of all clients together and of each.
//!
//! A client may have [`SHARE`] times what is free at that moment and no more (dynamic thresholds: Choudhury and Hahne,
//! "Dynamic queue length thresholds for shared-memory packet switches", IEEE/ACM Transactions on Networking 6(2), 1998).
//! So one that takes all it can get has 4/5 of the whole; `n` such clients come to 4/(4n + 1) each, as they
//! give back and take anew. Nobody's part is set aside while nobody wants it.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use parking_lot::Mutex;
use prometheus_client::metrics::gauge::Gauge;

use crate::error::ApiError;

/// How many times of what is free one client may have.
const SHARE: u64 = 4;
/// Memory of a request beside its bodies: head, buffers, a small answer.
const REQUEST_BYTES: u64 = 64 << 10;
/// Bytes of a request's body that are in memory before somebody accounts for them: what hyper reads ahead (a window of an
/// HTTP/2 stream, less of a connection), which is handed on piece by piece.
const UPLOAD_BYTES_MAX: u64 = 1 << 20;

/// A bounded amount that clients share.
pub(crate) struct Shares<K> {
    max: u64,
    used: u64,
    of: HashMap<K, u64>,
}

impl<K: Eq + Hash + Clone> Shares<K> {
    pub(crate) fn new(max: u64) -> Self {
        Self { max, used: 0, of: HashMap::new() }
    }

    /// Takes `amount` for a client, all of it or nothing.
    pub(crate) fn take(&mut self, client: &K, amount: u64) -> bool {
        let free = self.max.saturating_sub(self.used);
        let has = self.of.get(client).copied().unwrap_or(0);
        if amount > free || has + amount > free.saturating_mul(SHARE) {
            return false;
        }
        self.used += amount;
        match self.of.get_mut(client) {
            Some(has) => *has += amount,
            None => _ = self.of.insert(client.clone(), amount),
        }
        true
    }

    /// Moves what one client has to another, as far as that one's share goes.
    fn pass_on(&mut self, from: &K, to: &K, amount: u64) -> bool {
        self.give_back(from, amount);
        if self.take(to, amount) {
            return true;
        }
        self.restore(from, amount);
        false
    }

    /// Takes what the client had a moment ago, whatever its share is.
    fn restore(&mut self, client: &K, amount: u64) {
        self.used += amount;
        *self.of.entry(client.clone()).or_default() += amount;
    }

    pub(crate) fn give_back(&mut self, client: &K, amount: u64) {
        self.used = self.used.checked_sub(amount).expect("what is given back was taken");
        let has = self.of.get_mut(client).expect("who gives back has some");
        *has = has.checked_sub(amount).expect("a client gives back what it took");
        if *has == 0 {
            self.of.remove(client);
        }
    }
}

/// Whose share a request counts for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Client {
    /// Nobody has proved yet who sent it, or nobody signed.
    Address(IpAddr),
    /// The signature was verified.
    Key(Arc<str>),
}

struct Used {
    requests: Shares<Client>,
    bytes: Shares<Client>,
}

/// The requests in work.
pub(crate) struct Admission {
    used: Mutex<Used>,
    overloaded: Overloaded,
    memory: Gauge,
}

/// Counts refusals.
type Overloaded = prometheus_client::metrics::counter::Counter;

impl Admission {
    pub(crate) fn new(requests_max: usize, memory_bytes_max: u64, overloaded: Overloaded, memory: Gauge) -> Arc<Self> {
        let requests = Shares::new(requests_max as u64);
        let bytes = Shares::new(memory_bytes_max);
        Arc::new(Self { used: Mutex::new(Used { requests, bytes }), overloaded, memory })
    }

    /// A place for a request that has come from `remote`, with a body of `length` bytes, if that is known.
    ///
    /// # Errors
    /// `SlowDown` where there is none, or where others would have none for it.
    pub(crate) fn admit(self: &Arc<Self>, remote: IpAddr, length: Option<u64>) -> Result<Arc<Slot>, ApiError> {
        let client = Client::Address(network_of(remote));
        let bytes = REQUEST_BYTES + length.unwrap_or(UPLOAD_BYTES_MAX).min(UPLOAD_BYTES_MAX);
        let mut used = self.used.lock();
        if !used.requests.take(&client, 1) {
            return Err(self.refuse());
        }
        if !used.bytes.take(&client, bytes) {
            used.requests.give_back(&client, 1);
            return Err(self.refuse());
        }
        drop(used);
        self.memory.inc_by(bytes as i64);
        Ok(Arc::new(Slot { admission: self.clone(), held: Mutex::new(Held { client, bytes }) }))
    }

    fn refuse(&self) -> ApiError {
        self.overloaded.inc();
        ApiError::slow_down()
    }
}

struct Held {
    client: Client,
    bytes: u64,
}

/// The place of a request in work, with the memory that it may use; both are free again when it is dropped.
pub(crate) struct Slot {
    admission: Arc<Admission>,
    held: Mutex<Held>,
}

impl Slot {
    /// The request was signed with `access_key`: from now on it counts for that key's owner, wherever it came from.
    ///
    /// # Errors
    /// `SlowDown` when the key has its share.
    pub(crate) fn belongs_to(&self, access_key: &str) -> Result<(), ApiError> {
        let client = Client::Key(access_key.into());
        let mut held = self.held.lock();
        let mut used = self.admission.used.lock();
        if !used.requests.pass_on(&held.client, &client, 1) {
            return Err(self.admission.refuse());
        }
        if !used.bytes.pass_on(&held.client, &client, held.bytes) {
            // Where it came from, so that each is given back by whom it was taken for.
            used.requests.give_back(&client, 1);
            used.requests.restore(&held.client, 1);
            return Err(self.admission.refuse());
        }
        held.client = client;
        Ok(())
    }

    /// Takes memory for `bytes` more.
    ///
    /// # Errors
    /// `SlowDown` where there is none.
    pub(crate) fn reserve(&self, bytes: u64) -> Result<(), ApiError> {
        let mut held = self.held.lock();
        if !self.admission.used.lock().bytes.take(&held.client, bytes) {
            return Err(self.admission.refuse());
        }
        held.bytes += bytes;
        self.admission.memory.inc_by(bytes as i64);
        Ok(())
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let held = self.held.get_mut();
        let mut used = self.admission.used.lock();
        used.requests.give_back(&held.client, 1);
        used.bytes.give_back(&held.client, held.bytes);
        drop(used);
        self.admission.memory.dec_by(held.bytes as i64);
    }
}

/// Memory for a request's answer.
#[derive(Clone)]
pub struct Room(pub(crate) Arc<Slot>);

impl Room {
    /// Room for one request that no gateway has let in: it shares memory with nobody.
    pub fn alone() -> Self {
        let admission = Admission::new(2, 1 << 40, Overloaded::default(), Gauge::default());
        Self(admission.admit(IpAddr::from([127, 0, 0, 1]), Some(0)).expect("nobody else is there"))
    }

    /// Takes `bytes` of the node's memory for bodies, until the answer is sent.
    ///
    /// # Errors
    /// 503 `SlowDown` when there are none, or when this client has its share.
    pub fn reserve(&self, bytes: u64) -> Result<(), ApiError> {
        self.0.reserve(bytes)
    }
}

/// Who owns an address of IPv6 owns its /64.
pub(crate) fn network_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn greedy(shares: &mut Shares<u32>, client: u32) -> u64 {
        let mut taken = 0;
        while shares.take(&client, 1) {
            taken += 1;
        }
        taken
    }

    #[test]
    fn whoever_takes_all_leaves_a_fifth_for_others() {
        let mut shares = Shares::new(1000);
        assert_eq!(greedy(&mut shares, 1), 800, "four fifths");
        assert_eq!([2, 3, 4].map(|client| greedy(&mut shares, client)), [160, 32, 7], "of what each finds");
        shares.give_back(&1, 300);
        assert!(greedy(&mut shares, 99) > 200, "what is given back is there for others");
    }

    #[test]
    fn what_is_given_back_is_forgotten() {
        let mut shares = Shares::new(10);
        for client in 0..1000 {
            assert!(shares.take(&client, 3));
            shares.give_back(&client, 3);
        }
        assert_eq!((shares.used, shares.of.len()), (0, 0));
        assert!(!shares.take(&0, 11), "more than there is");
        assert!(shares.take(&0, 10), "alone, one may have all at once");
    }

    fn admission(requests: usize, bytes: u64) -> Arc<Admission> {
        Admission::new(requests, bytes, Overloaded::default(), Gauge::default())
    }

    fn ip(last: u8) -> IpAddr {
        [10, 0, 0, last].into()
    }

    #[test]
    fn a_key_has_one_share_from_wherever_it_comes() {
        let admission = admission(10, u64::MAX / 8);
        let mut held = Vec::new();
        let mut refused = 0;
        for last in 0..10 {
            let slot = admission.admit(ip(last), Some(0)).expect("each address is new");
            match slot.belongs_to("GREEDY") {
                Ok(()) => held.push(slot),
                Err(error) => {
                    assert_eq!((error.code.as_ref(), error.status), ("SlowDown", 503));
                    refused += 1;
                }
            }
        }
        assert_eq!((held.len(), refused), (8, 2));
        let other = admission.admit(ip(1), Some(0)).expect("a place is left");
        other.belongs_to("MODEST").expect("for another key of the same address");
        drop((held, other));
        let used = admission.used.lock();
        assert_eq!((used.requests.used, used.bytes.used), (0, 0));
        assert!(used.requests.of.is_empty() && used.bytes.of.is_empty());
    }

    #[test]
    fn memory_is_bounded_and_given_back() {
        let admission = admission(1000, 16 << 20);
        let slot = admission.admit(ip(1), None).expect("there is room");
        slot.reserve(8 << 20).expect("there is room");
        assert!(slot.reserve(8 << 20).is_err(), "there is none");
        let other = admission.admit(ip(2), None).expect("another finds some");
        assert_eq!(admission.memory.get(), (10 << 20) + 2 * REQUEST_BYTES as i64);
        drop((slot, other));
        assert_eq!(admission.memory.get(), 0);
        admission.admit(ip(3), None).expect("all is free").reserve(12 << 20).expect("nearly all");
    }

    #[test]
    fn a_network_of_ipv6_is_one_client() {
        let of = |text: &str| network_of(text.parse().expect("an address"));
        assert_eq!(of("2001:db8:0:1::1"), of("2001:db8:0:1:ffff::2"));
        assert_ne!(of("2001:db8:0:1::1"), of("2001:db8:0:2::1"));
        assert_eq!(of("::ffff:10.0.0.1"), ip(1));
    }
}
