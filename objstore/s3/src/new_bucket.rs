//! Ownership and list with which a bucket is created.

use bytes::Bytes;
use karri_objstore_gateway::ApiRequest;
use karri_objstore_service::BucketConfigKind;

use crate::S3;
use crate::acl::{Acl, acl_not_supported, asked_by_headers, put_bucket};
use crate::authorize::{Ownership, ownership_document};
use crate::convert::owner_of;
use crate::dispatch::principal;
use crate::error::{S3Result, error, invalid_argument};
use crate::fault::{Subject, from_service};
use crate::headers::text;

const OWNERSHIP: &str = "x-amz-object-ownership";

/// What the headers of a CreateBucket say about access.
pub(crate) struct NewBucket {
    ownership: Option<String>,
    acl: Option<Acl>,
}

impl NewBucket {
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
        Ok(Self { ownership: ownership.map(str::to_owned), acl: asked.acl(&owner, &owner) })
    }

    /// Keeps what was asked for with a bucket that was created just now. Ownership comes first: until the list is
    /// there, nobody but the owner has access.
    pub(crate) async fn keep(self, s3: &S3, bucket: &str) -> S3Result<()> {
        if let Some(ownership) = &self.ownership {
            let document = Bytes::from(ownership_document(ownership));
            let kept = s3.service.put_bucket_config(bucket, BucketConfigKind::OwnershipControls, document).await;
            kept.map_err(|failure| from_service(failure, Subject::bucket(bucket)))?;
        }
        match self.acl {
            Some(acl) => put_bucket(s3, bucket, Some(acl)).await,
            None => Ok(()),
        }
    }

    /// The bucket is the caller's already: that is fine if it is as asked for.
    pub(crate) async fn check(self, s3: &S3, bucket: &str) -> S3Result<()> {
        let rules = s3.rules(bucket).await?;
        let is_same = rules.acl.as_deref() == self.acl.as_ref()
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
