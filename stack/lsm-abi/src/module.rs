//! The table that a module exports.

use core::ffi::{c_char, c_void};

use devnp_abi::Mbuf;

use crate::{Api, Arrival, Context, Event, Host, Name, Opening, Peer};

/// The exported table. Functions may be null where it says so. `instance` is what `open` made.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Module {
    /// [`MAGIC`].
    pub magic: u32,
    /// [`ABI_VERSION`].
    pub abi: u32,
    /// Bytes of this table.
    pub size: u32,
    /// [`KIND_PROTOCOL`].
    pub kind: u32,
    /// `THREADING_…`.
    pub threading: u32,
    /// `FLAG_…`.
    pub flags: u32,
    /// The protocol's name: up to 15 letters, digits, `-`, `_`.
    pub name: *const c_char,
    /// The module's own version, for listings.
    pub version: *const c_char,
    /// Its options as `bind=INTERFACE rate=NUMBER fast`: any other is refused with this text.
    pub options: *const c_char,
    /// Begins. `api` stays valid until the process ends, `host` until `close` returns. 0, or a negative
    /// errno: then `close` is not called.
    pub open: Option<
        unsafe extern "C" fn(api: *const Api, host: *const Host, instance: *mut *mut c_void) -> i32,
    >,
    /// Ends. No call is under way, none follows.
    pub close: Option<unsafe extern "C" fn(instance: *mut c_void)>,
    /// Packets of an EtherType or a protocol: the module's now. 0, or [`FAILED`]. May be null if it
    /// attaches to none.
    pub receive: Option<
        unsafe extern "C" fn(
            instance: *mut c_void,
            context: *mut Context,
            arrival: *const Arrival,
            packets: *mut *mut Mbuf,
            count: u16,
        ) -> i32,
    >,
    /// A look at frames, which stay the daemon's and are not to be changed. 0, or [`FAILED`]. May be
    /// null if it attaches to none.
    pub tap: Option<
        unsafe extern "C" fn(
            instance: *mut c_void,
            context: *mut Context,
            arrival: *const Arrival,
            packets: *const *const Mbuf,
            count: u16,
        ) -> i32,
    >,
    /// Writes a verdict for each packet; they are all [`PASS`] before. Bytes may be changed in place.
    /// 0, or [`FAILED`]: then the verdicts written so far hold. May be null if it attaches to none.
    pub filter: Option<
        unsafe extern "C" fn(
            instance: *mut c_void,
            context: *mut Context,
            arrival: *const Arrival,
            packets: *const *mut Mbuf,
            verdicts: *mut u8,
            count: u16,
        ) -> i32,
    >,
    /// The worker's timer. 0, or [`FAILED`]. May be null.
    pub timer: Option<unsafe extern "C" fn(instance: *mut c_void, context: *mut Context) -> i32>,
    /// What [`Api::call_in_worker`] asked for. 0, or [`FAILED`]. With a null context: the module is
    /// about to be closed, the argument is to be freed. May be null.
    pub call: Option<
        unsafe extern "C" fn(
            instance: *mut c_void,
            context: *mut Context,
            argument: *mut c_void,
        ) -> i32,
    >,
    /// What [`Api::defer`] asked for, on the module's thread. `last` is 1 if the module is about to be
    /// closed and the argument is only to be freed. 0, or [`FAILED`]. May be null.
    pub work: Option<
        unsafe extern "C" fn(instance: *mut c_void, argument: *mut c_void, last: i32) -> i32,
    >,
    /// Something has changed, on the module's thread. 0, or [`FAILED`]. May be null.
    pub event: Option<unsafe extern "C" fn(instance: *mut c_void, event: *const Event) -> i32>,
    /// Somebody opens a path: 0, or a negative errno. What is written to `handle` names it in the
    /// other calls. One thread serves all paths of a module, request by request; whoever blocks in it
    /// makes the module's other users wait, and nobody else. May be null: nobody may.
    pub path_open: Option<
        unsafe extern "C" fn(instance: *mut c_void, peer: *const Peer, handle: *mut u64) -> i32,
    >,
    /// Reads: how many of at most `len` bytes from `offset` on were written to `to`, 0 at the end, a
    /// negative errno, or [`PATH_LATER`]. May be null.
    pub path_read: Option<
        unsafe extern "C" fn(
            instance: *mut c_void,
            handle: u64,
            offset: u64,
            to: *mut c_void,
            len: usize,
        ) -> isize,
    >,
    /// Writes: how many bytes were taken, or a negative errno. May be null.
    pub path_write: Option<
        unsafe extern "C" fn(
            instance: *mut c_void,
            handle: u64,
            offset: u64,
            data: *const c_void,
            len: usize,
        ) -> isize,
    >,
    /// Anything else, by number, with `len` bytes from the asker: how many of at most `room` bytes were
    /// written to `to`, a negative errno, or [`PATH_LATER`]. May be null.
    pub path_ioctl: Option<
        unsafe extern "C" fn(
            instance: *mut c_void,
            handle: u64,
            request: u32,
            data: *const c_void,
            len: usize,
            to: *mut c_void,
            room: usize,
        ) -> isize,
    >,
    /// Whoever had it open is gone. May be null.
    pub path_close: Option<unsafe extern "C" fn(instance: *mut c_void, handle: u64)>,
    /// A program opens a socket of [`TO_SOCKETS`]: 0, or a negative errno for the program. This and what
    /// follows are calls of the worker that has the socket, always the same one. When the module goes, or
    /// has failed, its sockets answer `ENETDOWN`, and nothing more is said about them.
    pub socket_open: Option<
        unsafe extern "C" fn(
            instance: *mut c_void,
            context: *mut Context,
            what: *const Opening,
        ) -> i32,
    >,
    /// `bind()`: 0, or a negative errno. What the module makes of `name` is the socket's name (a port that
    /// was left open, for example). A program that sends first is bound to a name of zeros. May be null: no
    /// socket has a name, and sending needs none.
    pub socket_bind: Option<
        unsafe extern "C" fn(
            instance: *mut c_void,
            context: *mut Context,
            socket: u64,
            name: *mut Name,
        ) -> i32,
    >,
    /// `connect()`: 0, or a negative errno. With null the socket gives up its peer. A stream's attempt is under
    /// way then, until [`Api::connected`] or [`Api::finish`]. May be null: none can have one.
    pub socket_connect: Option<
        unsafe extern "C" fn(
            instance: *mut c_void,
            context: *mut Context,
            socket: u64,
            peer: *const Name,
        ) -> i32,
    >,
    /// A program sends a datagram: the packet is the module's now. 0, or a negative errno, which the program
    /// gets with its next call. `to` is null if the program has named nobody: then the socket has a peer.
    /// What a stream's program sends comes so, too, without borders and no more than [`Api::want`] has said; with an
    /// errno the stream has ended.
    pub socket_send: Option<
        unsafe extern "C" fn(
            instance: *mut c_void,
            context: *mut Context,
            socket: u64,
            to: *const Name,
            packet: *mut Mbuf,
        ) -> i32,
    >,
    /// The last copy of the socket's descriptor is closed. A stream's text that waits to be wanted goes first, and
    /// its end; without that end it is reset: text that it has got was not read, or its client has more of it than
    /// can be kept. May be null.
    pub socket_close:
        Option<unsafe extern "C" fn(instance: *mut c_void, context: *mut Context, socket: u64)>,
    /// `setsockopt()` of a level other than SOL_SOCKET, IP, IPV6, TCP, UDP: 0, or a negative errno. May be null.
    pub socket_set_option: Option<
        unsafe extern "C" fn(
            instance: *mut c_void,
            context: *mut Context,
            socket: u64,
            level: i32,
            name: i32,
            value: *const c_void,
            len: usize,
        ) -> i32,
    >,
    /// `getsockopt()` of such a level: how many of `room` bytes were written, or a negative errno. May be null.
    pub socket_option: Option<
        unsafe extern "C" fn(
            instance: *mut c_void,
            context: *mut Context,
            socket: u64,
            level: i32,
            name: i32,
            to: *mut c_void,
            room: usize,
        ) -> isize,
    >,
    /// `listen()`: 0, or a negative errno. `backlog` and one more may wait to be accepted. May be null: none listens.
    pub socket_listen: Option<
        unsafe extern "C" fn(
            instance: *mut c_void,
            context: *mut Context,
            socket: u64,
            backlog: u32,
        ) -> i32,
    >,
    /// What has come of [`Api::arrive`]: the stream's name in all calls, or 0 and an errno: `ECONNREFUSED`, it does
    /// not listen; `EAGAIN`, too many wait; `ENOBUFS`, `ENFILE`. May be null.
    pub socket_arrived: Option<
        unsafe extern "C" fn(
            instance: *mut c_void,
            context: *mut Context,
            tag: u64,
            socket: u64,
            error: i32,
        ),
    >,
    /// There is room for so many bytes more of what a program has to read: when the stream has its peer, and when
    /// some have been read. May be null: nothing is ever delivered.
    pub socket_room: Option<
        unsafe extern "C" fn(instance: *mut c_void, context: *mut Context, socket: u64, bytes: u32),
    >,
    /// The program sends nothing more: `shutdown()`, or it has closed the stream. All it has sent was passed. A
    /// stream that listened does so no longer. May be null.
    pub socket_end:
        Option<unsafe extern "C" fn(instance: *mut c_void, context: *mut Context, socket: u64)>,
    /// `ioctl()` of a number that is not the stack's, on a socket of either type, with the `len` bytes that the
    /// number says go in (`_IOW`, `_IOWR`), at most 1024: how many of at most `room` bytes that it says come back
    /// (`_IOR`, `_IOWR`) were written, or a negative errno. May be null.
    pub socket_ioctl: Option<
        unsafe extern "C" fn(
            instance: *mut c_void,
            context: *mut Context,
            socket: u64,
            request: u32,
            data: *const c_void,
            len: usize,
            to: *mut c_void,
            room: usize,
        ) -> isize,
    >,
}
