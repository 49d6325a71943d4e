//! The control thread: serves the control socket, follows the descriptors' lives, talks to the workers.
//!
//! It never blocks on a worker or on a client. A request that needs a worker is noted under a call
//! id and answered when the worker's event comes back.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError};
use std::time::{Duration, Instant as StdInstant};

use dpdk::Eal;
use inet::SocketId;
use inet::WorkerCounters;
use inet::command::{CallId, Command, Event, Transport};
use inet::network::RawKind;
use inet::steer::Doorbell;
use proto::{MESSAGE_MAX, SocketHandle};
use rustix::event::Timespec;
use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::io::Errno;
use shm::{Arena, SocketEnd};

use crate::accept_queue::AcceptQueue;
use crate::applications::Applications;
use crate::client::Client;
use crate::connection::{Connection, Received, Trusted, spare_descriptor};
use crate::drivers::{Drivers, Polled};
use crate::ended::Ended;
use crate::ephemeral::Ephemeral;
use crate::members::Members;
use crate::monitor::Monitors;
use crate::network_state::NetworkState;
use crate::options::Values;
use crate::pending::Pending;
use crate::port_table::PortTable;
use crate::protocols::Protocols;
use crate::publish::SharedPage;
use crate::quota::{Accounts, Kind, Taken};
use crate::socket_table::SocketTable;
use crate::tables::ScrapeRequest;

/// Control connections at once; a client and a few tools each.
const CONNECTIONS_MAX: usize = 4096;

/// Calls of one connection that may wait for workers. Libraries make one at a time; a few more are
/// left by processes that died while they waited.
pub(crate) const CALLS_MAX: u16 = 64;

/// Names a control connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct ConnectionId(pub u32);

/// Names a socket for the control plane: owner of its port, its listener, its descriptor
/// ([`crate::client::name`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct SocketKey(pub u64);

/// What an epoll event is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// Somebody connects to the control socket.
    Path,
    /// Workers have events, or the metrics thread wants a sample.
    Doorbell,
    /// SIGTERM, SIGINT or SIGHUP.
    Signal,
    /// A connection has a request or is gone.
    Connection(ConnectionId),
    /// The last copy of a socket's descriptor is closed.
    Descriptor(SocketKey),
}

impl Source {
    pub(crate) fn data(self) -> EventData {
        EventData::new_u64(match self {
            Self::Path => 0,
            Self::Doorbell => 1,
            Self::Signal => 2,
            Self::Connection(ConnectionId(id)) => 1 << 62 | u64::from(id),
            Self::Descriptor(SocketKey(key)) => 1 << 63 | key,
        })
    }

    pub(crate) fn of(data: u64) -> Self {
        match data {
            0 => Self::Path,
            1 => Self::Doorbell,
            2 => Self::Signal,
            _ if data >> 63 == 1 => Self::Descriptor(SocketKey(data & !(1 << 63))),
            _ => Self::Connection(ConnectionId(u32::try_from(data & 0xffff_ffff).unwrap_or(0))),
        }
    }
}

/// A socket as the control plane knows it.
pub(crate) struct SocketEntry {
    pub(crate) client: u16,
    pub(crate) handle: SocketHandle,
    pub(crate) id: SocketId,
    pub(crate) transport: Transport,
    pub(crate) descriptor: Arc<SocketEnd>,
    /// Its peer, if it has one; the port is its worker's to know.
    pub(crate) peer: Option<Peer>,
    /// The local address whose port this socket holds.
    pub(crate) local: Option<Rc<SocketAddr>>,
    /// Its name if it is another one: the port is its listener's, or a peer has made the wildcard an
    /// address.
    pub(crate) name: Option<Rc<SocketAddr>>,
    pub(crate) listening: Option<Box<AcceptQueue>>,
    /// Shared by sockets that have the same: see [`Control::set_values`].
    pub(crate) values: Rc<Values>,
}

/// What a socket remembers of its peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Peer {
    /// Its address.
    V4(Ipv4Addr),
    /// That it is one of IPv6: its address is long, and its worker's to know.
    V6,
}

impl Peer {
    /// Of a peer at this address.
    pub(crate) fn of(remote: SocketAddr) -> Self {
        match remote.ip() {
            IpAddr::V4(peer) => Self::V4(peer),
            IpAddr::V6(_) => Self::V6,
        }
    }
}

impl SocketEntry {
    /// There is no connection and no listener yet.
    pub(crate) fn is_closed(&self) -> bool {
        self.peer.is_none() && self.listening.is_none()
    }

    /// The local address whose port this socket holds.
    pub(crate) fn local(&self) -> Option<SocketAddr> {
        self.local.as_deref().copied()
    }
}

/// One worker, from outside.
pub(crate) struct WorkerLink {
    pub(crate) commands: SyncSender<Command>,
    pub(crate) doorbell: Arc<Doorbell>,
    pub(crate) epoll: Arc<OwnedFd>,
    pub(crate) counters: Arc<WorkerCounters>,
    pub(crate) cpu: Option<u32>,
    /// Ports it has nothing to sleep on at.
    pub(crate) polled: Polled,
    /// Commands its channel had no room for.
    pub(crate) backlog: VecDeque<Command>,
}

/// A client whose memory the workers are giving back.
pub(crate) struct Leaving {
    pub(crate) workers_left: u16,
    pub(crate) slot: Arc<shm::Slot>,
}

/// Facts about the daemon that don't change.
pub(crate) struct Facts {
    pub(crate) prefix: String,
    pub(crate) dpdk: String,
    pub(crate) hugepages: bool,
    /// What other processes of DPDK attach by, if they may.
    pub(crate) file_prefix: Option<String>,
    pub(crate) started: StdInstant,
    pub(crate) metrics: Option<SocketAddr>,
    pub(crate) claim_loopback: bool,
    /// PCI devices are refused.
    pub(crate) no_io: bool,
    pub(crate) pool: dpdk::Mempool,
    /// Of received packets that may be lent to clients.
    pub(crate) shown: Option<dpdk::PacketPool>,
    /// Buffers of each.
    pub(crate) pool_size: u32,
    pub(crate) trusted: Trusted,
    /// Key of the choice of ports.
    pub(crate) port_secret: [u8; 16],
    /// Key of the secrets on the sockets' descriptors.
    pub(crate) ticket_secret: [u8; 16],
}

impl Facts {
    /// Pools of frames.
    pub(crate) fn pools(&self) -> impl Iterator<Item = &dpdk::Mempool> {
        core::iter::once(&self.pool).chain(self.shown.as_ref().map(dpdk::PacketPool::pool))
    }
}

/// What became of clients.
#[derive(Debug, Default)]
pub(crate) struct ClientCounts {
    pub(crate) left: u64,
    pub(crate) violations: u64,
    pub(crate) refused: u64,
}

/// The control thread's world.
pub(crate) struct Control {
    pub(crate) epoll: OwnedFd,
    pub(crate) path: OwnedFd,
    /// Given up for a moment to turn somebody away when there are no others.
    pub(crate) spare: Option<OwnedFd>,
    pub(crate) signal: UnixStream,
    pub(crate) doorbell: Arc<Doorbell>,
    pub(crate) workers: Vec<WorkerLink>,
    pub(crate) events: Receiver<Event>,
    pub(crate) scrapes: Receiver<ScrapeRequest>,
    pub(crate) arena: Arc<Arena>,
    pub(crate) page: SharedPage,
    pub(crate) connections: HashMap<ConnectionId, Connection>,
    pub(crate) sockets: SocketTable,
    pub(crate) ended: Ended,
    /// The values that a socket was given last.
    pub(crate) last_values: Rc<Values>,
    /// How many raw and ping sockets there are of each kind.
    pub(crate) raw_open: BTreeMap<RawKind, usize>,
    pub(crate) clients: HashMap<u16, Client>,
    pub(crate) accounts: Accounts,
    pub(crate) leaving: HashMap<u16, Leaving>,
    pub(crate) pending: HashMap<CallId, Pending>,
    pub(crate) network: NetworkState,
    pub(crate) members: Members,
    pub(crate) monitors: Monitors,
    pub(crate) drivers: Drivers,
    pub(crate) applications: Applications,
    pub(crate) protocols: Protocols,
    pub(crate) ports: PortTable,
    pub(crate) ephemeral: Ephemeral,
    pub(crate) facts: Facts,
    pub(crate) counts: ClientCounts,
    pub(crate) next_connection: u32,
    pub(crate) next_client: u64,
    pub(crate) next_call: CallId,
    pub(crate) next_worker: u16,
    /// When each worker was sampled last, and how long it had been busy then.
    pub(crate) sampled: Vec<(StdInstant, u64)>,
    pub(crate) stopping: bool,
}

/// What the control thread listens to.
pub(crate) struct Ends {
    pub(crate) epoll: OwnedFd,
    pub(crate) path: OwnedFd,
    pub(crate) signal: UnixStream,
    pub(crate) doorbell: Arc<Doorbell>,
    pub(crate) events: Receiver<Event>,
    pub(crate) scrapes: Receiver<ScrapeRequest>,
}

impl Control {
    /// A control thread without clients.
    pub(crate) fn new(
        ends: Ends,
        workers: Vec<WorkerLink>,
        (network, drivers, protocols): (NetworkState, Drivers, Protocols),
        facts: Facts,
        (arena, page, accounts): (Arc<Arena>, SharedPage, Accounts),
    ) -> Self {
        let Ends { epoll, path, signal, doorbell, events, scrapes } = ends;
        Self {
            epoll,
            path,
            spare: spare_descriptor(),
            signal,
            doorbell,
            workers,
            events,
            scrapes,
            arena,
            page,
            connections: HashMap::new(),
            sockets: SocketTable::default(),
            ended: Ended::default(),
            last_values: Rc::default(),
            raw_open: BTreeMap::new(),
            clients: HashMap::new(),
            accounts,
            leaving: HashMap::new(),
            pending: HashMap::new(),
            network,
            members: Members::default(),
            monitors: Monitors::default(),
            drivers,
            applications: Applications::default(),
            protocols,
            ports: PortTable::default(),
            ephemeral: Ephemeral::new(facts.port_secret),
            facts,
            counts: ClientCounts::default(),
            next_connection: 0,
            next_client: 0,
            next_call: 0,
            next_worker: 0,
            sampled: Vec::new(),
            stopping: false,
        }
    }

    /// Serves until a signal says stop.
    pub(crate) fn run(&mut self, eal: &Eal) {
        let mut buffer = Box::new([0_u8; MESSAGE_MAX]);
        let mut space = [const { core::mem::MaybeUninit::uninit() }; 64];
        while !self.stopping {
            self.doorbell.prepare_to_sleep();
            self.take_events();
            let timeout = self.sleep_time().and_then(|time| Timespec::try_from(time).ok());
            let ready = match epoll::wait(&self.epoll, &mut space[..], timeout.as_ref()) {
                Ok((ready, _)) => ready,
                Err(Errno::INTR) => continue,
                Err(error) => {
                    tracing::error!("epoll_wait: {error}");
                    return;
                }
            };
            self.monitors_have_room(ready);
            let mut sources: Vec<Source> = ready.iter().map(|e| Source::of(e.data.u64())).collect();
            // What a program has closed is closed before anything it asks for afterwards, the closed
            // socket's port for example.
            sources.sort_by_key(|source| !matches!(source, Source::Descriptor(_)));
            self.doorbell.awake();
            for source in sources {
                self.serve(source, &mut buffer);
            }
            self.let_on();
            self.watch_links();
            self.attend_mounts(eal);
            self.attend_links();
            self.network.attend_carriers(self.now());
            self.attend_laggs();
            self.attend_trees();
            self.attend_dhcp();
            self.attend_link_local();
            self.attend_members();
            self.attend_routes();
            self.attend_monitors();
            self.flush_commands();
        }
    }

    /// How long this thread may sleep.
    fn sleep_time(&self) -> Option<Duration> {
        let soon = Duration::from_millis(1);
        let waits = self.has_backlog() || self.accounts.anybody_waits();
        let patience = self.protocols.patience();
        let engines = [
            self.network.next_look().map(|due| due.since(self.now())),
            self.until_trees(),
            self.until_laggs(),
            self.until_links(),
            self.until_members(),
            self.until_dhcp(),
            self.until_link_local(),
            self.until_monitors(),
            self.until_openings(),
            self.network.until_routes(self.now()),
            patience,
        ];
        waits.then_some(soon).into_iter().chain(engines.into_iter().flatten()).min()
    }

    fn serve(&mut self, source: Source, buffer: &mut [u8; MESSAGE_MAX]) {
        match source {
            Source::Path => self.accept_connection(),
            Source::Doorbell => self.take_events(),
            Source::Signal => self.stopping = true,
            Source::Connection(id) => self.serve_connection(id, buffer),
            Source::Descriptor(key) if self.is_let_go(key) => self.close_socket(key),
            Source::Descriptor(_) => {}
        }
    }

    fn accept_connection(&mut self) {
        let flags = rustix::net::SocketFlags::CLOEXEC | rustix::net::SocketFlags::NONBLOCK;
        let fd = match rustix::net::accept_with(&self.path, flags) {
            Ok(fd) => fd,
            Err(Errno::MFILE | Errno::NFILE) => return self.take_to_turn_away(),
            Err(_) => return,
        };
        let Ok(mut connection) = Connection::new(fd, &mut self.accounts) else { return };
        if self.connections.len() >= CONNECTIONS_MAX {
            return self.turn_away(&connection, Errno::NOMEM);
        }
        match Taken::of(&connection.account, Kind::Connections) {
            Ok(seat) => connection.seat = Some(seat),
            Err(errno) => return self.turn_away(&connection, errno),
        }
        self.next_connection = self.next_connection.wrapping_add(1);
        let id = ConnectionId(self.next_connection);
        let data = Source::Connection(id).data();
        if epoll::add(&self.epoll, connection.fd(), data, EventFlags::IN).is_ok() {
            let _ = self.connections.insert(id, connection);
        }
    }

    /// No descriptor is left for whoever connects. Left waiting, they would wake this thread without end.
    fn take_to_turn_away(&mut self) {
        drop(self.spare.take());
        let accepted = rustix::net::accept(&self.path);
        if let Ok(connection) = accepted.and_then(|fd| Connection::new(fd, &mut self.accounts)) {
            self.turn_away(&connection, Errno::NFILE);
        }
        self.spare = spare_descriptor();
    }

    fn turn_away(&mut self, connection: &Connection, why: Errno) {
        self.counts.refused += 1;
        let _told = connection.answer(proto::TURNED_AWAY, Err(why), &[]);
    }

    fn serve_connection(&mut self, id: ConnectionId, buffer: &mut [u8; MESSAGE_MAX]) {
        // One request: before the next is taken it must be known what has been closed meanwhile.
        let Some(connection) = self.connections.get_mut(&id) else { return };
        match connection.receive(buffer) {
            Received::Call(call) => {
                self.count_request(id);
                self.request(id, call);
            }
            Received::Empty => {}
            Received::Closed => self.drop_connection(id),
        }
    }

    /// A peer is gone, or has to go. Its sockets live as long as their descriptors do.
    pub(crate) fn drop_connection(&mut self, id: ConnectionId) {
        let Some(connection) = self.connections.remove(&id) else { return };
        let _ = epoll::delete(&self.epoll, connection.fd());
        self.network.load_left(id.0);
        self.listens_no_longer(id);
        self.shows_no_longer(id);
        if let Some(client) = connection.client {
            self.left(id, client);
        }
    }

    /// The last copy of a socket's descriptor is closed.
    pub(crate) fn close_socket(&mut self, key: SocketKey) {
        let Some(entry) = self.sockets.get(&key) else { return };
        let (worker, id, client) = (entry.handle.worker, entry.id, entry.client);
        let cell = entry.handle.cell;
        self.command(worker, Command::Close { socket: id, reset: false });
        if let Some(client) = self.clients.get_mut(&client) {
            client.cells.set(cell, None);
            client.account.give(Kind::Sockets, 1);
        }
        self.forget_socket(key);
        self.detach_if_unused(client);
    }

    /// Takes a socket out of all tables but its client's. Its worker has been told, or is being told of its
    /// client.
    pub(crate) fn forget_socket(&mut self, key: SocketKey) {
        let Some(entry) = self.sockets.remove(&key) else { return };
        let _ = epoll::delete(&self.epoll, &*entry.descriptor);
        self.ended.forget(key);
        self.members.forget(key);
        if let Some(local) = entry.local() {
            self.ports.release(entry.transport, local.port(), key.0);
            if entry.transport == Transport::Datagram {
                let owner = (entry.handle.worker, false);
                self.publish_udp_owner(local, entry.values.v6_only, owner);
            }
        }
        if let Some(raw) = entry.values.raw {
            self.publish_raw(raw.kind, false);
        }
        if let Some(queue) = entry.listening {
            self.dissolve(key, *queue);
        }
    }

    /// Changes what a socket's user has set. Programs set the same on each of their connections, so
    /// that one copy mostly does for many.
    pub(crate) fn set_values(&mut self, key: SocketKey, values: Values) {
        if *self.last_values != values {
            self.last_values = Rc::new(values);
        }
        if let Some(entry) = self.sockets.get_mut(&key) {
            entry.values = Rc::clone(&self.last_values);
        }
    }

    /// What a new socket's user has set: nothing, so that the operator's word counts.
    pub(crate) fn default_values(&self, inet6: bool, raw: Option<RawKind>) -> Rc<Values> {
        let tuning = &self.network.tuning;
        let told = if inet6 { self.network.told_hops() } else { None };
        let values = Values::of_host(tuning.congestion, told.unwrap_or(tuning.ttl), inet6);
        let values = values.of_raw(raw);
        if *self.last_values == values { Rc::clone(&self.last_values) } else { Rc::new(values) }
    }

    /// A listener accepts no longer, but keeps its port.
    pub(crate) fn unlisten(&mut self, key: SocketKey) {
        let Some(entry) = self.sockets.get_mut(&key) else { return };
        let Some(queue) = entry.listening.take() else { return };
        if let Some(local) = entry.local() {
            self.ports.unlisten(local.port(), key.0);
        }
        self.dissolve(key, *queue);
    }

    /// Whoever waits to be accepted is reset, and nobody else is let in.
    fn dissolve(&mut self, key: SocketKey, queue: AcceptQueue) {
        let listener = inet::command::ListenerId(key.0);
        for worker in 0..self.worker_count() {
            self.command(worker, Command::Unlisten { listener });
        }
        for waiting in queue.waiting {
            let close = Command::Close { socket: waiting.socket, reset: true };
            self.command(waiting.worker, close);
        }
    }

    /// How many workers there are.
    pub(crate) fn worker_count(&self) -> u16 {
        u16::try_from(self.workers.len()).unwrap_or(u16::MAX)
    }

    /// Sends a command; order to one worker is kept.
    pub(crate) fn command(&mut self, worker: u16, command: Command) {
        let Some(link) = self.workers.get_mut(usize::from(worker)) else { return };
        link.backlog.push_back(command);
        link.flush();
    }

    fn flush_commands(&mut self) {
        self.workers.iter_mut().for_each(WorkerLink::flush);
    }

    fn has_backlog(&self) -> bool {
        self.workers.iter().any(|link| !link.backlog.is_empty())
    }

    /// Starts a call to a worker.
    pub(crate) fn call(
        &mut self,
        worker: u16,
        pending: Pending,
        command: impl FnOnce(CallId) -> Command,
    ) {
        self.next_call = self.next_call.wrapping_add(1);
        let call = self.next_call;
        self.count_call(pending.connection, true);
        let _ = self.pending.insert(call, pending);
        self.command(worker, command(call));
    }

    /// A call of this connection begins to wait for a worker, or is over.
    pub(crate) fn count_call(&mut self, id: Option<ConnectionId>, begins: bool) {
        let Some(connection) = id.and_then(|id| self.connections.get_mut(&id)) else { return };
        let calls = connection.calls;
        connection.calls = if begins { calls.saturating_add(1) } else { calls.saturating_sub(1) };
    }
}

impl WorkerLink {
    fn flush(&mut self) {
        let mut sent = false;
        while let Some(command) = self.backlog.pop_front() {
            match self.commands.try_send(command) {
                Ok(()) => sent = true,
                Err(TrySendError::Full(command)) => {
                    self.backlog.push_front(command);
                    break;
                }
                Err(TrySendError::Disconnected(_)) => break,
            }
        }
        if sent {
            self.doorbell.ring();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_survive_the_trip_through_epoll() {
        for source in [
            Source::Path,
            Source::Doorbell,
            Source::Signal,
            Source::Connection(ConnectionId(7)),
            Source::Descriptor(SocketKey(1 << 40)),
        ] {
            assert_eq!(Source::of(source.data().u64()), source);
        }
    }
}
