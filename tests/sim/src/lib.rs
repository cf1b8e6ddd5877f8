//! Whole clusters in one process under deterministic simulation: see `docs/reliability.md`, layer 3.
//!
//! A run is one process (`karri-sim`), because it takes over the clock and the randomness of the thread that it runs on.
//! In it each node is a runtime of its own on a disk in memory, with all of Karri below the gateway; a step lets a
//! millisecond pass for all of them, one after the other. The seed decides all else: what clients do, what breaks, how long
//! each message and each piece of blocking work takes.

mod chance;
mod cluster;
mod forgery;
mod history;
mod host;
mod invariants;
mod moves;
mod mutant;
mod process;
mod report;
mod run;
mod transport;
mod trouble;
mod workload;
mod world;

pub use mutant::Mutant;
pub use report::{Checked, Faults, Report};
pub use run::{Options, run};
