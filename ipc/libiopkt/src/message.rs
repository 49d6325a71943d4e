//! Scatter lists and flags.

use core::slice;
use std::io::{self, IoSlice, IoSliceMut};

use io_pkt_client::{RecvFlags, SendFlags};
use libc::{c_int, c_void, iovec};

use crate::errno::os;

/// Most buffers of one call (`IOV_MAX` of Linux).
const BUFFERS_MAX: usize = 1024;

/// Flags of `send`. Linux ignores those it does not know, and so do programs that pass them;
/// `MSG_NOSIGNAL` and `MSG_FASTOPEN` are the caller's part.
pub(crate) fn send_flags(flags: c_int) -> SendFlags {
    const KNOWN: [(c_int, SendFlags); 3] = [
        (libc::MSG_DONTWAIT, SendFlags::DONTWAIT),
        (libc::MSG_MORE, SendFlags::MORE),
        (libc::MSG_OOB, SendFlags::OOB),
    ];
    let asked = KNOWN.into_iter().filter(|(bit, _)| flags & bit != 0);
    asked.fold(SendFlags::empty(), |known, (_, flag)| known | flag)
}

/// Flags of `recv`; `MSG_ERRQUEUE` is the caller's part.
pub(crate) fn recv_flags(flags: c_int) -> RecvFlags {
    const KNOWN: [(c_int, RecvFlags); 5] = [
        (libc::MSG_DONTWAIT, RecvFlags::DONTWAIT),
        (libc::MSG_PEEK, RecvFlags::PEEK),
        (libc::MSG_WAITALL, RecvFlags::WAITALL),
        (libc::MSG_TRUNC, RecvFlags::TRUNC),
        (libc::MSG_OOB, RecvFlags::OOB),
    ];
    let asked = KNOWN.into_iter().filter(|(bit, _)| flags & bit != 0);
    asked.fold(RecvFlags::empty(), |known, (_, flag)| known | flag)
}

/// The program's bytes to send.
///
/// # Safety
/// `base` is null or points to `len` readable bytes that live for `'a`.
pub(crate) unsafe fn bytes<'a>(base: *const c_void, len: usize) -> io::Result<&'a [u8]> {
    if len == 0 {
        return Ok(&[]);
    }
    if base.is_null() || isize::try_from(len).is_err() {
        return Err(os(libc::EFAULT));
    }
    // SAFETY: not null, at most isize::MAX bytes, which the caller vouches for.
    Ok(unsafe { slice::from_raw_parts(base.cast::<u8>(), len) })
}

/// The program's buffer to fill.
///
/// # Safety
/// `base` is null or points to `len` writable bytes that live for `'a` and that nobody else uses.
pub(crate) unsafe fn bytes_mut<'a>(base: *mut c_void, len: usize) -> io::Result<&'a mut [u8]> {
    if len == 0 {
        return Ok(&mut []);
    }
    if base.is_null() || isize::try_from(len).is_err() {
        return Err(os(libc::EFAULT));
    }
    // SAFETY: not null, at most isize::MAX bytes, which the caller vouches for. They may be
    // uninitialized to the program's compiler, but this library is another compilation and only
    // writes to them.
    Ok(unsafe { slice::from_raw_parts_mut(base.cast::<u8>(), len) })
}

/// Most bytes of a stream that one `recv` with `MSG_TRUNC` throws away.
const SCRAP_MAX: usize = 256 * 1024;

/// `MSG_TRUNC` throws the bytes of a stream away: where to, `None` for every other call.
pub(crate) fn scrap(is_stream: bool, flags: c_int, len: usize) -> Option<Vec<u8>> {
    let discards = is_stream && flags & libc::MSG_TRUNC != 0 && flags & libc::MSG_OOB == 0;
    discards.then(|| vec![0; len.min(SCRAP_MAX)])
}

/// Room of all buffers together.
pub(crate) fn total(buffers: &[IoSliceMut<'_>]) -> usize {
    buffers.iter().fold(0, |sum, buffer| sum.saturating_add(buffer.len()))
}

/// The program's list of buffers.
///
/// # Safety
/// `list` is null or points to `count` readable `iovec`s that live for `'a`.
pub(crate) unsafe fn list<'a>(list: *const iovec, count: usize) -> io::Result<&'a [iovec]> {
    if count > BUFFERS_MAX {
        return Err(os(libc::EMSGSIZE));
    }
    if count == 0 {
        return Ok(&[]);
    }
    if list.is_null() {
        return Err(os(libc::EFAULT));
    }
    // SAFETY: not null, and the caller vouches for `count` elements.
    let buffers = unsafe { slice::from_raw_parts(list, count) };
    let too_long = |buffer: &iovec| isize::try_from(buffer.iov_len).is_err();
    if buffers.iter().any(too_long) { Err(os(libc::EINVAL)) } else { Ok(buffers) }
}

/// A list of buffers to send from.
///
/// # Safety
/// As for [`list`], and each buffer as for [`bytes`].
pub(crate) unsafe fn gather<'a>(from: *const iovec, count: usize) -> io::Result<Vec<IoSlice<'a>>> {
    // SAFETY: the caller's promise.
    unsafe { list(from, count) }?
        .iter()
        .map(|buffer| {
            // SAFETY: the caller's promise for each element.
            unsafe { bytes(buffer.iov_base, buffer.iov_len) }.map(IoSlice::new)
        })
        .collect()
}

/// A list of buffers to receive into.
///
/// # Safety
/// As for [`list`], and each buffer as for [`bytes_mut`].
pub(crate) unsafe fn scatter<'a>(
    into: *const iovec,
    count: usize,
) -> io::Result<Vec<IoSliceMut<'a>>> {
    // SAFETY: the caller's promise.
    unsafe { list(into, count) }?
        .iter()
        .map(|buffer| {
            // SAFETY: the caller's promise for each element.
            unsafe { bytes_mut(buffer.iov_base, buffer.iov_len) }.map(IoSliceMut::new)
        })
        .collect()
}

/// The count of `readv` and `writev`, which is a signed number.
pub(crate) fn buffer_count(count: c_int) -> io::Result<usize> {
    usize::try_from(count)
        .ok()
        .filter(|count| *count <= BUFFERS_MAX)
        .ok_or_else(|| os(libc::EINVAL))
}

#[cfg(test)]
mod tests {
    use core::ptr;

    use super::*;

    #[test]
    fn flags_the_stack_knows_are_passed_on() {
        let flags = recv_flags(libc::MSG_PEEK | libc::MSG_DONTWAIT | libc::MSG_CMSG_CLOEXEC);
        assert_eq!(flags, RecvFlags::PEEK | RecvFlags::DONTWAIT);
        let flags = send_flags(libc::MSG_NOSIGNAL | libc::MSG_DONTWAIT);
        assert_eq!(flags, SendFlags::DONTWAIT);
        assert_eq!(send_flags(libc::MSG_OOB), SendFlags::OOB);
        assert_eq!(recv_flags(libc::MSG_OOB), RecvFlags::OOB);
    }

    #[test]
    fn unknown_flags_are_ignored() {
        assert_eq!(send_flags(libc::MSG_ZEROCOPY | libc::MSG_EOR), SendFlags::empty());
    }

    #[test]
    fn an_empty_buffer_may_be_null_and_a_full_one_not() {
        // SAFETY: null is allowed.
        assert!(unsafe { bytes(ptr::null(), 0) }.unwrap().is_empty());
        // SAFETY: null is allowed.
        let error = unsafe { bytes(ptr::null(), 1) }.unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EFAULT));
    }

    #[test]
    fn lists_keep_their_order_and_their_limit() {
        let (mut one, mut two) = (*b"ab", *b"cde");
        let list = [
            iovec { iov_base: one.as_mut_ptr().cast(), iov_len: 2 },
            iovec { iov_base: ptr::null_mut(), iov_len: 0 },
            iovec { iov_base: two.as_mut_ptr().cast(), iov_len: 3 },
        ];
        // SAFETY: three buffers that outlive the slices.
        let slices = unsafe { gather(list.as_ptr(), 3) }.unwrap();
        assert_eq!(
            slices.iter().map(|s| s.to_vec()).collect::<Vec<_>>(),
            [b"ab" as &[u8], b"", b"cde"]
        );
        assert!(buffer_count(-1).is_err());
        assert!(buffer_count(1025).is_err());
    }
}
