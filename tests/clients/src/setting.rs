//! What a suite of a client is run in: TLS or not, buckets that keep versions, buckets that encrypt.

use std::fmt;
use std::str::FromStr;

use anyhow::{Context as _, Error, Result, bail, ensure};

use crate::{Workbench, python_client};

/// Deletes every version of a bucket and prints how many there were.
const DELETE_VERSIONS: &str = "import boto3, sys
bucket = boto3.resource('s3', endpoint_url=sys.argv[1]).Bucket(sys.argv[2])
print(sum(len(answer['Deleted']) for answer in bucket.object_versions.delete()))";

/// How a bucket encrypts what does not say how.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Encryption {
    /// With keys of the service (SSE-S3).
    S3,
    /// With the account's key of the key service (SSE-KMS).
    Kms,
}

/// A setting; the default is none of all.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Setting {
    /// S3 over TLS, with a certificate that the clients check.
    pub tls: bool,
    /// Buckets keep versions.
    pub versioned: bool,
    /// Default encryption of buckets.
    pub encryption: Option<Encryption>,
}

impl Setting {
    /// TLS, versions and encryption together.
    pub const fn everything(encryption: Encryption) -> Self {
        Self { tls: true, versioned: true, encryption: Some(encryption) }
    }

    /// The setting that `KARRI_CLIENT_SETTING` names, as "tls+versioned+sse-kms"; none of all without it.
    pub fn chosen() -> Result<Self> {
        match std::env::var("KARRI_CLIENT_SETTING") {
            Ok(text) => text.parse().context("KARRI_CLIENT_SETTING"),
            Err(_) => Ok(Self::default()),
        }
    }

    /// "http" or "https".
    pub const fn scheme(self) -> &'static str {
        if self.tls { "https" } else { "http" }
    }
}

impl FromStr for Setting {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let mut setting = Self::default();
        for word in text.split('+').filter(|word| !word.is_empty()) {
            match word {
                "tls" => setting.tls = true,
                "versioned" => setting.versioned = true,
                "sse-s3" => setting.encryption = Some(Encryption::S3),
                "sse-kms" => setting.encryption = Some(Encryption::Kms),
                _ => bail!("{word} is none of tls, versioned, sse-s3, sse-kms"),
            }
        }
        Ok(setting)
    }
}

impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let encryption = self.encryption.map(|encryption| match encryption {
            Encryption::S3 => "sse-s3",
            Encryption::Kms => "sse-kms",
        });
        let words = [self.tls.then_some("tls"), self.versioned.then_some("versioned"), encryption];
        f.write_str(&words.into_iter().flatten().collect::<Vec<_>>().join("+"))
    }
}

impl Workbench {
    /// Gives a new bucket the versions and the encryption of the setting.
    pub async fn dress(&self, bucket: &str) -> Result<()> {
        let s3 = self.cluster.client(0);
        let path = format!("/{bucket}");
        if self.setting.versioned {
            let body = "<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>";
            s3.send("PUT", &path, &[("versioning", "")], &[], body).await?.expect(200)?;
        }
        if let Some(encryption) = self.setting.encryption {
            let body = format!(
                "<ServerSideEncryptionConfiguration><Rule><ApplyServerSideEncryptionByDefault><SSEAlgorithm>{}</SSEAlgorithm>\
                 </ApplyServerSideEncryptionByDefault></Rule></ServerSideEncryptionConfiguration>",
                algorithm(encryption)
            );
            s3.send("PUT", &path, &[("encryption", "")], &[], body).await?.expect(200)?;
        }
        Ok(())
    }

    /// Fails unless an object is encrypted as the setting says and, where versions are kept, has one of its own.
    pub async fn check_dressed(&self, bucket: &str, key: &str) -> Result<()> {
        let answer =
            self.cluster.client(0).send("HEAD", &format!("/{bucket}/{key}"), &[], &[], "").await?.expect(200)?;
        let wanted = self.setting.encryption.map(algorithm).unwrap_or_default();
        let got = answer.header("x-amz-server-side-encryption");
        ensure!(got == wanted, "{bucket}/{key} is encrypted by {got:?}, not by {wanted:?}");
        ensure!(
            answer.header("x-amz-version-id").is_empty() != self.setting.versioned,
            "versions: {:?}",
            answer.headers
        );
        Ok(())
    }

    /// Deletes the versions and delete markers that are left when a client believes that a bucket is empty.
    pub async fn undress(&self, bucket: &str) -> Result<()> {
        if !self.setting.versioned {
            return Ok(());
        }
        let printed = self.run(&python_client("python")?, &["-c", DELETE_VERSIONS, &self.endpoint(0), bucket]).await?;
        let deleted: u64 = printed.trim().parse().context("a count")?;
        ensure!(deleted > 0, "{bucket} kept no versions");
        Ok(())
    }
}

const fn algorithm(encryption: Encryption) -> &'static str {
    match encryption {
        Encryption::S3 => "AES256",
        Encryption::Kms => "aws:kms",
    }
}
