//! The calls that wait at a socket, and what they go on with when the descriptor they were given is closed.
//!
//! In the kernel a call holds the file that it began with, whatever other threads do to the number. Here a call that
//! waits, or is made of several, is several of the kernel's, and each names a number: between two of them its close would
//! be the connection's last, or the number would be another file's. So whoever closes a number leaves a copy of it for the
//! calls of other threads that wait there. It is closed with the last of them.
//!
//! A thread knows which sockets its own calls are at. A handler of a signal may leave a call for good (`siglongjmp`), and
//! then nothing of it is dropped: what the thread knows of a socket ends when it closes a number of it, whoever made the
//! call.

use std::cell::Cell;
use std::fmt;
use std::marker::PhantomData;
use std::os::fd::{BorrowedFd, RawFd};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use super::own::{Numbers, Own};

/// Copies that are open.
static COPIES: Numbers = Numbers::none();

/// How often this process's line has forked. In a child the threads of its parent do not wait.
static GENERATION: AtomicU32 = AtomicU32::new(0);

/// Sockets that a thread's calls can be at: one, and one more for each handler within. More are not held.
const PLACES: usize = 8;

thread_local! {
    /// Without anything to drop, so that handlers of signals may use it at any time.
    static MINE: [Cell<Option<Place>>; PLACES] = const { [const { Cell::new(None) }; PLACES] };
    /// How many places are in use: mostly none.
    static IN_USE: Cell<usize> = const { Cell::new(0) };
    static SEQUENCE: Cell<u64> = const { Cell::new(0) };
}

/// A socket that this thread's calls are at.
#[derive(Clone, Copy, Debug)]
struct Place {
    /// Of the [`Waits`].
    id: u64,
    generation: u16,
    /// Tells it from what was or will be in the same place.
    sequence: u64,
    /// Calls within calls.
    depth: u32,
}

/// The calls that wait at a socket.
pub struct Waits {
    id: u64,
    /// One word, so that the last thread to leave and a close agree on who closes the copy:
    ///
    /// ```text
    /// bits 0..24   number of the copy, and 1; 0 if there is none
    ///      24..48  threads with calls that wait
    ///      48..64  their generation
    /// ```
    word: AtomicU64,
}

/// A call that waits, until it is dropped.
#[derive(Debug)]
pub struct Wait<'a> {
    at: &'a Waits,
    /// Its [`Place`]; `None`: there was none left.
    sequence: Option<u64>,
    /// What its thread knows.
    _thread: PhantomData<*const ()>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct State {
    copy: Option<RawFd>,
    threads: u32,
    generation: u16,
}

impl Default for Waits {
    fn default() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Self { id: NEXT.fetch_add(1, Ordering::Relaxed), word: AtomicU64::new(0) }
    }
}

impl Waits {
    /// Begins to wait.
    pub fn enter(&self) -> Wait<'_> {
        self.enter_again().unwrap_or_else(|| self.enter_first())
    }

    /// The same if this thread is in a call here already.
    pub fn enter_again(&self) -> Option<Wait<'_>> {
        let deeper = |place: Place| Place { depth: place.depth.saturating_add(1), ..place };
        let place = update(|place| place.id == self.id, |place| Some(deeper(place)))?;
        Some(self.wait(Some(place.sequence)))
    }

    fn enter_first(&self) -> Wait<'_> {
        let sequence = SEQUENCE.get().wrapping_add(1);
        SEQUENCE.set(sequence);
        let place = Place { id: self.id, generation: generation(), sequence, depth: 1 };
        if !take_place(place) {
            return self.wait(None);
        }
        let _ = self.change(|state| {
            let state = state.of(place.generation);
            Some(State { threads: state.threads.saturating_add(1), ..state })
        });
        self.wait(Some(sequence))
    }

    fn wait(&self, sequence: Option<u64>) -> Wait<'_> {
        Wait { at: self, sequence, _thread: PhantomData }
    }

    /// To be called before a descriptor of the socket is closed: other threads' calls that wait go on with a copy. Should
    /// the program have no number left, there is none. Async-signal-safe.
    pub fn keep(&self, fd: BorrowedFd<'_>) {
        if update(|place| place.id == self.id, |_| None).is_some() {
            self.leave();
        }
        let generation = generation();
        let needs = |state: State| {
            let state = state.of(generation);
            (state.threads > 0 && state.copy.is_none()).then_some(state)
        };
        if needs(State::from(self.word.load(Ordering::Relaxed))).is_none() {
            return;
        }
        let Ok(copy) = Own::copy(fd) else { return };
        let number = copy.into_number();
        let put = |state| needs(state).map(|state| State { copy: Some(number), ..state });
        if !COPIES.add(number) || self.change(put).is_none() {
            // The last one has left meanwhile, or another close has left one.
            close(number);
        }
    }

    /// A thread has no call here any more.
    fn leave(&self) {
        let before = self.change(|state| {
            let threads = state.threads.checked_sub(1)?;
            Some(State { threads, copy: state.copy.filter(|_| threads > 0), ..state })
        });
        if let Some(State { threads: 1, copy: Some(copy), .. }) = before {
            close(copy);
        }
    }

    /// What it was before; `None` if it was left so.
    fn change(&self, change: impl Fn(State) -> Option<State>) -> Option<State> {
        let change = |word| change(State::from(word)).map(u64::from);
        self.word.fetch_update(Ordering::AcqRel, Ordering::Acquire, change).ok().map(State::from)
    }
}

impl Wait<'_> {
    /// The descriptor to go on with.
    #[must_use]
    pub fn fd<'b>(&'b self, given: BorrowedFd<'b>) -> BorrowedFd<'b> {
        let state = State::from(self.at.word.load(Ordering::Acquire));
        match state.copy {
            // SAFETY: the copy is closed when no thread of this generation is counted any more, and this one is until its
            // place is given up. That is when this is dropped, and what is returned does not live longer; or when the
            // thread itself closes the socket, which only a handler can do within this call.
            Some(copy) if self.is_counted() => unsafe { BorrowedFd::borrow_raw(copy) },
            _ => given,
        }
    }

    /// Not any more if a handler within the call has closed the socket, or if this is the child that one has forked.
    fn is_counted(&self) -> bool {
        self.place(Some).is_some()
    }

    /// Changes this call's place, which it gives up with `None`. What it was before.
    fn place(&self, change: impl Fn(Place) -> Option<Place>) -> Option<Place> {
        update(|place| Some(place.sequence) == self.sequence, change)
    }
}

impl Drop for Wait<'_> {
    fn drop(&mut self) {
        let shallower = |place: Place| {
            let depth = place.depth.saturating_sub(1);
            (depth > 0).then_some(Place { depth, ..place })
        };
        if let Some(Place { depth: 1, .. }) = self.place(shallower) {
            self.at.leave();
        }
    }
}

/// Changes the first of this thread's places of this generation that is meant; `None` gives it up. What it was before.
fn update(
    is_meant: impl Fn(&Place) -> bool,
    change: impl Fn(Place) -> Option<Place>,
) -> Option<Place> {
    if IN_USE.get() == 0 {
        return None;
    }
    let generation = generation();
    MINE.with(|mine| {
        let is_it = |place: &Place| place.generation == generation && is_meant(place);
        let cell = mine.iter().find(|cell| cell.get().as_ref().is_some_and(is_it))?;
        let before = cell.get()?;
        cell.set(change(before));
        if cell.get().is_none() {
            IN_USE.set(IN_USE.get().saturating_sub(1));
        }
        Some(before)
    })
}

/// Puts it where none is, or one of the parent's. False: there is no such place.
fn take_place(place: Place) -> bool {
    MINE.with(|mine| {
        let is_free = |old: Option<Place>| old.is_none_or(|old| old.generation != place.generation);
        let Some(cell) = mine.iter().find(|cell| is_free(cell.get())) else { return false };
        if cell.replace(Some(place)).is_none() {
            IN_USE.set(IN_USE.get().saturating_add(1));
        }
        true
    })
}

/// To be called in a child that has just been forked: the calls of its parent's other threads are not its own, nor are
/// the copies for them. Async-signal-safe.
pub fn leave_waits_of_parent() {
    let _ = GENERATION.fetch_add(1, Ordering::Relaxed);
    let open = COPIES.within(0, u32::MAX);
    open.filter_map(|number| RawFd::try_from(number).ok()).for_each(close);
}

/// Closes a copy that is in no [`Waits`] of this generation.
fn close(copy: RawFd) {
    COPIES.remove(copy);
    // SAFETY: it was left open by `keep`, and whoever has not put it in a word, has taken it out, or has ended its
    // generation, is the only one to close it.
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

    /// What of it is of a generation.
    fn of(self, generation: u16) -> Self {
        match self.generation == generation {
            true => self,
            false => Self { copy: None, threads: 0, generation },
        }
    }
}

impl From<u64> for State {
    fn from(word: u64) -> Self {
        let copy = RawFd::try_from(word & Self::MASK).unwrap_or(0);
        let threads = (word >> Self::BITS) & Self::MASK;
        Self {
            copy: copy.checked_sub(1).filter(|copy| *copy >= 0),
            threads: u32::try_from(threads).unwrap_or(0),
            generation: u16::try_from(word >> (2 * Self::BITS)).unwrap_or(0),
        }
    }
}

impl From<State> for u64 {
    fn from(state: State) -> Self {
        let copy = state.copy.map_or(0, |copy| copy.saturating_add(1));
        let copy = Self::try_from(copy).unwrap_or(0);
        // More threads than that there are not.
        let threads = Self::from(state.threads).min(State::MASK);
        Self::from(state.generation) << (2 * State::BITS) | threads << State::BITS | copy
    }
}

impl fmt::Debug for Waits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        State::from(self.word.load(Ordering::Relaxed)).fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use std::io::pipe;
    use std::os::fd::{AsFd, AsRawFd};
    use std::sync::{Mutex, MutexGuard, PoisonError};
    use std::thread;

    use rustix::event::{PollFd, PollFlags, Timespec, poll};

    use super::super::own::is_own;
    use super::*;

    /// Generations and copies are the process's, so these tests run one after the other.
    fn alone() -> MutexGuard<'static, ()> {
        static ALONE: Mutex<()> = Mutex::new(());
        ALONE.lock().unwrap_or_else(PoisonError::into_inner)
    }

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
        let _alone = alone();
        for state in [
            State { copy: None, threads: 0, generation: 0 },
            State { copy: Some(0), threads: 1, generation: 7 },
            State { copy: Some(0xff_fffe), threads: 0xff_ffff, generation: u16::MAX },
        ] {
            assert_eq!(State::from(u64::from(state)), state);
        }
    }

    #[test]
    fn who_waits_goes_on_with_a_copy_that_ends_with_the_last() {
        let _alone = alone();
        let (reader, writer) = file();
        let waits = Waits::default();
        let (first, second) = (waits.enter(), waits.enter());
        assert_eq!(first.fd(writer.as_fd()).as_raw_fd(), writer.as_raw_fd());
        elsewhere(|| waits.keep(writer.as_fd()));
        let copy = first.fd(writer.as_fd()).as_raw_fd();
        assert!(copy != writer.as_raw_fd() && is_own(copy));
        assert_eq!(second.fd(writer.as_fd()).as_raw_fd(), copy);
        // One is enough for all numbers of the socket.
        elsewhere(|| waits.keep(writer.as_fd()));
        assert_eq!(first.fd(writer.as_fd()).as_raw_fd(), copy);
        drop(writer);
        drop(first);
        assert!(is_own(copy));
        drop(second);
        assert!(!is_own(copy) && ends(&reader));
    }

    /// Somebody else's close.
    fn elsewhere(close: impl Fn() + Sync) {
        thread::scope(|scope| {
            let _ = scope.spawn(&close);
        });
    }

    #[test]
    fn nothing_is_kept_for_the_thread_that_closes() {
        let _alone = alone();
        let (reader, writer) = file();
        let (waits, others) = (Waits::default(), Waits::default());
        // A call that was left by a jump, and calls at another socket.
        std::mem::forget(waits.enter());
        let (inner, other) = (waits.enter(), others.enter());
        waits.keep(writer.as_fd());
        assert_eq!(inner.fd(writer.as_fd()).as_raw_fd(), writer.as_raw_fd());
        drop(inner);
        elsewhere(|| others.keep(writer.as_fd()));
        assert!(is_own(other.fd(writer.as_fd()).as_raw_fd()));
        drop((other, writer));
        assert!(ends(&reader));
        assert_eq!(IN_USE.get(), 0);
    }

    #[test]
    fn a_child_has_none_of_its_parents_calls_and_no_copy() {
        let _alone = alone();
        let (reader, writer) = file();
        let waits = Waits::default();
        let wait = waits.enter();
        elsewhere(|| waits.keep(writer.as_fd()));
        let copy = wait.fd(writer.as_fd()).as_raw_fd();
        // As in the child of a handler within the call.
        leave_waits_of_parent();
        assert!(!is_own(copy));
        assert_eq!(wait.fd(writer.as_fd()).as_raw_fd(), writer.as_raw_fd());
        let others = std::fs::File::open("/dev/null").unwrap();
        let again = rustix::io::fcntl_dupfd_cloexec(&others, copy).unwrap();
        drop(wait);
        assert!(rustix::io::fcntl_getfd(&again).is_ok(), "it closes nothing of the child's");
        // And the child's own calls are counted from none.
        drop(waits.enter());
        waits.keep(writer.as_fd());
        drop(writer);
        assert!(ends(&reader));
    }

    #[test]
    fn more_sockets_than_places_are_not_held() {
        let _alone = alone();
        let (reader, writer) = file();
        let all: [Waits; PLACES + 1] = std::array::from_fn(|_| Waits::default());
        let waits: Vec<Wait<'_>> = all.iter().map(Waits::enter).collect();
        elsewhere(|| all.iter().for_each(|waits| waits.keep(writer.as_fd())));
        let kept = waits.iter().filter(|wait| is_own(wait.fd(writer.as_fd()).as_raw_fd()));
        assert_eq!(kept.count(), PLACES);
        drop((waits, writer));
        assert!(ends(&reader));
        assert_eq!(IN_USE.get(), 0);
    }

    #[test]
    fn nothing_is_kept_for_nobody() {
        let _alone = alone();
        let (reader, writer) = file();
        let waits = Waits::default();
        drop(waits.enter());
        waits.keep(writer.as_fd());
        drop(writer);
        assert!(ends(&reader));
    }

    #[test]
    fn closes_and_calls_at_once_leave_nothing_open() {
        let _alone = alone();
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
