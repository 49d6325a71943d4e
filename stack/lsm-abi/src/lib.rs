//! What a protocol module and the daemon say to each other, in C's types.
//!
//! A module is a shared object with one exported variable, `lsm_module`, of type [`Module`]. The
//! daemon checks it and calls [`Module::open`], which attaches to what the module wants: frames of
//! an EtherType, packets of an IP protocol, copies of all frames, a filter. From then on the workers
//! call it, up to 32 packets at a time.
//!
//! ```text
//!  load       open            receive, tap, filter, timer, call …            close      unload
//!  ───────────┬───────────────┬──────────────────────────────────────────────┬──────────>
//!  module's   module's        each worker, for itself                        module's
//!  thread     thread          event, work: the module's thread               thread
//!                                              (no worker is in the module after the last of them
//!                                               has taken up a list without it)
//! ```
//!
//! Packets are those of drivers, and so is what can be done with one: [`Api::packet`]. Who has a
//! packet's pointer owns it: what `receive` gets is the module's, to free or to send; what `tap` and
//! `filter` get stays the daemon's, unless the filter says [`CONSUMED`].
//!
//! The C header `stack/include/iopkt/lsm.h` is made of this crate's files (`cargo test -p lsm-abi`; `LSM_HEADER=write` writes it).
//!
//! **What may change.** Fields are only ever appended, and the `size` of each table says how far its
//! writer knew it: a reader looks at no field beyond. What can't be said so gets a new
//! [`ABI_VERSION`], and modules of another version are refused.
#![no_std]
#![forbid(unsafe_code)]

mod module;

use core::ffi::{c_char, c_void};

pub use devnp_abi::Mbuf as Packet;
use devnp_abi::{Api as DriverApi, Mbuf};
pub use module::Module;

/// First word of every [`Module`]: `lsm1` in memory on a little-endian machine.
pub const MAGIC: u32 = 0x316d_736c;

/// The version that this header describes.
pub const ABI_VERSION: u32 = 1;

/// [`Module::kind`]: a protocol.
pub const KIND_PROTOCOL: u32 = 2;

/// [`Module::threading`]: all workers' calls come from one thread, the first worker's; the others hand
/// packets over to it. With several workers such a module can't have taps and filters.
pub const THREADING_SINGLE: u32 = 1;
/// [`Module::threading`]: each worker calls for itself, several at once.
pub const THREADING_WORKERS: u32 = 2;

/// [`Module::flags`]: may be loaded more than once at a time. Without it a second load is refused
/// with `EALREADY`.
pub const FLAG_SEVERAL: u32 = 1;
/// [`Module::flags`]: its code stays in the process when it is unloaded.
pub const FLAG_STAY: u32 = 2;

/// [`Attach::to`]: frames of the EtherType [`Attach::value`], from 0x0600 on, that are for this station
/// or for a group. IPv4, ARP and IPv6 are the stack's.
pub const TO_ETHERTYPE: u32 = 1;
/// [`Attach::to`]: IPv4 packets of the protocol [`Attach::value`] that are for this host, from the IP
/// header on, checked and without padding. ICMP, TCP and UDP are the stack's.
pub const TO_PROTOCOL: u32 = 2;
/// [`Attach::to`]: a look at all frames, [`IN`] and [`OUT`] as [`Attach::value`] says.
pub const TO_TAP: u32 = 3;
/// [`Attach::to`]: a filter of IPv4 packets, from the IP header on. On the way [`IN`] they are for this
/// station and well formed, and not yet known to be for this host. On the way [`OUT`] sums may be left
/// to the port, and text may be a client's, who can change it: judge headers.
pub const TO_FILTER_INET: u32 = 4;
/// [`Attach::to`]: a filter of frames at the interfaces, from the Ethernet header on.
pub const TO_FILTER_INTERFACE: u32 = 5;
/// [`Attach::to`]: a filter of IPv6 packets, from the IP header on, as [`TO_FILTER_INET`] is of IPv4's; extension
/// headers are not yet looked at on the way [`IN`].
pub const TO_FILTER_INET6: u32 = 7;
/// [`Attach::to`]: sockets of type `SOCK_DGRAM` of the address family [`Attach::value`] / 65536 with the
/// protocol [`Attach::value`] % 65536. `AF_UNSPEC` and `AF_UNIX` can't be had; of `AF_INET` and `AF_INET6`
/// protocol 0 and ICMP's, TCP's and UDP's are the stack's.
pub const TO_SOCKETS: u32 = 6;
/// [`Attach::to`]: sockets of type `SOCK_STREAM`, of families and protocols as with [`TO_SOCKETS`].
pub const TO_STREAMS: u32 = 8;

/// [`Attach::value`], [`Arrival::direction`]: packets that come.
pub const IN: u32 = 1;
/// [`Attach::value`], [`Arrival::direction`]: packets that go.
pub const OUT: u32 = 2;

/// A filter's verdict: it may pass, changed or not.
pub const PASS: u8 = 0;
/// A filter's verdict: the daemon drops and counts it.
pub const DROP: u8 = 1;
/// A filter's verdict: the packet is the module's now.
pub const CONSUMED: u8 = 2;

/// What a call of a worker returns if the module has failed: it is called no more, except to close.
pub const FAILED: i32 = -1;

/// [`Api::log`]: an error.
pub const LOG_ERROR: i32 = 0;
/// [`Api::log`]: something odd.
pub const LOG_WARNING: i32 = 1;
/// [`Api::log`]: worth knowing.
pub const LOG_INFO: i32 = 2;
/// [`Api::log`]: for whoever looks for a fault.
pub const LOG_DEBUG: i32 = 3;

/// [`Interface::flags`]: the operator has set it up.
pub const INTERFACE_UP: u32 = 1;
/// [`Interface::flags`]: there is a carrier.
pub const INTERFACE_RUNNING: u32 = 2;
/// [`Interface::flags`]: packets to ourselves.
pub const INTERFACE_LOOPBACK: u32 = 4;

/// [`Event::kind`]: an interface has come.
pub const EVENT_ATTACHED: u32 = 1;
/// [`Event::kind`]: an interface is gone.
pub const EVENT_DETACHED: u32 = 2;
/// [`Event::kind`]: an interface was set up or down, its MTU, address or carrier is another.
pub const EVENT_CHANGED: u32 = 3;
/// [`Event::kind`]: an interface has got the address [`Event::address`].
pub const EVENT_ADDRESS_ADDED: u32 = 4;
/// [`Event::kind`]: an interface has lost the address [`Event::address`].
pub const EVENT_ADDRESS_REMOVED: u32 = 5;
/// [`Event::kind`]: an interface has got the IPv6 address [`Event6::address`], which may be used now.
pub const EVENT_ADDRESS6_ADDED: u32 = 6;
/// [`Event::kind`]: an interface has lost the IPv6 address [`Event6::address`].
pub const EVENT_ADDRESS6_REMOVED: u32 = 7;

/// [`Variable::flags`]: the operator may set it. Without it only the module does, as with a counter.
pub const VARIABLE_WRITABLE: u32 = 1;

/// Most bytes that one read or write of a path moves, and that go in or out with one ioctl.
pub const PATH_BYTES_MAX: u32 = 61_440;

/// What `path_read` and `path_ioctl` return if [`Api::path_answer`] will say it later.
pub const PATH_LATER: isize = -4096;

/// The daemon's side of one loaded module. Opaque.
#[derive(Debug)]
#[repr(C)]
pub struct Host {
    opaque: [u8; 0],
}

/// A worker, during one call. Opaque.
#[derive(Debug)]
#[repr(C)]
pub struct Context {
    opaque: [u8; 0],
}

/// What a module wants of the stack.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Attach {
    /// Bytes of this structure.
    pub size: u32,
    /// `TO_…`.
    pub to: u32,
    /// As `to` says.
    pub value: u32,
    /// Filters and taps: the lower one is nearer to the wire, so it is asked first of what comes and
    /// last of what goes. Equal ones stand in the order in which they were loaded.
    pub order: i32,
    /// [`TO_FILTER_INTERFACE`] and [`TO_TAP`]: the one interface, by its name; null: all.
    pub interface: *const c_char,
}

/// What the packets of a call have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Arrival {
    /// Bytes of this structure.
    pub size: u32,
    /// What [`Api::attach`] returned.
    pub attachment: u32,
    /// [`IN`] or [`OUT`].
    pub direction: u32,
    /// The interface they came by or are to leave by.
    pub interface: u32,
}

/// Where packets go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Destination {
    /// Bytes of this structure.
    pub size: u32,
    /// IPv4 address, most significant byte first.
    pub to: [u8; 4],
    /// Address to send from; all 0: the one that the route suggests.
    pub from: [u8; 4],
    /// Protocol number.
    pub protocol: u8,
    /// Type of service.
    pub tos: u8,
    /// Time to live; 0: the stack's.
    pub ttl: u8,
    /// Unused.
    pub reserved: u8,
}

/// An interface as it was a moment ago.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Interface {
    /// Bytes of this structure.
    pub size: u32,
    /// `INTERFACE_…`.
    pub flags: u32,
    /// Its number, as in [`Arrival::interface`].
    pub index: u32,
    /// Largest IP packet.
    pub mtu: u32,
    /// Its MAC address.
    pub mac: [u8; 6],
    /// Prefix length of `address`.
    pub prefix_len: u8,
    /// Unused.
    pub reserved: u8,
    /// Its first IPv4 address, most significant byte first; all 0: it has none.
    pub address: [u8; 4],
    /// Its name.
    pub name: [c_char; 16],
}

/// Something has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Event {
    /// Bytes of this structure.
    pub size: u32,
    /// `EVENT_…`.
    pub kind: u32,
    /// The interface as it is now, or as it was before it went.
    pub interface: Interface,
    /// The address that came or went.
    pub address: [u8; 4],
    /// Its prefix length.
    pub prefix_len: u8,
    /// Unused.
    pub reserved: [u8; 3],
}

/// What an event of the kinds [`EVENT_ADDRESS6_ADDED`] and [`EVENT_ADDRESS6_REMOVED`] is the beginning of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Event6 {
    /// The event; its size is this structure's.
    pub event: Event,
    /// The address that came or went.
    pub address: [u8; 16],
}

/// A number that operator and module share: `iopkt sysctl NAME.VARIABLE`.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Variable {
    /// Bytes of this structure.
    pub size: u32,
    /// `VARIABLE_…`.
    pub flags: u32,
    /// Its name after the module's: letters, digits, `_`, and `.` between.
    pub name: *const c_char,
    /// What it means, in a sentence.
    pub text: *const c_char,
    /// The least that the operator may set.
    pub min: i64,
    /// The most.
    pub max: i64,
    /// Its first value.
    pub value: i64,
}

/// Who has opened a path, as the kernel knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Peer {
    /// Bytes of this structure.
    pub size: u32,
    /// What [`Api::path`] returned.
    pub path: u32,
    /// Process id.
    pub pid: u32,
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
    /// Unused.
    pub reserved: u32,
}

/// A socket's address. A program has it as `struct sockaddr_in` in `AF_INET`, and in every other family in
/// the layout of `struct sockaddr_in6`, under the family's number: what the bytes mean is the module's
/// business. Names that programs pass are as hostile as the rest of what they say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Name {
    /// Bytes of this structure.
    pub size: u32,
    /// The address family.
    pub family: u16,
    /// Port, in the machine's byte order.
    pub port: u16,
    /// `sin6_scope_id`: an interface, as a rule.
    pub scope: u32,
    /// The address, from the front; `AF_INET` has 4 bytes.
    pub address: [u8; 16],
}

/// A socket that a program opens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Opening {
    /// Bytes of this structure.
    pub size: u32,
    /// What [`Api::attach`] returned.
    pub attachment: u32,
    /// Names it in all calls, and no other socket ever.
    pub socket: u64,
    /// Process id of the program, as the kernel knows it.
    pub pid: u32,
    /// Its user id.
    pub uid: u32,
}

/// What the daemon does for a module. The table lives as long as the process. What takes a
/// [`Context`] may be called only during the call that was given it, everything else from any thread.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Api {
    /// [`ABI_VERSION`] of the daemon.
    pub abi: u32,
    /// Bytes of this table.
    pub size: u32,
    /// What can be done with a packet: the functions of this table that take no `devnp_host`.
    pub packet: *const DriverApi,
    /// Writes a line of text to the daemon's log, with the module's name before it.
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
    /// Only in `open`: the number of an attachment, or -EINVAL, -ENOSPC. Whether somebody else has
    /// it already turns out when `open` has returned: then the module is closed again.
    pub attach: unsafe extern "C" fn(host: *const Host, what: *const Attach) -> i32,
    /// How many workers call the module, numbered from 0: 1 with [`THREADING_SINGLE`].
    pub workers: unsafe extern "C" fn(host: *const Host) -> u32,
    /// Writes up to `max` interfaces and says how many there are.
    pub interfaces: unsafe extern "C" fn(host: *const Host, to: *mut Interface, max: u32) -> u32,
    /// Has `worker` call [`Module::call`] soon: 0, or -EAGAIN when too many such calls wait, -EINVAL.
    pub call_in_worker:
        unsafe extern "C" fn(host: *const Host, worker: u32, argument: *mut c_void) -> i32,
    /// Has the module's own thread call [`Module::work`] soon, which may block: 0, or -EAGAIN when too
    /// much work waits.
    pub defer: unsafe extern "C" fn(host: *const Host, argument: *mut c_void) -> i32,
    /// The worker's number.
    pub worker: unsafe extern "C" fn(context: *const Context) -> u32,
    /// Nanoseconds of `CLOCK_MONOTONIC` when the worker last looked.
    pub now: unsafe extern "C" fn(context: *const Context) -> u64,
    /// Sends frames, Ethernet header and all, by an interface, and says how many were taken, from the
    /// front; the others are still the caller's. A frame that can't be sent is dropped and counted.
    pub send_frames: unsafe extern "C" fn(
        context: *mut Context,
        interface: u32,
        packets: *mut *mut Mbuf,
        count: u16,
    ) -> u16,
    /// Sends packets without IP header by the route, and says how many were taken, as above.
    pub send_packets: unsafe extern "C" fn(
        context: *mut Context,
        to: *const Destination,
        packets: *mut *mut Mbuf,
        count: u16,
    ) -> u16,
    /// Has this worker call [`Module::timer`] at that time of `CLOCK_MONOTONIC` or a little later; 0:
    /// not. There is one timer for each worker, and this sets it anew.
    pub set_timer: unsafe extern "C" fn(context: *mut Context, at: u64),
    /// The module has failed, on a thread of its own: it is called no more, except to close.
    pub failed: unsafe extern "C" fn(host: *const Host),
    /// Only in `open`: the number of a variable, or -EINVAL, -EEXIST, -ENOSPC.
    pub variable: unsafe extern "C" fn(host: *const Host, what: *const Variable) -> i32,
    /// A variable's value; 0 for a number that none has.
    pub value: unsafe extern "C" fn(host: *const Host, variable: u32) -> i64,
    /// Sets a variable.
    pub set_value: unsafe extern "C" fn(host: *const Host, variable: u32, value: i64),
    /// Adds to a variable: a counter. All workers share it: once per burst is better than once per
    /// packet.
    pub add_value: unsafe extern "C" fn(host: *const Host, variable: u32, more: i64),
    /// Only in `open`: makes `<run><prefix>/dev/NAME` with these permissions (0600, 0660, 0666) and
    /// returns its number, or -EINVAL, -ENOSPC, -EADDRINUSE or the kernel's error. Who connects there
    /// is served by `path_open` and so on, on a thread of the module's paths.
    pub path: unsafe extern "C" fn(host: *const Host, name: *const c_char, mode: u32) -> i32,
    /// Answers a request that has returned [`PATH_LATER`], from any thread: with `len` bytes, or with a
    /// negative errno in `result` (0 otherwise). The handle names the request: it has to be this client's
    /// alone, and has one request at a time. An answer for a client that is gone is dropped.
    pub path_answer: unsafe extern "C" fn(
        host: *const Host,
        handle: u64,
        result: i32,
        data: *const c_void,
        len: usize,
    ),
    /// Gives packets to a socket of the module's, a datagram each, all from one sender; says how many were
    /// taken, from the front: the others are still the caller's. Those for a socket that is gone, or whose
    /// reader is too slow, are dropped and counted.
    ///
    /// A stream gets text so, from nobody in particular, in no more bytes than [`Module::socket_room`] has
    /// said. Streams are all the first worker's: others take nothing for them, here and in what follows, which
    /// answers 0, or -EINVAL there. [`Api::call_in_worker`] leads to it.
    pub deliver: unsafe extern "C" fn(
        context: *mut Context,
        socket: u64,
        from: *const Name,
        packets: *mut *mut Mbuf,
        count: u16,
    ) -> u16,
    /// Somebody called `from` connects to a stream that listens. [`Module::socket_arrived`] says what has come
    /// of it, and names the attempt by `tag`.
    pub arrive: unsafe extern "C" fn(
        context: *mut Context,
        listener: u64,
        from: *const Name,
        tag: u64,
    ) -> i32,
    /// A stream's `connect()` has led to its peer. The stream is called `name` from now on, unless that is null.
    pub connected:
        unsafe extern "C" fn(context: *mut Context, socket: u64, name: *const Name) -> i32,
    /// So many bytes more of what a program sends are wanted: [`Module::socket_send`] gets no others.
    pub want: unsafe extern "C" fn(context: *mut Context, socket: u64, bytes: u32) -> i32,
    /// With 0: nothing follows what was delivered. With an errno: the stream has ended in both directions, or its
    /// `connect()` has failed; nothing more is said of it but that it is closed.
    pub finish: unsafe extern "C" fn(context: *mut Context, socket: u64, error: i32) -> i32,
}

const _: () = assert!(size_of::<Module>() == 24 + 3 * 8 + 26 * 8);
const _: () = assert!(size_of::<Api>() == 8 + 26 * 8);
const _: () = assert!(size_of::<Attach>() == 24 && size_of::<Arrival>() == 16);
const _: () = assert!(size_of::<Variable>() == 48 && size_of::<Peer>() == 24);
const _: () = assert!(size_of::<Name>() == 28 && size_of::<Opening>() == 24);
const _: () = assert!(size_of::<Interface>() == 44 && size_of::<Event>() == 60);
const _: () = assert!(size_of::<Event6>() == 76);
