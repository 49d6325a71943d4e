//! What a driver module and the daemon say to each other, in C's types.
//!
//! A module is a shared object with one exported variable, `devnp_module`, of type [`Module`]. The
//! daemon checks it, then calls [`Module::open`] for each interface, hands the queues to its workers
//! and calls [`Module::rx_burst`] and [`Module::tx_burst`] with up to 32 packets at a time.
//!
//! ```text
//!  load        open      start     rx_burst, tx_burst …            stop      close     unload
//!  ────────────┬─────────┬─────────┬───────────────────────────────┬─────────┬─────────────>
//!  control     control   control   one worker per queue            control   control
//!                                  (no call is made after stop)
//! ```
//!
//! Who has a packet's pointer owns it: `tx_burst` gives the packets that it says it took to the
//! driver, which frees them when it is done; `rx_burst` gives packets to the daemon. Packets are
//! opaque; [`Api`] has what can be done with one.
//!
//! The C header `pmd-drivers/include/iopkt/devnp.h` is generated from this file (`cargo test -p
//! devnp-abi` compares them; with `DEVNP_HEADER=write` it writes the header).
//!
//! **What may change.** Fields are only ever appended, and the `size` of each table says how far its
//! writer knew it: a reader looks at no field beyond. What can't be said so gets a new
//! [`ABI_VERSION`], and modules of another version are refused.
#![no_std]
#![forbid(unsafe_code)]

use core::ffi::{c_char, c_void};

/// First word of every [`Module`]: `dvnp` in memory on a little-endian machine.
pub const MAGIC: u32 = 0x706e_7664;

/// The version that this header describes.
pub const ABI_VERSION: u32 = 1;

/// [`Module::kind`]: a network driver.
pub const KIND_DRIVER: u32 = 1;

/// [`Module::threading`]: calls into queues come from one thread. Such a driver has one queue, the first
/// worker's, which sends for the others and hands them what is theirs.
pub const THREADING_SINGLE: u32 = 1;
/// [`Module::threading`]: each queue has one thread; different queues are served at once.
pub const THREADING_QUEUE: u32 = 2;

/// [`Module::flags`]: one interface at a time; a second `open` would not work.
pub const FLAG_SINGLE_INSTANCE: u32 = 1;
/// [`Module::flags`]: stays loaded when its last interface is gone.
pub const FLAG_STAY: u32 = 2;
/// [`Module::flags`]: stands before another driver, which the operator names with `lower=`.
pub const FLAG_NEEDS_LOWER: u32 = 4;

/// [`Info::flags`]: `open` wants to be called again, with the next [`Config::port`], for another
/// interface of the same options.
pub const INFO_MORE: u32 = 1;

/// [`Info::offloads`]: fills in IPv4 header checksums.
pub const OFFLOAD_IPV4_CHECKSUM: u32 = 1;
/// [`Info::offloads`]: fills in TCP checksums.
pub const OFFLOAD_TCP_CHECKSUM: u32 = 2;
/// [`Info::offloads`]: fills in UDP checksums.
pub const OFFLOAD_UDP_CHECKSUM: u32 = 4;
/// [`Info::offloads`]: sends packets of several pieces. Without it every packet is one piece.
pub const OFFLOAD_MULTI_SEGMENT: u32 = 8;

/// [`Info::offloads`]: cuts TCP segments, into as many packets as their text needs; needs
/// [`OFFLOAD_TCP_CHECKSUM`] and [`OFFLOAD_MULTI_SEGMENT`], and [`Info::pieces_max`].
pub const OFFLOAD_TCP_SEGMENTATION: u32 = 16;

/// [`TxRequest::flags`]: fill in the IPv4 header's checksum.
pub const TX_IPV4_CHECKSUM: u32 = 1;
/// [`TxRequest::flags`]: fill in the TCP checksum; the field holds the pseudo-header's sum.
pub const TX_TCP_CHECKSUM: u32 = 2;
/// [`TxRequest::flags`]: fill in the UDP checksum; the field holds the pseudo-header's sum.
pub const TX_UDP_CHECKSUM: u32 = 4;

/// [`Api::set_rx`]: the IPv4 header's checksum is right.
pub const RX_IPV4_GOOD: u32 = 1;
/// [`Api::set_rx`]: the IPv4 header's checksum is wrong.
pub const RX_IPV4_BAD: u32 = 2;
/// [`Api::set_rx`]: the TCP or UDP checksum is right, or need not be.
pub const RX_L4_GOOD: u32 = 4;
/// [`Api::set_rx`]: the TCP or UDP checksum is wrong.
pub const RX_L4_BAD: u32 = 8;

/// Added to what `rx_burst` and `tx_burst` return: the driver has failed. The interface goes down,
/// and no queue of it is called until the operator sets it up again (`stop`, `start`).
pub const FAILED: u16 = 0x8000;

/// [`Api::log`]: an error.
pub const LOG_ERROR: i32 = 0;
/// [`Api::log`]: something odd.
pub const LOG_WARNING: i32 = 1;
/// [`Api::log`]: worth knowing.
pub const LOG_INFO: i32 = 2;
/// [`Api::log`]: for whoever looks for a fault.
pub const LOG_DEBUG: i32 = 3;

/// Places in [`Stats::values`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub enum Stat {
    /// Frames received.
    RxPackets,
    /// Bytes received.
    RxBytes,
    /// Multicast frames received.
    RxMulticast,
    /// Broadcast frames received.
    RxBroadcast,
    /// Frames lost for want of a buffer.
    RxNoBuffer,
    /// Frames lost because the ring was full.
    RxMissed,
    /// Frames with a wrong frame check sequence.
    RxFcs,
    /// Frames that did not end on a byte.
    RxAlignment,
    /// Frames shorter than 64 bytes.
    RxShort,
    /// Frames longer than the largest.
    RxOversized,
    /// Frames whose length field disagrees.
    RxLength,
    /// Symbol errors.
    RxSymbol,
    /// Other faults on receive.
    RxInternal,
    /// Frames sent.
    TxPackets,
    /// Bytes sent.
    TxBytes,
    /// Multicast frames sent.
    TxMulticast,
    /// Broadcast frames sent.
    TxBroadcast,
    /// Frames not sent for want of a buffer.
    TxNoBuffer,
    /// Frames not sent: other faults.
    TxInternal,
    /// Frames put off because the medium was busy.
    TxDeferred,
    /// Frames sent after one collision.
    TxSingleCollision,
    /// Frames sent after several collisions.
    TxMultipleCollisions,
    /// Collisions after the first 64 bytes.
    TxLateCollision,
    /// Frames given up after too many collisions.
    TxExcessiveCollisions,
    /// Frames given up after too long a wait.
    TxExcessiveDeferral,
    /// Carrier lost while sending.
    TxNoCarrier,
    /// Heartbeat (SQE) errors.
    TxSqe,
    /// Frames longer than the largest, with a wrong frame check sequence.
    RxJabber,
    /// Frames with further bits after their end.
    RxDribble,
    /// Frames that met a collision.
    TxCollisions,
}

/// Length of [`Stats::values`]: room for places to come.
pub const STATS_MAX: usize = 64;

/// Counters of an interface since it was opened.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Stats {
    /// Bytes of this structure.
    pub size: u32,
    /// Unused.
    pub reserved: u32,
    /// Bit `n` says that `values[n]` counts.
    pub valid: u64,
    /// By [`Stat`].
    pub values: [u64; STATS_MAX],
}

/// The state of the wire.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Link {
    /// Bytes of this structure.
    pub size: u32,
    /// Megabits a second; 0: unknown.
    pub speed_mbps: u32,
    /// 1: there is a carrier.
    pub up: u8,
    /// 1: both ways at once.
    pub full_duplex: u8,
    /// 1: speed and duplex were negotiated.
    pub autonegotiated: u8,
    /// Unused.
    pub reserved: u8,
}

/// A packet, or a chain of pieces that is one. Opaque.
#[derive(Debug)]
#[repr(C)]
pub struct Mbuf {
    opaque: [u8; 0],
}

/// The daemon's side of one interface. Opaque.
#[derive(Debug)]
#[repr(C)]
pub struct Host {
    opaque: [u8; 0],
}

/// One piece of a packet: `struct iovec`.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Piece {
    /// First byte.
    pub data: *const c_void,
    /// Bytes.
    pub len: usize,
}

/// What a driver is to fill in before it sends a packet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct TxRequest {
    /// `TX_…`.
    pub flags: u32,
    /// Bytes before the IP header.
    pub l2_len: u16,
    /// Bytes of the IP header.
    pub l3_len: u16,
    /// Bytes of the TCP or UDP header.
    pub l4_len: u16,
    /// Bytes of text in each segment, if the packet is to be cut; 0: it is not. Then the TCP checksum
    /// field holds the sum of a pseudo-header with length 0, and the IP header's is to be filled in too.
    pub segment_len: u16,
}

/// What the daemon does for a driver. The table lives as long as the process; everything in it may
/// be called from any thread.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Api {
    /// [`ABI_VERSION`] of the daemon.
    pub abi: u32,
    /// Bytes of this table.
    pub size: u32,
    /// Writes a line of text to the daemon's log, with the interface's name before it.
    pub log: unsafe extern "C" fn(host: *const Host, level: i32, text: *const c_char),
    /// Copies the value of an option to `to` as a C string and returns its length; 0 for an option
    /// without value, -1 if it was not given, -2 if there is no room.
    pub option: unsafe extern "C" fn(
        host: *const Host,
        key: *const c_char,
        to: *mut c_char,
        len: usize,
    ) -> isize,
    /// `count` empty packets with 128 bytes of headroom: 0, or -ENOMEM and none.
    pub alloc: unsafe extern "C" fn(host: *const Host, packets: *mut *mut Mbuf, count: u16) -> i32,
    /// Frees packets.
    pub free: unsafe extern "C" fn(packets: *mut *mut Mbuf, count: u16),
    /// First byte of the packet's first piece.
    pub data: unsafe extern "C" fn(packet: *mut Mbuf) -> *mut u8,
    /// Bytes of the whole packet.
    pub len: unsafe extern "C" fn(packet: *const Mbuf) -> u32,
    /// Bytes that a packet of one piece has room for, from [`data`](Self::data) on.
    pub room: unsafe extern "C" fn(packet: *const Mbuf) -> u32,
    /// Makes a packet of one piece this long: 0, or -EINVAL.
    pub set_len: unsafe extern "C" fn(packet: *mut Mbuf, len: u32) -> i32,
    /// Copies `len` bytes from `offset` of the packet: 0, or -EINVAL if it is shorter.
    pub copy:
        unsafe extern "C" fn(packet: *const Mbuf, offset: u32, len: u32, to: *mut c_void) -> i32,
    /// The packet's pieces, for `writev`: their number, or 0 if there are more than `max`. Bytes may
    /// be a client's that changes them meanwhile: send them, do not judge them.
    pub pieces: unsafe extern "C" fn(packet: *const Mbuf, pieces: *mut Piece, max: u16) -> u16,
    /// What is to be filled in before the packet is sent.
    pub tx_request: unsafe extern "C" fn(packet: *const Mbuf, request: *mut TxRequest),
    /// What is known of a received packet's checksums: `RX_…`.
    pub set_rx: unsafe extern "C" fn(packet: *mut Mbuf, flags: u32),
    /// The link has changed: the daemon will ask.
    pub link_changed: unsafe extern "C" fn(host: *const Host),
    /// The device is gone (unplugged): the daemon stops and closes the interface soon.
    pub removed: unsafe extern "C" fn(host: *const Host),
}

/// The device below a driver with [`FLAG_NEEDS_LOWER`]. Lives until `close`.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Lower {
    /// Bytes of this structure.
    pub size: u32,
    /// Pairs of queues: as many as the driver is asked for.
    pub queues: u16,
    /// Its largest IP packet.
    pub mtu: u16,
    /// Its address.
    pub mac: [u8; 6],
    /// 1: there is a carrier.
    pub up: u8,
    /// Unused.
    pub reserved: u8,
    /// Takes received packets; only from the `rx_burst` of the same queue.
    pub rx_burst: unsafe extern "C" fn(
        lower: *const Self,
        queue: u16,
        packets: *mut *mut Mbuf,
        count: u16,
    ) -> u16,
    /// Sends packets and says how many were taken, from the front; only from the `rx_burst` or
    /// `tx_burst` of the same queue.
    pub tx_burst: unsafe extern "C" fn(
        lower: *const Self,
        queue: u16,
        packets: *mut *mut Mbuf,
        count: u16,
    ) -> u16,
    /// A descriptor that is readable while packets wait, or -1.
    pub rx_fd: unsafe extern "C" fn(lower: *const Self, queue: u16) -> i32,
}

/// What the operator and the daemon want of an interface.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Config {
    /// Bytes of this structure.
    pub size: u32,
    /// 0 for the first interface of these options, then 1, … while [`INFO_MORE`] is set.
    pub port: u32,
    /// Pairs of queues: one per worker, or one with [`THREADING_SINGLE`].
    pub queues: u16,
    /// `mtu=`; 0: not given.
    pub mtu: u16,
    /// `mac=`; all 0: not given.
    pub mac: [u8; 6],
    /// `promiscuous`.
    pub promiscuous: u8,
    /// `nomulticast`.
    pub nomulticast: u8,
    /// The driver's own options, `key=value,…`; [`Api::option`] takes them apart.
    pub options: *const c_char,
    /// The device below, or null.
    pub lower: *const Lower,
}

/// What `open` has made.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Info {
    /// Bytes of this structure.
    pub size: u32,
    /// `OFFLOAD_…`.
    pub offloads: u32,
    /// `INFO_…`.
    pub flags: u32,
    /// Pairs of queues; at least as many as the daemon asked for, or the interface is refused.
    pub queues: u16,
    /// Largest IP packet now.
    pub mtu: u16,
    /// Largest IP packet ever.
    pub mtu_max: u16,
    /// The address; all 0: the daemon chooses one.
    pub mac: [u8; 6],
    /// The kernel's interface at the other end, or empty.
    pub kernel_interface: [c_char; 16],
    /// What the other functions get.
    pub device: *mut c_void,
    /// With [`OFFLOAD_TCP_SEGMENTATION`]: most pieces of a packet that is to be cut.
    pub pieces_max: u16,
    /// Unused.
    pub reserved: [u8; 6],
}

/// The exported table. Functions may be null where it says so. All return 0 or a negative errno, if
/// nothing else is said.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Module {
    /// [`MAGIC`].
    pub magic: u32,
    /// [`ABI_VERSION`].
    pub abi: u32,
    /// Bytes of this table.
    pub size: u32,
    /// [`KIND_DRIVER`].
    pub kind: u32,
    /// `THREADING_…`.
    pub threading: u32,
    /// `FLAG_…`.
    pub flags: u32,
    /// The driver's name, base of its interfaces' names: up to 11 letters, digits, `-`, `_`, not
    /// ending in a digit.
    pub name: *const c_char,
    /// The driver's own version, for listings.
    pub version: *const c_char,
    /// Its options as `loss=PERCENT seed=NUMBER fast`: any other is refused with this text.
    pub options: *const c_char,
    /// Makes an interface. `api` stays valid until the process ends, `host` until `close` returns,
    /// `config` during the call.
    pub open: Option<
        unsafe extern "C" fn(
            api: *const Api,
            host: *const Host,
            config: *const Config,
            info: *mut Info,
        ) -> i32,
    >,
    /// Takes the interface away. No call is under way, none follows.
    pub close: Option<unsafe extern "C" fn(device: *mut c_void)>,
    /// Begins to receive and send; also after a failure.
    pub start: Option<unsafe extern "C" fn(device: *mut c_void) -> i32>,
    /// No longer receives or sends.
    pub stop: Option<unsafe extern "C" fn(device: *mut c_void)>,
    /// Writes up to `count` received packets and says how many.
    pub rx_burst: Option<
        unsafe extern "C" fn(
            device: *mut c_void,
            queue: u16,
            packets: *mut *mut Mbuf,
            count: u16,
        ) -> u16,
    >,
    /// Takes packets from the front and says how many. The others are offered again.
    pub tx_burst: Option<
        unsafe extern "C" fn(
            device: *mut c_void,
            queue: u16,
            packets: *mut *mut Mbuf,
            count: u16,
        ) -> u16,
    >,
    /// A descriptor that is readable while packets wait, or -1: the worker then looks every
    /// millisecond. The driver keeps it open until `close`. May be null.
    pub rx_fd: Option<unsafe extern "C" fn(device: *mut c_void, queue: u16) -> i32>,
    /// The state of the wire. Null: always up.
    pub link: Option<unsafe extern "C" fn(device: *mut c_void, link: *mut Link) -> i32>,
    /// Counters beyond those that the daemon keeps. May be null.
    pub stats: Option<unsafe extern "C" fn(device: *mut c_void, stats: *mut Stats) -> i32>,
    /// Changes the address, 6 bytes. Null: the driver lets every frame through, and only the daemon's
    /// side changes.
    pub set_mac: Option<unsafe extern "C" fn(device: *mut c_void, mac: *const u8) -> i32>,
    /// Changes the largest IP packet. Null: it can't.
    pub set_mtu: Option<unsafe extern "C" fn(device: *mut c_void, mtu: u16) -> i32>,
    /// Receives frames for everybody, or not. Null: it can't.
    pub set_promiscuous: Option<unsafe extern "C" fn(device: *mut c_void, on: u8) -> i32>,
    /// Receives frames for all groups, or for none. Null: all arrive, always.
    pub set_allmulticast: Option<unsafe extern "C" fn(device: *mut c_void, on: u8) -> i32>,
    /// A command of the driver's own (`SIOCSDRVSPEC`, `iopkt ifconfig IF drvspec`): takes `*len` bytes at
    /// `data` and leaves `*len` bytes of answer there, at most `room`. Null: it has none.
    pub ioctl: Option<
        unsafe extern "C" fn(
            device: *mut c_void,
            command: u32,
            data: *mut c_void,
            len: *mut u32,
            room: u32,
        ) -> i32,
    >,
    /// The process crashes: stop DMA. Runs in a signal handler, on whichever thread has the fault, while
    /// others may be in this driver: no locks, no memory, only stores and raw system calls. May be
    /// null.
    pub panic_stop: Option<unsafe extern "C" fn(device: *mut c_void)>,
}

const _: () = assert!(size_of::<Module>() == 24 + 3 * 8 + 15 * 8);
const _: () = assert!(size_of::<Api>() == 8 + 14 * 8);
const _: () = assert!(size_of::<Config>() == 40 && size_of::<Info>() == 56);
