//! `splice` to and from a stack's socket, by copying. What the other side cannot take stays where it is.

use core::ptr;

use libc::{c_int, c_short, c_uint, c_void, off64_t, pollfd, size_t, ssize_t, timespec};

use iopkt::{HeldFile, Steps};

use crate::next::call_next;

/// Bytes at a time: so many a pipe that says it is writable takes at once (`PIPE_BUF`).
const CHUNK: usize = 4096;

/// `splice(2)`.
///
/// # Safety
/// As for the C call.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn splice(
    from: c_int,
    from_at: *mut off64_t,
    to: c_int,
    to_at: *mut off64_t,
    len: size_t,
    flags: c_uint,
) -> ssize_t {
    let takes = iopkt::is_ours(from);
    if !takes && !iopkt::is_ours(to) {
        return call_next!(splice(from => c_int, from_at => *mut off64_t, to => c_int,
            to_at => *mut off64_t, len => size_t, flags => c_uint) -> ssize_t);
    }
    if len == 0 {
        return 0;
    }
    let pipe = HeldFile::new(if takes { to } else { from });
    if let Some(errno) = fault(from, to, !from_at.is_null(), !to_at.is_null()) {
        return refuse(errno);
    }
    if takes {
        iopkt::steps(from, |socket| {
            all(len, |rest, first| socket_to_pipe(socket, &pipe, rest, flags, first))
        })
    } else {
        iopkt::steps(to, |socket| {
            all(len, |rest, first| pipe_to_socket(&pipe, socket, rest, flags, first))
        })
    }
}

/// Takes steps, each given what is left and whether it is the first, until one moves nothing.
fn all(len: size_t, mut step: impl FnMut(usize, bool) -> ssize_t) -> ssize_t {
    let mut done = 0;
    while done < len {
        match usize::try_from(step(len - done, done == 0)) {
            Ok(0) => break,
            Ok(moved) => done += moved,
            Err(_) if done > 0 => break,
            Err(_) => return -1,
        }
    }
    ssize_t::try_from(done).unwrap_or(ssize_t::MAX)
}

/// What is wrong with the descriptors, one of which is a stack's.
fn fault(from: c_int, to: c_int, has_from_at: bool, has_to_at: bool) -> Option<c_int> {
    let takes = iopkt::is_ours(from);
    let (pipe, lacking) = if takes { (to, libc::O_RDONLY) } else { (from, libc::O_WRONLY) };
    // SAFETY: no pointers.
    let mode = unsafe { libc::fcntl(pipe, libc::F_GETFL) };
    if mode < 0 || mode & libc::O_ACCMODE == lacking {
        Some(libc::EBADF)
    } else if takes == iopkt::is_ours(to) || !is_pipe(pipe) {
        Some(libc::EINVAL)
    } else if (takes && has_to_at) || (!takes && has_from_at) {
        Some(libc::ESPIPE)
    } else if has_from_at || has_to_at {
        // Nothing in a socket has a place.
        Some(libc::EINVAL)
    } else {
        None
    }
}

/// Copies a piece; only the first one may wait. The bytes leave the socket when the pipe has them.
fn socket_to_pipe(
    socket: &Steps<'_>,
    pipe: &HeldFile,
    len: usize,
    flags: c_uint,
    first: bool,
) -> ssize_t {
    let mut chunk = [0_u8; CHUNK];
    let into: *mut c_void = chunk.as_mut_ptr().cast();
    let want = len.min(CHUNK);
    let wait = if first { 0 } else { libc::MSG_DONTWAIT };
    // SAFETY: the buffer has room for `want` bytes.
    let seen = unsafe { socket.recv(into, want, libc::MSG_PEEK | wait) };
    let Ok(seen @ 1..) = usize::try_from(seen) else { return seen };
    if let Err(errno) =
        ready(pipe.number(), libc::POLLOUT, first && !is_nonblocking(pipe.number(), flags))
    {
        return refuse(errno);
    }
    // SAFETY: so many bytes have been read into the buffer.
    let written = unsafe { iopkt::abi::iopkt_write(pipe.number(), into, seen) };
    let Ok(moved @ 1..) = usize::try_from(written) else { return written };
    let take = libc::MSG_TRUNC | libc::MSG_DONTWAIT;
    // SAFETY: the buffer has room for what was seen, which is no less than what was moved.
    unsafe { socket.recv(into, moved, take) }
}

/// Copies a piece; only the first one may wait. What has left the pipe is sent whatever it takes.
fn pipe_to_socket(
    pipe: &HeldFile,
    socket: &Steps<'_>,
    len: usize,
    flags: c_uint,
    first: bool,
) -> ssize_t {
    let both = ready(socket.number(), libc::POLLOUT, first && !is_nonblocking(socket.number(), 0))
        .and_then(|()| {
            ready(pipe.number(), libc::POLLIN, first && !is_nonblocking(pipe.number(), flags))
        });
    if let Err(errno) = both {
        return refuse(errno);
    }
    let mut chunk = [0_u8; CHUNK];
    let into: *mut c_void = chunk.as_mut_ptr().cast();
    // SAFETY: the buffer has room for so many bytes.
    let read = unsafe { iopkt::abi::iopkt_read(pipe.number(), into, len.min(CHUNK)) };
    let Ok(read @ 1..) = usize::try_from(read) else { return read };
    let more = if flags & libc::SPLICE_F_MORE == 0 { 0 } else { libc::MSG_MORE };
    let mut sent = 0;
    while sent < read {
        let Some(rest) = chunk.get(sent..read) else { break };
        // SAFETY: the slice is as long as it says.
        let now = unsafe { socket.send(rest.as_ptr().cast(), rest.len(), more) };
        match usize::try_from(now) {
            Ok(now) => sent += now,
            Err(_) if iopkt::errno() == libc::EAGAIN || iopkt::errno() == libc::EINTR => {
                // What comes of it the next attempt finds out.
                let _ = ready(socket.number(), libc::POLLOUT, true);
            }
            Err(_) => return now,
        }
    }
    ssize_t::try_from(sent).unwrap_or(ssize_t::MAX)
}

/// Is the descriptor ready, now or after a while? `EAGAIN` if not, `EINTR` if a signal came first.
fn ready(fd: c_int, events: c_short, wait: bool) -> Result<(), c_int> {
    let mut poll = pollfd { fd, events, revents: 0 };
    let at_once = timespec { tv_sec: 0, tv_nsec: 0 };
    let (until, mask): (*const timespec, *const c_void) =
        (if wait { ptr::null() } else { &raw const at_once }, ptr::null());
    // Not libc's, which is a cancellation point.
    // SAFETY: one element, which is ours; a time or none; no mask.
    match unsafe { libc::syscall(libc::SYS_ppoll, &raw mut poll, 1, until, mask, 0) } {
        0 => Err(libc::EAGAIN),
        1.. => Ok(()),
        _ => Err(iopkt::errno()),
    }
}

fn is_nonblocking(fd: c_int, flags: c_uint) -> bool {
    // SAFETY: no pointers.
    let mode = unsafe { libc::fcntl(fd, libc::F_GETFL) };
    flags & libc::SPLICE_F_NONBLOCK != 0 || mode & libc::O_NONBLOCK != 0
}

fn is_pipe(fd: c_int) -> bool {
    // SAFETY: zeros are a value of this struct of numbers.
    let mut about: libc::stat = unsafe { core::mem::zeroed() };
    // SAFETY: the place is ours.
    let known = unsafe { libc::fstat(fd, &raw mut about) } == 0;
    known && about.st_mode & libc::S_IFMT == libc::S_IFIFO
}

fn refuse(errno: c_int) -> ssize_t {
    iopkt::set_errno(errno);
    -1
}

#[cfg(test)]
mod tests {
    use core::sync::atomic::{AtomicBool, Ordering};
    use core::time::Duration;
    use std::thread;

    use super::*;

    extern "C" fn nothing(_: c_int) {}

    #[test]
    fn an_empty_pipe_is_not_ready_and_a_signal_ends_the_wait_for_it() {
        let mut ends = [0; 2];
        // SAFETY: room for two descriptors.
        assert_eq!(unsafe { libc::pipe(ends.as_mut_ptr()) }, 0);
        let [from, to] = ends;
        assert_eq!(ready(to, libc::POLLOUT, true), Ok(()));
        assert_eq!(ready(from, libc::POLLIN, false), Err(libc::EAGAIN));
        // SAFETY: the handler does nothing.
        let _ = unsafe { libc::signal(libc::SIGURG, nothing as *const () as usize) };
        // SAFETY: no pointers.
        let waiting = unsafe { libc::pthread_self() };
        let over = AtomicBool::new(false);
        thread::scope(|scope| {
            let _ = scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    thread::sleep(Duration::from_millis(10));
                    // SAFETY: that thread waits for this one.
                    let _ = unsafe { libc::pthread_kill(waiting, libc::SIGURG) };
                }
            });
            assert_eq!(ready(from, libc::POLLIN, true), Err(libc::EINTR));
            over.store(true, Ordering::Relaxed);
        });
    }
}
