//! A stream's text where it was received: descriptors that lead to packet buffers.
//!
//! ```text
//!  queue   … │ block 7, 16384 B │ list 9, from entry 5, 2896 B, LENT │ block 8, 100 B │
//!  list 9, a receive block:  … │ buffer 417, 66, 1448 B │ buffer 80, 66, 1448 B │
//! ```
//! A descriptor stands for a run of text that was lent without a copy between: it names the block that has a list
//! of such pieces, one for each packet. What has been read is given back in the stream's order, by the client's
//! word of how far it has read: it never names a buffer, so that it can name no wrong one.

use core::sync::atomic::Ordering;

use super::{BLOCK, Blocks, NO_BLOCK, Open, StreamProducer, describe, in_block};
use crate::daemon::lane::Lane;
use crate::layout::{self, LENT, LIST_LEN, QUEUE_BLOCKS, RUN_MAX};
use crate::packet_memory::Place;
use crate::words::{halves, low, pair};

/// The pieces that a stream has lent, and which descriptors may still be looked at.
#[derive(Debug)]
pub(super) struct Loans {
    /// The block with the list; none while nothing is lent.
    list: u16,
    /// Pieces lent, and of those the ones that are back, modulo 2^32.
    tail: u32,
    head: u32,
    /// The first descriptor that was not finished when last looked at, and where in the stream it begins.
    oldest: u32,
    oldest_start: u64,
}

impl Loans {
    /// None, for a stream at `position` whose next descriptor is `tail`.
    pub(super) fn none(position: u64, tail: u32) -> Self {
        Self { list: NO_BLOCK, tail: 0, head: 0, oldest: tail, oldest_start: position }
    }

    pub(super) fn is_none(&self) -> bool {
        self.list == NO_BLOCK
    }

    /// How many more pieces the list has room for.
    fn room(&mut self, lane: &mut Lane) -> u32 {
        if self.is_none() {
            let Some(block) = lane.take_blocks(1) else { return 0 };
            self.list = super::short(block);
        }
        LIST_LEN.saturating_sub(self.tail.wrapping_sub(self.head))
    }

    /// Notes a piece that begins at `position`.
    #[inline]
    fn push(&mut self, lane: &Lane, place: Place, position: u64) {
        let [which, extent] = lane.read.longs(layout::list_entry(u32::from(self.list), self.tail));
        which.store(pair(place.buffer, place.offset), Ordering::Relaxed);
        extent.store(pair(place.len, low(position)), Ordering::Relaxed);
        self.tail = self.tail.wrapping_add(1);
    }

    /// Gives back what the client has passed: it has read everything before `position`.
    fn give_back(&mut self, lane: &mut Lane, position: u64) {
        while self.head != self.tail {
            let [which, extent] =
                lane.read.longs(layout::list_entry(u32::from(self.list), self.head));
            let (len, start) = halves(extent.load(Ordering::Relaxed));
            // Both are within one window of each other.
            if low(position).wrapping_sub(start.wrapping_add(len)) > u32::MAX / 2 {
                break;
            }
            let (buffer, _) = halves(which.load(Ordering::Relaxed));
            lane.give_loan(buffer);
            self.head = self.head.wrapping_add(1);
        }
    }

    /// Passes descriptors that the client is done with. The last one it may still look at.
    fn pass(&mut self, lane: &Lane, cell: u32, tail: u32, position: u64) {
        while tail.wrapping_sub(self.oldest) > 1 {
            let at = layout::rx_descriptor(cell, self.oldest).wrapping_add(8);
            let len = lane.read.u32(at).load(Ordering::Relaxed);
            let end = self.oldest_start.saturating_add(len.into());
            if end > position {
                break;
            }
            self.oldest_start = end;
            self.oldest = self.oldest.wrapping_add(1);
        }
    }

    /// Nothing is lent any more, and nothing else waits: the list goes, too.
    pub(super) fn end(&mut self, lane: &mut Lane) {
        if self.list != NO_BLOCK && self.head == self.tail {
            lane.give_blocks(u32::from(self.list), 1);
            self.list = NO_BLOCK;
        }
    }

    /// Everything goes back: nobody reads the stream any more.
    pub(super) fn release(&mut self, lane: &mut Lane) {
        while self.head != self.tail {
            let at = layout::list_entry(u32::from(self.list), self.head);
            let (buffer, _) = halves(lane.read.u64(at).load(Ordering::Relaxed));
            lane.give_loan(buffer);
            self.head = self.head.wrapping_add(1);
        }
        self.end(lane);
    }
}

impl StreamProducer {
    /// Text `offset` bytes beyond what has been published, all of which must have been stored, is shown where it
    /// lies: piece by piece, as many of them as may be. Returns how many those are; the others must be copied, since
    /// the share has ended, or since they would leave too few descriptors for what may still come. A buffer is
    /// the client's until [`Lane::returned`] has its number.
    #[must_use]
    pub fn lend(&mut self, lane: &mut Lane, offset: u32, places: &[Place]) -> usize {
        let mut at = self.published.saturating_add(u64::from(offset));
        let cell = self.cell();
        self.hold_blocks(lane);
        let capacity_end = self.capacity_end();
        let Self { published, tail, blocks: Some(blocks), borrows, .. } = self else { return 0 };
        if at != blocks.ahead.max(*published) || !*borrows || !lane.is_live(cell) {
            return 0;
        }
        describe_copies(cell.index, tail, blocks, at, lane);
        let wanted = u32::try_from(places.len()).unwrap_or(u32::MAX);
        let loans = lane.take_loans(wanted);
        let most = if loans > 0 { blocks.loans.room(lane).min(loans) } else { 0 };
        let mut taken = 0_u32;
        for place in places.iter().take(most as usize) {
            let end = at.saturating_add(u64::from(place.len));
            if end > capacity_end
                || !blocks.has_run(cell.index, tail, place.len, capacity_end, lane)
            {
                break;
            }
            blocks.loans.push(lane, *place, at);
            (at, taken) = (end, taken.saturating_add(1));
        }
        lane.leave_loans(loans.saturating_sub(taken));
        if let Open::Run { len } = blocks.open {
            let last = layout::rx_descriptor(cell.index, tail.wrapping_sub(1));
            lane.read.u32(last.wrapping_add(8)).store(len, Ordering::Release);
        }
        blocks.described = at;
        blocks.ahead = blocks.ahead.max(at);
        taken as usize
    }

    /// The client has read up to `position`.
    #[inline(never)]
    pub(super) fn take_back(&mut self, lane: &mut Lane, position: u64) {
        let cell = self.cell().index;
        if let Some(blocks) = &mut self.blocks {
            blocks.loans.give_back(lane, position);
            blocks.loans.pass(lane, cell, self.tail, position);
        }
    }
}

impl Blocks {
    /// The last descriptor stands for a run of packets that has room for one more of this length, or a new one does.
    /// `false`: it would leave too few.
    #[inline]
    fn has_run(
        &mut self,
        cell: u32,
        tail: &mut u32,
        len: u32,
        capacity_end: u64,
        lane: &Lane,
    ) -> bool {
        match &mut self.open {
            Open::Run { len: all } if all.saturating_add(len) <= RUN_MAX => {
                *all = all.saturating_add(len);
                true
            }
            _ => self.begin_run(cell, tail, len, capacity_end, lane),
        }
    }

    fn begin_run(
        &mut self,
        cell: u32,
        tail: &mut u32,
        len: u32,
        capacity_end: u64,
        lane: &Lane,
    ) -> bool {
        let used = tail.wrapping_sub(self.loans.oldest);
        if !leaves_enough(used, capacity_end.saturating_sub(self.described)) {
            return false;
        }
        if let Open::Run { len } = self.open {
            let full = layout::rx_descriptor(cell, tail.wrapping_sub(1));
            lane.read.u32(full.wrapping_add(8)).store(len, Ordering::Release);
        }
        let at = layout::rx_descriptor(cell, *tail);
        let (list, first) = (u32::from(self.loans.list), self.loans.tail % LIST_LEN);
        lane.read.u32(at).store(list, Ordering::Relaxed);
        lane.read.u32(at.wrapping_add(4)).store(first, Ordering::Relaxed);
        lane.read.u32(at.wrapping_add(12)).store(LENT, Ordering::Relaxed);
        *tail = tail.wrapping_add(1);
        self.open = Open::Run { len };
        true
    }
}

/// Describes what was copied and is not described yet, up to `end`.
#[inline]
pub(super) fn describe_copies(
    cell: u32,
    tail: &mut u32,
    blocks: &mut Blocks,
    end: u64,
    lane: &Lane,
) {
    while blocks.described < end {
        let Some(block) = blocks.number(blocks.described) else { break };
        let room = BLOCK.saturating_sub(u64::from(in_block(blocks.described)));
        let chunk = room.min(end.saturating_sub(blocks.described));
        describe(cell, tail, blocks, (block, chunk), lane);
        blocks.described = blocks.described.saturating_add(chunk);
        if blocks.described.is_multiple_of(BLOCK) {
            blocks.open = Open::None;
        }
    }
}

/// May a run begin when `used` descriptors may still be looked at? What the window has room for may come in copies,
/// a descriptor for each block and one for each part of a block at both ends. When the client reads, the window grows by
/// whole blocks, and as no descriptor stands for more than a block, each of them has one back; but for the first, as it
/// may have begun in the middle of a block.
fn leaves_enough(used: u32, window: u64) -> bool {
    let copies = window.div_ceil(BLOCK).saturating_add(3);
    u64::from(used).saturating_add(copies) < u64::from(QUEUE_BLOCKS)
}
