//! `iopkt netstat`: sockets, routes, interfaces, counters, packet buffers.

use std::net::SocketAddr;

use proto::table::{AddressRow, CounterRow, DaemonRow, InterfaceRow, RouteRow, SocketRow};
use serde::Serialize;
use types::nearest;

use crate::address;
use crate::cli::NetstatArgs;
use crate::control::Control;
use crate::fail::Failure;
use crate::lists;
use crate::output::{escape, left, print, right, show, table};

/// Runs the tool.
pub(crate) fn main(sock: Option<String>, args: &NetstatArgs) -> Result<(), Failure> {
    let mut control = Control::open(sock)?;
    if args.routes {
        return show(&*control.routes(args.table)?, args.json, render_routes);
    }
    if args.interfaces {
        return show(&*control.interfaces()?, args.json, render_interfaces);
    }
    if args.groups {
        return show(&*control.groups()?, args.json, lists::render_groups);
    }
    if args.mbufs {
        return show(&Mbufs::of(&control.daemon()?), args.json, render_mbufs);
    }
    if args.statistics {
        let rows = of_subsystem(control.counters()?, args.protocol.as_deref())?;
        return show(&*rows, args.json, render_counters);
    }
    let rows = chosen(control.sockets()?, args)?;
    if args.json {
        return show(&*rows, true, |_| String::new());
    }
    let which = if args.all { "including servers" } else { "without servers; -a shows them" };
    print(&format!("Active Internet connections ({which})\n{}", render_sockets(&rows)))
}

/// Connections, and with `-a` what waits for them.
fn chosen(mut rows: Vec<SocketRow>, args: &NetstatArgs) -> Result<Vec<SocketRow>, Failure> {
    if let Some(protocol) = &args.protocol {
        if !["tcp", "udp", "module"].contains(&protocol.as_str()) {
            let near = nearest(protocol, ["tcp", "udp", "module"]).unwrap_or("tcp");
            return Err(Failure::usage(format!(
                "-p {protocol}: sockets are tcp, udp or module; try: iopkt netstat -p {near}"
            )));
        }
        rows.retain(|row| row.protocol == *protocol);
    }
    if !args.all {
        rows.retain(|row| row.remote.is_some());
    }
    Ok(rows)
}

fn render_sockets(rows: &[SocketRow]) -> String {
    let columns = [
        left("Proto", |row: &SocketRow| escape(&row.protocol)),
        right("Recv-Q", |row| row.recv_queue.to_string()),
        right("Send-Q", |row| row.send_queue.to_string()),
        left("Local Address", |row| endpoint(row.local)),
        left("Foreign Address", |row| row.remote.map_or_else(|| "*.*".into(), endpoint)),
        left("State", |row| escape(&row.state)),
        right("Worker", |row| row.worker.to_string()),
        left("PID/Program", owner),
    ];
    table(&columns, rows)
}

fn owner(row: &SocketRow) -> String {
    if row.pid == 0 { "-".into() } else { format!("{}/{}", row.pid, escape(&row.program)) }
}

/// BSD's way: a dot before the port, a star for "any".
fn endpoint(address: SocketAddr) -> String {
    let host = if address.ip().is_unspecified() { "*".into() } else { address.ip().to_string() };
    let port = if address.port() == 0 { "*".into() } else { address.port().to_string() };
    format!("{host}.{port}")
}

/// The routing table; `iopkt route show` prints the same.
pub(crate) fn render_routes(rows: &[RouteRow]) -> String {
    let columns = [
        left("Destination", |row: &RouteRow| address::destination(row.destination, row.prefix_len)),
        left("Gateway", |row| {
            row.gateway.map_or_else(|| "link".into(), |gateway| gateway.to_string())
        }),
        left("Flags", |row| escape(&row.flags)),
        left("Interface", |row| escape(&row.interface)),
        right("Mtu", |row| row.mtu.map_or_else(String::new, |mtu| mtu.to_string())),
    ];
    // Few routes have an MTU of their own.
    let shown = columns.len() - usize::from(rows.iter().all(|row| row.mtu.is_none()));
    let columns = columns.get(..shown).unwrap_or_default();
    let part = |title: &str, six: bool| {
        let mut rows = rows.iter().filter(|row| row.destination.is_ipv6() == six).peekable();
        let is_empty = six && rows.peek().is_none();
        if is_empty { String::new() } else { format!("\n{title}:\n{}", table(columns, rows)) }
    };
    format!("Routing tables\n{}{}", part("Internet", false), part("Internet6", true))
}

/// An interface's line, or one of an address of it.
struct InterfaceLine<'a> {
    interface: &'a InterfaceRow,
    address: Option<&'a AddressRow>,
}

impl InterfaceLine<'_> {
    /// BSD marks an interface that is down with a star.
    fn name(&self) -> String {
        format!("{}{}", escape(&self.interface.name), if self.interface.up { "" } else { "*" })
    }

    fn network(&self) -> String {
        self.address.map_or_else(
            || "<Link>".into(),
            |a| format!("{}/{}", address::network(a.address, a.prefix_len), a.prefix_len),
        )
    }

    fn address(&self) -> String {
        self.address.map_or_else(|| self.interface.mac.to_string(), |a| a.address.to_string())
    }

    /// Packets are counted by interface.
    fn count(&self, count: impl FnOnce(&InterfaceRow) -> u64) -> String {
        self.address.map_or_else(|| count(self.interface).to_string(), |_| "-".into())
    }
}

fn render_interfaces(rows: &[InterfaceRow]) -> String {
    let columns = [
        left("Name", InterfaceLine::name),
        right("Mtu", |line: &InterfaceLine<'_>| line.interface.mtu.to_string()),
        left("Network", InterfaceLine::network),
        left("Address", InterfaceLine::address),
        right("Ipkts", |line| line.count(|row| row.rx_packets)),
        right("Ierrs", |line| line.count(|row| row.rx_errors)),
        right("Ibytes", |line| line.count(|row| row.rx_bytes)),
        right("Opkts", |line| line.count(|row| row.tx_packets)),
        right("Oerrs", |line| line.count(|row| row.tx_errors)),
        right("Obytes", |line| line.count(|row| row.tx_bytes)),
    ];
    let mut lines = Vec::new();
    for interface in rows {
        lines.push(InterfaceLine { interface, address: None });
        let addresses = interface.addresses.iter();
        lines.extend(addresses.map(|a| InterfaceLine { interface, address: Some(a) }));
    }
    table(&columns, &lines)
}

/// Packet buffers, `-m`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
struct Mbufs {
    used: u32,
    total: u32,
    hugepages: bool,
}

impl Mbufs {
    const fn of(daemon: &DaemonRow) -> Self {
        Self { used: daemon.mbufs_used, total: daemon.mbufs_total, hugepages: daemon.hugepages }
    }
}

fn render_mbufs(mbufs: &Mbufs) -> String {
    let percent = (u64::from(mbufs.used) * 100).checked_div(u64::from(mbufs.total)).unwrap_or(0);
    let pages = if mbufs.hugepages { "hugepages" } else { "4 KiB pages" };
    let free = mbufs.total.saturating_sub(mbufs.used);
    format!("{}/{} mbufs in use ({percent}%), {free} free, in {pages}\n", mbufs.used, mbufs.total)
}

fn of_subsystem(
    mut rows: Vec<CounterRow>,
    subsystem: Option<&str>,
) -> Result<Vec<CounterRow>, Failure> {
    rows.sort_by(|a, b| a.subsystem.cmp(&b.subsystem));
    let Some(subsystem) = subsystem else { return Ok(rows) };
    if rows.iter().all(|row| row.subsystem != subsystem) {
        // Counters that are zero are not told.
        let mut names: Vec<_> = rows.iter().map(|row| escape(&row.subsystem)).collect();
        names.dedup();
        return Err(Failure::failed(format!(
            "-p {subsystem}: nothing was counted under that name; there is: {}",
            names.join(" ")
        )));
    }
    rows.retain(|row| row.subsystem == subsystem);
    Ok(rows)
}

/// BSD's paragraphs: the subsystem, then a sentence for each counter.
fn render_counters(rows: &[CounterRow]) -> String {
    let mut text = String::new();
    let mut subsystem = None;
    for row in rows {
        if subsystem != Some(&row.subsystem) {
            text.push_str(&format!("{}:\n", escape(&row.subsystem)));
            subsystem = Some(&row.subsystem);
        }
        text.push_str(&format!("\t{} {}\n", row.value, sentence(row)));
    }
    text
}

/// "Segments received." after a number is "12 segments received"; "TCP checksum is wrong." keeps
/// its capitals.
fn sentence(row: &CounterRow) -> String {
    if row.text.is_empty() {
        return escape(&row.name).replace('_', " ");
    }
    let text = escape(row.text.trim_end_matches('.'));
    let mut letters = text.chars();
    match (letters.next(), letters.next()) {
        (Some(first), Some(second)) if second.is_lowercase() || second == ' ' => {
            let rest = text.chars().skip(1);
            first.to_lowercase().chain(rest).collect()
        }
        _ => text,
    }
}

#[cfg(test)]
mod tests;
