//! Bridges over other interfaces.

use std::sync::Arc;
use std::time::Duration;

use bridge::Settings;
use bridge::limits::STATIONS_MAX;
use bridge::stp::{PortConfig, Tree, TreeConfig};
use hashbrown::HashSet;
use inet::command::Flush;
use inet::links::{Links, Member as PortOfBridge, PortState, Traffic};
use inet::network::LOOPBACK;
use proto::{BridgeRow, BridgeVerb, ListeningRow, MemberRow, StationRow};
use rustix::io::Errno;
use types::MacAddr;

use super::lagg::Lagg;
use super::vlan::Cloned;
use super::{Entry, NetworkState};

/// What a port's priority is if nobody says otherwise (IEEE 802.1D-2004 table 17-2).
const PORT_PRIORITY: u8 = 128;

/// Static stations of one bridge.
const STATICS_MAX: usize = 4096;

/// Frames for all ports that one port may bring a second, if nobody says otherwise: a hundred megabits of
/// groups, and what a core copies beside its other work.
const FLOODS_PER_SECOND: u32 = 10_000;

/// A bridge.
pub(super) struct Bridge {
    pub(super) members: Vec<Member>,
    spans: Vec<u16>,
    statics: Vec<(MacAddr, u16)>,
    settings: Settings,
    floods_per_second: u32,
    snoop: bool,
    pub(super) tree: Option<Box<Tree>>,
    pub(super) tree_config: TreeConfig,
    pub(super) traffic: Arc<Traffic>,
}

/// A port of a bridge.
pub(super) struct Member {
    pub(super) interface: u16,
    pub(super) number: u8,
    learns: bool,
    discovers: bool,
    /// It is of the spanning tree.
    pub(super) stp: bool,
    pub(super) priority: u8,
    /// As the operator has it; else what follows from its speed.
    pub(super) cost: Option<u32>,
    /// What the tree was told last.
    pub(super) told: Option<PortConfig>,
    pub(super) state: PortState,
}

impl Bridge {
    pub(super) fn new(workers: u16) -> Self {
        Self {
            members: Vec::new(),
            spans: Vec::new(),
            statics: Vec::new(),
            settings: Settings::default(),
            floods_per_second: FLOODS_PER_SECOND,
            snoop: false,
            tree: None,
            tree_config: TreeConfig::default(),
            traffic: Arc::new(Traffic::new(workers)),
        }
    }

    pub(super) fn member(&mut self, interface: u16) -> Result<&mut Member, Errno> {
        self.members.iter_mut().find(|m| m.interface == interface).ok_or(Errno::NOENT)
    }

    fn has(&self, interface: u16) -> bool {
        self.members.iter().any(|m| m.interface == interface) || self.spans.contains(&interface)
    }

    /// As the workers see it.
    fn published(&self) -> inet::links::Bridge {
        inet::links::Bridge {
            members: self.members.iter().map(|m| m.interface).collect(),
            spans: self.spans.clone().into(),
            settings: self.settings,
            statics: self.statics.clone().into(),
            snoop: self.snoop,
            stp: self.tree.is_some(),
            floods_per_second: self.floods_per_second,
            traffic: Arc::clone(&self.traffic),
        }
    }
}

impl Entry {
    /// The bridge that it is.
    pub(super) fn bridge(&self) -> Option<&Bridge> {
        match &self.cloned {
            Some(Cloned::Bridge(bridge)) => Some(bridge),
            _ => None,
        }
    }
}

impl NetworkState {
    pub(super) fn bridge_mut(&mut self, name: &str) -> Result<(u16, &mut Bridge), Errno> {
        let entry = self.entry(name)?;
        match &mut entry.cloned {
            Some(Cloned::Bridge(bridge)) => Ok((entry.config.index, bridge)),
            _ => Err(Errno::OPNOTSUPP),
        }
    }

    /// Changes a bridge; returns its index, and what its tables are to forget.
    ///
    /// # Errors
    /// As for [`proto::Request::Bridge`].
    pub(crate) fn change_bridge(
        &mut self,
        name: &str,
        verb: &BridgeVerb,
    ) -> Result<(u16, Option<Flush>), Errno> {
        let (index, _) = self.bridge_mut(name)?;
        let mut flush = None;
        match verb {
            BridgeVerb::Add(port) => self.add_member(name, port)?,
            BridgeVerb::Delete(port) => self.delete_member(name, port)?,
            BridgeVerb::Span { interface, on } => self.set_span(name, interface, *on)?,
            BridgeVerb::Learn { interface, on } => {
                let port = self.index(interface)?;
                self.bridge_mut(name)?.1.member(port)?.learns = *on;
            }
            BridgeVerb::Discover { interface, on } => {
                let port = self.index(interface)?;
                self.bridge_mut(name)?.1.member(port)?.discovers = *on;
            }
            BridgeVerb::Static { interface, address } => {
                let port = self.index(interface)?;
                let (_, bridge) = self.bridge_mut(name)?;
                let _ = bridge.member(port)?;
                if !address.is_unicast() {
                    return Err(Errno::INVAL);
                }
                bridge.statics.retain(|(there, _)| there != address);
                if bridge.statics.len() >= STATICS_MAX {
                    return Err(Errno::NOSPC);
                }
                bridge.statics.push((*address, port));
            }
            BridgeVerb::DeleteAddress(address) => {
                self.bridge_mut(name)?.1.statics.retain(|(there, _)| there != address);
                flush = Some(Flush::One(*address));
            }
            BridgeVerb::Flush { all } => {
                if *all {
                    self.bridge_mut(name)?.1.statics.clear();
                }
                flush = Some(Flush::Learned);
            }
            BridgeVerb::MaxAddresses(most) if *most > STATIONS_MAX => return Err(Errno::INVAL),
            BridgeVerb::MaxAddresses(most) => {
                self.bridge_mut(name)?.1.settings.stations_max = *most;
            }
            BridgeVerb::PortAddresses(most) => self.bridge_mut(name)?.1.settings.port_max = *most,
            BridgeVerb::Timeout(seconds) => {
                let timeout = (*seconds > 0).then(|| Duration::from_secs((*seconds).into()));
                self.bridge_mut(name)?.1.settings.timeout = timeout;
            }
            BridgeVerb::Flood(most) => self.bridge_mut(name)?.1.floods_per_second = *most,
            BridgeVerb::Snoop(on) => self.bridge_mut(name)?.1.snoop = *on,
            tree => self.change_tree(name, tree)?,
        }
        Ok((index, flush))
    }

    /// An interface that may become a port or get copies: it exists, and no bridge has it.
    fn free_port(&mut self, name: &str, port: &str) -> Result<u16, Errno> {
        let (bridge, _) = self.bridge_mut(name)?;
        let port = self.index(port)?;
        if port == LOOPBACK || port == bridge {
            return Err(Errno::INVAL);
        }
        if self.is_joined(port) {
            return Err(Errno::BUSY);
        }
        let there = |e: &&Entry| e.bridge().is_some_and(|b| b.has(port));
        match self.interfaces.iter().find(there) {
            Some(entry) if entry.config.index == bridge => Err(Errno::EXIST),
            Some(_) => Err(Errno::BUSY),
            // A bridge in a bridge, and a VLAN over one, could be a way of frames to themselves.
            None if self.is_over_bridge(port) => Err(Errno::LOOP),
            None => Ok(port),
        }
    }

    /// A bridge, or a VLAN over one.
    pub(super) fn is_over_bridge(&self, index: u16) -> bool {
        let entry = self.interfaces.get(usize::from(index));
        entry.is_some_and(|entry| self.carrier(entry).bridge().is_some())
    }

    /// An interface is a port of a bridge.
    pub(super) fn is_member(&self, index: u16) -> bool {
        self.interfaces.iter().filter_map(Entry::bridge).any(|bridge| bridge.has(index))
    }

    fn add_member(&mut self, name: &str, port: &str) -> Result<(), Errno> {
        let interface = self.free_port(name, port)?;
        let carrier = self.carrier_of(interface).ok_or(Errno::NXIO)?;
        let carrier = self.interfaces.get(usize::from(carrier)).ok_or(Errno::NXIO)?;
        if carrier.port.is_none() && carrier.lagg().is_none() {
            return Err(Errno::INVAL);
        }
        self.insert_member(name, interface)?;
        self.fit_receivers();
        Ok(())
    }

    fn insert_member(&mut self, name: &str, interface: u16) -> Result<(), Errno> {
        let (_, bridge) = self.bridge_mut(name)?;
        let taken = |number: &u8| bridge.members.iter().any(|m| m.number == *number);
        let number = (1..=u8::MAX).find(|number| !taken(number)).ok_or(Errno::NOSPC)?;
        bridge.members.push(Member {
            interface,
            number,
            learns: true,
            discovers: true,
            stp: false,
            priority: PORT_PRIORITY,
            cost: None,
            told: None,
            state: PortState::Forwarding,
        });
        Ok(())
    }

    fn carrier_of(&self, interface: u16) -> Option<u16> {
        let entry = self.interfaces.get(usize::from(interface))?;
        Some(self.carrier(entry).config.index)
    }

    /// Frames for others come in by ports that carry bridges' ports, and where the operator wants them.
    pub(super) fn fit_receivers(&mut self) {
        let hearing = self.hearing();
        for (index, port) in self.ports_mut() {
            let wanted = hearing.contains(&index);
            if port.receives().0 == wanted {
                continue;
            }
            // A port that goes on hearing others does no harm.
            if let Err(error) = port.set_promiscuous(wanted)
                && wanted
            {
                // Some drivers receive everything as it is, and can't be told to.
                tracing::warn!("{}: {error}; frames for others may not come in", port.name());
            }
        }
    }

    /// Interfaces that hear everything: one walk tells of all, there may be thousands.
    fn hearing(&self) -> HashSet<u16> {
        let of = |entry: &Entry| {
            let members = entry.bridge().into_iter().flat_map(|bridge| &bridge.members);
            let carriers = members.filter_map(|m| self.carrier_of(m.interface));
            let ports = entry.lagg().into_iter().flat_map(Lagg::port_names);
            let own = entry.promiscuous.then_some(entry.config.index);
            carriers.chain(ports).chain(own).collect::<Vec<_>>()
        };
        self.interfaces.iter().flat_map(of).collect()
    }

    /// The operator wants frames for others by a port, or no longer. A bridge goes on having them.
    ///
    /// # Errors
    /// `ENXIO`, `EOPNOTSUPP`, the driver's.
    pub(crate) fn set_promiscuous(&mut self, name: &str, on: bool) -> Result<(), Errno> {
        let entry = self.entry(name)?;
        let index = entry.config.index;
        let had = core::mem::replace(&mut entry.promiscuous, on);
        let wanted = self.hearing().contains(&index);
        let set = self.port_by_name(name).and_then(|port| {
            port.set_promiscuous(wanted).map_err(|error| Errno::from_raw_os_error(error.errno()))
        });
        if set.is_err()
            && let Ok(entry) = self.entry(name)
        {
            entry.promiscuous = had;
        }
        set
    }

    fn delete_member(&mut self, name: &str, port: &str) -> Result<(), Errno> {
        let interface = self.index(port)?;
        let (_, bridge) = self.bridge_mut(name)?;
        let at = bridge.members.iter().position(|m| m.interface == interface);
        let _ = bridge.members.remove(at.ok_or(Errno::NOENT)?);
        bridge.statics.retain(|(_, port)| *port != interface);
        self.fit_receivers();
        Ok(())
    }

    fn set_span(&mut self, name: &str, port: &str, on: bool) -> Result<(), Errno> {
        if on {
            let interface = self.free_port(name, port)?;
            self.bridge_mut(name)?.1.spans.push(interface);
            return Ok(());
        }
        let interface = self.index(port)?;
        let (_, bridge) = self.bridge_mut(name)?;
        let at = bridge.spans.iter().position(|span| *span == interface).ok_or(Errno::NOENT)?;
        let _ = bridge.spans.remove(at);
        Ok(())
    }

    /// An interface goes, and with it a port, or a whole bridge.
    pub(super) fn leave_bridges(&mut self, index: u16) {
        for entry in &mut self.interfaces {
            if let Some(Cloned::Bridge(bridge)) = &mut entry.cloned {
                bridge.members.retain(|m| m.interface != index);
                bridge.spans.retain(|span| *span != index);
                bridge.statics.retain(|(_, port)| *port != index);
            }
        }
    }

    /// What the workers are told of bridges.
    pub(super) fn add_bridges(&self, links: &mut Links) {
        for entry in self.interfaces.iter().filter(|e| !e.is_gone()) {
            let Some(bridge) = entry.bridge() else { continue };
            let index = entry.config.index;
            let port = |m: &Member| {
                let Member { learns, discovers, stp, state, .. } = *m;
                (m.interface, PortOfBridge { bridge: index, learns, discovers, stp, state })
            };
            links.add_bridge(index, bridge.published(), bridge.members.iter().map(port));
        }
    }

    /// The longest packet that all ports of a bridge take.
    pub(super) fn bridge_mtu_max(&self, bridge: &Bridge) -> u16 {
        let mtu = |m: &Member| self.interfaces.get(usize::from(m.interface)).map(|e| e.config.mtu);
        bridge.members.iter().filter_map(mtu).min().unwrap_or(1500)
    }

    /// Some port of a bridge has a carrier. None of them is over a bridge itself.
    pub(super) fn bridge_runs(&self, bridge: &Bridge) -> bool {
        let entry = |m: &Member| self.interfaces.get(usize::from(m.interface));
        bridge.members.iter().any(|m| entry(m).is_some_and(|entry| self.runs(entry)))
    }

    /// Bridges as the tools show them.
    #[must_use]
    pub(crate) fn bridge_rows(&self) -> Vec<BridgeRow> {
        let there = self.interfaces.iter().filter(|e| !e.is_gone());
        there.filter_map(|entry| Some(self.bridge_row(entry, entry.bridge()?))).collect()
    }

    fn bridge_row(&self, entry: &Entry, bridge: &Bridge) -> BridgeRow {
        let member = |m: &Member| MemberRow {
            interface: self.name(m.interface).into(),
            port: m.number.into(),
            learn: m.learns,
            discover: m.discovers,
            state: match m.state {
                PortState::Discarding => "discarding",
                PortState::Learning => "learning",
                PortState::Forwarding => "forwarding",
            }
            .into(),
            role: bridge.role(m),
            priority: m.priority,
            cost: self.cost(m),
        };
        let Settings { stations_max, port_max, timeout } = bridge.settings;
        BridgeRow {
            name: entry.config.name.clone(),
            mac: entry.config.mac,
            up: entry.config.up,
            max_addresses: stations_max,
            port_addresses: port_max,
            timeout_s: timeout.map_or(0, |t| u32::try_from(t.as_secs()).unwrap_or(u32::MAX)),
            flood: bridge.floods_per_second,
            snoop: bridge.snoop,
            members: bridge.members.iter().map(member).collect(),
            spans: bridge.spans.iter().map(|span| self.name(*span).into()).collect(),
            tree: self.tree_row(bridge),
        }
    }

    /// Stations as the tools show them.
    #[must_use]
    pub(crate) fn station_rows(&self, bridge: u16, stations: &[bridge::Row]) -> Vec<StationRow> {
        let entry = self.interfaces.get(usize::from(bridge));
        let timeout = entry.and_then(Entry::bridge).and_then(|bridge| bridge.settings.timeout);
        let left = |age: Duration| {
            let left = timeout?.saturating_sub(age).as_secs();
            Some(u32::try_from(left).unwrap_or(u32::MAX))
        };
        let mut rows: Vec<StationRow> = stations
            .iter()
            .map(|station| StationRow {
                address: station.mac,
                interface: self.name(station.port).into(),
                fixed: station.pinned,
                expires_s: if station.pinned { None } else { left(station.age) },
            })
            .collect();
        rows.sort_by(|a, b| (&a.interface, a.address).cmp(&(&b.interface, b.address)));
        rows
    }

    /// Ports with listeners as the tools show them: routers first.
    #[must_use]
    pub(crate) fn listening_rows(&self, listening: &[bridge::Listening]) -> Vec<ListeningRow> {
        let mut rows: Vec<ListeningRow> = listening
            .iter()
            .map(|row| ListeningRow {
                group: row.group,
                interface: self.name(row.port).into(),
                expires_s: u32::try_from(row.left.as_secs()).unwrap_or(u32::MAX),
            })
            .collect();
        rows.sort_by(|a, b| (a.group, &a.interface).cmp(&(b.group, &b.interface)));
        rows
    }

    /// The index of a bridge.
    ///
    /// # Errors
    /// `ENXIO`, `EOPNOTSUPP`.
    pub(crate) fn bridge_index(&mut self, name: &str) -> Result<u16, Errno> {
        self.bridge_mut(name).map(|(index, _)| index)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::with_links;
    use super::*;

    #[test]
    fn a_port_hears_everything_while_any_bridge_has_what_it_carries_or_the_operator_wants_it() {
        let mut state = with_links(2);
        for name in ["bridge0", "bridge1", "vlan0", "vlan1"] {
            state.create(name, 1).unwrap();
        }
        let mut vlans = [0; 2];
        for (number, id) in (0..2_u8).zip(5..) {
            let name = format!("vlan{number}");
            let vlan = proto::Vlan { parent: "tap1".into(), id, priority: 0, service: false };
            state.set_vlan(&name, Some(&vlan)).unwrap();
            vlans[usize::from(number)] = state.index(&name).unwrap();
            state.insert_member(&format!("bridge{number}"), vlans[usize::from(number)]).unwrap();
        }
        assert_eq!([1, 2].map(|port| state.hearing().contains(&port)), [true, false]);
        let delete = BridgeVerb::Delete("vlan0".into());
        let _ = state.change_bridge("bridge0", &delete).unwrap();
        assert!(state.hearing().contains(&1), "the other bridge has the other VLAN");
        assert!(state.remove_cloned(vlans[1]));
        assert!(!state.hearing().contains(&1));
        state.insert_member("bridge0", 1).unwrap();
        state.interfaces[1].promiscuous = true;
        let bridge = state.index("bridge0").unwrap();
        assert!(state.remove_cloned(bridge) && state.hearing().contains(&1));
        state.interfaces[1].promiscuous = false;
        assert!(!state.hearing().contains(&1));
    }
}
