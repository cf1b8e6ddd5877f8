//! Power cuts: a virtual machine runs `karri` on ext4, its disk loses what was not flushed, and a fresh machine must find
//! everything there that was acknowledged.
//!
//! The disk is in this process ([`disk`]) and reaches QEMU over the network block device protocol ([`nbd`]), so that
//! each write and each flush of the guest's kernel is seen, and what a cut leaves of unflushed writes is chosen by
//! a seed. [`guest`] makes and starts the machine, [`load`] writes and remembers, [`run`] puts them together.
//! `docs/reliability.md` says how to run more of it.

pub mod disk;
pub mod guest;
mod initrd;
mod kernel;
pub mod load;
pub mod nbd;
pub mod run;
