//! Keepalive (RFC 9293 §3.8.4, RFC 1122 §4.2.3.6): is a silent peer still there?

use core::time::Duration;

use types::Instant;

use crate::timers::Timer;
use crate::{Events, State, Tcb};

/// The settings behind `SO_KEEPALIVE`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keepalive {
    /// Silence before the first probe (`TCP_KEEPIDLE`).
    pub idle_s: u32,
    /// Time between probes (`TCP_KEEPINTVL`).
    pub interval_s: u32,
    /// Unanswered probes that end the connection (`TCP_KEEPCNT`).
    pub count: u8,
}

impl Keepalive {
    /// When the first probe is due if the peer was last heard at `heard_at`.
    pub(crate) fn due_after(&self, heard_at: Instant) -> Instant {
        heard_at + seconds(self.idle_s)
    }
}

impl Default for Keepalive {
    /// Two hours, as RFC 9293 §3.8.4 (MUST-28) demands of the default.
    fn default() -> Self {
        Self { idle_s: 7_200, interval_s: 75, count: 9 }
    }
}

/// What keepalive watches; its settings are among what is rare.
#[derive(Clone, Copy, Debug)]
pub(crate) struct KeepaliveState {
    /// Probes sent since the peer was last heard.
    pub(crate) probes: u8,
    /// A probe is due.
    pub(crate) probe: bool,
    pub(crate) heard_at: Instant,
}

impl KeepaliveState {
    pub(crate) const fn new(now: Instant) -> Self {
        Self { probes: 0, probe: false, heard_at: now }
    }

    /// The peer is alive. The timer is left alone; it finds out when it fires.
    pub(crate) fn heard(&mut self, now: Instant) {
        self.heard_at = now;
        self.probes = 0;
    }
}

impl Tcb {
    /// Turns keepalive on, off, or changes its settings.
    pub fn set_keepalive(&mut self, settings: Option<Keepalive>, now: Instant) {
        if settings.is_none() && self.rare.is_none() {
            return;
        }
        self.rare_mut().keepalive = settings;
        self.keepalive = KeepaliveState::new(now);
        self.timers.stop(Timer::Keepalive);
        self.start_keepalive();
    }

    fn keepalive_settings(&self) -> Option<Keepalive> {
        self.rare.as_ref()?.keepalive
    }

    /// Arms the timer, if the connection is open and keepalive is on.
    pub(crate) fn start_keepalive(&mut self) {
        let open = self.state.is_sending() || self.state == State::FinWait2;
        if let Some(settings) = self.keepalive_settings().filter(|_| open) {
            let due = settings.due_after(self.keepalive.heard_at);
            self.timers.start(Timer::Keepalive, due);
        }
    }

    pub(crate) fn keepalive_timeout(&mut self, now: Instant) -> Events {
        let Some(settings) = self.keepalive_settings() else { return Events::NONE };
        let idle = seconds(settings.idle_s);
        if now < self.keepalive.heard_at + idle {
            self.start_keepalive();
            return Events::NONE;
        }
        // Unacknowledged text has its own timers, which find a dead peer sooner.
        if self.snd.una != self.snd.max || self.snd.queued > 0 {
            self.timers.start(Timer::Keepalive, now + idle);
            return Events::NONE;
        }
        let unanswered = self.keepalive.probes >= settings.count;
        if self.is_silence_over(now).unwrap_or(unanswered) {
            self.abort();
            return Events::TIMED_OUT | Events::CLOSED;
        }
        self.keepalive.probes = self.keepalive.probes.saturating_add(1);
        self.keepalive.probe = true;
        self.timers.start(Timer::Keepalive, now + seconds(settings.interval_s));
        Events::NONE
    }
}

/// At least one second, so that a setting of zero can't make the timer fire forever.
fn seconds(seconds: u32) -> Duration {
    Duration::from_secs(u64::from(seconds.max(1)))
}
