//! The ports of one interface.

use std::collections::{BTreeMap, VecDeque};

use types::{Instant, MacAddr};
use wire::lacp::Lacpdu;

use crate::limits::MESSAGES_MAX;
use crate::port::{Heard, Mux, Port, PortConfig, PortRow};
use crate::select::Group;

/// How ports are chosen (`laggproto`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Protocol {
    /// Both ends agree (IEEE 802.1AX).
    #[default]
    Lacp,
    /// All that have a carrier.
    LoadBalance,
    /// The first that has one.
    Failover,
}

/// Several links that are used as one.
///
/// ```text
///  a message ─┐                      ┌─ which links lead to one system
///  a timer  ──┼──► what each port ───┼─ each: waits, attached, takes, sends
///  a link   ──┘        knows         └─ what the other end is told
///             poll_transmit() · collects() · distributing()
/// ```
#[derive(Debug)]
pub struct Aggregate {
    protocol: Protocol,
    mac: MacAddr,
    pub(crate) ports: BTreeMap<u16, Port>,
    pub(crate) group: Option<Group>,
    out: VecDeque<(u16, Lacpdu)>,
}

impl Aggregate {
    /// Without ports; LACP calls it by this address.
    #[must_use]
    pub fn new(protocol: Protocol, mac: MacAddr) -> Self {
        Self { protocol, mac, ports: BTreeMap::new(), group: None, out: VecDeque::new() }
    }

    /// How ports are chosen.
    #[must_use]
    pub fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// Its name among systems.
    #[must_use]
    pub fn mac(&self) -> MacAddr {
        self.mac
    }

    pub(crate) fn system(&self) -> [u8; 6] {
        self.mac.0
    }

    /// Adds a port by a name of the caller's, or tells of its link.
    pub fn set_port(&mut self, name: u16, config: PortConfig, now: Instant) {
        let port = self.ports.entry(name).or_insert_with(|| Port::new(config));
        if port.config.speed_mbps != config.speed_mbps {
            // The key is another one.
            let _ = port.set_mux(Mux::Detached);
        }
        port.config = config;
        port.set_up(config.up, now);
        self.settle(now);
    }

    /// A port goes.
    pub fn remove_port(&mut self, name: u16, now: Instant) {
        if self.ports.remove(&name).is_some() {
            self.settle(now);
        }
    }

    /// Its ports, by the caller's names.
    #[must_use]
    pub fn port_names(&self) -> Vec<u16> {
        self.ports.keys().copied().collect()
    }

    /// A message has come in by a port.
    pub fn lacpdu_arrives(&mut self, name: u16, pdu: &Lacpdu, now: Instant) {
        let system = self.system();
        if let Some(port) = self.ports.get_mut(&name) {
            let own = port.actor(system);
            port.hears(pdu, &own, now);
            self.settle(now);
        }
    }

    /// Something may be due.
    pub fn timeout(&mut self, now: Instant) {
        self.ports.values_mut().for_each(|port| port.expire(now));
        self.settle(now);
    }

    /// When something is due.
    #[must_use]
    pub fn next_timeout(&self) -> Option<Instant> {
        let speaks = self.protocol == Protocol::Lacp;
        self.ports.values().filter(|_| speaks).filter_map(Port::next_timeout).min()
    }

    /// The next message to send, and by which port.
    pub fn poll_transmit(&mut self) -> Option<(u16, Lacpdu)> {
        self.out.pop_front()
    }

    /// What comes in by a port is taken.
    #[must_use]
    pub fn collects(&self, name: u16) -> bool {
        self.ports.get(&name).is_some_and(|port| port.mux >= Mux::Collecting)
    }

    /// A port that is sent by.
    #[must_use]
    pub fn distributes(&self, name: u16) -> bool {
        self.ports.get(&name).is_some_and(|port| port.mux == Mux::Distributing)
    }

    /// A port, for listings.
    #[must_use]
    pub fn row(&self, name: u16) -> Option<PortRow> {
        let port = self.ports.get(&name)?;
        let actor = port.actor(self.system());
        Some(PortRow { actor, partner: port.partner, mux: port.mux })
    }

    fn settle(&mut self, now: Instant) {
        if self.protocol == Protocol::Lacp {
            self.select();
        }
        // A port goes from one end of its states to the other at most.
        for _ in 0..=Mux::Distributing as u8 {
            if !self.step(now) {
                break;
            }
        }
        if self.protocol == Protocol::Lacp {
            self.speak(now);
        }
    }

    fn speak(&mut self, now: Instant) {
        let system = self.system();
        for (name, port) in &mut self.ports {
            if self.out.len() < MESSAGES_MAX && port.speaks(now) {
                let partner = match port.heard {
                    Heard::Defaulted | Heard::Disabled => wire::lacp::Info::NONE,
                    Heard::Expired | Heard::Current => port.partner,
                };
                self.out.push_back((*name, Lacpdu { actor: port.actor(system), partner }));
            }
        }
    }
}

#[cfg(test)]
mod tests;
