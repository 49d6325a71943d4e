//! Where everything is in a client's two memfds, and how much of it there is.
//!
//! ```text
//!  read part (daemon writes)              write part (client writes, hostile)
//!  0        lane words, 64 B each         0        transmit rings, 16 KiB per lane
//!  64 KiB   socket cells, 64 B each       1 MiB    socket cells, 64 B each
//!  1 MiB    receive queues, 1 KiB each    1.5 MiB  the client's own socket cells, 64 B each
//!  9 MiB    receive blocks, 16 KiB each   2 MiB    the client's own words and block table
//!  32 MiB   end                           4 MiB    transmit area
//!                                         32 MiB   end
//! ```
//! All of it is sparse: a page costs memory once it has been written to.
#![expect(
    clippy::arithmetic_side_effects,
    reason = "operands are constants, or indices that the callers have checked against them"
)]

/// Address space of one client: its read part, then its write part.
pub const SLOT_LEN: usize = READ_LEN + WRITE_LEN;
/// The largest word, in bytes. The length of whatever is mapped is a multiple of it, and it is one of each word's:
/// an aligned word that begins inside ends inside.
pub(crate) const WORD_MAX: usize = size_of::<[u64; 2]>();
/// Length of the part only the daemon writes.
pub const READ_LEN: usize = 32 * MIB;
/// Length of the part the client writes.
pub const WRITE_LEN: usize = 32 * MIB;
/// Alignment of the arena and unit of its registration with DPDK: a huge page, so that the same
/// arithmetic holds when slots are backed by them.
pub const ARENA_PAGE: usize = 2 * MIB;

/// Workers one arena can serve. Transmit rings take 16 KiB each of the write part.
pub const LANES_MAX: u16 = 64;
/// Sockets of one client. Queues take 1 KiB each of the read part. (A model has so few that they soon serve others.)
pub const CELLS: u32 = if cfg!(feature = "loom") { 2 } else { 8192 };
/// Descriptors in a transmit ring: a burst of 32 for each of 32 busy sockets.
pub const RING_LEN: u32 = 1024;
/// Descriptors in a socket's receive queue.
pub const QUEUE_LEN: u32 = 64;
/// Blocks of a receive queue that can hold unread bytes: one descriptor stays untouched, since
/// the client may still look at the one it has just finished.
pub const QUEUE_BLOCKS: u32 = QUEUE_LEN - 1;
/// Length of a block, both ways: eleven segments of 1448 bytes, so that finding a block is rare.
pub const BLOCK_LEN: u32 = 16 * 1024;
/// Receive blocks of one client, divided among the lanes.
pub const RX_BLOCKS: u32 = 1472;
/// Transmit blocks of one client.
pub const TX_BLOCKS: u32 = 1792;
/// Length of the transmit area.
pub const TX_AREA_LEN: u32 = TX_BLOCKS * BLOCK_LEN;
/// Bytes of a packet buffer that may be lent: headroom (128) and the longest frame of an Ethernet.
pub const PACKET_ROOM: u32 = 128 + 2048;
/// Text up to this length is copied, not lent: what a packet takes to be lent and given back is more.
pub const COPY_MAX: u32 = 128;
/// Longest text that one descriptor stands for by naming packets: as for copies, so that whoever has read so much is
/// done with a descriptor.
pub(crate) const RUN_MAX: u32 = BLOCK_LEN;
/// Descriptors that are kept for runs of packets; the others are enough for all of the window in copies.
pub(crate) const RUNS: u32 = 16;
/// Entries of a list of packets: a receive block full. (A model's has an end within its reach.)
pub(crate) const LIST_LEN: u32 = if cfg!(feature = "loom") { 2 } else { 1024 };
/// Longest UDP payload: 65 535 less an IPv4 header of 20 and a UDP header of 8.
pub const DATAGRAM_MAX: u32 = 65_507;

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;
const LINE: usize = 64;
const DESCRIPTOR: usize = 16;

const READ_CELLS: usize = 64 * KIB;
const QUEUES: usize = MIB;
const RX_AREA: usize = 9 * MIB;
const WRITE_CELLS: usize = MIB;
const OWN_CELLS: usize = MIB + 512 * KIB;
const OWN_WORDS: usize = 2 * MIB;
const TX_BLOCK_TABLE: usize = 2 * MIB + 64 * KIB;
const TX_AREA: usize = 4 * MIB;

// No cache line is written by two workers, nor by both sides.
const _: () = assert!(sleeping(1) - sleeping(0) == LINE && NETWORK_GENERATION.is_multiple_of(LINE));
const _: () = assert!((RING_LEN as usize * DESCRIPTOR).is_multiple_of(LINE));
const _: () = assert!((QUEUE_LEN as usize * DESCRIPTOR).is_multiple_of(LINE));
const _: () = assert!((BLOCK_LEN as usize).is_multiple_of(LINE) && RX_AREA.is_multiple_of(LINE));
const _: () =
    assert!(LIST_LEN as usize * DESCRIPTOR == BLOCK_LEN as usize || cfg!(feature = "loom"));
const _: () = assert!(LANES_MAX as usize * LINE <= READ_CELLS);
const _: () = assert!(READ_CELLS + CELLS as usize * LINE <= QUEUES);
const _: () = assert!(QUEUES + CELLS as usize * QUEUE_LEN as usize * DESCRIPTOR <= RX_AREA);
const _: () = assert!(RX_AREA + RX_BLOCKS as usize * BLOCK_LEN as usize == READ_LEN);
const _: () = assert!(LANES_MAX as usize * RING_LEN as usize * DESCRIPTOR <= WRITE_CELLS);
const _: () = assert!(WRITE_CELLS + CELLS as usize * LINE <= OWN_CELLS);
const _: () = assert!(OWN_CELLS + CELLS as usize * LINE <= OWN_WORDS);
const _: () = assert!(TX_BLOCK_TABLE + TX_BLOCKS as usize * DESCRIPTOR <= TX_AREA);
const _: () = assert!(TX_AREA + TX_AREA_LEN as usize == WRITE_LEN);

/// Cells of each lane: a power of two, so that finding a cell's lane is a shift.
#[must_use]
pub const fn cells_per_lane(lanes: u16) -> u32 {
    let lanes = if lanes == 0 { 1 } else { lanes as u32 };
    CELLS / lanes.next_power_of_two()
}

/// Receive blocks of each lane.
pub(crate) const fn rx_blocks_per_lane(lanes: u16) -> u32 {
    if lanes == 0 { RX_BLOCKS } else { RX_BLOCKS / lanes as u32 }
}

/// Consumer index of a lane's transmit ring, u32, read part.
pub(crate) const fn lane_consumer(lane: u16) -> usize {
    lane as usize * LINE
}

/// The words of a socket's cell in the read part.
pub(crate) mod read_cell {
    use super::{LINE, READ_CELLS};

    pub(crate) const GENERATION: usize = 0;
    pub(crate) const STATUS: usize = 4;
    pub(crate) const ERROR: usize = 8;
    pub(crate) const RX_TAIL: usize = 12;
    pub(crate) const RX_LEN: usize = 16;
    pub(crate) const TX_RELEASED: usize = 24;
    pub(crate) const SEND_BUFFER: usize = 32;
    pub(crate) const IN_TOKEN: usize = 36;
    pub(crate) const OUT_DRAINED: usize = 40;
    /// The worker's own number of the socket.
    pub(crate) const NUMBER: usize = 44;
    pub(crate) const RX_NOTICE: usize = 48;
    /// One more than the place of the urgent byte in the received stream; 0: there was none.
    pub(crate) const RX_URGENT: usize = 56;

    pub(crate) const fn word(cell: u32, word: usize) -> usize {
        READ_CELLS + cell as usize * LINE + word
    }
}

/// The words of a socket's cell in the write part.
pub(crate) mod write_cell {
    use super::{LINE, WRITE_CELLS};

    pub(crate) const RX_CONSUMED: usize = 0;
    pub(crate) const IN_ARM: usize = 8;
    pub(crate) const OUT_ARM: usize = 12;
    pub(crate) const RX_INDEX: usize = 16;
    pub(crate) const RX_OFFSET: usize = 20;
    /// Of a descriptor that stands for packets: which of them.
    pub(crate) const RX_PIECE: usize = 24;

    pub(crate) const fn word(cell: u32, word: usize) -> usize {
        WRITE_CELLS + cell as usize * LINE + word
    }
}

/// The words of a socket that only the client's own processes use, in the write part.
pub(crate) mod own_cell {
    use super::{LINE, OWN_CELLS};

    pub(crate) const RX_LOCK: usize = 0;
    pub(crate) const TX_LOCK: usize = 4;
    pub(crate) const TX_POSTED: usize = 8;
    pub(crate) const TX_GENERATION: usize = 16;
    pub(crate) const TX_FIRST: usize = 20;
    pub(crate) const TX_LAST: usize = 24;
    pub(crate) const TX_FILL: usize = 28;
    pub(crate) const ERROR_SEEN: usize = 32;
    pub(crate) const FLAGS: usize = 36;
    pub(crate) const RX_TOLD: usize = 40;
    /// The `RX_URGENT` whose byte has been read by itself.
    pub(crate) const URGENT_READ: usize = 48;
    /// Of a datagram socket in that place: `UDP_SEGMENT`, above 16 bits whether `UDP_GRO` is on, and above that whether
    /// its user has chosen an interface.
    pub(crate) const SEGMENTS: usize = URGENT_READ;
    /// Longest waits of receiving and of sending, in milliseconds; 0: without end.
    pub(crate) const RX_TIMEOUT: usize = 56;
    pub(crate) const TX_TIMEOUT: usize = 60;

    pub(crate) const fn word(cell: u32, word: usize) -> usize {
        OWN_CELLS + cell as usize * LINE + word
    }
}

/// Words of the whole client that only its own processes use, in the write part.
pub(crate) mod own {
    use super::{LINE, OWN_WORDS, TX_BLOCK_TABLE};

    /// Bitmap of transmit blocks in use, u64 words.
    pub(crate) const fn tx_blocks_used(word: usize) -> usize {
        OWN_WORDS + word * 8
    }

    /// Lock around requests on the control connection; the next sequence number follows it.
    pub(crate) const CALL_LOCK: usize = OWN_WORDS + 16 * 1024;
    pub(crate) const CALL_SEQUENCE: usize = CALL_LOCK + 4;

    /// Lock around a lane's transmit ring; the producer index follows it.
    pub(crate) const fn ring_lock(lane: u16) -> usize {
        OWN_WORDS + 32 * 1024 + lane as usize * LINE
    }

    /// Producer index of a lane's transmit ring.
    pub(crate) const fn ring_producer(lane: u16) -> usize {
        ring_lock(lane) + 4
    }

    /// Entry of the block table: `end` u64, `next` u32, `count` u32.
    pub(crate) const fn tx_block_end(block: u32) -> usize {
        TX_BLOCK_TABLE + block as usize * 16
    }

    /// The next block of the same socket.
    pub(crate) const fn tx_block_next(block: u32) -> usize {
        tx_block_end(block) + 8
    }

    /// Blocks that follow each other from this one on and are used as one.
    pub(crate) const fn tx_block_count(block: u32) -> usize {
        tx_block_end(block) + 12
    }
}

/// Descriptor `index` of a socket's receive queue, read part.
pub(crate) const fn rx_descriptor(cell: u32, index: u32) -> usize {
    QUEUES + (cell as usize * QUEUE_LEN as usize + (index % QUEUE_LEN) as usize) * DESCRIPTOR
}

/// Bit of a receive descriptor's flags: the block has a list of packets, the offset is the first entry's.
pub(crate) const LENT: u32 = 1;

/// Entry `number` of the list in a receive block, read part: two words of 64 bits, buffer and offset in it, length and
/// where in the stream it begins, modulo 2^32.
pub(crate) const fn list_entry(block: u32, number: u32) -> usize {
    rx_block(block) + (number % LIST_LEN) as usize * DESCRIPTOR
}

/// A byte of the packets' memory.
pub(crate) const fn packet_byte(buffer: u32, offset: u32) -> usize {
    buffer as usize * PACKET_ROOM as usize + offset as usize
}

/// First byte of a receive block, read part.
pub(crate) const fn rx_block(block: u32) -> usize {
    RX_AREA + block as usize * BLOCK_LEN as usize
}

/// Descriptor `index` of a lane's transmit ring, write part.
pub(crate) const fn tx_descriptor(lane: u16, index: u32) -> usize {
    (lane as usize * RING_LEN as usize + (index % RING_LEN) as usize) * DESCRIPTOR
}

/// A byte of the transmit area, write part.
pub(crate) const fn tx_area(offset: u32) -> usize {
    TX_AREA + offset as usize
}

/// The lap bit a fresh descriptor at `index` carries: 1 on the first lap, since memory starts zero.
pub(crate) const fn lap(index: u32) -> u32 {
    if (index / RING_LEN).is_multiple_of(2) { LAP } else { 0 }
}

/// Bit of a descriptor's flags that tells a fresh entry from one of the lap before.
pub(crate) const LAP: u32 = 1 << 31;

/// A worker's `sleeping` word in the workers' page.
pub(crate) const fn sleeping(worker: u16) -> usize {
    worker as usize * LINE
}

/// The network's generation in the workers' page, behind the workers' words.
pub(crate) const NETWORK_GENERATION: usize = LANES_MAX as usize * LINE;

/// Length of the workers' page.
pub(crate) const WORKERS_LEN: usize = NETWORK_GENERATION + LINE;
