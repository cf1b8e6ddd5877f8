//! Results of a comparison, and the table of ratios.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;

use serde::Serialize;

use crate::peers::server::{Kind, Server};
use crate::peers::{WORKS, WorkItem, aims};
use crate::report::Report;

/// One measurement.
#[derive(Serialize)]
pub(crate) struct Round {
    pub(crate) server: &'static str,
    pub(crate) nodes: usize,
    pub(crate) work: &'static str,
    pub(crate) report: Report,
}

/// All that was measured, on which machine.
#[derive(Serialize)]
pub(crate) struct Results {
    machine: Machine,
    servers: Vec<Server>,
    failures: BTreeMap<String, String>,
    rounds: Vec<Round>,
}

#[derive(Serialize)]
struct Machine {
    cores: usize,
    memory_gib: u64,
    cpu: String,
    kernel: String,
}

impl Machine {
    fn this() -> Self {
        let text = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let after = |text: &str, label: &str| {
            let line = text.lines().find(|line| line.starts_with(label));
            line.and_then(|line| line.split_once(':')).map_or(String::new(), |(_, rest)| rest.trim().to_owned())
        };
        let memory = after(&text("/proc/meminfo"), "MemTotal");
        let kib: u64 = memory.split_whitespace().next().and_then(|number| number.parse().ok()).unwrap_or(0);
        Self {
            cores: std::thread::available_parallelism().map_or(0, Into::into),
            memory_gib: kib >> 20,
            cpu: after(&text("/proc/cpuinfo"), "model name"),
            kernel: text("/proc/sys/kernel/osrelease").trim().to_owned(),
        }
    }
}

/// Medians of what is told of one server at one work.
pub(super) struct Cell {
    pub(super) requests_per_second: f64,
    pub(super) mib_per_second: f64,
    /// Milliseconds per request, or seconds per GiB.
    pub(super) cost: f64,
    pub(super) written: f64,
    pub(super) p99_ms: f64,
    pub(super) errors: u64,
}

impl Results {
    pub(super) fn new(servers: &[Server]) -> Self {
        Self { machine: Machine::this(), servers: servers.to_vec(), failures: BTreeMap::new(), rounds: Vec::new() }
    }

    pub(super) fn add(&mut self, round: Round) {
        self.rounds.push(round);
    }

    pub(super) fn failed(&mut self, server: &Server, nodes: usize, error: &anyhow::Error) {
        self.failures.insert(format!("{} with {nodes} nodes", server.kind.name()), format!("{error:#}"));
    }

    fn cell(&self, server: Kind, nodes: usize, work: &WorkItem) -> Option<Cell> {
        let of = |round: &&Round| round.server == server.name() && round.nodes == nodes && round.work == work.name;
        let rounds: Vec<&Round> = self.rounds.iter().filter(of).collect();
        let median = |value: &dyn Fn(&Report) -> f64| {
            let mut values: Vec<f64> = rounds.iter().map(|round| value(&round.report)).collect();
            values.sort_by(f64::total_cmp);
            // Of an even number the two in the middle.
            let middle = [values.len().checked_sub(1)? / 2, values.len() / 2];
            Some(middle.iter().map(|at| values[*at]).sum::<f64>() / 2.0)
        };
        let cost = |report: &Report| {
            report.server.map_or(0.0, |server| match work.by_bytes {
                true => server.cpu_seconds_per_gib.unwrap_or(0.0),
                false => server.cpu_ms_per_request,
            })
        };
        Some(Cell {
            requests_per_second: median(&|report| report.all.requests_per_second)?,
            mib_per_second: median(&|report| report.all.mib_per_second)?,
            cost: median(&cost)?,
            written: median(&|report| report.server.and_then(|server| server.written_bytes_per_byte).unwrap_or(0.0))?,
            p99_ms: median(&|report| report.all.p99_ms)?,
            errors: rounds.iter().map(|round| round.report.errors_count()).sum(),
        })
    }

    /// The table, with each peer's figures over Karri's in brackets: how many times what Karri needs or does.
    pub(super) fn markdown(&self) -> String {
        let machine = &self.machine;
        let mut out = format!(
            "# Karri beside its peers\n\n{} cores of {}, {} GiB, Linux {}. Load generator and servers share the machine. \
             Medians of the rounds, all in one run; in brackets the peer's figure divided by Karri's. CPU: of the \
             server's processes together. B/B: bytes written to disk per byte stored, all copies and logs together.\n\n",
            machine.cores, machine.cpu, machine.memory_gib, machine.kernel
        );
        for server in &self.servers {
            let _ = writeln!(out, "- **{}** {}: {}", server.kind.name(), server.version, server.kind.durability());
        }
        for (server, failure) in &self.failures {
            let _ = writeln!(out, "- {server} failed: {failure}");
        }
        let mut nodes: Vec<usize> = self.rounds.iter().map(|round| round.nodes).collect();
        nodes.sort_unstable();
        nodes.dedup();
        for nodes in nodes {
            let _ = writeln!(out, "\n## {nodes} node{}\n", if nodes == 1 { "" } else { "s, three copies" });
            self.table(nodes, &mut out);
            self.aims(nodes, &mut out);
        }
        out
    }

    /// What Karri was to reach, and whether it did.
    fn aims(&self, nodes: usize, out: &mut String) {
        let rows: Vec<String> = WORKS
            .iter()
            .filter_map(|work| {
                let cell = self.cell(Kind::Karri, nodes, work)?;
                let (aims, verdict) = aims::judged(nodes, work.name, work.by_bytes, &cell);
                (!aims.is_empty()).then(|| format!("| {} | {aims} | {verdict} |", work.name))
            })
            .collect();
        if !rows.is_empty() {
            let _ = writeln!(out, "\n| work | aims for Karri | |\n|---|---|---|\n{}", rows.join("\n"));
        }
    }

    fn table(&self, nodes: usize, out: &mut String) {
        let in_table =
            |server: &&Server| self.rounds.iter().any(|r| r.nodes == nodes && r.server == server.kind.name());
        let servers: Vec<&Server> = self.servers.iter().filter(in_table).collect();
        let names: Vec<&str> = servers.iter().map(|server| server.kind.name()).collect();
        let _ = writeln!(out, "| work | {} |\n|---{}|", names.join(" | "), "|---".repeat(names.len()));
        for work in &WORKS {
            let own = self.cell(Kind::Karri, nodes, work);
            if servers.iter().all(|server| self.cell(server.kind, nodes, work).is_none()) {
                continue;
            }
            let cells: Vec<String> =
                servers.iter().map(|server| self.shown(server, nodes, work, own.as_ref())).collect();
            let _ = writeln!(out, "| {} | {} |", work.name, cells.join(" | "));
        }
    }

    fn shown(&self, server: &Server, nodes: usize, work: &WorkItem, own: Option<&Cell>) -> String {
        let Some(cell) = self.cell(server.kind, nodes, work) else { return "-".to_owned() };
        let ratio = |value: f64, own: Option<f64>| match own {
            Some(own) if server.kind != Kind::Karri && own > 0.0 => {
                // Two digits also of what is far below 1.
                let ratio = value / own;
                format!(
                    " ({ratio:.*}x)",
                    if ratio < 0.095 {
                        3
                    } else if ratio < 0.95 {
                        2
                    } else {
                        1
                    }
                )
            }
            _ => String::new(),
        };
        let speed = match work.by_bytes {
            true => (cell.mib_per_second, own.map(|own| own.mib_per_second), "MiB/s"),
            false => (cell.requests_per_second, own.map(|own| own.requests_per_second), "/s"),
        };
        let cost_unit = if work.by_bytes { "CPU s/GiB" } else { "ms CPU" };
        let digits = if work.by_bytes { 2 } else { 3 };
        let mut text = format!(
            "{:.0} {}{}, {:.digits$} {cost_unit}{}, p99 {:.1} ms",
            speed.0,
            speed.2,
            ratio(speed.0, speed.1),
            cell.cost,
            ratio(cell.cost, own.map(|own| own.cost)),
            cell.p99_ms,
        );
        if work.name.starts_with("PUT") {
            let _ = write!(text, ", {:.2} B/B{}", cell.written, ratio(cell.written, own.map(|own| own.written)));
        }
        if cell.errors > 0 {
            let _ = write!(text, ", **{} errors**", cell.errors);
        }
        text
    }
}
