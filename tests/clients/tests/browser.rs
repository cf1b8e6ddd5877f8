//! A real browser.

use std::path::Path;

use anyhow::{Result, ensure};
use karri_tests_clients::{Workbench, python_client};

/// A page of one origin uploads to another: by a presigned form, by presigned PUT, and reads back, under CORS rules.
#[tokio::test(flavor = "multi_thread")]
async fn a_browser_uploads_by_form_and_by_presigned_put() -> Result<()> {
    let bench = Workbench::start(3).await?;
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/boto3/browser.py");
    let url = bench.run(&python_client("python")?, &[script, &bench.endpoint(0), &bench.endpoint(1)]).await?;
    let profile = format!("--user-data-dir={}", bench.text_path("profile"));
    let flags = [
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-quic",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--virtual-time-budget=60000",
        "--dump-dom",
        profile.as_str(),
        url.trim(),
    ];
    let page = bench.run(Path::new("chromium"), &flags).await?;
    ensure!(page.contains("<pre id=\"said\">fine</pre>"), "{page}");
    let s3 = bench.cluster.client(2);
    for (key, length) in [("form/fetched.bin", 7_000_000), ("form/submitted.txt", 5), ("put/a b+c.txt", 11)] {
        let got = s3.get("uploads", key).await?.expect(200)?;
        ensure!(got.body.len() == length, "{key} has {} bytes", got.body.len());
    }
    let kept = s3.get("uploads", "form/fetched.bin").await?;
    ensure!(
        kept.header("x-amz-meta-page") == "1" && kept.header("content-type") == "image/x-test",
        "{:?}",
        kept.headers
    );
    // What the form did not allow was refused, and the page was told.
    ensure!(s3.get("uploads", "elsewhere.bin").await?.status == 404, "an upload outside of the form's policy");
    Ok(())
}
