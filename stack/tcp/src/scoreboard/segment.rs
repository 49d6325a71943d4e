//! One segment in flight, and which part of it the peer has.

use types::Instant;

use crate::SeqNum;
use crate::delivery::Stamp;
use crate::sack::SackBlock;

/// Where a segment is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// In the network, as far as we know.
    Sent,
    /// Lost, and not sent again yet.
    Lost,
    /// The peer has it.
    Sacked,
}

/// A segment that was sent: text, FIN, or both.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Segment {
    pub(crate) start: SeqNum,
    pub(crate) end: SeqNum,
    /// When it was last sent.
    pub(crate) sent_at: Instant,
    pub(crate) stamp: Stamp,
    /// What the peer has of it, if that is not all; empty if nothing.
    pub(super) part: SackBlock,
    /// Neighbours in its list, itself at the ends. If SACKed: `next` is the nearest later segment
    /// that may not be.
    pub(super) prev: u32,
    pub(super) next: u32,
    pub(crate) place: Place,
    /// It was sent more than once.
    pub(crate) retransmitted: bool,
}

impl Segment {
    /// One that is sent now, in a list by itself.
    #[inline]
    pub(super) fn sent(
        (id, start): (u32, SeqNum),
        end: SeqNum,
        retransmitted: bool,
        stamp: Stamp,
        now: Instant,
    ) -> Self {
        let part = SackBlock::default();
        let place = Place::Sent;
        Self { start, end, sent_at: now, stamp, part, prev: id, next: id, place, retransmitted }
    }

    pub(crate) fn len(&self) -> u32 {
        self.end.since(self.start)
    }

    /// Bytes of it that the peer may not have, unless it is SACKed.
    pub(crate) fn missing_len(&self) -> u32 {
        self.len().saturating_sub(self.part.len())
    }

    /// RACK_sent_after (RFC 8985 §6.2): segments of one burst count in the order of the stream.
    pub(crate) fn is_sent_after(&self, sent_at: Instant, end: SeqNum) -> bool {
        self.sent_at > sent_at || (self.sent_at == sent_at && self.end.after(end))
    }

    /// Without what is before `start`.
    pub(super) fn begin_at(&mut self, start: SeqNum) {
        let part = SackBlock { start: self.part.start.later(start), ..self.part };
        self.start = start;
        self.part = if part.end.after(part.start) { part } else { SackBlock::default() };
    }

    /// Without what is beyond `end`.
    pub(super) fn end_at(&mut self, end: SeqNum) {
        let part = SackBlock { end: self.part.end.earlier(end), ..self.part };
        self.end = end;
        self.part = if part.end.after(part.start) { part } else { SackBlock::default() };
    }

    /// What of it has to be sent again first, from `from` on: all but `part`.
    pub(super) fn next_piece(&self, from: SeqNum) -> (SeqNum, SeqNum) {
        let Self { start, end, part, .. } = *self;
        if part.is_empty() || from.at_or_after(part.end) {
            (from, end)
        } else if from.before(part.start) {
            (from, part.start)
        } else if part.end != end {
            (part.end, end)
        } else {
            // The rest has arrived since; what is before it is not known to.
            (start, part.start)
        }
    }

    /// All of it that is not known to have arrived lies before `end`.
    pub(super) fn is_repeated_at(&self, end: SeqNum) -> bool {
        let last = if self.part.end == self.end && !self.part.is_empty() {
            self.part.start
        } else {
            self.end
        };
        end.at_or_after(last)
    }

    /// What is known of it once the peer has `block` too: one stretch, or `None` if `block` is apart
    /// from what is known.
    pub(super) fn known_with(&self, block: &SackBlock) -> Option<SackBlock> {
        let (start, end) = (block.start.later(self.start), block.end.earlier(self.end));
        let inside = SackBlock { start, end };
        let known = self.part;
        if known.is_empty() {
            return Some(inside);
        }
        let touches = inside.start.at_or_before(known.end) && inside.end.at_or_after(known.start);
        let (start, end) = (inside.start.earlier(known.start), inside.end.later(known.end));
        touches.then_some(SackBlock { start, end })
    }

    /// The pieces of `known` that were not known.
    pub(super) fn news(&self, known: SackBlock) -> impl Iterator<Item = Self> {
        let old = self.part;
        let pieces = if old.is_empty() {
            [known, SackBlock::default()]
        } else {
            let before = SackBlock { end: old.start, ..known };
            [before, SackBlock { start: old.end, ..known }]
        };
        let segment = *self;
        let pieces = pieces.into_iter().filter(|piece| !piece.is_empty());
        pieces.map(move |SackBlock { start, end }| Self { start, end, ..segment })
    }

    /// All of it, as a block.
    pub(super) const fn whole(&self) -> SackBlock {
        SackBlock { start: self.start, end: self.end }
    }
}
