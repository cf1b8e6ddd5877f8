//! Malformed requests and slow clients: the node stays up, answers no 500, does not grow, and serves others beside.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use futures::StreamExt as _;
use karri_tests_attack::{Kind, Malformed, Request, Signer, Stage};
use karri_tests_cluster::{S3Client, Seed};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

const REQUESTS: u64 = 10_000;
const IN_FLIGHT: usize = 32;
/// An answer takes no longer; debug builds on busy machines are slow.
const ANSWER_LIMIT: Duration = Duration::from_secs(20);
const GROWTH_BYTES_MAX: u64 = 96 << 20;
const SLOW_CLIENTS: usize = 1_000;
/// The bound of a body without progress is 30 s, that of a head 15 s; each may be overrun by a quarter.
const CUT_LIMIT: Duration = Duration::from_secs(55);

/// A number from the environment.
fn number(name: &str, usual: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(usual)
}

fn resident_bytes(pid: u32) -> Result<u64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).context("the node has ended")?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("VmRSS")?;
    Ok(line.trim().trim_end_matches(" kB").parse::<u64>()? << 10)
}

/// Good requests until told to stop: each must succeed; the times that they took.
#[allow(clippy::disallowed_methods, reason = "a client measures with the machine's clock")]
async fn good_traffic(s3: S3Client, stop: Arc<AtomicBool>) -> Result<Vec<Duration>> {
    let mut times = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        let started = Instant::now();
        s3.put("victim", "beside", "good").await?;
        let answer = s3.get("victim", "beside").await?.expect(200)?;
        ensure!(&answer.body[..] == b"good", "a wrong body");
        times.push(started.elapsed() / 2);
    }
    times.sort();
    Ok(times)
}

/// Sends bytes and gives the status of the answer, or 0 where the connection is closed without one.
async fn status_of(host: &str, bytes: &[u8]) -> Result<u16> {
    let mut stream = TcpStream::connect(host).await.context("the node does not accept")?;
    // The node may have answered and closed before it was sent everything.
    if stream.write_all(bytes).await.is_ok() {
        let _ = stream.shutdown().await;
    }
    let mut answer = Vec::new();
    let read = timeout(ANSWER_LIMIT, stream.take(64 << 10).read_to_end(&mut answer)).await;
    ensure!(read.is_ok(), "no end of the answer within {ANSWER_LIMIT:?}");
    let text = String::from_utf8_lossy(&answer);
    Ok(text.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)).and_then(|code| code.parse().ok()).unwrap_or(0))
}

#[tokio::test(flavor = "multi_thread")]
async fn malformed_requests_harm_nobody() -> Result<()> {
    let seed = Seed::choose();
    let stage = Stage::start().await?;
    open_bucket(&stage).await?;
    let pid = stage.cluster.pid(0)?;
    let before = stage.fingerprint().await?;
    let stop = Arc::new(AtomicBool::new(false));
    let beside = tokio::spawn(good_traffic(stage.cluster.client(0), stop.clone()));
    let mut generator = Malformed::new(seed.0, &stage.host);
    let (mut statuses, mut kinds) = (BTreeMap::<u16, u64>::new(), BTreeMap::<&str, u64>::new());
    let count = number("KARRI_ATTACK_REQUESTS", REQUESTS);
    let (mut sent, mut settled) = (0, 0);
    while sent < count {
        let batch: Vec<_> = (0..500.min(count - sent)).map(|_| generator.next_request()).collect();
        sent += batch.len() as u64;
        let answers = futures::stream::iter(&batch).map(|(_, bytes)| status_of(&stage.host, bytes)).buffered(IN_FLIGHT);
        for ((kind, bytes), status) in batch.iter().zip(answers.collect::<Vec<_>>().await) {
            let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(300)]).into_owned();
            let status = status.with_context(|| format!("{kind}: {shown}"))?;
            ensure!(status != 500, "500 for {kind}: {shown}");
            *statuses.entry(status).or_default() += 1;
            *kinds.entry(kind).or_default() += 1;
        }
        if settled == 0 && sent * 5 >= count {
            settled = resident_bytes(pid)?;
        }
    }
    let grown = resident_bytes(pid)?.saturating_sub(settled);
    stop.store(true, Ordering::Relaxed);
    let times = beside.await??;
    let p99 = times[times.len() * 99 / 100];
    println!("malformed: {sent} requests {kinds:?}; answers {statuses:?} (0: closed)");
    println!(
        "beside: {} good requests, p99 {p99:?}; resident memory +{} KiB after the first fifth",
        times.len() * 2,
        grown >> 10
    );
    ensure!(kinds.len() == 10, "a kind never came: {kinds:?}");
    ensure!(grown < GROWTH_BYTES_MAX, "the node grew by {grown} bytes");
    let mut after = stage.fingerprint().await?;
    let mut before = before;
    // The good traffic is in the list of versions.
    let _ = (before.remove("/victim?versions"), after.remove("/victim?versions"));
    let changed = karri_tests_attack::changes(&before, &after);
    ensure!(changed.is_empty(), "{changed:?}");
    Ok(())
}

/// A bucket into which anybody may write, so that what is malformed gets past the permission.
async fn open_bucket(stage: &Stage) -> Result<()> {
    stage.good(&Request::new("PUT", "/open")).await?;
    stage.good(&Request::new("DELETE", "/open?publicAccessBlock")).await?;
    let policy = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":"*","Action":"s3:*",
        "Resource":["arn:aws:s3:::open","arn:aws:s3:::open/*"]}]}"#;
    stage.good(&Request::new("PUT", "/open?policy").document(policy)).await?;
    stage.good(&Request::new("PUT", "/open/readable").body("0123456789")).await.map(drop)
}

/// Sends some bytes, then one now and then, and waits for the end of the connection: how long it lasted.
#[allow(clippy::disallowed_methods, reason = "a client measures with the machine's clock")]
async fn drip(host: String, first: Vec<u8>) -> Result<Duration> {
    let started = Instant::now();
    let stream = TcpStream::connect(&host).await?;
    let (mut reader, mut writer) = stream.into_split();
    writer.write_all(&first).await?;
    let mut buffer = [0; 1024];
    while started.elapsed() < CUT_LIMIT {
        match timeout(Duration::from_secs(3), reader.read(&mut buffer)).await {
            Ok(Ok(0) | Err(_)) => return Ok(started.elapsed()),
            Ok(Ok(_)) => {}
            Err(_) => {
                // An error here is an end that the next read tells of.
                let _ = writer.write_all(b"x").await;
            }
        }
    }
    anyhow::bail!("not cut within {CUT_LIMIT:?}")
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_clients_are_cut_and_others_served() -> Result<()> {
    let stage = Stage::start().await?;
    let put = Request::new("PUT", "/victim/slow").body(&"x".repeat(100_000));
    let sent = Signer::new(&stage.root, Kind::Header).sign(&put, &stage.host);
    let headers: String = sent.headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let body = format!("PUT {} HTTP/1.1\r\n{headers}content-length: 100000\r\n\r\nxxx", sent.target);
    let head = format!("GET /victim/key HTTP/1.1\r\nHost: {}\r\nx-slow: ", stage.host);
    let stop = Arc::new(AtomicBool::new(false));
    let beside = tokio::spawn(good_traffic(stage.cluster.client(0), stop.clone()));
    let clients = usize::try_from(number("KARRI_ATTACK_SLOW_CLIENTS", SLOW_CLIENTS as u64))?;
    let slow = (0..clients).map(|index| {
        let first = if index % 2 == 0 { &head } else { &body };
        tokio::spawn(drip(stage.host.clone(), first.clone().into_bytes()))
    });
    let mut longest = [Duration::ZERO; 2];
    for (index, client) in slow.collect::<Vec<_>>().into_iter().enumerate() {
        let lasted = client.await?.with_context(|| ["slow head", "slow body"][index % 2])?;
        longest[index % 2] = longest[index % 2].max(lasted);
    }
    stop.store(true, Ordering::Relaxed);
    let times = beside.await??;
    let p99 = times[times.len() * 99 / 100];
    println!("slow: {clients} clients; heads cut after {:?}, bodies after {:?} at most", longest[0], longest[1]);
    println!("beside: {} good requests, p99 {p99:?}", times.len() * 2);
    let answer = stage.cluster.client(0).get("victim", "slow").await?;
    ensure!(answer.status == 404, "a body that never ended is there: {}", answer.status);
    Ok(())
}
