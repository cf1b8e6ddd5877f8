//! The graph of single moves of copies between nodes, and its cheapest paths.

/// Cost of the cheapest move between each pair of nodes.
pub(crate) struct Steps {
    pub(crate) count: usize,
    pub(crate) costs: Vec<Option<i32>>,
}

/// Weight of a movement against the length of a path: of paths that move as much, the shortest.
const MOVEMENT_WEIGHT: i64 = 1 << 16;

impl Steps {
    pub(crate) fn cost(&self, from: usize, to: usize) -> Option<i32> {
        self.costs[from * self.count + to]
    }

    fn weight(&self, from: usize, to: usize) -> Option<i64> {
        Some(i64::from(self.cost(from, to)?) * MOVEMENT_WEIGHT + 1)
    }

    /// The cheapest path from a node that is a source to one that is a sink.
    pub(crate) fn cheapest_path(
        &self,
        source: impl Fn(usize) -> bool,
        sink: impl Fn(usize) -> bool,
    ) -> Option<Vec<usize>> {
        let start: Vec<Option<i64>> = (0..self.count).map(|index| source(index).then_some(0)).collect();
        let (distance, parent, _) = self.relax(start);
        let reached = (0..self.count).filter(|&index| sink(index));
        let (_, end) = reached.filter_map(|index| Some((distance[index]?, index))).min()?;
        let mut path = vec![end];
        let mut at = end;
        while let Some(from) = parent[at] {
            if path.contains(&from) {
                // A cycle that spares movements; it is taken by itself.
                return None;
            }
            path.push(from);
            at = from;
        }
        path.reverse();
        (path.len() > 1).then_some(path)
    }

    /// A cycle of moves that takes copies back to where they were.
    pub(crate) fn sparing_cycle(&self) -> Option<Vec<usize>> {
        let (_, parent, changed) = self.relax(vec![Some(0); self.count]);
        let mut at = changed?;
        // After as many steps back as there are nodes one is on the cycle.
        for _ in 0..self.count {
            at = parent[at]?;
        }
        let mut cycle = vec![at];
        let mut from = parent[at]?;
        while from != at {
            cycle.push(from);
            from = parent[from]?;
        }
        cycle.push(at);
        cycle.reverse();
        Some(cycle)
    }

    /// Bellman and Ford's algorithm. The last value is a node whose distance would go on falling.
    #[allow(clippy::type_complexity, reason = "used by the two functions above alone")]
    fn relax(&self, start: Vec<Option<i64>>) -> (Vec<Option<i64>>, Vec<Option<usize>>, Option<usize>) {
        let (mut distance, mut parent) = (start, vec![None; self.count]);
        let mut changed = None;
        for _ in 0..=self.count {
            changed = None;
            for from in 0..self.count {
                let Some(so_far) = distance[from] else { continue };
                for to in (0..self.count).filter(|&to| to != from) {
                    let Some(weight) = self.weight(from, to) else { continue };
                    if distance[to].is_none_or(|known| so_far + weight < known) {
                        distance[to] = Some(so_far + weight);
                        parent[to] = Some(from);
                        changed = Some(to);
                    }
                }
            }
            if changed.is_none() {
                break;
            }
        }
        (distance, parent, changed)
    }
}
