//! Names of the model in Rust's spelling.

/// Acronyms that run into each other or are one word: what the model writes, and how it divides.
const DIVIDED: &[(&str, &str)] = &[("SSEKMS", "SseKms"), ("ETag", "Etag"), ("IPv", "Ipv")];

const KEYWORDS: &[&str] =
    &["type", "match", "move", "ref", "self", "static", "use", "where", "loop", "in", "for", "if", "final", "box"];

/// `SSECustomerKeyMD5` -> `sse_customer_key_md5`; a keyword gets a `_` behind.
pub(crate) fn snake(name: &str) -> String {
    let words: Vec<String> = words(name).iter().map(|word| word.to_lowercase()).collect();
    let joined = words.join("_");
    if KEYWORDS.contains(&joined.as_str()) { joined + "_" } else { joined }
}

/// `CORSRule` -> `CorsRule`, `ACL` -> `Acl`.
pub(crate) fn pascal(name: &str) -> String {
    words(name).iter().map(|word| capitalised(word)).collect()
}

/// An enum's value as a variant: `STANDARD_IA` -> `StandardIa`, `CRC32C` -> `Crc32C`, `aws:kms` -> `AwsKms`.
pub(crate) fn variant(value: &str) -> String {
    let parts = value.split(|c: char| !c.is_ascii_alphanumeric()).filter(|part| !part.is_empty());
    let mut out = String::new();
    for part in parts {
        if part.chars().any(|c| c.is_ascii_lowercase()) {
            out.push_str(&part[..1].to_uppercase());
            out.push_str(&part[1..]);
            continue;
        }
        // All capitals: a new word after each run of digits.
        let mut start = true;
        for c in part.chars() {
            out.push(if start { c } else { c.to_ascii_lowercase() });
            start = c.is_ascii_digit();
        }
    }
    if out.starts_with(|c: char| c.is_ascii_digit()) { format!("V{out}") } else { out }
}

fn capitalised(word: &str) -> String {
    word[..1].to_uppercase() + &word[1..].to_lowercase()
}

fn words(name: &str) -> Vec<String> {
    let mut name = name.to_owned();
    for (from, to) in DIVIDED {
        name = name.replace(from, to);
    }
    let chars: Vec<char> = name.chars().collect();
    let mut words: Vec<String> = Vec::new();
    let mut word = String::new();
    for (index, &c) in chars.iter().enumerate() {
        if !c.is_ascii_alphanumeric() {
            words.extend((!word.is_empty()).then(|| std::mem::take(&mut word)));
            continue;
        }
        let previous = index.checked_sub(1).map(|index| chars[index]);
        let next_lower = chars.get(index + 1).is_some_and(char::is_ascii_lowercase);
        let boundary = c.is_ascii_uppercase()
            && previous.is_some_and(|p| p.is_ascii_lowercase() || (p.is_ascii_alphanumeric() && next_lower));
        if boundary && !word.is_empty() {
            words.push(std::mem::take(&mut word));
        }
        word.push(c);
    }
    words.extend((!word.is_empty()).then_some(word));
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_and_types() {
        let fields = [
            ("SSECustomerKeyMD5", "sse_customer_key_md5"),
            ("SSEKMSKeyId", "sse_kms_key_id"),
            ("ChecksumCRC64NVME", "checksum_crc64nvme"),
            ("ChecksumCRC32C", "checksum_crc32c"),
            ("ETag", "etag"),
            ("GrantReadACP", "grant_read_acp"),
            ("Type", "type_"),
            ("ListObjectsV2", "list_objects_v2"),
            ("KMSMasterKeyID", "kms_master_key_id"),
        ];
        for (model, rust) in fields {
            assert_eq!(snake(model), rust);
        }
        for (model, rust) in
            [("CORSRule", "CorsRule"), ("ObjectCannedACL", "ObjectCannedAcl"), ("S3KeyFilter", "S3KeyFilter")]
        {
            assert_eq!(pascal(model), rust);
        }
    }

    #[test]
    fn variants() {
        let cases = [
            ("STANDARD_IA", "StandardIa"),
            ("CRC32C", "Crc32C"),
            ("CRC64NVME", "Crc64Nvme"),
            ("aws:kms:dsse", "AwsKmsDsse"),
            ("public-read", "PublicRead"),
            ("BucketOwnerEnforced", "BucketOwnerEnforced"),
        ];
        for (value, rust) in cases {
            assert_eq!(variant(value), rust);
        }
    }
}
