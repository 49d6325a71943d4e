//! Blocks of the transmit area: which are in use, and by whom.

use core::sync::atomic::Ordering;

use super::map::ClientMap;
use crate::layout::{CELLS, TX_BLOCKS, own, own_cell};

const WORD: u32 = u64::BITS;
const WORDS: usize = TX_BLOCKS.div_ceil(WORD) as usize;

impl ClientMap {
    /// `count` blocks that follow each other; none if there are none even after taking back what
    /// other sockets do not need any more.
    pub(super) fn take_tx_blocks(&self, count: u32) -> Option<u32> {
        self.find_tx_blocks(count).or_else(|| {
            self.reclaim_tx_blocks();
            self.find_tx_blocks(count)
        })
    }

    /// Gives blocks back.
    pub(super) fn give_tx_blocks(&self, first: u32, count: u32) {
        let mask = mask(first % WORD, count);
        if first < TX_BLOCKS {
            let word = self.write.u64(own::tx_blocks_used((first / WORD) as usize));
            let _ = word.fetch_and(!mask, Ordering::AcqRel);
        }
    }

    fn find_tx_blocks(&self, count: u32) -> Option<u32> {
        (0..WORDS).find_map(|index| {
            let word = self.write.u64(own::tx_blocks_used(index));
            let mut used = word.load(Ordering::Relaxed);
            loop {
                let bit = (0..=WORD.saturating_sub(count)).find(|b| used & mask(*b, count) == 0)?;
                let taken = used | mask(bit, count);
                match word.compare_exchange(used, taken, Ordering::AcqRel, Ordering::Relaxed) {
                    Ok(_) => {
                        return u32::try_from(index).ok()?.checked_mul(WORD)?.checked_add(bit);
                    }
                    Err(now) => used = now,
                }
            }
        })
    }

    /// Takes back what sockets hold though it has been acknowledged, or though they are closed.
    fn reclaim_tx_blocks(&self) {
        for cell in 0..CELLS {
            let first = self.write.u32(own_cell::word(cell, own_cell::TX_FIRST));
            if first.load(Ordering::Relaxed) == 0 {
                continue;
            }
            // One that is being used gives back what it can by itself.
            if let Some(_guard) = self.try_lock(own_cell::word(cell, own_cell::TX_LOCK)) {
                self.release_tx_blocks(cell, true);
            }
        }
    }
}

const _: () = assert!(TX_BLOCKS.is_multiple_of(WORD));

fn mask(bit: u32, count: u32) -> u64 {
    let ones = 1u64.checked_shl(count).map_or(u64::MAX, |end| end.wrapping_sub(1));
    ones.wrapping_shl(bit)
}
