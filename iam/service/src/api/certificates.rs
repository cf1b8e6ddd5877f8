//! Server certificates, and the certificates with which users sign.

use std::sync::Arc;

use karri_iam_wire::WireError;
use karri_iam_wire::iam::{ErrorCode, types as t};
use karri_ring_types::Timestamp;
use rustls::crypto::ring::sign::any_supported_type;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::keys;
use super::paging::page;
use super::{Answer, Call, answers, exists, over_quota, tags, wire_tags};
use crate::ids;
use crate::model::{ServerCertificate, SigningCertificate, Status};
use crate::names;
use crate::state::Account;

/// Server certificates of an account.
const SERVER_CERTIFICATES_MAX: usize = 20;
/// Signing certificates of a user.
const SIGNING_CERTIFICATES_MAX: usize = 2;

pub(crate) fn find<'a>(account: &'a Account, name: &str) -> Answer<&'a Arc<ServerCertificate>> {
    let missing = || ErrorCode::NoSuchEntity.with(format!("The Server Certificate with name {name} cannot be found."));
    account.certificates.get(&names::key(name)).ok_or_else(missing)
}

/// The ARN of a server certificate, of one that is not there too.
pub(super) fn resource(account: &Account, name: &str) -> String {
    match account.certificates.get(&names::key(name)) {
        Some(found) => ids::arn(&account.id, "server-certificate", &found.path, &found.name),
        None => ids::arn(&account.id, "server-certificate", "/", name),
    }
}

fn malformed(what: &str) -> WireError {
    ErrorCode::MalformedCertificate.with(format!("Unable to parse {what}."))
}

/// The certificate of a PEM text, and when it ends.
fn certificate(pem: &str) -> Answer<(CertificateDer<'static>, Timestamp)> {
    let der = CertificateDer::from_pem_slice(pem.as_bytes()).map_err(|_| malformed("certificate"))?;
    let (_, parsed) = X509Certificate::from_der(&der).map_err(|_| malformed("certificate"))?;
    let seconds = u64::try_from(parsed.validity().not_after.timestamp()).map_err(|_| malformed("certificate"))?;
    Ok((der.clone(), Timestamp(seconds.saturating_mul(1000))))
}

/// Refuses a key that is not the certificate's.
fn check_pair(certificate: CertificateDer<'static>, key: &str) -> Answer<()> {
    let der = PrivateKeyDer::from_pem_slice(key.as_bytes()).map_err(|_| malformed("private key"))?;
    let key = any_supported_type(&der).map_err(|_| malformed("private key"))?;
    match CertifiedKey::new(vec![certificate], key).keys_match() {
        Err(rustls::Error::InconsistentKeys(rustls::InconsistentKeys::KeyMismatch)) => {
            let message = "Certificate and private key do not match";
            Err(ErrorCode::KeyPairMismatch.with(message))
        }
        Err(rustls::Error::InvalidCertificate(_)) => Err(malformed("certificate")),
        _ => Ok(()),
    }
}

fn metadata(account_id: &str, found: &ServerCertificate) -> t::ServerCertificateMetadata {
    t::ServerCertificateMetadata {
        path: found.path.clone(),
        server_certificate_name: found.name.clone(),
        server_certificate_id: found.id.clone(),
        arn: ids::arn(account_id, "server-certificate", &found.path, &found.name),
        upload_date: Some(answers::time(found.uploaded)),
        expiration: Some(answers::time(found.expires)),
    }
}

pub(super) async fn upload_server_certificate(
    call: &Call<'_>,
    input: t::UploadServerCertificateInput,
) -> Answer<t::UploadServerCertificateOutput> {
    let path = names::path(input.path);
    let resource = call.arn("server-certificate", &path, &input.server_certificate_name);
    call.authorize_new(&resource, ("iam:TagServerCertificate", &input.tags), None)?;
    let tags = tags::checked(input.tags)?;
    let (der, expires) = certificate(&input.certificate_body)?;
    check_pair(der, input.private_key.reveal())?;
    if let Some(chain) = &input.certificate_chain {
        let parsed = CertificateDer::pem_slice_iter(chain.as_bytes()).collect::<Result<Vec<_>, _>>();
        if parsed.map_or(true, |chain| chain.is_empty()) {
            return Err(malformed("certificate chain"));
        }
    }
    let rng = call.store().rng();
    let id = ids::unique(rng, "ASCA");
    let key =
        call.view().sealer().seal(rng, &format!("server certificate {id}"), input.private_key.reveal().as_bytes());
    call.change(|change| {
        if change.certificates.contains_key(&names::key(&input.server_certificate_name)) {
            return Err(exists("The Server Certificate", &input.server_certificate_name));
        }
        if change.certificates.len() >= SERVER_CERTIFICATES_MAX {
            return Err(over_quota("ServerCertificatesPerAccount", SERVER_CERTIFICATES_MAX));
        }
        let certificate = ServerCertificate {
            name: input.server_certificate_name.clone(),
            id: id.clone(),
            path: path.clone(),
            uploaded: change.now(),
            expires,
            body: input.certificate_body.clone(),
            chain: input.certificate_chain.clone(),
            key: key.clone(),
            tags: tags.clone(),
        };
        let server_certificate_metadata = Some(metadata(&change.id, &certificate));
        let tags = wire_tags(&certificate.tags);
        change.put(certificate);
        Ok(t::UploadServerCertificateOutput { server_certificate_metadata, tags })
    })
    .await
}

pub(super) async fn get_server_certificate(
    call: &Call<'_>,
    input: t::GetServerCertificateInput,
) -> Answer<t::GetServerCertificateOutput> {
    let account = call.account()?;
    call.authorize(&resource(&account, &input.server_certificate_name))?;
    let found = find(&account, &input.server_certificate_name)?;
    let server_certificate = t::ServerCertificate {
        server_certificate_metadata: metadata(&account.id, found),
        certificate_body: found.body.clone(),
        certificate_chain: found.chain.clone(),
        tags: wire_tags(&found.tags),
    };
    Ok(t::GetServerCertificateOutput { server_certificate })
}

pub(super) async fn list_server_certificates(
    call: &Call<'_>,
    input: t::ListServerCertificatesInput,
) -> Answer<t::ListServerCertificatesOutput> {
    let account = call.account()?;
    let prefix = input.path_prefix.as_deref().unwrap_or("/");
    call.authorize(&call.arn("server-certificate", prefix, ""))?;
    let found = account.certificates.iter().filter(|(_, found)| found.path.starts_with(prefix));
    let found = found.map(|(key, found)| (key.clone(), metadata(&account.id, found)));
    let page = page(found, input.marker.as_deref(), input.max_items)?;
    Ok(t::ListServerCertificatesOutput {
        server_certificate_metadata_list: page.items,
        is_truncated: page.is_truncated,
        marker: page.marker,
    })
}

pub(super) async fn update_server_certificate(call: &Call<'_>, input: t::UpdateServerCertificateInput) -> Answer<()> {
    call.authorize(&resource(&*call.account()?, &input.server_certificate_name))?;
    call.change(|change| {
        let old = find(change, &input.server_certificate_name)?.clone();
        let mut new = (*old).clone();
        if let Some(name) = &input.new_server_certificate_name {
            if names::key(name) != names::key(&old.name) && change.certificates.contains_key(&names::key(name)) {
                return Err(exists("The Server Certificate", name));
            }
            new.name.clone_from(name);
        }
        if let Some(path) = &input.new_path {
            new.path.clone_from(path);
        }
        change.replace(&*old, new);
        Ok(())
    })
    .await
}

pub(super) async fn delete_server_certificate(call: &Call<'_>, input: t::DeleteServerCertificateInput) -> Answer<()> {
    call.authorize(&resource(&*call.account()?, &input.server_certificate_name))?;
    call.change(|change| {
        let found = find(change, &input.server_certificate_name)?.clone();
        change.remove(&*found);
        Ok(())
    })
    .await
}

fn no_certificate(id: &str) -> WireError {
    ErrorCode::NoSuchEntity.with(format!("The Certificate with id {id} cannot be found."))
}

fn shown(user_name: &str, found: &SigningCertificate) -> t::SigningCertificate {
    t::SigningCertificate {
        user_name: user_name.to_owned(),
        certificate_id: found.id.clone(),
        certificate_body: found.body.clone(),
        status: answers::status(found.status),
        upload_date: Some(answers::time(found.uploaded)),
    }
}

pub(super) async fn upload_signing_certificate(
    call: &Call<'_>,
    input: t::UploadSigningCertificateInput,
) -> Answer<t::UploadSigningCertificateOutput> {
    let subject = keys::subject(call, input.user_name)?;
    call.authorize(&keys::resource(&*call.account()?, &subject))?;
    certificate(&input.certificate_body)?;
    let id = ids::signing_certificate(call.store().rng());
    call.change(|change| {
        let now = change.now();
        keys::edit(change, &subject, |secrets, name| {
            if secrets.certificates.iter().any(|found| found.body == input.certificate_body) {
                return Err(ErrorCode::DuplicateCertificate.with("The certificate was uploaded before."));
            }
            if secrets.certificates.len() >= SIGNING_CERTIFICATES_MAX {
                return Err(over_quota("SigningCertificatesPerUser", SIGNING_CERTIFICATES_MAX));
            }
            let body = input.certificate_body.clone();
            let found = SigningCertificate { id: id.clone(), body, status: Status::Active, uploaded: now };
            let certificate = shown(&name, &found);
            secrets.certificates.push(found);
            Ok(t::UploadSigningCertificateOutput { certificate })
        })
    })
    .await
}

pub(super) async fn list_signing_certificates(
    call: &Call<'_>,
    input: t::ListSigningCertificatesInput,
) -> Answer<t::ListSigningCertificatesOutput> {
    let account = call.account()?;
    let subject = keys::subject(call, input.user_name)?;
    call.authorize(&keys::resource(&account, &subject))?;
    let (secrets, name) = keys::secrets(&account, &subject)?;
    let mut found: Vec<_> = secrets.certificates.iter().map(|found| (found.id.clone(), shown(&name, found))).collect();
    found.sort_by(|(left, _), (right, _)| left.cmp(right));
    let page = page(found, input.marker.as_deref(), input.max_items)?;
    Ok(t::ListSigningCertificatesOutput {
        certificates: page.items,
        is_truncated: page.is_truncated,
        marker: page.marker,
    })
}

pub(super) async fn update_signing_certificate(call: &Call<'_>, input: t::UpdateSigningCertificateInput) -> Answer<()> {
    let subject = keys::subject(call, input.user_name)?;
    call.authorize(&keys::resource(&*call.account()?, &subject))?;
    let status = keys::status(input.status)?;
    call.change(|change| {
        keys::edit(change, &subject, |secrets, _| {
            let found = secrets.certificates.iter_mut().find(|found| found.id == input.certificate_id);
            found.ok_or_else(|| no_certificate(&input.certificate_id))?.status = status;
            Ok(())
        })
    })
    .await
}

pub(super) async fn delete_signing_certificate(call: &Call<'_>, input: t::DeleteSigningCertificateInput) -> Answer<()> {
    let subject = keys::subject(call, input.user_name)?;
    call.authorize(&keys::resource(&*call.account()?, &subject))?;
    call.change(|change| {
        keys::edit(change, &subject, |secrets, _| {
            let before = secrets.certificates.len();
            secrets.certificates.retain(|found| found.id != input.certificate_id);
            if secrets.certificates.len() == before { Err(no_certificate(&input.certificate_id)) } else { Ok(()) }
        })
    })
    .await
}
