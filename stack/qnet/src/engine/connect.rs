//! Connections begin and end. Each goes one way; whoever answers has one of his own.
//!
//! ```text
//! sender                                receiver
//!   TX establish  names, id A  ──────▶    makes B
//!   up            ◀──────  RX up  B, A
//!   TX up         A, B  ──────▶           or the first frame
//!   TX down       ──────▶                 the sender has nothing more to say
//!   is over       ◀──────  RX down        the receiver knows of no such connection
//! ```

use types::Instant;

use super::{Engine, Event};
use crate::config::{Address, LinkId, Transmit};
use crate::discard::Discard;
use crate::frame::{Frame, Header, Kind, Layer};
use crate::limits::CONNECTIONS_MAX;
use crate::names::Greeting;
use crate::node::NodeId;
use crate::receiver::Receiver;
use crate::sender::State;

impl Engine {
    /// A sender establishes a connection.
    pub(super) fn establish_arrives(
        &mut self,
        whence: (LinkId, Address),
        frame: &Frame<'_>,
        now: Instant,
    ) -> Result<(), Discard> {
        let greeting = Greeting::parse(frame.payload, frame.header.order)?;
        if greeting.source == self.config.name {
            return Err(Discard::Own);
        }
        if greeting.destination != self.config.name {
            return Err(Discard::NotForUs);
        }
        let node = match self.node(&greeting.source) {
            Some(node) => node,
            None if self.config.auto_add.is_some() => self.add_node(&greeting.source, now)?,
            None => return Err(Discard::Stranger),
        };
        self.heard(node, whence, now)?;
        let header = &frame.header;
        let policy = (header.policy, header.index);
        let same = |receiver: &Receiver| receiver.node == node && receiver.policy == policy;
        let before = self.receivers.iter().find(|(_, receiver)| same(receiver));
        let before = before.map(|(id, receiver)| (*id, receiver.peer));
        let id = match before {
            Some((id, peer)) if peer == header.sconn => id,
            _ => self.accept(node, header, before.map(|(id, _)| id), whence, now)?,
        };
        if let Some(node) = self.nodes.get_mut(&node) {
            node.number_there = header.dst_nd_for_src;
        }
        self.answer(Kind::RxUp, (id, header.sconn), node, whence);
        Ok(())
    }

    /// Makes a receiver, in place of the one that the same node had.
    fn accept(
        &mut self,
        node: NodeId,
        header: &Header,
        before: Option<u32>,
        whence: (LinkId, Address),
        now: Instant,
    ) -> Result<u32, Discard> {
        if self.nodes.get(&node).is_some_and(|node| node.is_retired(header.sconn)) {
            return Err(Discard::Stale);
        }
        if self.inbox.is_full() {
            return Err(Discard::Memory);
        }
        if let Some(id) = before {
            self.close_receiver(id);
            self.inbox.push(Event::Restarted { node });
        }
        if self.receivers.len() >= CONNECTIONS_MAX {
            return Err(Discard::ConnectionsFull);
        }
        let id = self.fresh_id();
        let policy = (header.policy, header.index);
        let receiver = Receiver::new((header.sconn, node), policy, whence, now);
        let _ = self.receivers.insert(id, receiver);
        Ok(id)
    }

    /// Sends a frame about a connection: our id of it, theirs.
    fn answer(
        &mut self,
        kind: Kind,
        (ours, theirs): (u32, u32),
        node: NodeId,
        (link, to): (LinkId, Address),
    ) {
        let header = Header {
            src_nd_for_dst: self.nodes.get(&node).map_or(0, |node| node.number_there),
            dst_nd_for_src: node.0,
            sconn: ours,
            dconn: theirs,
            ..Header::new(self.config.order, kind, Layer::Sequence)
        };
        self.control(Transmit { link, to: Some(to) }, header, Vec::new());
    }

    /// The receiver of our connection is up.
    pub(super) fn rx_up_arrives(
        &mut self,
        whence: (LinkId, Address),
        header: &Header,
        now: Instant,
    ) -> Result<(), Discard> {
        let sender = self.senders.get_mut(&header.dconn).ok_or(Discard::NoConnection)?;
        let (node, policy) = (sender.node, sender.policy);
        match sender.state {
            State::Up if sender.peer == header.sconn => {}
            State::Up => return Err(Discard::Stale),
            State::Establishing { .. } => {
                sender.peer = header.sconn;
                sender.state = State::Up;
                sender.active = now;
                self.inbox.push(Event::Up { node, policy });
            }
        }
        self.heard(node, whence, now)?;
        if let Some(node) = self.nodes.get_mut(&node) {
            node.number_there = header.dst_nd_for_src;
        }
        self.answer(Kind::TxUp, (header.dconn, header.sconn), node, whence);
        self.kick(header.dconn);
        Ok(())
    }

    /// The sender of a connection is up, or asks for room.
    pub(super) fn tx_up_arrives(
        &mut self,
        whence: (LinkId, Address),
        header: &Header,
        now: Instant,
    ) -> Result<(), Discard> {
        let receiver = self.receivers.get_mut(&header.dconn).ok_or(Discard::NoConnection)?;
        if receiver.peer != header.sconn {
            return Err(Discard::NoConnection);
        }
        receiver.heard = now;
        receiver.reply_to = whence;
        let node = receiver.node;
        if !core::mem::replace(&mut receiver.ack_due, true) {
            self.acks.push_back(header.dconn);
        }
        self.heard(node, whence, now)
    }

    /// The receiver of our connection knows nothing of it.
    pub(super) fn rx_down_arrives(
        &mut self,
        (link, from): (LinkId, Address),
        header: &Header,
    ) -> Result<(), Discard> {
        let sender = self.senders.get(&header.dconn).ok_or(Discard::NoConnection)?;
        let node = self.nodes.get(&sender.node).ok_or(Discard::NoConnection)?;
        if !node.paths.iter().any(|path| path.link == link && path.address == from) {
            return Err(Discard::Stranger);
        }
        if sender.state != State::Up || sender.peer != header.sconn {
            return Err(Discard::NoConnection);
        }
        self.close_sender(header.dconn, true);
        Ok(())
    }

    /// The sender of a connection has nothing more to say.
    pub(super) fn tx_down_arrives(&mut self, header: &Header) -> Result<(), Discard> {
        let receiver = self.receivers.get(&header.dconn).ok_or(Discard::NoConnection)?;
        if receiver.peer != header.sconn {
            return Err(Discard::NoConnection);
        }
        self.close_receiver(header.dconn);
        Ok(())
    }

    /// A frame has come for a connection that is not here: its sender is to know.
    pub(super) fn refuse(&mut self, (link, from): (LinkId, Address), header: &Header) {
        let reply = Header {
            sconn: header.dconn,
            dconn: header.sconn,
            ..Header::new(self.config.order, Kind::RxDown, Layer::Sequence)
        };
        self.control(Transmit { link, to: Some(from) }, reply, Vec::new());
    }

    /// Forgets a connection that comes in.
    pub(super) fn close_receiver(&mut self, id: u32) {
        let Some(receiver) = self.receivers.remove(&id) else { return };
        self.held_len = self.held_len.saturating_sub(receiver.held_len());
        if let Some(node) = self.nodes.get_mut(&receiver.node) {
            node.retire(receiver.peer);
        }
    }

    /// Forgets a connection that goes out, and tells if it had a use.
    pub(super) fn close_sender(&mut self, id: u32, tell: bool) {
        let Some(sender) = self.senders.remove(&id) else { return };
        if tell {
            self.inbox.push(Event::Down {
                node: sender.node,
                policy: sender.policy,
                undelivered: sender.undelivered(),
            });
        }
    }

    /// Greets the node of a connection that is not up, by the paths in turn.
    pub(super) fn establish(&mut self, id: u32, attempt: u32) {
        let Some(sender) = self.senders.get(&id) else { return };
        let Some(node) = self.nodes.get(&sender.node) else { return };
        let (policy, index) = sender.policy.numbers();
        let header = Header {
            dst_nd_for_src: sender.node.0,
            sconn: id,
            policy,
            index,
            ..Header::new(self.config.order, Kind::TxEstablish, Layer::Sequence)
        };
        let source = self.config.name.clone();
        let destination = node.name.clone();
        let paths: Vec<_> = node.paths.iter().map(|path| (path.link, path.address)).collect();
        let turn = usize::try_from(attempt).ok().and_then(|at| at.checked_rem(paths.len()));
        let Some((link, to)) = turn.and_then(|at| paths.get(at)) else {
            return self.ask(Some(&destination));
        };
        let mut payload = Vec::new();
        Greeting { source, destination }.emit(self.config.order, &mut payload);
        self.control(Transmit { link: *link, to: Some(*to) }, header, payload);
    }

    /// Tells a receiver that the sender is up, or has nothing more to say.
    pub(super) fn tell_receiver(&mut self, id: u32, kind: Kind) {
        let Some(sender) = self.senders.get(&id) else { return };
        let (node, peer) = (sender.node, sender.peer);
        let paths = self.nodes.get(&node).map(|node| node.paths.iter());
        let best = paths.into_iter().flatten().max_by_key(|path| (path.up, path.heard));
        if let Some(whither) = best.map(|path| (path.link, path.address)) {
            self.answer(kind, (id, peer), node, whither);
        }
    }
}
