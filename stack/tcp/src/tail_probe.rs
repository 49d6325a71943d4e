//! The timer for what is in flight, one slot for all: retransmission timeout (RFC 6298), tail loss
//! probe (RFC 8985 §7) and reordering (RFC 8985 §6.3); and what the tail loss probe sends.

use core::time::Duration;

use types::Instant;

use crate::flight::{Flight, Phase, Probe};
use crate::timers::Timer;
use crate::{Events, SeqNum, State, Tcb, limits};

impl Tcb {
    /// Starts the timer that comes first. With nothing in flight it ends the flight's record. Before
    /// the handshake is complete the slot is the SYN-ACK's.
    pub(crate) fn arm_loss_timer(&mut self, now: Instant) {
        let Some(flight) = self.flight.as_ref().filter(|_| self.state != State::SynReceived) else {
            return;
        };
        if flight.board.is_empty() {
            if !self.timers.is_on(Timer::Persist) {
                self.timers.start(Timer::Idle, now + limits::FLIGHT_IDLE);
            }
            return;
        }
        let timeout = flight.rto_base + self.rtt.rto();
        let reordering = [flight.rack.due, flight.belief.due()].into_iter().flatten().min();
        let (timer, due) = match reordering {
            Some(due) if due < timeout => (Timer::Reordering, due),
            _ if self.may_probe(flight) => (Timer::Probe, timeout.min(now + self.pto(flight))),
            _ if self.retransmits > 0 => (Timer::Retransmit, self.by_user_timeout(timeout)),
            _ => (Timer::Retransmit, timeout),
        };
        self.timers.start(timer, due);
    }

    /// The handshake is complete: text that was sent before is watched over from now on.
    pub(crate) fn watch_early_text(&mut self, now: Instant) {
        if let Some(flight) = self.flight.as_mut() {
            flight.rto_base = now;
            self.arm_loss_timer(now);
        }
    }

    /// RFC 8985 §7.2: with SACK, while nothing is missing, one probe at a time.
    fn may_probe(&self, flight: &Flight) -> bool {
        self.sack
            && flight.phase == Phase::Open
            && flight.board.sacked_len() == 0
            && flight.board.lost_len() == 0
            && flight.probe.is_none()
            && !flight.probe_due
    }

    /// TLP_calc_PTO: two round trips, and the time for which the peer may hold back the ACK of a
    /// single segment.
    fn pto(&self, flight: &Flight) -> Duration {
        let srtt = self.srtt();
        if srtt.is_zero() {
            return limits::TLP_INITIAL;
        }
        let single = flight.pipe() <= u32::from(self.snd.mss);
        let delay = if single { limits::TLP_ACK_DELAY } else { Duration::ZERO };
        srtt.saturating_mul(2).saturating_add(delay).max(limits::TLP_MIN)
    }

    /// The PTO is over: the next segment out is a probe, whatever the window.
    pub(crate) fn probe_timeout(&mut self, now: Instant) -> Events {
        let Some(mut flight) = self.flight.take() else { return Events::NONE };
        flight.probe_due = self.may_probe(&flight) && !flight.board.is_empty();
        flight.rto_base = now;
        self.flight = Some(flight);
        self.arm_loss_timer(now);
        Events::NONE
    }

    /// A second after all was acknowledged.
    pub(crate) fn idle_timeout(&mut self) -> Events {
        if let Some(flight) = self.flight.take_if(|flight| flight.board.is_empty()) {
            self.forget_doubtful(&flight);
        }
        Events::NONE
    }

    /// The probe has left; it ends at `end`. `again`: it repeats the last segment.
    pub(crate) fn tail_probe_sent(&mut self, end: SeqNum, again: bool) {
        if let Some(flight) = self.flight.as_mut() {
            flight.probe_due = false;
            flight.probe = Some(Probe { end, again });
        }
    }
}
