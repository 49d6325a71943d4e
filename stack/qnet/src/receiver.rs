//! The receiving end of a connection: frames are put in order and joined to messages.

use std::collections::VecDeque;

use types::Instant;

use crate::config::{Address, LinkId};
use crate::discard::Discard;
use crate::engine::Event;
use crate::frame::{Frame, Header, Kind, Layer, Order};
use crate::inbox::Inbox;
use crate::limits::{HELD_MAX, HOLES_MAX, MESSAGE_MAX, WINDOW};
use crate::node::{Node, NodeId};

/// A frame out of order.
#[derive(Debug)]
struct Held {
    layer: Layer,
    first: bool,
    last: bool,
    offset: u32,
    payload: Vec<u8>,
}

/// The receiving end of a connection.
#[derive(Debug)]
pub(crate) struct Receiver {
    /// The connection's id at the sender.
    pub(crate) peer: u32,
    pub(crate) node: NodeId,
    /// The policy's numbers, which with the node name the connection.
    pub(crate) policy: (u16, u16),
    /// Where acknowledgements go: whence the latest frame came.
    pub(crate) reply_to: (LinkId, Address),
    pub(crate) ack_due: bool,
    pub(crate) heard: Instant,
    nxt: u32,
    /// What is behind `nxt`: the first place is for `nxt` itself, the last one is taken.
    held: VecDeque<Option<Held>>,
    held_len: usize,
    message: Vec<u8>,
    in_message: bool,
    order: Order,
}

impl Receiver {
    pub(crate) fn new(
        (peer, node): (u32, NodeId),
        policy: (u16, u16),
        reply_to: (LinkId, Address),
        now: Instant,
    ) -> Self {
        Self {
            peer,
            node,
            policy,
            reply_to,
            ack_due: false,
            heard: now,
            nxt: 0,
            held: VecDeque::new(),
            held_len: 0,
            message: Vec::new(),
            in_message: false,
            order: Order::Little,
        }
    }

    #[cfg(test)]
    pub(crate) fn begin_at(&mut self, seq: u32) {
        self.nxt = seq;
    }

    /// Bytes out of order.
    pub(crate) fn held_len(&self) -> usize {
        self.held_len
    }

    /// Bytes that are kept for a message that is not whole.
    pub(crate) fn partial_len(&self) -> usize {
        self.message.len()
    }

    /// A frame of this connection; `others` is what all connections hold, and `inbox` takes messages.
    ///
    /// # Errors
    /// `Message` breaks the connection; the others do not.
    pub(crate) fn receive(
        &mut self,
        frame: &Frame<'_>,
        others: usize,
        inbox: &mut Inbox,
    ) -> Result<(), Discard> {
        let header = &frame.header;
        self.ack_due = true;
        self.order = header.order;
        let ahead = header.seq.wrapping_sub(self.nxt);
        if ahead > u32::MAX / 2 {
            return Err(Discard::Duplicate);
        }
        if ahead >= WINDOW {
            return Err(Discard::Window);
        }
        if inbox.is_full() {
            return Err(Discard::Memory);
        }
        if ahead == 0 {
            let (first, last) = (header.first, header.last);
            self.join(header.layer, (first, last), header.offset, frame.payload, inbox)?;
            drop(self.held.pop_front());
            self.nxt = self.nxt.wrapping_add(1);
            return self.catch_up(inbox);
        }
        if others.saturating_add(frame.payload.len()) > HELD_MAX {
            return Err(Discard::Memory);
        }
        let at = usize::try_from(ahead).map_err(|_| Discard::Window)?;
        while self.held.len() <= at {
            self.held.push_back(None);
        }
        let place = self.held.get_mut(at).ok_or(Discard::Window)?;
        if place.is_some() {
            return Err(Discard::Duplicate);
        }
        self.held_len = self.held_len.saturating_add(frame.payload.len());
        *place = Some(Held {
            layer: header.layer,
            first: header.first,
            last: header.last,
            offset: header.offset,
            payload: frame.payload.to_vec(),
        });
        Ok(())
    }

    /// What follows a frame that was missing.
    fn catch_up(&mut self, inbox: &mut Inbox) -> Result<(), Discard> {
        while let Some(Some(held)) = self.held.front_mut().map(Option::take) {
            drop(self.held.pop_front());
            self.held_len = self.held_len.saturating_sub(held.payload.len());
            self.nxt = self.nxt.wrapping_add(1);
            self.join(held.layer, (held.first, held.last), held.offset, &held.payload, inbox)?;
        }
        Ok(())
    }

    /// The next frame in order continues its message, or begins one.
    fn join(
        &mut self,
        layer: Layer,
        (first, last): (bool, bool),
        offset: u32,
        payload: &[u8],
        inbox: &mut Inbox,
    ) -> Result<(), Discard> {
        let continues = usize::try_from(offset).is_ok_and(|offset| offset == self.message.len());
        let len = self.message.len().saturating_add(payload.len());
        if first == self.in_message || !continues || len > MESSAGE_MAX {
            return Err(Discard::Message);
        }
        self.message.extend_from_slice(payload);
        self.in_message = !last;
        if last {
            let bytes = core::mem::take(&mut self.message);
            inbox.push(Event::Message { node: self.node, layer, order: self.order, bytes });
        }
        Ok(())
    }

    /// Writes an ACK, or a NACK if there are holes, behind what `to` holds.
    pub(crate) fn acknowledge(
        &mut self,
        node: &Node,
        (id, order, crc): (u32, Order, bool),
        room: bool,
        to: &mut Vec<u8>,
    ) {
        self.ack_due = false;
        let mut payload = Vec::new();
        let kind = if self.held.is_empty() { Kind::Ack } else { Kind::Nack };
        let layer = match kind {
            Kind::Ack => Layer::KernelInterface,
            _ => Layer::Sequence,
        };
        if kind == Kind::Nack {
            self.holes(order, &mut payload);
        }
        let header = Header {
            src_nd_for_dst: node.number_there,
            dst_nd_for_src: self.node.0,
            sconn: id,
            dconn: self.peer,
            seq: self.nxt,
            policy: self.policy.0,
            index: self.policy.1,
            offset: if room { WINDOW } else { 0 },
            ..Header::new(order, kind, layer)
        };
        header.emit(&payload, crc, to);
    }

    /// Pairs of where a hole begins and where it ends; the last is empty and says where what came ends.
    fn holes(&self, order: Order, to: &mut Vec<u8>) {
        let mut pair = |from: usize, until: usize| {
            for at in [from, until] {
                let seq = self.nxt.wrapping_add(u32::try_from(at).unwrap_or(0));
                to.extend_from_slice(&match order {
                    Order::Little => seq.to_le_bytes(),
                    Order::Big => seq.to_be_bytes(),
                });
            }
        };
        let mut begin = None;
        let mut count = 0;
        for (at, place) in self.held.iter().enumerate() {
            match (place.is_none(), begin) {
                (true, None) if count == HOLES_MAX => return pair(at, at),
                (true, None) => begin = Some(at),
                (false, Some(from)) => {
                    pair(from, at);
                    count = count.saturating_add(1);
                    begin = None;
                }
                _ => {}
            }
        }
        pair(self.held.len(), self.held.len());
    }
}
