//! Driver module for tests: fails in the ways that one can, as its options say. In `open` it hangs until the file
//! `hang=FILE` is there.
#![deny(unsafe_code)]

use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use devnp_sdk::{
    Config, Driver, Host, Info, Offloads, OpenError, RxBurst, Stat, TxBurst, export_driver,
};

export_driver!(Faulty);

/// Where it panics, and how long its first look for packets takes.
struct Faulty {
    place: String,
    stall: AtomicU64,
    /// Where it says that it was stopped by a crash.
    stopped: Option<File>,
    /// What it was told last.
    told: Mutex<String>,
}

/// Uses up the stack, which is a SIGSEGV.
#[expect(unconditional_recursion, reason = "that is the fault")]
fn overflow(depth: &mut u64) -> u64 {
    let mut deeper = std::hint::black_box(*depth + 1);
    overflow(&mut deeper) + *depth
}

impl Driver for Faulty {
    const NAME: &'static str = "faulty";
    const VERSION: &'static str = env!("CARGO_PKG_VERSION");
    const OPTIONS: &'static str = "fail block=MILLISECONDS hang=FILE stall=MILLISECONDS panic=open|start|rx|tx|close|ioctl overflow \
         stopped=FILE gone";
    const PANIC_STOP: bool = true;

    fn open(host: Host, config: Config<'_>) -> Result<(Self, Info), OpenError> {
        if host.option("fail").is_some() {
            return Err(OpenError::IO);
        }
        if let Some(ms) = host.option("block").and_then(|text| text.parse().ok()) {
            std::thread::sleep(Duration::from_millis(ms));
        }
        while host.option("hang").is_some_and(|file| !Path::new(&file).exists()) {
            std::thread::sleep(Duration::from_millis(10));
        }
        let place = host.option("panic").unwrap_or_default();
        assert!(place != "open", "asked to, in open");
        if host.option("gone").is_some() {
            host.removed();
        }
        let stopped = host.option("stopped").map(File::create).transpose();
        let stopped = stopped.map_err(|_| OpenError::INVALID)?;
        let place = if host.option("overflow").is_some() { "overflow".into() } else { place };
        let info = Info {
            queues: config.queues(),
            mtu: 1500,
            mtu_max: 1500,
            mac: None,
            offloads: Offloads::default(),
            more: false,
        };
        let stall = host.option("stall").and_then(|text| text.parse().ok()).unwrap_or(0);
        let (stall, told) = (AtomicU64::new(stall), Mutex::default());
        Ok((Self { place, stall, stopped, told }, info))
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
        if self.place == "overflow" {
            let _ = std::hint::black_box(overflow(&mut 0));
        }
    }

    fn tx_burst(&self, _: u16, burst: &mut TxBurst<'_>) {
        while let Some(packet) = burst.take() {
            // The packet that is in hand is not lost by this.
            assert!(self.place != "tx", "asked to, in tx_burst, with {packet:?}");
        }
    }

    fn set_mac(&self, mac: [u8; 6]) -> Result<(), OpenError> {
        self.tell(format!("mac {}", mac[5]))
    }

    fn set_promiscuous(&self, on: bool) -> Result<(), OpenError> {
        self.tell(format!("promiscuous {on}"))
    }

    fn set_allmulticast(&self, on: bool) -> Result<(), OpenError> {
        self.tell(format!("allmulticast {on}"))
    }

    /// Command 1: the answer is the data and what it was told last. 2: more than there is room for. 4: what
    /// it was told last.
    fn ioctl(&self, command: u32, data: &[u8]) -> Result<Vec<u8>, OpenError> {
        assert!(self.place != "ioctl", "asked to, in ioctl");
        let told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        match command {
            1 => Ok([data, b": ", told.as_bytes()].concat()),
            2 => Ok(vec![0; 5000]),
            4 => Ok(told.as_bytes().to_vec()),
            _ => Err(OpenError::NOT_SUPPORTED),
        }
    }

    fn stats(&self, set: &mut dyn FnMut(Stat, u64)) {
        set(Stat::RxFcs, 3);
    }

    fn panic_stop(&self) {
        // Nobody is left to tell of a failure.
        let _ = self.stopped.as_ref().map(|mut file| file.write_all(b"stopped\n"));
    }
}

impl Faulty {
    fn tell(&self, what: String) -> Result<(), OpenError> {
        *self.told.lock().unwrap_or_else(PoisonError::into_inner) = what;
        Ok(())
    }
}

impl Drop for Faulty {
    fn drop(&mut self) {
        assert!(self.place != "close", "asked to, in close");
    }
}
