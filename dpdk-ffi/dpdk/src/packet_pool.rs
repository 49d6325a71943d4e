//! A pool whose packets lie in memory that clients may be shown.
//!
//! ```text
//!  mempool          rte_mbuf │ private area │ DPDK's books      the daemon's alone
//!                      │ buf_addr
//!  shm::PacketMemory   └─> headroom │ data … │ tailroom │ the next buffer's …     a memory file
//! ```
//! The buffers' memory is theirs for good. DPDK calls that pinned external buffers, and looks at each packet that it
//! frees, by a flag, whether it has to let go of its buffer. Here the flag is off: there is never anything to let go
//! of, so that a packet costs what others do, and [`Mbuf::attach_external`] takes none of these.

use std::sync::Arc;

use shm::layout::PACKET_ROOM;
use shm::{PacketMemory, Place};

use crate::limits::PRIVATE_LEN;
use crate::mbuf::Mbuf;
use crate::mempool::{Mempool, MempoolError, MempoolOptions};

/// Bytes of each buffer, headroom included.
const ROOM: u16 = 128 + 2048;
const _: () = assert!(ROOM as u32 == PACKET_ROOM);

/// A pool of buffers for received frames, and their memory.
#[derive(Clone, Debug)]
pub struct PacketPool {
    pool: Mempool,
    memory: Arc<PacketMemory>,
}

impl PacketPool {
    /// Makes a pool, one buffer for each of the memory's. There must be no other pool over this memory.
    ///
    /// # Errors
    /// As [`Mempool::create`].
    pub fn create(name: &str, cache: u32, memory: PacketMemory) -> Result<Self, MempoolError> {
        let options = MempoolOptions {
            count: memory.buffers(),
            cache,
            data_room: ROOM,
            ..MempoolOptions::default()
        };
        let place = dpdk_sys::rte_pktmbuf_extmem {
            buf_ptr: memory.base().as_ptr().cast(),
            // No device that needs another address fills these buffers.
            buf_iova: memory.base().addr().get() as u64,
            buf_len: memory.buffers() as usize * usize::from(ROOM),
            elt_size: ROOM,
        };
        let pool = Mempool::create_with(name, &options, |name, numa| {
            // SAFETY: EAL runs; a C string and a description that DPDK copies. The memory has room for a buffer
            // of ROOM bytes for each of the pool's, stays mapped as long as the process, and this pool is the
            // only one over it, as the memory was given away for it.
            unsafe {
                dpdk_sys::rte_pktmbuf_pool_create_extbuf(
                    name.as_ptr(),
                    options.count,
                    options.cache,
                    PRIVATE_LEN,
                    ROOM,
                    numa,
                    &raw const place,
                    1,
                )
            }
        })?;
        // SAFETY: the pool is alive, and none of its buffers is out yet.
        unsafe { dpdk_sys::shim_pktmbuf_pool_own(pool.as_ptr()) };
        Ok(Self { pool, memory: Arc::new(memory) })
    }

    /// The pool.
    #[must_use]
    pub fn pool(&self) -> &Mempool {
        &self.pool
    }

    /// The buffers' memory.
    #[must_use]
    pub fn memory(&self) -> &Arc<PacketMemory> {
        &self.memory
    }

    /// Where bytes of a packet are, if it is of this pool.
    #[inline]
    #[must_use]
    pub fn place(&self, bytes: &[u8]) -> Option<Place> {
        self.memory.place(bytes)
    }

    /// The number of a packet's buffer, if it is of this pool.
    #[inline]
    #[must_use]
    pub fn number(&self, mbuf: &Mbuf) -> Option<u32> {
        self.memory.buffer_at(mbuf.buffer_address())
    }
}
