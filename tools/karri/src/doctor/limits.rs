//! What the machine lets a node use.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use super::Report;
use crate::config::{Config, memory_bytes};
use crate::open_files;

/// Less memory than this makes a node fail under load.
const MEMORY_BYTES_MIN: u64 = 1 << 30;
/// Caches and the bodies under way fit from here on.
const MEMORY_BYTES_WANTED: u64 = 2 << 30;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// Judges how many files a node may have open: its own limit when it runs, else that of a process started like this one.
pub(super) fn open_files(limit: u64, whose: &str, report: &mut Report) {
    const CHECK: &str = "open files";
    let found = format!("{whose} may have {limit} files open");
    let remedy = format!("set LimitNOFILE={} in the unit, or `ulimit -n`", open_files::WANTED);
    if limit < open_files::LEAST {
        report.error(CHECK, found, remedy);
    } else if limit < open_files::WANTED {
        report.warn(CHECK, found, remedy);
    } else {
        report.ok(CHECK, found);
    }
}

/// Judges the machine's memory, or what the control group has of it.
pub(super) fn memory(report: &mut Report) {
    const CHECK: &str = "memory";
    let Some(bytes) = memory_bytes() else {
        return report.warn(CHECK, "how much there is cannot be read", "look at /proc/meminfo");
    };
    let found = format!("{} MiB for this machine or container", bytes >> 20);
    if bytes < MEMORY_BYTES_MIN {
        report.error(CHECK, found, "give the node 2 GiB or more");
    } else if bytes < MEMORY_BYTES_WANTED {
        report.warn(CHECK, found, "give the node 2 GiB or more");
    } else {
        report.ok(CHECK, found);
    }
}

/// Whether the ports are free for a node that is stopped, or answer where it runs.
pub(super) fn ports(config: &Config, running: bool, report: &mut Report) {
    for (name, address) in [("s3.listen", config.s3.listen), ("rpc.listen", config.rpc.listen)] {
        port(name, address, running, report);
    }
}

fn port(name: &str, address: SocketAddr, running: bool, report: &mut Report) {
    const CHECK: &str = "ports";
    if running {
        let mut target = address;
        if target.ip().is_unspecified() {
            target.set_ip(if target.is_ipv4() { [127, 0, 0, 1].into() } else { [0, 0, 0, 0, 0, 0, 0, 1].into() });
        }
        match TcpStream::connect_timeout(&target, CONNECT_TIMEOUT) {
            Ok(_) => report.ok(CHECK, format!("{name} {address} answers")),
            Err(error) => {
                let found = format!("the node runs, and {name} {address} does not answer: {error}");
                report.error(
                    CHECK,
                    found,
                    "look at the node's log; it may be starting, or run with another configuration",
                );
            }
        }
        return;
    }
    match TcpListener::bind(address) {
        Ok(_) => report.ok(CHECK, format!("{name} {address} is free")),
        Err(error) => {
            let found = format!("{name} {address} cannot be taken: {error}");
            report.error(CHECK, found, "stop what has the port (`ss -ltnp`), or mend the address");
        }
    }
}
