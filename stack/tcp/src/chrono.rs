//! What the sender has waited for, and how long: the busy and limited times of `TCP_INFO`, as Linux counts them.
//!
//! ```text
//!   nothing queued │ acknowledgments │ the peer's window │ acknowledgments, its user having no room │ …
//!                  └──────────────────── busy ───────────────────────────────────────────────────────┘
//! ```
//! The question is asked when there is no more to send; the answer holds until the next one.

use core::time::Duration;

use types::Instant;

use crate::Tcb;

/// What keeps the sender from being done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Waits {
    /// Nothing is queued.
    No,
    /// The network, or the congestion window.
    Acks,
    /// The peer has no room for what the congestion window would let go.
    Window,
    /// Everything is sent, and the send buffer has no room for what the user would write.
    Room,
}

/// For how long a connection has waited.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Waited {
    /// Text was queued.
    pub busy: Duration,
    /// Of that: the peer's window held it back.
    pub window: Duration,
    /// Of that: all was sent, and the user could not write more.
    pub room: Duration,
}

/// The present wait, and the sum of all before it. Limited times are in [`crate::rare::Troubles`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Chrono {
    busy_ns: u64,
    since: Instant,
    waits: Waits,
    /// The user waits for room.
    full: bool,
}

impl Chrono {
    pub(crate) const fn new() -> Self {
        Self { busy_ns: 0, since: Instant::FAR_FUTURE, waits: Waits::No, full: false }
    }

    /// What an idle connection keeps: units of [`NAP_UNIT_NS`], up to 19 hours of them.
    pub(crate) fn nap(self) -> u32 {
        let units = self.busy_ns.saturating_add(NAP_UNIT_NS / 2).checked_div(NAP_UNIT_NS);
        units.and_then(|units| u32::try_from(units).ok()).unwrap_or(u32::MAX)
    }

    pub(crate) fn resumed(nap: u32) -> Self {
        Self { busy_ns: u64::from(nap).saturating_mul(NAP_UNIT_NS), ..Self::new() }
    }

    fn present(&self, now: Instant) -> Duration {
        match self.waits {
            Waits::No => Duration::ZERO,
            _ => now.since(self.since),
        }
    }
}

/// Shorter than the shortest round trip that counts.
const NAP_UNIT_NS: u64 = 16_000;

impl Tcb {
    /// How long the connection has waited by now.
    #[must_use]
    pub fn waited(&self, now: Instant) -> Waited {
        let (before, present) = (self.troubles(), self.chrono.present(now));
        let sum = |ns: u64, counts: bool| {
            Duration::from_nanos(ns).saturating_add(if counts { present } else { Duration::ZERO })
        };
        let waits = self.chrono.waits;
        Waited {
            busy: sum(self.chrono.busy_ns, true),
            window: sum(before.window_ns, waits == Waits::Window),
            room: sum(before.room_ns, waits == Waits::Room),
        }
    }

    /// Does the user wait for room in the send buffer?
    pub fn user_waits(&mut self, full: bool, now: Instant) {
        if self.chrono.full != full {
            self.chrono.full = full;
            self.note_wait(now);
        }
    }

    /// There is no more to send for now.
    #[inline]
    pub(crate) fn note_wait(&mut self, now: Instant) {
        let waits = self.waits();
        if waits != self.chrono.waits {
            self.wait_changes(waits, now);
        }
    }

    /// Everything that was queued is acknowledged.
    #[inline]
    pub(crate) fn note_all_acknowledged(&mut self, now: Instant) {
        if self.snd.queued == 0 && self.chrono.waits != Waits::No {
            self.wait_changes(Waits::No, now);
        }
    }

    fn wait_changes(&mut self, waits: Waits, now: Instant) {
        let present = self.chrono.present(now);
        let ns = types::nanos(present);
        self.chrono.busy_ns = self.chrono.busy_ns.saturating_add(ns);
        match self.chrono.waits {
            Waits::No | Waits::Acks => {}
            Waits::Window => {
                let troubles = &mut self.rare_mut().troubles;
                troubles.window_ns = troubles.window_ns.saturating_add(ns);
            }
            Waits::Room => {
                let troubles = &mut self.rare_mut().troubles;
                troubles.room_ns = troubles.room_ns.saturating_add(ns);
            }
        }
        self.chrono.waits = waits;
        self.chrono.since = now;
    }

    fn waits(&self) -> Waits {
        let in_flight = self.snd.in_flight();
        let unsent = self.snd.queued.saturating_sub(in_flight);
        if self.snd.queued == 0 {
            Waits::No
        } else if unsent == 0 {
            if self.chrono.full { Waits::Room } else { Waits::Acks }
        } else {
            let next = unsent.min(self.snd.mss.into());
            let pipe = self.flight.as_ref().map_or(0, |flight| flight.pipe());
            let may_go = pipe.saturating_add(next) <= self.cc.cwnd();
            let has_room = self.snd.wnd.saturating_sub(in_flight) >= next;
            if may_go && !has_room { Waits::Window } else { Waits::Acks }
        }
    }
}
