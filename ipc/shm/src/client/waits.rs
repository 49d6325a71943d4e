//! The calls that wait at a socket, and what they go on with when the descriptor they were given is closed.
//!
//! In the kernel a call holds the file that it began with, whatever other threads do to the number. Here a call that
//! waits, or is made of several, is several of the kernel's, and each names a number: between two of them its close would be the
//! connection's last, or the number would be another file's. So whoever closes a number leaves a copy of it for the
//! calls that wait there. It is closed with the last of them.

use std::fmt;
use std::os::fd::{BorrowedFd, RawFd};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use super::own::{Numbers, Own};

/// Copies that are open.
static COPIES: Numbers = Numbers::none();

/// How often this process's line has forked. In a child the threads of its parent do not wait.
static GENERATION: AtomicU32 = AtomicU32::new(0);

/// The calls that wait at a socket. One word, so that the last one to leave and a close agree on who closes the copy:
///
/// ```text
/// bits 0..24   number of the copy, and 1; 0 if there is none
///      24..48  calls that wait
///      48..64  their generation
/// ```
#[derive(Default)]
pub struct Waits(AtomicU64);

/// A call that waits, until it is dropped.
#[derive(Debug)]
pub struct Wait<'a> {
    at: &'a Waits,
    generation: u16,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct State {
    copy: Option<RawFd>,
    calls: u32,
    generation: u16,
}

impl Waits {
    /// Begins to wait.
    pub fn enter(&self) -> Wait<'_> {
        let generation = generation();
        let _ = self.change(|state| {
            let state = state.of(generation);
            Some(State { calls: state.calls.saturating_add(1), ..state })
        });
        Wait { at: self, generation }
    }

    /// To be called before a descriptor of the socket is closed: the calls that wait go on with a copy. Should the
    /// program have no number left, there is none. Async-signal-safe.
    pub fn keep(&self, fd: BorrowedFd<'_>) {
        let generation = generation();
        let needs = |state: State| {
            let state = state.of(generation);
            (state.calls > 0 && state.copy.is_none()).then_some(state)
        };
        if needs(State::from(self.0.load(Ordering::Relaxed))).is_none() {
            return;
        }
        let Ok(copy) = Own::copy_high(fd) else { return };
        let number = copy.into_number();
        COPIES.add(number);
        let put = |state| needs(state).map(|state| State { copy: Some(number), ..state });
        if number > State::NUMBER_MAX || self.change(put).is_none() {
            // The last one has left meanwhile, or another close has left one.
            close(number);
        }
    }

    /// What it was before; `None` if it was left so.
    fn change(&self, change: impl Fn(State) -> Option<State>) -> Option<State> {
        let change = |word| change(State::from(word)).map(u64::from);
        self.0.fetch_update(Ordering::AcqRel, Ordering::Acquire, change).ok().map(State::from)
    }
}

impl Wait<'_> {
    /// The descriptor to go on with.
    #[must_use]
    pub fn fd<'b>(&'b self, given: BorrowedFd<'b>) -> BorrowedFd<'b> {
        let state = State::from(self.at.0.load(Ordering::Acquire));
        match state.copy {
            // SAFETY: the copy is closed when no call of its generation waits any more; this one does until it is
            // dropped, and what is returned does not live longer.
            Some(copy) if state.generation == self.generation => unsafe {
                BorrowedFd::borrow_raw(copy)
            },
            _ => given,
        }
    }
}

impl Drop for Wait<'_> {
    fn drop(&mut self) {
        let before = self.at.change(|state| {
            let calls =
                state.calls.checked_sub(1).filter(|_| state.generation == self.generation)?;
            let copy = state.copy.filter(|_| calls > 0);
            Some(State { calls, copy, ..state })
        });
        if let Some(State { calls: 1, copy: Some(copy), .. }) = before {
            close(copy);
        }
    }
}

/// To be called in a child that has just been forked: the calls of its parent's other threads are not its own, nor are
/// the copies for them. Async-signal-safe.
pub fn leave_waits_of_parent() {
    let _ = GENERATION.fetch_add(1, Ordering::Relaxed);
    let open = COPIES.within(0, u32::MAX);
    open.filter_map(|number| RawFd::try_from(number).ok()).for_each(close);
}

/// Closes a copy that is in no [`Waits`] of this generation any more.
fn close(copy: RawFd) {
    COPIES.remove(copy);
    // SAFETY: it was left open by `keep`, and whoever has taken it out of its word, or has ended its generation, is the
    // only one to close it.
    drop(unsafe { Own::from_number(copy) });
}

/// The low bits tell a process from its parent and its child.
fn generation() -> u16 {
    let [low, high, ..] = GENERATION.load(Ordering::Relaxed).to_le_bytes();
    u16::from_le_bytes([low, high])
}

impl State {
    const BITS: u64 = 24;
    const MASK: u64 = (1 << Self::BITS) - 1;
    const NUMBER_MAX: RawFd = (1 << Self::BITS) - 2;

    /// What of it is of a generation.
    fn of(self, generation: u16) -> Self {
        match self.generation == generation {
            true => self,
            false => Self { copy: None, calls: 0, generation },
        }
    }
}

impl From<u64> for State {
    fn from(word: u64) -> Self {
        let copy = RawFd::try_from(word & Self::MASK).unwrap_or(0);
        let calls = (word >> Self::BITS) & Self::MASK;
        Self {
            copy: copy.checked_sub(1).filter(|copy| *copy >= 0),
            calls: u32::try_from(calls).unwrap_or(0),
            generation: u16::try_from(word >> (2 * Self::BITS)).unwrap_or(0),
        }
    }
}

impl From<State> for u64 {
    fn from(state: State) -> Self {
        let copy = state.copy.map_or(0, |copy| copy.saturating_add(1));
        let copy = Self::try_from(copy).unwrap_or(0);
        // More threads than that there are not.
        let calls = Self::from(state.calls).min(State::MASK);
        Self::from(state.generation) << (2 * State::BITS) | calls << State::BITS | copy
    }
}

impl fmt::Debug for Waits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        State::from(self.0.load(Ordering::Relaxed)).fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use std::io::pipe;
    use std::os::fd::{AsFd, AsRawFd};
    use std::thread;

    use rustix::event::{PollFd, PollFlags, Timespec, poll};

    use super::super::own::is_own;
    use super::*;

    /// A pipe whose reader sees an end when nobody has the writer's file any more.
    fn file() -> (std::io::PipeReader, std::io::PipeWriter) {
        pipe().unwrap()
    }

    fn ends(reader: &std::io::PipeReader) -> bool {
        let mut fds = [PollFd::new(reader, PollFlags::IN)];
        let _ = poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 }));
        fds[0].revents().contains(PollFlags::HUP)
    }

    #[test]
    fn a_word_holds_what_is_put_in() {
        for state in [
            State { copy: None, calls: 0, generation: 0 },
            State { copy: Some(0), calls: 1, generation: 7 },
            State { copy: Some(State::NUMBER_MAX), calls: 0xff_ffff, generation: u16::MAX },
        ] {
            assert_eq!(State::from(u64::from(state)), state);
        }
    }

    #[test]
    fn who_waits_goes_on_with_a_copy_that_ends_with_the_last() {
        let (reader, writer) = file();
        let waits = Waits::default();
        let (first, second) = (waits.enter(), waits.enter());
        assert_eq!(first.fd(writer.as_fd()).as_raw_fd(), writer.as_raw_fd());
        waits.keep(writer.as_fd());
        let copy = first.fd(writer.as_fd()).as_raw_fd();
        assert!(copy != writer.as_raw_fd() && is_own(copy));
        assert_eq!(second.fd(writer.as_fd()).as_raw_fd(), copy);
        // One is enough for all numbers of the socket.
        waits.keep(writer.as_fd());
        assert_eq!(first.fd(writer.as_fd()).as_raw_fd(), copy);
        drop(writer);
        drop(first);
        assert!(is_own(copy));
        drop(second);
        assert!(!is_own(copy) && ends(&reader));
    }

    #[test]
    fn nothing_is_kept_for_nobody() {
        let (reader, writer) = file();
        let waits = Waits::default();
        drop(waits.enter());
        waits.keep(writer.as_fd());
        drop(writer);
        assert!(ends(&reader));
    }

    #[test]
    fn closes_and_calls_at_once_leave_nothing_open() {
        let (reader, writer) = file();
        let waits = Waits::default();
        let rounds = if cfg!(miri) { 20 } else { 20_000 };
        let call = |_| {
            let wait = waits.enter();
            assert!(rustix::io::fcntl_getfd(wait.fd(writer.as_fd())).is_ok());
        };
        thread::scope(|scope| {
            for _ in 0..2 {
                let _ = scope.spawn(|| (0..rounds).for_each(call));
                let _ = scope.spawn(|| (0..rounds).for_each(|_| waits.keep(writer.as_fd())));
            }
        });
        drop(writer);
        assert!(ends(&reader));
    }
}
