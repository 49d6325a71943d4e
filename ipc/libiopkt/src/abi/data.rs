//! Reading and writing.

use std::io::{self, IoSlice, IoSliceMut};
use std::net::SocketAddr;

use io_pkt_client::{Ancillary, Received, RecvFlags, SendFlags};
use libc::{c_int, c_void, iovec, sockaddr, socklen_t, ssize_t};

use super::{borrow, open};
use crate::errno::{count, number_of, os};
use crate::loopback::{self, Side};
use crate::name::{self, Name};
use crate::table::{self, Held};
use crate::{autoconnect, cork, error_queue, far, kernel, message};

/// `read(2)`.
///
/// # Safety
/// As for the C call: `buf` has room for `len` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn iopkt_read(fd: c_int, buf: *mut c_void, len: usize) -> ssize_t {
    let Some(held) = table::lookup(fd) else {
        // SAFETY: the caller's promise.
        return unsafe { far::read(fd, buf, len) };
    };
    if len == 0 {
        return 0; // Unlike recv, which takes an empty datagram.
    }
    // SAFETY: the caller's promise.
    let into = unsafe { message::bytes_mut(buf, len) };
    count(into.and_then(|into| Ok(receive(fd, &held, into, RecvFlags::empty())?.len)))
}

/// `write(2)`.
///
/// # Safety
/// As for the C call: `buf` points to `len` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn iopkt_write(fd: c_int, buf: *const c_void, len: usize) -> ssize_t {
    let Some(held) = table::lookup(fd) else {
        // SAFETY: the caller's promise.
        return unsafe { far::write(fd, buf, len) };
    };
    // SAFETY: the caller's promise.
    unsafe { send_bytes(fd, &held, (buf, len), 0) }
}

/// Sends to the peer.
///
/// # Safety
/// As for [`iopkt_send`].
pub(crate) unsafe fn send_bytes(
    fd: c_int,
    held: &Held,
    (buf, len): (*const c_void, usize),
    flags: c_int,
) -> ssize_t {
    // SAFETY: the caller's promise.
    let from = unsafe { message::bytes(buf, len) };
    count(from.and_then(|from| {
        send(fd, held, &[IoSlice::new(from)], (Target::Peer, &Ancillary::default()), flags)
    }))
}

/// `readv(2)`.
///
/// # Safety
/// As for the C call: `list` points to `n` buffers.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn iopkt_readv(fd: c_int, list: *const iovec, n: c_int) -> ssize_t {
    let Some(held) = table::lookup(fd) else {
        // SAFETY: the caller's promise.
        return unsafe { far::readv(fd, list, n) };
    };
    let into = message::buffer_count(n).and_then(|n| {
        // SAFETY: the caller's promise.
        unsafe { message::scatter(list, n) }
    });
    count(into.and_then(|mut into| {
        if into.iter().all(|buffer| buffer.is_empty()) {
            return Ok(0);
        }
        Ok(held.socket.recv(borrow(&fd), &mut into, RecvFlags::empty())?.len)
    }))
}

/// `writev(2)`.
///
/// # Safety
/// As for the C call: `list` points to `n` buffers.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn iopkt_writev(fd: c_int, list: *const iovec, n: c_int) -> ssize_t {
    let Some(held) = table::lookup(fd) else {
        // SAFETY: the caller's promise.
        return unsafe { far::writev(fd, list, n) };
    };
    let from = message::buffer_count(n).and_then(|n| {
        // SAFETY: the caller's promise.
        unsafe { message::gather(list, n) }
    });
    count(from.and_then(|from| send(fd, &held, &from, (Target::Peer, &Ancillary::default()), 0)))
}

/// `send(2)`.
///
/// # Safety
/// As for the C call: `buf` points to `len` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn iopkt_send(
    fd: c_int,
    buf: *const c_void,
    len: usize,
    flags: c_int,
) -> ssize_t {
    // SAFETY: the caller's promise; no address.
    unsafe { iopkt_sendto(fd, buf, len, flags, core::ptr::null(), 0) }
}

/// `sendto(2)`. A first datagram to 127.0.0.0/8 moves the socket to the kernel.
///
/// # Safety
/// As for the C call: `buf` points to `len` bytes, `to` to `to_len`, or it is null.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn iopkt_sendto(
    fd: c_int,
    buf: *const c_void,
    len: usize,
    flags: c_int,
    to: *const sockaddr,
    to_len: socklen_t,
) -> ssize_t {
    if let Some(held) = table::lookup(fd) {
        // SAFETY: the caller's promise.
        let target = unsafe { destination(fd, &held, (to, to_len), flags) };
        if !matches!(target, Ok(Target::Kernel)) {
            // SAFETY: the caller's promise.
            let from = unsafe { message::bytes(buf, len) };
            return count(target.and_then(|target| {
                let from = &[IoSlice::new(from?)];
                send(fd, &held, from, (target, &Ancillary::default()), flags)
            }));
        }
    }
    // SAFETY: the caller's promise.
    unsafe { far::sendto(fd, (buf, len), flags, to, to_len) }
        // SAFETY: the caller's promise.
        .unwrap_or_else(|| unsafe { kernel::sendto(fd, buf, len, flags, to, to_len) })
}

/// `recv(2)`.
///
/// # Safety
/// As for the C call: `buf` has room for `len` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn iopkt_recv(
    fd: c_int,
    buf: *mut c_void,
    len: usize,
    flags: c_int,
) -> ssize_t {
    // SAFETY: the caller's promise; no address is asked for.
    unsafe { iopkt_recvfrom(fd, buf, len, flags, core::ptr::null_mut(), core::ptr::null_mut()) }
}

/// `recvfrom(2)`.
///
/// # Safety
/// As for the C call: `buf` has room for `len` bytes, `from` for `*from_len`, or it is null.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn iopkt_recvfrom(
    fd: c_int,
    buf: *mut c_void,
    len: usize,
    flags: c_int,
    from: *mut sockaddr,
    from_len: *mut socklen_t,
) -> ssize_t {
    let Some(held) = table::lookup(fd) else {
        // SAFETY: the caller's promise.
        return unsafe { far::recvfrom(fd, (buf, len), flags, from, from_len) }
            // SAFETY: the caller's promise.
            .unwrap_or_else(|| unsafe { kernel::recvfrom(fd, buf, len, flags, from, from_len) });
    };
    // SAFETY: the caller's promise.
    unsafe { receive_from(fd, &held, (buf, len), flags, (from, from_len)) }
}

/// Receives from the stack.
///
/// # Safety
/// As for [`iopkt_recvfrom`].
pub(crate) unsafe fn receive_from(
    fd: c_int,
    held: &Held,
    (buf, len): (*mut c_void, usize),
    flags: c_int,
    (from, from_len): (*mut sockaddr, *mut socklen_t),
) -> ssize_t {
    let mut scrap = message::scrap(held.is_stream(), flags, len);
    let into = match &mut scrap {
        Some(scrap) => Ok(scrap.as_mut_slice()),
        // SAFETY: the caller's promise.
        None => unsafe { message::bytes_mut(buf, len) },
    };
    if flags & libc::MSG_ERRQUEUE != 0 {
        let into = into.map(|into| [IoSliceMut::new(into)]);
        // SAFETY: the caller's promise.
        return count(into.and_then(|mut into| unsafe {
            error_queue::receive_from(fd, held, &mut into, (from, from_len))
        }));
    }
    let received = into.and_then(|into| receive(fd, held, into, message::recv_flags(flags)));
    count(received.and_then(|received| {
        // SAFETY: the caller's promise.
        unsafe { name::write((received.from, held.domain()), from, from_len) }?;
        Ok(received.len)
    }))
}

/// Where a message with an optional address goes.
#[derive(Clone, Copy)]
pub(super) enum Target {
    /// To the peer the socket is connected to.
    Peer,
    /// To this address over the stack.
    Stack(SocketAddr),
    /// To this address, over a connection that begins with it (`MSG_FASTOPEN`).
    Connecting(SocketAddr),
    /// The socket has moved to the kernel; the call has to be made there.
    Kernel,
}

/// Reads the address of a message and moves the socket to the kernel if that is where it leads. A
/// stream ignores addresses but with `MSG_FASTOPEN`, as in the kernel.
///
/// # Safety
/// `to` is null or points to as many bytes as its length says.
pub(super) unsafe fn destination(
    fd: c_int,
    held: &Held,
    (to, to_len): (*const sockaddr, socklen_t),
    flags: c_int,
) -> io::Result<Target> {
    let connects = held.is_stream() && flags & libc::MSG_FASTOPEN != 0;
    if connects && held.socket.is_connected() {
        return Err(os(libc::EISCONN));
    }
    if to.is_null() {
        return if connects { Err(os(libc::EINVAL)) } else { Ok(Target::Peer) };
    }
    if held.is_stream() && !connects {
        return Ok(Target::Peer);
    }
    let read = if connects { Name::read } else { Name::read_destination };
    // SAFETY: the caller's promise.
    let address = match unsafe { read(to, to_len, held.socket.family()) }? {
        Name::Unspecified(_) if connects => return Err(os(libc::EOPNOTSUPP)),
        Name::Inet(address) | Name::Unspecified(address) => address,
    };
    match loopback::side_of_peer(held, address) {
        Side::Stack if connects => Ok(Target::Connecting(address)),
        Side::Stack => Ok(Target::Stack(address)),
        Side::Neither => Err(os(libc::ENETUNREACH)),
        Side::Kernel => loopback::move_to_kernel(fd, held).map(|()| Target::Kernel),
    }
}

/// Sends, and raises `SIGPIPE` where the kernel would.
pub(super) fn send(
    fd: c_int,
    held: &Held,
    from: &[IoSlice<'_>],
    (to, ancillary): (Target, &Ancillary),
    flags: c_int,
) -> io::Result<usize> {
    let known: SendFlags = message::send_flags(flags);
    held.settle();
    let result = match to {
        Target::Connecting(to) => {
            let sent = held.socket.send_connecting(borrow(&fd), from, to, known);
            open::renew_failed(fd, held, &sent);
            sent
        }
        _ if held.is_stream() => held.socket.send(borrow(&fd), from, None, known),
        Target::Stack(to) => {
            let call = |fd| cork::send(fd, held, from, (Some(to), ancillary), flags);
            autoconnect::with_a_way((fd, held, flags), call)
        }
        Target::Peer | Target::Kernel => cork::send(fd, held, from, (None, ancillary), flags),
    };
    signalled(held, flags, result)
}

/// A result, with `SIGPIPE` where the kernel would raise it.
pub(super) fn signalled(held: &Held, flags: c_int, result: io::Result<usize>) -> io::Result<usize> {
    if let Err(error) = &result
        && number_of(error) == libc::EPIPE
        && held.is_stream()
        && flags & libc::MSG_NOSIGNAL == 0
    {
        // SAFETY: no pointers; the signal goes to this thread, as the kernel's does.
        let _ = unsafe { libc::raise(libc::SIGPIPE) };
    }
    result
}

/// Receives into one buffer.
fn receive(fd: c_int, held: &Held, into: &mut [u8], flags: RecvFlags) -> io::Result<Received> {
    held.socket.recv(borrow(&fd), &mut [IoSliceMut::new(into)], flags)
}
