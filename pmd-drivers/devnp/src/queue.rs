//! The two ends of a port's queues, whoever drives it.

use dpdk::{Burst, Lost, PacketRings};

use crate::module::{ModuleRx, ModuleTx};
use crate::shown::{ShownRx, ShownTx};

/// The only user of one receive queue. Dropping it gives the queue back.
#[derive(Debug)]
pub enum RxQueue {
    /// Of a poll-mode driver of DPDK.
    Dpdk(dpdk::RxQueue),
    /// Of a driver module.
    Module(ModuleRx),
    /// Of either, and an application is shown its packets.
    Shown(Box<ShownRx>),
}

/// The only user of one transmit queue. Dropping it gives the queue back.
#[derive(Debug)]
pub enum TxQueue {
    /// Of a poll-mode driver of DPDK.
    Dpdk(dpdk::TxQueue),
    /// Of a driver module.
    Module(ModuleTx),
    /// Of either, and an application is shown its packets.
    Shown(Box<ShownTx>),
}

impl RxQueue {
    /// Appends waiting packets to the burst, as many as are there and fit, and says how many.
    #[inline]
    pub fn rx_burst(&mut self, burst: &mut Burst) -> usize {
        match self {
            Self::Dpdk(queue) => queue.rx_burst(burst),
            Self::Module(queue) => queue.rx_burst(burst),
            Self::Shown(queue) => queue.rx_burst(burst),
        }
    }

    /// Its packets are shown to an application from here on.
    #[must_use]
    pub fn shown_to(self, rings: PacketRings) -> Self {
        Self::Shown(Box::new(ShownRx::new(self, rings)))
    }

    /// What has been lost to an application since the last call.
    #[inline]
    #[must_use]
    pub fn take_lost(&mut self) -> Lost {
        match self {
            Self::Dpdk(_) | Self::Module(_) => Lost::default(),
            Self::Shown(queue) => queue.take_lost(),
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
            Self::Shown(queue) => queue.tx_burst(burst),
        }
    }

    /// Its packets are shown to an application from here on.
    #[must_use]
    pub fn shown_to(self, rings: PacketRings) -> Self {
        Self::Shown(Box::new(ShownTx::new(self, rings)))
    }

    /// Sends what an application has passed or made. `true`: something was sent.
    #[inline]
    pub fn serve(&mut self) -> bool {
        match self {
            Self::Dpdk(_) | Self::Module(_) => false,
            Self::Shown(queue) => queue.serve(),
        }
    }

    /// Packets that an application has passed and the port has not taken yet.
    #[inline]
    #[must_use]
    pub fn waiting(&self) -> usize {
        match self {
            Self::Dpdk(_) | Self::Module(_) => 0,
            Self::Shown(queue) => queue.waiting(),
        }
    }

    /// What has been lost to an application since the last call.
    #[inline]
    #[must_use]
    pub fn take_lost(&mut self) -> Lost {
        match self {
            Self::Dpdk(_) | Self::Module(_) => Lost::default(),
            Self::Shown(queue) => queue.take_lost(),
        }
    }

    /// Lets the driver look at a packet that it is to cut into segments; `false`: it can't. A module
    /// that cuts takes all.
    #[must_use]
    pub fn prepare(&mut self, mbuf: &mut dpdk::Mbuf) -> bool {
        match self {
            Self::Dpdk(queue) => queue.prepare(mbuf),
            Self::Module(_) => true,
            Self::Shown(queue) => queue.prepare(mbuf),
        }
    }
}
