//! A node: its links, the other nodes, connections with them, and what waits to be sent or read.

mod connect;
mod discover;
#[cfg(test)]
mod tests;
mod timers;
mod transfer;

use std::collections::{BTreeMap, VecDeque};
use std::hash::Hasher;

use siphasher::sip::SipHasher24;
use types::Instant;

use crate::config::{Address, Config, Link, LinkId, Policy, Transmit};
use crate::discard::Discard;
use crate::frame::{Frame, Header, Kind, Layer, Order};
use crate::inbox::Inbox;
use crate::limits::{LINKS_MAX, MESSAGE_MAX, NODES_MAX, OUTBOX_MAX};
use crate::names::Fqnn;
use crate::node::{Node, NodeId};
use crate::receiver::Receiver;
use crate::sender::Sender;

/// What has happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A connection to a node is up.
    Up {
        /// The node.
        node: NodeId,
        /// The connection's policy.
        policy: Policy,
    },
    /// A connection to a node is over, other than by being idle.
    Down {
        /// The node.
        node: NodeId,
        /// The connection's policy.
        policy: Policy,
        /// Messages that may not have arrived.
        undelivered: usize,
    },
    /// A message has come.
    Message {
        /// Whose.
        node: NodeId,
        /// What it is.
        layer: Layer,
        /// The byte order of its numbers.
        order: Order,
        /// The message.
        bytes: Vec<u8>,
    },
    /// A node has begun anew: what was agreed with it is no more.
    Restarted {
        /// The node.
        node: NodeId,
    },
    /// A node is forgotten; its number may be given to another one.
    Gone {
        /// The node.
        node: NodeId,
    },
}

/// Why a message was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SendError {
    /// No such node: ask for it by [`Engine::reach`].
    NoNode,
    /// Too much waits already: try again when some has gone.
    Full,
    /// Longer than a message may be.
    TooLong,
}

/// What a node keeps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Other nodes.
    pub nodes: usize,
    /// Connections that go out.
    pub senders: usize,
    /// Connections that come in.
    pub receivers: usize,
    /// Bytes that wait to be sent.
    pub queued_len: usize,
    /// Bytes that came and are no whole messages yet.
    pub held_len: usize,
    /// Bytes of events that wait to be read.
    pub ready_len: usize,
}

/// A path of a node, for show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PathState {
    /// Our interface.
    pub link: LinkId,
    /// The node's address there.
    pub address: Address,
    /// Frames arrive.
    pub up: bool,
}

/// A control frame that waits to be sent.
#[derive(Debug)]
struct Control {
    to: Transmit,
    header: Header,
    payload: Vec<u8>,
}

/// A node.
#[derive(Debug)]
pub struct Engine {
    config: Config,
    key: (u64, u64),
    ids: u64,
    links: BTreeMap<LinkId, Link>,
    nodes: BTreeMap<NodeId, Node>,
    last_node: NodeId,
    senders: BTreeMap<u32, Sender>,
    receivers: BTreeMap<u32, Receiver>,
    outbox: VecDeque<Control>,
    acks: VecDeque<u32>,
    ready: VecDeque<u32>,
    inbox: Inbox,
    held_len: usize,
    next_at: Instant,
    tick_at: Instant,
    announce_at: Instant,
    discards: [u64; Discard::ALL.len()],
}

impl Engine {
    /// A node without links. Whoever knows the key can guess the ids of its connections.
    #[must_use]
    pub fn new(config: Config, key: (u64, u64)) -> Self {
        Self {
            config,
            key,
            ids: 0,
            links: BTreeMap::new(),
            nodes: BTreeMap::new(),
            last_node: NodeId(0),
            senders: BTreeMap::new(),
            receivers: BTreeMap::new(),
            outbox: VecDeque::new(),
            acks: VecDeque::new(),
            ready: VecDeque::new(),
            inbox: Inbox::default(),
            held_len: 0,
            next_at: Instant::FAR_FUTURE,
            tick_at: Instant::ZERO,
            announce_at: Instant::ZERO,
            discards: [0; Discard::ALL.len()],
        }
    }

    /// Binds an interface, and makes the node heard there. Returns whether there was room for it.
    pub fn link_up(&mut self, id: LinkId, link: Link, now: Instant) -> bool {
        if !self.links.contains_key(&id) && self.links.len() >= LINKS_MAX {
            return false;
        }
        let _ = self.links.insert(id, link);
        let paths = self.nodes.values_mut().flat_map(|node| &mut node.paths);
        for path in paths.filter(|path| path.link == id) {
            path.frame_len_max = link.frame_len_max;
        }
        self.announce_at = now;
        self.arm(now);
        true
    }

    /// An interface is gone, or has lost its carrier.
    pub fn link_down(&mut self, id: LinkId) {
        let _ = self.links.remove(&id);
        let nodes: Vec<NodeId> = self.nodes.keys().copied().collect();
        for node in nodes {
            let paths = self.nodes.get(&node).map_or(0, |node| node.paths.len());
            for at in 0..paths {
                let path = self.nodes.get_mut(&node).and_then(|node| node.paths.get_mut(at));
                if let Some(path) = path.filter(|path| path.link == id) {
                    path.up = false;
                    self.path_lost(node, at);
                }
            }
        }
    }

    /// A frame has come, from its LWL4 header on.
    ///
    /// # Errors
    /// Why it was discarded; it is counted.
    pub fn input(
        &mut self,
        link: LinkId,
        from: Address,
        bytes: &[u8],
        now: Instant,
    ) -> Result<(), Discard> {
        let taken = self.take(link, from, bytes, now);
        if let Err(reason) = taken
            && let Some(count) = self.discards.get_mut(reason as usize)
        {
            *count = count.saturating_add(1);
        }
        taken
    }

    fn take(
        &mut self,
        link: LinkId,
        from: Address,
        bytes: &[u8],
        now: Instant,
    ) -> Result<(), Discard> {
        let frame = Frame::parse(bytes)?;
        if self.config.crc && !frame.checked {
            return Err(Discard::Unchecked);
        }
        let bound = self.links.get(&link).ok_or(Discard::NotForUs)?;
        if bound.address == from {
            return Err(Discard::Own);
        }
        let whence = (link, from);
        match frame.header.kind {
            Kind::UserData => self.ping_arrives(whence, &frame, now),
            Kind::TxEstablish => self.establish_arrives(whence, &frame, now),
            Kind::RxUp => self.rx_up_arrives(whence, &frame.header, now),
            Kind::TxUp => self.tx_up_arrives(whence, &frame.header, now),
            Kind::RxDown => self.rx_down_arrives(whence, &frame.header),
            Kind::TxDown => self.tx_down_arrives(&frame.header),
            Kind::User => self.user_arrives(whence, &frame, now),
            Kind::Ack | Kind::Nack => self.ack_arrives(whence, &frame, now),
            Kind::Lres => self.lan_message_arrives(whence, &frame, now),
        }
    }

    /// Queues a message to a node; messages of one policy arrive in order.
    ///
    /// # Errors
    /// Why it was not taken.
    pub fn send(
        &mut self,
        node: NodeId,
        policy: Policy,
        layer: Layer,
        message: Vec<u8>,
        now: Instant,
    ) -> Result<(), SendError> {
        if message.len() > MESSAGE_MAX {
            return Err(SendError::TooLong);
        }
        if !self.nodes.contains_key(&node) {
            return Err(SendError::NoNode);
        }
        let id = self.sender(node, policy, now);
        let sender = self.senders.get_mut(&id).ok_or(SendError::NoNode)?;
        if !sender.enqueue(layer, message, now) {
            return Err(SendError::Full);
        }
        self.kick(id);
        Ok(())
    }

    /// The connection to a node with a policy; makes it if there is none.
    fn sender(&mut self, node: NodeId, policy: Policy, now: Instant) -> u32 {
        let same = |sender: &Sender| sender.node == node && sender.policy == policy;
        if let Some((id, _)) = self.senders.iter().find(|(_, sender)| same(sender)) {
            return *id;
        }
        let id = self.fresh_id();
        let _ = self.senders.insert(id, Sender::new(node, policy, now));
        self.arm(now);
        id
    }

    /// The next event.
    pub fn poll_event(&mut self) -> Option<Event> {
        let had_room = self.inbox.has_room();
        let event = self.inbox.pop()?;
        if !had_room && self.inbox.has_room() {
            self.acknowledge_all();
        }
        Some(event)
    }

    /// There is room again: every sender is to know.
    fn acknowledge_all(&mut self) {
        for (id, receiver) in &mut self.receivers {
            if !receiver.ack_due {
                receiver.ack_due = true;
                self.acks.push_back(*id);
            }
        }
    }

    /// Writes the next frame into `to`, which is emptied before; `None`: there is none now.
    pub fn poll_transmit(&mut self, now: Instant, to: &mut Vec<u8>) -> Option<Transmit> {
        to.clear();
        let crc = self.config.crc;
        if let Some(control) = self.outbox.pop_front() {
            control.header.emit(&control.payload, crc, to);
            return Some(control.to);
        }
        if let Some(to) = self.transmit_ack(to) {
            return Some(to);
        }
        self.transmit_data(now, to)
    }

    /// Which node of this name is known.
    #[must_use]
    pub fn node(&self, name: &Fqnn) -> Option<NodeId> {
        self.nodes.iter().find(|(_, node)| node.name == *name).map(|(id, _)| *id)
    }

    /// The nodes that are known.
    pub fn nodes(&self) -> impl Iterator<Item = (NodeId, &Fqnn)> {
        self.nodes.iter().map(|(id, node)| (*id, &node.name))
    }

    /// The paths to a node.
    pub fn paths(&self, node: NodeId) -> impl Iterator<Item = PathState> {
        let paths = self.nodes.get(&node).map(|node| node.paths.iter());
        paths.into_iter().flatten().map(|path| PathState {
            link: path.link,
            address: path.address,
            up: path.up,
        })
    }

    /// What the node keeps.
    #[must_use]
    pub fn usage(&self) -> Usage {
        let partial: usize = self.receivers.values().map(Receiver::partial_len).sum();
        Usage {
            nodes: self.nodes.len(),
            senders: self.senders.len(),
            receivers: self.receivers.len(),
            queued_len: self.senders.values().map(Sender::queue_len).sum(),
            held_len: self.held_len.saturating_add(partial),
            ready_len: self.inbox.len(),
        }
    }

    /// Frames discarded for a reason.
    #[must_use]
    pub fn discarded(&self, reason: Discard) -> u64 {
        self.discards.get(reason as usize).copied().unwrap_or(0)
    }

    /// Has the timers run at this time, or before.
    fn arm(&mut self, at: Instant) {
        self.next_at = self.next_at.min(at);
    }

    /// Lets a connection send.
    fn kick(&mut self, id: u32) {
        if let Some(sender) = self.senders.get_mut(&id)
            && !core::mem::replace(&mut sender.ready, true)
        {
            self.ready.push_back(id);
        }
    }

    /// Queues a control frame, if there is room.
    fn control(&mut self, to: Transmit, header: Header, payload: Vec<u8>) {
        if self.outbox.len() < OUTBOX_MAX {
            self.outbox.push_back(Control { to, header, payload });
        }
    }

    /// A number that nobody guesses, not 0 and not that of a connection.
    fn fresh_id(&mut self) -> u32 {
        loop {
            self.ids = self.ids.wrapping_add(1);
            let mut hash = SipHasher24::new_with_keys(self.key.0, self.key.1);
            hash.write_u64(self.ids);
            let [a, b, c, d, ..] = hash.finish().to_ne_bytes();
            let id = u32::from_ne_bytes([a, b, c, d]);
            if id != 0 && !self.senders.contains_key(&id) && !self.receivers.contains_key(&id) {
                return id;
            }
        }
    }

    /// The node of this name; makes it if there is room.
    fn add_node(&mut self, name: &Fqnn, now: Instant) -> Result<NodeId, Discard> {
        if let Some(id) = self.node(name) {
            return Ok(id);
        }
        if self.nodes.len() >= NODES_MAX {
            return Err(Discard::NodesFull);
        }
        if self.inbox.is_full() {
            return Err(Discard::Memory);
        }
        let mut id = self.last_node;
        loop {
            id = NodeId(id.0.wrapping_add(1));
            if id.0 != 0 && !self.nodes.contains_key(&id) {
                break;
            }
        }
        self.last_node = id;
        let _ = self.nodes.insert(id, Node::new(name.clone(), now));
        self.arm(self.tick_at.max(now));
        Ok(id)
    }

    /// Something of a node has come by a way; a new way may let its connections send.
    fn heard(
        &mut self,
        node: NodeId,
        (link, from): (LinkId, Address),
        now: Instant,
    ) -> Result<(), Discard> {
        let frame_len_max = self.links.get(&link).map_or(0, |link| link.frame_len_max);
        let known = self.nodes.get_mut(&node).ok_or(Discard::Stranger)?;
        let (at, new) = known.heard(link, from, frame_len_max, now).ok_or(Discard::PathsFull)?;
        if new {
            self.path_lost(node, at);
        }
        Ok(())
    }

    /// What was in flight on a path has to go another way.
    fn path_lost(&mut self, node: NodeId, path: usize) {
        let theirs = self.senders.iter_mut().filter(|(_, sender)| sender.node == node);
        let mut kicked = Vec::new();
        for (id, sender) in theirs {
            sender.path_lost(path);
            kicked.push(*id);
        }
        for id in kicked {
            self.kick(id);
        }
    }
}
