//! Interfaces that are made of others: VLANs over a link. A part of the snapshot.

use std::sync::Arc;

use counters::Counter;
use hashbrown::HashMap;
use wire::vlan::{Kind, Tag, Tci};

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
}

impl Links {
    /// VLANs by the index of their interface.
    #[must_use]
    pub fn new(vlans: impl IntoIterator<Item = (u16, Vlan)>) -> Self {
        let vlans: HashMap<u16, Vlan> = vlans.into_iter().collect();
        let tagged = vlans.iter().map(|(index, vlan)| ((vlan.parent, vlan.kind, vlan.id), *index));
        Self { tagged: tagged.collect(), vlans }
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
