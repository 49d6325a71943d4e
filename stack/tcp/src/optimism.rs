//! Peers who acknowledge text before it has arrived (optimistic ACKs): their windows open sooner, and
//! we send faster than the path can bear, at whoever is on it.
//!
//! No round trip is shorter than the path, and the handshake took one that a peer can't fake: it has
//! to answer with our sequence number. An ACK that comes clearly sooner is from a path that has become
//! shorter, or a lie. Then one segment is held back for as long as the known round trip takes, and
//! those behind it are sent:
//!
//! ```text
//!     sent  sent  HELD  sent  sent          honest: duplicate ACKs, blocks beyond the hole
//!   ──┼─────┼─────┼╌╌╌╌╌┼─────┼─────┤       liar: an ACK of what was never sent
//! ```
//! What has been held back was not sent, so an ACK of it is unacceptable (RFC 9293 §3.10.7.4), and the
//! window starts anew. For everybody else the hole is filled, and is no congestion; the time it took him
//! to SACK what is beyond it is a true round trip. Without SACK no one can show that, since duplicate
//! ACKs are easily guessed: one test follows the other, and the peer gets what a path as long as his
//! handshake's would give. Who is as far away as his handshake says is never put to the test.

use core::time::Duration;

use types::Instant;

use crate::flight::{Flight, Phase};
use crate::rtt::micros;
use crate::{SegmentIn, SeqNum, Tcb, limits};

/// What we believe of a peer's round trips while something is in flight.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Belief {
    /// The shortest round trip that is known to be true.
    proven: Duration,
    /// Round trips below this are doubtful, in microseconds.
    floor_us: u32,
    pub(crate) held: Option<Held>,
}

/// A segment that was held back.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Held {
    start: SeqNum,
    end: SeqNum,
    since: Instant,
    /// When to send it; `None`: it may go.
    until: Option<Instant>,
    /// How long it took the peer to tell of the hole by SACK.
    shown: Option<Duration>,
    /// It was acknowledged.
    caught: bool,
}

impl Belief {
    /// `min_rtt`: zero if not even the handshake was measured.
    pub(crate) fn new(min_rtt: Duration) -> Self {
        let proven = if min_rtt.is_zero() { limits::UNPROVEN_RTT } else { min_rtt };
        let tenth = proven.checked_div(11).unwrap_or(proven);
        let floor = proven.saturating_sub(tenth.max(limits::DOUBTFUL_RTT));
        Self { proven, floor_us: micros(floor), held: None }
    }

    /// `min_rtt` is too short to be believed without a test.
    fn doubts(&self, min_rtt: Duration) -> bool {
        !min_rtt.is_zero() && micros(min_rtt) < self.floor_us
    }

    /// When the segment that is held back may go.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.held?.until
    }

    /// A segment waits for its time.
    pub(crate) fn is_holding(&self) -> bool {
        self.due().is_some()
    }

    /// What was held back goes at `seq` now, whatever the window: it had its place in it.
    pub(crate) fn fills_hole(&self, seq: SeqNum) -> bool {
        self.held.is_some_and(|held| held.until.is_none() && !held.caught && held.start == seq)
    }

    /// Something else is lost, or a timer fired: no more waiting.
    pub(crate) fn release(&mut self) {
        if let Some(held) = &mut self.held {
            held.until = None;
        }
    }

    /// `start..end` has left; what was held back may be in it.
    pub(crate) fn sent(&mut self, start: SeqNum, end: SeqNum) {
        let Some(held) = &mut self.held else { return };
        if start.at_or_before(held.start) && end.after(held.start) {
            held.start = end;
        }
        if held.start.at_or_after(held.end) {
            self.held = None;
        }
    }

    /// A SACK block says that something beyond `una` has arrived: only who has it knows of the hole.
    pub(crate) fn note_hole(&mut self, una: SeqNum, now: Instant) {
        if let Some(held) = &mut self.held
            && held.start == una
        {
            held.shown = held.shown.or_else(|| Some(now.since(held.since)));
        }
    }
}

impl Tcb {
    /// A test, if there is reason for one, and enough text in flight and to send for it to tell.
    pub(crate) fn hold_back(&mut self, now: Instant) {
        let Some(flight) = self.flight.as_ref() else { return };
        if !flight.belief.doubts(self.reordering.min_rtt()) || !self.may_hold_back(flight) {
            return;
        }
        let (start, len) = (self.snd.nxt, u32::from(self.snd.mss));
        let end = start + len;
        self.text_sent(start, end, len, now);
        let Some(flight) = self.flight.as_mut() else { return };
        flight.board.lose_last();
        let until = Some(now + flight.belief.proven);
        let held = Held { start, end, since: now, until, shown: None, caught: false };
        flight.belief.held = Some(held);
        self.arm_loss_timer(now);
    }

    fn may_hold_back(&self, flight: &Flight) -> bool {
        let quiet = flight.phase == Phase::Open
            && flight.board.lost_len() == 0
            && flight.belief.held.is_none()
            && !flight.probe_due
            && self.snd.nxt == self.snd.max
            && !self.pacing_holds();
        quiet
            && flight.delivery.delivered() >= limits::DOUBTFUL_LEN
            && flight.board.has_room_for(limits::FLIGHT_SEGMENTS / 2)
            && self.has_text_behind_next()
    }

    /// It acknowledges, wholly or in part, what was held back.
    pub(crate) fn acknowledges_held(&self, seg: &SegmentIn<'_>) -> bool {
        let Some(held) = self.flight.as_ref().and_then(|flight| flight.belief.held) else {
            return false;
        };
        let blocks = if self.sack { seg.options.sack.as_slice() } else { &[] };
        let covers = |start: SeqNum, end: SeqNum| start.before(held.end) && end.after(held.start);
        seg.ack.after(held.start) || blocks.iter().any(|block| covers(block.start, block.end))
    }

    /// The peer has acknowledged what was never sent: the window starts anew, once per test.
    pub(crate) fn catch_liar(&mut self) {
        let flight_size = self.snd.in_flight().min(self.cc.cwnd());
        let Some(flight) = self.flight.as_mut() else { return };
        if let Some(held) = flight.belief.held.as_mut().filter(|held| !held.caught) {
            held.caught = true;
            // No report of duplicates takes this back.
            flight.undo = None;
            self.cc.on_timeout(true, flight_size, self.snd.mss);
        }
    }

    /// The timer of what is held back fired: it goes, and what the peer has shown is true.
    pub(crate) fn end_test(&mut self, flight: &mut Flight, now: Instant) {
        let held = flight.belief.held.filter(|held| held.until.is_some_and(|until| until <= now));
        let Some(held) = held else { return };
        flight.belief.release();
        if !held.caught {
            self.forget_doubtful(flight);
            let proven = flight.belief.proven;
            let belief = Belief::new(held.shown.map_or(proven, |shown| shown.min(proven)));
            flight.belief = Belief { held: flight.belief.held, ..belief };
        }
    }

    /// Round trips that were not put to the test are not the shortest any more.
    pub(crate) fn forget_doubtful(&mut self, flight: &Flight) {
        if flight.belief.doubts(self.reordering.min_rtt()) {
            self.reordering.set_min_rtt(flight.belief.proven);
        }
    }
}
