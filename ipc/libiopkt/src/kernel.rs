//! The kernel's calls, past every interposed function.
//!
//! When this library is preloaded, `read` and its like in libc's namespace are our own. Whatever
//! must reach the kernel for a descriptor of the table therefore goes through `syscall`.

use libc::{c_char, c_int, c_long, c_uint, c_ulong, c_void, iovec, msghdr, sockaddr, socklen_t};

/// Defines unsafe functions that are one system call each and answer as the C call does.
macro_rules! system_calls {
    ($($name:ident = $number:ident($($arg:ident: $ty:ty),*) -> $ret:ty;)*) => {$(
        /// The kernel's call of this name: −1 and errno on failure.
        ///
        /// # Safety
        /// As for the C call: pointers are valid for what the kernel reads and writes.
        pub(crate) unsafe fn $name($($arg: $ty),*) -> $ret {
            // SAFETY: number and argument types are those of the kernel's interface on 64-bit
            // Linux; the caller vouches for the pointers.
            let result: c_long = unsafe { libc::syscall(libc::$number, $($arg),*) };
            <$ret>::try_from(result).unwrap_or(-1)
        }
    )*};
}

system_calls! {
    read = SYS_read(fd: c_int, buf: *mut c_void, len: usize) -> isize;
    write = SYS_write(fd: c_int, buf: *const c_void, len: usize) -> isize;
    readv = SYS_readv(fd: c_int, iov: *const iovec, count: c_int) -> isize;
    writev = SYS_writev(fd: c_int, iov: *const iovec, count: c_int) -> isize;
    sendto = SYS_sendto(fd: c_int, buf: *const c_void, len: usize, flags: c_int,
        to: *const sockaddr, to_len: socklen_t) -> isize;
    recvfrom = SYS_recvfrom(fd: c_int, buf: *mut c_void, len: usize, flags: c_int,
        from: *mut sockaddr, from_len: *mut socklen_t) -> isize;
    sendmsg = SYS_sendmsg(fd: c_int, message: *const msghdr, flags: c_int) -> isize;
    recvmsg = SYS_recvmsg(fd: c_int, message: *mut msghdr, flags: c_int) -> isize;
    openat = SYS_openat(folder: c_int, path: *const c_char, flags: c_int, mode: c_uint) -> c_int;
    socket = SYS_socket(family: c_int, kind: c_int, protocol: c_int) -> c_int;
    bind = SYS_bind(fd: c_int, name: *const sockaddr, len: socklen_t) -> c_int;
    listen = SYS_listen(fd: c_int, backlog: c_int) -> c_int;
    accept4 = SYS_accept4(fd: c_int, name: *mut sockaddr, len: *mut socklen_t, flags: c_int)
        -> c_int;
    connect = SYS_connect(fd: c_int, name: *const sockaddr, len: socklen_t) -> c_int;
    shutdown = SYS_shutdown(fd: c_int, how: c_int) -> c_int;
    close = SYS_close(fd: c_int) -> c_int;
    close_range = SYS_close_range(first: c_uint, last: c_uint, flags: c_uint) -> c_int;
    dup = SYS_dup(fd: c_int) -> c_int;
    dup3 = SYS_dup3(old: c_int, new: c_int, flags: c_int) -> c_int;
    fcntl = SYS_fcntl(fd: c_int, command: c_int, argument: usize) -> c_int;
    ioctl = SYS_ioctl(fd: c_int, request: c_ulong, argument: *mut c_void) -> c_int;
    getsockopt = SYS_getsockopt(fd: c_int, level: c_int, name: c_int, value: *mut c_void,
        len: *mut socklen_t) -> c_int;
    setsockopt = SYS_setsockopt(fd: c_int, level: c_int, name: c_int, value: *const c_void,
        len: socklen_t) -> c_int;
    getsockname = SYS_getsockname(fd: c_int, name: *mut sockaddr, len: *mut socklen_t) -> c_int;
    getpeername = SYS_getpeername(fd: c_int, name: *mut sockaddr, len: *mut socklen_t) -> c_int;
}
