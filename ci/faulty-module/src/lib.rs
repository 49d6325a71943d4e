//! Driver module for tests: fails in the ways that one can, as its options say.
#![deny(unsafe_code)]

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use devnp_sdk::{Config, Driver, Host, Info, Offloads, OpenError, RxBurst, TxBurst, export_driver};

export_driver!(Faulty);

/// Where it panics, and how long its first look for packets takes.
struct Faulty {
    place: String,
    stall: AtomicU64,
}

impl Driver for Faulty {
    const NAME: &'static str = "faulty";
    const VERSION: &'static str = env!("CARGO_PKG_VERSION");
    const OPTIONS: &'static str =
        "fail block=MILLISECONDS stall=MILLISECONDS panic=open|start|rx|tx|close gone";

    fn open(host: Host, config: Config<'_>) -> Result<(Self, Info), OpenError> {
        if host.option("fail").is_some() {
            return Err(OpenError::IO);
        }
        if let Some(ms) = host.option("block").and_then(|text| text.parse().ok()) {
            std::thread::sleep(Duration::from_millis(ms));
        }
        let place = host.option("panic").unwrap_or_default();
        assert!(place != "open", "asked to, in open");
        if host.option("gone").is_some() {
            host.removed();
        }
        let info = Info {
            queues: config.queues(),
            mtu: 1500,
            mtu_max: 1500,
            mac: None,
            offloads: Offloads::default(),
            more: false,
        };
        let stall = host.option("stall").and_then(|text| text.parse().ok()).unwrap_or(0);
        Ok((Self { place, stall: AtomicU64::new(stall) }, info))
    }

    fn start(&self) -> Result<(), OpenError> {
        assert!(self.place != "start", "asked to, in start");
        Ok(())
    }

    fn rx_burst(&self, _: u16, _: &mut RxBurst<'_>) {
        let stall = self.stall.swap(0, Ordering::Relaxed);
        if stall > 0 {
            std::thread::sleep(Duration::from_millis(stall));
        }
        assert!(self.place != "rx", "asked to, in rx_burst");
    }

    fn tx_burst(&self, _: u16, burst: &mut TxBurst<'_>) {
        while let Some(packet) = burst.take() {
            // The packet that is in hand is not lost by this.
            assert!(self.place != "tx", "asked to, in tx_burst, with {packet:?}");
        }
    }
}

impl Drop for Faulty {
    fn drop(&mut self) {
        assert!(self.place != "close", "asked to, in close");
    }
}
