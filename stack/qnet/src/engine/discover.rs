//! Who is there: a LAN resolver's requests and replies, and pings.
//!
//! A request that names nobody asks all, and makes us known. One that names a node is answered by that node
//! alone. Whoever asks is known to whom it asks, since he is to answer.

use types::Instant;

use super::{Engine, Event};
use crate::config::{Address, LinkId, Transmit};
use crate::discard::Discard;
use crate::frame::{Frame, Header, Kind, Layer};
use crate::names::{Fqnn, LanMessage};
use crate::node::NodeId;

/// A node resolver's question whether a path works, and the answer.
const PING_REQUEST: u8 = 0;
const PING_REPLY: u8 = 1;

impl Engine {
    /// The number of a node by name; asks for it where nobody knows it yet.
    ///
    /// # Errors
    /// `Own` for our own name, `NodesFull`, or `Memory` if events are not read.
    pub fn reach(&mut self, name: &Fqnn, now: Instant) -> Result<NodeId, Discard> {
        if *name == self.config.name {
            return Err(Discard::Own);
        }
        if let Some(id) = self.node(name) {
            return Ok(id);
        }
        let id = self.add_node(name, now)?;
        self.ask(Some(name));
        Ok(id)
    }

    /// A node is at an address: what a resolver other than the LAN's knows.
    ///
    /// # Errors
    /// `Own`, `NodesFull`, `PathsFull`, or `Memory` if events are not read.
    pub fn add_path(
        &mut self,
        name: &Fqnn,
        link: LinkId,
        address: Address,
        now: Instant,
    ) -> Result<NodeId, Discard> {
        if *name == self.config.name {
            return Err(Discard::Own);
        }
        let id = self.add_node(name, now)?;
        self.heard(id, (link, address), now)?;
        Ok(id)
    }

    /// Asks all stations of all Ethernets for a node, or who is there.
    pub(super) fn ask(&mut self, name: Option<&Fqnn>) {
        let links: Vec<_> = self.links.iter().map(|(id, link)| (*id, link.address)).collect();
        for (link, address) in links {
            if matches!(address, Address::Mac(_)) {
                self.say(false, name.cloned(), Transmit { link, to: None }, address);
            }
        }
    }

    fn say(&mut self, reply: bool, destination: Option<Fqnn>, to: Transmit, ours: Address) {
        let source_mac = match ours {
            Address::Mac(mac) => Some(mac),
            Address::Ip(_) => None,
        };
        let source = self.config.name.clone();
        let mut payload = Vec::new();
        let order = self.config.order;
        LanMessage { reply, source, source_mac, destination }.emit(order, &mut payload);
        self.control(to, Header::new(order, Kind::Lres, Layer::LanResolver), payload);
    }

    /// A LAN resolver has said something.
    pub(super) fn lan_message_arrives(
        &mut self,
        whence: (LinkId, Address),
        frame: &Frame<'_>,
        now: Instant,
    ) -> Result<(), Discard> {
        let message = LanMessage::parse(frame.payload, frame.header.order)?;
        if message.source == self.config.name {
            return Err(Discard::Own);
        }
        let for_us = message.destination.as_ref() == Some(&self.config.name);
        let for_all = message.destination.is_none() && self.config.auto_add.is_some();
        if !for_us && (message.reply || !for_all) {
            return Err(Discard::NotForUs);
        }
        let adds = self.config.auto_add.is_some() || (for_us && !message.reply);
        let node = match self.node(&message.source) {
            Some(node) => node,
            None if adds => self.add_node(&message.source, now)?,
            None => return Err(Discard::Stranger),
        };
        self.heard(node, whence, now)?;
        if !message.reply {
            let (link, from) = whence;
            let ours = self.links.get(&link).ok_or(Discard::NotForUs)?.address;
            self.say(true, Some(message.source), Transmit { link, to: Some(from) }, ours);
        }
        Ok(())
    }

    /// A node asks whether a path works, or answers.
    pub(super) fn ping_arrives(
        &mut self,
        (link, from): (LinkId, Address),
        frame: &Frame<'_>,
        now: Instant,
    ) -> Result<(), Discard> {
        let here = |id: &NodeId| {
            let paths = self.nodes.get(id).map(|node| node.paths.iter());
            paths.into_iter().flatten().any(|path| path.link == link && path.address == from)
        };
        let node = self.nodes.keys().copied().find(here).ok_or(Discard::Stranger)?;
        match (frame.header.layer, frame.payload) {
            (Layer::NodeResolver, [PING_REQUEST, ..]) => {
                self.heard(node, (link, from), now)?;
                let to = Transmit { link, to: Some(from) };
                self.ping(to, frame.header.sconn, PING_REPLY);
                Ok(())
            }
            (Layer::NodeResolver, [PING_REPLY, ..]) => {
                self.pong(node, (link, from), frame.header.sconn, now)
            }
            _ => Err(Discard::Layer),
        }
    }

    fn pong(
        &mut self,
        node: NodeId,
        (link, from): (LinkId, Address),
        token: u32,
        now: Instant,
    ) -> Result<(), Discard> {
        self.heard(node, (link, from), now)?;
        let known = self.nodes.get_mut(&node).ok_or(Discard::Stranger)?;
        let same = |path: &&mut crate::node::Path| path.link == link && path.address == from;
        let path = known.paths.iter_mut().find(same).ok_or(Discard::Stranger)?;
        if path.answered(token) {
            self.kick_node(node);
        }
        Ok(())
    }

    fn ping(&mut self, to: Transmit, token: u32, kind: u8) {
        let header = Header {
            sconn: token,
            ..Header::new(self.config.order, Kind::UserData, Layer::NodeResolver)
        };
        self.control(to, header, vec![kind]);
    }

    /// Asks whether the paths of a node work. Those that went down by not answering lose what is in flight.
    pub(super) fn ping_paths(&mut self, node: NodeId) {
        let paths = self.nodes.get(&node).map_or(0, |node| node.paths.len());
        for at in 0..paths {
            let token = self.fresh_id();
            let path = self.nodes.get_mut(&node).and_then(|node| node.paths.get_mut(at));
            let Some(path) = path else { continue };
            let was_up = path.up;
            path.pinged(token);
            let to = Transmit { link: path.link, to: Some(path.address) };
            let went_down = was_up && !path.up;
            if self.links.contains_key(&to.link) {
                self.ping(to, token, PING_REQUEST);
            }
            if went_down {
                self.path_lost(node, at);
            }
        }
    }

    /// The connections to a node may send.
    pub(super) fn kick_node(&mut self, node: NodeId) {
        let theirs = self.senders.iter().filter(|(_, sender)| sender.node == node);
        for id in theirs.map(|(id, _)| *id).collect::<Vec<_>>() {
            self.kick(id);
        }
    }

    /// Forgets a node.
    pub(super) fn forget(&mut self, node: NodeId) {
        if self.nodes.remove(&node).is_some() {
            self.inbox.push(Event::Gone { node });
        }
    }
}
