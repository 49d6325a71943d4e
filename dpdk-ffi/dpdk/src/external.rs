//! Bytes of clients attached to packet buffers.
//!
//! ```text
//!  rte_mbuf ── shinfo ──> Books { shared: refcnt = 1, free_cb, opaque ─┐ , loan } in the private area
//!     │ buf_addr                 ^──────────────────────────────────────┘    │ keeps mapped
//!     └──────────────────────────> the client's bytes <─────────────────────┘
//! ```
//! Freeing the buffer, here or in a driver, takes `refcnt` to zero; DPDK calls `release`, which
//! drops the loan. This crate never clones a buffer, so the books outlive their only reference.

use core::ffi::c_void;
use core::mem::{MaybeUninit, offset_of};

use dpdk_sys::{rte_mbuf, rte_mbuf_ext_shared_info};
use shm::Loan;

use crate::limits::PRIVATE_LEN;
use crate::mbuf::Mbuf;

/// What the private area behind an `rte_mbuf` holds while a loan is attached.
#[repr(C)]
struct Books {
    shared: rte_mbuf_ext_shared_info,
    loan: MaybeUninit<Loan>,
}

const _: () = assert!(size_of::<Books>() <= PRIVATE_LEN as usize);
const _: () = assert!(align_of::<Books>() <= align_of::<rte_mbuf>());
const _: () = assert!(offset_of!(Books, shared) == 0);

impl Mbuf {
    /// Makes the loan's bytes this buffer's data, in place of its own, without copying. The loan is
    /// dropped when the buffer is freed, by whoever does that, on whatever thread.
    ///
    /// # Errors
    /// Gives the loan back if it is longer than 65535 bytes, or if this buffer is a chain, has a
    /// loan already, or is not from a [`Mempool`](crate::Mempool) of this crate.
    pub fn attach_external(&mut self, loan: Loan) -> Result<(), Loan> {
        let Ok(len) = u16::try_from(loan.len()) else { return Err(loan) };
        if self.segments() != 1 || self.is_external() || self.raw().priv_size < PRIVATE_LEN {
            return Err(loan);
        }
        // DPDK puts the buffer back where most pools have it, when the loan ends.
        if !self.has_buffer_behind() {
            return Err(loan);
        }
        // SAFETY: self owns the buffer and reads one integer of it.
        if unsafe { dpdk_sys::shim_mbuf_refcnt(self.as_ptr()) } != 1 {
            return Err(loan);
        }
        let start = loan.start().as_ptr();
        // The private area follows the rte_mbuf directly.
        let books = self.as_ptr().wrapping_add(1).cast::<Books>();
        let shared = rte_mbuf_ext_shared_info {
            free_cb: Some(release),
            fcb_opaque: books.cast::<c_void>(),
            refcnt: 1,
        };
        // SAFETY: priv_size ≥ PRIVATE_LEN ≥ size_of::<Books>() bytes follow the rte_mbuf, aligned
        // to a cache line, and no loan is in them, so nothing is overwritten without a drop.
        unsafe { books.write(Books { shared, loan: MaybeUninit::new(loan) }) };
        // IOVA = VA: clients' memory has no other address that DPDK knows, and devices that need
        // one are not used in IOVA-as-PA mode with loans.
        let iova = start as u64;
        let shared = books.cast::<rte_mbuf_ext_shared_info>();
        // SAFETY: a direct buffer with one owner; the bytes stay mapped while the loan in the books
        // lives, and `shared` is its books' first member, initialised above.
        unsafe {
            dpdk_sys::shim_pktmbuf_attach_extbuf(self.as_ptr(), start.cast(), iova, len, shared);
        }
        let raw = self.raw_mut();
        raw.data_len = len;
        raw.pkt_len = len.into();
        Ok(())
    }
}

/// DPDK frees the last reference to the bytes.
unsafe extern "C" fn release(_start: *mut c_void, books: *mut c_void) {
    let books = books.cast::<Books>();
    // SAFETY: `attach_external` gave this pointer to DPDK with an initialised loan, and DPDK calls
    // once, when the reference count reaches zero; the buffer is not back in its pool yet.
    let books = unsafe { books.read() };
    // SAFETY: initialised, as above; the bytes in the private area are not read again.
    drop(unsafe { books.loan.assume_init() });
}
