//! The size of segments: what routers say (RFC 1191, RFC 8201), and what can be found out where
//! they are silent (RFC 4821).
//!
//! ```text
//!   floor        low = Eff.snd.MSS         high            limit
//!   ──┼────────────────┼───────── ? ─────────┼───────────────┼──▶ size
//!                   arrives              does not      both SYNs, interface
//! ```
//! Nothing is searched for while the limit itself works; the state is made when it turns out not to,
//! and dropped when the limit works again.

use types::Instant;

use crate::scoreboard::Scoreboard;
use crate::tcb::effective_mss;
use crate::{SeqNum, Tcb, limits};

/// The search, in [`crate::rare::Rare`]. Sizes are of text, TCP options taken off.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Search {
    /// What both SYNs and the interface allow.
    limit: u16,
    /// Larger than anything that is known to arrive, `limit` + 1 if nothing is known to fail.
    high: u16,
    /// A segment of unproven size that is on its way.
    probe: Option<Probe>,
    /// A probe may go with the next text.
    ready: bool,
    /// No probe before.
    next: Instant,
}

#[derive(Clone, Copy, Debug)]
struct Probe {
    start: SeqNum,
    end: SeqNum,
}

impl Probe {
    fn size(self) -> u16 {
        u16::try_from(self.end.since(self.start)).unwrap_or(u16::MAX)
    }
}

impl Tcb {
    /// A router says that the path carries `mss` bytes of TCP options and text at most: the path MTU
    /// less IP and TCP headers. `quoted` is the sequence number of the segment that did not fit.
    /// Believed only of text in flight, so that a blind attacker has to guess (RFC 5927 §7.2), and
    /// never below [`limits::PATH_MSS_MIN`]. What was in flight is sent again at the new size (RFC
    /// 1191 §6.5), of what fits only a probe of the path that the message quotes (RFC 4821 §7.6.2).
    /// Says if the message was about this connection.
    #[must_use]
    pub fn path_mtu(&mut self, mss: u16, quoted: SeqNum, now: Instant) -> bool {
        if !self.is_in_flight(quoted) {
            return false;
        }
        let floor = limits::PATH_MSS_MIN.min(self.rcv.mss);
        let mss = effective_mss(mss.max(floor), u16::MAX, self.timestamps.enabled);
        if mss < self.snd.mss {
            self.shrink_segments(mss, now + limits::PATH_MTU_RAISE);
        } else {
            self.refuse_probe(mss, quoted);
        }
        self.assert_invariants();
        true
    }

    /// A router has no room for the probe at `quoted`, but for `mss` bytes: it is sent again at once.
    fn refuse_probe(&mut self, mss: u16, quoted: SeqNum) {
        let Some(search) = self.search_mut() else { return };
        let Some(probe) = search.probe.filter(|probe| probe.start == quoted) else { return };
        search.probe = None;
        search.high = mss.saturating_add(1).min(probe.size());
        if let Some(flight) = self.flight.as_mut() {
            flight.board.lose_at(probe.start);
        }
    }

    /// Of all text the probe alone is lost: it was too large, which tells nothing of congestion
    /// (RFC 4821 §3, §7.6.2). Not if it shares an entry with other text.
    pub(crate) fn is_path_probe_alone(&self, board: &Scoreboard) -> bool {
        self.search().and_then(|search| search.probe).is_some_and(|Probe { start, end }| {
            board.next_lost() == Some((start, end)) && board.lost_len() == end.since(start)
        })
    }

    /// Several timeouts in a row: perhaps only large segments are lost, without a word (RFC 4821
    /// §7.7). If that is not it, the search finds its way back.
    pub(crate) fn suspect_black_hole(&mut self, now: Instant) {
        let large =
            self.snd.queued.min(self.snd.max.since(self.snd.una)) >= u32::from(self.snd.mss);
        let due = self.retransmits.checked_rem(limits::BLACK_HOLE_TIMEOUTS) == Some(0);
        let smaller = if self.snd.mss > limits::PLPMTUD_BASE {
            limits::PLPMTUD_BASE
        } else {
            limits::PATH_MSS_MIN
        };
        if large && due && self.retransmits > 0 && self.snd.mss > smaller {
            self.shrink_segments(smaller, now);
        }
    }

    /// Segments of `mss` from now on; the search begins anew, at `next`.
    fn shrink_segments(&mut self, mss: u16, next: Instant) {
        let limit = self.search().map_or(self.snd.mss, |search| search.limit);
        let high = limit.saturating_add(1);
        let search = Search { limit, high, probe: None, ready: false, next };
        self.rare_mut().search = Some(search);
        self.snd.mss = mss;
        if let Some(flight) = self.flight.as_mut() {
            flight.board.divide(u32::from(mss));
        }
    }

    /// SND.UNA has moved: did the probe arrive, and is the next one due?
    pub(crate) fn search_on_ack(&mut self, now: Instant) {
        let (una, mss) = (self.snd.una, self.snd.mss);
        let Some(search) = self.search_mut() else { return };
        if let Some(probe) = search.probe.filter(|probe| una.at_or_after(probe.end)) {
            search.probe = None;
            let size = probe.size().min(search.limit);
            if size > mss {
                self.grow_segments(size);
            }
        }
        let mss = self.snd.mss;
        let Some(search) = self.search_mut() else { return };
        if search.probe.is_none() && now >= search.next {
            if search.high.saturating_sub(mss) <= limits::PLPMTUD_PRECISION {
                // Close enough; paths change, so it begins again later (RFC 4821 §7.3).
                search.high = search.limit.saturating_add(1);
                search.next = now + limits::PATH_MTU_RAISE;
            } else {
                search.ready = true;
            }
        }
    }

    fn grow_segments(&mut self, size: u16) {
        self.snd.mss = size;
        self.cc.segments_grew(size);
        if let Some(rare) = self.rare.as_mut()
            && rare.search.is_some_and(|search| size >= search.limit)
        {
            rare.search = None;
        }
    }

    /// The size of the probe to send instead of the next segment, if one is due: new text, enough
    /// of it behind the probe for its loss to be noticed, and room for it (RFC 4821 §7.4).
    pub(crate) fn probe_size(&self, unsent: u32, room: u32) -> Option<u32> {
        let search = self.search().filter(|search| search.ready)?;
        let mss = self.snd.mss;
        // The limit itself first: most often it has become good again.
        let size = if search.high > search.limit {
            search.limit
        } else {
            mss.saturating_add(search.high.saturating_sub(mss) >> 1)
        };
        let len = u32::from(size);
        let behind = u32::from(mss).saturating_mul(u32::from(limits::DUP_ACKS));
        let fits = len <= room && len.saturating_add(behind) <= unsent;
        (size > mss && fits && self.snd.nxt == self.snd.max && self.retransmits == 0).then_some(len)
    }

    /// A probe goes out.
    pub(crate) fn probe_sent(&mut self, start: SeqNum, end: SeqNum) {
        if let Some(search) = self.search_mut() {
            search.probe = Some(Probe { start, end });
            search.ready = false;
        }
    }

    /// The probe that is on its way begins at `seq`.
    pub(crate) fn is_path_probe(&self, seq: SeqNum) -> bool {
        self.search().and_then(|search| search.probe).is_some_and(|probe| probe.start == seq)
    }

    /// Text from `seq` up to `end` is sent again. If the probe begins there it was lost: too large,
    /// as far as we know.
    pub(crate) fn search_on_retransmission(&mut self, seq: SeqNum, end: SeqNum) {
        let Some(search) = self.search_mut() else { return };
        if let Some(probe) = search.probe
            && probe.start.at_or_after(seq)
            && probe.start.before(end)
        {
            search.probe = None;
            search.high = probe.size();
        }
    }

    fn search(&self) -> Option<&Search> {
        self.rare.as_ref()?.search.as_ref()
    }

    fn search_mut(&mut self) -> Option<&mut Search> {
        self.rare.as_mut()?.search.as_mut()
    }
}
