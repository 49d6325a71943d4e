//! What `netstat` and `getsockopt(TCP_INFO)` show of a connection.

use types::Instant;

use crate::rtt::micros;
use crate::scoreboard::Scoreboard;
use crate::{DeliveryRate, SegmentIn, SegmentOut, SeqNum, State, Tcb};

/// What `netstat` and `getsockopt(TCP_INFO)` show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Info {
    /// State.
    pub state: State,
    /// Smoothed round-trip time, 0 if not yet measured.
    pub srtt_us: u32,
    /// Variation of the round-trip time.
    pub rttvar_us: u32,
    /// Retransmission timeout, back-off included.
    pub rto_ms: u32,
    /// Congestion window.
    pub cwnd: u32,
    /// Slow start threshold; `u32::MAX` before the first loss.
    pub ssthresh: u32,
    /// The window the peer offers.
    pub snd_wnd: u32,
    /// The window we offer.
    pub rcv_wnd: u32,
    /// Effective send MSS.
    pub mss: u16,
    /// Consecutive retransmissions.
    pub retransmits: u8,
    /// Text bytes sent and not acknowledged.
    pub unacked: u32,
    /// Text bytes queued and not sent.
    pub unsent: u32,
    /// Timestamps are in use.
    pub timestamps: bool,
    /// Shift of the peer's window field.
    pub snd_scale: u8,
    /// Shift of our window field.
    pub rcv_scale: u8,
    /// Our MSS as advertised.
    pub rcv_mss: u16,
    /// The largest window we ever offered.
    pub rcv_wnd_max: u32,
    /// The next ACKs go out at once (`TCP_QUICKACK`).
    pub quick_ack: bool,
    /// Window probes since the window closed, or keepalive probes since the peer was last heard.
    pub probes: u8,
    /// `TCP_NODELAY`.
    pub nodelay: bool,
    /// When text was last sent.
    pub sent_at: Instant,
    /// When the peer was last heard.
    pub heard_at: Instant,
    /// Segments that arrived.
    pub segments_in: u32,
    /// Segments sent.
    pub segments_out: u32,
    /// Of those that arrived, those with text.
    pub text_segments_in: u32,
    /// Of those sent, those with text.
    pub text_segments_out: u32,
    /// Of those, the ones that were sent before.
    pub retransmitted: u32,
    /// Text bytes sent again.
    pub resent_len: u64,
    /// Of what is in flight, bytes sent again.
    pub resent_in_flight_len: u32,
    /// Segments with text that the peer has, and one for the SYN; what it told by SACK counts.
    pub delivered: u32,
    /// Of those, the ones acknowledged with an echo of congestion marks.
    pub delivered_marked: u32,
    /// How fast text is delivered; forgotten when the connection falls idle.
    pub delivery_rate: DeliveryRate,
    /// Duplicates that the peer has reported.
    pub duplicates: u32,
    /// Segments that arrived before their turn.
    pub out_of_order: u32,
    /// How often the retransmission timeout is doubled at the moment.
    pub backoff: u8,
    /// SACK is in use.
    pub sack: bool,
    /// A loss is being repaired.
    pub in_recovery: bool,
    /// Bytes in flight that the peer has told by SACK.
    pub sacked_len: u32,
    /// Bytes in flight that are lost and not sent again yet.
    pub lost_len: u32,
    /// Smallest round-trip time of the last minutes, 0 if not yet measured.
    pub min_rtt_us: u32,
    /// The path has delivered segments out of order.
    pub reordering_seen: bool,
    /// SACK blocks that named what we never sent, or nothing.
    pub sacks_refused: u32,
    /// ECN was negotiated, and what we send may be marked.
    pub ecn: bool,
    /// Bytes per second at which text leaves; `None`: as the window allows.
    pub pacing_rate: Option<u64>,
    /// `SO_MAX_PACING_RATE`, `u64::MAX` if there is none.
    pub pacing_rate_max: u64,
}

impl Tcb {
    /// A snapshot for people and tools.
    #[must_use]
    pub fn info(&self) -> Info {
        let unacked = self.unacked_len();
        let troubles = self.troubles();
        let board = self.flight.as_ref().map(|flight| &flight.board);
        let rate = self.flight.as_ref().and_then(|flight| flight.delivery.rate());
        Info {
            state: self.state,
            srtt_us: self.rtt.srtt_us,
            rttvar_us: self.rtt.rttvar_us,
            rto_ms: u32::try_from(self.rtt.rto().as_millis()).unwrap_or(u32::MAX),
            cwnd: self.cc.cwnd(),
            ssthresh: self.cc.ssthresh(),
            snd_wnd: self.snd.wnd,
            rcv_wnd: self.rcv.adv.since(self.rcv.nxt),
            mss: self.snd.mss,
            retransmits: self.retransmits,
            unacked,
            unsent: self.snd.queued.saturating_sub(unacked),
            timestamps: self.timestamps.enabled,
            snd_scale: self.snd.scale,
            rcv_scale: self.rcv.scale,
            rcv_mss: self.rcv.mss,
            rcv_wnd_max: self.rcv.wnd_max,
            quick_ack: !self.dialogue,
            probes: self.persist_shift.max(self.keepalive.probes),
            nodelay: self.nagle.nodelay,
            sent_at: self.snd.sent_at,
            heard_at: self.keepalive.heard_at,
            segments_in: self.counts.segments_in,
            segments_out: self.counts.segments_out,
            text_segments_in: self.counts.text_segments_in,
            text_segments_out: self.counts.text_segments_out,
            retransmitted: self.counts.retransmitted,
            resent_len: troubles.resent_len,
            resent_in_flight_len: board.map_or(0, Scoreboard::resent_len),
            delivered: self.delivered_count(),
            delivered_marked: troubles.marked,
            delivery_rate: rate.unwrap_or_default(),
            duplicates: troubles.duplicates,
            out_of_order: troubles.out_of_order,
            backoff: self.rtt.backoff(),
            sack: self.sack,
            in_recovery: !self.is_open(),
            sacked_len: board.map_or(0, Scoreboard::sacked_len),
            lost_len: board.map_or(0, Scoreboard::lost_len),
            min_rtt_us: micros(self.reordering.min_rtt()),
            reordering_seen: self.reordering.seen,
            sacks_refused: self.sacks_refused.into(),
            ecn: self.may_be_marked(),
            pacing_rate: self.pacing_rate(),
            pacing_rate_max: self.max_pacing_rate(),
        }
    }
}

impl Tcb {
    /// Nothing counts deliveries one by one: originals that were sent and are not missing any more.
    fn delivered_count(&self) -> u32 {
        let mss = u32::from(self.snd.mss).max(1);
        let sacked = self.flight.as_ref().map_or(0, |flight| flight.board.sacked_len());
        let missing = self.unacked_len().saturating_sub(sacked).div_ceil(mss);
        let originals = self.counts.text_segments_out.wrapping_sub(self.counts.retransmitted);
        let syn = u32::from(!matches!(self.state, State::SynSent | State::SynReceived));
        originals.saturating_sub(missing).saturating_add(syn)
    }
}

/// How many segments came and went: what a connection counts for its user.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counts {
    segments_in: u32,
    segments_out: u32,
    text_segments_in: u32,
    text_segments_out: u32,
    retransmitted: u32,
}

impl Counts {
    pub(crate) fn arrived(&mut self, seg: &SegmentIn<'_>) {
        self.segments_in = self.segments_in.wrapping_add(1);
        if !seg.text.is_empty() {
            self.text_segments_in = self.text_segments_in.wrapping_add(1);
        }
    }

    /// The same for `count` segments with text.
    pub(crate) fn texts_arrived(&mut self, count: u8) {
        self.segments_in = self.segments_in.wrapping_add(count.into());
        self.text_segments_in = self.text_segments_in.wrapping_add(count.into());
    }

    /// `newest` is SND.MAX as it was before.
    pub(crate) fn left(&mut self, segment: &SegmentOut, newest: SeqNum) {
        let count = segment.cut_count();
        self.segments_out = self.segments_out.wrapping_add(count);
        if segment.text_len == 0 {
            return;
        }
        self.text_segments_out = self.text_segments_out.wrapping_add(count);
        if segment.seq.before(newest) {
            self.retransmitted = self.retransmitted.wrapping_add(1);
        }
    }
}
