//! One node: data survives a restart, bad input leaves nothing behind, a stop is clean.

use anyhow::{Result, ensure};
use karri_tests_cluster::{Cluster, S3Client, test_bytes};

async fn started() -> Result<(Cluster, S3Client)> {
    let cluster = Cluster::start(1).await?;
    let s3 = cluster.client(0);
    Ok((cluster, s3))
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_of_every_size_survive_a_kill() -> Result<()> {
    let (mut cluster, s3) = started().await?;
    s3.create_bucket("sizes").await?;
    let sizes = [0, 1, 4096, 32 << 10, (32 << 10) + 1, 1 << 20, (1 << 20) + 1, (8 << 20) + 3, 70 << 20];
    for (seed, &size) in (0u64..).zip(&sizes) {
        s3.put("sizes", &format!("object-{size}"), test_bytes(seed, size)).await?;
    }
    cluster.kill(0)?;
    cluster.restart(0).await?;
    let s3 = cluster.client(0);
    for (seed, &size) in (0u64..).zip(&sizes) {
        let answer = s3.get("sizes", &format!("object-{size}")).await?.expect(200)?;
        ensure!(answer.body == test_bytes(seed, size), "the body of {size} bytes changed");
    }
    let ranged = s3.send("GET", "/sizes/object-73400320", &[], &[("range", "bytes=1048570-1048590")], "").await?;
    let ranged = ranged.expect(206)?;
    ensure!(ranged.body == test_bytes(8, 70 << 20)[1_048_570..=1_048_590], "a range over a chunk's end");
    ensure!(ranged.header("content-range") == "bytes 1048570-1048590/73400320", "{}", ranged.header("content-range"));
    cluster.stop(0).await
}

#[tokio::test(flavor = "multi_thread")]
async fn listings_page_and_group() -> Result<()> {
    let (_cluster, s3) = started().await?;
    s3.create_bucket("lists").await?;
    let mut keys: Vec<String> = (0..120).map(|n| format!("folder-{}/file-{n:03}", n % 7)).collect();
    keys.push("ünïcode/ключ".to_owned());
    for key in &keys {
        s3.put("lists", key, "x").await?;
    }
    keys.sort();
    ensure!(s3.list_keys("lists", "", 13).await? == keys, "pages of 13 give every key once, in order");
    let grouped = s3.send("GET", "/lists", &[("list-type", "2"), ("delimiter", "/")], &[], "").await?.expect(200)?;
    let mut prefixes: Vec<String> = (0..7).map(|n| format!("folder-{n}/")).collect();
    prefixes.push("ünïcode/".to_owned());
    ensure!(
        grouped.tags("Prefix").into_iter().filter(|p| !p.is_empty()).collect::<Vec<_>>() == prefixes,
        "{grouped:?}"
    );
    for key in &keys {
        s3.delete("lists", key).await?;
    }
    s3.send("DELETE", "/lists", &[], &[], "").await?.expect(204)?;
    let gone = s3.send("HEAD", "/lists", &[], &[], "").await?;
    ensure!(gone.status == 404, "a deleted bucket answers {}", gone.status);
    Ok(())
}

/// Names with values.
type Pairs<'a> = &'a [(&'a str, &'a str)];

/// Each bad request with the status and code that AWS answers.
#[tokio::test(flavor = "multi_thread")]
async fn bad_input_gets_the_exact_error_and_leaves_nothing() -> Result<()> {
    let (cluster, s3) = started().await?;
    s3.create_bucket("strict").await?;
    let long = format!("/strict/{}", "k".repeat(1025));
    let wrong_md5 = [("content-md5", "1B2M2Y8AsgTpgAmY7PhCfg==")];
    let bad_md5 = [("content-md5", "nonsense")];
    let wrong_crc = [("x-amz-checksum-crc32", "AAAAAA==")];
    let cases: Vec<(&str, &str, Pairs<'_>, Pairs<'_>, u16, &str)> = vec![
        ("PUT", "/strict/a", &[], &wrong_md5, 400, "BadDigest"),
        ("PUT", "/strict/a", &[], &bad_md5, 400, "InvalidDigest"),
        ("PUT", "/strict/a", &[], &wrong_crc, 400, "BadDigest"),
        ("PUT", &long, &[], &[], 400, "KeyTooLongError"),
        ("PUT", "/No_Good", &[], &[], 400, "InvalidBucketName"),
        ("PUT", "/missing-bucket/a", &[], &[], 404, "NoSuchBucket"),
        ("GET", "/strict/none", &[], &[], 404, "NoSuchKey"),
        ("DELETE", "/strict", &[("notification", "")], &[], 501, "NotImplemented"),
        ("PUT", "/strict", &[("replication", "")], &[], 501, "NotImplemented"),
        ("POST", "/strict/a", &[("select", ""), ("select-type", "2")], &[], 501, "NotImplemented"),
        ("POST", "/strict", &[("delete", "")], &[("content-md5", "N7UdGUp1E+RbVvZSTy1R8g==")], 400, "MalformedXML"),
        ("PUT", "/strict/a", &[], &[("x-amz-write-offset-bytes", "0")], 501, "NotImplemented"),
    ];
    for (method, path, query, headers, status, code) in cases {
        let body = if query.first().is_some_and(|(name, _)| *name == "delete") { "bar" } else { "content" };
        let answer = s3.send(method, path, query, headers, body).await?;
        ensure!(
            (answer.status, answer.tag("Code").as_str()) == (status, code),
            "{method} {path} {query:?} {headers:?}: wanted {status} {code}, got {} {:?}",
            answer.status,
            String::from_utf8_lossy(&answer.body)
        );
        ensure!(!answer.header("x-amz-request-id").is_empty(), "{method} {path} has no request id");
    }
    let mut forged = cluster.credentials().clone();
    forged.secret_key.push('x');
    let stranger = S3Client::new(&cluster.host(0), forged);
    let refused = stranger.send("PUT", "/strict/a", &[], &[], "content").await?.expect(403)?;
    ensure!(refused.tag("Code") == "SignatureDoesNotMatch", "{refused:?}");
    let anonymous = s3.send_raw("GET", "/strict/a", &[], bytes::Bytes::new()).await?.expect(403)?;
    ensure!(anonymous.tag("Code") == "AccessDenied", "{anonymous:?}");
    ensure!(s3.list_keys("strict", "", 1000).await?.is_empty(), "a refused write left a key");
    let bad_range = {
        s3.put("strict", "ten", "0123456789").await?;
        s3.send("GET", "/strict/ten", &[], &[("range", "bytes=10-")], "").await?.expect(416)?
    };
    ensure!(bad_range.tag("Code") == "InvalidRange", "{bad_range:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn health_and_metrics_are_on_the_service_port() -> Result<()> {
    let (_cluster, s3) = started().await?;
    for path in ["/-/live", "/-/ready"] {
        s3.send_raw("GET", path, &[], bytes::Bytes::new()).await?.expect(200)?;
    }
    let metrics = s3.send_raw("GET", "/-/metrics", &[], bytes::Bytes::new()).await?.expect(200)?;
    let text = String::from_utf8_lossy(&metrics.body).into_owned();
    ensure!(text.contains("# TYPE karri_"), "no metrics: {text}");
    Ok(())
}
