//! Naming, connecting, options, modes.

use libc::{c_int, c_ulong, c_void, sockaddr, socklen_t};

use crate::next::{call_next, interpose, interpose_cancellable};

interpose_cancellable! {
    accept(fd: c_int, name: *mut sockaddr, len: *mut socklen_t) -> c_int => iopkt_accept;
    accept4(fd: c_int, name: *mut sockaddr, len: *mut socklen_t, flags: c_int) -> c_int
        => iopkt_accept4;
    connect(fd: c_int, name: *const sockaddr, len: socklen_t) -> c_int => iopkt_connect;
}

interpose! {
    bind(fd: c_int, name: *const sockaddr, len: socklen_t) -> c_int => iopkt_bind;
    listen(fd: c_int, backlog: c_int) -> c_int => iopkt_listen;
    shutdown(fd: c_int, how: c_int) -> c_int => iopkt_shutdown;
    getsockopt(fd: c_int, level: c_int, name: c_int, value: *mut c_void, len: *mut socklen_t)
        -> c_int => iopkt_getsockopt;
    setsockopt(fd: c_int, level: c_int, name: c_int, value: *const c_void, len: socklen_t)
        -> c_int => iopkt_setsockopt;
    getsockname(fd: c_int, name: *mut sockaddr, len: *mut socklen_t) -> c_int
        => iopkt_getsockname;
    sockatmark(fd: c_int) -> c_int => iopkt_sockatmark;
    getpeername(fd: c_int, name: *mut sockaddr, len: *mut socklen_t) -> c_int
        => iopkt_getpeername;
}

// The next three are variadic in C, which stable Rust cannot define. A fixed third argument of a
// register's size is the same thing to a caller on x86-64 and aarch64 (System V): the first eight
// (six) integer arguments are passed in registers, variadic or not, and an absent one is a register
// with anything in it, which nobody uses.

/// `fcntl(2)`.
///
/// # Safety
/// As for the C call.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn fcntl(fd: c_int, command: c_int, argument: usize) -> c_int {
    if iopkt::is_ours(fd) {
        // SAFETY: the caller's promise.
        return unsafe { iopkt::abi::iopkt_fcntl(fd, command, argument) };
    }
    call_next!(fcntl(fd => c_int, command => c_int, argument => usize) -> c_int)
}

/// `fcntl(2)` of programs built for large files.
///
/// # Safety
/// As for the C call.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn fcntl64(fd: c_int, command: c_int, argument: usize) -> c_int {
    if iopkt::is_ours(fd) {
        // SAFETY: the caller's promise.
        return unsafe { iopkt::abi::iopkt_fcntl(fd, command, argument) };
    }
    call_next!(fcntl64(fd => c_int, command => c_int, argument => usize) -> c_int)
}

/// `ioctl(2)`.
///
/// # Safety
/// As for the C call.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn ioctl(fd: c_int, request: c_ulong, argument: *mut c_void) -> c_int {
    if iopkt::is_ours(fd) {
        // SAFETY: the caller's promise.
        return unsafe { iopkt::abi::iopkt_ioctl(fd, request, argument) };
    }
    call_next!(ioctl(fd => c_int, request => c_ulong, argument => *mut c_void) -> c_int)
}
