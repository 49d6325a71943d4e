//! Several links that are used as one.

use std::sync::Arc;

use inet::links::{Joined, Links, Traffic};
use inet::network::LOOPBACK;
use lagg::limits::PORTS_MAX;
use lagg::{Aggregate, PortConfig, Protocol};
use proto::{LaggEndRow, LaggPortRow, LaggProtocol, LaggRow, LaggVerb};
use rustix::io::Errno;
use types::{Instant, MacAddr};
use wire::lacp::{Info, Lacpdu, state};

use super::vlan::Cloned;
use super::{Entry, NetworkState};

/// An aggregated link.
pub(super) struct Lagg {
    ports: Vec<LaggPort>,
    aggregate: Aggregate,
    /// As it was sent when that was looked at last: from which address, by which ports.
    sent: (MacAddr, Vec<u16>),
    pub(super) traffic: Arc<Traffic>,
}

/// A port of one.
struct LaggPort {
    interface: u16,
    number: u16,
    /// What the aggregate was told last.
    told: Option<PortConfig>,
    collects: bool,
    distributes: bool,
}

/// What has come of a look at all aggregated links.
#[derive(Default)]
pub(crate) struct LaggWork {
    /// Other ports are used: the workers are to know first.
    pub(crate) changed: bool,
    /// Those that are sent in another way than before: whoever switches their frames is to hear of it.
    pub(crate) moved: Vec<u16>,
    /// Messages, and the ports to send them by.
    pub(crate) messages: Vec<(u16, MacAddr, Lacpdu)>,
}

impl Lagg {
    pub(super) fn new(workers: u16) -> Self {
        Self {
            ports: Vec::new(),
            aggregate: Aggregate::new(Protocol::default(), MacAddr::ZERO),
            sent: (MacAddr::ZERO, Vec::new()),
            traffic: Arc::new(Traffic::new(workers)),
        }
    }

    fn has(&self, interface: u16) -> bool {
        self.port_names().any(|port| port == interface)
    }

    /// Its ports' interfaces.
    pub(super) fn port_names(&self) -> impl Iterator<Item = u16> + '_ {
        self.ports.iter().map(|port| port.interface)
    }

    pub(super) fn has_ports(&self) -> bool {
        !self.ports.is_empty()
    }

    /// Ports that are sent by.
    fn used(&self) -> impl Iterator<Item = &LaggPort> + '_ {
        self.ports.iter().filter(|port| port.distributes)
    }

    /// It is sent in another way than at the last call.
    fn has_moved(&mut self, mac: MacAddr) -> bool {
        let now = (mac, self.used().map(|port| port.interface).collect());
        let before = core::mem::replace(&mut self.sent, now);
        before != self.sent
    }

    /// From the beginning, by this protocol and under this address.
    fn restart(&mut self, protocol: Protocol, mac: MacAddr) {
        self.aggregate = Aggregate::new(protocol, mac);
        self.ports.iter_mut().for_each(|port| port.told = None);
    }

    /// Tells the aggregate what has changed, and lets it do what is due.
    fn attend(&mut self, mac: MacAddr, wanted: &[PortConfig], now: Instant) -> bool {
        if self.aggregate.mac() != mac {
            self.restart(self.aggregate.protocol(), mac);
        }
        for gone in self.aggregate.port_names() {
            if !self.has(gone) {
                self.aggregate.remove_port(gone, now);
            }
        }
        for (port, config) in self.ports.iter_mut().zip(wanted) {
            if port.told.replace(*config) != Some(*config) {
                self.aggregate.set_port(port.interface, *config, now);
            }
        }
        self.aggregate.timeout(now);
        let mut changed = false;
        for port in &mut self.ports {
            let does = (
                self.aggregate.collects(port.interface),
                self.aggregate.distributes(port.interface),
            );
            changed |= does != (port.collects, port.distributes);
            (port.collects, port.distributes) = does;
        }
        changed
    }
}

impl Entry {
    /// The aggregated link that it is.
    pub(super) fn lagg(&self) -> Option<&Lagg> {
        match &self.cloned {
            Some(Cloned::Lagg(lagg)) => Some(lagg),
            _ => None,
        }
    }
}

impl NetworkState {
    fn lagg_mut(&mut self, name: &str) -> Result<(u16, &mut Lagg), Errno> {
        let entry = self.entry(name)?;
        match &mut entry.cloned {
            Some(Cloned::Lagg(lagg)) => Ok((entry.config.index, lagg)),
            _ => Err(Errno::OPNOTSUPP),
        }
    }

    /// Changes an aggregated link; returns its index.
    ///
    /// # Errors
    /// As for [`proto::Request::Lagg`].
    pub(crate) fn change_lagg(&mut self, name: &str, verb: &LaggVerb) -> Result<u16, Errno> {
        let (index, lagg) = self.lagg_mut(name)?;
        match verb {
            LaggVerb::Protocol(protocol) => {
                let protocol = match protocol {
                    LaggProtocol::Lacp => Protocol::Lacp,
                    LaggProtocol::LoadBalance => Protocol::LoadBalance,
                    LaggProtocol::Failover => Protocol::Failover,
                };
                if lagg.aggregate.protocol() != protocol {
                    let mac = lagg.aggregate.mac();
                    lagg.restart(protocol, mac);
                }
            }
            LaggVerb::Add(port) => self.add_lagg_port(name, port)?,
            LaggVerb::Delete(port) => {
                let port = self.index(port)?;
                let (_, lagg) = self.lagg_mut(name)?;
                if !lagg.has(port) {
                    return Err(Errno::NOENT);
                }
                self.leave_laggs(port);
            }
        }
        Ok(index)
    }

    fn add_lagg_port(&mut self, name: &str, port: &str) -> Result<(), Errno> {
        let (index, _) = self.lagg_mut(name)?;
        let interface = self.free_lagg_port(index, port)?;
        let (_, lagg) = self.lagg_mut(name)?;
        let is_first = lagg.ports.is_empty();
        let taken = |number: &u16| lagg.ports.iter().any(|port| port.number == *number);
        let number = (1..).find(|number| !taken(number)).ok_or(Errno::NOSPC)?;
        let (told, collects, distributes) = (None, false, false);
        lagg.ports.push(LaggPort { interface, number, told, collects, distributes });
        self.quieten(interface);
        if is_first {
            self.entry(name)?.config.mtu = self.entry(port)?.config.mtu;
        }
        self.fit_lagg(index);
        self.fit_receivers();
        if is_first { self.set_up(name, true) } else { Ok(()) }
    }

    /// An interface that may become a port: it has a port of its own, and nothing else is over it.
    fn free_lagg_port(&mut self, lagg: u16, port: &str) -> Result<u16, Errno> {
        let index = self.index(port)?;
        let there = self.interfaces.iter().find(|e| e.lagg().is_some_and(|l| l.has(index)));
        match there {
            Some(entry) if entry.config.index == lagg => return Err(Errno::EXIST),
            Some(_) => return Err(Errno::BUSY),
            None => {}
        }
        if self.is_member(index) || !self.children(index).is_empty() {
            return Err(Errno::BUSY);
        }
        let full = |e: &Entry| e.lagg().is_some_and(|lagg| lagg.ports.len() >= PORTS_MAX);
        if self.interfaces.get(usize::from(lagg)).is_some_and(full) {
            return Err(Errno::NOSPC);
        }
        let entry = self.entry(port)?;
        if index == LOOPBACK || entry.cloned.is_some() {
            return Err(Errno::INVAL);
        }
        let of_link = |address: std::net::Ipv6Addr| address.is_unicast_link_local();
        let has = entry.link.addresses().any(|own| !of_link(own.address));
        let makes_some = entry.dhcp.is_some() || entry.link_local.is_some();
        if has || !entry.config.addresses.is_empty() || makes_some {
            return Err(Errno::ADDRINUSE);
        }
        Ok(index)
    }

    /// An interface is a port of an aggregated link.
    pub(super) fn is_joined(&self, index: u16) -> bool {
        self.interfaces.iter().filter_map(Entry::lagg).any(|lagg| lagg.has(index))
    }

    /// A port has no network of its own, also none that makes itself.
    fn quieten(&mut self, index: u16) {
        if let Some(entry) = self.interfaces.get_mut(usize::from(index)) {
            entry.link.set_up(false);
            entry.adopt_link();
        }
    }

    /// A port is an interface of its own again.
    fn revive(&mut self, index: u16) {
        if let Some(entry) = self.interfaces.get_mut(usize::from(index)).filter(|e| !e.is_gone()) {
            entry.link.set_up(entry.config.up);
            entry.adopt_link();
            self.reconnect(index);
        }
    }

    /// An aggregated link has the address of its first port, and takes no longer packets than any.
    fn fit_lagg(&mut self, index: u16) {
        let Some(lagg) = self.interfaces.get(usize::from(index)).and_then(Entry::lagg) else {
            return;
        };
        let Some(first) = lagg.ports.first().map(|port| port.interface) else { return };
        let (mac, most) = (self.mac(first), self.lagg_mtu_max(lagg));
        if self.mac(index) != mac {
            self.adopt_mac(index, mac);
        }
        if let Some(entry) = self.interfaces.get_mut(usize::from(index)) {
            entry.config.mtu = entry.config.mtu.min(most);
        }
        self.fit_children(index);
    }

    /// What a port has changed, the aggregated link has too.
    pub(super) fn fit_laggs_of(&mut self, port: u16) {
        let has = |e: &&Entry| e.lagg().is_some_and(|lagg| lagg.has(port));
        let lagg = self.interfaces.iter().find(has).map(|e| e.config.index);
        lagg.into_iter().for_each(|lagg| self.fit_lagg(lagg));
    }

    /// The longest packet that all ports take.
    pub(super) fn lagg_mtu_max(&self, lagg: &Lagg) -> u16 {
        let mtu =
            |p: &LaggPort| self.interfaces.get(usize::from(p.interface)).map(|e| e.config.mtu);
        lagg.ports.iter().filter_map(mtu).min().unwrap_or(1500)
    }

    /// Some port is sent by.
    pub(super) fn lagg_runs(lagg: &Lagg) -> bool {
        lagg.used().next().is_some()
    }

    /// What all ports that are sent by carry together.
    pub(super) fn lagg_speed(lagg: &Lagg) -> u32 {
        let speed = |port: &LaggPort| port.told.map_or(0, |config| config.speed_mbps);
        lagg.used().fold(0, |sum, port| sum.saturating_add(speed(port)))
    }

    /// An interface goes, or is to be a port no longer.
    pub(super) fn leave_laggs(&mut self, index: u16) {
        let has = |e: &&mut Entry| e.lagg().is_some_and(|lagg| lagg.has(index));
        let Some(entry) = self.interfaces.iter_mut().find(has) else { return };
        let lagg = entry.config.index;
        if let Some(Cloned::Lagg(lagg)) = &mut entry.cloned {
            lagg.ports.retain(|port| port.interface != index);
        }
        self.fit_lagg(lagg);
        self.revive(index);
        self.fit_receivers();
    }

    /// An aggregated link goes: its ports are interfaces of their own again.
    pub(super) fn free_lagg_ports(&mut self, lagg: &Lagg) {
        lagg.ports.iter().for_each(|port| self.revive(port.interface));
    }

    /// What the workers are told of aggregated links.
    pub(super) fn add_laggs(&self, links: &mut Links) {
        for entry in self.interfaces.iter().filter(|e| !e.is_gone()) {
            let Some(lagg) = entry.lagg() else { continue };
            let index = entry.config.index;
            let published = inet::links::Lagg {
                distributing: lagg.used().map(|port| port.interface).collect(),
                traffic: Arc::clone(&lagg.traffic),
            };
            let lacp = lagg.aggregate.protocol() == Protocol::Lacp;
            let joined = |port: &LaggPort| {
                (port.interface, Joined { lagg: index, collects: port.collects, lacp })
            };
            links.add_lagg(index, published, lagg.ports.iter().map(joined));
        }
    }

    /// Does what is due in all aggregated links, and what follows from carriers.
    pub(crate) fn attend_laggs(&mut self, now: Instant) -> LaggWork {
        let mut work = LaggWork::default();
        for index in 0..self.interfaces.len() {
            let Some(entry) = self.interfaces.get(index) else { break };
            let Some(lagg) = entry.lagg() else { continue };
            let wanted: Vec<PortConfig> =
                lagg.ports.iter().map(|port| self.lagg_port_config(entry, port)).collect();
            let mac = entry.config.mac;
            let entry = self.interfaces.get_mut(index);
            let Some(Cloned::Lagg(lagg)) = entry.and_then(|entry| entry.cloned.as_mut()) else {
                continue;
            };
            work.changed |= lagg.attend(mac, &wanted, now);
            if lagg.has_moved(mac) {
                work.moved.extend(u16::try_from(index));
            }
            let messages = core::iter::from_fn(|| lagg.aggregate.poll_transmit());
            work.messages.extend(messages.map(|(port, pdu)| (port, MacAddr::ZERO, pdu)));
        }
        for (port, mac, _) in &mut work.messages {
            *mac = self.mac(*port);
        }
        work.moved.iter().for_each(|index| self.fit_running(*index));
        work.changed |= !work.moved.is_empty();
        let runs = |index: &u16| self.interfaces.get(usize::from(*index)).map(|e| self.runs(e));
        work.moved.retain(|index| runs(index) == Some(true));
        work
    }

    fn lagg_port_config(&self, lagg: &Entry, port: &LaggPort) -> PortConfig {
        let entry = self.interfaces.get(usize::from(port.interface));
        let runs = entry.is_some_and(|entry| entry.config.up && self.runs(entry));
        PortConfig {
            number: port.number,
            speed_mbps: entry.map_or(0, |entry| entry.seen.speed_mbps),
            up: runs && lagg.config.up,
        }
    }

    /// When something is due in an aggregated link.
    pub(crate) fn next_lagg(&self) -> Option<Instant> {
        let laggs = self.interfaces.iter().filter_map(Entry::lagg);
        laggs.filter_map(|lagg| lagg.aggregate.next_timeout()).min()
    }

    /// The other end of a port has said something.
    pub(crate) fn heard_lacpdu(&mut self, port: u16, pdu: &Lacpdu, now: Instant) {
        for entry in &mut self.interfaces {
            if let Some(Cloned::Lagg(lagg)) = &mut entry.cloned {
                // One that is no port is not known there.
                lagg.aggregate.lacpdu_arrives(port, pdu, now);
            }
        }
    }

    /// An aggregated link as the tools show it.
    pub(super) fn lagg_row(&self, entry: &Entry) -> Option<LaggRow> {
        let lagg = entry.lagg()?;
        let is_first =
            |port: &LaggPort| lagg.ports.first().map(|p| p.interface) == Some(port.interface);
        let port = |port: &LaggPort| {
            let flags = [
                ("master", is_first(port)),
                ("active", port.told.is_some_and(|config| config.up)),
                ("collecting", port.collects),
                ("distributing", port.distributes),
            ];
            let row = lagg.aggregate.row(port.interface);
            let row = row.filter(|_| lagg.aggregate.protocol() == Protocol::Lacp);
            LaggPortRow {
                interface: self.name(port.interface).into(),
                flags: named(flags),
                actor: row.map(|row| end_row(&row.actor)),
                partner: row
                    .filter(|row| row.partner.system != [0; 6])
                    .map(|r| end_row(&r.partner)),
            }
        };
        Some(LaggRow {
            protocol: match lagg.aggregate.protocol() {
                Protocol::Lacp => LaggProtocol::Lacp,
                Protocol::LoadBalance => LaggProtocol::LoadBalance,
                Protocol::Failover => LaggProtocol::Failover,
            },
            ports: lagg.ports.iter().map(port).collect(),
        })
    }
}

/// The names of what is.
fn named<const N: usize>(all: [(&str, bool); N]) -> Vec<String> {
    all.into_iter().filter(|(_, is)| *is).map(|(name, _)| name.into()).collect()
}

fn end_row(info: &Info) -> LaggEndRow {
    let bits = [
        ("activity", state::ACTIVITY),
        ("timeout", state::TIMEOUT),
        ("aggregation", state::AGGREGATION),
        ("sync", state::SYNCHRONIZATION),
        ("collecting", state::COLLECTING),
        ("distributing", state::DISTRIBUTING),
        ("defaulted", state::DEFAULTED),
        ("expired", state::EXPIRED),
    ];
    LaggEndRow {
        system_priority: info.system_priority.get(),
        system: MacAddr(info.system),
        key: info.key.get(),
        port_priority: info.port_priority.get(),
        port: info.port.get(),
        state: named(bits.map(|(name, bit)| (name, info.is(bit)))),
    }
}

#[cfg(test)]
mod tests;
