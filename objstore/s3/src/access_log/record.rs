//! One line of an access log, in the fields and the order that AWS documents.

use std::fmt::Write as _;
use std::net::IpAddr;

use karri_iam_policy::PrincipalKind;
use karri_objstore_gateway::{ApiRequest, AuthKind, Caller, Done};
use karri_ring_types::Timestamp;

use crate::encoding::{civil, month_name, url_encode};

/// Query parameters whose values would let a reader of the log act as the caller.
const SECRET_PARAMETERS: [&str; 3] = ["x-amz-signature", "x-amz-security-token", "signature"];

/// What is known of a request before its answer is sent.
#[derive(Clone, Debug)]
pub(super) struct Draft {
    /// Canonical id of the bucket's owner.
    pub(super) owner: String,
    pub(super) bucket: String,
    pub(super) operation: String,
    pub(super) key: Option<String>,
    pub(super) version: Option<String>,
    pub(super) size: Size,
    pub(super) facts: Facts,
    pub(super) region: String,
}

/// The size of the object that a request was about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Size {
    Unknown,
    Bytes(u64),
    /// As much as was sent.
    Sent,
}

/// What does not depend on the bucket.
#[derive(Clone, Debug)]
pub(super) struct Facts {
    pub(super) request_id: String,
    remote: IpAddr,
    requester: Option<String>,
    method: String,
    uri: String,
    referer: Option<String>,
    user_agent: Option<String>,
    host_id: String,
    auth: AuthKind,
    host: String,
}

impl Facts {
    pub(super) fn of(request: &ApiRequest) -> Self {
        let header = |name: &str| {
            let value = request.headers.get(name);
            value.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
        };
        Self {
            request_id: request.request_id.to_string(),
            remote: request.remote,
            requester: requester(&request.caller),
            method: request.method.to_string(),
            uri: without_secrets(request.uri.path_and_query().map_or("/", |whole| whole.as_str())),
            referer: header("referer"),
            user_agent: header("user-agent"),
            host_id: request.host_id.to_string(),
            auth: request.auth,
            host: request.host.clone(),
        }
    }
}

/// The account where its root user asks, else the ARN of who asks.
fn requester(caller: &Caller) -> Option<String> {
    let principal = caller.principal()?;
    Some(match principal.identity.kind {
        PrincipalKind::AccountRoot => principal.user_id.clone(),
        _ => principal.arn.clone(),
    })
}

fn without_secrets(uri: &str) -> String {
    let Some((path, query)) = uri.split_once('?') else { return uri.to_owned() };
    let pair = |pair: &str| {
        let name = pair.split('=').next().unwrap_or_default();
        match SECRET_PARAMETERS.iter().any(|secret| name.eq_ignore_ascii_case(secret)) {
            true => format!("{name}=REDACTED"),
            false => pair.to_owned(),
        }
    };
    let query: Vec<String> = query.split('&').map(pair).collect();
    format!("{path}?{}", query.join("&"))
}

impl Draft {
    /// The line of a request that came at `time` and ended as `done` says.
    pub(super) fn line(&self, time: Timestamp, done: &Done<'_>) -> String {
        let facts = &self.facts;
        let mut line = String::with_capacity(512);
        field(&mut line, Some(&self.owner));
        field(&mut line, Some(&self.bucket));
        line.push_str(&moment(time));
        line.push(' ');
        field(&mut line, Some(&facts.remote.to_string()));
        field(&mut line, facts.requester.as_deref());
        field(&mut line, Some(&facts.request_id));
        field(&mut line, Some(&self.operation));
        field(&mut line, self.key.as_deref().map(url_encode).as_deref());
        quoted(&mut line, Some(&format!("{} {} {:?}", facts.method, facts.uri, done.version)));
        field(&mut line, Some(&done.status.to_string()));
        field(&mut line, done.error);
        number(&mut line, Some(done.bytes_sent).filter(|sent| *sent > 0));
        number(&mut line, self.size(done));
        number(&mut line, Some(millis(done.time)));
        // Of an upload it is not known when its last byte came.
        number(&mut line, (done.bytes_received == 0).then(|| millis(done.answered_after)));
        quoted(&mut line, facts.referer.as_deref());
        quoted(&mut line, facts.user_agent.as_deref());
        field(&mut line, self.version.as_deref());
        field(&mut line, Some(&facts.host_id));
        let (signature, auth) = signed(facts.auth);
        field(&mut line, signature);
        field(&mut line, done.tls.map(|tls| tls.cipher_suite.as_str()));
        field(&mut line, auth);
        field(&mut line, Some(&facts.host));
        field(&mut line, done.tls.map(|tls| tls.version));
        // There are no access points; and whether a list was needed is not told.
        field(&mut line, None);
        field(&mut line, None);
        field(&mut line, Some(&self.region));
        line.pop();
        line.push('\n');
        line
    }

    fn size(&self, done: &Done<'_>) -> Option<u64> {
        match self.size {
            Size::Unknown => None,
            Size::Bytes(size) => Some(size),
            Size::Sent => Some(done.bytes_sent),
        }
    }
}

fn millis(time: std::time::Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn signed(auth: AuthKind) -> (Option<&'static str>, Option<&'static str>) {
    match auth {
        AuthKind::HeaderV4 => (Some("SigV4"), Some("AuthHeader")),
        AuthKind::PresignedV4 => (Some("SigV4"), Some("QueryString")),
        AuthKind::HeaderV2 => (Some("SigV2"), Some("AuthHeader")),
        AuthKind::PresignedV2 => (Some("SigV2"), Some("QueryString")),
        AuthKind::Anonymous | AuthKind::PostForm => (None, None),
    }
}

/// `[06/Feb/2019:00:00:38 +0000]`.
fn moment(time: Timestamp) -> String {
    let seconds = time.as_secs();
    let (year, month, day) = civil(seconds / 86_400);
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    format!("[{day:02}/{}/{year:04}:{hour:02}:{minute:02}:{second:02} +0000]", month_name(month))
}

fn number(line: &mut String, value: Option<u64>) {
    field(line, value.map(|value| value.to_string()).as_deref());
}

/// A field, and the space behind it. `-` stands for what is unknown.
fn field(line: &mut String, text: Option<&str>) {
    match text.filter(|text| !text.is_empty()) {
        Some(text) => push(line, text, true),
        None => line.push('-'),
    }
    line.push(' ');
}

fn quoted(line: &mut String, text: Option<&str>) {
    line.push('"');
    push(line, text.unwrap_or("-"), false);
    line.push_str("\" ");
}

/// Nothing that a client sends begins another field or line.
fn push(line: &mut String, text: &str, is_word: bool) {
    for byte in text.bytes() {
        match byte {
            b' ' if is_word => line.push_str("%20"),
            b'"' | 0..0x20 | 0x7f.. => {
                // Writing to a string does not fail.
                let _ = write!(line, "%{byte:02X}");
            }
            byte => line.push(char::from(byte)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_field_can_end_early() {
        let mut line = String::new();
        field(&mut line, Some("a b\n\"ü"));
        quoted(&mut line, Some("Mozilla \"x\"\r\n- -"));
        field(&mut line, Some(""));
        assert_eq!(line, "a%20b%0A%22%C3%BC \"Mozilla %22x%22%0D%0A- -\" - ");
    }

    #[test]
    fn signatures_are_not_in_logs() {
        let uri = "/b/k?X-Amz-Signature=ab&x-id=GetObject&Signature=c%3D&X-Amz-Security-Token=t";
        let told = "/b/k?X-Amz-Signature=REDACTED&x-id=GetObject&Signature=REDACTED&X-Amz-Security-Token=REDACTED";
        assert_eq!(without_secrets(uri), told);
        assert_eq!(moment(Timestamp(1_549_411_238_000)), "[06/Feb/2019:00:00:38 +0000]");
    }
}
