//! Debian's kernel for virtual machines: unpacked into the cache, not installed on this machine.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

/// The package that depends on the current one.
const PACKAGE: &str = "linux-image-cloud-amd64";
/// Modules that the machine needs; the rest is in the kernel.
const MODULES: [&str; 3] = ["virtio_pci", "virtio_blk", "virtio_net"];

/// A kernel and what has to be loaded into it.
#[derive(Clone, Debug)]
pub(crate) struct Kernel {
    pub(crate) image: PathBuf,
    /// In the order in which they can be loaded.
    pub(crate) modules: Vec<PathBuf>,
}

/// Runs a program to its end.
pub(crate) fn tool(program: &str, args: &[&str], folder: &Path) -> Result<String> {
    let output = Command::new(program).args(args).current_dir(folder).output();
    let output = output.with_context(|| format!("run {program}"))?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{program} {} failed: {errors}", args.join(" "));
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

impl Kernel {
    /// The kernel in `cache`, where its package is unpacked when it is missing; or the one in the folder that
    /// `KARRI_POWER_KERNEL` names, which has `boot` and `lib/modules`.
    pub(crate) fn obtain(cache: &Path) -> Result<Self> {
        if let Some(folder) = std::env::var_os("KARRI_POWER_KERNEL") {
            return Self::find(Path::new(&folder));
        }
        let folder = cache.join("power-kernel");
        if !folder.join("boot").exists() {
            fs::create_dir_all(&folder)?;
            unpack(&folder).with_context(|| format!("not run: this machine has no kernel for guests ({PACKAGE})"))?;
        }
        Self::find(&folder)
    }

    fn find(folder: &Path) -> Result<Self> {
        let image = only(&folder.join("boot"), "vmlinuz-")?;
        let all = module_files(&only(&folder.join("lib/modules"), "")?)?;
        let mut modules = Vec::new();
        for wanted in MODULES {
            order(wanted, &all, &mut modules)?;
        }
        Ok(Self { image, modules })
    }
}

/// Takes the package from Debian and unpacks it.
fn unpack(folder: &Path) -> Result<()> {
    let depends = tool("apt-cache", &["depends", PACKAGE], folder)?;
    let name = depends.split_whitespace().find(|word| word.starts_with("linux-image-") && *word != PACKAGE);
    tool("apt-get", &["download", name.context("it depends on no kernel")?], folder)?;
    let package = only(folder, "linux-image-")?;
    // Its folder `boot` comes at the end, so that an unpacking that was cut off is noticed.
    tool("dpkg-deb", &["-x", &package.to_string_lossy(), "unpacked"], folder)?;
    for part in ["lib", "boot"] {
        fs::rename(folder.join("unpacked").join(part), folder.join(part))?;
    }
    Ok(())
}

fn only(folder: &Path, prefix: &str) -> Result<PathBuf> {
    let entries = fs::read_dir(folder).with_context(|| format!("read {}", folder.display()))?;
    let mut found: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    found.retain(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(prefix)));
    found.sort();
    found.pop().with_context(|| format!("{} has no {prefix}*", folder.display()))
}

/// All modules by their names.
fn module_files(folder: &Path) -> Result<HashMap<String, PathBuf>> {
    let mut found = HashMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if entry.file_type()?.is_dir() {
                folders.push(entry.path());
            } else if let Some(name) = name.strip_suffix(".ko") {
                found.insert(name.replace('-', "_"), entry.path());
            }
        }
    }
    Ok(found)
}

/// Adds a module behind those that it needs. What is built into the kernel has no file.
fn order(name: &str, all: &HashMap<String, PathBuf>, ordered: &mut Vec<PathBuf>) -> Result<()> {
    let Some(path) = all.get(name).filter(|path| !ordered.contains(path)) else { return Ok(()) };
    for needed in needs(&fs::read(path)?) {
        order(&needed, all, ordered)?;
    }
    ordered.push(path.clone());
    Ok(())
}

/// The names in a module's `depends`, a text in its section `.modinfo`.
fn needs(module: &[u8]) -> Vec<String> {
    const FIELD: &[u8] = b"\0depends=";
    let Some(at) = module.windows(FIELD.len()).position(|window| window == FIELD) else { return Vec::new() };
    let text = module[at + FIELD.len()..].split(|byte| *byte == 0).next().unwrap_or_default();
    let names = String::from_utf8_lossy(text);
    names.split(',').filter(|name| !name.is_empty()).map(|name| name.replace('-', "_")).collect()
}

/// Where things that are made once per machine are kept.
pub(crate) fn cache() -> Result<PathBuf> {
    let home = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let home = home.or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache")));
    match home {
        Some(home) => Ok(home.join("karri")),
        None => bail!("neither XDG_CACHE_HOME nor HOME is set"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modules_come_behind_what_they_need() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, needs: &str| {
            fs::create_dir_all(folder.path().join("a")).unwrap();
            fs::write(folder.path().join("a").join(name), format!("x\0license=GPL\0depends={needs}\0name=y\0"))
                .unwrap();
        };
        write("virtio-pci.ko", "modern,virtio_ring");
        write("modern.ko", "virtio_ring");
        write("virtio_ring.ko", "virtio,builtin");
        write("virtio.ko", "");
        let all = module_files(folder.path()).unwrap();
        let mut ordered = Vec::new();
        order("virtio_pci", &all, &mut ordered).unwrap();
        order("virtio_ring", &all, &mut ordered).unwrap();
        let names: Vec<_> = ordered.iter().map(|path| path.file_stem().unwrap().to_string_lossy()).collect();
        assert_eq!(names, ["virtio", "virtio_ring", "modern", "virtio-pci"]);
    }
}
