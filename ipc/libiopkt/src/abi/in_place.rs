//! Reading and writing in the memory that is shared with the stack, without a copy.

use std::io;

use libc::{c_int, c_void, ssize_t};

use super::borrow;
use super::data::signalled;
use crate::errno::{count, os};
use crate::message;
use crate::table::{self, Held};

/// Where the next bytes are, and how many of them follow each other in memory.
///
/// # Safety
/// `data` points to a pointer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn iopkt_recv_zc(
    fd: c_int,
    data: *mut *const c_void,
    flags: c_int,
) -> ssize_t {
    let look = |bytes: &[u8]| (0, (bytes.as_ptr(), bytes.len()));
    let seen = held(fd)
        .and_then(|held| held.socket.recv_in_place(borrow(&fd), message::recv_flags(flags), look));
    count(seen.map(|seen| {
        let (at, len) = seen.unwrap_or((core::ptr::null(), 0));
        // SAFETY: the caller's promise.
        unsafe { data.write(at.cast()) };
        len
    }))
}

/// Takes what [`iopkt_recv_zc`] has shown.
#[unsafe(no_mangle)]
pub extern "C" fn iopkt_release(fd: c_int, len: usize) -> ssize_t {
    count(held(fd).and_then(|held| held.socket.release(borrow(&fd), len)))
}

/// Room for stream bytes where they are sent from.
///
/// # Safety
/// `data` points to a pointer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn iopkt_send_reserve(
    fd: c_int,
    data: *mut *mut c_void,
    len: usize,
    flags: c_int,
) -> ssize_t {
    let room = held(fd).and_then(|held| {
        held.settle();
        let room = held.socket.send_reserve(borrow(&fd), len, message::send_flags(flags));
        let (at, result) = match room {
            Ok((at, len)) => (at, Ok(len)),
            Err(error) => (core::ptr::null_mut(), Err(error)),
        };
        signalled(&held, flags, result).map(|len| (at, len))
    });
    count(room.map(|(at, len)| {
        // SAFETY: the caller's promise.
        unsafe { data.write(at.cast()) };
        len
    }))
}

/// Sends what has been written there.
#[unsafe(no_mangle)]
pub extern "C" fn iopkt_send_commit(
    fd: c_int,
    data: *const c_void,
    len: usize,
    flags: c_int,
) -> ssize_t {
    count(held(fd).and_then(|held| {
        let place = (data.cast(), len);
        let sent = held.socket.send_commit(borrow(&fd), place, message::send_flags(flags));
        signalled(&held, flags, sent)
    }))
}

/// The socket of a descriptor; the kernel's sockets have no memory to show.
fn held(fd: c_int) -> io::Result<Held> {
    table::lookup(fd).ok_or_else(|| os(libc::EOPNOTSUPP))
}
