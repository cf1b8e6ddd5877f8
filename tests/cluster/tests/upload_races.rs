//! Uploads and renames under races, on three nodes: outcomes are those that one request after the other could have.

use std::collections::BTreeSet;

use anyhow::{Result, ensure};
use karri_tests_cluster::{Answer, Cluster, S3Client, test_bytes};

const ROUNDS: usize = 8;
const RACERS: usize = 16;
const PART: usize = 5 << 20;

async fn start(bucket: &str) -> Result<(Cluster, Vec<S3Client>)> {
    let cluster = Cluster::start(3).await?;
    let clients: Vec<S3Client> = (0..3).map(|node| cluster.client(node)).collect();
    clients[0].create_bucket(bucket).await?;
    Ok((cluster, clients))
}

/// As many requests at once, each through the next node.
async fn race(
    clients: &[S3Client],
    method: &str,
    racers: impl Iterator<Item = (String, Vec<(&str, &str)>, Vec<(&str, String)>, String)>,
) -> Result<Vec<Answer>> {
    let racers = racers.enumerate().map(|(number, (path, query, headers, body))| async move {
        let headers: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        clients[number % 3].send(method, &path, &query, &headers, body).await
    });
    futures::future::join_all(racers).await.into_iter().collect()
}

fn count(answers: &[Answer], status: u16) -> usize {
    answers.iter().filter(|answer| answer.status == status).count()
}

/// Path, query, headers and body of a request.
type Request<'a> = (String, Vec<(&'a str, &'a str)>, Vec<(&'static str, String)>, String);

struct Upload {
    key: String,
    id: String,
    etags: Vec<String>,
}

impl Upload {
    async fn begin(clients: &[S3Client], key: &str, parts: &[Vec<u8>]) -> Result<Self> {
        let path = format!("/uploads/{key}");
        let begun = clients[0].send("POST", &path, &[("uploads", "")], &[], "").await?.expect(200)?;
        let (id, mut etags) = (begun.tag("UploadId"), Vec::new());
        for (number, part) in parts.iter().enumerate() {
            let number = (number + 1).to_string();
            let query = [("partNumber", number.as_str()), ("uploadId", id.as_str())];
            let sent = clients[1].send("PUT", &path, &query, &[], part.clone()).await?.expect(200)?;
            etags.push(sent.header("etag").to_owned());
        }
        Ok(Self { key: key.to_owned(), id, etags })
    }

    /// The document that names the first parts.
    fn list(&self, parts: usize) -> String {
        let part = |(number, etag): (usize, &String)| {
            format!("<Part><PartNumber>{}</PartNumber><ETag>{etag}</ETag></Part>", number + 1)
        };
        let parts: String = self.etags[..parts].iter().enumerate().map(part).collect();
        format!("<CompleteMultipartUpload>{parts}</CompleteMultipartUpload>")
    }

    fn requests(&self, body: impl Fn(usize) -> String) -> impl Iterator<Item = Request<'_>> {
        (0..RACERS).map(move |racer| {
            (format!("/uploads/{}", self.key), vec![("uploadId", self.id.as_str())], Vec::new(), body(racer))
        })
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_ends_once() -> Result<()> {
    let (_cluster, clients) = start("uploads").await?;
    let small = [b"small".to_vec()];
    let mut completed_rounds = 0;
    for round in 0..ROUNDS {
        // Completed or aborted, and all are told the same.
        let upload = Upload::begin(&clients, &format!("either-{round}"), &small).await?;
        let (done, aborted) = tokio::try_join!(
            race(&clients, "POST", upload.requests(|_| upload.list(1))),
            race(&clients, "DELETE", upload.requests(|_| String::new()))
        )?;
        let read = clients[2].get("uploads", &upload.key).await?;
        if read.status == 200 {
            completed_rounds += 1;
            ensure!(count(&done, 200) == RACERS && count(&aborted, 404) == RACERS, "{done:?} {aborted:?}");
            ensure!(read.body == small[0][..], "other bytes");
        } else {
            ensure!(read.status == 404 && count(&done, 404) == RACERS, "{done:?}");
            let (first, late) = (count(&aborted, 204), count(&aborted, 404));
            ensure!(first > 0 && first + late == RACERS, "{aborted:?}");
        }
        let left = clients[0].send("GET", "/uploads", &[("uploads", "")], &[], "").await?.expect(200)?;
        ensure!(left.tags("UploadId").is_empty(), "an upload is left: {left:?}");
    }
    println!("completed in {completed_rounds} of {ROUNDS} rounds");
    // Of two lists of parts one makes the object; the others are not told that theirs did.
    let parts = [test_bytes(1, PART), test_bytes(2, 100)];
    for round in 0..3 {
        let upload = Upload::begin(&clients, &format!("lists-{round}"), &parts).await?;
        let done = race(&clients, "POST", upload.requests(|racer| upload.list(1 + racer % 2))).await?;
        let read = clients[round % 3].get("uploads", &upload.key).await?.expect(200)?;
        let won = match read.body.len() {
            PART => 0,
            length if length == PART + 100 => 1,
            other => anyhow::bail!("{other} bytes"),
        };
        for (racer, answer) in done.iter().enumerate() {
            let wanted = if racer % 2 == won { 200 } else { 404 };
            ensure!(answer.status == wanted, "list {won} won, racer {racer} was told {answer:?}");
            ensure!(wanted == 404 || answer.tag("ETag").replace("&quot;", "\"") == read.header("etag"), "{answer:?}");
        }
    }
    Ok(())
}

fn rename(from: &str, to: &str) -> Request<'static> {
    (format!("/names/{to}"), vec![("renameObject", "")], vec![("x-amz-rename-source", from.to_owned())], String::new())
}

fn write(key: &str, body: String) -> Request<'static> {
    (format!("/names/{key}"), Vec::new(), Vec::new(), body)
}

async fn text(client: &S3Client, key: &str) -> Result<Option<String>> {
    let answer = client.get("names", key).await?;
    match answer.status {
        200 => Ok(Some(String::from_utf8_lossy(&answer.body).into_owned())),
        404 => Ok(None),
        _ => anyhow::bail!("{answer:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn renames_and_writes_are_as_one_after_the_other() -> Result<()> {
    let (_cluster, clients) = start("names").await?;
    for round in 0..ROUNDS {
        renamed_onto_what_is_written(&clients, round).await?;
        renamed_while_it_is_written(&clients, round).await?;
        renamed_or_deleted(&clients, round).await?;
        one_creates_the_name(&clients, round).await?;
    }
    Ok(())
}

/// One rename finds the source; writes of the new name come before it or after it.
async fn renamed_onto_what_is_written(clients: &[S3Client], round: usize) -> Result<()> {
    let (a, b) = (format!("onto-a{round}"), format!("onto-b{round}"));
    clients[0].put("names", &a, "source").await?;
    let (renamed, written) = tokio::try_join!(
        race(clients, "PUT", (0..RACERS).map(|_| rename(&a, &b))),
        race(clients, "PUT", (0..RACERS).map(|racer| write(&b, format!("written {racer}"))))
    )?;
    ensure!(count(&written, 200) == RACERS, "{written:?}");
    ensure!(count(&renamed, 200) == 1 && count(&renamed, 404) == RACERS - 1, "{renamed:?}");
    ensure!(text(&clients[1], &a).await?.is_none(), "the source is still there");
    let left = text(&clients[2], &b).await?.unwrap_or_default();
    ensure!(left == "source" || left.starts_with("written "), "{left:?}");
    Ok(())
}

/// What is written to the source is renamed, or stays; it is never at both names.
async fn renamed_while_it_is_written(clients: &[S3Client], round: usize) -> Result<()> {
    let (a, b) = (format!("while-a{round}"), format!("while-b{round}"));
    clients[0].put("names", &a, "written before").await?;
    let (renamed, written) = tokio::try_join!(
        race(clients, "PUT", (0..RACERS).map(|_| rename(&a, &b))),
        race(clients, "PUT", (0..RACERS).map(|racer| write(&a, format!("written {racer}"))))
    )?;
    ensure!(count(&written, 200) == RACERS, "{written:?}");
    let (done, refused) = (count(&renamed, 200), count(&renamed, 404) + count(&renamed, 409));
    ensure!(done > 0 && done + refused == RACERS, "{renamed:?}");
    let (at_a, at_b) = (text(&clients[1], &a).await?, text(&clients[2], &b).await?);
    ensure!(at_b.as_ref().is_some_and(|text| text.starts_with("written ")) && at_a != at_b, "{at_a:?} {at_b:?}");
    // The last of all writes is at one of the names: at the source if no rename came after it.
    ensure!(at_a.is_some() || done > 0, "{at_a:?}");
    Ok(())
}

async fn renamed_or_deleted(clients: &[S3Client], round: usize) -> Result<()> {
    let (a, b) = (format!("gone-a{round}"), format!("gone-b{round}"));
    clients[0].put("names", &a, "source").await?;
    let (renamed, deleted) = tokio::try_join!(
        race(clients, "PUT", (0..RACERS).map(|_| rename(&a, &b))),
        race(clients, "DELETE", (0..RACERS).map(|_| write(&a, String::new())))
    )?;
    ensure!(count(&deleted, 204) == RACERS, "{deleted:?}");
    let done = count(&renamed, 200);
    ensure!(done <= 1 && done + count(&renamed, 404) == RACERS, "{renamed:?}");
    let left = (text(&clients[1], &a).await?, text(&clients[2], &b).await?);
    ensure!(left == (None, (done == 1).then(|| "source".to_owned())), "{left:?} after {done} renames");
    Ok(())
}

/// Of renames and writes that need a free name one gets it; the others' objects stay where they are.
async fn one_creates_the_name(clients: &[S3Client], round: usize) -> Result<()> {
    let name = format!("free-{round}");
    let source = |racer: usize| format!("free-{round}-from-{racer}");
    for racer in 0..RACERS {
        clients[racer % 3].put("names", &source(racer), format!("source {racer}")).await?;
    }
    let free = ("if-none-match", "*".to_owned());
    let renames = (0..RACERS).map(|racer| {
        let (path, query, mut headers, body) = rename(&source(racer), &name);
        headers.push(free.clone());
        (path, query, headers, body)
    });
    let writes = (0..RACERS).map(|racer| {
        let (path, query, _, body) = write(&name, format!("written {racer}"));
        (path, query, vec![free.clone()], body)
    });
    let (renamed, written) = tokio::try_join!(race(clients, "PUT", renames), race(clients, "PUT", writes))?;
    let all: Vec<&Answer> = renamed.iter().chain(&written).collect();
    let lost = all.iter().filter(|answer| [409, 412].contains(&answer.status)).count();
    let winners: BTreeSet<usize> = (0..all.len()).filter(|&racer| all[racer].status == 200).collect();
    ensure!(winners.len() == 1 && lost == all.len() - 1, "{all:?}");
    let winner = winners.into_iter().next().unwrap_or_default();
    let wanted = if winner < RACERS { format!("source {winner}") } else { format!("written {}", winner - RACERS) };
    let left = text(&clients[round % 3], &name).await?;
    ensure!(left.as_deref() == Some(wanted.as_str()), "{left:?}, not {wanted}");
    for racer in 0..RACERS {
        let stays = text(&clients[racer % 3], &source(racer)).await?.is_some();
        ensure!(stays == (racer != winner), "source {racer}, winner {winner}");
    }
    Ok(())
}
