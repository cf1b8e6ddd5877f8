//! What is configured of a bucket from the beginning: ownership, list, tags.

use bytes::Bytes;
use karri_objstore_gateway::ApiRequest;
use karri_objstore_service::BucketConfigKind;
use karri_objstore_wire::types;

use crate::S3;
use crate::acl::{Acl, acl_not_supported, asked_by_headers};
use crate::authorize::{Ownership, ownership_document};
use crate::config::tags;
use crate::convert::owner_of;
use crate::dispatch::principal;
use crate::error::{S3Result, error, invalid_argument};
use crate::headers::text;

const OWNERSHIP: &str = "x-amz-object-ownership";

/// What a CreateBucket asks for.
pub(crate) struct NewBucket {
    ownership: Option<String>,
    acl: Option<Acl>,
    tags: Option<Bytes>,
}

impl NewBucket {
    /// Reads the headers.
    pub(crate) fn asked(s3: &S3, request: &ApiRequest) -> S3Result<Self> {
        let ownership = text(&request.headers, OWNERSHIP)?;
        let parsed = match ownership {
            None => Ownership::ObjectWriter,
            Some(name) => Ownership::parse(name)
                .ok_or_else(|| invalid_argument(OWNERSHIP, name, "Invalid x-amz-object-ownership header"))?,
        };
        let asked = asked_by_headers(&request.headers, &*s3.identities)?;
        if parsed == Ownership::BucketOwnerEnforced && !asked.holds_without_acls() && !asked.is_default() {
            return Err(acl_not_supported());
        }
        let owner = owner_of(principal(request)?);
        Ok(Self { ownership: ownership.map(str::to_owned), acl: asked.acl(&owner, &owner), tags: None })
    }

    /// With the tags of the body, which need a permission of their own.
    pub(crate) fn with_tags(
        mut self,
        s3: &S3,
        request: &ApiRequest,
        bucket: &str,
        given: Vec<types::Tag>,
    ) -> S3Result<Self> {
        if !given.is_empty() {
            s3.authorize_account(request, "s3:TagResource", &format!("arn:aws:s3:::{bucket}"))?;
            self.tags = Some(tags::of_bucket(types::Tagging { tag_set: given })?);
        }
        Ok(self)
    }

    /// The documents to begin with.
    pub(crate) fn documents(&self) -> Vec<(BucketConfigKind, Bytes)> {
        let ownership = self.ownership.as_deref().map(ownership_document).map(Bytes::from);
        let acl = self.acl.as_ref().map(|acl| Bytes::from(acl.encode()));
        let all = [
            (BucketConfigKind::OwnershipControls, ownership),
            (BucketConfigKind::Acl, acl),
            (BucketConfigKind::Tagging, self.tags.clone()),
        ];
        all.into_iter().filter_map(|(kind, document)| Some((kind, document?))).collect()
    }

    /// The bucket is the caller's already: that is fine if it is as asked for.
    pub(crate) async fn check(self, s3: &S3, bucket: &str) -> S3Result<()> {
        let rules = s3.rules(bucket).await?;
        let tags = rules.settings().document(BucketConfigKind::Tagging);
        let is_same = rules.acl.as_deref() == self.acl.as_ref()
            && self.tags.as_ref().is_none_or(|asked| Some(asked) == tags.as_ref())
            && self.ownership.as_deref().and_then(Ownership::parse).is_none_or(|asked| asked == rules.ownership);
        match is_same {
            true => Ok(()),
            false => Err(error(
                "BucketAlreadyExists",
                409,
                "The requested bucket name is not available. The bucket namespace is shared by all users of the \
                 system. Please select a different name and try again.",
            )),
        }
    }
}
