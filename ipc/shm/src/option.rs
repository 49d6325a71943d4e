//! Socket options that nobody else has a name for.

use std::os::fd::{AsFd, AsRawFd as _};

use rustix::io::Errno;
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// Most lists are no longer.
const LIST_LEN: usize = 32;

/// Sets an option of level `SOL_SOCKET`.
///
/// # Errors
/// The kernel's; `ENOPROTOOPT` if it does not have the option.
pub(crate) fn set<T: IntoBytes + Immutable>(
    socket: impl AsFd,
    name: libc::c_int,
    value: &T,
) -> Result<(), Errno> {
    let fd = socket.as_fd().as_raw_fd();
    let bytes = value.as_bytes();
    let len = libc::socklen_t::try_from(bytes.len()).map_err(|_| Errno::INVAL)?;
    // SAFETY: the value is `len` bytes long and outlives the call, which only reads it.
    let result =
        unsafe { libc::setsockopt(fd, libc::SOL_SOCKET, name, bytes.as_ptr().cast(), len) };
    if result == 0 { Ok(()) } else { Err(last_error()) }
}

/// Reads an option of level `SOL_SOCKET`.
///
/// # Errors
/// The kernel's; `EOPNOTSUPP` if the option's value is of another length.
pub(crate) fn get<T: FromBytes + IntoBytes>(
    socket: impl AsFd,
    name: libc::c_int,
) -> Result<T, Errno> {
    let fd = socket.as_fd().as_raw_fd();
    let mut value = T::new_zeroed();
    let bytes = value.as_mut_bytes();
    let asked = libc::socklen_t::try_from(bytes.len()).map_err(|_| Errno::INVAL)?;
    let mut len = asked;
    let place = bytes.as_mut_ptr().cast();
    // SAFETY: the place is `len` bytes long and outlives the call; whatever is written there is a `T`.
    let result = unsafe { libc::getsockopt(fd, libc::SOL_SOCKET, name, place, &raw mut len) };
    if result != 0 {
        return Err(last_error());
    }
    if len == asked { Ok(value) } else { Err(Errno::OPNOTSUPP) }
}

/// Reads an option of level `SOL_SOCKET` whose value is a list of any length.
///
/// # Errors
/// The kernel's.
pub(crate) fn list(socket: impl AsFd, name: libc::c_int) -> Result<Vec<u32>, Errno> {
    let fd = socket.as_fd().as_raw_fd();
    let mut list = vec![0_u32; LIST_LEN];
    loop {
        let bytes = list.as_mut_bytes();
        let mut len = libc::socklen_t::try_from(bytes.len()).map_err(|_| Errno::INVAL)?;
        let place = bytes.as_mut_ptr().cast();
        // SAFETY: the place is `len` bytes long and outlives the call; any bytes are numbers.
        let result = unsafe { libc::getsockopt(fd, libc::SOL_SOCKET, name, place, &raw mut len) };
        let count = usize::try_from(len).unwrap_or(0).div_euclid(size_of::<u32>());
        let short = count > list.len();
        if result == 0 {
            list.truncate(count);
            return Ok(list);
        }
        match last_error() {
            // Long enough the next time: what the kernel lists here does not change.
            Errno::RANGE if short => list.resize(count, 0),
            errno => return Err(errno),
        }
    }
}

/// Why the last call of libc's failed.
pub(crate) fn last_error() -> Errno {
    std::io::Error::last_os_error().raw_os_error().map_or(Errno::IO, Errno::from_raw_os_error)
}
