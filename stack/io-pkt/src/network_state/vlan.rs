//! VLANs over other interfaces.

use std::sync::Arc;

use inet::limits::VLAN_DEPTH_MAX;
use inet::links::{Links, Traffic, Vlan};
use inet::network::{Interface, LOOPBACK, Link6, TxChecksum};
use rustix::io::Errno;
use types::MacAddr;
use wire::vlan::{IDS, Kind, PRIORITY_MAX, TAG_LEN};

use super::bridge::Bridge;
use super::carrier::Carrier;
use super::lagg::Lagg;
use super::rename::NAME_MAX;
use super::{Entry, NetworkState};

/// Interfaces without a port: as many VLANs as there are on one link.
const CLONED_MAX: usize = 4094;

/// What an interface is that was made, not attached.
pub(super) enum Cloned {
    /// A VLAN, and what went through it.
    Vlan(Option<Vlan>, Arc<Traffic>),
    /// A bridge.
    Bridge(Box<Bridge>),
    /// An aggregated link.
    Lagg(Box<Lagg>),
}

/// An address for an interface that has no port (IEEE 802: locally administered).
fn own_mac() -> Result<MacAddr, Errno> {
    let mut octets = [0; 6];
    getrandom::fill(&mut octets).map_err(|_| Errno::IO)?;
    octets[0] = octets[0] & 0xfc | 2;
    Ok(MacAddr(octets))
}

impl Entry {
    /// The VLAN that it is.
    pub(super) fn vlan(&self) -> Option<&Vlan> {
        match &self.cloned {
            Some(Cloned::Vlan(vlan, _)) => vlan.as_ref(),
            _ => None,
        }
    }

    /// What went through it, if it has no port.
    pub(super) fn traffic(&self) -> Option<&Traffic> {
        match &self.cloned {
            Some(Cloned::Vlan(_, traffic)) => Some(traffic),
            Some(Cloned::Bridge(bridge)) => Some(&bridge.traffic),
            Some(Cloned::Lagg(lagg)) => Some(&lagg.traffic),
            None => None,
        }
    }
}

impl NetworkState {
    /// Makes an interface that has no port: `vlan0`, `bridge0`, `lagg0`.
    ///
    /// # Errors
    /// `EINVAL` for a name that no kind of interface has, `EEXIST`, `ENOSPC`.
    pub(crate) fn create(&mut self, name: &str, workers: u16) -> Result<(), Errno> {
        let (cloned, mac, number) = if let Some(number) = name.strip_prefix("vlan") {
            (Cloned::Vlan(None, Arc::new(Traffic::new(workers))), MacAddr::ZERO, number)
        } else if let Some(number) = name.strip_prefix("lagg") {
            (Cloned::Lagg(Box::new(Lagg::new(workers))), own_mac()?, number)
        } else {
            let number = name.strip_prefix("bridge").ok_or(Errno::INVAL)?;
            (Cloned::Bridge(Box::new(Bridge::new(workers))), own_mac()?, number)
        };
        let is_number = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
        if !is_number || name.len() > NAME_MAX {
            return Err(Errno::INVAL);
        }
        if self.entry(name).is_ok() {
            return Err(Errno::EXIST);
        }
        let made = self.interfaces.iter().filter(|e| e.cloned.is_some() && !e.is_gone()).count();
        if made >= CLONED_MAX {
            return Err(Errno::NOSPC);
        }
        let config = Interface {
            index: 0,
            name: name.into(),
            mac,
            mtu: 1500,
            up: false,
            table: 0,
            addresses: Vec::new(),
            addresses6: Vec::new(),
            link6: Link6::default(),
            tx_checksum: TxChecksum::Stack,
            loans: false,
            tso_buffers_max: 0,
            tso_ipv4_checksum: false,
            dhcp: false,
            arp_watched: None,
        };
        let mut entry = Entry::new(config, None, self.identity);
        entry.link.set_up(false);
        entry.cloned = Some(cloned);
        entry.seen = Carrier::default();
        let index = self.place(entry);
        self.fit_running(index);
        Ok(())
    }

    /// Puts a VLAN over an interface, and brings it up; with `None` takes it off.
    ///
    /// # Errors
    /// `ENXIO` for either interface, `EOPNOTSUPP` for one that is no VLAN, `EINVAL`, `EBUSY` if it is over
    /// another one or the other is a port of an aggregated link, `EEXIST` if the VLAN has an interface there, `EMLINK` for too many tags, `ELOOP` over a
    /// bridge that it, or what is over it, is a port of.
    pub(crate) fn set_vlan(&mut self, name: &str, to: Option<&proto::Vlan>) -> Result<(), Errno> {
        let index = self.index(name)?;
        let entry = self.entry(name)?;
        let Some(Cloned::Vlan(had, traffic)) = &entry.cloned else { return Err(Errno::OPNOTSUPP) };
        let (had, traffic) = (had.clone(), Arc::clone(traffic));
        let Some(to) = to else {
            self.take_off(index);
            return Ok(());
        };
        let parent = self.index(&to.parent)?;
        if !IDS.contains(&to.id) || to.priority > PRIORITY_MAX || parent == LOOPBACK {
            return Err(Errno::INVAL);
        }
        if had.is_some_and(|vlan| vlan.parent != parent) || self.is_joined(parent) {
            return Err(Errno::BUSY);
        }
        let kind = if to.service { Kind::Service } else { Kind::Customer };
        let vlan = Vlan { parent, kind, id: to.id, priority: to.priority, traffic };
        let same = |other: &Vlan| (other.parent, other.kind, other.id) == (parent, kind, to.id);
        let taken = |e: &Entry| e.config.index != index && e.vlan().is_some_and(same);
        if self.interfaces.iter().any(taken) {
            return Err(Errno::EXIST);
        }
        if self.tags_over(index, parent) > VLAN_DEPTH_MAX {
            return Err(Errno::MLINK);
        }
        // What is over it would be over the bridge too.
        if self.is_over_bridge(parent) && self.carries_member(index) {
            return Err(Errno::LOOP);
        }
        let mtu_max = self.vlan_mtu_max(parent);
        let mac = self.mac(parent);
        let Some(entry) = self.interfaces.get_mut(usize::from(index)) else {
            return Err(Errno::NXIO);
        };
        let is_new = entry.vlan().is_none();
        if let Some(Cloned::Vlan(place, _)) = &mut entry.cloned {
            *place = Some(vlan);
        }
        if is_new {
            entry.config.mtu = mtu_max;
        }
        self.adopt_mac(index, mac);
        self.fit_running(index);
        self.fit_receivers();
        if is_new { self.set_up(name, true) } else { Ok(()) }
    }

    /// The tags that frames would have if `index` were over `parent`: those of the parent, of `index` and of
    /// what is over that. Too many if it would be over itself.
    fn tags_over(&self, index: u16, parent: u16) -> usize {
        let above = |at: u16| self.interfaces.get(usize::from(at)).and_then(Entry::vlan);
        let chain = core::iter::successors(Some(parent), |at| above(*at).map(|vlan| vlan.parent));
        let below: Vec<u16> = chain.take(VLAN_DEPTH_MAX.saturating_add(1)).collect();
        if below.contains(&index) {
            return usize::MAX;
        }
        below.len().saturating_add(self.tags_above(index, VLAN_DEPTH_MAX))
    }

    fn tags_above(&self, index: u16, most: usize) -> usize {
        let Some(less) = most.checked_sub(1) else { return 0 };
        let children = self.children(index).into_iter();
        children.map(|child| self.tags_above(child, less).saturating_add(1)).max().unwrap_or(0)
    }

    /// An interface is a port of a bridge, or one that is over it is.
    fn carries_member(&self, index: u16) -> bool {
        self.is_member(index)
            || self.children(index).into_iter().any(|child| self.carries_member(child))
    }

    /// VLANs that are over an interface.
    pub(super) fn children(&self, parent: u16) -> Vec<u16> {
        let over = |e: &&Entry| e.vlan().is_some_and(|vlan| vlan.parent == parent);
        self.interfaces.iter().filter(over).map(|e| e.config.index).collect()
    }

    /// The longest packet of a VLAN over this interface. Links have room for one tag beside their longest
    /// packet (IEEE 802.3 3.2.7); a second one takes it from the packet.
    fn vlan_mtu_max(&self, parent: u16) -> u16 {
        let Some(entry) = self.interfaces.get(usize::from(parent)) else { return 0 };
        let tag = if entry.vlan().is_some() { TAG_LEN } else { 0 };
        entry.config.mtu.saturating_sub(u16::try_from(tag).unwrap_or(0))
    }

    /// A VLAN is over no interface any more.
    fn take_off(&mut self, index: u16) {
        let Some(entry) = self.interfaces.get_mut(usize::from(index)) else { return };
        if let Some(Cloned::Vlan(vlan, _)) = &mut entry.cloned {
            *vlan = None;
        }
        let name = entry.config.name.clone();
        // It was just found.
        let _ = self.set_up(&name, false);
        self.fit_receivers();
    }

    /// An interface goes: what is over it stays without it.
    pub(super) fn take_off_children(&mut self, parent: u16) {
        self.children(parent).into_iter().for_each(|child| self.take_off(child));
    }

    /// A VLAN has its parent's address, and what is over it too.
    pub(super) fn adopt_mac(&mut self, index: u16, mac: MacAddr) {
        let Some(entry) = self.interfaces.get_mut(usize::from(index)) else { return };
        entry.config.mac = mac;
        entry.link.set_mac(mac);
        // There are at most as many levels as a frame may have tags.
        self.children(index).into_iter().for_each(|child| self.adopt_mac(child, mac));
    }

    /// VLANs over an interface take no longer packets than it does.
    pub(super) fn fit_children(&mut self, parent: u16) {
        let most = self.vlan_mtu_max(parent);
        for child in self.children(parent) {
            if let Some(entry) = self.interfaces.get_mut(usize::from(child)) {
                entry.config.mtu = entry.config.mtu.min(most);
            }
            self.fit_children(child);
        }
        self.fit_laggs_of(parent);
    }

    /// The longest packet that an interface without a port takes; `None`: it has one.
    pub(super) fn cloned_mtu_max(&self, index: u16) -> Option<u16> {
        let entry = self.interfaces.get(usize::from(index)).filter(|e| e.cloned.is_some())?;
        if let Some(bridge) = entry.bridge() {
            return Some(self.bridge_mtu_max(bridge));
        }
        if let Some(lagg) = entry.lagg() {
            return Some(self.lagg_mtu_max(lagg));
        }
        Some(entry.vlan().map_or(1500, |vlan| self.vlan_mtu_max(vlan.parent)))
    }

    /// Takes an interface out that has no port. `false`: it has one.
    pub(crate) fn remove_cloned(&mut self, index: u16) -> bool {
        let entry = self.interfaces.get_mut(usize::from(index));
        let Some(cloned) = entry.and_then(|entry| entry.cloned.take()) else { return false };
        if let Cloned::Lagg(lagg) = cloned {
            self.free_lagg_ports(&lagg);
        }
        self.clear_interface(index);
        true
    }

    /// What the workers are told of interfaces without a port.
    pub(super) fn links(&self) -> Links {
        let there = self.interfaces.iter().filter(|e| !e.is_gone());
        let mut links = Links::new(there.filter_map(|e| Some((e.config.index, e.vlan()?.clone()))));
        self.add_bridges(&mut links);
        self.add_laggs(&mut links);
        links
    }

    /// The entry whose port carries an interface's frames.
    pub(super) fn carrier<'a>(&'a self, entry: &'a Entry) -> &'a Entry {
        self.below(entry).last().unwrap_or(entry)
    }

    /// An interface, and what it is over.
    fn below<'a>(&'a self, entry: &'a Entry) -> impl Iterator<Item = &'a Entry> {
        let parent = |e: &&'a Entry| self.interfaces.get(usize::from(e.vlan()?.parent));
        core::iter::successors(Some(entry), parent).take(VLAN_DEPTH_MAX.saturating_add(1))
    }

    /// An interface, and what is over it.
    pub(crate) fn carried(&self, index: u16) -> Vec<u16> {
        let there = self.interfaces.iter().filter(|e| !e.is_gone());
        let over = there.filter(|e| self.below(e).any(|below| below.config.index == index));
        over.map(|e| e.config.index).collect()
    }

    /// The VLAN that an interface is, as tools show it.
    pub(super) fn vlan_row(&self, entry: &Entry) -> Option<proto::Vlan> {
        let vlan = entry.vlan()?;
        Some(proto::Vlan {
            parent: self.name(vlan.parent).into(),
            id: vlan.id,
            priority: vlan.priority,
            service: vlan.kind == Kind::Service,
        })
    }
}

#[cfg(test)]
mod tests {
    use proto::BridgeVerb;

    use super::super::tests::with_links;
    use super::*;

    fn over(parent: &str, id: u16) -> proto::Vlan {
        proto::Vlan { parent: parent.into(), id, priority: 0, service: false }
    }

    #[test]
    fn an_interface_is_made_by_its_name() {
        let mut state = with_links(1);
        assert_eq!(state.create("vlan0", 1), Ok(()));
        assert_eq!(state.create("vlan0", 1), Err(Errno::EXIST));
        for wrong in ["vlan", "vlanx", "vlan-1", "tun0", "", "vlan000000000001"] {
            assert_eq!(state.create(wrong, 1), Err(Errno::INVAL), "{wrong}");
        }
        let rows = state.interface_rows();
        let row = rows.iter().find(|row| row.name == "vlan0").unwrap();
        assert!(!row.up && !row.running && row.vlan.is_none() && row.driver == "vlan");
    }

    #[test]
    fn a_vlan_is_over_one_link_and_alone_in_its_vlan_there() {
        let mut state = with_links(2);
        for name in ["vlan0", "vlan1"] {
            state.create(name, 1).unwrap();
        }
        assert_eq!(state.set_vlan("vlan0", Some(&over("tap1", 5))), Ok(()));
        assert_eq!(state.set_vlan("vlan1", Some(&over("tap1", 5))), Err(Errno::EXIST));
        assert_eq!(state.set_vlan("vlan1", Some(&over("tap2", 5))), Ok(()));
        assert_eq!(state.set_vlan("vlan0", Some(&over("tap2", 6))), Err(Errno::BUSY));
        let urgent = proto::Vlan { priority: 7, ..over("tap1", 5) };
        assert_eq!(state.set_vlan("vlan0", Some(&urgent)), Ok(()));
        for wrong in [over("tap1", 0), over("tap1", 4095), over("lo0", 5)] {
            assert_eq!(state.set_vlan("vlan0", Some(&wrong)), Err(Errno::INVAL), "{wrong:?}");
        }
        assert_eq!(state.set_vlan("vlan0", Some(&over("tap9", 5))), Err(Errno::NXIO));
        assert_eq!(state.set_vlan("tap1", Some(&over("tap2", 5))), Err(Errno::OPNOTSUPP));
        let links = state.publish().links;
        let index = state.index("vlan0").unwrap();
        assert_eq!(links.tagged(1, Kind::Customer, 5), Some(index));
        assert_eq!(links.tagged(1, Kind::Service, 5), None);
    }

    #[test]
    fn two_tags_are_the_most_and_none_is_over_itself() {
        let mut state = with_links(1);
        for name in ["vlan0", "vlan1", "vlan2"] {
            state.create(name, 1).unwrap();
        }
        assert_eq!(state.set_vlan("vlan0", Some(&over("vlan0", 1))), Err(Errno::MLINK));
        state.set_vlan("vlan1", Some(&over("vlan0", 2))).unwrap();
        assert_eq!(state.set_vlan("vlan0", Some(&over("vlan1", 1))), Err(Errno::MLINK));
        state.set_vlan("vlan0", Some(&over("tap1", 1))).unwrap();
        assert_eq!(state.set_vlan("vlan2", Some(&over("vlan1", 3))), Err(Errno::MLINK));
    }

    #[test]
    fn a_vlan_does_not_go_over_a_bridge_that_has_what_is_over_it() {
        let mut state = with_links(1);
        for name in ["bridge0", "vlan0", "vlan1"] {
            state.create(name, 1).unwrap();
        }
        state.set_vlan("vlan1", Some(&over("vlan0", 2))).unwrap();
        let span = |on| BridgeVerb::Span { interface: "vlan1".into(), on };
        let _ = state.change_bridge("bridge0", &span(true)).unwrap();
        assert_eq!(state.set_vlan("vlan0", Some(&over("bridge0", 1))), Err(Errno::LOOP));
        let _ = state.change_bridge("bridge0", &span(false)).unwrap();
        assert_eq!(state.set_vlan("vlan0", Some(&over("bridge0", 1))), Ok(()));
        assert_eq!(state.change_bridge("bridge0", &span(true)), Err(Errno::LOOP));
    }

    #[test]
    fn a_second_tag_takes_four_bytes_from_the_packet() {
        let mut state = with_links(1);
        for (name, parent) in [("vlan0", "tap1"), ("vlan1", "vlan0")] {
            state.create(name, 1).unwrap();
            state.set_vlan(name, Some(&over(parent, 9))).unwrap();
        }
        let mtu = |state: &NetworkState, name: &str| {
            state.interface_rows().iter().find(|row| row.name == name).unwrap().mtu
        };
        assert_eq!([mtu(&state, "vlan0"), mtu(&state, "vlan1")], [1500, 1496]);
        assert_eq!(state.set_mtu("vlan1", 1497), Err(Errno::INVAL));
        state.set_mtu("tap1", 1400).unwrap();
        assert_eq!([mtu(&state, "vlan0"), mtu(&state, "vlan1")], [1400, 1396]);
    }

    #[test]
    fn what_is_over_an_interface_that_goes_stays_without_it() {
        let mut state = with_links(1);
        state.create("vlan0", 1).unwrap();
        state.set_vlan("vlan0", Some(&over("tap1", 5))).unwrap();
        state.clear_interface(1);
        let rows = state.interface_rows();
        let row = rows.iter().find(|row| row.name == "vlan0").unwrap();
        assert!(row.vlan.is_none() && !row.up);
        let index = state.index("vlan0").unwrap();
        assert!(state.remove_cloned(index));
        assert_eq!(state.index("vlan0"), Err(Errno::NXIO));
    }
}
