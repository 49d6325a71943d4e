//! Packets on their way into a protocol, up to 32 at a time.

use core::marker::PhantomData;
use core::mem::ManuallyDrop;
use core::ptr::NonNull;

use devnp_sdk::Packet;
use lsm_abi as abi;

/// Packets that are the protocol's now. Those that are not taken are freed.
#[derive(Debug)]
pub struct Received<'a> {
    slots: *mut *mut abi::Packet,
    count: u16,
    taken: u16,
    _slots: PhantomData<&'a mut [*mut abi::Packet]>,
}

impl Received<'_> {
    /// # Safety
    /// `slots` has `count` packets, whose owner this is.
    pub(crate) unsafe fn new(slots: *mut *mut abi::Packet, count: u16) -> Self {
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
}

impl Iterator for Received<'_> {
    type Item = Packet;

    fn next(&mut self) -> Option<Packet> {
        if self.taken >= self.count {
            return None;
        }
        // SAFETY: `taken` is below `count`.
        let slot = unsafe { self.slots.add(self.taken.into()) };
        self.taken += 1;
        // SAFETY: as above: an initialised place.
        let raw = NonNull::new(unsafe { slot.read() })?;
        // SAFETY: self owns it, and each is taken once.
        Some(unsafe { Packet::from_raw(raw) })
    }
}

impl Drop for Received<'_> {
    fn drop(&mut self) {
        self.for_each(drop);
    }
}

/// Frames to look at.
#[derive(Debug)]
pub struct Frames<'a> {
    slots: *const *const abi::Packet,
    count: u16,
    _slots: PhantomData<&'a [*const abi::Packet]>,
}

impl Frames<'_> {
    /// # Safety
    /// `slots` has `count` packets, which nobody changes meanwhile.
    pub(crate) unsafe fn new(slots: *const *const abi::Packet, count: u16) -> Self {
        Self { slots, count, _slots: PhantomData }
    }

    /// Calls `look` for each frame. Bytes of one in several pieces come by [`Packet::copy_to`].
    pub fn each(&self, mut look: impl FnMut(&Packet)) {
        for at in 0..self.count {
            // SAFETY: `at` is below `count`.
            let slot = unsafe { self.slots.add(at.into()) };
            // SAFETY: as above: an initialised place.
            let raw = unsafe { slot.read() };
            let Some(raw) = NonNull::new(raw.cast_mut()) else { continue };
            // SAFETY: only a shared borrow leaves here, and the packet is not freed with it.
            look(&ManuallyDrop::new(unsafe { Packet::from_raw(raw) }));
        }
    }
}

/// Packets to judge. One about which nothing is said passes.
#[derive(Debug)]
pub struct Questions<'a> {
    slots: *const *mut abi::Packet,
    verdicts: *mut u8,
    count: u16,
    asked: u16,
    _slots: PhantomData<&'a mut [u8]>,
}

impl Questions<'_> {
    /// # Safety
    /// `slots` has `count` packets that nobody else uses meanwhile, `verdicts` as many places.
    pub(crate) unsafe fn new(
        slots: *const *mut abi::Packet,
        verdicts: *mut u8,
        count: u16,
    ) -> Self {
        Self { slots, verdicts, count, asked: 0, _slots: PhantomData }
    }

    /// The next packet.
    pub fn next_packet(&mut self) -> Option<Question<'_>> {
        if self.asked >= self.count {
            return None;
        }
        let at = usize::from(self.asked);
        self.asked += 1;
        // SAFETY: `at` is below `count`.
        let slot = unsafe { self.slots.add(at) };
        // SAFETY: as above.
        let verdict = unsafe { self.verdicts.add(at) };
        // SAFETY: as above: an initialised place.
        let raw = NonNull::new(unsafe { slot.read() })?;
        // SAFETY: a place for this packet's verdict, which nobody else has.
        let verdict = unsafe { &mut *verdict };
        // SAFETY: the daemon owns it and does not touch it during the call; it is not freed with self.
        let packet = ManuallyDrop::new(unsafe { Packet::from_raw(raw) });
        Some(Question { packet, verdict })
    }
}

/// A packet to judge. Dropping this lets it pass.
#[derive(Debug)]
pub struct Question<'a> {
    packet: ManuallyDrop<Packet>,
    verdict: &'a mut u8,
}

impl Question<'_> {
    /// Its bytes; none if it is in several pieces: then [`Packet::copy_to`] reads it.
    #[must_use]
    pub fn data(&self) -> &[u8] {
        self.packet.data()
    }

    /// Its bytes, for a change in place; whoever changes them mends the checksums.
    #[must_use]
    pub fn data_mut(&mut self) -> &mut [u8] {
        self.packet.data_mut()
    }

    /// The packet, for a look.
    #[must_use]
    pub fn packet(&self) -> &Packet {
        &self.packet
    }

    /// The daemon drops and counts it.
    pub fn drop_packet(self) {
        *self.verdict = abi::DROP;
    }

    /// Takes it: nobody else gets it.
    #[must_use]
    pub fn consume(self) -> Packet {
        *self.verdict = abi::CONSUMED;
        ManuallyDrop::into_inner(self.packet)
    }
}
