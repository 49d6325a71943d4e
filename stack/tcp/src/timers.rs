//! TIMEOUTS: the timers of a connection and what they do (RFC 9293 §3.10.8).

use core::time::Duration;

use types::Instant;

use crate::state::Event;
use crate::{Events, State, Tcb, limits};

/// The timers of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Timer {
    /// Something sent is not acknowledged (RFC 6298).
    Retransmit,
    /// The end of a flight may be lost (RFC 8985 §7).
    Probe,
    /// A segment is late, but may only be reordered (RFC 8985 §6.3).
    Reordering,
    /// Nothing is in flight, and its record is kept for a while.
    Idle,
    /// The peer's window is too small to send anything (RFC 9293 §3.8.6.1).
    Persist,
    /// An ACK waits for company (RFC 9293 §3.8.6.3).
    DelayedAck,
    /// The peer is silent (RFC 9293 §3.8.4).
    Keepalive,
    /// TIME-WAIT, and FIN-WAIT-2 without a user.
    TwoMsl,
}

impl Timer {
    const ALL: [Self; 8] = [
        Self::Retransmit,
        Self::Probe,
        Self::Reordering,
        Self::Idle,
        Self::Persist,
        Self::DelayedAck,
        Self::Keepalive,
        Self::TwoMsl,
    ];
}

/// When each timer is due. Those that exclude one another share a place: the first five, and the last
/// two, because 2MSL ends what keepalive would watch.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TimerTable {
    /// The first five, the delayed ACK, the last two.
    slots: [Instant; 3],
    /// Whose the first slot is.
    first: Timer,
    /// Whose the last slot is.
    last: Timer,
}

impl TimerTable {
    pub(crate) const fn new() -> Self {
        Self { slots: [Instant::FAR_FUTURE; 3], first: Timer::Retransmit, last: Timer::Keepalive }
    }

    pub(crate) fn due(&self, timer: Timer) -> Instant {
        let [first, delayed_ack, last] = self.slots;
        match timer {
            Timer::DelayedAck => delayed_ack,
            _ if timer == self.first => first,
            _ if timer == self.last => last,
            _ => Instant::FAR_FUTURE,
        }
    }

    pub(crate) fn is_on(&self, timer: Timer) -> bool {
        self.due(timer) != Instant::FAR_FUTURE
    }

    /// In a shared slot it takes the place of whatever was on.
    pub(crate) fn start(&mut self, timer: Timer, due: Instant) {
        let [first, delayed_ack, last] = &mut self.slots;
        let slot = match timer {
            Timer::DelayedAck => delayed_ack,
            Timer::Keepalive | Timer::TwoMsl => {
                self.last = timer;
                last
            }
            _ => {
                self.first = timer;
                first
            }
        };
        *slot = due;
    }

    pub(crate) fn stop(&mut self, timer: Timer) {
        if self.is_on(timer) {
            self.start(timer, Instant::FAR_FUTURE);
        }
    }

    /// Nothing runs but keepalive, which starts anew from when the peer was last heard, and the timer
    /// that ends the record of what was in flight.
    pub(crate) fn is_at_rest(&self) -> bool {
        let [first, delayed_ack, last] = self.slots;
        (first == Instant::FAR_FUTURE || self.first == Timer::Idle)
            && delayed_ack == Instant::FAR_FUTURE
            && (last == Instant::FAR_FUTURE || self.last == Timer::Keepalive)
    }

    /// Something watches over what is in flight.
    #[cfg(any(test, debug_assertions))]
    pub(crate) fn watches_flight(&self) -> bool {
        self.first != Timer::Idle && self.is_on(self.first)
    }

    pub(crate) fn stop_all(&mut self) {
        *self = Self::new();
    }

    pub(crate) fn next(&self) -> Option<Instant> {
        let [first, delayed_ack, last] = self.slots;
        let due = first.min(delayed_ack).min(last);
        (due != Instant::FAR_FUTURE).then_some(due)
    }

    /// Stops the timer if it is due.
    fn take_due(&mut self, timer: Timer, now: Instant) -> bool {
        let due = self.is_on(timer) && self.due(timer) <= now;
        if due {
            self.stop(timer);
        }
        due
    }
}

impl Tcb {
    /// When [`Tcb::timeout`] wants to be called next. It may find nothing to do.
    #[must_use]
    pub fn next_timeout(&self) -> Option<Instant> {
        let timer = self.timers.next();
        match self.pacing_due() {
            Some(pacing) => Some(timer.map_or(pacing, |timer| timer.min(pacing))),
            None => timer,
        }
    }

    /// TIMEOUTS: runs every timer that is due.
    pub fn timeout(&mut self, now: Instant) -> Events {
        let mut events = Events::NONE;
        self.pacing_advance(now);
        for timer in Timer::ALL {
            if self.timers.take_due(timer, now) {
                events |= match timer {
                    Timer::Retransmit => self.retransmit_timeout(now),
                    Timer::Probe => self.probe_timeout(now),
                    Timer::Reordering => self.reordering_timeout(now),
                    Timer::Idle => self.idle_timeout(),
                    Timer::Persist => self.persist_timeout(now),
                    Timer::DelayedAck => self.delayed_ack_timeout(),
                    Timer::Keepalive => self.keepalive_timeout(now),
                    Timer::TwoMsl => self.two_msl_timeout(),
                };
            }
        }
        self.assert_invariants();
        events
    }

    /// Starts `Persist` when the window blocks us with nothing in flight, stops it otherwise.
    pub(crate) fn update_persist(&mut self, now: Instant) {
        if !self.window_blocks() {
            self.timers.stop(Timer::Persist);
            self.persist_shift = 0;
            self.probe = false;
        } else if !self.timers.is_on(Timer::Persist) {
            self.timers.start(Timer::Persist, now + self.persist_interval());
        }
    }

    /// The user is gone and the peer has acknowledged our FIN: it has so long to close.
    pub(crate) fn limit_fin_wait_2(&mut self, now: Instant) {
        if self.orphan && self.state == State::FinWait2 {
            match self.fin_wait_2() {
                Some(time) => self.timers.start(Timer::TwoMsl, now + time),
                None => self.abort(),
            }
        }
    }

    /// RFC 6298 §5.4-5.6: back off and send again, the SYN or what was lost.
    fn retransmit_timeout(&mut self, now: Instant) -> Events {
        let opening = matches!(self.state, State::SynSent | State::SynReceived);
        if !opening && self.snd.una == self.snd.nxt {
            return Events::NONE;
        }
        self.note_stall(self.retransmits == 0, self.rtt.rto(), now);
        let out_of_tries = self.retransmits >= self.retries_max();
        if self.is_user_timeout_over(now).unwrap_or(out_of_tries) {
            return self.give_up();
        }
        self.syn_lost |= opening;
        let first = self.retransmits == 0;
        self.retransmits = self.retransmits.saturating_add(1);
        self.suspect_black_hole(now);
        self.rtt.back_off(now);
        self.rtt.cancel();
        self.ecn.reduced(self.snd.max);
        if opening {
            self.repeat_syn();
        } else {
            self.lose_flight(first, now);
        }
        self.timers.start(Timer::Retransmit, self.by_user_timeout(now + self.rtt.rto()));
        Events::NONE
    }

    /// RFC 9293 §3.8.6.1: a probe, less and less often, for as long as the peer answers.
    fn persist_timeout(&mut self, now: Instant) -> Events {
        if !self.window_blocks() {
            return Events::NONE;
        }
        self.note_stall(self.persist_shift == 0, self.persist_interval(), now);
        let hoarded = self.orphan && self.persist_shift >= limits::ORPHAN_RETRIES_MAX;
        let dead = self.retransmits >= limits::RETRIES_MAX;
        if hoarded || self.is_user_timeout_over(now).unwrap_or(dead) {
            return self.give_up();
        }
        self.retransmits = self.retransmits.saturating_add(1);
        self.persist_shift = self.persist_shift.saturating_add(1);
        self.probe = true;
        self.timers.start(Timer::Persist, self.by_user_timeout(now + self.persist_interval()));
        Events::NONE
    }

    fn delayed_ack_timeout(&mut self) -> Events {
        self.ack_now();
        Events::NONE
    }

    fn two_msl_timeout(&mut self) -> Events {
        self.transition(Event::Timeout);
        Events::CLOSED
    }

    pub(crate) fn give_up(&mut self) -> Events {
        self.transition(Event::Reset);
        Events::TIMED_OUT | Events::CLOSED
    }

    fn retries_max(&self) -> u8 {
        match self.state {
            State::SynSent => self.syn_retries(),
            State::SynReceived => limits::SYN_ACK_RETRIES_MAX,
            _ if self.orphan => limits::ORPHAN_RETRIES_MAX,
            _ => limits::RETRIES_MAX,
        }
    }

    fn persist_interval(&self) -> Duration {
        let factor = 1_u32.checked_shl(u32::from(self.persist_shift)).unwrap_or(u32::MAX);
        self.rtt.base().saturating_mul(factor).min(limits::RTO_MAX)
    }
}
