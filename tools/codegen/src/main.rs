//! `karri-codegen` emits the wire layers from the service models that botocore ships.
//!
//! For each service in `tools/codegen/models.toml` it reads the pinned model and the service's settings (the
//! allow-list of operations and what the model does not say), and writes the Rust of the wire crate and the page of
//! covered operations. `--check` writes nothing and fails when a checked-in file is not current.
//!
//! The stages: [`fetch`] finds the model, [`model`] reads it, [`plan`] resolves it with the [`settings`] into what
//! Rust needs, and [`emit`] prints that; what depends on the protocol sits behind [`emit::protocol`].

mod emit;
mod fetch;
mod model;
mod naming;
mod output;
mod plan;
mod settings;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use clap::Parser;

use crate::output::{Mode, Tree};
use crate::settings::{Models, ServiceEntry, Settings};

/// Generates the wire layers from the AWS service models.
#[derive(Parser)]
#[command(name = "karri-codegen")]
struct Arguments {
    /// Change nothing; fail when a checked-in file is not current.
    #[arg(long)]
    check: bool,
    /// Only this service of models.toml; every one when not given.
    #[arg(long)]
    service: Option<String>,
    /// The service's model (service-2.json or .json.gz) instead of the one from the cache or pip. It must have the
    /// pinned SHA-256.
    #[arg(long)]
    model: Option<PathBuf>,
    /// The repository's root.
    #[arg(long)]
    root: Option<PathBuf>,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let root = match &arguments.root {
        Some(root) => root.clone(),
        None => repository_root()?,
    };
    let models = Models::read(&root.join("tools/codegen/models.toml"))?;
    let wanted = |name: &String| arguments.service.as_ref().is_none_or(|service| service == name);
    let services: Vec<_> = models.services.iter().filter(|(name, _)| wanted(name)).collect();
    ensure!(!services.is_empty(), "tools/codegen/models.toml has no such service");
    ensure!(arguments.model.is_none() || services.len() == 1, "--model is of one service: give --service");
    let mode = if arguments.check { Mode::Check } else { Mode::Write };
    let mut stale = Vec::new();
    for (name, entry) in services {
        let version = entry.version.as_ref().unwrap_or(&models.botocore.version);
        let files = generate(&root, version, entry, arguments.model.as_deref(), mode);
        stale.extend(files.with_context(|| format!("service {name}"))?);
    }
    match mode {
        Mode::Check if stale.is_empty() => println!("karri-codegen: generated files are current"),
        Mode::Check => bail!("not current, run karri-codegen:\n  {}", stale.join("\n  ")),
        Mode::Write => println!("karri-codegen: {} files changed", stale.len()),
    }
    Ok(())
}

/// Emits one service; the paths of the files that changed, or in [`Mode::Check`] would.
fn generate(root: &Path, version: &str, entry: &ServiceEntry, model: Option<&Path>, mode: Mode) -> Result<Vec<String>> {
    let text = fetch::model_text(version, entry, model)?;
    let mut model = model::Model::parse(&text)?;
    for extension in &entry.extensions {
        let text = std::fs::read_to_string(root.join(extension)).with_context(|| format!("read {extension}"))?;
        model.extend(model::Model::parse(&text)?)?;
    }
    let settings = Settings::read(&root.join(&entry.settings))?;
    settings.check_tests(root)?;
    let plan = plan::Plan::resolve(&model, &settings)?;
    let mut tree = Tree::new(root, version, &entry.model);
    emit::service(&plan, &settings, entry, &mut tree)?;
    tree.settle(&entry.out, mode)
}

/// The nearest folder upwards that holds `tools/codegen/models.toml`.
fn repository_root() -> Result<PathBuf> {
    let here = std::env::current_dir().context("the current folder")?;
    let found = here.ancestors().find(|folder| folder.join("tools/codegen/models.toml").is_file());
    found.map(Path::to_path_buf).context("not inside Karri's repository; give --root")
}
