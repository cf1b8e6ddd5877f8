//! `karri doctor` on real nodes: nothing is wrong with a good one, running or not, and each planted fault is named.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use karri_tests_cluster::{Cluster, karri_binary};
use serde_json::Value;

/// Exit status and findings.
fn examine(cluster: &Cluster, node: usize) -> Result<(i32, Vec<Value>)> {
    let output =
        Command::new(karri_binary()).args(["doctor", "--json", "--config"]).arg(cluster.config(node)).output()?;
    let findings: Vec<Value> =
        serde_json::from_slice(&output.stdout).with_context(|| String::from_utf8_lossy(&output.stderr).into_owned())?;
    Ok((output.status.code().context("it ended by itself")?, findings))
}

/// Findings of a level about a check.
fn count(findings: &[Value], check: &str, level: &str) -> usize {
    findings.iter().filter(|finding| finding["check"] == check && finding["level"] == level).count()
}

/// What depends on the machine that the test runs on.
fn is_of_machine(finding: &Value) -> bool {
    ["file system", "free space", "memory", "open files", "disk"].iter().any(|check| finding["check"] == *check)
}

fn expect(cluster: &Cluster, node: usize, check: &str, level: &str, text: &str) -> Result<()> {
    let (code, findings) = examine(cluster, node)?;
    let wanted = findings.iter().find(|finding| {
        finding["check"] == check
            && finding["level"] == level
            && finding["found"].as_str().is_some_and(|found| found.contains(text))
    });
    let wanted = wanted.with_context(|| format!("no {level} about {check} with {text:?} in {findings:#?}"))?;
    ensure!(level == "ok" || wanted["remedy"].is_string(), "nothing to do about {wanted}");
    let others = findings.iter().filter(|finding| finding["level"] == "error" && !is_of_machine(finding)).count();
    ensure!(code == if level == "error" || others > 0 { 2 } else { 1 }, "ended with {code}: {findings:#?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_good_node_has_no_errors_and_planted_faults_are_named() -> Result<()> {
    let mut cluster = Cluster::start(2).await?;
    for running in [true, false] {
        if !running {
            cluster.stop(1).await?;
        }
        let (code, findings) = examine(&cluster, 1)?;
        let bad = findings.iter().filter(|finding| finding["level"] != "ok" && !is_of_machine(finding));
        ensure!(bad.count() == 0 && code < 2, "{code}: {findings:#?}");
        ensure!(count(&findings, "peers", "ok") == if running { 2 } else { 1 }, "{findings:#?}");
        ensure!(count(&findings, "clock", "ok") >= 1 && count(&findings, "ports", "ok") == 2, "{findings:#?}");
        ensure!(count(&findings, "certificate", "ok") == 1, "{findings:#?}");
    }
    expect(&cluster, 0, "peers", "error", "node 2")?;

    let secret = cluster.data_dir(1).join("node-credentials");
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o644))?;
    expect(&cluster, 1, "permissions", "error", "node-credentials")?;
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o600))?;

    let mark = cluster.data_dir(1).join("raft").join("DAMAGED");
    fs::write(&mark, "a table has wrong bytes")?;
    expect(&cluster, 1, "disk", "error", "a table has wrong bytes")?;
    fs::remove_file(&mark)?;

    let taken = std::net::TcpListener::bind(cluster.host(1))?;
    expect(&cluster, 1, "ports", "error", "s3.listen")?;
    drop(taken);

    let good = fs::read_to_string(cluster.config(1))?;
    fs::write(cluster.config(1), good.replace("reserve_bytes = 268435456", "reserve_bytes = 9000000000000000"))?;
    expect(&cluster, 1, "free space", "error", "writes are refused")?;
    fs::write(cluster.config(1), good.replace("[rpc]", "[rpc]\nadress = \"x\""))?;
    expect(&cluster, 1, "configuration", "error", "adress")?;
    fs::write(cluster.config(1), good)?;

    let config = cluster.config(1).to_str().context("a path in UTF-8")?.to_owned();
    cluster.karri(&["cluster", "renew-certificate", "--config", &config, "--end", "1700000000"])?;
    expect(&cluster, 1, "certificate", "error", "expired")?;
    expect(&cluster, 1, "peers", "error", "node 1")?;
    cluster.karri(&["cluster", "renew-certificate", "--config", &config])?;
    let (code, findings) = examine(&cluster, 1)?;
    ensure!(code < 2, "{findings:#?}");
    cluster.restart(1).await
}
