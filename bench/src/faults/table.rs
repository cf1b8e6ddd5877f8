//! The results as a table: a row for each figure, a column for each server.

use std::fmt::Write as _;

use super::Measured;
use super::clients::{ANSWER_MAX, CLIENTS, Checked, TRIES_MAX};
use super::scenarios::{SLOW_SYNC_MS, Shown};
use super::seen::Seen;

type Row = (String, String);

/// The table.
pub(super) fn markdown(measured: &[Measured]) -> String {
    let mut servers: Vec<(&str, &str)> = Vec::new();
    for one in measured {
        if !servers.iter().any(|(name, _)| *name == one.server) {
            servers.push((one.server, &one.version));
        }
    }
    let names: Vec<String> = servers.iter().map(|(name, version)| format!("{name} {version}")).collect();
    let mut out = format!(
        "Three nodes, three copies, {CLIENTS} clients (GET 50 %, PUT 40 %, DELETE 10 %; 1 to 130 KB). An answer is waited \
         for {} s; a client that retries tries {TRIES_MAX} times at one node after the other.\n\n| fault | figure | {} |\n|---|---{}|\n",
        ANSWER_MAX.as_secs(),
        names.join(" | "),
        "|---".repeat(names.len())
    );
    let mut faults = Vec::new();
    for one in measured {
        if !faults.contains(&one.fault) {
            faults.push(one.fault);
        }
    }
    for fault in faults {
        let columns: Vec<Vec<Row>> = servers
            .iter()
            .map(|(name, _)| {
                let found = measured.iter().find(|one| one.server == *name && one.fault == fault);
                match found.map(|one| &one.shown) {
                    Some(Ok(shown)) => rows(shown),
                    Some(Err(error)) => vec![("failed".to_owned(), error.replace(['\n', '|'], " "))],
                    None => Vec::new(),
                }
            })
            .collect();
        let mut labels: Vec<&str> = Vec::new();
        for (label, _) in columns.iter().flatten() {
            if !labels.contains(&label.as_str()) {
                labels.push(label);
            }
        }
        for label in labels {
            let cell = |rows: &Vec<Row>| {
                rows.iter().find(|(name, _)| name == label).map_or_else(|| "-".to_owned(), |(_, text)| text.clone())
            };
            let cells: Vec<String> = columns.iter().map(cell).collect();
            let _ = writeln!(out, "| {fault:?} | {label} | {} |", cells.join(" | "));
        }
    }
    out
}

fn row(label: &str, text: impl Into<String>) -> Row {
    (label.to_owned(), text.into())
}

fn p99(seen: &Seen) -> String {
    format!("{:.0} ms", seen.p99_ms)
}

/// One figure for each of several stretches.
fn each(seen: &[Seen], figure: impl Fn(&Seen) -> String) -> String {
    seen.iter().map(figure).collect::<Vec<_>>().join(", ")
}

fn failures(seen: &Seen) -> String {
    let all: Vec<String> = seen.failures.iter().map(|(what, count)| format!("{count} x {what}")).collect();
    if all.is_empty() { "none".to_owned() } else { all.join(", ") }
}

fn lost(checked: &Checked) -> String {
    let mut text = format!("{} of {}", checked.lost, checked.keys);
    if checked.unreadable > 0 {
        let _ = write!(text, ", {} not readable", checked.unreadable);
    }
    if checked.wrong_bodies > 0 {
        let _ = write!(text, ", {} wrong bodies", checked.wrong_bodies);
    }
    text
}

fn rows(shown: &Shown) -> Vec<Row> {
    match shown {
        Shown::Kill { before, during, after, checked } => {
            let all = || during.iter().chain(after);
            let sum = |figure: fn(&Seen) -> usize| all().map(figure).sum::<usize>().to_string();
            let gap = |figure: fn(&Seen) -> f64| format!("{:.1} s", all().map(figure).fold(0.0, f64::max) / 1000.0);
            vec![
                row("requests", sum(|seen| seen.requests)),
                row("errors of clients that do not retry", sum(|seen| seen.errors_without_retry)),
                row("errors of clients that retry", sum(|seen| seen.errors_with_retry)),
                row("longest gap without an acknowledgement", gap(|seen| seen.gap_ms)),
                row("longest gap without an acknowledged write", gap(|seen| seen.write_gap_ms)),
                row("p99 before", p99(before)),
                row("p99 during, of each node's kill", each(during, p99)),
                row("p99 after", each(after, p99)),
                row("older values read", sum(|seen| seen.older_reads)),
                row("acknowledged writes lost", lost(checked)),
            ]
        }
        Shown::PowerCut { acknowledged, serving_after_seconds, checked } => {
            let serving: Vec<String> = serving_after_seconds.iter().map(|s| format!("{s:.1} s")).collect();
            vec![
                row("requests acknowledged", acknowledged.to_string()),
                row("objects lost, after each cut", checked.iter().map(lost).collect::<Vec<_>>().join("; ")),
                row("all nodes serve after", serving.join(", ")),
            ]
        }
        Shown::FlippedBits { flipped, reads, failed_reads, wrong_bodies, healed, left_in_objects } => {
            let at_reads = healed.first().map_or(0, |(_, count)| *count);
            let left = flipped - healed.last().map_or(0, |(_, count)| *count);
            let last = healed.iter().find(|(_, count)| Some(*count) == healed.last().map(|(_, most)| *most));
            vec![
                row("wrong bodies served", format!("{wrong_bodies} of {reads}")),
                row("reads refused", failed_reads.to_string()),
                row("healed by reads", format!("{at_reads} of {flipped}")),
                row("healed by a scrub", last.map_or(String::new(), |(s, count)| format!("{count} after {s:.0} s"))),
                row("not healed; of them in objects", format!("{left}; {left_in_objects}")),
            ]
        }
        Shown::FullDisk { before, during, after, ended, recovered_after_seconds, checked } => vec![
            row("answers that were errors", failures(during)),
            row("reads that failed for good", format!("{} of {}", during.reads_failed, during.reads)),
            row("writes that failed for good", format!("{} of {}", during.writes_failed, during.writes)),
            row("longest gap without an acknowledgement", format!("{:.1} s", during.gap_ms / 1000.0)),
            row("p99 before, during, after", [before, during, after].map(p99).join(", ")),
            row("the node", if *ended { "ended, was started again" } else { "went on" }),
            row("it acknowledges after room is made", format!("{recovered_after_seconds:.1} s")),
            row("acknowledged writes lost", lost(checked)),
        ],
        Shown::SlowDisk { before, traced, slow } => vec![
            row("p99", p99(before)),
            row("p99, strace at one node", p99(traced)),
            row(&format!("p99, {SLOW_SYNC_MS} ms more for each sync of one node, each in turn"), each(slow, p99)),
            row("requests per second: before, strace, slow", {
                let rate = |seen: &Seen| format!("{:.0}", seen.requests as f64 / seen.seconds);
                format!("{}, {}, {}", rate(before), rate(traced), each(slow, rate))
            }),
        ],
    }
}
