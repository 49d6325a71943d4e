//! Messages between local clients, other nodes, and the file service.
//!
//! ```text
//! client ── ioctl FILES ──▶ ask ──▶ Kif::Send ─ ─ wire ─ ─▶ hear ── defer ──▶ Files::call
//!    ◀── path_answer ────── hear ◀── Kif::Reply, Error ─ ─ wire ─ ─ reply ◀──────┘
//! ```

use std::net::{IpAddr, ToSocketAddrs as _};

use lsm_sdk::{Answer, OpenError};
use proto::qnet::FileRequest;
use qnet::kif::PRIVATE_TYPE;
use qnet::{Address, Discard, Event, Fqnn, Kif, Layer, NodeId, Policy};
use rustix::io::Errno;
use types::Instant;

use crate::settings::NamedPolicy;
use crate::sockets::BROKER;
use crate::wire::IP_LINK;
use crate::{Node, Qnet, clock};

/// The number of the file service among a node's servers.
const FILE_SERVER: u32 = 1;

/// What is to be done when the node is nobody's any more.
#[derive(Debug)]
pub(crate) enum Deed {
    /// A client gets its answer.
    Answer(u64, Result<Vec<u8>, Errno>),
    /// The file service gets a call.
    Serve(NodeId, u32, Vec<u8>),
}

impl Qnet {
    /// A client wants another node's files.
    pub(crate) fn ask(&self, handle: u64, request: &[u8]) -> Result<Answer, OpenError> {
        let request: FileRequest =
            proto::parse(request).map_err(|proto::MalformedMessage| OpenError::INVALID)?;
        let now = clock();
        let mut node = self.node();
        let (name, policy) = self.destination(&node, &request.node)?;
        let id = match node.engine.reach(&name, now) {
            Ok(id) => id,
            Err(Discard::Own) => {
                drop(node);
                return self.ask_ourselves(handle, request.call);
            }
            Err(_) => return Err(errno(Errno::NOSPC)),
        };
        self.resolve_if_unknown(&node, id, &name);
        let message = |client| {
            let body = &request.call;
            let kif = Kif::Send { server: FILE_SERVER, client, kind: PRIVATE_TYPE, body };
            self.written(&kif)
        };
        node.requests.ask(handle, (id, policy), message, now);
        let deeds = node.send_requests(now);
        drop(node);
        self.carry_out(deeds);
        self.kick();
        Ok(Answer::Later)
    }

    /// Which node a client means, and how to send: `beta`, `beta.lab`, `beta~redundant`.
    pub(crate) fn destination(&self, node: &Node, text: &str) -> Result<(Fqnn, Policy), OpenError> {
        let (name, policy) = match text.split_once('~') {
            None => (text, Some(self.settings.policy.clone())),
            Some((name, policy)) => (name, NamedPolicy::parse(policy)),
        };
        let (name, domain) =
            name.split_once('.').unwrap_or_else(|| (name, self.settings.config.name.domain()));
        let name = Fqnn::new(name, domain).ok_or_else(|| errno(Errno::NOENT))?;
        let link = |name: &str| node.links.number(name);
        let policy = policy.and_then(|policy| policy.numbered(link));
        Ok((name, policy.ok_or_else(|| errno(Errno::NOENT))?))
    }

    fn ask_ourselves(&self, handle: u64, call: Vec<u8>) -> Result<Answer, OpenError> {
        self.host.defer(move |this| {
            let result = this.files.as_ref().ok_or(Errno::NXIO).and_then(|files| files.call(&call));
            this.carry_out(vec![Deed::Answer(handle, result)]);
        })?;
        Ok(Answer::Later)
    }

    /// With `resolve=dns` a node without a way is asked for.
    pub(crate) fn resolve_if_unknown(&self, node: &Node, id: NodeId, name: &Fqnn) {
        if self.settings.dns && node.engine.paths(id).next().is_none() {
            let name = name.clone();
            // Whoever finds no place for it asks again by trying again.
            let _ = self.host.defer(move |this| this.resolve(&name));
        }
    }

    /// Asks the system's resolver for a node. It may block.
    fn resolve(&self, name: &Fqnn) {
        let Ok(mut found) = (name.to_string().as_str(), 0).to_socket_addrs() else { return };
        let found = found.find_map(|address| match address.ip() {
            IpAddr::V4(address) => Some(address),
            IpAddr::V6(_) => None,
        });
        if let Some(address) = found {
            let known = self.node().engine.add_path(name, IP_LINK, Address::Ip(address), clock());
            if known.is_ok() {
                self.kick();
            }
        }
    }

    /// Something has happened to the engine.
    pub(crate) fn hear(&self, node: &mut Node, event: Event, now: Instant) -> Vec<Deed> {
        match event {
            Event::Message { node: from, layer: Layer::KernelInterface, order, bytes } => {
                let deed = match Kif::parse(&bytes, order) {
                    Ok(Kif::Send { server: FILE_SERVER, client, body, .. }) => {
                        self.call_arrives(node, (from, client), body, now)
                    }
                    Ok(Kif::Send { server: BROKER, body, .. }) => {
                        self.message_arrives(node, from, body, now)
                    }
                    Ok(Kif::Send { client, .. }) => {
                        self.refuse(node, (from, client), Errno::NXIO, now);
                        None
                    }
                    Ok(Kif::Reply { client, body, .. }) => {
                        let handle = node.requests.answered(from, client);
                        handle.map(|handle| Deed::Answer(handle, Ok(body.to_vec())))
                    }
                    Ok(Kif::Error { client, errno }) => {
                        let errno = i32::try_from(errno).unwrap_or(0).clamp(1, 4095);
                        let handle = node.requests.answered(from, client);
                        let errno = Errno::from_raw_os_error(errno);
                        handle.map(|handle| Deed::Answer(handle, Err(errno)))
                    }
                    Err(_) => {
                        self.host.count(self.counters.strange, 1);
                        None
                    }
                };
                deed.into_iter().collect()
            }
            Event::Down { node: id, .. }
            | Event::Restarted { node: id }
            | Event::Gone { node: id } => {
                let mut deeds = lost(node.requests.lost(id));
                deeds.extend(self.broker_lost(node, id, now));
                deeds
            }
            Event::Up { .. } | Event::Message { .. } => Vec::new(),
        }
    }

    fn call_arrives(
        &self,
        node: &mut Node,
        (from, client): (NodeId, u32),
        call: &[u8],
        now: Instant,
    ) -> Option<Deed> {
        let refused = if self.files.is_none() {
            Errno::NXIO
        } else if node.requests.serve(from) {
            return Some(Deed::Serve(from, client, call.to_vec()));
        } else {
            Errno::BUSY
        };
        self.refuse(node, (from, client), refused, now);
        None
    }

    fn refuse(&self, node: &mut Node, (to, client): (NodeId, u32), why: Errno, now: Instant) {
        let errno = why.raw_os_error().unsigned_abs();
        self.send(node, to, &Kif::Error { client, errno }, now);
    }

    /// Sends an answer; one that can't be sent is missed by whoever waits for it.
    fn send(&self, node: &mut Node, to: NodeId, kif: &Kif<'_>, now: Instant) {
        let policy = self.settings.policy.numbered(|name| node.links.number(name));
        let policy = policy.unwrap_or_default();
        let message = self.written(kif);
        if node.engine.send(to, policy, Layer::KernelInterface, message, now).is_err() {
            self.host.count(self.counters.answers_lost, 1);
        }
    }

    pub(crate) fn written(&self, kif: &Kif<'_>) -> Vec<u8> {
        let mut message = Vec::new();
        kif.emit(self.settings.config.order, &mut message);
        message
    }

    pub(crate) fn carry_out(&self, deeds: Vec<Deed>) {
        for deed in deeds {
            match deed {
                Deed::Answer(handle, Ok(data)) => self.host.path_answer(handle, Ok(&data)),
                Deed::Answer(handle, Err(why)) => self.host.path_answer(handle, Err(errno(why))),
                Deed::Serve(from, client, call) => {
                    let serve = move |this: &Self| {
                        let files = this.files.as_ref().ok_or(Errno::NXIO);
                        this.reply((from, client), files.and_then(|files| files.call(&call)));
                    };
                    if self.host.defer(serve).is_err() {
                        self.reply((from, client), Err(Errno::BUSY));
                    }
                }
            }
        }
    }

    /// The file service has done what another node asked for.
    fn reply(&self, (to, client): (NodeId, u32), result: Result<Vec<u8>, Errno>) {
        let now = clock();
        let mut node = self.node();
        node.requests.served(to);
        match result {
            Ok(body) => {
                self.send(&mut node, to, &Kif::Reply { client, status: 0, body: &body }, now)
            }
            Err(why) => self.refuse(&mut node, (to, client), why, now),
        }
        drop(node);
        self.host.count(self.counters.served, 1);
        self.kick();
    }
}

impl Node {
    /// Sends the requests whose turn it is.
    pub(crate) fn send_requests(&mut self, now: Instant) -> Vec<Deed> {
        let mut deeds = Vec::new();
        while let Some(out) = self.requests.next_to_send() {
            let layer = Layer::KernelInterface;
            if self.engine.send(out.node, out.policy, layer, out.message, now).is_err() {
                deeds.extend(lost(self.requests.lost(out.node)));
            }
        }
        deeds
    }
}

/// These clients get no answer from the node.
pub(crate) fn lost(handles: Vec<u64>) -> Vec<Deed> {
    handles.into_iter().map(|handle| Deed::Answer(handle, Err(Errno::HOSTUNREACH))).collect()
}

pub(crate) fn errno(errno: Errno) -> OpenError {
    OpenError(errno.raw_os_error())
}
