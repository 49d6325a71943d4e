//! The transmission control block (RFC 9293 §3.3.1) and what always holds of it.

use types::Instant;

use crate::cc::Congestion;
use crate::challenge::ChallengeLimit;
use crate::chrono::Chrono;
use crate::ecn::Ecn;
use crate::flight::Flight;
use crate::info::Counts;
use crate::keepalive::KeepaliveState;
use crate::nagle::Nagle;
use crate::rack::Reordering;
use crate::rare::Rare;
use crate::reassembly::Reassembly;
use crate::rtt::Rtt;
use crate::state::Event;
#[cfg(any(test, debug_assertions))]
use crate::timers::Timer;
use crate::timers::TimerTable;
use crate::timestamp::TimestampClock;
use crate::tuning::ReceiveTuning;
use crate::{Config, Options, SeqNum, State, limits};

/// A connection.
#[derive(Debug)]
pub struct Tcb {
    pub(crate) state: State,
    pub(crate) snd: SendSequence,
    pub(crate) rcv: ReceiveSequence,
    /// What is in flight, while something is and for a second after.
    pub(crate) flight: Option<Box<Flight>>,
    pub(crate) reordering: Reordering,
    pub(crate) cc: Congestion,
    pub(crate) rtt: Rtt,
    pub(crate) timestamps: TimestampClock,
    pub(crate) timers: TimerTable,
    pub(crate) reassembly: Reassembly,
    pub(crate) keepalive: KeepaliveState,
    pub(crate) challenge: ChallengeLimit,
    pub(crate) ecn: Ecn,
    pub(crate) nagle: Nagle,
    pub(crate) counts: Counts,
    pub(crate) tuning: ReceiveTuning,
    pub(crate) chrono: Chrono,
    pub(crate) rare: Option<Box<Rare>>,
    /// A smaller MSS of the peer counts as this one.
    pub(crate) mss_floor: u16,
    pub(crate) ack: AckIntent,
    /// In-order segments since the last ACK we sent.
    pub(crate) delayed_segments: u8,
    /// Segments still to be acknowledged at once.
    pub(crate) quick_acks: u8,
    /// Consecutive retransmissions, or unanswered window probes.
    pub(crate) retransmits: u8,
    /// Window probes since the window closed.
    pub(crate) persist_shift: u8,
    /// A window probe is due.
    pub(crate) probe: bool,
    /// The connection was aborted: its last word is RST.
    pub(crate) last_word: bool,
    /// The user is gone.
    pub(crate) orphan: bool,
    /// The connection is a dialogue: our answers carry the ACKs.
    pub(crate) dialogue: bool,
    /// The last segment left less than a segment of cwnd unused.
    pub(crate) cwnd_limited: bool,
    /// Our SYN was sent more than once.
    pub(crate) syn_lost: bool,
    /// It began with a passive open.
    pub(crate) passive: bool,
    /// The peer's SYN had a window scale option.
    pub(crate) peer_scales: bool,
    /// SACK blocks of the peer that named what we never sent, or nothing.
    pub(crate) sacks_refused: u16,
    /// SACK is offered, and after the handshake: negotiated.
    pub(crate) sack: bool,
}

const _: () = assert!(size_of::<Tcb>() <= 336, "a connection costs more than planned");

/// Does the peer wait for an ACK?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AckIntent {
    None,
    /// When the timer fires, or with the next segment.
    Delayed,
    Now,
}

/// The send sequence space.
///
/// ```text
///             una            nxt        max            una + queued
///   ──────────┼──────────────┼──────────┼──────────────┼─── FIN
///   acknowledged  in flight    forgotten  not sent yet
/// ```
/// What is in flight, and lost or not, is in [`Flight`]. `max` is the highest number ever sent: it is
/// beyond `nxt` after a window probe, or when the peer's window shrank and what it no longer reaches
/// counts as not sent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SendSequence {
    pub(crate) una: SeqNum,
    pub(crate) nxt: SeqNum,
    pub(crate) max: SeqNum,
    /// SND.WND, scaled.
    pub(crate) wnd: u32,
    /// The largest window the peer ever offered.
    pub(crate) wnd_max: u32,
    /// SND.WL1; the IRS while the connection opens.
    pub(crate) wl1: SeqNum,
    pub(crate) wl2: SeqNum,
    /// Text bytes in the send buffer, sent or not.
    pub(crate) queued: u32,
    /// Eff.snd.MSS: most text in one segment, options taken off (RFC 9293 §3.7.1). Before the
    /// peer's SYN: what to assume if that has no MSS option.
    pub(crate) mss: u16,
    pub(crate) scale: u8,
    /// The user will send no more: FIN follows the queued text.
    pub(crate) fin_queued: bool,
    /// Our SYN is not acknowledged: SND.UNA is the ISS. Not so at a Fast Open server, whose text may
    /// overtake the handshake: its SND.UNA is behind the SYN from the start.
    pub(crate) opening: bool,
    /// When text was last sent.
    pub(crate) sent_at: Instant,
}

impl SendSequence {
    /// FlightSize.
    pub(crate) fn in_flight(&self) -> u32 {
        self.nxt.since(self.una)
    }
}

/// The receive sequence space.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ReceiveSequence {
    pub(crate) nxt: SeqNum,
    /// Right edge of the window as advertised: RCV.NXT + RCV.WND.
    pub(crate) adv: SeqNum,
    /// Last.ACK.sent (RFC 7323 §4.3).
    pub(crate) last_ack: SeqNum,
    /// The largest window the buffer ever had: RCV.BUFF as far as we know.
    pub(crate) wnd_max: u32,
    /// Where the peer's FIN is, if it came before some of the text.
    pub(crate) fin: Option<SeqNum>,
    /// Our MSS, as advertised.
    pub(crate) mss: u16,
    pub(crate) scale: u8,
}

impl Tcb {
    /// SND.MAX: one beyond the newest sequence number ever sent. Text before it is a retransmission.
    #[must_use]
    pub const fn snd_max(&self) -> SeqNum {
        self.snd.max
    }

    /// Text of a full segment now (RFC 6691: the MSS less the options every segment has).
    #[must_use]
    pub const fn mss(&self) -> u16 {
        self.snd.mss
    }

    /// A block in `state` that has sent nothing yet.
    pub(crate) fn new(state: State, config: &Config, iss: SeqNum, now: Instant) -> Self {
        let mss = config.mss.max(limits::MSS_MIN);
        Self {
            state,
            snd: SendSequence {
                una: iss,
                nxt: iss,
                max: iss,
                wnd: 0,
                wnd_max: 0,
                wl1: SeqNum::new(0),
                wl2: iss,
                queued: 0,
                mss: config.mss_default.clamp(limits::MSS_MIN, mss),
                scale: 0,
                fin_queued: false,
                opening: true,
                sent_at: now,
            },
            rcv: ReceiveSequence {
                nxt: SeqNum::new(0),
                adv: SeqNum::new(0),
                last_ack: SeqNum::new(0),
                wnd_max: 0,
                fin: None,
                mss,
                scale: config.window_scale.min(limits::WINDOW_SCALE_MAX),
            },
            flight: None,
            reordering: Reordering::new(),
            cc: Congestion::new(config.congestion, mss),
            rtt: Rtt::new(),
            timestamps: TimestampClock::new(config.timestamps, config.timestamp_offset),
            timers: TimerTable::new(),
            reassembly: Reassembly::default(),
            keepalive: KeepaliveState::new(now),
            challenge: ChallengeLimit::default(),
            ecn: Ecn::new(config.ecn, iss),
            nagle: Nagle::new(config.nodelay, iss),
            counts: Counts::default(),
            tuning: ReceiveTuning::default(),
            chrono: Chrono::new(),
            rare: Rare::configured(config),
            mss_floor: config.mss_floor,
            ack: AckIntent::None,
            delayed_segments: 0,
            quick_acks: limits::QUICK_ACKS,
            retransmits: 0,
            persist_shift: 0,
            probe: false,
            last_word: false,
            orphan: false,
            dialogue: false,
            cwnd_limited: false,
            syn_lost: false,
            passive: false,
            peer_scales: false,
            sacks_refused: 0,
            sack: config.sack,
        }
    }

    /// The connection's state.
    #[must_use]
    pub const fn state(&self) -> State {
        self.state
    }

    /// The record of what is in flight, if there is one: what to fetch into the cache ahead of an event.
    #[must_use]
    pub fn record(&self) -> Option<&impl Sized> {
        self.flight.as_deref()
    }

    /// `seq` was sent and is not acknowledged: an ICMP error that quotes it may be about this
    /// connection (RFC 5927 §4).
    #[must_use]
    pub fn is_in_flight(&self, seq: SeqNum) -> bool {
        seq.in_window(self.snd.una, self.snd.max.since(self.snd.una))
    }

    /// What both SYNs agreed on (RFC 9293 §3.7.1, RFC 7323 §2.2, §3.2).
    pub(crate) fn negotiate(&mut self, syn: &Options, now: Instant) {
        self.peer_scales = syn.window_scale.is_some();
        match syn.window_scale {
            Some(shift) => self.snd.scale = shift.min(limits::WINDOW_SCALE_MAX),
            None => self.rcv.scale = 0,
        }
        self.timestamps.enabled &= syn.timestamps.is_some();
        self.sack &= syn.sack_permitted;
        if let Some(theirs) = syn.timestamps {
            self.timestamps.set_recent(theirs.value, now);
        }
        let theirs = syn.mss.unwrap_or(self.snd.mss).max(self.mss_floor);
        self.snd.mss = effective_mss(self.rcv.mss, theirs, self.timestamps.enabled);
        self.cc = Congestion::new(self.cc.algorithm(), self.snd.mss);
    }

    /// The only writer of `state`. An event the table does not know leaves the state alone.
    pub(crate) fn transition(&mut self, event: Event) {
        let Some(next) = self.state.next(event) else { return };
        self.state = next;
        if matches!(next, State::Closed | State::TimeWait) {
            self.timers.stop_all();
            self.probe = false;
            self.keepalive.probe = false;
            self.flight = None;
        }
        if next == State::Closed {
            self.ack = AckIntent::None;
        }
    }

    /// Whether [`Tcb::assert_invariants`] checks anything in this build.
    pub const CHECKS_INVARIANTS: bool = cfg!(any(test, debug_assertions));

    /// What we guarantee after every event, whatever the peer did.
    #[cfg(any(test, debug_assertions))]
    pub fn assert_invariants(&self) {
        if self.state == State::Closed {
            assert!(self.timers.next().is_none(), "a closed block has timers: {self:?}");
            return;
        }
        self.assert_send_invariants();
        let rcv = &self.rcv;
        assert!(rcv.adv.at_or_after(rcv.nxt), "RCV.NXT is beyond the window: {self:?}");
        assert!(self.reassembly.end().is_none_or(|end| end.at_or_before(rcv.adv)), "{self:?}");
        self.reassembly.assert_invariants(rcv.nxt);
        assert!(
            self.ack != AckIntent::Delayed || self.timers.is_on(Timer::DelayedAck),
            "a delayed ACK without a timer: {self:?}"
        );
    }

    #[cfg(any(test, debug_assertions))]
    fn assert_send_invariants(&self) {
        let snd = &self.snd;
        let sent_len = snd.max.since(snd.una);
        let syn = u32::from(snd.opening);
        let queued = snd.queued.saturating_add(syn).saturating_add(u32::from(snd.fin_queued));
        assert!(snd.nxt.since(snd.una) <= sent_len, "SND.NXT is outside of UNA..MAX: {self:?}");
        assert!(sent_len <= queued, "more was sent than queued: {self:?}");
        assert!(self.cc.cwnd() >= u32::from(snd.mss), "cwnd below one segment: {self:?}");
        let waits = self.timers.watches_flight();
        assert!(waits || snd.una == snd.nxt, "in flight without a timer: {self:?}");
        match &self.flight {
            Some(flight) => {
                flight.board.assert_invariants(snd.una, snd.nxt);
                assert!(flight.dup_len == 0 || !self.sack, "{self:?}");
                assert!(flight.board.lost_len() == 0 || flight.pipe() < snd.in_flight());
            }
            None => assert!(syn == 1 || snd.una == snd.nxt, "in flight unrecorded: {self:?}"),
        }
    }

    /// Checks nothing in a release build.
    #[cfg(not(any(test, debug_assertions)))]
    #[inline]
    pub fn assert_invariants(&self) {}
}

/// RFC 9293 §3.7.1: what both ends allow, less the options of every segment.
pub(crate) fn effective_mss(ours: u16, theirs: u16, timestamps: bool) -> u16 {
    let options_len = if timestamps { TIMESTAMPS_LEN } else { 0 };
    ours.min(theirs).max(limits::MSS_MIN).saturating_sub(options_len)
}

/// Length of the timestamps option with its padding.
const TIMESTAMPS_LEN: u16 = 12;
