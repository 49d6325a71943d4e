//! What clients and tools ask for.

use std::cell::Cell;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;

use inet::command::{Command, ListenerId, Transport};
use proto::message::{Family, Shutdown, Transport as WireTransport};
use proto::{Call, Reply, Request, SocketHandle};
use rustix::io::Errno;
use shm::SocketEnd;

use crate::accept_queue::AcceptQueue;
use crate::addresses::any;
use crate::connection::Connection;
use crate::control::{CALLS_MAX, ConnectionId, Control, Peer, SocketEntry, SocketKey};
use crate::pending::{Asked, Attempt, NewSocket, Pending, Target, Then};
use crate::port_table::Sharing;
use crate::quota::{Kind, Taken};
use crate::raw_sockets;

/// Other ports tried when a connection attempt meets an old connection in its way.
const CONNECT_TRIES: u8 = 8;

/// Ports below need root, the daemon's user or its trusted group.
const PRIVILEGED_PORTS: u16 = 1024;

impl Control {
    pub(crate) fn request(&mut self, id: ConnectionId, call: Call) {
        let Call { sequence, request } = call;
        let waits = sequence != proto::UNASKED;
        if waits && self.connections.get(&id).is_some_and(|c| c.calls >= CALLS_MAX) {
            return self.answer(id, sequence, Err(Errno::NOBUFS));
        }
        let result = match request {
            Request::Attach { version, name } => return self.attach(id, sequence, version, &name),
            Request::Identify { ticket } => self.identify(id, ticket).map(Some),
            Request::Join { ticket, version, name } => {
                self.join(id, sequence, (version, &name), ticket).map(|()| None)
            }
            Request::Socket { family, transport, protocol } => {
                let asked = Asked { connection: id, sequence };
                return self.open(asked, family, transport, protocol);
            }
            Request::Accept { socket } => return self.accept(id, sequence, socket),
            Request::Connect { socket, address, fast_open } => {
                let asked = Asked { connection: id, sequence };
                return self.connect(asked, socket, address, fast_open);
            }
            Request::Bind { socket, address } => self.bind(id, sequence, socket, address),
            Request::Listen { socket, backlog } => self.listen(id, sequence, socket, backlog),
            Request::Shutdown { socket, how } => self.shutdown(id, sequence, socket, how),
            Request::Closed { socket } => self.closed(id, socket).map(Some),
            Request::SetOption { socket, level, name, value } => {
                self.set_option(id, sequence, socket, (level, name), &value)
            }
            Request::Option { socket, level, name } => {
                self.option(id, sequence, socket, level, name)
            }
            Request::Ioctl { socket, request, data, room } => self
                .socket(id, socket)
                .and_then(|key| self.ioctl((id, sequence), key, request, (data, room)))
                .map(|()| None),
            Request::TakeExtendedError { socket } => self.extended_error((id, sequence), socket),
            Request::LocalName { socket } => self.local_name(id, sequence, socket),
            Request::PeerName { socket } => self.peer_name(id, sequence, socket),
            Request::Monitor => self.listen_to_network(id, sequence).map(Some),
            other => self.table_request(id, sequence, other),
        };
        match result {
            Ok(Some(reply)) => self.answer(id, sequence, Ok(reply)),
            Ok(None) => {}
            Err(errno) => self.answer(id, sequence, Err(errno)),
        }
    }

    /// The socket a request is about, if it is the asker's and not a stale one.
    fn socket(&self, id: ConnectionId, handle: SocketHandle) -> Result<SocketKey, Errno> {
        let client = self.client_of(id).ok_or(Errno::BADF)?;
        let key = client.cells.get(handle.cell).ok_or(Errno::BADF)?;
        let entry = self.sockets.get(&key).ok_or(Errno::BADF)?;
        if entry.handle == handle { Ok(key) } else { Err(Errno::BADF) }
    }

    pub(crate) fn entry(
        &mut self,
        id: ConnectionId,
        handle: SocketHandle,
    ) -> Result<(SocketKey, &mut SocketEntry), Errno> {
        let key = self.socket(id, handle)?;
        self.sockets.get_mut(&key).map(|entry| (key, entry)).ok_or(Errno::BADF)
    }

    fn open(&mut self, asked: Asked, family: Family, transport: WireTransport, protocol: u16) {
        let inet6 = family == Family::Inet6;
        let raw = match family {
            Family::Inet | Family::Inet6 => raw_sockets::kind(inet6, transport, protocol),
            Family::Module(_) => None,
        };
        let opened = match (family, protocol) {
            (Family::Inet | Family::Inet6, 0) => self.try_open(asked, family, transport),
            _ => match raw {
                Some(kind) => self.try_open_raw(asked, kind),
                None => self.try_open_of_module(asked, family, transport, protocol),
            },
        };
        if let Err(errno) = opened {
            self.answer(asked.connection, asked.sequence, Err(errno));
        }
    }

    fn try_open(
        &mut self,
        asked: Asked,
        family: Family,
        transport: WireTransport,
    ) -> Result<(), Errno> {
        let Asked { connection: id, sequence } = asked;
        let inet6 = family == Family::Inet6;
        let transport = match transport {
            WireTransport::Stream => Transport::Stream,
            WireTransport::Datagram => Transport::Datagram,
            WireTransport::Raw => return Err(Errno::PROTONOSUPPORT),
        };
        let client = self.client_of(id).ok_or(Errno::NOTCONN)?;
        let (client, opening) = (client.slot.index(), Taken::of(&client.account, Kind::Sockets)?);
        let (ours, theirs) = descriptor_pair()?;
        self.next_worker = (self.next_worker + 1) % self.worker_count().max(1);
        let worker = self.next_worker;
        let ours_too = Arc::clone(&ours);
        let then = Then::Open(NewSocket {
            client,
            worker,
            transport,
            inet6,
            raw: None,
            ours: ours_too,
            theirs,
            opening,
        });
        let pending = Pending { connection: Some(id), sequence, then };
        self.call(worker, pending, |call| Command::Open {
            call,
            client,
            transport,
            descriptor: ours,
        });
        Ok(())
    }

    fn may_bind(&self, id: ConnectionId, port: u16) -> bool {
        let privileged = |c: &Connection| c.is_privileged(&self.facts.trusted);
        port >= PRIVILEGED_PORTS || self.connections.get(&id).is_some_and(privileged)
    }

    fn bind(
        &mut self,
        id: ConnectionId,
        sequence: u32,
        handle: SocketHandle,
        address: SocketAddr,
    ) -> Result<Option<Reply>, Errno> {
        let key = self.socket(id, handle)?;
        if self.bind_module(id, sequence, key, address)
            || self.bind_raw(id, sequence, key, address)?
        {
            return Ok(None);
        }
        let values = self.sockets.get(&key).map(|entry| *entry.values).ok_or(Errno::BADF)?;
        let address = self.check_local(&values, address)?;
        let entry = self.sockets.get(&key).ok_or(Errno::BADF)?;
        let ping = entry.transport == Transport::Ping;
        if address.port() != 0 && !ping && !self.may_bind(id, address.port()) {
            return Err(Errno::ACCESS);
        }
        if entry.local.is_some() || entry.peer.is_some() {
            return Err(Errno::INVAL);
        }
        let transport = entry.transport;
        let port = match address.port() {
            0 => self.free_port(transport, address.ip(), None, |_| true)?,
            port => port,
        };
        let mut local = address;
        local.set_port(port);
        let uid = self.connections.get(&id).map(|c| c.sender);
        let sharing = Sharing {
            address: values.reuse_address,
            port: uid.filter(|_| values.reuse_port),
            v6_only: values.v6_only,
            device: values.device,
        };
        self.ports.bind(transport, local, sharing, key.0)?;
        let entry = self.sockets.get_mut(&key).ok_or(Errno::BADF)?;
        entry.local = Some(Rc::new(local));
        let (worker, socket) = (entry.handle.worker, entry.id);
        if transport == Transport::Stream {
            return Ok(Some(Reply::Done));
        }
        if transport == Transport::Datagram {
            self.publish_udp_owner(local, values.v6_only, (worker, true));
        }
        let pending = Pending { connection: Some(id), sequence, then: Then::Answer };
        self.call(worker, pending, |call| Command::Bind { call, socket, local });
        Ok(None)
    }

    /// A port that nobody asked for by number: to listen, or for a connection to `remote`.
    fn free_port(
        &mut self,
        transport: Transport,
        local: IpAddr,
        remote: Option<SocketAddr>,
        fits: impl Fn(u16) -> bool,
    ) -> Result<u16, Errno> {
        let anywhere = SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), 0);
        let ports = &self.ports;
        let free = |port| ports.is_free_for(transport, port, remote) && fits(port);
        let port = self.ephemeral.next(local, remote.unwrap_or(anywhere), free);
        let none_left = if remote.is_some() { Errno::ADDRNOTAVAIL } else { Errno::ADDRINUSE };
        port.ok_or(none_left)
    }

    /// Gives back a port that was chosen for a connection attempt.
    pub(crate) fn unbind(&mut self, key: SocketKey) {
        let Some(entry) = self.sockets.get_mut(&key) else { return };
        let transport = entry.transport;
        if let Some(local) = entry.local.take() {
            self.ports.release(transport, local.port(), key.0);
        }
    }

    fn listen(
        &mut self,
        id: ConnectionId,
        sequence: u32,
        handle: SocketHandle,
        backlog: u32,
    ) -> Result<Option<Reply>, Errno> {
        let key = self.socket(id, handle)?;
        if self.listen_module((id, sequence), key, backlog)? {
            return Ok(None);
        }
        let entry = self.sockets.get(&key).ok_or(Errno::BADF)?;
        if entry.transport != Transport::Stream {
            return Err(Errno::OPNOTSUPP);
        }
        if entry.peer.is_some() {
            return Err(Errno::INVAL);
        }
        if entry.local.is_none() {
            let (any, v6_only) = (any(&entry.values), entry.values.v6_only);
            let device = entry.values.device;
            let port = self.free_port(Transport::Stream, any, None, |_| true)?;
            let local = SocketAddr::new(any, port);
            let sharing = Sharing { v6_only, device, ..Sharing::default() };
            self.ports.bind(Transport::Stream, local, sharing, key.0)?;
            self.sockets.get_mut(&key).ok_or(Errno::BADF)?.local = Some(Rc::new(local));
        }
        let listeners = self.sockets.values().filter(|s| s.listening.is_some()).count();
        let entry = self.sockets.get_mut(&key).ok_or(Errno::BADF)?;
        if entry.listening.is_none() && listeners >= inet::limits::LISTENERS_MAX {
            return Err(Errno::NOBUFS);
        }
        let local = entry.local().ok_or(Errno::INVAL)?;
        let options = entry.values.inherited();
        let owner = self.clients.get(&entry.client).ok_or(Errno::BADF)?;
        let new = entry.listening.is_none().then(|| AcceptQueue::of(&owner.account)).transpose()?;
        self.ports.listen(local, key.0)?;
        if new.is_some() {
            entry.listening = new;
        }
        let (listener, client) = (ListenerId(key.0), entry.client);
        let backlog = backlog.min(self.network.tuning.somaxconn);
        // Answered when every worker lets connections in: a peer that hears of it may come at once.
        let left = Rc::new(Cell::new(self.worker_count()));
        for worker in 0..self.worker_count() {
            let options = options.clone();
            let then = Then::Listen(Rc::clone(&left));
            let pending = Pending { connection: Some(id), sequence, then };
            self.call(worker, pending, |call| Command::Listen {
                call,
                listener,
                client,
                local,
                backlog,
                options,
            });
        }
        Ok(None)
    }

    fn accept(&mut self, id: ConnectionId, sequence: u32, handle: SocketHandle) {
        match self.try_accept(id, sequence, handle) {
            Ok(()) => {}
            Err(errno) => self.answer(id, sequence, Err(errno)),
        }
    }

    fn try_accept(
        &mut self,
        id: ConnectionId,
        sequence: u32,
        handle: SocketHandle,
    ) -> Result<(), Errno> {
        let (key, entry) = self.entry(id, handle)?;
        let (values, client, transport) = (*entry.values, entry.client, entry.transport);
        let queue = entry.listening.as_ref().ok_or(Errno::INVAL)?;
        if queue.waiting.is_empty() {
            return Err(Errno::AGAIN);
        }
        // Before the connection is taken: without descriptors it stays in the queue.
        let opening =
            Taken::of(&self.clients.get(&client).ok_or(Errno::BADF)?.account, Kind::Sockets)?;
        let (ours, theirs) = descriptor_pair()?;
        let queue = self.sockets.get_mut(&key).and_then(|entry| entry.listening.as_mut());
        let queue = queue.ok_or(Errno::INVAL)?;
        let waiting = queue.waiting.pop_front().ok_or(Errno::AGAIN)?;
        let (name, values) = queue.share(waiting.local, values.of_accepted());
        if queue.waiting.is_empty() {
            self.acceptable(key, false);
        }
        let socket = SocketHandle {
            cell: waiting.cell.index,
            generation: waiting.cell.generation,
            worker: waiting.worker,
        };
        let entry = SocketEntry {
            client,
            handle: socket,
            id: waiting.socket,
            transport,
            descriptor: Arc::clone(&ours),
            peer: Some(Peer::of(waiting.remote)),
            // The listener holds the port.
            local: None,
            name: Some(name),
            listening: None,
            values,
        };
        self.command(
            waiting.worker,
            Command::Accepted { socket: waiting.socket, descriptor: ours },
        );
        let (local, remote) = (waiting.local, waiting.remote);
        let reply = Reply::Accepted { socket, local, remote };
        self.hand_out(Asked { connection: id, sequence }, (entry, opening), reply, &theirs);
        Ok(())
    }

    fn connect(&mut self, asked: Asked, handle: SocketHandle, remote: SocketAddr, fast_open: bool) {
        match self.socket(asked.connection, handle) {
            Ok(key) if self.connect_module(asked, key, remote) => {}
            Ok(key) => match self.connect_raw(asked, key, remote) {
                Ok(true) => {}
                Ok(false) => {
                    let tries = CONNECT_TRIES;
                    self.start_connect(asked, Target { key, remote, tries, fast_open });
                }
                Err(errno) => self.answer(asked.connection, asked.sequence, Err(errno)),
            },
            Err(errno) => self.answer(asked.connection, asked.sequence, Err(errno)),
        }
    }

    pub(crate) fn start_connect(&mut self, asked: Asked, target: Target) {
        if let Err(errno) = self.try_connect(asked, target) {
            self.answer(asked.connection, asked.sequence, Err(errno));
        }
    }

    fn try_connect(&mut self, asked: Asked, target: Target) -> Result<(), Errno> {
        let Target { key, remote: to, fast_open, .. } = target;
        let entry = self.sockets.get(&key).ok_or(Errno::BADF)?;
        let (transport, worker, socket) = (entry.transport, entry.handle.worker, entry.id);
        let stream = transport == Transport::Stream;
        if stream && entry.listening.is_some() {
            return Err(Errno::ISCONN);
        }
        let values = *entry.values;
        let dissolve = !stream && to.is_ipv4() && to.ip().is_unspecified();
        let bound = entry.local();
        let to = self.check_peer(transport, &values, to)?;
        let device = match stream {
            true => values.device,
            false => self.device_towards(key, values.device, to.ip()),
        };
        let mut local = self.source(bound, to, device)?;
        let any = SocketAddr::new(any(&values), 0);
        let port = match bound {
            Some(local) => local.port(),
            None => self.port_for(worker, transport, local.ip(), to)?,
        };
        local.set_port(port);
        if bound.is_none() {
            self.ports.connect(transport, local, to, key.0);
            // A datagram socket may change its peer, and with it its address.
            let held = if stream { local } else { SocketAddr::new(any.ip(), port) };
            self.sockets.get_mut(&key).ok_or(Errno::BADF)?.local = Some(Rc::new(held));
            if transport == Transport::Datagram {
                self.publish_udp_owner(held, values.v6_only, (worker, true));
            }
        }
        let remote = (!dissolve).then_some(to);
        if dissolve {
            local = bound.unwrap_or_else(|| SocketAddr::new(any.ip(), port));
        }
        let chosen = bound.is_none();
        let target = Target { remote: to, ..target };
        let then = Then::Connect(Attempt { target, local, dissolve, chosen });
        let pending =
            Pending { connection: Some(asked.connection), sequence: asked.sequence, then };
        self.call(worker, pending, |call| Command::Connect {
            call,
            socket,
            local,
            remote,
            fast_open,
        });
        Ok(())
    }

    /// A free port whose flow leads back to the socket's own worker.
    fn port_for(
        &mut self,
        worker: u16,
        transport: Transport,
        source: IpAddr,
        to: SocketAddr,
    ) -> Result<u16, Errno> {
        let workers = self.worker_count();
        let leads_home = |port| {
            let flow = types::FlowKey {
                local_addr: source,
                remote_addr: to.ip(),
                local_port: port,
                remote_port: to.port(),
            };
            transport != Transport::Stream || inet::steer::owner(&flow, workers) == worker
        };
        self.free_port(transport, source, Some(to), leads_home)
    }

    fn shutdown(
        &mut self,
        id: ConnectionId,
        sequence: u32,
        handle: SocketHandle,
        how: Shutdown,
    ) -> Result<Option<Reply>, Errno> {
        let (key, entry) = self.entry(id, handle)?;
        let (worker, socket) = (entry.handle.worker, entry.id);
        let read = matches!(how, Shutdown::Read | Shutdown::Both);
        let write = matches!(how, Shutdown::Write | Shutdown::Both);
        if entry.listening.is_some() {
            // Linux: a listener has nothing to write; shut for reading it is closed, and may listen
            // again (RFC 9293 §3.10.4, CLOSE in LISTEN).
            if !read {
                return Ok(Some(Reply::Done));
            }
            // The worker may not have heard yet that the socket listens: nobody has waited at it.
            self.command(worker, Command::Acceptable { socket, waiting: false });
            self.unlisten(key);
        }
        let pending = Pending { connection: Some(id), sequence, then: Then::Answer };
        self.call(worker, pending, |call| Command::Shutdown { call, socket, read, write });
        Ok(None)
    }

    /// A client that waits for its last bytes asks whether its close was the last.
    fn closed(&mut self, id: ConnectionId, handle: SocketHandle) -> Result<Reply, Errno> {
        if let Ok(key) = self.socket(id, handle) {
            if !self.is_let_go(key) {
                return Err(Errno::BUSY);
            }
            self.close_socket(key);
        }
        Ok(Reply::Done)
    }

    fn local_name(
        &mut self,
        id: ConnectionId,
        sequence: u32,
        handle: SocketHandle,
    ) -> Result<Option<Reply>, Errno> {
        let key = self.socket(id, handle)?;
        if self.name_module(id, sequence, key, false) {
            return Ok(None);
        }
        let entry = self.sockets.get(&key).ok_or(Errno::BADF)?;
        let raw = entry.transport == Transport::Raw;
        let port = if raw { entry.values.raw_protocol() } else { 0 };
        let unbound = SocketAddr::new(any(&entry.values), port);
        let name = entry.name.as_deref().or(entry.local.as_deref());
        Ok(Some(Reply::Name(name.copied().unwrap_or(unbound))))
    }

    fn peer_name(
        &mut self,
        id: ConnectionId,
        sequence: u32,
        handle: SocketHandle,
    ) -> Result<Option<Reply>, Errno> {
        let (key, entry) = self.entry(id, handle)?;
        if entry.listening.is_some() {
            return Err(Errno::NOTCONN);
        }
        if self.name_module(id, sequence, key, true) {
            return Ok(None);
        }
        let entry = self.sockets.get(&key).ok_or(Errno::BADF)?;
        let (worker, socket) = (entry.handle.worker, entry.id);
        let pending = Pending { connection: Some(id), sequence, then: Then::PeerName };
        self.call(worker, pending, |call| Command::Info { call, socket, take_error: false });
        Ok(None)
    }
}

/// The two ends of a socket's descriptor: ours, and the one its owner gets.
pub(crate) fn descriptor_pair() -> Result<(Arc<SocketEnd>, OwnedFd), Errno> {
    let (ours, theirs) = SocketEnd::pair()?;
    Ok((Arc::new(ours), theirs))
}
