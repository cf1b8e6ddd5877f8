//! Quotas of policies, with boto3: writers race through every node, and exactly the allowed ones succeed.

use anyhow::{Result, ensure};
use karri_tests_clients::{Workbench, python_client};

async fn quotas(nodes: usize) -> Result<()> {
    let bench = Workbench::start(nodes).await?;
    let mut args = vec![format!("{}/boto3/quotas.py", env!("CARGO_MANIFEST_DIR"))];
    args.extend((0..nodes).map(|node| bench.endpoint(node)));
    let output = bench.run(&python_client("python")?, &args).await?;
    ensure!(output.trim_end().ends_with("quotas: all passed"), "{output}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn quotas_hold_exactly_on_three_nodes() -> Result<()> {
    quotas(3).await
}
