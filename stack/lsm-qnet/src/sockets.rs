//! Messages between the brokers of sockets of two nodes (`proto::far`).
//!
//! ```text
//!  broker ── ioctl TELL ──▶ Kif::Send ─ ─ wire ─ ─▶ Broker::push ── ioctl HEAR ──▶ broker
//! ```
//!
//! There are no replies: messages of one policy arrive in order or not at all. An empty one says that there
//! is no broker, or not the one any more that something was said to.

use lsm_sdk::{Answer, OpenError};
use proto::far::Tell;
use qnet::kif::PRIVATE_TYPE;
use qnet::{Discard, Kif, Layer, NodeId, SendError};
use rustix::io::Errno;
use types::Instant;

use crate::broker::{Taken, Unheard};
use crate::relay::{Deed, errno};
use crate::{Node, Qnet, clock};

/// The number of the broker among a node's servers.
pub(crate) const BROKER: u32 = 2;

impl Qnet {
    /// The broker has something for another node.
    pub(crate) fn tell(&self, request: &[u8], to: &mut [u8]) -> Result<Answer, OpenError> {
        let Tell { node: name, message } =
            proto::parse(request).map_err(|proto::MalformedMessage| OpenError::INVALID)?;
        let now = clock();
        let mut node = self.node();
        let (name, policy) = self.destination(&node, &name)?;
        let id = node.engine.reach(&name, now).map_err(|why| match why {
            Discard::Own => errno(Errno::LOOP),
            _ => errno(Errno::NOSPC),
        })?;
        self.resolve_if_unknown(&node, id, &name);
        let (layer, message) = (Layer::KernelInterface, self.to_broker(&message));
        node.engine.send(id, policy, layer, message, now).map_err(|why| match why {
            SendError::Full => errno(Errno::AGAIN),
            SendError::NoNode => errno(Errno::HOSTUNREACH),
            SendError::TooLong => OpenError::TOO_LONG,
        })?;
        let name = name.to_string();
        node.broker.spoke(id, name.clone());
        drop(node);
        self.kick();
        let text = proto::emit(&name).map_err(|proto::MalformedMessage| OpenError::TOO_LONG)?;
        to.get_mut(..text.len()).ok_or(OpenError::TOO_LONG)?.copy_from_slice(&text);
        Ok(Answer::Bytes(text.len()))
    }

    /// The broker wants to hear what other nodes say.
    pub(crate) fn listen(&self, handle: u64, to: &mut [u8]) -> Result<Answer, OpenError> {
        let heard = self.node().broker.hear(handle);
        let Some(heard) = heard.map_err(|Taken| errno(Errno::BUSY))? else {
            return Ok(Answer::Later);
        };
        let bytes = proto::emit(&heard).map_err(|proto::MalformedMessage| OpenError::TOO_LONG)?;
        to.get_mut(..bytes.len()).ok_or(OpenError::TOO_LONG)?.copy_from_slice(&bytes);
        Ok(Answer::Bytes(bytes.len()))
    }

    fn to_broker(&self, body: &[u8]) -> Vec<u8> {
        self.written(&Kif::Send { server: BROKER, client: 0, kind: PRIVATE_TYPE, body })
    }

    /// A node's broker says something; an empty message is its end.
    pub(crate) fn message_arrives(
        &self,
        node: &mut Node,
        from: NodeId,
        message: &[u8],
        now: Instant,
    ) -> Option<Deed> {
        let known = node.engine.nodes().find(|(id, _)| *id == from);
        let name = known.map(|(_, name)| name.to_string());
        let name = name.or_else(|| node.broker.peer(from))?;
        match node.broker.push(from, name, message.to_vec()) {
            Ok(heard) => {
                let (handle, heard) = heard?;
                let bytes = proto::emit(&heard).map_err(|proto::MalformedMessage| Errno::MSGSIZE);
                Some(Deed::Answer(handle, bytes))
            }
            Err(Unheard(whom)) => {
                self.say_nobody(node, whom, now);
                None
            }
        }
    }

    /// The connection to a node is over, whatever the reason.
    pub(crate) fn broker_lost(&self, node: &mut Node, id: NodeId, now: Instant) -> Option<Deed> {
        let _its = node.broker.peer(id)?;
        self.message_arrives(node, id, &[], now)
    }

    /// A client of the path is gone, the broker perhaps.
    pub(crate) fn client_gone(&self, handle: u64) {
        let now = clock();
        let mut node = self.node();
        let peers = node.broker.gone(handle);
        for id in &peers {
            self.say_nobody(&mut node, *id, now);
        }
        drop(node);
        if !peers.is_empty() {
            self.kick();
        }
    }

    fn say_nobody(&self, node: &mut Node, to: NodeId, now: Instant) {
        let policy = self.settings.policy.numbered(|name| node.links.number(name));
        let (layer, message) = (Layer::KernelInterface, self.to_broker(&[]));
        if node.engine.send(to, policy.unwrap_or_default(), layer, message, now).is_err() {
            self.host.count(self.counters.answers_lost, 1);
        }
    }
}
