//! F-RTO (RFC 5682): was a timeout spurious? Where no timestamps tell, the sender goes forward once
//! instead of back: after the first ACK it sends up to two new segments, and the next ACK shows
//! whether the originals had only been late.
//!
//! ```text
//!            ACK below RecoveryPoint,             of an original: spurious ──▶ undo
//!   Waiting ─ new text can go ──▶ Sending ── next ACK ─┤
//!      │                                               anything else ──┐
//!      └─ anything else ──▶ Off: what is lost is sent again ◀──────────┘
//! ```

use crate::flight::{Flight, News, Phase};
use crate::{SeqNum, Tcb};

/// Where the algorithm stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Forward {
    /// There was no timeout, or recovery is the conventional one.
    Off,
    /// Step 2: the first segment was sent again, its ACK is awaited.
    Waiting,
    /// Step 3: new text up to `end` goes, nothing of what is lost, and the next ACK decides.
    Sending { end: SeqNum },
}

impl Flight {
    /// Step 1: the timer has fired. A timeout of what recovery has sent again tells nothing, except
    /// if nothing has arrived since the first one.
    pub(crate) fn begin_forward(&mut self, timestamps: bool) {
        let again = self.phase == Phase::Loss && self.forward == Forward::Waiting;
        let begins = !timestamps && (self.phase == Phase::Open || again);
        self.forward = if begins { Forward::Waiting } else { Forward::Off };
    }

    /// How much new text may go from `next` on, if it is new text's turn.
    pub(crate) fn forward_room(&self, next: SeqNum) -> Option<u32> {
        match self.forward {
            Forward::Sending { end } => Some(if next.before(end) { end.since(next) } else { 0 }),
            Forward::Off | Forward::Waiting => None,
        }
    }
}

impl Tcb {
    /// Step 3: `true` if the ACK is of an original, so that the timeout was spurious. An ACK of the
    /// new segments, or of nothing, says that the rest is lost.
    pub(crate) fn forward_verdict(
        &mut self,
        flight: &mut Flight,
        news: &News,
        duplicate: bool,
    ) -> bool {
        let tells = news.advanced || news.delivered_len > 0 || duplicate;
        if !matches!(flight.forward, Forward::Sending { .. }) || !tells {
            return false;
        }
        flight.forward = Forward::Off;
        if news.original && !news.beyond {
            return true;
        }
        // Room for one segment of what is lost beside the new ones.
        let window = flight.pipe().saturating_add(u32::from(self.snd.mss));
        self.cc.set_cwnd(window.max(self.cc.cwnd()), self.snd.mss);
        false
    }

    /// Step 2: the first ACK after the timeout, once the window is known. Without SACK a duplicate
    /// ends the test. Without new text that may go recovery is the conventional one.
    pub(crate) fn go_forward(&mut self, advanced: bool, duplicate: bool) {
        let (newest, next) = (self.snd.max, self.snd.nxt);
        let end = next + u32::from(self.snd.mss).saturating_mul(2);
        let Some(flight) = self.flight.as_mut() else { return };
        if flight.forward != Forward::Waiting || !(advanced || (duplicate && !self.sack)) {
            return;
        }
        flight.forward = Forward::Off;
        let resent_arrived = flight.phase == Phase::Loss && !flight.board.is_front_resent();
        if !advanced || !resent_arrived || next != newest {
            return;
        }
        flight.recover = newest;
        flight.forward = Forward::Sending { end };
        if !self.has_new_text()
            && let Some(flight) = self.flight.as_mut()
        {
            flight.forward = Forward::Off;
        }
    }
}
