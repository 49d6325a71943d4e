//! Clients: memory and sockets, apart from the connections of the processes that use them.
//!
//! A client begins with the process that attaches. Its sockets may outlive that process: inherited over
//! `exec`, or passed over a unix socket, their descriptors are other processes' then, which **join** the
//! client by showing one of them. The client ends when no process is attached and no descriptor of its
//! sockets is open anywhere. The kernel counts both.

use core::hash::Hasher as _;
use std::cell::Cell;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use inet::command::{Command, Transport};
use proto::message::Transport as WireTransport;
use proto::{Reply, Ticket};
use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::io::Errno;
use rustix::net::sockopt;
use shm::{ArenaError, Slot, SlotFiles};
use siphasher::sip::SipHasher24;

use crate::connection::clean_name;
use crate::control::{ConnectionId, Control, Leaving, SocketEntry, SocketKey, WorkerLink};
use crate::quota::{Account, Kind, Taken};

/// Memory and sockets that processes share.
pub(crate) struct Client {
    /// Its memory.
    pub(crate) slot: Arc<Slot>,
    /// The same, to be handed to who joins.
    files: SlotFiles,
    /// Daemon's copies of its doorbells, by worker.
    doorbells: Vec<Arc<OwnedFd>>,
    /// Never used again.
    number: u64,
    /// The process that attached; if that is gone, the one that joined last.
    pub(crate) pid: u32,
    /// User id of the process that attached.
    pub(crate) uid: u32,
    /// What its user has and may have.
    pub(crate) account: Rc<Account>,
    /// Its place among that user's clients.
    _seat: Taken,
    /// Requests of its processes.
    pub(crate) requests: u64,
    /// When somebody last looked how fast it goes.
    pace: Cell<Pace>,
    /// Program name, cut and cleaned of control characters.
    pub(crate) program: String,
    /// Its sockets by cell.
    pub(crate) cells: Cells,
    /// The connection that attached, while it is open.
    owner: Option<ConnectionId>,
    /// Connections that joined.
    guests: Vec<ConnectionId>,
}

/// How fast a client goes, as it is shown: over the time since somebody looked, of a second at least.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    since: Instant,
    counts: [u64; 2],
    per_second: [u64; 2],
}

impl Pace {
    fn new(since: Instant) -> Self {
        Self { since, counts: [0; 2], per_second: [0; 2] }
    }

    /// Looks again.
    fn look(&mut self, now: Instant, counts: [u64; 2]) -> [u64; 2] {
        let passed = now.saturating_duration_since(self.since);
        if passed >= Duration::from_secs(1) {
            let rate = |(now, before): (u64, u64)| {
                let count = u128::from(now.saturating_sub(before)) * 1000;
                u64::try_from(count / passed.as_millis().max(1)).unwrap_or(u64::MAX)
            };
            let [a, b] = self.counts;
            let [c, d] = counts;
            *self = Self { since: now, counts, per_second: [rate((c, a)), rate((d, b))] };
        }
        self.per_second
    }
}

/// A client's sockets by cell. Cells are used from the first of each lane on, so that a list is dense
/// when there are many.
#[derive(Debug, Default)]
pub(crate) struct Cells {
    /// The kernel counts cookies from 1 on; 0 is nobody's.
    keys: Vec<u64>,
    len: usize,
}

impl Cells {
    /// The socket with this cell.
    #[must_use]
    pub(crate) fn get(&self, cell: u32) -> Option<SocketKey> {
        self.keys.get(cell as usize).copied().filter(|key| *key != 0).map(SocketKey)
    }

    /// Says which socket has a cell.
    pub(crate) fn set(&mut self, cell: u32, key: Option<SocketKey>) {
        let index = cell as usize;
        if self.keys.len() <= index && cell < shm::layout::CELLS {
            self.keys.resize(index + 1, 0);
        }
        if let Some(entry) = self.keys.get_mut(index) {
            self.len = self.len + usize::from(key.is_some()) - usize::from(*entry != 0);
            *entry = key.map_or(0, |key| key.0);
        }
    }

    /// How many sockets there are.
    #[must_use]
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    fn into_keys(self) -> impl Iterator<Item = SocketKey> {
        self.keys.into_iter().filter(|key| *key != 0).map(SocketKey)
    }
}

impl Client {
    /// Its packets and requests a second.
    pub(crate) fn per_second(&self) -> [u64; 2] {
        let mut pace = self.pace.get();
        let per_second = pace.look(Instant::now(), [self.slot.packets(), self.requests]);
        self.pace.set(pace);
        per_second
    }

    /// May a process of this user use the client's memory? All its sockets are in it, so only one that
    /// could read the memory of the client's processes as well. Root could, but must not: whoever
    /// shares the memory can make others wait for its locks for ever.
    fn admits(&self, uid: u32) -> bool {
        uid == self.uid
    }
}

impl Control {
    pub(crate) fn attach(&mut self, id: ConnectionId, sequence: u32, version: u32, name: &str) {
        if let Err(errno) = self.try_attach(id, sequence, version, name) {
            self.answer(id, sequence, Err(errno));
        }
    }

    fn try_attach(
        &mut self,
        id: ConnectionId,
        sequence: u32,
        version: u32,
        name: &str,
    ) -> Result<(), Errno> {
        let program = clean_name(name);
        let (pid, uid) = self.newcomer(id, version)?;
        let workers = self.worker_count();
        let account = self.accounts.of(uid);
        let seat = Taken::of(&account, Kind::Clients)?;
        let share = Arc::clone(&account.share);
        let (slot, files) = self.arena.attach(workers, share).map_err(|error| {
            tracing::warn!("client {program} (pid {pid}) not attached: {error}");
            match error {
                ArenaError::System(Errno::MFILE | Errno::NFILE) => Errno::NFILE,
                _ => Errno::NOMEM,
            }
        })?;
        let doorbells = self.doorbells()?;
        for worker in 0..workers {
            let lane = slot.lane(worker).ok_or(Errno::NOMEM)?;
            self.command(worker, Command::Attach { client: slot.index(), lane });
        }
        self.next_client += 1;
        let index = slot.index();
        let client = Client {
            slot,
            files,
            doorbells,
            number: self.next_client,
            pid,
            uid,
            account,
            _seat: seat,
            requests: 0,
            pace: Cell::new(Pace::new(Instant::now())),
            program,
            cells: Cells::default(),
            owner: Some(id),
            guests: Vec::new(),
        };
        let _ = self.clients.insert(index, client);
        self.seat(id, sequence, index);
        Ok(())
    }

    /// Another process comes to a client whose socket it holds.
    pub(crate) fn join(
        &mut self,
        id: ConnectionId,
        sequence: u32,
        (version, name): (u32, &str),
        ticket: Ticket,
    ) -> Result<(), Errno> {
        let (pid, _) = self.newcomer(id, version)?;
        let entry = self.shown(id, ticket)?;
        let index = entry.client;
        let client = self.clients.get_mut(&index).ok_or(Errno::NOTSOCK)?;
        if client.owner.is_none() {
            client.pid = pid;
            client.program = clean_name(name);
        }
        client.guests.push(id);
        self.seat(id, sequence, index);
        Ok(())
    }

    /// Whose socket is a descriptor?
    pub(crate) fn identify(&self, id: ConnectionId, ticket: Ticket) -> Result<Reply, Errno> {
        let entry = self.shown(id, ticket)?;
        let client = self.clients.get(&entry.client).ok_or(Errno::NOTSOCK)?;
        let transport = match entry.transport {
            Transport::Stream | Transport::ModuleStream => WireTransport::Stream,
            Transport::Datagram | Transport::Module | Transport::Ping => WireTransport::Datagram,
            Transport::Raw => WireTransport::Raw,
        };
        Ok(Reply::Identified { client: client.number, socket: entry.handle, transport })
    }

    /// The socket whose ticket a process has shown: holding its descriptor is the right to use it, as
    /// with the kernel's sockets.
    fn shown(&self, id: ConnectionId, ticket: Ticket) -> Result<&SocketEntry, Errno> {
        let key = SocketKey(ticket.cookie);
        if ticket.secret != secret_of(key, &self.facts.ticket_secret) {
            return Err(Errno::NOTSOCK);
        }
        let entry = self.sockets.get(&key).ok_or(Errno::NOTSOCK)?;
        let client = self.clients.get(&entry.client).ok_or(Errno::NOTSOCK)?;
        let uid = self.connections.get(&id).ok_or(Errno::BADF)?.uid;
        if client.admits(uid) {
            return Ok(entry);
        }
        tracing::debug!("a socket of {} is in the hands of user {uid}: refused", client.program);
        Err(Errno::ACCESS)
    }

    /// Process and user behind a connection that has no client yet.
    fn newcomer(&self, id: ConnectionId, version: u32) -> Result<(u32, u32), Errno> {
        if version != proto::VERSION {
            return Err(Errno::PROTONOSUPPORT);
        }
        let connection = self.connections.get(&id).ok_or(Errno::BADF)?;
        match connection.client {
            Some(_) => Err(Errno::ALREADY),
            None => Ok((connection.pid, connection.uid)),
        }
    }

    /// Gives a connection the memory of its client.
    fn seat(&mut self, id: ConnectionId, sequence: u32, index: u16) {
        let Some(client) = self.clients.get(&index) else { return };
        let Some(connection) = self.connections.get_mut(&id) else { return };
        connection.client = Some(index);
        // Only who may borrow packets is shown their memory.
        let shown = self.facts.shown.as_ref().filter(|_| client.account.share.lends());
        let packets = shown.map(|shown| shown.memory().file());
        let reply = Reply::Attached {
            slot: u32::from(index),
            client: client.number,
            workers: client.slot.lanes(),
            claim_loopback: self.facts.claim_loopback,
            borrows: packets.is_some(),
        };
        let files = [client.files.read.as_fd(), client.files.write.as_fd(), self.page.file.as_fd()];
        let doorbells = client.doorbells.iter().map(|doorbell| doorbell.as_fd());
        let descriptors: Vec<BorrowedFd<'_>> =
            files.into_iter().chain(packets).chain(doorbells).collect();
        if !connection.answer(sequence, Ok(reply), &descriptors) {
            self.drop_connection(id);
        }
    }

    /// A doorbell of the client for each worker, which the worker listens to from now on.
    fn doorbells(&self) -> Result<Vec<Arc<OwnedFd>>, Errno> {
        use rustix::event::EventfdFlags as Flags;
        let new = |link: &WorkerLink| {
            let eventfd = rustix::event::eventfd(0, Flags::NONBLOCK | Flags::CLOEXEC)?;
            let flags = EventFlags::IN | EventFlags::ET;
            epoll::add(&*link.epoll, &eventfd, EventData::new_u64(2), flags)?;
            Ok(Arc::new(eventfd))
        };
        self.workers.iter().map(new).collect()
    }

    /// The client of a connection.
    pub(crate) fn client_of(&self, id: ConnectionId) -> Option<&Client> {
        let index = self.connections.get(&id)?.client?;
        self.clients.get(&index)
    }

    /// A connection of this client is closed.
    pub(crate) fn left(&mut self, id: ConnectionId, index: u16) {
        let Some(client) = self.clients.get_mut(&index) else { return };
        client.guests.retain(|guest| *guest != id);
        if client.owner == Some(id) {
            client.owner = None;
        }
        self.detach_if_unused(index);
    }

    /// Ends a client that nobody can use any more.
    pub(crate) fn detach_if_unused(&mut self, index: u16) {
        let unused = |client: &Client| client.owner.is_none() && client.cells.len() == 0;
        if self.clients.get(&index).is_some_and(unused) {
            self.detach(index);
        }
    }

    /// Ends a client: its sockets are closed and its memory is taken back, whoever still uses them.
    pub(crate) fn detach(&mut self, index: u16) {
        let Some(client) = self.clients.remove(&index) else { return };
        client.account.give(Kind::Sockets, client.cells.len());
        for key in client.cells.into_keys() {
            self.forget_socket(key);
        }
        for (link, doorbell) in self.workers.iter().zip(&client.doorbells) {
            let _ = epoll::delete(&*link.epoll, &**doorbell);
        }
        let workers_left = self.worker_count();
        let _ = self.leaving.insert(index, Leaving { workers_left, slot: client.slot });
        for worker in 0..workers_left {
            self.command(worker, Command::Detach { client: index });
        }
        for id in client.guests.into_iter().chain(client.owner) {
            self.drop_connection(id);
        }
    }
}

/// The name of the socket with this descriptor: the kernel's cookie of the client's end, which no other
/// socket ever has (before Linux 5.10: none of the same network namespace). From now on the descriptor
/// shows its holders the secret of that name too.
pub(crate) fn name(descriptor: BorrowedFd<'_>, secret: &[u8; 16]) -> rustix::io::Result<SocketKey> {
    let key = SocketKey(sockopt::socket_cookie(descriptor)?);
    shm::write_secret(descriptor, secret_of(key, secret))?;
    Ok(key)
}

/// What only the holders of a socket's descriptor know. Cookies anybody can guess.
fn secret_of(key: SocketKey, secret: &[u8; 16]) -> u64 {
    let mut hasher = SipHasher24::new_with_key(secret);
    hasher.write_u64(key.0);
    // The kernel takes a number of ones for no number.
    hasher.finish() >> 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_descriptor_shows_its_name_and_the_secret_of_it() {
        let secret = [7; 16];
        let (_ours, theirs) = shm::SocketEnd::pair().unwrap();
        let key = name(theirs.as_fd(), &secret).unwrap();
        let copy = theirs.try_clone().unwrap();
        assert_eq!(sockopt::socket_cookie(&copy), Ok(key.0));
        assert_eq!(shm::read_secret(&copy), Some(secret_of(key, &secret)));
    }

    #[test]
    fn a_pace_is_of_the_time_since_the_last_look() {
        let start = Instant::now();
        let mut pace = Pace::new(start);
        let at = |ms| start + Duration::from_millis(ms);
        assert_eq!(pace.look(at(2000), [1000, 20]), [500, 10]);
        assert_eq!(pace.look(at(2900), [9000, 90]), [500, 10], "a second has not passed");
        assert_eq!(pace.look(at(3000), [1000, 30]), [0, 10]);
    }

    #[test]
    fn secrets_differ_from_socket_to_socket_and_from_daemon_to_daemon() {
        let secret = secret_of(SocketKey(1), &[7; 16]);
        assert_ne!(secret, secret_of(SocketKey(2), &[7; 16]));
        assert_ne!(secret, secret_of(SocketKey(1), &[8; 16]));
    }
}
