//! Streams of protocol modules: bytes between a client's memory and the module, which says what becomes of them.
//!
//! ```text
//!  client ──posts──> send queue ──what is wanted──> the module's socket_send
//!  client <──queue── late <──what there is room for── the module's deliver
//!
//!  Fresh ──listen──> Listening ──the module's arrive──> Connected, waits to be accepted
//!    └──connect──> Connecting ──the module's connected──> Connected ──reset, module gone──> Over
//! ```
//! All are one worker's, so that what a module delivers is where it belongs when the call is over. Nothing is
//! dropped: what the client's blocks have no place for, though there was room, waits in `late`.

mod text;

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::collections::VecDeque;

use lsm::{Desk, Name, Owner, SocketOf, Word};
use rustix::io::Errno;
use shm::{Lane, Status, StreamProducer};
use types::Instant;

use crate::attend::raise;
use crate::command::{Event, ListenerId, Outcome};
use crate::limits::{ORPHAN_BYTES_MAX, ORPHANS_MAX};
use crate::module_socket::{named_by, number_of};
use crate::send_queue::{Range, SendQueue, Spare, TooManyRanges};
use crate::socket::{Kind, Signal, Socket, SocketId};
use crate::worker::Worker;

/// Streams that have something to do when the breath ends, and those whose client had no blocks left.
#[derive(Debug, Default)]
pub(crate) struct Turns {
    ready: VecDeque<SocketId>,
    late: VecDeque<SocketId>,
}

impl Turns {
    /// Nothing waits that a sleep would delay.
    #[must_use]
    pub(crate) fn may_sleep(&self) -> bool {
        self.ready.is_empty()
    }

    /// Blocks come back when other sockets are read, which nothing tells.
    #[must_use]
    pub(crate) fn wait_for_blocks(&self) -> bool {
        !self.late.is_empty()
    }
}

/// Where a stream is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Fresh,
    Connecting,
    Listening { listener: ListenerId, backlog: u32, len: u32, waiting: bool },
    Connected,
    Over,
}

impl Phase {
    /// It does not listen anew. What has become of it while the module was asked stays.
    fn put_back(&mut self, before: Self) {
        let Self::Listening { listener, backlog, .. } = self else { return };
        if let Self::Listening { listener: its, backlog: most, .. } = before {
            (*listener, *backlog) = (its, most);
        } else {
            *self = before;
        }
    }
}

/// A stream of a protocol module's.
#[derive(Debug)]
pub(crate) struct ModuleStream {
    /// Whose.
    pub of: SocketOf,
    /// Its name.
    pub local: Option<SocketAddr>,
    /// Its peer's.
    pub remote: Option<SocketAddr>,
    /// Posted by the client, not yet the module's.
    pub send: SendQueue,
    /// Received, not yet read.
    pub recv: StreamProducer,
    phase: Phase,
    /// Received, and not yet in the client's memory.
    late: VecDeque<u8>,
    /// Bytes that the module wants, and those that it may deliver.
    wanted: u32,
    room: u32,
    /// It is among the [`Turns`].
    ready: bool,
    /// It is in the list of those that wait for blocks.
    is_late: bool,
    /// The program sends nothing more; the module knows.
    shut: bool,
    end_told: bool,
    /// The module delivers nothing more; the program knows.
    ended: bool,
    end_shown: bool,
    /// The program reads nothing more.
    deaf: bool,
    /// It has closed the stream.
    pub closed: bool,
    /// The stream at which this one waits to be accepted.
    waiting_at: Option<SocketId>,
}

impl ModuleStream {
    pub(crate) fn new(of: SocketOf, recv: StreamProducer) -> Self {
        Self {
            of,
            local: None,
            remote: None,
            send: SendQueue::default(),
            recv,
            phase: Phase::Fresh,
            late: VecDeque::new(),
            wanted: 0,
            room: 0,
            ready: false,
            is_late: false,
            shut: false,
            end_told: false,
            ended: false,
            end_shown: false,
            deaf: false,
            closed: false,
            waiting_at: None,
        }
    }

    /// For listings.
    pub(crate) fn state(&self) -> &'static str {
        match self.phase {
            Phase::Fresh => "",
            Phase::Connecting => "CONNECTING",
            Phase::Listening { .. } => "LISTEN",
            Phase::Connected => "CONNECTED",
            Phase::Over => "CLOSED",
        }
    }

    /// For listings, also without a name.
    pub(crate) fn local_or_unnamed(&self) -> SocketAddr {
        let any: IpAddr = if self.of.family == 2 {
            Ipv4Addr::UNSPECIFIED.into()
        } else {
            Ipv6Addr::UNSPECIFIED.into()
        };
        self.local.unwrap_or_else(|| SocketAddr::new(any, 0))
    }

    /// Its program may send.
    pub(crate) fn is_open_for_writing(&self) -> bool {
        self.phase == Phase::Connected && !self.shut
    }

    /// Both directions are over.
    pub(crate) fn is_gone(&self) -> bool {
        self.phase == Phase::Over || (self.end_shown && self.end_told)
    }

    pub(crate) fn has_news(&self, lane: &Lane) -> bool {
        let waiting = matches!(self.phase, Phase::Listening { waiting: true, .. });
        waiting || self.phase == Phase::Over || !self.recv.is_read(lane)
    }

    /// As Linux's: a third of the buffer is free. A connection attempt is writable when it is over.
    pub(crate) fn has_room(&self, send_buffer: u32) -> bool {
        match self.phase {
            Phase::Connected => self.send.len() <= send_buffer - send_buffer / 3,
            Phase::Over => true,
            Phase::Fresh | Phase::Connecting | Phase::Listening { .. } => false,
        }
    }

    /// Connections wait to be accepted, or no longer. `false`: it does not listen.
    pub(crate) fn set_acceptable(&mut self, some: bool) -> bool {
        let Phase::Listening { waiting, .. } = &mut self.phase else { return false };
        *waiting = some;
        true
    }

    /// It has been accepted: where, and whether the module has ended it already.
    pub(crate) fn accepted(&mut self) -> (Option<SocketId>, bool) {
        (self.waiting_at.take(), self.end_shown || self.phase == Phase::Over)
    }

    /// What a client has posted. `false`: nothing comes of it.
    pub(crate) fn push(&mut self, range: Range, spare: &mut Spare) -> Result<bool, TooManyRanges> {
        if self.phase != Phase::Connected || self.end_told {
            return Ok(false);
        }
        self.send.push(range, spare).map(|()| true)
    }

    /// Room that the module has not been told of, in a receive buffer of so many bytes.
    fn more_room(&self, buffer: u32) -> u32 {
        if self.phase != Phase::Connected || self.ended {
            return 0;
        }
        let window = if self.hears() { self.recv.window() } else { buffer };
        let late = u32::try_from(self.late.len()).unwrap_or(u32::MAX);
        window.saturating_sub(late).saturating_sub(self.room)
    }

    fn hears(&self) -> bool {
        !self.deaf && !self.closed
    }

    /// Shows the client what has come, as far as its blocks reach. `true`: there was something.
    fn put_late(&mut self, lane: &mut Lane) -> bool {
        let (front, back) = self.late.as_slices();
        let len = self.recv.write_all(lane, 0, &[front, back]);
        self.recv.publish(len);
        drop(self.late.drain(..(len as usize).min(self.late.len())));
        len > 0
    }
}

impl Worker {
    fn stream_of(&mut self, id: SocketId) -> Result<&mut ModuleStream, Errno> {
        match &mut self.sockets.find_mut(id).ok_or(Errno::BADF)?.kind {
            Kind::ModuleStream(stream) => Ok(stream),
            _ => Err(Errno::BADF),
        }
    }

    /// Tells a module something; what it answers is carried out by whoever called.
    fn tell(&mut self, call: impl FnOnce(&mut Desk)) {
        if let Some(desk) = self.out.desk.as_mut() {
            call(desk);
        }
    }

    pub(crate) fn stream_bind(
        &mut self,
        id: SocketId,
        local: SocketAddr,
        now: Instant,
    ) -> Result<(), Errno> {
        let stream = self.stream_of(id)?;
        if stream.local.is_some() || stream.phase != Phase::Fresh {
            return Err(Errno::INVAL);
        }
        let of = stream.of;
        let given = self.ask(now, |desk| desk.socket_bind(&of, local.into()))?;
        self.stream_of(id)?.local = Some(given.to_address(of.family));
        Ok(())
    }

    pub(crate) fn stream_connect(
        &mut self,
        id: SocketId,
        remote: Option<SocketAddr>,
        now: Instant,
    ) -> Result<Outcome, Errno> {
        let remote = remote.ok_or(Errno::AFNOSUPPORT)?;
        let stream = self.stream_of(id)?;
        match stream.phase {
            Phase::Fresh => {}
            Phase::Connecting => return Err(Errno::ALREADY),
            Phase::Listening { .. } | Phase::Connected => return Err(Errno::ISCONN),
            Phase::Over => return Err(Errno::CONNABORTED),
        }
        // The module may be done with it at once.
        (stream.phase, stream.remote) = (Phase::Connecting, Some(remote));
        let of = stream.of;
        let said = self.ask(now, |desk| desk.socket_connect(&of, Some(Name::from(remote))));
        let stream = self.stream_of(id)?;
        if said.is_err() && stream.phase == Phase::Connecting {
            (stream.phase, stream.remote) = (Phase::Fresh, None);
        }
        said.map(|()| Outcome::Done)
    }

    pub(crate) fn stream_listen(
        &mut self,
        id: SocketId,
        (listener, backlog): (ListenerId, u32),
        now: Instant,
    ) -> Result<Outcome, Errno> {
        let stream = self.stream_of(id)?;
        let before = stream.phase;
        stream.phase = match before {
            Phase::Fresh => Phase::Listening { listener, backlog, len: 0, waiting: false },
            Phase::Listening { len, waiting, .. } => {
                Phase::Listening { listener, backlog, len, waiting }
            }
            _ => return Err(Errno::INVAL),
        };
        let of = stream.of;
        let said = self.ask(now, |desk| desk.socket_listen(&of, backlog));
        if said.is_err() {
            self.stream_of(id)?.phase.put_back(before);
        }
        said.map(|()| Outcome::Done)
    }

    /// One connection fewer waits at a stream that listens.
    pub(crate) fn leave_stream_listener(&mut self, id: SocketId) {
        if let Ok(ModuleStream { phase: Phase::Listening { len, .. }, .. }) = self.stream_of(id) {
            *len = len.saturating_sub(1);
        }
    }

    pub(crate) fn stream_shutdown(
        &mut self,
        id: SocketId,
        (read, write): (bool, bool),
        now: Instant,
    ) -> Result<Outcome, Errno> {
        let stream = self.stream_of(id)?;
        match stream.phase {
            Phase::Connected => {}
            Phase::Listening { .. } if read => {
                stream.phase = Phase::Over;
                let of = stream.of;
                self.wake_acceptors(id);
                self.tell(|desk| desk.socket_end(&of));
                let _ = self.send_for_protocols(now);
                return Ok(Outcome::Done);
            }
            _ => return Err(Errno::NOTCONN),
        }
        stream.shut |= write;
        if read {
            stream.deaf = true;
            stream.late.clear();
            self.raise(id, Signal { readable: true, hang_up: true, ..Signal::default() });
        }
        self.stream_ready(id);
        Ok(Outcome::Done)
    }

    /// The user has let go of it. Text that waits to be wanted still goes, unless too many wait like that.
    pub(crate) fn stream_close(&mut self, id: SocketId, reset: bool, now: Instant) {
        let Some(socket) = self.sockets.find_mut(id) else { return };
        let owner = socket.client;
        let Kind::ModuleStream(stream) = &mut socket.kind else { return };
        if core::mem::replace(&mut stream.closed, true) {
            return;
        }
        self.orphans += 1;
        let crowded = self.orphans > ORPHANS_MAX;
        if let Some(client) = self.clients.owner_mut(owner) {
            // What it says is of no use any more.
            let _ = stream.recv.refresh(&mut client.lane);
        }
        let unread = stream.recv.unread() > 0 || !stream.late.is_empty();
        stream.late.clear();
        if let Some(listener) = stream.waiting_at.take() {
            self.leave_stream_listener(listener);
        }
        let Ok(stream) = self.stream_of(id) else { return };
        if stream.phase != Phase::Connected || reset || unread || crowded {
            self.end_stream(id);
        } else {
            stream.shut = true;
            self.pass_text(id, now);
        }
        let _ = self.send_for_protocols(now);
    }

    /// Its client is gone: what is to be sent is copied, or it is reset if that is too much.
    pub(crate) fn stream_orphan(&mut self, id: SocketId, owner: Option<u16>, now: Instant) {
        let Some(socket) = self.sockets.find_mut(id) else { return };
        let (cell, limit) = (socket.cell, socket.options.receive_buffer);
        let Kind::ModuleStream(stream) = &mut socket.kind else { return };
        let len = stream.send.len() as usize;
        if let Some(client) = self.clients.owner_mut(owner) {
            let lane = &mut client.lane;
            core::mem::replace(&mut stream.recv, StreamProducer::new(cell, limit)).release(lane);
            if self.orphan_bytes.saturating_add(len) <= ORPHAN_BYTES_MAX {
                stream.send.make_private(|offset, out| {
                    let _ = lane.copy_out(offset, out);
                });
                self.orphan_bytes = self.orphan_bytes.saturating_add(len);
                return;
            }
        }
        self.end_stream(id);
        let _ = self.send_for_protocols(now);
    }

    /// The last word to the module, and the end.
    fn end_stream(&mut self, id: SocketId) {
        let Ok(of) = self.stream_of(id).map(|stream| stream.of) else { return };
        self.tell(|desk| desk.socket_close(&of));
        self.free_socket(id);
    }

    /// What a module says of a stream.
    pub(crate) fn stream_said(&mut self, number: u64, owner: Owner, word: Word) {
        let (_, id) = named_by(number);
        let Ok(stream) = self.stream_of(id) else { return };
        if !stream.of.is_of(owner) {
            return;
        }
        match word {
            Word::Arrive { from, tag } => self.stream_arrives(id, from, tag),
            Word::Connected(name) => self.stream_connected(id, name),
            Word::Want(bytes) => {
                stream.wanted = stream.wanted.saturating_add(bytes);
                self.stream_ready(id);
            }
            Word::Finish(None) => {
                stream.ended |= stream.phase == Phase::Connected;
                self.show_end(id);
            }
            Word::Finish(Some(errno)) => self.fail_module_stream(id, errno),
        }
    }

    fn stream_connected(&mut self, id: SocketId, name: Option<Name>) {
        let Some(socket) = self.sockets.find_mut(id) else { return };
        let Kind::ModuleStream(stream) = &mut socket.kind else { return };
        if stream.phase != Phase::Connecting {
            return;
        }
        stream.phase = Phase::Connected;
        let name = name.map(|name| name.to_address(stream.of.family));
        stream.local = name.or(stream.local);
        if let Some(client) = self.clients.owner(socket.client) {
            client.lane.set_status(socket.cell, Status::CONNECTED);
        }
        raise(socket, id, Signal { writable: true, ..Signal::default() }, &mut self.signals);
        self.grant(id);
    }

    fn stream_arrives(&mut self, listener: SocketId, from: Name, tag: u64) {
        let Ok(of) = self.stream_of(listener).map(|stream| stream.of) else { return };
        let made = self.make_arrived(listener, from);
        let number = made.map(|id| number_of(self.mesh.me, id, true));
        self.tell(|desk| desk.socket_arrived(&of, tag, number));
        if let Ok(id) = made {
            self.grant(id);
        }
    }

    /// A stream that waits to be accepted.
    fn make_arrived(&mut self, id: SocketId, from: Name) -> Result<SocketId, Errno> {
        let socket = self.sockets.find(id).ok_or(Errno::CONNREFUSED)?;
        let (owner, options) = (socket.client, socket.options);
        let Kind::ModuleStream(there) = &socket.kind else { return Err(Errno::CONNREFUSED) };
        let Phase::Listening { listener, backlog, len, .. } = there.phase else {
            return Err(Errno::CONNREFUSED);
        };
        if len > backlog {
            return Err(Errno::AGAIN);
        }
        let (of, local) = (there.of, there.local_or_unnamed());
        if self.sockets.is_full() {
            return Err(Errno::NFILE);
        }
        let client = self.clients.owner_mut(owner).ok_or(Errno::CONNREFUSED)?;
        let cell = client.lane.allocate_cell().ok_or(Errno::NOBUFS)?;
        client.lane.set_send_buffer(cell, options.send_buffer);
        client.lane.set_status(cell, Status::CONNECTED);
        let remote = from.to_address(of.family);
        let mut stream = ModuleStream::new(of, StreamProducer::new(cell, options.receive_buffer));
        (stream.local, stream.remote) = (Some(local), Some(remote));
        (stream.phase, stream.waiting_at) = (Phase::Connected, Some(id));
        let (descriptor, signal, error) = (None, Signal::default(), None);
        let kind = Kind::ModuleStream(Box::new(stream));
        let socket = Socket { client: owner, cell, descriptor, signal, error, options, kind };
        let Some(made) = self.sockets.insert(socket) else {
            client.lane.free_cell(cell);
            return Err(Errno::NFILE);
        };
        client.lane.set_number(cell, made.index);
        let number = number_of(self.mesh.me, made, true);
        self.stream_of(made)?.of = of.sibling(number);
        if let Phase::Listening { len, .. } = &mut self.stream_of(id)?.phase {
            *len = len.saturating_add(1);
        }
        let _ = self.module_sockets.insert(made);
        self.events.send(Event::Established { listener, socket: made, cell, local, remote });
        Ok(made)
    }

    /// It has ended in both directions.
    pub(super) fn fail_module_stream(&mut self, id: SocketId, errno: Errno) {
        let Ok(stream) = self.stream_of(id) else { return };
        if stream.phase == Phase::Over {
            return;
        }
        stream.phase = Phase::Over;
        stream.late.clear();
        if stream.closed {
            self.end_stream(id);
        } else {
            self.set_error(id, errno);
        }
    }

    /// The module of a stream is gone; so is the stream if nobody has it.
    pub(crate) fn stream_dropped(&mut self, id: SocketId) {
        if self.stream_of(id).is_ok_and(|stream| stream.closed) {
            return self.free_socket(id);
        }
        self.fail_module_stream(id, Errno::NETDOWN);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_listen_takes_back_only_what_it_has_changed() {
        let first = ListenerId(1);
        let listening = |listener, backlog, len| {
            let waiting = len > 0;
            Phase::Listening { listener, backlog, len, waiting }
        };
        let mut phase = Phase::Over;
        phase.put_back(Phase::Fresh);
        assert_eq!(phase, Phase::Over, "the module has failed it meanwhile");
        let mut phase = listening(ListenerId(2), 9, 3);
        phase.put_back(listening(first, 5, 2));
        assert_eq!(phase, listening(first, 5, 3), "one has arrived meanwhile");
        phase.put_back(Phase::Fresh);
        assert_eq!(phase, Phase::Fresh);
    }
}
