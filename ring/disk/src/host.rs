//! The disk of the machine.

#![expect(clippy::disallowed_methods, reason = "with file.rs the one place that uses the file system of the host")]

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::file::HostFile;
use crate::{Disk, DiskFile, Space};

/// The file system of the machine that the process runs on.
#[derive(Clone, Copy, Debug, Default)]
pub struct HostDisk;

/// The folder that a path is in.
fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent,
        None => path,
    }
}

fn write(file: &mut File, content: &[u8]) -> io::Result<()> {
    file.write_all(content)?;
    file.sync_all()
}

impl Disk for HostDisk {
    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        match fs::create_dir(dir) {
            Ok(()) => self.sync_dir(parent(dir)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.create_dir_all(parent(dir))?;
                self.create_dir_all(dir)
            }
            Err(_) if dir.is_dir() => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        fs::read(path)
    }

    fn create(&self, path: &Path, content: &[u8]) -> io::Result<()> {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        write(&mut file, content)?;
        self.sync_dir(parent(path))
    }

    fn replace(&self, path: &Path, content: &[u8]) -> io::Result<()> {
        let partial = path.with_extension("partial");
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&partial)?;
        write(&mut file, content)?;
        fs::rename(&partial, path)?;
        self.sync_dir(parent(path))
    }

    fn create_file(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let file = HostFile::create(path)?;
        self.sync_dir(parent(path))?;
        Ok(Arc::new(file))
    }

    fn open_file(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        Ok(Arc::new(HostFile::open(path)?))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        path.try_exists()
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>> {
        fs::read_dir(dir)?.map(|entry| Ok(entry?.file_name().into())).collect()
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        File::open(dir)?.sync_all()
    }

    fn space(&self, dir: &Path) -> io::Result<Space> {
        let stat = rustix::fs::statvfs(dir)?;
        Ok(Space {
            free_bytes: stat.f_bavail.saturating_mul(stat.f_frsize),
            total_bytes: stat.f_blocks.saturating_mul(stat.f_frsize),
        })
    }

    fn env(&self) -> io::Result<rocksdb::Env> {
        rocksdb::Env::new().map_err(io::Error::other)
    }

    fn store_name(&self, dir: &Path) -> io::Result<PathBuf> {
        Ok(dir.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt as _;

    use super::*;

    #[test]
    fn files_are_private_and_replaced_whole() {
        let dir = tempfile::tempdir().unwrap();
        let deep = dir.path().join("a/b/c");
        HostDisk.create_dir_all(&deep).unwrap();
        HostDisk.create_dir_all(&deep).expect("a folder that is there is no error");
        let file = deep.join("file");
        HostDisk.create(&file, b"one").unwrap();
        assert_eq!(HostDisk.create(&file, b"two").unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        HostDisk.replace(&file, b"three").unwrap();
        assert_eq!(HostDisk.read(&file).unwrap(), b"three");
        assert_eq!(fs::metadata(&file).unwrap().mode() & 0o777, 0o600);
        assert_eq!(HostDisk.list(&deep).unwrap(), [PathBuf::from("file")], "nothing is left of the replacing");
        HostDisk.remove(&file).unwrap();
        assert!(!HostDisk.exists(&file).unwrap());
        assert_eq!(HostDisk.read(&file).unwrap_err().kind(), io::ErrorKind::NotFound);
        assert!(HostDisk.create_dir_all(Path::new("/proc/version/x")).is_err());
    }

    #[test]
    fn room_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let space = HostDisk.space(dir.path()).unwrap();
        assert!(space.free_bytes > 0 && space.free_bytes <= space.total_bytes);
        assert!(HostDisk.space(&dir.path().join("gone")).is_err());
    }
}
