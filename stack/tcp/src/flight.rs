//! The side block of a connection that has something in flight: the record of its segments and the
//! state of loss recovery. It is made when text is sent and dropped when the connection has been
//! idle for a while, so that request and response do not allocate, and a million idle connections
//! do not pay.

use core::time::Duration;

use types::Instant;

use crate::cc::initial_window;
use crate::delivery::Delivery;
use crate::forward::Forward;
use crate::optimism::Belief;
use crate::prr::Prr;
use crate::rack::{Rack, Reordering};
use crate::rtt::BeforeTimeout;
use crate::sack::{SackBlock, SackBlocks};
use crate::scoreboard::{Place, Scoreboard, Segment};
use crate::timestamp::{TimestampClock, is_older};
use crate::undo::Undo;
use crate::{SeqNum, limits};

/// Where recovery stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// No loss is being repaired.
    Open,
    /// Fast recovery.
    Fast,
    /// After a timeout: slow start up to `recover`.
    Loss,
}

/// A tail loss probe that is out (RFC 8985 §7).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Probe {
    /// TLP.end_seq.
    pub(crate) end: SeqNum,
    /// TLP.is_retrans.
    pub(crate) again: bool,
}

#[derive(Debug)]
pub(crate) struct Flight {
    pub(crate) board: Scoreboard,
    pub(crate) delivery: Delivery,
    pub(crate) rack: Rack,
    pub(crate) prr: Prr,
    pub(crate) undo: Option<Undo>,
    pub(crate) phase: Phase,
    pub(crate) forward: Forward,
    /// A timeout was spurious: the timer adapts to what arrives until text from here on does
    /// (RFC 4015 §3.2).
    pub(crate) adapting: Option<(SeqNum, BeforeTimeout)>,
    /// SND.NXT when loss was last noticed: recovery ends when all before it is acknowledged.
    pub(crate) recover: SeqNum,
    /// Without SACK: duplicate ACKs in a row, and the bytes that have left the network by them.
    pub(crate) dup_acks: u32,
    pub(crate) dup_len: u32,
    /// Without SACK: a partial ACK has restarted the timer (RFC 6582 §4, "impatient").
    pub(crate) impatient: bool,
    /// A tail loss probe is due.
    pub(crate) probe_due: bool,
    pub(crate) probe: Option<Probe>,
    pub(crate) belief: Belief,
    /// The retransmission timer counts from here.
    pub(crate) rto_base: Instant,
}

/// What an ACK says of our segments.
#[derive(Clone, Copy, Debug)]
pub(crate) struct News {
    pub(crate) now: Instant,
    /// Our timestamp clock and the peer's echo of it.
    pub(crate) echo: Option<(TimestampClock, u32)>,
    /// SND.NXT when loss was last noticed.
    recover: SeqNum,
    /// SND.UNA moves.
    pub(crate) advanced: bool,
    /// Bytes that have newly arrived.
    pub(crate) delivered_len: u32,
    /// When the first of them that SND.UNA passes was sent, and where it ends.
    pub(crate) first: Option<(Instant, SeqNum)>,
    /// When the last of them that was sent once was sent.
    pub(crate) last_sent_at: Option<Instant>,
    /// A segment that had been sent again is acknowledged.
    pub(crate) retransmitted: bool,
    /// A segment that was sent once, before loss was noticed, is newly acknowledged or SACKed.
    pub(crate) original: bool,
    /// Something that was sent after loss was last noticed has newly arrived.
    pub(crate) beyond: bool,
    /// The peer reports a duplicate.
    pub(crate) duplicate: Option<SackBlock>,
    /// The peer tells of a mark (RFC 3168).
    pub(crate) ece: bool,
    /// There are SACK blocks, of whatever kind.
    pub(crate) has_blocks: bool,
    /// Blocks that name what we never sent, or nothing.
    pub(crate) absurd: u32,
}

impl News {
    pub(crate) fn new(recover: SeqNum, echo: Option<(TimestampClock, u32)>, now: Instant) -> Self {
        Self {
            now,
            echo,
            recover,
            advanced: false,
            delivered_len: 0,
            first: None,
            last_sent_at: None,
            retransmitted: false,
            original: false,
            beyond: false,
            duplicate: None,
            ece: false,
            has_blocks: false,
            absurd: 0,
        }
    }

    /// `segment` has newly arrived: what there is to learn from it.
    fn arrived(
        &mut self,
        segment: &Segment,
        delivery: &mut Delivery,
        rack: &mut Rack,
        reordering: &mut Reordering,
    ) {
        self.delivered_len = self.delivered_len.saturating_add(segment.len());
        if !segment.retransmitted {
            self.last_sent_at = self.last_sent_at.max(Some(segment.sent_at));
            self.original |= segment.end.at_or_before(self.recover);
        }
        self.beyond |= segment.end.after(self.recover);
        let before_resend = segment.retransmitted
            && self.echo.is_some_and(|(clock, echo)| is_older(echo, clock.value(segment.sent_at)));
        rack.on_delivered(segment, before_resend, reordering, self.now);
        delivery.on_delivered(segment, self.now);
    }
}

impl Flight {
    pub(crate) fn new(una: SeqNum, min_rtt: Duration, now: Instant) -> Self {
        Self {
            board: Scoreboard::new(una),
            delivery: Delivery::new(now),
            rack: Rack::new(una),
            prr: Prr::default(),
            undo: None,
            phase: Phase::Open,
            forward: Forward::Off,
            adapting: None,
            recover: una - 1,
            dup_acks: 0,
            dup_len: 0,
            impatient: false,
            probe_due: false,
            probe: None,
            belief: Belief::new(min_rtt),
            rto_base: now,
        }
    }

    /// Nothing is in flight, and what there was tells nothing that a new record would not know: neither
    /// loss nor doubt, and no more text than one that begins may send.
    pub(crate) fn is_spent(&self, mss: u16) -> bool {
        self.board.is_empty()
            && self.is_well()
            && self.belief.held.is_none()
            && self.delivery.delivered() <= initial_window(mss)
    }

    /// Begins anew, for a connection that may be another.
    pub(crate) fn renew(&mut self, una: SeqNum, min_rtt: Duration, now: Instant) {
        let board = core::mem::replace(&mut self.board, Scoreboard::new(una));
        *self = Self { board: board.renewed(una), ..Self::new(una, min_rtt, now) };
    }

    /// Bytes believed to be in the network.
    pub(crate) fn pipe(&self) -> u32 {
        self.board.pipe().saturating_sub(self.dup_len)
    }

    /// Reads the SACK option of an ACK for `ack`. A first block that is acknowledged already, or
    /// lies within the second, reports a duplicate (RFC 2883 §4). Blocks of what was never sent
    /// are ignored.
    pub(crate) fn read_blocks(
        &mut self,
        blocks: &SackBlocks,
        ack: SeqNum,
        reordering: &mut Reordering,
        news: &mut News,
    ) {
        let nxt = self.board.end();
        let blocks = blocks.as_slice();
        news.has_blocks = !blocks.is_empty();
        let within = |first: &SackBlock| blocks.get(1).is_some_and(|second| second.covers(first));
        let mut sorted = [SackBlock::default(); SackBlocks::MAX];
        for (place, block) in sorted.iter_mut().zip(blocks) {
            *place = *block;
        }
        let doubled = |first: &&SackBlock| first.start.before(ack) || within(first);
        news.duplicate = blocks.first().filter(doubled).filter(|b| b.is_sane(nxt)).copied();
        let real = sorted.get_mut(usize::from(news.duplicate.is_some())..blocks.len());
        let real = real.unwrap_or_default();
        real.sort_unstable_by_key(|block| block.start.since(ack));
        for block in real {
            if !block.is_sane(nxt) || block.start.before(ack) {
                news.absurd = news.absurd.saturating_add(1);
                continue;
            }
            let Self { board, delivery, rack, .. } = self;
            board.sack(*block, |segment| news.arrived(segment, delivery, rack, reordering));
        }
    }

    /// Everything before `ack` has arrived.
    pub(crate) fn read_ack(&mut self, ack: SeqNum, reordering: &mut Reordering, news: &mut News) {
        let Self { board, delivery, rack, .. } = self;
        news.advanced = true;
        board.acknowledge(ack, |segment| {
            news.retransmitted |= segment.retransmitted;
            if segment.place != Place::Sacked {
                news.first = news.first.or(Some((segment.sent_at, segment.end)));
                news.arrived(segment, delivery, rack, reordering);
            }
        });
    }

    /// Reordering gets no patience now (RFC 8985 §6.2 step 4).
    pub(crate) fn hurried(&self) -> bool {
        self.phase != Phase::Open || self.board.sacked_count() >= u32::from(limits::DUP_ACKS)
    }
}
