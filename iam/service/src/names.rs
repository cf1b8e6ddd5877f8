//! Rules about names and paths.

/// The key of a name: names differ by more than case.
pub(crate) fn key(name: &str) -> String {
    name.to_lowercase()
}

/// The path of a new entity; `/` when none is given.
pub(crate) fn path(given: Option<String>) -> String {
    given.filter(|path| !path.is_empty()).unwrap_or_else(|| "/".to_owned())
}
