//! `iopkt top`: what workers, interfaces and clients do, a second at a time.

use std::io::{self, IsTerminal as _};
use std::thread;
use std::time::{Duration, Instant};

use proto::table::{ClientRow, DaemonRow, InterfaceRow, WorkerRow};
use serde::Serialize;

use crate::cli::TopArgs;
use crate::control::Control;
use crate::fail::Failure;
use crate::lists::{bytes, duration};
use crate::output::{escape, left, right, show, table};

/// Clients shown, those with the most sockets first.
const CLIENTS_MAX: usize = 10;
/// Moves to the upper left corner and wipes what is below.
const WIPE: &str = "\x1b[H\x1b[J";

/// Runs until it has shown what was asked for, or somebody ends it.
pub(crate) fn run(sock: Option<String>, args: &TopArgs) -> Result<(), Failure> {
    let mut control = Control::open(sock)?;
    let wipes = !args.json && args.count != Some(1) && io::stdout().is_terminal();
    let mut before = Sample::take(&mut control)?;
    let mut left = args.count;
    while left != Some(0) {
        thread::sleep(Duration::from_secs_f64(args.wait));
        let now = Sample::take(&mut control)?;
        let text = |turn: &Turn| format!("{}{}", if wipes { WIPE } else { "" }, turn.render());
        show(&Turn::between(&before, &now), args.json, text)?;
        before = now;
        left = left.map(|left| left - 1);
    }
    Ok(())
}

/// The tables at one time.
struct Sample {
    at: Instant,
    daemon: DaemonRow,
    workers: Vec<WorkerRow>,
    interfaces: Vec<InterfaceRow>,
    clients: Vec<ClientRow>,
}

impl Sample {
    fn take(control: &mut Control) -> Result<Self, Failure> {
        Ok(Self {
            daemon: control.daemon()?,
            workers: control.workers()?,
            interfaces: control.interfaces()?,
            clients: control.clients()?,
            at: Instant::now(),
        })
    }
}

/// What happened between two samples.
#[derive(Debug, PartialEq, Serialize)]
struct Turn {
    daemon: DaemonRow,
    seconds: f64,
    workers: Vec<WorkerLoad>,
    interfaces: Vec<InterfaceLoad>,
    clients: Vec<ClientRow>,
}

/// A worker's.
#[derive(Debug, PartialEq, Serialize)]
struct WorkerLoad {
    worker: u16,
    cpu: Option<u32>,
    /// Share of the time spent on work, 0 to 1.
    busy: f64,
    breaths_per_second: f64,
    sleeps_per_second: f64,
}

/// An interface's.
#[derive(Debug, PartialEq, Serialize)]
struct InterfaceLoad {
    interface: String,
    rx_packets_per_second: f64,
    rx_bits_per_second: f64,
    tx_packets_per_second: f64,
    tx_bits_per_second: f64,
    errors_per_second: f64,
}

impl Turn {
    fn between(before: &Sample, now: &Sample) -> Self {
        let seconds = now.at.duration_since(before.at).as_secs_f64().max(1e-9);
        // A counter that went back is another interface's, of the same name: it began at 0.
        let rate = |then: u64, now: u64| now.checked_sub(then).unwrap_or(now) as f64 / seconds;
        let worker = |row: &WorkerRow| {
            let then = before.workers.iter().find(|then| then.worker == row.worker);
            let of = |value: fn(&WorkerRow) -> u64| rate(then.map_or(0, value), value(row));
            WorkerLoad {
                worker: row.worker,
                cpu: row.cpu,
                busy: (of(|row| row.busy_ns) / 1e9).min(1.0),
                breaths_per_second: of(|row| row.breaths),
                sleeps_per_second: of(|row| row.sleeps),
            }
        };
        let interface = |row: &InterfaceRow| {
            let then = before.interfaces.iter().find(|then| then.name == row.name);
            let of = |value: fn(&InterfaceRow) -> u64| rate(then.map_or(0, value), value(row));
            InterfaceLoad {
                interface: row.name.clone(),
                rx_packets_per_second: of(|row| row.rx_packets),
                rx_bits_per_second: 8.0 * of(|row| row.rx_bytes),
                tx_packets_per_second: of(|row| row.tx_packets),
                tx_bits_per_second: 8.0 * of(|row| row.tx_bytes),
                errors_per_second: of(|row| row.rx_errors + row.tx_errors),
            }
        };
        let mut clients = now.clients.clone();
        clients.sort_by_key(|row| (core::cmp::Reverse(row.sockets), row.slot));
        Self {
            daemon: now.daemon.clone(),
            seconds,
            workers: now.workers.iter().map(worker).collect(),
            interfaces: now.interfaces.iter().map(interface).collect(),
            clients,
        }
    }

    fn render(&self) -> String {
        let daemon = &self.daemon;
        let head = format!(
            "io-pkt {}, pid {}, up {}, {} of {} mbufs in use\n",
            escape(&daemon.version),
            daemon.pid,
            duration(daemon.uptime_ms / 1000),
            daemon.mbufs_used,
            daemon.mbufs_total
        );
        [head, self.render_workers(), self.render_interfaces(), self.render_clients()].join("\n")
    }

    fn render_workers(&self) -> String {
        let columns = [
            right("Worker", |load: &WorkerLoad| load.worker.to_string()),
            right("CPU", |load| load.cpu.map_or_else(|| "-".into(), |cpu| cpu.to_string())),
            right("Busy", |load| format!("{:.0}%", load.busy * 100.0)),
            right("Breaths/s", |load| scaled(load.breaths_per_second)),
            right("Sleeps/s", |load| scaled(load.sleeps_per_second)),
        ];
        table(&columns, &self.workers)
    }

    fn render_interfaces(&self) -> String {
        let columns = [
            left("Interface", |load: &InterfaceLoad| escape(&load.interface)),
            right("Rx packets/s", |load| scaled(load.rx_packets_per_second)),
            right("Rx bit/s", |load| scaled(load.rx_bits_per_second)),
            right("Tx packets/s", |load| scaled(load.tx_packets_per_second)),
            right("Tx bit/s", |load| scaled(load.tx_bits_per_second)),
            right("Errors/s", |load| scaled(load.errors_per_second)),
        ];
        table(&columns, &self.interfaces)
    }

    fn render_clients(&self) -> String {
        let columns = [
            right("PID", |row: &ClientRow| row.pid.to_string()),
            right("UID", |row| row.uid.to_string()),
            right("Sockets", |row| row.sockets.to_string()),
            right("Rx memory", |row| bytes(row.rx_memory_bytes)),
            left("Program", |row| escape(&row.program)),
        ];
        let mut text = table(&columns, self.clients.iter().take(CLIENTS_MAX));
        if let Some(more) = self.clients.len().checked_sub(CLIENTS_MAX).filter(|more| *more > 0) {
            text.push_str(&format!("and {more} more: iopkt clients\n"));
        }
        text
    }
}

/// Three digits and a letter for thousands, millions and so on.
fn scaled(value: f64) -> String {
    let (value, unit) = match value {
        v if v >= 1e9 => (v / 1e9, "G"),
        v if v >= 1e6 => (v / 1e6, "M"),
        v if v >= 1e4 => (v / 1e3, "k"),
        v => return format!("{v:.0}"),
    };
    format!("{value:.digits$}{unit}", digits = if value < 100.0 { 1 } else { 0 })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ifconfig::tests::tap0;
    use crate::lists::tests::{client, daemon, worker};

    fn sample(at: Instant) -> Sample {
        Sample {
            at,
            daemon: daemon(),
            workers: vec![worker()],
            interfaces: vec![tap0()],
            clients: vec![client()],
        }
    }

    fn later(change: impl FnOnce(&mut Sample)) -> Turn {
        let start = Instant::now();
        let before = sample(start);
        let mut now = sample(start + Duration::from_secs(2));
        change(&mut now);
        Turn::between(&before, &now)
    }

    #[test]
    fn rates_are_per_second_and_busy_is_a_share_of_the_time() {
        let turn = later(|now| {
            now.workers[0].busy_ns += 500_000_000;
            now.workers[0].sleeps += 8;
            now.interfaces[0].rx_packets += 3_000_000;
            now.interfaces[0].tx_bytes += 2_500;
        });
        let expected = "\
Worker  CPU  Busy  Breaths/s  Sleeps/s
     0    1   25%          0         4
";
        assert_eq!(turn.render_workers(), expected);
        let expected = "\
Interface  Rx packets/s  Rx bit/s  Tx packets/s  Tx bit/s  Errors/s
tap0               1.5M         0             0     10.0k         0
";
        assert_eq!(turn.render_interfaces(), expected);
    }

    #[test]
    fn an_interface_that_came_anew_counts_from_zero() {
        let turn = later(|now| now.interfaces[0].rx_packets = 2);
        assert!((turn.interfaces[0].rx_packets_per_second - 1.0).abs() < 1e-9);
    }

    #[test]
    fn of_many_clients_those_with_most_sockets_are_shown() {
        let turn = later(|now| {
            now.clients =
                (0..12).map(|slot| ClientRow { slot, sockets: slot, ..client() }).collect();
        });
        let text = turn.render_clients();
        assert_eq!(text.lines().nth(1), Some(" 42  1000       11     32 KiB  ng\\tinx"));
        assert!(text.ends_with("and 2 more: iopkt clients\n"), "{text}");
    }
}
