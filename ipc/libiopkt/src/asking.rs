//! Which numbers are sockets that have asked for errors to be kept (`IP_RECVERR`, `IPV6_RECVERR`): a bit for each number
//! and one for each 64 of them, so that who looks at them all pays for them alone and not for the table of descriptors.

use core::sync::atomic::{AtomicU64, Ordering};

use libc::c_int;

use crate::table::SLOTS;

const BITS: usize = 64;

/// Numbers below `WORDS * 64`.
pub(crate) struct Numbers<const WORDS: usize, const GROUPS: usize> {
    words: [AtomicU64; WORDS],
    /// Bit *n*: word *n* of this group may have some.
    groups: [AtomicU64; GROUPS],
}

/// Of this program's.
pub(crate) static ASKING: Numbers<{ SLOTS / BITS }, { SLOTS / BITS / BITS }> = Numbers::new();

impl<const WORDS: usize, const GROUPS: usize> Numbers<WORDS, GROUPS> {
    const fn new() -> Self {
        Self {
            words: [const { AtomicU64::new(0) }; WORDS],
            groups: [const { AtomicU64::new(0) }; GROUPS],
        }
    }

    /// It is one of them, or it is none any more.
    pub(crate) fn set(&self, fd: c_int, on: bool) {
        let Ok(number) = usize::try_from(fd) else { return };
        let (at, bit) = (number / BITS, 1_u64 << (number % BITS));
        let Some(word) = self.words.get(at) else { return };
        if !on {
            // As a rule it was none.
            if word.load(Ordering::Relaxed) & bit != 0 {
                let _ = word.fetch_and(!bit, Ordering::Relaxed);
            }
            return;
        }
        let _ = word.fetch_or(bit, Ordering::Relaxed);
        if let Some(group) = self.groups.get(at / BITS) {
            let _ = group.fetch_or(1 << (at % BITS), Ordering::Release);
        }
    }

    /// All of them.
    pub(crate) fn iter(&self) -> impl Iterator<Item = c_int> + '_ {
        let at_bits = |base: usize, bits: u64| {
            let set = (0..BITS).filter(move |bit| bits >> bit & 1 != 0);
            set.map(move |bit| base * BITS + bit)
        };
        let groups = self.groups.iter().enumerate();
        let groups = groups.map(|(at, group)| (at, group.load(Ordering::Acquire)));
        let words =
            groups.filter(|(_, bits)| *bits != 0).flat_map(move |(at, bits)| at_bits(at, bits));
        let words = words.filter_map(|at| Some((at, self.words.get(at)?.load(Ordering::Relaxed))));
        let numbers =
            words.filter(|(_, bits)| *bits != 0).flat_map(move |(at, bits)| at_bits(at, bits));
        numbers.filter_map(|number| c_int::try_from(number).ok())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_that_were_set_are_found_in_order_and_no_others() {
        let numbers = Numbers::<{ 2 * BITS }, 2>::new();
        let all = |numbers: &Numbers<{ 2 * BITS }, 2>| numbers.iter().collect::<Vec<_>>();
        assert!(all(&numbers).is_empty());
        for fd in [8191, 3, 64, 4096, -1, 8192, c_int::MAX] {
            numbers.set(fd, true);
        }
        assert_eq!(all(&numbers), [3, 64, 4096, 8191]);
        for fd in [64, 65, 8191, -1] {
            numbers.set(fd, false);
        }
        assert_eq!(all(&numbers), [3, 4096]);
        numbers.set(64, true);
        assert_eq!(all(&numbers), [3, 64, 4096]);
    }
}
