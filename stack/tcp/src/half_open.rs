//! SYN-RECEIVED of a passive open, in 64 bytes: a SYN flood buys nothing larger.

use core::time::Duration;

use types::{DropReason, Instant};

use crate::state::Event;
use crate::timers::Timer;
use crate::timestamp::{is_older, millis};
use crate::{
    Config, EcnMode, Flags, Options, SegmentIn, SegmentOut, SeqNum, State, Tcb, Timestamps, ecn,
    limits,
};

/// A connection of which a listener has seen only the SYN.
#[derive(Clone, Copy, Debug)]
pub struct HalfOpen {
    iss: SeqNum,
    irs: SeqNum,
    due: Instant,
    sent_at: Instant,
    /// The peer's TSval, if both sides use timestamps.
    ts_recent: Option<u32>,
    ts_offset: u32,
    peer_mss: u16,
    peer_window: u16,
    mss: u16,
    rcv_wnd: u16,
    /// The peer's shift, if it sent one.
    peer_scale: Option<u8>,
    scale: u8,
    /// Both sides use SACK.
    sack: bool,
    retransmits: u8,
    pending: bool,
    /// The peer asked for ECN and we agree.
    ecn: bool,
    /// When the SYN-ACK went out is not known: a cookie brought this entry back.
    untimed: bool,
    /// SYN-ACKs to repeat before an ACK without text establishes.
    defer: u8,
    /// The peer has acknowledged, and has been told to wait for its own text.
    acknowledged: bool,
    /// The peer asks for a Fast Open cookie.
    wants_cookie: bool,
}

const _: () = assert!(size_of::<HalfOpen>() <= 64);

/// What a segment does to a half-open connection. Whatever it is, if the block is kept, call
/// [`HalfOpen::poll_transmit`] afterwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HalfOpenVerdict {
    /// The handshake is complete: [`HalfOpen::into_tcb`], then feed it the same segment.
    Established,
    /// Nothing more to do with the segment.
    Drop(DropReason),
    /// The ACK belongs to another connection: send this RST. RFC 9293 §3.10.7.4 keeps the
    /// half-open connection; freeing it is allowed too, the peer will be reset either way.
    Reset(SegmentOut),
    /// The peer reset the connection: free the block.
    Closed,
    /// The handshake is complete, but the listener waits for text (`TCP_DEFER_ACCEPT`).
    Deferred,
    /// The peer repeated its SYN: the SYN-ACK goes out again by `poll_transmit`.
    Retransmit,
}

impl HalfOpen {
    /// Answers an acceptable SYN; the SYN-ACK goes out by [`HalfOpen::poll_transmit`]. `rcv_wnd`
    /// is the window to offer in it. Text on the SYN is not taken; it will be sent again.
    #[must_use]
    pub fn new(
        syn: &SegmentIn<'_>,
        config: &Config,
        iss: SeqNum,
        rcv_wnd: u16,
        now: Instant,
    ) -> Self {
        let theirs = syn.options.timestamps.filter(|_| config.timestamps);
        Self {
            iss,
            irs: syn.seq,
            due: now + limits::RTO_INITIAL,
            sent_at: now,
            ts_recent: theirs.map(|theirs| theirs.value),
            ts_offset: config.timestamp_offset,
            peer_mss: syn.options.mss.unwrap_or(config.mss_default),
            peer_window: syn.window,
            mss: config.mss.max(limits::MSS_MIN),
            rcv_wnd,
            peer_scale: syn.options.window_scale,
            scale: config.window_scale.min(limits::WINDOW_SCALE_MAX),
            sack: syn.options.sack_permitted && config.sack,
            retransmits: 0,
            pending: true,
            ecn: config.ecn != EcnMode::Off && ecn::is_setup(syn.flags),
            untimed: false,
            defer: config.defer_accept,
            acknowledged: false,
            wants_cookie: syn.options.fast_open.is_some() && config.fast_open,
        }
    }

    /// The SYN asked for a Fast Open cookie, or had one that is not ours: the SYN-ACK should bring
    /// one (RFC 7413 §4.2.1).
    #[must_use]
    pub const fn wants_cookie(&self) -> bool {
        self.wants_cookie
    }

    /// What a SYN cookie has brought back; `syn` is the SYN as far as the cookie knows it. Its
    /// SYN-ACK went out long ago.
    pub(crate) fn from_cookie(
        syn: &SegmentIn<'_>,
        config: &Config,
        iss: SeqNum,
        rcv_wnd: u16,
        now: Instant,
    ) -> Self {
        Self {
            pending: false,
            untimed: true,
            defer: 0,
            ..Self::new(syn, config, iss, rcv_wnd, now)
        }
    }

    /// SEGMENT ARRIVES in SYN-RECEIVED.
    #[must_use]
    pub fn segment_arrives(&mut self, seg: &SegmentIn<'_>, _now: Instant) -> HalfOpenVerdict {
        let rcv_nxt = self.irs + 1;
        if seg.flags.contains(Flags::RST) {
            // RFC 5961 §3.2. The SYN-ACK's own retransmission takes the challenge ACK's place.
            let exact = seg.seq == rcv_nxt;
            return if exact {
                HalfOpenVerdict::Closed
            } else {
                HalfOpenVerdict::Drop(DropReason::TcpResetUnacceptable)
            };
        }
        if seg.flags.contains(Flags::SYN) {
            return self.syn_arrives(seg);
        }
        if !seg.flags.contains(Flags::ACK) {
            return HalfOpenVerdict::Drop(DropReason::TcpAckMissing);
        }
        if let Some(reason) = self.check_timestamps(seg) {
            return HalfOpenVerdict::Drop(reason);
        }
        if seg.seq.since(rcv_nxt) > u32::from(self.rcv_wnd) {
            self.pending = true;
            return HalfOpenVerdict::Drop(DropReason::TcpSequence);
        }
        if seg.ack != self.iss + 1 {
            return HalfOpenVerdict::Reset(SegmentOut::reset(seg.ack));
        }
        if seg.is_empty() && self.retransmits < self.defer {
            self.acknowledged = true;
            return HalfOpenVerdict::Deferred;
        }
        HalfOpenVerdict::Established
    }

    /// The connection, in SYN-RECEIVED; the segment that completed the handshake comes next.
    #[must_use]
    pub fn into_tcb(self, config: &Config, now: Instant) -> Tcb {
        let config = Config { timestamp_offset: self.ts_offset, mss: self.mss, ..*config };
        let mut tcb = Tcb::new(State::Closed, &config, self.iss, now);
        tcb.passive = true;
        tcb.transition(Event::PassiveOpen);
        tcb.transition(Event::Syn);
        let syn = Options {
            mss: Some(self.peer_mss),
            window_scale: self.peer_scale,
            sack_permitted: self.sack,
            timestamps: self.ts_recent.map(|value| Timestamps { value, echo: 0 }),
            ..Options::default()
        };
        tcb.rcv.scale = self.scale;
        tcb.timestamps.enabled = self.ts_recent.is_some();
        tcb.negotiate(&syn, now);
        tcb.ecn.listener_agreed(self.ecn);
        tcb.rcv.nxt = self.irs + 1;
        tcb.rcv.last_ack = tcb.rcv.nxt;
        tcb.rcv.adv = tcb.rcv.nxt + u32::from(self.rcv_wnd);
        tcb.rcv.wnd_max = u32::from(self.rcv_wnd);
        tcb.snd.wnd = u32::from(self.peer_window);
        tcb.snd.wnd_max = tcb.snd.wnd;
        tcb.snd.wl1 = self.irs;
        tcb.snd.nxt = self.iss + 1;
        tcb.snd.max = tcb.snd.nxt;
        tcb.retransmits = self.retransmits;
        tcb.syn_lost = self.retransmits > 0 && !self.acknowledged;
        if !tcb.syn_lost && !self.untimed && !self.acknowledged {
            tcb.rtt.time(tcb.snd.nxt, self.sent_at);
        }
        tcb.timers.start(Timer::Retransmit, self.due);
        tcb.assert_invariants();
        tcb
    }

    /// The retransmission timer fired. `false`: enough tries, free the block.
    #[must_use]
    pub fn timeout(&mut self, now: Instant) -> bool {
        if now < self.due {
            return true;
        }
        let waiting = self.acknowledged && self.retransmits < self.defer;
        if self.retransmits >= limits::SYN_ACK_RETRIES_MAX && !waiting {
            return false;
        }
        self.retransmits = self.retransmits.saturating_add(1);
        // A peer that is told to wait for its own text gets the SYN-ACK once more at the end.
        self.pending = !self.acknowledged || self.retransmits >= self.defer;
        self.due = now + self.rto();
        true
    }

    /// The listener is gone: RST with the number the peer expects.
    #[must_use]
    pub fn abort(&self) -> SegmentOut {
        SegmentOut::control(self.iss + 1, self.irs + 1, Flags::RST | Flags::ACK)
    }

    /// The SYN-ACK goes out again, so that the peer repeats its acknowledgment.
    pub fn repeat(&mut self) {
        self.pending = true;
    }

    /// When [`HalfOpen::timeout`] wants to be called.
    #[must_use]
    pub const fn next_timeout(&self) -> Instant {
        self.due
    }

    /// The SYN-ACK, if it is due.
    pub fn poll_transmit(&mut self, now: Instant) -> Option<SegmentOut> {
        if !core::mem::take(&mut self.pending) {
            return None;
        }
        let clock = millis(now).wrapping_add(self.ts_offset);
        let ecn = if self.ecn { Flags::ECE } else { Flags::NONE };
        Some(SegmentOut {
            window: self.rcv_wnd,
            options: Options {
                mss: Some(self.mss),
                window_scale: self.peer_scale.map(|_| self.scale),
                sack_permitted: self.sack,
                timestamps: self.ts_recent.map(|echo| Timestamps { value: clock, echo }),
                ..Options::default()
            },
            ..SegmentOut::control(self.iss, self.irs + 1, Flags::SYN | Flags::ACK | ecn)
        })
    }

    /// A SYN: the peer's own again, or of another incarnation, which RFC 5961 §4.2 answers with an
    /// ACK; the SYN-ACK is one.
    fn syn_arrives(&mut self, seg: &SegmentIn<'_>) -> HalfOpenVerdict {
        if seg.flags.contains(Flags::ACK) {
            return HalfOpenVerdict::Drop(DropReason::TcpSynUnacceptable);
        }
        self.pending = true;
        if seg.seq == self.irs {
            // RFC 3168 §6.1.1: one SYN that does not ask is enough.
            self.ecn &= ecn::is_setup(seg.flags);
            HalfOpenVerdict::Retransmit
        } else {
            HalfOpenVerdict::Drop(DropReason::TcpSynUnacceptable)
        }
    }

    fn check_timestamps(&self, seg: &SegmentIn<'_>) -> Option<DropReason> {
        let recent = self.ts_recent?;
        match seg.options.timestamps {
            None => Some(DropReason::TcpTimestampMissing),
            Some(theirs) => is_older(theirs.value, recent).then_some(DropReason::TcpPaws),
        }
    }

    fn rto(&self) -> Duration {
        let factor = 1_u32.checked_shl(u32::from(self.retransmits)).unwrap_or(u32::MAX);
        limits::RTO_INITIAL.saturating_mul(factor).min(limits::RTO_MAX)
    }
}
