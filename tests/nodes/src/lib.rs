//! Real `karri` processes, each in a network namespace and on a small disk of its own, that are broken while clients
//! write a history, which must be linearizable.
//!
//! [`net`] makes the namespaces and disks; it needs root, iproute2, nftables, strace and faketime, and says so where they are
//! missing. [`faults`] breaks things and mends them, [`client`] records, [`run`] puts them together.
//! `docs/reliability.md` says how to run more of it.

pub mod client;
pub mod faults;
pub mod net;
pub mod run;
