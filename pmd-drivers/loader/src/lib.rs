//! Shared objects that become code of this process: driver and protocol modules.
//!
//! * [`find`]: where it is.
//! * [`inspect`]: whose file it is, where it lies, whether it is whole. Nothing of it has run then.
//! * [`SharedObject::link`]: the dynamic linker makes it part of the process.
//! * [`Linked`]: the table that it exports, checked as far as all tables are alike.
//! * [`log`], [`option`], [`Alarm`]: what the daemon does for all of them.

mod elf;
mod error;
mod folders;
mod linked;
mod service;
mod trust;

pub use error::LoadError;
pub use folders::{bare_name, find, listed};
pub use linked::{Entry, Header, Linked, SharedObject, exit_if_linking, inspect, is_linking};
pub use service::{Alarm, log, option};
