//! Devices that come and go while the process runs.

use std::ffi::CString;

use crate::errno::{Errno, check};
use crate::live::{self, Live};
use crate::plugin::{self, PluginError};
use crate::{ethdev, log};

/// Creates or probes the device `name` on `bus` (`vdev` or `pci`) with a driver's `args`
/// (`key=value,…`), and returns when its ports exist. The driver's [plug-in](crate::plugin) is loaded
/// before.
///
/// # Errors
/// EAL is not running, text with a NUL byte, or the driver refuses: the error has its log.
pub fn add(bus: &str, name: &str, args: &str) -> Result<(), ProbeError> {
    let _live = Live::new().ok_or(ProbeError::NotRunning)?;
    let c = |text: &str| CString::new(text).map_err(|_| ProbeError::NulByte);
    let (c_bus, c_name, c_args) = (c(bus)?, c(name)?, c(args)?);
    let _control = live::control();
    plugin::load_drivers(bus, name, args)?;
    let (code, text) = log::capture(|| {
        // SAFETY: three C strings that DPDK copies; EAL runs, and the control lock keeps its bus
        // lists to this thread.
        unsafe { dpdk_sys::rte_eal_hotplug_add(c_bus.as_ptr(), c_name.as_ptr(), c_args.as_ptr()) }
    });
    check(code).map(|_| ()).map_err(|errno| match errno {
        Errno::EXIST => ProbeError::Exists { name: name.into() },
        errno => ProbeError::Refused { name: name.into(), errno, reason: log::reason(&text) },
    })
}

/// Removes the device. Its ports must have been closed.
///
/// # Errors
/// A port of the device is still held, there is no such device, or its driver refuses.
pub fn remove(bus: &str, name: &str) -> Result<(), RemoveError> {
    let _live = Live::new().ok_or(RemoveError::NotRunning)?;
    let c = |text: &str| CString::new(text).map_err(|_| RemoveError::NulByte);
    let (c_bus, c_name) = (c(bus)?, c(name)?);
    let _control = live::control();
    let ports = ethdev::ports_to_remove(name)
        .map_err(|port| RemoveError::PortHeld { name: name.into(), port })?;
    let (code, text) = log::capture(|| {
        // SAFETY: two C strings; no handle to a port of the device exists, so no queue of it is in
        // use, and the control lock keeps new ones from being made meanwhile.
        unsafe { dpdk_sys::rte_eal_hotplug_remove(c_bus.as_ptr(), c_name.as_ptr()) }
    });
    if code == 0 {
        ethdev::forget(&ports);
    }
    check(code).map(|_| ()).map_err(|errno| RemoveError::Refused {
        name: name.into(),
        errno,
        reason: log::reason(&text),
    })
}

/// No device was added.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProbeError {
    /// Before [`Eal::init`](crate::Eal::init) or after cleanup.
    #[error("DPDK is not running; call Eal::init first")]
    NotRunning,
    /// Not a C string.
    #[error("a device name or argument contains a NUL byte")]
    NulByte,
    /// The name is taken.
    #[error("a device named {name} exists already; choose another unit")]
    Exists {
        /// The name asked for.
        name: String,
    },
    /// Its driver's plug-in.
    #[error(transparent)]
    Plugin(#[from] PluginError),
    /// No driver, or the driver said no.
    #[error("{name}: {reason} ({errno})")]
    Refused {
        /// The name asked for.
        name: String,
        /// DPDK's error number.
        errno: Errno,
        /// DPDK's log.
        reason: String,
    },
}

/// The device stays.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RemoveError {
    /// Before [`Eal::init`](crate::Eal::init) or after cleanup.
    #[error("DPDK is not running; call Eal::init first")]
    NotRunning,
    /// Not a C string.
    #[error("a device name contains a NUL byte")]
    NulByte,
    /// Somebody holds an `EthDev`.
    #[error("{name}: port {port} is still held; close it first")]
    PortHeld {
        /// The device.
        name: String,
        /// Its port.
        port: u16,
    },
    /// The bus or the driver said no.
    #[error("{name}: {reason} ({errno})")]
    Refused {
        /// The device.
        name: String,
        /// DPDK's error number.
        errno: Errno,
        /// DPDK's log.
        reason: String,
    },
}
