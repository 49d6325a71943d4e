//! `iopkt clients`, `workers` and `status`.

use std::path::Path;

use proto::table::{ClientRow, DaemonRow, GroupRow, InterfaceRow, WorkerRow};
use serde::Serialize;

use crate::control::Control;
use crate::fail::Failure;
use crate::output::{escape, left, right, show, table};

/// Runs `clients`.
pub(crate) fn clients(sock: Option<String>, json: bool) -> Result<(), Failure> {
    show(&*Control::open(sock)?.clients()?, json, render_clients)
}

/// Runs `workers`.
pub(crate) fn workers(sock: Option<String>, json: bool) -> Result<(), Failure> {
    show(&*Control::open(sock)?.workers()?, json, render_workers)
}

/// Runs `status`.
pub(crate) fn status(sock: Option<String>, json: bool) -> Result<(), Failure> {
    let mut control = Control::open(sock)?;
    let status = Status {
        daemon: control.daemon()?,
        interfaces: control.interfaces()?,
        workers: control.workers()?,
        clients: control.clients()?,
    };
    let path = control.path().to_owned();
    show(&status, json, |status| render_status(status, &path))
}

fn render_clients(rows: &[ClientRow]) -> String {
    let columns = [
        right("Slot", |row: &ClientRow| row.slot.to_string()),
        right("PID", |row| row.pid.to_string()),
        right("UID", |row| row.uid.to_string()),
        right("Sockets", |row| row.sockets.to_string()),
        right("Rx memory", |row| bytes(row.rx_memory_bytes)),
        right("Lent", |row| row.packets_lent.map_or_else(|| "-".into(), |lent| lent.to_string())),
        right("Packets/s", |row| row.packets_per_s.to_string()),
        right("Requests/s", |row| row.requests_per_s.to_string()),
        right("Quota hits", |row| row.quota_hits.to_string()),
        right("Violations", |row| row.violations.to_string()),
        left("Program", |row| escape(&row.program)),
    ];
    table(&columns, rows)
}

fn render_workers(rows: &[WorkerRow]) -> String {
    let columns = [
        right("Worker", |row: &WorkerRow| row.worker.to_string()),
        right("CPU", |row| row.cpu.map_or_else(|| "-".into(), |cpu| cpu.to_string())),
        right("Breaths", |row| row.breaths.to_string()),
        right("Busy", |row| format!("{}%", percent(row.busy_breaths, row.breaths))),
        right("Sleeps", |row| row.sleeps.to_string()),
    ];
    table(&columns, rows)
}

/// All that `status` shows.
#[derive(Debug, Serialize)]
struct Status {
    daemon: DaemonRow,
    interfaces: Vec<InterfaceRow>,
    workers: Vec<WorkerRow>,
    clients: Vec<ClientRow>,
}

fn render_status(status: &Status, socket: &Path) -> String {
    let daemon = &status.daemon;
    let sockets: u64 = status.clients.iter().map(|c| u64::from(c.sockets)).sum();
    let pages = if daemon.hugepages { "hugepages" } else { "4 KiB pages" };
    let metrics = daemon.metrics.map_or_else(|| "off".into(), |a| format!("http://{a}/metrics"));
    let mut lines = vec![
        ("socket", socket.display().to_string()),
        (
            "memory",
            format!("{} of {} mbufs in use, in {pages}", daemon.mbufs_used, daemon.mbufs_total),
        ),
        ("metrics", metrics),
        ("workers", workers_in_words(&status.workers)),
        ("clients", format!("{} with {sockets} sockets", status.clients.len())),
    ];
    lines.extend(status.interfaces.iter().map(|row| ("interface", interface_in_words(row))));
    let head = format!(
        "io-pkt {} on DPDK {}, pid {}, up {}\n",
        escape(&daemon.version),
        escape(&daemon.dpdk),
        daemon.pid,
        duration(daemon.uptime_ms / 1000)
    );
    lines.iter().fold(head, |text, (name, value)| text + &format!("  {name:<10} {value}\n"))
}

fn workers_in_words(rows: &[WorkerRow]) -> String {
    let one = |row: &WorkerRow| {
        let cpu = row.cpu.map(|cpu| format!(" on CPU {cpu}")).unwrap_or_default();
        format!("{}{cpu} {}% busy", row.worker, percent(row.busy_breaths, row.breaths))
    };
    if rows.is_empty() {
        "none".into()
    } else {
        rows.iter().map(one).collect::<Vec<_>>().join(", ")
    }
}

fn interface_in_words(row: &InterfaceRow) -> String {
    let state = match (row.up, row.running) {
        (true, true) => "up",
        (true, false) => "up, no carrier",
        (false, _) => "down",
    };
    let mut text = format!("{} {state}", escape(&row.name));
    for a in &row.addresses {
        text.push_str(&format!(" {}/{}", a.address, a.prefix_len));
    }
    if let Some(kernel) = &row.kernel_interface {
        text.push_str(&format!(" (kernel peer {})", escape(kernel)));
    }
    text
}

fn percent(part: u64, whole: u64) -> u128 {
    (u128::from(part) * 100).checked_div(u128::from(whole)).unwrap_or(0)
}

/// Bytes in the largest unit that keeps the number exact enough to read.
pub(crate) fn bytes(count: u64) -> String {
    match count {
        0..=8191 => format!("{count} B"),
        8192..=8_388_607 => format!("{} KiB", count >> 10),
        _ => format!("{} MiB", count >> 20),
    }
}

pub(crate) fn duration(seconds: u64) -> String {
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86400);
    match seconds {
        0..=59 => format!("{seconds} s"),
        60..=3599 => format!("{minutes} min {} s", seconds % 60),
        3600..=86399 => format!("{hours} h {} min", minutes % 60),
        _ => format!("{days} d {} h", hours % 24),
    }
}

/// Runs `iopkt ifmcstat`.
pub(crate) fn groups(sock: Option<String>, json: bool) -> Result<(), Failure> {
    show(&*Control::open(sock)?.groups()?, json, render_groups)
}

/// Groups; `iopkt netstat -g` prints the same.
pub(crate) fn render_groups(rows: &[GroupRow]) -> String {
    let sources = |row: &GroupRow| {
        let all: Vec<_> = row.sources.iter().map(ToString::to_string).collect();
        if all.is_empty() { "-".into() } else { all.join(" ") }
    };
    let columns = [
        left("Interface", |row: &GroupRow| escape(&row.interface)),
        left("Group", |row| row.group.to_string()),
        left("Mode", |row| escape(&row.mode)),
        right("Sockets", |row| row.sockets.to_string()),
        left("Sources", sources),
    ];
    table(&columns, rows)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::ifconfig::tests::tap0;

    pub(crate) fn worker() -> WorkerRow {
        WorkerRow { worker: 0, cpu: Some(1), breaths: 200, busy_breaths: 50, busy_ns: 0, sleeps: 3 }
    }

    pub(crate) fn client() -> ClientRow {
        ClientRow {
            slot: 3,
            pid: 42,
            uid: 1000,
            program: "ng\tinx".into(),
            sockets: 2,
            rx_memory_bytes: 32768,
            packets_lent: None,
            packets: 9000,
            packets_per_s: 800,
            requests: 50,
            requests_per_s: 4,
            quota_hits: 1,
            violations: 0,
        }
    }

    pub(crate) fn daemon() -> DaemonRow {
        DaemonRow {
            version: "0.1.0".into(),
            dpdk: "22.11.11".into(),
            pid: 7,
            prefix: String::new(),
            hugepages: false,
            uptime_ms: 3_723_000,
            metrics: Some("127.0.0.1:9478".parse().expect("address")),
            mbufs_used: 300,
            mbufs_total: 8192,
            address: None,
        }
    }

    #[test]
    fn clients_as_a_table() {
        let expected = "\
Slot  PID   UID  Sockets  Rx memory  Lent  Packets/s  Requests/s  Quota hits  Violations  Program
   3   42  1000        2     32 KiB     -        800           4           1           0  ng\\tinx
";
        assert_eq!(render_clients(&[client()]), expected);
    }

    #[test]
    fn workers_as_a_table() {
        let expected = "\
Worker  CPU  Breaths  Busy  Sleeps
     0    1      200   25%       3
     1    -        0    0%       0
";
        let idle =
            WorkerRow { worker: 1, cpu: None, breaths: 0, busy_breaths: 0, busy_ns: 0, sleeps: 0 };
        assert_eq!(render_workers(&[worker(), idle]), expected);
    }

    #[test]
    fn status_in_ten_lines() {
        let status = Status {
            daemon: daemon(),
            interfaces: vec![tap0()],
            workers: vec![worker()],
            clients: vec![client()],
        };
        let expected = "\
io-pkt 0.1.0 on DPDK 22.11.11, pid 7, up 1 h 2 min
  socket     /run/io-pkt/dev/socket
  memory     300 of 8192 mbufs in use, in 4 KiB pages
  metrics    http://127.0.0.1:9478/metrics
  workers    0 on CPU 1 25% busy
  clients    1 with 2 sockets
  interface  tap0 up 198.18.77.2/24 10.0.0.1/32 fe80::2/64 (kernel peer iop0)
";
        assert_eq!(render_status(&status, Path::new("/run/io-pkt/dev/socket")), expected);
    }

    #[test]
    fn durations_and_sizes_at_their_edges() {
        let all: Vec<_> = [0, 59, 60, 3599, 3600, 86400].map(duration).into();
        assert_eq!(all, ["0 s", "59 s", "1 min 0 s", "59 min 59 s", "1 h 0 min", "1 d 0 h"]);
        assert_eq!([8191, 8192, 8_388_608].map(bytes), ["8191 B", "8 KiB", "8 MiB"]);
    }
}
