//! What processes have used, from `/proc`.

use std::fs;

use anyhow::{Context, Result};

/// Ticks of a second in `/proc/PID/stat`; the same on every Linux of the last twenty years.
const TICKS_PER_SECOND: f64 = 100.0;

/// CPU and disk writes of some processes since their start.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Usage {
    pub(crate) cpu_seconds: f64,
    pub(crate) written_bytes: u64,
    pub(crate) resident_bytes: u64,
    pub(crate) resident_bytes_peak: u64,
}

impl Usage {
    /// Adds up the processes.
    pub(crate) fn of(pids: &[u32]) -> Result<Self> {
        let mut sum = Self::default();
        for pid in pids {
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).with_context(|| format!("process {pid}"))?;
            // The program's name, in parentheses, may hold spaces.
            let fields: Vec<&str> =
                stat.rsplit_once(')').map_or(stat.as_str(), |(_, rest)| rest).split_whitespace().collect();
            let ticks = |index: usize| fields.get(index).and_then(|text| text.parse::<f64>().ok()).unwrap_or(0.0);
            sum.cpu_seconds += (ticks(11) + ticks(12)) / TICKS_PER_SECOND;
            let io = fs::read_to_string(format!("/proc/{pid}/io")).with_context(|| format!("process {pid}"))?;
            sum.written_bytes += number_after(&io, "write_bytes: ");
            let status = fs::read_to_string(format!("/proc/{pid}/status")).with_context(|| format!("process {pid}"))?;
            sum.resident_bytes += number_after(&status, "VmRSS:") * 1024;
            sum.resident_bytes_peak += number_after(&status, "VmHWM:") * 1024;
        }
        Ok(sum)
    }
}

fn number_after(text: &str, label: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(label));
    line.and_then(|rest| rest.split_whitespace().next()).and_then(|number| number.parse().ok()).unwrap_or(0)
}
