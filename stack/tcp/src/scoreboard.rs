//! What is in flight, segment by segment: when each was sent, and what the peer has said of it.
//!
//! ```text
//!   SND.UNA                                              SND.NXT
//!   ├──────┬──────┬──────┬──────┬──────┬──────┬──────┬──────┤
//!   │ lost │ sent │SACKED│SACKED│ lost │SACKED│ sent │ sent │    segments, by sequence number
//!   └──────┴──────┴──────┴──────┴──────┴──────┴──────┴──────┘
//!   sent: 1 → 6 → 7     by time of the last transmission (RFC 8985 §6.1)
//!   lost: 0 → 4         waiting to be sent again
//! ```
//! A segment is in one of three places, and each step from one place to another takes constant
//! time. A block of a SACK option is found by halving and passes over what is SACKed already in
//! one stride, so an ACK costs what is new in it, whatever the pattern (CVE-2019-11478).
//!
//! A segment sent as several MSS by the port is several segments here, so that the peer's blocks
//! fit. Of a segment that a block covers only in part (its sender was not us alone: somebody on the
//! way has cut anew; or it shares an entry in a long flight) one stretch is remembered as arrived.
//! A second one apart from it is not: SACK is advice, the price is a piece sent in vain, and no peer
//! makes the record longer than what was sent.

mod run;
mod segment;

mod train;

use std::collections::VecDeque;

use types::Instant;

use crate::delivery::Stamp;
use crate::sack::SackBlock;
use crate::{SeqNum, limits};

pub(crate) use segment::{Place, Segment};

/// First and last of a list.
type Ends = Option<(u32, u32)>;

/// The segments between SND.UNA and SND.NXT.
#[derive(Debug)]
pub(crate) struct Scoreboard {
    segments: VecDeque<Segment>,
    /// The number of the first segment; numbers go on as segments are sent and wrap.
    first: u32,
    una: SeqNum,
    sent: Ends,
    lost: Ends,
    sacked_len: u32,
    sacked_count: u32,
    lost_len: u32,
    /// Segments looked at, for tests of what an ACK costs.
    #[cfg(test)]
    pub(crate) steps: core::cell::Cell<u64>,
    /// How far the first lost segment has been sent again, if that takes several.
    resent: SeqNum,
}

impl Scoreboard {
    pub(crate) fn new(una: SeqNum) -> Self {
        Self {
            segments: VecDeque::new(),
            first: 0,
            una,
            sent: None,
            lost: None,
            sacked_len: 0,
            sacked_count: 0,
            lost_len: 0,
            #[cfg(test)]
            steps: core::cell::Cell::new(0),
            resent: una,
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.segments.is_empty()
    }

    /// SND.UNA.
    pub(crate) const fn una(&self) -> SeqNum {
        self.una
    }

    /// SND.NXT.
    pub(crate) fn end(&self) -> SeqNum {
        self.segments.back().map_or(self.una, |segment| segment.end)
    }

    /// Bytes believed to be in the network (RFC 6675 §4, RFC 8985 §6.2: what was sent again counts
    /// once).
    pub(crate) fn pipe(&self) -> u32 {
        let out = self.end().since(self.una);
        out.saturating_sub(self.sacked_len).saturating_sub(self.lost_len)
    }

    pub(crate) const fn sacked_len(&self) -> u32 {
        self.sacked_len
    }

    pub(crate) const fn sacked_count(&self) -> u32 {
        self.sacked_count
    }

    pub(crate) const fn lost_len(&self) -> u32 {
        self.lost_len
    }

    /// Bytes sent again and not acknowledged. Looks at all segments: for people who ask.
    pub(crate) fn resent_len(&self) -> u32 {
        let resent = |segment: &&Segment| segment.retransmitted && segment.place == Place::Sent;
        self.segments.iter().filter(resent).map(Segment::len).fold(0, u32::saturating_add)
    }

    pub(crate) fn front(&self) -> Option<&Segment> {
        self.segments.front()
    }

    pub(crate) fn back(&self) -> Option<&Segment> {
        self.segments.back()
    }

    #[cfg(test)]
    pub(crate) fn entries(&self) -> usize {
        self.segments.len()
    }

    #[cfg(test)]
    pub(crate) fn capacity(&self) -> usize {
        self.segments.capacity()
    }

    /// The segment that was sent longest ago and is neither lost nor SACKed.
    pub(crate) fn oldest(&self) -> Option<(u32, &Segment)> {
        let (head, _) = self.sent?;
        self.get(head).map(|segment| (head, segment))
    }

    /// Of the `most` segments sent longest ago that are neither lost nor SACKed, those from the first
    /// on for which `also` holds.
    pub(crate) fn oldest_while(
        &self,
        most: usize,
        also: impl Fn(&Segment) -> bool,
    ) -> impl Iterator<Item = &Segment> {
        let ids = core::iter::successors(self.sent, |(id, tail)| {
            (id != tail).then(|| (self.get(*id).map_or(*tail, |segment| segment.next), *tail))
        });
        ids.take(most).map_while(|(id, _)| self.get(id)).take_while(move |segment| also(segment))
    }

    /// The first lost segment: from where to send it again, and its end.
    pub(crate) fn next_lost(&self) -> Option<(SeqNum, SeqNum)> {
        let (head, _) = self.lost?;
        let segment = self.get(head)?;
        let from = if self.is_resent_inside(segment) { self.resent } else { segment.start };
        Some(segment.next_piece(from))
    }

    /// A first part of `segment` was sent again.
    fn is_resent_inside(&self, segment: &Segment) -> bool {
        self.resent.after(segment.start) && self.resent.before(segment.end)
    }

    /// Another segment can be remembered.
    pub(crate) fn has_room(&self) -> bool {
        self.segments.len() < limits::FLIGHT_SEGMENTS || self.joins_last(0, u32::MAX)
    }

    /// That many segments more can be remembered by entries of their own.
    pub(crate) fn has_room_for(&self, count: usize) -> bool {
        self.segments.len().saturating_add(count) <= limits::FLIGHT_SEGMENTS
    }

    /// New text, `start..end`, of at most `mss` bytes and perhaps a FIN, was sent. `again`: it had
    /// been sent before and forgotten. In a long flight several segments share an entry.
    pub(crate) fn push(&mut self, end: SeqNum, mss: u32, again: bool, stamp: Stamp, now: Instant) {
        let start = self.end();
        let most = mss.saturating_mul(limits::segments_per_entry(self.segments.len()));
        if !again && self.joins_last(end.since(start), most) {
            let id = self.last_id();
            self.unlink(id);
            if let Some(segment) = self.get_mut(id) {
                (segment.end, segment.sent_at, segment.stamp) = (end, now, stamp);
            }
            self.link_last(id, Place::Sent);
            return;
        }
        self.segments.push_back(Segment::sent((0, start), end, again, stamp, now));
        self.link_last(self.last_id(), Place::Sent);
    }

    /// The same of one segment of new text while nothing is in flight.
    #[inline]
    pub(crate) fn push_alone(&mut self, end: SeqNum, stamp: Stamp, now: Instant) {
        debug_assert!(self.is_empty(), "{self:?}");
        let segment = Segment::sent((self.first, self.una), end, false, stamp, now);
        self.segments.push_back(segment);
        self.sent = Some((self.first, self.first));
    }

    fn joins_last(&self, len: u32, most: u32) -> bool {
        self.segments.back().is_some_and(|last| {
            last.place == Place::Sent
                && !last.retransmitted
                && last.len().saturating_add(len) <= most
        })
    }

    /// Everything before `ack` has arrived: `each` sees what is forgotten, with its place, and of a
    /// segment that the peer had a part of the rest.
    pub(crate) fn acknowledge(&mut self, ack: SeqNum, mut each: impl FnMut(&Segment)) {
        while let Some(segment) = self.segments.front().copied() {
            if segment.end.after(ack) {
                break;
            }
            self.unlink(self.first);
            self.sacked_len = self.sacked_len.saturating_sub(segment.part.len());
            if segment.part.is_empty() {
                each(&segment);
            } else {
                segment.news(segment.whole()).for_each(|rest| each(&rest));
            }
            let _ = self.segments.pop_front();
            self.first = self.first.wrapping_add(1);
        }
        self.una = ack;
        if let Some(front) = self.segments.front().copied().filter(|front| front.start != ack) {
            self.acknowledge_part(front, ack, each);
        }
    }

    /// The segment in front has arrived up to `ack`.
    fn acknowledge_part(&mut self, front: Segment, ack: SeqNum, mut each: impl FnMut(&Segment)) {
        let mut rest = front;
        rest.begin_at(ack);
        let known = front.part.len().saturating_sub(rest.part.len());
        let missing = front.missing_len().saturating_sub(rest.missing_len());
        self.sacked_len = self.sacked_len.saturating_sub(known);
        match front.place {
            Place::Sent => {}
            Place::Lost => self.lost_len = self.lost_len.saturating_sub(missing),
            Place::Sacked => self.sacked_len = self.sacked_len.saturating_sub(missing),
        }
        // What was sent again of it may be what has arrived.
        let retransmitted = front.retransmitted || self.is_resent_inside(&front);
        let mut first = Segment { retransmitted, ..front };
        first.end_at(ack);
        first.news(first.whole()).for_each(|piece| each(&piece));
        if let Some(front) = self.segments.front_mut() {
            (front.start, front.part) = (rest.start, rest.part);
        }
        if rest.part == rest.whole() {
            self.sack_segment(self.first, &rest, rest.part);
        }
    }

    /// The peer has `block`: `each` sees what is new in it, as it was.
    pub(crate) fn sack(&mut self, block: SackBlock, mut each: impl FnMut(&Segment)) {
        let place = self.segments.partition_point(|segment| segment.end.at_or_before(block.start));
        let mut id = self.first.wrapping_add(number(place));
        loop {
            id = self.skip_sacked(id);
            let Some(segment) = self.get(id).copied() else { return };
            if segment.start.at_or_after(block.end) {
                return;
            }
            if let Some(known) = segment.known_with(&block) {
                self.sack_segment(id, &segment, known);
                segment.news(known).for_each(|new| each(&new));
            }
            id = id.wrapping_add(1);
        }
    }

    /// Of `segment` the peer has `known`.
    fn sack_segment(&mut self, id: u32, segment: &Segment, known: SackBlock) {
        let new = known.len().saturating_sub(segment.part.len());
        let whole = known == segment.whole();
        if whole {
            self.unlink(id);
            self.sacked_count = self.sacked_count.saturating_add(1);
        } else if segment.place == Place::Lost {
            self.lost_len = self.lost_len.saturating_sub(new);
        }
        self.sacked_len = self.sacked_len.saturating_add(new);
        let next = id.wrapping_add(1);
        if let Some(segment) = self.get_mut(id) {
            segment.part = if whole { SackBlock::default() } else { known };
            if whole {
                (segment.place, segment.next) = (Place::Sacked, next);
            }
        }
    }

    /// The first segment from `id` on that is not SACKed. Shortens the way for the next time.
    fn skip_sacked(&mut self, mut id: u32) -> u32 {
        while let Some(next) = self.sacked_next(id) {
            let far = self.sacked_next(next).unwrap_or(next);
            if let Some(segment) = self.get_mut(id) {
                segment.next = far;
            }
            id = far;
        }
        id
    }

    fn sacked_next(&self, id: u32) -> Option<u32> {
        self.get(id).filter(|segment| segment.place == Place::Sacked).map(|segment| segment.next)
    }

    /// The segment is lost. The lowest one is repaired first; others in the order they were sent.
    pub(crate) fn lose(&mut self, id: u32) {
        self.unlink(id);
        let lowest = self.lost.is_none_or(|(head, _)| self.index(id) < self.index(head));
        if lowest {
            self.link_first(id, Place::Lost);
        } else {
            self.link_last(id, Place::Lost);
        }
        if let Some(segment) = self.get(id).filter(|segment| self.is_resent_inside(segment)) {
            self.resent = segment.start;
        }
    }

    /// The first segment is lost, unless it was noticed before. The bytes newly lost.
    pub(crate) fn lose_front(&mut self) -> u32 {
        let Some(front) = self.front().filter(|front| front.place == Place::Sent) else { return 0 };
        let len = front.missing_len();
        self.lose(self.first);
        len
    }

    /// The last segment is lost: it never left.
    pub(crate) fn lose_last(&mut self) {
        self.lose(self.last_id());
    }

    /// The segment that `seq` lies in is lost, if it was in the network.
    pub(crate) fn lose_at(&mut self, seq: SeqNum) {
        let place = self.segments.partition_point(|segment| segment.end.at_or_before(seq));
        if self.segments.get(place).is_some_and(|segment| segment.place == Place::Sent) {
            self.lose(self.first.wrapping_add(number(place)));
        }
    }

    /// A timeout: what `is_lost` says is lost, and the first segment in any case. Lost segments
    /// are sent again in the order of their sequence numbers.
    pub(crate) fn lose_on_timeout(&mut self, is_lost: impl Fn(&Segment) -> bool) {
        self.resent = self.una;
        for place in 0..self.segments.len() {
            let id = self.first.wrapping_add(number(place));
            let lost = self.get(id).is_some_and(|segment| match segment.place {
                Place::Lost => true,
                Place::Sacked => false,
                Place::Sent => place == 0 || is_lost(segment),
            });
            if lost {
                self.unlink(id);
                self.link_last(id, Place::Lost);
            }
        }
    }

    /// Of what is not acknowledged, the first part was sent again.
    pub(crate) fn is_front_resent(&self) -> bool {
        self.resent.after(self.una) || self.front().is_some_and(|front| front.retransmitted)
    }

    /// The first lost segment was sent again as far as `end`. Says if all of it was.
    pub(crate) fn resend_lost(&mut self, end: SeqNum, stamp: Stamp, now: Instant) -> bool {
        let Some((head, _)) = self.lost else { return false };
        self.resent = end;
        let whole = self.get(head).is_some_and(|segment| segment.is_repeated_at(end));
        if whole {
            self.resend(head, stamp, now);
        }
        whole
    }

    /// The last segment was sent again, as a probe.
    pub(crate) fn resend_last(&mut self, stamp: Stamp, now: Instant) {
        self.resend(self.last_id(), stamp, now);
    }

    fn resend(&mut self, id: u32, stamp: Stamp, now: Instant) {
        self.unlink(id);
        if let Some(segment) = self.get_mut(id) {
            (segment.sent_at, segment.stamp, segment.retransmitted) = (now, stamp, true);
        }
        self.link_last(id, Place::Sent);
    }

    /// Nothing was lost after all: back into the network with what was not sent again.
    pub(crate) fn restore_lost(&mut self) {
        while let Some((_, tail)) = self.lost {
            self.unlink(tail);
            self.link_first(tail, Place::Sent);
        }
        self.resent = self.una;
    }

    /// The peer has discarded what it had SACKed (RFC 2018 §8): nothing it said counts.
    pub(crate) fn forget_sacks(&mut self) {
        for place in 0..self.segments.len() {
            let id = self.first.wrapping_add(number(place));
            let Some(segment) = self.get(id).copied() else { return };
            let known = segment.part.len();
            self.sacked_len = self.sacked_len.saturating_sub(known);
            if let Some(segment) = self.get_mut(id) {
                segment.part = SackBlock::default();
            }
            match segment.place {
                Place::Sent => {}
                Place::Lost => self.lost_len = self.lost_len.saturating_add(known),
                Place::Sacked => {
                    self.unlink(id);
                    self.link_last(id, Place::Lost);
                }
            }
        }
    }

    /// What reaches beyond `edge` is as if it had never been sent.
    pub(crate) fn truncate(&mut self, edge: SeqNum) {
        while self.segments.back().is_some_and(|segment| segment.end.after(edge)) {
            self.unlink(self.last_id());
            let known = self.segments.pop_back().map_or(0, |segment| segment.part.len());
            self.sacked_len = self.sacked_len.saturating_sub(known);
        }
    }

    /// Segments are `mss` bytes from now on; larger ones did not get through (RFC 1191 §6.5). What
    /// was known of parts of them is forgotten.
    pub(crate) fn divide(&mut self, mss: u32) {
        let old = core::mem::take(&mut self.segments);
        let too_long = |segment: &Segment| segment.len() > mss.saturating_add(1);
        (self.sent, self.lost, self.resent) = (None, None, self.una);
        (self.sacked_len, self.sacked_count, self.lost_len) = (0, 0, 0);
        for segment in old {
            let lost = segment.place != Place::Sacked && too_long(&segment);
            let place = if lost { Place::Lost } else { segment.place };
            let mut rest = segment;
            while too_long(&rest) && self.segments.len() < limits::FLIGHT_SEGMENTS {
                let end = rest.start + mss;
                self.put(Segment { end, ..rest }, place);
                rest.start = end;
            }
            self.put(rest, place);
        }
    }

    fn put(&mut self, segment: Segment, place: Place) {
        self.segments.push_back(Segment {
            place: Place::Sent,
            part: SackBlock::default(),
            ..segment
        });
        let id = self.last_id();
        if place == Place::Sacked {
            self.sacked_len = self.sacked_len.saturating_add(segment.len());
            self.sacked_count = self.sacked_count.saturating_add(1);
            if let Some(segment) = self.get_mut(id) {
                (segment.place, segment.next) = (place, id.wrapping_add(1));
            }
        } else {
            self.link_last(id, place);
        }
    }

    fn index(&self, id: u32) -> usize {
        usize::try_from(id.wrapping_sub(self.first)).unwrap_or(usize::MAX)
    }

    fn last_id(&self) -> u32 {
        self.first.wrapping_add(number(self.segments.len())).wrapping_sub(1)
    }

    fn get(&self, id: u32) -> Option<&Segment> {
        #[cfg(test)]
        self.steps.set(self.steps.get().saturating_add(1));
        self.segments.get(self.index(id))
    }

    fn get_mut(&mut self, id: u32) -> Option<&mut Segment> {
        let index = self.index(id);
        self.segments.get_mut(index)
    }

    fn ends_mut(&mut self, place: Place) -> &mut Ends {
        if place == Place::Lost { &mut self.lost } else { &mut self.sent }
    }

    /// Takes the segment out of where it is, and out of that place's account.
    fn unlink(&mut self, id: u32) {
        let Some(&Segment { prev, next, place, .. }) = self.get(id) else { return };
        let missing = self.get(id).map_or(0, Segment::missing_len);
        match place {
            Place::Sent => {}
            Place::Lost => self.lost_len = self.lost_len.saturating_sub(missing),
            Place::Sacked => {
                self.sacked_len = self.sacked_len.saturating_sub(missing);
                self.sacked_count = self.sacked_count.saturating_sub(1);
                return;
            }
        }
        let (is_head, is_tail) = (prev == id, next == id);
        if let Some(before) = self.get_mut(prev).filter(|_| !is_head) {
            before.next = if is_tail { prev } else { next };
        }
        if let Some(after) = self.get_mut(next).filter(|_| !is_tail) {
            after.prev = if is_head { next } else { prev };
        }
        let ends = self.ends_mut(place);
        *ends = ends.and_then(|(head, tail)| match (is_head, is_tail) {
            (true, true) => None,
            (true, false) => Some((next, tail)),
            (false, true) => Some((head, prev)),
            (false, false) => Some((head, tail)),
        });
    }

    fn link_last(&mut self, id: u32, place: Place) {
        let tail = self.ends_mut(place).map(|(_, tail)| tail);
        self.link(id, place, tail.unwrap_or(id), id);
        if let Some(tail) = tail.and_then(|tail| self.get_mut(tail)) {
            tail.next = id;
        }
        let ends = self.ends_mut(place);
        *ends = Some((ends.map_or(id, |(head, _)| head), id));
    }

    fn link_first(&mut self, id: u32, place: Place) {
        let head = self.ends_mut(place).map(|(head, _)| head);
        self.link(id, place, id, head.unwrap_or(id));
        if let Some(head) = head.and_then(|head| self.get_mut(head)) {
            head.prev = id;
        }
        let ends = self.ends_mut(place);
        *ends = Some((id, ends.map_or(id, |(_, tail)| tail)));
    }

    fn link(&mut self, id: u32, place: Place, prev: u32, next: u32) {
        let Some(segment) = self.get_mut(id) else { return };
        (segment.place, segment.prev, segment.next) = (place, prev, next);
        let missing = segment.missing_len();
        if place == Place::Lost {
            self.lost_len = self.lost_len.saturating_add(missing);
        }
    }

    /// Without gaps from SND.UNA on, each segment in one list, the accounts as recounted.
    #[cfg(any(test, debug_assertions))]
    pub(crate) fn assert_invariants(&self, una: SeqNum, nxt: SeqNum) {
        assert!(self.una == una && self.end() == nxt, "{self:?} is not {una}..{nxt}");
        let mut at = self.una;
        let (mut sacked, mut lost, mut counts) = (0_u32, 0_u32, [0_usize; 3]);
        for segment in &self.segments {
            assert!(segment.start == at && segment.end.after(at), "{segment:?} at {at}");
            at = segment.end;
            assert!(segment.part.is_empty() || segment.missing_len() > 0, "{segment:?}");
            assert!(segment.part.is_empty() || segment.whole().covers(&segment.part));
            sacked = sacked.saturating_add(segment.part.len());
            match segment.place {
                Place::Sacked => sacked = sacked.saturating_add(segment.missing_len()),
                Place::Lost => lost = lost.saturating_add(segment.missing_len()),
                Place::Sent => {}
            }
            if let Some(count) = counts.get_mut(segment.place as usize) {
                *count = count.saturating_add(1);
            }
        }
        assert_eq!((sacked, lost), (self.sacked_len, self.lost_len), "{self:?}");
        let found = [self.count(self.sent), self.count(self.lost), number_of(self.sacked_count)];
        assert_eq!(counts, found, "{self:?}");
        assert!(self.segments.len() <= limits::FLIGHT_SEGMENTS.saturating_add(1));
    }

    #[cfg(any(test, debug_assertions))]
    fn count(&self, ends: Ends) -> usize {
        let Some((head, tail)) = ends else { return 0 };
        let (mut id, mut count) = (head, 1_usize);
        while id != tail && count <= self.segments.len() {
            id = self.get(id).map_or(tail, |segment| segment.next);
            count = count.saturating_add(1);
        }
        count
    }
}

fn number(place: usize) -> u32 {
    u32::try_from(place).unwrap_or(u32::MAX)
}

#[cfg(any(test, debug_assertions))]
fn number_of(count: u32) -> usize {
    usize::try_from(count).unwrap_or(usize::MAX)
}
