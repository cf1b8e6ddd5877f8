//! The file of golden bytes.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::sample::{Sample, Seen, traced};
use crate::source::deserialised;

/// The file, in the folder of the crate whose messages they are.
const FILE: &str = "golden/messages.txt";
const HEAD: &str = "# What versions of Karri wrote; each later one must read it. Lines are added by KARRI_GOLDEN=add and never taken out:\n\
                    # docs/reliability.md, layer 0.\n";

/// One value that some version wrote.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Line {
    /// Where the type is in its crate.
    name: String,
    shape: String,
    bytes: Vec<u8>,
}

impl Line {
    fn parse(text: &str) -> Option<Self> {
        let (name, rest) = text.split_once(' ')?;
        let (shape, bytes) = rest.split_once(" = ")?;
        Some(Self { name: name.to_owned(), shape: shape.to_owned(), bytes: hex::decode(bytes).ok()? })
    }

    fn text(&self) -> String {
        format!("{} {} = {}", self.name, self.shape, hex::encode(&self.bytes))
    }
}

/// The golden bytes of one crate.
pub struct Book {
    crate_folder: PathBuf,
    old: Vec<Line>,
    new: Vec<Line>,
    /// First byte of every message.
    format: Option<u8>,
    names: BTreeSet<String>,
    added: BTreeSet<String>,
    faults: Vec<String>,
}

impl Book {
    /// The book of the crate in `crate_folder` (`env!("CARGO_MANIFEST_DIR")`), whose messages begin with `format`.
    pub fn open(crate_folder: &str, format: u8) -> Self {
        let crate_folder = PathBuf::from(crate_folder);
        let text = fs::read_to_string(crate_folder.join(FILE)).unwrap_or_default();
        Self {
            crate_folder,
            old: text.lines().filter_map(Line::parse).collect(),
            new: Vec::new(),
            format: Some(format),
            names: BTreeSet::new(),
            added: BTreeSet::new(),
            faults: Vec::new(),
        }
    }

    /// Messages that follow begin with this byte; `None`: their format is not told by a byte.
    pub fn set_format(&mut self, format: Option<u8>) {
        self.format = format;
    }

    /// Adds a type: its samples must be in the book, and what the book has of it must be read.
    pub fn add<T: Serialize + Deserialize<'static>>(
        &mut self,
        encode: impl Fn(&T) -> Vec<u8>,
        decode: impl Fn(&'static [u8]) -> Option<T>,
    ) {
        let path = std::any::type_name::<T>().replace(' ', "");
        self.add_as(path.split_once("::").map_or(path.as_str(), |(_, path)| path), encode, decode);
    }

    pub(crate) fn add_as<T: Serialize + Deserialize<'static>>(
        &mut self,
        name: &str,
        encode: impl Fn(&T) -> Vec<u8>,
        decode: impl Fn(&'static [u8]) -> Option<T>,
    ) {
        let (samples, seen) = traced::<T>();
        let lines = samples.into_iter().map(|Sample { value, shape }| {
            let bytes = encode(&value);
            Line { name: name.to_owned(), shape, bytes }
        });
        let lines: Vec<Line> = lines.collect();
        self.check_others(&seen, &lines, &decode);
        self.names.extend(seen.names);
        self.check(lines, encode, decode);
    }

    /// Adds a value of a type of which none can be made up; `shape` says what it is.
    pub fn add_value<T>(
        &mut self,
        name: &str,
        shape: &str,
        value: &T,
        encode: impl Fn(&T) -> Vec<u8>,
        decode: impl Fn(&'static [u8]) -> Option<T>,
    ) {
        let line = Line { name: name.to_owned(), shape: shape.to_owned(), bytes: encode(value) };
        self.names.insert(name.rsplit("::").next().unwrap_or_default().to_owned());
        self.check(vec![line], encode, decode);
    }

    fn check<T>(
        &mut self,
        lines: Vec<Line>,
        encode: impl Fn(&T) -> Vec<u8>,
        decode: impl Fn(&'static [u8]) -> Option<T>,
    ) {
        let name = lines.first().map(|line| line.name.clone()).unwrap_or_default();
        self.added.insert(name.clone());
        for old in self.old.clone().iter().filter(|old| old.name == name) {
            if decode(leak(&old.bytes)).is_none() {
                self.faults.push(format!("is not read any more: {}", old.text()));
            }
            if let Some(new) = lines.iter().find(|new| new.bytes == old.bytes && new.shape != old.shape) {
                self.faults.push(format!("the same bytes meant {} and mean {} now", old.shape, new.shape));
            }
        }
        for line in lines {
            match decode(leak(&line.bytes)) {
                Some(value) if encode(&value) == line.bytes => {}
                _ => self.faults.push(format!("does not come back as it was written: {}", line.text())),
            }
            if !self.old.contains(&line) && !self.new.contains(&line) {
                self.new.push(line);
            }
        }
    }

    /// What a later version may send must be refused, never taken for something else.
    fn check_others<T>(&mut self, seen: &Seen, lines: &[Line], decode: impl Fn(&'static [u8]) -> Option<T>) {
        for line in lines {
            for length in 0..line.bytes.len() {
                if decode(leak(&line.bytes[..length])).is_some() {
                    self.faults.push(format!("the first {length} bytes are taken for the whole: {}", line.text()));
                    break;
                }
            }
            let Some(format) = self.format else { continue };
            let mut other = line.bytes.clone();
            other[0] = format + 1;
            if line.bytes[0] != format || decode(leak(&other)).is_some() {
                self.faults.push(format!("another format is not refused: {}", line.text()));
            }
        }
        if let Some(variants) = seen.own_variants {
            let mut later: Vec<u8> = self.format.into_iter().collect();
            later.push(u8::try_from(variants).unwrap_or(u8::MAX));
            later.extend([0; 64]);
            if variants < 128 && decode(leak(&later)).is_some() {
                self.faults.push(format!("a later variant is not refused: {}", lines[0].name));
            }
        }
    }

    /// Compares with the file, and looks that no type of the crate was left out but those `apart`, which nobody
    /// stores or sends.
    ///
    /// # Panics
    /// When something is wrong; says what, and what to do.
    pub fn close(self, apart: &[&str]) {
        let wish = std::env::var("KARRI_GOLDEN").is_ok_and(|wish| wish == "add");
        self.finish(apart, wish);
    }

    pub(crate) fn finish(mut self, apart: &[&str], adding: bool) {
        let wanted = deserialised(&self.crate_folder.join("src"));
        for name in wanted.difference(&self.names).filter(|name| !apart.contains(&name.as_str())) {
            self.faults.push(format!("{name} is not in the test of golden bytes"));
        }
        for name in apart.iter().filter(|name| !wanted.contains(**name) || self.names.contains(**name)) {
            self.faults.push(format!("{name} is not apart"));
        }
        let gone: BTreeSet<&str> =
            self.old.iter().map(|line| line.name.as_str()).filter(|name| !self.added.contains(*name)).collect();
        self.faults.extend(gone.into_iter().map(|name| format!("{name} is in the book and nobody reads it")));
        if adding {
            self.write();
        } else {
            let news = self.new.iter().map(|line| format!("not in {FILE}: {}", line.text()));
            self.faults.extend(news);
        }
        assert!(
            self.faults.is_empty(),
            "{} faults. Older and newer nodes would not understand each other, unless the change is one of those that \
             docs/reliability.md (layer 0) allows; then run the test with KARRI_GOLDEN=add:\n{}",
            self.faults.len(),
            self.faults.join("\n")
        );
    }

    /// The old lines and behind those of each type its new ones.
    fn write(&self) {
        let mut all = self.old.clone();
        for line in &self.new {
            let after = all.iter().rposition(|other| other.name == line.name).map_or(all.len(), |last| last + 1);
            all.insert(after, line.clone());
        }
        let text: Vec<String> = all.iter().map(Line::text).collect();
        let path = self.crate_folder.join(FILE);
        fs::create_dir_all(path.parent().unwrap_or(Path::new("."))).expect("the folder of golden bytes");
        fs::write(path, format!("{HEAD}{}\n", text.join("\n"))).expect("the file of golden bytes");
    }
}

/// Values may borrow from the bytes that they are read from.
fn leak(bytes: &[u8]) -> &'static [u8] {
    Box::leak(bytes.to_vec().into_boxed_slice())
}
