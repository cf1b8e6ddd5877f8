//! Finds the pinned service model: a given file, the cache, or botocore's wheel through pip.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use flate2::read::GzDecoder;
use sha2::{Digest, Sha256};

use crate::settings::ServiceEntry;

/// Far above the largest model (EC2, about 15 MB); a bound on what a broken download may unpack to.
const MODEL_BYTES_MAX: u64 = 64 << 20;

/// Prints one member of the wheel in the folder given first.
const UNZIP: &str = "import sys, glob, zipfile\n\
    wheel = glob.glob(sys.argv[1] + '/botocore-*.whl')[0]\n\
    sys.stdout.buffer.write(zipfile.ZipFile(wheel).read(sys.argv[2]))\n";

/// The JSON text of the model, checked against its pinned digest.
pub(crate) fn model_text(version: &str, entry: &ServiceEntry, given: Option<&Path>) -> Result<String> {
    if let Some(path) = given {
        return verified(&fs::read(path).with_context(|| format!("read {}", path.display()))?, entry);
    }
    let cache = cache_folder(version)?.join(entry.model.replace('/', "_"));
    if let Ok(bytes) = fs::read(&cache) {
        return verified(&bytes, entry).with_context(|| format!("the cached {}", cache.display()));
    }
    let bytes = download(version, &entry.model)?;
    let text = verified(&bytes, entry)?;
    let partial = cache.with_extension("partial");
    fs::write(&partial, &bytes).with_context(|| format!("write {}", partial.display()))?;
    fs::rename(&partial, &cache).with_context(|| format!("write {}", cache.display()))?;
    Ok(text)
}

fn cache_folder(version: &str) -> Result<PathBuf> {
    let base = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let base = base.or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache")));
    let folder = base.context("neither XDG_CACHE_HOME nor HOME is set")?.join("karri/botocore").join(version);
    fs::create_dir_all(&folder).with_context(|| format!("create {}", folder.display()))?;
    Ok(folder)
}

/// Fetches botocore's wheel by pip and takes one file out of it.
fn download(version: &str, member: &str) -> Result<Vec<u8>> {
    let folder = cache_folder(version)?;
    println!("karri-codegen: fetching botocore {version} by pip");
    let status = Command::new("python3")
        .args(["-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:", "--dest"])
        .arg(&folder)
        .arg(format!("botocore=={version}"))
        .status()
        .context("run python3 -m pip")?;
    ensure!(status.success(), "pip could not fetch botocore {version}; give the model by --model");
    let output =
        Command::new("python3").args(["-c", UNZIP]).arg(&folder).arg(member).output().context("unpack the wheel")?;
    if !output.status.success() {
        bail!("unpack the wheel: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(output.stdout)
}

fn verified(bytes: &[u8], entry: &ServiceEntry) -> Result<String> {
    let mut text = String::new();
    if bytes.starts_with(&[0x1f, 0x8b]) {
        GzDecoder::new(bytes).take(MODEL_BYTES_MAX).read_to_string(&mut text).context("decompress the model")?;
    } else {
        text = String::from_utf8(bytes.to_vec()).context("the model is not UTF-8")?;
    }
    let digest = hex::encode(Sha256::digest(text.as_bytes()));
    ensure!(digest == entry.sha256, "the model's SHA-256 is {digest}, models.toml pins {}", entry.sha256);
    Ok(text)
}
