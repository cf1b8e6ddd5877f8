//! Certificates: the node's own, which the cluster's authority issued, and that of the service port.

use karri_ring_rpc::{CertificateFacts, Identity};
use karri_ring_types::{Clock as _, SystemClock, Timestamp};

use super::Report;
use crate::config::Config;

/// From here on it is time for a new certificate.
const DAYS_WARNED: u64 = 21;
const DAY_MS: u64 = 24 * 3600 * 1000;

/// Days until `end`; `None` when it has passed.
fn days_left(end: Timestamp, now: Timestamp) -> Option<u64> {
    end.as_millis().checked_sub(now.as_millis()).map(|left| left / DAY_MS)
}

/// The certificate that the other nodes know this one by.
pub(super) fn of_node(identity: &Identity, report: &mut Report) {
    const CHECK: &str = "certificate";
    const RENEW: &str = "set the clock right, or run `karri cluster renew-certificate` and start the node again";
    let now = SystemClock::default().now();
    let facts = match identity.certificate() {
        Ok(facts) => facts,
        Err(error) => {
            return report.error(CHECK, format!("of the node: {error}"), "restore node-credentials from its backup");
        }
    };
    if let Err(error) = identity.check(now) {
        return report.error(CHECK, format!("of the node, peers refuse it: {error}"), RENEW);
    }
    match days_left(facts.not_after, now) {
        Some(days) if days >= DAYS_WARNED => {
            report.ok(CHECK, format!("of the node: the cluster's authority signed it, good for {days} days"));
        }
        days => report.warn(CHECK, format!("of the node: it ends in {} days", days.unwrap_or(0)), RENEW),
    }
}

/// The certificate of the service port, when it speaks TLS.
pub(super) fn of_service(config: &Config, report: &mut Report) {
    const CHECK: &str = "certificate";
    let Some((certificate, key)) = config.s3.tls_certificate.as_ref().zip(config.s3.tls_key.as_ref()) else { return };
    let path = certificate.display();
    let replace = "put a new certificate and key there; a running node takes them within 10 seconds";
    if let Err(error) = karri_objstore_gateway::check_tls_files(certificate, key) {
        return report.error(CHECK, format!("of the S3 port: {error}"), replace);
    }
    let facts = std::fs::read(certificate).map_err(|error| error.to_string());
    let facts = facts.and_then(|pem| CertificateFacts::of_pem(&pem).map_err(|error| error.to_string()));
    let facts = match facts {
        Ok(facts) => facts,
        Err(error) => return report.error(CHECK, format!("of the S3 port: {path}: {error}"), replace),
    };
    let now = SystemClock::default().now();
    if now < facts.not_before {
        return report.error(CHECK, format!("of the S3 port: {path} is not valid yet"), "set the clock right");
    }
    for domain in &config.s3.base_domains {
        for host in [domain.clone(), format!("bucket.{domain}")] {
            if !facts.is_for(&host) {
                let found = format!("of the S3 port: {path} is not for {host}, but for {}", facts.names.join(", "));
                report.warn(CHECK, found, format!("have {domain} and *.{domain} in the certificate"));
            }
        }
    }
    match days_left(facts.not_after, now) {
        None => report.error(CHECK, format!("of the S3 port: {path} has expired"), replace),
        Some(days) if days < DAYS_WARNED => {
            report.warn(CHECK, format!("of the S3 port: {path} ends in {days} days"), replace);
        }
        Some(days) => report.ok(CHECK, format!("of the S3 port: {path} is good for {days} days")),
    }
}
