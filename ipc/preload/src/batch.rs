//! Calls that are several others: `sendmmsg`, `recvmmsg`, `sendfile`.

use std::time::{Duration, Instant};

use iopkt::{HeldFile, Steps};
use libc::{c_int, c_uint, c_void, mmsghdr, off_t, size_t, ssize_t, timespec};

use crate::cancel::cancellable;
use crate::next::call_next;

/// Most messages of one call (`UIO_MAXIOV` of Linux).
const MESSAGES_MAX: c_uint = 1024;

/// `tv_nsec` is below.
const NANOSECONDS: i64 = 1_000_000_000;

/// Bytes of a file copied at a time.
const CHUNK: usize = 64 * 1024;

/// `sendmmsg(2)`.
///
/// # Safety
/// As for the C call.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn sendmmsg(
    fd: c_int,
    messages: *mut mmsghdr,
    n: c_uint,
    flags: c_int,
) -> c_int {
    if !iopkt::is_ours(fd) {
        return call_next!(sendmmsg(fd => c_int, messages => *mut mmsghdr, n => c_uint,
            flags => c_int) -> c_int);
    }
    // SAFETY: the caller's promise.
    cancellable!(unsafe { send_each(fd, messages, n, flags) })
}

/// # Safety
/// As for [`sendmmsg`].
unsafe fn send_each(fd: c_int, messages: *mut mmsghdr, n: c_uint, flags: c_int) -> c_int {
    iopkt::steps(fd, |socket| {
        let send = |message: &mut mmsghdr, _| {
            // SAFETY: valid by the caller's promise.
            unsafe { socket.sendmsg(&raw const message.msg_hdr, flags) }
        };
        // SAFETY: the caller's promise.
        unsafe { each(messages, n, send) }
    })
}

/// `recvmmsg(2)`. As in the kernel, the time limit is looked at after each datagram.
///
/// # Safety
/// As for the C call.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn recvmmsg(
    fd: c_int,
    messages: *mut mmsghdr,
    n: c_uint,
    flags: c_int,
    timeout: *mut timespec,
) -> c_int {
    if !iopkt::is_ours(fd) {
        let received = call_next!(recvmmsg(fd => c_int, messages => *mut mmsghdr, n => c_uint,
            flags => c_int, timeout => *mut timespec) -> c_int);
        for index in 0..usize::try_from(received).unwrap_or(0) {
            // SAFETY: so many messages of the array have been filled in.
            let message = unsafe { messages.add(index) };
            // SAFETY: as above.
            let header = unsafe { &(*message).msg_hdr };
            // SAFETY: as above.
            unsafe { iopkt::adopt_received(header) };
        }
        return received;
    }
    // SAFETY: the caller's promise.
    cancellable!(unsafe { receive_each(fd, messages, n, flags, timeout) })
}

/// # Safety
/// As for [`recvmmsg`].
unsafe fn receive_each(
    fd: c_int,
    messages: *mut mmsghdr,
    n: c_uint,
    flags: c_int,
    timeout: *mut timespec,
) -> c_int {
    // SAFETY: null or valid by the caller's promise.
    let timeout = unsafe { timeout.as_ref() };
    let is_wrong = |time: &timespec| time.tv_sec < 0 || !(0..NANOSECONDS).contains(&time.tv_nsec);
    if timeout.is_some_and(is_wrong) {
        iopkt::set_errno(libc::EINVAL);
        return -1;
    }
    let until = timeout.and_then(deadline);
    iopkt::steps(fd, |socket| {
        let receive = |message: &mut mmsghdr, done: c_int| {
            if done > 0 && until.is_some_and(|until| Instant::now() >= until) {
                iopkt::set_errno(libc::EAGAIN);
                return -1;
            }
            let wait =
                if done > 0 && flags & libc::MSG_WAITFORONE != 0 { libc::MSG_DONTWAIT } else { 0 };
            // SAFETY: valid by the caller's promise.
            unsafe { socket.recvmsg(&raw mut message.msg_hdr, flags | wait) }
        };
        // SAFETY: the caller's promise.
        unsafe { each(messages, n, receive) }
    })
}

/// `sendfile(2)` to a stack's socket, by copying.
///
/// # Safety
/// As for the C call.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn sendfile(
    out: c_int,
    file: c_int,
    offset: *mut off_t,
    len: size_t,
) -> ssize_t {
    if iopkt::is_ours(out) || iopkt::is_ours(file) {
        // SAFETY: the caller's promise.
        return unsafe { copy_file(out, file, offset, len) };
    }
    call_next!(sendfile(out => c_int, file => c_int, offset => *mut off_t, len => size_t) -> ssize_t)
}

/// `sendfile(2)` of programs built for large files: the same, since `off_t` has 64 bits.
///
/// # Safety
/// As for the C call.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn sendfile64(
    out: c_int,
    file: c_int,
    offset: *mut off_t,
    len: size_t,
) -> ssize_t {
    // SAFETY: the caller's promise.
    unsafe { sendfile(out, file, offset, len) }
}

/// Makes a call for each message, until one fails; the number of those that did not, or −1 if it was
/// the first.
///
/// # Safety
/// `messages` points to `n` valid messages.
unsafe fn each(
    messages: *mut mmsghdr,
    n: c_uint,
    mut call: impl FnMut(&mut mmsghdr, c_int) -> ssize_t,
) -> c_int {
    let mut done: c_int = 0;
    if messages.is_null() && n > 0 {
        iopkt::set_errno(libc::EFAULT);
        return -1;
    }
    for index in 0..usize::try_from(n.min(MESSAGES_MAX)).unwrap_or(0) {
        // SAFETY: within the array, by the caller's promise.
        let message = unsafe { messages.add(index) };
        // SAFETY: as above; the program lets nobody else use it during the call.
        let message = unsafe { &mut *message };
        let Ok(len) = c_uint::try_from(call(message, done)) else {
            return if done == 0 { -1 } else { done };
        };
        message.msg_len = len;
        done += 1;
    }
    done
}

fn deadline(timeout: &timespec) -> Option<Instant> {
    let seconds = u64::try_from(timeout.tv_sec).ok()?;
    let nanoseconds = u32::try_from(timeout.tv_nsec).ok()?;
    Instant::now().checked_add(Duration::new(seconds, nanoseconds))
}

/// # Safety
/// As for [`sendfile`].
unsafe fn copy_file(out: c_int, file: c_int, offset: *mut off_t, len: size_t) -> ssize_t {
    // SAFETY: no pointers.
    if iopkt::is_ours(file) || unsafe { libc::fcntl(file, libc::F_GETFD) } < 0 {
        iopkt::set_errno(if iopkt::is_ours(file) { libc::EINVAL } else { libc::EBADF });
        return -1;
    }
    let held = HeldFile::new(file);
    // SAFETY: null or valid by the caller's promise.
    let place = unsafe { offset.as_mut() };
    let start = match &place {
        Some(start) => **start,
        // SAFETY: no pointers.
        None => unsafe { libc::lseek(held.number(), 0, libc::SEEK_CUR) },
    };
    if start < 0 {
        iopkt::set_errno(libc::EINVAL);
        return -1;
    }
    let result = iopkt::steps(out, |out| copy_from(out, &held, start, len));
    let end = start.saturating_add(off_t::try_from(result.max(0)).unwrap_or(0));
    match place {
        Some(place) => *place = end,
        None if result > 0 => {
            // SAFETY: no pointers. The file could be read at this place, so it can be put there.
            let _ = unsafe { libc::lseek(held.number(), end, libc::SEEK_SET) };
        }
        None => {}
    }
    result
}

/// Copies `len` bytes of a file from `start` on, or what there is of them; the number copied, or −1 if
/// none could be.
fn copy_from(out: &Steps<'_>, file: &HeldFile, start: off_t, len: size_t) -> ssize_t {
    let mut chunk = vec![0u8; len.min(CHUNK)];
    let mut done: usize = 0;
    while done < len {
        let want = chunk.len().min(len - done);
        let from = start.saturating_add(off_t::try_from(done).unwrap_or(off_t::MAX));
        let into: *mut c_void = chunk.as_mut_ptr().cast();
        // libc's own would be a cancellation point, with this buffer to be dropped.
        // SAFETY: the buffer has room for `want` bytes.
        let read = unsafe { libc::syscall(libc::SYS_pread64, file.number(), into, want, from) };
        let read = usize::try_from(read);
        let written = match read {
            Ok(0) => break,
            // SAFETY: that many bytes have been read into the buffer.
            Ok(read) => unsafe { out.send(into, read, 0) },
            Err(_) => -1,
        };
        let Ok(written) = usize::try_from(written) else {
            return if done == 0 { -1 } else { ssize_t::try_from(done).unwrap_or(ssize_t::MAX) };
        };
        done += written;
        if read != Ok(written) {
            break;
        }
    }
    ssize_t::try_from(done).unwrap_or(ssize_t::MAX)
}
