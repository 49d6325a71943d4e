//! Routing sockets. They are in a table of their own, as no call for sockets but reading and writing means anything for
//! them.

use core::sync::atomic::{AtomicBool, Ordering};
use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsRawFd, IntoRawFd};

use io_pkt_client::Family;
use io_pkt_client::route::{Malformed, RouteEnd, RouteMessage};
use libc::{c_int, c_void, iovec, msghdr, socklen_t, ssize_t};

use crate::abi::borrow;
use crate::errno::{count, os};
use crate::table::{Held, SLOTS, Table};
use crate::{message, process};

static SOCKETS: Table<RouteEnd, SLOTS> = Table::new();

/// Has this process ever opened one? Nearly none has, and looks at no second table.
static ACTIVE: AtomicBool = AtomicBool::new(false);

/// Is this descriptor a routing socket?
pub(crate) fn is_ours(fd: c_int) -> bool {
    ACTIVE.load(Ordering::Relaxed) && SOCKETS.has(fd)
}

/// The routing socket behind a descriptor.
pub(crate) fn lookup(fd: c_int) -> Option<Held<RouteEnd>> {
    if ACTIVE.load(Ordering::Relaxed) { SOCKETS.lookup(fd) } else { None }
}

/// Takes a number out of the table. A guest in its parent's memory takes nothing.
pub(crate) fn remove(fd: c_int) -> Option<Held<RouteEnd>> {
    if !is_ours(fd) || process::is_guest() {
        return None;
    }
    SOCKETS.remove(fd)
}

/// A number of the kernel's is a copy of another.
pub(crate) fn copied(old: c_int, new: c_int) -> io::Result<()> {
    drop(remove(new));
    match lookup(old) {
        Some(held) if !process::is_guest() => insert(new, held),
        _ => Ok(()),
    }
}

/// The numbers in `first..=last` that are routing sockets.
pub(crate) fn numbers(first: c_int, last: c_int) -> impl Iterator<Item = c_int> {
    (first.max(0)..SOCKETS.end().min(last.saturating_add(1))).filter(|fd| is_ours(*fd))
}

/// A new one, for messages of this family, 0 for all.
pub(crate) fn open(family: c_int) -> io::Result<c_int> {
    let family = match family {
        libc::AF_UNSPEC => None,
        libc::AF_INET => Some(Family::Inet),
        libc::AF_INET6 => Some(Family::Inet6),
        _ => return Err(os(libc::EAFNOSUPPORT)),
    };
    let (end, fd) = RouteEnd::open(family)?;
    process::own();
    insert(fd.as_raw_fd(), SOCKETS.hold(end))?;
    // From here on the program closes it.
    Ok(fd.into_raw_fd())
}

fn insert(fd: c_int, held: Held<RouteEnd>) -> io::Result<()> {
    ACTIVE.store(true, Ordering::Relaxed);
    SOCKETS.insert(fd, held).map(drop).map_err(|_| os(libc::EMFILE))
}

/// `readv`; `None`: it is no routing socket.
///
/// # Safety
/// As for the C call.
pub(crate) unsafe fn readv(fd: c_int, list: *const iovec, n: c_int) -> Option<ssize_t> {
    let held = lookup(fd)?;
    // SAFETY: the caller's promise.
    let into = message::buffer_count(n).and_then(|n| unsafe { message::scatter(list, n) });
    Some(count(into.and_then(|mut into| Ok(receive(fd, &held, &mut into, 0)?.0))))
}

/// `writev`; `None`: it is no routing socket.
///
/// # Safety
/// As for the C call.
pub(crate) unsafe fn writev(fd: c_int, list: *const iovec, n: c_int) -> Option<ssize_t> {
    let held = lookup(fd)?;
    // SAFETY: the caller's promise.
    let from = message::buffer_count(n).and_then(|n| unsafe { message::gather(list, n) });
    Some(count(from.and_then(|from| send(&held, &from))))
}

/// `recvfrom`, whose messages come from nowhere; `None`: it is no routing socket.
///
/// # Safety
/// As for the C call.
pub(crate) unsafe fn recvfrom(
    fd: c_int,
    (buf, len): (*mut c_void, usize),
    flags: c_int,
    from_len: *mut socklen_t,
) -> Option<ssize_t> {
    let held = lookup(fd)?;
    // SAFETY: null or valid by the caller's promise.
    if let Some(place) = unsafe { from_len.as_mut() } {
        *place = 0;
    }
    // SAFETY: the caller's promise.
    let into = unsafe { message::bytes_mut(buf, len) };
    let received = into.and_then(|into| receive(fd, &held, &mut [IoSliceMut::new(into)], flags));
    Some(count(received.map(|(len, whole)| told(len, whole, flags))))
}

/// `sendto`, wherever to; `None`: it is no routing socket.
///
/// # Safety
/// As for the C call.
pub(crate) unsafe fn sendto(fd: c_int, buf: *const c_void, len: usize) -> Option<ssize_t> {
    let held = lookup(fd)?;
    // SAFETY: the caller's promise.
    let from = unsafe { message::bytes(buf, len) };
    Some(count(from.and_then(|from| send(&held, &[IoSlice::new(from)]))))
}

/// `recvmsg`; `None`: it is no routing socket.
///
/// # Safety
/// As for the C call.
pub(crate) unsafe fn recvmsg(fd: c_int, header: *mut msghdr, flags: c_int) -> Option<ssize_t> {
    let held = lookup(fd)?;
    // SAFETY: null or valid, and nobody else's, by the caller's promise.
    let Some(header) = (unsafe { header.as_mut() }) else {
        return Some(count(Err(os(libc::EFAULT))));
    };
    // SAFETY: the caller's promise.
    let into = unsafe { message::scatter(header.msg_iov, header.msg_iovlen) };
    Some(count(into.and_then(|mut into| {
        let (len, whole) = receive(fd, &held, &mut into, flags)?;
        header.msg_flags = if len < whole { libc::MSG_TRUNC } else { 0 };
        (header.msg_namelen, header.msg_controllen) = (0, 0);
        Ok(told(len, whole, flags))
    })))
}

/// `sendmsg`; `None`: it is no routing socket.
///
/// # Safety
/// As for the C call.
pub(crate) unsafe fn sendmsg(fd: c_int, header: *const msghdr) -> Option<ssize_t> {
    let held = lookup(fd)?;
    // SAFETY: null or valid by the caller's promise.
    let Some(header) = (unsafe { header.as_ref() }) else {
        return Some(count(Err(os(libc::EFAULT))));
    };
    // SAFETY: the caller's promise.
    let from = unsafe { message::gather(header.msg_iov, header.msg_iovlen) };
    Some(count(from.and_then(|from| send(&held, &from))))
}

/// Reads the next message, as far as there is room; the rest is lost. How much that is, and how long the message.
fn receive(
    fd: c_int,
    held: &Held<RouteEnd>,
    into: &mut [IoSliceMut<'_>],
    flags: c_int,
) -> io::Result<(usize, usize)> {
    let (nonblocking, peek) = (flags & libc::MSG_DONTWAIT != 0, flags & libc::MSG_PEEK != 0);
    let message = held.recv(borrow(&fd), nonblocking, peek)?.emit();
    let places = into.iter_mut().flat_map(|buffer| buffer.iter_mut());
    let copied = places.zip(&message).map(|(to, from)| *to = *from).count();
    Ok((copied, message.len()))
}

/// What a call that reads returns.
const fn told(len: usize, whole: usize, flags: c_int) -> usize {
    if flags & libc::MSG_TRUNC != 0 { whole } else { len }
}

/// Writes a message: the stack does what it asks for.
fn send(held: &Held<RouteEnd>, from: &[IoSlice<'_>]) -> io::Result<usize> {
    // A longer one is none.
    let bytes = from.iter().flat_map(|piece| piece.iter().copied());
    let bytes: Vec<u8> = bytes.take(usize::from(u16::MAX)).collect();
    let message = RouteMessage::parse(&bytes).map_err(|why| {
        os(match why {
            Malformed::Length | Malformed::Addresses => libc::EINVAL,
            Malformed::Version => libc::EPROTONOSUPPORT,
            Malformed::Kind => libc::EOPNOTSUPP,
            Malformed::Family => libc::EAFNOSUPPORT,
        })
    })?;
    held.send(&message).map(|()| bytes.len())
}
