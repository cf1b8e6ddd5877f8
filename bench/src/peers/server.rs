//! Which servers there are, what each promises, and a cluster of one that runs.

use std::path::{Path, PathBuf};
use std::process::{Child, Command};

use anyhow::{Context, Result, ensure};
use karri_tests_cluster::{Cluster, ClusterOptions, Credentials, karri_binary};
use serde::Serialize;
use tempfile::TempDir;

use crate::peers::servers;

/// A kind of server, with the settings that change what it promises.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Kind {
    Karri,
    /// Garage as it comes.
    Garage,
    /// Garage with `metadata_fsync` and `data_fsync`.
    GarageFsync,
    Minio,
    Seaweedfs,
    Rustfs,
    CephRgw,
}

impl Kind {
    pub(crate) const ALL: [Self; 7] =
        [Self::Karri, Self::Garage, Self::GarageFsync, Self::Minio, Self::Seaweedfs, Self::Rustfs, Self::CephRgw];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Karri => "karri",
            Self::Garage => "garage",
            Self::GarageFsync => "garage-fsync",
            Self::Minio => "minio",
            Self::Seaweedfs => "seaweedfs",
            Self::Rustfs => "rustfs",
            Self::CephRgw => "ceph-rgw",
        }
    }

    /// What a 200 to a PUT means, with the settings that are used here.
    pub(crate) fn durability(self) -> &'static str {
        match self {
            Self::Karri => "data and metadata synced on a majority before the 200; linearizable",
            Self::Garage => "in the page cache of a majority; nothing is synced; last writer wins",
            Self::GarageFsync => "data and metadata synced on a majority; last writer wins",
            Self::Minio => "data synced by default (O_DIRECT and fdatasync), its folder is not",
            Self::Seaweedfs => "in the page cache; nothing is synced by default",
            Self::Rustfs => "not stated by its documents",
            Self::CephRgw => "synced by all OSDs of the placement group",
        }
    }

    fn program(self) -> &'static str {
        match self {
            Self::Karri => "karri",
            Self::Garage | Self::GarageFsync => "garage",
            Self::Minio => "minio",
            Self::Seaweedfs => "weed",
            Self::Rustfs => "rustfs",
            Self::CephRgw => "radosgw",
        }
    }

    /// Whether a cluster of so many nodes can be made of it here.
    pub(crate) fn can_have(self, nodes: usize) -> bool {
        match self {
            Self::Karri | Self::Garage | Self::GarageFsync => true,
            Self::Minio | Self::Seaweedfs | Self::Rustfs => nodes == 1,
            // It needs monitors and OSDs that somebody has set up.
            Self::CephRgw => false,
        }
    }
}

/// A server that was found on this machine.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Server {
    pub(crate) kind: Kind,
    pub(crate) version: String,
    #[serde(skip)]
    pub(crate) program: PathBuf,
}

impl Server {
    /// The servers whose programs are in `programs/bin` or on PATH.
    ///
    /// # Errors
    /// The folder's path cannot be made absolute.
    pub(crate) fn find(programs: &Path) -> Result<Vec<Self>> {
        let own = std::path::absolute(programs)?.join("bin");
        let path = std::env::var_os("PATH").unwrap_or_default();
        let folders: Vec<PathBuf> = std::iter::once(own).chain(std::env::split_paths(&path)).collect();
        let mut found = Vec::new();
        for kind in Kind::ALL {
            let program = match kind {
                Kind::Karri => Some(karri_binary()).filter(|program| program.is_file()),
                _ => folders.iter().map(|folder| folder.join(kind.program())).find(|program| program.is_file()),
            };
            if let Some(program) = program {
                found.push(Self { kind, version: version(&program), program });
            }
        }
        Ok(found)
    }
}

fn version(program: &Path) -> String {
    let argument = if program.ends_with("weed") { "version" } else { "--version" };
    let output = Command::new(program).arg(argument).output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    let line = text.lines().next().unwrap_or("unknown").trim();
    // Most begin with their own name.
    line.split_once(' ').map_or(line, |(_, rest)| rest).to_owned()
}

/// A process of a peer, which can be started again.
pub(super) struct Process {
    pub(super) command: Command,
    pub(super) child: Child,
}

/// A cluster that runs; it ends with this value.
pub(crate) struct Running {
    pub(crate) endpoints: Vec<String>,
    pub(crate) credentials: Credentials,
    pub(super) karri: Option<Cluster>,
    pub(super) processes: Vec<Process>,
    pub(super) _dir: Option<TempDir>,
    /// Of each node, the folder of the files that hold objects' bytes; only of servers that have clusters here.
    pub(crate) object_folders: Vec<PathBuf>,
    /// Makes the server read all that it stores, where that has to be asked for.
    pub(super) scrub: Option<Command>,
}

impl Running {
    /// Starts `nodes` nodes of `server` with fresh data, and waits until they serve.
    ///
    /// # Errors
    /// It does not start or does not answer.
    pub(crate) async fn start(server: &Server, nodes: usize) -> Result<Self> {
        Self::start_on(server, nodes, &[]).await
    }

    /// As [`Running::start`], with a folder for the data of each node, of servers that have clusters here.
    ///
    /// # Errors
    /// It does not start or does not answer.
    pub(crate) async fn start_on(server: &Server, nodes: usize, folders: &[PathBuf]) -> Result<Self> {
        let started = match server.kind {
            Kind::Karri => return start_karri(nodes, folders).await,
            Kind::Garage => servers::garage(&server.program, nodes, false, folders).await,
            Kind::GarageFsync => servers::garage(&server.program, nodes, true, folders).await,
            Kind::Minio => servers::minio(&server.program).await,
            Kind::Seaweedfs => servers::seaweedfs(&server.program).await,
            Kind::Rustfs => servers::rustfs(&server.program).await,
            Kind::CephRgw => anyhow::bail!("needs a Ceph cluster that runs already"),
        };
        started.with_context(|| format!("start {}", server.kind.name()))
    }

    /// The server's processes.
    pub(crate) fn pids(&self) -> Vec<u32> {
        match &self.karri {
            Some(cluster) => (0..cluster.len()).filter_map(|index| cluster.pid(index).ok()).collect(),
            None => self.processes.iter().map(|process| process.child.id()).collect(),
        }
    }

    /// The process of a node.
    pub(crate) fn pid(&self, node: usize) -> Result<u32> {
        match &self.karri {
            Some(cluster) => cluster.pid(node),
            None => Ok(self.processes.get(node).context("there is no such node")?.child.id()),
        }
    }

    /// Kills a node that runs.
    pub(crate) fn kill(&mut self, node: usize) -> Result<()> {
        match &mut self.karri {
            Some(cluster) => cluster.kill(node),
            None => self.processes.get_mut(node).context("there is no such node")?.kill(),
        }
    }

    /// Kills all nodes at once.
    pub(crate) fn kill_all(&mut self) -> Result<()> {
        if let Some(cluster) = &mut self.karri {
            return cluster.kill_all();
        }
        for process in &mut self.processes {
            process.child.kill().context("kill")?;
        }
        self.processes.iter_mut().try_for_each(Process::kill)
    }

    /// Whether a node's process has ended.
    pub(crate) fn has_ended(&mut self, node: usize) -> Result<bool> {
        match &mut self.karri {
            Some(cluster) => cluster.has_ended(node),
            None => Ok(self.processes[node].child.try_wait().context("look after a node")?.is_some()),
        }
    }

    /// Starts a node that has ended.
    pub(crate) fn start_node(&mut self, node: usize) -> Result<()> {
        match &mut self.karri {
            Some(cluster) => cluster.start_node(node),
            None => {
                let process = &mut self.processes[node];
                process.child = process.command.spawn().context("start a node again")?;
                Ok(())
            }
        }
    }

    /// Makes the server read all that it stores; false when it does so unasked.
    pub(crate) fn scrub(&mut self) -> Result<bool> {
        let Some(command) = &mut self.scrub else { return Ok(false) };
        let output = command.output().context("ask for a scrub")?;
        ensure!(output.status.success(), "no scrub: {}", String::from_utf8_lossy(&output.stderr));
        Ok(true)
    }
}

impl Process {
    fn kill(&mut self) -> Result<()> {
        self.child.kill().context("kill")?;
        self.child.wait().context("wait for a killed node").map(drop)
    }
}

async fn start_karri(nodes: usize, folders: &[PathBuf]) -> Result<Running> {
    let options = ClusterOptions { data_dirs: folders.to_vec(), ..ClusterOptions::default() };
    let cluster = Cluster::start_with(nodes, options).await?;
    Ok(Running {
        object_folders: (0..nodes).map(|index| cluster.data_dir(index).join("extents/segments")).collect(),
        scrub: None,
        endpoints: (0..nodes).map(|index| cluster.host(index)).collect(),
        credentials: cluster.credentials().clone(),
        karri: Some(cluster),
        processes: Vec::new(),
        _dir: None,
    })
}

impl Drop for Running {
    fn drop(&mut self) {
        for process in &mut self.processes {
            // It may have ended by itself.
            let _ = process.kill();
        }
    }
}
