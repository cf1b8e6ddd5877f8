//! A file system under random operations, compared with a model of it: what fsx does to one file, for a tree of files.
//!
//! Everything that is read must be what the model has. A failure names the seed and the last steps.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs::{self, File, FileTimes, OpenOptions, Permissions};
use std::io::ErrorKind;
use std::os::unix::fs::{FileExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, bail, ensure};
use karri_tests_cluster::{Seed, test_bytes};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

/// Files there are at most.
const FILES_MAX: usize = 14;
/// Files that are open at the same time.
const HANDLES_MAX: usize = 4;
/// No file is longer.
const FILE_SIZE_BYTES_MAX: usize = 26 << 20;
/// Steps that a failure tells.
const TRAIL_MAX: usize = 24;
/// Names that trouble whoever escapes too little or too often.
const NAMES: &[&str] =
    &["plain", "two words", "plus+sign", "per%25cent", "a&b=c", "quote'\"", "ümläut", "#hash?", "~[star]*", "x.tar.gz"];
const FOLDERS: &[&str] = &["inner", "a b+c", "größe", "d%2Fe"];

/// A file as it must be.
#[derive(Clone, Debug, Default)]
struct Content {
    bytes: Vec<u8>,
    mode: u32,
    /// Seconds since 1970, once they were set and nothing was written after.
    modified: Option<u64>,
}

/// A tree of files below `root`, its model, and the seed's choices.
#[derive(Debug)]
pub struct Exerciser {
    root: PathBuf,
    seed: Seed,
    rng: StdRng,
    /// By path below the root, "a/b/c".
    files: BTreeMap<String, Content>,
    folders: BTreeSet<String>,
    links: BTreeMap<String, String>,
    /// Open files, the one used last at the end.
    handles: Vec<(String, File)>,
    trail: VecDeque<String>,
    steps: u64,
    written: u64,
}

impl Exerciser {
    /// Begins in an empty folder.
    pub fn new(root: &Path, seed: Seed) -> Self {
        Self {
            root: root.to_owned(),
            seed,
            rng: StdRng::seed_from_u64(seed.0),
            files: BTreeMap::new(),
            folders: BTreeSet::new(),
            links: BTreeMap::new(),
            handles: Vec::new(),
            trail: VecDeque::new(),
            steps: 0,
            written: 0,
        }
    }

    /// Does `count` random operations.
    ///
    /// # Errors
    /// An operation that must succeed fails, or what was read is not what the model has.
    pub fn run(&mut self, count: u64) -> Result<()> {
        (0..count).try_for_each(|_| {
            self.steps += 1;
            let done = self.step();
            self.explained(done)
        })
    }

    /// Closes every file, as before a file system is unmounted.
    pub fn close(&mut self) {
        self.handles.clear();
    }

    /// Compares the whole tree with the model.
    ///
    /// # Errors
    /// They differ.
    pub fn check(&mut self) -> Result<()> {
        let checked = self.check_tree();
        self.explained(checked)
    }

    /// Every file with its bytes.
    pub fn files(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.files.iter().map(|(path, content)| (path.as_str(), content.bytes.as_slice()))
    }

    /// Steps that were done and bytes that were written.
    pub fn figures(&self) -> (u64, u64) {
        (self.steps, self.written)
    }

    fn explained(&self, outcome: Result<()>) -> Result<()> {
        outcome.with_context(|| {
            let trail = self.trail.iter().cloned().collect::<Vec<_>>().join("\n  ");
            format!("after {} steps of KARRI_TEST_SEED={}; the last:\n  {trail}", self.steps, self.seed)
        })
    }

    fn note(&mut self, what: String) {
        if self.trail.len() == TRAIL_MAX {
            self.trail.pop_front();
        }
        self.trail.push_back(what);
    }

    fn step(&mut self) -> Result<()> {
        match self.rng.random_range(0..100) {
            0..30 => self.write(),
            30..50 => self.read(),
            50..58 => self.truncate(),
            58..64 => self.sync_or_close(),
            64..70 => self.rename(),
            70..74 => self.remove(),
            74..79 => self.make_folder(),
            79..83 => self.remove_folder(),
            83..87 => self.rename_folder(),
            87..91 => self.change_attributes(),
            91..94 => self.link(),
            _ => self.list(),
        }
    }

    fn at(&self, path: &str) -> PathBuf {
        self.root.join(path)
    }

    fn any_file(&mut self) -> Option<String> {
        let index = self.rng.random_range(0..self.files.len().max(1));
        self.files.keys().nth(index).cloned()
    }

    /// A folder, or the root as the empty path.
    fn any_folder(&mut self) -> String {
        let index = self.rng.random_range(0..=self.folders.len());
        self.folders.iter().nth(index).cloned().unwrap_or_default()
    }

    fn inside(folder: &str, name: &str) -> String {
        if folder.is_empty() { name.to_owned() } else { format!("{folder}/{name}") }
    }

    fn any_name(&mut self, names: &[&str]) -> String {
        let folder = self.any_folder();
        let name = names[self.rng.random_range(0..names.len())];
        Self::inside(&folder, name)
    }

    fn is_taken(&self, path: &str) -> bool {
        self.files.contains_key(path) || self.folders.contains(path) || self.links.contains_key(path)
    }

    /// Mostly small, at times as large as what is sent in parts.
    fn any_length(&mut self) -> usize {
        let max = match self.rng.random_range(0..20) {
            0..12 => 5_000,
            12..18 => 150_000,
            _ => 7 << 20,
        };
        self.rng.random_range(1..max)
    }

    /// A file, which is made where there are few.
    fn file_to_write(&mut self) -> Result<String> {
        if self.files.len() < FILES_MAX && self.rng.random_range(0..3) == 0 {
            let path = self.any_name(NAMES);
            if !self.is_taken(&path) {
                return self.create(path);
            }
        }
        match self.any_file() {
            Some(path) => Ok(path),
            None => self.create(NAMES[0].to_owned()),
        }
    }

    fn create(&mut self, path: String) -> Result<String> {
        self.note(format!("create {path}"));
        let file = OpenOptions::new().read(true).write(true).create_new(true).open(self.at(&path));
        let file = file.with_context(|| format!("create {path}"))?;
        // Whatever the process's mask makes of it.
        file.set_permissions(Permissions::from_mode(0o644))?;
        // s3fs lists no file before its first close.
        drop(file);
        self.files.insert(path.clone(), Content { mode: 0o644, ..Content::default() });
        Ok(path)
    }

    fn keep(&mut self, path: String, file: File) {
        if self.handles.len() == HANDLES_MAX {
            self.handles.remove(0);
        }
        self.handles.push((path, file));
    }

    /// The file's handle, opened where there is none.
    fn handle(&mut self, path: &str) -> Result<&File> {
        match self.handles.iter().position(|(open, _)| open == path) {
            Some(index) => {
                let handle = self.handles.remove(index);
                self.handles.push(handle);
            }
            None => {
                let file = OpenOptions::new().read(true).write(true).open(self.at(path));
                self.keep(path.to_owned(), file.with_context(|| format!("open {path}"))?);
            }
        }
        Ok(&self.handles.last().context("a handle")?.1)
    }

    fn write(&mut self) -> Result<()> {
        let path = self.file_to_write()?;
        let (size, length) = (self.files[&path].bytes.len(), self.any_length());
        // Within, at the end, or behind a hole.
        let offset = match self.rng.random_range(0..10) {
            0..5 => self.rng.random_range(0..=size),
            5..9 => size,
            _ => size + self.rng.random_range(0..100_000),
        };
        let length = length.min(FILE_SIZE_BYTES_MAX.saturating_sub(offset));
        let bytes = test_bytes(self.rng.random(), length);
        self.note(format!("write {path} {offset}+{length} of {size}"));
        self.handle(&path)?.write_all_at(&bytes, offset as u64).with_context(|| format!("write {path}"))?;
        let content = self.files.get_mut(&path).context("of the model")?;
        if content.bytes.len() < offset + length {
            content.bytes.resize(offset + length, 0);
        }
        content.bytes[offset..offset + length].copy_from_slice(&bytes);
        content.modified = None;
        self.written += length as u64;
        Ok(())
    }

    fn read(&mut self) -> Result<()> {
        let Some(path) = self.any_file() else { return Ok(()) };
        let size = self.files[&path].bytes.len();
        let offset = self.rng.random_range(0..=size);
        let length = self.any_length();
        self.note(format!("read {path} {offset}+{length} of {size}"));
        let mut buffer = vec![0; length];
        let mut filled = 0;
        let handle = self.handle(&path)?;
        while filled < length {
            let got = handle.read_at(&mut buffer[filled..], (offset + filled) as u64);
            match got.with_context(|| format!("read {path}"))? {
                0 => break,
                got => filled += got,
            }
        }
        let wanted = &self.files[&path].bytes[offset..size.min(offset + length)];
        same(&path, offset, &buffer[..filled], wanted)
    }

    fn truncate(&mut self) -> Result<()> {
        let Some(path) = self.any_file() else { return Ok(()) };
        let size = self.files[&path].bytes.len();
        let length = match self.rng.random_range(0..4) {
            0 => 0,
            1 => (size + self.any_length()).min(FILE_SIZE_BYTES_MAX),
            _ => self.rng.random_range(0..=size),
        };
        self.note(format!("truncate {path} {size} to {length}"));
        // s3fs 1.90 forgets to make a file shorter that was written and is open.
        self.close_below(&path);
        self.handle(&path)?.set_len(length as u64).with_context(|| format!("truncate {path}"))?;
        let content = self.files.get_mut(&path).context("of the model")?;
        content.bytes.resize(length, 0);
        content.modified = None;
        Ok(())
    }

    fn sync_or_close(&mut self) -> Result<()> {
        if self.handles.is_empty() {
            return Ok(());
        }
        let index = self.rng.random_range(0..self.handles.len());
        let path = self.handles[index].0.clone();
        if self.rng.random() {
            self.note(format!("sync {path}"));
            return self.handles[index].1.sync_all().with_context(|| format!("sync {path}"));
        }
        self.note(format!("close {path}"));
        self.handles.remove(index);
        let length = fs::metadata(self.at(&path)).with_context(|| format!("stat {path}"))?.len();
        ensure!(length == self.files[&path].bytes.len() as u64, "{path} is {length} bytes long after its close");
        Ok(())
    }

    fn close_below(&mut self, path: &str) {
        self.handles.retain(|(open, _)| open != path && !is_below(open, path));
    }

    fn rename(&mut self) -> Result<()> {
        let Some(from) = self.any_file() else { return Ok(()) };
        let to = self.any_name(NAMES);
        // A file may take another's place, not that of a folder or link.
        if from == to || self.folders.contains(&to) || self.links.contains_key(&to) {
            return Ok(());
        }
        self.note(format!("rename {from} to {to}"));
        self.close_below(&from);
        self.close_below(&to);
        fs::rename(self.at(&from), self.at(&to)).with_context(|| format!("rename {from} to {to}"))?;
        let content = self.files.remove(&from).context("of the model")?;
        self.files.insert(to, content);
        missing(&self.at(&from))
    }

    fn remove(&mut self) -> Result<()> {
        let Some(path) = self.any_file() else { return Ok(()) };
        self.note(format!("remove {path}"));
        self.close_below(&path);
        fs::remove_file(self.at(&path)).with_context(|| format!("remove {path}"))?;
        self.files.remove(&path);
        missing(&self.at(&path))
    }

    fn make_folder(&mut self) -> Result<()> {
        let path = self.any_name(FOLDERS);
        if path.matches('/').count() > 2 {
            return Ok(());
        }
        self.note(format!("make the folder {path}"));
        match (fs::create_dir(self.at(&path)), self.is_taken(&path)) {
            (Ok(()), false) => _ = self.folders.insert(path),
            (Err(error), true) if error.kind() == ErrorKind::AlreadyExists => {}
            (outcome, taken) => bail!("make the folder {path}, taken: {taken}: {outcome:?}"),
        }
        Ok(())
    }

    fn is_empty(&self, folder: &str) -> bool {
        let mut paths = self.files.keys().chain(self.folders.iter()).chain(self.links.keys());
        !paths.any(|path| is_below(path, folder))
    }

    fn remove_folder(&mut self) -> Result<()> {
        let path = self.any_folder();
        if path.is_empty() {
            return Ok(());
        }
        self.note(format!("remove the folder {path}"));
        match (fs::remove_dir(self.at(&path)), self.is_empty(&path)) {
            (Ok(()), true) => _ = self.folders.remove(&path),
            (Err(error), false) if error.kind() == ErrorKind::DirectoryNotEmpty => {}
            (outcome, empty) => bail!("remove the folder {path}, empty: {empty}: {outcome:?}"),
        }
        Ok(())
    }

    fn rename_folder(&mut self) -> Result<()> {
        let (from, to) = (self.any_folder(), self.any_name(FOLDERS));
        let nested = is_below(&to, &from) || to.matches('/').count() > 2;
        if from.is_empty() || nested || self.is_taken(&to) {
            return Ok(());
        }
        self.note(format!("rename the folder {from} to {to}"));
        self.close_below(&from);
        fs::rename(self.at(&from), self.at(&to)).with_context(|| format!("rename the folder {from} to {to}"))?;
        let moved = |path: &str| match path.strip_prefix(&from).filter(|_| path == from || is_below(path, &from)) {
            Some(rest) => format!("{to}{rest}"),
            None => path.to_owned(),
        };
        self.files = std::mem::take(&mut self.files).into_iter().map(|(path, file)| (moved(&path), file)).collect();
        self.links = std::mem::take(&mut self.links).into_iter().map(|(path, link)| (moved(&path), link)).collect();
        self.folders = self.folders.iter().map(|path| moved(path)).collect();
        missing(&self.at(&from))
    }

    fn change_attributes(&mut self) -> Result<()> {
        let Some(path) = self.any_file() else { return Ok(()) };
        if self.rng.random() {
            let mode = [0o600, 0o644, 0o755, 0o640][self.rng.random_range(0..4)];
            self.note(format!("mode {mode:o} of {path}"));
            fs::set_permissions(self.at(&path), Permissions::from_mode(mode))?;
            self.files.get_mut(&path).context("of the model")?.mode = mode;
            return Ok(());
        }
        let seconds = 1_000_000_000 + self.rng.random_range(0..700_000_000);
        self.note(format!("time {seconds} of {path}"));
        // What is written at a close has the time of the close.
        self.close_below(&path);
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        let file = File::open(self.at(&path))?;
        file.set_times(FileTimes::new().set_modified(time).set_accessed(time))?;
        self.files.get_mut(&path).context("of the model")?.modified = Some(seconds);
        Ok(())
    }

    fn link(&mut self) -> Result<()> {
        let path = format!("{}.link", self.any_name(NAMES));
        if self.links.remove(&path).is_some() {
            self.note(format!("remove the link {path}"));
            return fs::remove_file(self.at(&path)).with_context(|| format!("remove the link {path}"));
        }
        let target = format!("to/{}", NAMES[self.rng.random_range(0..NAMES.len())]);
        self.note(format!("link {path} to {target}"));
        symlink(&target, self.at(&path)).with_context(|| format!("link {path}"))?;
        self.links.insert(path, target);
        Ok(())
    }

    fn list(&mut self) -> Result<()> {
        let folder = self.any_folder();
        self.note(format!("list {folder:?}"));
        self.check_folder(&folder)
    }

    fn check_folder(&self, folder: &str) -> Result<()> {
        let mut found = BTreeSet::new();
        for entry in fs::read_dir(self.at(folder)).with_context(|| format!("list {folder:?}"))? {
            found.insert(entry?.file_name().to_string_lossy().into_owned());
        }
        let paths = self.files.keys().chain(self.folders.iter()).chain(self.links.keys());
        let names = paths.filter_map(|path| match path.rsplit_once('/') {
            Some((parent, name)) => (parent == folder).then(|| name.to_owned()),
            None => folder.is_empty().then(|| path.clone()),
        });
        let wanted: BTreeSet<String> = names.collect();
        ensure!(found == wanted, "{folder:?} has {found:?}, not {wanted:?}");
        Ok(())
    }

    fn check_tree(&self) -> Result<()> {
        self.check_folder("")?;
        self.folders.iter().try_for_each(|folder| self.check_folder(folder))?;
        for (path, target) in &self.links {
            let found = fs::read_link(self.at(path)).with_context(|| format!("read the link {path}"))?;
            ensure!(found == Path::new(target), "{path} points to {}, not to {target}", found.display());
        }
        for (path, content) in &self.files {
            let told = fs::metadata(self.at(path)).with_context(|| format!("stat {path}"))?;
            ensure!(told.mode_bits() == content.mode, "{path} has mode {:o}, not {:o}", told.mode_bits(), content.mode);
            if let Some(wanted) = content.modified {
                let found = told.modified()?.duration_since(SystemTime::UNIX_EPOCH)?.as_secs();
                ensure!(found == wanted, "{path} was modified at {found}, not at {wanted}");
            }
            let bytes = fs::read(self.at(path)).with_context(|| format!("read {path}"))?;
            same(path, 0, &bytes, &content.bytes)?;
        }
        Ok(())
    }
}

trait ModeBits {
    /// Permissions without the kind of file.
    fn mode_bits(&self) -> u32;
}

impl ModeBits for fs::Metadata {
    fn mode_bits(&self) -> u32 {
        self.permissions().mode() & 0o777
    }
}

fn is_below(path: &str, folder: &str) -> bool {
    path.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'))
}

fn missing(path: &Path) -> Result<()> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        other => bail!("{} should be gone: {other:?}", path.display()),
    }
}

fn same(path: &str, offset: usize, found: &[u8], wanted: &[u8]) -> Result<()> {
    ensure!(found.len() == wanted.len(), "{path}: {} bytes at {offset}, not {}", found.len(), wanted.len());
    let differs = found.iter().zip(wanted).position(|(left, right)| left != right);
    match differs {
        None => Ok(()),
        Some(at) => bail!("{path} differs at byte {}", offset + at),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tempfile::TempDir;

    /// The host's file system is as the model has it, so what another does otherwise is the other's fault.
    #[test]
    fn a_good_file_system_passes() {
        for seed in 1..=6 {
            let dir = TempDir::new().expect("a folder");
            let mut exerciser = Exerciser::new(dir.path(), Seed(seed));
            exerciser.run(300).expect("as the model");
            exerciser.close();
            exerciser.check().expect("as the model");
        }
    }

    fn exercised(seed: u64) -> (TempDir, Exerciser, PathBuf) {
        let dir = TempDir::new().expect("a folder");
        let mut exerciser = Exerciser::new(dir.path(), Seed(seed));
        exerciser.run(200).expect("as the model");
        exerciser.close();
        let (path, _) = exerciser.files().find(|(_, bytes)| bytes.len() > 10).expect("a file with bytes");
        let path = dir.path().join(path);
        (dir, exerciser, path)
    }

    #[test]
    fn faults_are_found() {
        type Fault = fn(&Path) -> std::io::Result<()>;
        let faults: [(&str, Fault); 5] = [
            ("a changed byte", |path| {
                let mut bytes = fs::read(path)?;
                bytes[5] ^= 1;
                fs::write(path, bytes)
            }),
            ("a lost tail", |path| OpenOptions::new().write(true).open(path)?.set_len(9)),
            ("a lost file", |path| fs::remove_file(path)),
            ("a file too many", |path| fs::write(path.with_extension("more"), "")),
            ("a lost mode", |path| fs::set_permissions(path, Permissions::from_mode(0o711))),
        ];
        for (seed, (what, fault)) in (10..).zip(faults) {
            let (_dir, mut exerciser, path) = exercised(seed);
            fault(&path).expect("the fault");
            let told = exerciser.check().expect_err(what);
            assert!(format!("{told:#}").contains(&format!("KARRI_TEST_SEED={seed}")), "{told:#}");
        }
    }
}
