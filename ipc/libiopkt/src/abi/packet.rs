//! `sendmsg` and `recvmsg`.

use std::io::{self, IoSliceMut};

use io_pkt_client::RecvFlags;
use libc::{c_int, msghdr, ssize_t};

use super::borrow;
use super::data::{Target, destination, send};
use crate::errno::{count, os};
use crate::table::{self, Held};
use crate::{ancillary, error_queue, far, given, kernel, message, name};

/// `sendmsg(2)`. Of control messages, a datagram's `IP_PKTINFO` (source address), `IP_TTL` and `IP_TOS` count.
///
/// # Safety
/// As for the C call: `header` and all it points to is valid.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn iopkt_sendmsg(fd: c_int, header: *const msghdr, flags: c_int) -> ssize_t {
    if let Some(held) = table::lookup(fd) {
        // SAFETY: the caller's promise.
        if let Some(len) = unsafe { send_message(fd, &held, header, flags) } {
            return len;
        }
    }
    // SAFETY: the caller's promise.
    unsafe { far::sendmsg(fd, header, flags) }
        // SAFETY: the caller's promise.
        .unwrap_or_else(|| unsafe { kernel::sendmsg(fd, header, flags) })
}

/// `recvmsg(2)`. Control messages come with datagrams: `IP_PKTINFO`, `IP_TTL`, `IP_TOS` and times, if they were
/// asked for.
///
/// # Safety
/// As for the C call: `header` and all it points to is valid.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn iopkt_recvmsg(fd: c_int, header: *mut msghdr, flags: c_int) -> ssize_t {
    let Some(held) = table::lookup(fd) else {
        // SAFETY: the caller's promise.
        if let Some(len) = unsafe { far::recvmsg(fd, header, flags) } {
            return len;
        }
        // SAFETY: the caller's promise.
        let len = unsafe { kernel::recvmsg(fd, header, flags) };
        // SAFETY: the caller's promise; the kernel has filled it in.
        if let Some(header) = unsafe { header.as_ref() }.filter(|_| len >= 0) {
            // SAFETY: as above.
            unsafe { given::adopt_received(header) };
        }
        return len;
    };
    // SAFETY: the caller's promise.
    unsafe { receive_message(fd, &held, header, flags) }
}

/// Sends over the stack; `None` if the socket has moved to the kernel.
///
/// # Safety
/// As for [`iopkt_sendmsg`].
pub(crate) unsafe fn send_message(
    fd: c_int,
    held: &Held,
    header: *const msghdr,
    flags: c_int,
) -> Option<ssize_t> {
    // SAFETY: the caller's promise.
    unsafe { send_parts(fd, held, header, flags) }.transpose().map(count)
}

/// Receives from the stack.
///
/// # Safety
/// As for [`iopkt_recvmsg`].
pub(crate) unsafe fn receive_message(
    fd: c_int,
    held: &Held,
    header: *mut msghdr,
    flags: c_int,
) -> ssize_t {
    // SAFETY: the caller's promise.
    count(unsafe { receive_parts(fd, held, header, flags) })
}

/// [`send_message`], with its error.
///
/// # Safety
/// As for [`iopkt_sendmsg`].
unsafe fn send_parts(
    fd: c_int,
    held: &Held,
    header: *const msghdr,
    flags: c_int,
) -> io::Result<Option<usize>> {
    // SAFETY: null or valid by the caller's promise.
    let header = unsafe { header.as_ref() }.ok_or_else(|| os(libc::EFAULT))?;
    // SAFETY: the caller's promise.
    let ancillary = unsafe { ancillary::read(header, held.is_stream()) }?;
    // SAFETY: the caller's promise.
    let from = unsafe { message::gather(header.msg_iov, header.msg_iovlen) }?;
    let to_len = header.msg_namelen;
    // Without a length it is none.
    let to = if to_len == 0 { core::ptr::null() } else { header.msg_name.cast_const().cast() };
    // SAFETY: the caller's promise.
    match unsafe { destination(fd, held, (to, to_len), flags) }? {
        Target::Kernel => Ok(None),
        target => send(fd, held, &from, (target, &ancillary), flags).map(Some),
    }
}

/// [`receive_message`], with its error.
///
/// # Safety
/// As for [`iopkt_recvmsg`].
unsafe fn receive_parts(
    fd: c_int,
    held: &Held,
    header: *mut msghdr,
    flags: c_int,
) -> io::Result<usize> {
    // SAFETY: null or valid, and not used by anyone else, by the caller's promise.
    let header = unsafe { header.as_mut() }.ok_or_else(|| os(libc::EFAULT))?;
    // SAFETY: the caller's promise.
    let mut into = unsafe { message::scatter(header.msg_iov, header.msg_iovlen) }?;
    if flags & libc::MSG_ERRQUEUE != 0 {
        // SAFETY: the caller's promise.
        return unsafe { error_queue::receive(fd, held, &mut into, header) };
    }
    let known = message::recv_flags(flags);
    let mut scrap = message::scrap(held.is_stream(), flags, message::total(&into));
    if let Some(scrap) = &mut scrap {
        into = vec![IoSliceMut::new(scrap)];
    }
    let received = held.socket.recv(borrow(&fd), &mut into, known)?;
    let place = header.msg_name.cast();
    // SAFETY: the caller's promise; the length is a field of the header.
    unsafe { name::write((received.from, held.domain()), place, &raw mut header.msg_namelen) }?;
    let is_cut = match &received.ancillary {
        // SAFETY: the caller's promise.
        Some(ancillary) => unsafe { ancillary::write(header, ancillary, held.socket.wishes()) },
        None => {
            header.msg_controllen = 0;
            false
        }
    };
    let says = |said: bool, flag| if said { flag } else { 0 };
    header.msg_flags = says(received.truncated, libc::MSG_TRUNC)
        | says(is_cut, libc::MSG_CTRUNC)
        | says(known.contains(RecvFlags::OOB), libc::MSG_OOB)
        | (flags & libc::MSG_CMSG_CLOEXEC);
    Ok(received.len)
}
