//! The library's own descriptors: connections to the daemon and doorbells.
//!
//! A program knows nothing of them. It may close all descriptors it can count to, or have a number of
//! its own choice in mind, and it expects low numbers where it has closed some. So these are moved to
//! high numbers, and whoever interposes `close` and its like asks here which ones are not the program's.

use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::process::{Resource, getrlimit};

/// Numbers above are not remembered; with [`HIGHEST`] there are none.
const NUMBERS: usize = 1 << 16;

/// The descriptors begin below this even if the program may have more: the kernel's table of a process
/// is as long as its highest number, and is copied in each fork.
const HIGHEST: u64 = 4096;

/// So many fit between where they begin and the limit: a connection and a few doorbells per client.
const ROOM: u64 = 64;

static OWN: [AtomicU64; NUMBERS / 64] = [const { AtomicU64::new(0) }; NUMBERS / 64];

/// A descriptor of the library's own, which [`is_own`] as long as it is open.
#[derive(Debug)]
pub struct Own(OwnedFd);

impl Own {
    /// Moves a descriptor out of the program's way, if there is a free number.
    #[must_use]
    pub fn new(fd: OwnedFd) -> Self {
        let own = Self(rustix::io::fcntl_dupfd_cloexec(&fd, first()).unwrap_or(fd));
        own.mark(|word, bit| word.fetch_or(bit, Ordering::Relaxed));
        own
    }

    /// The descriptor.
    #[must_use]
    pub fn fd(&self) -> &OwnedFd {
        &self.0
    }

    fn mark(&self, change: impl Fn(&AtomicU64, u64) -> u64) {
        if let Some((word, bit)) = place(self.0.as_raw_fd()) {
            let _ = change(word, bit);
        }
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        // Before it is closed: from then on the number may be the program's.
        self.mark(|word, bit| word.fetch_and(!bit, Ordering::Relaxed));
    }
}

/// Is this descriptor the library's own? One load; async-signal-safe.
#[must_use]
pub fn is_own(fd: i32) -> bool {
    place(fd).is_some_and(|(word, bit)| word.load(Ordering::Relaxed) & bit != 0)
}

/// The library's own descriptors in this range, in order.
pub fn own_in(first: u32, last: u32) -> impl Iterator<Item = u32> {
    let known = (0..).step_by(64).zip(&OWN).filter(|(_, word)| word.load(Ordering::Relaxed) != 0);
    known
        .flat_map(|(start, _): (u32, _)| start..start.saturating_add(64))
        .filter(move |number| (first..=last).contains(number))
        .filter(|number| i32::try_from(*number).is_ok_and(is_own))
}

fn place(fd: i32) -> Option<(&'static AtomicU64, u64)> {
    let number = usize::try_from(fd).ok()?;
    Some((OWN.get(number / 64)?, 1_u64.wrapping_shl(u32::try_from(number % 64).ok()?)))
}

/// The lowest number they may have.
fn first() -> i32 {
    if cfg!(miri) {
        // It knows no limits.
        return 0;
    }
    let limit = getrlimit(Resource::Nofile).current.unwrap_or(HIGHEST).min(HIGHEST);
    i32::try_from(limit.saturating_sub(ROOM.min(limit / 4))).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_own_descriptor_is_high_and_known_until_it_is_closed() {
        let file = std::fs::File::open("/dev/null").unwrap();
        let low = file.as_raw_fd();
        let own = Own::new(file.into());
        let high = own.fd().as_raw_fd();
        assert!(high >= first() && !is_own(low) && is_own(high));
        let number = u32::try_from(high).unwrap();
        assert!(own_in(number, number).eq([number]));
        assert!(own_in(0, u32::MAX).any(|own| own == number));
        drop(own);
        assert!(!is_own(high));
    }

    #[test]
    fn no_number_is_out_of_range() {
        assert!(!is_own(-1) && !is_own(i32::MAX));
        assert_eq!(own_in(u32::MAX, u32::MAX).count(), 0);
    }
}
