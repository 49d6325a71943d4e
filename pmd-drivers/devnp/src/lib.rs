//! Drivers: from `-d NAME [opts]` to a configured, started port with one pair of queues per worker.
//!
//! * [`DriverSpec`]: what the operator wrote, split into options.
//! * [`attach`]: finds the driver, makes the device, sets up its queues, starts it.
//! * [`Port`]: the result: a name (`tap0`), an address, queues to hand to workers, counters.
//! * [`Units`]: which unit numbers are taken, per name.
//!
//! Every poll-mode driver of DPDK can be named, `net_tap` or short `tap`, or the address of a PCI
//! device that is bound to a user-space driver. Options that io-pkt knows are consumed, those of
//! QNX that mean nothing here are ignored with a note, all others are the driver's own.
#![forbid(unsafe_code)]

mod attach;
mod device;
mod error;
mod limits;
mod mac;
mod options;
mod port;
mod spec;
mod units;

pub use attach::{AttachEnv, attach};
pub use error::{AttachError, DetachError};
pub use port::{Capabilities, Port};
pub use spec::{DriverSpec, SpecError};
pub use units::Units;
