//! What a certificate says of itself, for those who look after a node.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use karri_ring_types::{NodeId, Timestamp};
use rustls::RootCertStore;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier as _;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use x509_parser::extensions::GeneralName;

use crate::ca::{Identity, IdentityError, NODE_NAME, node_of};
use crate::tls::provider;

/// Validity and names of a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFacts {
    /// Not valid before.
    pub not_before: Timestamp,
    /// Not valid after.
    pub not_after: Timestamp,
    /// DNS names and addresses that it is for.
    pub names: Vec<String>,
}

impl CertificateFacts {
    /// Reads the first certificate of a PEM text.
    ///
    /// # Errors
    /// When there is none, or it cannot be read.
    pub fn of_pem(pem: &[u8]) -> Result<Self, IdentityError> {
        let der = CertificateDer::from_pem_slice(pem)?;
        let (_, certificate) = x509_parser::parse_x509_certificate(&der).map_err(unreadable)?;
        let time = |seconds: i64| Timestamp(u64::try_from(seconds).unwrap_or(0).saturating_mul(1000));
        let mut names = Vec::new();
        if let Some(alternative) = certificate.subject_alternative_name().map_err(unreadable)? {
            for name in &alternative.value.general_names {
                match name {
                    GeneralName::DNSName(name) => names.push((*name).to_owned()),
                    GeneralName::IPAddress(octets) => names.extend(address(octets).map(|ip| ip.to_string())),
                    _ => {}
                }
            }
        }
        let validity = certificate.validity();
        Ok(Self {
            not_before: time(validity.not_before.timestamp()),
            not_after: time(validity.not_after.timestamp()),
            names,
        })
    }

    /// Whether it is for this host; a name may begin with `*.`, which stands for one label.
    pub fn is_for(&self, host: &str) -> bool {
        let host = host.to_ascii_lowercase();
        self.names.iter().map(|name| name.to_ascii_lowercase()).any(|name| match name.strip_prefix("*.") {
            Some(rest) => host.split_once('.').is_some_and(|(_, below)| below == rest),
            None => name == host,
        })
    }
}

impl Identity {
    /// What the node's certificate says.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn certificate(&self) -> Result<CertificateFacts, IdentityError> {
        CertificateFacts::of_pem(self.cert_pem.as_bytes())
    }

    /// Checks the node's certificate as its peers do: the cluster's authority signed it, for this node, and it is
    /// valid at `now`.
    ///
    /// # Errors
    /// What its peers would refuse it for.
    pub fn check(&self, now: Timestamp) -> Result<(), IdentityError> {
        let chain = self.chain()?;
        let mut roots = RootCertStore::empty();
        roots.add(self.authority()?)?;
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider())
            .build()
            .map_err(|error| IdentityError::Verifier(error.to_string()))?;
        let name = ServerName::try_from(NODE_NAME).map_err(|error| IdentityError::Verifier(error.to_string()))?;
        let at = UnixTime::since_unix_epoch(Duration::from_millis(now.as_millis()));
        verifier.verify_server_cert(&chain[0], &[], &name, &[], at)?;
        match node_of(self.cluster, &chain[0]) {
            Some(node) if node == self.node => Ok(()),
            other => {
                let node = other.unwrap_or(NodeId(0));
                Err(IdentityError::Verifier(format!("the certificate is node {node}'s of another cluster or node")))
            }
        }
    }
}

fn unreadable(error: impl std::fmt::Display) -> IdentityError {
    IdentityError::Verifier(format!("unreadable certificate: {error}"))
}

fn address(octets: &[u8]) -> Option<IpAddr> {
    <[u8; 4]>::try_from(octets).map(IpAddr::from).or_else(|_| <[u8; 16]>::try_from(octets).map(IpAddr::from)).ok()
}

#[cfg(test)]
mod tests {
    use karri_ring_types::ClusterId;

    use super::*;
    use crate::ClusterCa;

    const NOW: Timestamp = Timestamp(1_800_000_000_000);

    #[test]
    fn a_certificate_is_good_for_its_node_and_its_time() {
        let authority = ClusterCa::generate(ClusterId(7)).unwrap();
        let identity = authority.issue(NodeId(3)).unwrap();
        identity.check(NOW).unwrap();
        assert!(identity.check(Timestamp(NOW.0 * 10)).is_err(), "expired");
        assert!(identity.check(Timestamp(0)).is_err(), "not yet valid");
        assert!(Identity { node: NodeId(4), ..identity.clone() }.check(NOW).is_err(), "another's");
        let stranger = ClusterCa::generate(ClusterId(7)).unwrap().issue(NodeId(3)).unwrap();
        assert!(Identity { cert_pem: stranger.cert_pem, ..identity.clone() }.check(NOW).is_err(), "another authority");
        let short = authority.issue_until(NodeId(3), NOW).unwrap();
        assert_eq!(short.certificate().unwrap().not_after, NOW);
        short.check(Timestamp(NOW.0 - 1000)).unwrap();
        assert!(short.check(Timestamp(NOW.0 + 1000)).is_err());
    }

    #[test]
    fn names_are_compared_as_browsers_do() {
        let names = ["s3.example.org", "*.s3.example.org"].map(str::to_owned).to_vec();
        let facts = CertificateFacts { not_before: NOW, not_after: NOW, names };
        assert!(facts.is_for("S3.example.org") && facts.is_for("photos.s3.example.org"));
        assert!(!facts.is_for("a.photos.s3.example.org") && !facts.is_for("example.org"));
    }
}
