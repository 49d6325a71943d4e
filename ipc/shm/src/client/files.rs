//! Files of the program's that a call of the library reads from or writes to, in several steps: what `sendfile` reads, the
//! pipe of a `splice`.
//!
//! They are held as a socket is (see [`Waits`]): nothing is done to them until somebody closes the number, and then a copy is
//! left for the call. A copy made beforehand would have to be closed, and each close of a file that a process makes gives up
//! its record locks on it (`fcntl(2)`, `F_SETLK`).

use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::sync::atomic::{AtomicU64, Ordering};

use super::waits::{Wait, Waits, generation};

/// Calls at a time, of all threads. More hold nothing.
const CALLS: usize = 32;

static HELD: [Held; CALLS] = [const { Held::free() }; CALLS];

/// A number that a call holds.
#[derive(Debug)]
struct Held {
    /// Its generation above it, and 1; 0, or another generation: it is free.
    word: AtomicU64,
    waits: Waits,
}

/// A file that a call holds, until it is dropped.
#[derive(Debug)]
pub struct HeldFile {
    given: RawFd,
    /// `None`: there was no place left.
    place: Option<(&'static Held, u64, Wait<'static>)>,
}

impl HeldFile {
    /// Holds what is behind a number.
    #[must_use]
    pub fn new(fd: RawFd) -> Self {
        let word = word(fd);
        let is_free = |old| old == 0 || old >> GENERATION != word >> GENERATION;
        let take = |held: &&Held| {
            let take = |old| is_free(old).then_some(word);
            held.word.fetch_update(Ordering::AcqRel, Ordering::Acquire, take).is_ok()
        };
        let place = HELD.iter().find(take).map(|held| (held, word, held.waits.enter()));
        Self { given: fd, place }
    }

    /// The number to go on with.
    #[must_use]
    pub fn number(&self) -> RawFd {
        // SAFETY: nothing is done with it but to look at its number.
        let given = unsafe { BorrowedFd::borrow_raw(self.given.max(0)) };
        self.place.as_ref().map_or(self.given, |(_, _, wait)| wait.fd(given).as_raw_fd())
    }
}

impl Drop for HeldFile {
    fn drop(&mut self) {
        if let Some((held, word, wait)) = self.place.take() {
            drop(wait);
            // Another's, if this is a child that a handler has forked.
            let _ = held.word.compare_exchange(word, 0, Ordering::AcqRel, Ordering::Relaxed);
        }
    }
}

/// To be called before the program closes a number, or has another file put there: calls that hold it go on with a copy.
/// Async-signal-safe.
pub fn keep_file(fd: RawFd) {
    let word = word(fd);
    for held in HELD.iter().filter(|held| held.word.load(Ordering::Acquire) == word) {
        // SAFETY: it is copied if it is open, and nothing else.
        held.waits.keep(unsafe { BorrowedFd::borrow_raw(fd.max(0)) });
    }
}

/// The same for all numbers from `first` to `last`.
pub fn keep_files(first: u32, last: u32) {
    for held in &HELD {
        let number = held.word.load(Ordering::Acquire).checked_sub(1).map(|word| word & NUMBER);
        let number = number.and_then(|number| u32::try_from(number).ok());
        if let Some(fd) = number.filter(|number| (first..=last).contains(number)) {
            RawFd::try_from(fd).into_iter().for_each(keep_file);
        }
    }
}

const GENERATION: u32 = 48;
const NUMBER: u64 = (1 << GENERATION) - 1;

fn word(fd: RawFd) -> u64 {
    let number = u64::from(u32::try_from(fd).unwrap_or(u32::MAX));
    u64::from(generation()) << GENERATION | number.saturating_add(1)
}

impl Held {
    const fn free() -> Self {
        Self { word: AtomicU64::new(0), waits: Waits::of_a_static() }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::{Read, pipe};
    use std::os::fd::IntoRawFd;
    use std::thread;

    use super::*;

    fn close_elsewhere(fd: RawFd, keep: impl Fn() + Sync) {
        thread::scope(|scope| {
            let _ = scope.spawn(&keep);
        });
        // SAFETY: the test's own, and nobody uses it any more.
        unsafe { rustix::io::close(fd) };
    }

    #[test]
    fn a_call_goes_on_with_the_file_whose_number_is_closed() {
        let _alone = super::super::waits::alone();
        for by_range in [false, true] {
            let (mut reader, writer) = pipe().unwrap();
            let number = writer.into_raw_fd();
            let held = HeldFile::new(number);
            assert_eq!(held.number(), number);
            let range = u32::try_from(number).unwrap();
            close_elsewhere(number, || match by_range {
                true => keep_files(range, range),
                false => keep_file(number),
            });
            let copy = held.number();
            assert_ne!(copy, number);
            // What is opened there next is another file's.
            let other = rustix::io::fcntl_dupfd_cloexec(File::open("/dev/null").unwrap(), number);
            // SAFETY: it is held.
            let written = rustix::io::write(unsafe { BorrowedFd::borrow_raw(copy) }, b"abcd");
            assert_eq!(written, Ok(4));
            drop((held, other));
            let mut text = String::new();
            assert_eq!(reader.read_to_string(&mut text).unwrap(), 4, "and then the end");
            assert!(HELD.iter().all(|held| held.word.load(Ordering::Relaxed) == 0));
        }
    }

    #[test]
    fn more_calls_than_places_hold_nothing() {
        let _alone = super::super::waits::alone();
        let (_, writer) = pipe().unwrap();
        let number = writer.as_raw_fd();
        let all: Vec<HeldFile> = (0..=CALLS).map(|_| HeldFile::new(number)).collect();
        assert!(all.last().is_some_and(|held| held.place.is_none() && held.number() == number));
        drop(all);
        assert!(HELD.iter().all(|held| held.word.load(Ordering::Relaxed) == 0));
    }
}
