//! Descriptors as numbers: closing and copying.

use libc::{c_int, c_uint};

use io_pkt_client::{holds_file, is_own, own_in};

use super::borrow;
use crate::errno::{errno, number, os, set_errno, status};
use crate::table::Held;
use crate::{given, kernel, process, route, table};

/// `close(2)`. The socket closes with its last copy, in whichever process; that close waits as
/// `SO_LINGER` says.
#[unsafe(no_mangle)]
pub extern "C" fn iopkt_close(fd: c_int) -> c_int {
    if is_own(fd) {
        return status(Err(os(libc::EBADF)));
    }
    let held = leave(fd);
    let routing = route::remove(fd);
    // SAFETY: the program's own descriptor.
    let result = unsafe { kernel::close(fd) };
    let before = errno();
    drop(routing);
    if let Some(held) = held
        && held.is_last()
        && let Some(time) = held.socket.linger()
    {
        held.socket.wait_acknowledged(time);
    }
    set_errno(before);
    result
}

/// `close_range(2)`.
#[unsafe(no_mangle)]
pub extern "C" fn iopkt_close_range(first: c_uint, last: c_uint, flags: c_uint) -> c_int {
    close_range_with(first, last, flags, |first, last| {
        // SAFETY: no pointers; the program's own descriptors.
        unsafe { kernel::close_range(first, last, flags) }
    })
}

/// To be called before numbers of the program's are closed that are no sockets of a stack: calls that read from or write
/// to the files there go on with copies.
pub fn keep_files(first: c_uint, last: c_uint) {
    // The numbers of a child in its parent's memory are others.
    if holds_file(first, last) && !process::is_guest() {
        io_pkt_client::keep_files(first, last);
    }
}

/// The same before `old` is copied to `new`.
pub fn keep_replaced(old: c_int, new: c_int) {
    let Ok(number) = c_uint::try_from(new) else { return };
    if old == new || !holds_file(number, number) {
        return;
    }
    // SAFETY: no pointers.
    let is_open = unsafe { kernel::fcntl(old, libc::F_GETFD, 0) } >= 0;
    if is_open {
        keep_files(number, number);
    }
}

/// Closes a range, but not what is the library's own in it: `close` is called for what is between.
pub fn close_range_with(
    first: c_uint,
    last: c_uint,
    flags: c_uint,
    close: impl Fn(c_uint, c_uint) -> c_int,
) -> c_int {
    if flags & libc::CLOSE_RANGE_CLOEXEC == 0 {
        keep_files(first, last);
        close_sockets(first, last);
    }
    let mut begin = first;
    for own in own_in(first, last) {
        if begin < own && close(begin, own.saturating_sub(1)) < 0 {
            return -1;
        }
        begin = own.saturating_add(1);
    }
    // Also if there is nothing left of the range: the kernel says what is wrong with it.
    if begin == first || begin <= last { close(begin, last) } else { 0 }
}

/// Closes those of the descriptors that are sockets of a stack, one by one. The rest is left to a call
/// that the kernel may not have.
fn close_sockets(first: c_uint, last: c_uint) {
    let first = c_int::try_from(first).unwrap_or(c_int::MAX);
    let last = c_int::try_from(last).unwrap_or(c_int::MAX);
    for fd in table::numbers(first, last).chain(route::numbers(first, last)) {
        let _ = iopkt_close(fd);
    }
}

/// Makes a descriptor that came from another program a socket of this library. `ENOTSOCK` if it is no
/// socket of the stack's.
#[unsafe(no_mangle)]
pub extern "C" fn iopkt_adopt(fd: c_int) -> c_int {
    status(if given::adopt(fd) { Ok(()) } else { Err(os(libc::ENOTSOCK)) })
}

/// Takes a number out of the table that is about to be closed: once it is, it may be another thread's at any time.
fn leave(fd: c_int) -> Option<Held> {
    let held = table::remove(fd)?;
    held.socket.keep_for_calls(borrow(&fd));
    Some(held)
}

/// `dup(2)`.
#[unsafe(no_mangle)]
pub extern "C" fn iopkt_dup(fd: c_int) -> c_int {
    // SAFETY: no pointers.
    copied(fd, unsafe { kernel::dup(fd) })
}

/// `dup2(2)`.
#[unsafe(no_mangle)]
pub extern "C" fn iopkt_dup2(old: c_int, new: c_int) -> c_int {
    if old == new {
        // SAFETY: no pointers. Any command that fails for a closed descriptor will do.
        return if unsafe { kernel::fcntl(old, libc::F_GETFD, 0) } < 0 { -1 } else { new };
    }
    iopkt_dup3(old, new, 0)
}

/// `dup3(2)`.
#[unsafe(no_mangle)]
pub extern "C" fn iopkt_dup3(old: c_int, new: c_int, flags: c_int) -> c_int {
    if is_own(new) {
        // As if it were beyond the limit of descriptors.
        return status(Err(os(libc::EBADF)));
    }
    if old != new
        && !process::is_guest()
        && let Some(held) = table::lookup(new)
    {
        held.socket.keep_for_calls(borrow(&new));
    }
    // SAFETY: no pointers; what was behind `new` the program gives up.
    copied(old, unsafe { kernel::dup3(old, new, flags) })
}

/// Makes the table follow a copy the kernel has made (or refused: −1).
pub(super) fn copied(old: c_int, new: c_int) -> c_int {
    if new < 0 {
        return new;
    }
    let entered = match table::lookup(old) {
        Some(held) => table::insert(new, held),
        None => {
            drop(table::remove(new));
            Ok(())
        }
    };
    match entered.and_then(|()| route::copied(old, new)) {
        Ok(()) => new,
        Err(error) => {
            drop(table::remove(new));
            // SAFETY: the copy just made, which nobody knows of.
            let _ = unsafe { kernel::close(new) };
            number(Err(error))
        }
    }
}
