//! Raw and ping sockets, as far as the control thread has a part in them: who may have one, their names,
//! and that the workers know what they are for. A ping socket's identifier is a port like UDP's, in a
//! table of its own; raw sockets have none.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use inet::RAW_WORKER;
use inet::command::{Command, Transport};
use inet::network::{RawKind, RawWanted};
use proto::message::Transport as WireTransport;
use rustix::io::Errno;

use crate::addresses::any;
use crate::connection::Connection;
use crate::control::{ConnectionId, Control, Peer, SocketKey};
use crate::pending::{Asked, NewSocket, Pending, Then};
use crate::quota::{Kind, Taken};
use crate::requests::descriptor_pair;

/// `IPPROTO_ICMP`, `IPPROTO_ICMPV6`.
const ICMP: u16 = 1;
const ICMP6: u16 = 58;

/// What a socket of a protocol of the stack's own is to be for; `None`: that is none.
pub(crate) fn kind(inet6: bool, transport: WireTransport, protocol: u16) -> Option<RawKind> {
    let ping = transport == WireTransport::Datagram;
    let is_echo = protocol == if inet6 { ICMP6 } else { ICMP };
    let of_ours = transport == WireTransport::Raw || (ping && is_echo);
    let protocol = u8::try_from(protocol).ok().filter(|protocol| of_ours && *protocol != 0)?;
    Some(RawKind { inet6, protocol, ping })
}

impl Control {
    pub(crate) fn try_open_raw(&mut self, asked: Asked, kind: RawKind) -> Result<(), Errno> {
        let privileged = |c: &Connection| c.is_privileged(&self.facts.trusted);
        if !kind.ping && !self.connections.get(&asked.connection).is_some_and(privileged) {
            return Err(Errno::PERM);
        }
        let client = self.client_of(asked.connection).ok_or(Errno::NOTCONN)?;
        let (client, opening) = (client.slot.index(), Taken::of(&client.account, Kind::Sockets)?);
        let (ours, theirs) = descriptor_pair()?;
        let then = Then::Open(NewSocket {
            client,
            worker: RAW_WORKER,
            transport: if kind.ping { Transport::Ping } else { Transport::Raw },
            inet6: kind.inet6,
            raw: Some(kind),
            ours: Arc::clone(&ours),
            theirs,
            opening,
        });
        let connection = Some(asked.connection);
        let pending = Pending { connection, sequence: asked.sequence, then };
        self.call(RAW_WORKER, pending, |call| Command::OpenRaw {
            call,
            client,
            kind,
            descriptor: ours,
        });
        Ok(())
    }

    /// A raw or ping socket has come, or is gone: the workers are told which packets there are sockets for, if
    /// that is news.
    pub(crate) fn publish_raw(&mut self, kind: RawKind, come: bool) {
        let count = self.raw_open.entry(kind).or_default();
        *count = if come { count.saturating_add(1) } else { count.saturating_sub(1) };
        let is_news = *count == usize::from(come);
        if is_news {
            self.raw_open.retain(|_, count| *count > 0);
            self.network.raw = RawWanted::by(self.raw_open.keys().copied());
            self.publish_to_workers();
        }
    }

    /// `false`: it is no raw socket. A port means nothing to it: its name shows the protocol in its place,
    /// as in Linux.
    pub(crate) fn bind_raw(
        &mut self,
        id: ConnectionId,
        sequence: u32,
        key: SocketKey,
        address: SocketAddr,
    ) -> Result<bool, Errno> {
        let Some(entry) = self.sockets.get(&key).filter(|e| e.transport == Transport::Raw) else {
            return Ok(false);
        };
        let (values, protocol) = (*entry.values, entry.values.raw_protocol());
        let (worker, socket) = (entry.handle.worker, entry.id);
        let mut local = self.check_local(&values, address)?;
        local.set_port(protocol);
        if let Some(entry) = self.sockets.get_mut(&key) {
            entry.local = Some(Rc::new(local));
        }
        let pending = Pending { connection: Some(id), sequence, then: Then::Answer };
        self.call(worker, pending, |call| Command::Bind { call, socket, local });
        Ok(true)
    }

    /// `false`: it is no raw socket. IPv4's unspecified address dissolves the association.
    pub(crate) fn connect_raw(
        &mut self,
        asked: Asked,
        key: SocketKey,
        to: SocketAddr,
    ) -> Result<bool, Errno> {
        let Some(entry) = self.sockets.get(&key).filter(|e| e.transport == Transport::Raw) else {
            return Ok(false);
        };
        let (values, protocol) = (*entry.values, entry.values.raw_protocol());
        let (worker, socket, bound) = (entry.handle.worker, entry.id, entry.local());
        let dissolve = to.is_ipv4() && to.ip().is_unspecified();
        let to = self.check_peer(Transport::Raw, &values, to)?;
        let device = self.device_towards(key, values.device, to.ip());
        let mut local = self.source(bound, to, device)?;
        local.set_port(protocol);
        if dissolve {
            // Linux: an address that it was bound to is gone, too.
            local = SocketAddr::new(any(&values), 0);
        }
        let remote = (!dissolve).then_some(to);
        if let Some(entry) = self.sockets.get_mut(&key) {
            entry.peer = remote.map(Peer::of);
            entry.name = remote.map(|_| Rc::new(local));
            if dissolve {
                entry.local = Some(Rc::new(local));
            }
        }
        let connection = Some(asked.connection);
        let pending = Pending { connection, sequence: asked.sequence, then: Then::Answer };
        self.call(worker, pending, |call| Command::Connect {
            call,
            socket,
            local,
            remote,
            fast_open: false,
        });
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn datagrams_of_icmp_are_echoes_of_the_same_family() {
        let datagram = |inet6, protocol| kind(inet6, WireTransport::Datagram, protocol);
        let ping = |inet6, protocol| Some(RawKind { inet6, protocol, ping: true });
        assert_eq!(datagram(false, 1), ping(false, 1));
        assert_eq!(datagram(true, 58), ping(true, 58));
        assert_eq!([datagram(false, 58), datagram(true, 1), datagram(false, 136)], [None; 3]);
    }

    #[test]
    fn raw_sockets_are_of_any_protocol_but_0() {
        let raw = |protocol| kind(false, WireTransport::Raw, protocol);
        assert_eq!(raw(1), Some(RawKind { inet6: false, protocol: 1, ping: false }));
        assert_eq!([raw(0), raw(256)], [None; 2]);
        assert_eq!(kind(false, WireTransport::Stream, 1), None);
    }
}
