//! Which text beyond RCV.NXT has arrived (RFC 9293 §3.10.7.4, seventh), and what to say of it:
//! SACK blocks (RFC 2018 §4) and duplicates (RFC 2883 §4).
//!
//! ```text
//!   RCV.NXT ─┐        0              1
//!   ─────────┼──────▒▒▒▒▒▒▒───────▒▒▒▒▒▒▒▒▒────── right edge of the window
//! ```
//! The bytes themselves are in the caller's receive buffer. The list of ranges lives in a side
//! block that exists only while something is out of order or a duplicate waits to be reported.

use crate::sack::{SackBlock, SackBlocks};
use crate::{SeqNum, limits};

/// What is out of order on a connection: 8 bytes while nothing is.
#[derive(Debug, Default)]
pub(crate) struct Reassembly(Option<Box<OutOfOrder>>);

#[derive(Debug)]
struct OutOfOrder {
    /// Sorted and apart, at most [`limits::REASSEMBLY_RANGES`].
    ranges: Vec<SackBlock>,
    /// A byte of each of the latest segments, the newest first, none in a range of another: their
    /// ranges are reported first.
    recent: [Option<SeqNum>; SackBlocks::MAX],
    /// Text that arrived twice and was not reported yet.
    duplicate: Option<SackBlock>,
}

impl Reassembly {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.as_ref().is_none_or(|block| block.ranges.is_empty())
    }

    /// The next ACK has blocks.
    pub(crate) fn has_news(&self) -> bool {
        self.0.is_some()
    }

    /// The end of the last range.
    pub(crate) fn end(&self) -> Option<SeqNum> {
        self.0.as_ref()?.ranges.last().map(|range| range.end)
    }

    /// [`Self::insert`] would succeed.
    pub(crate) fn has_room(&self, start: SeqNum, end: SeqNum) -> bool {
        self.0.as_ref().is_none_or(|block| block.has_room(start, end))
    }

    /// Remembers that the text from `start` up to `end` is stored. `false`: the list is full.
    pub(crate) fn insert(&mut self, start: SeqNum, end: SeqNum) -> bool {
        self.0.get_or_insert_with(OutOfOrder::boxed).insert(SackBlock { start, end })
    }

    /// Text is complete up to `next`: removes what is covered or joined, returns the new end.
    pub(crate) fn advance(&mut self, next: SeqNum) -> SeqNum {
        let Some(block) = self.0.as_mut() else { return next };
        let end = block.advance(next);
        self.drop_if_idle();
        end
    }

    /// The text from `start` up to `end` has arrived, text is complete up to `next`: if a part had
    /// arrived before, the first such part is reported with the next ACK (RFC 2883 §4.1, §4.2).
    pub(crate) fn note_duplicate(&mut self, start: SeqNum, end: SeqNum, next: SeqNum) {
        let known = if start.before(next) {
            Some(SackBlock { start, end: end.earlier(next) })
        } else {
            self.0.as_ref().and_then(|block| block.known_part(start, end))
        };
        if known.is_some() {
            self.0.get_or_insert_with(OutOfOrder::boxed).duplicate = known;
        }
    }

    /// The blocks for an ACK, at most `max`; the duplicate is reported once.
    pub(crate) fn report(&mut self, max: usize) -> SackBlocks {
        let Some(block) = self.0.as_mut() else { return SackBlocks::NONE };
        let report = block.report(max);
        self.drop_if_idle();
        report
    }

    fn drop_if_idle(&mut self) {
        if self.0.as_ref().is_some_and(|block| block.ranges.is_empty() && block.duplicate.is_none())
        {
            self.0 = None;
        }
    }

    /// Sorted, apart, not empty, and beyond `next`.
    #[cfg(any(test, debug_assertions))]
    pub(crate) fn assert_invariants(&self, next: SeqNum) {
        let Some(block) = self.0.as_ref() else { return };
        assert!(!block.ranges.is_empty() || block.duplicate.is_some(), "a block for nothing");
        let mut end = next;
        for range in &block.ranges {
            assert!(range.start.after(end), "{self:?} beyond {next}");
            assert!(range.end.after(range.start), "{self:?}");
            end = range.end;
        }
    }
}

impl OutOfOrder {
    fn boxed() -> Box<Self> {
        Box::new(Self { ranges: Vec::new(), recent: [None; SackBlocks::MAX], duplicate: None })
    }

    /// The first range that ends at `at` or later, as a place in the list.
    fn place_of(&self, at: SeqNum) -> usize {
        self.ranges.partition_point(|range| range.end.before(at))
    }

    fn has_room(&self, start: SeqNum, end: SeqNum) -> bool {
        let touches = |range: &SackBlock| range.start.at_or_before(end);
        self.ranges.len() < limits::REASSEMBLY_RANGES
            || self.ranges.get(self.place_of(start)).is_some_and(touches)
    }

    fn insert(&mut self, new: SackBlock) -> bool {
        let place = self.place_of(new.start);
        let mut merged = new;
        let mut touched: usize = 0;
        // One step for each range that disappears.
        for range in self.ranges.get(place..).unwrap_or_default() {
            if range.start.after(new.end) {
                break;
            }
            merged.start = merged.start.earlier(range.start);
            merged.end = merged.end.later(range.end);
            touched = touched.saturating_add(1);
        }
        if touched == 0 {
            if self.ranges.len() >= limits::REASSEMBLY_RANGES {
                return false;
            }
            self.ranges.insert(place, merged);
        } else if let Some(first) = self.ranges.get_mut(place) {
            *first = merged;
        }
        if touched > 1 {
            let _ = self.ranges.drain(place.saturating_add(1)..place.saturating_add(touched));
        }
        self.note_recent(new.start, merged);
        true
    }

    /// RFC 2018 §4: the block with the newest segment comes first, then those reported before.
    fn note_recent(&mut self, newest: SeqNum, range: SackBlock) {
        let older = self.recent.into_iter().flatten();
        let apart = older.filter(|at| at.before(range.start) || at.at_or_after(range.end));
        let mut recent = [None; SackBlocks::MAX];
        for (place, at) in recent.iter_mut().zip(core::iter::once(newest).chain(apart)) {
            *place = Some(at);
        }
        self.recent = recent;
    }

    fn advance(&mut self, next: SeqNum) -> SeqNum {
        let mut end = next;
        let mut joined: usize = 0;
        for range in &self.ranges {
            if range.start.after(end) {
                break;
            }
            end = end.later(range.end);
            joined = joined.saturating_add(1);
        }
        let _ = self.ranges.drain(..joined);
        end
    }

    /// The range that holds the byte `at`.
    fn range_of(&self, at: SeqNum) -> Option<SackBlock> {
        let place = self.ranges.partition_point(|range| range.end.at_or_before(at));
        self.ranges.get(place).copied().filter(|range| range.start.at_or_before(at))
    }

    /// The first part of `start..end` that had arrived.
    fn known_part(&self, start: SeqNum, end: SeqNum) -> Option<SackBlock> {
        let place = self.ranges.partition_point(|range| range.end.at_or_before(start));
        let range = self.ranges.get(place).filter(|range| range.start.before(end))?;
        Some(SackBlock { start: start.later(range.start), end: end.earlier(range.end) })
    }

    fn report(&mut self, max: usize) -> SackBlocks {
        let mut report = SackBlocks::NONE;
        if let Some(duplicate) = self.duplicate.take() {
            report.push(duplicate);
            // RFC 2883 §4: the second block is the range that contains the duplicate, if one does.
            if let Some(around) = self.range_of(duplicate.start) {
                self.note_recent(duplicate.start, around);
            }
        }
        let first = report.as_slice().len();
        let recent = self.recent.into_iter().flatten().filter_map(|at| self.range_of(at));
        // What was pushed out of the recent ones by ranges that are complete now.
        for range in recent.chain(self.ranges.iter().copied()) {
            if report.as_slice().len() >= max {
                break;
            }
            if !report.as_slice().get(first..).unwrap_or_default().contains(&range) {
                report.push(range);
            }
        }
        report
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// The list agrees with a set of bytes, as long as it is not full.
        #[test]
        fn agrees_with_a_set_of_bytes(
            origin: u32,
            pieces in prop::collection::vec((1_u32..360, 1_u32..12), 1..200),
        ) {
            let next = SeqNum::new(origin);
            let mut list = Reassembly::default();
            let mut bytes = [false; 400];
            for (offset, len) in pieces {
                let (start, end) = (next + offset, next + offset + len);
                let place = offset as usize..offset.saturating_add(len) as usize;
                let room = list.has_room(start, end);
                list.note_duplicate(start, end, next);
                let doubled = list.report(1).as_slice().first().copied();
                let twice = place.clone().find(|i| bytes[*i]);
                if let Some(first) = twice {
                    let first = next + u32::try_from(first).unwrap();
                    prop_assert_eq!(doubled.unwrap().start, first);
                }
                prop_assert_eq!(room, list.insert(start, end));
                if room {
                    bytes[place].fill(true);
                    let report = list.report(4);
                    let newest = report.as_slice()[0];
                    let covers = newest.start.at_or_before(start) && newest.end.at_or_after(end);
                    prop_assert!(covers);
                    for block in report.as_slice() {
                        let from = block.start.since(next) as usize;
                        let to = block.end.since(next) as usize;
                        prop_assert!(bytes[from..to].iter().all(|b| *b));
                        prop_assert!(!bytes[to] && bytes.get(from.wrapping_sub(1)) == Some(&false));
                    }
                }
                list.assert_invariants(next);
            }
            let first_gap = (1..400).find(|i| !bytes[*i]).unwrap();
            prop_assert_eq!(list.advance(next + 1), next + u32::try_from(first_gap).unwrap());
            prop_assert_eq!(list.end().is_some(), bytes[first_gap..].iter().any(|b| *b));
        }
    }

    #[test]
    fn a_full_list_refuses_new_holes_but_still_grows_ranges() {
        let mut list = Reassembly::default();
        let at = |i: u32| SeqNum::new(10 + 10 * i);
        let full = u32::try_from(limits::REASSEMBLY_RANGES).unwrap();
        for i in 0..full {
            assert!(list.insert(at(i), at(i) + 5));
        }
        assert!(!list.has_room(at(full), at(full) + 5), "nothing is stored that is then refused");
        assert!(!list.insert(at(full), at(full) + 5));
        assert!(list.has_room(at(7) + 5, at(7) + 9));
        assert!(list.insert(at(7) + 5, at(7) + 9));
        assert!(list.insert(at(0) + 5, at(1)));
        assert!(list.insert(at(full), at(full) + 5));
    }

    #[test]
    fn nothing_out_of_order_costs_eight_bytes() {
        assert_eq!(size_of::<Reassembly>(), 8);
        let mut list = Reassembly::default();
        assert!(list.insert(SeqNum::new(10), SeqNum::new(20)));
        assert_eq!(list.advance(SeqNum::new(10)), SeqNum::new(20));
        assert!(list.0.is_none());
    }
}
