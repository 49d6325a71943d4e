//! Packets on their way into and out of a driver, up to 32 at a time.

use core::marker::PhantomData;
use core::ptr::NonNull;

use devnp_abi as abi;

use crate::packet::{Packet, api};

/// Room for received packets.
#[derive(Debug)]
pub struct RxBurst<'a> {
    slots: *mut *mut abi::Mbuf,
    room: u16,
    filled: u16,
    _slots: PhantomData<&'a mut [*mut abi::Mbuf]>,
}

impl RxBurst<'_> {
    /// # Safety
    /// `slots` has `room` places that nobody else uses meanwhile.
    pub(crate) unsafe fn new(slots: *mut *mut abi::Mbuf, room: u16) -> Self {
        Self { slots, room, filled: 0, _slots: PhantomData }
    }

    /// Packets that still fit.
    #[must_use]
    pub fn room(&self) -> usize {
        usize::from(self.room - self.filled)
    }

    /// Gives a packet to the daemon.
    ///
    /// # Errors
    /// Gives it back if there is no room.
    pub fn push(&mut self, packet: Packet) -> Result<(), Packet> {
        if self.filled >= self.room {
            return Err(packet);
        }
        // SAFETY: `filled` is below `room`.
        let slot = unsafe { self.slots.add(self.filled.into()) };
        // SAFETY: as above: a place of ours.
        unsafe { slot.write(packet.into_raw()) };
        self.filled += 1;
        Ok(())
    }

    /// What was pushed stays pushed.
    pub(crate) fn finish(self) -> u16 {
        let filled = self.filled;
        core::mem::forget(self);
        filled
    }
}

impl Drop for RxBurst<'_> {
    /// A panic is under way: nobody will take these.
    fn drop(&mut self) {
        if let Some(api) = api() {
            // SAFETY: the first `filled` places hold packets that the daemon was not told of.
            unsafe { (api.free)(self.slots, self.filled) };
        }
    }
}

/// Packets to send.
#[derive(Debug)]
pub struct TxBurst<'a> {
    slots: *mut *mut abi::Mbuf,
    count: u16,
    taken: u16,
    _slots: PhantomData<&'a mut [*mut abi::Mbuf]>,
}

impl TxBurst<'_> {
    /// # Safety
    /// `slots` has `count` packets, whose owner this becomes as they are taken.
    pub(crate) unsafe fn new(slots: *mut *mut abi::Mbuf, count: u16) -> Self {
        Self { slots, count, taken: 0, _slots: PhantomData }
    }

    /// Packets that are left.
    #[must_use]
    pub fn len(&self) -> usize {
        usize::from(self.count - self.taken)
    }

    /// None are left.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Takes the next packet; it must be sent or dropped now.
    pub fn take(&mut self) -> Option<Packet> {
        if self.taken >= self.count {
            return None;
        }
        // SAFETY: `taken` is below `count`.
        let slot = unsafe { self.slots.add(self.taken.into()) };
        // SAFETY: as above: an initialised place.
        let raw = NonNull::new(unsafe { slot.read() })?;
        self.taken += 1;
        // SAFETY: the daemon gives up what is counted as taken.
        Some(unsafe { Packet::from_raw(raw) })
    }

    /// Puts the packet that was taken last back: it is offered again.
    pub fn put_back(&mut self, packet: Packet) {
        let Some(last) = self.taken.checked_sub(1) else { return drop(packet) };
        self.taken = last;
        // SAFETY: `last` is below `count`.
        let slot = unsafe { self.slots.add(last.into()) };
        // SAFETY: as above; the place's packet had been taken.
        unsafe { slot.write(packet.into_raw()) };
    }

    pub(crate) fn taken(&self) -> u16 {
        self.taken
    }
}
