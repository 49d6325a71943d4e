//! Every number this crate fixes, and why.

/// Descriptors of each queue: 0.6 ms of full-size frames at 10 Gbit/s, and a quarter of the default
/// pool at four queues.
pub(crate) const DESCRIPTORS: u16 = 512;

/// The kernel's limit on an interface name, without its terminator.
pub(crate) const KERNEL_NAME_MAX: usize = 15;

/// The MTU for which an ordinary packet buffer (2048 bytes) always has room.
pub(crate) const MTU_ONE_BUFFER: u16 = 1500;

/// What a tap that cuts segments takes less than its MTU: DPDK 22.11's driver compares a segment with
/// its Ethernet header to the MTU, and never sends what is longer.
pub(crate) const TAP_TSO_MTU_LESS: u16 = 14;

/// Queue pairs of a tap: with five DPDK 22.11's driver overruns a buffer of its own at start.
pub(crate) const TAP_QUEUES_MAX: u16 = 4;

/// Interfaces of one `-d` of a module: more is a module that never stops to ask for another.
pub(crate) const MODULE_PORTS_MAX: u32 = 16;

/// Bytes of a command of a module's own and of its answer: more is no setting.
pub(crate) const COMMAND_MAX: u32 = 4096;

/// Modules that open at once, those that were given up and have not ended among them: each has a thread.
pub(crate) const OPENINGS_MAX: usize = 16;

/// How long a module is waited for until it has opened.
pub const OPEN_TIME: core::time::Duration = core::time::Duration::from_secs(10);
