//! VLANs over a link (IEEE 802.1Q, 802.1ad).
//!
//! ```text
//!  in   ethernet_input(tap0) ── a tag ──► which interface has it? ──► without the tag ──► ethernet_input(vlan0)
//!  out  transmit(vlan0) ──► with the tag ──► transmit(tap0)
//! ```
//! A VLAN over a VLAN has frames with two tags (QinQ). VLANs have their parent's address.

use dpdk::{Burst, Mbuf};
use types::{DropReason, Instant};
use wire::vlan::{self, Kind, TAG_LEN, Tag};

use crate::filter;
use crate::input::drop_front;
use crate::limits::VLAN_DEPTH_MAX;
use crate::output::Output;
use crate::worker::Worker;

impl Worker {
    /// A frame with a tag: without it, it is the VLAN's.
    pub(crate) fn vlan_input(
        &mut self,
        mut mbuf: Mbuf,
        mut interface: u16,
        now: Instant,
    ) -> Result<(), DropReason> {
        for _ in 0..VLAN_DEPTH_MAX {
            let (kind, tci) = Tag::parse(mbuf.data())?;
            if tci.id() != 0 {
                let Some(child) = self.out.network.links.tagged(interface, kind, tci.id()) else {
                    return self.untaken_input(kind, mbuf, interface);
                };
                interface = child;
            }
            if !vlan::strip(mbuf.data_mut()) || !drop_front(&mut mbuf, TAG_LEN) {
                return Err(DropReason::VlanTooShort);
            }
            let up = self.out.network.interface(interface).is_some_and(|config| config.up);
            if !up {
                return Err(DropReason::InterfaceDown);
            }
            if let Some(vlan) = self.out.network.links.vlan(interface)
                && tci.id() != 0
                && let Some(share) = vlan.traffic.of(self.mesh.me)
            {
                share.received(mbuf.packet_len());
            }
            if self.out.network.links.member(interface).is_some() {
                self.bridge_one(mbuf, interface, now);
                return Ok(());
            }
            let frame = wire::ethernet::Frame::parse(mbuf.data())?;
            if Kind::of(frame.header.ethertype()).is_none() {
                return match self.judged(mbuf, interface) {
                    Some(mbuf) => self.ethernet_input(mbuf, interface, now),
                    None => Ok(()),
                };
            }
        }
        Err(DropReason::VlanDepth)
    }

    /// What came with a tag passes modules' filters as what a port brings does; at the port they have seen
    /// only the tag. `None`: it is gone, and counted.
    fn judged(&mut self, mbuf: Mbuf, interface: u16) -> Option<Mbuf> {
        if self.out.desk.is_none() {
            return Some(mbuf);
        }
        let mut burst = Burst::new();
        burst.extend([mbuf]);
        filter::input(&mut self.out, &mut burst, interface);
        burst.pop()
    }

    /// No interface is in the VLAN; a protocol module may want it.
    #[cold]
    fn untaken_input(&mut self, kind: Kind, mbuf: Mbuf, interface: u16) -> Result<(), DropReason> {
        let taken = self.ethertype_input(kind.ethertype(), mbuf, interface);
        taken.map_err(|reason| match reason {
            DropReason::EthernetType => DropReason::VlanUnknown,
            other => other,
        })
    }
}

impl Output {
    /// A frame for an interface that has no port: its tag goes in, and it is its parent's.
    #[inline(never)]
    pub(crate) fn transmit_over(&mut self, mut mbuf: Mbuf, interface: u16) {
        let Some(vlan) = self.network.links.vlan(interface) else {
            if self.network.links.lagg(interface).is_some() {
                return self.transmit_aggregated(mbuf, interface);
            }
            return self.transmit_bridged(mbuf, interface);
        };
        let (parent, tag) = (vlan.parent, vlan.tag());
        if !self.network.interface(parent).is_some_and(|config| config.up) {
            return self.count_drop(DropReason::InterfaceDown);
        }
        if let Some(share) = vlan.traffic.of(self.worker) {
            share.sent(mbuf.packet_len());
        }
        if mbuf.prepend(TAG_LEN_U16).is_none() || !vlan::insert(mbuf.data_mut(), tag) {
            return self.count_drop(DropReason::MbufExhausted);
        }
        self.transmit(mbuf, parent);
    }

    /// Room for more frames where an interface without a port sends them?
    #[cold]
    pub(crate) fn carriers_have_room(&self, interface: u16) -> bool {
        let links = &self.network.links;
        if let Some(vlan) = links.vlan(interface) {
            return self.has_room(vlan.parent);
        }
        if let Some(lagg) = links.lagg(interface) {
            return lagg.distributing.iter().all(|port| self.has_room(*port));
        }
        links
            .bridge(interface)
            .is_none_or(|bridge| bridge.members.iter().all(|m| self.has_room(*m)))
    }
}

#[expect(clippy::cast_possible_truncation, reason = "4")]
const TAG_LEN_U16: u16 = TAG_LEN as u16;
