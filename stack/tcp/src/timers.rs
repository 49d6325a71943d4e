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
    const ALL: [Self; 5] =
        [Self::Retransmit, Self::Persist, Self::DelayedAck, Self::Keepalive, Self::TwoMsl];
}

/// When each timer is due; [`Instant::FAR_FUTURE`] when it is off.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TimerTable([Instant; Timer::ALL.len()]);

impl TimerTable {
    pub(crate) const fn new() -> Self {
        Self([Instant::FAR_FUTURE; Timer::ALL.len()])
    }

    pub(crate) fn due(&self, timer: Timer) -> Instant {
        self.0.get(timer as usize).copied().unwrap_or(Instant::FAR_FUTURE)
    }

    pub(crate) fn is_on(&self, timer: Timer) -> bool {
        self.due(timer) != Instant::FAR_FUTURE
    }

    pub(crate) fn start(&mut self, timer: Timer, due: Instant) {
        if let Some(slot) = self.0.get_mut(timer as usize) {
            *slot = due;
        }
    }

    pub(crate) fn stop(&mut self, timer: Timer) {
        self.start(timer, Instant::FAR_FUTURE);
    }

    pub(crate) fn stop_all(&mut self) {
        *self = Self::new();
    }

    pub(crate) fn next(&self) -> Option<Instant> {
        self.0.iter().copied().min().filter(|due| *due != Instant::FAR_FUTURE)
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
        [self.timers.next(), self.pacing_due()].into_iter().flatten().min()
    }

    /// TIMEOUTS: runs every timer that is due.
    pub fn timeout(&mut self, now: Instant) -> Events {
        let mut events = Events::NONE;
        self.pacing_advance(now);
        for timer in Timer::ALL {
            if self.timers.take_due(timer, now) {
                events |= match timer {
                    Timer::Retransmit => self.retransmit_timeout(now),
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
            self.timers.stop(Timer::Retransmit);
            self.timers.start(Timer::Persist, now + self.persist_interval());
        }
    }

    /// Restarts `Retransmit`, or stops it if everything is acknowledged (RFC 6298 §5.2, 5.3).
    pub(crate) fn restart_retransmit(&mut self, now: Instant) {
        if self.snd.una == self.snd.max {
            self.timers.stop(Timer::Retransmit);
        } else {
            self.timers.start(Timer::Retransmit, now + self.rtt.rto());
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

    /// RFC 6298 §5.4-5.6 and RFC 5681 §3.1: send again from SND.UNA, slowly.
    fn retransmit_timeout(&mut self, now: Instant) -> Events {
        if self.snd.una == self.snd.max {
            return Events::NONE;
        }
        self.note_stall(self.retransmits == 0, self.rtt.rto(), now);
        let out_of_tries = self.retransmits >= self.retries_max();
        if self.is_user_timeout_over(now).unwrap_or(out_of_tries) {
            return self.give_up();
        }
        self.syn_lost |= matches!(self.state, State::SynSent | State::SynReceived);
        let first = self.retransmits == 0;
        self.retransmits = self.retransmits.saturating_add(1);
        self.suspect_black_hole(now);
        self.rtt.back_off(now);
        self.rtt.cancel();
        self.ecn.reduced(self.snd.max);
        self.cc.on_timeout(first, self.snd.in_flight(), self.snd.mss, now);
        self.recovery.on_timeout(self.snd.max);
        self.retransmit_first = false;
        self.snd.nxt = self.snd.una;
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
