//! `sendmsg` and `recvmsg`.

use std::io;

use libc::{c_int, msghdr, ssize_t};

use super::borrow;
use super::data::{Target, destination, send};
use crate::errno::{count, os};
use crate::table::{self, Held};
use crate::{given, kernel, message, name};

/// `sendmsg(2)`. Control messages are refused (`EINVAL`), as the kernel does with those it does not
/// know: programs then do without.
///
/// # Safety
/// As for the C call: `header` and all it points to is valid.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn iopkt_sendmsg(fd: c_int, header: *const msghdr, flags: c_int) -> ssize_t {
    if let Some(held) = table::lookup(fd) {
        // SAFETY: the caller's promise.
        match unsafe { send_message(fd, &held, header, flags) } {
            Ok(None) => {}
            Ok(Some(len)) => return count(Ok(len)),
            Err(error) => return count(Err(error)),
        }
    }
    // SAFETY: the caller's promise.
    unsafe { kernel::sendmsg(fd, header, flags) }
}

/// `recvmsg(2)`. No control messages come; `MSG_TRUNC` tells of a datagram that was cut.
///
/// # Safety
/// As for the C call: `header` and all it points to is valid.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn iopkt_recvmsg(fd: c_int, header: *mut msghdr, flags: c_int) -> ssize_t {
    let Some(held) = table::lookup(fd) else {
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
    count(unsafe { receive_message(fd, &held, header, flags) })
}

/// Sends over the stack; `None` if the socket has moved to the kernel.
///
/// # Safety
/// As for [`iopkt_sendmsg`].
unsafe fn send_message(
    fd: c_int,
    held: &Held,
    header: *const msghdr,
    flags: c_int,
) -> io::Result<Option<usize>> {
    // SAFETY: null or valid by the caller's promise.
    let header = unsafe { header.as_ref() }.ok_or_else(|| os(libc::EFAULT))?;
    if header.msg_controllen != 0 && !header.msg_control.is_null() {
        return Err(os(libc::EINVAL));
    }
    // SAFETY: the caller's promise.
    let from = unsafe { message::gather(header.msg_iov, header.msg_iovlen) }?;
    let (to, to_len) = (header.msg_name.cast(), header.msg_namelen);
    // SAFETY: the caller's promise.
    match unsafe { destination(fd, held, (to, to_len), flags) }? {
        Target::Kernel => Ok(None),
        target => send(fd, held, &from, target, flags).map(Some),
    }
}

/// # Safety
/// As for [`iopkt_recvmsg`].
unsafe fn receive_message(
    fd: c_int,
    held: &Held,
    header: *mut msghdr,
    flags: c_int,
) -> io::Result<usize> {
    // SAFETY: null or valid, and not used by anyone else, by the caller's promise.
    let header = unsafe { header.as_mut() }.ok_or_else(|| os(libc::EFAULT))?;
    // SAFETY: the caller's promise.
    let mut into = unsafe { message::scatter(header.msg_iov, header.msg_iovlen) }?;
    let flags = message::recv_flags(flags)?;
    let received = held.socket.recv(borrow(&fd), &mut into, flags)?;
    let place = header.msg_name.cast();
    // SAFETY: the caller's promise; the length is a field of the header.
    unsafe { name::write(received.from, place, &raw mut header.msg_namelen) }?;
    header.msg_controllen = 0;
    header.msg_flags = if received.truncated { libc::MSG_TRUNC } else { 0 };
    Ok(received.len)
}
