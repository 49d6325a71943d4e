//! Driver modules in Rust without a line of unsafe code.
//!
//! A module is a crate of type `cdylib` with a type that implements [`Driver`] and one line
//! [`export_driver!`]. This crate makes the C table of it, keeps packets from being lost, and catches
//! panics: one that leaves a driver's function takes the interface down, and the daemon goes on.
//!
//! * [`Driver`]: what a driver is. * [`Config`], [`Info`]: what is asked for and what was made.
//! * [`Packet`], [`RxBurst`], [`TxBurst`]: packets, and how they pass.
//! * [`Host`]: what the daemon does for the driver. * [`Lower`]: a device below.
//! * [`module`]: what SDKs for modules of other kinds are made with too.
//!
//! `pmd-drivers/README.md` has a whole driver.

mod burst;
mod config;
mod export;
mod host;
mod lower;
pub mod module;
mod packet;

pub use burst::{RxBurst, TxBurst};
pub use config::{Config, Info, Link, Offloads, OpenError};
pub use devnp_abi as abi;
pub use devnp_abi::Stat;
pub use export::Export;
pub use host::{Host, Level};
pub use lower::Lower;
pub use packet::{Packet, RxChecksums, set_api};

/// Packets of a burst, at most.
pub const BURST_MAX: usize = 32;

/// Who may call a driver at the same time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Threading {
    /// One thread: one queue, the first worker's, which sends for the others.
    Single,
    /// One thread per queue.
    Queue,
}

/// A network driver: one value is one interface.
///
/// Queues are served by the daemon's workers, each by one, several at once; hence `&self` and
/// `Sync`. State of one queue belongs in a `Mutex` of its own, which nobody else then waits for.
pub trait Driver: Sized + Send + Sync + 'static {
    /// Base of the interfaces' names: up to 11 letters, digits, `-`, `_`, not ending in a digit.
    const NAME: &'static str;
    /// Its version, for listings.
    const VERSION: &'static str;
    /// Its options: `loss=PERCENT seed=NUMBER fast`.
    const OPTIONS: &'static str;
    /// Who may call it.
    const THREADING: Threading = Threading::Queue;
    /// It stands before another driver.
    const NEEDS_LOWER: bool = false;
    /// It has something to stop when the process crashes: [`panic_stop`](Self::panic_stop).
    const PANIC_STOP: bool = false;

    /// Makes an interface.
    ///
    /// # Errors
    /// Why not; say more by [`Host::log`].
    fn open(host: Host, config: Config<'_>) -> Result<(Self, Info), OpenError>;

    /// Begins to receive and send; also after a failure.
    ///
    /// # Errors
    /// Why not.
    fn start(&self) -> Result<(), OpenError> {
        Ok(())
    }

    /// No longer receives or sends.
    fn stop(&self) {}

    /// Pushes received packets while there are some and there is room.
    fn rx_burst(&self, queue: u16, burst: &mut RxBurst<'_>);

    /// Takes packets while it can; the others are offered again.
    fn tx_burst(&self, queue: u16, burst: &mut TxBurst<'_>);

    /// A descriptor that is readable while packets wait. It stays open as long as the interface.
    fn rx_fd(&self, queue: u16) -> Option<i32> {
        let _ = queue;
        None
    }

    /// The state of the wire.
    fn link(&self) -> Link {
        Link { up: true, speed_mbps: None, full_duplex: true }
    }

    /// Counters beyond packets and bytes, which the daemon keeps: sets those that it has.
    fn stats(&self, set: &mut dyn FnMut(Stat, u64)) {
        let _ = set;
    }

    /// Changes the address. A driver that lets every frame through has nothing to do.
    ///
    /// # Errors
    /// It can't.
    fn set_mac(&self, mac: [u8; 6]) -> Result<(), OpenError> {
        let _ = mac;
        Ok(())
    }

    /// Changes the largest IP packet.
    ///
    /// # Errors
    /// Out of range, or it can't.
    fn set_mtu(&self, mtu: u16) -> Result<(), OpenError> {
        let _ = mtu;
        Err(OpenError::NOT_SUPPORTED)
    }

    /// Receives frames for everybody, or not. A driver that lets every frame through has nothing to do.
    ///
    /// # Errors
    /// It can't.
    fn set_promiscuous(&self, on: bool) -> Result<(), OpenError> {
        let _ = on;
        Ok(())
    }

    /// Receives frames for all groups, or for none. A driver that can't keep them out says so.
    ///
    /// # Errors
    /// It can't.
    fn set_allmulticast(&self, on: bool) -> Result<(), OpenError> {
        if on { Ok(()) } else { Err(OpenError::NOT_SUPPORTED) }
    }

    /// A command of its own (`iopkt ifconfig IF drvspec NUMBER TEXT`), and its answer: at most 4096 bytes
    /// each.
    ///
    /// # Errors
    /// It does not know it.
    fn ioctl(&self, command: u32, data: &[u8]) -> Result<Vec<u8>, OpenError> {
        let _ = (command, data);
        Err(OpenError::NOT_SUPPORTED)
    }

    /// The process crashes, and [`PANIC_STOP`](Self::PANIC_STOP) is set: stop DMA. Runs in a signal
    /// handler while other threads may be in the driver: only atomics and raw system calls, no lock, no
    /// memory.
    fn panic_stop(&self) {}
}

/// Exports a [`Driver`] as this module's.
#[macro_export]
macro_rules! export_driver {
    ($driver:ty) => {
        /// What the daemon looks for.
        #[expect(unsafe_code, reason = "the one exported symbol of a module")]
        #[unsafe(no_mangle)]
        #[expect(non_upper_case_globals, reason = "C's name")]
        pub static devnp_module: $crate::Export = $crate::Export::of::<$driver>(
            const {
                match ::core::ffi::CStr::from_bytes_with_nul(
                    ::core::concat!(::core::env!("CARGO_PKG_VERSION"), "\0").as_bytes(),
                ) {
                    Ok(version) => version,
                    Err(_) => c"",
                }
            },
        );
    };
}
