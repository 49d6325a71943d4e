//! Protocol modules at one worker: packets that are theirs, what they send, when they want to be
//! called.

use std::sync::Arc;

use dpdk::Mbuf;
use lsm::{Claim, Desk, Plan, Sending};
use types::{DropReason, Instant};
use wire::{ethernet, ipv4};

use crate::command::{CallId, ClaimedBy, Handoff, Outcome};
use crate::input::{Received, drop_front};
use crate::limits::TTL;
use crate::module_stream::Turns;
use crate::packet_out::PacketOut;
use crate::worker::Worker;

impl Worker {
    /// Takes up a new plan. Nothing of modules that do not stand in it is used afterwards.
    pub(crate) fn adopt_protocols(&mut self, call: CallId, plan: Arc<Plan>) {
        if plan.is_empty() {
            self.out.desk = None;
        } else {
            let me = self.mesh.me;
            self.out.desk.get_or_insert_with(|| Box::new(Desk::new(me))).adopt(plan);
        }
        self.drop_module_sockets();
        if self.out.desk.is_none() {
            self.module_streams = Turns::default();
        }
        self.done(call, Ok(Outcome::Done));
    }

    /// Gives modules the packets that are theirs.
    #[cold]
    pub(crate) fn deliver(&mut self, now: Instant) {
        if let Some(desk) = &mut self.out.desk {
            desk.deliver();
        }
        let _ = self.send_for_protocols(now);
    }

    /// A frame that is neither IPv4 nor ARP.
    #[cold]
    pub(crate) fn ethertype_input(
        &mut self,
        kind: ethernet::EtherType,
        mbuf: Mbuf,
        interface: u16,
    ) -> Result<(), DropReason> {
        let desk = self.out.desk.as_ref().ok_or(DropReason::EthernetType)?;
        let claim = desk.ethertype(kind.0).ok_or(DropReason::EthernetType)?;
        self.claim(claim, ClaimedBy::EtherType(kind.0), interface, mbuf)
    }

    /// Keeps a packet for its module, or hands it to the worker that alone may call that.
    fn claim(
        &mut self,
        claim: Claim,
        by: ClaimedBy,
        interface: u16,
        mbuf: Mbuf,
    ) -> Result<(), DropReason> {
        let desk = self.out.desk.as_mut().ok_or(DropReason::EthernetType)?;
        let owner = desk.owner(claim);
        if owner == self.mesh.me {
            desk.stage(claim, interface, mbuf);
            return Ok(());
        }
        let handoff = Handoff::Claimed { by, interface, mbuf };
        self.mesh.send(owner, handoff).map_err(|_| DropReason::HandoffQueueFull)
    }

    /// A packet of a module that this worker alone calls, from another. The module may be gone since.
    #[cold]
    pub(crate) fn claimed_input(&mut self, by: ClaimedBy, mbuf: Mbuf, interface: u16) {
        let desk = self.out.desk.as_mut();
        let claim = desk.as_ref().and_then(|desk| match by {
            ClaimedBy::EtherType(number) => desk.ethertype(number),
            ClaimedBy::Protocol(number) => desk.protocol(number),
        });
        match (claim, desk) {
            (Some(claim), Some(desk)) => desk.stage(claim, interface, mbuf),
            _ => self.out.count_drop(match by {
                ClaimedBy::EtherType(_) => DropReason::EthernetType,
                ClaimedBy::Protocol(_) => DropReason::Ipv4Protocol,
            }),
        }
    }

    /// A packet that is neither ICMP nor TCP nor UDP.
    #[cold]
    pub(crate) fn protocol_input(
        &mut self,
        protocol: ipv4::Protocol,
        mut mbuf: Mbuf,
        received: &Received,
        now: Instant,
    ) -> Result<(), DropReason> {
        let claim = self.out.desk.as_ref().and_then(|desk| desk.protocol(protocol.0));
        let Some(claim) = claim else {
            if received.heard {
                return Ok(());
            }
            self.protocol_unreachable(&mbuf, received, now);
            return Err(DropReason::Ipv4Protocol);
        };
        let len = received.ip_len + received.segment_len;
        let there = usize::from(mbuf.data_len()).saturating_sub(received.ip_offset);
        let padding = u16::try_from(there.saturating_sub(len)).unwrap_or(0);
        if !drop_front(&mut mbuf, received.ip_offset) || !mbuf.trim(padding) {
            return Err(DropReason::Ipv4TooShort);
        }
        self.claim(claim, ClaimedBy::Protocol(protocol.0), received.interface, mbuf)
    }

    /// Calls and timers of modules, and what their streams have sent. `true`: there were some.
    pub(crate) fn attend_protocols(&mut self, now: Instant) -> bool {
        let Some(desk) = &mut self.out.desk else { return false };
        desk.set_now(now);
        let busy = desk.attend();
        let sent = self.send_for_protocols(now);
        busy | sent | self.attend_streams(now)
    }

    /// Sends what modules want sent. `true`: there was something.
    pub(crate) fn send_for_protocols(&mut self, now: Instant) -> bool {
        let mut busy = false;
        while let Some(sending) = self.out.desk.as_mut().and_then(|desk| desk.next_sending()) {
            busy = true;
            match sending {
                Sending::Frame { interface, mbuf } => self.out.module_frame(mbuf, interface),
                Sending::Packet { to, mbuf } => self.module_packet(&to, mbuf, now),
                Sending::Datagram { socket, owner, from, mbuf } => {
                    self.module_input(socket, owner, from, mbuf);
                }
                Sending::Stream { socket, owner, word } => self.stream_said(socket, owner, word),
            }
        }
        busy
    }

    fn module_packet(&mut self, to: &lsm::Destination, mbuf: Mbuf, now: Instant) {
        let source = to.from.or_else(|| self.out.network.source_for(to.to));
        let Some(source) = source else {
            return self.out.count_drop(DropReason::Ipv4NoRoute);
        };
        let out = PacketOut {
            tos: to.tos,
            ttl: to.ttl.unwrap_or(TTL),
            ..PacketOut::new(source, to.to, ipv4::Protocol(to.protocol))
        };
        self.send_ipv4(mbuf, &out, now);
    }
}
