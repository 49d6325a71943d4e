//! A process's connection to the daemon.

use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use proto::{Answer, Call, Reply, Request, paths};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendFlags,
    SocketAddrUnix, SocketFlags, SocketType, recvmsg, send, socket_with,
};
use shm::{ClientFiles, ClientMap};

/// Answers to what a client asks are short; only the tools' tables are long.
const ANSWER_MAX: usize = 4096;

/// Descriptors in one answer: two memfds, the workers' page, a doorbell per worker.
const DESCRIPTORS_MAX: usize = 3 + shm::layout::LANES_MAX as usize;

/// The channel that [`Channel::current`] last gave out. Locked for moments only, so that a fork
/// hardly ever finds it locked.
static CURRENT: Mutex<Option<Arc<Channel>>> = Mutex::new(None);

/// A connection to the daemon, and the memory shared with it.
///
/// A forked child may go on using the sockets it inherited, over the same channel; for new ones it
/// gets a channel of its own.
#[derive(Debug)]
pub struct Channel {
    connection: OwnedFd,
    map: Arc<ClientMap>,
    path: PathBuf,
    process: u32,
    slot: u32,
    claim_loopback: bool,
    gone: AtomicBool,
}

impl Channel {
    /// The channel of this process to the stack that `$SOCK` and `$IOPKT_RUN` name; a new one in a
    /// forked child, and after the daemon has been restarted.
    ///
    /// # Errors
    /// `ENOENT` or `ECONNREFUSED`: no daemon. `ENOMEM`: it serves as many clients as it can.
    pub fn current() -> io::Result<Arc<Self>> {
        let path = paths::socket_path(&paths::client_prefix());
        let known = current().clone();
        if let Some(channel) = known
            && channel.serves(&path)
        {
            return Ok(channel);
        }
        let fresh = Arc::new(Self::attach(&path)?);
        let mut place = current();
        match &*place {
            // Another thread was faster.
            Some(channel) if channel.serves(&path) => Ok(Arc::clone(channel)),
            _ => {
                *place = Some(Arc::clone(&fresh));
                Ok(fresh)
            }
        }
    }

    /// A new channel to the daemon behind this socket.
    ///
    /// # Errors
    /// As [`Channel::current`].
    pub fn attach(path: &Path) -> io::Result<Self> {
        let flags = SocketFlags::CLOEXEC;
        let connection = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
        let address = SocketAddrUnix::new(path)?;
        again(|| rustix::net::connect(&connection, &address))?;
        let request = Request::Attach { version: proto::VERSION, name: program_name() };
        let sequence = u32::MAX;
        send_call(&connection, &Call { sequence, request })?;
        let (answer, descriptors) = receive_answer(&connection)?;
        let reply = answer.result.map_err(io::Error::from_raw_os_error)?;
        let Reply::Attached { slot, workers, claim_loopback } = reply else {
            return Err(Errno::PROTO.into());
        };
        let files = files(descriptors, workers).ok_or(Errno::PROTO)?;
        Ok(Self {
            connection,
            map: ClientMap::map(files)?,
            path: path.to_path_buf(),
            process: std::process::id(),
            slot,
            claim_loopback,
            gone: AtomicBool::new(false),
        })
    }

    /// Number of the client in the daemon's listings.
    #[must_use]
    pub fn slot(&self) -> u32 {
        self.slot
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
        let _one_at_a_time = self.map.call_lock();
        let sequence = self.map.next_sequence();
        send_call(&self.connection, &Call { sequence, request })?;
        loop {
            // An answer to somebody who did not live to read it may come first.
            let (answer, descriptors) = receive_answer(&self.connection)?;
            if answer.sequence == sequence {
                return Ok((answer, descriptors));
            }
        }
    }

    /// Is this the channel a new socket should use?
    fn serves(&self, path: &Path) -> bool {
        if self.process != std::process::id()
            || self.path != path
            || self.gone.load(Ordering::Relaxed)
        {
            return false;
        }
        let mut fds = [PollFd::new(&self.connection, PollFlags::empty())];
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        // Nothing was asked for, so an event is an error or a hang-up.
        poll(&mut fds, Some(&now)) == Ok(0)
    }
}

fn current() -> std::sync::MutexGuard<'static, Option<Arc<Channel>>> {
    CURRENT.lock().unwrap_or_else(PoisonError::into_inner)
}

fn send_call(connection: &OwnedFd, call: &Call) -> io::Result<()> {
    let bytes = proto::emit(call).map_err(|_| Errno::MSGSIZE)?;
    match again(|| send(connection, &bytes, SendFlags::NOSIGNAL)) {
        Ok(_) => Ok(()),
        Err(Errno::PIPE) => Err(Errno::CONNRESET.into()),
        Err(errno) => Err(errno.into()),
    }
}

fn receive_answer(connection: &OwnedFd) -> io::Result<(Answer, Vec<OwnedFd>)> {
    let mut buffer = [0; ANSWER_MAX];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let received = again(|| {
        let mut slices = [IoSliceMut::new(&mut buffer)];
        recvmsg(connection, &mut slices, &mut control, RecvFlags::CMSG_CLOEXEC)
    })?;
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
fn files(descriptors: Vec<OwnedFd>, workers: u16) -> Option<ClientFiles> {
    let mut descriptors = descriptors.into_iter();
    let files = ClientFiles {
        read: descriptors.next()?,
        write: descriptors.next()?,
        workers: descriptors.next()?,
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
