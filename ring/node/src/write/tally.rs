//! Who holds how much of an extent that is being written: decides, and does no IO.

/// Runs that a replica may be behind before it is left behind; each keeps the run's bytes in memory.
const OUTSTANDING_RUNS_MAX: u32 = 4;

#[derive(Clone, Debug, Default)]
struct Replica {
    left_behind: bool,
    sent: u32,
    /// Bit per run that it made durable.
    held: u64,
    sealed: bool,
}

/// Acknowledgements of one extent. Replicas are known by their place in the list of owners.
#[derive(Clone, Debug)]
pub(crate) struct Tally {
    quorum: usize,
    runs: u32,
    replicas: Vec<Replica>,
    newly_left_behind: u64,
}

impl Tally {
    pub(crate) fn new(replicas: usize, quorum: usize) -> Self {
        assert!(quorum > 0 && quorum <= replicas, "a quorum of {quorum} of {replicas}");
        Self { quorum, runs: 0, replicas: vec![Replica::default(); replicas], newly_left_behind: 0 }
    }

    /// Begins the next run; returns the replicas that get it. Slow ones are left behind while there are enough others.
    pub(crate) fn send(&mut self) -> Vec<usize> {
        self.runs += 1;
        let slow: Vec<usize> = self.live().filter(|&index| self.outstanding(index) >= OUTSTANDING_RUNS_MAX).collect();
        if self.live().count() >= self.quorum + slow.len() {
            for replica in slow {
                self.fail(replica);
            }
        }
        let receivers: Vec<usize> = self.live().collect();
        receivers.iter().for_each(|&index| self.replicas[index].sent += 1);
        receivers
    }

    pub(crate) fn held(&mut self, replica: usize, run: u32) {
        self.replicas[replica].held |= 1 << run;
    }

    pub(crate) fn sealed(&mut self, replica: usize) {
        self.replicas[replica].sealed = true;
    }

    /// Leaves a replica behind; true when it was not yet.
    pub(crate) fn fail(&mut self, replica: usize) -> bool {
        let first = !std::mem::replace(&mut self.replicas[replica].left_behind, true);
        self.newly_left_behind += u64::from(first);
        first
    }

    /// Replicas left behind since the last call.
    pub(crate) fn newly_left_behind(&mut self) -> u64 {
        std::mem::take(&mut self.newly_left_behind)
    }

    /// Leading runs that a quorum of replicas holds completely, failed ones included: durable does not mean alive.
    pub(crate) fn durable_runs(&self) -> u32 {
        let mut leading: Vec<u32> = self.replicas.iter().map(|replica| replica.held.trailing_ones()).collect();
        leading.sort_unstable_by(|a, b| b.cmp(a));
        leading[self.quorum - 1].min(self.runs)
    }

    /// Runs that were sent and are not durable.
    pub(crate) fn pending_runs(&self) -> u32 {
        self.runs - self.durable_runs()
    }

    /// Replicas that hold the first `runs` runs.
    pub(crate) fn holders(&self, runs: u32) -> Vec<usize> {
        (0..self.replicas.len()).filter(|&index| self.replicas[index].held.trailing_ones() >= runs).collect()
    }

    /// True when the extent is sealed on a quorum.
    pub(crate) fn is_sealed(&self) -> bool {
        self.replicas.iter().filter(|replica| replica.sealed).count() >= self.quorum
    }

    /// True when a quorum cannot be reached any more.
    pub(crate) fn is_lost(&self) -> bool {
        let hopeful = |replica: &&Replica| !replica.left_behind || replica.sealed;
        self.replicas.iter().filter(hopeful).count() < self.quorum
    }

    /// Replicas that have not failed.
    pub(crate) fn live(&self) -> impl Iterator<Item = usize> + '_ {
        (0..self.replicas.len()).filter(|&index| !self.replicas[index].left_behind)
    }

    fn outstanding(&self, replica: usize) -> u32 {
        let replica = &self.replicas[replica];
        replica.sent - replica.held.count_ones()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_durable_when_a_quorum_holds_all_up_to_it() {
        let mut tally = Tally::new(3, 2);
        assert_eq!(tally.send(), vec![0, 1, 2]);
        tally.send();
        tally.held(0, 0);
        tally.held(1, 1);
        assert_eq!(tally.durable_runs(), 0, "run 0 is on one node only");
        tally.held(1, 0);
        assert_eq!(tally.durable_runs(), 1, "run 1 is on one node only");
        tally.held(0, 1);
        assert_eq!((tally.durable_runs(), tally.pending_runs()), (2, 0));
    }

    #[test]
    fn a_slow_replica_is_left_behind_but_never_below_the_quorum() {
        let mut tally = Tally::new(3, 2);
        for run in 0..OUTSTANDING_RUNS_MAX {
            tally.send();
            tally.held(0, run);
            tally.held(1, run);
        }
        assert_eq!(tally.send(), vec![0, 1]);
        let mut two = Tally::new(2, 2);
        for _ in 0..=OUTSTANDING_RUNS_MAX {
            assert_eq!(two.send(), vec![0, 1]);
        }
    }

    #[test]
    fn two_failures_of_three_lose_the_quorum_but_not_what_was_durable() {
        let mut tally = Tally::new(3, 2);
        tally.send();
        tally.held(0, 0);
        tally.held(1, 0);
        assert!(tally.fail(1) && !tally.fail(1) && !tally.is_lost());
        tally.fail(2);
        assert!(tally.is_lost());
        assert_eq!((tally.durable_runs(), tally.holders(1)), (1, vec![0, 1]));
    }
}
