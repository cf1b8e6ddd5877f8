//! Amazon resource names.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

/// `arn:partition:service:region:account:resource`, with its parts.
///
/// ```
/// use karri_iam_policy::Arn;
/// let arn: Arn = "arn:aws:iam::123456789012:role/ops/backup".parse()?;
/// assert_eq!((arn.service.as_str(), arn.account_id.as_str()), ("iam", "123456789012"));
/// assert_eq!(arn.resource_kind(), Some(("role", "ops/backup")));
/// assert_eq!(Arn::s3("photos", Some("cat.jpg")).to_string(), "arn:aws:s3:::photos/cat.jpg");
/// # Ok::<(), karri_iam_policy::ArnError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Arn {
    /// `aws`.
    pub partition: String,
    /// `s3`, `iam`, ...
    pub service: String,
    /// Empty for services without regions.
    pub region: String,
    /// Empty for S3.
    pub account_id: String,
    /// All that follows; it may have colons of its own.
    pub resource: String,
}

/// A text that is no ARN.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{0:?} is not a valid ARN")]
pub struct ArnError(String);

impl Arn {
    /// An ARN of the partition `aws` without a region.
    pub fn global(service: &str, account_id: &str, resource: impl Into<String>) -> Self {
        Self {
            partition: "aws".to_owned(),
            service: service.to_owned(),
            region: String::new(),
            account_id: account_id.to_owned(),
            resource: resource.into(),
        }
    }

    /// A bucket, or an object in it.
    pub fn s3(bucket: &str, key: Option<&str>) -> Self {
        Self::global("s3", "", key.map_or_else(|| bucket.to_owned(), |key| format!("{bucket}/{key}")))
    }

    /// The resource split at its first `/`: `("user", "path/name")`.
    pub fn resource_kind(&self) -> Option<(&str, &str)> {
        self.resource.split_once('/')
    }
}

impl fmt::Display for Arn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "arn:{}:{}:{}:{}:{}", self.partition, self.service, self.region, self.account_id, self.resource)
    }
}

impl FromStr for Arn {
    type Err = ArnError;

    fn from_str(text: &str) -> Result<Self, ArnError> {
        let parts: Vec<&str> = text.splitn(6, ':').collect();
        match parts[..] {
            ["arn", partition, service, region, account_id, resource]
                if !partition.is_empty() && !service.is_empty() && !resource.is_empty() =>
            {
                Ok(Self {
                    partition: partition.to_owned(),
                    service: service.to_owned(),
                    region: region.to_owned(),
                    account_id: account_id.to_owned(),
                    resource: resource.to_owned(),
                })
            }
            _ => Err(ArnError(text.to_owned())),
        }
    }
}
