//! Every number this crate fixes, and why.

use devn_abi::FRAME_MAX;

/// Frames that wait for the worker: 12 ms of full-size frames at 1 Gbit/s, several time slices that a
/// worker may be without its core. 1.5 MiB. A power of two, so that positions may wrap.
pub(crate) const RING_FRAMES: u32 = 1024;

/// Bytes of a place in the ring: the longest frame, in whole cache lines.
pub(crate) const PLACE_BYTES: usize = (FRAME_MAX as usize).next_multiple_of(64);

/// An Ethernet header: what is shorter is no frame.
pub(crate) const FRAME_MIN: usize = 14;

/// The largest IP packet of a frame without VLAN tag, and of one buffer.
pub(crate) const MTU_MAX: u16 = 1500;

/// Interfaces of per-packet drivers at once: a fixed table, so that a handle is looked up without
/// trusting it.
pub(crate) const INTERFACES_MAX: usize = 64;

/// Threads of one interface whose end is watched for: more than such a driver has. With more of them it
/// stays loaded.
pub(crate) const THREADS_MAX: usize = 16;

/// How long a thread that was joined may take to leave the kernel's table: some 10 µs, or a time slice
/// on a loaded machine.
pub(crate) const THREAD_END_MS: u32 = 100;
