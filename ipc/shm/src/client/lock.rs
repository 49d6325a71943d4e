//! Locks in shared memory.
//!
//! The word is 0 or the holder's process id, with a bit for waiters. A holder that was killed in the
//! middle would block its relatives for ever; those that wait look now and then whether it lives.

use core::sync::atomic::Ordering;

use rustix::io::Errno;
use rustix::process::Pid;

use crate::sync::{self, AtomicU32};

const WAITERS: u32 = 1 << 31;
const SPINS: u32 = 100;

/// A lock that is held until this is dropped.
#[derive(Debug)]
pub(super) struct Guard<'a> {
    word: &'a AtomicU32,
}

/// Waits for the lock. `process` is the caller's process id.
pub(super) fn lock(word: &AtomicU32, process: u32) -> Guard<'_> {
    for _ in 0..SPINS {
        if let Some(guard) = try_lock(word, process) {
            return guard;
        }
        sync::spin_loop();
    }
    loop {
        let mine = process | WAITERS;
        let Err(holder) = word.compare_exchange(0, mine, Ordering::Acquire, Ordering::Relaxed)
        else {
            return Guard { word };
        };
        let watched = holder | WAITERS;
        let relaxed = Ordering::Relaxed;
        if holder != watched && word.compare_exchange(holder, watched, relaxed, relaxed).is_err() {
            continue;
        }
        if sync::wait(word, watched)
            && is_gone(watched & !WAITERS)
            && word.compare_exchange(watched, mine, Ordering::Acquire, relaxed).is_ok()
        {
            return Guard { word };
        }
    }
}

/// The lock, if nobody has it.
pub(super) fn try_lock(word: &AtomicU32, process: u32) -> Option<Guard<'_>> {
    // No guard may be made before the lock is ours: dropping it would unlock another's.
    match word.compare_exchange(0, process, Ordering::Acquire, Ordering::Relaxed) {
        Ok(_) => Some(Guard { word }),
        Err(_) => None,
    }
}

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        if self.word.swap(0, Ordering::Release) & WAITERS != 0 {
            sync::wake(self.word);
        }
    }
}

fn is_gone(process: u32) -> bool {
    let pid = i32::try_from(process).ok().and_then(Pid::from_raw);
    pid.is_none_or(|pid| rustix::process::test_kill_process(pid) == Err(Errno::SRCH))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_at_a_time() {
        let word = AtomicU32::new(0);
        let count = AtomicU32::new(0);
        let me = std::process::id();
        let count_up = || {
            for _ in 0..20_000 {
                let _guard = lock(&word, me);
                let seen = count.load(Ordering::Relaxed);
                count.store(seen + 1, Ordering::Relaxed);
            }
        };
        std::thread::scope(|scope| {
            for _ in 0..4 {
                let _ = scope.spawn(count_up);
            }
        });
        assert_eq!(count.load(Ordering::Relaxed), 80_000);
        assert_eq!(word.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn a_dead_holder_is_succeeded() {
        let mut child = std::process::Command::new("true").spawn().expect("no true(1)");
        let gone = child.id();
        let _status = child.wait().expect("cannot wait");
        let word = AtomicU32::new(gone);
        let guard = lock(&word, std::process::id());
        drop(guard);
        assert_eq!(word.load(Ordering::Relaxed), 0);
    }
}
