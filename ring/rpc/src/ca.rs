//! The cluster's own certificate authority and the identities that it issues.
//!
//! A node's certificate names it in a URI, `karri://<cluster>/node/<id>`, which its peers check.

use std::time::Duration;

use karri_ring_types::{ClusterId, NodeId, Timestamp};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use sha2::{Digest as _, Sha256};
use time::OffsetDateTime;

/// A certificate or key could not be made or read.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// Making a certificate failed.
    #[error("certificate: {0}")]
    Certificate(#[from] rcgen::Error),
    /// The text is not PEM of the expected kind.
    #[error("PEM: {0}")]
    Pem(#[from] rustls::pki_types::pem::Error),
    /// The TLS library refuses it.
    #[error("TLS: {0}")]
    Tls(#[from] rustls::Error),
    /// The TLS verifier could not be made.
    #[error("TLS verifier: {0}")]
    Verifier(String),
}

/// DNS name in every node's certificate; what a peer is, its URI says.
pub(crate) const NODE_NAME: &str = "node.karri.internal";

/// The cluster's certificate authority.
#[derive(Clone)]
pub struct ClusterCa {
    cluster: ClusterId,
    cert_pem: String,
    key_pem: String,
}

/// Who a node is: its certificate, its key and the authority that it trusts. Secret as a whole.
#[derive(Clone)]
pub struct Identity {
    /// The cluster.
    pub cluster: ClusterId,
    /// The node.
    pub node: NodeId,
    /// The node's certificate.
    pub cert_pem: String,
    /// The node's key.
    pub key_pem: String,
    /// The authority's certificate.
    pub ca_cert_pem: String,
}

impl ClusterCa {
    /// Makes the authority of a new cluster (ECDSA P-256, good for a century).
    pub fn generate(cluster: ClusterId) -> Result<Self, IdentityError> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, format!("karri cluster {cluster}"));
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(2120, 1, 1);
        let cert = params.self_signed(&key)?;
        Ok(Self { cluster, cert_pem: cert.pem(), key_pem: key.serialize_pem() })
    }

    /// The authority as kept on disk.
    pub fn from_pem(cluster: ClusterId, cert_pem: &str, key_pem: &str) -> Result<Self, IdentityError> {
        KeyPair::from_pem(key_pem)?;
        CertificateDer::from_pem_slice(cert_pem.as_bytes())?;
        Ok(Self { cluster, cert_pem: cert_pem.to_owned(), key_pem: key_pem.to_owned() })
    }

    /// Makes a key and a certificate for `node`, good as long as the authority's.
    pub fn issue(&self, node: NodeId) -> Result<Identity, IdentityError> {
        self.issue_to(node, rcgen::date_time_ymd(2120, 1, 1))
    }

    /// As [`ClusterCa::issue`], good until `end`.
    pub fn issue_until(&self, node: NodeId, end: Timestamp) -> Result<Identity, IdentityError> {
        self.issue_to(node, rcgen::date_time_ymd(1970, 1, 1) + Duration::from_millis(end.as_millis()))
    }

    fn issue_to(&self, node: NodeId, end: OffsetDateTime) -> Result<Identity, IdentityError> {
        let issuer = Issuer::from_ca_cert_pem(&self.cert_pem, KeyPair::from_pem(&self.key_pem)?)?;
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new(vec![NODE_NAME.to_owned()])?;
        params.subject_alt_names.push(SanType::URI(node_uri(self.cluster, node).as_str().try_into()?));
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, format!("node {node}"));
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = end;
        let cert = params.signed_by(&key, &issuer)?;
        Ok(Identity {
            cluster: self.cluster,
            node,
            cert_pem: cert.pem(),
            key_pem: key.serialize_pem(),
            ca_cert_pem: self.cert_pem.clone(),
        })
    }

    /// SHA-256 of the authority's certificate, in hexadecimal: what a join token pins.
    pub fn fingerprint(&self) -> Result<String, IdentityError> {
        fingerprint(&self.cert_pem)
    }

    /// The authority's certificate.
    pub fn cert_pem(&self) -> &str {
        &self.cert_pem
    }

    /// The authority's key. Secret.
    pub fn key_pem(&self) -> &str {
        &self.key_pem
    }
}

impl Identity {
    pub(crate) fn chain(&self) -> Result<Vec<CertificateDer<'static>>, IdentityError> {
        let node = CertificateDer::from_pem_slice(self.cert_pem.as_bytes())?;
        // The authority comes along so that a joining node can check it against its token.
        let authority = CertificateDer::from_pem_slice(self.ca_cert_pem.as_bytes())?;
        Ok(vec![node, authority])
    }

    pub(crate) fn key(&self) -> Result<PrivateKeyDer<'static>, IdentityError> {
        Ok(PrivateKeyDer::from_pem_slice(self.key_pem.as_bytes())?)
    }

    pub(crate) fn authority(&self) -> Result<CertificateDer<'static>, IdentityError> {
        Ok(CertificateDer::from_pem_slice(self.ca_cert_pem.as_bytes())?)
    }
}

/// SHA-256 of a PEM certificate's DER, in hexadecimal.
pub(crate) fn fingerprint(cert_pem: &str) -> Result<String, IdentityError> {
    Ok(der_fingerprint(&CertificateDer::from_pem_slice(cert_pem.as_bytes())?))
}

pub(crate) fn der_fingerprint(certificate: &CertificateDer<'_>) -> String {
    hex::encode(Sha256::digest(certificate.as_ref()))
}

pub(crate) fn node_uri(cluster: ClusterId, node: NodeId) -> String {
    format!("karri://{cluster}/node/{node}")
}

/// The node that a verified certificate of `cluster` names.
pub(crate) fn node_of(cluster: ClusterId, certificate: &CertificateDer<'_>) -> Option<NodeId> {
    // The certificate was signed by our authority, so its only `karri://` text is the URI that we put there.
    let prefix = format!("karri://{cluster}/node/");
    let bytes = certificate.as_ref();
    let at = bytes.windows(prefix.len()).position(|window| window == prefix.as_bytes())?;
    // A URI in DER is preceded by its length.
    let length = usize::from(*bytes.get(at.checked_sub(1)?)?);
    let text = bytes.get(at + prefix.len()..at + length)?;
    std::str::from_utf8(text).ok()?.parse().ok()
}
