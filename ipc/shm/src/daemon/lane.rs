//! One worker's end of one client: its transmit ring, its socket cells, its receive blocks.

use core::cell::Cell;
use core::marker::PhantomData;
use core::sync::atomic::Ordering;
use std::collections::VecDeque;
use std::sync::Arc;

use super::account::Account;
use super::arena::Slot;
use super::blocks::{self, BlockPool};
use super::borrowed::Borrowed;
use super::misbehaved::PeerMisbehaved;
use super::stream::Blocks;
use crate::datagram_header::DatagramHeader;
use crate::layout::{self, DATAGRAM_MAX, LAP, RING_LEN, TX_AREA_LEN, read_cell, write_cell};
use crate::loan::Loan;
use crate::region::Region;
use crate::status::Status;
use crate::sync::{AtomicU32, AtomicU64, fence};
use crate::words::halves;

/// Connections of one client that begin and end to hold blocks within a burst or two.
const SPARE_MAX: usize = 128;
/// What is kept for them of a client that is quiet.
const SPARE_QUIET: usize = 4;

/// The number of a cell that was given none.
const NO_NUMBER: u32 = u32::MAX;

/// A socket's cell in one of its lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CellId {
    /// Index among the client's cells.
    pub index: u32,
    /// Tells this life of the cell from earlier ones.
    pub generation: u16,
}

impl CellId {
    /// No socket's.
    const NONE: Self = Self { index: u32::MAX, generation: 0 };
}

/// Flags of a descriptor in a transmit ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TxFlags(u32);

impl TxFlags {
    /// Bytes of a stream.
    pub const NONE: Self = Self(0);
    /// Look at this socket once more, both directions: see [`Lane::in_armed`], [`Lane::out_armed`]
    /// and the producers' `refresh`. Comes without bytes.
    pub const ARM: Self = Self(1);
    /// The bytes are a [`DatagramHeader`] and one datagram's payload.
    pub const DATAGRAM: Self = Self(1 << 1);
    /// Bytes of a stream that more will follow soon (`MSG_MORE`).
    pub const MORE: Self = Self(1 << 2);
    /// Bytes of a stream of which the last is urgent (`MSG_OOB`).
    pub const URGENT: Self = Self(1 << 3);

    /// Are all bits of `other` set?
    #[must_use]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// These bits without those of `other`.
    #[must_use]
    pub(crate) const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// The bits in the descriptor's word.
    #[must_use]
    pub const fn bits(self) -> u32 {
        self.0
    }
}

impl core::ops::BitOr for TxFlags {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// A descriptor a client has posted: copied once and checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TxDescriptor {
    /// The socket's cell, in use and one of this lane.
    pub cell: u32,
    /// The cell's generation; descriptors of earlier ones are never returned.
    pub generation: u16,
    /// First byte in the transmit area.
    pub offset: u32,
    /// Number of bytes, all inside the transmit area. May be 0.
    pub length: u32,
    /// Flags, all known.
    pub flags: TxFlags,
}

impl TxDescriptor {
    /// The cell and its generation.
    #[must_use]
    pub fn id(&self) -> CellId {
        CellId { index: self.cell, generation: self.generation }
    }
}

/// One worker's end of one client. `Send`, but not `Sync`: it moves to its worker and stays there.
///
/// What it publishes for the client it writes with `Release`; what the client has written it reads
/// once, and believes nothing of it.
#[derive(Debug)]
#[repr(C)]
pub struct Lane {
    // The slot's, which holds them: a worker that asks many clients whether they have posted something
    // looks at the first line of this and at nothing else of the daemon's.
    pub(super) write: Region,
    pub(super) read: Region,
    position: u32,
    worker: u16,
    pub(super) slot: Arc<Slot>,
    pub(super) account: Account,
    first_cell: u32,
    /// How many cells there are.
    cells: u32,
    /// Cells below this one have been used before.
    fresh: u32,
    /// Cells used before and free; longest free first.
    free: VecDeque<u16>,
    pool: Box<BlockPool>,
    /// For connections that have something to hold again; without this each request would allocate.
    #[expect(clippy::vec_box, reason = "the boxes themselves are what is kept")]
    spare: Vec<Box<Blocks>>,
    /// What has been lent to the client, if it may borrow.
    pub(super) borrowed: Option<Box<Borrowed>>,
    /// The cell that was last asked for its [`Lane::in_armed`], and what its word said.
    in_seen: (CellId, u32),
    /// The same of [`Lane::out_armed`].
    out_seen: (CellId, u32),
    one_thread: PhantomData<Cell<()>>,
}

// SAFETY: The regions are those of the slot, which is `Send`, and which the lane holds so that they stay mapped
// wherever it goes. Everything else in it is `Send` by itself.
unsafe impl Send for Lane {}

impl Lane {
    pub(super) fn new(slot: Arc<Slot>, worker: u16, account: Account) -> Self {
        let lanes = slot.lanes();
        let cells = layout::cells_per_lane(lanes);
        let blocks = layout::rx_blocks_per_lane(lanes);
        let borrowed = account.lends().then(Box::default);
        Self {
            write: slot.write,
            read: slot.read,
            position: 0,
            worker,
            slot,
            account,
            first_cell: cells.saturating_mul(u32::from(worker)),
            cells,
            fresh: 0,
            free: VecDeque::new(),
            pool: Box::new(BlockPool::new(blocks.saturating_mul(u32::from(worker)), blocks)),
            spare: Vec::new(),
            borrowed,
            in_seen: (CellId::NONE, 0),
            out_seen: (CellId::NONE, 0),
            one_thread: PhantomData,
        }
    }

    /// The worker this lane belongs to.
    #[must_use]
    pub fn worker(&self) -> u16 {
        self.worker
    }

    /// The memory this lane is a part of.
    #[must_use]
    pub fn slot(&self) -> &Arc<Slot> {
        &self.slot
    }

    /// The word that says what [`Lane::pending`] says: what to fetch before asking many clients.
    #[must_use]
    pub fn next_posted(&self) -> &AtomicU64 {
        let at = layout::tx_descriptor(self.worker, self.position);
        self.write.u64(at.wrapping_add(8))
    }

    /// Has the client posted anything that was not received yet?
    #[must_use]
    pub fn pending(&self) -> bool {
        is_fresh(self.next_posted().load(Ordering::Acquire), self.position)
    }

    /// The next descriptor. Those for a socket that is no more are skipped.
    ///
    /// # Errors
    /// [`PeerMisbehaved`]: disconnect the client.
    pub fn receive(&mut self) -> Result<Option<TxDescriptor>, PeerMisbehaved> {
        for _ in 0..RING_LEN {
            let at = layout::tx_descriptor(self.worker, self.position);
            let upper = self.write.u64(at.wrapping_add(8)).load(Ordering::Acquire);
            if !is_fresh(upper, self.position) {
                return Ok(None);
            }
            let lower = self.write.u64(at).load(Ordering::Relaxed);
            self.position = self.position.wrapping_add(1);
            let descriptor = check(lower, upper)?;
            let generation = self.generation(descriptor.cell).ok_or(PeerMisbehaved::ForeignCell)?;
            if is_alive(generation) && generation == descriptor.generation {
                return Ok(Some(descriptor));
            }
        }
        Ok(None)
    }

    /// Tells the client how far its ring has been read: once per burst.
    pub fn commit(&mut self) {
        let word = self.read.u32(layout::lane_consumer(self.worker));
        word.store(self.position, Ordering::Release);
    }

    /// Lends bytes of the transmit area to a packet buffer. The client may change them meanwhile.
    #[must_use]
    pub fn loan(&self, offset: u32, len: u32) -> Option<Loan> {
        if offset.checked_add(len)? > TX_AREA_LEN {
            return None;
        }
        let start = self.write.range(layout::tx_area(offset), len as usize)?;
        let owner = Arc::clone(&self.slot);
        // SAFETY: `range` checked that the bytes are inside the slot's write part, which stays
        // mapped until the slot is dropped, and the loan holds an `Arc` of it.
        Some(unsafe { Loan::new(owner, start, len) })
    }

    /// A word of the bytes at `offset` of the transmit area: what to fetch before they are needed.
    #[must_use]
    pub fn posted_text(&self, offset: u32) -> Option<&AtomicU32> {
        (offset < TX_AREA_LEN).then(|| self.write.u32(layout::tx_area(offset & !3)))
    }

    /// Copies bytes of the transmit area; false if they are not all inside.
    #[must_use]
    pub fn copy_out(&self, offset: u32, out: &mut [u8]) -> bool {
        offset <= TX_AREA_LEN && self.write.copy_out(layout::tx_area(offset), out)
    }

    /// A cell for a new socket; none if all are in use. Its words are reset before the client
    /// hears of it.
    pub fn allocate_cell(&mut self) -> Option<CellId> {
        let local = if self.fresh < self.cells {
            let local = self.fresh;
            self.fresh = self.fresh.saturating_add(1);
            local
        } else {
            self.free.pop_front()?.into()
        };
        let index = self.first_cell.saturating_add(local);
        let in_arm = self.write.u32(write_cell::word(index, write_cell::IN_ARM));
        let in_arm = in_arm.load(Ordering::Relaxed);
        let out_arm = self.write.u32(write_cell::word(index, write_cell::OUT_ARM));
        let out_arm = out_arm.load(Ordering::Relaxed);
        let generation = self.generation(index)?.wrapping_add(1);
        let cell = CellId { index, generation };
        // Armed, so that the first byte brings a token; and writable.
        self.reset_cell(cell, in_arm.wrapping_sub(1), out_arm);
        Some(cell)
    }

    /// Gives a cell back: whatever the client still does with it is ignored from now on. To be called before its blocks
    /// and packets are used anew, so that a thread that is still copying from them finds out.
    pub fn free_cell(&mut self, cell: CellId) {
        if !self.is_live(cell) {
            return;
        }
        let generation = u32::from(cell.generation.wrapping_add(1));
        self.word(cell, read_cell::GENERATION).store(generation, Ordering::Release);
        fence(Ordering::Release);
        if let Ok(local) = u16::try_from(cell.index.saturating_sub(self.first_cell)) {
            self.free.push_back(local);
        }
    }

    /// A number of the worker's for a live cell, for [`Lane::number`]. The client may see it, and cannot
    /// change it.
    pub fn set_number(&self, cell: CellId, number: u32) {
        if self.is_live(cell) {
            self.word(cell, read_cell::NUMBER).store(number, Ordering::Relaxed);
        }
    }

    /// The number given to a cell, by its index, in its present life.
    #[must_use]
    pub fn number(&self, cell: u32) -> Option<u32> {
        let _ = self.generation(cell).filter(|generation| is_alive(*generation))?;
        let number = self.read.u32(read_cell::word(cell, read_cell::NUMBER));
        Some(number.load(Ordering::Relaxed)).filter(|number| *number != NO_NUMBER)
    }

    /// Numbers of at most `count` cells, from the one that is `skip` cells behind the lane's first on.
    pub fn numbers(&self, skip: u32, count: u32) -> impl Iterator<Item = u32> + '_ {
        let end = skip.saturating_add(count).min(self.fresh);
        (skip..end).filter_map(|local| self.number(self.first_cell.saturating_add(local)))
    }

    /// Cells that are or were in use: the lane's first ones.
    #[must_use]
    pub fn used_cells(&self) -> u32 {
        self.fresh
    }

    /// Sets all status bits.
    pub fn set_status(&self, cell: CellId, status: Status) {
        if self.is_live(cell) {
            self.word(cell, read_cell::STATUS).store(status.bits(), Ordering::Release);
        }
    }

    /// The status bits as last set.
    #[must_use]
    pub fn status(&self, cell: CellId) -> Status {
        if !self.is_live(cell) {
            return Status::empty();
        }
        Status::from_bits(self.word(cell, read_cell::STATUS).load(Ordering::Relaxed))
    }

    /// Leaves an error (Linux's errno) for the client, which reports it once. Follow it with a token
    /// or by closing the socket's end, so that sleepers wake.
    pub fn set_error(&self, cell: CellId, errno: u16) {
        if !self.is_live(cell) {
            return;
        }
        let word = self.word(cell, read_cell::ERROR);
        // The count tells a second refusal from the first one; it is never 0.
        let count = word.load(Ordering::Relaxed).wrapping_shr(16);
        let count = count.checked_add(1).filter(|count| *count < 1 << 16).unwrap_or(1);
        word.store(count.wrapping_shl(16) | u32::from(errno), Ordering::Release);
    }

    /// Bytes of the socket that the client may reuse, counted since the socket was made.
    pub fn set_tx_released(&self, cell: CellId, released: u64) {
        if self.is_live(cell) {
            self.long(cell, read_cell::TX_RELEASED).store(released, Ordering::Release);
        }
    }

    /// Bytes the client may have posted and not yet released.
    pub fn set_send_buffer(&self, cell: CellId, len: u32) {
        if self.is_live(cell) {
            self.word(cell, read_cell::SEND_BUFFER).store(len, Ordering::Release);
        }
    }

    /// Everything published so far is seen before what the worker looks at from now on: the fence that must be
    /// between publishing and [`Lane::in_arm`] or [`Lane::out_arm`], once for all sockets of a burst.
    pub fn published() {
        fence(Ordering::SeqCst);
    }

    /// Does the client wait for a token? Ask after publishing (bytes, an error, a connection); the
    /// fence that must be in between is in here. If so, and if the client has not read everything
    /// meanwhile ([`super::StreamProducer::is_read`]): write the token, then [`Lane::in_token_sent`].
    pub fn in_armed(&mut self, cell: CellId) -> bool {
        Self::published();
        self.in_arm(cell)
    }

    /// The same after [`Lane::published`].
    pub fn in_arm(&mut self, cell: CellId) -> bool {
        if !self.is_live(cell) {
            return false;
        }
        let at = write_cell::word(cell.index, write_cell::IN_ARM);
        let armed = self.write.u32(at).load(Ordering::Acquire);
        self.in_seen = (cell, armed);
        armed != self.word(cell, read_cell::IN_TOKEN).load(Ordering::Relaxed)
    }

    /// The token is in the socket: the client may consume what made it necessary. To be called after
    /// [`Lane::in_armed`] of the same cell and before that of another.
    pub fn in_token_sent(&mut self, cell: CellId) {
        let (asked, armed) = self.in_seen;
        if asked == cell && self.is_live(cell) {
            self.word(cell, read_cell::IN_TOKEN).store(armed, Ordering::Release);
        }
    }

    /// Does the client wait for room to send? Ask after releasing bytes, and when a third of the send
    /// buffer is free take the stuffing out, then [`Lane::out_drained`].
    pub fn out_armed(&mut self, cell: CellId) -> bool {
        Self::published();
        self.out_arm(cell)
    }

    /// The same after [`Lane::published`].
    pub fn out_arm(&mut self, cell: CellId) -> bool {
        if !self.is_live(cell) {
            return false;
        }
        let at = write_cell::word(cell.index, write_cell::OUT_ARM);
        let armed = self.write.u32(at).load(Ordering::Relaxed);
        self.out_seen = (cell, armed);
        armed != self.word(cell, read_cell::OUT_DRAINED).load(Ordering::Relaxed)
    }

    /// The stuffing is out: the kernel calls the socket writable again, and so may the client. To be
    /// called after [`Lane::out_armed`] of the same cell and before that of another.
    pub fn out_drained(&mut self, cell: CellId) {
        let (asked, armed) = self.out_seen;
        if asked == cell && self.is_live(cell) {
            self.word(cell, read_cell::OUT_DRAINED).store(armed, Ordering::Release);
        }
    }

    /// One word of each cache line that is read or written for a cell: what to fetch before the cell
    /// is needed.
    #[must_use]
    pub fn lines(&self, cell: CellId) -> Option<[&AtomicU32; 2]> {
        let _ = self.local(cell.index)?;
        let read = self.read.u32(read_cell::word(cell.index, read_cell::GENERATION));
        let write = self.write.u32(write_cell::word(cell.index, write_cell::IN_ARM));
        Some([read, write])
    }

    /// What [`Lane::receive`] and those after it will look at, if the next descriptor is right: the words of its
    /// cell, its text, and where the client is told.
    #[must_use]
    pub fn ahead(&self) -> [&AtomicU32; 3] {
        let at = layout::tx_descriptor(self.worker, self.position);
        let (socket, offset) = halves(self.write.u64(at).load(Ordering::Relaxed));
        let [low, high, _, _] = socket.to_ne_bytes();
        let cell = u32::from(u16::from_ne_bytes([low, high])) % layout::CELLS;
        let told = self.read.u32(layout::lane_consumer(self.worker));
        let text = self.posted_text(offset).unwrap_or(told);
        [self.read.u32(read_cell::word(cell, read_cell::GENERATION)), text, told]
    }

    /// What [`Lane::may_read`] and [`Lane::charge`] look at.
    #[must_use]
    pub fn account_ahead(&self) -> (&impl Sized, &impl Sized) {
        self.account.ahead()
    }

    /// Receive blocks left to this lane, and to the client's user.
    #[must_use]
    pub fn free_blocks(&self) -> u32 {
        self.pool.count().min(self.account.blocks_left())
    }

    /// May more of the client's ring be read by now? Else: when.
    ///
    /// # Errors
    /// The time in nanoseconds at which its user has waited for what has been sent.
    pub fn may_read(&self, now_ns: u64) -> Result<(), u64> {
        self.account.may_post(now_ns)
    }

    /// So many packets have been made of what was read.
    pub fn charge(&self, now_ns: u64, packets: u64) {
        self.account.posted(now_ns, packets);
    }

    /// Room for what a connection knows of its blocks: it has none.
    #[inline]
    pub(super) fn spare(&mut self) -> Box<Blocks> {
        self.spare.pop().unwrap_or_else(|| Box::new(Blocks::none()))
    }

    /// The block that is taken next, and the room for what is known of it.
    pub(super) fn next_block(&self) -> Option<(u32, &Blocks)> {
        self.pool.first().zip(self.spare.last().map(Box::as_ref))
    }

    /// A connection holds no blocks any more.
    pub(super) fn keep(&mut self, blocks: Box<Blocks>) {
        if self.spare.len() < SPARE_MAX {
            self.spare.push(blocks);
        }
    }

    /// The client is quiet: most of what is kept for its streams goes. What is left is for those that speak up
    /// one at a time.
    pub fn rest(&mut self) {
        self.spare.truncate(SPARE_QUIET);
    }

    pub(super) fn take_blocks(&mut self, count: u32) -> Option<u32> {
        let len = blocks::bytes(count);
        if !self.account.take(len) {
            return None;
        }
        let first = self.pool.take_run(count);
        if first.is_none() {
            self.account.give(len);
        }
        first
    }

    pub(super) fn give_blocks(&mut self, first: u32, count: u32) {
        self.pool.give(first, count);
        self.account.give(blocks::bytes(count));
    }

    pub(super) fn word(&self, cell: CellId, word: usize) -> &AtomicU32 {
        self.read.u32(read_cell::word(cell.index, word))
    }

    pub(super) fn long(&self, cell: CellId, word: usize) -> &AtomicU64 {
        self.read.u64(read_cell::word(cell.index, word))
    }

    /// The client's word of consumed bytes, read once: see [`super::consumed`].
    pub(super) fn consumed(&self, cell: CellId) -> u64 {
        let at = write_cell::word(cell.index, write_cell::RX_CONSUMED);
        self.write.u64(at).load(Ordering::Acquire)
    }

    #[inline]
    pub(super) fn is_live(&self, cell: CellId) -> bool {
        is_alive(cell.generation) && self.generation(cell.index) == Some(cell.generation)
    }

    /// A cell's number among those of this lane.
    #[inline]
    fn local(&self, cell: u32) -> Option<u32> {
        cell.checked_sub(self.first_cell).filter(|local| *local < self.cells)
    }

    /// The generation of a cell of this lane. All that is to be remembered of cells is in their words
    /// of the read part, which nobody else writes.
    #[inline]
    fn generation(&self, cell: u32) -> Option<u16> {
        let _ = self.local(cell)?;
        let word = self.read.u32(read_cell::word(cell, read_cell::GENERATION));
        u16::try_from(word.load(Ordering::Relaxed)).ok()
    }

    /// The generation goes first: a client that reads a value of the new life and then compares
    /// generations finds out.
    fn reset_cell(&self, cell: CellId, in_token: u32, out_drained: u32) {
        let word = |at, value| self.word(cell, at).store(value, Ordering::Release);
        word(read_cell::GENERATION, u32::from(cell.generation));
        word(read_cell::STATUS, 0);
        word(read_cell::ERROR, 0);
        word(read_cell::RX_TAIL, 0);
        word(read_cell::SEND_BUFFER, 0);
        word(read_cell::NUMBER, NO_NUMBER);
        word(read_cell::IN_TOKEN, in_token);
        word(read_cell::OUT_DRAINED, out_drained);
        self.long(cell, read_cell::RX_LEN).store(0, Ordering::Release);
        self.long(cell, read_cell::TX_RELEASED).store(0, Ordering::Release);
        self.long(cell, read_cell::RX_NOTICE).store(u64::MAX, Ordering::Release);
        self.long(cell, read_cell::RX_URGENT).store(0, Ordering::Release);
    }
}

/// A life begins and ends with the next generation: an odd one is alive.
const fn is_alive(generation: u16) -> bool {
    generation % 2 == 1
}

fn is_fresh(upper: u64, position: u32) -> bool {
    let (_, flags) = halves(upper);
    flags & LAP == layout::lap(position)
}

fn check(lower: u64, upper: u64) -> Result<TxDescriptor, PeerMisbehaved> {
    let (socket, offset) = halves(lower);
    let (length, flags) = halves(upper);
    let flags = TxFlags(flags & !LAP);
    let known = TxFlags::ARM | TxFlags::DATAGRAM | TxFlags::MORE | TxFlags::URGENT;
    if !known.contains(flags) {
        return Err(PeerMisbehaved::UnknownFlags);
    }
    if offset.checked_add(length).is_none_or(|end| end > TX_AREA_LEN) {
        return Err(PeerMisbehaved::OutsideTransmitArea);
    }
    if flags.contains(TxFlags::DATAGRAM) {
        let payload = (length as usize).checked_sub(DatagramHeader::LEN);
        if payload.is_none_or(|len| len > DATAGRAM_MAX as usize) {
            return Err(PeerMisbehaved::DatagramLength);
        }
    }
    let [a, b, c, d] = socket.to_ne_bytes();
    let (cell, generation) = (u16::from_ne_bytes([a, b]), u16::from_ne_bytes([c, d]));
    Ok(TxDescriptor { cell: u32::from(cell), generation, offset, length, flags })
}
