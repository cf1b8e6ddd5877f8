//! Namespaces, one per node, on a bridge of this machine; and a small ext4 in memory for each, which can lose power.

use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result, bail, ensure};
use karri_tests_cluster::Site;

/// Programs that are run, and the Debian packages that have them.
const PROGRAMS: [(&str, &str); 7] = [
    ("ip", "iproute2"),
    ("nft", "nftables"),
    ("strace", "strace"),
    ("faketime", "faketime"),
    ("mkfs.ext4", "e2fsprogs"),
    ("losetup", "mount"),
    ("perl", "perl-base"),
];
/// Size of a node's disk; its image has holes.
const DISK_BYTES: u64 = 1 << 30;
/// Folder of the disks' images, a file system in memory.
const IMAGES: &str = "images";
/// Ends an ext4 at once, its journal not flushed, as a power cut does: `EXT4_IOC_SHUTDOWN` (`_IOR('X', 125, u32)`) with
/// `EXT4_GOING_FLAGS_NOLOGFLUSH` (2). In Perl, because an ioctl is an unsafe call.
const SHUTDOWN: &str = "open(my $f, '<', $ARGV[0]) or die \"open: $!\"; my $flags = pack('L', 2); \
                        defined(ioctl($f, 0x8004587d, $flags)) or die \"EXT4_IOC_SHUTDOWN: $!\";";
/// Folders of networks begin with it, and go on with the process that made them.
const ROOT_PREFIX: &str = "karri-nodes-";
/// File in it that has the name of the network.
const NAME_FILE: &str = "name";
/// Networks that one process makes before a name comes again.
const NETS_PER_PROCESS: u32 = 16;
/// Nodes of a network.
const NODES_MAX: usize = 16;
/// Networks that this process has made.
static MADE: AtomicU32 = AtomicU32::new(0);
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
        || Path::new("/usr/sbin").join(program).exists()
}

impl Net {
    /// Makes the namespaces and disks of `nodes` nodes.
    ///
    /// # Errors
    /// What is missing on this machine.
    pub fn new(nodes: usize) -> Result<Self> {
        let missing: Vec<&str> = PROGRAMS.iter().filter(|(name, _)| !has(name)).map(|(_, package)| *package).collect();
        ensure!(nodes <= NODES_MAX, "at most {NODES_MAX} nodes");
        if !missing.is_empty() {
            bail!("not run: this machine lacks what the faults need: apt-get install {}", missing.join(" "));
        }
        clear_leftovers()?;
        let process = std::process::id();
        // Each has names of its own, because the kernel takes links down later than it says.
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let id = process.wrapping_mul(NETS_PER_PROCESS) + number % NETS_PER_PROCESS;
        let subnet = [10, 100 + u8::try_from(id / 256 % 100)?, u8::try_from(id % 256)?];
        let root = std::env::temp_dir().join(format!("{ROOT_PREFIX}{process}-{number}"));
        let net = Self { name: format!("kr{}", id % 100_000_000), subnet, root, nodes };
        std::fs::create_dir_all(&net.root)?;
        std::fs::write(net.root.join(NAME_FILE), &net.name)?;
        net.make().context("not run: namespaces, bridges and loop devices need root and a kernel that has them")?;
        Ok(net)
    }

    fn make(&self) -> Result<()> {
        let bridge = &self.name;
        let images = self.root.join(IMAGES);
        std::fs::create_dir_all(&images)?;
        tool("mount", &["-t", "tmpfs", "-o", "size=90%", "tmpfs", text(&images)?])?;
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
            std::fs::create_dir_all(self.disk(node))?;
            let image = self.image(node);
            std::fs::File::create(&image)?.set_len(DISK_BYTES)?;
            tool("mkfs.ext4", &["-q", "-m", "0", text(&image)?])?;
            self.mount(node)?;
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

    fn image(&self, node: usize) -> PathBuf {
        self.root.join(IMAGES).join(format!("disk{node}"))
    }

    /// Each time on a loop device of its own: in a mount namespace that somebody made meanwhile, the file system that was
    /// shut down is still there, and the same device would be the same file system.
    fn mount(&self, node: usize) -> Result<()> {
        let device = tool("losetup", &["--find", "--show", text(&self.image(node))?])?;
        let mounted = tool("mount", &[device.trim(), text(&self.disk(node))?]);
        // It goes when nobody uses it any more.
        tool("losetup", &["--detach", device.trim()])?;
        mounted.map(drop)
    }

    /// All disks lose what was not synced, and are there again; their nodes are dead.
    pub(crate) fn cut_power(&self) -> Result<()> {
        for node in 0..self.nodes {
            tool("perl", &["-e", SHUTDOWN, text(&self.disk(node))?])?;
        }
        for node in 0..self.nodes {
            tool("umount", &[text(&self.disk(node))?])?;
            self.mount(node)?;
        }
        Ok(())
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
        take_down(&self.root, &self.name);
    }
}

fn text(path: &Path) -> Result<&str> {
    path.to_str().context("a path in UTF-8")
}

/// Removes the namespaces, disks and bridge of a network, those that are there.
fn take_down(root: &Path, name: &str) {
    // What was not made cannot be removed.
    for node in 0..NODES_MAX {
        let disk = root.join(format!("disk{node}"));
        if disk.exists() {
            let _ = tool("umount", &["-l", &disk.to_string_lossy()]);
        }
        let namespace = format!("{name}n{node}");
        if Path::new("/run/netns").join(&namespace).exists() {
            // Nodes of a run that was killed go on.
            let pids = tool("ip", &["netns", "pids", &namespace]).unwrap_or_default();
            for pid in pids.split_whitespace() {
                let _ = tool("kill", &["-9", pid]);
            }
            let _ = tool("ip", &["netns", "del", &namespace]);
        }
    }
    let _ = tool("ip", &["link", "del", name]);
    let _ = tool("umount", &["-l", &root.join(IMAGES).to_string_lossy()]);
    let _ = std::fs::remove_dir_all(root);
}

/// Takes down what runs left behind whose processes were killed.
fn clear_leftovers() -> Result<()> {
    for entry in std::fs::read_dir(std::env::temp_dir())? {
        let entry = entry?;
        let file_name = entry.file_name();
        let Some((process, _)) =
            file_name.to_str().and_then(|name| name.strip_prefix(ROOT_PREFIX)).and_then(|rest| rest.split_once('-'))
        else {
            continue;
        };
        // One that is just being made has no name yet; its process lives.
        if !Path::new("/proc").join(process).exists()
            && let Ok(name) = std::fs::read_to_string(entry.path().join(NAME_FILE))
        {
            println!("{name} is left over from a run that was killed: it is taken down");
            take_down(&entry.path(), &name);
        }
    }
    Ok(())
}
