//! What a node finds wrong at its start: each is one message that says what to do, and the right behaviour.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use anyhow::{Context, Result, ensure};
use karri_tests_cluster::{Cluster, karri_binary, test_bytes};

/// Starts a node that is not to come up; its message.
fn refused(config: &Path, shell: &str) -> Result<String> {
    let server = format!("{shell} exec timeout 40 {} server --config {}", karri_binary().display(), config.display());
    let Output { status, stdout, stderr } = Command::new("sh").args(["-c", &server]).output()?;
    let text = String::from_utf8_lossy(&[stdout, stderr].concat()).into_owned();
    ensure!(status.code().is_some_and(|code| code != 0 && code != 124), "it came up ({status}): {text}");
    let said: Vec<&str> = text.lines().filter(|line| line.starts_with("karri: ")).collect();
    ensure!(said.len() == 1, "one message: {text}");
    Ok(said[0].to_owned())
}

fn expect_refused(config: &Path, shell: &str, words: &[&str]) -> Result<()> {
    let said = refused(config, shell)?;
    ensure!(words.iter().all(|word| said.contains(word)), "no {words:?} in: {said}");
    Ok(())
}

/// Where the bytes of a record of the write-ahead log lie, from `middle` on
/// (<https://github.com/facebook/rocksdb/wiki/Write-Ahead-Log-File-Format>): a length that is spoilt in the last block looks
/// like the torn end of the file, which is no fault, so the test spoils what the checksum is over.
fn record_from(log: &[u8], middle: usize) -> Option<std::ops::Range<usize>> {
    const BLOCK: usize = 32 << 10;
    const HEADER: usize = 7;
    let mut at = 0;
    while at + HEADER <= log.len() {
        let length = usize::from(u16::from_le_bytes([log[at + 4], log[at + 5]]));
        let payload = at + HEADER..at + HEADER + length;
        if payload.end > log.len() {
            return None;
        }
        if payload.end > middle && length > 0 {
            return Some(payload);
        }
        at = payload.end;
        if BLOCK - at % BLOCK < HEADER {
            at = at.next_multiple_of(BLOCK);
        }
    }
    None
}

/// Changes a record in the middle of the largest file of the log.
fn corrupt_log(raft: &Path) -> Result<()> {
    let mut logs: Vec<(u64, PathBuf)> = Vec::new();
    for entry in fs::read_dir(raft)? {
        let entry = entry?;
        if entry.path().extension().is_some_and(|extension| extension == "log") {
            logs.push((entry.metadata()?.len(), entry.path()));
        }
    }
    let (_, path) = logs.into_iter().max().context("a write-ahead log")?;
    let mut bytes = fs::read(&path)?;
    let record = record_from(&bytes, bytes.len() / 2).context("a record in the middle")?;
    bytes[record].iter_mut().for_each(|byte| *byte = !*byte);
    fs::write(path, bytes).context("write the damaged log")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_says_what_is_wrong_with_its_disks_and_does_not_start() -> Result<()> {
    let mut cluster = Cluster::start(3).await?;
    let s3 = cluster.client(0);
    s3.create_bucket("kept").await?;
    for number in 0..20 {
        s3.put("kept", &format!("o{number}"), test_bytes(number, 20_000)).await?;
    }
    for node in [1, 2] {
        cluster.stop(node).await?;
    }
    let (config, data) = (cluster.config(1).to_owned(), cluster.data_dir(1).to_owned());
    let other = cluster.data_dir(2).to_owned();

    // The disk of another node, as a whole and for one folder.
    let good = fs::read_to_string(&config)?;
    fs::write(
        &config,
        format!("node_id = 2\n{}", good.replace(data.to_str().context("UTF-8")?, other.to_str().context("UTF-8")?)),
    )?;
    expect_refused(&config, "", &["is of node 3", "mount this node's own disk"])?;
    let foreign = good.replace("[storage]", "[cluster]\nid = \"another\"\n[storage]");
    fs::write(&config, foreign)?;
    expect_refused(&config, "", &["is of cluster", "another", "mount this cluster's disk"])?;
    fs::write(&config, &good)?;
    fs::rename(data.join("extents"), data.join("aside"))?;
    fs::rename(other.join("extents"), data.join("extents"))?;
    expect_refused(&config, "", &["extents is of node 3", "mount this node's own disk"])?;
    fs::rename(data.join("extents"), other.join("extents"))?;

    // A disk that is not there, and a new one in its place that the administrator has taken note of.
    expect_refused(&config, "", &["extents is empty or gone", "lost-disk.md"])?;
    fs::create_dir(data.join("extents"))?;
    expect_refused(&config, "", &["extents is empty or gone"])?;
    fs::remove_dir(data.join("extents"))?;
    fs::rename(data.join("aside"), data.join("extents"))?;
    fs::rename(&data, data.with_extension("away"))?;
    fs::create_dir(&data)?;
    expect_refused(&config, "", &["is not a node's"])?;
    fs::remove_dir(&data)?;
    fs::rename(data.with_extension("away"), &data)?;

    expect_refused(&config, "ulimit -n 300;", &["may have 300 files open", "LimitNOFILE"])?;

    // A certificate that has ended is renewed by the node itself.
    let text = config.to_str().context("UTF-8")?;
    cluster.karri(&["cluster", "renew-certificate", "--config", text, "--end", "1700000000"])?;
    cluster.restart(1).await?;
    ensure!(cluster.log(1).contains("is renewed"), "it says that it renewed its certificate");
    cluster.restart(2).await?;
    cluster.client(1).put("kept", "after", "all").await?;
    cluster.wait_full_replicas(0, std::time::Duration::from_secs(60)).await?;

    // Wrong bytes in the log: the node stays away, the others go on.
    cluster.kill(1)?;
    corrupt_log(&data.join("raft"))?;
    expect_refused(&config, "", &["raft log", "Corruption"])?;
    cluster.client(0).put("kept", "still", "works").await?;
    let read = cluster.client(2).get("kept", "o7").await?.expect(200)?;
    ensure!(read.body == test_bytes(7, 20_000), "another node reads what was written before");
    Ok(())
}
