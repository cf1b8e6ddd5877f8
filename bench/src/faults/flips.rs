//! Bits that are flipped in the files of a node, and whether the bytes that were there come back.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use rand::RngExt as _;
use rand::rngs::StdRng;

/// Bytes around a flipped bit that nothing else on the disk is equal to: objects are of noise.
const WINDOW_BYTES: usize = 16;

/// What stood where a bit was flipped.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Window([u8; WINDOW_BYTES]);

/// All files in a folder and those in it.
fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).with_context(|| format!("read {}", folder.display()))? {
            let entry = entry?;
            match entry.file_type()?.is_dir() {
                true => folders.push(entry.path()),
                false => found.push(entry.path()),
            }
        }
    }
    found.sort();
    Ok(found)
}

/// Flips `count` bits of the files in `folder`, each file with a chance as its length.
pub(super) fn flip(folder: &Path, count: usize, rng: &mut StdRng) -> Result<Vec<Window>> {
    let mut lengths = Vec::new();
    for path in files(folder)? {
        let length = path.metadata()?.len();
        lengths.push((path, length));
    }
    let all: u64 = lengths.iter().map(|(_, length)| length).sum();
    ensure!(all > (count * WINDOW_BYTES) as u64, "{} holds {all} bytes only", folder.display());
    let mut flipped = Vec::new();
    // What has no bytes (a hole, room that was allocated ahead) is passed over.
    for _ in 0..count * 100 {
        let mut at = rng.random_range(0..all);
        let mut chosen = None;
        for (path, length) in &lengths {
            if at < *length {
                chosen = Some((path, *length));
                break;
            }
            at -= length;
        }
        let (path, length) = chosen.context("the lengths add up")?;
        if let Some(window) = flip_at(path, at, length, rng)? {
            flipped.push(window);
        }
        if flipped.len() == count {
            return Ok(flipped);
        }
    }
    anyhow::bail!("{} bits were flipped only", flipped.len())
}

fn flip_at(path: &Path, at: u64, length: u64, rng: &mut StdRng) -> Result<Option<Window>> {
    let half = WINDOW_BYTES as u64 / 2;
    if at < half || at + half > length {
        return Ok(None);
    }
    let mut file = OpenOptions::new().read(true).write(true).open(path)?;
    let mut window = [0; WINDOW_BYTES];
    file.seek(SeekFrom::Start(at - half))?;
    file.read_exact(&mut window)?;
    // Of noise this long hardly four bytes are zero.
    if window.iter().filter(|byte| **byte == 0).count() > 3 {
        return Ok(None);
    }
    file.seek(SeekFrom::Start(at))?;
    file.write_all(&[window[WINDOW_BYTES / 2] ^ (1 << rng.random_range(0..8_u32))])?;
    Ok(Some(Window(window)))
}

impl Window {
    /// Whether it is of these bytes.
    pub(super) fn is_of(&self, bytes: &[u8]) -> bool {
        bytes.windows(WINDOW_BYTES).any(|window| window == self.0)
    }
}

/// How many of the windows are in the files of `folder` as they were.
pub(super) fn healed(folder: &Path, windows: &[Window]) -> Result<usize> {
    Ok(windows.len() - missing(folder, windows)?.len())
}

/// Those of the windows that are in no file of `folder` as they were.
pub(super) fn missing(folder: &Path, windows: &[Window]) -> Result<Vec<Window>> {
    let mut by_head = vec![false; 1 << 16];
    for Window(window) in windows {
        by_head[usize::from(u16::from_le_bytes([window[0], window[1]]))] = true;
    }
    let mut found: HashMap<Window, bool> = windows.iter().map(|window| (*window, false)).collect();
    for path in files(folder)? {
        let mut bytes = Vec::new();
        // A file may go while it is looked for.
        let Ok(mut file) = File::open(&path) else { continue };
        file.read_to_end(&mut bytes)?;
        for at in 0..bytes.len().saturating_sub(WINDOW_BYTES - 1) {
            if by_head[usize::from(u16::from_le_bytes([bytes[at], bytes[at + 1]]))]
                && let Some(window) = bytes[at..].first_chunk::<WINDOW_BYTES>()
                && let Some(seen) = found.get_mut(&Window(*window))
            {
                *seen = true;
            }
        }
    }
    Ok(windows.iter().filter(|window| !found[window]).copied().collect())
}

#[cfg(test)]
mod tests {
    use karri_tests_cluster::test_bytes;
    use rand::SeedableRng as _;

    use super::*;

    #[test]
    fn what_was_flipped_is_missed_until_it_is_back() -> Result<()> {
        let dir = tempfile::tempdir()?;
        let (path, good) = (dir.path().join("chunks"), test_bytes(5, 200_000));
        fs::write(&path, &good)?;
        let windows = flip(dir.path(), 20, &mut StdRng::seed_from_u64(1))?;
        assert_eq!(healed(dir.path(), &windows)?, 0);
        let broken = fs::read(&path)?;
        assert!(windows.iter().all(|window| window.is_of(&good) && !window.is_of(&broken)));
        assert_eq!(broken.iter().zip(&good).map(|(a, b)| (a ^ b).count_ones()).sum::<u32>(), 20);
        // It need not come back where it was.
        fs::write(dir.path().join("again"), &good[100_000..])?;
        let half = healed(dir.path(), &windows)?;
        assert!((1..20).contains(&half), "{half}");
        fs::write(&path, &good)?;
        assert_eq!(healed(dir.path(), &windows)?, 20);
        Ok(())
    }
}
