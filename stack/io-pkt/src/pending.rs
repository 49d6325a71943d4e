//! Calls that wait for a worker, and what their outcome means.

use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use inet::command::{
    CallId, Command, Event, ListenerId, Outcome, SocketInfo, Transport,
};
use inet::SocketId;
use proto::{Reply, SocketHandle};
use rustix::event::epoll::{self, EventFlags};
use rustix::io::Errno;
use shm::{CellId, SocketEnd};

use crate::control::{ConnectionId, Control, SocketEntry, SocketKey, Source, Waiting};
use crate::options;
use crate::tables::Gathering;

/// A call that waits for a worker.
pub(crate) struct Pending {
    /// Who asked; `None` for the daemon itself.
    pub(crate) connection: Option<ConnectionId>,
    /// Their sequence number.
    pub(crate) sequence: u32,
    /// What to do with the outcome.
    pub(crate) then: Then,
}

/// What to do with a worker's outcome.
pub(crate) enum Then {
    /// Answer `Done`, or the error.
    Answer,
    /// A new socket: remember it and send its descriptor.
    Open { worker: u16, transport: Transport, ours: Arc<SocketEnd>, theirs: OwnedFd },
    /// A connection attempt is under way: answer `EINPROGRESS`; on a collision try another port.
    Connect { key: SocketKey, remote: SocketAddr, tries: u8, chosen: bool },
    /// The state of a socket, for one option.
    Option { level: i32, name: i32 },
    /// The state of a socket, for its peer's name.
    PeerName,
    /// Part of a listing.
    Gather(std::rc::Rc<std::cell::RefCell<Gathering>>),
}

impl Control {
    /// Takes everything the workers have said.
    pub(crate) fn take_events(&mut self) {
        while let Ok(event) = self.events.try_recv() {
            self.event(event);
        }
        while let Ok(request) = self.scrapes.try_recv() {
            self.scrape(request);
        }
    }

    fn event(&mut self, event: Event) {
        match event {
            Event::Done { call, result } => self.done(call, result),
            Event::Established { listener, socket, cell, local, remote } => {
                self.established(listener, socket, cell, local, remote);
            }
            Event::Freed { .. } => {}
            Event::Detached { client } => {
                let Some(leaving) = self.leaving.get_mut(&client) else { return };
                leaving.workers_left = leaving.workers_left.saturating_sub(1);
                if leaving.workers_left == 0 {
                    let _ = self.leaving.remove(&client);
                    self.counts.left += 1;
                }
            }
            Event::Misbehaved { client, what } => {
                self.counts.violations += 1;
                if let Some(id) = self.slots.get(&client).copied() {
                    tracing::warn!("client in slot {client} disconnected: {what}");
                    self.drop_connection(id);
                }
            }
        }
    }

    /// Answers a peer; one that does not take its answer is dropped.
    pub(crate) fn answer(&mut self, id: ConnectionId, sequence: u32, result: Result<Reply, Errno>) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        if !connection.answer(sequence, result, &[]) {
            self.drop_connection(id);
        }
    }

    fn done(&mut self, call: CallId, result: Result<Outcome, Errno>) {
        let Some(pending) = self.pending.remove(&call) else {
            // The asker is gone; a socket it would have got is not left behind.
            return;
        };
        match pending.then {
            Then::Gather(gathering) => {
                let worker = u16::try_from(pending.sequence).unwrap_or(0);
                return self.gathered(&gathering, worker, result);
            }
            Then::Open { worker, transport, ours, theirs } => {
                let Some(connection) = pending.connection else { return };
                let opened = match result {
                    Ok(Outcome::Opened { socket, cell }) => Ok((socket, cell)),
                    Ok(_) => Err(Errno::IO),
                    Err(errno) => Err(errno),
                };
                return self.opened(connection, pending.sequence, opened, worker, transport, ours, theirs);
            }
            Then::Connect { key, remote, tries, chosen } => {
                return self.connected(&Asked { connection: pending.connection, sequence: pending.sequence }, result.map(drop), key, remote, tries, chosen);
            }
            Then::Answer | Then::Option { .. } | Then::PeerName => {}
        }
        let reply = match (&pending.then, result) {
            (_, Err(errno)) => Err(errno),
            (Then::Option { level, name }, Ok(Outcome::Info(info))) => {
                options::live_value(*level, *name, &info).map(Reply::Value)
            }
            (Then::PeerName, Ok(Outcome::Info(info))) => peer_name(&info),
            _ => Ok(Reply::Done),
        };
        if let Some(connection) = pending.connection {
            self.answer(connection, pending.sequence, reply);
        }
    }

    #[expect(clippy::too_many_arguments, reason = "the parts of one new socket")]
    fn opened(
        &mut self,
        connection: ConnectionId,
        sequence: u32,
        opened: Result<(SocketId, CellId), Errno>,
        worker: u16,
        transport: Transport,
        ours: Arc<SocketEnd>,
        theirs: OwnedFd,
    ) {
        let (id, cell) = match opened {
            Ok(opened) => opened,
            Err(errno) => return self.answer(connection, sequence, Err(errno)),
        };
        let handle = SocketHandle { cell: cell.index, generation: cell.generation, worker };
        let entry = SocketEntry {
            connection,
            handle,
            id,
            transport,
            descriptor: ours,
            local: None,
            name: None,
            remote: None,
            listening: None,
            values: options::Values::default(),
        };
        let reply = Reply::Socket { socket: handle };
        self.hand_out(connection, sequence, entry, reply, &theirs);
    }

    /// Remembers a socket, watches its descriptor and sends the other end to its owner.
    pub(crate) fn hand_out(
        &mut self,
        connection: ConnectionId,
        sequence: u32,
        entry: SocketEntry,
        reply: Reply,
        theirs: &OwnedFd,
    ) {
        self.next_key += 1;
        let key = SocketKey(self.next_key);
        let data = Source::Descriptor(key).data();
        // No event but hang-up, which is always reported.
        let flags = EventFlags::ET;
        let watched = epoll::add(&self.epoll, entry.descriptor.as_fd(), data, flags);
        let cell = entry.handle.cell;
        let _ = self.sockets.insert(key, entry);
        let sent = match self.connections.get_mut(&connection) {
            Some(peer) if watched.is_ok() => {
                let _ = peer.cells.insert(cell, key);
                peer.answer(sequence, Ok(reply), &[theirs.as_fd()])
            }
            _ => {
                self.close_socket(key);
                return self.answer(connection, sequence, Err(Errno::NFILE));
            }
        };
        if !sent {
            self.drop_connection(connection);
        }
    }

    fn connected(
        &mut self,
        asked: &Asked,
        result: Result<(), Errno>,
        key: SocketKey,
        remote: SocketAddr,
        tries: u8,
        chosen: bool,
    ) {
        let Some(connection) = asked.connection else { return };
        match result {
            Err(Errno::ADDRINUSE) if chosen && tries > 0 => {
                self.unbind(key);
                self.start_connect(connection, asked.sequence, key, remote, tries - 1);
            }
            Err(errno) => {
                if chosen {
                    self.unbind(key);
                }
                self.answer(connection, asked.sequence, Err(errno));
            }
            Ok(()) => {
                let Some(entry) = self.sockets.get_mut(&key) else { return };
                entry.remote = Some(remote);
                let stream = entry.transport == Transport::Stream;
                let reply = if stream { Err(Errno::INPROGRESS) } else { Ok(Reply::Done) };
                self.answer(connection, asked.sequence, reply);
            }
        }
    }

    fn established(
        &mut self,
        listener: ListenerId,
        socket: SocketId,
        cell: CellId,
        local: SocketAddr,
        remote: SocketAddr,
    ) {
        let key = SocketKey(listener.0);
        let worker = self.worker_of_cell(cell);
        let waiting = Waiting { socket, cell, worker, local, remote };
        let queue = self.sockets.get_mut(&key).and_then(|e| e.listening.as_mut());
        let Some(queue) = queue else {
            // The listener was closed meanwhile.
            return self.command(worker, Command::Close { socket, reset: true });
        };
        queue.waiting.push_back(waiting);
        if queue.waiting.len() == 1 {
            self.acceptable(key, true);
        }
    }

    /// Tells the worker of a listening socket whether connections wait at it.
    pub(crate) fn acceptable(&mut self, key: SocketKey, waiting: bool) {
        let Some(entry) = self.sockets.get(&key) else { return };
        let (worker, socket) = (entry.handle.worker, entry.id);
        self.command(worker, Command::Acceptable { socket, waiting });
    }

    fn worker_of_cell(&self, cell: CellId) -> u16 {
        let per_lane = shm::layout::cells_per_lane(self.worker_count()).max(1);
        u16::try_from(cell.index / per_lane).unwrap_or(0)
    }
}

/// Who asked.
struct Asked {
    connection: Option<ConnectionId>,
    sequence: u32,
}

fn peer_name(info: &SocketInfo) -> Result<Reply, Errno> {
    let connected = match &info.tcp {
        Some(tcp) => !matches!(tcp.state, tcp::State::SynSent | tcp::State::Closed),
        None => true,
    };
    info.remote.filter(|_| connected).map(Reply::Name).ok_or(Errno::NOTCONN)
}
