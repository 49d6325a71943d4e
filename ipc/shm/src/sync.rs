//! Atomics and waiting: the machine's; with the feature `loom` those of a model that tries every order in which
//! they could happen (`tests/loom.rs`).
//!
//! Words that are no part of what daemon and client do together stay the machine's own.

#[cfg(not(feature = "loom"))]
pub(crate) use core::{
    hint::spin_loop,
    sync::atomic::{AtomicU32, AtomicU64, fence},
};
#[cfg(feature = "loom")]
pub(crate) use loom::{
    hint::spin_loop,
    sync::atomic::{AtomicU32, AtomicU64, fence},
};

/// Sleeps while the word has this value, and not for long. `true`: it was long.
#[cfg(not(feature = "loom"))]
pub(crate) fn wait(word: &AtomicU32, value: u32) -> bool {
    use rustix::io::Errno;
    use rustix::thread::futex;

    const LONG: futex::Timespec = futex::Timespec { tv_sec: 0, tv_nsec: 100_000_000 };
    futex::wait(word, futex::Flags::empty(), value, Some(&LONG)) == Err(Errno::TIMEDOUT)
}

/// The others go on first.
#[cfg(feature = "loom")]
pub(crate) fn wait(_word: &AtomicU32, _value: u32) -> bool {
    loom::thread::yield_now();
    false
}

/// Wakes one who waits.
#[cfg(not(feature = "loom"))]
pub(crate) fn wake(word: &AtomicU32) {
    use rustix::thread::futex;

    // Nobody waits any more: fine too.
    let _ = futex::wake(word, futex::Flags::empty(), 1);
}

/// Nobody sleeps.
#[cfg(feature = "loom")]
pub(crate) fn wake(_word: &AtomicU32) {}
