//! Sockets of protocol modules, as far as the control thread has a part in them: making them, and their
//! names. What a name means the module knows.

use std::net::SocketAddr;
use std::sync::Arc;

use inet::command::{
    Command, ListenerId, ModuleCommand, ModuleIoctl, ModuleOption, OpenModule, SocketInfo,
    Transport,
};
use lsm::{OPTION_BYTES_MAX, Opener, STREAM_WORKER, SocketKind};
use proto::Reply;
use proto::message::{Family, Transport as WireTransport};
use rustix::io::Errno;

use crate::accept_queue::AcceptQueue;
use crate::control::{ConnectionId, Control, SocketEntry, SocketKey};
use crate::options::sol;
use crate::pending::{Asked, NewSocket, Pending, Then};
use crate::quota::{Kind, Taken};
use crate::requests::descriptor_pair;

impl SocketEntry {
    fn is_module_stream(&self) -> bool {
        self.transport == Transport::ModuleStream
    }
}

impl Control {
    pub(crate) fn try_open_of_module(
        &mut self,
        asked: Asked,
        family: Family,
        transport: WireTransport,
        protocol: u16,
    ) -> Result<(), Errno> {
        let (family, absent) = match family {
            Family::Inet => (2, Errno::PROTONOSUPPORT),
            Family::Inet6 => (10, Errno::PROTONOSUPPORT),
            Family::Module(family) => (family, Errno::AFNOSUPPORT),
        };
        let stream = match transport {
            WireTransport::Stream => true,
            WireTransport::Datagram => false,
            WireTransport::Raw => return Err(Errno::SOCKTNOSUPPORT),
        };
        let kind = SocketKind { family, protocol, stream };
        let Some(single) = self.protocols.serves(kind) else {
            let other = SocketKind { stream: !stream, ..kind };
            let has_other = self.protocols.serves(other).is_some();
            return Err(if has_other { Errno::SOCKTNOSUPPORT } else { absent });
        };
        let connection = self.connections.get(&asked.connection).ok_or(Errno::BADF)?;
        let by = Opener { pid: connection.pid, uid: connection.sender };
        let client = self.client_of(asked.connection).ok_or(Errno::NOTCONN)?;
        let (client, opening) = (client.slot.index(), Taken::of(&client.account, Kind::Sockets)?);
        let (ours, theirs) = descriptor_pair()?;
        self.next_worker = (self.next_worker + 1) % self.worker_count().max(1);
        let worker = match (stream, single) {
            (true, _) => STREAM_WORKER,
            (_, true) => 0,
            _ => self.next_worker,
        };
        let then = Then::Open(NewSocket {
            client,
            worker,
            transport: if stream { Transport::ModuleStream } else { Transport::Module },
            inet6: family == 10,
            raw: None,
            ours: Arc::clone(&ours),
            theirs,
            opening,
        });
        let connection = Some(asked.connection);
        let pending = Pending { connection, sequence: asked.sequence, then };
        self.call(worker, pending, |call| {
            let open = OpenModule { call, client, kind, by, descriptor: ours };
            Command::Module(Box::new(ModuleCommand::Open(open)))
        });
        Ok(())
    }

    /// `false`: it is no module's.
    pub(crate) fn bind_module(
        &mut self,
        id: ConnectionId,
        sequence: u32,
        key: SocketKey,
        local: SocketAddr,
    ) -> bool {
        let Some((worker, socket)) = self.of_module(key) else { return false };
        let pending = Pending { connection: Some(id), sequence, then: Then::Answer };
        self.call(worker, pending, |call| Command::Bind { call, socket, local });
        true
    }

    /// `false`: it is no module's. IPv4's unspecified address dissolves the association.
    pub(crate) fn connect_module(&mut self, asked: Asked, key: SocketKey, to: SocketAddr) -> bool {
        let Some((worker, socket)) = self.of_module(key) else { return false };
        let dissolve = to.is_ipv4() && to.ip().is_unspecified();
        let remote = (!dissolve).then_some(to);
        let (connection, sequence) = (Some(asked.connection), asked.sequence);
        let is_stream = self.sockets.get(&key).is_some_and(|e| e.is_module_stream());
        let then = if is_stream { Then::UnderWay } else { Then::Answer };
        let pending = Pending { connection, sequence, then };
        self.call(worker, pending, |call| Command::Connect {
            call,
            socket,
            local: to,
            remote,
            fast_open: false,
        });
        true
    }

    /// `false`: it is no module's.
    ///
    /// # Errors
    /// `EOPNOTSUPP`: datagrams; `ENOBUFS`: too many listen.
    pub(crate) fn listen_module(
        &mut self,
        (id, sequence): (ConnectionId, u32),
        key: SocketKey,
        backlog: u32,
    ) -> Result<bool, Errno> {
        let Some((worker, socket)) = self.of_module(key) else { return Ok(false) };
        let entry = self.sockets.get_mut(&key).ok_or(Errno::BADF)?;
        if !entry.is_module_stream() {
            return Err(Errno::OPNOTSUPP);
        }
        let owner = self.clients.get(&entry.client).ok_or(Errno::BADF)?;
        // Peers may arrive before the module has said that it listens.
        let is_new = entry.listening.is_none();
        if is_new {
            entry.listening = Some(AcceptQueue::of(&owner.account)?);
        }
        let (listener, backlog) = (ListenerId(key.0), backlog.min(self.network.tuning.somaxconn));
        let then = Then::ListenModule { key, is_new };
        let pending = Pending { connection: Some(id), sequence, then };
        self.call(worker, pending, |call| {
            let listen = ModuleCommand::Listen { call, socket, listener, backlog };
            Command::Module(Box::new(listen))
        });
        Ok(true)
    }

    /// `ioctl()` of a number that is not the stack's.
    ///
    /// # Errors
    /// `ENOTTY`: it is no module's; `EINVAL`: no value is so long.
    pub(crate) fn ioctl(
        &mut self,
        (id, sequence): (ConnectionId, u32),
        key: SocketKey,
        request: u32,
        (data, room): (Vec<u8>, u32),
    ) -> Result<(), Errno> {
        let (worker, socket) = self.of_module(key).ok_or(Errno::NOTTY)?;
        let room = usize::try_from(room).map_err(|_| Errno::INVAL)?;
        if data.len() > OPTION_BYTES_MAX || room > OPTION_BYTES_MAX {
            return Err(Errno::INVAL);
        }
        let pending = Pending { connection: Some(id), sequence, then: Then::Answer };
        self.call(worker, pending, |call| {
            let asked = ModuleIoctl { call, socket, request, data, room };
            Command::Module(Box::new(ModuleCommand::Ioctl(asked)))
        });
        Ok(())
    }

    /// `false`: it is no module's.
    pub(crate) fn name_module(
        &mut self,
        id: ConnectionId,
        sequence: u32,
        key: SocketKey,
        peer: bool,
    ) -> bool {
        let Some((worker, socket)) = self.of_module(key) else { return false };
        let then = Then::ModuleName { peer };
        let pending = Pending { connection: Some(id), sequence, then };
        self.call(worker, pending, |call| Command::Info { call, socket, take_error: false });
        true
    }

    /// An option of a module's socket that is of no level of the stack's: its new value, or it is asked for.
    /// `false`: it is the stack's.
    ///
    /// # Errors
    /// `EINVAL`: no value is so long.
    pub(crate) fn module_option(
        &mut self,
        (id, sequence): (ConnectionId, u32),
        key: SocketKey,
        option: (i32, i32),
        value: Option<&[u8]>,
    ) -> Result<bool, Errno> {
        let stacks = [sol::SOCKET, sol::IP, sol::IPV6, sol::TCP, sol::UDP];
        let of_module = self.of_module(key).filter(|_| !stacks.contains(&option.0));
        let Some((worker, socket)) = of_module else { return Ok(false) };
        if value.is_some_and(|value| value.len() > OPTION_BYTES_MAX) {
            return Err(Errno::INVAL);
        }
        let value = value.map(<[u8]>::to_vec);
        let pending = Pending { connection: Some(id), sequence, then: Then::Answer };
        self.call(worker, pending, |call| {
            let asked = ModuleOption { call, socket, option, value };
            Command::Module(Box::new(ModuleCommand::Option(asked)))
        });
        Ok(true)
    }

    fn of_module(&self, key: SocketKey) -> Option<(u16, inet::SocketId)> {
        let entry = self.sockets.get(&key)?;
        let is_modules = matches!(entry.transport, Transport::Module | Transport::ModuleStream);
        is_modules.then_some((entry.handle.worker, entry.id))
    }
}

/// A socket's name, zeros if it has none; or its peer's.
pub(crate) fn name(info: &SocketInfo, peer: bool) -> Result<Reply, Errno> {
    if peer {
        return info.remote.map(Reply::Name).ok_or(Errno::NOTCONN);
    }
    let unnamed = || SocketAddr::new(std::net::Ipv6Addr::UNSPECIFIED.into(), 0);
    Ok(Reply::Name(info.local.unwrap_or_else(unnamed)))
}
