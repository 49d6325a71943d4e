//! Interfaces that are made of others: VLANs over a link, bridges, aggregated links. A part of the snapshot.

use std::sync::Arc;

use bridge::Settings;
use counters::Counter;
use hashbrown::HashMap;
use types::MacAddr;
use wire::vlan::{Kind, Tag, Tci};

use crate::limits::VLAN_DEPTH_MAX;

/// A VLAN on a link.
#[derive(Clone, Debug)]
pub struct Vlan {
    /// The interface whose frames carry the tag.
    pub parent: u16,
    /// Which tag.
    pub kind: Kind,
    /// The VLAN.
    pub id: u16,
    /// How urgent the frames are that we send (PCP).
    pub priority: u8,
    /// What went through.
    pub traffic: Arc<Traffic>,
}

impl Vlan {
    /// The tag of a frame that is sent.
    #[must_use]
    pub(crate) const fn tag(&self) -> Tag {
        Tag::new(self.kind, Tci::new(self.id, self.priority))
    }
}

/// All interfaces without a port.
#[derive(Clone, Debug, Default)]
pub struct Links {
    vlans: HashMap<u16, Vlan>,
    tagged: HashMap<(u16, Kind, u16), u16>,
    bridges: HashMap<u16, Arc<Bridge>>,
    members: Vec<Option<Member>>,
    /// A VLAN over this link is a port of a bridge.
    carriers: Vec<bool>,
    laggs: HashMap<u16, Lagg>,
    joined: Vec<Option<Joined>>,
}

impl Links {
    /// VLANs by the index of their interface.
    #[must_use]
    pub fn new(vlans: impl IntoIterator<Item = (u16, Vlan)>) -> Self {
        let vlans: HashMap<u16, Vlan> = vlans.into_iter().collect();
        let tagged = vlans.iter().map(|(index, vlan)| ((vlan.parent, vlan.kind, vlan.id), *index));
        Self { tagged: tagged.collect(), vlans, ..Self::default() }
    }

    /// Adds a bridge by the index of its interface, and its ports.
    pub fn add_bridge(
        &mut self,
        interface: u16,
        bridge: Bridge,
        ports: impl IntoIterator<Item = (u16, Member)>,
    ) {
        for (index, member) in ports {
            put(&mut self.members, index, Some(member));
            let parent = |index: &u16| self.vlans.get(index).map(|vlan| vlan.parent);
            let over = core::iter::successors(parent(&index), parent).take(VLAN_DEPTH_MAX);
            over.for_each(|link| put(&mut self.carriers, link, true));
        }
        let _ = self.bridges.insert(interface, Arc::new(bridge));
    }

    /// Adds an aggregated link by the index of its interface, and its ports.
    pub fn add_lagg(
        &mut self,
        interface: u16,
        lagg: Lagg,
        ports: impl IntoIterator<Item = (u16, Joined)>,
    ) {
        ports.into_iter().for_each(|(index, joined)| put(&mut self.joined, index, Some(joined)));
        let _ = self.laggs.insert(interface, lagg);
    }

    /// An interface that is an aggregated link.
    #[must_use]
    pub fn lagg(&self, interface: u16) -> Option<&Lagg> {
        self.laggs.get(&interface)
    }

    /// An interface as a port of an aggregated link.
    #[inline]
    #[must_use]
    pub fn joined(&self, interface: u16) -> Option<Joined> {
        self.joined.get(usize::from(interface)).copied().flatten()
    }

    /// An interface that is a bridge.
    #[must_use]
    pub fn bridge(&self, interface: u16) -> Option<&Arc<Bridge>> {
        self.bridges.get(&interface)
    }

    /// All bridges.
    pub(crate) fn bridges(&self) -> impl Iterator<Item = (u16, &Arc<Bridge>)> {
        self.bridges.iter().map(|(index, bridge)| (*index, bridge))
    }

    /// An interface as a port of a bridge.
    #[inline]
    #[must_use]
    pub fn member(&self, interface: u16) -> Option<Member> {
        self.members.get(usize::from(interface)).copied().flatten()
    }

    /// A VLAN over this link is a port of a bridge: frames for others are for it.
    #[must_use]
    pub(crate) fn carries_members(&self, link: u16) -> bool {
        self.carriers.get(usize::from(link)).copied().unwrap_or_default()
    }

    /// An interface that is a VLAN.
    #[must_use]
    pub fn vlan(&self, interface: u16) -> Option<&Vlan> {
        self.vlans.get(&interface)
    }

    /// The interface that has frames with this tag on a link.
    #[must_use]
    pub fn tagged(&self, parent: u16, kind: Kind, id: u16) -> Option<u16> {
        self.tagged.get(&(parent, kind, id)).copied()
    }
}

/// In a list by interface.
fn put<T: Clone + Default>(list: &mut Vec<T>, index: u16, value: T) {
    let place = usize::from(index);
    if list.len() <= place {
        list.resize(place.saturating_add(1), T::default());
    }
    if let Some(room) = list.get_mut(place) {
        *room = value;
    }
}

/// What went through an interface that has no port to count it: one piece per worker, which alone writes it.
#[derive(Debug)]
pub struct Traffic(Box<[Share]>);

/// One worker's part, in cache lines of its own.
#[derive(Debug, Default)]
#[repr(align(64))]
pub struct Share {
    /// Frames received.
    pub rx_packets: Counter,
    /// Their bytes.
    pub rx_bytes: Counter,
    /// Frames sent.
    pub tx_packets: Counter,
    /// Their bytes.
    pub tx_bytes: Counter,
}

impl Share {
    pub(crate) fn received(&self, len: u32) {
        self.rx_packets.increment();
        self.rx_bytes.add(len.into());
    }

    pub(crate) fn sent(&self, len: u32) {
        self.tx_packets.increment();
        self.tx_bytes.add(len.into());
    }
}

impl Traffic {
    /// Nothing yet.
    #[must_use]
    pub fn new(workers: u16) -> Self {
        Self((0..workers).map(|_| Share::default()).collect())
    }

    pub(crate) fn of(&self, worker: u16) -> Option<&Share> {
        self.0.get(usize::from(worker))
    }

    /// The sum over all workers.
    #[must_use]
    pub fn sum(&self, of: impl Fn(&Share) -> &Counter) -> u64 {
        self.0.iter().fold(0, |sum, share| sum.wrapping_add(of(share).value()))
    }
}

/// A bridge, as the workers see it.
#[derive(Debug)]
pub struct Bridge {
    /// Its members, by index.
    pub members: Box<[u16]>,
    /// Interfaces that get a copy of all that comes in (`span`).
    pub spans: Box<[u16]>,
    /// Limits of its table.
    pub settings: Settings,
    /// Addresses that the operator has put at ports.
    pub statics: Box<[(MacAddr, u16)]>,
    /// Packets to groups of IP go to those who listen.
    pub snoop: bool,
    /// It takes part in a spanning tree: what bridges tell each other is its own.
    pub stp: bool,
    /// Frames for all ports that one port may bring a second.
    pub floods_per_second: u32,
    /// What this host itself has sent and received.
    pub traffic: Arc<Traffic>,
}

/// A port of a bridge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    /// The bridge's interface.
    pub bridge: u16,
    /// Sources of its frames are learned (`learn`).
    pub learns: bool,
    /// It gets frames for stations that nobody knows (`discover`).
    pub discovers: bool,
    /// It is of the spanning tree: what bridges say there is listened to.
    pub stp: bool,
    /// What the spanning tree lets it do.
    pub state: PortState,
}

/// What a port of a bridge does (IEEE 802.1D-2004 7.4).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PortState {
    /// Nothing.
    Discarding,
    /// It learns sources.
    Learning,
    /// It learns and passes on.
    #[default]
    Forwarding,
}

/// An aggregated link, as the workers see it.
#[derive(Clone, Debug)]
pub struct Lagg {
    /// Ports that are sent by.
    pub distributing: Box<[u16]>,
    /// What went through.
    pub traffic: Arc<Traffic>,
}

/// A port of an aggregated link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Joined {
    /// The aggregated link's interface.
    pub lagg: u16,
    /// What comes in is taken.
    pub collects: bool,
    /// The other end speaks LACP with the control plane.
    pub lacp: bool,
}
