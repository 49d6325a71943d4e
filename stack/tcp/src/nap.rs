//! What has to be known of a connection on which nothing goes on: all of it is acknowledged, nothing
//! waits, and no timer but keepalive runs. That is how nearly all connections of a million are at any
//! moment, and it is less than half of a block. The block itself serves another connection meanwhile.

use types::Instant;

use crate::cc::{Algorithm, Congestion};
use crate::challenge::ChallengeLimit;
use crate::chrono::Chrono;
use crate::ecn::Ecn;
use crate::info::Counts;
use crate::keepalive::KeepaliveState;
use crate::nagle::Nagle;
use crate::rack::Reordering;
use crate::rare::Rare;
use crate::reassembly::Reassembly;
use crate::rtt::{Rtt, Settled};
use crate::stamp::Stamp;
use crate::tcb::{AckIntent, ReceiveSequence, SendSequence};
use crate::timers::TimerTable;
use crate::timestamp::TimestampClock;
use crate::tuning::ReceiveTuning;
use crate::{SeqNum, State, Tcb};

/// An established connection at rest: see [`Tcb::nap`].
#[derive(Debug)]
pub struct Nap {
    cc: Congestion,
    rare: Option<Box<Rare>>,
    /// SND.UNA, SND.NXT and SND.MAX.
    una: SeqNum,
    wnd: u32,
    wnd_max: u32,
    /// SND.WL1; SND.WL2 is SND.UNA: whatever acknowledges less is too old to have a say.
    wl1: SeqNum,
    /// RCV.NXT and Last.ACK.sent.
    rcv_nxt: SeqNum,
    adv: SeqNum,
    rcv_wnd_max: u32,
    rtt: Settled,
    timestamps: TimestampClock,
    reordering: Reordering,
    counts: Counts,
    tuning: ReceiveTuning,
    busy: u32,
    ecn: Ecn,
    challenge: ChallengeLimit,
    sent_at: Stamp,
    heard_at: Stamp,
    mss: u16,
    rcv_mss: u16,
    mss_floor: u16,
    sacks_refused: u16,
    scale: u8,
    rcv_scale: u8,
    quick_acks: u8,
    nodelay: bool,
    cork: bool,
    dialogue: bool,
    cwnd_limited: bool,
    syn_lost: bool,
    passive: bool,
    peer_scales: bool,
    sack: bool,
}

const _: () = assert!(size_of::<Nap>() <= 176, "every idle connection pays for this");

impl Tcb {
    /// Lays the connection to rest if nothing goes on: the block is free for [`Tcb::wake`] then, of
    /// this or of another connection. The user must have left nothing to do.
    pub fn nap(&mut self) -> Option<Nap> {
        if !self.is_at_rest() {
            return None;
        }
        let rtt = self.rtt.settled()?;
        let (nodelay, cork) = self.nagle.settled()?;
        if let Some(flight) = self.flight.take() {
            self.forget_doubtful(&flight);
            self.flight = Some(flight);
        }
        debug_assert!(!self.wants_transmit(), "something is due: {self:?}");
        self.timers.stop_all();
        let nothing = Congestion::new(Algorithm::NewReno, self.snd.mss);
        Some(Nap {
            cc: core::mem::replace(&mut self.cc, nothing),
            rare: self.rare.take(),
            una: self.snd.una,
            wnd: self.snd.wnd,
            wnd_max: self.snd.wnd_max,
            wl1: self.snd.wl1,
            rcv_nxt: self.rcv.nxt,
            adv: self.rcv.adv,
            rcv_wnd_max: self.rcv.wnd_max,
            rtt,
            timestamps: self.timestamps,
            reordering: self.reordering,
            counts: self.counts,
            tuning: self.tuning,
            busy: self.chrono.nap(),
            ecn: self.ecn,
            challenge: self.challenge,
            sent_at: Stamp::of(self.snd.sent_at),
            heard_at: Stamp::of(self.keepalive.heard_at),
            mss: self.snd.mss,
            rcv_mss: self.rcv.mss,
            mss_floor: self.mss_floor,
            sacks_refused: self.sacks_refused,
            scale: self.snd.scale,
            rcv_scale: self.rcv.scale,
            quick_acks: self.quick_acks,
            nodelay,
            cork,
            dialogue: self.dialogue,
            cwnd_limited: self.cwnd_limited,
            syn_lost: self.syn_lost,
            passive: self.passive,
            peer_scales: self.peer_scales,
            sack: self.sack,
        })
    }

    /// The connection that was laid to rest goes on, in a block that has nothing to do.
    pub fn wake(&mut self, nap: Nap) {
        let mut flight = self.flight.take();
        if let Some(flight) = &mut flight {
            flight.renew(nap.una, nap.reordering.min_rtt(), nap.sent_at.instant());
        }
        let una = nap.una;
        *self = Self {
            state: State::Established,
            snd: SendSequence {
                una,
                nxt: una,
                max: una,
                wnd: nap.wnd,
                wnd_max: nap.wnd_max,
                wl1: nap.wl1,
                wl2: una,
                queued: 0,
                mss: nap.mss,
                scale: nap.scale,
                fin_queued: false,
                opening: false,
                sent_at: nap.sent_at.instant(),
            },
            rcv: ReceiveSequence {
                nxt: nap.rcv_nxt,
                adv: nap.adv,
                last_ack: nap.rcv_nxt,
                wnd_max: nap.rcv_wnd_max,
                fin: None,
                mss: nap.rcv_mss,
                scale: nap.rcv_scale,
            },
            flight,
            reordering: nap.reordering,
            cc: nap.cc,
            rtt: Rtt::resumed(nap.rtt),
            timestamps: nap.timestamps,
            timers: TimerTable::new(),
            reassembly: Reassembly::default(),
            keepalive: KeepaliveState { probes: 0, probe: false, heard_at: nap.heard_at.instant() },
            challenge: nap.challenge,
            ecn: nap.ecn,
            nagle: Nagle::resumed(nap.nodelay, nap.cork, una),
            counts: nap.counts,
            tuning: nap.tuning,
            chrono: Chrono::resumed(nap.busy),
            rare: nap.rare,
            mss_floor: nap.mss_floor,
            ack: AckIntent::None,
            delayed_segments: 0,
            quick_acks: nap.quick_acks,
            retransmits: 0,
            persist_shift: 0,
            probe: false,
            last_word: false,
            orphan: false,
            dialogue: nap.dialogue,
            cwnd_limited: nap.cwnd_limited,
            syn_lost: nap.syn_lost,
            passive: nap.passive,
            peer_scales: nap.peer_scales,
            sacks_refused: nap.sacks_refused,
            sack: nap.sack,
        };
        self.start_keepalive();
        self.assert_invariants();
    }

    /// Nothing goes on, and [`Nap`] has room for everything there is to know.
    fn is_at_rest(&self) -> bool {
        let Self { snd, rcv, keepalive, .. } = self;
        let sent = snd.una == snd.nxt && snd.una == snd.max && snd.queued == 0;
        let received = rcv.last_ack == rcv.nxt && rcv.fin.is_none() && !self.reassembly.has_news();
        let answered = self.ack == AckIntent::None && self.delayed_segments == 0;
        let well = (self.retransmits, self.persist_shift, keepalive.probes) == (0, 0, 0)
            && !(self.probe || keepalive.probe || self.last_word || self.orphan);
        self.state == State::Established
            && sent
            && !(snd.fin_queued || snd.opening)
            && received
            && answered
            && well
            && self.timers.is_at_rest()
            && self.pacing_due().is_none()
            && self.flight.as_ref().is_none_or(|flight| flight.is_spent(snd.mss))
            && self.cc.pacing_rate().is_none()
            && self.rare.as_ref().is_none_or(|rare| rare.reply_reset.is_none())
    }
}

impl Nap {
    /// When [`Tcb::timeout`] wants to be called, once the connection is awake again.
    #[must_use]
    pub fn next_timeout(&self) -> Option<Instant> {
        let settings = self.rare.as_ref()?.keepalive?;
        Some(settings.due_after(self.heard_at.instant()))
    }
}
