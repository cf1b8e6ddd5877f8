//! Bucket and key names.

use std::net::Ipv4Addr;

use karri_objstore_service::KEY_SIZE_BYTES_MAX;

use crate::error::{S3Result, error_with};

const BUCKET_NAME_LENGTH_MIN: usize = 3;
const BUCKET_NAME_LENGTH_MAX: usize = 63;
const RESERVED_PREFIXES: [&str; 3] = ["xn--", "sthree-", "amzn-s3-demo-"];
const RESERVED_SUFFIXES: [&str; 4] = ["-s3alias", "--ol-s3", "--x-s3", "--table-s3"];

/// Whether a bucket may be called `name`.
pub(crate) fn is_bucket_name(name: &str) -> bool {
    let alphanumeric = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = name.as_bytes();
    let (Some(&first), Some(&last)) = (bytes.first(), bytes.last()) else { return false };
    (BUCKET_NAME_LENGTH_MIN..=BUCKET_NAME_LENGTH_MAX).contains(&bytes.len())
        && alphanumeric(first)
        && alphanumeric(last)
        && bytes.iter().all(|&byte| alphanumeric(byte) || byte == b'-' || byte == b'.')
        && !["..", "-.", ".-"].iter().any(|pair| name.contains(pair))
        && name.parse::<Ipv4Addr>().is_err()
        && !RESERVED_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
        && !RESERVED_SUFFIXES.iter().any(|suffix| name.ends_with(suffix))
}

/// Refuses a name that no bucket can have.
pub(crate) fn check_bucket_name(name: &str) -> S3Result<()> {
    match is_bucket_name(name) {
        true => Ok(()),
        false => Err(error_with(
            "InvalidBucketName",
            400,
            "The specified bucket is not valid.",
            [("BucketName", name.to_owned())],
        )),
    }
}

/// Refuses a key that is too long.
pub(crate) fn check_key(key: &str) -> S3Result<()> {
    match key.len() <= KEY_SIZE_BYTES_MAX {
        true => Ok(()),
        false => Err(error_with(
            "KeyTooLongError",
            400,
            "Your key is too long",
            [("Size", key.len().to_string()), ("MaxSizeAllowed", KEY_SIZE_BYTES_MAX.to_string())],
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bucket_names_follow_the_rules() {
        for name in ["abc", "a-b.c", "0ab", &"a".repeat(63)] {
            assert!(is_bucket_name(name), "{name}");
        }
        let long = "a".repeat(64);
        for name in [
            "",
            "ab",
            &long,
            "Abc",
            "a_b",
            "-ab",
            "ab-",
            ".ab",
            "a..b",
            "a-.b",
            "a.-b",
            "192.168.5.4",
            "xn--abc",
            "a-s3alias",
            "a/b",
        ] {
            assert!(!is_bucket_name(name), "{name}");
        }
    }

    #[test]
    fn keys_are_measured_in_bytes() {
        assert!(check_key(&"ü".repeat(512)).is_ok());
        assert_eq!(check_key(&"ü".repeat(513)).expect_err("too long").code, "KeyTooLongError");
    }
}
