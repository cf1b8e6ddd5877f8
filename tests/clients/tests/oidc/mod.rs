//! A small OpenID Connect provider: a discovery document, one key, and tokens.

use anyhow::{Context, Result, anyhow};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use karri_ring_types::{Clock as _, SystemClock};
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

pub(crate) struct Provider {
    host: String,
    key: EcdsaKeyPair,
    random: SystemRandom,
    task: JoinHandle<()>,
}

impl Drop for Provider {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Provider {
    pub(crate) async fn start() -> Result<Self> {
        let random = SystemRandom::new();
        let algorithm = &ECDSA_P256_SHA256_FIXED_SIGNING;
        let document = EcdsaKeyPair::generate_pkcs8(algorithm, &random).map_err(|_| anyhow!("make a key"))?;
        let key = EcdsaKeyPair::from_pkcs8(algorithm, document.as_ref(), &random).map_err(|_| anyhow!("read a key"))?;
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let host = listener.local_addr()?.to_string();
        let issuer = format!("http://{host}/realm");
        let discovery = json!({"issuer": issuer, "jwks_uri": format!("{issuer}/keys")}).to_string();
        let point = key.public_key().as_ref();
        let (x, y) = (URL_SAFE_NO_PAD.encode(&point[1..33]), URL_SAFE_NO_PAD.encode(&point[33..]));
        let keys =
            json!({"keys": [{"kty": "EC", "crv": "P-256", "kid": "k", "use": "sig", "x": x, "y": y}]}).to_string();
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                // A client that goes away early is no fault of the provider's.
                let _ = answer(stream, &discovery, &keys).await;
            }
        });
        Ok(Self { host, key, random, task })
    }

    pub(crate) fn host(&self) -> &str {
        &self.host
    }

    pub(crate) fn issuer(&self) -> String {
        format!("http://{}/realm", self.host)
    }

    pub(crate) fn claims(&self, subject: &str, audience: &str, team: &str) -> Value {
        let now = SystemClock::default().now().as_secs();
        json!({
            "iss": self.issuer(), "sub": subject, "aud": audience, "iat": now, "exp": now + 600,
            "https://aws.amazon.com/tags": {"principal_tags": {"team": [team]}},
        })
    }

    pub(crate) fn sign(&self, claims: &Value) -> String {
        let header = URL_SAFE_NO_PAD.encode(json!({"alg": "ES256", "kid": "k"}).to_string());
        let signed = format!("{header}.{}", URL_SAFE_NO_PAD.encode(claims.to_string()));
        let signature = self.key.sign(&self.random, signed.as_bytes()).expect("a signature");
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

async fn answer(mut stream: TcpStream, discovery: &str, keys: &str) -> Result<()> {
    let mut head = [0; 4096];
    let length = stream.read(&mut head).await?;
    let head = std::str::from_utf8(&head[..length]).context("a request")?;
    let (status, body) = match head.split(' ').nth(1) {
        Some("/realm/.well-known/openid-configuration") => ("200 OK", discovery),
        Some("/realm/keys") => ("200 OK", keys),
        _ => ("404 Not Found", ""),
    };
    let length = body.len();
    let text = format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}");
    stream.write_all(text.as_bytes()).await?;
    Ok(())
}
