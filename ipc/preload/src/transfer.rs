//! Reading and writing.

use libc::{c_int, c_void, iovec, msghdr, size_t, sockaddr, socklen_t, ssize_t};

use crate::cancel::cancellable;
use crate::next::{call_next, interpose_cancellable};

interpose_cancellable! {
    read(fd: c_int, buf: *mut c_void, len: size_t) -> ssize_t => iopkt_read;
    write(fd: c_int, buf: *const c_void, len: size_t) -> ssize_t => iopkt_write;
    readv(fd: c_int, list: *const iovec, n: c_int) -> ssize_t => iopkt_readv;
    writev(fd: c_int, list: *const iovec, n: c_int) -> ssize_t => iopkt_writev;
    send(fd: c_int, buf: *const c_void, len: size_t, flags: c_int) -> ssize_t => iopkt_send;
    sendto(fd: c_int, buf: *const c_void, len: size_t, flags: c_int, to: *const sockaddr,
        to_len: socklen_t) -> ssize_t => iopkt_sendto;
    sendmsg(fd: c_int, message: *const msghdr, flags: c_int) -> ssize_t => iopkt_sendmsg;
    recv(fd: c_int, buf: *mut c_void, len: size_t, flags: c_int) -> ssize_t => iopkt_recv;
    recvfrom(fd: c_int, buf: *mut c_void, len: size_t, flags: c_int, from: *mut sockaddr,
        from_len: *mut socklen_t) -> ssize_t => iopkt_recvfrom;
}

/// `recvmsg(2)`. Descriptors that come over a kernel's socket may be sockets of a stack.
///
/// # Safety
/// As for the C call.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn recvmsg(fd: c_int, message: *mut msghdr, flags: c_int) -> ssize_t {
    if iopkt::is_ours(fd) {
        // SAFETY: the caller's promise.
        return cancellable!(unsafe { iopkt::abi::iopkt_recvmsg(fd, message, flags) });
    }
    let len = call_next!(recvmsg(fd => c_int, message => *mut msghdr, flags => c_int) -> ssize_t);
    // SAFETY: null or valid by the caller's promise.
    if let Some(message) = unsafe { message.as_ref() }.filter(|_| len >= 0) {
        // SAFETY: just filled in by the kernel.
        unsafe { iopkt::adopt_received(message) };
    }
    len
}

/// `read` of programs built with `_FORTIFY_SOURCE`: `room` is the size of the buffer.
///
/// # Safety
/// As for `read`.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn __read_chk(
    fd: c_int,
    buf: *mut c_void,
    len: size_t,
    room: size_t,
) -> ssize_t {
    if iopkt::is_ours(fd) && len <= room {
        // SAFETY: the caller's promise.
        return cancellable!(unsafe { iopkt::abi::iopkt_read(fd, buf, len) });
    }
    // Ends the program if the buffer is too small, as it should.
    call_next!(__read_chk(fd => c_int, buf => *mut c_void, len => size_t, room => size_t) -> ssize_t)
}

/// `recv` of programs built with `_FORTIFY_SOURCE`.
///
/// # Safety
/// As for `recv`.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn __recv_chk(
    fd: c_int,
    buf: *mut c_void,
    len: size_t,
    room: size_t,
    flags: c_int,
) -> ssize_t {
    if iopkt::is_ours(fd) && len <= room {
        // SAFETY: the caller's promise.
        return cancellable!(unsafe { iopkt::abi::iopkt_recv(fd, buf, len, flags) });
    }
    call_next!(__recv_chk(fd => c_int, buf => *mut c_void, len => size_t, room => size_t,
        flags => c_int) -> ssize_t)
}

/// `recvfrom` of programs built with `_FORTIFY_SOURCE`.
///
/// # Safety
/// As for `recvfrom`.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn __recvfrom_chk(
    fd: c_int,
    buf: *mut c_void,
    len: size_t,
    room: size_t,
    flags: c_int,
    from: *mut sockaddr,
    from_len: *mut socklen_t,
) -> ssize_t {
    if iopkt::is_ours(fd) && len <= room {
        // SAFETY: the caller's promise.
        return cancellable!(unsafe {
            iopkt::abi::iopkt_recvfrom(fd, buf, len, flags, from, from_len)
        });
    }
    call_next!(__recvfrom_chk(fd => c_int, buf => *mut c_void, len => size_t, room => size_t,
        flags => c_int, from => *mut sockaddr, from_len => *mut socklen_t) -> ssize_t)
}
