//! The keys of identity providers: found by their discovery document, remembered, and fetched again for a new key.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use karri_ring_types::Clock;
use serde::Deserialize;
use tokio::sync::Mutex;

use super::fetch::{FetchError, Fetcher};
use super::jwt::{KeySet, Token};

/// How long keys are believed without asking again.
const KEYS_FRESH: Duration = Duration::from_secs(3600);
/// Least time between two fetches for one provider, whatever came of the first.
const FETCH_PAUSE: Duration = Duration::from_secs(10);
/// Providers whose keys are remembered.
const PROVIDERS_MAX: usize = 1_000;

/// Settings about providers.
#[derive(Clone, Debug, Default)]
pub struct ProviderSettings {
    /// Hosts (`name` or `name:port`) of providers that may have any address, and may be asked without TLS. Every other
    /// one must be public and speak TLS.
    pub private_hosts: Vec<String>,
}

#[derive(Deserialize)]
struct Discovery {
    issuer: String,
    jwks_uri: String,
}

/// Where keys come from: an issuer, and the thumbprints by which its certificate was believed. Accounts that believe
/// others do not share what was fetched, nor does one that cannot fetch make the others wait.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Source {
    issuer: String,
    thumbprints: Vec<String>,
}

impl Source {
    fn new(issuer: &str, thumbprints: &[String]) -> Self {
        let mut thumbprints: Vec<_> = thumbprints.iter().map(|text| text.to_ascii_lowercase()).collect();
        thumbprints.sort();
        thumbprints.dedup();
        Self { issuer: issuer.to_owned(), thumbprints }
    }
}

#[derive(Default)]
struct Remembered {
    keys: Option<(Duration, Arc<KeySet>)>,
    asked: Option<Duration>,
}

/// Finds the keys of providers.
pub(super) struct Providers {
    fetcher: Fetcher,
    clock: Arc<dyn Clock>,
    known: parking_lot::Mutex<HashMap<Source, Arc<Mutex<Remembered>>>>,
}

impl Providers {
    pub(super) fn new(settings: ProviderSettings, clock: Arc<dyn Clock>) -> Self {
        Self { fetcher: Fetcher::new(settings.private_hosts), clock, known: parking_lot::Mutex::default() }
    }

    /// Whether the issuer's address may be asked.
    pub(super) fn is_allowed(&self, issuer: &str) -> bool {
        self.fetcher.is_allowed(issuer)
    }

    /// Keys of `issuer` among which that of `token` should be. One asks at a time; the others wait for its answer.
    pub(super) async fn keys(
        &self,
        issuer: &str,
        thumbprints: &[String],
        token: &Token<'_>,
    ) -> Result<Arc<KeySet>, FetchError> {
        let entry = {
            let mut known = self.known.lock();
            let source = Source::new(issuer, thumbprints);
            if known.len() >= PROVIDERS_MAX && !known.contains_key(&source) {
                known.clear();
            }
            known.entry(source).or_default().clone()
        };
        let mut entry = entry.lock().await;
        let now = self.clock.monotonic();
        let fresh = entry.keys.as_ref().filter(|(at, _)| now.saturating_sub(*at) < KEYS_FRESH);
        if let Some((_, keys)) = fresh
            && keys.may_have(token)
        {
            return Ok(keys.clone());
        }
        if entry.asked.is_some_and(|at| now.saturating_sub(at) < FETCH_PAUSE) {
            return fresh.map(|(_, keys)| keys.clone()).ok_or(FetchError::TimedOut);
        }
        entry.asked = Some(now);
        let keys = Arc::new(self.fetch(issuer, thumbprints).await?);
        entry.keys = Some((now, keys.clone()));
        Ok(keys)
    }

    async fn fetch(&self, issuer: &str, thumbprints: &[String]) -> Result<KeySet, FetchError> {
        let address = format!("{}/.well-known/openid-configuration", issuer.trim_end_matches('/'));
        let document = self.fetcher.get(&address, thumbprints).await?;
        let discovery: Discovery = serde_json::from_slice(&document).map_err(|_| FetchError::Body)?;
        if discovery.issuer != issuer {
            return Err(FetchError::Body);
        }
        let keys = self.fetcher.get(&discovery.jwks_uri, thumbprints).await?;
        KeySet::parse(&keys).ok_or(FetchError::Body)
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use karri_ring_types::{ManualClock, Timestamp};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    /// A provider without keys; what it was asked for.
    async fn provider() -> (String, Arc<parking_lot::Mutex<Vec<String>>>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let issuer = format!("http://{}", listener.local_addr().unwrap());
        let asked: Arc<parking_lot::Mutex<Vec<String>>> = Arc::default();
        let (own, noted) = (issuer.clone(), asked.clone());
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut request = vec![0; 4096];
                let length = stream.read(&mut request).await.unwrap_or(0);
                let line = String::from_utf8_lossy(&request[..length]);
                let path = line.split(' ').nth(1).unwrap_or_default().to_owned();
                let body = match path.as_str() {
                    "/keys" => r#"{"keys":[]}"#.to_owned(),
                    _ => format!(r#"{{"issuer":"{own}","jwks_uri":"{own}/keys"}}"#),
                };
                noted.lock().push(path);
                let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len());
                let _ = stream.write_all(answer.as_bytes()).await;
            }
        });
        (issuer, asked)
    }

    #[tokio::test]
    async fn what_one_account_believes_another_fetches_for_itself() {
        let (issuer, asked) = provider().await;
        let settings = ProviderSettings { private_hosts: vec![issuer.replace("http://", "")] };
        let providers = Providers::new(settings, Arc::new(ManualClock::new(Timestamp(0))));
        let text = format!("{}.e30.AAAA", URL_SAFE_NO_PAD.encode(r#"{"alg":"RS256"}"#));
        let token = Token::parse(&text).unwrap();
        let thumbprints = |text: &str| vec!["cc".repeat(20), text.repeat(20)];
        for (own, fetches) in [("aa", 1), ("aa", 1), ("AA", 1), ("bb", 2), ("bb", 2), ("aa", 2)] {
            providers.keys(&issuer, &thumbprints(own), &token).await.unwrap();
            assert_eq!(asked.lock().iter().filter(|path| *path == "/keys").count(), fetches, "{own}");
        }
    }
}
