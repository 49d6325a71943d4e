//! Drivers: from `-d NAME [opts]` to a configured, started port with one pair of queues per worker.
//!
//! * [`DriverSpec`]: what the operator wrote, split into options.
//! * [`attach`]: finds the driver, makes the device, sets up its queues, starts it.
//! * [`Port`]: the result: a name (`tap0`), an address, queues to hand to workers, counters.
//! * [`Units`]: which unit numbers are taken, per name.
//!
//! * [`attach_all`] finds driver modules first, which may make several ports; [`Modules`] knows them.
//!
//! Every poll-mode driver of DPDK can be named, `net_tap` or short `tap`, or the address of a PCI
//! device that is bound to a user-space driver. Options that io-pkt knows are consumed, those of
//! QNX that mean nothing here are ignored with a note, all others are the driver's own.

mod attach;
mod device;
mod error;
mod limits;
mod mac;
mod module;
mod module_port;
mod nic;
mod opening;
mod options;
mod port;
mod queue;
mod shown;
mod spec;
mod units;

pub use attach::{AttachEnv, attach};
pub use device::pci_address;
pub use dpdk::Media;
pub use error::{AttachError, DetachError, PortError};
pub use limits::OPEN_TIME;
pub use loader::{Alarm, exit_if_linking};
pub use module::crash::{leave_faults_to_system, own_fault_stack, stop_ports_on_fault};
pub use module::error::ModuleError;
pub use module::host::packet_api;
pub use module::registry::{LoadedModule, Modules};
pub use module::{ModuleRx, ModuleTx};
pub use module_port::attach_all;
pub use nic::counter_names;
pub use opening::{Below, OpeningId, Openings, Report};
pub use port::{Capabilities, Port};
pub use queue::{RxQueue, TxQueue};
pub use shown::{ShownRx, ShownTx};
pub use spec::{DriverSpec, SpecError};
pub use units::Units;
