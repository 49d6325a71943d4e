//! Driver modules: from a file to an interface's queues.
//!
//! * [`anchor`]: what modules have pointers to.
//! * [`library`]: a loaded module and its checked table; unloaded with its last user.
//! * [`legacy`]: the same of a per-packet driver.
//! * [`registry`]: where modules are looked for and which are loaded.
//! * [`host`]: what the daemon does for a module: packets, options, log.
//! * [`lower`]: a device below a module's.
//! * [`device`]: one interface of a module, its queues, its failures.
//! * [`crash`]: stops devices when the process crashes. * [`crash_report`]: what it says then.

pub(crate) mod anchor;
pub(crate) mod crash;
mod crash_report;
pub(crate) mod device;
pub(crate) mod error;
pub(crate) mod host;
mod legacy;
pub(crate) mod library;
pub(crate) mod lower;
pub(crate) mod registry;

pub use device::{ModuleRx, ModuleTx};
