//! Lifecycle rules and restores, carried out by nodes that are killed in the midst of it: what the rules say is gone
//! or moved, nothing else is, and everything is done once.
//!
//! `KARRI_TEST_LIFECYCLE_SCALE` multiplies the objects (1), `KARRI_TEST_LIFECYCLE_KILLS` adds kills (0).

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use futures::{StreamExt as _, TryStreamExt as _};
use karri_tests_cluster::{Answer, Cluster, ClusterOptions, ListedVersion, S3Client, eventually, test_bytes};

const PATIENCE: Duration = Duration::from_secs(90);
const ACTIONS: &str = "karri_maintain_lifecycle_actions_total";
const ORPHANS: &str = "karri_extent_orphans_deleted_total";
/// Moves of a node at a time.
const MOVES_IN_FLIGHT_MAX: u64 = 8;
const SMALL: usize = 200 << 10;
const STRIPED: usize = 3 << 19;
const IN_EXTENT: usize = 40 << 10;

fn from_environment(name: &str, default: usize) -> usize {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// Some requests at a time.
async fn all<T, F: Future<Output = Result<T>>>(requests: impl Iterator<Item = F>) -> Result<Vec<T>> {
    futures::stream::iter(requests).buffered(24).try_collect().await
}

struct World {
    cluster: Cluster,
    clients: Vec<S3Client>,
    /// Versions that stay, by key, the newest first.
    stay: BTreeMap<String, Vec<String>>,
    /// Keys that get a delete marker.
    marked: BTreeSet<String>,
    /// Classes that current versions get.
    classes: BTreeMap<String, &'static str>,
    /// Bodies of those.
    bodies: BTreeMap<String, Vec<u8>>,
    uploads_that_stay: BTreeSet<String>,
    /// Copies and shards of extents that are left at the end.
    extents: u64,
    /// What there is to do.
    actions: u64,
}

fn rule(id: &str, filter: &str, what: &str) -> String {
    format!("<Rule><ID>{id}</ID><Filter>{filter}</Filter><Status>Enabled</Status>{what}</Rule>")
}

fn rules() -> String {
    let prefix = |prefix: &str| format!("<Prefix>{prefix}</Prefix>");
    let moves = |class: &str| format!("<Transition><Days>1</Days><StorageClass>{class}</StorageClass></Transition>");
    let ends = "<Expiration><Days>1</Days></Expiration>";
    let tagged = "<And><Prefix>g-tagged/</Prefix><Tag><Key>temporary</Key><Value>yes</Value></Tag></And>";
    let noncurrent = "<NoncurrentVersionExpiration><NoncurrentDays>1</NoncurrentDays>\
                      <NewerNoncurrentVersions>1</NewerNoncurrentVersions></NoncurrentVersionExpiration>";
    let markers = "<Expiration><ExpiredObjectDeleteMarker>true</ExpiredObjectDeleteMarker></Expiration>";
    let uploads = "<AbortIncompleteMultipartUpload><DaysAfterInitiation>1</DaysAfterInitiation>\
                   </AbortIncompleteMultipartUpload>";
    format!(
        "<LifecycleConfiguration>{}{}{}{}{}{}{}</LifecycleConfiguration>",
        rule("ends", &prefix("a-ends/"), ends),
        rule("markers", &prefix("b-markers/"), markers),
        rule("archive", &prefix("c-archive/"), &moves("GLACIER")),
        rule("stripes", &prefix("d-stripes/"), &moves("GLACIER_IR")),
        rule("noncurrent", &prefix("f-noncurrent/"), noncurrent),
        rule("tagged", tagged, ends),
        rule("uploads", &prefix("u-uploads/"), uploads),
    )
}

impl World {
    async fn start() -> Result<Self> {
        let options = ClusterOptions {
            storage_configuration: "orphan_age_seconds = 5".to_owned(),
            storage_classes: "GLACIER = \"replicate:2\"\nGLACIER_IR = \"rs:2+1\"".to_owned(),
            ..ClusterOptions::default()
        };
        let cluster = Cluster::start_with(3, options).await?;
        let clients: Vec<S3Client> = (0..3).map(|node| cluster.client(node)).collect();
        clients[0].create_bucket("rules").await?;
        let enabled = "<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>";
        clients[0].send("PUT", "/rules", &[("versioning", "")], &[], enabled).await?.expect(200)?;
        let (stay, marked, classes, bodies) = Default::default();
        let (uploads_that_stay, extents, actions) = Default::default();
        Ok(Self { cluster, clients, stay, marked, classes, bodies, uploads_that_stay, extents, actions })
    }

    async fn put(&self, number: usize, key: &str, headers: &[(&str, &str)], body: Vec<u8>) -> Result<String> {
        let client = &self.clients[number % 3];
        let answer = client.send("PUT", &format!("/rules/{key}"), &[], headers, body).await?.expect(200)?;
        Ok(answer.header("x-amz-version-id").to_owned())
    }

    async fn put_all(&mut self, prefix: &str, count: usize, headers: &[(&str, &str)], size: usize) -> Result<()> {
        let keys: Vec<String> = (0..count).map(|number| format!("{prefix}{number:05}")).collect();
        let this = &*self;
        let puts = keys.iter().enumerate().map(|(number, key)| {
            let body = test_bytes(number as u64 + size as u64, size);
            async move { Ok((key.clone(), this.put(number, key, headers, body.clone()).await?, body)) }
        });
        for (key, version, body) in all(puts).await? {
            self.stay.entry(key.clone()).or_default().insert(0, version);
            self.bodies.insert(key, body);
        }
        Ok(())
    }

    /// Writes all that the rules are about, and what they are not about.
    async fn fill(&mut self, scale: usize) -> Result<()> {
        self.put_all("a-ends/", 500 * scale, &[], 10).await?;
        self.marked = self.stay.keys().cloned().collect();
        self.actions += self.marked.len() as u64;
        self.put_all("e-kept/", 60 * scale, &[], 10).await?;
        self.put_all("g-tagged/n", 60, &[("x-amz-tagging", "temporary=no")], 10).await?;
        self.put_all("g-tagged/y", 60, &[("x-amz-tagging", "temporary=yes")], 10).await?;
        self.marked.extend(self.stay.keys().filter(|key| key.starts_with("g-tagged/y")).cloned());
        self.put_all("c-archive/", 40 * scale, &[], SMALL).await?;
        self.put_all("d-stripes/", 10 * scale, &[], STRIPED).await?;
        for (prefix, class) in [("c-archive/", "GLACIER"), ("d-stripes/", "GLACIER_IR")] {
            let keys = self.stay.keys().filter(|key| key.starts_with(prefix));
            self.classes.extend(keys.map(|key| (key.clone(), class)));
        }
        self.actions += 60 + 50 * scale as u64;
        self.extents += (2 * 40 + 3 * 10) * scale as u64;
        for size in [10, IN_EXTENT] {
            let (prefix, count) = if size == 10 { ("f-noncurrent/s", 100 * scale) } else { ("f-noncurrent/l", 20) };
            for _ in 0..4 {
                self.put_all(prefix, count, &[], size).await?;
            }
            self.actions += 2 * count as u64;
        }
        self.extents += 3 * 2 * 20;
        // Of four versions the current one and the newest of the others stay.
        let noncurrent = self.stay.iter_mut().filter(|(key, _)| key.starts_with("f-noncurrent/"));
        noncurrent.for_each(|(_, versions)| versions.truncate(2));
        let this = &*self;
        let markers = (0..150 * scale).map(|number| async move {
            this.clients[number % 3].delete("rules", &format!("b-markers/{number:05}")).await
        });
        all(markers).await?;
        self.actions += 150 * scale as u64;
        self.begin_uploads().await
    }

    async fn begin_uploads(&mut self) -> Result<()> {
        let this = &*self;
        let begin = (0..60).map(|number| async move {
            let prefix = if number < 50 { "u-uploads/" } else { "v-uploads/" };
            let (client, path) = (&this.clients[number % 3], format!("/rules/{prefix}{number}"));
            let begun = client.send("POST", &path, &[("uploads", "")], &[], "").await?.expect(200)?;
            let id = begun.tag("UploadId");
            let part = [("partNumber", "1"), ("uploadId", id.as_str())];
            client.send("PUT", &path, &part, &[], test_bytes(number as u64, IN_EXTENT)).await?.expect(200)?;
            Ok((number, id))
        });
        let begun = all(begin).await?;
        self.uploads_that_stay = begun.into_iter().filter(|(number, _)| *number >= 50).map(|(_, id)| id).collect();
        self.actions += 50;
        self.extents += 3 * 10;
        Ok(())
    }

    /// Kills the node that carries the rules out whenever as many actions are done as `kills` says; gives the last one.
    async fn kill_workers(&mut self, kills: &[u64]) -> Result<usize> {
        // What each process has counted, and all that are dead.
        let mut counted = [0; 3];
        let mut dead = 0;
        let mut last = 0;
        let end = tokio::time::Instant::now() + PATIENCE;
        for &after in kills {
            let (victim, done) = loop {
                ensure!(tokio::time::Instant::now() < end, "{counted:?} and {dead} of {} actions", self.actions);
                let now = futures::future::join_all(self.clients.iter().map(|client| client.metric(ACTIONS))).await;
                let before = counted;
                (0..3).for_each(|node| counted[node] = now[node].unwrap_or(counted[node]));
                let done = dead + counted.iter().sum::<u64>();
                match (0..3).find(|&node| counted[node] > before[node]) {
                    Some(worker) if done >= after => break (worker, done),
                    _ => tokio::time::sleep(Duration::from_millis(5)).await,
                }
            };
            self.cluster.kill(victim)?;
            println!("node {victim} killed after {done} of {} actions, wanted {after}", self.actions);
            ensure!(done < self.actions, "the work was done before the node was killed; KARRI_TEST_LIFECYCLE_SCALE");
            dead += counted[victim];
            counted[victim] = 0;
            last = victim;
            self.cluster.restart(victim).await?;
        }
        Ok(last)
    }

    /// What is wrong with the versions that are listed; "" when they are as the rules say.
    fn difference(&self, listed: &[ListedVersion]) -> String {
        let mut found: BTreeMap<&str, Vec<&ListedVersion>> = BTreeMap::new();
        listed.iter().for_each(|version| found.entry(&version.key).or_default().push(version));
        for (key, versions) in &self.stay {
            let there = found.remove(key.as_str()).unwrap_or_default();
            let (markers, objects): (Vec<_>, Vec<_>) = there.into_iter().partition(|version| version.marker);
            let ids: Vec<&str> = objects.iter().map(|version| version.version.as_str()).collect();
            if ids != versions.iter().map(String::as_str).collect::<Vec<_>>() {
                return format!("{key} has versions {ids:?}, not {versions:?}");
            }
            let wanted = usize::from(self.marked.contains(key));
            if markers.len() != wanted || markers.iter().any(|marker| !marker.latest) {
                return format!("{key} has markers {markers:?}, not {wanted}");
            }
            let class = self.classes.get(key).copied().unwrap_or("STANDARD");
            if objects[0].class != class {
                return format!("{key} is in class {}, not {class}", objects[0].class);
            }
        }
        found.into_keys().next().map_or(String::new(), |key| format!("{key} is still there"))
    }

    async fn wait_done(&self) -> Result<()> {
        let client = &self.clients[0];
        let mut last = "nothing was listed".to_owned();
        let end = tokio::time::Instant::now() + PATIENCE;
        while tokio::time::Instant::now() < end {
            last = self.difference(&client.list_versions("rules").await?);
            let uploads = client.send("GET", "/rules", &[("uploads", "")], &[], "").await?.expect(200)?;
            let uploads: BTreeSet<String> = uploads.tags("UploadId").into_iter().collect();
            if last.is_empty() && uploads == self.uploads_that_stay {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        anyhow::bail!("the rules are not carried out: {last}")
    }

    async fn sum(&self, metric: &str) -> Option<u64> {
        let found = futures::future::join_all(self.clients.iter().map(|client| client.metric(metric))).await;
        found.into_iter().sum()
    }

    async fn get(&self, number: usize, key: &str) -> Result<Answer> {
        self.clients[number % 3].send_retrying(40, "GET", &format!("/rules/{key}"), &[], &[], "").await
    }
}

async fn restore(client: &S3Client, key: &str, days: u32) -> Result<Answer> {
    let document = format!("<RestoreRequest><Days>{days}</Days></RestoreRequest>");
    client.send_retrying(40, "POST", &format!("/rules/{key}"), &[("restore", "")], &[], document).await
}

/// After how many actions nodes are killed: while objects end, while they move to another class and to stripes; and more.
fn kills(scale: u64, actions: u64) -> Vec<u64> {
    let mut kills = vec![200 * scale, 655 * scale, 692 * scale];
    let more = from_environment("KARRI_TEST_LIFECYCLE_KILLS", 0) as u64;
    kills.extend((1..=more).map(|number| number * actions / (more + 1)));
    kills.sort_unstable();
    kills
}

#[tokio::test(flavor = "multi_thread")]
async fn rules_and_restores_survive_the_nodes_that_carry_them_out() -> Result<()> {
    let mut world = World::start().await?;
    let scale = from_environment("KARRI_TEST_LIFECYCLE_SCALE", 1);
    world.fill(scale).await?;
    world.clients[0].send("PUT", "/rules", &[("lifecycle", "")], &[], rules()).await?.expect(200)?;
    let kills = kills(scale as u64, world.actions);
    let worker = world.kill_workers(&kills).await?;
    world.wait_done().await?;
    for (number, key) in world.classes.keys().enumerate().filter(|(_, key)| key.starts_with("d-stripes/")) {
        ensure!(world.get(number, key).await?.expect(200)?.body == world.bodies[key], "{key} has other bytes");
    }
    let wanted = world.extents;
    let collected = eventually("every extent is named once", PATIENCE, || async {
        (world.sum("karri_extents").await? == wanted).then_some(())
    });
    collected.await.with_context(|| format!("extents wanted {wanted}"))?;
    // What a move replaces is handed over by its commit; orphans are of moves that were cut off.
    let orphans = world.sum(ORPHANS).await.context("orphans are counted")?;
    ensure!(orphans <= MOVES_IN_FLIGHT_MAX * kills.len() as u64, "{orphans} orphans of {} kills", kills.len());
    // Another pass finds nothing, and undoes nothing.
    ensure!(world.difference(&world.clients[1].list_versions("rules").await?).is_empty(), "changed after the pass");
    restores(&mut world, worker).await
}

/// An archived object is made readable by one of several requests, and ceases to be so when it was told.
async fn restores(world: &mut World, worker: usize) -> Result<()> {
    const DAYS: u32 = 3;
    let keys: Vec<String> = world.classes.keys().filter(|key| key.starts_with("c-archive/")).cloned().collect();
    ensure!(world.get(0, &keys[0]).await?.expect(403)?.tag("Code") == "InvalidObjectState");
    for key in &keys[..5] {
        let asked = (0..12).map(|racer| restore(&world.clients[racer % 3], key, DAYS));
        let mut statuses: Vec<u16> = futures::future::try_join_all(asked).await?.iter().map(|a| a.status).collect();
        statuses.sort_unstable();
        ensure!(statuses.pop() == Some(202) && statuses.iter().all(|status| *status == 200), "{key}: {statuses:?}");
    }
    // The range's leader is killed under the next ones.
    let survivors: Vec<S3Client> =
        (0..3).filter(|node| *node != worker).map(|node| world.cluster.client(node)).collect();
    let asked = keys[5..20].to_vec();
    let restoring = tokio::spawn(async move {
        let asked = asked.iter().enumerate().map(|(number, key)| restore(&survivors[number % 2], key, DAYS));
        futures::future::try_join_all(asked).await
    });
    world.cluster.kill(worker)?;
    for answer in restoring.await?? {
        // 200: it had been done when its answer was lost.
        ensure!([200, 202].contains(&answer.status), "{answer:?}");
    }
    world.cluster.restart(worker).await?;
    let mut told = Vec::new();
    for (number, key) in keys[..20].iter().enumerate() {
        let answer = world.get(number, key).await?.expect(200)?;
        ensure!(answer.body == world.bodies[key], "{key} has other bytes");
        let until = answer.header("x-amz-restore").to_owned();
        ensure!(until.starts_with("ongoing-request=\"false\", expiry-date="), "{key}: {until:?}");
        told.push(until);
    }
    ensure!(world.get(0, &keys[20]).await?.status == 403, "what nobody restored is readable");
    let (key, until) = (&keys[19], &told[19]);
    let ended = eventually("the restore ends", PATIENCE, || async {
        let answer = world.get(0, key).await.ok()?;
        (answer.status == 403 || answer.header("x-amz-restore") != until).then_some(answer)
    });
    ended.await?.expect(403)?;
    let head = world.clients[1].send("HEAD", &format!("/rules/{key}"), &[], &[], "").await?.expect(200)?;
    ensure!(head.header("x-amz-restore").is_empty() && head.header("x-amz-storage-class") == "GLACIER", "{head:?}");
    ensure!(restore(&world.clients[2], key, 1).await?.status == 202, "it is archived again");
    Ok(())
}
