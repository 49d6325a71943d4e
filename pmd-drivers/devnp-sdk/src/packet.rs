//! One packet, owned.

use core::mem::ManuallyDrop;
use core::ptr::NonNull;
use core::slice;
use core::sync::atomic::{AtomicPtr, Ordering};

use devnp_abi as abi;

/// The daemon's table, known from the first `open` on. It lives as long as the process.
static API: AtomicPtr<abi::Api> = AtomicPtr::new(core::ptr::null_mut());

/// Makes the daemon's table known to this module, before there is a packet. Generated code calls it.
///
/// # Safety
/// `api` is the daemon's, which is constant and lives as long as the process.
pub unsafe fn set_api(api: *const abi::Api) {
    API.store(api.cast_mut(), Ordering::Release);
}

/// The table. Only what a packet or a [`Host`](crate::Host) proves to exist asks for it.
pub(crate) fn api() -> Option<&'static abi::Api> {
    // SAFETY: null, or the daemon's table, which is constant and lives as long as the process.
    unsafe { API.load(Ordering::Relaxed).as_ref() }
}

/// What is known of a received packet's checksums.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RxChecksums {
    /// The IPv4 header's; `None`: not looked at.
    pub ipv4: Option<bool>,
    /// The TCP or UDP checksum; `None`: not looked at.
    pub l4: Option<bool>,
}

/// The owner of a packet. Dropping it frees it.
#[repr(transparent)]
#[derive(Debug)]
pub struct Packet(NonNull<abi::Mbuf>);

// SAFETY: a packet has one owner, and the daemon's functions may be called from any thread.
unsafe impl Send for Packet {}

impl Packet {
    /// Takes a packet over.
    ///
    /// # Safety
    /// The daemon gave it to this module, and nobody else owns it.
    #[must_use]
    pub unsafe fn from_raw(raw: NonNull<abi::Mbuf>) -> Self {
        Self(raw)
    }

    /// Gives the packet up to whoever gets the pointer.
    #[must_use]
    pub fn into_raw(self) -> *mut abi::Mbuf {
        ManuallyDrop::new(self).0.as_ptr()
    }

    /// Bytes of the packet; of its first piece if it has several.
    #[must_use]
    pub fn data(&self) -> &[u8] {
        let (start, len) = self.place();
        // SAFETY: that many bytes of a packet that self owns; &self keeps them from being written.
        unsafe { slice::from_raw_parts(start, len) }
    }

    /// Bytes of the packet, writable.
    #[must_use]
    pub fn data_mut(&mut self) -> &mut [u8] {
        let (start, len) = self.place();
        // SAFETY: as in `data`; &mut self makes the borrow the only one.
        unsafe { slice::from_raw_parts_mut(start, len) }
    }

    /// Bytes of the whole packet.
    #[must_use]
    pub fn len(&self) -> usize {
        // SAFETY: self owns the packet.
        api().map_or(0, |api| unsafe { (api.len)(self.0.as_ptr()) } as usize)
    }

    /// No bytes at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes that it has room for.
    #[must_use]
    pub fn room(&self) -> usize {
        // SAFETY: self owns the packet.
        api().map_or(0, |api| unsafe { (api.room)(self.0.as_ptr()) } as usize)
    }

    /// Makes it this long; bytes that are added are what was there. `false`: there is no room.
    #[must_use]
    pub fn set_len(&mut self, len: usize) -> bool {
        let Ok(len) = u32::try_from(len) else { return false };
        // SAFETY: self owns the packet.
        api().is_some_and(|api| unsafe { (api.set_len)(self.0.as_ptr(), len) } == 0)
    }

    /// Makes it hold these bytes. `false`: there is no room.
    #[must_use]
    pub fn fill(&mut self, bytes: &[u8]) -> bool {
        let set = self.set_len(bytes.len());
        let to = self.data_mut();
        let fits = set && to.len() == bytes.len();
        if fits {
            to.copy_from_slice(bytes);
        }
        fits
    }

    /// Copies `to.len()` bytes from `offset` on, across pieces. `false`: it is shorter.
    #[must_use]
    pub fn copy_to(&self, offset: usize, to: &mut [u8]) -> bool {
        let (Ok(offset), Ok(len)) = (u32::try_from(offset), u32::try_from(to.len())) else {
            return false;
        };
        let to = to.as_mut_ptr().cast();
        // SAFETY: self owns the packet; `to` has room for `len` bytes.
        api().is_some_and(|api| unsafe { (api.copy)(self.0.as_ptr(), offset, len, to) } == 0)
    }

    /// Says what is known of its checksums.
    pub fn set_checksums(&mut self, known: RxChecksums) {
        let flag = |known: Option<bool>, good, bad| match known {
            Some(true) => good,
            Some(false) => bad,
            None => 0,
        };
        let flags = flag(known.ipv4, abi::RX_IPV4_GOOD, abi::RX_IPV4_BAD)
            | flag(known.l4, abi::RX_L4_GOOD, abi::RX_L4_BAD);
        if let Some(api) = api() {
            // SAFETY: self owns the packet.
            unsafe { (api.set_rx)(self.0.as_ptr(), flags) };
        }
    }

    /// What has to be filled in before it is sent.
    #[must_use]
    pub fn tx_request(&self) -> abi::TxRequest {
        let mut request = abi::TxRequest::default();
        if let Some(api) = api() {
            // SAFETY: self owns the packet; a place for the answer.
            unsafe { (api.tx_request)(self.0.as_ptr(), &raw mut request) };
        }
        request
    }

    /// First byte and length of the first piece.
    fn place(&self) -> (*mut u8, usize) {
        let none = (NonNull::dangling().as_ptr(), 0);
        let Some(api) = api() else { return none };
        // SAFETY: self owns the packet.
        let start = unsafe { (api.data)(self.0.as_ptr()) };
        let mut piece = abi::Piece { data: core::ptr::null(), len: 0 };
        // SAFETY: self owns the packet; a place for the answer.
        let pieces = unsafe { (api.pieces)(self.0.as_ptr(), &raw mut piece, 1) };
        if start.is_null() || pieces != 1 { none } else { (start, piece.len) }
    }
}

impl Drop for Packet {
    fn drop(&mut self) {
        let mut raw = self.0.as_ptr();
        if let Some(api) = api() {
            // SAFETY: self owns the packet and is gone after this.
            unsafe { (api.free)(&raw mut raw, 1) };
        }
    }
}
