//! Up to [`BURST_MAX`] packets at a time.

use core::fmt;

use arrayvec::{ArrayVec, Drain};
use dpdk_sys::rte_mbuf;

use crate::limits::BURST_MAX;
use crate::mbuf::Mbuf;

/// A short queue of packets, in order: what `rx_burst` fills and `tx_burst` empties. It lives on
/// the stack and never allocates.
#[derive(Default)]
pub struct Burst(ArrayVec<Mbuf, BURST_MAX>);

impl Burst {
    /// An empty one.
    #[must_use]
    pub const fn new() -> Self {
        Self(ArrayVec::new_const())
    }

    /// Appends a packet.
    ///
    /// # Errors
    /// Gives it back if the burst is full.
    pub fn push(&mut self, mbuf: Mbuf) -> Result<(), Mbuf> {
        self.0.try_push(mbuf).map_err(|full| full.element())
    }

    /// Takes the last packet.
    pub fn pop(&mut self) -> Option<Mbuf> {
        self.0.pop()
    }

    /// Packets in it.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// None in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// No more go in.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.0.is_full()
    }

    /// How many more go in.
    #[must_use]
    pub fn room(&self) -> usize {
        self.0.remaining_capacity()
    }

    /// Takes all packets out, in order.
    pub fn drain(&mut self) -> Drain<'_, Mbuf, BURST_MAX> {
        self.0.drain(..)
    }

    /// The packets, in order.
    pub fn iter(&self) -> core::slice::Iter<'_, Mbuf> {
        self.0.iter()
    }

    /// The packets, in order, writable.
    pub fn iter_mut(&mut self) -> core::slice::IterMut<'_, Mbuf> {
        self.0.iter_mut()
    }

    /// The packets as a slice.
    #[must_use]
    pub fn as_slice(&self) -> &[Mbuf] {
        &self.0
    }

    /// Turns the order round: [`pop`](Self::pop) then takes the first packet.
    pub fn reverse(&mut self) {
        self.0.as_mut_slice().reverse();
    }

    /// Moves the last `count` packets, or as many as there are and go in, behind those of `to`.
    pub fn move_back(&mut self, count: usize, to: &mut Self) {
        let count = count.min(self.len()).min(to.room());
        let rest = self.len() - count;
        // SAFETY: `rest` is at most `len`.
        let from = unsafe { self.0.as_ptr().add(rest) };
        // SAFETY: the entry behind the last packet is within the array, or its end.
        let end = unsafe { to.0.as_mut_ptr().add(to.len()) };
        // SAFETY: `count` initialised entries to as many free ones of another array; each packet keeps
        // one owner: `self` gives them up below, `to` declares them its own.
        unsafe { core::ptr::copy_nonoverlapping(from, end, count) };
        // SAFETY: shortening; what is beyond has been given away.
        unsafe { self.0.set_len(rest) };
        // SAFETY: `count` ≤ `room`, and those entries were written just now.
        unsafe { to.grow(count) };
    }

    /// Drops the packets for which `keep` says no; the rest keeps its order.
    pub fn retain(&mut self, keep: impl FnMut(&mut Mbuf) -> bool) {
        self.0.retain(keep);
    }

    /// Frees all packets with one call.
    pub fn clear(&mut self) {
        self.truncate(0);
    }

    /// Frees all packets but the first `len`, with one call.
    pub fn truncate(&mut self, len: usize) {
        let count = self.0.len().saturating_sub(len);
        if count == 0 {
            return;
        }
        // SAFETY: shortening, `len` is less than what it was; the packets are freed below, by C.
        unsafe { self.0.set_len(len) };
        // SAFETY: `len` entries from the start are within the array.
        let mbufs = unsafe { self.as_raw().add(len) };
        // SAFETY: the `count` entries from `len` on are owners that the set_len above gave up; Mbuf
        // is a transparent pointer. `count` ≤ BURST_MAX fits.
        #[expect(clippy::cast_possible_truncation, reason = "at most BURST_MAX")]
        unsafe {
            dpdk_sys::shim_pktmbuf_free_bulk(mbufs, count as u32);
        };
    }

    /// As the array of pointers that DPDK wants; entries from `len` on are not initialised.
    pub(crate) fn as_raw(&mut self) -> *mut *mut rte_mbuf {
        self.0.as_mut_ptr().cast()
    }

    /// Declares that `count` packets have been appended.
    ///
    /// # Safety
    /// `count` ≤ `room()`, and that many entries from `len` on are owned, well-formed chains.
    pub(crate) unsafe fn grow(&mut self, count: usize) {
        let len = self.0.len() + count;
        // SAFETY: by this function's contract.
        unsafe { self.0.set_len(len) };
    }

    /// Declares that C has taken the first `count` packets; the rest moves to the front.
    ///
    /// # Safety
    /// `count` ≤ `len()`, and C owns those packets now.
    pub(crate) unsafe fn forget_front(&mut self, count: usize) {
        let rest = self.0.len() - count;
        // SAFETY: shortening; what is beyond is given away (the front) or moved below.
        unsafe { self.0.set_len(0) };
        let start = self.0.as_mut_ptr();
        if count > 0 {
            // SAFETY: `count` ≤ the old length, so this stays within the array.
            let from = unsafe { start.add(count) };
            // SAFETY: both ranges lie in the array; `copy` allows them to overlap.
            unsafe { core::ptr::copy(from, start, rest) };
        }
        // SAFETY: the first `rest` entries are the packets just moved.
        unsafe { self.0.set_len(rest) };
    }
}

impl Drop for Burst {
    fn drop(&mut self) {
        self.clear();
    }
}

impl Extend<Mbuf> for Burst {
    /// Packets beyond [`BURST_MAX`] are freed: check [`room`](Self::room) first.
    fn extend<T: IntoIterator<Item = Mbuf>>(&mut self, packets: T) {
        for packet in packets {
            let _ = self.push(packet);
        }
    }
}

impl<'a> IntoIterator for &'a Burst {
    type Item = &'a Mbuf;
    type IntoIter = core::slice::Iter<'a, Mbuf>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl<'a> IntoIterator for &'a mut Burst {
    type Item = &'a mut Mbuf;
    type IntoIter = core::slice::IterMut<'a, Mbuf>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter_mut()
    }
}

impl fmt::Debug for Burst {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}
