//! A burst of whole segments enters the record at once: they are neighbours in the list of what is in
//! the network, so each is written once and no list is searched.

use types::Instant;

use super::{Place, Scoreboard, Segment};
use crate::SeqNum;
use crate::delivery::Stamp;
use crate::limits;
use crate::sack::SackBlock;

impl Scoreboard {
    /// An empty one in the memory of this one.
    pub(crate) fn renewed(mut self, una: SeqNum) -> Self {
        self.segments.clear();
        Self { segments: self.segments, ..Self::new(una) }
    }

    /// `count` segments of `mss` bytes of new text were sent at once. Returns how many it has taken:
    /// none in a long flight, where segments share entries.
    pub(crate) fn push_train(&mut self, count: u32, mss: u32, stamp: Stamp, now: Instant) -> u32 {
        let taken = usize::try_from(count).unwrap_or(usize::MAX);
        let most = self.segments.len().saturating_add(taken);
        if count == 0 || limits::segments_per_entry(most) > 0 {
            return 0;
        }
        let mut start = self.end();
        let first = self.last_id().wrapping_add(1);
        let last = first.wrapping_add(count).wrapping_sub(1);
        let before = self.sent.map_or(first, |(_, tail)| tail);
        self.segments.extend((0..count).map(|place| {
            let id = first.wrapping_add(place);
            let end = start + mss;
            let segment = Segment {
                start,
                end,
                sent_at: now,
                stamp,
                prev: if id == first { before } else { id.wrapping_sub(1) },
                next: if id == last { id } else { id.wrapping_add(1) },
                place: Place::Sent,
                retransmitted: false,
                part: SackBlock::default(),
            };
            start = end;
            segment
        }));
        if let Some(tail) = self.get_mut(before).filter(|_| before != first) {
            tail.next = first;
        }
        self.sent = Some((self.sent.map_or(first, |(head, _)| head), last));
        count
    }
}
