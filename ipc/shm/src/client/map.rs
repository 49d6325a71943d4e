//! A client's mapping of its memory, and the rings in it.

use core::fmt;
use core::ptr::NonNull;
use core::sync::atomic::{self, Ordering};
use std::os::fd::OwnedFd;
use std::sync::Arc;

use rustix::io::Errno;

use super::lock::{self, Guard};
use super::own::Own;
use super::socket::SocketMemory;
use crate::daemon::{CellId, TxFlags};
use crate::layout::{
    self, CELLS, LANES_MAX, LAP, READ_LEN, RING_LEN, WORD_MAX, WORKERS_LEN, WRITE_LEN, own,
};
use crate::memory;
use crate::region::Region;
use crate::sync::fence;
use crate::words::pair;

/// What came with the daemon's answer to an attach request.
#[derive(Debug)]
pub struct ClientFiles {
    /// Memory the client may only read.
    pub read: OwnedFd,
    /// Memory the client writes.
    pub write: OwnedFd,
    /// The page that says which workers sleep.
    pub workers: OwnedFd,
    /// Memory of packets, if some may be lent to the client.
    pub packets: Option<OwnedFd>,
    /// One doorbell per worker.
    pub doorbells: Vec<OwnedFd>,
}

/// The memory a client shares with the daemon, mapped. Inherited by forked children, which may go
/// on using it.
pub struct ClientMap {
    pub(super) read: Region,
    pub(super) write: Region,
    workers: Region,
    /// Memory of packets that may be lent.
    pub(super) packets: Option<Region>,
    doorbells: Vec<Own>,
    /// The process id, in a page of its own that is zero after a fork.
    process: NonNull<u8>,
}

// SAFETY: the regions are only reached by atomics and opaque copies, the page by atomics.
unsafe impl Send for ClientMap {}
// SAFETY: as above.
unsafe impl Sync for ClientMap {}

const PAGE: usize = 4096;

/// The ring has no free entry until the worker has read on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RingFull;

impl ClientMap {
    /// Maps what the daemon has sent. The descriptors of the memory are closed, the doorbells kept.
    ///
    /// # Errors
    /// The kernel's; `EINVAL` if the files are not what they should be.
    pub fn map(files: ClientFiles) -> Result<Arc<Self>, Errno> {
        let doorbells = files.doorbells;
        if doorbells.is_empty() || doorbells.len() > usize::from(LANES_MAX) {
            return Err(Errno::INVAL);
        }
        let read = Mapped::new(&files.read, READ_LEN, false)?;
        let write = Mapped::new(&files.write, WRITE_LEN, true)?;
        let workers = Mapped::new(&files.workers, WORKERS_LEN, false)?;
        let packets = files.packets.as_ref().map(Mapped::whole).transpose()?;
        let process = memory::wiped_on_fork(PAGE)?;
        Ok(Arc::new(Self {
            read: read.keep(),
            write: write.keep(),
            workers: workers.keep(),
            packets: packets.map(Mapped::keep),
            doorbells: doorbells.into_iter().map(Own::new).collect(),
            process,
        }))
    }

    /// The memory of a socket that the daemon has just made; `None` if the daemon talks nonsense.
    /// Call it once for each: it resets what the cell's last socket has left.
    #[must_use]
    pub fn socket(self: &Arc<Self>, cell: CellId, worker: u16) -> Option<SocketMemory> {
        let known = cell.index < CELLS && usize::from(worker) < self.doorbells.len();
        known.then(|| SocketMemory::begin(Arc::clone(self), cell, worker))
    }

    /// The memory of a socket that another process of this client has been using.
    #[must_use]
    pub fn known_socket(self: &Arc<Self>, cell: CellId, worker: u16) -> Option<SocketMemory> {
        let known = cell.index < CELLS && usize::from(worker) < self.doorbells.len();
        known.then(|| SocketMemory { map: Arc::clone(self), cell, worker })
    }

    /// Lock around requests on the control connection, for all processes that share it.
    pub fn call_lock(&self) -> impl Drop + '_ {
        self.lock(own::CALL_LOCK)
    }

    /// A sequence number for a request.
    #[must_use]
    pub fn next_sequence(&self) -> u32 {
        self.write.u32(own::CALL_SEQUENCE).fetch_add(1, Ordering::Relaxed)
    }

    /// Which interfaces and routes there are, by a number that is never used again.
    #[must_use]
    pub fn network_generation(&self) -> u64 {
        self.workers.u64(layout::NETWORK_GENERATION).load(Ordering::Acquire)
    }

    /// Rings the worker's doorbell if it sleeps. Call it after posting.
    pub(super) fn wake(&self, worker: u16) {
        // The descriptor is written before the word is read; the worker does the reverse.
        fence(Ordering::SeqCst);
        if self.workers.u32(layout::sleeping(worker)).load(Ordering::Relaxed) != 0 {
            self.ring(worker);
        }
    }

    /// Rings the worker's doorbell.
    pub(super) fn ring(&self, worker: u16) {
        if let Some(doorbell) = self.doorbells.get(usize::from(worker)) {
            // Only a counter that is full makes this fail, and then it has been rung.
            let _ = rustix::io::write(doorbell.fd(), &1_u64.to_ne_bytes());
        }
    }

    /// Posts a descriptor.
    pub(super) fn post(
        &self,
        worker: u16,
        cell: CellId,
        (offset, length): (u32, u32),
        flags: TxFlags,
    ) -> Result<(), RingFull> {
        let _guard = self.lock(own::ring_lock(worker));
        let producer = self.write.u32(own::ring_producer(worker));
        let mut index = producer.load(Ordering::Relaxed);
        if self.is_posted(worker, index) {
            // Whoever posted this one was killed before it could say so.
            index = index.wrapping_add(1);
        }
        let consumer = self.read.u32(layout::lane_consumer(worker)).load(Ordering::Acquire);
        if index.wrapping_sub(consumer) >= RING_LEN {
            return Err(RingFull);
        }
        let [a, b, ..] = cell.index.to_ne_bytes();
        let [c, d] = cell.generation.to_ne_bytes();
        let at = layout::tx_descriptor(worker, index);
        let lower = pair(u32::from_ne_bytes([a, b, c, d]), offset);
        let upper = pair(length, flags.bits() | layout::lap(index));
        self.write.u64(at).store(lower, Ordering::Relaxed);
        self.write.u64(at.wrapping_add(8)).store(upper, Ordering::Release);
        producer.store(index.wrapping_add(1), Ordering::Relaxed);
        Ok(())
    }

    fn is_posted(&self, worker: u16, index: u32) -> bool {
        let at = layout::tx_descriptor(worker, index).wrapping_add(8);
        let [.., a, b, c, d] = self.write.u64(at).load(Ordering::Relaxed).to_ne_bytes();
        u32::from_ne_bytes([a, b, c, d]) & LAP == layout::lap(index)
    }

    pub(super) fn lock(&self, at: usize) -> Guard<'_> {
        lock::lock(self.write.u32(at), self.process())
    }

    pub(super) fn try_lock(&self, at: usize) -> Option<Guard<'_>> {
        lock::try_lock(self.write.u32(at), self.process())
    }

    fn process(&self) -> u32 {
        // SAFETY: the page is mapped writable until drop, page-aligned, and only used atomically.
        let word = unsafe { atomic::AtomicU32::from_ptr(self.process.as_ptr().cast::<u32>()) };
        match word.load(Ordering::Relaxed) {
            0 => {
                let process = std::process::id();
                word.store(process, Ordering::Relaxed);
                process
            }
            process => process,
        }
    }
}

impl fmt::Debug for ClientMap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientMap").field("workers", &self.doorbells.len()).finish_non_exhaustive()
    }
}

impl Drop for ClientMap {
    fn drop(&mut self) {
        for region in [self.read, self.write, self.workers].into_iter().chain(self.packets) {
            // SAFETY: mapped by `map`, and all that borrows from it holds an `Arc` of the map.
            unsafe { memory::unmap(region.base(), region.len()) };
        }
        // SAFETY: mapped by `map`, used by methods only.
        unsafe { memory::unmap(self.process, PAGE) };
    }
}

/// A mapping that goes away unless it is kept.
struct Mapped {
    region: Region,
}

impl Mapped {
    fn new(file: &OwnedFd, len: usize, writable: bool) -> Result<Self, Errno> {
        // A shorter file would mean SIGBUS; a sealed one stays as long as it is. A part of a word is no word.
        if usize::try_from(memory::len_of(file)?) != Ok(len) || !len.is_multiple_of(WORD_MAX) {
            return Err(Errno::INVAL);
        }
        let base = memory::map(file, len, writable)?;
        // SAFETY: just mapped; the writable part is the only one that is written to.
        Ok(Self { region: unsafe { Region::new(base, len) } })
    }

    /// All of a file, to be read.
    fn whole(file: &OwnedFd) -> Result<Self, Errno> {
        let len = usize::try_from(memory::len_of(file)?).map_err(|_| Errno::INVAL)?;
        Self::new(file, len, false)
    }

    fn keep(self) -> Region {
        let region = self.region;
        core::mem::forget(self);
        region
    }
}

impl Drop for Mapped {
    fn drop(&mut self) {
        // SAFETY: mapped by `new`, and nobody uses it yet.
        unsafe { memory::unmap(self.region.base(), self.region.len()) };
    }
}
