//! Calls that wait for a worker, and what their outcome means.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;
use std::sync::Arc;

use inet::SocketId;
use inet::command::{CallId, Command, Event, ListenerId, Outcome, SocketInfo, Transport};
use inet::network::RawKind;
use proto::{Reply, Skip, SocketHandle};
use rustix::event::epoll::{self, EventFlags};
use rustix::io::Errno;
use shm::{CellId, SocketEnd};

use crate::accept_queue::Waiting;
use crate::client;
use crate::control::{ConnectionId, Control, Peer, SocketEntry, SocketKey, Source};
use crate::module_sockets;
use crate::option_requests;
use crate::options;
use crate::protocols::Adoption;
use crate::quota::Taken;
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

/// Who asked.
#[derive(Clone, Copy)]
pub(crate) struct Asked {
    pub(crate) connection: ConnectionId,
    pub(crate) sequence: u32,
}

/// A socket that a worker is making.
pub(crate) struct NewSocket {
    pub(crate) client: u16,
    pub(crate) worker: u16,
    pub(crate) transport: Transport,
    /// It is of `AF_INET6`.
    pub(crate) inet6: bool,
    /// What it is for if it is a raw or ping socket.
    pub(crate) raw: Option<RawKind>,
    /// The daemon's end of its descriptor.
    pub(crate) ours: Arc<SocketEnd>,
    /// The end its owner gets.
    pub(crate) theirs: OwnedFd,
    /// Its place among its user's sockets.
    pub(crate) opening: Taken,
}

/// Where a connection attempt leads.
#[derive(Clone, Copy)]
pub(crate) struct Target {
    pub(crate) key: SocketKey,
    pub(crate) remote: SocketAddr,
    /// Other ports that may be tried.
    pub(crate) tries: u8,
    /// Text for the SYN follows.
    pub(crate) fast_open: bool,
}

/// A connection attempt.
#[derive(Clone, Copy)]
pub(crate) struct Attempt {
    /// Where it leads; "this host" is its address by now.
    pub(crate) target: Target,
    pub(crate) local: SocketAddr,
    /// A datagram socket gives up its peer.
    pub(crate) dissolve: bool,
    /// The port was chosen for it; its user did not bind.
    pub(crate) chosen: bool,
}

/// What to do with a worker's outcome.
pub(crate) enum Then {
    /// Answer `Done`, or the error.
    Answer,
    /// A new socket: remember it and send its descriptor.
    Open(NewSocket),
    /// A connection attempt is under way: answer `EINPROGRESS`; on a collision try another port.
    Connect(Attempt),
    /// An attempt of a module's stream: answer `EINPROGRESS`.
    UnderWay,
    /// A module's stream listens, as it did before or not.
    ListenModule { key: SocketKey, is_new: bool },
    /// A listener that so many workers do not know yet: answer when the last one does.
    Listen(Rc<Cell<u16>>),
    /// The state of a socket, for one option.
    Option { level: i32, name: i32, listening: bool },
    /// The state of a socket, for its peer's name.
    PeerName,
    /// Stations of a bridge.
    Stations { bridge: u16, skip: Skip },
    /// Groups that have listeners at its ports.
    Listening { skip: Skip },
    /// The state of a module's socket, for its name or its peer's.
    ModuleName { peer: bool },
    /// A worker gives up the queues of an interface.
    Returned(u16),
    /// A worker takes up a plan of protocol modules.
    Adopted(Rc<Adoption>),
    /// Part of a listing.
    Gather(Rc<RefCell<Gathering>>),
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
        self.attend_alarm();
        self.attend_protocols();
    }

    fn event(&mut self, event: Event) {
        match event {
            Event::Done { call, result } => self.done(call, result),
            Event::Established { listener, socket, cell, local, remote } => {
                self.established(listener, socket, cell, local, remote);
            }
            Event::Gone { client, cell, last_close } => self.ended(client, cell, last_close),
            Event::Freed { .. } => {}
            Event::Heard { interface, packet } => self.heard(interface, &packet),
            Event::HeardFrame { interface, frame } => self.heard_frame(interface, &frame),
            Event::Redirected(said) => self.redirected(&said),
            Event::HopDead(hop) => self.hop_dead(hop),
            Event::Neighbor(news) => self.neighbor_news(&news),
            Event::Detached { client } => {
                let Some(leaving) = self.leaving.get_mut(&client) else { return };
                leaving.workers_left = leaving.workers_left.saturating_sub(1);
                if leaving.workers_left == 0 {
                    let share_ended = leaving.slot.share_ended();
                    let _ = self.leaving.remove(&client);
                    self.accounts.client_gone(share_ended);
                    self.counts.left += 1;
                }
            }
            Event::Misbehaved { client, what } => {
                self.counts.violations += 1;
                if let Some(entry) = self.clients.get(&client) {
                    let violations = &entry.account.violations;
                    violations.set(violations.get().saturating_add(1));
                    tracing::warn!("client in slot {client} disconnected: {what}");
                    self.detach(client);
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
        let Some(Pending { connection, sequence, then }) = self.pending.remove(&call) else {
            return;
        };
        self.count_call(connection, false);
        match then {
            Then::Gather(gathering) => {
                return self.gathered(&gathering, u16::try_from(sequence).unwrap_or(0), result);
            }
            Then::Returned(interface) => return self.returned(interface),
            Then::Adopted(adoption) => return self.adopted(&adoption),
            _ => {}
        }
        let Some(connection) = connection else { return };
        let asked = Asked { connection, sequence };
        let reply = match (then, result) {
            (Then::Open(new), result) => return self.opened(asked, result, new),
            (Then::Connect(attempt), result) => {
                return self.connected(asked, result, &attempt);
            }
            (Then::ListenModule { key, is_new: true }, Err(errno)) => {
                self.unlisten(key);
                Err(errno)
            }
            (_, Err(errno)) => Err(errno),
            (Then::UnderWay, Ok(_)) => Err(Errno::INPROGRESS),
            (Then::ListenModule { .. }, Ok(_)) => Ok(Reply::Done),
            (Then::Listen(left), Ok(_)) => {
                left.set(left.get().saturating_sub(1));
                if left.get() > 0 {
                    return;
                }
                Ok(Reply::Done)
            }
            (Then::Option { level, name, listening }, Ok(Outcome::Info(info))) => {
                options::live_value((level, name), listening, &info).map(Reply::Value)
            }
            (Then::PeerName, Ok(Outcome::Info(info))) => peer_name(&info),
            (Then::Answer, Ok(Outcome::Value(value))) => Ok(Reply::Value(value)),
            (Then::Answer, Ok(Outcome::ExtendedError(error))) => Ok(option_requests::told(*error)),
            (Then::Stations { bridge, skip }, Ok(Outcome::Stations(rows))) => {
                Ok(self.stations(bridge, skip, &rows))
            }
            (Then::Listening { skip }, Ok(Outcome::Listening(rows))) => {
                Ok(self.listening(skip, &rows))
            }
            (Then::ModuleName { peer }, Ok(Outcome::Info(info))) => {
                module_sockets::name(&info, peer)
            }
            _ => Ok(Reply::Done),
        };
        self.answer(connection, sequence, reply);
    }

    #[expect(clippy::needless_pass_by_value, reason = "an outcome is used up by its call")]
    fn opened(&mut self, asked: Asked, result: Result<Outcome, Errno>, new: NewSocket) {
        let Asked { connection, sequence } = asked;
        let (id, cell) = match result {
            Ok(Outcome::Opened { socket, cell }) => (socket, cell),
            Ok(_) => return self.answer(connection, sequence, Err(Errno::IO)),
            Err(errno) => return self.answer(connection, sequence, Err(errno)),
        };
        let NewSocket { client, worker, transport, inet6, raw, ours, theirs, opening } = new;
        if !self.connections.contains_key(&connection) {
            // The asker is gone, but others go on using its client.
            return self.command(worker, Command::Close { socket: id, reset: false });
        }
        let handle = SocketHandle { cell: cell.index, generation: cell.generation, worker };
        let values = self.default_values(inet6, raw);
        for option in values.unusual(transport) {
            let pending = Pending { connection: None, sequence: 0, then: Then::Answer };
            self.call(worker, pending, |call| Command::SetOption { call, socket: id, option });
        }
        let entry = SocketEntry {
            client,
            handle,
            id,
            transport,
            descriptor: ours,
            peer: None,
            local: None,
            name: None,
            listening: None,
            values,
        };
        let reply = Reply::Socket { socket: handle };
        self.hand_out(asked, (entry, opening), reply, &theirs);
    }

    /// Remembers a socket, watches its descriptor and sends the other end to its owner.
    pub(crate) fn hand_out(
        &mut self,
        asked: Asked,
        (entry, opening): (SocketEntry, Taken),
        reply: Reply,
        theirs: &OwnedFd,
    ) {
        let Asked { connection, sequence } = asked;
        let worker = entry.handle.worker;
        let Ok(key) = client::name(theirs.as_fd(), &self.facts.ticket_secret) else {
            self.command(worker, Command::Close { socket: entry.id, reset: false });
            return self.answer(connection, sequence, Err(Errno::OPNOTSUPP));
        };
        let data = Source::Descriptor(key).data();
        // No event but hang-up, which is always reported.
        let watched = epoll::add(&self.epoll, &*entry.descriptor, data, EventFlags::ET);
        if let Some(client) = self.clients.get_mut(&entry.client) {
            client.cells.set(entry.handle.cell, Some(key));
            opening.keep();
        }
        let raw = entry.values.raw;
        self.sockets.insert(key, entry);
        if let Some(raw) = raw {
            // Before its user can ask anybody for an answer.
            self.publish_raw(raw.kind, true);
        }
        let sent = match self.connections.get_mut(&connection) {
            Some(peer) if watched.is_ok() => peer.answer(sequence, Ok(reply), &[theirs.as_fd()]),
            _ => {
                self.close_socket(key);
                return self.answer(connection, sequence, Err(Errno::NFILE));
            }
        };
        if !sent {
            self.drop_connection(connection);
        }
    }

    fn connected(&mut self, asked: Asked, result: Result<Outcome, Errno>, attempt: &Attempt) {
        let Asked { connection, sequence } = asked;
        let Attempt { target, local, dissolve, chosen } = *attempt;
        let Target { key, remote, tries, .. } = target;
        match result {
            Err(Errno::ADDRINUSE) if chosen && tries > 0 => {
                self.unbind(key);
                self.start_connect(asked, Target { tries: tries - 1, ..target });
            }
            // Linux: the port is ours, but not for this peer.
            Err(Errno::ADDRINUSE) if !chosen => {
                self.answer(connection, sequence, Err(Errno::ADDRNOTAVAIL));
            }
            Err(errno) => {
                if chosen {
                    self.unbind(key);
                }
                self.answer(connection, sequence, Err(errno));
            }
            Ok(outcome) => {
                let Some(entry) = self.sockets.get_mut(&key) else { return };
                entry.peer = (!dissolve).then(|| Peer::of(remote));
                let held = entry.local.clone().filter(|held| **held == local);
                entry.name = (!dissolve).then(|| held.unwrap_or_else(|| Rc::new(local)));
                let held = matches!(outcome, Outcome::SynHeld);
                let stream = entry.transport == Transport::Stream && !held;
                let reply = if stream { Err(Errno::INPROGRESS) } else { Ok(Reply::Done) };
                self.answer(connection, sequence, reply);
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

fn peer_name(info: &SocketInfo) -> Result<Reply, Errno> {
    let connected = match &info.tcp {
        Some(tcp) => {
            use tcp::State::{Closed, SynSent, TimeWait};
            !matches!(tcp.state, SynSent | Closed | TimeWait)
        }
        // Linux: a peer without a port is none.
        None => info.remote.is_some_and(|remote| remote.port() != 0),
    };
    info.remote.filter(|_| connected).map(Reply::Name).ok_or(Errno::NOTCONN)
}
