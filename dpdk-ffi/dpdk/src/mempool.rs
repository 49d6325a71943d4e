//! Pools of packet buffers.

use core::ffi::c_int;
use core::fmt;
use core::ptr::NonNull;
use std::ffi::{CStr, CString};
use std::sync::{Arc, Mutex, PoisonError};

use crate::burst::Burst;
use crate::errno::Errno;
use crate::limits::{POOL_NAME_MAX, PRIVATE_LEN};
use crate::live::{self, Live};
use crate::log;
use crate::mbuf::Mbuf;

/// Every pool ever made: pools live until EAL is cleaned up, because queues and packet buffers
/// point into them without telling.
static POOLS: Mutex<Vec<RawPool>> = Mutex::new(Vec::new());

#[derive(Clone, Copy)]
struct RawPool(NonNull<dpdk_sys::rte_mempool>);

// SAFETY: a pool of the default ring driver may be used from any thread: its ring is
// multi-producer, multi-consumer, and its caches belong to one lcore each.
unsafe impl Send for RawPool {}
// SAFETY: as above; no method gives out a reference to the C struct.
unsafe impl Sync for RawPool {}

/// How a pool is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MempoolOptions {
    /// Packet buffers; one less than a power of two uses memory best.
    pub count: u32,
    /// Buffers each lcore keeps at hand, at most 512 and at most two thirds of `count`.
    pub cache: u32,
    /// Bytes for data in each buffer, headroom (128) included.
    pub data_room: u16,
    /// The NUMA node to take memory from; `None` takes any.
    pub numa: Option<u32>,
}

impl Default for MempoolOptions {
    fn default() -> Self {
        Self { count: 8191, cache: 256, data_room: 128 + 2048, numa: None }
    }
}

/// A pool of packet buffers. Cheap to clone; usable from every thread.
///
/// A thread that EAL does not know (not started by [`Eal::launch`](crate::Eal::launch)) works
/// without a cache, which is slower.
#[derive(Clone)]
pub struct Mempool {
    raw: RawPool,
    name: Arc<str>,
    _live: Arc<Live>,
}

impl Mempool {
    /// Makes a pool.
    ///
    /// # Errors
    /// EAL is not running, the name is taken or too long, or there is not enough memory.
    pub fn create(name: &str, options: &MempoolOptions) -> Result<Self, MempoolError> {
        Self::create_with(name, options, |name, numa| {
            let &MempoolOptions { count, cache, data_room, .. } = options;
            // SAFETY: EAL runs; a C string that DPDK copies and plain numbers that it checks.
            unsafe {
                dpdk_sys::rte_pktmbuf_pool_create(
                    name.as_ptr(),
                    count,
                    cache,
                    PRIVATE_LEN,
                    data_room,
                    numa,
                )
            }
        })
    }

    /// Makes a pool in the way of `make`, which gets name and NUMA node and runs while EAL does.
    pub(crate) fn create_with(
        name: &str,
        options: &MempoolOptions,
        make: impl FnOnce(&CStr, c_int) -> *mut dpdk_sys::rte_mempool,
    ) -> Result<Self, MempoolError> {
        let live = Live::new().ok_or(MempoolError::NotRunning)?;
        if name.len() > POOL_NAME_MAX {
            return Err(MempoolError::NameTooLong { name: name.into() });
        }
        let c_name = CString::new(name).map_err(|_| MempoolError::NulByte)?;
        let numa = options.numa.map_or(-1, |node| c_int::try_from(node).unwrap_or(-1));
        let control = live::control();
        let (raw, text) = log::capture(|| make(&c_name, numa));
        let Some(raw) = NonNull::new(raw).map(RawPool) else {
            return Err(MempoolError::refused(name, options, Errno::last(), &text));
        };
        drop(control);
        POOLS.lock().unwrap_or_else(PoisonError::into_inner).push(raw);
        Ok(Self { raw, name: name.into(), _live: Arc::new(live) })
    }

    /// An empty buffer of one segment, or `None` if the pool is empty.
    #[must_use]
    pub fn alloc(&self) -> Option<Mbuf> {
        // SAFETY: the pool lives as long as EAL, which self keeps from being cleaned up.
        let raw = NonNull::new(unsafe { dpdk_sys::shim_pktmbuf_alloc(self.as_ptr()) })?;
        // SAFETY: a buffer fresh from a pool of ours has one owner: the caller.
        Some(unsafe { Mbuf::from_raw(raw) })
    }

    /// Appends `n` empty buffers to the burst: all of them, or `false` and none.
    #[must_use]
    pub fn alloc_burst(&self, burst: &mut Burst, n: usize) -> bool {
        let (Ok(count), true) = (u32::try_from(n), n <= burst.room()) else { return false };
        let len = burst.len();
        // SAFETY: len ≤ BURST_MAX, so this is within the array or one past its end.
        let free = unsafe { burst.as_raw().add(len) };
        // SAFETY: the array has room for `count` pointers from there on; the pool lives.
        let code = unsafe { dpdk_sys::shim_pktmbuf_alloc_bulk(self.as_ptr(), free, count) };
        if code != 0 {
            return false;
        }
        // SAFETY: C wrote `count` ≤ room buffers, fresh from a pool of ours: we own them.
        unsafe { burst.grow(n) };
        true
    }

    /// Buffers that are out: held by the caller, by queues, or in flight. Walks all caches.
    #[must_use]
    pub fn in_use(&self) -> u32 {
        self.raw.in_use()
    }

    /// Buffers that are in. Walks all caches.
    #[must_use]
    pub fn available(&self) -> u32 {
        // SAFETY: the pool lives; the counters are read racily, by design of the C function.
        unsafe { dpdk_sys::rte_mempool_avail_count(self.as_ptr()) }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn as_ptr(&self) -> *mut dpdk_sys::rte_mempool {
        self.raw.0.as_ptr()
    }
}

impl fmt::Debug for Mempool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mempool").field("name", &self.name).finish_non_exhaustive()
    }
}

impl RawPool {
    fn in_use(self) -> u32 {
        // SAFETY: pools in the list are never freed before EAL is cleaned up, which empties it.
        unsafe { dpdk_sys::rte_mempool_in_use_count(self.0.as_ptr()) }
    }
}

/// Packet buffers out of all pools.
pub(crate) fn mbufs_in_use() -> usize {
    let pools = POOLS.lock().unwrap_or_else(PoisonError::into_inner);
    pools.iter().map(|pool| pool.in_use() as usize).sum()
}

/// Before EAL is cleaned up.
pub(crate) fn forget_all() {
    POOLS.lock().unwrap_or_else(PoisonError::into_inner).clear();
}

/// No pool was made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MempoolError {
    /// Before [`Eal::init`](crate::Eal::init) or after cleanup.
    #[error("DPDK is not running; call Eal::init first")]
    NotRunning,
    /// Not a C string.
    #[error("a pool's name contains a NUL byte")]
    NulByte,
    /// DPDK's names are short.
    #[error("the pool name {name:?} is longer than {POOL_NAME_MAX} bytes; shorten it")]
    NameTooLong {
        /// The name asked for.
        name: String,
    },
    /// A pool of this name exists.
    #[error("a pool named {name:?} exists already; choose another name")]
    Exists {
        /// The name asked for.
        name: String,
    },
    /// EAL has too little memory.
    #[error(
        "no memory for {count} packet buffers of {data_room} bytes (about {mib} MiB); give EAL \
         more (-m with ordinary memory, nr_hugepages with hugepages) or ask for fewer"
    )]
    NoMemory {
        /// Buffers asked for.
        count: u32,
        /// Bytes each.
        data_room: u16,
        /// What that takes.
        mib: u64,
    },
    /// Anything else.
    #[error("pool {name:?}: {reason} ({errno})")]
    Refused {
        /// The name asked for.
        name: String,
        /// DPDK's error number.
        errno: Errno,
        /// DPDK's log.
        reason: String,
    },
}

impl MempoolError {
    fn refused(name: &str, options: &MempoolOptions, errno: Errno, text: &str) -> Self {
        let &MempoolOptions { count, data_room, .. } = options;
        match errno {
            Errno::EXIST => Self::Exists { name: name.into() },
            Errno::NOMEM => {
                // Two cache lines of rte_mbuf, the private area, and a mempool header of 64 bytes.
                let each = u64::from(data_room) + 128 + u64::from(PRIVATE_LEN) + 64;
                Self::NoMemory {
                    count,
                    data_room,
                    mib: (each * u64::from(count)).div_ceil(1 << 20),
                }
            }
            errno => Self::Refused { name: name.into(), errno, reason: log::reason(text) },
        }
    }
}
