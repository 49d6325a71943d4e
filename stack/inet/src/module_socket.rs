//! Sockets of protocol modules: the way of a datagram between a client's memory and the module.
//!
//! ```text
//!  client ──posts──> module_output ──> the module's socket_send ──> frames, packets
//!  client <──queue── module_input <── outbox, another worker <── the module's deliver
//! ```

use core::net::SocketAddr;

use dpdk::Mbuf;
use lsm::{Desk, Name, Owner, STREAM, SocketOf};
use rustix::io::Errno;
use shm::{Ancillary, DatagramProducer, StreamProducer, TxDescriptor};
use types::{DropReason, Instant};

use crate::attend::raise;
use crate::client::Posted;
use crate::command::{
    Handoff, Misbehaviour, ModuleCommand, ModuleIoctl, ModuleOption, OpenModule, Outcome, Transport,
};
use crate::limits::SOCKETS_MAX;
use crate::module_stream::ModuleStream;
use crate::socket::{Datagram, Kind, ModuleSocket, Signal, SocketId};
use crate::worker::Worker;

/// What modules know a socket by: `stream << 63 | worker << 54 | index << 32 | generation`.
const INDEX_BITS: u32 = 22;
const _: () = assert!(SOCKETS_MAX <= 1 << INDEX_BITS && shm::layout::LANES_MAX <= 1 << 9);

pub(crate) fn number_of(worker: u16, id: SocketId, stream: bool) -> u64 {
    let kind = if stream { STREAM } else { 0 };
    let (worker, index) = (u64::from(worker), u64::from(id.index));
    kind | worker << (32 + INDEX_BITS) | index << 32 | u64::from(id.generation)
}

pub(crate) fn named_by(number: u64) -> (u16, SocketId) {
    let low = |bits: u64| u32::try_from(bits & 0xffff_ffff).unwrap_or(0);
    let index = low(number >> 32) & ((1 << INDEX_BITS) - 1);
    let worker = u16::try_from((number & !STREAM) >> (32 + INDEX_BITS)).unwrap_or(u16::MAX);
    (worker, SocketId { index, generation: low(number) })
}

impl Worker {
    pub(crate) fn module_command(&mut self, command: ModuleCommand, now: Instant) {
        let (call, result) = match command {
            ModuleCommand::Open(open) => (open.call, self.open_of_module(open, now)),
            ModuleCommand::Option(asked) => (asked.call, self.module_option(&asked, now)),
            ModuleCommand::Ioctl(asked) => (asked.call, self.module_ioctl(&asked, now)),
            ModuleCommand::Listen { call, socket, listener, backlog } => {
                (call, self.stream_listen(socket, (listener, backlog), now))
            }
        };
        self.done(call, result);
    }

    /// A new socket, if the module agrees.
    fn open_of_module(&mut self, open: OpenModule, now: Instant) -> Result<Outcome, Errno> {
        let OpenModule { client: slot, kind, by, descriptor, .. } = open;
        let Outcome::Opened { socket: id, cell } =
            self.open(slot, Transport::Datagram, descriptor)?
        else {
            return Err(Errno::NOBUFS);
        };
        let number = number_of(self.mesh.me, id, kind.stream);
        let opened = self.ask(now, |desk| desk.socket_open(kind, number, by));
        match (opened, self.sockets.find_mut(id)) {
            (Ok(of), Some(socket)) => {
                let limit = socket.options.receive_buffer;
                socket.kind = if kind.stream {
                    Kind::ModuleStream(Box::new(ModuleStream::new(
                        of,
                        StreamProducer::new(cell, limit),
                    )))
                } else {
                    let datagram = Datagram::new(DatagramProducer::new(cell, limit));
                    Kind::Module(Box::new(ModuleSocket { of, datagram }))
                };
                let _ = self.module_sockets.insert(id);
                Ok(Outcome::Opened { socket: id, cell })
            }
            (opened, _) => {
                self.free_socket(id);
                Err(opened.err().unwrap_or(Errno::NOBUFS))
            }
        }
    }

    pub(crate) fn module_bind(
        &mut self,
        id: SocketId,
        local: SocketAddr,
        now: Instant,
    ) -> Result<(), Errno> {
        let module = self.module_of(id)?;
        if module.datagram.local.is_some() {
            return Err(Errno::INVAL);
        }
        let of = module.of;
        let given = self.ask(now, |desk| desk.socket_bind(&of, local.into()))?;
        self.module_of(id)?.datagram.local = Some(given.to_address(of.family));
        Ok(())
    }

    pub(crate) fn module_connect(
        &mut self,
        id: SocketId,
        remote: Option<SocketAddr>,
        now: Instant,
    ) -> Result<(), Errno> {
        let of = self.module_of(id)?.of;
        self.ask(now, |desk| desk.socket_connect(&of, remote.map(Name::from)))?;
        self.module_of(id)?.datagram.remote = remote;
        Ok(())
    }

    /// An option of a level of the module's own: its new value, or it is asked for.
    fn module_option(&mut self, asked: &ModuleOption, now: Instant) -> Result<Outcome, Errno> {
        let (of, option) = (self.of_module(asked.socket)?, asked.option);
        let Some(value) = &asked.value else {
            return self.ask(now, |desk| desk.socket_option(&of, option)).map(Outcome::Value);
        };
        self.take_posted_before(asked.socket, now);
        self.ask(now, |desk| desk.socket_set_option(&of, option, value))?;
        Ok(Outcome::Done)
    }

    /// `ioctl()` of a number that is not the stack's.
    fn module_ioctl(&mut self, asked: &ModuleIoctl, now: Instant) -> Result<Outcome, Errno> {
        let ModuleIoctl { socket, request, ref data, room, .. } = *asked;
        let of = self.of_module(socket)?;
        self.ask(now, |desk| desk.socket_ioctl(&of, request, data, room)).map(Outcome::Value)
    }

    /// A socket is about to be freed.
    pub(crate) fn module_close(&mut self, id: SocketId, now: Instant) {
        let Ok(of) = self.module_of(id).map(|module| module.of) else { return };
        let closed = self.ask(now, |desk| {
            desk.socket_close(&of);
            Ok(())
        });
        // The module may be gone.
        let _ = closed;
    }

    /// One datagram that a client has posted: an address header, then the payload.
    pub(crate) fn module_output(&mut self, id: SocketId, posted: &TxDescriptor, now: Instant) {
        let result = self.module_send(id, posted, now);
        self.datagram_taken(id, posted, result);
    }

    fn module_send(
        &mut self,
        id: SocketId,
        posted: &TxDescriptor,
        now: Instant,
    ) -> Result<(), Errno> {
        let socket = self.sockets.find(id).ok_or(Errno::BADF)?;
        let Kind::Module(module) = &socket.kind else { return Err(Errno::BADF) };
        let (of, has_peer, owner) = (module.of, module.datagram.remote.is_some(), socket.client);
        let client = self.clients.owner_mut(owner).ok_or(Errno::BADF)?;
        let Posted { header, offset, len } = client.datagram(posted, now)?;
        let to = header.address();
        if to.is_none() && !has_peer {
            return Err(Errno::DESTADDRREQ);
        }
        let mut mbuf = self.out.alloc().ok_or(Errno::NOBUFS)?;
        let len = u16::try_from(len).map_err(|_| Errno::MSGSIZE)?;
        let room = mbuf.append(len).ok_or(Errno::MSGSIZE)?;
        if !client.lane.copy_out(offset, room) {
            return Err(Errno::FAULT);
        }
        self.ask(now, |desk| desk.socket_send(&of, to.map(Name::from), mbuf))
    }

    /// A datagram that a module gives to a socket, which may be another worker's.
    pub(crate) fn module_input(&mut self, socket: u64, owner: Owner, from: Name, mbuf: Mbuf) {
        let (worker, id) = named_by(socket);
        if worker == self.mesh.me {
            let delivered = if socket & STREAM != 0 {
                self.stream_input(id, owner, mbuf)
            } else {
                self.module_deliver(id, owner, from, mbuf)
            };
            if let Err(reason) = delivered {
                self.out.count_drop(reason);
            }
            return;
        }
        let handoff = Handoff::Datagram { socket, owner, from, mbuf };
        if self.mesh.send(worker, handoff).is_err() {
            self.out.count_drop(DropReason::HandoffQueueFull);
        }
    }

    fn module_deliver(
        &mut self,
        id: SocketId,
        owner: Owner,
        from: Name,
        mut mbuf: Mbuf,
    ) -> Result<(), DropReason> {
        if !mbuf.linearize() {
            return Err(DropReason::MbufChain);
        }
        let socket = self.sockets.find_mut(id).ok_or(DropReason::ModuleNoSocket)?;
        let slot = socket.client;
        let client = self.clients.owner_mut(slot).ok_or(DropReason::ModuleNoSocket)?;
        let Kind::Module(module) = &mut socket.kind else {
            return Err(DropReason::ModuleNoSocket);
        };
        if !module.of.is_of(owner) {
            return Err(DropReason::ModuleNoSocket);
        }
        let recv = &mut module.datagram.recv;
        if let Err(what) = recv.refresh(&mut client.lane) {
            self.client_misbehaved(slot, Misbehaviour::Memory(what));
            return Err(DropReason::ModuleNoSocket);
        }
        let from = from.to_address(module.of.family);
        let pushed = recv.push(&mut client.lane, from, &Ancillary::default(), mbuf.data());
        if let Some(desk) = &self.out.desk {
            desk.socket_received(&module.of, pushed.is_ok());
        }
        pushed.map_err(|_| DropReason::ModuleSocketFull)?;
        let signal = Signal { readable: true, ..Signal::default() };
        raise(socket, id, signal, &mut self.signals);
        Ok(())
    }

    /// Modules have gone or failed: their sockets say so, and have come to their end.
    pub(crate) fn drop_module_sockets(&mut self) {
        let mut all = core::mem::take(&mut self.module_sockets);
        all.retain(|id| !self.is_dropped(*id));
        self.module_sockets = all;
    }

    /// Nobody serves this socket any longer: it has been told so.
    fn is_dropped(&mut self, id: SocketId) -> bool {
        let Ok(of) = self.of_module(id) else { return false };
        if self.out.desk.as_ref().is_some_and(|desk| desk.serves(&of)) {
            return false;
        }
        let Some(socket) = self.sockets.find_mut(id) else { return false };
        if matches!(socket.kind, Kind::ModuleStream(_)) {
            self.stream_dropped(id);
            return true;
        }
        socket.error = Some(Errno::NETDOWN);
        if let Some(client) = self.clients.owner_mut(socket.client) {
            client.set_error(socket.cell, Errno::NETDOWN);
        }
        let signal = Signal { readable: true, writable: true, hang_up: true, urgent: false };
        raise(socket, id, signal, &mut self.signals);
        true
    }

    fn module_of(&mut self, id: SocketId) -> Result<&mut ModuleSocket, Errno> {
        match &mut self.sockets.find_mut(id).ok_or(Errno::BADF)?.kind {
            Kind::Module(module) => Ok(module),
            _ => Err(Errno::BADF),
        }
    }

    fn of_module(&mut self, id: SocketId) -> Result<SocketOf, Errno> {
        match &self.sockets.find(id).ok_or(Errno::BADF)?.kind {
            Kind::Module(module) => Ok(module.of),
            Kind::ModuleStream(stream) => Ok(stream.of),
            _ => Err(Errno::BADF),
        }
    }

    /// Calls a module, and sends what it wants sent.
    pub(crate) fn ask<T>(
        &mut self,
        now: Instant,
        call: impl FnOnce(&mut Desk) -> Result<T, Errno>,
    ) -> Result<T, Errno> {
        let desk = self.out.desk.as_mut().ok_or(Errno::NETDOWN)?;
        desk.set_now(now);
        let said = call(desk);
        let _ = self.send_for_protocols(now);
        said
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_names_one_socket_of_one_worker() {
        let most = u32::try_from(SOCKETS_MAX - 1).unwrap();
        for worker in [0, 1, 63] {
            for (index, generation) in [(0, 0), (most, 7), (3, u32::MAX)] {
                let id = SocketId { index, generation };
                for stream in [false, true] {
                    let number = number_of(worker, id, stream);
                    assert_eq!((named_by(number), number & STREAM != 0), ((worker, id), stream));
                }
            }
        }
    }
}
