//! `SO_LINGER`: a close that waits for the peer's acknowledgement.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use proto::Request;
use proto::message::Transport;
use rustix::thread::{NanosleepRelativeResult, Timespec, nanosleep};
use shm::Status;

use crate::socket::Socket;

/// The first look comes so soon: most peers are near.
const PAUSE_MIN: Duration = Duration::from_micros(100);

/// Later looks are so far apart: what they cost does not show.
const PAUSE_MAX: Duration = Duration::from_millis(10);

impl Socket {
    /// How long a close is to wait; `None`: not at all. It waits on non-blocking sockets too, as
    /// Linux's does.
    #[must_use]
    pub fn linger(&self) -> Option<Duration> {
        let seconds = self.linger_s.load(Ordering::Relaxed);
        (seconds > 0 && self.transport() == Transport::Stream)
            .then(|| Duration::from_secs(seconds.into()))
    }

    /// To be called after the descriptor was closed: returns when the peer has acknowledged all that
    /// was sent, the connection is gone, `time` is over, or a signal came; and at once if another
    /// process has a copy of the descriptor, unless this is a signal's handler that has interrupted a request.
    pub fn wait_acknowledged(&self, time: Duration) {
        let until = Instant::now().checked_add(time);
        let closed = || self.channel.call_unless_within(Request::Closed { socket: self.handle });
        if self.is_acknowledged() || matches!(closed(), Some(Err(_))) {
            return;
        }
        let mut pause = PAUSE_MIN;
        while !self.is_acknowledged() {
            let left = until.map_or(PAUSE_MAX, |end| end.saturating_duration_since(Instant::now()));
            if left.is_zero() || !sleep(pause.min(left)) {
                return;
            }
            pause = pause.saturating_mul(2).min(PAUSE_MAX);
        }
    }

    /// The cell is another's when the connection is gone.
    fn is_acknowledged(&self) -> bool {
        self.memory.status().is_none_or(|status| status.contains(Status::CLOSED))
            || self.memory.send().unreleased() == 0
    }
}

/// False: a signal came.
fn sleep(time: Duration) -> bool {
    let request = Timespec {
        tv_sec: i64::try_from(time.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: i64::from(time.subsec_nanos()),
    };
    matches!(nanosleep(&request), NanosleepRelativeResult::Ok)
}
