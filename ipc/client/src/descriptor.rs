//! The client's end of a socket's real descriptor: tokens come in, stuffing goes out.

use std::io;
use std::os::fd::BorrowedFd;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, recv, send};

/// What taking the tokens out of a descriptor has shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tokens {
    /// There were some.
    pub(crate) any: bool,
    /// The daemon's end is shut or closed: nothing comes any more.
    pub(crate) shut: bool,
}

/// Takes all tokens out.
pub(crate) fn take_tokens(fd: BorrowedFd<'_>) -> Tokens {
    let mut tokens = [0; 64];
    let mut any = false;
    loop {
        match recv(fd, &mut tokens, RecvFlags::DONTWAIT) {
            Ok((0, _)) => return Tokens { any, shut: true },
            Ok((len, _)) if len < tokens.len() => return Tokens { any: true, shut: false },
            Ok(_) => any = true,
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => return Tokens { any, shut: false },
            Err(_) => return Tokens { any, shut: true },
        }
    }
}

/// Fills the descriptor up, so that the kernel calls it not writable. True if anything went in.
///
/// # Errors
/// `EPIPE`: the daemon's end is closed.
pub(crate) fn stuff(fd: BorrowedFd<'_>) -> io::Result<bool> {
    // Its send buffer is the smallest there is: two of these fill it.
    let stuffing = [0; 2048];
    let mut any = false;
    loop {
        match send(fd, &stuffing, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
            Ok(_) => any = true,
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => return Ok(any),
            Err(_) => return Err(Errno::PIPE.into()),
        }
    }
}

/// Is the daemon's end closed?
pub(crate) fn is_closed(fd: BorrowedFd<'_>) -> bool {
    let mut fds = [PollFd::from_borrowed_fd(fd, PollFlags::empty())];
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    // Nothing was asked for, so an event is an error or a hang-up.
    matches!(poll(&mut fds, Some(&now)), Ok(events) if events > 0)
}

/// Is the descriptor in non-blocking mode?
pub(crate) fn is_nonblocking(fd: BorrowedFd<'_>) -> io::Result<bool> {
    Ok(rustix::fs::fcntl_getfl(fd)?.contains(rustix::fs::OFlags::NONBLOCK))
}
