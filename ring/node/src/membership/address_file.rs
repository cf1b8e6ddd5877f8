//! The addresses of all nodes on this node's disk, so that a cluster that was stopped as a whole finds itself again.
//!
//! It is text, one `<node id> <host:port>` a line below a line with the format's version, so that an administrator can
//! mend it when every node has moved.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::PathBuf;

use karri_ring_rpc::AddressBook;
use karri_ring_types::NodeId;

use super::MembershipError;

const HEADER: &str = "karri-addresses 1";

pub(super) struct AddressFile {
    path: PathBuf,
}

impl AddressFile {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path }
    }

    /// Adds what the file says to `book`. A file that is not there says nothing.
    pub(super) fn load(&self, book: &AddressBook) -> Result<(), MembershipError> {
        let text = match fs::read_to_string(&self.path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(source) => return Err(self.error(source)),
        };
        let invalid = |line: &str| self.error(io::Error::new(io::ErrorKind::InvalidData, format!("line {line:?}")));
        let mut lines = text.lines();
        if lines.next() != Some(HEADER) {
            return Err(invalid("1"));
        }
        for line in lines.filter(|line| !line.trim().is_empty()) {
            let (node, address) = line.split_once(' ').ok_or_else(|| invalid(line))?;
            let node: NodeId = node.parse().map_err(|_| invalid(line))?;
            book.set(node, address.trim().to_owned());
        }
        Ok(())
    }

    /// Replaces the file by what `book` says.
    pub(super) fn save(&self, book: &AddressBook) -> Result<(), MembershipError> {
        let mut text = format!("{HEADER}\n");
        for (node, address) in book.snapshot() {
            // Writing to a string does not fail.
            let _ = writeln!(text, "{node} {address}");
        }
        self.replace(&text).map_err(|source| self.error(source))
    }

    fn replace(&self, text: &str) -> io::Result<()> {
        let partial = self.path.with_extension("partial");
        let mut file = File::create(&partial)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&partial, &self.path)
    }

    fn error(&self, source: io::Error) -> MembershipError {
        MembershipError::AddressFile { path: self.path.clone(), source }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_saved_is_loaded_and_rubbish_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let file = AddressFile::new(dir.path().join("addresses"));
        let book = AddressBook::new();
        file.load(&book).unwrap();
        assert!(book.snapshot().is_empty());
        book.set(NodeId(1), "127.0.0.1:9400".to_owned());
        book.set(NodeId(12), "[::1]:9400".to_owned());
        file.save(&book).unwrap();
        let again = AddressBook::new();
        file.load(&again).unwrap();
        assert_eq!(again.snapshot(), book.snapshot());
        fs::write(dir.path().join("addresses"), format!("{HEADER}\none 127.0.0.1:1\n")).unwrap();
        assert!(file.load(&AddressBook::new()).is_err());
        fs::write(dir.path().join("addresses"), "1 127.0.0.1:1\n").unwrap();
        assert!(file.load(&AddressBook::new()).is_err());
    }
}
