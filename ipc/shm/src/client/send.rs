//! Writing to a socket's send queue.
//!
//! A socket's blocks are a list, oldest first. Each entry of the block table says at which position
//! of the stream its bytes end; the last block is filled up by the writes that follow.

use core::net::SocketAddr;
use core::sync::atomic::Ordering;
use std::io::IoSlice;

use zerocopy::IntoBytes;

use super::lock::Guard;
use super::map::ClientMap;
use super::socket::SocketMemory;
use crate::daemon::TxFlags;
use crate::datagram_header::{Ancillary, DatagramHeader};
use crate::layout::{
    self, BLOCK_LEN, DATAGRAM_MAX, TX_BLOCKS, own, own_cell, read_cell, write_cell,
};
use crate::sync::fence;

/// Why nothing more could be posted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PushError {
    /// The socket's send buffer is full.
    NoRoom,
    /// All of the client's transmit blocks hold unacknowledged bytes.
    NoMemory,
    /// The worker does not read its ring.
    RingFull,
    /// Longer than a datagram can be.
    TooLong,
}

/// The send queue of a socket, locked until this is dropped. When bytes have been posted, dropping
/// it wakes the worker.
#[derive(Debug)]
pub struct SendQueue<'a> {
    socket: &'a SocketMemory,
    posted: bool,
    _guard: Guard<'a>,
}

impl<'a> SendQueue<'a> {
    pub(super) fn lock(socket: &'a SocketMemory) -> Self {
        let at = own_cell::word(socket.cell.index, own_cell::TX_LOCK);
        Self { socket, posted: false, _guard: socket.map.lock(at) }
    }

    /// Takes the cell over from the socket that had it before.
    pub(super) fn begin(&mut self) {
        let socket = self.socket;
        let generation = u32::from(socket.cell.generation);
        socket.own_word(own_cell::TX_GENERATION).store(u32::MAX, Ordering::Relaxed);
        socket.map.release_tx_blocks(socket.cell.index, true);
        socket.own_long(own_cell::TX_POSTED).store(0, Ordering::Relaxed);
        socket.own_word(own_cell::TX_GENERATION).store(generation, Ordering::Relaxed);
    }

    /// Bytes that fit into the send buffer now.
    #[must_use]
    pub fn room(&self) -> u32 {
        let buffer = self.socket.read_word(read_cell::SEND_BUFFER).load(Ordering::Relaxed);
        let unreleased = u32::try_from(self.unreleased()).unwrap_or(u32::MAX);
        buffer.saturating_sub(unreleased)
    }

    /// Bytes posted and not yet acknowledged (datagrams: not yet sent).
    #[must_use]
    pub fn unreleased(&self) -> u64 {
        let posted = self.socket.own_long(own_cell::TX_POSTED).load(Ordering::Relaxed);
        let released = self.socket.read_long(read_cell::TX_RELEASED).load(Ordering::Acquire);
        posted.saturating_sub(released)
    }

    /// Posts stream bytes, beginning `skip` bytes into `data`, as many as there is room for, with
    /// `flags` of [`TxFlags::MORE`] and [`TxFlags::URGENT`]. The urgent byte is the last of `data`.
    ///
    /// # Errors
    /// [`PushError`] if that is none, though there were some.
    pub fn push(
        &mut self,
        data: &[IoSlice<'_>],
        skip: usize,
        flags: TxFlags,
    ) -> Result<usize, PushError> {
        let total = data.iter().fold(0usize, |sum, slice| sum.saturating_add(slice.len()));
        let cell = self.socket.cell.index;
        let mut done = 0usize;
        loop {
            let left = total.saturating_sub(skip).saturating_sub(done);
            let left = u32::try_from(left).unwrap_or(u32::MAX);
            if left == 0 {
                return Ok(done);
            }
            self.socket.map.release_tx_blocks(cell, false);
            let room = self.room().min(left);
            let chunk = if room == 0 { Err(PushError::NoRoom) } else { self.chunk(room, false) };
            let posted = chunk.and_then(|(offset, len)| {
                let from = skip.saturating_add(done);
                self.copy(offset, data, from, len as usize);
                let flags = if len < left { flags.without(TxFlags::URGENT) } else { flags };
                self.post(offset, len, flags).map(|()| len as usize)
            });
            match posted {
                Ok(len) => done = done.saturating_add(len),
                Err(why) if done == 0 => return Err(why),
                Err(_) => return Ok(done),
            }
        }
    }

    /// Posts a datagram.
    ///
    /// # Errors
    /// [`PushError`].
    pub fn push_datagram(
        &mut self,
        to: Option<SocketAddr>,
        ancillary: &Ancillary,
        data: &[IoSlice<'_>],
    ) -> Result<(), PushError> {
        let payload_len = data.iter().fold(0usize, |sum, slice| sum.saturating_add(slice.len()));
        let payload = u32::try_from(payload_len).map_err(|_| PushError::TooLong)?;
        if payload > DATAGRAM_MAX {
            return Err(PushError::TooLong);
        }
        let len = payload.saturating_add(DatagramHeader::LEN_U32);
        self.socket.map.release_tx_blocks(self.socket.cell.index, false);
        // One goes out whatever the limit, else a small limit would let none through.
        if self.room() < len && self.unreleased() > 0 {
            return Err(PushError::NoRoom);
        }
        let (offset, _) = self.chunk(len, true)?;
        let header = DatagramHeader::new(to, payload).with(ancillary);
        let header_in = self.socket.map.write.copy_in(layout::tx_area(offset), header.as_bytes());
        debug_assert!(header_in, "a block is inside the transmit area");
        self.copy(offset.wrapping_add(DatagramHeader::LEN_U32), data, 0, payload_len);
        self.post(offset, len, TxFlags::DATAGRAM)
    }

    /// Room for up to `wanted` stream bytes that follow each other, to be written in place. They are sent by
    /// [`SendQueue::commit`]; without it nothing has happened.
    ///
    /// # Errors
    /// [`PushError`]: there is no room.
    pub fn reserve(&mut self, wanted: u32) -> Result<&mut [u8], PushError> {
        self.socket.map.release_tx_blocks(self.socket.cell.index, false);
        let room = self.room().min(wanted);
        if room == 0 {
            return Err(PushError::NoRoom);
        }
        let (offset, len) = self.chunk(room, false)?;
        // SAFETY: a block of this socket behind what it has posted, which the worker does not read;
        // giving it to another takes the lock that this queue holds, and the queue itself.
        let bytes =
            unsafe { self.socket.map.write.bytes_mut(layout::tx_area(offset), len as usize) };
        bytes.ok_or(PushError::NoMemory)
    }

    /// Posts the first `len` of the bytes that were reserved last, with `flags` of [`TxFlags::MORE`] and
    /// [`TxFlags::URGENT`]. `at`: where they are.
    ///
    /// # Errors
    /// [`PushError::TooLong`]: they are not there, or fewer were reserved.
    pub fn commit(&mut self, at: *const u8, len: u32, flags: TxFlags) -> Result<(), PushError> {
        let last = self.socket.own_word(own_cell::TX_LAST).load(Ordering::Relaxed);
        if last == 0 {
            return Err(PushError::TooLong);
        }
        let (offset, most) = self.chunk(len.min(self.room()), false)?;
        let place = self.socket.map.write.range(layout::tx_area(offset), len as usize);
        if most < len || place.is_none_or(|place| place.as_ptr().cast_const() != at) {
            return Err(PushError::TooLong);
        }
        if len == 0 { Ok(()) } else { self.post(offset, len, flags) }
    }

    /// Has the worker taken the stuffing out since the queue was last armed?
    #[must_use]
    pub fn is_drained(&self) -> bool {
        let armed = self.socket.write_word(write_cell::OUT_ARM).load(Ordering::Relaxed);
        self.socket.read_word(read_cell::OUT_DRAINED).load(Ordering::Acquire) == armed
    }

    /// Asks the worker to take the stuffing out when there is room. It must be in by now. Then
    /// [`SocketMemory::post_arm`], and look at the room once more.
    pub fn arm(&mut self) {
        let _ = self.socket.write_word(write_cell::OUT_ARM).fetch_add(1, Ordering::Release);
        fence(Ordering::SeqCst);
    }

    /// Room for up to `wanted` bytes in the last block, or in a new one; `whole`: for all of them.
    fn chunk(&self, wanted: u32, whole: bool) -> Result<(u32, u32), PushError> {
        let socket = self.socket;
        let last = socket.own_word(own_cell::TX_LAST);
        let fill = socket.own_word(own_cell::TX_FILL);
        if let Some(block) = last.load(Ordering::Relaxed).checked_sub(1) {
            let capacity = socket.map.tx_run_len(block).saturating_mul(BLOCK_LEN);
            let used = fill.load(Ordering::Relaxed);
            let left = capacity.saturating_sub(used);
            if left > 0 && (!whole || left >= wanted) {
                return Ok((block.wrapping_mul(BLOCK_LEN).wrapping_add(used), wanted.min(left)));
            }
        }
        let count = if whole { wanted.div_ceil(BLOCK_LEN) } else { 1 };
        let block = socket.map.take_tx_blocks(count).ok_or(PushError::NoMemory)?;
        let write = &socket.map.write;
        let posted = socket.own_long(own_cell::TX_POSTED).load(Ordering::Relaxed);
        write.u64(own::tx_block_end(block)).store(posted, Ordering::Relaxed);
        write.u32(own::tx_block_next(block)).store(0, Ordering::Relaxed);
        write.u32(own::tx_block_count(block)).store(count, Ordering::Relaxed);
        let entry = block.wrapping_add(1);
        match last.swap(entry, Ordering::Relaxed).checked_sub(1) {
            Some(before) if before < TX_BLOCKS => {
                write.u32(own::tx_block_next(before)).store(entry, Ordering::Relaxed);
            }
            _ => socket.own_word(own_cell::TX_FIRST).store(entry, Ordering::Relaxed),
        }
        fill.store(0, Ordering::Relaxed);
        let capacity = count.saturating_mul(BLOCK_LEN);
        Ok((block.wrapping_mul(BLOCK_LEN), wanted.min(capacity)))
    }

    fn copy(&self, offset: u32, data: &[IoSlice<'_>], skip: usize, len: usize) {
        let mut at = layout::tx_area(offset);
        let mut skip = skip;
        let mut left = len;
        for slice in data {
            let bytes: &[u8] = slice.get(skip.min(slice.len())..).unwrap_or_default();
            skip = skip.saturating_sub(slice.len());
            let bytes = bytes.get(..left.min(bytes.len())).unwrap_or_default();
            let inside = self.socket.map.write.copy_in(at, bytes);
            debug_assert!(inside, "a block is inside the transmit area");
            at = at.wrapping_add(bytes.len());
            left = left.saturating_sub(bytes.len());
        }
    }

    /// The books are made before the descriptor is posted: a process killed in between loses a little
    /// room, and nothing is written over bytes that are on their way.
    fn post(&mut self, offset: u32, len: u32, flags: TxFlags) -> Result<(), PushError> {
        self.account(|count| count.wrapping_add(u64::from(len)), |fill| fill.wrapping_add(len));
        if self.socket.post((offset, len), flags).is_err() {
            self.account(|count| count.wrapping_sub(u64::from(len)), |fill| fill.wrapping_sub(len));
            return Err(PushError::RingFull);
        }
        self.posted = true;
        Ok(())
    }

    fn account(&self, count: impl Fn(u64) -> u64, fill: impl Fn(u32) -> u32) {
        let socket = self.socket;
        let filled = socket.own_word(own_cell::TX_FILL);
        filled.store(fill(filled.load(Ordering::Relaxed)), Ordering::Relaxed);
        let posted = socket.own_long(own_cell::TX_POSTED);
        let end = count(posted.load(Ordering::Relaxed));
        posted.store(end, Ordering::Relaxed);
        let last = socket.own_word(own_cell::TX_LAST).load(Ordering::Relaxed);
        if let Some(block) = last.checked_sub(1).filter(|block| *block < TX_BLOCKS) {
            socket.map.write.u64(own::tx_block_end(block)).store(end, Ordering::Relaxed);
        }
    }
}

impl Drop for SendQueue<'_> {
    fn drop(&mut self) {
        if self.posted {
            self.socket.map.wake(self.socket.worker);
        }
    }
}

impl ClientMap {
    /// Gives back the blocks of a cell whose bytes have been released. With `all`, the last one too;
    /// else it is kept to be filled from its beginning. The cell's lock must be held.
    pub(super) fn release_tx_blocks(&self, cell: u32, all: bool) {
        let own = |word| self.write.u32(own_cell::word(cell, word));
        let generation = self.read.u32(read_cell::word(cell, read_cell::GENERATION));
        let is_open = generation.load(Ordering::Acquire)
            == own(own_cell::TX_GENERATION).load(Ordering::Relaxed);
        let released = self.read.u64(read_cell::word(cell, read_cell::TX_RELEASED));
        let released = if is_open { released.load(Ordering::Acquire) } else { u64::MAX };
        // No list is longer than there are blocks, whatever its links say.
        for _ in 0..TX_BLOCKS {
            let first = own(own_cell::TX_FIRST).load(Ordering::Relaxed);
            let Some(block) = first.checked_sub(1).filter(|block| *block < TX_BLOCKS) else {
                break;
            };
            if self.write.u64(own::tx_block_end(block)).load(Ordering::Relaxed) > released {
                return;
            }
            let count = self.tx_run_len(block);
            let is_last = first == own(own_cell::TX_LAST).load(Ordering::Relaxed);
            if is_last && count == 1 && !all {
                own(own_cell::TX_FILL).store(0, Ordering::Relaxed);
                return;
            }
            let next = self.write.u32(own::tx_block_next(block)).load(Ordering::Relaxed);
            let next = if is_last { 0 } else { next };
            own(own_cell::TX_FIRST).store(next, Ordering::Relaxed);
            self.give_tx_blocks(block, count);
            if is_last {
                break;
            }
        }
        own(own_cell::TX_FIRST).store(0, Ordering::Relaxed);
        own(own_cell::TX_LAST).store(0, Ordering::Relaxed);
        own(own_cell::TX_FILL).store(0, Ordering::Relaxed);
    }

    fn tx_run_len(&self, block: u32) -> u32 {
        if block >= TX_BLOCKS {
            return 0;
        }
        self.write.u32(own::tx_block_count(block)).load(Ordering::Relaxed).clamp(1, 8)
    }
}
