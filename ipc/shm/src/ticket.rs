//! What shows that somebody holds a socket's descriptor: a secret that the daemon has written on it.
//!
//! The kernel keeps it as the socket's `SO_MAX_PACING_RATE`, which means nothing to a unix socket. Every
//! holder can read it, over `fork`, `exec` and `SCM_RIGHTS`; no listing of the kernel shows it.

use std::os::fd::AsFd;

use rustix::io::Errno;

use crate::option;

/// What the kernel says of a socket that has none.
const NONE: u64 = u64::MAX;

/// Writes the secret on a descriptor.
///
/// # Errors
/// The kernel's.
pub fn write_secret(descriptor: impl AsFd, secret: u64) -> Result<(), Errno> {
    option::set(descriptor, libc::SO_MAX_PACING_RATE, &secret)
}

/// The secret on a descriptor, if there is one.
#[must_use]
pub fn read_secret(descriptor: impl AsFd) -> Option<u64> {
    option::get(descriptor, libc::SO_MAX_PACING_RATE).ok().filter(|secret| *secret != NONE)
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn copies_of_a_descriptor_show_its_secret_and_the_other_end_does_not() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        assert_eq!(read_secret(&theirs), None);
        write_secret(&theirs, 0x0123_4567_89ab_cdef).unwrap();
        assert_eq!(read_secret(theirs.try_clone().unwrap()), Some(0x0123_4567_89ab_cdef));
        assert_eq!(read_secret(&ours), None);
    }

    #[test]
    fn a_file_has_none() {
        assert_eq!(read_secret(std::fs::File::open("/dev/null").unwrap()), None);
    }
}
