//! The receive blocks of one lane.

use crate::layout::{BLOCK_LEN, RX_BLOCKS};

const WORDS: usize = RX_BLOCKS.div_ceil(64) as usize;

/// Which blocks are free; lowest first, so that a quiet client keeps touching the same cache lines.
#[derive(Debug)]
pub(super) struct BlockPool {
    free: [u64; WORDS],
    count: u32,
    /// Blocks below this word are all taken.
    hint: usize,
}

impl BlockPool {
    /// A pool of the blocks `first..first + count`.
    pub(super) fn new(first: u32, count: u32) -> Self {
        let mut pool = Self { free: [0; WORDS], count: 0, hint: 0 };
        for block in first..first.saturating_add(count).min(RX_BLOCKS) {
            pool.give(block, 1);
        }
        pool
    }

    /// Blocks left.
    pub(super) fn count(&self) -> u32 {
        self.count
    }

    /// The block that [`BlockPool::take`] gives next.
    pub(super) fn first(&self) -> Option<u32> {
        let mut words = self.free.iter().enumerate().skip(self.hint);
        let (index, word) = words.find(|(_, word)| **word != 0)?;
        u32::try_from(index).ok()?.checked_mul(64)?.checked_add(word.trailing_zeros())
    }

    /// One block.
    pub(super) fn take(&mut self) -> Option<u32> {
        let words = self.free.iter_mut().enumerate().skip(self.hint);
        for (index, word) in words {
            if *word != 0 {
                let bit = word.trailing_zeros();
                *word &= word.wrapping_sub(1);
                self.hint = index;
                self.count = self.count.saturating_sub(1);
                return u32::try_from(index).ok()?.checked_mul(64)?.checked_add(bit);
            }
        }
        self.hint = WORDS;
        None
    }

    /// `len` blocks that follow each other, for a datagram longer than one.
    pub(super) fn take_run(&mut self, len: u32) -> Option<u32> {
        if len <= 1 {
            return self.take();
        }
        let mut first = 0u32;
        while let Some(end) = first.checked_add(len).filter(|end| *end <= RX_BLOCKS) {
            match (first..end).rev().find(|block| !self.is_free(*block)) {
                Some(taken) => first = taken.saturating_add(1),
                None => {
                    (first..end).for_each(|block| self.clear(block));
                    return Some(first);
                }
            }
        }
        None
    }

    /// Gives blocks back.
    pub(super) fn give(&mut self, first: u32, len: u32) {
        for block in first..first.saturating_add(len) {
            let (index, mask) = place(block);
            if let Some(word) = self.free.get_mut(index) {
                debug_assert_eq!(*word & mask, 0, "block {block} given back twice");
                *word |= mask;
                self.count = self.count.saturating_add(1);
                self.hint = self.hint.min(index);
            }
        }
    }

    fn is_free(&self, block: u32) -> bool {
        let (index, mask) = place(block);
        self.free.get(index).is_some_and(|word| word & mask != 0)
    }

    fn clear(&mut self, block: u32) {
        let (index, mask) = place(block);
        if let Some(word) = self.free.get_mut(index) {
            *word &= !mask;
            self.count = self.count.saturating_sub(1);
        }
    }
}

fn place(block: u32) -> (usize, u64) {
    ((block / 64) as usize, 1u64.wrapping_shl(block % 64))
}

/// Bytes of this many blocks.
pub(super) fn bytes(blocks: u32) -> u64 {
    u64::from(blocks).saturating_mul(u64::from(BLOCK_LEN))
}
