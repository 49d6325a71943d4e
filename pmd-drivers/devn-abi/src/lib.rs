//! What a per-packet driver and the daemon's shim say to each other, in C's types.
//!
//! The drivers of io-net moved one packet at a time and had threads of their own. This is a small
//! interface for such drivers: a shared object `devn-NAME.so` with one exported variable,
//! `devn_driver`, of type [`Driver`]. The shim makes a module of it that the rest of the daemon
//! cannot tell from others: it gathers what [`Host::rx`] brings into bursts, and hands bursts to
//! [`Driver::tx`] frame by frame.
//!
//! ```text
//!   the driver's own threads            one worker                   control thread
//!   ────────────────────────            ──────────                   ──────────────
//!   read the device                     tx(frame) …                  open
//!   rx(frame) ─> queue ────────────────> bursts                      devctl …
//!            (full: dropped, counted)                                close: end the threads
//! ```
//!
//! **Frames are lent, never given.** `rx` copies what it is called with; `tx` is done with the frame
//! when it returns. So a driver frees nothing of the daemon's and keeps nothing of it.
//!
//! **Threads.** `tx` is called by one worker, one frame after another; `open`, `devctl` and `close` by
//! the control thread, `devctl` maybe while `tx` runs. `rx` may be called by any threads, from `open`
//! until `close` returns, also from within `tx`. `close` ends the driver's threads: afterwards the
//! driver's code is unmapped.
//!
//! The C header `pmd-drivers/include/iopkt/devn.h` is generated from this file (`cargo test -p
//! devn-abi` compares them; with `DEVN_HEADER=write` it writes the header).
//!
//! **What may change.** Fields are only ever appended, and the `size` of each table says how far its
//! writer knew it. What can't be said so gets a new [`ABI_VERSION`].
#![no_std]
#![forbid(unsafe_code)]

use core::ffi::{c_char, c_void};

/// First word of every [`Driver`]: `devn` in memory on a little-endian machine.
pub const MAGIC: u32 = 0x6e76_6564;

/// The version that this header describes.
pub const ABI_VERSION: u32 = 1;

/// [`Driver::kind`]: a per-packet network driver.
pub const KIND_DRIVER: u32 = 1;

/// [`Driver::flags`]: one interface at a time; a second `open` would not work.
pub const FLAG_SINGLE_INSTANCE: u32 = 1;
/// [`Driver::flags`]: stays loaded when its last interface is gone.
pub const FLAG_STAY: u32 = 2;

/// The longest frame, without its check sequence: 1500 bytes behind an Ethernet header with a VLAN
/// tag.
pub const FRAME_MAX: u32 = 1518;

/// [`Driver::devctl`]: `uint32_t`, 1: receive everything, 0: only what is for us.
pub const DEVCTL_PROMISCUOUS: u32 = 12;
/// [`Driver::devctl`]: write counters to a `struct devnp_stats`. `size` is set; set a bit of `valid`
/// for each place of `values` that counts. Frames and bytes are counted by the daemon.
pub const DEVCTL_STATS: u32 = 22;
/// [`Driver::devctl`]: write the state of the wire to a `struct devnp_link`, which says up and full
/// duplex before.
pub const DEVCTL_LINK: u32 = 25;
/// [`Driver::devctl`]: `uint32_t`, the largest IP packet from now on.
pub const DEVCTL_MTU: u32 = 100;
/// [`Driver::devctl`]: six bytes, the address from now on.
pub const DEVCTL_MAC: u32 = 101;
/// [`Driver::devctl`]: `uint32_t`, 1: receive frames for all groups, 0: for none. A driver that does not
/// know it receives all.
pub const DEVCTL_ALLMULTICAST: u32 = 102;
/// [`Driver::devctl`]: commands of the driver's own have this number or a higher one (`iopkt ifconfig IF
/// drvspec`).
pub const DEVCTL_OWN: u32 = 256;

/// [`Host::log`]: an error.
pub const LOG_ERROR: i32 = 0;
/// [`Host::log`]: something odd.
pub const LOG_WARNING: i32 = 1;
/// [`Host::log`]: worth knowing.
pub const LOG_INFO: i32 = 2;
/// [`Host::log`]: for whoever looks for a fault.
pub const LOG_DEBUG: i32 = 3;

/// What the daemon does for a driver. The table lives as long as the process, and its functions may
/// be called from any thread, but not from a signal handler. `handle` is what `open` got; once `close`
/// has returned it means nothing, and calls with it do nothing.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Host {
    /// [`ABI_VERSION`] of the daemon.
    pub abi: u32,
    /// Bytes of this table.
    pub size: u32,
    /// A frame has arrived: from the Ethernet header on, without its check sequence. It is copied.
    /// Returns 0, or why it was dropped: -ENOBUFS (the queue is full), -EMSGSIZE (longer than
    /// `DEVN_FRAME_MAX`), -EINVAL (shorter than a header), -ENETDOWN (the interface is not started),
    /// -ENODEV (it is closed). The first three are counted.
    pub rx: unsafe extern "C" fn(handle: u64, frame: *const c_void, len: u32) -> i32,
    /// Writes a line of text to the daemon's log, with the interface's name before it.
    pub log: unsafe extern "C" fn(handle: u64, level: i32, text: *const c_char),
    /// The link has changed: the daemon will ask.
    pub link_changed: unsafe extern "C" fn(handle: u64),
    /// The device is gone (unplugged): the daemon closes the interface soon.
    pub removed: unsafe extern "C" fn(handle: u64),
}

/// What the operator wants of an interface.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Config {
    /// Bytes of this structure.
    pub size: u32,
    /// `mtu=`; 0: not given.
    pub mtu: u16,
    /// `mac=`; all 0: not given.
    pub mac: [u8; 6],
    /// `promiscuous`.
    pub promiscuous: u8,
    /// `nomulticast`.
    pub nomulticast: u8,
    /// The driver's own options, `key=value,…`, as `getsubopt` takes them apart; valid during `open`.
    pub options: *const c_char,
}

/// What `open` has made. All zero before, but for `size`.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Info {
    /// Bytes of this structure.
    pub size: u32,
    /// Largest IP packet, at most 1500; 0: 1500.
    pub mtu: u16,
    /// The address; all 0: the daemon chooses one.
    pub mac: [u8; 6],
    /// The kernel's interface at the other end, or empty.
    pub kernel_interface: [c_char; 16],
    /// What the other functions get.
    pub device: *mut c_void,
}

/// The exported table. Functions return 0 or a negative errno, if nothing else is said.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Driver {
    /// [`MAGIC`].
    pub magic: u32,
    /// [`ABI_VERSION`].
    pub abi: u32,
    /// Bytes of this table.
    pub size: u32,
    /// [`KIND_DRIVER`].
    pub kind: u32,
    /// `FLAG_…`.
    pub flags: u32,
    /// Unused.
    pub reserved: u32,
    /// The driver's name, base of its interfaces' names: up to 11 letters, digits, `-`, `_`, not
    /// ending in a digit.
    pub name: *const c_char,
    /// The driver's own version, for listings.
    pub version: *const c_char,
    /// Its options as `iface=NAME speed=NUMBER fast`: any other is refused with this text.
    pub options: *const c_char,
    /// Makes an interface and begins to receive. `host` stays valid until the process ends, `config`
    /// during the call. If it fails nothing may be left, threads above all.
    pub open: Option<
        unsafe extern "C" fn(
            host: *const Host,
            handle: u64,
            config: *const Config,
            info: *mut Info,
        ) -> i32,
    >,
    /// Takes the interface away and ends its threads. No other call is under way, none follows.
    pub close: Option<unsafe extern "C" fn(device: *mut c_void)>,
    /// Sends one frame, from the Ethernet header on, or queues a copy. -EAGAIN: not now, it is offered
    /// again. Any other error: the frame is lost, and counted. Must not wait.
    pub tx:
        Option<unsafe extern "C" fn(device: *mut c_void, frame: *const c_void, len: u32) -> i32>,
    /// `DEVN_DEVCTL_…`, or a command of its own; -EOPNOTSUPP for what it does not know. `data` has `*len`
    /// bytes, and room for `room`: an answer takes their place, and `*len` says how long it is. May be
    /// null.
    pub devctl: Option<
        unsafe extern "C" fn(
            device: *mut c_void,
            command: u32,
            data: *mut c_void,
            len: *mut u32,
            room: u32,
        ) -> i32,
    >,
}

const _: () = assert!(size_of::<Driver>() == 24 + 3 * 8 + 4 * 8);
const _: () = assert!(size_of::<Host>() == 8 + 4 * 8);
const _: () = assert!(size_of::<Config>() == 24 && size_of::<Info>() == 40);
