//! The device below a driver.

use core::ptr::NonNull;
use std::os::fd::BorrowedFd;

use devnp_abi as abi;

use crate::packet::Packet;

/// The device below. Its queues are the driver's: call each only while serving the queue of the same
/// number.
#[derive(Debug)]
pub struct Lower(NonNull<abi::Lower>);

// SAFETY: the daemon keeps the device until the driver is closed, and a queue's functions are called
// by the thread of that queue.
unsafe impl Send for Lower {}
// SAFETY: as above; see the type's rule.
unsafe impl Sync for Lower {}

impl Lower {
    pub(crate) fn new(raw: *const abi::Lower) -> Option<Self> {
        NonNull::new(raw.cast_mut()).map(Self)
    }

    fn table(&self) -> &abi::Lower {
        // SAFETY: the daemon's table is constant and lives until the driver is closed.
        unsafe { self.0.as_ref() }
    }

    /// Its address.
    #[must_use]
    pub fn mac(&self) -> [u8; 6] {
        self.table().mac
    }

    /// Its largest IP packet.
    #[must_use]
    pub fn mtu(&self) -> u16 {
        self.table().mtu
    }

    /// A descriptor that is readable while packets wait.
    #[must_use]
    pub fn rx_fd(&self, queue: u16) -> Option<BorrowedFd<'_>> {
        // SAFETY: the daemon's own pointer.
        let fd = unsafe { (self.table().rx_fd)(self.0.as_ptr(), queue) };
        // SAFETY: the daemon keeps it open as long as the device.
        (fd >= 0).then(|| unsafe { BorrowedFd::borrow_raw(fd) })
    }

    /// Appends received packets.
    pub fn rx_burst(&self, queue: u16, packets: &mut Vec<Packet>) {
        let mut raw = [core::ptr::null_mut(); crate::BURST_MAX];
        let room = u16::try_from(raw.len()).unwrap_or(0);
        let table = self.table();
        // SAFETY: the array has that many places.
        let got = unsafe { (table.rx_burst)(self.0.as_ptr(), queue, raw.as_mut_ptr(), room) };
        let got = raw.into_iter().take(got.into()).filter_map(NonNull::new);
        // SAFETY: the device gave them to this driver.
        packets.extend(got.map(|raw| unsafe { Packet::from_raw(raw) }));
    }

    /// Sends a packet.
    ///
    /// # Errors
    /// Gives it back if the device takes none now.
    pub fn send(&self, queue: u16, packet: Packet) -> Result<(), Packet> {
        let mut raw = packet.into_raw();
        // SAFETY: one packet, which the device owns if it says 1.
        let sent = unsafe { (self.table().tx_burst)(self.0.as_ptr(), queue, &raw mut raw, 1) };
        match (sent, NonNull::new(raw)) {
            // SAFETY: it was not taken: still this driver's.
            (0, Some(raw)) => Err(unsafe { Packet::from_raw(raw) }),
            _ => Ok(()),
        }
    }
}
