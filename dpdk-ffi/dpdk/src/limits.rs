//! Every number this crate fixes, and why.

/// Packets in one burst. DPDK's vector drivers work in blocks of 32, and 32 headers of two cache
/// lines fit the L1 cache beside the stack's tables.
pub const BURST_MAX: usize = 32;

/// Queues of one direction of a port that can be handed out: one bit each in a `u64`.
pub const QUEUES_MAX: u16 = 64;

/// Private bytes of each packet buffer, for the books of a loan: DPDK's shared info (24 bytes) and
/// the [`shm::Loan`] (32 bytes).
pub const PRIVATE_LEN: u16 = 64;

/// Bytes that DPDK leaves free before a frame.
pub const HEADROOM: u32 = dpdk_sys::RTE_PKTMBUF_HEADROOM;

/// Most packet buffers that an lcore keeps at hand.
pub const CACHE_MAX: u32 = dpdk_sys::RTE_MEMPOOL_CACHE_MAX_SIZE;

/// EAL's own limit on the name of a pool, with its terminator and the prefix `MP_`.
pub(crate) const POOL_NAME_MAX: usize = 22;

/// Buffers that an application may have of one queue: four bursts of a port's ring, a thirtieth of the daemon's pool.
pub(crate) const LENT_MAX: usize = 512;

/// Empty ones that it has of them at any time, for packets of its own.
pub(crate) const BLANKS: usize = 32;

/// EAL's own limit on the name of a ring, with its terminator and the prefix `RG_`.
pub(crate) const RING_NAME_MAX: usize = 28;

/// Ports DPDK was built for.
pub(crate) const PORTS_MAX: usize = dpdk_sys::RTE_MAX_ETHPORTS as usize;

/// Bytes of log text kept for the reason of one failed call.
pub(crate) const LOG_CAPTURE_MAX: usize = 4096;
