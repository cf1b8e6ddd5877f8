//! What policies decide beyond names, with boto3: quotas while writers race through every node, second factors,
//! federated users, tags in a body, delegated administration; and what Terraform reads.

use anyhow::{Result, ensure};
use karri_tests_clients::{Workbench, python_client};

async fn passes(script: &str, nodes: usize) -> Result<()> {
    let bench = Workbench::start(nodes).await?;
    let mut args = vec![format!("{}/boto3/{script}.py", env!("CARGO_MANIFEST_DIR"))];
    args.extend((0..nodes).map(|node| bench.endpoint(node)));
    let output = bench.run(&python_client("python")?, &args).await?;
    ensure!(output.trim_end().ends_with(&format!("{script}: all passed")), "{output}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn quotas_hold_exactly_on_three_nodes() -> Result<()> {
    passes("quotas", 3).await
}

#[tokio::test(flavor = "multi_thread")]
async fn second_factors_federated_users_and_tags_decide() -> Result<()> {
    passes("conditions", 1).await
}

#[tokio::test(flavor = "multi_thread")]
async fn who_administers_others_may_do_no_more_than_was_delegated() -> Result<()> {
    passes("delegation", 1).await
}

#[tokio::test(flavor = "multi_thread")]
async fn terraform_reads_complete_answers_from_every_node() -> Result<()> {
    passes("terraform", 3).await
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_lead_to_sessions_and_never_to_more() -> Result<()> {
    passes("chains", 3).await
}
