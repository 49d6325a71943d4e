//! Sockets of another node's stack: with `SOCK=/net/NODE`, by way of the broker `iopkt qnet sockets`.
//!
//! Such a socket is a descriptor and nothing else: whoever holds it, by `dup`, `fork`, `exec` or over a unix
//! socket, can use it, and nothing is kept here. Streams are read and written as they are; what else is done
//! with a socket the broker is asked for, over a connection of its own, which a signal may end.

use core::mem::MaybeUninit;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

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

/// `socket()` at the node that `SOCK` names. The descriptor is blocking and close-on-exec.
///
/// # Errors
/// `ENETDOWN`: no broker, or no module. `EHOSTUNREACH`: the node does not answer. `ENXIO`: its sockets are not for
/// others. `EMFILE`: they are used up.
pub fn open(family: Family, transport: Transport) -> io::Result<OwnedFd> {
    let wanted = prefix::wanted();
    let (_, node) = paths::far(&wanted).ok_or(Errno::NETDOWN)?;
    let open = FarRequest::Open { node: node.into(), family, transport };
    match ask(&open)? {
        (FarReply::Done, Some(fd)) => Ok(fd),
        _ => Err(Errno::PROTO.into()),
    }
}

/// Asks the broker. A descriptor comes with some answers.
///
/// # Errors
/// `ENETDOWN`: there is none. `EINTR`. Whatever the node says.
pub fn ask(request: &FarRequest) -> io::Result<(FarReply, Option<OwnedFd>)> {
    let wanted = prefix::wanted();
    let (here, _) = paths::far(&wanted).ok_or(Errno::NETDOWN)?;
    let broker = dial(here).map_err(|_| Errno::NETDOWN)?;
    let bytes = proto::emit(request).map_err(|proto::MalformedMessage| Errno::MSGSIZE)?;
    let _all = send(&broker, &bytes, SendFlags::NOSIGNAL).map_err(gone)?;
    let mut buffer = [0; ANSWER_MAX];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let into = &mut [IoSliceMut::new(&mut buffer)];
    let len = recvmsg(&broker, into, &mut control, RecvFlags::CMSG_CLOEXEC).map_err(gone)?.bytes;
    let descriptor = control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
        _ => None,
    });
    let bytes = buffer.get(..len).filter(|bytes| !bytes.is_empty()).ok_or(Errno::NETDOWN)?;
    let FarAnswer(result) = proto::parse(bytes).map_err(|proto::MalformedMessage| Errno::PROTO)?;
    let reply = result.map_err(io::Error::from_raw_os_error)?;
    Ok((reply, descriptor))
}

/// Takes the byte of a listener that stands for a connection; waits for it as the descriptor says.
///
/// # Errors
/// The kernel's; `EINVAL`: the listener is over.
pub fn take_arrival(fd: BorrowedFd<'_>) -> io::Result<()> {
    match recv(fd, &mut [0; 1], RecvFlags::empty())? {
        (_, 0) => Err(Errno::INVAL.into()),
        _ => Ok(()),
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

fn dial(prefix: &str) -> Result<OwnedFd, Errno> {
    let (family, flags) = (AddressFamily::UNIX, SocketFlags::CLOEXEC);
    let socket = socket_with(family, SocketType::SEQPACKET, flags, None)?;
    connect(socket.as_fd(), &SocketAddrUnix::new(paths::broker_path(prefix))?)?;
    Ok(socket)
}

/// The broker has gone while it was asked.
fn gone(errno: Errno) -> Errno {
    if errno == Errno::INTR { errno } else { Errno::NETDOWN }
}
