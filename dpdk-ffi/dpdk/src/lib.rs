//! Safe DPDK. The only user of `dpdk-sys`; nothing above this crate sees a C name or a raw pointer.
//!
//! * [`EalArgs`], [`Eal`]: start the environment once per process; run workers on its lcores.
//! * [`topology`]: which CPUs the workers and the control thread should have.
//! * [`Mempool`], [`Mbuf`], [`Burst`]: packet buffers, alone and up to [`BURST_MAX`] at a time.
//! * [`PacketPool`]: packet buffers in memory that clients may be shown.
//! * [`EthDev`], [`RxQueue`], [`TxQueue`]: a port, configured by one owner, and its queue ends, each
//!   handed out once so that each has one user.
//! * [`hotplug`]: devices that come and go while the process runs.
//! * [`plugin`]: the shared objects that drivers are in, loaded when they are needed.
//! * [`PacketRings`]: packets by pointer to another process of DPDK and back, for whoever trusts it.
//! * [`ExternalRegion`]: memory of others that DPDK is told about once.
//! * [`priority`]: real-time priority of workers and control thread.
//! * [`log`]: where DPDK's own log text goes.
//!
//! **How this is sound.** DPDK state is global and mostly unlocked. A port has at most one
//! [`EthDev`], a queue at most one [`RxQueue`] or [`TxQueue`]; calls that would pull the ground from
//! under a queue are refused while it is out. [`Eal::cleanup`] is refused while any handle or
//! packet buffer lives. Bytes lent by clients are never borrowed as slices.

mod args;
mod burst;
mod eal;
mod errno;
mod ethdev;
mod external;
mod extmem;
mod foreign;
pub mod hotplug;
mod hugepages;
mod limits;
mod live;
pub mod log;
mod mbuf;
mod mempool;
mod offload;
mod packet_pool;
mod packet_rings;
pub mod plugin;
mod prefetch;
pub mod priority;
mod shared_files;
pub mod signals;
pub mod topology;

pub use args::{EalArgs, Memory};
pub use burst::Burst;
pub use eal::{CleanupError, Eal, EalError, LaunchError, LcoreId, WorkerPanicked, version};
pub use errno::Errno;
pub use ethdev::{
    EthDev, EthDevConfig, EthDevError, EthDevInfo, EthStats, Link, Media, RxQueue, TxQueue,
    port_exists,
};
pub use extmem::{ExternalRegion, RegisterError, register_external};
pub use foreign::{ForeignError, Verdicts};
pub use hugepages::{Hugepages, hugepages, hugepages_free};
pub use limits::{BURST_MAX, CACHE_MAX, HEADROOM, PRIVATE_LEN, QUEUES_MAX};
pub use mbuf::{ChecksumState, L4, Mbuf, TxChecksum};
pub use mempool::{Mempool, MempoolError, MempoolOptions};
pub use offload::{RxOffloads, TxOffloads};
pub use packet_pool::PacketPool;
pub use packet_rings::{Gate, Lost, PacketRings, RingError, Unseen};
pub use prefetch::prefetch;
