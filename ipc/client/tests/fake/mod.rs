//! A daemon without a network: it serves the control socket, and its sockets reach each other.
//!
//! One thread plays the control thread and all workers. What a stream posts is delivered to its peer
//! as the peer's window allows; the window is only looked at when the client asks for it, so that a
//! client which forgets to ask stands still.
#![allow(dead_code, reason = "not every test binary uses all of it")]

mod network;

use std::collections::VecDeque;
use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread::JoinHandle;

use proto::message::Transport;
use proto::{Answer, Call, MESSAGE_MAX, Reply, Request, SocketHandle};
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, SocketAddrUnix, SocketFlags, SocketType, accept_with, recvmsg, sendmsg, socket_with,
};
use shm::{Arena, Lane, Slot, SocketEnd, Status, WorkersPage};

use network::{Kind, Sock};

/// A running daemon. Dropped or killed, it is gone as if by SIGKILL.
pub(crate) struct Fake {
    path: PathBuf,
    stop: Arc<AtomicBool>,
    /// Tokens written so far.
    pub(crate) tokens: Arc<AtomicU32>,
    /// Calls so far that nobody waited for.
    pub(crate) unasked: Arc<AtomicU32>,
    thread: Option<JoinHandle<()>>,
}

impl Fake {
    /// Starts one with this many workers.
    pub(crate) fn start(workers: u16) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("io-pkt-fake-{}-{number}", std::process::id());
        let dir = std::env::temp_dir().join(name).join("dev");
        std::fs::create_dir_all(&dir).expect("no directory");
        Self::start_at(&dir.join("socket"), workers)
    }

    /// Starts one behind this socket.
    pub(crate) fn start_at(path: &Path, workers: u16) -> Self {
        let _ = std::fs::remove_file(path);
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let listener = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)
            .expect("no socket");
        rustix::net::bind(&listener, &SocketAddrUnix::new(path).expect("a path")).expect("no bind");
        rustix::net::listen(&listener, 16).expect("no listen");
        let stop = Arc::new(AtomicBool::new(false));
        let tokens = Arc::new(AtomicU32::new(0));
        let (stopped, counted) = (Arc::clone(&stop), Arc::clone(&tokens));
        let unasked = Arc::new(AtomicU32::new(0));
        let untold = Arc::clone(&unasked);
        let thread = std::thread::spawn(move || {
            let mut daemon = Daemon::new(listener, workers, (counted, untold));
            while !stopped.load(Ordering::Relaxed) {
                daemon.round();
            }
        });
        Self { path: path.to_path_buf(), stop, tokens, unasked, thread: Some(thread) }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The daemon dies: all its descriptors close, nothing else is said.
    pub(crate) fn kill(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().expect("the daemon panicked");
        }
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.kill();
        if let Some(dir) = self.path.parent().and_then(Path::parent) {
            let _ = std::fs::remove_dir_all(dir);
        }
    }
}

struct Client {
    fd: OwnedFd,
    lanes: Vec<Lane>,
    doorbells: Vec<OwnedFd>,
    slot: Option<Arc<Slot>>,
    gone: bool,
}

struct Daemon {
    listener: OwnedFd,
    workers: u16,
    arena: Arc<Arena>,
    page: WorkersPage,
    page_fd: OwnedFd,
    clients: Vec<Client>,
    socks: Vec<Option<Sock>>,
    tokens: Arc<AtomicU32>,
    unasked: Arc<AtomicU32>,
    next_port: u16,
}

impl Daemon {
    fn new(
        listener: OwnedFd,
        workers: u16,
        (tokens, unasked): (Arc<AtomicU32>, Arc<AtomicU32>),
    ) -> Self {
        let arena = Arena::reserve(8).expect("no arena");
        let (page, page_fd) = WorkersPage::create(workers).expect("no page");
        Self {
            listener,
            workers,
            arena,
            page,
            page_fd,
            clients: Vec::new(),
            socks: Vec::new(),
            tokens,
            unasked,
            next_port: 40_000,
        }
    }

    fn round(&mut self) {
        let mut busy = self.serve_control();
        busy |= self.attend();
        self.notice_closed();
        busy |= self.pump();
        self.signal();
        if !busy {
            self.sleep();
        }
    }

    fn sleep(&mut self) {
        for worker in 0..self.workers {
            self.page.set_sleeping(worker, true);
        }
        let lanes = || self.clients.iter().filter(|c| !c.gone).flat_map(|c| &c.lanes);
        if !lanes().any(Lane::pending) {
            let mut fds = vec![PollFd::new(&self.listener, PollFlags::IN)];
            for client in self.clients.iter().filter(|c| !c.gone) {
                fds.push(PollFd::new(&client.fd, PollFlags::IN));
                fds.extend(client.doorbells.iter().map(|d| PollFd::new(d, PollFlags::IN)));
            }
            let ends = self.socks.iter().flatten().filter_map(|s| s.end.as_ref());
            fds.extend(ends.map(|end| PollFd::from_borrowed_fd(end.as_fd(), PollFlags::empty())));
            // The stop flag is looked at now and then.
            let _ = poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 20_000_000 }));
        }
        for worker in 0..self.workers {
            self.page.set_sleeping(worker, false);
        }
        for doorbell in self.clients.iter().flat_map(|c| &c.doorbells) {
            let _ = rustix::io::read(doorbell, &mut [0; 8]);
        }
    }

    fn serve_control(&mut self) -> bool {
        let mut busy = false;
        if let Ok(fd) = accept_with(&self.listener, SocketFlags::CLOEXEC) {
            let (lanes, doorbells) = (Vec::new(), Vec::new());
            self.clients.push(Client { fd, lanes, doorbells, slot: None, gone: false });
            busy = true;
        }
        for index in 0..self.clients.len() {
            while !self.clients[index].gone {
                match receive(&self.clients[index].fd) {
                    Ok(Some(call)) => self.serve(index, &call),
                    Ok(None) => break,
                    Err(()) => self.client_gone(index),
                }
                busy = true;
            }
        }
        busy
    }

    fn client_gone(&mut self, index: usize) {
        self.clients[index].gone = true;
        for id in 0..self.socks.len() {
            if self.socks[id].as_ref().is_some_and(|s| s.client == index) {
                self.close(id);
                self.socks[id] = None;
            }
        }
        self.clients[index].lanes.clear();
    }

    fn serve(&mut self, client: usize, call: &Call) {
        let mut fds = Vec::new();
        let result = match call.request {
            Request::Attach { version, .. } => self.attach(client, version, &mut fds),
            Request::Socket { transport, .. } => self.open(client, transport, &mut fds),
            Request::Accept { socket } => self.accept(client, socket, &mut fds),
            Request::Identify { .. } => Err(Errno::NOTSOCK),
            ref other => self.serve_socket(client, other),
        };
        if call.sequence == proto::UNASKED {
            assert!(result.is_ok(), "{:?} can be refused", call.request);
            let _ = self.unasked.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let fds: Vec<BorrowedFd<'_>> = fds.iter().map(AsFd::as_fd).collect();
        let result = result.map_err(Errno::raw_os_error);
        let bytes = proto::emit(&Answer { sequence: call.sequence, result }).expect("short");
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(67))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !fds.is_empty() {
            assert!(control.push(SendAncillaryMessage::ScmRights(&fds)), "too many");
        }
        let slices = [IoSlice::new(&bytes)];
        let sent = sendmsg(&self.clients[client].fd, &slices, &mut control, SendFlags::NOSIGNAL);
        if sent.is_err() {
            self.client_gone(client);
        }
    }

    fn attach(
        &mut self,
        client: usize,
        version: u32,
        fds: &mut Vec<OwnedFd>,
    ) -> Result<Reply, Errno> {
        if version != proto::VERSION {
            return Err(Errno::PROTONOSUPPORT);
        }
        let (slot, files) =
            self.arena.attach(self.workers, Arc::default()).map_err(|_| Errno::NOMEM)?;
        fds.extend([files.read, files.write, self.page_fd.try_clone().map_err(|_| Errno::NFILE)?]);
        for worker in 0..self.workers {
            let doorbell = eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?;
            fds.push(doorbell.try_clone().map_err(|_| Errno::NFILE)?);
            let lane = slot.lane(worker).ok_or(Errno::NOMEM)?;
            self.clients[client].lanes.push(lane);
            self.clients[client].doorbells.push(doorbell);
        }
        let index = u32::from(slot.index());
        self.clients[client].slot = Some(slot);
        let workers = self.workers;
        Ok(Reply::Attached {
            slot: index,
            client: client as u64,
            workers,
            claim_loopback: false,
            borrows: false,
        })
    }

    fn open(
        &mut self,
        client: usize,
        transport: Transport,
        fds: &mut Vec<OwnedFd>,
    ) -> Result<Reply, Errno> {
        let (ours, theirs) = SocketEnd::pair()?;
        let id = self.new_sock(client, transport).ok_or(Errno::NOBUFS)?;
        fds.push(theirs);
        let sock = self.socks[id].as_mut().ok_or(Errno::BADF)?;
        sock.end = Some(ours);
        Ok(Reply::Socket { socket: sock.handle() })
    }

    fn accept(
        &mut self,
        client: usize,
        handle: SocketHandle,
        fds: &mut Vec<OwnedFd>,
    ) -> Result<Reply, Errno> {
        let id = self.find(client, handle)?;
        let sock = self.socks[id].as_mut().ok_or(Errno::BADF)?;
        let Kind::Listener { waiting } = &mut sock.kind else { return Err(Errno::INVAL) };
        let child = waiting.pop_front().ok_or(Errno::AGAIN)?;
        if waiting.is_empty() {
            let (lane, cell) = (usize::from(sock.lane), sock.cell);
            self.clients[client].lanes[lane].set_status(cell, Status::empty());
        }
        let (ours, theirs) = SocketEnd::pair()?;
        fds.push(theirs);
        let child = self.socks[child].as_mut().ok_or(Errno::BADF)?;
        child.end = Some(ours);
        child.readable = true;
        child.writable = true;
        let (local, remote) = (child.local.ok_or(Errno::BADF)?, child.remote.ok_or(Errno::BADF)?);
        Ok(Reply::Accepted { socket: child.handle(), local, remote })
    }

    fn find(&self, client: usize, handle: SocketHandle) -> Result<usize, Errno> {
        let is_it = |s: &Sock| s.client == client && s.handle() == handle;
        self.socks.iter().position(|s| s.as_ref().is_some_and(is_it)).ok_or(Errno::BADF)
    }

    fn free_port(&mut self) -> u16 {
        self.next_port += 1;
        self.next_port
    }
}

/// A stream's posted bytes: pieces of the transmit area.
type Pieces = VecDeque<(u32, u32)>;

fn receive(fd: &OwnedFd) -> Result<Option<Call>, ()> {
    let mut buffer = vec![0; MESSAGE_MAX];
    let mut control = RecvAncillaryBuffer::default();
    let mut slices = [IoSliceMut::new(&mut buffer)];
    let received = match recvmsg(fd, &mut slices, &mut control, RecvFlags::DONTWAIT) {
        Ok(received) => received,
        Err(Errno::AGAIN | Errno::INTR) => return Ok(None),
        Err(_) => return Err(()),
    };
    if received.bytes == 0 {
        return Err(());
    }
    proto::parse(&buffer[..received.bytes]).map(Some).map_err(|_| ())
}

/// An address of the only network there is.
pub(crate) fn address(port: u16) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, 1], port))
}
