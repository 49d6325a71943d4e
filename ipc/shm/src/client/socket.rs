//! One socket's memory as its client sees it.

use core::sync::atomic::Ordering;
use core::time::Duration;
use std::sync::Arc;

use super::map::{ClientMap, RingFull};
use super::receive::ReceiveQueue;
use super::send::SendQueue;
use crate::daemon::{CellId, TxFlags, consumed};
use crate::layout::{own_cell, read_cell, write_cell};
use crate::status::Status;
use crate::sync::{AtomicU32, AtomicU64};

/// Rounds of waiting for an entry of a transmit ring: a worker that takes longer is gone.
const RING_ROUNDS_MAX: u32 = 2000;
const RING_PAUSE: Duration = Duration::from_micros(50);

/// Why a datagram socket has ways of its own, by the bit of its word.
#[derive(Clone, Copy, Debug)]
pub enum OwnWays {
    /// It is bound to an interface.
    Device = 17,
    /// What it sends over IPv4 leaves by one.
    Unicast,
    /// What it sends over IPv6 leaves by one.
    Unicast6,
    /// It goes by another table of routes than the first.
    Table,
}

/// A socket's cell, queues and words. Any thread, and any process that inherited the mapping, may
/// use it at any time; after the socket has been closed its methods find nothing and harm nobody.
#[derive(Debug)]
pub struct SocketMemory {
    pub(super) map: Arc<ClientMap>,
    pub(super) cell: CellId,
    pub(super) worker: u16,
}

impl SocketMemory {
    pub(super) fn begin(map: Arc<ClientMap>, cell: CellId, worker: u16) -> Self {
        let socket = Self { map, cell, worker };
        {
            let _receiving = socket.map.lock(own_cell::word(cell.index, own_cell::RX_LOCK));
            socket.told().store(0, Ordering::Relaxed);
            socket.write_word(write_cell::RX_INDEX).store(0, Ordering::Relaxed);
            socket.write_word(write_cell::RX_OFFSET).store(0, Ordering::Relaxed);
            socket.write_word(write_cell::RX_PIECE).store(0, Ordering::Relaxed);
            let consumed = consumed::emit(cell.generation, 0);
            socket.consumed().store(consumed, Ordering::Release);
        }
        socket.send().begin();
        socket.own_word(own_cell::ERROR_SEEN).store(0, Ordering::Relaxed);
        socket.own_word(own_cell::FLAGS).store(0, Ordering::Relaxed);
        socket.own_long(own_cell::URGENT_READ).store(0, Ordering::Relaxed);
        socket.receive_timeout_ms().store(0, Ordering::Relaxed);
        socket.send_timeout_ms().store(0, Ordering::Relaxed);
        socket
    }

    /// The cell, and which of its lives this is.
    #[must_use]
    pub fn id(&self) -> CellId {
        self.cell
    }

    /// The worker that serves the socket.
    #[must_use]
    pub fn worker(&self) -> u16 {
        self.worker
    }

    /// What the worker says about the socket; `None` once it is closed.
    #[must_use]
    pub fn status(&self) -> Option<Status> {
        let status = Status::from_bits(self.read_word(read_cell::STATUS).load(Ordering::Acquire));
        self.is_open().then_some(status)
    }

    /// An error (Linux's errno) that nobody has been told yet. Of several callers one gets it.
    #[must_use]
    pub fn take_error(&self) -> Option<i32> {
        let error = self.read_word(read_cell::ERROR).load(Ordering::Acquire);
        let errno = errno_of(error);
        if errno == 0 || !self.is_open() {
            return None;
        }
        let before = self.own_word(own_cell::ERROR_SEEN).swap(error, Ordering::Relaxed);
        (before != error).then(|| i32::from(errno))
    }

    /// Is there an error that nobody has been told yet?
    #[must_use]
    pub fn has_error(&self) -> bool {
        let error = self.read_word(read_cell::ERROR).load(Ordering::Acquire);
        errno_of(error) != 0
            && self.own_word(own_cell::ERROR_SEEN).load(Ordering::Relaxed) != error
            && self.is_open()
    }

    /// How often a token for the input has been asked for. A token that is in the descriptor stays there as long as
    /// this is the same.
    #[must_use]
    pub fn times_armed(&self) -> u32 {
        self.write_word(write_cell::IN_ARM).load(Ordering::Relaxed)
    }

    /// Bits that the client library keeps about the socket, the same for all its processes.
    #[must_use]
    pub fn marks(&self) -> u32 {
        self.own_word(own_cell::FLAGS).load(Ordering::Acquire)
    }

    /// Sets bits of [`SocketMemory::marks`].
    pub fn add_marks(&self, marks: u32) {
        let _ = self.own_word(own_cell::FLAGS).fetch_or(marks, Ordering::AcqRel);
    }

    /// Clears bits of [`SocketMemory::marks`].
    pub fn remove_marks(&self, marks: u32) {
        let _ = self.own_word(own_cell::FLAGS).fetch_and(!marks, Ordering::AcqRel);
    }

    /// Longest wait of receiving, for all processes; 0: without end.
    #[must_use]
    pub fn receive_timeout_ms(&self) -> &AtomicU32 {
        self.own_word(own_cell::RX_TIMEOUT)
    }

    /// Longest wait of sending, for all processes; 0: without end.
    #[must_use]
    pub fn send_timeout_ms(&self) -> &AtomicU32 {
        self.own_word(own_cell::TX_TIMEOUT)
    }

    /// How a datagram socket cuts what it sends, 0 for not at all, and whether it joins what it receives.
    #[must_use]
    pub fn segments(&self) -> (u16, bool) {
        let word = self.own_long(own_cell::SEGMENTS).load(Ordering::Relaxed);
        (u16::try_from(word & 0xffff).unwrap_or(0), word >> 16 & 1 != 0)
    }

    /// Says so.
    pub fn set_segments(&self, (size, join): (u16, bool)) {
        let word = self.own_long(own_cell::SEGMENTS);
        let others = word.load(Ordering::Relaxed) & !0x1_ffff;
        word.store(others | u64::from(join) << 16 | u64::from(size), Ordering::Relaxed);
    }

    /// A datagram socket has ways of its own, since its user has chosen an interface or a table of routes.
    #[must_use]
    pub fn has_own_ways(&self) -> bool {
        self.own_long(own_cell::SEGMENTS).load(Ordering::Relaxed) >> OwnWays::Device as u32 != 0
    }

    /// Says so.
    pub fn set_own_ways(&self, ways: OwnWays, on: bool) {
        let word = self.own_long(own_cell::SEGMENTS);
        let others = word.load(Ordering::Relaxed) & !(1 << ways as u32);
        word.store(others | u64::from(on) << ways as u32, Ordering::Relaxed);
    }

    /// The receive queue, locked.
    #[must_use]
    pub fn receive(&self) -> ReceiveQueue<'_> {
        ReceiveQueue::lock(self)
    }

    /// The send queue, locked.
    #[must_use]
    pub fn send(&self) -> SendQueue<'_> {
        SendQueue::lock(self)
    }

    /// Bytes that wait to be read; for datagrams with their headers.
    #[must_use]
    pub fn unread(&self) -> u64 {
        let published = self.read_long(read_cell::RX_LEN).load(Ordering::Acquire);
        let position = self.consumed().load(Ordering::Acquire);
        match consumed::parse(self.cell.generation, position) {
            Some(consumed) if self.is_open() => published.saturating_sub(consumed),
            _ => 0,
        }
    }

    /// Makes the worker look at the socket once more, both directions. False: it does not read its
    /// ring, which a living one always does.
    pub fn post_arm(&self) -> bool {
        let posted = self.post((0, 0), TxFlags::ARM).is_ok();
        self.map.wake(self.worker);
        posted
    }

    /// Posts a descriptor, waiting a little for room in the ring. The doorbell is the caller's.
    pub(super) fn post(&self, bytes: (u32, u32), flags: TxFlags) -> Result<(), RingFull> {
        for _ in 0..RING_ROUNDS_MAX {
            if self.map.post(self.worker, self.cell, bytes, flags).is_ok() {
                return Ok(());
            }
            self.map.ring(self.worker);
            crate::pause(RING_PAUSE);
        }
        Err(RingFull)
    }

    pub(super) fn is_open(&self) -> bool {
        let generation = self.read_word(read_cell::GENERATION).load(Ordering::Acquire);
        generation == u32::from(self.cell.generation)
    }

    pub(super) fn read_word(&self, word: usize) -> &AtomicU32 {
        self.map.read.u32(read_cell::word(self.cell.index, word))
    }

    pub(super) fn read_long(&self, word: usize) -> &AtomicU64 {
        self.map.read.u64(read_cell::word(self.cell.index, word))
    }

    pub(super) fn write_word(&self, word: usize) -> &AtomicU32 {
        self.map.write.u32(write_cell::word(self.cell.index, word))
    }

    pub(super) fn own_word(&self, word: usize) -> &AtomicU32 {
        self.map.write.u32(own_cell::word(self.cell.index, word))
    }

    pub(super) fn own_long(&self, word: usize) -> &AtomicU64 {
        self.map.write.u64(own_cell::word(self.cell.index, word))
    }

    pub(super) fn consumed(&self) -> &AtomicU64 {
        self.map.write.u64(write_cell::word(self.cell.index, write_cell::RX_CONSUMED))
    }

    /// How much had been read when the worker was last asked to look.
    pub(super) fn told(&self) -> &AtomicU64 {
        self.own_long(own_cell::RX_TOLD)
    }
}

/// The errno in an error word; its upper half counts, so that a second refusal is news. 0: the worker
/// has taken the error back.
fn errno_of(error: u32) -> u16 {
    let [a, b, _, _] = error.to_le_bytes();
    u16::from_le_bytes([a, b])
}
