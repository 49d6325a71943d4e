//! Descriptors as numbers: closing and copying.

use libc::{c_int, c_uint};

use crate::cancel::is_in_a_call;
use crate::next::{call_next, interpose};

/// `close(2)`. The library's own descriptors are not open, as far as a program is concerned. What the library closes within
/// a call of its own comes here, too.
///
/// # Safety
/// As for the C call.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn close(fd: c_int) -> c_int {
    keep(fd);
    if iopkt::is_ours(fd) || iopkt::is_own(fd) || is_in_a_call() {
        return iopkt::abi::iopkt_close(fd);
    }
    call_next!(close(fd => c_int) -> c_int)
}

/// Calls that hold the file of this number go on with a copy.
pub(crate) fn keep(fd: c_int) {
    if let Ok(number) = c_uint::try_from(fd) {
        iopkt::keep_files(number, number);
    }
}

interpose! {
    dup(fd: c_int) -> c_int => iopkt_dup;
}

/// `dup2(2)`: either number may be a socket of a stack.
///
/// # Safety
/// As for the C call.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn dup2(old: c_int, new: c_int) -> c_int {
    iopkt::keep_replaced(old, new);
    if iopkt::is_ours(old) || iopkt::is_ours(new) || iopkt::is_own(new) {
        return iopkt::abi::iopkt_dup2(old, new);
    }
    call_next!(dup2(old => c_int, new => c_int) -> c_int)
}

/// `dup3(2)`.
///
/// # Safety
/// As for the C call.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn dup3(old: c_int, new: c_int, flags: c_int) -> c_int {
    iopkt::keep_replaced(old, new);
    if iopkt::is_ours(old) || iopkt::is_ours(new) || iopkt::is_own(new) {
        return iopkt::abi::iopkt_dup3(old, new, flags);
    }
    call_next!(dup3(old => c_int, new => c_int, flags => c_int) -> c_int)
}

/// `close_range(2)`.
///
/// # Safety
/// As for the C call.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn close_range(first: c_uint, last: c_uint, flags: c_int) -> c_int {
    let bits = c_uint::try_from(flags).unwrap_or(0);
    iopkt::close_range_with(
        first,
        last,
        bits,
        |first, last| call_next!(close_range(first => c_uint, last => c_uint, flags => c_int) -> c_int),
    )
}

/// `closefrom(3)`.
///
/// # Safety
/// As for the C call.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn closefrom(first: c_int) {
    let first = c_uint::try_from(first).unwrap_or(0);
    // SAFETY: as for this call. A kernel without `close_range` is older than glibc's `closefrom`.
    let _ = unsafe { close_range(first, c_uint::MAX, 0) };
}
