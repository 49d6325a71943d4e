//! The two ends of a port's queues, whoever drives it.

use dpdk::Burst;

use crate::module::{ModuleRx, ModuleTx};

/// The only user of one receive queue. Dropping it gives the queue back.
#[derive(Debug)]
pub enum RxQueue {
    /// Of a poll-mode driver of DPDK.
    Dpdk(dpdk::RxQueue),
    /// Of a driver module.
    Module(ModuleRx),
}

/// The only user of one transmit queue. Dropping it gives the queue back.
#[derive(Debug)]
pub enum TxQueue {
    /// Of a poll-mode driver of DPDK.
    Dpdk(dpdk::TxQueue),
    /// Of a driver module.
    Module(ModuleTx),
}

impl RxQueue {
    /// Appends waiting packets to the burst, as many as are there and fit, and says how many.
    #[inline]
    pub fn rx_burst(&mut self, burst: &mut Burst) -> usize {
        match self {
            Self::Dpdk(queue) => queue.rx_burst(burst),
            Self::Module(queue) => queue.rx_burst(burst),
        }
    }
}

impl TxQueue {
    /// Sends packets from the front of the burst, as many as the port takes now, and says how many;
    /// the rest stays, in order.
    #[inline]
    pub fn tx_burst(&mut self, burst: &mut Burst) -> usize {
        match self {
            Self::Dpdk(queue) => queue.tx_burst(burst),
            Self::Module(queue) => queue.tx_burst(burst),
        }
    }

    /// Lets the driver look at a packet that it is to cut into segments; `false`: it can't. A module
    /// that cuts takes all.
    #[must_use]
    pub fn prepare(&mut self, mbuf: &mut dpdk::Mbuf) -> bool {
        match self {
            Self::Dpdk(queue) => queue.prepare(mbuf),
            Self::Module(_) => true,
        }
    }
}
