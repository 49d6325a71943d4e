//! A short sleep within a call.

use std::time::Duration;

use rustix::thread::{Timespec, nanosleep};

/// Sleeps, or less if a signal comes. Not libc's way: its sleep is a cancellation point, at which a thread
/// that is to be ended would be unwound with locks held that other processes wait for.
pub fn pause(time: Duration) {
    let seconds = i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
    let time = Timespec { tv_sec: seconds, tv_nsec: time.subsec_nanos().into() };
    // How long was left when the signal came does not matter.
    let _ = nanosleep(&time);
}
