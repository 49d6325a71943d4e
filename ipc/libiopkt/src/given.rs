//! Descriptors the program was given: inherited over `exec`, or received over a unix socket.
//!
//! A stack's socket is a descriptor of the kernel's, so the kernel carries it wherever it goes. What is
//! behind it the daemon says, to whoever holds it.

use std::fs;
use std::io;

use io_pkt_client::Socket;
use libc::{c_int, cmsghdr, msghdr};

use crate::abi::borrow;
use crate::description::Description;
use crate::{process, table};

/// Makes a descriptor a socket of this library, if it is a stack's. True if it is one now.
pub fn adopt(fd: c_int) -> bool {
    // A stack that is not there, or a client of another user: the descriptor stays what it is.
    try_adopt(fd).unwrap_or(false)
}

fn try_adopt(fd: c_int) -> io::Result<bool> {
    if fd < 0 || table::is_ours(fd) || process::is_guest() {
        return Ok(table::is_ours(fd));
    }
    let Some(socket) = Socket::of_descriptor(borrow(&fd))? else { return Ok(false) };
    let copies = table::numbers(0, c_int::MAX).filter_map(table::lookup);
    let known = copies.into_iter().find(|held| held.socket.is(&socket));
    let held = known.unwrap_or_else(|| table::hold(Description::given(socket)));
    Ok(table::insert(fd, held).is_ok())
}

/// Looks at everything a program is born with. `ETIMEDOUT`: there are sockets of a stack that does not
/// answer.
///
/// # Errors
/// Only that; whatever else is wrong with a descriptor leaves it as it is.
pub fn adopt_inherited() -> io::Result<()> {
    let Ok(open) = fs::read_dir("/proc/self/fd") else { return Ok(()) };
    let numbers = open.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    // The list has a descriptor of its own, which is closed before anything is done.
    for fd in numbers.collect::<Vec<c_int>>() {
        match try_adopt(fd) {
            Err(error) if error.kind() == io::ErrorKind::TimedOut => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

/// Looks at what has come with a message of the kernel's.
///
/// # Safety
/// `header` is what `recvmsg` has just filled in.
pub unsafe fn adopt_received(header: &msghdr) {
    if header.msg_control.is_null() || header.msg_controllen == 0 {
        return;
    }
    // SAFETY: the caller's promise.
    let mut next = unsafe { libc::CMSG_FIRSTHDR(header) };
    // SAFETY: null or the address of a control message, by the kernel's making.
    while let Some(message) = unsafe { next.as_ref() } {
        if (message.cmsg_level, message.cmsg_type) == (libc::SOL_SOCKET, libc::SCM_RIGHTS) {
            // SAFETY: a message of this kind carries descriptors.
            unsafe { adopt_carried(message) };
        }
        // SAFETY: a message of this header, by the caller's promise.
        next = unsafe { libc::CMSG_NXTHDR(header, message) };
    }
}

/// # Safety
/// `message` is of the kind `SCM_RIGHTS`, as the kernel has written it.
unsafe fn adopt_carried(message: &cmsghdr) {
    // SAFETY: no pointers are followed.
    let empty = unsafe { libc::CMSG_LEN(0) };
    let head = usize::try_from(empty).unwrap_or(usize::MAX);
    let count = message.cmsg_len.saturating_sub(head) / size_of::<c_int>();
    // SAFETY: a control message by the caller's promise.
    let first = unsafe { libc::CMSG_DATA(message) }.cast::<c_int>();
    for index in 0..count {
        // SAFETY: so many descriptors are in the message, by its length.
        let place = unsafe { first.add(index) };
        // SAFETY: as above; messages are not aligned for what they carry.
        let fd = unsafe { place.read_unaligned() };
        // The kernel has just given the number, so what the table may say of it is over.
        drop(table::remove(fd));
        let _ = adopt(fd);
    }
}
