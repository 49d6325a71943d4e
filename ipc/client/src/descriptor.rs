//! The client's end of a socket's real descriptor: tokens come in, stuffing goes out.

use std::io;
use std::os::fd::BorrowedFd;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, recv, send};

/// What taking the tokens out of a descriptor has shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// The daemon's end is there.
    Open,
    /// It is shut or closed: nothing comes any more.
    Shut,
}

/// Takes all tokens out of a listener's descriptor.
pub(crate) fn take_tokens(fd: BorrowedFd<'_>) -> End {
    let mut tokens = [0; 64];
    loop {
        let (end, len) = take(fd, &mut tokens);
        if len < tokens.len() {
            return end;
        }
    }
}

/// What is known of a token before it is taken out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Token {
    /// The daemon has said that it is in there, and whatever else is comes behind it.
    Announced,
    /// Somebody has seen one, which may be the last of the connection.
    Seen,
    Unknown,
}

/// Takes the token out, and says whether there was one. With the last token of a connection comes what tells the daemon
/// of the last close, and is to stay: the daemon says that one `is_last` before it sends it, so one that was seen before
/// that is asked is another.
pub(crate) fn take_token(
    fd: BorrowedFd<'_>,
    token: Token,
    is_last: impl FnOnce() -> bool,
) -> (End, bool) {
    let may_be_last = match token {
        Token::Announced => false,
        Token::Seen => is_last(),
        Token::Unknown => !holds_token(fd) || is_last(),
    };
    if may_be_last {
        return (End::Open, false);
    }
    // Never two: a client asks for the next one when it has taken this one out.
    let (end, len) = take(fd, &mut [0]);
    (end, len > 0)
}

fn take(fd: BorrowedFd<'_>, tokens: &mut [u8]) -> (End, usize) {
    loop {
        match recv(fd, &mut *tokens, RecvFlags::DONTWAIT) {
            Ok((0, _)) => return (End::Shut, 0),
            Ok((len, _)) => return (End::Open, len),
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => return (End::Open, 0),
            Err(_) => return (End::Shut, 0),
        }
    }
}

/// Takes the mark of an urgent byte out, so that the descriptor has no `POLLPRI` any more.
pub(crate) fn take_urgent(fd: BorrowedFd<'_>) {
    let _ = recv(fd, &mut [0; 1], RecvFlags::DONTWAIT | RecvFlags::OOB);
}

/// Is there a token, or no daemon to write one any more?
pub(crate) fn holds_token(fd: BorrowedFd<'_>) -> bool {
    let mut token = [0; 1];
    loop {
        match recv(fd, &mut token, RecvFlags::DONTWAIT | RecvFlags::PEEK) {
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => return false,
            _ => return true,
        }
    }
}

/// Fills the descriptor up, so that the kernel calls it not writable. True if anything went in.
///
/// # Errors
/// `EPIPE`: the daemon's end is closed. `EBADF`.
pub(crate) fn stuff(fd: BorrowedFd<'_>) -> io::Result<bool> {
    // Its send buffer is the smallest there is: two of these fill it.
    let stuffing = [0; 2048];
    let mut any = false;
    loop {
        match send(fd, &stuffing, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
            Ok(_) => any = true,
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => return Ok(any),
            // It is closed, and its number is another file's perhaps.
            Err(Errno::BADF | Errno::NOTSOCK) => return Err(Errno::BADF.into()),
            Err(_) => return Err(Errno::PIPE.into()),
        }
    }
}

/// Is the daemon's end closed?
///
/// # Errors
/// `EBADF`: the descriptor itself is.
pub(crate) fn is_closed(fd: BorrowedFd<'_>) -> io::Result<bool> {
    let mut fds = [PollFd::from_borrowed_fd(fd, PollFlags::empty())];
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    let told = matches!(poll(&mut fds, Some(&now)), Ok(events) if events > 0);
    let [entry] = &fds;
    match entry.revents().contains(PollFlags::NVAL) {
        true => Err(Errno::BADF.into()),
        // Nothing was asked for, so an event is an error or a hang-up.
        false => Ok(told),
    }
}

/// Is the descriptor in non-blocking mode?
pub(crate) fn is_nonblocking(fd: BorrowedFd<'_>) -> io::Result<bool> {
    Ok(rustix::fs::fcntl_getfl(fd)?.contains(rustix::fs::OFlags::NONBLOCK))
}
