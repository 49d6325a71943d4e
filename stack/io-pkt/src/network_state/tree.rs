//! Spanning trees of bridges: links and settings to [`bridge::stp`], its messages and ports' states from it.

use std::time::Duration;

use bridge::stp::{PortConfig, Role, State, Tree};
use inet::links::PortState;
use proto::{BridgeVerb, TreeRow};
use rustix::io::Errno;
use types::{Instant, MacAddr};
use wire::bpdu::Bpdu;

use super::bridge::{Bridge, Member};
use super::vlan::Cloned;
use super::{Entry, NetworkState};

/// Cost of a port of 1 Mbit/s; others have their part of it (IEEE 802.1D-2004 table 17-3).
const COST_OF_MEGABIT: u32 = 20_000_000;

/// Cost of a port that does not say how fast it is: as one of 1 Gbit/s.
const COST: u32 = 20_000;

/// What has come of a look at all trees.
#[derive(Default)]
pub(crate) struct TreeWork {
    /// Ports have another state: the workers are to know first.
    pub(crate) changed: bool,
    /// Bridges and ports whose stations are to be forgotten.
    pub(crate) flushes: Vec<(u16, Vec<u16>)>,
    /// Messages, and the ports to send them by.
    pub(crate) messages: Vec<(u16, MacAddr, Bpdu)>,
}

impl Bridge {
    /// What a port is for.
    pub(super) fn role(&self, member: &Member) -> Option<String> {
        let row = self.tree.as_ref()?.row(member.interface)?;
        let role = match row.role {
            Role::Disabled => "disabled",
            Role::Root => "root",
            Role::Designated => "designated",
            Role::Alternate => "alternate",
            Role::Backup => "backup",
        };
        Some(role.into())
    }
}

impl NetworkState {
    /// Verbs about the spanning tree.
    ///
    /// # Errors
    /// `ENXIO`, `ENOENT`, `EINVAL` for numbers out of their limits.
    pub(super) fn change_tree(&mut self, name: &str, verb: &BridgeVerb) -> Result<(), Errno> {
        let seconds = |number: u32, limits: core::ops::RangeInclusive<u32>| {
            let within = limits.contains(&number);
            within.then(|| Duration::from_secs(number.into())).ok_or(Errno::INVAL)
        };
        let port = match verb {
            BridgeVerb::Stp { interface, .. }
            | BridgeVerb::PortPriority { interface, .. }
            | BridgeVerb::PortCost { interface, .. } => self.index(interface)?,
            _ => 0,
        };
        let (_, bridge) = self.bridge_mut(name)?;
        match *verb {
            BridgeVerb::Stp { on, .. } => bridge.member(port)?.stp = on,
            BridgeVerb::PortPriority { priority, .. } => {
                bridge.member(port)?.priority = u8::try_from(priority).map_err(|_| Errno::INVAL)?;
            }
            BridgeVerb::PortCost { cost, .. } => {
                bridge.member(port)?.cost = Some(cost).filter(|cost| *cost > 0);
            }
            BridgeVerb::MaxAge(number) => bridge.tree_config.max_age = seconds(number, 6..=40)?,
            BridgeVerb::ForwardDelay(number) => {
                bridge.tree_config.forward_delay = seconds(number, 4..=30)?;
            }
            BridgeVerb::HelloTime(number) => bridge.tree_config.hello = seconds(number, 1..=10)?,
            BridgeVerb::Priority(priority) => {
                bridge.tree_config.priority = u16::try_from(priority).map_err(|_| Errno::INVAL)?;
            }
            BridgeVerb::Rapid(rapid) => bridge.tree_config.rapid = rapid,
            _ => return Err(Errno::INVAL),
        }
        // At the next look, which is now.
        bridge.members.iter_mut().for_each(|m| m.told = None);
        Ok(())
    }

    /// What a way by a port costs.
    pub(super) fn cost(&self, member: &Member) -> u32 {
        if let Some(cost) = member.cost {
            return cost;
        }
        let entry = self.interfaces.get(usize::from(member.interface));
        let speed = entry.map_or(0, |entry| self.speed(entry));
        COST_OF_MEGABIT.checked_div(speed).unwrap_or(COST).max(1)
    }

    /// Looks at carriers, does what is due in all trees.
    pub(crate) fn attend_trees(&mut self, now: Instant) -> TreeWork {
        let mut work = TreeWork::default();
        for index in 0..self.interfaces.len() {
            let Some(entry) = self.interfaces.get(index) else { break };
            if let Some(bridge) = entry.bridge()
                && (bridge.tree.is_some() || bridge.members.iter().any(|m| m.stp))
            {
                self.attend_tree(index, now, &mut work);
            }
        }
        for (port, mac, _) in &mut work.messages {
            *mac = self.mac(*port);
        }
        work
    }

    fn attend_tree(&mut self, index: usize, now: Instant, work: &mut TreeWork) {
        let Some(entry) = self.interfaces.get(index) else { return };
        let Some(bridge) = entry.bridge() else { return };
        let wanted: Vec<(u16, PortConfig)> =
            bridge.members.iter().filter(|m| m.stp).map(|m| self.port_config(entry, m)).collect();
        let (mac, number) = (entry.config.mac, entry.config.index);
        let entry = self.interfaces.get_mut(index);
        let Some(Cloned::Bridge(bridge)) = entry.and_then(|entry| entry.cloned.as_mut()) else {
            return;
        };
        if wanted.is_empty() {
            bridge.tree = None;
        } else {
            bridge.tell_tree(mac, &wanted, now);
        }
        let Bridge { tree, members, .. } = &mut **bridge;
        if let Some(tree) = tree {
            tree.timeout(now);
            let messages = core::iter::from_fn(|| tree.poll_transmit());
            work.messages.extend(messages.map(|(port, bpdu)| (port, MacAddr::ZERO, bpdu)));
            let flushes = tree.take_flushes(now);
            if !flushes.is_empty() {
                work.flushes.push((number, flushes));
            }
        }
        for member in members {
            let state = tree.as_ref().and_then(|tree| tree.state(member.interface));
            let state = match state {
                None | Some(State::Forwarding) => PortState::Forwarding,
                Some(State::Learning) => PortState::Learning,
                Some(State::Discarding) => PortState::Discarding,
            };
            work.changed |= core::mem::replace(&mut member.state, state) != state;
        }
    }

    fn port_config(&self, bridge: &Entry, member: &Member) -> (u16, PortConfig) {
        let entry = self.interfaces.get(usize::from(member.interface));
        let runs = entry.is_some_and(|entry| entry.config.up && self.runs(entry));
        let config = PortConfig {
            number: member.number,
            priority: member.priority,
            cost: self.cost(member),
            up: runs && bridge.config.up,
        };
        (member.interface, config)
    }

    /// When something is due in a tree.
    pub(crate) fn next_tree(&self) -> Option<Instant> {
        let trees = self.interfaces.iter().filter_map(|e| e.bridge()?.tree.as_deref());
        trees.filter_map(Tree::next_timeout).min()
    }

    /// A bridge behind a port has said something.
    pub(crate) fn heard_bpdu(&mut self, port: u16, bpdu: &Bpdu, now: Instant) {
        for entry in &mut self.interfaces {
            if let Some(Cloned::Bridge(bridge)) = &mut entry.cloned
                && let Some(tree) = &mut bridge.tree
            {
                // One that is not of the tree is not known there.
                tree.bpdu_arrives(port, bpdu, now);
            }
        }
    }

    /// A bridge's part of the tree, as tools show it.
    pub(super) fn tree_row(&self, bridge: &Bridge) -> Option<TreeRow> {
        let tree = bridge.tree.as_ref()?;
        let (root, cost, port) = tree.root();
        let [high, low, a, b, c, d, e, f] = root.0.to_be_bytes();
        let seconds = |time: Duration| u32::try_from(time.as_secs()).unwrap_or(u32::MAX);
        let config = &bridge.tree_config;
        Some(TreeRow {
            priority: config.priority,
            max_age_s: seconds(config.max_age),
            hello_s: seconds(config.hello),
            forward_delay_s: seconds(config.forward_delay),
            proto: if config.rapid { "rstp" } else { "stp" }.into(),
            root_priority: u16::from_be_bytes([high, low]),
            root: MacAddr([a, b, c, d, e, f]),
            root_cost: cost,
            root_port: port.map(|port| self.name(port).into()),
            changes: tree.changes(),
        })
    }
}

impl Bridge {
    /// Tells the tree what has changed.
    fn tell_tree(&mut self, mac: MacAddr, wanted: &[(u16, PortConfig)], now: Instant) {
        let config = self.tree_config;
        let tree = self.tree.get_or_insert_with(|| Box::new(Tree::new(mac, config)));
        if !tree.is_set(mac, config) {
            tree.set(mac, config, now);
        }
        for gone in tree.port_names() {
            if !wanted.iter().any(|(port, _)| *port == gone) {
                tree.remove_port(gone, now);
            }
        }
        for (port, config) in wanted {
            let member = self.members.iter_mut().find(|m| m.interface == *port);
            if let Some(member) = member.filter(|m| m.told != Some(*config)) {
                member.told = Some(*config);
                tree.set_port(*port, *config, now);
            }
        }
    }
}
