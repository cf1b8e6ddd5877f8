//! Failpoints: named steps at which a test ends the process, or a node of its own process.
//!
//! Only builds with debug assertions, which tests are, look whether a step is armed; in a release [`failpoint`] is empty. A
//! process that was started with `KARRI_FAILPOINTS=<folder>` ends at the step that the file `<folder>/<its process id>`
//! names, without a word to anybody.

use std::fmt;
use std::str::FromStr;

macro_rules! steps {
    ($($step:ident $name:literal $what:literal,)*) => {
        /// A step of something that is done in several, between two of which the power may go.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Step {
            $(#[doc = $what] $step,)*
        }

        impl Step {
            /// All steps.
            pub const ALL: &[Self] = &[$(Self::$step),*];

            /// Its name, as in `seal-durable`; before the first `-` what it is a step of.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$step => $name,)* }
            }
        }
    };
}

steps! {
    CommitBytesDurable "commit-bytes-durable" "A body is on a write quorum, and no metadata name it.",
    CommitAppending "commit-appending" "Entries of the log are about to be written.",
    CommitAppended "commit-appended" "Entries of the log are durable here, and nobody was told.",
    CommitApplying "commit-applying" "Committed entries are about to be applied.",
    CommitApplied "commit-applied" "Committed entries are applied, and nobody was told.",
    CommitAnswering "commit-answering" "An object is committed, and its client was not told.",
    SealRunDurable "seal-run-durable" "The bytes of a run are durable, and no row names them.",
    SealRunNamed "seal-run-named" "The rows of a run are written.",
    SealDurable "seal-durable" "The last run of an extent is durable with its header, and no row names it.",
    SealNamed "seal-named" "The rows of a sealed extent are written.",
    RepairFetched "repair-fetched" "Chunks of a missing extent are fetched.",
    RepairPulled "repair-pulled" "A missing extent is here again.",
    RepairReplacing "repair-replacing" "A good chunk is fetched in the place of a bad one.",
    RepairReplaced "repair-replaced" "A bad chunk is replaced.",
    GarbageReleased "garbage-released" "Extents may be deleted, as a committed row says, and none is.",
    GarbageBuried "garbage-buried" "Tombstones are durable, and the bytes are still there.",
    GarbageDeleted "garbage-deleted" "All copies are deleted, and a row still says that they are to be.",
    GarbageForgotten "garbage-forgotten" "The row of deleted extents is removed.",
    SnapshotFlushed "snapshot-flushed" "What is applied is durable, and the log of it is still there.",
    SnapshotPurged "snapshot-purged" "The log behind a snapshot is removed.",
    SnapshotStaged "snapshot-staged" "A snapshot was received, and it is not decided that it replaces what is there.",
    SnapshotDecided "snapshot-decided" "It is decided that a snapshot replaces what is there, and nothing has changed yet.",
    SnapshotCleared "snapshot-cleared" "What a snapshot replaces is deleted.",
    SnapshotIngested "snapshot-ingested" "The rows of a snapshot are there, and the range is not described by it yet.",
    SnapshotInstalled "snapshot-installed" "A snapshot is in place, and Raft does not know yet.",
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// No step has this name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no step is called {0}")]
pub struct UnknownStep(pub String);

impl FromStr for Step {
    type Err = UnknownStep;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.iter().copied().find(|step| step.name() == text).ok_or_else(|| UnknownStep(text.to_owned()))
    }
}

/// Passes a step, unless a test ends the process here.
#[inline(always)]
pub fn failpoint(step: Step) {
    #[cfg(debug_assertions)]
    armed::pass(step);
    #[cfg(not(debug_assertions))]
    let _ = step;
}

#[cfg(debug_assertions)]
pub use armed::{Armed, at_step};

#[cfg(debug_assertions)]
mod armed {
    use std::path::PathBuf;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::sync::{Arc, Mutex, OnceLock};

    use super::Step;

    /// Names the folder in which a test says at which step a process ends.
    const FOLDER: &str = "KARRI_FAILPOINTS";

    type Act = Arc<dyn Fn() + Send + Sync>;

    static ACTING: AtomicBool = AtomicBool::new(false);
    static ACT: Mutex<Option<(Step, Act)>> = Mutex::new(None);

    /// A step is armed while this lives.
    #[derive(Debug)]
    pub struct Armed(());

    /// Calls `act` whenever `step` is passed in this process, on the thread that passes it. Another step that was armed is
    /// armed no more.
    pub fn at_step(step: Step, act: impl Fn() + Send + Sync + 'static) -> Armed {
        *ACT.lock().expect("nobody panics with it") = Some((step, Arc::new(act)));
        ACTING.store(true, Ordering::Release);
        Armed(())
    }

    impl Drop for Armed {
        fn drop(&mut self) {
            ACTING.store(false, Ordering::Release);
            *ACT.lock().expect("nobody panics with it") = None;
        }
    }

    pub(super) fn pass(step: Step) {
        if ACTING.load(Ordering::Acquire) {
            let armed = ACT.lock().expect("nobody panics with it").clone();
            if let Some((_, act)) = armed.filter(|(armed, _)| *armed == step) {
                act();
            }
        }
        if let Some(file) = file()
            && named_in(file) == Some(step)
        {
            eprintln!("failpoint: the process ends at {step}");
            std::process::abort();
        }
    }

    /// The file that names this process's step, where a test has asked for it.
    fn file() -> Option<&'static PathBuf> {
        static FILE: OnceLock<Option<PathBuf>> = OnceLock::new();
        let of = || std::env::var_os(FOLDER).map(|folder| PathBuf::from(folder).join(std::process::id().to_string()));
        FILE.get_or_init(of).as_ref()
    }

    #[allow(clippy::disallowed_methods, reason = "the test's own file, never on a disk under test")]
    fn named_in(file: &PathBuf) -> Option<Step> {
        std::fs::read_to_string(file).ok()?.trim().parse().ok()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[test]
    fn names_are_names_of_one_step() {
        for step in Step::ALL {
            assert_eq!(step.name().parse(), Ok(*step));
        }
        let names: BTreeSet<_> = Step::ALL.iter().map(|step| step.name()).collect();
        assert_eq!(names.len(), Step::ALL.len());
        assert!("seal".parse::<Step>().is_err());
    }

    #[test]
    fn an_armed_step_acts_each_time_and_no_other_does() {
        let passed = Arc::new(AtomicU32::new(0));
        let count = passed.clone();
        let armed = at_step(Step::SealNamed, move || _ = count.fetch_add(1, Ordering::Relaxed));
        failpoint(Step::SealNamed);
        failpoint(Step::SealDurable);
        failpoint(Step::SealNamed);
        drop(armed);
        failpoint(Step::SealNamed);
        assert_eq!(passed.load(Ordering::Relaxed), 2);
    }
}
