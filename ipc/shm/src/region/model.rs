//! The same for `loom`: words and bytes that know who has written them, and in which order others may see that.
//!
//! Both sides have mapped the same files; a word is the file's, wherever it is mapped. The model takes a word
//! for made by whoever asks for it first, and others for racing with that: [`prepare`] makes those that threads
//! are going to use.

use core::ptr::NonNull;
use std::collections::HashMap;
use std::os::fd::AsFd;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use loom::cell::UnsafeCell;
use loom::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};

use crate::daemon::Slot;
use crate::layout;
use crate::packet_memory::{PacketMemory, Place};

/// A mapped range.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Region {
    base: NonNull<u8>,
    len: usize,
}

/// Eight bytes of a file. A receive block has text and later a list of packets, or the reverse: its bytes may be used
/// as words once nobody can be looking at them as bytes any more.
struct Eight {
    /// Who uses them as before reads this, and who uses them otherwise writes it: the model ends the run if somebody
    /// who has used them as before may still be at it.
    kind: UnsafeCell<Kind>,
    words: (OnceLock<AtomicU32>, OnceLock<AtomicU32>),
    long: OnceLock<AtomicU64>,
    bytes: OnceLock<[Byte; 8]>,
}

/// The model ends the run if one is written while it is used, unless just that is to be tried.
enum Byte {
    Owned(UnsafeCell<u8>),
    Contested(AtomicU8),
}

impl Default for Byte {
    fn default() -> Self {
        Self::Owned(UnsafeCell::default())
    }
}

impl Byte {
    fn write(&self, value: u8) {
        match self {
            // SAFETY: the model ends the run if anybody else uses the byte meanwhile.
            Self::Owned(byte) => byte.with_mut(|place| unsafe { *place = value }),
            Self::Contested(byte) => byte.store(value, Ordering::Relaxed),
        }
    }

    fn read(&self) -> u8 {
        match self {
            // SAFETY: the model ends the run if anybody writes the byte meanwhile.
            Self::Owned(byte) => byte.with(|place| unsafe { *place }),
            Self::Contested(byte) => byte.load(Ordering::Relaxed),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Words,
    Long,
    Bytes,
}

impl Eight {
    fn new(kind: Kind) -> Self {
        Self {
            kind: UnsafeCell::new(kind),
            words: Default::default(),
            long: OnceLock::new(),
            bytes: OnceLock::new(),
        }
    }

    fn be(&self, kind: Kind) {
        // SAFETY: the model ends the run if anybody writes it meanwhile.
        let was = self.kind.with(|was| unsafe { *was });
        if was == kind {
            return;
        }
        assert!(was == Kind::Bytes || kind == Kind::Bytes, "{was:?} are used as {kind:?}");
        // SAFETY: the model ends the run if anybody else uses it meanwhile.
        self.kind.with_mut(|now| unsafe { *now = kind });
    }
}

/// What the files of one run of the model have.
#[derive(Default)]
struct Memory {
    /// By file and number.
    places: Mutex<HashMap<(u64, usize), Box<Eight>>>,
    /// What was looked at in place.
    shown: Mutex<Vec<Box<[u8]>>>,
}

// SAFETY: the model itself looks after the access to what is in it, and ends the run when two race.
unsafe impl Send for Memory {}
// SAFETY: as above; tables are behind mutexes.
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
        let (low, high) = &self.eight(offset, Kind::Words).words;
        let word = if offset.is_multiple_of(8) { low } else { high };
        word.get_or_init(Default::default)
    }

    pub(crate) fn u64(&self, offset: usize) -> &AtomicU64 {
        self.eight(offset, Kind::Long).long.get_or_init(Default::default)
    }

    pub(crate) fn longs(&self, offset: usize) -> [&AtomicU64; 2] {
        [self.u64(offset), self.u64(offset.wrapping_add(8))]
    }

    #[must_use]
    pub(crate) fn copy_in(&self, offset: usize, bytes: &[u8]) -> bool {
        for (at, byte) in (offset..).zip(bytes) {
            self.byte(at).write(*byte);
        }
        true
    }

    #[must_use]
    pub(crate) fn copy_out(&self, offset: usize, out: &mut [u8]) -> bool {
        for (at, byte) in (offset..).zip(out) {
            *byte = self.byte(at).read();
        }
        true
    }

    /// A copy of the bytes as they are now. Who looks at them for longer looks twice.
    ///
    /// # Safety
    /// None is needed: the model ends the run if anybody writes them meanwhile.
    pub(crate) unsafe fn bytes(&self, offset: usize, len: usize) -> Option<&[u8]> {
        let mut copy = vec![0; len].into_boxed_slice();
        let _ = self.copy_out(offset, &mut copy);
        let shown: *const [u8] = &raw const *copy;
        lock(&MEMORY.shown).push(copy);
        // SAFETY: boxed, never written, and kept until the run ends, when no thread is left.
        Some(unsafe { &*shown })
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

    #[expect(clippy::indexing_slicing, reason = "below eight, of which there are so many")]
    fn byte(&self, offset: usize) -> &Byte {
        let bytes = self.eight(offset, Kind::Bytes).bytes.get_or_init(Default::default);
        &bytes[offset % 8]
    }

    /// The eight bytes that `offset` is in, to be used as what is said.
    fn eight(&self, offset: usize, kind: Kind) -> &Eight {
        let base = self.base.as_ptr().addr();
        let file = lock(&MAPPED).as_ref().and_then(|mapped| mapped.get(&base).copied());
        let key = (file.unwrap_or(0), offset / 8);
        let mut places = lock(&MEMORY.places);
        let place = places.entry(key).or_insert_with(|| Box::new(Eight::new(kind)));
        let place: *const Eight = &raw const **place;
        drop(places);
        // SAFETY: places are boxed and never taken out before the run ends, when no thread is left.
        let place = unsafe { &*place };
        place.be(kind);
        place
    }
}

/// A port writes what it has received to a place of the packets' memory.
pub fn receive_packet(memory: &PacketMemory, place: Place, text: &[u8]) {
    let region = Region { base: memory.base(), len: 0 };
    let _ = region.copy_in(layout::packet_byte(place.buffer, place.offset), text);
}

/// From now on the first byte of a place may be written while it is being read, as ports do with packets that somebody
/// does not know to be no more his.
pub fn contest(memory: &PacketMemory, place: Place) {
    let region = Region { base: memory.base(), len: 0 };
    let at = layout::packet_byte(place.buffer, place.offset);
    let contested = || core::array::from_fn(|_| Byte::Contested(AtomicU8::new(0)));
    let _ = region.eight(at, Kind::Bytes).bytes.get_or_init(contested);
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
