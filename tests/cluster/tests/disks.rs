//! What the disks of real nodes have of encrypted objects: nothing that can be read. What is not encrypted is found, so the
//! search can fail.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use karri_tests_cluster::{Cluster, ClusterOptions, S3Client};
use md5::{Digest as _, Md5};

const PART: usize = 5 << 20;
/// A body in the metadata, and one in extents.
const SIZES: [usize; 2] = [2_000, 300_000];

fn files(dir: &Path, found: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_dir() { files(&path, found)? } else { found.push(path) }
    }
    Ok(())
}

/// Which of the marks stand in a file of a node.
fn found_on_disks(cluster: &Cluster, marks: &[String]) -> Result<Vec<String>> {
    const MARK_BYTES: usize = 12;
    let mut found = Vec::new();
    for node in 0..cluster.len() {
        let mut paths = Vec::new();
        files(cluster.data_dir(node), &mut paths)?;
        for path in paths {
            let content = fs::read(&path)?;
            let marked =
                memchr::memmem::find_iter(&content, b"<<mark-").filter_map(|at| content.get(at..at + MARK_BYTES));
            found.extend(marked.filter_map(|mark| String::from_utf8(mark.to_vec()).ok()));
        }
    }
    found.retain(|mark| marks.contains(mark));
    found.sort();
    found.dedup();
    Ok(found)
}

/// A body of so many bytes that has its mark all over.
fn body(mark: &str, size: usize) -> Vec<u8> {
    let filler = "0123456789".repeat(5);
    format!("{mark}{filler}").into_bytes().into_iter().cycle().take(size).collect()
}

type Headers = Vec<(&'static str, String)>;

struct Writer {
    s3: S3Client,
    marks: Vec<String>,
    /// What was written: key, headers to read it, mark and size.
    written: Vec<(String, Headers, String, usize)>,
}

fn borrowed<'a>(headers: &'a [(&'static str, String)]) -> Vec<(&'a str, &'a str)> {
    headers.iter().map(|(name, value)| (*name, value.as_str())).collect()
}

impl Writer {
    fn mark(&mut self) -> String {
        let mark = format!("<<mark-{:03}>>", self.marks.len());
        self.marks.push(mark.clone());
        mark
    }

    /// Writes objects, one of parts, and copies of them, all encrypted so.
    async fn write(&mut self, name: &str, write: &Headers, read: &Headers, from: &Headers) -> Result<()> {
        for size in SIZES {
            let (key, mark) = (format!("{name}-{size}"), self.mark());
            let path = format!("/secret/{key}");
            self.s3.send("PUT", &path, &[], &borrowed(write), body(&mark, size)).await?.expect(200)?;
            self.written.push((key.clone(), read.clone(), mark.clone(), size));
            let mut headers = write.clone();
            headers.extend(from.clone());
            headers.push(("x-amz-copy-source", path.clone()));
            self.s3.send("PUT", &format!("{path}-copy"), &[], &borrowed(&headers), "").await?.expect(200)?;
            self.written.push((format!("{key}-copy"), read.clone(), mark, size));
        }
        self.upload(name, write, read).await
    }

    async fn upload(&mut self, name: &str, write: &Headers, read: &Headers) -> Result<()> {
        let (key, mark) = (format!("{name}-parts"), self.mark());
        let path = format!("/secret/{key}");
        let begun = self.s3.send("POST", &path, &[("uploads", "")], &borrowed(write), "").await?.expect(200)?;
        let id = begun.tag("UploadId");
        // Parts of an upload are sent with the client's own key only.
        let own: Headers = write.iter().filter(|(name, _)| name.contains("customer")).cloned().collect();
        let (whole, mut list) = (body(&mark, PART + 1000), String::new());
        for (number, part) in [(1, &whole[..PART]), (2, &whole[PART..])] {
            let text = number.to_string();
            let query = [("partNumber", text.as_str()), ("uploadId", id.as_str())];
            let sent = self.s3.send("PUT", &path, &query, &borrowed(&own), part.to_vec()).await?.expect(200)?;
            let etag = sent.header("etag");
            list += &format!("<Part><PartNumber>{number}</PartNumber><ETag>{etag}</ETag></Part>");
        }
        let document = format!("<CompleteMultipartUpload>{list}</CompleteMultipartUpload>");
        let query = [("uploadId", id.as_str())];
        self.s3.send("POST", &path, &query, &borrowed(&own), document).await?.expect(200)?;
        self.written.push((key, read.clone(), mark, whole.len()));
        Ok(())
    }
}

/// A client's own key; with `-copy-source` in its names when it is of a copy's source.
fn customer(prefix: &'static [&'static str; 3]) -> Headers {
    let key = [7u8; 32];
    let [algorithm, name, digest] = *prefix;
    vec![(algorithm, "AES256".to_owned()), (name, BASE64.encode(key)), (digest, BASE64.encode(Md5::digest(key)))]
}

const CUSTOMER: [&str; 3] = [
    "x-amz-server-side-encryption-customer-algorithm",
    "x-amz-server-side-encryption-customer-key",
    "x-amz-server-side-encryption-customer-key-md5",
];
const CUSTOMER_SOURCE: [&str; 3] = [
    "x-amz-copy-source-server-side-encryption-customer-algorithm",
    "x-amz-copy-source-server-side-encryption-customer-key",
    "x-amz-copy-source-server-side-encryption-customer-key-md5",
];

#[tokio::test(flavor = "multi_thread")]
async fn nothing_of_an_encrypted_object_is_plain_on_a_disk() -> Result<()> {
    let s3_configuration = "customer_keys_over_http = true".to_owned();
    let mut cluster = Cluster::start_with(3, ClusterOptions { s3_configuration, ..ClusterOptions::default() }).await?;
    let s3 = cluster.client(0);
    s3.create_bucket("secret").await?;
    let mut writer = Writer { s3: s3.clone(), marks: Vec::new(), written: Vec::new() };
    let by = |value: &str| vec![("x-amz-server-side-encryption", value.to_owned())];
    writer.write("s3", &by("AES256"), &Vec::new(), &Vec::new()).await?;
    writer.write("kms", &by("aws:kms"), &Vec::new(), &Vec::new()).await?;
    let key = customer(&CUSTOMER);
    writer.write("customer", &key, &key, &customer(&CUSTOMER_SOURCE)).await?;
    // Two that are plain are to be found: in the metadata, and in extents.
    let mut plain = Vec::new();
    for size in SIZES {
        let mark = writer.mark();
        s3.put("secret", &format!("plain-{size}"), body(&mark, size)).await?;
        plain.push(mark);
    }
    for (key, headers, mark, size) in &writer.written {
        let read = cluster.client(1).send("GET", &format!("/secret/{key}"), &[], &borrowed(headers), "").await?;
        ensure!(read.expect(200)?.body == body(mark, *size), "{key} has other bytes");
    }
    // What is in memory is written out.
    for node in 0..3 {
        cluster.stop(node).await?;
    }
    let found = found_on_disks(&cluster, &writer.marks)?;
    ensure!(found == plain, "on the disks are {found:?}, not {plain:?} alone");
    Ok(())
}
