//! What the daemon does for a driver.

use core::ffi::c_char;
use std::ffi::CString;

use devnp_abi as abi;

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

    pub(crate) fn api(&self) -> &'static abi::Api {
        self.api
    }

    pub(crate) fn as_raw(&self) -> *const abi::Host {
        self.raw
    }

    /// Writes a line to the daemon's log.
    pub fn log(&self, level: Level, text: &str) {
        let level = match level {
            Level::Error => abi::LOG_ERROR,
            Level::Warning => abi::LOG_WARNING,
            Level::Info => abi::LOG_INFO,
            Level::Debug => abi::LOG_DEBUG,
        };
        // A NUL byte in the text would end it.
        let Ok(text) = CString::new(text.replace('\0', " ")) else { return };
        // SAFETY: a C string, and the host that this driver was opened with.
        unsafe { (self.api.log)(self.raw, level, text.as_ptr()) };
    }

    /// The value of an option; empty for one without value.
    #[must_use]
    pub fn option(&self, key: &str) -> Option<String> {
        let key = CString::new(key).ok()?;
        let mut text = [0_u8; 1024];
        let to: *mut c_char = text.as_mut_ptr().cast();
        // SAFETY: a C string, and room for as many bytes as are said.
        let len = unsafe { (self.api.option)(self.raw, key.as_ptr(), to, text.len()) };
        let value = text.get(..usize::try_from(len).ok()?)?;
        String::from_utf8(value.to_vec()).ok()
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
