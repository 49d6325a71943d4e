//! Sockets of another node's stack: with `SOCK=/net/NODE`, by way of the broker `iopkt qnet sockets`.
//!
//! Such a socket is a descriptor and nothing else: whoever holds it, by `dup`, `fork`, `exec` or over a unix
//! socket, can use it, and nothing is kept here. Streams are read and written as they are; what else is done
//! with a socket the broker is asked for, over a connection of its own.

use core::mem::MaybeUninit;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::OnceLock;

use proto::far::FarAnswer;
pub use proto::far::{
    DATA_MAX, FarCall, FarReply, FarRequest, NAME_LEN, SECRET_MARK, SECRET_MASK, Stage, emit_name,
    parse_name,
};
use proto::message::{Family, Transport};
use proto::paths;
use rustix::io::{Errno, IoSliceMut};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendFlags, SocketAddrUnix,
    SocketFlags, SocketType, connect, recv, recvmsg, send, socket_with,
};

use crate::prefix;

/// No answer is longer: the longest has an option's value in it.
const ANSWER_MAX: usize = 4096;

/// This thread's sockets are another node's.
#[must_use]
pub fn is_wanted() -> bool {
    paths::far(&prefix::wanted()).is_some()
}

/// The stack whose broker has opened this process's first socket of another node's. Threads use sockets that others
/// have opened, and programs choose another stack for their next ones.
static OPENED: OnceLock<String> = OnceLock::new();

/// `socket()` at the node that `SOCK` names. The descriptor is blocking and close-on-exec.
///
/// # Errors
/// `ENETDOWN`: no broker, or no module. `EHOSTUNREACH`: the node does not answer. `ENXIO`: its sockets are not for
/// others. `EMFILE`: they are used up.
pub fn open(family: Family, transport: Transport) -> io::Result<OwnedFd> {
    let wanted = prefix::wanted();
    let (here, node) = paths::far(&wanted).ok_or(Errno::NETDOWN)?;
    let open = FarRequest::Open { node: node.into(), family, transport };
    match Broker::dial()?.ask(&open)? {
        (FarReply::Done, Some(fd)) => {
            let _first = OPENED.get_or_init(|| here.to_owned());
            Ok(fd)
        }
        _ => Err(Errno::PROTO.into()),
    }
}

/// A way to the broker. Whoever takes something to ask about takes it with one of these in hand.
#[derive(Debug)]
pub struct Broker(OwnedFd);

impl Broker {
    /// Reaches it.
    ///
    /// # Errors
    /// `ENETDOWN`: there is none. `EINTR`. `EMFILE`, `ENFILE`, `ENOMEM`.
    pub fn dial() -> io::Result<Self> {
        let wanted = prefix::wanted();
        let here = match paths::far(&wanted) {
            Some((here, _)) => here,
            None => OPENED.get().ok_or(Errno::NETDOWN)?,
        };
        let (family, flags) = (AddressFamily::UNIX, SocketFlags::CLOEXEC);
        let path = SocketAddrUnix::new(paths::broker_path(here))?;
        let socket = socket_with(family, SocketType::SEQPACKET, flags, None);
        let reached = socket.and_then(|socket| connect(&socket, &path).map(|()| socket));
        reached.map(Self).map_err(|errno| match errno {
            Errno::INTR | Errno::MFILE | Errno::NFILE | Errno::NOMEM => errno.into(),
            _ => Errno::NETDOWN.into(),
        })
    }

    /// Asks it. A descriptor comes with some answers.
    ///
    /// # Errors
    /// `ENETDOWN`: it is gone. `EINTR`: a signal has come while a connection was waited for; all else is waited for to
    /// its end, since it may have been done. Whatever the node says.
    pub fn ask(&self, request: &FarRequest) -> io::Result<(FarReply, Option<OwnedFd>)> {
        let Self(broker) = self;
        let gives_up =
            matches!(request, FarRequest::Call { call: FarCall::Connect(_), wait: true, .. });
        let bytes = proto::emit(request).map_err(|proto::MalformedMessage| Errno::MSGSIZE)?;
        let _all = again(false, || send(broker, &bytes, SendFlags::NOSIGNAL))?;
        let mut buffer = [0; ANSWER_MAX];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let len = again(gives_up, || {
            let into = &mut [IoSliceMut::new(&mut buffer)];
            recvmsg(broker, into, &mut control, RecvFlags::CMSG_CLOEXEC)
        })?
        .bytes;
        let descriptor = control.drain().find_map(|message| match message {
            RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
            _ => None,
        });
        let bytes = buffer.get(..len).filter(|bytes| !bytes.is_empty()).ok_or(Errno::NETDOWN)?;
        let FarAnswer(result) =
            proto::parse(bytes).map_err(|proto::MalformedMessage| Errno::PROTO)?;
        let reply = result.map_err(io::Error::from_raw_os_error)?;
        Ok((reply, descriptor))
    }
}

/// Asks the broker once.
///
/// # Errors
/// Those of [`Broker::dial`] and [`Broker::ask`].
pub fn ask(request: &FarRequest) -> io::Result<(FarReply, Option<OwnedFd>)> {
    Broker::dial()?.ask(request)
}

/// A call of the kernel's to the broker. One that fails otherwise than by a signal finds it gone.
fn again<T>(gives_up: bool, mut call: impl FnMut() -> Result<T, Errno>) -> Result<T, Errno> {
    loop {
        match call() {
            Err(Errno::INTR) if gives_up => return Err(Errno::INTR),
            Err(Errno::INTR) => {}
            result => return result.map_err(|_| Errno::NETDOWN),
        }
    }
}

/// Takes the byte of a listener that stands for a connection; waits for it as the descriptor says. The broker is there
/// to be asked for that.
///
/// # Errors
/// The kernel's; `EINVAL`: the listener is over; those of [`Broker::dial`]. The byte is still there then.
pub fn take_arrival(fd: BorrowedFd<'_>) -> io::Result<Broker> {
    loop {
        if let (_, 0) = recv(fd, &mut [0; 1], RecvFlags::PEEK)? {
            return Err(Errno::INVAL.into());
        }
        let broker = Broker::dial()?;
        match recv(fd, &mut [0; 1], RecvFlags::DONTWAIT) {
            Ok((_, 0)) => return Err(Errno::INVAL.into()),
            Ok(_) => return Ok(broker),
            // Somebody else has it.
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}

/// Fills a descriptor up, so that it is not writable until it is connected: with how many bytes.
///
/// # Errors
/// The kernel's.
pub fn stuff(fd: BorrowedFd<'_>) -> io::Result<u32> {
    let mut stuffed = 0_u32;
    loop {
        match send(fd, &[0; 4096], SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
            Ok(len) => stuffed = stuffed.saturating_add(u32::try_from(len).unwrap_or(u32::MAX)),
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => return Ok(stuffed),
            Err(errno) => return Err(errno.into()),
        }
    }
}
