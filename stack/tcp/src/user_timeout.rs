//! How long what we have sent may stay unacknowledged: `TCP_USER_TIMEOUT` and the option by which
//! ends tell each other of it (RFC 5482).
//!
//! A user timeout takes the place of the number of retransmissions (R2, RFC 9293 §3.8.3): it may be
//! shorter or longer. It also counts while the peer's window is closed, and for keepalive.

use core::time::Duration;

use types::Instant;

use crate::{Tcb, limits};

/// The settings and the clock, in [`crate::rare::Rare`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct UserTimeout {
    /// The user's own; zero: none. An explicit one is not changed by the peer (RFC 5482 §3.1:
    /// CHANGEABLE is off then).
    local: Duration,
    /// The peer's wish, within our limits.
    remote: Duration,
    /// Tell the peer, and listen to it (RFC 5482 §3.1: ENABLED).
    enabled: bool,
    /// The option is due on the next segment.
    advertise: bool,
    /// Since when nothing new was acknowledged; `None` before the first stall that we saw.
    since: Option<Instant>,
}

impl Default for UserTimeout {
    fn default() -> Self {
        Self {
            local: Duration::ZERO,
            remote: Duration::ZERO,
            enabled: false,
            advertise: false,
            since: None,
        }
    }
}

/// The granularity bit of the option: minutes (RFC 5482 §2).
const MINUTES: u16 = 1 << 15;

impl UserTimeout {
    fn effective(&self) -> Option<Duration> {
        let timeout = if self.local.is_zero() { self.remote } else { self.local };
        (!timeout.is_zero()).then_some(timeout)
    }
}

impl Tcb {
    /// `TCP_USER_TIMEOUT`; zero is the system's rule again.
    pub fn set_user_timeout(&mut self, timeout: Duration) {
        if timeout.is_zero() && self.rare.is_none() {
            return;
        }
        let user_timeout = &mut self.rare_mut().user_timeout;
        user_timeout.local = timeout;
        user_timeout.advertise = user_timeout.enabled;
    }

    /// Tells the peer of our user timeout and takes its own where our user has none (RFC 5482
    /// §3.1). Off by default: the peer must not decide how long we keep a dead connection.
    pub fn set_user_timeout_option(&mut self, enabled: bool) {
        if !enabled && self.rare.is_none() {
            return;
        }
        let user_timeout = &mut self.rare_mut().user_timeout;
        user_timeout.enabled = enabled;
        user_timeout.advertise = enabled;
        if !enabled {
            user_timeout.remote = Duration::ZERO;
        }
    }

    /// The peer's option, on an acceptable segment.
    pub(crate) fn user_timeout_of_peer(&mut self, option: u16) {
        let Some(rare) = self.rare.as_mut().filter(|rare| rare.user_timeout.enabled) else {
            return;
        };
        let count = u64::from(option & !MINUTES);
        // Zero is reserved (RFC 5482 §2).
        if count > 0 {
            let unit = if option & MINUTES == 0 { 1 } else { 60 };
            let wish = Duration::from_secs(count.saturating_mul(unit));
            rare.user_timeout.remote =
                wish.clamp(limits::USER_TIMEOUT_MIN, limits::USER_TIMEOUT_MAX);
        }
    }

    /// The option, if it is due. A lost one is not repeated (RFC 5482 §3: best effort).
    pub(crate) fn take_user_timeout_option(&mut self) -> Option<u16> {
        let user_timeout = &mut self.rare.as_mut()?.user_timeout;
        if !core::mem::take(&mut user_timeout.advertise) || user_timeout.local.is_zero() {
            return None;
        }
        let seconds = user_timeout.local.as_secs().max(1);
        let minutes = || u16::try_from(seconds.div_ceil(60)).unwrap_or(u16::MAX) | MINUTES;
        Some(u16::try_from(seconds).ok().filter(|s| s & MINUTES == 0).unwrap_or_else(minutes))
    }

    /// A timer fired that waits for the peer. `first`: the last thing before it was progress, and
    /// `waited` is how long ago. A timeout that is set while the peer is silent already counts from
    /// the timer before.
    pub(crate) fn note_stall(&mut self, first: bool, waited: Duration, now: Instant) {
        if let Some(rare) = self.rare.as_mut()
            && (first || rare.user_timeout.since.is_none())
        {
            rare.user_timeout.since = Some(now - waited);
        }
    }

    /// Whether the peer has had its time, if there is a user timeout to decide it.
    pub(crate) fn is_user_timeout_over(&self, now: Instant) -> Option<bool> {
        let user_timeout = &self.rare.as_ref()?.user_timeout;
        let timeout = user_timeout.effective()?;
        Some(user_timeout.since.is_some_and(|since| now.since(since) >= timeout))
    }

    /// When a timer fires that is due at `due`: not after the user timeout.
    pub(crate) fn by_user_timeout(&self, due: Instant) -> Instant {
        let deadline = self.rare.as_ref().and_then(|rare| {
            let timeout = rare.user_timeout.effective()?;
            Some(rare.user_timeout.since? + timeout)
        });
        deadline.map_or(due, |deadline| due.min(deadline))
    }

    /// Whether a silent peer has had its time, if there is a user timeout to decide it.
    pub(crate) fn is_silence_over(&self, now: Instant) -> Option<bool> {
        let timeout = self.rare.as_ref()?.user_timeout.effective()?;
        Some(self.keepalive.probes > 0 && now.since(self.keepalive.heard_at) >= timeout)
    }
}
