//! What Karri is to need at most and to do at least, for each work; the table says where it does not.

use crate::peers::table::Cell;

/// An aim; what is `None` is not asked for.
#[derive(Clone, Copy, Default)]
struct Aim {
    nodes: usize,
    work: &'static str,
    /// Milliseconds per request, or seconds per GiB where a work is told by its bytes.
    cost: f64,
    per_second: Option<f64>,
    written: Option<f64>,
}

const fn aim(nodes: usize, work: &'static str, cost: f64, per_second: Option<f64>, written: Option<f64>) -> Aim {
    Aim { nodes, work, cost, per_second, written }
}

const AIMS: [Aim; 16] = [
    aim(1, "PUT 4 KiB", 0.20, Some(2500.0), Some(20.0)),
    aim(1, "GET 4 KiB", 0.06, None, None),
    aim(1, "PUT 64 KiB", 0.5, Some(1000.0), None),
    aim(1, "PUT 1 MiB", 3.5, None, None),
    aim(1, "GET 1 MiB", 1.0, None, None),
    aim(1, "PUT 64 MiB", 3.0, None, Some(1.1)),
    aim(1, "GET 64 MiB", 0.9, None, None),
    aim(1, "LIST", 1.0, None, None),
    aim(3, "PUT 4 KiB", 0.6, Some(1500.0), None),
    aim(3, "GET 4 KiB", 0.10, None, None),
    aim(3, "PUT 64 KiB", 1.5, None, None),
    aim(3, "PUT 1 MiB", 8.0, None, Some(3.3)),
    aim(3, "GET 1 MiB", 1.2, None, None),
    aim(3, "PUT 64 MiB", 7.0, None, Some(3.3)),
    aim(3, "GET 64 MiB", 1.1, None, None),
    aim(3, "LIST", 1.0, None, None),
];

/// The aims that there are for a work, and "met" or what is missed; empty when there are none.
pub(super) fn judged(nodes: usize, work: &str, by_bytes: bool, cell: &Cell) -> (String, String) {
    let Some(aim) = AIMS.iter().find(|aim| aim.nodes == nodes && aim.work == work) else { return Default::default() };
    let (mut aims, mut missed) = (Vec::new(), Vec::new());
    let mut judge = |text: String, met: bool, by: f64| {
        if !met {
            missed.push(format!("{text} by {by:.0} %"));
        }
        aims.push(text);
    };
    let over = |value: f64, most: f64| (value / most - 1.0) * 100.0;
    let unit = if by_bytes { "CPU s/GiB" } else { "ms CPU" };
    judge(format!("<= {} {unit}", aim.cost), cell.cost <= aim.cost, over(cell.cost, aim.cost));
    if let Some(least) = aim.per_second {
        let rate = cell.requests_per_second;
        judge(format!(">= {least}/s"), rate >= least, (1.0 - rate / least) * 100.0);
    }
    if let Some(most) = aim.written {
        judge(format!("<= {most} B/B"), cell.written <= most, over(cell.written, most));
    }
    let verdict = if missed.is_empty() { "met".to_owned() } else { format!("**missed: {}**", missed.join(", ")) };
    (aims.join(", "), verdict)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cell(cost: f64, requests_per_second: f64, written: f64) -> Cell {
        Cell { requests_per_second, mib_per_second: 0.0, cost, written, p99_ms: 0.0, errors: 0 }
    }

    #[test]
    fn what_misses_an_aim_is_said() {
        let (aims, verdict) = judged(1, "PUT 4 KiB", false, &cell(0.2, 2500.0, 20.0));
        assert_eq!((aims.as_str(), verdict.as_str()), ("<= 0.2 ms CPU, >= 2500/s, <= 20 B/B", "met"));
        let (_, verdict) = judged(1, "PUT 4 KiB", false, &cell(0.25, 2000.0, 5.0));
        assert_eq!(verdict, "**missed: <= 0.2 ms CPU by 25 %, >= 2500/s by 20 %**");
        assert_eq!(judged(2, "PUT 4 KiB", false, &cell(9.0, 1.0, 1.0)).1, "");
    }
}
