//! Where packet buffers come from.

use dpdk::{BURST_MAX, Burst, Mbuf, Mempool, MempoolError, MempoolOptions, PacketPool};

/// Whole packets that are longer than frames, of all workers: what is made of fragments or is to be cut
/// into some. They are needed for moments; 4 MiB.
const LARGE_COUNT: u32 = 63;
/// Bytes of one, headroom included: the most there can be.
const LARGE_ROOM: u16 = u16::MAX;

/// Buffers of both sizes.
#[derive(Clone, Debug)]
pub struct Pools {
    /// For frames.
    pub frames: Mempool,
    /// For received frames whose text may be lent to clients, if some may borrow.
    pub shown: Option<PacketPool>,
    /// For packets up to 65535 bytes.
    large: Mempool,
}

impl Pools {
    /// Beside buffers for frames some for the longest packets.
    ///
    /// # Errors
    /// There is not enough memory.
    pub fn new(frames: Mempool) -> Result<Self, MempoolError> {
        let options = MempoolOptions {
            count: LARGE_COUNT,
            cache: 0,
            data_room: LARGE_ROOM,
            ..MempoolOptions::default()
        };
        Ok(Self { frames, shown: None, large: Mempool::create("packets", &options)? })
    }

    /// A buffer that holds `len` bytes, whatever they are, with as much headroom as that leaves.
    #[must_use]
    pub(crate) fn alloc_for(&self, len: usize) -> Option<Mbuf> {
        let len = u16::try_from(len).ok()?;
        let mut mbuf = self.frames.alloc()?;
        if mbuf.append(len).is_some() {
            return Some(mbuf);
        }
        self.alloc_large(len)
    }

    #[cold]
    fn alloc_large(&self, len: u16) -> Option<Mbuf> {
        let mut mbuf = self.large.alloc()?;
        let in_front = len.saturating_sub(mbuf.tailroom()).min(mbuf.headroom());
        let _room = mbuf.prepend(in_front)?;
        let _room = mbuf.append(len.saturating_sub(in_front))?;
        Some(mbuf)
    }
}

/// Empty buffers for frames that are about to be made: one call for as many connections as are ready to send.
#[derive(Debug, Default)]
pub(crate) struct Ahead {
    buffers: Burst,
    /// So many will be wanted, and are not here yet.
    wanted: usize,
}

impl Ahead {
    /// So many connections are about to send, most of them one frame.
    pub(crate) fn expect(&mut self, connections: usize) {
        self.wanted = connections.min(BURST_MAX);
    }

    /// All of them have sent: what is left goes back.
    #[inline]
    pub(crate) fn end(&mut self) {
        self.wanted = 0;
        if !self.buffers.is_empty() {
            self.buffers.clear();
        }
    }

    /// One of them.
    #[inline]
    #[must_use]
    pub(crate) fn take(&mut self, pool: &Mempool) -> Option<Mbuf> {
        if self.wanted > 1 {
            // All or none: if there are not so many, each takes its own.
            let _ = pool.alloc_burst(&mut self.buffers, self.wanted);
            self.wanted = 0;
        }
        self.buffers.pop().or_else(|| pool.alloc())
    }
}
