//! Which text beyond RCV.NXT has arrived: a fixed number of ranges, sorted and apart.
//!
//! ```text
//!   RCV.NXT ─┐        0              1
//!   ─────────┼──────▒▒▒▒▒▒▒───────▒▒▒▒▒▒▒▒▒────── right edge of the window
//! ```
//! The bytes themselves are in the caller's receive buffer.

use crate::{SeqNum, limits};

#[derive(Clone, Copy, Debug, Default)]
struct Range {
    start: SeqNum,
    end: SeqNum,
}

/// The out-of-order ranges of a connection.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Reassembly {
    ranges: [Range; limits::REASSEMBLY_RANGES],
    count: u8,
}

impl Reassembly {
    pub(crate) const fn is_empty(&self) -> bool {
        self.count == 0
    }

    fn as_slice(&self) -> &[Range] {
        self.ranges.get(..usize::from(self.count)).unwrap_or_default()
    }

    /// The end of the last range.
    pub(crate) fn end(&self) -> Option<SeqNum> {
        self.as_slice().last().map(|range| range.end)
    }

    /// [`Self::insert`] would succeed.
    pub(crate) fn has_room(&self, start: SeqNum, end: SeqNum) -> bool {
        self.with(Range { start, end }).is_some()
    }

    /// Remembers that the text from `start` up to `end` is stored. `false`: the list is full.
    pub(crate) fn insert(&mut self, start: SeqNum, end: SeqNum) -> bool {
        let merged = self.with(Range { start, end });
        if let Some(merged) = merged {
            *self = merged;
        }
        merged.is_some()
    }

    /// Text is complete up to `next`: removes what is covered or joined, returns the new end.
    pub(crate) fn advance(&mut self, next: SeqNum) -> SeqNum {
        let mut end = next;
        let mut rest = Self::default();
        for range in self.as_slice() {
            if range.start.at_or_before(end) {
                end = end.later(range.end);
            } else {
                let _ = rest.push(*range);
            }
        }
        *self = rest;
        end
    }

    /// The list with `new` merged into it, `None` if it does not fit.
    fn with(&self, new: Range) -> Option<Self> {
        let mut merged = Self::default();
        let mut new = new;
        let mut placed = false;
        for range in self.as_slice() {
            if range.end.before(new.start) {
                merged.push(*range)?;
            } else if new.end.before(range.start) {
                if !placed {
                    merged.push(new)?;
                    placed = true;
                }
                merged.push(*range)?;
            } else {
                new.start = if range.start.before(new.start) { range.start } else { new.start };
                new.end = new.end.later(range.end);
            }
        }
        if !placed {
            merged.push(new)?;
        }
        Some(merged)
    }

    fn push(&mut self, range: Range) -> Option<()> {
        *self.ranges.get_mut(usize::from(self.count))? = range;
        self.count = self.count.saturating_add(1);
        Some(())
    }

    /// Sorted, apart, not empty, and beyond `next`.
    #[cfg(any(test, debug_assertions))]
    pub(crate) fn assert_invariants(&self, next: SeqNum) {
        let mut end = next;
        for range in self.as_slice() {
            assert!(range.start.after(end), "{self:?} beyond {next}");
            assert!(range.end.after(range.start), "{self:?}");
            end = range.end;
        }
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
            pieces in prop::collection::vec((1_u32..60, 1_u32..12), 1..40),
        ) {
            let next = SeqNum::new(origin);
            let mut list = Reassembly::default();
            let mut bytes = [false; 100];
            for (offset, len) in pieces {
                let (start, end) = (next + offset, next + offset + len);
                let place = offset as usize..offset.saturating_add(len) as usize;
                prop_assert_eq!(list.has_room(start, end), list.clone().insert(start, end));
                if list.insert(start, end) {
                    bytes[place].fill(true);
                }
                list.assert_invariants(next);
            }
            let first_gap = (1..100).find(|i| !bytes[*i]).unwrap();
            prop_assert_eq!(list.advance(next + 1), next + u32::try_from(first_gap).unwrap());
            prop_assert_eq!(list.end().is_some(), bytes[first_gap..].iter().any(|b| *b));
        }
    }

    #[test]
    fn a_full_list_refuses_new_holes_but_still_grows_ranges() {
        let mut list = Reassembly::default();
        let at = |i: u32| SeqNum::new(10 + 10 * i);
        for i in 0..8 {
            assert!(list.insert(at(i), at(i) + 5));
        }
        assert!(!list.insert(at(8), at(8) + 5));
        assert!(list.insert(at(7) + 5, at(7) + 9));
        assert!(list.insert(at(0) + 5, at(1)));
        assert!(list.insert(at(8), at(8) + 5));
    }
}
