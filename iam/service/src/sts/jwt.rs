//! Tokens of identity providers (RFC 7519) and the keys that sign them (RFC 7517): RS256 and ES256.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::signature::{ECDSA_P256_SHA256_FIXED, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents, UnparsedPublicKey};
use serde::Deserialize;
use serde_json::{Map, Value};

/// Keys of one provider that are looked at.
const KEYS_MAX: usize = 64;
const COORDINATE_BYTES: usize = 32;

/// The algorithms that are taken. `none`, and those of shared secrets, are not among them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Algorithm {
    Rs256,
    Es256,
}

/// A token that nobody has verified yet.
pub(super) struct Token<'a> {
    algorithm: Algorithm,
    key_id: Option<String>,
    signed: &'a [u8],
    signature: Vec<u8>,
    /// What it claims.
    pub(super) claims: Map<String, Value>,
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: Option<String>,
    crit: Option<Value>,
}

impl<'a> Token<'a> {
    /// Takes a token apart; none where it is no token of an algorithm that is taken.
    pub(super) fn parse(text: &'a str) -> Option<Self> {
        let (signed, signature) = text.rsplit_once('.')?;
        let (header, claims) = signed.split_once('.')?;
        let header: Header = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(header).ok()?).ok()?;
        // RFC 7515, section 4.1.11: what is critical must be understood, and nothing is.
        if header.crit.is_some() {
            return None;
        }
        let algorithm = match header.alg.as_str() {
            "RS256" => Algorithm::Rs256,
            "ES256" => Algorithm::Es256,
            _ => return None,
        };
        let claims = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).ok()?).ok()?;
        let signature = URL_SAFE_NO_PAD.decode(signature).ok()?;
        Some(Self { algorithm, key_id: header.kid, signed: signed.as_bytes(), signature, claims })
    }

    /// A claim that is a text.
    pub(super) fn text(&self, claim: &str) -> Option<&str> {
        self.claims.get(claim)?.as_str()
    }

    /// A claim that is a time, in seconds since 1970.
    pub(super) fn seconds(&self, claim: &str) -> Option<i64> {
        let number = self.claims.get(claim)?;
        number.as_i64().or_else(|| number.as_f64().map(|seconds| seconds as i64))
    }

    /// A claim that is a text or a list of texts.
    pub(super) fn texts(&self, claim: &str) -> Vec<String> {
        self.claims.get(claim).map(texts).unwrap_or_default()
    }
}

/// A text, or the texts of a list.
pub(super) fn texts(value: &Value) -> Vec<String> {
    match value {
        Value::String(text) => vec![text.clone()],
        Value::Array(items) => items.iter().filter_map(|item| item.as_str().map(str::to_owned)).collect(),
        _ => Vec::new(),
    }
}

/// The keys of a provider.
#[derive(Debug)]
pub(super) struct KeySet(Vec<Key>);

#[derive(Debug)]
struct Key {
    id: Option<String>,
    material: Material,
}

#[derive(Debug)]
enum Material {
    Rsa { n: Vec<u8>, e: Vec<u8> },
    P256(Vec<u8>),
}

#[derive(Deserialize)]
struct KeyDocument {
    keys: Vec<Value>,
}

impl KeySet {
    /// Reads a key set; keys of other kinds, or for other uses, are left out.
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        let document: KeyDocument = serde_json::from_slice(bytes).ok()?;
        Some(Self(document.keys.iter().take(KEYS_MAX).filter_map(Key::read).collect()))
    }

    /// Whether there is a key that the token may be signed with.
    pub(super) fn may_have(&self, token: &Token<'_>) -> bool {
        self.candidates(token).next().is_some()
    }

    /// Whether one of the keys signed the token.
    pub(super) fn verifies(&self, token: &Token<'_>) -> bool {
        self.candidates(token).any(|key| key.verifies(token))
    }

    fn candidates<'s>(&'s self, token: &'s Token<'_>) -> impl Iterator<Item = &'s Key> {
        self.0.iter().filter(|key| {
            let is_of_kind = matches!(
                (&key.material, token.algorithm),
                (Material::Rsa { .. }, Algorithm::Rs256) | (Material::P256(_), Algorithm::Es256)
            );
            is_of_kind && (token.key_id.is_none() || key.id.is_none() || key.id == token.key_id)
        })
    }
}

impl Key {
    fn read(value: &Value) -> Option<Self> {
        let text = |name: &str| value.get(name).and_then(Value::as_str);
        if text("use").is_some_and(|purpose| purpose != "sig") {
            return None;
        }
        let bytes = |name: &str| URL_SAFE_NO_PAD.decode(text(name)?).ok();
        let material = match text("kty")? {
            "RSA" if text("alg").is_none_or(|algorithm| algorithm == "RS256") => {
                Material::Rsa { n: bytes("n")?, e: bytes("e")? }
            }
            "EC" if text("crv")? == "P-256" => {
                let (x, y) = (bytes("x")?, bytes("y")?);
                if x.len() != COORDINATE_BYTES || y.len() != COORDINATE_BYTES {
                    return None;
                }
                Material::P256([&[4], x.as_slice(), &y].concat())
            }
            _ => return None,
        };
        Some(Self { id: text("kid").map(str::to_owned), material })
    }

    fn verifies(&self, token: &Token<'_>) -> bool {
        let verified = match &self.material {
            Material::Rsa { n, e } => {
                let key = RsaPublicKeyComponents { n, e };
                key.verify(&RSA_PKCS1_2048_8192_SHA256, token.signed, &token.signature)
            }
            Material::P256(point) => {
                UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).verify(token.signed, &token.signature)
            }
        };
        verified.is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Made with openssl for this test; the private keys are gone.
    const RS256: &str = "eyJhbGciOiJSUzI1NiIsImtpZCI6InIxIiwidHlwIjoiSldUIn0.eyJpc3MiOiJodHRwczovL2lkLmV4YW1wbGUvcmVhbG0iLCJz\
        dWIiOiJhZGEiLCJhdWQiOlsid2ViIl0sImV4cCI6MTcwMDAwMzYwMCwiaWF0IjoxNzAwMDAwMDAwfQ.AAS2lxfuA1jKgroIjH8nV\
        476zxa9tRRGuQU5I63Rej89RSmC6zpX2vmaleA55tM4WbOPPsFxUu98J50guah1YFGBruaPOH0-\
        yjkiOh2fea4NpHYmUjgBEEZPZanadAocIa7uMzTI3lTDL4Qdr1GVsrVYNsmSHnt7OUsfUrMYz2HOiIyp4bQ1lz_pHD_uQ9jeZTUO\
        l9Jf-_I9vTIXZZVJP5a7YKxOgOuwQ0E1w4Rph1Ohnxk7SVShRqKw1vAkIOHIlfaYaBi1X4_WXlU-\
        VZgnlqjnaBCc3tgmsgBgcKRo6bLSh1vOlXAeIePKXdpy7mykplWi-4jkvdMv-ecpxPx4Pw";
    const ES256: &str = "eyJhbGciOiJFUzI1NiIsImtpZCI6ImUxIiwidHlwIjoiSldUIn0.eyJpc3MiOiJodHRwczovL2lkLmV4YW1wbGUvcmVhbG0iLCJz\
        dWIiOiJhZGEiLCJhdWQiOlsid2ViIl0sImV4cCI6MTcwMDAwMzYwMCwiaWF0IjoxNzAwMDAwMDAwfQ.kH5LQvrHqMNM-R-\
        Dzm1KNf6sj6j0TmHl_6L4pK2y2CSqn1P5T6EYH6qyVlh77flEz4AseWBVwHd76a_mH-4uFQ";
    const KEYS: &str = r#"{"keys": [{"kty": "RSA", "kid": "r1", "use": "sig", "alg": "RS256", "n": "lRVFx8mVXPs8eG17WfsyLIeeW7dcPqiygLPXHup7mPmOEs1tDGMoccNr440X63iAV6Bv-3GW8MVreEoxEouqA6kP2HEdTt2xf0MIS_5Y-YJyYTlLWPVcMqFsymJtx01zrlvINL9C0AfSPDLHM8Z2NiRdLBug31QpmkiK7hgNofEaseaiXjKoW8A8-WJCyzn1lYl4F_xbzqzLBxS3bPrLlA_vJZz_bRUFfugz2AqmNMUYixVK0Eh8B83TF1JLYArqpxdr2BE2HHxkLD_RxHz6yXbWw7T8GLo9sPfUPvuURmmMUWcaTyY_2CgjpZ4oHqMKgr-zDbzx5VLet3KutM2eTw", "e": "AQAB"},
        {"kty": "EC", "kid": "e1", "crv": "P-256", "x": "y_HPdeuY-ssgY1VbEwugz7NWqmPI03fUKaPAEaObiVI", "y": "yxDkv3l53p3kmFUXqKrnt1uUmd4A7cQsJzSp89aNJTA"},
        {"kty": "RSA", "kid": "enc", "use": "enc", "n": "lRVFx8mVXPs8eG17WfsyLIeeW7dcPqiygLPXHup7mPmOEs1tDGMoccNr440X63iAV6Bv-3GW8MVreEoxEouqA6kP2HEdTt2xf0MIS_5Y-YJyYTlLWPVcMqFsymJtx01zrlvINL9C0AfSPDLHM8Z2NiRdLBug31QpmkiK7hgNofEaseaiXjKoW8A8-WJCyzn1lYl4F_xbzqzLBxS3bPrLlA_vJZz_bRUFfugz2AqmNMUYixVK0Eh8B83TF1JLYArqpxdr2BE2HHxkLD_RxHz6yXbWw7T8GLo9sPfUPvuURmmMUWcaTyY_2CgjpZ4oHqMKgr-zDbzx5VLet3KutM2eTw", "e": "AQAB"},
        {"kty": "oct", "kid": "h1", "k": "c2VjcmV0"}]}"#;

    #[test]
    fn tokens_of_both_algorithms_verify_with_the_key_that_they_name() {
        let keys = KeySet::parse(KEYS.as_bytes()).unwrap();
        for text in [RS256, ES256] {
            let token = Token::parse(text).unwrap();
            assert!(keys.may_have(&token) && keys.verifies(&token));
            assert_eq!((token.text("sub"), token.texts("aud")), (Some("ada"), vec!["web".to_owned()]));
            assert_eq!(token.seconds("exp"), Some(1_700_003_600));
            assert!(!KeySet::parse(br#"{"keys":[]}"#).unwrap().verifies(&token));
            let other = KEYS.replace("\"r1\"", "\"x\"").replace("\"e1\"", "\"y\"");
            assert!(!KeySet::parse(other.as_bytes()).unwrap().may_have(&token), "the key's id must fit");
        }
    }

    #[test]
    fn nothing_that_was_changed_verifies() {
        let keys = KeySet::parse(KEYS.as_bytes()).unwrap();
        for text in [RS256, ES256] {
            for at in (0..text.len()).filter(|at| text.as_bytes()[*at] != b'.') {
                let mut bytes = text.as_bytes().to_vec();
                bytes[at] = if bytes[at] == b'A' { b'Q' } else { b'A' };
                let changed = String::from_utf8(bytes).unwrap();
                let verified = Token::parse(&changed).is_some_and(|token| keys.verifies(&token));
                assert!(!verified, "byte {at} of {text}");
            }
        }
    }

    #[test]
    fn other_algorithms_are_no_tokens() {
        let body = RS256.split_once('.').unwrap().1;
        for header in [
            r#"{"alg":"none"}"#,
            r#"{"alg":"HS256","kid":"h1"}"#,
            r#"{"alg":"RS512","kid":"r1"}"#,
            r#"{"alg":"rs256","kid":"r1"}"#,
            r#"{"alg":"RS256","kid":"r1","crit":["exp"]}"#,
            r#"{}"#,
        ] {
            assert!(Token::parse(&format!("{}.{body}", URL_SAFE_NO_PAD.encode(header))).is_none(), "{header}");
        }
        for text in ["", "a.b", "a.b.c", "..", &RS256.replace('.', "")] {
            assert!(Token::parse(text).is_none());
        }
        // A key of one kind is never tried on a token of the other.
        let keys = KeySet::parse(KEYS.as_bytes()).unwrap();
        let header = URL_SAFE_NO_PAD.encode(r#"{"alg":"ES256","kid":"r1"}"#);
        assert!(!keys.may_have(&Token::parse(&format!("{header}.{body}")).unwrap()));
    }
}
