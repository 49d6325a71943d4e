//! The same for `loom`: words and bytes that know who has written them, and in which order others may see that.
//!
//! Both sides have mapped the same files; a word is the file's, wherever it is mapped. The model takes a word
//! for made by whoever asks for it first, and others for racing with that: [`prepare`] makes those that threads
//! are going to use.

use core::ptr::NonNull;
use std::collections::HashMap;
use std::os::fd::AsFd;
use std::sync::{Mutex, MutexGuard, PoisonError};

use loom::cell::UnsafeCell;
use loom::sync::atomic::{AtomicU32, AtomicU64};

use crate::daemon::Slot;
use crate::layout;

/// A mapped range.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Region {
    base: NonNull<u8>,
    len: usize,
}

/// What is at a place of a file.
enum Place {
    Word(AtomicU32),
    Long(AtomicU64),
    Byte(UnsafeCell<u8>),
}

/// Places of one run of the model, by file and offset.
#[derive(Default)]
struct Memory(Mutex<HashMap<(u64, usize), Box<Place>>>);

// SAFETY: the model itself looks after the access to what is in it, and ends the run when two race.
unsafe impl Send for Memory {}
// SAFETY: as above; the table is behind a mutex.
unsafe impl Sync for Memory {}

loom::lazy_static! {
    static ref MEMORY: Memory = Memory::default();
}

/// Which file is mapped where.
static MAPPED: Mutex<Option<HashMap<usize, u64>>> = Mutex::new(None);

/// A file has been mapped.
pub(crate) fn mapped(file: impl AsFd, at: NonNull<u8>) {
    // Of a memory file that is open the number is known.
    let number = rustix::fs::fstat(file).map_or(0, |stat| stat.st_ino);
    let _ = lock(&MAPPED).get_or_insert_default().insert(at.as_ptr().addr(), number);
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Region {
    /// # Safety
    /// None is needed: nothing is done with the memory.
    pub(crate) const unsafe fn new(base: NonNull<u8>, len: usize) -> Self {
        Self { base, len }
    }

    pub(crate) const fn base(&self) -> NonNull<u8> {
        self.base
    }

    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn u32(&self, offset: usize) -> &AtomicU32 {
        match self.place(offset, || Place::Word(AtomicU32::new(0))) {
            Place::Word(word) => word,
            _ => unreachable!("{offset:#x} is used as a word and as something else"),
        }
    }

    pub(crate) fn u64(&self, offset: usize) -> &AtomicU64 {
        match self.place(offset, || Place::Long(AtomicU64::new(0))) {
            Place::Long(word) => word,
            _ => unreachable!("{offset:#x} is used as two words and as something else"),
        }
    }

    pub(crate) fn longs(&self, offset: usize) -> [&AtomicU64; 2] {
        [self.u64(offset), self.u64(offset.wrapping_add(8))]
    }

    #[must_use]
    pub(crate) fn copy_in(&self, offset: usize, bytes: &[u8]) -> bool {
        for (at, byte) in (offset..).zip(bytes) {
            // SAFETY: the model ends the run if anybody else uses the byte meanwhile.
            self.byte(at).with_mut(|place| unsafe { *place = *byte });
        }
        true
    }

    #[must_use]
    pub(crate) fn copy_out(&self, offset: usize, out: &mut [u8]) -> bool {
        for (at, byte) in (offset..).zip(out) {
            // SAFETY: the model ends the run if anybody writes the byte meanwhile.
            *byte = self.byte(at).with(|place| unsafe { *place });
        }
        true
    }

    /// # Safety
    /// None is needed: there are no bytes in a row here.
    pub(crate) unsafe fn bytes(&self, _offset: usize, _len: usize) -> Option<&[u8]> {
        None
    }

    /// # Safety
    /// None is needed: there are no bytes in a row here.
    #[expect(clippy::mut_from_ref, reason = "as where there is memory")]
    pub(crate) unsafe fn bytes_mut(&self, _offset: usize, _len: usize) -> Option<&mut [u8]> {
        None
    }

    pub(crate) fn range(&self, _offset: usize, _len: usize) -> Option<NonNull<u8>> {
        None
    }

    fn byte(&self, offset: usize) -> &UnsafeCell<u8> {
        match self.place(offset, || Place::Byte(UnsafeCell::new(0))) {
            Place::Byte(byte) => byte,
            _ => unreachable!("{offset:#x} is used as a byte and as something else"),
        }
    }

    fn place(&self, offset: usize, make: impl FnOnce() -> Place) -> &Place {
        let base = self.base.as_ptr().addr();
        let file = lock(&MAPPED).as_ref().and_then(|mapped| mapped.get(&base).copied());
        let key = (file.unwrap_or(0), offset);
        let mut memory = lock(&MEMORY.0);
        let place: *const Place =
            &raw const **memory.entry(key).or_insert_with(|| Box::new(make()));
        // SAFETY: places are boxed and never taken out before the run ends, when no thread is left.
        unsafe { &*place }
    }
}

/// Makes what the first lane's ring, the queue of `cell` and a few bytes of the first blocks are made of.
pub fn prepare(slot: &Slot, cell: u32) {
    for index in 0..4 {
        for offset in [0, 8] {
            let _ = slot.write.u64(layout::tx_descriptor(0, index).wrapping_add(offset));
        }
        for offset in [0, 4, 8, 12] {
            let _ = slot.read.u32(layout::rx_descriptor(cell, index).wrapping_add(offset));
        }
    }
    for block in 0..2 {
        for byte in 0..4 {
            let _ = slot.read.byte(layout::rx_block(block).wrapping_add(byte));
            let _ = slot.write.byte(layout::tx_area(0).wrapping_add(byte));
        }
        let _ = slot.write.u64(layout::own::tx_block_end(block));
        let _ = slot.write.u32(layout::own::tx_block_next(block));
        let _ = slot.write.u32(layout::own::tx_block_count(block));
    }
    let _ = slot.write.u64(layout::own::tx_blocks_used(0));
    let _ = slot.write.u32(layout::own::ring_lock(0));
    let _ = slot.write.u32(layout::own::ring_producer(0));
    let _ = slot.read.u32(layout::lane_consumer(0));
}
