//! One range of addresses for all clients' memory.
//!
//! DPDK's table of external memory is small (about 127 regions), so that the daemon registers one
//! range at start and maps each client's memory files into a slot of it.

use core::ptr::NonNull;
use core::sync::atomic::{AtomicBool, Ordering};
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::io::Errno;

use super::account::{Account, Counts};
use super::lane::Lane;
use super::share::Share;
use crate::layout::{ARENA_PAGE, LANES_MAX, READ_LEN, SLOT_LEN, WRITE_LEN};
use crate::memory;
use crate::region::Region;

/// Why a slot could not be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ArenaError {
    /// As many clients as there are slots.
    #[error("all slots of the arena are in use")]
    Full,
    /// More workers than a slot has lanes for, or none.
    #[error("{0} lanes asked for, 1 to {LANES_MAX} possible")]
    Lanes(u16),
    /// The kernel refused.
    #[error("no memory for a slot: {0}")]
    System(#[from] Errno),
}

/// Page size of memory files.
const PAGE: usize = 4096;

/// From one slot to the next. Each begins a page later in its stride than the one before: at equal
/// distances the same words of all clients, which a worker reads one after the other, would fall into
/// a few sets of the caches and of the TLB and push one another out.
const STRIDE: usize = SLOT_LEN + ARENA_PAGE;

/// The range: reserved without access, 2 MiB aligned, one slot of 64 MiB per client, each a page further
/// into its stride.
#[derive(Debug)]
pub struct Arena {
    reserved: NonNull<u8>,
    reserved_len: usize,
    base: NonNull<u8>,
    len: usize,
    free: Mutex<Vec<u16>>,
}

// SAFETY: the addresses are plain numbers here; memory behind them is only reached through `Slot`.
unsafe impl Send for Arena {}
// SAFETY: as above, and the free list is behind a mutex.
unsafe impl Sync for Arena {}

impl Arena {
    /// Reserves addresses for this many clients; costs no memory.
    ///
    /// # Errors
    /// [`ArenaError::System`] if the address space is limited (`RLIMIT_AS`).
    pub fn reserve(slots: u16) -> Result<Arc<Self>, ArenaError> {
        let len = STRIDE.checked_mul(usize::from(slots)).ok_or(ArenaError::System(Errno::NOMEM))?;
        let reserved_len = len.checked_add(ARENA_PAGE).ok_or(ArenaError::System(Errno::NOMEM))?;
        let reserved = memory::reserve(reserved_len)?;
        let skip = reserved.as_ptr().align_offset(ARENA_PAGE);
        // SAFETY: `skip < ARENA_PAGE`, and the reservation is that much longer than `len`.
        let base = unsafe { reserved.add(skip) };
        let free = Mutex::new((0..slots).rev().collect());
        Ok(Arc::new(Self { reserved, reserved_len, base, len, free }))
    }

    /// First address.
    #[must_use]
    pub fn base(&self) -> NonNull<u8> {
        self.base
    }

    /// Length in bytes.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "an address range, not a collection")]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Page size to register the range with.
    #[must_use]
    pub fn page_size(&self) -> usize {
        ARENA_PAGE
    }

    /// Makes a client's memory and maps it. What it uses counts against `share`.
    ///
    /// # Errors
    /// [`ArenaError`].
    pub fn attach(
        self: &Arc<Self>,
        lanes: u16,
        share: Arc<Share>,
    ) -> Result<(Arc<Slot>, SlotFiles), ArenaError> {
        if lanes == 0 || lanes > LANES_MAX {
            return Err(ArenaError::Lanes(lanes));
        }
        let read = memory::create("io-pkt-read", READ_LEN)?;
        let write = memory::create("io-pkt-write", WRITE_LEN)?;
        let index = self.free().pop().ok_or(ArenaError::Full)?;
        let start = self.start_of(index);
        // From here on the slot's drop undoes what has been done.
        // SAFETY: index came from the free list, so the range inside the reservation is ours alone,
        // and the slot's drop is the only thing that ends it.
        let slot = Arc::new(unsafe { Slot::new(Arc::clone(self), index, (lanes, share), start) });
        // SAFETY: the read part of the slot's range, of which nothing is in use yet.
        unsafe { memory::map_at(&read, slot.read.base(), READ_LEN) }?;
        // SAFETY: the write part of the slot's range, of which nothing is in use yet.
        unsafe { memory::map_at(&write, slot.write.base(), WRITE_LEN) }?;
        memory::seal(&read, true)?;
        memory::seal(&write, false)?;
        Ok((slot, SlotFiles { read, write }))
    }

    fn start_of(&self, index: u16) -> NonNull<u8> {
        let index = usize::from(index);
        let skew = PAGE.wrapping_mul(index % (ARENA_PAGE / PAGE));
        let offset = STRIDE.wrapping_mul(index).wrapping_add(skew);
        // SAFETY: every index of the free list is below the number of slots reserved, and a stride has
        // room for a slot and a skew.
        unsafe { self.base.add(offset) }
    }

    fn free(&self) -> MutexGuard<'_, Vec<u16>> {
        // The list is valid after every statement, so a panic elsewhere cannot have broken it.
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Arena {
    fn drop(&mut self) {
        // SAFETY: slots hold an `Arc` of the arena, so none is left.
        unsafe { memory::unmap(self.reserved, self.reserved_len) };
    }
}

/// The two memory files of a slot, to be handed to the client.
#[derive(Debug)]
pub struct SlotFiles {
    /// C1 and C2: the client can only read it.
    pub read: OwnedFd,
    /// C3: the client writes it.
    pub write: OwnedFd,
}

/// One client's memory as the daemon sees it. [`Lane`]s and [`crate::Loan`]s keep it mapped.
#[derive(Debug)]
pub struct Slot {
    arena: Arc<Arena>,
    index: u16,
    lanes: u16,
    pub(crate) read: Region,
    pub(crate) write: Region,
    taken: [AtomicBool; LANES_MAX as usize],
    share: Arc<Share>,
    counts: Vec<Arc<Counts>>,
}

// SAFETY: the regions are only reached by atomics and opaque copies.
unsafe impl Send for Slot {}
// SAFETY: as above.
unsafe impl Sync for Slot {}

impl Slot {
    /// # Safety
    /// `start` must be the first address of slot `index` of `arena`, of which nothing is in use.
    unsafe fn new(
        arena: Arc<Arena>,
        index: u16,
        (lanes, share): (u16, Arc<Share>),
        start: NonNull<u8>,
    ) -> Self {
        // SAFETY: the slot's first half; it stays mapped until `Slot::drop`.
        let read = unsafe { Region::new(start, READ_LEN) };
        // SAFETY: a slot is `READ_LEN + WRITE_LEN` long.
        let middle = unsafe { start.add(READ_LEN) };
        // SAFETY: the slot's second half; it stays mapped until `Slot::drop`.
        let write = unsafe { Region::new(middle, WRITE_LEN) };
        Self {
            arena,
            index,
            lanes,
            read,
            write,
            taken: [const { AtomicBool::new(false) }; LANES_MAX as usize],
            share,
            counts: (0..lanes).map(|_| Arc::default()).collect(),
        }
    }

    /// Number of the slot in the arena.
    #[must_use]
    pub fn index(&self) -> u16 {
        self.index
    }

    /// Number of lanes: workers.
    #[must_use]
    pub fn lanes(&self) -> u16 {
        self.lanes
    }

    /// The worker's end; each can be taken once, so that everything in it has one user.
    #[must_use]
    pub fn lane(self: &Arc<Self>, worker: u16) -> Option<Lane> {
        if worker >= self.lanes {
            return None;
        }
        let taken = self.taken.get(usize::from(worker))?;
        let account = self.account(worker)?;
        if taken.swap(true, Ordering::Relaxed) {
            return None;
        }
        Some(Lane::new(Arc::clone(self), worker, account))
    }

    /// Bytes of receive blocks in use, for listings.
    #[must_use]
    pub fn rx_memory_in_use(&self) -> u64 {
        let [memory, ..] = self.counted();
        memory
    }

    /// Packets posted, for listings.
    #[must_use]
    pub fn packets(&self) -> u64 {
        let [_, packets, ..] = self.counted();
        packets
    }

    /// How often its user's share has ended: of memory, of packets a second.
    #[must_use]
    pub fn share_ended(&self) -> [u64; 2] {
        let [.., memory, packets] = self.counted();
        [memory, packets]
    }

    /// Packet buffers that are lent, for listings.
    #[must_use]
    pub fn lent(&self) -> u64 {
        self.counts.iter().map(|counts| counts.lent()).sum()
    }

    /// The counts of a lane, and the share it counts against.
    pub(super) fn account(&self, worker: u16) -> Option<Account> {
        Some(Account::new(&self.share, self.counts.get(usize::from(worker))?))
    }

    /// The counts of all lanes together.
    fn counted(&self) -> [u64; 4] {
        let sum = |sum: [u64; 4], counts: &Arc<Counts>| {
            let [a, b, c, d] = counts.values();
            let [e, f, g, h] = sum;
            [a.wrapping_add(e), b.wrapping_add(f), c.wrapping_add(g), d.wrapping_add(h)]
        };
        self.counts.iter().fold([0; 4], sum)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.share.give(self.rx_memory_in_use());
        self.counts.iter().for_each(|counts| self.share.give_loans(counts.loans_taken()));
        // SAFETY: lanes and loans hold an `Arc` of the slot, so nobody uses its addresses any more.
        let unmapped = unsafe { memory::reserve_at(self.read.base(), SLOT_LEN) };
        // If the kernel could not, the client's memory is still there: the slot is not used again.
        if unmapped.is_ok() {
            self.arena.free().push(self.index);
        }
    }
}
