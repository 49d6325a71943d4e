//! What a worker counts of a client: receive memory in use, and what was posted.
//!
//! Each worker has a line of its own for it, which nobody else writes, so that counting is no exchange between
//! processors; listings add the lines up. Only what a user's limits are about is counted by all together.

use core::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;

use super::share::Share;
use crate::layout::BLOCK_LEN;

/// A worker's counts of a client.
#[derive(Debug, Default)]
#[repr(align(64))]
pub(super) struct Counts {
    rx_memory: AtomicU64,
    packets: AtomicU64,
    memory_refused: AtomicU64,
    packets_held: AtomicU64,
    /// Packet buffers that are lent.
    lent: AtomicU64,
    /// Those, and loans that were taken of the share and are left.
    loans_taken: AtomicU64,
}

impl Counts {
    /// Bytes of receive blocks in use, packets posted, and how often the share has ended of either.
    pub(super) fn values(&self) -> [u64; 4] {
        let Self { rx_memory, packets, memory_refused, packets_held, .. } = self;
        [rx_memory, packets, memory_refused, packets_held].map(|c| c.load(Ordering::Relaxed))
    }

    /// Packet buffers that are lent.
    pub(super) fn lent(&self) -> u64 {
        self.lent.load(Ordering::Relaxed)
    }

    /// Loans that are taken of the share.
    pub(super) fn loans_taken(&self) -> u32 {
        u32::try_from(self.loans_taken.load(Ordering::Relaxed)).unwrap_or(u32::MAX)
    }
}

/// A lane's counts, and its client's user.
#[derive(Debug)]
pub(super) struct Account {
    share: Arc<Share>,
    counts: Arc<Counts>,
}

impl Account {
    pub(super) fn new(share: &Arc<Share>, counts: &Arc<Counts>) -> Self {
        Self { share: Arc::clone(share), counts: Arc::clone(counts) }
    }

    /// What is looked at when posts are counted: to be fetched before.
    pub(super) fn ahead(&self) -> (&impl Sized, &impl Sized) {
        (&*self.share, &*self.counts)
    }

    /// Takes bytes of receive blocks, if the share has so many.
    pub(super) fn take(&self, len: u64) -> bool {
        let taken = self.share.take(len);
        if taken {
            add(&self.counts.rx_memory, len);
        } else {
            add(&self.counts.memory_refused, 1);
        }
        taken
    }

    /// Gives them back.
    pub(super) fn give(&self, len: u64) {
        self.share.give(len);
        let left = self.counts.rx_memory.load(Ordering::Relaxed).saturating_sub(len);
        self.counts.rx_memory.store(left, Ordering::Relaxed);
    }

    /// May packets be lent?
    pub(super) fn lends(&self) -> bool {
        self.share.lends()
    }

    /// Takes up to so many loans.
    pub(super) fn take_loans(&self, most: u32) -> u32 {
        let taken = self.share.take_loans(most);
        add(&self.counts.loans_taken, taken.into());
        taken
    }

    /// Gives some back.
    pub(super) fn give_loans(&self, count: u32) {
        self.share.give_loans(count);
        let left = self.counts.loans_taken.load(Ordering::Relaxed).saturating_sub(count.into());
        self.counts.loans_taken.store(left, Ordering::Relaxed);
    }

    /// So many packet buffers are lent.
    pub(super) fn lent(&self, count: u32) {
        self.counts.lent.store(count.into(), Ordering::Relaxed);
    }

    /// Receive blocks that the share has left.
    pub(super) fn blocks_left(&self) -> u32 {
        let blocks = self.share.memory_left().checked_div(u64::from(BLOCK_LEN));
        blocks.and_then(|blocks| u32::try_from(blocks).ok()).unwrap_or(u32::MAX)
    }

    /// May more be posted by now? Else: when.
    pub(super) fn may_post(&self, now_ns: u64) -> Result<(), u64> {
        if self.share.packets.is_open(now_ns) {
            return Ok(());
        }
        add(&self.counts.packets_held, 1);
        Err(self.share.packets.opens_at())
    }

    /// So many packets were posted.
    pub(super) fn posted(&self, now_ns: u64, count: u64) {
        add(&self.counts.packets, count);
        self.share.packets.charge(now_ns, count);
    }
}

/// Nobody else writes the count.
fn add(count: &AtomicU64, more: u64) {
    count.store(count.load(Ordering::Relaxed).wrapping_add(more), Ordering::Relaxed);
}
