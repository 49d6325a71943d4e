//! The exported functions. Each has the signature and the meaning of the BSD call of its name.

mod control;
pub(crate) mod data;
mod in_place;
mod interface;
mod number;
mod open;
pub(crate) mod packet;

pub use control::{
    iopkt_clearsockprefix, iopkt_fcntl, iopkt_getpeername, iopkt_getsockname, iopkt_getsockopt,
    iopkt_ioctl, iopkt_setprefix, iopkt_setsockopt, iopkt_setsockprefix, iopkt_sockatmark,
};
pub use data::{
    iopkt_read, iopkt_readv, iopkt_recv, iopkt_recvfrom, iopkt_send, iopkt_sendto, iopkt_write,
    iopkt_writev,
};
pub use in_place::{iopkt_recv_zc, iopkt_release, iopkt_send_commit, iopkt_send_reserve};
pub use interface::{
    iopkt_freeifaddrs, iopkt_getifaddrs, iopkt_if_freenameindex, iopkt_if_indextoname,
    iopkt_if_nameindex, iopkt_if_nametoindex,
};
pub use number::{
    close_range_with, iopkt_adopt, iopkt_close, iopkt_close_range, iopkt_dup, iopkt_dup2,
    iopkt_dup3, keep_files, keep_replaced,
};
pub use open::{
    iopkt_accept, iopkt_accept4, iopkt_bind, iopkt_connect, iopkt_listen, iopkt_route_socket,
    iopkt_shutdown, iopkt_socket,
};
pub use packet::{iopkt_recvmsg, iopkt_sendmsg};

use std::io;
use std::os::fd::BorrowedFd;

use libc::c_int;

use crate::errno::{errno, os};
use crate::kernel;

/// The descriptor of a call under way, for the client library.
pub(crate) fn borrow(fd: &c_int) -> BorrowedFd<'_> {
    // SAFETY: callers have made sure that the number is not negative, and it is the program's. Should it not
    // be open, or another thread of the program close it meanwhile, the kernel answers EBADF: these are the
    // terms of every C call.
    unsafe { BorrowedFd::borrow_raw(*fd) }
}

/// Is the descriptor in nonblocking mode?
pub(crate) fn is_nonblocking(fd: c_int) -> io::Result<bool> {
    // SAFETY: no pointers.
    let flags = unsafe { kernel::fcntl(fd, libc::F_GETFL, 0) };
    if flags < 0 { Err(os(errno())) } else { Ok(flags & libc::O_NONBLOCK != 0) }
}
