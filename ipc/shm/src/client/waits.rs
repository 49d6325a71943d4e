//! The calls that wait at a socket, and what they go on with when the descriptor they were given is closed.
//!
//! In the kernel a call holds the file that it began with, whatever other threads do to the number. Here a call that
//! waits, or is made of several, is several of the kernel's, and each names a number: between two of them its close would
//! be the connection's last, or the number would be another file's. So whoever closes a number leaves a copy of it for the
//! calls of other threads that wait there. It is closed with the last of them.
//!
//! A thread knows which sockets its own calls are at. A handler of a signal may leave a call for good (`siglongjmp`), and
//! then nothing of it is dropped: what the thread knows of a socket ends when it closes a number of it. But if a copy has
//! been left for the call before, the handler's thread may be in it still, and the copy stays.

use std::cell::Cell;
use std::fmt;
use std::marker::PhantomData;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};

use super::own::{Numbers, Own};

/// Copies that are open.
static COPIES: Numbers = Numbers::none();

/// How often this process's line has forked. In a child the threads of its parent do not wait.
static GENERATION: AtomicU32 = AtomicU32::new(0);

/// Sockets and files that a thread's calls can be at: one or two, and as many for each handler within. More are not held.
const PLACES: usize = 8;

thread_local! {
    /// Without anything to drop, so that handlers of signals may use it at any time.
    static MINE: [Place; PLACES] = const { [const { Place::free() }; PLACES] };
    static SEQUENCE: Cell<u32> = const { Cell::new(0) };
    /// So many of the first places have ever been taken: none by a thread that has never waited, one by most others.
    static USED: AtomicUsize = const { AtomicUsize::new(0) };
}

/// Where a thread notes a socket that its calls are at. Nobody but the thread and its handlers uses it, so what is done to
/// the word is done as a whole or not at all.
struct Place {
    /// Of the [`Waits`], from when the word says that there are calls until it is another one.
    id: AtomicU64,
    /// [`Calls`]; 0: it is free.
    word: AtomicU64,
}

/// A thread's calls at one socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Calls {
    /// Tells them from what was or will be in the same place; not 0.
    sequence: u32,
    /// Calls within calls; 0: they begin.
    depth: u16,
    /// The socket's [`Waits`] counts this thread.
    is_counted: bool,
    generation: u16,
}

/// The calls that wait at a socket.
pub struct Waits {
    /// Counted from 1; 0: a static's, which is known by its address.
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
    /// Its [`Place`]'s; `None`: there was none left.
    sequence: Option<u32>,
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
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Self { id: NEXT.fetch_add(1, Ordering::Relaxed), ..Self::of_a_static() }
    }
}

impl Waits {
    /// For a place that is nobody else's, ever.
    pub(super) const fn of_a_static() -> Self {
        Self { id: 0, word: AtomicU64::new(0) }
    }

    /// That no other has: a number, or an address, which is greater.
    fn id(&self) -> u64 {
        match self.id {
            0 => u64::try_from(std::ptr::from_ref(self).addr()).unwrap_or(0),
            id => id,
        }
    }

    /// Begins to wait.
    pub fn enter(&self) -> Wait<'_> {
        self.enter_again().unwrap_or_else(|| self.enter_first())
    }

    /// The same if this thread is in a call here already.
    pub fn enter_again(&self) -> Option<Wait<'_>> {
        let deeper = |calls: Calls| Calls { depth: calls.depth.saturating_add(1), ..calls };
        let is_here = |id, calls: Calls| id == self.id() && calls.is_counted;
        let calls = update(is_here, |calls| Some(deeper(calls)))?;
        Some(self.wait(Some(calls.sequence)))
    }

    fn enter_first(&self) -> Wait<'_> {
        let Some(Calls { sequence, generation, .. }) = take_place(self.id()) else {
            return self.wait(None);
        };
        let _ = self.change(|state| {
            let state = state.of(generation);
            Some(State { threads: state.threads.saturating_add(1), ..state })
        });
        let count = |calls| Some(Calls { is_counted: true, ..calls });
        if update(|_, calls| calls.sequence == sequence, count).is_none() {
            // A handler has closed the socket meanwhile.
            self.leave(generation);
        }
        self.wait(Some(sequence))
    }

    fn wait(&self, sequence: Option<u32>) -> Wait<'_> {
        Wait { at: self, sequence, _thread: PhantomData }
    }

    /// To be called before a descriptor of the socket is closed: other threads' calls that wait go on with a copy. Should
    /// the program have no number left, there is none. Async-signal-safe.
    pub fn keep(&self, fd: BorrowedFd<'_>) {
        let generation = generation();
        let state = || State::from(self.word.load(Ordering::Acquire)).of(generation);
        // A call of this thread's that has a copy already goes on with it.
        while state().copy.is_none()
            && let Some(calls) = update(|id, _| id == self.id(), |_| None)
        {
            if calls.is_counted {
                self.leave(generation);
            }
        }
        let needs = |state: State| {
            let state = state.of(generation);
            (state.threads > 0 && state.copy.is_none()).then_some(state)
        };
        if needs(state()).is_none() {
            return;
        }
        let Ok(copy) = Own::copy(fd) else { return };
        if !COPIES.add(copy.fd().as_raw_fd()) {
            return;
        }
        let number = copy.into_number();
        let put = |state| needs(state).map(|state| State { copy: Some(number), ..state });
        // This may be the child that a handler has forked meanwhile.
        if self::generation() != generation || self.change(put).is_none() {
            // Or the last one has left, or another close has left a copy.
            close(number);
        }
    }

    /// A thread has no call here any more.
    fn leave(&self, generation: u16) {
        let before = self.change(|state| {
            let state = Some(state).filter(|state| state.generation == generation)?;
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
            // place is given up: when this is dropped, and what is returned does not live longer. `keep` gives up a place of
            // its own thread only while there is no copy.
            Some(copy) if self.is_counted() => unsafe { BorrowedFd::borrow_raw(copy) },
            _ => given,
        }
    }

    /// Not any more if a handler within the call has closed the socket, or if this is the child that one has forked.
    fn is_counted(&self) -> bool {
        self.calls(Some).is_some_and(|calls| calls.is_counted)
    }

    /// A handler within the call has closed what it is at, or it is another process's.
    pub(super) fn is_given_up(&self) -> bool {
        self.sequence.is_some() && !self.is_counted()
    }

    /// Changes this call's place, which it gives up with `None`. What it was before.
    fn calls(&self, change: impl Fn(Calls) -> Option<Calls>) -> Option<Calls> {
        update(|_, calls| Some(calls.sequence) == self.sequence, change)
    }
}

impl Drop for Wait<'_> {
    fn drop(&mut self) {
        let shallower = |calls: Calls| {
            let depth = calls.depth.saturating_sub(1);
            (depth > 0).then_some(Calls { depth, ..calls })
        };
        if let Some(Calls { depth: 1, generation, .. }) = self.calls(shallower) {
            self.at.leave(generation);
        }
    }
}

/// Changes the first of this thread's places of this generation that is meant, by its socket and its calls; `None` gives
/// it up. What it was before.
fn update(
    is_meant: impl Fn(u64, Calls) -> bool,
    change: impl Fn(Calls) -> Option<Calls>,
) -> Option<Calls> {
    let used = USED.with(|used| used.load(Ordering::Relaxed));
    let generation = generation();
    let change = |place: &Place| {
        let change = |word| {
            let calls =
                Some(Calls::from(word)).filter(|c| c.depth > 0 && c.generation == generation)?;
            is_meant(place.id.load(Ordering::Relaxed), calls)
                .then(|| change(calls).map_or(0, u64::from))
        };
        place.word.fetch_update(Ordering::AcqRel, Ordering::Acquire, change).ok().map(Calls::from)
    };
    MINE.with(|mine| mine.iter().take(used).find_map(change))
}

/// Notes the socket where none is, or one of the parent's. `None`: there is no such place.
fn take_place(id: u64) -> Option<Calls> {
    let sequence = SEQUENCE.get().checked_add(1).unwrap_or(1);
    SEQUENCE.set(sequence);
    let generation = generation();
    let begins = Calls { sequence, depth: 0, is_counted: false, generation };
    let take = |(_, place): &(usize, &Place)| {
        let is_free = |word| word == 0 || Calls::from(word).generation != generation;
        let take = |word| is_free(word).then(|| u64::from(begins));
        place.word.fetch_update(Ordering::AcqRel, Ordering::Acquire, take).is_ok()
    };
    let calls = Calls { depth: 1, ..begins };
    MINE.with(|mine| {
        let (index, place) = mine.iter().enumerate().find(take)?;
        let used = index.saturating_add(1);
        let _ = USED.with(|most| most.fetch_max(used, Ordering::Relaxed));
        place.id.store(id, Ordering::Relaxed);
        place.word.store(calls.into(), Ordering::Release);
        Some(calls)
    })
}

impl Place {
    const fn free() -> Self {
        Self { id: AtomicU64::new(0), word: AtomicU64::new(0) }
    }
}

/// To be called in a child that has just been forked: the calls of its parent's other threads are not its own, nor are
/// the copies for them. Async-signal-safe.
pub fn leave_waits_of_parent() {
    let _ = GENERATION.fetch_add(1, Ordering::Relaxed);
    let open = COPIES.within(0, u32::MAX);
    open.filter_map(|number| RawFd::try_from(number).ok()).for_each(close);
}

/// Closes a copy, unless a child that a handler has forked meanwhile has closed it already.
fn close(copy: RawFd) {
    if COPIES.remove(copy) {
        // SAFETY: it was left open by `keep`, and who has removed it is the only one to close it.
        drop(unsafe { Own::from_number(copy) });
    }
}

/// The low bits tell a process from its parent and its child.
pub(super) fn generation() -> u16 {
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

impl From<u64> for Calls {
    fn from(word: u64) -> Self {
        let [s0, s1, s2, s3, d0, d1, g0, g1] = word.to_le_bytes();
        let depth = u16::from_le_bytes([d0, d1]);
        Self {
            sequence: u32::from_le_bytes([s0, s1, s2, s3]),
            depth: depth & Self::DEPTH,
            is_counted: depth & Self::COUNTED != 0,
            generation: u16::from_le_bytes([g0, g1]),
        }
    }
}

impl From<Calls> for u64 {
    fn from(calls: Calls) -> Self {
        let counted = if calls.is_counted { Calls::COUNTED } else { 0 };
        let [s0, s1, s2, s3] = calls.sequence.to_le_bytes();
        let [d0, d1] = (calls.depth.min(Calls::DEPTH) | counted).to_le_bytes();
        let [g0, g1] = calls.generation.to_le_bytes();
        Self::from_le_bytes([s0, s1, s2, s3, d0, d1, g0, g1])
    }
}

impl Calls {
    const COUNTED: u16 = 1 << 15;
    const DEPTH: u16 = Self::COUNTED - 1;
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

/// Generations and copies are the process's, so tests of them run one after the other.
#[cfg(test)]
pub(super) fn alone() -> std::sync::MutexGuard<'static, ()> {
    static ALONE: std::sync::Mutex<()> = std::sync::Mutex::new(());
    ALONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
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
        let _alone = alone();
        for state in [
            State { copy: None, threads: 0, generation: 0 },
            State { copy: Some(0), threads: 1, generation: 7 },
            State { copy: Some(0xff_fffe), threads: 0xff_ffff, generation: u16::MAX },
        ] {
            assert_eq!(State::from(u64::from(state)), state);
        }
        for calls in [
            Calls { sequence: 1, depth: 0, is_counted: false, generation: 0 },
            Calls { sequence: u32::MAX, depth: 0x7fff, is_counted: true, generation: u16::MAX },
        ] {
            assert_eq!(Calls::from(u64::from(calls)), calls);
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

    fn all_are_free() -> bool {
        MINE.with(|mine| mine.iter().all(|place| place.word.load(Ordering::Relaxed) == 0))
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
        assert!(all_are_free());
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
        assert!(all_are_free());
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

    static INTERRUPTED: Waits = Waits::of_a_static();

    /// Closes at any time, but nothing that could be copied.
    extern "C" fn close_in_a_handler(_: i32) {
        // SAFETY: no test opens so many files, and should it be open, it is copied and nothing else.
        INTERRUPTED.keep(unsafe { BorrowedFd::borrow_raw(60_000) });
    }

    #[test]
    #[cfg_attr(miri, ignore = "it knows no signals")]
    fn a_handler_that_closes_in_the_midst_counts_nobody_twice() {
        let _alone = alone();
        let handler = close_in_a_handler as extern "C" fn(i32) as libc::sighandler_t;
        // SAFETY: what the handler does may be done at any time.
        let _ = unsafe { libc::signal(libc::SIGURG, handler) };
        let (over, caller) = (AtomicU32::new(0), AtomicU64::new(0));
        let threads = || State::from(INTERRUPTED.word.load(Ordering::Relaxed)).threads;
        let calls = || {
            // SAFETY: no pointers.
            caller.store(unsafe { libc::pthread_self() }, Ordering::Release);
            while over.load(Ordering::Relaxed) == 0 {
                drop((INTERRUPTED.enter(), INTERRUPTED.enter()));
            }
            assert!(all_are_free());
        };
        let another = INTERRUPTED.enter();
        thread::scope(|scope| {
            let _ = scope.spawn(calls);
            for _ in 0..100_000 {
                match caller.load(Ordering::Acquire) {
                    0 => thread::yield_now(),
                    // SAFETY: it waits for `over`.
                    caller => drop(unsafe { libc::pthread_kill(caller, libc::SIGURG) }),
                }
            }
            over.store(1, Ordering::Relaxed);
        });
        assert_eq!(threads(), 1, "that of this thread");
        drop(another);
        assert_eq!(threads(), 0);
    }
}
