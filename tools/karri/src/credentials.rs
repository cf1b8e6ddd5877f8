//! The root user's keys, from the environment or from the data folder.

use std::fmt;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use karri_ring_types::{Rng, SystemRng};

/// The root user's access key and secret. `Debug` does not show the secret.
#[derive(Clone)]
pub(crate) struct RootCredentials {
    pub(crate) access_key: String,
    pub(crate) secret_key: String,
}

impl fmt::Debug for RootCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RootCredentials({})", self.access_key)
    }
}

/// Writes a file that only its owner can read, whole or not at all.
pub(crate) fn write_private(path: &Path, content: &[u8]) -> Result<()> {
    let partial = path.with_extension("partial");
    let mut options = std::fs::OpenOptions::new();
    let mut file = options
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&partial)
        .with_context(|| format!("write {}", partial.display()))?;
    file.write_all(content)?;
    file.sync_all()?;
    std::fs::rename(&partial, path).with_context(|| format!("write {}", path.display()))
}

impl RootCredentials {
    fn file(data_dir: &Path) -> PathBuf {
        data_dir.join("root-credentials")
    }

    /// Whether a pair is kept in the data folder.
    pub(crate) fn is_kept(data_dir: &Path) -> bool {
        Self::file(data_dir).exists()
    }

    /// Keys from `KARRI_ROOT_ACCESS_KEY` and `KARRI_ROOT_SECRET_KEY`, if both are set.
    fn from_environment() -> Result<Option<Self>> {
        let access_key = std::env::var("KARRI_ROOT_ACCESS_KEY").ok();
        let secret_key = std::env::var("KARRI_ROOT_SECRET_KEY").ok();
        match (access_key, secret_key) {
            (Some(access_key), Some(secret_key)) => {
                ensure!(access_key.len() >= 3, "KARRI_ROOT_ACCESS_KEY has fewer than 3 characters");
                ensure!(secret_key.len() >= 8, "KARRI_ROOT_SECRET_KEY has fewer than 8 characters");
                Ok(Some(Self { access_key, secret_key }))
            }
            (None, None) => Ok(None),
            _ => anyhow::bail!("set both KARRI_ROOT_ACCESS_KEY and KARRI_ROOT_SECRET_KEY, or neither"),
        }
    }

    /// Keys of the environment, else those kept in the data folder.
    pub(crate) fn load(data_dir: &Path) -> Result<Self> {
        if let Some(given) = Self::from_environment()? {
            return Ok(given);
        }
        let path = Self::file(data_dir);
        let text = std::fs::read_to_string(&path).with_context(|| {
            format!("no KARRI_ROOT_ACCESS_KEY and KARRI_ROOT_SECRET_KEY in the environment, and no {}", path.display())
        })?;
        let mut lines = text.lines();
        match (lines.next(), lines.next()) {
            (Some(access_key), Some(secret_key)) => {
                Ok(Self { access_key: access_key.to_owned(), secret_key: secret_key.to_owned() })
            }
            _ => anyhow::bail!("{} is damaged: it has two lines, access key and secret key", path.display()),
        }
    }

    /// As [`RootCredentials::load`], making and keeping a pair when there is none yet.
    pub(crate) fn load_or_create(data_dir: &Path) -> Result<Self> {
        if let Some(given) = Self::from_environment()? {
            given.keep(data_dir)?;
            return Ok(given);
        }
        if Self::file(data_dir).exists() {
            return Self::load(data_dir);
        }
        let made = Self {
            access_key: format!("AKIA{}", random_text(16, b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567")),
            secret_key: random_text(40, b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"),
        };
        made.keep(data_dir)?;
        Ok(made)
    }

    /// Keeps the pair in the data folder, readable by its owner alone.
    pub(crate) fn keep(&self, data_dir: &Path) -> Result<()> {
        write_private(&Self::file(data_dir), format!("{}\n{}\n", self.access_key, self.secret_key).as_bytes())
    }
}

/// Random text over an alphabet whose size divides 256, so that no letter is more likely.
fn random_text(length: usize, alphabet: &[u8]) -> String {
    debug_assert_eq!(256 % alphabet.len(), 0, "an even spread");
    let mut bytes = vec![0; length];
    SystemRng.fill(&mut bytes);
    bytes.iter().map(|byte| char::from(alphabet[usize::from(*byte) % alphabet.len()])).collect()
}
