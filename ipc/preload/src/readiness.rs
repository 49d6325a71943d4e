//! Waiting for descriptors: what a unix socket of the kernel's can't say is added to what libc's calls say
//! (`POLLERR`, `EPOLLERR`). Nothing of ours that has to be dropped is on the stack while they wait.

use iopkt::readiness;
use libc::{c_int, epoll_event, nfds_t, pollfd, sigset_t, size_t, timespec};

use crate::next::call_next;

static AT_ONCE: timespec = timespec { tv_sec: 0, tv_nsec: 0 };

/// Makes a call that waits for so long. If something is known already it does not wait at all, unless it turns out
/// that another thread has been told of that meanwhile.
macro_rules! wait {
    ($timeout:ident or $at_once:expr, if $known:expr; $call:expr, then |$ready:ident| $add:expr) => {{
        if $known {
            let $timeout = $at_once;
            let $ready = $call;
            let told = $add;
            if told != 0 {
                return told;
            }
        }
        let $ready = $call;
        $add
    }};
}

/// `poll(2)`.
///
/// # Safety
/// As for the C call.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn poll(fds: *mut pollfd, n: nfds_t, timeout: c_int) -> c_int {
    wait! { timeout or 0,
        // SAFETY: the caller's promise.
        if unsafe { readiness::reports_wait(fds, n) };
        call_next!(poll(fds => *mut pollfd, n => nfds_t, timeout => c_int) -> c_int),
        // SAFETY: the caller's promise; libc has filled it in.
        then |ready| unsafe { readiness::add_errors(fds, n, ready) }
    }
}

/// `poll` of programs built with `_FORTIFY_SOURCE`: `room` is the size of the array.
///
/// # Safety
/// As for the C call.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn __poll_chk(
    fds: *mut pollfd,
    n: nfds_t,
    timeout: c_int,
    room: size_t,
) -> c_int {
    wait! { timeout or 0,
        // SAFETY: the caller's promise.
        if unsafe { readiness::reports_wait(fds, n) };
        call_next!(__poll_chk(fds => *mut pollfd, n => nfds_t, timeout => c_int,
        room => size_t) -> c_int),
        // SAFETY: the caller's promise; libc has filled it in.
        then |ready| unsafe { readiness::add_errors(fds, n, ready) }
    }
}

/// `ppoll(2)`.
///
/// # Safety
/// As for the C call.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn ppoll(
    fds: *mut pollfd,
    n: nfds_t,
    timeout: *const timespec,
    mask: *const sigset_t,
) -> c_int {
    wait! { timeout or &raw const AT_ONCE,
        // SAFETY: the caller's promise.
        if unsafe { readiness::reports_wait(fds, n) };
        call_next!(ppoll(fds => *mut pollfd, n => nfds_t, timeout => *const timespec,
        mask => *const sigset_t) -> c_int),
        // SAFETY: the caller's promise; libc has filled it in.
        then |ready| unsafe { readiness::add_errors(fds, n, ready) }
    }
}

/// `ppoll` of programs built with `_FORTIFY_SOURCE`.
///
/// # Safety
/// As for the C call.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn __ppoll_chk(
    fds: *mut pollfd,
    n: nfds_t,
    timeout: *const timespec,
    mask: *const sigset_t,
    room: size_t,
) -> c_int {
    wait! { timeout or &raw const AT_ONCE,
        // SAFETY: the caller's promise.
        if unsafe { readiness::reports_wait(fds, n) };
        call_next!(__ppoll_chk(fds => *mut pollfd, n => nfds_t,
        timeout => *const timespec, mask => *const sigset_t, room => size_t) -> c_int),
        // SAFETY: the caller's promise; libc has filled it in.
        then |ready| unsafe { readiness::add_errors(fds, n, ready) }
    }
}

/// `epoll_wait(2)`.
///
/// # Safety
/// As for the C call.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn epoll_wait(
    set: c_int,
    events: *mut epoll_event,
    room: c_int,
    timeout: c_int,
) -> c_int {
    wait! { timeout or 0,
        if readiness::reports_wait_in(set);
        call_next!(epoll_wait(set => c_int, events => *mut epoll_event, room => c_int,
        timeout => c_int) -> c_int),
        // SAFETY: the caller's promise; libc has filled it in.
        then |told| unsafe { readiness::add_reports(set, events, room, told) }
    }
}

/// `epoll_pwait(2)`.
///
/// # Safety
/// As for the C call.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn epoll_pwait(
    set: c_int,
    events: *mut epoll_event,
    room: c_int,
    timeout: c_int,
    mask: *const sigset_t,
) -> c_int {
    wait! { timeout or 0,
        if readiness::reports_wait_in(set);
        call_next!(epoll_pwait(set => c_int, events => *mut epoll_event, room => c_int,
        timeout => c_int, mask => *const sigset_t) -> c_int),
        // SAFETY: the caller's promise; libc has filled it in.
        then |told| unsafe { readiness::add_reports(set, events, room, told) }
    }
}

/// `epoll_pwait2(2)`.
///
/// # Safety
/// As for the C call.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn epoll_pwait2(
    set: c_int,
    events: *mut epoll_event,
    room: c_int,
    timeout: *const timespec,
    mask: *const sigset_t,
) -> c_int {
    wait! { timeout or &raw const AT_ONCE,
        if readiness::reports_wait_in(set);
        call_next!(epoll_pwait2(set => c_int, events => *mut epoll_event, room => c_int,
        timeout => *const timespec, mask => *const sigset_t) -> c_int),
        // SAFETY: the caller's promise; libc has filled it in.
        then |told| unsafe { readiness::add_reports(set, events, room, told) }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    /// The timeouts of the calls made, where `told` is what each of them has come to.
    fn timeouts(known: bool, told: c_int) -> Vec<c_int> {
        let made = RefCell::new(Vec::new());
        let wait = |timeout: c_int| -> c_int {
            wait! { timeout or 0, if known; made.borrow_mut().push(timeout), then |_ready| told }
        };
        assert_eq!(wait(250), told);
        made.into_inner()
    }

    #[test]
    fn who_has_nothing_to_tell_waits_as_long_as_was_asked_for() {
        assert_eq!(timeouts(false, 0), [250]);
        assert_eq!(timeouts(true, 0), [0, 250], "known, but nobody is to be told");
    }

    #[test]
    fn what_is_known_is_told_at_once() {
        assert_eq!(timeouts(true, 1), [0]);
        assert_eq!(timeouts(true, -1), [0], "an error, too");
    }
}
