//! Bytes of shared memory lent to a packet buffer.

use core::any::Any;
use core::fmt;
use core::ptr::NonNull;
use std::sync::Arc;

/// A range of mapped memory together with the owner that keeps it mapped.
///
/// The bytes may be written by a client while the loan lives, so there is no way to borrow them as
/// a slice: a driver hands the address to hardware or to a system call.
pub struct Loan {
    owner: Arc<dyn Any + Send + Sync>,
    start: NonNull<u8>,
    len: u32,
}

impl Loan {
    /// Lends `len` bytes from `start` on.
    ///
    /// # Safety
    /// `start..start + len` must stay mapped and readable for as long as `owner` is alive.
    #[must_use]
    pub unsafe fn new(owner: Arc<dyn Any + Send + Sync>, start: NonNull<u8>, len: u32) -> Self {
        Self { owner, start, len }
    }

    /// First byte of the range.
    #[must_use]
    pub fn start(&self) -> NonNull<u8> {
        self.start
    }

    /// Length in bytes.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "an empty loan is never made")]
    pub fn len(&self) -> u32 {
        self.len
    }
}

impl fmt::Debug for Loan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Loan")
            .field("start", &self.start)
            .field("len", &self.len)
            .field("owners", &Arc::strong_count(&self.owner))
            .finish()
    }
}

// SAFETY: the range is only ever read through its address, the owner is Send + Sync, and no method
// gives out a reference into the range.
unsafe impl Send for Loan {}
