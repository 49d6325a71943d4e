//! The daemon's end of a stream socket's receive queue.

use core::sync::atomic::{Ordering, fence};

use super::consumed;
use super::lane::{CellId, Lane};
use super::misbehaved::PeerMisbehaved;
use crate::layout::{self, BLOCK_LEN, QUEUE_BLOCKS, QUEUE_LEN, read_cell};

const NO_BLOCK: u16 = u16::MAX;
const BLOCK: u64 = BLOCK_LEN as u64;
const QUEUE: u64 = QUEUE_LEN as u64;

/// Bytes of one connection on their way to the client.
///
/// ```text
///        consumed        published              ahead
///  -----------+---------------+----------------------+----------------
///   freed     | unread        | written out of order | window
///  block k holds the stream bytes k * 16384 .. (k + 1) * 16384
/// ```
/// When all has been read and nothing waits out of order, the last block is given back too, so that
/// an idle connection holds none; the next bytes then begin a new descriptor in the middle of a block.
#[derive(Debug)]
pub struct StreamProducer {
    cell: CellId,
    limit: u32,
    consumed: u64,
    published: u64,
    /// End of the furthest byte written.
    ahead: u64,
    /// Blocks are allocated up to here; `published` if none is.
    allocated: u64,
    blocks: [u16; QUEUE_LEN as usize],
    /// Descriptors published, modulo 2^32.
    tail: u32,
    /// Offset and length of the last descriptor, if it can grow.
    open: Option<(u32, u32)>,
    /// Free blocks of the lane when last seen.
    lane_blocks: u32,
    /// Consumed since `refresh` last said so.
    unreported: u32,
    notice: u64,
}

impl StreamProducer {
    /// For a cell just allocated, and a limit of unread bytes (`SO_RCVBUF`).
    #[must_use]
    pub fn new(cell: CellId, limit: u32) -> Self {
        Self {
            cell,
            limit,
            consumed: 0,
            published: 0,
            ahead: 0,
            allocated: 0,
            blocks: [NO_BLOCK; QUEUE_LEN as usize],
            tail: 0,
            open: None,
            lane_blocks: layout::RX_BLOCKS,
            unreported: 0,
            notice: u64::MAX,
        }
    }

    /// Bytes that may follow what has been published. What was promised can still be refused by
    /// [`StreamProducer::write`] if the client's other sockets have used up the lane's blocks.
    #[must_use]
    pub fn window(&self) -> u32 {
        let by_limit = u64::from(self.limit.saturating_sub(self.unread()));
        let by_queue = self.capacity_end().saturating_sub(self.published);
        // Half of what the lane has left: the other half is for its other sockets.
        let left = u64::from(self.lane_blocks.div_ceil(2)).saturating_mul(BLOCK);
        let by_lane = if self.allocated > self.published {
            self.allocated.saturating_sub(self.published).saturating_add(left)
        } else {
            left.saturating_sub(self.published % BLOCK)
        };
        u32::try_from(by_limit.min(by_queue).min(by_lane)).unwrap_or(u32::MAX)
    }

    /// Bytes published and not yet read by the client.
    #[must_use]
    pub fn unread(&self) -> u32 {
        u32::try_from(self.published.saturating_sub(self.consumed)).unwrap_or(u32::MAX)
    }

    /// Bytes published since the socket was made.
    #[must_use]
    pub fn published(&self) -> u64 {
        self.published
    }

    /// Changes the limit of unread bytes. Bytes already promised are still taken.
    pub fn set_limit(&mut self, limit: u32) {
        self.limit = limit;
    }

    /// Stores text `offset` bytes beyond what has been published, without showing it to the client.
    /// Returns how many bytes were taken: fewer if the queue or the lane's blocks are exhausted.
    #[must_use]
    pub fn write(&mut self, lane: &mut Lane, offset: u32, text: &[u8]) -> u32 {
        let start = self.published.saturating_add(u64::from(offset));
        let wanted = start.saturating_add(text.len() as u64).min(self.capacity_end());
        self.allocate(lane, wanted);
        let mut position = start;
        let mut rest = text;
        let end = wanted.min(self.allocated);
        while position < end {
            let room = BLOCK.saturating_sub(position % BLOCK).min(end.saturating_sub(position));
            let Some((now, later)) = rest.split_at_checked(usize::try_from(room).unwrap_or(0))
            else {
                break;
            };
            let Some(block) = self.block(position) else { break };
            let at = layout::rx_block(block).wrapping_add(in_block(position) as usize);
            if now.is_empty() || !lane.slot.read.copy_in(at, now) {
                break;
            }
            position = position.saturating_add(room);
            rest = later;
        }
        self.ahead = self.ahead.max(position);
        u32::try_from(position.saturating_sub(start)).unwrap_or(0)
    }

    /// The byte `offset` bytes beyond what has been published is urgent: tells the client where in
    /// the stream that is. The byte may come later.
    pub fn mark_urgent(&self, lane: &Lane, offset: u32) {
        let place = self.published.saturating_add(u64::from(offset));
        if lane.is_live(self.cell) {
            let word = lane.long(self.cell, read_cell::RX_URGENT);
            word.store(place.saturating_add(1), Ordering::Release);
        }
    }

    /// Shows the next `len` bytes to the client; they must have been written. Ask
    /// [`Lane::in_armed`] afterwards, and [`StreamProducer::refresh`] before the next
    /// [`StreamProducer::window`].
    pub fn advance(&mut self, lane: &mut Lane, len: u32) {
        debug_assert!(u64::from(len) <= self.ahead.saturating_sub(self.published), "not written");
        let end = self.published.saturating_add(u64::from(len)).min(self.ahead);
        if end <= self.published || !lane.is_live(self.cell) {
            return;
        }
        while self.published < end {
            let Some(block) = self.block(self.published) else { break };
            let room = BLOCK.saturating_sub(self.published % BLOCK);
            let chunk = room.min(end.saturating_sub(self.published));
            self.describe(lane, block, u32::try_from(chunk).unwrap_or(0));
            self.published = self.published.saturating_add(chunk);
            if self.published.is_multiple_of(BLOCK) {
                self.open = None;
            }
        }
        lane.word(self.cell, read_cell::RX_TAIL).store(self.tail, Ordering::Release);
        lane.long(self.cell, read_cell::RX_LEN).store(self.published, Ordering::Release);
        // A bad word stays bad: the next `refresh` reports it.
        let _ = self.consume(lane);
    }

    /// Looks how far the client has read and gives back what it is done with. Returns the bytes
    /// consumed since the last call.
    ///
    /// # Errors
    /// [`PeerMisbehaved`] if that is more than there was.
    pub fn refresh(&mut self, lane: &mut Lane) -> Result<u32, PeerMisbehaved> {
        self.consume(lane)?;
        Ok(core::mem::take(&mut self.unreported))
    }

    /// Gives all blocks back; the cell can then be freed.
    pub fn release(mut self, lane: &mut Lane) {
        for block in &mut self.blocks {
            if *block != NO_BLOCK {
                lane.give_blocks(u32::from(*block), 1);
                *block = NO_BLOCK;
            }
        }
    }

    /// Positions from here on would overwrite a block or descriptor the client may look at.
    fn capacity_end(&self) -> u64 {
        let first = self.consumed.wrapping_div(BLOCK);
        first.saturating_add(u64::from(QUEUE_BLOCKS)).saturating_mul(BLOCK)
    }

    fn allocate(&mut self, lane: &mut Lane, end: u64) {
        self.allocated = self.allocated.max(self.published);
        while self.allocated < end {
            let Some(block) = lane.take_blocks(1) else { break };
            let slot = slot_of(self.allocated);
            let Some(entry) = self.blocks.get_mut(slot) else { break };
            debug_assert_eq!(*entry, NO_BLOCK, "block slot in use");
            *entry = u16::try_from(block).unwrap_or(NO_BLOCK);
            let next = self.allocated.wrapping_div(BLOCK).saturating_add(1);
            self.allocated = next.saturating_mul(BLOCK);
        }
        self.lane_blocks = lane.free_blocks();
    }

    fn block(&self, position: u64) -> Option<u32> {
        let block = *self.blocks.get(slot_of(position))?;
        (block != NO_BLOCK).then_some(u32::from(block))
    }

    /// Grows the last descriptor by `len` bytes, or begins a new one.
    fn describe(&mut self, lane: &Lane, block: u32, len: u32) {
        let (index, offset, total) = match self.open {
            Some((offset, old)) => (self.tail.wrapping_sub(1), offset, old.saturating_add(len)),
            None => {
                let index = self.tail;
                self.tail = self.tail.wrapping_add(1);
                (index, in_block(self.published), len)
            }
        };
        let at = layout::rx_descriptor(self.cell.index, index);
        if self.open.is_none() {
            lane.slot.read.u32(at).store(block, Ordering::Relaxed);
            lane.slot.read.u32(at.wrapping_add(4)).store(offset, Ordering::Relaxed);
            lane.slot.read.u32(at.wrapping_add(12)).store(0, Ordering::Relaxed);
        }
        lane.slot.read.u32(at.wrapping_add(8)).store(total, Ordering::Release);
        self.open = Some((offset, total));
    }

    fn consume(&mut self, lane: &mut Lane) -> Result<(), PeerMisbehaved> {
        self.look(lane)?;
        if self.update_notice(lane) {
            // The client may have passed the point before it was told to mention it.
            self.look(lane)?;
        }
        Ok(())
    }

    fn look(&mut self, lane: &mut Lane) -> Result<(), PeerMisbehaved> {
        let newly = consumed::newly(lane, self.cell, self.consumed, self.unread())?;
        let old = self.consumed;
        self.consumed = old.saturating_add(u64::from(newly));
        self.unreported = self.unreported.saturating_add(newly);
        let mut block = old.wrapping_div(BLOCK);
        while block < self.consumed.wrapping_div(BLOCK) {
            self.free_block(lane, block.saturating_mul(BLOCK));
            block = block.saturating_add(1);
        }
        if newly > 0 && self.consumed == self.published && self.ahead <= self.published {
            while self.allocated > self.published {
                let last = self.allocated.saturating_sub(1);
                self.free_block(lane, last);
                self.allocated = last.wrapping_div(BLOCK).saturating_mul(BLOCK);
            }
            self.allocated = self.published;
            self.open = None;
        }
        self.lane_blocks = lane.free_blocks();
        Ok(())
    }

    fn free_block(&mut self, lane: &mut Lane, position: u64) {
        let Some(entry) = self.blocks.get_mut(slot_of(position)) else { return };
        if *entry != NO_BLOCK {
            lane.give_blocks(u32::from(*entry), 1);
            *entry = NO_BLOCK;
        }
    }

    /// While the window is small, the client is to say when it has read half of what waits: nothing
    /// else would tell the worker to open the window again. True if the point was moved.
    fn update_notice(&mut self, lane: &Lane) -> bool {
        let unread = self.unread();
        let small = self.window() < self.limit / 2;
        let notice = if small && unread > 0 {
            self.consumed.saturating_add(u64::from(unread.div_ceil(2)))
        } else {
            u64::MAX
        };
        if notice == self.notice || !lane.is_live(self.cell) {
            return false;
        }
        self.notice = notice;
        lane.long(self.cell, read_cell::RX_NOTICE).store(notice, Ordering::Release);
        fence(Ordering::SeqCst);
        true
    }
}

fn slot_of(position: u64) -> usize {
    usize::try_from(position.wrapping_div(BLOCK).wrapping_rem(QUEUE)).unwrap_or(0)
}

fn in_block(position: u64) -> u32 {
    u32::try_from(position % BLOCK).unwrap_or(0)
}
