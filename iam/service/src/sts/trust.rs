//! Which certificates of identity providers are believed: those of the system's roots, and those below a certificate
//! whose SHA-1 thumbprint was registered with the provider.

use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use sha1::{Digest as _, Sha1};

/// A client that believes `roots` and `thumbprints` (SHA-1, hexadecimal).
pub(super) fn client_config(roots: Arc<RootCertStore>, thumbprints: &[String]) -> Arc<ClientConfig> {
    let provider = Arc::new(ring::default_provider());
    let thumbprints = thumbprints.iter().map(|text| text.to_ascii_lowercase()).collect();
    let verifier = Arc::new(Verifier { provider: provider.clone(), roots, thumbprints });
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = builder.expect("the provider has the versions of its own").dangerous();
    Arc::new(builder.with_custom_certificate_verifier(verifier).with_no_client_auth())
}

#[derive(Debug)]
struct Verifier {
    provider: Arc<CryptoProvider>,
    roots: Arc<RootCertStore>,
    thumbprints: Vec<String>,
}

impl Verifier {
    fn verify_below(
        &self,
        roots: Arc<RootCertStore>,
        chain: (&CertificateDer<'_>, &[CertificateDer<'_>]),
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if roots.is_empty() {
            return Err(Error::InvalidCertificate(CertificateError::UnknownIssuer));
        }
        let verifier = WebPkiServerVerifier::builder_with_provider(roots, self.provider.clone()).build();
        let verifier = verifier.map_err(|error| Error::General(error.to_string()))?;
        verifier.verify_server_cert(chain.0, chain.1, name, ocsp, now)
    }

    fn is_registered(&self, certificate: &CertificateDer<'_>) -> bool {
        self.thumbprints.contains(&hex::encode(Sha1::digest(certificate)))
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let chain = (end_entity, intermediates);
        let by_roots = self.verify_below(self.roots.clone(), chain, name, ocsp, now);
        let registered = std::iter::once(end_entity).chain(intermediates).find(|one| self.is_registered(one));
        match (by_roots, registered) {
            (Err(_), Some(certificate)) => {
                let mut roots = RootCertStore::empty();
                roots.add(certificate.clone().into_owned())?;
                self.verify_below(Arc::new(roots), chain, name, ocsp, now)
            }
            (verdict, _) => verdict,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
