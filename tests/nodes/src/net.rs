//! Namespaces, one per node, on a bridge of this machine; and a small file system in memory for each.

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use karri_tests_cluster::Site;

/// Programs that are run, and the Debian packages that have them.
const PROGRAMS: [(&str, &str); 4] =
    [("ip", "iproute2"), ("nft", "nftables"), ("strace", "strace"), ("faketime", "faketime")];
/// Size of a node's disk.
const DISK_MIB: u32 = 1024;
/// Loaded into the node whose clock is wrong; the offset is read from a file and can be changed.
const FAKETIME: &str = "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1";

/// The network of a cluster; it is taken down when dropped.
pub struct Net {
    name: String,
    subnet: [u8; 3],
    root: PathBuf,
    nodes: usize,
}

/// Runs a program to its end.
pub(crate) fn tool(program: &str, args: &[&str]) -> Result<String> {
    let output = Command::new(program).args(args).output().with_context(|| format!("run {program}"))?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{program} {} failed: {errors}", args.join(" "));
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn has(program: &str) -> bool {
    std::env::var_os("PATH").is_some_and(|path| std::env::split_paths(&path).any(|dir| dir.join(program).exists()))
        || std::path::Path::new("/usr/sbin").join(program).exists()
}

impl Net {
    /// Makes the namespaces and disks of `nodes` nodes.
    ///
    /// # Errors
    /// What is missing on this machine.
    pub fn new(nodes: usize) -> Result<Self> {
        let missing: Vec<&str> = PROGRAMS.iter().filter(|(name, _)| !has(name)).map(|(_, package)| *package).collect();
        if !missing.is_empty() {
            bail!("not run: this machine lacks what the faults need: apt-get install {}", missing.join(" "));
        }
        let id = std::process::id();
        let subnet = [10, 100 + u8::try_from(id / 256 % 100)?, u8::try_from(id % 256)?];
        let root = std::env::temp_dir().join(format!("karri-nodes-{id}"));
        let net = Self { name: format!("kreal{}", id % 100_000), subnet, root, nodes };
        net.make().context("not run: namespaces, bridges and tmpfs need root and a kernel that has them")?;
        Ok(net)
    }

    fn make(&self) -> Result<()> {
        let bridge = &self.name;
        tool("ip", &["link", "add", bridge, "type", "bridge"])?;
        tool("ip", &["addr", "add", &format!("{}/24", self.address(253)), "dev", bridge])?;
        tool("ip", &["link", "set", bridge, "up"])?;
        for node in 0..self.nodes {
            let (namespace, outside) = (self.namespace(node), format!("{bridge}v{node}"));
            tool("ip", &["netns", "add", &namespace])?;
            tool("ip", &["link", "add", &outside, "type", "veth", "peer", "name", "eth0", "netns", &namespace])?;
            tool("ip", &["link", "set", &outside, "master", bridge, "up"])?;
            let address = format!("{}/24", self.node_ip(node));
            tool("ip", &["-n", &namespace, "addr", "add", &address, "dev", "eth0"])?;
            tool("ip", &["-n", &namespace, "link", "set", "eth0", "up"])?;
            tool("ip", &["-n", &namespace, "link", "set", "lo", "up"])?;
            self.nft(node, &["add table inet cut", "add chain inet cut in { type filter hook input priority 0 ; }"])?;
            let dir = self.disk(node);
            std::fs::create_dir_all(&dir)?;
            let size = format!("size={DISK_MIB}m");
            tool("mount", &["-t", "tmpfs", "-o", &size, "tmpfs", dir.to_str().context("a path in UTF-8")?])?;
        }
        std::fs::write(self.clock_file(), "+0")?;
        Ok(())
    }

    fn address(&self, last: u8) -> IpAddr {
        let [a, b, c] = self.subnet;
        Ipv4Addr::new(a, b, c, last).into()
    }

    /// Address of a node.
    pub fn node_ip(&self, node: usize) -> IpAddr {
        self.address(u8::try_from(node + 1).unwrap_or(u8::MAX))
    }

    fn namespace(&self, node: usize) -> String {
        format!("{}n{node}", self.name)
    }

    /// The mount point of a node's disk.
    pub fn disk(&self, node: usize) -> PathBuf {
        self.root.join(format!("disk{node}"))
    }

    /// The clock of the last node runs ahead by what is in here.
    pub fn clock_file(&self) -> PathBuf {
        self.root.join("clock")
    }

    /// Where and how the nodes are started.
    pub fn sites(&self) -> Vec<Site> {
        let site = |node: usize| {
            let mut command: Vec<String> =
                ["ip", "netns", "exec", &self.namespace(node), "env"].map(str::to_owned).to_vec();
            if node + 1 == self.nodes {
                command.push(format!("LD_PRELOAD={FAKETIME}"));
                command.push(format!("FAKETIME_TIMESTAMP_FILE={}", self.clock_file().display()));
                command.extend(["FAKETIME_NO_CACHE=1", "DONT_FAKE_MONOTONIC=1"].map(str::to_owned));
            }
            Site { ip: self.node_ip(node), command, data_dir: self.disk(node).join("data") }
        };
        (0..self.nodes).map(site).collect()
    }

    /// Applies rules of nftables in a node's namespace.
    pub(crate) fn nft(&self, node: usize, rules: &[&str]) -> Result<()> {
        for rule in rules {
            tool("ip", &["netns", "exec", &self.namespace(node), "nft", rule])?;
        }
        Ok(())
    }

    /// Lets nothing from `from` in at `at`, but for clients.
    pub(crate) fn deafen(&self, at: usize, from: usize) -> Result<()> {
        self.nft(at, &[&format!("add rule inet cut in ip saddr {} drop", self.node_ip(from))])
    }

    /// Mends all links.
    pub(crate) fn heal(&self) -> Result<()> {
        (0..self.nodes).try_for_each(|node| self.nft(node, &["flush chain inet cut in"]))
    }
}

impl Drop for Net {
    fn drop(&mut self) {
        // What was not made cannot be removed.
        for node in 0..self.nodes {
            let _ = tool("umount", &["-l", &self.disk(node).to_string_lossy()]);
            let _ = tool("ip", &["netns", "del", &self.namespace(node)]);
        }
        let _ = tool("ip", &["link", "del", &self.name]);
        let _ = std::fs::remove_dir_all(&self.root);
    }
}
