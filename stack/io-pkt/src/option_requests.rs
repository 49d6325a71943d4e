//! `setsockopt` and `getsockopt`: what the control plane knows it answers, the rest its worker.

use inet::command::{self, Command, ListenerId, Transport};
use proto::{ExtendedError, Reply, SocketHandle};
use rustix::io::Errno;

use crate::control::{ConnectionId, Control, Peer};
use crate::options::{ipv6, multicast, sol};
use crate::pending::{Pending, Then};

impl Control {
    pub(crate) fn set_option(
        &mut self,
        id: ConnectionId,
        sequence: u32,
        handle: SocketHandle,
        (level, name): (i32, i32),
        value: &[u8],
    ) -> Result<Option<Reply>, Errno> {
        let (key, _) = self.entry(id, handle)?;
        if self.module_option((id, sequence), key, (level, name), Some(value))? {
            return Ok(None);
        }
        let (key, entry) = self.entry(id, handle)?;
        let closed = entry.is_closed();
        match (level, entry.transport) {
            (sol::TCP, transport) if transport != Transport::Stream => {
                return Err(Errno::NOPROTOOPT);
            }
            (sol::UDP, Transport::Datagram) if value.len() < size_of::<i32>() => {
                return Err(Errno::INVAL);
            }
            (sol::IPV6, _) if name == ipv6::name::V6ONLY && entry.local.is_some() => {
                return Err(Errno::INVAL);
            }
            _ => {}
        }
        let inet6 = entry.values.inet6;
        let is_modules = matches!(entry.transport, Transport::Module | Transport::ModuleStream);
        if let Some(change) = multicast::parse(level, name, value).filter(|_| !is_modules) {
            let change = if level == sol::IPV6 && !inet6 { Err(Errno::NOPROTOOPT) } else { change };
            return self.set_multicast((id, sequence), key, change?);
        }
        let (worker, socket) = (entry.handle.worker, entry.id);
        let (mut values, listening) = (*entry.values, entry.listening.is_some());
        let option = match self.set_device(id, key, (level, name), value)? {
            None => {
                let option = values.set(level, name, value, closed)?;
                self.set_values(key, values);
                option
            }
            device => device,
        };
        let Some(option) = option else { return Ok(Some(Reply::Done)) };
        if listening {
            let listener = ListenerId(key.0);
            for worker in 0..self.worker_count() {
                self.command(worker, Command::ListenerOption { listener, option });
            }
        }
        // Nobody waits for it, however many there are.
        let connection = (sequence != proto::UNASKED).then_some(id);
        let pending = Pending { connection, sequence, then: Then::Answer };
        self.call(worker, pending, |call| Command::SetOption { call, socket, option });
        Ok(None)
    }

    pub(crate) fn option(
        &mut self,
        id: ConnectionId,
        sequence: u32,
        handle: SocketHandle,
        level: i32,
        name: i32,
    ) -> Result<Option<Reply>, Errno> {
        if (level, name) == (sol::IP, sol::IP_MTU) {
            return self.path_mtu(id, handle).map(Some);
        }
        let (key, entry) = self.entry(id, handle)?;
        let inet6 = entry.values.inet6;
        if self.module_option((id, sequence), key, (level, name), None)? {
            return Ok(None);
        }
        if (level != sol::IPV6 || inet6)
            && let Some(value) = self.multicast_value(key, level, name)
        {
            return Ok(Some(Reply::Value(value)));
        }
        if let Some(value) = self.device_value(key, level, name) {
            return Ok(Some(Reply::Value(value)));
        }
        let (_, entry) = self.entry(id, handle)?;
        let listening = entry.listening.is_some();
        let (transport, connected) = (entry.transport, entry.peer.is_some());
        if let Some(value) = entry.values.value(level, name, transport, listening, connected)? {
            return Ok(Some(Reply::Value(value)));
        }
        let (worker, socket) = (entry.handle.worker, entry.id);
        let take_error = (level, name) == (sol::SOCKET, sol::SO_ERROR);
        let then = Then::Option { level, name, listening };
        let pending = Pending { connection: Some(id), sequence, then };
        self.call(worker, pending, |call| Command::Info { call, socket, take_error });
        Ok(None)
    }

    /// `recvmsg(MSG_ERRQUEUE)`.
    pub(crate) fn extended_error(
        &mut self,
        (id, sequence): (ConnectionId, u32),
        handle: SocketHandle,
    ) -> Result<Option<Reply>, Errno> {
        let (_, entry) = self.entry(id, handle)?;
        let (worker, socket) = (entry.handle.worker, entry.id);
        let pending = Pending { connection: Some(id), sequence, then: Then::Answer };
        self.call(worker, pending, |call| Command::TakeExtendedError { call, socket });
        Ok(None)
    }

    /// `IP_MTU`: of the way to the socket's peer.
    fn path_mtu(&mut self, id: ConnectionId, handle: SocketHandle) -> Result<Reply, Errno> {
        let (_, entry) = self.entry(id, handle)?;
        let Some(Peer::V4(peer)) = entry.peer else { return Err(Errno::NOTCONN) };
        let mtu = self.network.mtu_for(peer).ok_or(Errno::NOTCONN)?;
        Ok(Reply::Value(u32::from(mtu).to_ne_bytes().to_vec()))
    }
}

/// An error about what a socket has sent, as its user's library has it.
pub(crate) fn told(error: command::ExtendedError) -> Reply {
    let ancillary = error.ancillary;
    Reply::ExtendedError(Box::new(ExtendedError {
        errno: error.errno.raw_os_error(),
        origin: error.origin as u8,
        kind: error.kind,
        info: error.info,
        to: error.to,
        offender: error.offender,
        local: ancillary.local,
        interface: ancillary.interface,
        ttl_tos: ancillary.ttl.zip(ancillary.tos),
        at_ns: ancillary.at_ns,
        quoted: error.quoted.into_vec(),
    }))
}
