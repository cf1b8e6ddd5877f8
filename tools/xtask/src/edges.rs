//! The import edges between crates that are allowed, and who may use which engine.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};

/// Each crate's folder with the folders of the crates that it may depend on.
const ALLOWED: &[(&str, &[&str])] = &[
    ("ring/types", &[]),
    ("ring/disk", &[]),
    ("ring/placement", &["ring/types"]),
    ("ring/rpc", &["ring/types"]),
    ("ring/raft", &["ring/types", "ring/disk", "ring/rpc"]),
    ("ring/meta", &["ring/types", "ring/disk", "ring/rpc", "ring/raft"]),
    ("ring/extent", &["ring/types", "ring/disk"]),
    ("ring/node", &["ring/types", "ring/disk", "ring/placement", "ring/rpc", "ring/raft", "ring/meta", "ring/extent"]),
    // It hands its work to where blocking work is done.
    ("objstore/md5", &["ring/types"]),
    ("objstore/wire", &[]),
    ("iam/policy", &[]),
    ("iam/templates", &["iam/policy"]),
    ("objstore/gateway", &["ring/types", "iam/policy"]),
    ("objstore/service", &["ring/types", "ring/meta", "ring/node", "objstore/md5"]),
    ("objstore/s3", &["ring/types", "objstore/wire", "objstore/gateway", "objstore/service", "iam/policy"]),
    ("objstore/maintain", &["ring/types", "ring/meta", "ring/node", "objstore/service"]),
    // It implements the gateway's credentials and answers what the gateway hands on.
    ("iam/service", &["ring/types", "ring/meta", "iam/policy", "iam/templates", "iam/wire", "objstore/gateway"]),
    ("iam/wire", &[]),
    // Keys are rows of their accounts, and requests come from the gateway as those of IAM do.
    ("iam/kms", &["ring/types", "iam/policy", "iam/wire", "iam/service", "objstore/gateway"]),
    (
        "tools/karri",
        &[
            "ring/types",
            "ring/disk",
            "ring/rpc",
            "ring/raft",
            "ring/meta",
            "ring/extent",
            "ring/node",
            "objstore/gateway",
            "objstore/service",
            "objstore/s3",
            "objstore/maintain",
            "iam/policy",
            "iam/service",
            "iam/kms",
            "iam/templates",
        ],
    ),
    ("tools/codegen", &[]),
    ("tools/xtask", &[]),
    ("tests/disk", &["ring/types", "ring/disk"]),
    ("tests/linearizability", &[]),
    ("tests/golden", &[]),
    ("tests/model", &[]),
    // It takes in files of ring/meta and ring/extent by their paths, on locks of its own.
    ("tests/schedules", &["ring/types"]),
    ("tests/nodes", &["tests/cluster", "tests/linearizability"]),
    ("tests/power", &["tests/cluster"]),
    (
        "tests/crash",
        &[
            "ring/types",
            "ring/disk",
            "ring/placement",
            "ring/rpc",
            "ring/raft",
            "ring/meta",
            "ring/extent",
            "ring/node",
            "tests/cluster",
            "tests/disk",
        ],
    ),
    (
        "tests/sim",
        &[
            "ring/types",
            "ring/disk",
            "ring/rpc",
            "ring/raft",
            "ring/meta",
            "ring/extent",
            "ring/node",
            "objstore/service",
            "objstore/maintain",
            "tests/disk",
            "tests/linearizability",
        ],
    ),
    ("tests/cluster", &[]),
    ("tests/clients", &["tests/cluster"]),
    ("tests/attack", &["tests/cluster", "objstore/wire", "iam/wire"]),
    // The parsers, and no more of what is around them.
    ("tests/fuzz", &["iam/policy", "iam/wire", "objstore/gateway", "objstore/s3", "objstore/wire"]),
    // It loads a node's store from inside: ten million objects over S3 would take hours.
    (
        "bench",
        &[
            "ring/types",
            "ring/disk",
            "ring/placement",
            "ring/rpc",
            "ring/raft",
            "ring/meta",
            "ring/node",
            "objstore/service",
            "tests/cluster",
        ],
    ),
];

/// Outside packages that only these folders may depend on.
const RESERVED: &[(&str, &[&str])] = &[
    ("openraft", &["ring/raft"]),
    // The disk owns the environment that stores are opened with; the others own the stores.
    // The simulation reads the logs of nodes that are dead.
    ("rocksdb", &["ring/disk", "ring/extent", "ring/raft", "ring/meta", "tests/disk", "tests/sim"]),
    ("librocksdb-sys", &["tests/disk"]),
    // IAM asks identity providers for their keys.
    ("hyper", &["objstore/gateway", "ring/rpc", "iam/service", "tests/cluster", "bench"]),
    // The tests make authorities that clients are to trust.
    ("rcgen", &["ring/rpc", "tests/cluster"]),
];

/// Fails when a crate depends on one that stands beside or above it, or on an engine that is not its own.
pub(crate) fn check(root: &Path) -> Result<()> {
    let mut faults = Vec::new();
    for (folder, allowed) in ALLOWED {
        let path = root.join(folder).join("Cargo.toml");
        let manifest = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
        for (dependency, only_for_tests) in dependencies(&manifest) {
            if let Some(inner) = dependency.strip_prefix("karri-") {
                let target = inner.replacen('-', "/", 1);
                if !only_for_tests && !allowed.contains(&target.as_str()) {
                    faults.push(format!("{folder} must not depend on {target}"));
                }
            } else if let Some((_, owners)) = RESERVED.iter().find(|(name, _)| *name == dependency)
                && !only_for_tests
                && !owners.contains(folder)
            {
                faults.push(format!("{folder} must not depend on {dependency}"));
            }
        }
    }
    let workspace = fs::read_to_string(root.join("Cargo.toml")).context("read the workspace's Cargo.toml")?;
    for member in members(&workspace) {
        if !ALLOWED.iter().any(|(folder, _)| *folder == member) {
            faults.push(format!("{member} has no line in tools/xtask/src/edges.rs"));
        }
    }
    if !faults.is_empty() {
        bail!("import edges:\n  {}", faults.join("\n  "));
    }
    println!("xtask: import edges hold");
    Ok(())
}

/// Names under `[dependencies]` and `[dev-dependencies]`; true for the latter.
fn dependencies(manifest: &str) -> Vec<(String, bool)> {
    let mut section = None;
    let mut found = Vec::new();
    for line in manifest.lines().map(str::trim) {
        if line.starts_with('[') {
            section = match line {
                "[dependencies]" | "[build-dependencies]" => Some(false),
                "[dev-dependencies]" => Some(true),
                _ => None,
            };
        } else if let Some(only_for_tests) = section
            && let Some(name) = line.split(['.', '=', ' ']).next().filter(|name| !name.is_empty())
            && !name.starts_with('#')
        {
            found.push((name.to_owned(), only_for_tests));
        }
    }
    found
}

fn members(workspace: &str) -> Vec<String> {
    let list = workspace.split("members = [").nth(1).and_then(|rest| rest.split(']').next()).unwrap_or_default();
    list.split(',').map(|name| name.trim().trim_matches('"').to_owned()).filter(|name| !name.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_both_dependency_sections() {
        let manifest = "[package]\nname = \"x\"\n[dependencies]\nkarri-ring-types.workspace = true\nopenraft = \"1\"\n\
                        [dev-dependencies]\nrocksdb.workspace = true\n";
        let expected = [("karri-ring-types", false), ("openraft", false), ("rocksdb", true)];
        assert_eq!(dependencies(manifest), expected.map(|(name, test)| (name.to_owned(), test)));
    }

    #[test]
    fn every_member_is_listed() {
        assert_eq!(members("members = [\n \"ring/types\", \"bench\",\n]"), ["ring/types", "bench"]);
    }
}
