//! What `poll` and `epoll` say of a stack's socket beside what the kernel says of its descriptor: `POLLERR`.
//!
//! A unix socket that is alive has no error. So whoever stands in front of libc's `poll` and `epoll_wait` asks here
//! before they wait, whether errors wait that nobody has read (`MSG_ERRQUEUE`), and afterwards what is to be added.
//! A program whose sockets have not asked for such errors pays for a look at those that are ready.

use core::sync::atomic::{AtomicBool, Ordering};
use std::ffi::CString;

use libc::{POLLERR, POLLIN, POLLRDNORM, c_int, c_short, epoll_event, nfds_t, pollfd};

use crate::asking::ASKING;
use crate::errno::{errno, set_errno};
use crate::kernel;
use crate::table::{self, Held};

/// A socket of this program's has asked for errors to be kept.
static EXPECTED: AtomicBool = AtomicBool::new(false);

/// The kernel says no more than this of a set that is looked through; what is beyond has no `EPOLLERR`.
const LISTING_MAX: usize = 64 * 1024;

/// `EPOLLET`, `EPOLLONESHOT`: such an event is told once, and the kernel does that.
const ONCE: u32 = 1 << 31 | 1 << 30;

pub(crate) fn expect_reports() {
    EXPECTED.store(true, Ordering::Relaxed);
}

fn are_expected() -> bool {
    EXPECTED.load(Ordering::Relaxed)
}

fn reports_at(fd: c_int) -> Option<Held> {
    table::lookup(fd).filter(|held| held.socket.unspoken().reports)
}

/// Do errors wait at one of these? Then `poll` is not to wait.
///
/// # Safety
/// `fds` is null or points to `n` entries.
#[must_use]
pub unsafe fn reports_wait(fds: *const pollfd, n: nfds_t) -> bool {
    if !are_expected() || fds.is_null() {
        return false;
    }
    // SAFETY: not null; the caller's promise.
    let fds = unsafe { core::slice::from_raw_parts(fds, usize::try_from(n).unwrap_or(0)) };
    fds.iter().any(|entry| reports_at(entry.fd).is_some())
}

/// Adds `POLLERR` where it belongs, after `poll` has found so many ready; their number then.
///
/// # Safety
/// `fds` points to `n` entries, which the kernel has just filled in.
#[must_use]
pub unsafe fn add_errors(fds: *mut pollfd, n: nfds_t, ready: c_int) -> c_int {
    if fds.is_null() || ready < 0 {
        return ready;
    }
    // SAFETY: not null; the caller's promise.
    let fds = unsafe { core::slice::from_raw_parts_mut(fds, usize::try_from(n).unwrap_or(0)) };
    let expected = are_expected();
    let mut ready = ready;
    for entry in fds.iter_mut().filter(|entry| entry.revents != 0 || expected) {
        let Some(held) = table::lookup(entry.fd) else { continue };
        let before = entry.revents;
        entry.revents = told(&held, before);
        if before == 0 && entry.revents != 0 {
            ready = ready.saturating_add(1);
        }
    }
    ready
}

/// The events of a socket of which the kernel says `events`: as in Linux, an error alone is nothing to read.
fn told(held: &Held, events: c_short) -> c_short {
    let unspoken = held.socket.unspoken();
    if !unspoken.reports && (!unspoken.error || events == 0) {
        return events;
    }
    let is_stream = held.is_stream();
    let nothing = !is_stream && !unspoken.unread && events & libc::POLLRDHUP == 0;
    let readable = POLLIN | POLLRDNORM;
    POLLERR | if nothing { events & !readable } else { events }
}

/// Do errors wait at a socket of this set? Then `epoll_wait` is not to wait.
#[must_use]
pub fn reports_wait_in(set: c_int) -> bool {
    reports_in(set).iter().any(Report::is_told_until_read)
}

/// Adds `EPOLLERR` where it belongs, after `epoll_wait` has told of so many events; their number then.
///
/// # Safety
/// `events` has room for `room` events, of which the kernel has just filled in so many.
#[must_use]
pub unsafe fn add_reports(set: c_int, events: *mut epoll_event, room: c_int, told: c_int) -> c_int {
    if events.is_null() || told < 0 {
        return told;
    }
    let mut told = told;
    for report in reports_in(set) {
        let len = usize::try_from(told).unwrap_or(0);
        // SAFETY: not null, and so many are filled in.
        let events_told = unsafe { core::slice::from_raw_parts_mut(events, len) };
        if let Some(event) = events_told.iter_mut().find(|event| event.u64 == report.data) {
            event.events |= libc::EPOLLERR.cast_unsigned();
            if report.alone {
                event.events &= !(libc::EPOLLIN | libc::EPOLLRDNORM).cast_unsigned();
            }
        } else if report.is_told_until_read() && told < room {
            let event = epoll_event { events: libc::EPOLLERR.cast_unsigned(), u64: report.data };
            // SAFETY: `told` is below the room that the caller vouches for.
            let place = unsafe { events.add(len) };
            // SAFETY: as above.
            unsafe { place.write_unaligned(event) };
            told = told.saturating_add(1);
        }
    }
    told
}

/// A socket of a set at which errors wait.
#[derive(Debug, PartialEq, Eq)]
struct Report {
    /// What the program calls it.
    data: u64,
    /// What the program wants to hear of it, and how.
    wanted: u32,
    /// There is nothing to read, and no other member has this name.
    alone: bool,
}

impl Report {
    /// Members of the other kinds have their one event from the kernel, by the token that came with the error.
    fn is_told_until_read(&self) -> bool {
        self.wanted & ONCE == 0
    }
}

/// The sockets of a set at which errors wait. Those that have asked for errors are looked at, and the kernel is asked for
/// the members only if errors wait at one.
fn reports_in(set: c_int) -> Vec<Report> {
    if !are_expected() || !ASKING.iter().any(|fd| reports_at(fd).is_some()) {
        return Vec::new();
    }
    let before = errno();
    let listing = listing_of(set);
    set_errno(before);
    reports_of(&listing, |fd| {
        let held = reports_at(fd)?;
        Some(held.is_stream() || held.socket.unspoken().unread)
    })
}

/// Those of the members listed at which errors wait: `unread` says of them whether there is something to read as well.
fn reports_of(listing: &str, unread: impl Fn(c_int) -> Option<bool>) -> Vec<Report> {
    let members: Vec<_> = listing.lines().filter_map(member).collect();
    let named = |name| members.iter().filter(|(_, _, data)| *data == name).count();
    let report = |&(fd, wanted, data): &(c_int, u32, u64)| {
        let alone = !unread(fd)? && named(data) == 1;
        Some(Report { data, wanted, alone })
    };
    members.iter().filter_map(report).collect()
}

/// `tfd:        5 events:       19 data:                7f  pos:0 ino:61 sdev:5`
fn member(line: &str) -> Option<(c_int, u32, u64)> {
    let mut words = line.split_whitespace();
    let mut value = |name| words.next().filter(|word| *word == name).and_then(|_| words.next());
    let fd = value("tfd:")?.parse().ok()?;
    let events = u32::from_str_radix(value("events:")?, 16).ok()?;
    let data = u64::from_str_radix(value("data:")?, 16).ok()?;
    Some((fd, events, data))
}

/// What the kernel says of a set's members. The calls are no points of cancellation.
fn listing_of(set: c_int) -> String {
    let Ok(path) = CString::new(format!("/proc/self/fdinfo/{set}")) else { return String::new() };
    let flags = libc::O_RDONLY | libc::O_CLOEXEC;
    // SAFETY: a C string.
    let fd = unsafe { kernel::openat(libc::AT_FDCWD, path.as_ptr(), flags, 0) };
    if fd < 0 {
        return String::new();
    }
    let mut all = Vec::new();
    let mut piece = [0_u8; 4096];
    while all.len() < LISTING_MAX {
        // SAFETY: the buffer has this room.
        let len = unsafe { kernel::read(fd, piece.as_mut_ptr().cast(), piece.len()) };
        match usize::try_from(len).ok().and_then(|len| piece.get(..len)) {
            None | Some([]) => break,
            Some(bytes) => all.extend_from_slice(bytes),
        }
    }
    // SAFETY: opened above, and nobody else's.
    let _ = unsafe { kernel::close(fd) };
    String::from_utf8(all).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_names_the_members_of_a_set() {
        // SAFETY: no pointers.
        let set = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
        // SAFETY: no pointers.
        let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC) };
        let wanted = libc::EPOLLIN.cast_unsigned() | ONCE;
        let mut event = epoll_event { events: wanted, u64: 0xfeed_0000_0000_beef };
        // SAFETY: the event is ours.
        assert_eq!(unsafe { libc::epoll_ctl(set, libc::EPOLL_CTL_ADD, fd, &raw mut event) }, 0);
        let members: Vec<_> = listing_of(set).lines().filter_map(member).collect();
        let [(number, events, data)] = members[..] else { panic!("{members:?}") };
        assert_eq!((number, events & wanted, data), (fd, wanted, 0xfeed_0000_0000_beef));
        for fd in [fd, set] {
            // SAFETY: both are ours.
            assert_eq!(unsafe { libc::close(fd) }, 0);
        }
        assert_eq!(listing_of(set), "", "no set");
    }

    const LISTING: &str = "pos:\t0\nflags:\t02\n\
        tfd:        5 events:       19 data:                7  pos:0 ino:61 sdev:5\n\
        tfd:        6 events: 80000019 data:                8  pos:0 ino:62 sdev:5\n\
        tfd:        7 events: 40000000 data:                9  pos:0 ino:63 sdev:5\n";

    #[test]
    fn only_members_that_are_told_until_they_are_read_keep_anybody_from_waiting() {
        let reports = reports_of(LISTING, |_| Some(false));
        let told: Vec<_> = reports.iter().map(|r| (r.data, r.is_told_until_read())).collect();
        assert_eq!(told, [(7, true), (8, false), (9, false)]);
    }

    #[test]
    fn an_error_hides_no_input() {
        let alone = |listing: &str, unread: fn(c_int) -> Option<bool>| -> Vec<_> {
            reports_of(listing, unread).iter().map(|r| (r.data, r.alone)).collect()
        };
        let one = |fd| (fd == 5).then_some(false);
        assert_eq!(alone(LISTING, one), [(7, true)]);
        assert_eq!(alone(LISTING, |fd| (fd == 5).then_some(true)), [(7, false)], "its own");
        let same = LISTING.replace("data:                8", "data:                7");
        assert_eq!(alone(&same, one), [(7, false)], "that of a member of the same name");
    }
}
