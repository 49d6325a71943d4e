//! The two ends of a port's queues.

use crate::burst::Burst;
use crate::errno::{Errno, check};
use crate::ethdev::port::{Direction, state};
use crate::live::Live;
use crate::mbuf::Mbuf;

/// The only user of one receive queue. Dropping it gives the queue back.
#[derive(Debug)]
pub struct RxQueue {
    port: u16,
    queue: u16,
    _live: Live,
}

/// The only user of one transmit queue. Dropping it gives the queue back.
#[derive(Debug)]
pub struct TxQueue {
    port: u16,
    queue: u16,
    _live: Live,
}

impl RxQueue {
    pub(super) fn take(port: u16, queue: u16) -> Option<Self> {
        let live = Live::new()?;
        state(port)?.take(Direction::Rx, queue).then_some(()).map(|()| Self {
            port,
            queue,
            _live: live,
        })
    }

    /// Appends waiting packets to the burst, as many as are there and fit, and says how many. Give
    /// it an empty burst: some vector drivers receive only in blocks of 4 to 32.
    pub fn rx_burst(&mut self, burst: &mut Burst) -> usize {
        let len = burst.len();
        // At most BURST_MAX, which fits.
        let room = u16::try_from(burst.room()).unwrap_or(0);
        // SAFETY: len ≤ BURST_MAX, so this is within the array or one past its end.
        let free = unsafe { burst.as_raw().add(len) };
        // SAFETY: the queue is set up and its port can't be stopped while self exists; self is its
        // only user; there is room for that many pointers.
        let got = unsafe { dpdk_sys::shim_eth_rx_burst(self.port, self.queue, free, room) };
        // SAFETY: the driver wrote `got` ≤ room packets, which are ours now.
        unsafe { burst.grow(got.into()) };
        got.into()
    }

    /// Asks for an interrupt on the next packet, for a NIC whose
    /// [`rx_queue_fd`](crate::EthDev::rx_queue_fd) is to be slept on. Poll once more after it:
    /// packets may have come before. Not supported by `net_tap`, which needs none.
    ///
    /// # Errors
    /// The driver has none.
    pub fn arm_interrupt(&mut self) -> Result<(), Errno> {
        // SAFETY: the queue exists and self is its only user.
        check(unsafe { dpdk_sys::rte_eth_dev_rx_intr_enable(self.port, self.queue) }).map(|_| ())
    }

    /// Takes back [`arm_interrupt`](Self::arm_interrupt).
    ///
    /// # Errors
    /// The driver has none.
    pub fn disarm_interrupt(&mut self) -> Result<(), Errno> {
        // SAFETY: the queue exists and self is its only user.
        check(unsafe { dpdk_sys::rte_eth_dev_rx_intr_disable(self.port, self.queue) }).map(|_| ())
    }

    /// Its number.
    #[must_use]
    pub fn number(&self) -> u16 {
        self.queue
    }
}

impl TxQueue {
    pub(super) fn take(port: u16, queue: u16) -> Option<Self> {
        let live = Live::new()?;
        state(port)?.take(Direction::Tx, queue).then_some(()).map(|()| Self {
            port,
            queue,
            _live: live,
        })
    }

    /// Lets the driver look at a packet for which it is to sum or cut, and complete its headers: once
    /// for each that is cut into segments. `false`: it can't do what is asked.
    #[must_use]
    pub fn prepare(&mut self, mbuf: &mut Mbuf) -> bool {
        let mut raw = mbuf.as_ptr();
        // SAFETY: the queue is set up and self is its only user; one packet that `mbuf` owns alone,
        // which the driver reads and whose headers it may write.
        unsafe { dpdk_sys::shim_eth_tx_prepare(self.port, self.queue, &raw mut raw, 1) == 1 }
    }

    /// Sends packets from the front of the burst, as many as the port takes now, and says how many;
    /// the rest stays, in order.
    pub fn tx_burst(&mut self, burst: &mut Burst) -> usize {
        // At most BURST_MAX, which fits.
        let len = u16::try_from(burst.len()).unwrap_or(0);
        if len == 0 {
            return 0;
        }
        // SAFETY: the queue is set up and its port can't be stopped while self exists; self is its
        // only user; `len` packets that we own.
        let sent =
            unsafe { dpdk_sys::shim_eth_tx_burst(self.port, self.queue, burst.as_raw(), len) };
        // SAFETY: the driver took the first `sent` ≤ len packets and frees them.
        unsafe { burst.forget_front(sent.into()) };
        sent.into()
    }

    /// Its number.
    #[must_use]
    pub fn number(&self) -> u16 {
        self.queue
    }
}

impl Drop for RxQueue {
    fn drop(&mut self) {
        if let Some(state) = state(self.port) {
            state.give_back(Direction::Rx, self.queue);
        }
    }
}

impl Drop for TxQueue {
    fn drop(&mut self) {
        if let Some(state) = state(self.port) {
            state.give_back(Direction::Tx, self.queue);
        }
    }
}
