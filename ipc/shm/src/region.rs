//! Mapped memory that another process may write at any time.
//!
//! The only way in is by value: atomic words, and copies whose machine code the compiler cannot
//! merge, repeat or reorder into a second look. References to the bytes are the client's alone, to what the
//! daemon has published and does not touch, or has not been given yet.

use core::ptr::NonNull;

use crate::layout::WORD_MAX;
use crate::sync::{AtomicU32, AtomicU64};

/// A mapped range. Whoever holds it keeps the mapping alive.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Region {
    base: NonNull<u8>,
    len: usize,
}

impl Region {
    /// `len` is a multiple of [`WORD_MAX`].
    ///
    /// # Safety
    /// `base..base + len` must be a shared mapping, aligned to a page, that stays mapped with the
    /// same protection for as long as the value or a copy of it is used. If it is mapped read-only,
    /// only loads and [`Region::copy_out`] may be used.
    pub(crate) const unsafe fn new(base: NonNull<u8>, len: usize) -> Self {
        assert!(len.is_multiple_of(WORD_MAX), "a part of a word");
        Self { base, len }
    }

    pub(crate) const fn base(&self) -> NonNull<u8> {
        self.base
    }

    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    /// The u32 at `offset`.
    pub(crate) fn u32(&self, offset: usize) -> &AtomicU32 {
        let word = self.word::<u32>(offset);
        // SAFETY: `word` is inside the mapping and aligned to 4 (asserted by `word`), the mapping
        // outlives `self`, and all access to it in this process is atomic or by opaque copies.
        unsafe { AtomicU32::from_ptr(word) }
    }

    /// The u64 at `offset`.
    pub(crate) fn u64(&self, offset: usize) -> &AtomicU64 {
        let word = self.word::<u64>(offset);
        // SAFETY: as in `u32`, with alignment 8.
        unsafe { AtomicU64::from_ptr(word) }
    }

    /// The two u64 at `offset`, which is a multiple of 16.
    pub(crate) fn longs(&self, offset: usize) -> &[AtomicU64; 2] {
        let words = self.word::<[u64; 2]>(offset);
        // SAFETY: as in `u64`: both are inside the mapping, and what is aligned to 16 is to 8.
        unsafe { &*words.cast::<[AtomicU64; 2]>() }
    }

    /// Copies `bytes` to `offset`; false (and nothing copied) if they do not fit.
    #[must_use]
    pub(crate) fn copy_in(&self, offset: usize, bytes: &[u8]) -> bool {
        let Some(to) = self.range(offset, bytes.len()) else { return false };
        // SAFETY: source is a live slice, destination is inside a writable mapping (constructor's
        // contract), and no slice can overlap the mapping since none is ever made of it.
        unsafe { copy(bytes.as_ptr(), to.as_ptr(), bytes.len()) };
        true
    }

    /// Copies from `offset` into `out`; false (and nothing copied) if that is outside.
    #[must_use]
    pub(crate) fn copy_out(&self, offset: usize, out: &mut [u8]) -> bool {
        let Some(from) = self.range(offset, out.len()) else { return false };
        // SAFETY: as in `copy_in`, the other way round.
        unsafe { copy(from.as_ptr(), out.as_mut_ptr(), out.len()) };
        true
    }

    /// The bytes from `offset` on; none if they are not all inside.
    ///
    /// # Safety
    /// Nobody may write them while the slice is used.
    pub(crate) unsafe fn bytes(&self, offset: usize, len: usize) -> Option<&[u8]> {
        let start = self.range(offset, len)?;
        // SAFETY: inside the mapping, which outlives `self`; the caller promises that nobody writes.
        Some(unsafe { core::slice::from_raw_parts(start.as_ptr(), len) })
    }

    /// The bytes from `offset` on, to be written; none if they are not all inside.
    ///
    /// # Safety
    /// The mapping must be writable, and nobody else may use the bytes while the slice is used.
    #[expect(clippy::mut_from_ref, reason = "the memory is not this value's, as the contract says")]
    pub(crate) unsafe fn bytes_mut(&self, offset: usize, len: usize) -> Option<&mut [u8]> {
        let start = self.range(offset, len)?;
        // SAFETY: inside the mapping, which outlives `self`; the caller promises the rest.
        Some(unsafe { core::slice::from_raw_parts_mut(start.as_ptr(), len) })
    }

    /// Address of `offset`, if `len` bytes from there on are inside.
    pub(crate) fn range(&self, offset: usize, len: usize) -> Option<NonNull<u8>> {
        if offset.checked_add(len)? > self.len {
            return None;
        }
        // SAFETY: `offset <= self.len` was checked, so the result is inside or one past the mapping.
        Some(unsafe { self.base.add(offset) })
    }

    /// Address of a word that is aligned to its length. Offsets come from `layout`, never from the peer: a bad
    /// one is a bug of this crate, and stops here.
    fn word<T>(&self, offset: usize) -> *mut T {
        const { assert!(WORD_MAX.is_multiple_of(size_of::<T>()), "not a word") };
        assert!(
            offset.is_multiple_of(size_of::<T>()) && offset < self.len,
            "word outside of its region"
        );
        // SAFETY: just asserted to begin inside. It ends there, too: `self.len` is a multiple of `WORD_MAX`
        // (asserted by `new`), so of the word's length, and so is `offset`.
        unsafe { self.base.as_ptr().add(offset).cast() }
    }
}

/// Copies bytes of which one side may change under our hands: 64 at a time, then what the bits of the rest say.
/// (`rep movsb` would be one instruction, and takes longer to begin than short copies last.)
///
/// # Safety
/// Both ranges must be mapped for `len` bytes, `to` writable, and they must not overlap.
#[cfg(all(target_arch = "x86_64", not(miri)))]
#[inline]
unsafe fn copy(from: *const u8, to: *mut u8, len: usize) {
    // SAFETY: by contract both ranges are valid for `len` bytes, and no more are touched: blocks of 64 while so
    // many are left, then 32, 16, 8, 4, 2 and 1 by the bits of what is left. Each source byte is read once. The
    // compiler knows nothing of the accesses, so that a concurrent writer costs torn bytes, not undefined behaviour.
    unsafe {
        core::arch::asm!(
            "sub {left}, 64",
            "jb 3f",
            "2:",
            "movdqu {a}, [{from}]",
            "movdqu {b}, [{from} + 16]",
            "movdqu {c}, [{from} + 32]",
            "movdqu {d}, [{from} + 48]",
            "movdqu [{to}], {a}",
            "movdqu [{to} + 16], {b}",
            "movdqu [{to} + 32], {c}",
            "movdqu [{to} + 48], {d}",
            "add {from}, 64",
            "add {to}, 64",
            "sub {left}, 64",
            "jae 2b",
            // The borrow has left the lower six bits as they were.
            "3:",
            "test {left}, 32; jz 4f",
            "movdqu {a}, [{from}]",
            "movdqu {b}, [{from} + 16]",
            "movdqu [{to}], {a}",
            "movdqu [{to} + 16], {b}",
            "add {from}, 32",
            "add {to}, 32",
            "4:",
            "test {left}, 16; jz 5f",
            "movdqu {a}, [{from}]",
            "movdqu [{to}], {a}",
            "add {from}, 16",
            "add {to}, 16",
            "5:",
            "test {left}, 8; jz 6f",
            "mov {word}, [{from}]",
            "mov [{to}], {word}",
            "add {from}, 8",
            "add {to}, 8",
            "6:",
            "test {left}, 4; jz 7f",
            "mov {word:e}, [{from}]",
            "mov [{to}], {word:e}",
            "add {from}, 4",
            "add {to}, 4",
            "7:",
            "test {left}, 2; jz 8f",
            "mov {word:x}, [{from}]",
            "mov [{to}], {word:x}",
            "add {from}, 2",
            "add {to}, 2",
            "8:",
            "test {left}, 1; jz 9f",
            "mov {word:l}, [{from}]",
            "mov [{to}], {word:l}",
            "9:",
            left = inout(reg) len => _,
            from = inout(reg) from => _,
            to = inout(reg) to => _,
            word = out(reg) _,
            a = out(xmm_reg) _,
            b = out(xmm_reg) _,
            c = out(xmm_reg) _,
            d = out(xmm_reg) _,
            options(nostack),
        );
    }
}

/// Copies bytes of which one side may change under our hands.
///
/// # Safety
/// Both ranges must be mapped for `len` bytes, `to` writable, and they must not overlap.
#[cfg(all(not(target_arch = "x86_64"), not(miri)))]
unsafe fn copy(from: *const u8, to: *mut u8, len: usize) {
    for i in 0..len {
        // SAFETY: `i < len`, and the source is mapped for `len` bytes.
        let source = unsafe { from.add(i) };
        // SAFETY: `i < len`, and the destination is mapped for `len` bytes.
        let target = unsafe { to.add(i) };
        // SAFETY: mapped and aligned (a byte).
        let byte = unsafe { source.read_volatile() };
        // SAFETY: mapped, writable and aligned (a byte).
        unsafe { target.write_volatile(byte) };
    }
}

/// The same for Miri, which knows no assembly, and finds who writes what is being copied.
///
/// # Safety
/// Both ranges must be mapped for `len` bytes, `to` writable, and they must not overlap.
#[cfg(miri)]
unsafe fn copy(from: *const u8, to: *mut u8, len: usize) {
    // SAFETY: by contract.
    unsafe { core::ptr::copy_nonoverlapping(from, to, len) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_of_every_length_change_no_other_byte() {
        let source: Vec<u8> = (0..400_u16).map(|i| (i % 251) as u8 | 1).collect();
        for len in 0..300 {
            for (from, to) in [(0, 0), (1, 0), (0, 3), (7, 9)] {
                let mut target = vec![0; 400];
                let read = &source[from..from + len];
                // SAFETY: both slices are that long, and of different allocations.
                unsafe { copy(read.as_ptr(), target[to..to + len].as_mut_ptr(), len) };
                assert_eq!(&target[to..to + len], read);
                assert!(target[..to].iter().chain(&target[to + len..]).all(|byte| *byte == 0));
            }
        }
    }
}
