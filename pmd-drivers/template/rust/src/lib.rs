//! A driver module in Rust, to begin from: what is sent comes back.
//!
//! ```sh
//! cargo build --release
//! io-pkt -d $PWD/target/release/libdevnp_mirror.so
//! ```
#![deny(unsafe_code)]

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use devnp_sdk::{
    Config, Driver, Host, Info, Level, Offloads, OpenError, Packet, RxBurst, TxBurst, export_driver,
};

export_driver!(Mirror);

/// Packets under way; more are offered again.
const DEPTH: usize = 256;

/// One interface: a ring for each queue.
struct Mirror {
    rings: Vec<Mutex<VecDeque<Packet>>>,
}

impl Driver for Mirror {
    const NAME: &'static str = "mirror";
    const VERSION: &'static str = env!("CARGO_PKG_VERSION");
    const OPTIONS: &'static str = "";

    fn open(host: Host, config: Config<'_>) -> Result<(Self, Info), OpenError> {
        host.log(Level::Info, "what is sent comes back");
        let rings = (0..config.queues()).map(|_| Mutex::default()).collect();
        let info = Info {
            queues: config.queues(),
            mtu: config.mtu().unwrap_or(1500),
            mtu_max: 1500,
            mac: config.mac(),
            offloads: Offloads::default(),
            more: false,
        };
        Ok((Self { rings }, info))
    }

    fn stop(&self) {
        for ring in &self.rings {
            ring.lock().unwrap_or_else(PoisonError::into_inner).clear();
        }
    }

    /// Packets that are pushed are the daemon's.
    fn rx_burst(&self, queue: u16, burst: &mut RxBurst<'_>) {
        let Some(ring) = self.rings.get(usize::from(queue)) else { return };
        let mut ring = ring.lock().unwrap_or_else(PoisonError::into_inner);
        while burst.room() > 0
            && let Some(packet) = ring.pop_front()
        {
            // There is room: the loop's condition says so.
            let _ = burst.push(packet);
        }
    }

    /// Packets that are taken are ours.
    fn tx_burst(&self, queue: u16, burst: &mut TxBurst<'_>) {
        let Some(ring) = self.rings.get(usize::from(queue)) else { return };
        let mut ring = ring.lock().unwrap_or_else(PoisonError::into_inner);
        while ring.len() < DEPTH
            && let Some(packet) = burst.take()
        {
            ring.push_back(packet);
        }
    }
}
