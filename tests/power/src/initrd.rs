//! The guest's first and only root: busybox, `karri` with its libraries, modules, and a script that starts them.
//!
//! Source of the format: the kernel's `Documentation/driver-api/early-userspace/buffer-format.rst` ("newc").

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use crate::kernel::{Kernel, tool};

const INIT: &str = include_str!("../guest/init.sh");
const CONFIGURATION: &str = include_str!("../guest/karri.toml");
/// A library that is loaded before the C library and whose syncs do nothing: for the test of the checker.
const NO_SYNC: &str = "int fsync(int f){return 0;} int fdatasync(int f){return 0;} int syncfs(int f){return 0;}\n\
                       int sync_file_range(int f, long long a, long long b, unsigned int c){return 0;}\n";

const FOLDER: u32 = 0o040_755;
const PROGRAM: u32 = 0o100_755;
const DEVICE: u32 = 0o020_600;

#[derive(Default)]
struct Archive {
    bytes: Vec<u8>,
    entries: u32,
}

impl Archive {
    fn add(&mut self, name: &str, mode: u32, device: (u32, u32), data: &[u8]) -> Result<()> {
        self.entries += 1;
        let length = u32::try_from(data.len())?;
        let name_length = u32::try_from(name.len() + 1)?;
        // Inode, mode, user, group, links, time; length; device; device that it is; length of the name; checksum.
        let (major, minor) = device;
        let fields = [self.entries, mode, 0, 0, 1, 0, length, 0, 0, major, minor, name_length, 0];
        self.bytes.extend(b"070701");
        for field in fields {
            self.bytes.extend(format!("{field:08X}").bytes());
        }
        self.bytes.extend(name.bytes().chain([0]));
        self.pad();
        self.bytes.extend(data);
        self.pad();
        Ok(())
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }

    fn folder(&mut self, name: &str) -> Result<()> {
        self.add(name, FOLDER, (0, 0), &[])
    }

    fn file(&mut self, name: &str, path: &Path) -> Result<()> {
        let data = fs::read(path).with_context(|| format!("read {}", path.display()))?;
        self.add(name, PROGRAM, (0, 0), &data)
    }
}

/// Makes the archive at `path`.
pub(crate) fn make(path: &Path, kernel: &Kernel, busybox: &Path, karri: &Path, scratch: &Path) -> Result<()> {
    let mut archive = Archive::default();
    for folder in ["bin", "dev", "proc", "sys", "data", "etc", "lib", "lib64", "lib/x86_64-linux-gnu", "modules", "tmp"]
    {
        archive.folder(folder)?;
    }
    archive.add("dev/console", DEVICE, (5, 1), &[])?;
    archive.add("init", PROGRAM, (0, 0), INIT.as_bytes())?;
    archive.add("etc/karri.toml", PROGRAM, (0, 0), CONFIGURATION.as_bytes())?;
    archive.file("bin/busybox", busybox)?;
    let stripped = scratch.join("karri");
    tool("strip", &["-o", &stripped.to_string_lossy(), &karri.to_string_lossy()], scratch)?;
    archive.file("bin/karri", &stripped)?;
    for library in libraries(karri)? {
        archive.file(&format!("lib/x86_64-linux-gnu/{}", file_name(&library)), &library)?;
    }
    let loader = Path::new("/lib64/ld-linux-x86-64.so.2");
    archive.file("lib64/ld-linux-x86-64.so.2", loader)?;
    archive.file("lib/nosync.so", &no_sync(scratch)?)?;
    let mut list = String::new();
    for module in &kernel.modules {
        let name = file_name(module);
        archive.file(&format!("modules/{name}"), module)?;
        list += &format!("{name}\n");
    }
    archive.add("modules/list", PROGRAM, (0, 0), list.as_bytes())?;
    archive.add("TRAILER!!!", 0, (0, 0), &[])?;
    fs::write(path, &archive.bytes).context("write the initrd")
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// Libraries that a program is linked to.
fn libraries(program: &Path) -> Result<Vec<PathBuf>> {
    let text = tool("ldd", &[&program.to_string_lossy()], Path::new("/"))?;
    ensure!(!text.contains("not found"), "{} lacks libraries: {text}", program.display());
    let paths = text.lines().filter_map(|line| line.split("=> ").nth(1)?.split_whitespace().next());
    Ok(paths.filter(|path| path.starts_with('/')).map(PathBuf::from).collect())
}

fn no_sync(scratch: &Path) -> Result<PathBuf> {
    let (source, library) = (scratch.join("nosync.c"), scratch.join("nosync.so"));
    fs::write(&source, NO_SYNC)?;
    tool("cc", &["-shared", "-fPIC", "-o", &library.to_string_lossy(), &source.to_string_lossy()], scratch)?;
    Ok(library)
}
