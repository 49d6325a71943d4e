//! From `io::Result` to what a C call returns: a value, or −1 and errno.

use std::io;

use libc::{c_int, ssize_t};

/// The errno of the calling thread.
#[must_use]
pub fn errno() -> c_int {
    // SAFETY: takes no arguments; gives the address of this thread's errno.
    let place = unsafe { libc::__errno_location() };
    // SAFETY: the address is valid and this thread's own for as long as the thread lives.
    unsafe { *place }
}

/// Sets the errno of the calling thread.
pub fn set_errno(value: c_int) {
    // SAFETY: takes no arguments; gives the address of this thread's errno.
    let place = unsafe { libc::__errno_location() };
    // SAFETY: the address is valid and this thread's own for as long as the thread lives.
    unsafe { *place = value };
}

/// An error that carries this errno.
pub(crate) fn os(errno: c_int) -> io::Error {
    io::Error::from_raw_os_error(errno)
}

/// Result of a call that returns 0 or −1.
pub(crate) fn status(result: io::Result<()>) -> c_int {
    number(result.map(|()| 0))
}

/// Result of a call that returns a descriptor or another small number.
pub(crate) fn number(result: io::Result<c_int>) -> c_int {
    result.unwrap_or_else(|error| fail(&error))
}

/// Result of a call that returns a count of bytes.
pub(crate) fn count(result: io::Result<usize>) -> ssize_t {
    match result {
        Ok(len) => ssize_t::try_from(len).unwrap_or(ssize_t::MAX),
        Err(error) => ssize_t::try_from(fail(&error)).unwrap_or(-1),
    }
}

/// Sets errno from the error; −1 for the caller to return.
fn fail(error: &io::Error) -> c_int {
    set_errno(number_of(error));
    -1
}

/// The errno an error stands for. Errors made by Rust code carry a kind instead of a number.
pub(crate) fn number_of(error: &io::Error) -> c_int {
    use io::ErrorKind as Kind;
    error.raw_os_error().unwrap_or_else(|| match error.kind() {
        Kind::WouldBlock => libc::EAGAIN,
        Kind::Interrupted => libc::EINTR,
        Kind::InvalidInput | Kind::InvalidData => libc::EINVAL,
        Kind::NotFound => libc::ENOENT,
        Kind::PermissionDenied => libc::EACCES,
        Kind::ConnectionRefused => libc::ECONNREFUSED,
        Kind::ConnectionReset | Kind::UnexpectedEof => libc::ECONNRESET,
        Kind::ConnectionAborted => libc::ECONNABORTED,
        Kind::NotConnected => libc::ENOTCONN,
        Kind::AddrInUse => libc::EADDRINUSE,
        Kind::AddrNotAvailable => libc::EADDRNOTAVAIL,
        Kind::BrokenPipe => libc::EPIPE,
        Kind::TimedOut => libc::ETIMEDOUT,
        Kind::OutOfMemory => libc::ENOMEM,
        Kind::Unsupported => libc::EOPNOTSUPP,
        Kind::HostUnreachable => libc::EHOSTUNREACH,
        Kind::NetworkUnreachable => libc::ENETUNREACH,
        Kind::NetworkDown => libc::ENETDOWN,
        _ => libc::EIO,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_pass_and_errors_become_minus_one_and_errno() {
        assert_eq!(count(Ok(17)), 17);
        assert_eq!(status(Ok(())), 0);
        assert_eq!(number(Err(os(libc::EADDRINUSE))), -1);
        assert_eq!(errno(), libc::EADDRINUSE);
        assert_eq!(count(Err(io::ErrorKind::WouldBlock.into())), -1);
        assert_eq!(errno(), libc::EAGAIN);
    }
}
