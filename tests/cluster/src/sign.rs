//! AWS Signature Version 4 from the client's side, written apart from the gateway's so that one checks the other.
//!
//! Source: AWS, "Signature Version 4 for API requests" and "Authenticating Requests: Using the Authorization Header".

use std::fmt::Write as _;
use std::time::SystemTime;

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::{Digest as _, Sha256};

/// An access key and its secret.
#[derive(Clone, Debug)]
pub struct Credentials {
    /// `AWS_ACCESS_KEY_ID`.
    pub access_key: String,
    /// `AWS_SECRET_ACCESS_KEY`.
    pub secret_key: String,
}

/// What has to be sent: the path and query as they stand on the request line, and the headers.
#[derive(Clone, Debug)]
pub struct SignedRequest {
    /// Encoded path with its query.
    pub target: String,
    /// Headers, the signature's own among them.
    pub headers: Vec<(String, String)>,
}

/// Percent-encodes as SigV4 wants it; `/` stays when `keep_slash`.
pub(crate) fn encode(text: &str, keep_slash: bool) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        let plain = byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) || (keep_slash && byte == b'/');
        if plain {
            out.push(char::from(byte));
        } else {
            write!(out, "%{byte:02X}").expect("writing to a string");
        }
    }
    out
}

fn hmac(key: &[u8], data: &str) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("any key length is taken");
    mac.update(data.as_bytes());
    mac.finalize().into_bytes().to_vec()
}

/// `YYYYMMDDTHHMMSSZ` of now.
#[allow(clippy::disallowed_methods, reason = "a client signs with the machine's clock")]
fn amz_date() -> String {
    let seconds = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970").as_secs();
    let days = i64::try_from(seconds / 86_400).expect("fits");
    // Civil from days (Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms").
    let z = days + 719_468;
    let era = z.div_euclid(146_097);
    let day_of_era = z.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    format!("{year:04}{month:02}{day:02}T{hour:02}{minute:02}{second:02}Z")
}

/// Signs a request whose payload hash is `payload` (hex, or one of AWS's markers such as `UNSIGNED-PAYLOAD`).
pub fn sign_request(
    credentials: &Credentials,
    method: &str,
    host: &str,
    path: &str,
    query: &[(&str, &str)],
    headers: &[(&str, &str)],
    payload: &str,
) -> SignedRequest {
    let date = amz_date();
    let mut all: Vec<(String, String)> =
        headers.iter().map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned())).collect();
    all.push(("host".to_owned(), host.to_owned()));
    all.push(("x-amz-content-sha256".to_owned(), payload.to_owned()));
    all.push(("x-amz-date".to_owned(), date.clone()));
    all.sort();
    let mut pairs: Vec<(String, String)> =
        query.iter().map(|(name, value)| (encode(name, false), encode(value, false))).collect();
    // By name first: `select` stands before `select-type`, though `-` sorts before `=`.
    pairs.sort();
    let query_text = pairs.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("&");
    let path_text = encode(path, true);
    let names = all.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(";");
    let mut canonical = format!("{method}\n{path_text}\n{query_text}\n");
    for (name, value) in &all {
        writeln!(canonical, "{name}:{value}").expect("writing to a string");
    }
    write!(canonical, "\n{names}\n{payload}").expect("writing to a string");
    let scope = format!("{}/us-east-1/s3/aws4_request", &date[..8]);
    let to_sign = format!("AWS4-HMAC-SHA256\n{date}\n{scope}\n{}", hex::encode(Sha256::digest(canonical.as_bytes())));
    let mut key = hmac(format!("AWS4{}", credentials.secret_key).as_bytes(), &date[..8]);
    for part in ["us-east-1", "s3", "aws4_request"] {
        key = hmac(&key, part);
    }
    let signature = hex::encode(hmac(&key, &to_sign));
    let authorization = format!(
        "AWS4-HMAC-SHA256 Credential={}/{scope}, SignedHeaders={names}, Signature={signature}",
        credentials.access_key
    );
    all.push(("authorization".to_owned(), authorization));
    let target = if query_text.is_empty() { path_text } else { format!("{path_text}?{query_text}") };
    SignedRequest { target, headers: all }
}
