//! The policy of a form: what its signer allows, as a JSON document in base64.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::multipart::LengthRange;
use crate::error::ApiError;

/// Conditions, at most.
const CONDITIONS_MAX: usize = 256;

/// Fields that no condition has to allow.
const FREE_FIELDS: [&str; 5] = ["file", "policy", "signature", "awsaccesskeyid", "x-amz-signature"];
const FREE_PREFIX: &str = "x-ignore-";
/// Checksums name the file more closely and allow nothing.
const CHECKSUM_PREFIX: &str = "x-amz-checksum-";

#[derive(Debug, PartialEq, Eq)]
enum Match {
    Exact,
    Prefix,
}

#[derive(Debug, PartialEq, Eq)]
struct Condition {
    how: Match,
    /// In lower case.
    field: String,
    value: String,
}

/// A policy that was understood.
#[derive(Debug)]
pub(crate) struct FormPolicy {
    /// Seconds since 1970.
    expires: i64,
    conditions: Vec<Condition>,
    lengths: Option<LengthRange>,
}

impl FormPolicy {
    /// Reads the field `policy`.
    pub(crate) fn parse(encoded: &str) -> Result<Self, ApiError> {
        let compact: String = encoded.chars().filter(|character| !character.is_ascii_whitespace()).collect();
        let json = STANDARD.decode(compact).map_err(|_| invalid("Invalid Base64 encoding."))?;
        let document: Value = serde_json::from_slice(&json).map_err(|_| invalid("Invalid JSON."))?;
        let Value::Object(document) = document else { return Err(invalid("Invalid JSON.")) };
        if let Some(name) = document.keys().find(|name| !["expiration", "conditions"].contains(&name.as_str())) {
            return Err(invalid(&format!("Unexpected: '{name}'")));
        }
        let expiration = document.get("expiration").ok_or_else(|| invalid("Policy missing expiration."))?;
        let expiration = expiration.as_str().unwrap_or_default();
        // The parser takes a space for the T, which AWS does not.
        let expires = Some(expiration).filter(|text| text.as_bytes().get(10) == Some(&b'T'));
        let expires = expires
            .and_then(|text| OffsetDateTime::parse(text, &Rfc3339).ok())
            .ok_or_else(|| invalid(&format!("Invalid 'expiration' value: '{expiration}'")))?
            .unix_timestamp();
        let Some(Value::Array(listed)) = document.get("conditions") else {
            return Err(invalid("Policy missing conditions."));
        };
        if listed.len() > CONDITIONS_MAX {
            return Err(invalid("Too many conditions."));
        }
        let mut policy = Self { expires, conditions: Vec::new(), lengths: None };
        listed.iter().try_for_each(|condition| policy.add(condition))?;
        Ok(policy)
    }

    fn add(&mut self, condition: &Value) -> Result<(), ApiError> {
        match condition {
            Value::Object(simple) => {
                let mut pairs = simple.iter();
                let (Some((field, value)), None) = (pairs.next(), pairs.next()) else {
                    return Err(invalid(
                        "Invalid Simple-Condition: Simple-Conditions must have exactly one property specified.",
                    ));
                };
                let value = text(value).ok_or_else(|| invalid("Invalid Simple-Condition: value must be a string."))?;
                self.conditions.push(Condition { how: Match::Exact, field: field.to_ascii_lowercase(), value });
                Ok(())
            }
            Value::Array(parts) => {
                let [Value::String(operator), first, second] = &parts[..] else {
                    return Err(invalid("Invalid Condition: wrong number of arguments."));
                };
                self.add_operation(&operator.to_ascii_lowercase(), first, second)
            }
            _ => Err(invalid("Invalid Condition: neither a JSON-Object nor a JSON-Array.")),
        }
    }

    fn add_operation(&mut self, operator: &str, first: &Value, second: &Value) -> Result<(), ApiError> {
        let how = match operator {
            "eq" => Match::Exact,
            "starts-with" => Match::Prefix,
            "content-length-range" => {
                let (Some(min), Some(max)) = (number(first), number(second)) else {
                    return Err(invalid("Invalid content-length-range: invalid argument."));
                };
                let known = self.lengths.unwrap_or(LengthRange { min: 0, max: u64::MAX });
                self.lengths = Some(LengthRange { min: known.min.max(min), max: known.max.min(max) });
                return Ok(());
            }
            other => return Err(invalid(&format!("Invalid Condition: unknown operation '{other}'."))),
        };
        let (Some(field), Some(value)) = (first.as_str().and_then(|field| field.strip_prefix('$')), text(second))
        else {
            return Err(invalid("Invalid Condition: expected a '$' and the name of a field, and a string."));
        };
        self.conditions.push(Condition { how, field: field.to_ascii_lowercase(), value });
        Ok(())
    }

    /// Whether these fields, names in lower case, may be sent now; how long the file may be.
    pub(crate) fn check(&self, fields: &[(String, String)], now: u64) -> Result<Option<LengthRange>, ApiError> {
        if i64::try_from(now).unwrap_or(i64::MAX) >= self.expires {
            return Err(denied("Policy expired."));
        }
        for condition in &self.conditions {
            let value = fields.iter().find(|(name, _)| *name == condition.field).map_or("", |(_, value)| value);
            if !condition.holds(value) {
                return Err(denied(&format!("Policy Condition failed: {}", condition.text())));
            }
        }
        let is_allowed = |name: &str| {
            FREE_FIELDS.contains(&name)
                || name.starts_with(FREE_PREFIX)
                || name.starts_with(CHECKSUM_PREFIX)
                || self.conditions.iter().any(|condition| condition.field == name)
        };
        let extra: Vec<&str> = fields.iter().map(|(name, _)| name.as_str()).filter(|name| !is_allowed(name)).collect();
        match extra.is_empty() {
            true => Ok(self.lengths),
            false => Err(denied(&format!("Extra input fields: {}", extra.join(", ")))),
        }
    }
}

impl Condition {
    fn holds(&self, value: &str) -> bool {
        match self.how {
            Match::Exact => value == self.value,
            // A list of types is a list of values.
            Match::Prefix if self.field == "content-type" => {
                value.split(',').all(|one| one.trim().starts_with(&self.value))
            }
            Match::Prefix => value.starts_with(&self.value),
        }
    }

    fn text(&self) -> String {
        let how = if self.how == Match::Exact { "eq" } else { "starts-with" };
        format!("[\"{how}\", \"${}\", \"{}\"]", self.field, self.value)
    }
}

fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

fn number(value: &Value) -> Option<u64> {
    match value {
        Value::Number(number) => number.as_u64(),
        Value::String(text) => text.parse().ok(),
        _ => None,
    }
}

fn invalid(detail: &str) -> ApiError {
    ApiError::new("InvalidPolicyDocument", 400, format!("Invalid Policy: {detail}"))
}

fn denied(detail: &str) -> ApiError {
    ApiError::access_denied(format!("Invalid according to Policy: {detail}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_800_000_000;

    fn policy(conditions: &str) -> Result<FormPolicy, ApiError> {
        let document = format!("{{\"expiration\":\"2030-01-01T00:00:00.000Z\",\"conditions\":{conditions}}}");
        FormPolicy::parse(&STANDARD.encode(document))
    }

    fn fields(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn every_field_needs_a_condition_that_holds() {
        let policy = policy("[{\"bUcket\":\"b\"},[\"Starts-With\",\"$Key\",\"a/\"],[\"eq\",\"$acl\",\"private\"]]");
        let policy = policy.expect("understood");
        let check = |pairs: &[(&str, &str)]| policy.check(&fields(pairs), NOW).map_err(|refused| refused.message);
        let right = [("bucket", "b"), ("key", "a/b"), ("acl", "private")];
        assert_eq!(check(&right), Ok(None));
        let free = [("x-ignore-me", "1"), ("policy", "p"), ("x-amz-checksum-crc32", "AAAAAA==")];
        assert_eq!(check(&[&right[..], &free].concat()), Ok(None));
        for wrong in [
            vec![("bucket", "c"), ("key", "a/b"), ("acl", "private")],
            vec![("bucket", "b"), ("key", "b"), ("acl", "private")],
            vec![("bucket", "b"), ("key", "a/b")],
            [&right[..], &[("x-amz-meta-a", "1")]].concat(),
        ] {
            assert!(check(&wrong).is_err(), "{wrong:?}");
        }
        assert!(policy.check(&fields(&right), 2_000_000_000).is_err(), "expired");
    }

    #[test]
    fn lengths_narrow() {
        let policy = policy("[[\"content-length-range\",1,\"9\"],[\"content-length-range\",\"3\",99]]").expect("fine");
        assert_eq!(policy.check(&[], NOW).expect("fine"), Some(LengthRange { min: 3, max: 9 }));
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        for conditions in [
            "{}",
            "[{}]",
            "[{\"a\":\"1\",\"b\":\"2\"}]",
            "[[\"eq\",\"$a\"]]",
            "[[\"eq\",\"a\",\"1\"]]",
            "[[\"is\",\"$a\",\"1\"]]",
            "[[\"content-length-range\",-1,0]]",
            "[1]",
        ] {
            let refused = policy(conditions).expect_err(conditions);
            assert_eq!((refused.code.as_ref(), refused.status), ("InvalidPolicyDocument", 400));
        }
        for document in
            ["", "{", "[]", "{\"conditions\":[]}", "{\"expiration\":\"2030-01-01 00:00:00+00:00\",\"conditions\":[]}"]
        {
            assert!(FormPolicy::parse(&STANDARD.encode(document)).is_err(), "{document}");
        }
        assert!(FormPolicy::parse("!").is_err());
    }
}
