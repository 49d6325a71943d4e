//! What goes through a module's stream: as much as the module wants, and as there is room for.

use dpdk::Mbuf;
use lsm::{Owner, SocketOf};
use rustix::io::Errno;
use shm::Status;
use types::{DropReason, Instant};

use super::Phase;
use crate::attend::raise;
use crate::command::Misbehaviour;
use crate::limits::{MODULE_LATE_BUDGET, MODULE_ROOM_PARTS, MODULE_TEXT, SEGMENTS_PER_TURN};
use crate::send_queue::{Range, Store};
use crate::socket::{Kind, Signal, SocketId};
use crate::worker::Worker;

impl Worker {
    /// Text from a module. What there was no room for ends the stream.
    pub(crate) fn stream_input(
        &mut self,
        id: SocketId,
        owner: Owner,
        mut mbuf: Mbuf,
    ) -> Result<(), DropReason> {
        if !mbuf.linearize() {
            return Err(DropReason::MbufChain);
        }
        let socket = self.sockets.find_mut(id).ok_or(DropReason::ModuleNoSocket)?;
        let slot = socket.client;
        let Kind::ModuleStream(stream) = &mut socket.kind else {
            return Err(DropReason::ModuleNoSocket);
        };
        if !stream.of.is_of(owner) || stream.phase != Phase::Connected || stream.ended {
            return Err(DropReason::ModuleNoSocket);
        }
        let of = stream.of;
        let len = u32::try_from(mbuf.data().len()).unwrap_or(u32::MAX);
        let Some(room) = stream.room.checked_sub(len) else {
            self.tell(|desk| desk.socket_received(&of, false));
            self.fail_module_stream(id, Errno::NOBUFS);
            return Err(DropReason::ModuleSocketFull);
        };
        stream.room = room;
        let client = self.clients.owner_mut(slot).filter(|_| stream.hears());
        let mut shown = Ok(());
        if let Some(client) = client {
            stream.late.extend(mbuf.data());
            let _ = stream.put_late(&mut client.lane);
            shown = stream.recv.show(&mut client.lane);
            raise(socket, id, Signal { readable: true, ..Signal::default() }, &mut self.signals);
        }
        self.tell(|desk| desk.socket_received(&of, true));
        if let Err(what) = shown {
            self.client_misbehaved(slot, Misbehaviour::Memory(what));
        }
        self.grant(id);
        Ok(())
    }

    /// Tells the module of room, if that is worth a call. Where there is none, and nothing would tell of any, it is
    /// looked for again.
    pub(super) fn grant(&mut self, id: SocketId) {
        let Some(socket) = self.sockets.find_mut(id) else { return };
        let buffer = socket.options.receive_buffer;
        let Kind::ModuleStream(stream) = &mut socket.kind else { return };
        let more = stream.more_room(buffer);
        let nothing_waits = stream.recv.unread() == 0 && stream.room == 0;
        let open = stream.phase == Phase::Connected && !stream.ended;
        let waits = !stream.late.is_empty() || (open && nothing_waits && more == 0);
        if waits && !core::mem::replace(&mut stream.is_late, true) {
            self.module_streams.late.push_back(id);
        }
        if more > 0 && (more >= buffer / MODULE_ROOM_PARTS || nothing_waits) {
            stream.room = stream.room.saturating_add(more);
            let of = stream.of;
            self.tell(|desk| desk.socket_room(&of, more));
        }
    }

    /// The program has read, or there may be blocks for what waits for them.
    pub(crate) fn stream_read(&mut self, id: SocketId, now: Instant) {
        let Some(socket) = self.sockets.find_mut(id) else { return };
        let slot = socket.client;
        let Kind::ModuleStream(stream) = &mut socket.kind else { return };
        let mut looked = Ok(());
        let mut short = false;
        if let Some(client) = self.clients.owner_mut(slot) {
            looked = stream.recv.refresh(&mut client.lane).map(drop);
            short = !stream.late.is_empty() && client.is_short_of_blocks();
            if looked.is_ok() && stream.put_late(&mut client.lane) {
                looked = stream.recv.show(&mut client.lane);
                raise(
                    socket,
                    id,
                    Signal { readable: true, ..Signal::default() },
                    &mut self.signals,
                );
            }
        }
        if let Err(what) = looked {
            return self.client_misbehaved(slot, Misbehaviour::Memory(what));
        }
        if short {
            self.sweep_blocks(slot);
        }
        self.show_end(id);
        self.grant(id);
        let _ = self.send_for_protocols(now);
    }

    /// Nothing follows what the program has been shown.
    pub(super) fn show_end(&mut self, id: SocketId) {
        let Some(socket) = self.sockets.find_mut(id) else { return };
        let Kind::ModuleStream(stream) = &mut socket.kind else { return };
        if !stream.ended || stream.end_shown || !stream.late.is_empty() {
            return;
        }
        stream.end_shown = true;
        if let Some(client) = self.clients.owner(socket.client) {
            client.add_status(socket.cell, Status::EOF);
        }
        let signal = Signal { readable: true, hang_up: true, ..Signal::default() };
        raise(socket, id, signal, &mut self.signals);
    }

    /// Something is to be looked at before the breath ends.
    pub(crate) fn stream_ready(&mut self, id: SocketId) {
        let Ok(stream) = self.stream_of(id) else { return };
        if !core::mem::replace(&mut stream.ready, true) {
            self.module_streams.ready.push_back(id);
        }
    }

    /// Gives modules what they want of what was sent. `true`: there was something to look at.
    pub(crate) fn attend_streams(&mut self, now: Instant) -> bool {
        let busy = !self.module_streams.ready.is_empty();
        for _ in 0..self.module_streams.ready.len() {
            let Some(id) = self.module_streams.ready.pop_front() else { break };
            self.pass_text(id, now);
        }
        for _ in 0..self.module_streams.late.len().min(MODULE_LATE_BUDGET) {
            let Some(id) = self.module_streams.late.pop_front() else { break };
            if let Ok(stream) = self.stream_of(id) {
                stream.is_late = false;
            }
            self.stream_read(id, now);
        }
        busy
    }

    pub(super) fn pass_text(&mut self, id: SocketId, now: Instant) {
        let Ok(stream) = self.stream_of(id) else { return };
        stream.ready = false;
        for _ in 0..SEGMENTS_PER_TURN {
            match self.next_text(id) {
                Ok(None) => return self.pass_end(id, now),
                Ok(Some((of, mbuf))) => {
                    let sent = self.ask(now, |desk| desk.socket_send(&of, None, mbuf));
                    if let Err(errno) = sent {
                        return self.refused(id, &of, errno);
                    }
                }
                // There will be buffers.
                Err(Errno::NOBUFS) => break,
                Err(errno) => return self.fail_module_stream(id, errno),
            }
        }
        self.stream_ready(id);
    }

    /// The module has not taken what was sent; it has failed, perhaps.
    fn refused(&mut self, id: SocketId, of: &SocketOf, errno: Errno) {
        let serves = self.out.desk.as_ref().is_some_and(|desk| desk.serves(of));
        self.fail_module_stream(id, if serves { errno } else { Errno::NETDOWN });
    }

    /// The next packet of what a module wants.
    fn next_text(&mut self, id: SocketId) -> Result<Option<(SocketOf, Mbuf)>, Errno> {
        let Some(socket) = self.sockets.find_mut(id) else { return Ok(None) };
        let Kind::ModuleStream(stream) = &mut socket.kind else { return Ok(None) };
        let most = stream.wanted.min(MODULE_TEXT);
        if stream.phase != Phase::Connected || most == 0 {
            return Ok(None);
        }
        let Some(Range { offset, len }) = stream.send.piece(0, most).filter(|piece| piece.len > 0)
        else {
            return Ok(None);
        };
        let client = self.clients.owner(socket.client);
        let mut mbuf = self.out.alloc().ok_or(Errno::NOBUFS)?;
        let to = u16::try_from(len).ok().and_then(|len| mbuf.append(len)).ok_or(Errno::MSGSIZE)?;
        let copied = match stream.send.store() {
            Store::Client => client.is_some_and(|client| client.lane.copy_out(offset, to)),
            Store::Private(bytes) => {
                let from = bytes.get(offset as usize..).and_then(|bytes| bytes.get(..to.len()));
                from.map(|from| to.copy_from_slice(from)).is_some()
            }
        };
        if !copied {
            return Err(Errno::FAULT);
        }
        stream.wanted = stream.wanted.saturating_sub(len);
        let private = stream.send.private_len();
        stream.send.release(len, &mut self.spare_queues);
        // The memory of an orphan goes with its last byte.
        let freed = private.saturating_sub(stream.send.private_len());
        self.orphan_bytes = self.orphan_bytes.saturating_sub(freed);
        if let Some(client) = client {
            client.lane.set_tx_released(socket.cell, stream.send.released());
        }
        let of = stream.of;
        raise(socket, id, Signal { writable: true, ..Signal::default() }, &mut self.signals);
        Ok(Some((of, mbuf)))
    }

    /// All has been passed that may be: the end too, if it has come.
    fn pass_end(&mut self, id: SocketId, now: Instant) {
        let Ok(stream) = self.stream_of(id) else { return };
        let (of, closed) = (stream.of, stream.closed);
        let passed = stream.phase == Phase::Connected && stream.shut && stream.send.len() == 0;
        if passed && !core::mem::replace(&mut stream.end_told, true) {
            if stream.end_shown && !closed {
                self.raise(id, Signal { hang_up: true, ..Signal::default() });
            }
            self.tell(|desk| desk.socket_end(&of));
        }
        if passed && closed {
            self.end_stream(id);
        } else {
            // It may have closed its ear.
            self.grant(id);
        }
        let _ = self.send_for_protocols(now);
    }
}
