//! Versions, locks and rules under races: outcomes are those that one request after the other could have.

use std::collections::BTreeSet;

use anyhow::{Result, ensure};
use karri_tests_cluster::{Answer, Cluster, S3Client};

const RACERS: usize = 32;

const ENABLED: &str = "<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>";

async fn start() -> Result<(Cluster, Vec<S3Client>)> {
    let cluster = Cluster::start(3).await?;
    let clients: Vec<S3Client> = (0..3).map(|node| cluster.client(node)).collect();
    Ok((cluster, clients))
}

/// The same request from as many clients at once, through every node.
async fn race(
    clients: &[S3Client],
    method: &str,
    path: &str,
    query: &[(&str, &str)],
    headers: &[(&str, &str)],
    body: impl Fn(usize) -> String,
) -> Result<Vec<Answer>> {
    let racers = (0..RACERS).map(|racer| {
        let (client, body) = (&clients[racer % clients.len()], body(racer));
        client.send(method, path, query, headers, body)
    });
    futures::future::join_all(racers).await.into_iter().collect()
}

fn statuses(answers: &[Answer], status: u16) -> usize {
    answers.iter().filter(|answer| answer.status == status).count()
}

async fn versions(client: &S3Client, bucket: &str) -> Result<Answer> {
    client.send("GET", &format!("/{bucket}"), &[("versions", "")], &[], "").await?.expect(200)
}

#[tokio::test(flavor = "multi_thread")]
async fn racing_writes_each_leave_a_version() -> Result<()> {
    let (_cluster, clients) = start().await?;
    clients[0].create_bucket("versions").await?;
    clients[0].send("PUT", "/versions", &[("versioning", "")], &[], ENABLED).await?.expect(200)?;
    for round in 1..=5 {
        let written = race(&clients, "PUT", "/versions/k", &[], &[], |racer| format!("{round}-{racer}")).await?;
        ensure!(statuses(&written, 200) == RACERS, "{written:?}");
        let told: BTreeSet<&str> = written.iter().map(|answer| answer.header("x-amz-version-id")).collect();
        ensure!(told.len() == RACERS, "{} ids for {RACERS} versions", told.len());
        let listed = versions(&clients[round % 3], "versions").await?;
        let ids = listed.tags("VersionId");
        ensure!(ids.len() == RACERS * round, "{} versions after {round} rounds", ids.len());
        ensure!(ids[..RACERS].iter().all(|id| told.contains(id.as_str())), "an older version sorts before a newer one");
        let latest = listed.tags("IsLatest");
        ensure!(latest.iter().filter(|latest| *latest == "true").count() == 1 && latest[0] == "true", "{latest:?}");
        let read = clients[0].get("versions", "k").await?.expect(200)?;
        ensure!(read.header("x-amz-version-id") == ids[0], "the newest version is not what is read");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn of_racing_conditional_deletes_one_makes_the_marker() -> Result<()> {
    let (_cluster, clients) = start().await?;
    clients[0].create_bucket("versions").await?;
    clients[0].send("PUT", "/versions", &[("versioning", "")], &[], ENABLED).await?.expect(200)?;
    for round in 0..20 {
        let key = format!("key-{round}");
        let etag = clients[0].put("versions", &key, "x").await?.header("etag").to_owned();
        let path = format!("/versions/{key}");
        let deleted = race(&clients, "DELETE", &path, &[], &[("if-match", &etag)], |_| String::new()).await?;
        ensure!(statuses(&deleted, 204) == 1, "{deleted:?}");
        let others = statuses(&deleted, 404) + statuses(&deleted, 412) + statuses(&deleted, 409);
        ensure!(others == RACERS - 1, "{deleted:?}");
    }
    let listed = versions(&clients[1], "versions").await?;
    ensure!(listed.tags("DeleteMarker").len() == 20 && listed.tags("Version").len() == 20, "{listed:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hold_and_a_delete_do_not_both_succeed() -> Result<()> {
    let (_cluster, clients) = start().await?;
    let lock = [("x-amz-bucket-object-lock-enabled", "true")];
    clients[0].send("PUT", "/locks", &[], &lock, "").await?.expect(200)?;
    let mut deleted_rounds = 0;
    for round in 0..20 {
        let key = format!("key-{round}");
        let version = clients[0].put("locks", &key, "x").await?.header("x-amz-version-id").to_owned();
        let path = format!("/locks/{key}");
        let hold = [("legal-hold", ""), ("versionId", &version)];
        let on = |_| "<LegalHold><Status>ON</Status></LegalHold>".to_owned();
        let exact = [("versionId", version.as_str())];
        let (held, deleted) = tokio::try_join!(
            race(&clients, "PUT", &path, &hold, &[], on),
            race(&clients, "DELETE", &path, &exact, &[], |_| String::new())
        )?;
        let there = clients[2].send("GET", &path, &exact, &[], "").await?.status == 200;
        match there {
            true => {
                ensure!(statuses(&held, 200) == RACERS, "{held:?}");
                ensure!(statuses(&deleted, 403) == RACERS, "{deleted:?}");
            }
            false => {
                deleted_rounds += 1;
                ensure!(statuses(&held, 404) == RACERS, "{held:?}");
                ensure!(statuses(&deleted, 204) == RACERS, "{deleted:?}");
            }
        }
    }
    println!("the delete came first in {deleted_rounds} of 20 rounds");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn racing_completions_make_one_version() -> Result<()> {
    let (_cluster, clients) = start().await?;
    clients[0].create_bucket("versions").await?;
    clients[0].send("PUT", "/versions", &[("versioning", "")], &[], ENABLED).await?.expect(200)?;
    let begun = clients[0].send("POST", "/versions/k", &[("uploads", "")], &[], "").await?.expect(200)?;
    let upload = begun.tag("UploadId");
    let part = [("partNumber", "1"), ("uploadId", upload.as_str())];
    let etag = clients[1].send("PUT", "/versions/k", &part, &[], "part").await?.expect(200)?.header("etag").to_owned();
    let list = format!(
        "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>{etag}</ETag></Part></CompleteMultipartUpload>"
    );
    let query = [("uploadId", upload.as_str())];
    let done = race(&clients, "POST", "/versions/k", &query, &[], |_| list.clone()).await?;
    ensure!(statuses(&done, 200) == RACERS, "{done:?}");
    let told: BTreeSet<&str> = done.iter().map(|answer| answer.header("x-amz-version-id")).collect();
    let listed = versions(&clients[2], "versions").await?.tags("VersionId");
    ensure!(told.len() == 1 && listed.len() == 1 && told.contains(listed[0].as_str()), "{told:?} {listed:?}");
    Ok(())
}
