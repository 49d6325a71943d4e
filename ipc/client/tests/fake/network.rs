//! The fake daemon's sockets: how they reach each other.

use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::AsFd;
use std::sync::atomic::Ordering;

use proto::message::{Leads, Shutdown, Transport, Way};
use proto::{Reply, Request, SocketHandle};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use shm::{
    Ancillary, CellId, DatagramHeader, DatagramProducer, SocketEnd, Status, StreamProducer,
    TxDescriptor, TxFlags,
};

use super::{Daemon, Pieces, address};

const SEND_BUFFER: u32 = 128 * 1024;
const RECEIVE_BUFFER: u32 = 128 * 1024;
const SEGMENT: u32 = 1448;

pub(super) struct Sock {
    pub(super) client: usize,
    pub(super) lane: u16,
    pub(super) cell: CellId,
    pub(super) end: Option<SocketEnd>,
    pub(super) kind: Kind,
    pub(super) local: Option<SocketAddr>,
    pub(super) remote: Option<SocketAddr>,
    pub(super) error: Option<i32>,
    pub(super) readable: bool,
    pub(super) writable: bool,
    pub(super) hang_up: bool,
    released: u64,
}

pub(super) enum Kind {
    Fresh,
    Listener { waiting: VecDeque<usize> },
    Stream(Box<Stream>),
    Datagram(Box<DatagramProducer>),
}

pub(super) struct Stream {
    recv: StreamProducer,
    peer: Option<usize>,
    out: Pieces,
    out_len: u32,
    fin: bool,
    fin_sent: bool,
    closed: bool,
    failed: bool,
}

impl Sock {
    pub(super) fn handle(&self) -> SocketHandle {
        let CellId { index, generation } = self.cell;
        SocketHandle { cell: index, generation, worker: self.lane }
    }
}

impl Daemon {
    pub(super) fn new_sock(&mut self, client: usize, transport: Transport) -> Option<usize> {
        let free = self.socks.iter().position(Option::is_none);
        let id = free.unwrap_or_else(|| {
            self.socks.push(None);
            self.socks.len() - 1
        });
        let lane = u16::try_from(id).ok()? % self.workers;
        let cell = self.clients[client].lanes[usize::from(lane)].allocate_cell()?;
        let kind = match transport {
            Transport::Stream => Kind::Fresh,
            Transport::Datagram | Transport::Raw => {
                Kind::Datagram(Box::new(DatagramProducer::new(cell, RECEIVE_BUFFER)))
            }
        };
        self.clients[client].lanes[usize::from(lane)].set_send_buffer(cell, SEND_BUFFER);
        self.socks[id] = Some(Sock {
            client,
            lane,
            cell,
            end: None,
            kind,
            local: None,
            remote: None,
            error: None,
            readable: false,
            writable: false,
            hang_up: false,
            released: 0,
        });
        Some(id)
    }

    fn make_stream(&mut self, id: usize, peer: Option<usize>) {
        let Some(sock) = &mut self.socks[id] else { return };
        sock.kind = Kind::Stream(Box::new(Stream {
            recv: StreamProducer::new(sock.cell, RECEIVE_BUFFER),
            peer,
            out: VecDeque::new(),
            out_len: 0,
            fin: false,
            fin_sent: false,
            closed: false,
            failed: false,
        }));
    }

    fn set_status(&mut self, id: usize, status: Status) {
        let Some(sock) = &self.socks[id] else { return };
        let lane = &self.clients[sock.client].lanes[usize::from(sock.lane)];
        lane.set_status(sock.cell, lane.status(sock.cell) | status);
    }

    /// An error as from the network.
    fn fail(&mut self, id: usize, errno: Errno) {
        let Some(sock) = &mut self.socks[id] else { return };
        sock.error = Some(errno.raw_os_error());
        sock.readable = true;
        sock.writable = true;
        let code = u16::try_from(errno.raw_os_error()).expect("small");
        self.clients[sock.client].lanes[usize::from(sock.lane)].set_error(sock.cell, code);
        if let Kind::Stream(stream) = &mut sock.kind {
            stream.failed = true;
            stream.peer = None;
            sock.hang_up = true;
            self.set_status(id, Status::CLOSED);
        }
    }

    pub(super) fn serve_socket(&mut self, client: usize, call: &Request) -> Result<Reply, Errno> {
        match *call {
            Request::Bind { socket, address: to } => {
                let port = if to.port() == 0 { self.free_port() } else { to.port() };
                let id = self.find(client, socket)?;
                let sock = self.socks[id].as_mut().ok_or(Errno::BADF)?;
                if sock.local.is_some() {
                    return Err(Errno::INVAL);
                }
                sock.local = Some(SocketAddr::new(to.ip(), port));
            }
            Request::Listen { socket, .. } => {
                let id = self.find(client, socket)?;
                let sock = self.socks[id].as_mut().ok_or(Errno::BADF)?;
                sock.kind = Kind::Listener { waiting: VecDeque::new() };
            }
            Request::Connect { socket, address, .. } => {
                return self.connect(client, socket, address);
            }
            Request::Shutdown { socket, how } => return self.shutdown(client, socket, how),
            Request::Option { socket, level: 1, name: 4 } => {
                let id = self.find(client, socket)?;
                let sock = self.socks[id].as_mut().ok_or(Errno::BADF)?;
                let errno = sock.error.take().unwrap_or(0);
                return Ok(Reply::Value(errno.to_ne_bytes().to_vec()));
            }
            Request::SetOption { socket, .. } => drop(self.find(client, socket)?),
            Request::LocalName { socket } => {
                let id = self.find(client, socket)?;
                let local = self.socks[id].as_ref().and_then(|s| s.local);
                let none = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
                return Ok(Reply::Name(local.unwrap_or(none)));
            }
            Request::PeerName { socket } => {
                let id = self.find(client, socket)?;
                let remote = self.socks[id].as_ref().and_then(|s| s.remote);
                return remote.map(Reply::Name).ok_or(Errno::NOTCONN);
            }
            Request::Way { .. } => return Ok(Reply::Way(everywhere())),
            _ => return Err(Errno::OPNOTSUPP),
        }
        Ok(Reply::Done)
    }

    fn connect(
        &mut self,
        client: usize,
        socket: SocketHandle,
        to: SocketAddr,
    ) -> Result<Reply, Errno> {
        let id = self.find(client, socket)?;
        let port = self.free_port();
        let sock = self.socks[id].as_mut().ok_or(Errno::BADF)?;
        let local = *sock.local.get_or_insert_with(|| address(port));
        sock.remote = Some(to);
        if matches!(sock.kind, Kind::Datagram(_)) {
            return Ok(Reply::Done);
        }
        self.make_stream(id, None);
        let listens = |s: &Sock| {
            matches!(s.kind, Kind::Listener { .. }) && s.local.map(|l| l.port()) == Some(to.port())
        };
        let listener = self.socks.iter().position(|s| s.as_ref().is_some_and(listens));
        let Some(listener) = listener else {
            // A port nobody ever answers for.
            if to.port() != 9 {
                self.fail(id, Errno::CONNREFUSED);
            }
            return Err(Errno::INPROGRESS);
        };
        let owner = self.socks[listener].as_ref().ok_or(Errno::BADF)?.client;
        let child = self.new_sock(owner, Transport::Stream).ok_or(Errno::NOBUFS)?;
        self.make_stream(child, Some(id));
        if let Some(sock) = &mut self.socks[child] {
            (sock.local, sock.remote) = (Some(to), Some(local));
        }
        if let Some(Sock { kind: Kind::Stream(stream), writable, .. }) = &mut self.socks[id] {
            stream.peer = Some(child);
            *writable = true;
        }
        self.set_status(child, Status::CONNECTED);
        self.set_status(id, Status::CONNECTED);
        if let Some(sock) = &mut self.socks[listener] {
            sock.readable = true;
            if let Kind::Listener { waiting } = &mut sock.kind {
                waiting.push_back(child);
            }
        }
        self.set_status(listener, Status::ACCEPTABLE);
        Err(Errno::INPROGRESS)
    }

    fn shutdown(
        &mut self,
        client: usize,
        socket: SocketHandle,
        how: Shutdown,
    ) -> Result<Reply, Errno> {
        let id = self.find(client, socket)?;
        let _ = self.attend();
        let sock = self.socks[id].as_mut().ok_or(Errno::BADF)?;
        match &mut sock.kind {
            Kind::Stream(stream) => {
                stream.fin |= how != Shutdown::Read;
                sock.hang_up |= how != Shutdown::Write;
                Ok(Reply::Done)
            }
            Kind::Datagram(_) if sock.remote.is_some() => Ok(Reply::Done),
            _ => Err(Errno::NOTCONN),
        }
    }

    /// Takes what the clients have posted.
    pub(super) fn attend(&mut self) -> bool {
        let mut busy = false;
        for client in 0..self.clients.len() {
            for lane in 0..self.clients[client].lanes.len() {
                while let Some(posted) =
                    self.clients[client].lanes[lane].receive().expect("the client misbehaves")
                {
                    busy = true;
                    self.posted(client, u16::try_from(lane).expect("few"), posted);
                }
                self.clients[client].lanes[lane].commit();
            }
        }
        busy
    }

    fn posted(&mut self, client: usize, lane: u16, posted: TxDescriptor) {
        let is_it = |s: &Sock| s.client == client && s.lane == lane && s.cell.index == posted.cell;
        let Some(id) = self.socks.iter().position(|s| s.as_ref().is_some_and(is_it)) else {
            return;
        };
        let Some(sock) = &mut self.socks[id] else { return };
        let memory = &mut self.clients[client].lanes[usize::from(lane)];
        if posted.flags.contains(TxFlags::ARM) {
            (sock.readable, sock.writable) = (true, true);
            let refreshed = match &mut sock.kind {
                Kind::Stream(stream) => stream.recv.refresh(memory),
                Kind::Datagram(recv) => recv.refresh(memory),
                _ => Ok(0),
            };
            let _ = refreshed.expect("the client misbehaves");
            return;
        }
        match &mut sock.kind {
            Kind::Stream(stream) => {
                stream.out.push_back((posted.offset, posted.length));
                stream.out_len += posted.length;
            }
            Kind::Datagram(_) => self.send_datagram(id, posted),
            _ => {}
        }
    }

    fn send_datagram(&mut self, id: usize, posted: TxDescriptor) {
        let Some(sock) = &mut self.socks[id] else { return };
        let lane = &self.clients[sock.client].lanes[usize::from(sock.lane)];
        let mut header = [0; DatagramHeader::LEN];
        assert!(lane.copy_out(posted.offset, &mut header), "outside");
        let mut payload = vec![0; posted.length as usize - DatagramHeader::LEN];
        let header_len = u32::try_from(DatagramHeader::LEN).expect("a short header");
        assert!(lane.copy_out(posted.offset + header_len, &mut payload), "outside");
        sock.released += u64::from(posted.length);
        lane.set_tx_released(sock.cell, sock.released);
        sock.writable = true;
        let from = sock.local.expect("unbound sockets do not send");
        let from = SocketAddr::new(address(0).ip(), from.port());
        let to = DatagramHeader::parse(&header).address().or(sock.remote).expect("no destination");
        let connected = sock.remote.is_some();
        let port = Some(to.port());
        let takes =
            |s: &Sock| matches!(s.kind, Kind::Datagram(_)) && s.local.map(|l| l.port()) == port;
        let Some(to) = self.socks.iter().position(|s| s.as_ref().is_some_and(takes)) else {
            if connected {
                self.fail(id, Errno::CONNREFUSED);
            }
            return;
        };
        let Some(sock) = &mut self.socks[to] else { return };
        let lane = &mut self.clients[sock.client].lanes[usize::from(sock.lane)];
        if let Kind::Datagram(recv) = &mut sock.kind {
            // A full queue drops it, as UDP does.
            let _ = recv.push(lane, from, &Ancillary::default(), &payload);
            sock.readable = true;
        }
    }

    /// Moves stream bytes to their peers.
    pub(super) fn pump(&mut self) -> bool {
        let mut busy = false;
        for id in 0..self.socks.len() {
            while self.pump_one(id) {
                busy = true;
            }
            self.finish(id);
        }
        busy
    }

    fn pump_one(&mut self, id: usize) -> bool {
        let Some(Sock { kind: Kind::Stream(stream), client, lane, cell, .. }) = &self.socks[id]
        else {
            return false;
        };
        let (Some(peer), Some(&(offset, len))) = (stream.peer, stream.out.front()) else {
            return false;
        };
        let (from, cell) = ((*client, usize::from(*lane)), *cell);
        let Some(Sock { kind: Kind::Stream(to), client, lane, readable, .. }) =
            &mut self.socks[peer]
        else {
            return false;
        };
        let len = len.min(SEGMENT).min(to.recv.window());
        if len == 0 {
            return false;
        }
        let mut bytes = vec![0; len as usize];
        assert!(self.clients[from.0].lanes[from.1].copy_out(offset, &mut bytes), "outside");
        if !to.closed {
            let memory = &mut self.clients[*client].lanes[usize::from(*lane)];
            let taken = to.recv.write(memory, 0, &bytes);
            assert_eq!(taken, len, "the window was a promise");
            to.recv.advance(memory, len);
            *readable = true;
        }
        let Some(Sock { kind: Kind::Stream(stream), released, writable, .. }) = &mut self.socks[id]
        else {
            return false;
        };
        *released += u64::from(len);
        *writable = true;
        stream.out_len -= len;
        if let Some(front) = stream.out.front_mut() {
            *front = (front.0 + len, front.1 - len);
            if front.1 == 0 {
                let _ = stream.out.pop_front();
            }
        }
        self.clients[from.0].lanes[from.1].set_tx_released(cell, *released);
        true
    }

    /// Sends the FIN once everything before it is delivered, and frees what is closed.
    fn finish(&mut self, id: usize) {
        let Some(Sock { kind: Kind::Stream(stream), .. }) = &mut self.socks[id] else { return };
        if stream.fin && !stream.fin_sent && stream.out.is_empty() {
            stream.fin_sent = true;
            if let Some(peer) = stream.peer {
                self.set_status(peer, Status::EOF);
                if let Some(sock) = &mut self.socks[peer] {
                    sock.readable = true;
                    sock.hang_up = true;
                }
            }
        }
        let Some(Sock { kind: Kind::Stream(stream), .. }) = &self.socks[id] else { return };
        if stream.closed && (stream.fin_sent || stream.peer.is_none()) {
            self.free(id);
        }
    }

    fn free(&mut self, id: usize) {
        let Some(sock) = self.socks[id].take() else { return };
        for other in self.socks.iter_mut().flatten() {
            if let Kind::Stream(stream) = &mut other.kind
                && stream.peer == Some(id)
            {
                stream.peer = None;
            }
        }
        let Some(lane) = self.clients[sock.client].lanes.get_mut(usize::from(sock.lane)) else {
            return;
        };
        match sock.kind {
            Kind::Stream(stream) => stream.recv.release(lane),
            Kind::Datagram(recv) => recv.release(lane),
            _ => {}
        }
        lane.free_cell(sock.cell);
    }

    pub(super) fn notice_closed(&mut self) {
        for id in 0..self.socks.len() {
            let Some(end) = self.socks[id].as_ref().and_then(|s| s.end.as_ref()) else { continue };
            let mut fds = [PollFd::from_borrowed_fd(end.as_fd(), PollFlags::empty())];
            let now = Timespec { tv_sec: 0, tv_nsec: 0 };
            if poll(&mut fds, Some(&now)).is_ok_and(|n| n > 0) {
                // What was posted before the close is still taken.
                let _ = self.attend();
                self.close(id);
            }
        }
    }

    pub(super) fn close(&mut self, id: usize) {
        let Some(sock) = &mut self.socks[id] else { return };
        sock.end = None;
        let lane = &mut self.clients[sock.client].lanes[usize::from(sock.lane)];
        let Kind::Stream(stream) = &mut sock.kind else { return self.free(id) };
        stream.closed = true;
        stream.fin = true;
        let _ = stream.recv.refresh(lane).expect("the client misbehaves");
        if stream.recv.unread() > 0
            && let Some(peer) = stream.peer.take()
        {
            self.fail(peer, Errno::CONNRESET);
        }
    }

    /// Makes the descriptors say what the sockets are.
    pub(super) fn signal(&mut self) {
        for sock in self.socks.iter_mut().flatten() {
            let Some(end) = &sock.end else { continue };
            let lane = &mut self.clients[sock.client].lanes[usize::from(sock.lane)];
            let armed = core::mem::take(&mut sock.readable) && lane.in_armed(sock.cell);
            let (news, room) = match &sock.kind {
                Kind::Fresh => (false, false),
                Kind::Listener { waiting } => (!waiting.is_empty(), false),
                Kind::Stream(s) => {
                    let decided = s.peer.is_some() || s.failed || s.fin_sent;
                    (!s.recv.is_read(lane), decided && s.out_len <= SEND_BUFFER * 2 / 3)
                }
                Kind::Datagram(recv) => (!recv.is_read(lane) || sock.error.is_some(), true),
            };
            if armed && news {
                let _ = end.send_token();
                lane.in_token_sent(sock.cell);
                let _ = self.tokens.fetch_add(1, Ordering::Relaxed);
            }
            if core::mem::take(&mut sock.writable) && room && lane.out_armed(sock.cell) {
                let _ = end.drain();
                lane.out_drained(sock.cell);
            }
            if core::mem::take(&mut sock.hang_up) {
                end.end_of_input();
            }
        }
    }
}

/// All addresses of IPv4 are somebody's.
fn everywhere() -> Way {
    let (first, last) = (Ipv4Addr::UNSPECIFIED.into(), Ipv4Addr::BROADCAST.into());
    Way { first, last, leads: Leads::Away }
}
