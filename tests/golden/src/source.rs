//! Which types of a crate can be deserialised, as its source says.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// Names of structs and enums that derive `Deserialize`, in all files below `folder` that are no tests.
pub(crate) fn deserialised(folder: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("the crate's source").flatten() {
            let path = entry.path();
            let name = entry.file_name().to_string_lossy().into_owned();
            let is_test = name.contains("test") || name == "model";
            if path.is_dir() && !is_test {
                folders.push(path);
            } else if name.ends_with(".rs") && !is_test {
                found.extend(derived(&fs::read_to_string(path).expect("a source file")));
            }
        }
    }
    found
}

fn derived(text: &str) -> Vec<String> {
    // What a file tests stands at its end.
    let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    let mut found = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find("#[derive(") {
        rest = &rest[at..];
        let end = rest.find(")]").unwrap_or(rest.len());
        let wanted = rest[..end].split([',', '(', ' ', '\n', ':']).any(|word| word == "Deserialize");
        rest = &rest[end..];
        let name = rest.lines().map(str::trim).find_map(|line| {
            let mut words = line.split([' ', '<', '(', '{', ';']).filter(|word| !word.is_empty());
            words.find(|word| *word == "struct" || *word == "enum")?;
            words.next().map(str::to_owned)
        });
        found.extend(name.filter(|_| wanted));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn derives_are_found() {
        let text = "#[derive(Clone, Serialize, Deserialize)]\n/// x\npub(crate) struct One<'a> {\n}\n#[derive(Debug)]\nstruct Two;\n\
                    #[derive(\n    Debug,\n    serde::Deserialize,\n)]\n#[serde(x)]\nenum Three {\n\
                    #[cfg(test)]\nmod tests {\n#[derive(Deserialize)]\nstruct Four;\n";
        assert_eq!(derived(text), ["One", "Three"]);
    }
}
