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

#[derive(Default)]
struct Remembered {
    keys: Option<(Duration, Arc<KeySet>)>,
    asked: Option<Duration>,
}

/// Finds the keys of providers.
pub(super) struct Providers {
    fetcher: Fetcher,
    clock: Arc<dyn Clock>,
    known: parking_lot::Mutex<HashMap<String, Arc<Mutex<Remembered>>>>,
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
            if known.len() >= PROVIDERS_MAX && !known.contains_key(issuer) {
                known.clear();
            }
            known.entry(issuer.to_owned()).or_default().clone()
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
