//! Files of the program's that a call of the library reads from or writes to, in several steps: what `sendfile` reads, the
//! pipe of a `splice`.
//!
//! They are held as a socket is (see [`Waits`]): nothing is done to them until somebody closes the number, and then a copy is
//! left for the call. A copy made beforehand would have to be closed, and each close of a file that a process makes gives up
//! its record locks on it (`fcntl(2)`, `F_SETLK`).

use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use super::waits::{Wait, Waits, generation};

/// Calls at a time, of all threads. More hold nothing.
const CALLS: usize = 32;

static HELD: [Held; CALLS] = [const { Held::free() }; CALLS];

/// So many of the first places have ever been taken: none in most programs, a few in others.
static USED: AtomicUsize = AtomicUsize::new(0);

/// A place for a call.
#[derive(Debug)]
struct Held {
    /// [`Number`]; 0, or that of another generation: it is free.
    word: AtomicU64,
    waits: Waits,
}

/// The number that a call holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Number {
    fd: RawFd,
    /// Closes of it that are under way: until they are over the place is no other call's, or they could leave it their copy.
    closes: u8,
    has_ended: bool,
    generation: u16,
}

/// A file that a call holds, until it is dropped.
#[derive(Debug)]
pub struct HeldFile {
    given: RawFd,
    /// `None`: there was no place left.
    place: Option<(&'static Held, Wait<'static>)>,
    generation: u16,
}

impl HeldFile {
    /// Holds what is behind a number.
    #[must_use]
    pub fn new(fd: RawFd) -> Self {
        let generation = generation();
        let number = Number { fd, closes: 0, has_ended: false, generation };
        let is_free = |old| old == 0 || Number::from(old).generation != generation;
        let take = |(_, held): &(usize, &Held)| {
            let take = |old| is_free(old).then(|| u64::from(number));
            held.word.fetch_update(Ordering::AcqRel, Ordering::Acquire, take).is_ok()
        };
        let taken = if fd < 0 { None } else { HELD.iter().enumerate().find(take) };
        let place = taken.map(|(index, held)| {
            let _ = USED.fetch_max(index.saturating_add(1), Ordering::AcqRel);
            (held, held.waits.enter())
        });
        Self { given: fd, place, generation }
    }

    /// The number to go on with; −1 if a handler within the call has closed it: it may be another file's.
    #[must_use]
    pub fn number(&self) -> RawFd {
        let Some((_, wait)) = &self.place else { return self.given };
        if wait.is_given_up() && self.generation == generation() {
            return -1;
        }
        // SAFETY: it is not negative, and nothing is done with it but to look at its number.
        wait.fd(unsafe { BorrowedFd::borrow_raw(self.given) }).as_raw_fd()
    }
}

impl Drop for HeldFile {
    fn drop(&mut self) {
        let Some((held, wait)) = self.place.take() else { return };
        drop(wait);
        // The place is not its own if this is a child that a handler has forked.
        let its_own = |number: &Number| number.generation == self.generation;
        let _ = held.change(its_own, |number| Number { has_ended: true, ..number });
    }
}

/// Does a call hold one of the numbers from `first` to `last`? Async-signal-safe.
#[must_use]
pub fn holds_file(first: u32, last: u32) -> bool {
    held(first, last).next().is_some()
}

/// To be called before the program closes numbers, or has other files put there: calls that hold them go on with copies.
/// Not for a child in its parent's memory, whose numbers are others. Async-signal-safe.
pub fn keep_files(first: u32, last: u32) {
    held(first, last).for_each(keep_file);
}

/// The numbers in this range that calls hold.
fn held(first: u32, last: u32) -> impl Iterator<Item = RawFd> {
    let number = |held: &Held| match held.word.load(Ordering::Acquire) {
        0 => None,
        word => Some(Number::from(word).fd),
    };
    let is_meant =
        move |fd: &RawFd| u32::try_from(*fd).is_ok_and(|fd| (first..=last).contains(&fd));
    HELD.iter().take(USED.load(Ordering::Acquire)).filter_map(number).filter(is_meant)
}

fn keep_file(fd: RawFd) {
    let generation = generation();
    let its_own = |number: &Number| number.generation == generation && number.fd == fd;
    for held in &HELD {
        let begin = |number: Number| Number { closes: number.closes.saturating_add(1), ..number };
        if !held.change(|number| its_own(number) && !number.has_ended, begin) {
            continue;
        }
        // SAFETY: no number that is held is negative; it is copied if it is open, and nothing else.
        held.waits.keep(unsafe { BorrowedFd::borrow_raw(fd) });
        let end = |number: Number| Number { closes: number.closes.saturating_sub(1), ..number };
        let _ = held.change(its_own, end);
    }
}

impl Held {
    const fn free() -> Self {
        Self { word: AtomicU64::new(0), waits: Waits::of_a_static() }
    }

    /// Changes the number that is here, if it is the one meant; it is free when its call and the closes are over.
    fn change(&self, is_meant: impl Fn(&Number) -> bool, to: impl Fn(Number) -> Number) -> bool {
        let change = |word| {
            let number =
                Some(word).filter(|word| *word != 0).map(Number::from).filter(&is_meant)?;
            let number = to(number);
            Some(if number.has_ended && number.closes == 0 { 0 } else { number.into() })
        };
        self.word.fetch_update(Ordering::AcqRel, Ordering::Acquire, change).is_ok()
    }
}

impl From<u64> for Number {
    fn from(word: u64) -> Self {
        let [f0, f1, f2, f3, closes, flags, g0, g1] = word.to_le_bytes();
        Self {
            fd: RawFd::from_le_bytes([f0, f1, f2, f3]),
            closes,
            has_ended: flags & Self::ENDED != 0,
            generation: u16::from_le_bytes([g0, g1]),
        }
    }
}

impl From<Number> for u64 {
    fn from(number: Number) -> Self {
        let [f0, f1, f2, f3] = number.fd.to_le_bytes();
        let flags = if number.has_ended { Number::ENDED } else { 0 } | Number::TAKEN;
        let [g0, g1] = number.generation.to_le_bytes();
        Self::from_le_bytes([f0, f1, f2, f3, number.closes, flags, g0, g1])
    }
}

impl Number {
    const ENDED: u8 = 1;
    /// So that no word of a place that is taken is 0.
    const TAKEN: u8 = 2;
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
        for (below, above) in [(0, 0), (1, 1)] {
            let (mut reader, writer) = pipe().unwrap();
            let number = writer.into_raw_fd();
            let held = HeldFile::new(number);
            assert_eq!(held.number(), number);
            let at = u32::try_from(number).unwrap();
            assert!(holds_file(at, at) && !holds_file(at + 1, u32::MAX));
            close_elsewhere(number, || keep_files(at - below, at + above));
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
    fn what_a_handler_has_closed_is_not_touched() {
        let _alone = super::super::waits::alone();
        let (_reader, writer) = pipe().unwrap();
        let number = writer.as_raw_fd();
        let held = HeldFile::new(number);
        keep_file(number);
        assert_eq!(held.number(), -1);
        drop(held);
        let none = HeldFile::new(-1);
        assert!(none.place.is_none() && none.number() == -1);
    }

    #[test]
    fn a_place_is_nobodys_until_the_closes_of_its_number_are_over() {
        let _alone = super::super::waits::alone();
        let number = pipe().unwrap().1.into_raw_fd();
        let held = HeldFile::new(number);
        let (place, _) = held.place.as_ref().unwrap();
        let begin = |number: Number| Number { closes: 1, ..number };
        assert!(place.change(|_| true, begin));
        let place: &'static Held = place;
        drop(held);
        let next = HeldFile::new(number);
        assert!(next.place.as_ref().is_some_and(|(other, _)| !std::ptr::eq(*other, place)));
        assert!(place.change(|_| true, |number| Number { closes: 0, ..number }));
        assert_eq!(place.word.load(Ordering::Relaxed), 0);
        drop(next);
        // SAFETY: the test's own, and nobody uses it any more.
        unsafe { rustix::io::close(number) };
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
