//! The addresses of all nodes on this node's disk, so that a cluster that was stopped as a whole finds itself again.
//!
//! It is text, one `<node id> <host:port>` a line below a line with the format's version, so that an administrator can
//! mend it when every node has moved.

use std::fmt::Write as _;
use std::io;

use karri_ring_disk::DiskPath;
use karri_ring_rpc::AddressBook;
use karri_ring_types::NodeId;

use super::MembershipError;

const HEADER: &str = "karri-addresses 1";

pub(super) struct AddressFile {
    path: DiskPath,
}

impl AddressFile {
    pub(super) fn new(path: DiskPath) -> Self {
        Self { path }
    }

    /// Adds what the file says to `book`. A file that is not there says nothing.
    pub(super) fn load(&self, book: &AddressBook) -> Result<(), MembershipError> {
        let read = self.path.read_if_there().map_err(|source| self.error(source))?;
        let Some(content) = read else { return Ok(()) };
        let invalid = |line: &str| self.error(io::Error::new(io::ErrorKind::InvalidData, format!("line {line:?}")));
        let text = String::from_utf8(content).map_err(|_| invalid("not text"))?;
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
        self.path.replace(text.as_bytes()).map_err(|source| self.error(source))
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
        let path = DiskPath::host(dir.path().join("addresses"));
        let file = AddressFile::new(path.clone());
        let book = AddressBook::new();
        file.load(&book).unwrap();
        assert!(book.snapshot().is_empty());
        book.set(NodeId(1), "127.0.0.1:9400".to_owned());
        book.set(NodeId(12), "[::1]:9400".to_owned());
        file.save(&book).unwrap();
        let again = AddressBook::new();
        file.load(&again).unwrap();
        assert_eq!(again.snapshot(), book.snapshot());
        path.replace(format!("{HEADER}\none 127.0.0.1:1\n").as_bytes()).unwrap();
        assert!(file.load(&AddressBook::new()).is_err());
        path.replace(b"1 127.0.0.1:1\n").unwrap();
        assert!(file.load(&AddressBook::new()).is_err());
    }
}
