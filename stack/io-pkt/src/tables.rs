//! What tools and the metrics endpoint are shown, and what tools may change.

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::mpsc::SyncSender;
use std::time::Instant as StdInstant;

use dpdk::Mempool;
use exporter::{
    BuildInfo, CounterSample, InterfaceSample, NeighborSample, PoolSample, Sample, WorkerSample,
};
use inet::command::{CallId, Command, NeighborSummary, Outcome, SocketSummary, Transport};
use proto::table::{ClientRow, CounterRow, DaemonRow, SocketRow, WorkerRow};
use proto::{Reply, Request, Skip, page};
use rustix::io::Errno;
use types::DropReason;

use crate::control::{ConnectionId, Control};
use crate::pending::{Asked, Pending, Then};
use crate::tuning;

/// The metrics thread asks for a sample and waits for it here.
pub(crate) struct ScrapeRequest(pub SyncSender<Sample>);

const fn list_sockets(call: CallId) -> Command {
    Command::ListSockets { call }
}

const fn list_neighbors(call: CallId) -> Command {
    Command::ListNeighbors { call }
}

/// What to do when all workers have answered.
pub(crate) enum Wanted {
    /// A page of sockets.
    Sockets { connection: ConnectionId, sequence: u32, skip: Skip },
    /// A page of neighbours.
    Neighbors { connection: ConnectionId, sequence: u32, skip: Skip },
    /// That there is no such neighbour any more. `is_set`: there was one of the operator's.
    NoNeighbor { asked: Asked, is_set: bool },
    /// A sample for the metrics endpoint.
    Sample(ScrapeRequest),
}

impl Wanted {
    /// Who waits for it.
    fn asker(&self) -> Option<ConnectionId> {
        match self {
            Self::Sockets { connection, .. }
            | Self::Neighbors { connection, .. }
            | Self::NoNeighbor { asked: Asked { connection, .. }, .. } => Some(*connection),
            Self::Sample(_) => None,
        }
    }
}

/// Answers of several workers to the same question.
pub(crate) struct Gathering {
    left: usize,
    sockets: Vec<(u16, SocketSummary)>,
    neighbors: Vec<NeighborSummary>,
    /// Somebody has known a neighbour.
    is_known: bool,
    wanted: Option<Wanted>,
}

impl Control {
    /// Requests that are not about one socket.
    pub(crate) fn table_request(
        &mut self,
        id: ConnectionId,
        sequence: u32,
        request: Request,
    ) -> Result<Option<Reply>, Errno> {
        let reply = match request {
            Request::Way { to } => Reply::Way(self.network.way(to)),
            Request::Interfaces(skip) => {
                self.network.look_at_carriers();
                Reply::Interfaces(page(self.network.interface_rows(), skip))
            }
            Request::Routes { table, after } => {
                self.network.is_table(table)?;
                Reply::Routes(self.network.route_rows(table, after))
            }
            Request::Route { table, to } => {
                self.network.is_table(table)?;
                Reply::Routes(self.network.route_to(table, to))
            }
            Request::Clients(skip) => Reply::Clients(page(self.client_rows(), skip)),
            Request::Workers => Reply::Workers(self.worker_rows()),
            Request::Counters => Reply::Counters(self.counter_rows()),
            Request::Modules => Reply::Modules(self.module_rows()),
            Request::Tunables => {
                let rows = self.network.tuning.rows().into_iter();
                Reply::Tunables(rows.chain(self.protocols.tunable_rows()).collect())
            }
            Request::Nic { interface } => Reply::Nic(Box::new(self.nic_row(&interface)?)),
            Request::Bridges => {
                self.network.look_at_carriers();
                Reply::Bridges(self.network.bridge_rows())
            }
            Request::Stations(page) => {
                return self.ask_stations(Asked { connection: id, sequence }, &page);
            }
            Request::Listening(page) => {
                return self.ask_listening(Asked { connection: id, sequence }, &page);
            }
            Request::Groups(skip) => Reply::Groups(page(self.group_rows(), skip)),
            Request::Daemon => Reply::Daemon(self.daemon_row()),
            Request::Sockets(skip) => {
                self.gather(Wanted::Sockets { connection: id, sequence, skip }, &[&list_sockets]);
                return Ok(None);
            }
            Request::Neighbors(skip) => {
                let wanted = Wanted::Neighbors { connection: id, sequence, skip };
                self.gather(wanted, &[&list_neighbors]);
                return Ok(None);
            }
            change => {
                let connection = self.connections.get(&id).ok_or(Errno::BADF)?;
                if !connection.is_privileged(&self.facts.trusted) {
                    return Err(Errno::PERM);
                }
                let asked = Asked { connection: id, sequence };
                return match change {
                    Request::ShowPackets { interface } => {
                        self.show_packets(id, &interface).map(Some)
                    }
                    change => self.change(change, asked),
                };
            }
        };
        Ok(Some(reply))
    }

    /// `None`: the answer comes later.
    fn change(&mut self, request: Request, asked: Asked) -> Result<Option<Reply>, Errno> {
        match request {
            Request::Mount { driver, options } => {
                return self.mount(asked, driver, &options).map(|()| None);
            }
            Request::Destroy { interface } => {
                return self.destroy_by_name(&interface, asked).map(|()| None);
            }
            Request::DriverCommand { interface, command, data } => {
                return self.driver_command(&interface, command, data).map(Some);
            }
            Request::SetTunable { name, value } => {
                let set = self.protocols.set_tunable(&name, &value).unwrap_or_else(|| {
                    self.network.tuning.set(&name, &value).map_err(|error| error.to_string())
                });
                if let Err(why) = set {
                    return Ok(Some(Reply::Refused { why }));
                }
                // Some tunables, like a key, do not tell what they were set to.
                let told = tuning::find(&name).map(|tunable| tunable.value(&self.network.tuning));
                tracing::info!("{name} = {}", told.unwrap_or(value));
                Ok(())
            }
            Request::AddAddress { interface, address, prefix_len } => {
                self.add_address(&interface, address, prefix_len)
            }
            Request::SetAddress { interface, address, prefix_len } => {
                let index = self.network.set_address(&interface, address, prefix_len)?;
                self.announce(index, address.into());
                Ok(())
            }
            Request::DeleteAddress { interface, address } => {
                self.network.delete_address(&interface, address)
            }
            Request::SetUp { interface, up } => self.set_up(&interface, up),
            Request::SetMtu { interface, mtu } => self.network.set_mtu(&interface, mtu),
            Request::SetAutomatic { interface, what, on } => {
                self.set_automatic(&interface, what, on)
            }
            Request::SetMac { interface, mac } => self.set_mac(&interface, mac),
            Request::Rename { interface, name } => self.rename(&interface, &name),
            Request::SetReceive { interface, mode, on } => self.set_receive(&interface, mode, on),
            Request::Bridge { bridge, verb } => self.change_bridge(&bridge, &verb),
            Request::Lagg { lagg, verb } => self.change_lagg(&lagg, &verb),
            Request::Create { interface } => self.network.create(&interface, self.worker_count()),
            Request::SetVlan { interface, vlan } => {
                self.network.set_vlan(&interface, vlan.as_ref())
            }
            Request::SetTable { interface, table } => self.network.set_table(&interface, table),
            Request::AddRoute { table, route } => self.network.add_new_route(table, &route),
            Request::DeleteRoute { table, destination, prefix_len, gateway } => {
                self.network.delete_route(table, destination, prefix_len, gateway)
            }
            Request::LoadRoutes(step) => {
                let is_there = |by| self.connections.contains_key(&ConnectionId(by));
                let (by, now) = (asked.connection.0, self.now());
                return self.network.load(by, &step, is_there, now).map(|l| Some(Reply::Loaded(l)));
            }
            Request::AddNeighbor { address, mac } => self.network.add_neighbor(address, mac),
            Request::PublishNeighbor { address, mac } => {
                self.network.publish_neighbor(address, mac)
            }
            Request::DeleteNeighbor { address } => {
                self.delete_neighbor(asked, address);
                return Ok(None);
            }
            _ => Err(Errno::OPNOTSUPP),
        }?;
        self.publish();
        Ok(Some(Reply::Done))
    }

    /// Adds an address and tells the link about it.
    pub(crate) fn add_address(
        &mut self,
        name: &str,
        address: IpAddr,
        prefix_len: u8,
    ) -> Result<(), Errno> {
        let interface = self.network.add_address(name, address, prefix_len)?;
        self.announce(interface, address);
        Ok(())
    }

    /// Tells the workers, and the neighbours, of an address that has come.
    fn announce(&mut self, interface: u16, address: IpAddr) {
        self.publish();
        // One of IPv6 is announced when it is known that nobody else has it.
        if interface != inet::network::LOOPBACK && address.is_ipv4() {
            self.command(0, Command::Announce { interface, address });
        }
    }

    /// Asks all workers.
    pub(crate) fn gather(&mut self, wanted: Wanted, questions: &[&dyn Fn(CallId) -> Command]) {
        self.count_call(wanted.asker(), true);
        let workers = self.worker_count();
        let gathering = Rc::new(RefCell::new(Gathering {
            left: usize::from(workers) * questions.len(),
            sockets: Vec::new(),
            neighbors: Vec::new(),
            is_known: false,
            wanted: Some(wanted),
        }));
        for worker in 0..workers {
            let pending = || Pending {
                connection: None,
                sequence: u32::from(worker),
                then: Then::Gather(Rc::clone(&gathering)),
            };
            for question in questions {
                self.call(worker, pending(), question);
            }
        }
    }

    /// One worker's answer.
    pub(crate) fn gathered(
        &mut self,
        gathering: &Rc<RefCell<Gathering>>,
        worker: u16,
        result: Result<Outcome, Errno>,
    ) {
        let mut all = gathering.borrow_mut();
        match result {
            Ok(Outcome::Sockets(rows)) => all.sockets.extend(rows.into_iter().map(|r| (worker, r))),
            Ok(Outcome::Neighbors(rows)) => all.neighbors.extend(rows),
            Ok(Outcome::Forgotten(known)) => all.is_known |= known,
            _ => {}
        }
        all.left = all.left.saturating_sub(1);
        if all.left > 0 {
            return;
        }
        let (sockets, neighbors) =
            (core::mem::take(&mut all.sockets), core::mem::take(&mut all.neighbors));
        match all.wanted.take() {
            Some(Wanted::Sockets { connection, sequence, skip }) => {
                self.count_call(Some(connection), false);
                let mut rows = self.listener_rows();
                rows.extend(sockets.into_iter().map(|(w, row)| self.socket_row(w, &row)));
                rows.sort_by(|a, b| {
                    (&a.protocol, a.local, a.remote).cmp(&(&b.protocol, b.local, b.remote))
                });
                self.answer(connection, sequence, Ok(Reply::Sockets(page(rows, skip))));
            }
            Some(Wanted::Neighbors { connection, sequence, skip }) => {
                self.count_call(Some(connection), false);
                let rows = self.neighbor_rows(neighbors);
                self.answer(connection, sequence, Ok(Reply::Neighbors(page(rows, skip))));
            }
            Some(Wanted::NoNeighbor { asked: Asked { connection, sequence }, is_set }) => {
                self.count_call(Some(connection), false);
                let was_there = is_set || all.is_known;
                let result = if was_there { Ok(Reply::Done) } else { Err(Errno::SRCH) };
                self.answer(connection, sequence, result);
            }
            Some(Wanted::Sample(ScrapeRequest(to))) => {
                let sample = self.sample(&sockets, &neighbors);
                // The scraper may have given up; then nobody misses the sample.
                let _ = to.try_send(sample);
            }
            None => {}
        }
    }

    fn program_of(&self, slot: Option<u16>) -> (u32, String) {
        let client = slot.and_then(|slot| self.clients.get(&slot));
        client.map_or((0, String::new()), |client| (client.pid, client.program.clone()))
    }

    fn socket_row(&self, worker: u16, row: &SocketSummary) -> SocketRow {
        let (pid, program) = self.program_of(row.client);
        SocketRow {
            protocol: protocol(row.transport).into(),
            local: row.local,
            remote: row.remote,
            state: row.state.into(),
            recv_queue: row.recv_queue,
            send_queue: row.send_queue,
            pid,
            program,
            worker,
        }
    }

    fn listener_rows(&self) -> Vec<SocketRow> {
        let listeners = self.sockets.values().filter_map(|entry| {
            let queue = entry.listening.as_ref()?;
            let (pid, program) = self.program_of(Some(entry.client));
            Some(SocketRow {
                protocol: "tcp".into(),
                local: entry.local()?,
                remote: None,
                state: "LISTEN".into(),
                recv_queue: u32::try_from(queue.waiting.len()).unwrap_or(u32::MAX),
                send_queue: 0,
                pid,
                program,
                worker: entry.handle.worker,
            })
        });
        listeners.collect()
    }

    fn client_rows(&self) -> Vec<ClientRow> {
        let rows = self.clients.values().map(|client| {
            let [packets_per_s, requests_per_s] = client.per_second();
            let own: u64 = client.slot.share_ended().into_iter().sum();
            ClientRow {
                slot: u32::from(client.slot.index()),
                pid: client.pid,
                uid: client.uid,
                program: client.program.clone(),
                sockets: u32::try_from(client.cells.len()).unwrap_or(u32::MAX),
                rx_memory_bytes: client.slot.rx_memory_in_use(),
                packets_lent: client.account.share.lends().then(|| client.slot.lent()),
                packets: client.slot.packets(),
                packets_per_s,
                requests: client.requests,
                requests_per_s,
                quota_hits: own + client.account.all_hits(),
                violations: client.account.violations.get(),
            }
        });
        let mut rows: Vec<ClientRow> = rows.collect();
        rows.sort_by_key(|row| row.slot);
        rows
    }

    fn quota_hits(&self) -> Vec<(Cow<'static, str>, u64)> {
        let slots = self.clients.values().map(|client| &client.slot);
        let leaving = self.leaving.values().map(|leaving| &leaving.slot);
        let hits = self.accounts.hits(slots.chain(leaving).map(|slot| slot.share_ended()));
        hits.into_iter().map(|(quota, count)| (quota.into(), count)).collect()
    }

    fn worker_rows(&self) -> Vec<WorkerRow> {
        let rows = self.workers.iter().zip(0..).map(|(link, worker)| WorkerRow {
            worker,
            cpu: link.cpu,
            breaths: link.counters.worker.breaths.value(),
            busy_breaths: link.counters.worker.busy_breaths.value(),
            busy_ns: link.counters.worker.busy_nanos.value(),
            sleeps: link.counters.worker.sleeps.value(),
        });
        rows.collect()
    }

    /// Counters summed over the workers: subsystem, name, text, value.
    fn totals(&self) -> Vec<(&'static str, &'static str, &'static str, u64)> {
        let mut totals: Vec<(&str, &str, &str, u64)> = Vec::new();
        for link in &self.workers {
            for (i, row) in link.counters.rows().enumerate() {
                match totals.get_mut(i) {
                    Some(total) => total.3 += row.value,
                    None => totals.push((row.subsystem, row.name, row.text, row.value)),
                }
            }
        }
        let shown = self.applications.totals().into_iter();
        totals.extend(shown.map(|(name, text, value)| ("packet_rings", name, text, value)));
        totals
    }

    fn drops(&self, reason: DropReason) -> u64 {
        self.workers.iter().map(|link| link.counters.drops.value(reason as usize)).sum()
    }

    fn counter_rows(&self) -> Vec<CounterRow> {
        let row = |subsystem: &str, name: &str, text: &str, value| CounterRow {
            subsystem: subsystem.into(),
            name: name.into(),
            value,
            text: text.into(),
        };
        let totals = self.totals().into_iter();
        let counted = totals.filter(|t| t.3 > 0).map(|(s, n, t, v)| row(s, n, t, v));
        let dropped = DropReason::ALL.iter().filter_map(|reason| {
            let value = self.drops(*reason);
            let name = format!("dropped_{}", reason.label());
            (value > 0).then(|| row(reason.layer(), &name, reason.text(), value))
        });
        let links = self.network.link_counts();
        let links = [
            ("duplicate_addresses", "Addresses that another station had.", links.duplicates),
            ("router_advertisements", "Router advertisements believed.", links.advertisements),
            ("refused", "Routers, prefixes and addresses beyond the limits.", links.refused),
        ];
        let links = links.into_iter().filter(|(_, _, value)| *value > 0);
        let links = links.map(|(name, text, value)| row("autoconf", name, text, value));
        counted.chain(dropped).chain(links).collect()
    }

    fn daemon_row(&self) -> DaemonRow {
        let uptime = self.facts.started.elapsed().as_millis();
        DaemonRow {
            version: env!("CARGO_PKG_VERSION").into(),
            dpdk: self.facts.dpdk.clone(),
            pid: std::process::id(),
            prefix: self.facts.prefix.clone(),
            hugepages: self.facts.hugepages,
            uptime_ms: u64::try_from(uptime).unwrap_or(u64::MAX),
            metrics: self.facts.metrics,
            mbufs_used: self.facts.pools().map(Mempool::in_use).sum(),
            mbufs_total: self.facts.pools().map(|_| self.facts.pool_size).sum(),
            address: self.network.first_address().map(Into::into),
        }
    }

    /// Starts to put a sample together.
    pub(crate) fn scrape(&mut self, request: ScrapeRequest) {
        self.gather(Wanted::Sample(request), &[&list_sockets, &list_neighbors]);
    }

    fn sample(
        &mut self,
        sockets: &[(u16, SocketSummary)],
        neighbors: &[NeighborSummary],
    ) -> Sample {
        let mut states: BTreeMap<&str, u64> = BTreeMap::new();
        let mut protocols: BTreeMap<&str, u64> =
            ["tcp", "udp", "module", "icmp", "raw"].map(|name| (name, 0)).into();
        for (_, row) in sockets {
            *protocols.entry(protocol(row.transport)).or_default() += 1;
            if row.transport == Transport::Stream {
                *states.entry(row.state).or_default() += 1;
            }
        }
        let listeners = self.sockets.values().filter(|s| s.listening.is_some()).count();
        let _ = states.insert("LISTEN", listeners as u64);
        let lower = |(s, n): (&'static str, u64)| (Cow::from(s.to_lowercase()), n);
        Sample {
            build: BuildInfo {
                version: env!("CARGO_PKG_VERSION").into(),
                dpdk: self.facts.dpdk.clone().into(),
            },
            workers: self.worker_samples(),
            interfaces: self.interface_samples(),
            modules: self.module_samples(),
            drops: DropReason::ALL.iter().map(|reason| self.drops(*reason)).collect(),
            mbufs: self.facts.pools().map(pool_sample).collect(),
            tcp_connections: states.into_iter().map(lower).collect(),
            sockets: protocols.into_iter().map(lower).collect(),
            neighbors: neighbor_samples(neighbors),
            clients: self.clients.len() as u64,
            clients_reaped: vec![("left".into(), self.counts.left)],
            client_violations: self.counts.violations,
            quota_hits: self.quota_hits(),
            counters: self.counter_samples(),
            ..Sample::default()
        }
    }

    /// The busy ratio is that of the time since the last sample.
    fn worker_samples(&mut self) -> Vec<WorkerSample> {
        let rows = self.worker_rows();
        let before = core::mem::take(&mut self.sampled);
        let now = StdInstant::now();
        self.sampled = rows.iter().map(|row| (now, row.busy_ns)).collect();
        let since = before.into_iter().chain(core::iter::repeat((self.facts.started, 0)));
        let sample = |(row, (then, busy)): (WorkerRow, (StdInstant, u64))| WorkerSample {
            worker: row.worker,
            busy_ratio: (row.busy_ns - busy) as f64 / (now - then).as_nanos().max(1) as f64,
            breaths: row.breaths,
            busy_breaths: row.busy_breaths,
            sleeps: row.sleeps,
        };
        rows.into_iter().zip(since).map(sample).collect()
    }

    fn interface_samples(&mut self) -> Vec<InterfaceSample> {
        self.network.look_at_carriers();
        let rows = self.network.interface_rows().into_iter().map(|row| InterfaceSample {
            interface: row.name,
            rx_packets: row.rx_packets,
            rx_bytes: row.rx_bytes,
            rx_errors: row.rx_errors,
            tx_packets: row.tx_packets,
            tx_bytes: row.tx_bytes,
            tx_errors: row.tx_errors,
            up: row.up && row.running,
        });
        rows.collect()
    }

    fn counter_samples(&self) -> Vec<CounterSample> {
        let rows = self.totals().into_iter().map(|(subsystem, name, help, value)| CounterSample {
            subsystem: subsystem.into(),
            name: name.into(),
            help: help.into(),
            value,
        });
        rows.collect()
    }
}

/// How many of a pool's buffers are in use.
fn pool_sample(pool: &Mempool) -> PoolSample {
    let (used, free) = (pool.in_use().into(), pool.available().into());
    PoolSample { pool: pool.name().into(), used, free }
}

/// How many neighbours of a family are in a state.
fn neighbor_samples(neighbors: &[NeighborSummary]) -> Vec<NeighborSample> {
    let mut counts: BTreeMap<(&str, &str), u64> = BTreeMap::new();
    for row in neighbors {
        let family = if row.address.is_ipv6() { "inet6" } else { "inet" };
        *counts.entry((family, row.state)).or_default() += 1;
    }
    let sample = |((family, state), count): ((&'static str, &'static str), u64)| NeighborSample {
        family: family.into(),
        state: state.into(),
        count,
    };
    counts.into_iter().map(sample).collect()
}

fn protocol(transport: Transport) -> &'static str {
    match transport {
        Transport::Stream => "tcp",
        Transport::Datagram => "udp",
        Transport::Module | Transport::ModuleStream => "module",
        Transport::Ping => "icmp",
        Transport::Raw => "raw",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbors_are_counted_by_family_and_state() {
        let row = |address: &str, state| NeighborSummary {
            address: address.parse().unwrap(),
            mac: None,
            interface: 1,
            state,
            expires_s: None,
        };
        let rows = [
            row("198.18.77.1", "stale"),
            row("fe80::1", "stale"),
            row("198.18.77.9", "stale"),
            row("2001:db8::1", "reachable"),
        ];
        let samples = neighbor_samples(&rows);
        let seen: Vec<_> = samples.iter().map(|s| (&*s.family, &*s.state, s.count)).collect();
        let expected = [("inet", "stale", 2), ("inet6", "reachable", 1), ("inet6", "stale", 1)];
        assert_eq!(seen, expected);
    }
}
