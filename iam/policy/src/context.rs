//! What a request says of itself: condition keys and their values.

use std::borrow::Cow;

/// Keys that a request may bring by itself in the `aws:` name space; all others there are the server's to say.
const REQUEST_KEYS: [&str; 4] = ["aws:referer", "aws:useragent", "aws:tagkeys", "aws:requesttag/"];

/// Room for the keys of an ordinary request.
const ENTRIES_EXPECTED: usize = 16;

/// Condition keys (compared without regard to case) with one or several values.
///
/// Keys about the principal and the clock are not kept here and cannot be set: evaluation takes them from
/// [`Principal`](crate::Principal) and from the time given to [`Context::new`].
///
/// ```
/// use karri_iam_policy::Context;
/// let mut context = Context::new(1_700_000_000);
/// context.set("aws:SourceIp", "192.0.2.1");
/// context.offer("aws:SourceIp", "10.0.0.1"); // what a request brings never replaces what the server knows
/// context.offer("s3:prefix", "photos/");
/// assert_eq!(context.get("AWS:sourceip"), Some("192.0.2.1"));
/// ```
#[derive(Clone, Debug)]
pub struct Context<'a> {
    now_seconds: i64,
    entries: Vec<Entry<'a>>,
}

#[derive(Clone, Debug)]
struct Entry<'a> {
    key: Cow<'a, str>,
    values: Values<'a>,
    source: Source,
}

/// One value is the rule, and needs no list of its own.
#[derive(Clone, Debug)]
enum Values<'a> {
    One([Cow<'a, str>; 1]),
    Many(Vec<Cow<'a, str>>),
}

impl<'a> Values<'a> {
    fn collect<V: Into<Cow<'a, str>>>(values: impl IntoIterator<Item = V>) -> Self {
        let mut values = values.into_iter().map(Into::into);
        match (values.next(), values.next()) {
            (None, _) => Self::Many(Vec::new()),
            (Some(value), None) => Self::One([value]),
            (Some(first), Some(second)) => Self::Many([first, second].into_iter().chain(values).collect()),
        }
    }

    fn as_slice(&self) -> &[Cow<'a, str>] {
        match self {
            Self::One(value) => value,
            Self::Many(values) => values,
        }
    }
}

/// Who says so, from the weakest to the strongest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd)]
enum Source {
    Request,
    Server,
    Simulation,
}

impl<'a> Context<'a> {
    /// An empty context at `now_seconds` since 1970.
    pub fn new(now_seconds: i64) -> Self {
        Self { now_seconds, entries: Vec::with_capacity(ENTRIES_EXPECTED) }
    }

    /// The time that `aws:CurrentTime` and `aws:EpochTime` give.
    pub fn now_seconds(&self) -> i64 {
        self.now_seconds
    }

    /// Says what the server knows: `key` has this one value.
    pub fn set(&mut self, key: impl Into<Cow<'a, str>>, value: impl Into<Cow<'a, str>>) {
        self.set_all(key, [value]);
    }

    /// Says what the server knows: `key` has these values; none leaves the key out.
    pub fn set_all<V: Into<Cow<'a, str>>>(
        &mut self,
        key: impl Into<Cow<'a, str>>,
        values: impl IntoIterator<Item = V>,
    ) {
        self.put(key.into(), Values::collect(values), Source::Server);
    }

    /// Takes over what the request says by itself (a header, a parameter). It never replaces a key that was
    /// [set](Context::set), and cannot bring keys of the `aws:` name space but those that are the request's to say.
    pub fn offer(&mut self, key: impl Into<Cow<'a, str>>, value: impl Into<Cow<'a, str>>) {
        self.offer_all(key, [value]);
    }

    /// As [`Context::offer`], with several values.
    pub fn offer_all<V: Into<Cow<'a, str>>>(
        &mut self,
        key: impl Into<Cow<'a, str>>,
        values: impl IntoIterator<Item = V>,
    ) {
        let key = key.into();
        let lower = key.to_ascii_lowercase();
        let is_reserved = lower.starts_with("aws:")
            && !REQUEST_KEYS
                .iter()
                .any(|&open| if open.ends_with('/') { lower.starts_with(open) } else { lower == open });
        if !is_reserved {
            self.put(key, Values::collect(values), Source::Request);
        }
    }

    /// The first value of `key`.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.values(key)?.first().map(AsRef::as_ref)
    }

    /// All values of `key`.
    pub fn values(&self, key: &str) -> Option<&[Cow<'a, str>]> {
        self.entry(key).map(|entry| entry.values.as_slice())
    }

    /// For policy simulation only: `key` has these values, even where evaluation would take it from the principal.
    pub fn simulate_all<V: Into<Cow<'a, str>>>(
        &mut self,
        key: impl Into<Cow<'a, str>>,
        values: impl IntoIterator<Item = V>,
    ) {
        self.put(key.into(), Values::collect(values), Source::Simulation);
    }

    /// The values of a key that a simulation set.
    pub(crate) fn simulated(&self, key: &str) -> Option<&[Cow<'a, str>]> {
        self.entry(key).filter(|entry| entry.source == Source::Simulation).map(|entry| entry.values.as_slice())
    }

    fn entry(&self, key: &str) -> Option<&Entry<'a>> {
        self.entries
            .iter()
            .find(|entry| entry.key.eq_ignore_ascii_case(key))
            .filter(|entry| !entry.values.as_slice().is_empty())
    }

    fn put(&mut self, key: Cow<'a, str>, values: Values<'a>, source: Source) {
        let existing = self.entries.iter().position(|entry| entry.key.eq_ignore_ascii_case(&key));
        if let Some(at) = existing {
            if self.entries[at].source > source {
                return;
            }
            self.entries.swap_remove(at);
        }
        // A key that the server knows to have no value is kept, so that the request cannot fill it.
        if !values.as_slice().is_empty() || source != Source::Request {
            self.entries.push(Entry { key, values, source });
        }
    }
}
