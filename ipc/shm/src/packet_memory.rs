//! Memory of received packets that the daemon shows to clients it lends packets to.

use core::ptr::NonNull;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;

use crate::layout::PACKET_ROOM;
use crate::memory;

/// Page size of memory files.
const PAGE: usize = 4096;

/// Where in the packets' memory some bytes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Number of the buffer.
    pub buffer: u32,
    /// First byte in it.
    pub offset: u32,
    /// How many there are.
    pub len: u32,
}

/// Room for this many packet buffers of [`PACKET_ROOM`] bytes, one behind the other, in a memory file that only
/// the daemon can write. It stays mapped as long as the process: packet buffers point into it without telling.
#[derive(Debug)]
pub struct PacketMemory {
    base: NonNull<u8>,
    buffers: u32,
    file: OwnedFd,
}

// SAFETY: an address that is a plain number here, and a descriptor.
unsafe impl Send for PacketMemory {}
// SAFETY: as above.
unsafe impl Sync for PacketMemory {}

impl PacketMemory {
    /// Makes and maps the memory.
    ///
    /// # Errors
    /// The kernel's.
    pub fn create(buffers: u32) -> Result<Self, Errno> {
        let len = file_len(buffers).ok_or(Errno::INVAL)?;
        let file = memory::create("io-pkt-packets", len)?;
        let base = memory::map(&file, len, true)?;
        memory::seal(&file, true)?;
        Ok(Self { base, buffers, file })
    }

    /// First address.
    #[must_use]
    pub fn base(&self) -> NonNull<u8> {
        self.base
    }

    /// Number of buffers.
    #[must_use]
    pub fn buffers(&self) -> u32 {
        self.buffers
    }

    /// Where these bytes are, if they are in the memory.
    #[inline]
    #[must_use]
    pub fn place(&self, bytes: &[u8]) -> Option<Place> {
        let at = bytes.as_ptr().addr().checked_sub(self.base.addr().get())?;
        let (at, len) = (u32::try_from(at).ok()?, u32::try_from(bytes.len()).ok()?);
        let (buffer, offset) = (at / PACKET_ROOM, at % PACKET_ROOM);
        (buffer < self.buffers).then_some(Place { buffer, offset, len })
    }

    /// The number of the buffer with this address.
    #[inline]
    #[must_use]
    pub fn buffer_at(&self, address: usize) -> Option<u32> {
        let at = address.checked_sub(self.base.addr().get())?;
        let buffer = u32::try_from(at).ok()? / PACKET_ROOM;
        (buffer < self.buffers).then_some(buffer)
    }

    /// What clients map; they can't write it.
    #[must_use]
    pub fn file(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// Length of the file: whole pages.
fn file_len(buffers: u32) -> Option<usize> {
    let len = usize::try_from(buffers).ok()?.checked_mul(PACKET_ROOM as usize)?;
    (buffers > 0).then(|| len.checked_next_multiple_of(PAGE))?
}
