//! A process's connections to the daemon: one to a client of its own, and one to each client whose
//! sockets it was given.

use std::cell::Cell;
use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::Duration;

use proto::message::Transport;
use proto::table::{InterfaceRow, NicRow};
use proto::{Answer, Call, Reply, Request, Skip, SocketHandle, Ticket};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::sockopt::Timeout;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendFlags,
    SocketAddrUnix, SocketFlags, SocketType, recv, recvmsg, send, socket_with, sockopt,
};
use shm::{ClientFiles, ClientMap, Own};

use crate::prefix;

/// Answers to what a client asks are short; only the tools' tables are long.
const ANSWER_MAX: usize = 4096;

/// Descriptors in one answer: two memfds, the workers' page, a doorbell per worker.
const DESCRIPTORS_MAX: usize = 3 + shm::layout::LANES_MAX as usize;

/// A daemon that takes longer to answer a newcomer is stopped, or hangs: its control thread answers in
/// microseconds.
const FIRST_ANSWER_TIME_MAX: Duration = Duration::from_secs(5);

/// The channels that [`Channel::current`] gives out, one for each stack in use.
static CURRENT: Mutex<Vec<Arc<Channel>>> = Mutex::new(Vec::new());

/// Channels that were joined, the last used one last. Those without sockets are kept for a while: who
/// was given one socket of a client is often given more.
static JOINED: Mutex<Vec<Arc<Channel>>> = Mutex::new(Vec::new());

/// Keeps other threads out of what a fork copies. To be made before a fork and dropped after it, in parent
/// and child: else a child could find locked for ever what another thread of its parent had locked.
#[derive(Debug)]
pub struct ForkGuard {
    _current: Option<MutexGuard<'static, Vec<Arc<Channel>>>>,
    _joined: Option<MutexGuard<'static, Vec<Arc<Channel>>>>,
}

impl ForkGuard {
    /// Waits for the threads that are at work there, which takes moments. It does not wait for ever: the
    /// fork may be made by a signal handler, which has interrupted just such work.
    #[must_use]
    pub fn new() -> Self {
        Self { _current: lock_soon(&CURRENT), _joined: lock_soon(&JOINED) }
    }
}

fn lock_soon<T>(mutex: &Mutex<T>) -> Option<MutexGuard<'_, T>> {
    const TRIES: u32 = 1000;
    for _ in 0..TRIES {
        match mutex.try_lock() {
            Ok(guard) => return Some(guard),
            Err(TryLockError::Poisoned(poisoned)) => return Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => rustix::thread::sched_yield(),
        }
    }
    None
}

impl Default for ForkGuard {
    fn default() -> Self {
        Self::new()
    }
}

thread_local! {
    /// This thread is in a call to a daemon.
    static WITHIN: Cell<bool> = const { Cell::new(false) };
}

/// Says so until it is dropped.
struct Within {
    before: bool,
}

impl Within {
    fn begin() -> Self {
        Self { before: WITHIN.replace(true) }
    }
}

impl Drop for Within {
    fn drop(&mut self) {
        WITHIN.set(self.before);
    }
}

/// Joined channels without sockets that are kept.
const IDLE_MAX: usize = 4;

/// A connection to the daemon, and the memory shared with it.
///
/// A forked child may go on using the sockets it inherited, over the same channel; for new ones it
/// gets a channel of its own.
#[derive(Debug)]
pub struct Channel {
    connection: Own,
    map: Arc<ClientMap>,
    path: PathBuf,
    process: u32,
    slot: u32,
    client: u64,
    claim_loopback: bool,
    gone: AtomicBool,
}

impl Channel {
    /// The channel of this process to the stack that [`crate::set_sock_prefix`] or `$SOCK` and `$IOPKT_RUN`
    /// name; a new one in a forked child, and after the daemon has been restarted.
    ///
    /// # Errors
    /// `ENOENT` or `ECONNREFUSED`: no daemon. `ETIMEDOUT`: it does not answer. `ENOMEM`: it serves as many
    /// clients as it can.
    pub fn current() -> io::Result<Arc<Self>> {
        let path = prefix::socket_path();
        let known = current().iter().find(|channel| channel.path == path).cloned();
        if let Some(channel) = known
            && channel.serves(&path)
        {
            return Ok(channel);
        }
        let fresh = Arc::new(Self::attach(&path)?);
        let mut place = current();
        if let Some(channel) = place.iter().find(|channel| channel.serves(&path)) {
            // Another thread was faster.
            return Ok(Arc::clone(channel));
        }
        place.retain(|channel| channel.path != path);
        place.push(Arc::clone(&fresh));
        Ok(fresh)
    }

    /// A new channel to the daemon behind this socket.
    ///
    /// # Errors
    /// As [`Channel::current`].
    pub fn attach(path: &Path) -> io::Result<Self> {
        let request = Request::Attach { version: proto::VERSION, name: program_name() };
        Self::begin(connect(path)?, path, request)
    }

    /// The channel and the socket behind a descriptor that this process was given: inherited over
    /// `exec`, or received over a unix socket. `None`: the descriptor is no socket of this stack.
    ///
    /// # Errors
    /// `EACCES`: it belongs to a client of another user. As [`Channel::current`].
    pub fn of_descriptor(fd: BorrowedFd<'_>) -> io::Result<Option<(Arc<Self>, Identified)>> {
        let Some(ticket) = ticket(fd) else { return Ok(None) };
        let path = prefix::socket_path();
        let mut known: Vec<Arc<Self>> = joined().clone();
        known.extend(current().iter().cloned());
        known.retain(|channel| channel.path == path && channel.is_there());
        let (mut fresh, answer) = match known.last() {
            Some(channel) => {
                let answer = channel.call(Request::Identify { ticket });
                (None, answer.map(|(reply, _)| reply))
            }
            None => {
                let connection = connect(&path)?;
                let answer = first_exchange(&connection, Request::Identify { ticket });
                (Some(connection), answer.map(|(reply, _)| reply))
            }
        };
        let Some(identified) = identified(answer)? else { return Ok(None) };
        let same = |channel: &&Arc<Self>| channel.client == identified.client;
        if let Some(channel) = known.iter().find(same) {
            return Ok(Some((Arc::clone(channel), identified)));
        }
        let connection = fresh.take().map_or_else(|| connect(&path), Ok)?;
        let request = Request::Join { ticket, version: proto::VERSION, name: program_name() };
        let channel = Arc::new(Self::begin(connection, &path, request)?);
        remember(&channel);
        Ok(Some((channel, identified)))
    }

    /// First request of a connection, and what comes of it.
    fn begin(connection: OwnedFd, path: &Path, request: Request) -> io::Result<Self> {
        let (reply, descriptors) = first_exchange(&connection, request)?;
        limit_waiting(&connection, None)?;
        let Reply::Attached { slot, client, workers, claim_loopback, borrows } = reply else {
            return Err(Errno::PROTO.into());
        };
        let files = files(descriptors, workers, borrows).ok_or(Errno::PROTO)?;
        Ok(Self {
            connection: Own::new(connection),
            map: ClientMap::map(files)?,
            path: path.to_path_buf(),
            process: std::process::id(),
            slot,
            client,
            claim_loopback,
            gone: AtomicBool::new(false),
        })
    }

    /// Number of the client in the daemon's listings.
    #[must_use]
    pub fn slot(&self) -> u32 {
        self.slot
    }

    /// The stack's interfaces. Their numbers are those of `IP_PKTINFO` and of link-local addresses.
    ///
    /// # Errors
    /// `ECONNRESET`: the daemon is gone.
    pub fn interfaces(&self) -> io::Result<Vec<InterfaceRow>> {
        interfaces(|request| Ok(self.call(request)?.0))
    }

    /// What an interface's driver knows of its device, and has counted.
    ///
    /// # Errors
    /// `ENXIO`: no such interface; `EOPNOTSUPP`: it has no driver; `ECONNRESET`: the daemon is gone.
    pub fn nic(&self, interface: &str) -> io::Result<NicRow> {
        match self.call(Request::Nic { interface: interface.into() })?.0 {
            Reply::Nic(row) => Ok(*row),
            _ => Err(Errno::PROTO.into()),
        }
    }

    /// Gives an interface's driver a command of its own, at most 4096 bytes. Its answer.
    ///
    /// # Errors
    /// `EPERM`: only for root and the daemon's user; `ENXIO`: no such interface; `EOPNOTSUPP`: its driver has no
    /// such command; `EMSGSIZE`: too long; the driver's; `ECONNRESET`: the daemon is gone.
    pub fn driver_command(
        &self,
        interface: &str,
        command: u32,
        data: Vec<u8>,
    ) -> io::Result<Vec<u8>> {
        let request = Request::DriverCommand { interface: interface.into(), command, data };
        match self.call(request)?.0 {
            Reply::Value(answer) => Ok(answer),
            _ => Err(Errno::PROTO.into()),
        }
    }

    pub(crate) fn client(&self) -> u64 {
        self.client
    }

    /// The daemon claims 127.0.0.0/8 too; else loopback is better left to the kernel.
    #[must_use]
    pub fn claims_loopback(&self) -> bool {
        self.claim_loopback
    }

    pub(crate) fn map(&self) -> &Arc<ClientMap> {
        &self.map
    }

    /// One request, one reply. A reply's descriptor comes with it.
    pub(crate) fn call(&self, request: Request) -> io::Result<(Reply, Option<OwnedFd>)> {
        let _within = Within::begin();
        let _one_at_a_time = self.map.call_lock();
        self.call_locked(request)
    }

    /// A request that can't be refused, and that nobody waits for. What is asked of its socket afterwards is answered after
    /// it is done.
    pub(crate) fn tell(&self, request: Request) -> io::Result<()> {
        let sent = send_call(self.connection.fd(), &Call { sequence: proto::UNASKED, request });
        if matches!(&sent, Err(error) if error.kind() == io::ErrorKind::ConnectionReset) {
            self.gone.store(true, Ordering::Relaxed);
        }
        sent
    }

    /// As [`Self::call`], for what handlers of signals may do. `None`: this one has interrupted a call of its own thread,
    /// and would wait for that for ever.
    pub(crate) fn call_unless_within(&self, request: Request) -> Option<io::Result<Reply>> {
        (!WITHIN.get()).then(|| self.call(request).map(|(reply, _)| reply))
    }

    fn call_locked(&self, request: Request) -> io::Result<(Reply, Option<OwnedFd>)> {
        let result = self.exchange(request);
        if let Err(error) = &result
            && error.kind() == io::ErrorKind::ConnectionReset
        {
            self.gone.store(true, Ordering::Relaxed);
        }
        let (answer, mut descriptors) = result?;
        let reply = answer.result.map_err(io::Error::from_raw_os_error)?;
        Ok((reply, descriptors.pop()))
    }

    fn exchange(&self, request: Request) -> io::Result<(Answer, Vec<OwnedFd>)> {
        let mut sequence = self.map.next_sequence();
        while sequence == proto::UNASKED {
            sequence = self.map.next_sequence();
        }
        // What is accepted is lost if there is no number left for its descriptor: one is kept free.
        let spare = matches!(request, Request::Accept { .. })
            .then(|| self.connection.copy_beside())
            .transpose()?;
        send_call(self.connection.fd(), &Call { sequence, request })?;
        if spare.is_some() {
            wait_for_answer(self.connection.fd())?;
        }
        drop(spare);
        loop {
            // An answer to somebody who did not live to read it may come first.
            let (answer, descriptors) = receive_answer(self.connection.fd())?;
            if answer.sequence == sequence {
                return Ok((answer, descriptors));
            }
        }
    }

    /// Is this the channel a new socket should use?
    fn serves(&self, path: &Path) -> bool {
        self.process == std::process::id() && self.path == path && self.is_there()
    }

    /// Is the daemon's end of the connection open?
    fn is_there(&self) -> bool {
        if self.gone.load(Ordering::Relaxed) {
            return false;
        }
        let mut fds = [PollFd::new(self.connection.fd(), PollFlags::empty())];
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        // Nothing was asked for, so an event is an error or a hang-up.
        poll(&mut fds, Some(&now)) == Ok(0)
    }
}

/// What the daemon knows of a descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identified {
    client: u64,
    pub(crate) handle: SocketHandle,
    pub(crate) transport: Transport,
}

/// Keeps a channel that was joined, and lets go of some that have no socket any more.
fn remember(channel: &Arc<Channel>) {
    let mut joined = joined();
    joined.retain(|channel| channel.is_there() || Arc::strong_count(channel) > 1);
    let idle = joined.iter().filter(|channel| Arc::strong_count(channel) == 1).count();
    let mut surplus = idle.saturating_sub(IDLE_MAX.saturating_sub(1));
    joined.retain(|channel| {
        let goes = surplus > 0 && Arc::strong_count(channel) == 1;
        surplus = surplus.saturating_sub(usize::from(goes));
        !goes
    });
    joined.push(Arc::clone(channel));
}

/// What shows that this process holds a socket's descriptor. `None`: it is no socket of a stack, such as
/// the journal that a service's output goes to, and nobody needs to be asked.
fn ticket(fd: BorrowedFd<'_>) -> Option<Ticket> {
    if sockopt::socket_domain(fd) != Ok(AddressFamily::UNIX) {
        return None;
    }
    let secret = shm::read_secret(fd)?;
    Some(Ticket { cookie: sockopt::socket_cookie(fd).ok()?, secret })
}

fn identified(reply: io::Result<Reply>) -> io::Result<Option<Identified>> {
    match reply {
        Ok(Reply::Identified { client, socket, transport }) => {
            Ok(Some(Identified { client, handle: socket, transport }))
        }
        Ok(_) => Err(Errno::PROTO.into()),
        Err(error) if error.raw_os_error() == Some(Errno::NOTSOCK.raw_os_error()) => Ok(None),
        Err(error) => Err(error),
    }
}

pub(crate) fn connect(path: &Path) -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC;
    let connection = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
    limit_waiting(&connection, Some(FIRST_ANSWER_TIME_MAX))?;
    let address = SocketAddrUnix::new(path)?;
    again(|| rustix::net::connect(&connection, &address)).map_err(too_late)?;
    Ok(connection)
}

/// How long a connection may keep its process waiting: for room in the daemon's queue of newcomers, and
/// for an answer.
fn limit_waiting(connection: &OwnedFd, limit: Option<Duration>) -> Result<(), Errno> {
    for direction in [Timeout::Send, Timeout::Recv] {
        sockopt::set_socket_timeout(connection, direction, limit)?;
    }
    Ok(())
}

/// What has waited in vain says `EAGAIN`, which programs take for a reason to try again at once.
pub(crate) fn too_late(errno: Errno) -> Errno {
    if errno == Errno::AGAIN { Errno::TIMEDOUT } else { errno }
}

/// A request on a connection that nobody else uses yet.
fn first_exchange(connection: &OwnedFd, request: Request) -> io::Result<(Reply, Vec<OwnedFd>)> {
    let sent = send_call(connection, &Call { sequence: u32::MAX, request });
    let answer = sent.and_then(|()| receive_answer(connection));
    // Who has been turned away finds out why after the kernel has said that the connection is closed.
    let (answer, descriptors) = answer.or_else(|error| match error.kind() {
        io::ErrorKind::ConnectionReset => receive_answer(connection),
        _ => Err(error),
    })?;
    let reply = answer.result.map_err(io::Error::from_raw_os_error)?;
    Ok((reply, descriptors))
}

fn current() -> MutexGuard<'static, Vec<Arc<Channel>>> {
    CURRENT.lock().unwrap_or_else(PoisonError::into_inner)
}

fn joined() -> MutexGuard<'static, Vec<Arc<Channel>>> {
    JOINED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The stack's interfaces, page after page.
pub(crate) fn interfaces<E: From<Errno>>(
    mut ask: impl FnMut(Request) -> Result<Reply, E>,
) -> Result<Vec<InterfaceRow>, E> {
    let mut rows = Vec::new();
    loop {
        let skip = Skip(u32::try_from(rows.len()).unwrap_or(u32::MAX));
        match ask(Request::Interfaces(skip))? {
            Reply::Interfaces(page) if page.is_empty() => return Ok(rows),
            Reply::Interfaces(page) => rows.extend(page),
            _ => return Err(Errno::PROTO.into()),
        }
    }
}

pub(crate) fn send_call(connection: &OwnedFd, call: &Call) -> io::Result<()> {
    let bytes = proto::emit(call).map_err(|_| Errno::MSGSIZE)?;
    match again(|| send(connection, &bytes, SendFlags::NOSIGNAL)) {
        Ok(_) => Ok(()),
        Err(Errno::PIPE) => Err(Errno::CONNRESET.into()),
        Err(errno) => Err(too_late(errno).into()),
    }
}

fn wait_for_answer(connection: &OwnedFd) -> Result<(), Errno> {
    again(|| recv(connection, &mut [0; 1], RecvFlags::PEEK)).map(|_| ())
}

fn receive_answer(connection: &OwnedFd) -> io::Result<(Answer, Vec<OwnedFd>)> {
    let mut buffer = [0; ANSWER_MAX];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let received = again(|| {
        let mut slices = [IoSliceMut::new(&mut buffer)];
        recvmsg(connection, &mut slices, &mut control, RecvFlags::CMSG_CLOEXEC)
    })
    .map_err(too_late)?;
    let mut descriptors = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            descriptors.extend(rights);
        }
    }
    if received.bytes == 0 {
        return Err(Errno::CONNRESET.into());
    }
    if received.flags.contains(ReturnFlags::TRUNC) {
        return Err(Errno::PROTO.into());
    }
    if received.flags.contains(ReturnFlags::CTRUNC) {
        // The process has as many descriptors as it may have.
        return Err(Errno::MFILE.into());
    }
    let answer = proto::parse(buffer.get(..received.bytes).unwrap_or_default());
    Ok((answer.map_err(|_| Errno::PROTO)?, descriptors))
}

/// The descriptors of an attach, by their order.
fn files(descriptors: Vec<OwnedFd>, workers: u16, borrows: bool) -> Option<ClientFiles> {
    let mut descriptors = descriptors.into_iter();
    let files = ClientFiles {
        read: descriptors.next()?,
        write: descriptors.next()?,
        workers: descriptors.next()?,
        packets: if borrows { Some(descriptors.next()?) } else { None },
        doorbells: descriptors.collect(),
    };
    (files.doorbells.len() == usize::from(workers)).then_some(files)
}

/// Repeats what a signal has interrupted.
pub(crate) fn again<T>(mut call: impl FnMut() -> Result<T, Errno>) -> Result<T, Errno> {
    loop {
        match call() {
            Err(Errno::INTR) => {}
            result => return result,
        }
    }
}

fn program_name() -> String {
    std::fs::read_to_string("/proc/self/comm").map_or_else(|_| String::new(), |s| s.trim().into())
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn only_a_unix_socket_with_a_secret_may_be_a_stacks() {
        let (pair, other) = UnixStream::pair().unwrap();
        assert_eq!(ticket(pair.as_fd()), None);
        shm::write_secret(&pair, 77).unwrap();
        drop(other);
        let cookie = sockopt::socket_cookie(&pair).unwrap();
        let shown = Some(Ticket { cookie, secret: 77 });
        assert_eq!(ticket(pair.as_fd()), shown, "the daemon has closed its end");
        let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
        shm::write_secret(&udp, 77).unwrap();
        assert_eq!(ticket(udp.as_fd()), None, "a rate");
        assert_eq!(ticket(std::fs::File::open("/dev/null").unwrap().as_fd()), None);
    }
}
