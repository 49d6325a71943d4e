//! Descriptors as numbers: closing and copying.

use libc::{FILE, c_int, c_uint};

use crate::next::{call_next, interpose};

interpose! {
    close(fd: c_int) -> c_int => iopkt_close;
    dup(fd: c_int) -> c_int => iopkt_dup;
}

/// `fclose(3)`: closes the descriptor within libc, so the table is told first.
///
/// # Safety
/// As for the C call.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fclose(stream: *mut FILE) -> c_int {
    // SAFETY: an open stream by the caller's promise.
    iopkt::forget(unsafe { libc::fileno(stream) });
    call_next!(fclose(stream => *mut FILE) -> c_int)
}

/// `dup2(2)`: either number may be a socket of a stack.
///
/// # Safety
/// As for the C call.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dup2(old: c_int, new: c_int) -> c_int {
    if iopkt::is_ours(old) || iopkt::is_ours(new) {
        return iopkt::abi::iopkt_dup2(old, new);
    }
    call_next!(dup2(old => c_int, new => c_int) -> c_int)
}

/// `dup3(2)`.
///
/// # Safety
/// As for the C call.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dup3(old: c_int, new: c_int, flags: c_int) -> c_int {
    if iopkt::is_ours(old) || iopkt::is_ours(new) {
        return iopkt::abi::iopkt_dup3(old, new, flags);
    }
    call_next!(dup3(old => c_int, new => c_int, flags => c_int) -> c_int)
}

/// `close_range(2)`.
///
/// # Safety
/// As for the C call.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn close_range(first: c_uint, last: c_uint, flags: c_int) -> c_int {
    if c_uint::try_from(flags).unwrap_or(0) & libc::CLOSE_RANGE_CLOEXEC == 0 {
        iopkt::close_sockets(first, last);
    }
    call_next!(close_range(first => c_uint, last => c_uint, flags => c_int) -> c_int)
}

/// `closefrom(3)`.
///
/// # Safety
/// As for the C call.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn closefrom(first: c_int) {
    iopkt::close_sockets(c_uint::try_from(first).unwrap_or(0), c_uint::MAX);
    // It returns nothing; reading a result that is not there is reading a free register.
    let _: c_int = call_next!(closefrom(first => c_int) -> c_int);
}
