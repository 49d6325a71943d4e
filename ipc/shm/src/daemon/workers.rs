//! The page that tells clients which worker sleeps, and when the network has changed.

use core::sync::atomic::Ordering;
use std::os::fd::OwnedFd;

use rustix::io::Errno;

use crate::layout::{self, LANES_MAX, WORKERS_LEN};
use crate::memory;
use crate::region::Region;
use crate::sync::fence;

/// One `sleeping` word per worker and the network's generation, the same memory for all clients, which can
/// only read it.
#[derive(Debug)]
pub struct WorkersPage {
    region: Region,
    workers: u16,
}

// SAFETY: the page is only reached by atomics.
unsafe impl Send for WorkersPage {}
// SAFETY: as above.
unsafe impl Sync for WorkersPage {}

impl WorkersPage {
    /// Makes the page; the file is what clients get (as duplicates).
    ///
    /// # Errors
    /// The kernel's; `EINVAL` for more workers than lanes.
    pub fn create(workers: u16) -> Result<(Self, OwnedFd), Errno> {
        if workers > LANES_MAX {
            return Err(Errno::INVAL);
        }
        let file = memory::create("io-pkt-workers", WORKERS_LEN)?;
        let base = memory::map(&file, WORKERS_LEN, true)?;
        // SAFETY: just mapped, unmapped by drop only.
        let page = Self { region: unsafe { Region::new(base, WORKERS_LEN) }, workers };
        memory::seal(&file, true)?;
        Ok((page, file))
    }

    /// Says whether the worker needs its doorbell rung. After announcing sleep, the worker must look
    /// at all its lanes once more ([`crate::Lane::pending`]) before it sleeps: the fence in here and
    /// the client's after posting make sure that one of the two notices the other.
    pub fn set_sleeping(&self, worker: u16, sleeping: bool) {
        if worker < self.workers {
            let word = self.region.u32(layout::sleeping(worker));
            word.store(u32::from(sleeping), Ordering::Release);
            fence(Ordering::SeqCst);
        }
    }

    /// Tells all clients that interfaces or routes are others now. A generation is never used again, not
    /// even by the next daemon.
    pub fn set_network_generation(&self, generation: u64) {
        self.region.u64(layout::NETWORK_GENERATION).store(generation, Ordering::Release);
    }
}

impl Drop for WorkersPage {
    fn drop(&mut self) {
        // SAFETY: mapped by `create`, and nobody borrows from it.
        unsafe { memory::unmap(self.region.base(), self.region.len()) };
    }
}
