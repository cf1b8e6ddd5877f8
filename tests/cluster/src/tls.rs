//! A certificate authority for tests, and a client's trust in it.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};

/// The domain under which buckets are hosts, where clusters speak TLS.
pub(crate) const BASE_DOMAIN: &str = "s3.localhost";

/// An authority's certificate, and a node's certificate and key that it made, as PEM files.
#[derive(Clone, Debug)]
pub(crate) struct TlsFiles {
    pub(crate) authority: PathBuf,
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
}

impl TlsFiles {
    /// Makes an authority, and a certificate for loopback and [`BASE_DOMAIN`].
    pub(crate) fn make(folder: &Path) -> Result<Self> {
        let mut authority = CertificateParams::new(Vec::new())?;
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        authority.distinguished_name.push(rcgen::DnType::CommonName, "Karri's tests");
        let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate()?)?;
        let names = ["127.0.0.1", "localhost", BASE_DOMAIN, &format!("*.{BASE_DOMAIN}")].map(str::to_owned);
        let key = KeyPair::generate()?;
        let certificate = CertificateParams::new(names)?.signed_by(&key, &authority)?;
        let files = Self {
            authority: folder.join("authority.pem"),
            certificate: folder.join("certificate.pem"),
            key: folder.join("key.pem"),
        };
        fs::write(&files.authority, authority.pem())?;
        fs::write(&files.certificate, certificate.pem())?;
        fs::write(&files.key, key.serialize_pem())?;
        Ok(files)
    }

    /// Lines of the `[s3]` table.
    pub(crate) fn configuration(&self) -> String {
        format!(
            "base_domains = [\"{BASE_DOMAIN}\"]\ntls_certificate = {:?}\ntls_key = {:?}\n",
            self.certificate, self.key
        )
    }
}

/// Trusts one authority and no other.
pub(crate) fn trusting(authority: &Path) -> Result<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(authority).context("read the authority's certificate")?)?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}
