//! The checked-in settings: which models are pinned, and per service what is served and what the model leaves out.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use serde::de::DeserializeOwned;

/// `tools/codegen/models.toml`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Models {
    pub(crate) botocore: Botocore,
    pub(crate) services: BTreeMap<String, ServiceEntry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Botocore {
    pub(crate) version: String,
}

/// One service: its model inside botocore, and where its settings and its output are.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ServiceEntry {
    pub(crate) model: String,
    pub(crate) sha256: String,
    /// botocore's version, where this service is ahead of the others.
    pub(crate) version: Option<String>,
    /// Models of our own whose operations join this one.
    #[serde(default)]
    pub(crate) extensions: Vec<String>,
    pub(crate) settings: String,
    pub(crate) out: String,
    pub(crate) coverage: String,
}

/// A service's settings; `tools/codegen/s3.toml` says what each is for.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Settings {
    pub(crate) title: String,
    #[serde(default)]
    pub(crate) xmlns: String,
    pub(crate) operations: BTreeSet<String>,
    /// Where operations are tested, by the file.
    #[serde(default)]
    pub(crate) tests: BTreeMap<String, Vec<String>>,
    /// What the page says of operations of which more is to be said than whether they are served.
    #[serde(default)]
    pub(crate) notes: BTreeMap<String, String>,
    #[serde(default)]
    pub(crate) foreign_operations: BTreeSet<String>,
    #[serde(default)]
    pub(crate) deciding_headers: BTreeSet<String>,
    #[serde(default)]
    pub(crate) weak_selectors: BTreeSet<String>,
    pub(crate) version_selector: Option<String>,
    #[serde(default)]
    pub(crate) unwrapped: BTreeSet<String>,
    #[serde(default)]
    pub(crate) open_enums: BTreeSet<String>,
    #[serde(default)]
    pub(crate) ignore_case: BTreeSet<String>,
    #[serde(default)]
    pub(crate) text_timestamps: BTreeSet<String>,
    #[serde(default)]
    pub(crate) empty_is_absent: BTreeSet<String>,
    #[serde(default)]
    pub(crate) may_be_empty: BTreeSet<String>,
    #[serde(default)]
    pub(crate) refused_members: BTreeSet<String>,
    #[serde(default)]
    pub(crate) enum_values: BTreeMap<String, Vec<String>>,
    #[serde(default)]
    pub(crate) enum_errors: BTreeMap<String, String>,
    #[serde(default)]
    pub(crate) root_elements: BTreeMap<String, String>,
    #[serde(default)]
    pub(crate) status_when: BTreeMap<String, StatusWhen>,
    #[serde(default)]
    pub(crate) body_limits: BTreeMap<String, usize>,
    #[serde(default)]
    pub(crate) list_limits: BTreeMap<String, usize>,
    #[serde(default)]
    pub(crate) payload_types: BTreeMap<String, String>,
    /// Members of structures in answers that are left out when they are empty lists.
    #[serde(default)]
    pub(crate) omit_empty: BTreeSet<String>,
    /// Expressions for patterns of the model that ours cannot read; empty where the handler checks.
    #[serde(default)]
    pub(crate) patterns: BTreeMap<String, String>,
    pub(crate) errors: BTreeMap<String, (u16, String)>,
}

/// Another status for answers that have the member.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct StatusWhen {
    pub(crate) member: String,
    pub(crate) status: u16,
}

impl Models {
    pub(crate) fn read(path: &Path) -> Result<Self> {
        read(path)
    }
}

impl Settings {
    pub(crate) fn read(path: &Path) -> Result<Self> {
        read(path)
    }

    /// Fails unless the table of tests has every served operation, no other, and files that are there.
    pub(crate) fn check_tests(&self, root: &Path) -> Result<()> {
        if self.tests.is_empty() {
            return Ok(());
        }
        let tested: BTreeSet<&String> = self.tests.values().flatten().collect();
        let served: BTreeSet<&String> = self.operations.iter().collect();
        let apart: Vec<_> = served.symmetric_difference(&tested).collect();
        ensure!(apart.is_empty(), "served without a test, or tested and not served: {apart:?}");
        let missing: Vec<_> = self.tests.keys().filter(|file| !root.join(file).is_file()).collect();
        ensure!(missing.is_empty(), "tests that are not there: {missing:?}");
        Ok(())
    }
}

fn read<T: DeserializeOwned>(path: &Path) -> Result<T> {
    let text = fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
    toml::from_str(&text).with_context(|| format!("read {}", path.display()))
}
