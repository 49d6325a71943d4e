//! `-w`: says so when a worker does not breathe.
//!
//! Idle workers breathe every half second at least, so one that has not breathed for a second or more
//! is stuck in a driver or a module, or gets no time.

use core::time::Duration;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread;

use inet::WorkerCounters;

/// Looks every `interval` until what it returns is dropped.
///
/// # Errors
/// No thread can be had.
pub(crate) fn watch(
    interval: Duration,
    workers: Vec<Arc<WorkerCounters>>,
) -> std::io::Result<SyncSender<()>> {
    let (stop, stopped) = sync_channel(0);
    let name = thread::Builder::new().name("watchdog".into());
    let _detached = name.spawn(move || look(interval, &workers, &stopped))?;
    Ok(stop)
}

fn look(interval: Duration, workers: &[Arc<WorkerCounters>], stopped: &Receiver<()>) {
    let mut before: Vec<Seen> = workers.iter().map(|_| Seen::default()).collect();
    while stopped.recv_timeout(interval) == Err(RecvTimeoutError::Timeout) {
        for (number, (worker, seen)) in workers.iter().zip(&mut before).enumerate() {
            match seen.look(worker.worker.breaths.value()) {
                Some(true) => tracing::error!(
                    "worker {number} has not breathed for {} s: a driver or module keeps it, or it \
                     gets no time; see: iopkt workers, top -H",
                    interval.as_secs()
                ),
                Some(false) => tracing::warn!("worker {number} breathes again"),
                None => {}
            }
        }
    }
}

/// What was seen of a worker.
#[derive(Debug, Default)]
struct Seen {
    breaths: u64,
    stuck: bool,
}

impl Seen {
    /// `Some`: it is stuck, or no longer, since this look.
    fn look(&mut self, breaths: u64) -> Option<bool> {
        let stuck = breaths == self.breaths;
        let news = (stuck != self.stuck).then_some(stuck);
        *self = Self { breaths, stuck };
        news
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stall_is_reported_once_and_so_is_its_end() {
        let mut seen = Seen::default();
        let said: Vec<_> = [5, 9, 9, 9, 10, 12].map(|breaths| seen.look(breaths)).into();
        assert_eq!(said, [None, None, Some(true), None, Some(false), None]);
    }
}
