//! The daemon's end of a datagram socket's receive queue.

use core::net::SocketAddr;
use core::sync::atomic::Ordering;

use zerocopy::IntoBytes;

use super::consumed;
use super::lane::{CellId, Lane};
use super::misbehaved::PeerMisbehaved;
use crate::datagram_header::{Ancillary, DatagramHeader};
use crate::layout::{self, BLOCK_LEN, DATAGRAM_MAX, QUEUE_BLOCKS, QUEUE_LEN, read_cell};

/// The datagram does not fit below the socket's limit, or no block is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("receive queue is full")]
pub struct QueueFull;

/// Datagrams of one socket on their way to the client: records of a 64-byte header and a payload,
/// padded to 8 bytes. A descriptor names a run of records that follow each other in memory; the last
/// one grows as long as its block has room, so that many small datagrams share a block.
#[derive(Debug)]
pub struct DatagramProducer {
    cell: CellId,
    limit: u32,
    consumed: u64,
    published: u64,
    tail: u32,
    head: u32,
    /// Bytes of the descriptor at `head` that are consumed.
    head_consumed: u32,
    /// The last descriptor may grow.
    open: bool,
    runs: [Run; QUEUE_LEN as usize],
}

/// What a descriptor names.
#[derive(Clone, Copy, Debug, Default)]
struct Run {
    block: u16,
    count: u16,
    len: u32,
}

impl DatagramProducer {
    /// For a cell just allocated, and a limit of unread bytes (`SO_RCVBUF`; headers count).
    #[must_use]
    pub fn new(cell: CellId, limit: u32) -> Self {
        Self {
            cell,
            limit,
            consumed: 0,
            published: 0,
            tail: 0,
            head: 0,
            head_consumed: 0,
            open: false,
            runs: [Run::default(); QUEUE_LEN as usize],
        }
    }

    /// Bytes published and not yet read, headers and padding included.
    #[must_use]
    pub fn unread(&self) -> u32 {
        u32::try_from(self.published.saturating_sub(self.consumed)).unwrap_or(u32::MAX)
    }

    /// Has the client read all that was published, as it says at this moment? To be asked after
    /// [`Lane::in_armed`]: what it read under its last token needs no new one, which would stay in the
    /// descriptor with nothing behind it.
    #[must_use]
    pub fn is_read(&self, lane: &Lane) -> bool {
        consumed::is_all(lane, self.cell, self.published)
    }

    /// Changes the limit of unread bytes.
    pub fn set_limit(&mut self, limit: u32) {
        self.limit = limit;
    }

    /// Shows a datagram to the client. Ask [`Lane::in_armed`] afterwards. When the queue looks full,
    /// it first looks what the client has read meanwhile.
    ///
    /// # Errors
    /// [`QueueFull`]: count it and drop the datagram.
    pub fn push(
        &mut self,
        lane: &mut Lane,
        from: SocketAddr,
        ancillary: &Ancillary,
        payload: &[u8],
    ) -> Result<(), QueueFull> {
        let payload_len = u32::try_from(payload.len()).map_err(|_| QueueFull)?;
        if payload_len > DATAGRAM_MAX || !lane.is_live(self.cell) {
            return Err(QueueFull);
        }
        let record_len = record_len(payload_len);
        if !self.fits(record_len) {
            // A bad word stays bad: the next `refresh` reports it.
            let _ = self.refresh(lane);
            if !self.fits(record_len) {
                return Err(QueueFull);
            }
        }
        let index = self.room(lane, record_len).ok_or(QueueFull)?;
        let run = self.runs.get_mut(slot_of(index)).ok_or(QueueFull)?;
        let at = layout::rx_block(u32::from(run.block)).wrapping_add(run.len as usize);
        let header = DatagramHeader::new(Some(from), payload_len).with(ancillary);
        let header_in = lane.read.copy_in(at, header.as_bytes());
        let payload_in = lane.read.copy_in(at.wrapping_add(DatagramHeader::LEN), payload);
        debug_assert!(header_in && payload_in, "blocks are inside the read part");
        run.len = run.len.saturating_add(record_len);
        let len = run.len;
        self.publish(lane, index, len, record_len);
        Ok(())
    }

    /// Looks how far the client has read and gives back what it is done with. Returns the bytes
    /// consumed since the last call.
    ///
    /// # Errors
    /// [`PeerMisbehaved`] if that is more than there was.
    pub fn refresh(&mut self, lane: &mut Lane) -> Result<u32, PeerMisbehaved> {
        let newly = consumed::newly(lane, self.cell, self.consumed, self.unread())?;
        self.consumed = self.consumed.saturating_add(u64::from(newly));
        let mut rest = newly;
        while rest > 0 && self.head != self.tail {
            let Some(run) = self.runs.get_mut(slot_of(self.head)) else { break };
            let left = run.len.saturating_sub(self.head_consumed);
            if rest < left {
                self.head_consumed = self.head_consumed.saturating_add(rest);
                break;
            }
            rest = rest.saturating_sub(left);
            let run = core::mem::take(run);
            lane.give_blocks(u32::from(run.block), u32::from(run.count));
            self.head = self.head.wrapping_add(1);
            self.head_consumed = 0;
            if self.head == self.tail {
                self.open = false;
            }
        }
        Ok(newly)
    }

    /// Gives all blocks back; the cell can then be freed.
    pub fn release(mut self, lane: &mut Lane) {
        while self.head != self.tail {
            if let Some(run) = self.runs.get(slot_of(self.head)) {
                lane.give_blocks(u32::from(run.block), u32::from(run.count));
            }
            self.head = self.head.wrapping_add(1);
        }
    }

    /// One datagram is taken whatever the limit, else a small limit would let none through.
    fn fits(&self, record_len: u32) -> bool {
        let unread = self.unread();
        let in_queue = self.tail.wrapping_sub(self.head);
        (unread == 0 || unread.saturating_add(record_len) <= self.limit) && in_queue < QUEUE_BLOCKS
    }

    /// The descriptor that takes the next record: the last one, or a new one.
    fn room(&mut self, lane: &mut Lane, record_len: u32) -> Option<u32> {
        let last = self.tail.wrapping_sub(1);
        if self.open {
            let run = self.runs.get(slot_of(last))?;
            let capacity = u32::from(run.count).saturating_mul(BLOCK_LEN);
            if run.len.saturating_add(record_len) <= capacity {
                return Some(last);
            }
        }
        let count = record_len.div_ceil(BLOCK_LEN);
        let block = lane.take_blocks(count)?;
        let index = self.tail;
        let run = self.runs.get_mut(slot_of(index))?;
        *run = Run { block: u16::try_from(block).ok()?, count: u16::try_from(count).ok()?, len: 0 };
        let at = layout::rx_descriptor(self.cell.index, index);
        lane.read.u32(at).store(block, Ordering::Relaxed);
        lane.read.u32(at.wrapping_add(4)).store(0, Ordering::Relaxed);
        lane.read.u32(at.wrapping_add(8)).store(0, Ordering::Relaxed);
        lane.read.u32(at.wrapping_add(12)).store(0, Ordering::Relaxed);
        self.tail = self.tail.wrapping_add(1);
        self.open = true;
        Some(index)
    }

    fn publish(&mut self, lane: &Lane, index: u32, len: u32, record_len: u32) {
        let at = layout::rx_descriptor(self.cell.index, index);
        lane.read.u32(at.wrapping_add(8)).store(len, Ordering::Release);
        self.published = self.published.saturating_add(u64::from(record_len));
        lane.word(self.cell, read_cell::RX_TAIL).store(self.tail, Ordering::Release);
        lane.long(self.cell, read_cell::RX_LEN).store(self.published, Ordering::Release);
    }
}

/// Length of a record with this much payload.
pub(crate) fn record_len(payload_len: u32) -> u32 {
    payload_len.saturating_add(DatagramHeader::LEN_U32).next_multiple_of(8)
}

fn slot_of(index: u32) -> usize {
    (index % QUEUE_LEN) as usize
}
