//! Object Lock under races, on three nodes: outcomes are those that one request after the other could have.

use std::time::{Duration, SystemTime};

use anyhow::{Result, ensure};
use karri_tests_cluster::{Answer, Cluster, S3Client};

const ROUNDS: usize = 8;

type Racing<'a> = futures::future::BoxFuture<'a, Result<Answer>>;

/// `YYYY-MM-DDT00:00:00Z` so many days from now.
#[allow(clippy::disallowed_methods, reason = "a client's own clock")]
fn date(days: u64) -> String {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs();
    let z = i64::try_from(now / 86_400 + days).unwrap_or(0) + 719_468;
    let era = z.div_euclid(146_097);
    let day_of_era = z.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    format!("{:04}-{month:02}-{day:02}T00:00:00Z", year_of_era + era * 400 + i64::from(month <= 2))
}

/// A version of an object in a bucket with Object Lock, and three ways to it.
struct Locked {
    clients: Vec<S3Client>,
    path: String,
    version: String,
}

impl Locked {
    async fn new(clients: &[S3Client], key: &str) -> Result<Self> {
        let version = clients[0].put("locks", key, "x").await?.header("x-amz-version-id").to_owned();
        Ok(Self { clients: clients.to_vec(), path: format!("/locks/{key}"), version })
    }

    fn retain(&self, racer: usize, mode: &'static str, days: u64, bypass: bool) -> Racing<'_> {
        Box::pin(async move {
            let query = [("retention", ""), ("versionId", self.version.as_str())];
            let until = date(days);
            let body = format!("<Retention><Mode>{mode}</Mode><RetainUntilDate>{until}</RetainUntilDate></Retention>");
            self.clients[racer % 3].send("PUT", &self.path, &query, bypassing(bypass), body).await
        })
    }

    fn delete(&self, racer: usize, bypass: bool) -> Racing<'_> {
        Box::pin(async move {
            let query = [("versionId", self.version.as_str())];
            self.clients[racer % 3].send("DELETE", &self.path, &query, bypassing(bypass), "").await
        })
    }

    async fn is_there(&self) -> Result<bool> {
        let query = [("versionId", self.version.as_str())];
        Ok(self.clients[2].send("GET", &self.path, &query, &[], "").await?.status == 200)
    }

    /// Mode and day until when it is kept.
    async fn retention(&self) -> Result<(String, String)> {
        let query = [("retention", ""), ("versionId", self.version.as_str())];
        let answer = self.clients[1].send("GET", &self.path, &query, &[], "").await?.expect(200)?;
        Ok((answer.tag("Mode"), answer.tag("RetainUntilDate").chars().take(10).collect()))
    }
}

fn bypassing(bypass: bool) -> &'static [(&'static str, &'static str)] {
    if bypass { &[("x-amz-bypass-governance-retention", "true")] } else { &[] }
}

async fn all(racers: Vec<Racing<'_>>) -> Result<Vec<Answer>> {
    futures::future::join_all(racers).await.into_iter().collect()
}

fn only(answers: &[Answer], allowed: &[u16]) -> Result<()> {
    ensure!(answers.iter().all(|answer| allowed.contains(&answer.status)), "wanted {allowed:?}: {answers:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn locks_and_deletes_are_as_one_after_the_other() -> Result<()> {
    let cluster = Cluster::start(3).await?;
    let clients: Vec<S3Client> = (0..3).map(|node| cluster.client(node)).collect();
    let lock = [("x-amz-bucket-object-lock-enabled", "true")];
    clients[0].send("PUT", "/locks", &[], &lock, "").await?.expect(200)?;
    let mut deleted = 0;
    for round in 0..ROUNDS {
        deleted += usize::from(compliance_or_delete(&clients, &format!("compliance-{round}")).await?);
        governance_and_bypass(&clients, &format!("governance-{round}")).await?;
        retention_only_grows(&clients, &format!("grows-{round}")).await?;
        bypass_shortens(&clients, &format!("shorter-{round}")).await?;
    }
    println!("the delete came first in {deleted} of {ROUNDS} rounds");
    Ok(())
}

/// Nobody deletes what is retained for compliance, whatever he may bypass; nobody retains what is deleted.
async fn compliance_or_delete(clients: &[S3Client], key: &str) -> Result<bool> {
    let version = Locked::new(clients, key).await?;
    let retained = all((0..16).map(|racer| version.retain(racer, "COMPLIANCE", 2, false)).collect());
    let deleted = all((0..16).map(|racer| version.delete(racer, racer % 2 == 0)).collect());
    let (retained, deleted) = tokio::try_join!(retained, deleted)?;
    let there = version.is_there().await?;
    only(&retained, &[if there { 200 } else { 404 }])?;
    only(&deleted, &[if there { 403 } else { 204 }])?;
    Ok(!there)
}

/// Whoever bypasses deletes. Whoever does not is refused, or finds it gone.
async fn governance_and_bypass(clients: &[S3Client], key: &str) -> Result<()> {
    let version = Locked::new(clients, key).await?;
    version.retain(0, "GOVERNANCE", 2, false).await?.expect(200)?;
    let retained = all((0..12).map(|racer| version.retain(racer, "GOVERNANCE", 3, false)).collect());
    let refused = all((0..12).map(|racer| version.delete(racer, false)).collect());
    let bypassed = all((0..8).map(|racer| version.delete(racer + 1, true)).collect());
    let (retained, refused, bypassed) = tokio::try_join!(retained, refused, bypassed)?;
    ensure!(!version.is_there().await?, "{bypassed:?}");
    only(&retained, &[200, 404])?;
    only(&refused, &[403, 204])?;
    only(&bypassed, &[204])
}

/// Of racing retentions for compliance the longest holds in the end, and each that is refused was too short.
async fn retention_only_grows(clients: &[S3Client], key: &str) -> Result<()> {
    let version = Locked::new(clients, key).await?;
    let days = |racer: usize| 2 + (racer as u64 * 7) % 32;
    let asked = all((0..32).map(|racer| version.retain(racer, "COMPLIANCE", days(racer), racer % 2 == 0)).collect());
    let answers = asked.await?;
    only(&answers, &[200, 403])?;
    let longest = (0..32).max_by_key(|racer| days(*racer)).unwrap_or(0);
    ensure!(answers[longest].status == 200, "the longest was refused: {:?}", answers[longest]);
    let wanted = ("COMPLIANCE".to_owned(), date(days(longest))[..10].to_owned());
    let found = version.retention().await?;
    ensure!(found == wanted, "{found:?}, not {wanted:?}");
    Ok(())
}

/// A governance retention gets shorter for who bypasses it only.
async fn bypass_shortens(clients: &[S3Client], key: &str) -> Result<()> {
    let version = Locked::new(clients, key).await?;
    version.retain(0, "GOVERNANCE", 9, false).await?.expect(200)?;
    let shorter = all((0..16).map(|racer| version.retain(racer, "GOVERNANCE", 5, false)).collect());
    let longer = all((0..16).map(|racer| version.retain(racer, "GOVERNANCE", 12, false)).collect());
    let (shorter, longer) = tokio::try_join!(shorter, longer)?;
    only(&shorter, &[403])?;
    only(&longer, &[200])?;
    let shorter = all((0..16).map(|racer| version.retain(racer, "GOVERNANCE", 5, true)).collect());
    let longer = all((0..16).map(|racer| version.retain(racer, "GOVERNANCE", 14, false)).collect());
    let (shorter, longer) = tokio::try_join!(shorter, longer)?;
    only(&shorter, &[200])?;
    only(&longer, &[200])?;
    let (mode, until) = version.retention().await?;
    ensure!(mode == "GOVERNANCE" && [&date(5)[..10], &date(14)[..10]].contains(&until.as_str()), "{mode} {until}");
    Ok(())
}
