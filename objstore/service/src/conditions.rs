//! Conditions on objects, with the precedence that AWS and RFC 9110 give them.

use karri_ring_types::Timestamp;
use serde::{Deserialize, Serialize};

use crate::ServiceError;

/// Which entity tags a condition names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum EtagCondition {
    /// `*`: any object.
    Any,
    /// One of these, without quotes.
    OneOf(Vec<String>),
}

impl EtagCondition {
    fn names(&self, etag: &str) -> bool {
        match self {
            Self::Any => true,
            Self::OneOf(etags) => etags.iter().any(|named| named == etag || named == "*"),
        }
    }
}

/// Conditions of one request. Times are compared in whole seconds, as HTTP dates are.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Conditions {
    /// The object has one of these entity tags.
    pub if_match: Option<EtagCondition>,
    /// The object has none of these entity tags.
    pub if_none_match: Option<EtagCondition>,
    /// It was written after this. Ignored beside `if_none_match`.
    pub if_modified_since: Option<Timestamp>,
    /// It was not written after this. Ignored beside `if_match`.
    pub if_unmodified_since: Option<Timestamp>,
}

impl Conditions {
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.if_match.is_none()
            && self.if_none_match.is_none()
            && self.if_modified_since.is_none()
            && self.if_unmodified_since.is_none()
    }

    /// Whether an object that exists may be read.
    pub(crate) fn check_read(&self, etag: &str, modified: Timestamp) -> Result<(), ServiceError> {
        self.check_source(etag, modified).map_err(|failure| match failure {
            Failure::NotModified(_) => ServiceError::NotModified { etag: etag.to_owned(), last_modified: modified },
            Failure::Failed(condition) => ServiceError::PreconditionFailed { condition },
        })
    }

    /// Whether an object that exists may be copied: there is no "not modified" answer to a copy.
    pub(crate) fn check_copy(&self, etag: &str, modified: Timestamp) -> Result<(), ServiceError> {
        self.check_source(etag, modified).map_err(|failure| match failure {
            Failure::NotModified(condition) | Failure::Failed(condition) => {
                ServiceError::PreconditionFailed { condition }
            }
        })
    }

    fn check_source(&self, etag: &str, modified: Timestamp) -> Result<(), Failure> {
        match (&self.if_match, self.if_unmodified_since) {
            (Some(condition), _) if !condition.names(etag) => return Err(Failure::Failed("If-Match")),
            (None, Some(since)) if modified.as_secs() > since.as_secs() => {
                return Err(Failure::Failed("If-Unmodified-Since"));
            }
            _ => {}
        }
        match (&self.if_none_match, self.if_modified_since) {
            (Some(condition), _) if condition.names(etag) => Err(Failure::NotModified("If-None-Match")),
            (None, Some(since)) if modified.as_secs() <= since.as_secs() => {
                Err(Failure::NotModified("If-Modified-Since"))
            }
            _ => Ok(()),
        }
    }

    /// As [`Self::check_write`], where what is there may be asked for its time, too.
    pub(crate) fn check_replaced(&self, current: Option<(&str, Timestamp)>) -> Result<(), WriteRefusal> {
        self.check_write(current.map(|(etag, _)| etag))?;
        let Some((_, modified)) = current else { return Ok(()) };
        if self.if_match.is_none() && self.if_unmodified_since.is_some_and(|since| modified.as_secs() > since.as_secs())
        {
            return Err(WriteRefusal::IfUnmodifiedSince);
        }
        let is_old = self.if_modified_since.is_some_and(|since| modified.as_secs() <= since.as_secs());
        if self.if_none_match.is_none() && is_old { Err(WriteRefusal::IfModifiedSince) } else { Ok(()) }
    }

    /// Whether a write may replace what is there (its entity tag), or make something new.
    pub(crate) fn check_write(&self, current: Option<&str>) -> Result<(), WriteRefusal> {
        match (&self.if_match, current) {
            (Some(_), None) => return Err(WriteRefusal::Absent),
            (Some(condition), Some(etag)) if !condition.names(etag) => return Err(WriteRefusal::IfMatch),
            _ => {}
        }
        match (&self.if_none_match, current) {
            (Some(condition), Some(etag)) if condition.names(etag) => Err(WriteRefusal::IfNoneMatch),
            _ => Ok(()),
        }
    }
}

#[derive(Clone, Copy, Debug)]
enum Failure {
    NotModified(&'static str),
    Failed(&'static str),
}

/// Why a conditional write is not done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum WriteRefusal {
    /// `If-Match` and there is no object.
    Absent,
    IfMatch,
    IfNoneMatch,
    IfModifiedSince,
    IfUnmodifiedSince,
}

impl From<WriteRefusal> for ServiceError {
    fn from(refusal: WriteRefusal) -> Self {
        match refusal {
            WriteRefusal::Absent => Self::NoSuchKey,
            WriteRefusal::IfMatch => Self::PreconditionFailed { condition: "If-Match" },
            WriteRefusal::IfNoneMatch => Self::PreconditionFailed { condition: "If-None-Match" },
            WriteRefusal::IfModifiedSince => Self::PreconditionFailed { condition: "If-Modified-Since" },
            WriteRefusal::IfUnmodifiedSince => Self::PreconditionFailed { condition: "If-Unmodified-Since" },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ETAG: &str = "aa";
    const MODIFIED: Timestamp = Timestamp(10_500);
    const EARLIER: Timestamp = Timestamp(9_000);
    const SAME_SECOND: Timestamp = Timestamp(10_000);

    fn one(etag: &str) -> Option<EtagCondition> {
        Some(EtagCondition::OneOf(vec![etag.to_owned()]))
    }

    fn told(conditions: &Conditions) -> &'static str {
        match conditions.check_read(ETAG, MODIFIED) {
            Ok(()) => "200",
            Err(ServiceError::NotModified { .. }) => "304",
            Err(ServiceError::PreconditionFailed { condition }) => condition,
            Err(_) => "other",
        }
    }

    #[test]
    fn single_conditions_of_reads() {
        let with = |change: &dyn Fn(&mut Conditions)| {
            let mut conditions = Conditions::default();
            change(&mut conditions);
            told(&conditions)
        };
        assert_eq!(with(&|_| {}), "200");
        assert_eq!(with(&|c| c.if_match = one("aa")), "200");
        assert_eq!(with(&|c| c.if_match = Some(EtagCondition::Any)), "200");
        assert_eq!(with(&|c| c.if_match = one("bb")), "If-Match");
        assert_eq!(with(&|c| c.if_none_match = one("aa")), "304");
        assert_eq!(with(&|c| c.if_none_match = one("bb")), "200");
        assert_eq!(with(&|c| c.if_modified_since = Some(EARLIER)), "200");
        assert_eq!(with(&|c| c.if_modified_since = Some(SAME_SECOND)), "304");
        assert_eq!(with(&|c| c.if_unmodified_since = Some(EARLIER)), "If-Unmodified-Since");
        assert_eq!(with(&|c| c.if_unmodified_since = Some(SAME_SECOND)), "200");
    }

    #[test]
    fn etags_go_before_times() {
        let mut conditions =
            Conditions { if_match: one("aa"), if_unmodified_since: Some(EARLIER), ..Default::default() };
        assert_eq!(told(&conditions), "200");
        conditions = Conditions { if_none_match: one("aa"), if_modified_since: Some(EARLIER), ..Default::default() };
        assert_eq!(told(&conditions), "304");
        conditions =
            Conditions { if_none_match: one("bb"), if_modified_since: Some(SAME_SECOND), ..Default::default() };
        assert_eq!(told(&conditions), "200");
        conditions = Conditions { if_match: one("bb"), if_none_match: one("aa"), ..Default::default() };
        assert_eq!(told(&conditions), "If-Match");
    }

    #[test]
    fn copies_have_no_304() {
        let conditions = Conditions { if_none_match: one("aa"), ..Default::default() };
        assert!(matches!(
            conditions.check_copy(ETAG, MODIFIED),
            Err(ServiceError::PreconditionFailed { condition: "If-None-Match" })
        ));
    }

    #[test]
    fn writes() {
        let create = Conditions { if_none_match: Some(EtagCondition::Any), ..Default::default() };
        assert_eq!(create.check_write(None), Ok(()));
        assert_eq!(create.check_write(Some("aa")), Err(WriteRefusal::IfNoneMatch));
        let replace = Conditions { if_match: one("aa"), ..Default::default() };
        assert_eq!(replace.check_write(None), Err(WriteRefusal::Absent));
        assert_eq!(replace.check_write(Some("aa")), Ok(()));
        assert_eq!(replace.check_write(Some("bb")), Err(WriteRefusal::IfMatch));
    }
}
