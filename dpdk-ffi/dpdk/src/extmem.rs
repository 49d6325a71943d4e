//! Memory of others that DPDK is told about.

use core::ffi::c_void;

use crate::errno::{Errno, check};
use crate::live::{self, Live};
use crate::log;

/// A range of addresses that DPDK knows as external memory, until this is dropped.
///
/// DPDK does not touch the range by itself; only packets with a [`shm::Loan`] in it lead there.
#[derive(Debug)]
pub struct ExternalRegion {
    start: usize,
    len: usize,
    _live: Live,
}

/// Tells DPDK about the `len` bytes at address `start`, in pages of `page_len`. The range may be
/// reserved address space without access; memory can be mapped into it later. There are only
/// about a hundred entries for this: register one large range and map slots of it.
///
/// # Errors
/// EAL is not running, the range is not aligned to its pages, overlaps a registered one, or the
/// table is full.
pub fn register_external(
    start: usize,
    len: usize,
    page_len: usize,
) -> Result<ExternalRegion, RegisterError> {
    let live = Live::new().ok_or(RegisterError::NotRunning)?;
    if start == 0
        || len == 0
        || !page_len.is_power_of_two()
        || !start.is_multiple_of(page_len)
        || !len.is_multiple_of(page_len)
        || start.checked_add(len).is_none()
    {
        return Err(RegisterError::Unaligned { start, len, page_len });
    }
    let _control = live::control();
    let address = core::ptr::without_provenance_mut::<c_void>(start);
    let (code, text) = log::capture(|| {
        // SAFETY: DPDK notes the range in a table and accesses nothing in it. No IOVA table is
        // given: addresses are IOVAs.
        unsafe { dpdk_sys::rte_extmem_register(address, len, core::ptr::null_mut(), 0, page_len) }
    });
    match check(code) {
        Ok(_) => Ok(ExternalRegion { start, len, _live: live }),
        Err(errno) => Err(RegisterError::Refused { errno, reason: log::reason(&text) }),
    }
}

impl ExternalRegion {
    /// Its first address.
    #[must_use]
    pub fn start(&self) -> usize {
        self.start
    }

    /// Its length in bytes.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "an empty region is never registered")]
    pub fn len(&self) -> usize {
        self.len
    }
}

impl Drop for ExternalRegion {
    fn drop(&mut self) {
        let address = core::ptr::without_provenance_mut::<c_void>(self.start);
        let _control = live::control();
        // SAFETY: removes the entry that `register_external` made. Packets with loans do not depend
        // on it: DPDK looks at the table only for device mappings. A failure leaves the entry.
        let _ = unsafe { dpdk_sys::rte_extmem_unregister(address, self.len) };
    }
}

/// DPDK does not know the range.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RegisterError {
    /// Before [`Eal::init`](crate::Eal::init) or after cleanup.
    #[error("DPDK is not running; call Eal::init first")]
    NotRunning,
    /// The range must consist of whole pages.
    #[error("{len} bytes at {start:#x} are not whole pages of {page_len}; align both")]
    Unaligned {
        /// The address asked for.
        start: usize,
        /// The length asked for.
        len: usize,
        /// The page size asked for.
        page_len: usize,
    },
    /// DPDK said no.
    #[error("DPDK does not take the memory range: {reason} ({errno}); register one range only")]
    Refused {
        /// Its error number.
        errno: Errno,
        /// Its log.
        reason: String,
    },
}
