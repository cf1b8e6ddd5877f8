//! What `ListObjectVersions` and `/-/metrics` tell, taken apart.

use anyhow::Result;

use crate::client::{Answer, S3Client};

/// A version or a delete marker, as it is listed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ListedVersion {
    /// Its key.
    pub key: String,
    /// Its id.
    pub version: String,
    /// Whether it is a delete marker.
    pub marker: bool,
    /// Whether it is the newest.
    pub latest: bool,
    /// Its storage class; "" of a marker.
    pub class: String,
}

/// The entries of one page, in the order of the listing.
fn entries(page: &Answer) -> Vec<ListedVersion> {
    let text = String::from_utf8_lossy(&page.body).into_owned();
    let tag = |entry: &str, name: &str| {
        let (_, rest) = entry.split_once(&format!("<{name}>"))?;
        Some(rest.split_once('<')?.0.to_owned())
    };
    let mut found = Vec::new();
    let mut rest = text.as_str();
    loop {
        let (version, marker) = (rest.find("<Version>"), rest.find("<DeleteMarker>"));
        let Some(at) = version.into_iter().chain(marker).min() else { return found };
        let is_marker = marker == Some(at);
        let end = if is_marker { "</DeleteMarker>" } else { "</Version>" };
        let Some((entry, after)) = rest[at..].split_once(end) else { return found };
        found.push(ListedVersion {
            key: tag(entry, "Key").unwrap_or_default(),
            version: tag(entry, "VersionId").unwrap_or_default(),
            marker: is_marker,
            latest: tag(entry, "IsLatest").as_deref() == Some("true"),
            class: tag(entry, "StorageClass").unwrap_or_default(),
        });
        rest = after;
    }
}

impl S3Client {
    /// Every version and delete marker of a bucket.
    pub async fn list_versions(&self, bucket: &str) -> Result<Vec<ListedVersion>> {
        let (mut found, mut key, mut version) = (Vec::new(), String::new(), String::new());
        loop {
            let mut query = vec![("versions", "")];
            if !key.is_empty() {
                query.extend([("key-marker", key.as_str()), ("version-id-marker", version.as_str())]);
            }
            let page = self.send_retrying(20, "GET", &format!("/{bucket}"), &query, &[], "").await?.expect(200)?;
            found.extend(entries(&page));
            if page.tag("IsTruncated") != "true" {
                return Ok(found);
            }
            (key, version) = (page.tag("NextKeyMarker"), page.tag("NextVersionIdMarker"));
        }
    }

    /// A figure of `/-/metrics`; `None` while the node does not answer or does not tell it.
    pub async fn metric(&self, name: &str) -> Option<u64> {
        let page = self.send_raw("GET", "/-/metrics", &[], bytes::Bytes::new()).await.ok()?;
        let text = String::from_utf8_lossy(&page.body).into_owned();
        let line = text.lines().find(|line| line.split_once(' ').is_some_and(|(first, _)| first == name))?;
        line.split_once(' ')?.1.trim().parse().ok()
    }
}
