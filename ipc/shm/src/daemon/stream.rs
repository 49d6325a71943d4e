//! The daemon's end of a stream socket's receive queue.

use core::sync::atomic::Ordering;

use super::consumed;
use super::lane::{CellId, Lane};
use super::misbehaved::PeerMisbehaved;
use crate::layout::{self, BLOCK_LEN, QUEUE_BLOCKS, QUEUE_LEN, RUNS, read_cell};
use crate::sync::{AtomicU32, fence};

mod lending;

use lending::{Loans, describe_copies};

const NO_BLOCK: u16 = u16::MAX;
const BLOCK: u64 = BLOCK_LEN as u64;
const QUEUE: u64 = QUEUE_LEN as u64;
/// Blocks that a queue has descriptors for, if packets may stand in it besides.
const QUEUE_BLOCKS_LENDING: u32 = QUEUE_BLOCKS - RUNS;

/// Bytes of one connection on their way to the client.
///
/// ```text
///        consumed        published              ahead
///  -----------+-------┊-------+----------------------+----------------
///   freed     | shown ┊ unread| written out of order | window
///  block k holds the stream bytes k * 16384 .. (k + 1) * 16384
/// ```
/// When all has been read and nothing waits out of order, the last block is given back too, so that
/// an idle connection holds none; the next bytes then begin a new descriptor in the middle of a block.
/// What is known of blocks goes with them, so that an idle connection is 40 bytes.
#[derive(Debug)]
pub struct StreamProducer {
    /// The cell's index and generation.
    cell: (u16, u16),
    limit: u32,
    /// Descriptors shown, modulo 2^32.
    tail: u32,
    published: u64,
    /// Published and not consumed.
    unread: u32,
    /// Free blocks of the lane when last seen.
    lane_blocks: u16,
    /// Consumed since `refresh` last said so.
    unreported: u32,
    /// Packets may be lent to the client.
    borrows: bool,
    blocks: Option<Box<Blocks>>,
}

const _: () = assert!(layout::CELLS <= u16::MAX as u32);
const _: () = assert!(layout::RX_BLOCKS <= u16::MAX as u32);
const _: () = assert!(size_of::<StreamProducer>() <= 40, "every idle connection pays for this");

/// What there is to know of a stream while none of its bytes wait: see [`StreamProducer::rest`].
#[derive(Clone, Copy, Debug)]
pub struct Resting {
    published: u64,
    tail: u32,
    lane_blocks: u16,
    borrows: bool,
}

impl Resting {
    /// A word of the descriptor that is shown next: what to fetch before it is.
    #[must_use]
    pub fn next_shown<'a>(&self, cell: CellId, lane: &'a Lane) -> &'a AtomicU32 {
        lane.read.u32(layout::rx_descriptor(cell.index, self.tail))
    }

    /// A word of where the next byte goes, and the record of the block it is in, unless others need
    /// them before: what to fetch before it comes.
    #[must_use]
    pub fn next_written<'a>(&self, lane: &'a Lane) -> Option<(&'a AtomicU32, &'a impl Sized)> {
        let (block, blocks) = lane.next_block()?;
        let word = layout::rx_block(block).wrapping_add(in_block(self.published) as usize & !3);
        Some((lane.read.u32(word), blocks))
    }
}

/// What a connection holds while bytes wait.
#[derive(Debug)]
pub(super) struct Blocks {
    /// The client has been shown everything before.
    shown: u64,
    /// There are descriptors for everything before.
    described: u64,
    /// End of the furthest byte written.
    ahead: u64,
    /// Blocks are allocated up to here; the same as published if none is.
    allocated: u64,
    /// Where the client is to say that it has read.
    notice: u64,
    /// The last descriptor, if it can grow.
    open: Open,
    loans: Loans,
    numbers: [u16; QUEUE_LEN as usize],
}

/// A descriptor that can grow.
#[derive(Clone, Copy, Debug)]
enum Open {
    None,
    /// For bytes of a block.
    Copy {
        offset: u32,
        len: u32,
    },
    /// For packets.
    Run {
        len: u32,
    },
}

/// Where in a stream the next byte goes.
struct Cursor {
    position: u64,
    end: u64,
    /// What is left of the block at hand, and where in memory that is.
    room: usize,
    at: usize,
}

impl Blocks {
    /// None.
    pub(super) fn none() -> Self {
        Self {
            shown: 0,
            described: 0,
            ahead: 0,
            allocated: 0,
            notice: u64::MAX,
            open: Open::None,
            loans: Loans::none(0, 0),
            numbers: [NO_BLOCK; QUEUE_LEN as usize],
        }
    }

    /// They are those of a stream at `position` now, whose next descriptor is `tail`. There are none.
    #[inline]
    fn begin(&mut self, position: u64, tail: u32) {
        debug_assert!(self.numbers.iter().all(|number| *number == NO_BLOCK), "a block is left");
        self.shown = position;
        self.described = position;
        self.ahead = position;
        self.allocated = position;
        self.notice = u64::MAX;
        self.open = Open::None;
        self.loans = Loans::none(position, tail);
    }

    /// Nothing is held or waits, and the client was told so.
    fn is_idle(&self, position: u64) -> bool {
        let nothing = self.ahead <= position && self.allocated <= position;
        nothing && self.loans.is_none() && self.shown == position && self.notice == u64::MAX
    }

    fn number(&self, position: u64) -> Option<u32> {
        let block = *self.numbers.get(slot_of(position))?;
        (block != NO_BLOCK).then_some(u32::from(block))
    }

    fn allocate(&mut self, lane: &mut Lane, published: u64, end: u64) {
        self.allocated = self.allocated.max(published);
        while self.allocated < end {
            let Some(block) = lane.take_blocks(1) else { break };
            let slot = slot_of(self.allocated);
            let Some(entry) = self.numbers.get_mut(slot) else { break };
            debug_assert_eq!(*entry, NO_BLOCK, "block slot in use");
            *entry = u16::try_from(block).unwrap_or(NO_BLOCK);
            let next = self.allocated.wrapping_div(BLOCK).saturating_add(1);
            self.allocated = next.saturating_mul(BLOCK);
        }
    }

    /// Copies `text` to where it begins in the stream, if it ends within the same block, which is here already.
    #[inline]
    fn put_within(&mut self, lane: &Lane, start: u64, text: &[u8]) -> Option<u32> {
        let len = u32::try_from(text.len()).ok()?;
        let end = start.saturating_add(len.into());
        let first = in_block(start);
        if end > self.allocated || first.saturating_add(len) > BLOCK_LEN {
            return None;
        }
        let at = layout::rx_block(self.number(start)?).wrapping_add(first as usize);
        if !lane.read.copy_in(at, text) {
            return None;
        }
        self.ahead = self.ahead.max(end);
        Some(len)
    }

    /// Copies `text` to where the cursor is; `false` if it does not fit whole.
    fn put(&self, lane: &Lane, cursor: &mut Cursor, text: &[u8]) -> bool {
        let mut rest = text;
        while !rest.is_empty() {
            if cursor.room == 0 && !self.enter(cursor) {
                return false;
            }
            let (now, later) = rest.split_at_checked(cursor.room).unwrap_or((rest, &[]));
            if !lane.read.copy_in(cursor.at, now) {
                return false;
            }
            // No more than there was room for, and before the cursor's end.
            cursor.position = cursor.position.wrapping_add(now.len() as u64);
            cursor.room = cursor.room.wrapping_sub(now.len());
            cursor.at = cursor.at.wrapping_add(now.len());
            rest = later;
        }
        true
    }

    /// The cursor comes into a block; `false` if there is none, or if it is at its end.
    fn enter(&self, cursor: &mut Cursor) -> bool {
        let room = BLOCK.saturating_sub(cursor.position % BLOCK);
        let room = room.min(cursor.end.saturating_sub(cursor.position));
        let Some(block) = self.number(cursor.position) else { return false };
        cursor.room = usize::try_from(room).unwrap_or(0);
        cursor.at = layout::rx_block(block).wrapping_add(in_block(cursor.position) as usize);
        cursor.room > 0
    }

    /// The client has read from one position up to another.
    #[inline]
    fn pass(&mut self, lane: &mut Lane, from: u64, to: u64) {
        let mut block = from.wrapping_div(BLOCK);
        while block < to.wrapping_div(BLOCK) {
            self.free(lane, block.saturating_mul(BLOCK));
            block = block.saturating_add(1);
        }
    }

    /// All up to `position` is read, and nothing waits beyond: what is allocated from there on goes back.
    #[inline]
    fn end(&mut self, lane: &mut Lane, position: u64) {
        while self.allocated > position {
            let last = self.allocated.saturating_sub(1);
            self.free(lane, last);
            self.allocated = last.wrapping_div(BLOCK).saturating_mul(BLOCK);
        }
        self.allocated = position;
        self.open = Open::None;
        self.loans.end(lane);
    }

    fn free(&mut self, lane: &mut Lane, position: u64) {
        let Some(entry) = self.numbers.get_mut(slot_of(position)) else { return };
        if *entry != NO_BLOCK {
            lane.give_blocks(u32::from(*entry), 1);
            *entry = NO_BLOCK;
        }
    }
}

/// Blocks and cells: a client has fewer than 2^16 of either.
fn short(count: u32) -> u16 {
    u16::try_from(count).unwrap_or(u16::MAX)
}

impl StreamProducer {
    /// For a cell just allocated, and a limit of unread bytes (`SO_RCVBUF`).
    #[must_use]
    pub fn new(cell: CellId, limit: u32) -> Self {
        Self {
            cell: (short(cell.index), cell.generation),
            limit,
            tail: 0,
            published: 0,
            unread: 0,
            lane_blocks: short(layout::RX_BLOCKS),
            unreported: 0,
            borrows: false,
            blocks: None,
        }
    }

    /// Packets are lent to the client if it may borrow. To be said before anything is promised: such a stream has room
    /// for less text, as its queue has descriptors to spare.
    #[must_use]
    pub fn lending(self, lane: &Lane) -> Self {
        Self { borrows: lane.borrows(), ..self }
    }

    /// The client has been asked to say when it has read so much; the worker opens the window then.
    #[must_use]
    pub fn awaits_notice(&self) -> bool {
        self.blocks.as_ref().is_some_and(|blocks| blocks.notice != u64::MAX)
    }

    /// All there is to know, if the client has read everything and no block is held. For
    /// [`StreamProducer::resume`] with the same cell and limit.
    #[must_use]
    pub fn rest(&self) -> Option<Resting> {
        let Self { published, tail, lane_blocks, borrows, unread, ref blocks, .. } = *self;
        let resting = Resting { published, tail, lane_blocks, borrows };
        (unread == 0 && blocks.is_none()).then_some(resting)
    }

    /// The stream goes on where it was.
    #[must_use]
    pub fn resume(cell: CellId, limit: u32, resting: Resting) -> Self {
        let Resting { published, tail, lane_blocks, borrows } = resting;
        Self { tail, published, lane_blocks, borrows, ..Self::new(cell, limit) }
    }

    /// Bytes that may follow what has been published. What was promised can still be refused by
    /// [`StreamProducer::write`] if the client's other sockets have used up the lane's blocks.
    #[must_use]
    pub fn window(&self) -> u32 {
        let by_limit = u64::from(self.limit.saturating_sub(self.unread()));
        let by_queue = self.capacity_end().saturating_sub(self.published);
        // Half of what the lane has left: the other half is for its other sockets.
        let left = u64::from(self.lane_blocks.div_ceil(2)).saturating_mul(BLOCK);
        let allocated = self.blocks.as_ref().map_or(self.published, |blocks| blocks.allocated);
        let by_lane = if allocated > self.published {
            allocated.saturating_sub(self.published).saturating_add(left)
        } else {
            left.saturating_sub(self.published % BLOCK)
        };
        u32::try_from(by_limit.min(by_queue).min(by_lane)).unwrap_or(u32::MAX)
    }

    /// Bytes published, shown or not, and not yet read by the client.
    #[must_use]
    pub fn unread(&self) -> u32 {
        self.unread
    }

    fn cell(&self) -> CellId {
        let (index, generation) = self.cell;
        CellId { index: index.into(), generation }
    }

    fn consumed(&self) -> u64 {
        self.published.saturating_sub(self.unread.into())
    }

    /// Has the client read all that was published, as it says at this moment? To be asked after
    /// [`Lane::in_armed`]: what it read under its last token needs no new one, which would stay in the
    /// descriptor with nothing behind it.
    #[must_use]
    pub fn is_read(&self, lane: &Lane) -> bool {
        consumed::is_all(lane, self.cell(), self.published)
    }

    /// A word of the descriptor that is shown next: what to fetch before it is.
    #[must_use]
    pub fn next_shown<'a>(&self, lane: &'a Lane) -> &'a AtomicU32 {
        lane.read.u32(layout::rx_descriptor(self.cell().index, self.tail))
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
        self.write_all(lane, offset, &[text])
    }

    /// The same for texts each of which begins where the one before ends.
    #[must_use]
    pub fn write_all(&mut self, lane: &mut Lane, offset: u32, texts: &[&[u8]]) -> u32 {
        let start = self.published.saturating_add(u64::from(offset));
        if let ([text], Some(blocks)) = (texts, &mut self.blocks)
            && let Some(len) = blocks.put_within(lane, start, text)
        {
            return len;
        }
        // Lengths of slices that are in memory at once: their sum fits.
        let len = texts.iter().fold(0_u64, |sum, text| sum.wrapping_add(text.len() as u64));
        let wanted = start.saturating_add(len).min(self.capacity_end());
        self.hold_blocks(lane);
        let Some(blocks) = &mut self.blocks else { return 0 };
        if blocks.allocated < wanted {
            // What was lent needs no block.
            blocks.allocate(lane, self.published.max(blocks.described), wanted);
            self.lane_blocks = short(lane.free_blocks());
        }
        let end = wanted.min(blocks.allocated);
        let mut cursor = Cursor { position: start, end, room: 0, at: 0 };
        for text in texts {
            if !blocks.put(lane, &mut cursor, text) {
                break;
            }
        }
        blocks.ahead = blocks.ahead.max(cursor.position);
        u32::try_from(cursor.position.saturating_sub(start)).unwrap_or(0)
    }

    /// From now on there is something to know of blocks.
    #[inline]
    fn hold_blocks(&mut self, lane: &mut Lane) {
        if self.blocks.is_none() {
            let mut blocks = lane.spare();
            blocks.begin(self.published, self.tail);
            self.blocks = Some(blocks);
        }
    }

    /// The byte `offset` bytes beyond what has been published is urgent: tells the client where in
    /// the stream that is. The byte may come later.
    pub fn mark_urgent(&self, lane: &Lane, offset: u32) {
        let place = self.published.saturating_add(u64::from(offset));
        if lane.is_live(self.cell()) {
            let word = lane.long(self.cell(), read_cell::RX_URGENT);
            word.store(place.saturating_add(1), Ordering::Release);
        }
    }

    /// The next `len` bytes are complete; they must have been written. The client is shown them by
    /// [`StreamProducer::show`].
    #[inline]
    pub fn publish(&mut self, len: u32) {
        let Some(blocks) = &self.blocks else { return };
        debug_assert!(u64::from(len) <= blocks.ahead.saturating_sub(self.published), "not written");
        let end = self.published.saturating_add(u64::from(len)).min(blocks.ahead);
        let newly = end.saturating_sub(self.published);
        self.published = self.published.saturating_add(newly);
        let newly = u32::try_from(newly).unwrap_or(u32::MAX);
        self.unread = self.unread.saturating_add(newly);
    }

    /// Shows the client what has been published since the last call, once for many segments, and looks
    /// how far it has read. Ask [`Lane::in_armed`] afterwards.
    ///
    /// # Errors
    /// [`PeerMisbehaved`] if it says that it has read more than there was.
    pub fn show(&mut self, lane: &mut Lane) -> Result<(), PeerMisbehaved> {
        self.describe_published(lane);
        if self.unread == 0 {
            return Ok(());
        }
        self.consume(lane)
    }

    fn describe_published(&mut self, lane: &Lane) {
        let cell = self.cell();
        let Some(blocks) = &mut self.blocks else { return };
        if blocks.shown >= self.published || !lane.is_live(cell) {
            return;
        }
        describe_copies(cell.index, &mut self.tail, blocks, self.published, lane);
        blocks.shown = blocks.described.min(self.published);
        lane.word(cell, read_cell::RX_TAIL).store(self.tail, Ordering::Release);
        lane.long(cell, read_cell::RX_LEN).store(blocks.shown, Ordering::Release);
    }

    /// Publishes and shows.
    pub fn advance(&mut self, lane: &mut Lane, len: u32) {
        self.publish(len);
        // A bad word stays bad: the next `refresh` reports it.
        let _ = self.show(lane);
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
        let Some(mut blocks) = self.blocks.take() else { return };
        blocks.loans.release(lane);
        for number in &mut blocks.numbers {
            if *number != NO_BLOCK {
                lane.give_blocks(u32::from(*number), 1);
                *number = NO_BLOCK;
            }
        }
        lane.keep(blocks);
    }

    /// Positions from here on would overwrite a block or descriptor the client may look at.
    fn capacity_end(&self) -> u64 {
        let first = self.consumed().wrapping_div(BLOCK);
        let count = if self.borrows { QUEUE_BLOCKS_LENDING } else { QUEUE_BLOCKS };
        first.saturating_add(count.into()).saturating_mul(BLOCK)
    }

    fn consume(&mut self, lane: &mut Lane) -> Result<(), PeerMisbehaved> {
        self.look(lane)?;
        if self.update_notice(lane) {
            // The client may have passed the point before it was told to mention it.
            self.look(lane)?;
        }
        let position = self.published;
        if self.unread == 0
            && let Some(blocks) = self.blocks.take_if(|blocks| blocks.is_idle(position))
        {
            lane.keep(blocks);
        }
        Ok(())
    }

    fn look(&mut self, lane: &mut Lane) -> Result<(), PeerMisbehaved> {
        let shown = self.blocks.as_ref().map_or(self.published, |blocks| blocks.shown);
        let old = self.consumed();
        let unread = u32::try_from(shown.saturating_sub(old)).unwrap_or(u32::MAX);
        let newly = consumed::newly(lane, self.cell(), old, unread)?;
        if self.borrows {
            self.take_back(lane, old.saturating_add(newly.into()));
        }
        if let Some(blocks) = self.blocks.as_mut().filter(|_| newly > 0) {
            self.unread = self.unread.saturating_sub(newly);
            self.unreported = self.unreported.saturating_add(newly);
            blocks.pass(lane, old, old.saturating_add(newly.into()));
            if self.unread == 0 && blocks.ahead <= self.published {
                blocks.end(lane, self.published);
            }
        }
        self.lane_blocks = short(lane.free_blocks());
        Ok(())
    }

    /// While the window is small, the client is to say when it has read half of what waits: nothing
    /// else would tell the worker to open the window again. True if the point was moved.
    fn update_notice(&mut self, lane: &Lane) -> bool {
        let (unread, consumed) = (self.unread, self.consumed());
        let small = self.window() < self.limit / 2;
        let cell = self.cell();
        let Some(blocks) = &mut self.blocks else { return false };
        let notice = if small && unread > 0 {
            consumed.saturating_add(u64::from(unread.div_ceil(2)))
        } else {
            u64::MAX
        };
        if notice == blocks.notice || !lane.is_live(cell) {
            return false;
        }
        blocks.notice = notice;
        lane.long(cell, read_cell::RX_NOTICE).store(notice, Ordering::Release);
        fence(Ordering::SeqCst);
        true
    }
}

/// Grows the last descriptor by a chunk of a block, or begins a new one.
fn describe(
    cell: u32,
    tail: &mut u32,
    blocks: &mut Blocks,
    (block, chunk): (u32, u64),
    lane: &Lane,
) {
    let chunk = u32::try_from(chunk).unwrap_or(0);
    let (index, offset, len) = match blocks.open {
        Open::Copy { offset, len } => (tail.wrapping_sub(1), offset, len.saturating_add(chunk)),
        Open::None | Open::Run { .. } => {
            let index = *tail;
            *tail = tail.wrapping_add(1);
            let (at, offset) = (layout::rx_descriptor(cell, index), in_block(blocks.described));
            lane.read.u32(at).store(block, Ordering::Relaxed);
            lane.read.u32(at.wrapping_add(4)).store(offset, Ordering::Relaxed);
            lane.read.u32(at.wrapping_add(12)).store(0, Ordering::Relaxed);
            (index, offset, chunk)
        }
    };
    let at = layout::rx_descriptor(cell, index);
    lane.read.u32(at.wrapping_add(8)).store(len, Ordering::Release);
    blocks.open = Open::Copy { offset, len };
}

fn slot_of(position: u64) -> usize {
    usize::try_from(position.wrapping_div(BLOCK).wrapping_rem(QUEUE)).unwrap_or(0)
}

fn in_block(position: u64) -> u32 {
    u32::try_from(position % BLOCK).unwrap_or(0)
}
