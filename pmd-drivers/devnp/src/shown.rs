//! Queues whose packets an application of DPDK is shown on their way ([`PacketRings`]).
//!
//! ```text
//!   port ──> rings.show ──> application ──> rings.collect ──> stack          RxQueue::shown_to
//!   stack ─> rings.show ──> application ──> rings.collect ──> out ──> port   TxQueue::shown_to
//! ```
//!
//! Packets that the application does not see go straight on, and may overtake those that it has.

use dpdk::{Burst, Lost, PacketRings};

use crate::queue::{RxQueue, TxQueue};

/// A receive queue with an application behind it.
#[derive(Debug)]
pub struct ShownRx {
    queue: RxQueue,
    rings: PacketRings,
}

/// A transmit queue with an application in front of it.
#[derive(Debug)]
pub struct ShownTx {
    queue: TxQueue,
    rings: PacketRings,
    /// What has passed and waits for the port.
    out: Burst,
}

impl ShownRx {
    pub(crate) fn new(queue: RxQueue, rings: PacketRings) -> Self {
        Self { queue, rings }
    }

    pub(crate) fn rx_burst(&mut self, burst: &mut Burst) -> usize {
        let mut worked = 0;
        // What the caller still has was shown before.
        if burst.is_empty() {
            worked = self.queue.rx_burst(burst);
            let _ = self.rings.show(burst);
            self.rings.went_on(burst.len());
        }
        worked + self.rings.collect(burst)
    }

    pub(crate) fn take_lost(&mut self) -> Lost {
        self.rings.take_lost()
    }
}

impl ShownTx {
    pub(crate) fn new(queue: TxQueue, rings: PacketRings) -> Self {
        Self { queue, rings, out: Burst::new() }
    }

    /// The packets are the application's, or gone, or sent; those stay that it does not see and the port does not take.
    pub(crate) fn tx_burst(&mut self, burst: &mut Burst) -> usize {
        let offered = burst.len();
        let _ = self.rings.show(burst);
        let _ = self.serve();
        if self.out.is_empty() && !burst.is_empty() {
            let sent = self.queue.tx_burst(burst);
            self.rings.went_on(sent);
        }
        offered - burst.len()
    }

    /// Sends what the application passes. `true`: something was sent.
    pub(crate) fn serve(&mut self) -> bool {
        let _ = self.rings.collect(&mut self.out);
        !self.out.is_empty() && self.queue.tx_burst(&mut self.out) > 0
    }

    pub(crate) fn waiting(&self) -> usize {
        self.out.len()
    }

    pub(crate) fn prepare(&mut self, mbuf: &mut dpdk::Mbuf) -> bool {
        self.queue.prepare(mbuf)
    }

    pub(crate) fn take_lost(&mut self) -> Lost {
        self.rings.take_lost()
    }
}
