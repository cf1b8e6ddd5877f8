//! What the documents of a bucket say about access, compiled once for each change of them.

use std::sync::Arc;

use karri_iam_policy::{Policy, PolicyKind};
use karri_objstore_service::{BucketConfigKind, BucketSettings};

use crate::acl::Acl;
use crate::error::{S3Result, error};

/// `ObjectOwnership`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ownership {
    /// Lists count, and who writes an object owns it. So it is where nothing was configured (ADR 0009).
    ObjectWriter,
    /// As before, but an object written with `bucket-owner-full-control` is the bucket owner's.
    BucketOwnerPreferred,
    /// There are no lists; the bucket's owner owns every object.
    BucketOwnerEnforced,
}

impl Ownership {
    /// Reads the value of a header or document.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        match text {
            "ObjectWriter" => Some(Self::ObjectWriter),
            "BucketOwnerPreferred" => Some(Self::BucketOwnerPreferred),
            "BucketOwnerEnforced" => Some(Self::BucketOwnerEnforced),
            _ => None,
        }
    }
}

/// The document that says so, as a read of it answers.
pub(crate) fn ownership_document(value: &str) -> String {
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
         <OwnershipControls xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Rule>\
         <ObjectOwnership>{value}</ObjectOwnership></Rule></OwnershipControls>"
    )
}

/// `PublicAccessBlockConfiguration`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct PublicAccessBlock {
    pub(crate) block_acls: bool,
    pub(crate) ignore_acls: bool,
    pub(crate) restrict_buckets: bool,
}

/// A bucket's policy as it bears on requests.
pub(crate) enum BucketPolicy {
    Compiled(Box<Policy>),
    /// It was taken once and cannot be read now: it denies everything, for what it denied is not known.
    Unreadable,
}

/// Everything about access that is configured of a bucket.
pub(crate) struct Rules {
    settings: Arc<BucketSettings>,
    policy: Option<Arc<BucketPolicy>>,
    pub(crate) acl: Option<Arc<Acl>>,
    pub(crate) ownership: Ownership,
    pub(crate) public_access: PublicAccessBlock,
}

impl Rules {
    pub(crate) fn of(settings: Arc<BucketSettings>) -> Self {
        let policy = settings.compiled(BucketConfigKind::Policy, |document| {
            let text = std::str::from_utf8(document).ok();
            let policy = text.and_then(|text| Policy::parse(text, PolicyKind::Resource).ok());
            policy.map_or(BucketPolicy::Unreadable, |policy| BucketPolicy::Compiled(Box::new(policy)))
        });
        // A list that cannot be read grants nothing.
        let acl = settings.compiled(BucketConfigKind::Acl, |document| Acl::decode(document).unwrap_or_default());
        let ownership = settings.document(BucketConfigKind::OwnershipControls).map(|document| ownership(&document));
        let public_access = settings.document(BucketConfigKind::PublicAccessBlock);
        Self {
            policy,
            acl,
            ownership: ownership.unwrap_or(Ownership::ObjectWriter),
            public_access: public_access.map(|document| public_access_block(&document)).unwrap_or_default(),
            settings,
        }
    }

    pub(crate) fn settings(&self) -> &BucketSettings {
        &self.settings
    }

    pub(crate) fn policy(&self) -> Option<&BucketPolicy> {
        self.policy.as_deref()
    }

    /// Whether policy or list open the bucket to everybody, or to everybody with an account anywhere.
    pub(crate) fn is_public(&self) -> bool {
        let by_policy = matches!(self.policy(), Some(BucketPolicy::Compiled(policy)) if policy.is_public());
        by_policy || (self.has_acls() && self.acl.as_ref().is_some_and(|acl| acl.is_public()))
    }

    /// Refuses to switch lists off while the bucket's own one says more than that its owner has full control.
    pub(crate) fn check_new_ownership(&self, document: &[u8]) -> S3Result<()> {
        let says_more = self.acl.as_ref().is_some_and(|acl| **acl != Acl::private(&self.settings.info().owner));
        if says_more && ownership(document) == Ownership::BucketOwnerEnforced {
            let message = "Bucket cannot have ACLs set with ObjectOwnership's BucketOwnerEnforced setting";
            return Err(error("InvalidBucketAclWithObjectOwnership", 400, message));
        }
        Ok(())
    }

    /// `RequestPaymentConfiguration`: whether callers pay for what they ask for. Nothing is charged here; but they
    /// have to agree, as with AWS.
    pub(crate) fn has_requesters_pay(&self) -> bool {
        let document = self.settings.document(BucketConfigKind::RequestPayment);
        document.is_some_and(|document| element(&document, "Payer").as_deref() == Some("Requester"))
    }

    /// Whether lists count at all.
    pub(crate) fn has_acls(&self) -> bool {
        self.ownership != Ownership::BucketOwnerEnforced
    }
}

/// The ownership that a kept document says. One that cannot be read is taken as the strictest.
fn ownership(document: &[u8]) -> Ownership {
    let text = element(document, "ObjectOwnership");
    text.and_then(|text| Ownership::parse(&text)).unwrap_or(Ownership::BucketOwnerEnforced)
}

fn public_access_block(document: &[u8]) -> PublicAccessBlock {
    // What is missing in a document is false; what is garbled must not open a bucket.
    let is_set = |name| element(document, name).is_some_and(|value| value != "false");
    PublicAccessBlock {
        block_acls: is_set("BlockPublicAcls"),
        ignore_acls: is_set("IgnorePublicAcls"),
        restrict_buckets: is_set("RestrictPublicBuckets"),
    }
}

/// The text of an element in a document that this crate wrote itself, without prefixes and entities.
fn element(document: &[u8], name: &str) -> Option<String> {
    let text = std::str::from_utf8(document).ok()?;
    let (_, rest) = text.split_once(&format!("<{name}>"))?;
    let (value, _) = rest.split_once(&format!("</{name}>"))?;
    Some(value.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kept_documents_are_read() {
        for (name, expected) in [
            ("ObjectWriter", Ownership::ObjectWriter),
            ("BucketOwnerPreferred", Ownership::BucketOwnerPreferred),
            ("BucketOwnerEnforced", Ownership::BucketOwnerEnforced),
            ("Somebody", Ownership::BucketOwnerEnforced),
        ] {
            assert_eq!(ownership(ownership_document(name).as_bytes()), expected);
        }
        let document = b"<C><BlockPublicAcls>false</BlockPublicAcls><IgnorePublicAcls>true</IgnorePublicAcls></C>";
        let expected = PublicAccessBlock { ignore_acls: true, ..PublicAccessBlock::default() };
        assert_eq!(public_access_block(document), expected);
    }
}
