//! TLS of the service port, with certificates that may change while it runs.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ProtocolVersion, ServerConfig, ServerConnection};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use crate::api::TlsSession;
use crate::config::TlsFiles;

/// The current certificate.
pub(crate) struct Tls {
    files: TlsFiles,
    current: ArcSwap<ServerConfig>,
}

/// Modification time and length of a file: what changes when it is replaced.
type Stamp = [Option<(SystemTime, u64)>; 2];

impl Tls {
    /// Reads the files; they must be right at the start.
    pub(crate) fn load(files: TlsFiles) -> io::Result<Arc<Self>> {
        let current = ArcSwap::from_pointee(read(&files)?);
        Ok(Arc::new(Self { files, current }))
    }

    /// An acceptor with the certificate of this moment.
    pub(crate) fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(self.current.load_full())
    }

    /// Reads the files again whenever they change. Broken files change nothing.
    pub(crate) async fn watch(self: Arc<Self>, interval: Duration, shutdown: CancellationToken) {
        let mut seen = stamp(&self.files).await;
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = tokio::time::sleep(interval) => {}
            }
            let now = stamp(&self.files).await;
            if now == seen {
                continue;
            }
            match read(&self.files) {
                Ok(config) => {
                    self.current.store(Arc::new(config));
                    seen = now;
                    tracing::info!(certificate = %self.files.certificate.display(), "tls certificate reloaded");
                }
                // A half-written pair is looked at again at the next turn.
                Err(error) => tracing::error!(%error, "tls certificate not reloaded"),
            }
        }
    }
}

/// What was agreed on with a client.
pub(crate) fn session(connection: &ServerConnection) -> Option<Arc<TlsSession>> {
    let version = match connection.protocol_version()? {
        ProtocolVersion::TLSv1_2 => "TLSv1.2",
        ProtocolVersion::TLSv1_3 => "TLSv1.3",
        _ => "-",
    };
    let suite = connection.negotiated_cipher_suite()?.suite();
    let cipher_suite = cipher_suite_name(suite.as_str()?);
    Some(Arc::new(TlsSession { version, cipher_suite }))
}

/// The name of a suite as OpenSSL, and so AWS, has it.
fn cipher_suite_name(iana: &str) -> String {
    match iana.strip_prefix("TLS13_") {
        Some(rest) => format!("TLS_{rest}"),
        None => {
            let name = iana.trim_start_matches("TLS_").replace("_WITH_", "-");
            let name = name.replace("AES_", "AES").replace('_', "-");
            name.strip_suffix("-POLY1305-SHA256").map_or(name.clone(), |name| format!("{name}-POLY1305"))
        }
    }
}

/// Whether the service port could speak TLS with these files: they are PEM, and the key is the certificate's.
///
/// # Errors
/// What is wrong, with the file's name.
pub fn check_tls_files(certificate: &Path, key: &Path) -> io::Result<()> {
    read(&TlsFiles { certificate: certificate.to_owned(), key: key.to_owned() }).map(drop)
}

async fn stamp(files: &TlsFiles) -> Stamp {
    [stamp_of(&files.certificate).await, stamp_of(&files.key).await]
}

async fn stamp_of(path: &Path) -> Option<(SystemTime, u64)> {
    let metadata = tokio::fs::metadata(path).await.ok()?;
    Some((metadata.modified().ok()?, metadata.len()))
}

fn read(files: &TlsFiles) -> io::Result<ServerConfig> {
    let invalid = |path: &Path, error: &dyn std::fmt::Display| {
        io::Error::new(io::ErrorKind::InvalidData, format!("{}: {error}", path.display()))
    };
    let chain = CertificateDer::pem_file_iter(&files.certificate)
        .and_then(|certificates| certificates.collect::<Result<Vec<_>, _>>())
        .map_err(|error| invalid(&files.certificate, &error))?;
    let key = PrivateKeyDer::from_pem_file(&files.key).map_err(|error| invalid(&files.key, &error))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(|error| invalid(&files.certificate, &error))?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

#[cfg(test)]
mod tests {
    use super::cipher_suite_name;

    #[test]
    fn suites_are_named_as_in_logs_of_aws() {
        for (iana, told) in [
            ("TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", "ECDHE-RSA-AES128-GCM-SHA256"),
            ("TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256", "ECDHE-ECDSA-CHACHA20-POLY1305"),
            ("TLS13_AES_256_GCM_SHA384", "TLS_AES_256_GCM_SHA384"),
        ] {
            assert_eq!(cipher_suite_name(iana), told);
        }
    }
}
