//! Sockets of protocol modules, as far as the control thread has a part in them: making them, and their
//! names. What a name means the module knows.

use std::net::SocketAddr;
use std::sync::Arc;

use inet::command::{Command, ModuleOption, OpenModule, SocketInfo, Transport};
use lsm::{OPTION_BYTES_MAX, Opener, SocketKind};
use proto::Reply;
use proto::message::{Family, Transport as WireTransport};
use rustix::io::Errno;

use crate::control::{ConnectionId, Control, SocketKey};
use crate::options::sol;
use crate::pending::{Asked, NewSocket, Pending, Then};
use crate::quota::{Kind, Taken};
use crate::requests::descriptor_pair;

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
        let kind = SocketKind { family, protocol };
        let single = self.protocols.serves(kind).ok_or(absent)?;
        if transport != WireTransport::Datagram {
            return Err(Errno::SOCKTNOSUPPORT);
        }
        let connection = self.connections.get(&asked.connection).ok_or(Errno::BADF)?;
        let by = Opener { pid: connection.pid, uid: connection.sender };
        let client = self.client_of(asked.connection).ok_or(Errno::NOTCONN)?;
        let (client, opening) = (client.slot.index(), Taken::of(&client.account, Kind::Sockets)?);
        let (ours, theirs) = descriptor_pair()?;
        self.next_worker = (self.next_worker + 1) % self.worker_count().max(1);
        let worker = if single { 0 } else { self.next_worker };
        let then = Then::Open(NewSocket {
            client,
            worker,
            transport: Transport::Module,
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
            Command::OpenModule(Box::new(open))
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
        let pending = Pending { connection, sequence, then: Then::Answer };
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
            Command::ModuleOption(Box::new(ModuleOption { call, socket, option, value }))
        });
        Ok(true)
    }

    fn of_module(&self, key: SocketKey) -> Option<(u16, inet::SocketId)> {
        let entry = self.sockets.get(&key)?;
        (entry.transport == Transport::Module).then_some((entry.handle.worker, entry.id))
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
