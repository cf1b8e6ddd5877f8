//! How many copies each zone may hold of one partition, and how many each node should hold in all.

use karri_ring_types::PARTITION_COUNT;

/// Rounds of the bisections below: enough for the precision of the numbers.
const BISECTIONS: usize = 200;

/// Fewest and most copies of one partition in each zone, so that they are spread as evenly as the zones' sizes permit.
pub(crate) fn zone_bounds(zone_sizes: &[usize], copies: usize) -> Vec<(usize, usize)> {
    let holds = |level: usize| zone_sizes.iter().map(|&size| size.min(level)).sum::<usize>();
    let level = (1..=copies).find(|&level| holds(level) >= copies).unwrap_or(copies);
    zone_sizes.iter().map(|&size| (size.min(level.saturating_sub(1)), size.min(level))).collect()
}

/// What the targets are made from; zones are numbers.
pub(crate) struct Shares<'a> {
    pub(crate) capacities: &'a [u64],
    pub(crate) zones: &'a [usize],
    pub(crate) bounds: &'a [(usize, usize)],
    pub(crate) copies: usize,
    /// Copies that each node holds now: what is left over by rounding goes where it moves nothing.
    pub(crate) held: &'a [usize],
}

impl Shares<'_> {
    /// Copies that each node should hold: in proportion to its capacity, where no node holds more than one copy of each
    /// partition and no zone more or fewer than its bounds.
    pub(crate) fn targets(&self) -> Vec<usize> {
        let partitions = usize::from(PARTITION_COUNT);
        let total = partitions * self.copies;
        let members: Vec<Vec<usize>> = (0..self.bounds.len()).map(|zone| self.members(zone)).collect();
        let zone_share = |zone: usize, scale: f64| {
            let (least, most) = self.bounds[zone];
            let share: f64 = members[zone].iter().map(|&index| self.share(index, scale)).sum();
            share.clamp((partitions * least) as f64, (partitions * most) as f64)
        };
        let scale = bisect(total as f64, |scale| (0..members.len()).map(|zone| zone_share(zone, scale)).sum());
        let shares: Vec<f64> = (0..members.len()).map(|zone| zone_share(zone, scale)).collect();
        let zone_held: Vec<usize> =
            members.iter().map(|list| list.iter().map(|&index| self.held[index]).sum()).collect();
        let zone_most: Vec<usize> = self.bounds.iter().map(|(_, most)| partitions * most).collect();
        let zone_targets = round(&shares, total, &zone_held, &zone_most);
        let mut targets = vec![0; self.capacities.len()];
        for (list, &zone_total) in members.iter().zip(&zone_targets) {
            let scale =
                bisect(zone_total as f64, |scale| list.iter().map(|&index| self.share(index, scale)).sum::<f64>());
            let shares: Vec<f64> = list.iter().map(|&index| self.share(index, scale)).collect();
            let held: Vec<usize> = list.iter().map(|&index| self.held[index]).collect();
            let rounded = round(&shares, zone_total, &held, &vec![partitions; list.len()]);
            for (&index, value) in list.iter().zip(rounded) {
                targets[index] = value;
            }
        }
        targets
    }

    fn members(&self, zone: usize) -> Vec<usize> {
        (0..self.zones.len()).filter(|&index| self.zones[index] == zone).collect()
    }

    /// A node's share when one unit of capacity holds `scale` copies.
    fn share(&self, index: usize, scale: f64) -> f64 {
        (self.capacities[index] as f64 * scale).min(f64::from(PARTITION_COUNT))
    }
}

/// The scale at which the growing function `sum` reaches `wanted`.
fn bisect(wanted: f64, sum: impl Fn(f64) -> f64) -> f64 {
    // Capacities are at least one byte, so at this scale every node is full.
    let (mut low, mut high) = (0.0, f64::from(PARTITION_COUNT) * 2.0);
    for _ in 0..BISECTIONS {
        let middle = low + (high - low) / 2.0;
        if sum(middle) < wanted { low = middle } else { high = middle }
    }
    high
}

/// Whole numbers near the shares, with this total and none above its bound.
fn round(shares: &[f64], total: usize, held: &[usize], most: &[usize]) -> Vec<usize> {
    // Bisection leaves 41.999… for 42.
    let mut whole: Vec<usize> = shares.iter().map(|share| (share + 1e-6).floor() as usize).collect();
    let mut order: Vec<usize> = (0..shares.len()).collect();
    let rest = |index: usize| shares[index] + 1e-6 - (shares[index] + 1e-6).floor();
    order.sort_by(|&a, &b| {
        let kept = |index: usize| held[index] > whole[index] && rest(index) > 1e-5;
        kept(b).cmp(&kept(a)).then(rest(b).total_cmp(&rest(a))).then(a.cmp(&b))
    });
    let mut missing = total.saturating_sub(whole.iter().sum());
    while missing > 0 {
        let before = missing;
        for &index in &order {
            if missing > 0 && whole[index] < most[index] {
                whole[index] += 1;
                missing -= 1;
            }
        }
        if missing == before {
            break;
        }
    }
    whole
}

#[cfg(test)]
mod tests {
    use super::*;

    fn targets(capacities: &[u64], zones: &[usize], copies: usize) -> Vec<usize> {
        let mut sizes = vec![0; zones.iter().max().map_or(0, |zone| zone + 1)];
        for &zone in zones {
            sizes[zone] += 1;
        }
        let bounds = zone_bounds(&sizes, copies);
        let held = vec![0; zones.len()];
        Shares { capacities, zones, bounds: &bounds, copies, held: &held }.targets()
    }

    #[test]
    fn copies_are_spread_over_zones_as_evenly_as_their_sizes_permit() {
        assert_eq!(zone_bounds(&[1, 1, 5], 3), [(0, 1), (0, 1), (0, 1)]);
        assert_eq!(zone_bounds(&[3, 3, 3], 4), [(1, 2), (1, 2), (1, 2)]);
        assert_eq!(zone_bounds(&[1, 5], 3), [(1, 1), (1, 2)]);
        assert_eq!(zone_bounds(&[1, 5], 4), [(1, 1), (2, 3)]);
    }

    #[test]
    fn targets_follow_capacity_within_the_bounds() {
        assert_eq!(targets(&[1, 1, 2], &[0, 1, 2], 2), [512, 512, 1024]);
        // The large node can hold one copy of each partition and no more.
        assert_eq!(targets(&[1, 1, 100], &[0, 1, 2], 2), [512, 512, 1024]);
        // The small zone must hold one copy of each.
        assert_eq!(targets(&[1, 100, 100, 100], &[0, 1, 1, 1], 3), [1024, 683, 683, 682]);
        // Enormous disks do not exceed the numbers' precision.
        assert_eq!(targets(&[u64::MAX, u64::MAX], &[0, 1], 1), [512, 512]);
        assert_eq!(targets(&[1], &[0], 1), [1024]);
    }
}
