//! Many worlds at once: one seed each, over all cores.

use std::panic::{self, AssertUnwindSafe};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// Runs `world` for each number below `count` and returns the results in that order; `None` where
/// an assertion failed, whose message is on standard error. Every few seconds it says there how far
/// it is.
pub fn try_run<T: Send>(count: u64, world: impl Fn(u64) -> T + Sync) -> Vec<Option<T>> {
    let next = AtomicU64::new(0);
    let done = Mutex::new(Vec::new());
    let progress = Mutex::new(Instant::now());
    let work = || {
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= count {
                break;
            }
            let result = panic::catch_unwind(AssertUnwindSafe(|| world(number))).ok();
            let mut done = done.lock().expect("no thread panics with the lock");
            done.push((number, result));
            let mut said = progress.lock().expect("no thread panics with the lock");
            if said.elapsed() > Duration::from_secs(5) {
                *said = Instant::now();
                eprintln!("  {} of {count}", done.len());
            }
        }
    };
    let threads = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        for _ in 0..threads {
            let _ = scope.spawn(work);
        }
    });
    let mut done = done.into_inner().expect("no thread panics with the lock");
    done.sort_by_key(|(number, _)| *number);
    done.into_iter().map(|(_, result)| result).collect()
}

/// The same for worlds in which nothing fails.
///
/// # Panics
/// If something does.
pub fn run<T: Send>(count: u64, world: impl Fn(u64) -> T + Sync) -> Vec<T> {
    let results = try_run(count, world).into_iter();
    results.map(|result| result.expect("an assertion failed, see above")).collect()
}
