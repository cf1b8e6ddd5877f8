//! Storage classes: how the bytes of each are kept. Moving what is there from one to another is in `moves`.

use std::collections::BTreeMap;

use karri_ring_types::Redundancy;

use crate::{ObjectService, STORAGE_CLASS_DEFAULT};

/// Storage classes that objects can have.
pub const STORAGE_CLASSES: [&str; 8] = [
    "STANDARD",
    "REDUCED_REDUNDANCY",
    "STANDARD_IA",
    "ONEZONE_IA",
    "INTELLIGENT_TIERING",
    "GLACIER",
    "DEEP_ARCHIVE",
    "GLACIER_IR",
];

/// How the bytes of each storage class are kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StorageClasses(BTreeMap<String, Redundancy>);

/// A class that there is not.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no storage class: one of {STORAGE_CLASSES:?}")]
pub struct UnknownClass(String);

impl StorageClasses {
    /// Classes that are kept otherwise than the cluster keeps anything.
    ///
    /// # Errors
    /// When there is no class of a name.
    pub fn new(classes: BTreeMap<String, Redundancy>) -> Result<Self, UnknownClass> {
        match classes.keys().find(|class| !STORAGE_CLASSES.contains(&class.as_str())) {
            Some(unknown) => Err(UnknownClass(unknown.clone())),
            None => Ok(Self(classes)),
        }
    }

    /// How objects of a class are kept; `None` is the default class.
    pub fn redundancy(&self, class: Option<&str>) -> Redundancy {
        self.0.get(class.unwrap_or(STORAGE_CLASS_DEFAULT)).copied().unwrap_or_default()
    }

    /// The numbers of nodes that hold an extent of any class.
    pub fn widths(&self) -> Vec<u8> {
        let mut widths: Vec<u8> = self.0.values().filter_map(|redundancy| redundancy.width()).collect();
        widths.sort_unstable();
        widths.dedup();
        widths
    }
}

impl ObjectService {
    /// How objects of a class are kept.
    pub(crate) fn redundancy(&self, class: Option<&str>) -> Redundancy {
        self.config.classes.redundancy(class)
    }
}
