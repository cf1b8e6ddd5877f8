//! Conditional writes: of 32 racing writers exactly one wins, through every node, whoever leads; and a delete is not before
//! a write that needed what it deleted.

use anyhow::{Result, ensure};
use karri_tests_cluster::{Cluster, S3Client};

const WRITERS: usize = 32;

/// Races one round; returns how many were told that they created the key.
async fn round(clients: &[S3Client], key: &str, attempts: u32) -> Result<usize> {
    let path = format!("/races/{key}");
    let racers = (0..WRITERS).map(|writer| {
        let client = clients[writer % clients.len()].clone();
        let path = path.clone();
        async move {
            let condition = [("if-none-match", "*")];
            let body = format!("writer {writer}");
            client.send_retrying(attempts, "PUT", &path, &[], &condition, body).await
        }
    });
    let mut winners = Vec::new();
    for (writer, answer) in futures::future::join_all(racers).await.into_iter().enumerate() {
        let answer = answer?;
        match answer.status {
            200 => winners.push(writer),
            412 => ensure!(answer.tag("Code") == "PreconditionFailed", "{answer:?}"),
            409 => ensure!(answer.tag("Code") == "ConditionalRequestConflict", "{answer:?}"),
            other => anyhow::bail!("{other}: {answer:?}"),
        }
    }
    if let [winner] = winners[..] {
        let stored = clients[0].send_retrying(attempts, "GET", &path, &[], &[], "").await?.expect(200)?;
        ensure!(stored.body == format!("writer {winner}"), "writer {winner} won but {:?} is stored", stored.body);
    }
    Ok(winners.len())
}

#[tokio::test(flavor = "multi_thread")]
async fn one_of_32_writers_wins_each_of_200_rounds() -> Result<()> {
    let cluster = Cluster::start(3).await?;
    let clients: Vec<S3Client> = (0..3).map(|node| cluster.client(node)).collect();
    clients[0].create_bucket("races").await?;
    for number in 0..200 {
        let winners = round(&clients, &format!("key-{number}"), 1).await?;
        ensure!(winners == 1, "{winners} winners in round {number}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn one_wins_while_leaders_are_killed() -> Result<()> {
    let mut cluster = Cluster::start(3).await?;
    let clients: Vec<S3Client> = (0..3).map(|node| cluster.client(node)).collect();
    clients[0].create_bucket("races").await?;
    for number in 0..9 {
        let victim = number % 3;
        let survivors: Vec<S3Client> = (0..3).filter(|&n| n != victim).map(|n| clients[n].clone()).collect();
        let key = format!("killed-{number}");
        let race = tokio::spawn(async move { round(&survivors, &key, 60).await });
        cluster.kill(victim)?;
        let winners = race.await??;
        ensure!(winners == 1, "{winners} winners in round {number}, node {victim} killed");
        cluster.restart(victim).await?;
    }
    Ok(())
}

/// Found by `tests/nodes`: the delete was told that the write, which rests on what it deletes, was later.
#[tokio::test(flavor = "multi_thread")]
async fn a_delete_and_a_write_that_needs_what_it_deletes_leave_nothing() -> Result<()> {
    let cluster = Cluster::start(3).await?;
    let clients: Vec<S3Client> = (0..3).map(|node| cluster.client(node)).collect();
    clients[0].create_bucket("races").await?;
    let mut both = 0;
    for number in 0..400 {
        let key = format!("/races/deleted-{number}");
        let put = clients[0].put("races", &key["/races/".len()..], "before").await?;
        let etag = put.header("etag").to_owned();
        let condition = [("if-match", etag.as_str())];
        let write = clients[1].send("PUT", &key, &[], &condition, "after");
        let delete = clients[2].send("DELETE", &key, &[], &[], "");
        let (write, delete) = futures::future::try_join(write, delete).await?;
        ensure!(delete.status == 204, "{delete:?}");
        if write.status == 200 {
            both += 1;
            let left = clients[0].get("races", &key["/races/".len()..]).await?;
            ensure!(left.status == 404, "round {number}: written over what was deleted, and still there: {left:?}");
        }
    }
    ensure!(both > 0, "the write was never first: nothing was seen");
    Ok(())
}
