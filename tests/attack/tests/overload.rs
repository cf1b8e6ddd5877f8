//! More than a node takes at once: what is too much is answered 503 `SlowDown` with `Retry-After`, memory stays under its
//! ceiling, and whoever comes beside a client that wants everything is served.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use karri_tests_attack::{Keys, Kind, Request, Signer, Stage};
use karri_tests_cluster::{S3Client, eventually, test_bytes};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinSet;

const REQUESTS_MAX: usize = 64;
/// For bodies of requests and answers, and as much again for what waits for disks.
const MEMORY_BYTES_MAX: u64 = 64 << 20;
/// What else may grow meanwhile: caches and write buffers of the stores, and what the allocator keeps.
const OTHERWISE_BYTES: u64 = 128 << 20;
/// What is read ahead of a connection, refused ones too.
const CONNECTION_BYTES: u64 = 128 << 10;
/// Connections of the client that wants everything.
const GREEDY: usize = 1_000;
/// Four fifths, and one on the way.
const GREEDY_SHARE: usize = REQUESTS_MAX * 4 / 5 + 1;
const UPLOADED_BYTES: usize = 2 << 20;
/// What an upload sends now and then: it must bring 1 KiB in 30 s.
const TRICKLE_BYTES: usize = 2 << 10;
const TRICKLE_PAUSE: Duration = Duration::from_secs(8);
const LARGE_BYTES: usize = 32 << 20;
const GOOD_ROUNDS: u64 = 30;
const SOON: Duration = Duration::from_secs(60);

fn resident_bytes(pid: u32) -> Result<u64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).context("the node has ended")?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("VmRSS")?;
    Ok(line.trim().trim_end_matches(" kB").parse::<u64>()? << 10)
}

async fn told_to_go(go_on: &mut watch::Receiver<bool>) {
    let _ = go_on.wait_for(|go_on| !go_on).await;
}

/// Connections that send a request and hold what they got until they are told to let go.
struct Crowd {
    tasks: JoinSet<Result<()>>,
    refused: Arc<AtomicUsize>,
    go_on: watch::Sender<bool>,
}

impl Crowd {
    /// Sends a request on so many connections; each is refused as it should be, or held.
    fn gather(host: &str, count: usize, body: &Bytes, head: impl Fn(usize) -> Vec<u8>) -> Self {
        let (go_on, _) = watch::channel(true);
        let (mut tasks, refused) = (JoinSet::new(), Arc::new(AtomicUsize::new(0)));
        for number in 0..count {
            let (host, head, body, refused) = (host.to_owned(), head(number), body.clone(), refused.clone());
            let mut go_on = go_on.subscribe();
            tasks.spawn(async move {
                let stream = TcpStream::connect(&host).await.context("the node does not accept")?;
                let (mut reader, mut writer) = stream.into_split();
                writer.write_all(&head).await?;
                // Who is refused may be cut off before everything is sent.
                let _ = writer.write_all(&body).await;
                let mut status = [0; 12];
                {
                    let mut read = pin!(reader.read_exact(&mut status));
                    loop {
                        tokio::select! {
                            read = &mut read => {
                                read.context("no answer")?;
                                break;
                            }
                            () = told_to_go(&mut go_on) => return Ok(()),
                            // Enough not to be taken for idle.
                            () = tokio::time::sleep(TRICKLE_PAUSE) => {
                                let _ = writer.write_all(&body[..body.len().min(TRICKLE_BYTES)]).await;
                            }
                        }
                    }
                }
                if status.ends_with(b"200") {
                    // An answer that is not read any further.
                    told_to_go(&mut go_on).await;
                    return Ok(());
                }
                let mut rest = Vec::new();
                let _ = reader.take(4096).read_to_end(&mut rest).await;
                let told = String::from_utf8_lossy(&rest);
                ensure!(status.ends_with(b"503"), "{} {told}", String::from_utf8_lossy(&status));
                ensure!(told.contains("<Code>SlowDown</Code>"), "{told}");
                ensure!(told.to_ascii_lowercase().contains("retry-after: "), "{told}");
                refused.fetch_add(1, Ordering::Relaxed);
                Ok(())
            });
        }
        Self { tasks, refused, go_on }
    }

    async fn wait_refused(&self, least: usize) -> Result<()> {
        eventually("what is too much is refused", SOON, || async {
            (self.refused.load(Ordering::Relaxed) >= least).then_some(())
        })
        .await
        .with_context(|| format!("{} were refused", self.refused.load(Ordering::Relaxed)))
    }

    async fn end(mut self) -> Result<usize> {
        self.go_on.send_replace(false);
        while let Some(ended) = self.tasks.join_next().await {
            ended??;
        }
        Ok(self.refused.load(Ordering::Relaxed))
    }
}

/// A request by a signed URL, without a body.
fn presigned(stage: &Stage, keys: &Keys, method: &str, target: &str, more: &str) -> Vec<u8> {
    let sent = Signer::new(keys, Kind::Presigned).sign(&Request::new(method, target), &stage.host);
    format!("{method} {} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n{more}\r\n", sent.target, stage.host).into_bytes()
}

/// Small objects, written and read.
async fn good(client: &S3Client, tries: u32) -> Result<()> {
    for number in 0..GOOD_ROUNDS {
        let (path, body) = (format!("/victim/good-{number}"), test_bytes(number, 40_000));
        let put = client.send_retrying(tries, "PUT", &path, &[], &[], body.clone()).await?;
        ensure!(put.status == 200, "PUT {number}: {} {}", put.status, put.tag("Code"));
        let got = client.send_retrying(tries, "GET", &path, &[], &[], "").await?;
        ensure!(got.status == 200 && got.body == body, "GET {number}: {} {}", got.status, got.tag("Code"));
    }
    Ok(())
}

async fn start() -> Result<(Stage, S3Client)> {
    let limits = format!("requests_max = {REQUESTS_MAX}\nmemory_bytes_max = {MEMORY_BYTES_MAX}");
    let stage = Stage::start_configured(&limits).await?;
    let client = stage.cluster.client(0);
    good(&client, 1).await?;
    Ok((stage, client))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_uploads_of_one_client_leave_room_for_others() -> Result<()> {
    let (stage, client) = start().await?;
    let pid = stage.cluster.pid(0)?;
    let before = resident_bytes(pid)?;
    // The rest never comes.
    let more = format!("content-length: {}\r\n", 4 * UPLOADED_BYTES);
    let begun = Bytes::from(vec![7; UPLOADED_BYTES]);
    let crowd = Crowd::gather(&stage.host, GREEDY, &begun, |number| {
        presigned(&stage, &stage.friend, "PUT", &format!("/victim/greedy-{number}"), &more)
    });
    crowd.wait_refused(GREEDY - GREEDY_SHARE).await?;
    // Another key from the same address, at the first try.
    good(&client, 1).await?;
    let grown = resident_bytes(pid)?.saturating_sub(before);
    let refused = crowd.end().await?;
    println!("of {GREEDY} uploads {refused} were refused; resident memory +{} MiB", grown >> 20);
    ensure!(refused < GREEDY, "some were let in");
    let most = 2 * MEMORY_BYTES_MAX + GREEDY as u64 * CONNECTION_BYTES + OTHERWISE_BYTES;
    ensure!(grown <= most, "the node grew by {grown} bytes");
    good(&client, 1).await
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_that_nobody_reads_stay_under_the_ceiling() -> Result<()> {
    const READERS: usize = 200;
    let (stage, client) = start().await?;
    client.put("victim", "huge", test_bytes(9, LARGE_BYTES)).await?;
    let read = client.get("victim", "huge").await?.expect(200)?;
    ensure!(read.body.len() == LARGE_BYTES, "it can be read");
    drop(read);
    let pid = stage.cluster.pid(0)?;
    let before = resident_bytes(pid)?;
    let crowd = Crowd::gather(&stage.host, READERS, &Bytes::new(), |_| {
        presigned(&stage, &stage.friend, "GET", "/victim/huge", "")
    });
    // One takes 13 MiB.
    crowd.wait_refused(READERS - 4).await?;
    good(&client, 1).await?;
    let grown = resident_bytes(pid)?.saturating_sub(before);
    let refused = crowd.end().await?;
    println!("of {READERS} readers {refused} were refused; resident memory +{} MiB", grown >> 20);
    ensure!(refused < READERS, "some were let in");
    ensure!(grown <= MEMORY_BYTES_MAX + OTHERWISE_BYTES, "the node grew by {grown} bytes");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_tries_again_gets_through_beside_a_flood() -> Result<()> {
    let (stage, client) = start().await?;
    let stop = Arc::new(AtomicBool::new(false));
    let mut flood = JoinSet::new();
    for _ in 0..2 * REQUESTS_MAX {
        let (stop, host) = (stop.clone(), stage.host.clone());
        let bytes = presigned(&stage, &stage.friend, "GET", "/victim/large", "");
        flood.spawn(async move {
            let (mut answered, mut refused) = (0, 0);
            while !stop.load(Ordering::Relaxed) {
                let mut stream = TcpStream::connect(&host).await?;
                stream.write_all(&bytes).await?;
                let mut answer = Vec::new();
                stream.read_to_end(&mut answer).await?;
                match answer.get(9..12) {
                    Some(b"200") => answered += 1,
                    Some(b"503") => refused += 1,
                    other => anyhow::bail!("{other:?}"),
                }
            }
            anyhow::Ok((answered, refused))
        });
    }
    let served = good(&client, 20).await;
    stop.store(true, Ordering::Relaxed);
    let (mut answered, mut refused) = (0_u64, 0_u64);
    while let Some(one) = flood.join_next().await {
        let (some, none) = one??;
        answered += some;
        refused += none;
    }
    println!("the flood: {answered} answered, {refused} refused");
    served?;
    ensure!(answered > 0, "the flood is served too");
    Ok(())
}
