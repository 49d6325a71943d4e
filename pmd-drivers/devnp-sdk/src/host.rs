//! What the daemon does for a driver.

use devnp_abi as abi;

use crate::module;
use crate::packet::Packet;

/// How much a line of log matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// Something does not work.
    Error,
    /// Something is odd.
    Warning,
    /// Worth knowing.
    Info,
    /// For whoever looks for a fault.
    Debug,
}

impl Level {
    pub(crate) fn code(self) -> i32 {
        match self {
            Self::Error => abi::LOG_ERROR,
            Self::Warning => abi::LOG_WARNING,
            Self::Info => abi::LOG_INFO,
            Self::Debug => abi::LOG_DEBUG,
        }
    }
}

/// The daemon's side of one interface. It is gone when the driver has been dropped.
#[derive(Clone, Debug)]
pub struct Host {
    api: &'static abi::Api,
    raw: *const abi::Host,
}

// SAFETY: the daemon's functions may be called from any thread, and the pointer is opaque.
unsafe impl Send for Host {}
// SAFETY: as above.
unsafe impl Sync for Host {}

impl Host {
    pub(crate) fn new(api: &'static abi::Api, raw: *const abi::Host) -> Self {
        Self { api, raw }
    }

    /// Writes a line to the daemon's log.
    pub fn log(&self, level: Level, text: &str) {
        // SAFETY: the host that this driver was opened with, and its table.
        unsafe { module::log(self.api.log, self.raw, level, text) };
    }

    /// The value of an option; empty for one without value.
    #[must_use]
    pub fn option(&self, key: &str) -> Option<String> {
        // SAFETY: the host that this driver was opened with, and its table.
        unsafe { module::option(self.api.option, self.raw, key) }
    }

    /// Fills `packets` with up to `count` empty packets; fewer if the daemon is short of them.
    pub fn alloc(&self, packets: &mut Vec<Packet>, count: usize) {
        // SAFETY: the host that this driver was opened with, and its table.
        unsafe { module::alloc(self.api.alloc, self.raw, packets, count) };
    }

    /// The link has changed: the daemon will ask for it.
    pub fn link_changed(&self) {
        // SAFETY: the host that this driver was opened with.
        unsafe { (self.api.link_changed)(self.raw) };
    }

    /// The device is gone: the daemon closes the interface soon.
    pub fn removed(&self) {
        // SAFETY: the host that this driver was opened with.
        unsafe { (self.api.removed)(self.raw) };
    }
}
