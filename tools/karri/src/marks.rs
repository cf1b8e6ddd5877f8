//! Whose folders these are. A node marks each folder that may be a disk of its own, and does not start when one is
//! another's, or is gone: what a node has promised by its Raft log it cannot take back with an empty one.

use std::fmt::Write as _;

use anyhow::{Context, Result, bail};
use karri_ring_disk::DiskPath;
use karri_ring_rpc::Identity;

/// File in each folder.
const MARK: &str = "KARRI";
/// The folders that have been marked, one a line. A line that is taken out is a folder that may be made anew.
const LIST: &str = "folders";
/// Where a node keeps what.
pub(crate) const FOLDERS: [&str; 3] = ["raft", "metadata", "extents"];

/// What is wrong with a folder.
fn judge(dir: &DiskPath, name: &str, wanted: &str, known: bool) -> Result<Option<String>> {
    let mark = dir.join(name).join(MARK);
    let found = mark.read_if_there().with_context(|| format!("read {mark}"))?;
    Ok(match found.map(|bytes| String::from_utf8_lossy(&bytes).trim().to_owned()) {
        Some(found) if found == wanted => None,
        Some(found) => {
            Some(format!("{} is of {found}, and this is {wanted}: mount this node's own disk there", dir.join(name)))
        }
        None if known => Some(format!(
            "{} is empty or gone, and this node has kept data in it: mount its disk; if the disk is lost, see \
             docs/operations/lost-disk.md",
            dir.join(name)
        )),
        None => None,
    })
}

fn of(identity: &Identity) -> String {
    format!("node {} of cluster {}", identity.node, identity.cluster)
}

fn known(dir: &DiskPath) -> Result<Vec<String>> {
    let list = dir.join(LIST).read_if_there().context("read the list of folders")?.unwrap_or_default();
    Ok(String::from_utf8_lossy(&list).lines().map(|line| line.trim().to_owned()).collect())
}

/// Everything that is wrong with the folders of a node; nothing is changed.
pub(crate) fn faults(dir: &DiskPath, identity: &Identity) -> Result<Vec<String>> {
    let known = known(dir)?;
    let wanted = of(identity);
    let mut faults = Vec::new();
    for name in FOLDERS {
        faults.extend(judge(dir, name, &wanted, known.iter().any(|of| of == name))?);
    }
    Ok(faults)
}

/// Refuses folders that are another's or gone, and marks new ones.
pub(crate) fn claim(dir: &DiskPath, identity: &Identity) -> Result<()> {
    let faults = faults(dir, identity)?;
    if !faults.is_empty() {
        bail!("{}", faults.join("; "));
    }
    let wanted = of(identity);
    let mut list = String::new();
    for name in FOLDERS {
        let folder = dir.join(name);
        folder.create_dir_all().with_context(|| format!("make {folder}"))?;
        let mark = folder.join(MARK);
        if mark.read_if_there()?.is_none() {
            mark.create(format!("{wanted}\n").as_bytes()).with_context(|| format!("write {mark}"))?;
        }
        // Writing to a string does not fail.
        let _ = writeln!(list, "{name}");
    }
    // Last: a folder is missed only when its mark was durable.
    if known(dir)? != FOLDERS {
        dir.join(LIST).replace(list.as_bytes()).context("write the list of folders")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use karri_ring_rpc::ClusterCa;
    use karri_ring_types::{ClusterId, NodeId};

    use super::*;

    #[test]
    fn folders_of_another_or_none_at_all_are_refused() {
        let root = std::env::temp_dir().join(format!("karri-marks-{}", std::process::id()));
        let dir = DiskPath::host(root.join("a"));
        let identity = ClusterCa::generate(ClusterId(1)).unwrap().issue(NodeId(1)).unwrap();
        claim(&dir, &identity).unwrap();
        claim(&dir, &identity).unwrap();
        for other in
            [Identity { node: NodeId(2), ..identity.clone() }, Identity { cluster: ClusterId(2), ..identity.clone() }]
        {
            assert_eq!(faults(&dir, &other).unwrap().len(), 3);
            assert!(claim(&dir, &other).unwrap_err().to_string().contains("mount this node's own disk"));
        }
        std::fs::remove_dir_all(root.join("a/metadata")).unwrap();
        assert!(claim(&dir, &identity).unwrap_err().to_string().contains("metadata is empty or gone"));
        dir.join(LIST).replace(b"raft\nextents\n").unwrap();
        claim(&dir, &identity).unwrap();
        assert_eq!(faults(&dir, &identity).unwrap(), Vec::<String>::new());
        std::fs::remove_dir_all(&root).unwrap();
    }
}
