//! The library's own descriptors: connections to the daemon and doorbells.
//!
//! A program knows nothing of them. It may close all descriptors it can count to, or have a number of
//! its own choice in mind, and it expects low numbers where it has closed some. So these are moved to
//! high numbers, and whoever interposes `close` and its like asks here which ones are not the program's.

use std::io;
use std::mem::ManuallyDrop;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::process::{Resource, getrlimit};

/// Numbers above are not remembered; with [`HIGHEST`] there are none.
const NUMBERS: usize = 1 << 16;

/// The descriptors begin below this even if the program may have more: the kernel's table of a process
/// is as long as its highest number, and is copied in each fork.
const HIGHEST: u64 = 4096;

/// So many fit between where they begin and the limit: a connection and a few doorbells per client.
const ROOM: u64 = 64;

static OWN: Numbers = Numbers::none();

/// Some numbers of descriptors.
pub(super) struct Numbers([AtomicU64; NUMBERS / 64]);

/// A descriptor of the library's own, which [`is_own`] as long as it is open.
///
/// It is closed by a system call of ours: libc's `close` is a cancellation point, and what is on the stack of a call of
/// the library must not be unwound.
#[derive(Debug)]
pub struct Own(ManuallyDrop<OwnedFd>);

impl Own {
    /// Moves a descriptor out of the program's way, if there is a free number.
    #[must_use]
    pub fn new(fd: OwnedFd) -> Self {
        Self::of(rustix::io::fcntl_dupfd_cloexec(&fd, first()).unwrap_or(fd))
    }

    /// The descriptor.
    #[must_use]
    pub fn fd(&self) -> &OwnedFd {
        &self.0
    }

    /// Another descriptor of the same file, out of the program's way if there is a free number.
    ///
    /// # Errors
    /// `EMFILE`: the program has as many descriptors as it may.
    pub(super) fn copy(fd: impl AsFd) -> io::Result<Self> {
        Self::at_least(first(), fd)
    }

    /// The same behind this one's number.
    ///
    /// # Errors
    /// Those of [`Own::copy`].
    pub fn copy_beside(&self) -> io::Result<Self> {
        Self::at_least(self.0.as_raw_fd(), &*self.0)
    }

    fn at_least(lowest: RawFd, fd: impl AsFd) -> io::Result<Self> {
        let copy = rustix::io::fcntl_dupfd_cloexec(&fd, lowest);
        Ok(Self::of(copy.or_else(|_| rustix::io::fcntl_dupfd_cloexec(&fd, 0))?))
    }

    fn of(fd: OwnedFd) -> Self {
        let _ = OWN.add(fd.as_raw_fd());
        Self(ManuallyDrop::new(fd))
    }

    /// Leaves it open: whoever has the number is responsible for it.
    pub(super) fn into_number(self) -> RawFd {
        // It is not dropped, so it stays marked.
        ManuallyDrop::new(self).0.as_raw_fd()
    }

    /// The reverse of [`Self::into_number`].
    ///
    /// # Safety
    /// The number is of `into_number`, and nobody else gives it back.
    pub(super) unsafe fn from_number(number: RawFd) -> Self {
        // SAFETY: the caller's promise: it is open and nobody else's.
        Self(ManuallyDrop::new(unsafe { OwnedFd::from_raw_fd(number) }))
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        let number = self.0.as_raw_fd();
        // Before it is closed: from then on the number may be the program's.
        let _ = OWN.remove(number);
        // SAFETY: it is open and ours, and is not used any more: the field is never dropped.
        unsafe { rustix::io::close(number) };
    }
}

/// Is this descriptor the library's own? One load; async-signal-safe.
#[must_use]
pub fn is_own(fd: i32) -> bool {
    OWN.has(fd)
}

/// The library's own descriptors in this range, in order.
pub fn own_in(first: u32, last: u32) -> impl Iterator<Item = u32> {
    OWN.within(first, last)
}

impl Numbers {
    pub(super) const fn none() -> Self {
        Self([const { AtomicU64::new(0) }; NUMBERS / 64])
    }

    /// Numbers that are too high are not remembered: `false`.
    pub(super) fn add(&self, fd: RawFd) -> bool {
        self.place(fd).map(|(word, bit)| word.fetch_or(bit, Ordering::Relaxed)).is_some()
    }

    /// Was it there?
    pub(super) fn remove(&self, fd: RawFd) -> bool {
        let remove = |(word, bit): (&AtomicU64, u64)| word.fetch_and(!bit, Ordering::Relaxed) & bit;
        self.place(fd).map(remove).is_some_and(|before| before != 0)
    }

    fn has(&self, fd: RawFd) -> bool {
        self.place(fd).is_some_and(|(word, bit)| word.load(Ordering::Relaxed) & bit != 0)
    }

    pub(super) fn within(&'static self, first: u32, last: u32) -> impl Iterator<Item = u32> {
        let words = (0..).step_by(64).zip(&self.0);
        words
            .filter(|(_, word)| word.load(Ordering::Relaxed) != 0)
            .flat_map(|(start, _): (u32, _)| start..start.saturating_add(64))
            .filter(move |number| (first..=last).contains(number))
            .filter(|number| i32::try_from(*number).is_ok_and(|number| self.has(number)))
    }

    fn place(&self, fd: RawFd) -> Option<(&AtomicU64, u64)> {
        let number = usize::try_from(fd).ok()?;
        Some((self.0.get(number / 64)?, 1_u64.wrapping_shl(u32::try_from(number % 64).ok()?)))
    }
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
