//! Buckets as file systems, by s3fs. Needs `/dev/fuse` and the right to mount.
//!
//! `KARRI_S3FS_STEPS` sets how many operations there are (240), `KARRI_TEST_SEED` which.

use anyhow::{Result, ensure};
use karri_tests_clients::{Encryption, Exerciser, Mount, Setting, Workbench};
use karri_tests_cluster::Seed;

const STEPS: u64 = 240;
/// After every so many the bucket is mounted anew, through the next node.
const STEPS_OF_A_MOUNT: u64 = 60;

async fn exercise(nodes: usize, setting: Setting, options: &str) -> Result<()> {
    let steps = std::env::var("KARRI_S3FS_STEPS").map_or(Ok(STEPS), |text| text.parse())?;
    let bench = Workbench::start_in(nodes, setting).await?;
    let s3 = bench.cluster.client(0);
    s3.create_bucket("files").await?;
    bench.dress("files").await?;
    let mut exerciser = Exerciser::new(&bench.path("mount"), Seed::choose());
    for round in 0..steps.div_ceil(STEPS_OF_A_MOUNT) {
        let mount = Mount::new(&bench, usize::try_from(round)?, "files", options).await?;
        // Behind a new mount nothing is cached: what is there was in S3.
        let done = tokio::task::spawn_blocking(move || {
            let done = exerciser.check().and_then(|()| exerciser.run(STEPS_OF_A_MOUNT));
            exerciser.close();
            (exerciser, done)
        });
        let outcome = done.await?;
        exerciser = outcome.0;
        outcome.1.map_err(|error| error.context(mount.log()))?;
        mount.unmount().await?;
    }
    let mut compared = 0;
    for (path, bytes) in exerciser.files() {
        let body = s3.get("files", path).await?.expect(200)?.body;
        ensure!(body == bytes, "{path} is in S3 otherwise than in the file system");
        compared += 1;
    }
    if let Some((path, _)) = exerciser.files().next() {
        bench.check_dressed("files", path).await?;
    }
    let (steps, written) = exerciser.figures();
    println!("s3fs: {steps} operations, {written} bytes written, {compared} files left, as the model has them");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mounted_bucket_is_a_file_system() -> Result<()> {
    exercise(1, Setting::chosen()?, "").await
}

#[tokio::test(flavor = "multi_thread")]
async fn on_three_nodes_with_versions_and_encryption() -> Result<()> {
    exercise(3, Setting { tls: false, ..Setting::everything(Encryption::S3) }, "").await
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "s3fs 1.90 itself ends with SIGABRT in some runs over TLS: run with --ignored"]
async fn on_three_nodes_with_tls_versions_and_encryption() -> Result<()> {
    // rustls' certificates of tests are for addresses, which s3fs compares with a host's name.
    exercise(3, Setting::everything(Encryption::S3), "").await
}
