//! Frames on their way in one direction.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use devnp_sdk::Packet;

/// Frames under way: a second of 3000 full frames, a quarter of the daemon's pool.
const FRAMES_MAX: usize = 4096;

/// How long a frame waits that the driver below did not take.
const AGAIN: Duration = Duration::from_micros(100);

/// Frames by the time they are due; those due at once in the order they came.
#[derive(Default)]
pub(crate) struct Line {
    held: BTreeMap<(Instant, u64), Packet>,
    count: u64,
    /// Frames lost, by fate or for want of room.
    pub(crate) lost: u64,
}

impl Line {
    /// Puts a frame on its way.
    pub(crate) fn hold(&mut self, frame: Packet, due: Instant) {
        if self.held.len() >= FRAMES_MAX {
            self.lost += 1;
            return;
        }
        self.count += 1;
        let _ = self.held.insert((due, self.count), frame);
    }

    /// The next frame that is due.
    pub(crate) fn due(&mut self, now: Instant) -> Option<Packet> {
        let first = self.held.first_entry()?;
        (first.key().0 <= now).then(|| first.remove())
    }

    /// A frame that was due and could not go.
    pub(crate) fn again(&mut self, frame: Packet, now: Instant) {
        let _ = self.held.insert((now + AGAIN, 0), frame);
    }

    /// When the next frame is due.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.held.first_key_value().map(|((due, _), _)| *due)
    }

    pub(crate) fn clear(&mut self) {
        self.held.clear();
    }
}
