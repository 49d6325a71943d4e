//! Which ports are used, and how far each has come (6.4.14, 6.4.15).

use types::Instant;
use wire::lacp::{Info, state};

use crate::aggregate::{Aggregate, Protocol};
use crate::limits::AGGREGATE_WAIT;
use crate::port::{Heard, Mux, Port};

/// Links that may be one: the same keys of the same two systems (6.3.6). A link whose other end does not aggregate is
/// alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Group {
    own_key: u16,
    priority: u16,
    system: [u8; 6],
    key: u16,
    alone: Option<u16>,
}

impl Group {
    fn of(name: u16, port: &Port, own: &Info) -> Option<Self> {
        let partner = &port.partner;
        // A link from us to ourselves leads nowhere.
        let is_there = matches!(port.heard, Heard::Current | Heard::Expired);
        (is_there && partner.system != [0; 6] && partner.system != own.system).then(|| Self {
            own_key: own.key.get(),
            priority: partner.system_priority.get(),
            system: partner.system,
            key: partner.key.get(),
            alone: (!partner.is(state::AGGREGATION)).then_some(name),
        })
    }
}

impl Aggregate {
    /// Chooses among the groups the one that carries most; of equals the one that is in use, else the first.
    pub(crate) fn select(&mut self) {
        let system = self.system();
        let groups: Vec<(u16, Group, u64)> = self
            .ports
            .iter()
            .filter_map(|(name, port)| {
                let group = Group::of(*name, port, &port.actor(system))?;
                Some((*name, group, port.config.weight()))
            })
            .collect();
        let weight = |group: &Group| {
            let its = groups.iter().filter(|(_, other, _)| other == group);
            let sum: u64 = its.map(|(_, _, weight)| *weight).sum();
            (sum, Some(*group) == self.group)
        };
        // The last of equals is what max_by_key takes.
        let best = groups.iter().rev().map(|(_, group, _)| *group).max_by_key(weight);
        self.group = best;
        for (name, port) in &mut self.ports {
            let its = groups.iter().find(|(other, _, _)| other == name).map(|(_, group, _)| *group);
            port.selected = its.is_some() && its == best;
        }
    }

    /// One step of each port; says whether there was any.
    pub(crate) fn step(&mut self, now: Instant) -> bool {
        let protocol = self.protocol();
        let up = self.ports.values().filter(|port| port.config.up);
        let first = up.map(|port| port.config.number).min();
        self.ports.values_mut().fold(false, |moved, port| {
            let next = match protocol {
                Protocol::Lacp => port.next_mux(now),
                _ if !port.config.up => Mux::Detached,
                Protocol::Failover if first != Some(port.config.number) => Mux::Attached,
                _ => Mux::Distributing,
            };
            if next == Mux::Waiting && port.mux != Mux::Waiting {
                port.ready = now + AGGREGATE_WAIT;
            }
            port.set_mux(next) | moved
        })
    }
}

impl Port {
    fn next_mux(&self, now: Instant) -> Mux {
        if !self.selected {
            return Mux::Detached;
        }
        let is_in = self.partner.is(state::SYNCHRONIZATION);
        let takes = is_in && self.partner.is(state::COLLECTING);
        match self.mux {
            Mux::Detached => Mux::Waiting,
            Mux::Waiting if self.ready > now => Mux::Waiting,
            Mux::Waiting => Mux::Attached,
            Mux::Attached | Mux::Collecting | Mux::Distributing if !is_in => Mux::Attached,
            Mux::Attached => Mux::Collecting,
            Mux::Collecting | Mux::Distributing if takes => Mux::Distributing,
            Mux::Collecting | Mux::Distributing => Mux::Collecting,
        }
    }
}
