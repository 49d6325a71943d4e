//! Messages go and come.

use types::Instant;

use super::Engine;
use crate::config::{Address, LinkId, Transmit};
use crate::discard::Discard;
use crate::frame::{Frame, Kind, Order};
use crate::limits::HOLES_MAX;
use crate::sender::State;

impl Engine {
    /// A piece of a message has come.
    pub(super) fn user_arrives(
        &mut self,
        whence: (LinkId, Address),
        frame: &Frame<'_>,
        now: Instant,
    ) -> Result<(), Discard> {
        let id = frame.header.dconn;
        let known = self.receivers.get_mut(&id);
        let Some(receiver) = known.filter(|receiver| receiver.peer == frame.header.sconn) else {
            self.refuse(whence, &frame.header);
            return Err(Discard::NoConnection);
        };
        receiver.heard = now;
        receiver.reply_to = whence;
        let node = receiver.node;
        if !receiver.ack_due {
            self.acks.push_back(id);
        }
        let before = receiver.held_len();
        let taken = receiver.receive(frame, self.held_len, &mut self.inbox);
        let held = self.held_len.saturating_sub(before).saturating_add(receiver.held_len());
        self.held_len = held;
        if taken == Err(Discard::Message) {
            self.close_receiver(id);
            self.refuse(whence, &frame.header);
        }
        // The frame is taken even if its way is one too many to be kept.
        let _ = self.heard(node, whence, now);
        taken
    }

    /// A receiver tells what has come.
    pub(super) fn ack_arrives(
        &mut self,
        whence: (LinkId, Address),
        frame: &Frame<'_>,
        now: Instant,
    ) -> Result<(), Discard> {
        let header = &frame.header;
        let sender = self.senders.get_mut(&header.dconn).ok_or(Discard::NoConnection)?;
        if sender.state != State::Up || sender.peer != header.sconn {
            return Err(Discard::NoConnection);
        }
        let id = sender.node;
        let node = self.nodes.get_mut(&id).ok_or(Discard::NoConnection)?;
        sender.acknowledge(node, (header.seq, header.offset), now)?;
        if header.kind == Kind::Nack {
            let holes = frame.payload.chunks_exact(8).take(HOLES_MAX.saturating_add(1));
            let holes = holes.filter_map(|pair| pair_of(pair, header.order));
            sender.holes(node, holes, now)?;
        }
        if let Some(at) = sender.rto_at {
            self.arm(at);
        }
        self.kick(header.dconn);
        let _ = self.heard(id, whence, now);
        Ok(())
    }

    /// Writes an acknowledgement that is due.
    pub(super) fn transmit_ack(&mut self, to: &mut Vec<u8>) -> Option<Transmit> {
        let ours = (self.config.order, self.config.crc);
        let room = self.inbox.has_room();
        while let Some(id) = self.acks.pop_front() {
            let Some(receiver) = self.receivers.get_mut(&id) else { continue };
            let Some(node) = self.nodes.get(&receiver.node) else { continue };
            receiver.acknowledge(node, (id, ours.0, ours.1), room, to);
            let (link, address) = receiver.reply_to;
            return Some(Transmit { link, to: Some(address) });
        }
        None
    }

    /// Writes a frame of a connection; each that has some sends one in turn.
    pub(super) fn transmit_data(&mut self, now: Instant, to: &mut Vec<u8>) -> Option<Transmit> {
        let (order, crc) = (self.config.order, self.config.crc);
        while let Some(id) = self.ready.pop_front() {
            let Some(sender) = self.senders.get_mut(&id) else { continue };
            sender.ready = false;
            let Some(node) = self.nodes.get(&sender.node) else { continue };
            if sender.state != State::Up {
                continue;
            }
            let path = sender.transmit(node, (id, order, crc), now, to);
            if let Some(at) = sender.rto_at {
                self.next_at = self.next_at.min(at);
            }
            let Some(path) = path else { continue };
            sender.ready = true;
            self.ready.push_back(id);
            let path = node.paths.get(path)?;
            return Some(Transmit { link: path.link, to: Some(path.address) });
        }
        None
    }
}

/// Where a hole begins and ends.
fn pair_of(bytes: &[u8], order: Order) -> Option<(u32, u32)> {
    let (from, rest) = bytes.split_first_chunk::<4>()?;
    let to = rest.first_chunk::<4>()?;
    Some(match order {
        Order::Little => (u32::from_le_bytes(*from), u32::from_le_bytes(*to)),
        Order::Big => (u32::from_be_bytes(*from), u32::from_be_bytes(*to)),
    })
}
