//! One place where C's integers become `Result`s.

use core::ffi::{CStr, c_int};
use core::fmt;

/// An error number as DPDK and the kernel use them, positive.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Errno(pub i32);

impl Errno {
    /// Operation not permitted.
    pub const PERM: Self = Self(libc::EPERM);
    /// No such file, device or entry.
    pub const NOENT: Self = Self(libc::ENOENT);
    /// Out of memory.
    pub const NOMEM: Self = Self(libc::ENOMEM);
    /// Permission denied.
    pub const ACCES: Self = Self(libc::EACCES);
    /// In use.
    pub const BUSY: Self = Self(libc::EBUSY);
    /// Exists already.
    pub const EXIST: Self = Self(libc::EEXIST);
    /// No such device.
    pub const NODEV: Self = Self(libc::ENODEV);
    /// Invalid argument.
    pub const INVAL: Self = Self(libc::EINVAL);
    /// Not supported.
    pub const NOTSUP: Self = Self(libc::ENOTSUP);

    /// The calling thread's `rte_errno`.
    pub(crate) fn last() -> Self {
        // SAFETY: reads one thread-local integer, which every thread has.
        Self(unsafe { dpdk_sys::shim_errno() })
    }
}

impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // SAFETY: takes any number.
        let text = unsafe { dpdk_sys::rte_strerror(self.0) };
        // SAFETY: a C string in a thread-local buffer, valid until this thread's next call.
        let text = unsafe { CStr::from_ptr(text) };
        write!(f, "{} (errno {})", text.to_string_lossy(), self.0)
    }
}

impl fmt::Debug for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl core::error::Error for Errno {}

/// A C call's return value: negative is `-errno`, or −1 with the number in `rte_errno`.
///
/// −1 is also `-EPERM`; a number left in `rte_errno` by an older failure would then be reported, so
/// callers that care clear nothing and read the log text instead.
pub(crate) fn check(code: c_int) -> Result<u32, Errno> {
    match u32::try_from(code) {
        Ok(value) => Ok(value),
        Err(_) if code == -1 && Errno::last().0 > 0 => Err(Errno::last()),
        Err(_) => Err(Errno(code.saturating_neg())),
    }
}
