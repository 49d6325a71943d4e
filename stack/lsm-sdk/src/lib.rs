//! Protocol modules in Rust without a line of unsafe code.
//!
//! A module is a crate of type `cdylib` with a type that implements [`Protocol`] and one line
//! [`export_protocol!`]. This crate makes the C table of it, keeps packets from being lost, and catches
//! panics: one that leaves a protocol's function takes the module down, and the daemon goes on.
//!
//! * [`Protocol`]: what a protocol is. * [`Host`]: what the daemon does for it, from any thread.
//! * [`Context`]: a worker during one call: what can be sent, and when it is to call again.
//! * [`Packet`], [`Received`], [`Questions`], [`Frames`]: packets, and how they pass.
//!
//! `stack/README.md` has a whole protocol.

mod context;
mod export;
mod host;
mod packets;
mod types;

pub use context::Context;
pub use devnp_sdk::{Level, OpenError, Packet};
pub use export::Export;
pub use host::Host;
pub use lsm_abi as abi;
pub use packets::{Frames, Question, Questions, Received};
pub use types::{
    Answer, Arrival, Attachment, Destination, Direction, Event, Interface, Name, Opening, PathId,
    Peer, Point, Socket, Variable,
};

/// Packets of a burst, at most.
pub const BURST_MAX: usize = devnp_sdk::BURST_MAX;

/// Who may call a protocol at the same time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Threading {
    /// The first worker; the others hand packets over to it. Taps and filters only where there is one.
    Single,
    /// Each worker.
    Workers,
}

/// A protocol: one value is one loaded module.
///
/// Workers call it, each for itself, several at once; hence `&self` and `Sync`. They serve everybody:
/// nothing here may block but [`open`](Self::open), [`event`](Self::event) and what [`Host::defer`] is
/// given, which run on the module's own thread. What belongs to one worker is best kept in a `Mutex` of
/// its own, by [`Context::worker`], which nobody else then waits for.
pub trait Protocol: Sized + Send + Sync + 'static {
    /// Its name: up to 15 letters, digits, `-`, `_`.
    const NAME: &'static str;
    /// Its options: `bind=INTERFACE rate=NUMBER fast`.
    const OPTIONS: &'static str;
    /// Who may call it.
    const THREADING: Threading = Threading::Workers;
    /// May be loaded more than once at a time.
    const SEVERAL: bool = false;

    /// Begins: attaches to what it wants.
    ///
    /// # Errors
    /// Why not; say more by [`Host::log`].
    fn open(host: &Host<Self>) -> Result<Self, OpenError>;

    /// Packets of an EtherType or a protocol that it has attached to.
    fn receive(&self, cx: &mut Context<'_, Self>, arrival: Arrival, packets: &mut Received<'_>) {
        let _ = (cx, arrival, packets);
    }

    /// Frames, for a look.
    fn tap(&self, cx: &mut Context<'_, Self>, arrival: Arrival, frames: &Frames<'_>) {
        let _ = (cx, arrival, frames);
    }

    /// Packets to judge.
    fn filter(&self, cx: &mut Context<'_, Self>, arrival: Arrival, packets: &mut Questions<'_>) {
        let _ = (cx, arrival, packets);
    }

    /// The time has come that [`Context::set_timer`] named.
    fn timer(&self, cx: &mut Context<'_, Self>) {
        let _ = cx;
    }

    /// The network has changed. Runs on the module's own thread.
    fn event(&self, event: &Event) {
        let _ = event;
    }

    /// Somebody opens a path that [`Host::make_path`] has made: what to call them. This and the other
    /// functions of paths run on one thread of their own, request by request.
    ///
    /// # Errors
    /// They may not, or not now.
    fn path_open(&self, peer: &Peer) -> Result<u64, OpenError> {
        let _ = peer;
        Err(OpenError::NOT_SUPPORTED)
    }

    /// Writes bytes from `offset` on to `to` and says how many; 0 at the end.
    ///
    /// # Errors
    /// It can't be read.
    fn path_read(&self, handle: u64, offset: u64, to: &mut [u8]) -> Result<Answer, OpenError> {
        let _ = (handle, offset, to);
        Err(OpenError::NOT_SUPPORTED)
    }

    /// Takes bytes and says how many.
    ///
    /// # Errors
    /// It can't be written, or not so.
    fn path_write(&self, handle: u64, offset: u64, data: &[u8]) -> Result<usize, OpenError> {
        let _ = (handle, offset, data);
        Err(OpenError::NOT_SUPPORTED)
    }

    /// Anything else, by number: says how many bytes it has written to `to`.
    ///
    /// # Errors
    /// No such request, or it fails.
    fn path_ioctl(
        &self,
        handle: u64,
        request: u32,
        data: &[u8],
        to: &mut [u8],
    ) -> Result<Answer, OpenError> {
        let _ = (handle, request, data, to);
        Err(OpenError::NOT_SUPPORTED)
    }

    /// Whoever was called so is gone.
    fn path_close(&self, handle: u64) {
        let _ = handle;
    }

    /// A program opens a socket of [`Host::attach_sockets`]. This and the other functions of sockets are calls
    /// of the worker that has the socket, always the same one.
    ///
    /// # Errors
    /// It may not, or not now.
    fn socket_open(&self, cx: &mut Context<'_, Self>, what: &Opening) -> Result<(), OpenError> {
        let _ = (cx, what);
        Err(OpenError::NOT_SUPPORTED)
    }

    /// `bind()`: says what the socket is called then. A program that sends first is bound to a name of zeros.
    ///
    /// # Errors
    /// The name is taken, or none.
    fn socket_bind(
        &self,
        cx: &mut Context<'_, Self>,
        socket: Socket,
        name: Name,
    ) -> Result<Name, OpenError> {
        let _ = (cx, socket);
        if name == Name::default() { Ok(name) } else { Err(OpenError::NOT_SUPPORTED) }
    }

    /// `connect()`; `None`: the socket gives up its peer. A stream's attempt is under way then, until
    /// [`Context::connected`] or [`Context::finish`].
    ///
    /// # Errors
    /// There is no way there.
    fn socket_connect(
        &self,
        cx: &mut Context<'_, Self>,
        socket: Socket,
        peer: Option<Name>,
    ) -> Result<(), OpenError> {
        let _ = (cx, socket, peer);
        Err(OpenError::NOT_SUPPORTED)
    }

    /// A program sends a datagram; `None`: to its peer, which it has then. A stream's text comes so, too, as far
    /// as [`Context::want`] has said.
    ///
    /// # Errors
    /// It can't go; the program gets this with its next call.
    fn socket_send(
        &self,
        cx: &mut Context<'_, Self>,
        socket: Socket,
        to: Option<Name>,
        datagram: Packet,
    ) -> Result<(), OpenError> {
        let _ = (cx, socket, to, datagram);
        Err(OpenError::NOT_SUPPORTED)
    }

    /// `setsockopt()` of a level that is not the stack's (those of SOL_SOCKET, IP, IPV6, TCP and UDP are).
    ///
    /// # Errors
    /// There is no such option, or not with this value.
    fn socket_set_option(
        &self,
        cx: &mut Context<'_, Self>,
        socket: Socket,
        option: (i32, i32),
        value: &[u8],
    ) -> Result<(), OpenError> {
        let _ = (cx, socket, option, value);
        Err(OpenError::NO_OPTION)
    }

    /// `getsockopt()` of such a level: how many bytes of `to` are the value.
    ///
    /// # Errors
    /// There is no such option.
    fn socket_option(
        &self,
        cx: &mut Context<'_, Self>,
        socket: Socket,
        option: (i32, i32),
        to: &mut [u8],
    ) -> Result<usize, OpenError> {
        let _ = (cx, socket, option, to);
        Err(OpenError::NO_OPTION)
    }

    /// `listen()` on a stream: [`Context::arrive`] may follow. `backlog` and one more may wait to be accepted.
    ///
    /// # Errors
    /// The name is taken, or needs to be one.
    fn socket_listen(
        &self,
        cx: &mut Context<'_, Self>,
        socket: Socket,
        backlog: u32,
    ) -> Result<(), OpenError> {
        let _ = (cx, socket, backlog);
        Err(OpenError::NOT_SUPPORTED)
    }

    /// What has come of [`Context::arrive`], by its tag: the new stream, or why there is none.
    fn socket_arrived(
        &self,
        cx: &mut Context<'_, Self>,
        tag: u64,
        arrived: Result<Socket, OpenError>,
    ) {
        let _ = (cx, tag, arrived);
    }

    /// A stream has room for so many bytes more to be delivered: when it has its peer, and when some have been
    /// read.
    fn socket_room(&self, cx: &mut Context<'_, Self>, socket: Socket, bytes: u32) {
        let _ = (cx, socket, bytes);
    }

    /// A stream's program sends nothing more; all it has sent was passed. One that listened does so no longer.
    fn socket_end(&self, cx: &mut Context<'_, Self>, socket: Socket) {
        let _ = (cx, socket);
    }

    /// `ioctl()` on a socket, of a number that is not the stack's, with the bytes that go in: how many of those
    /// that come back were written.
    ///
    /// # Errors
    /// There is no such request, or it fails.
    fn socket_ioctl(
        &self,
        cx: &mut Context<'_, Self>,
        socket: Socket,
        request: u32,
        data: &[u8],
        to: &mut [u8],
    ) -> Result<usize, OpenError> {
        let _ = (cx, socket, request, data, to);
        Err(OpenError::NO_REQUEST)
    }

    /// The last copy of the socket's descriptor is closed. A stream without
    /// [`socket_end`](Self::socket_end) before is reset.
    fn socket_close(&self, cx: &mut Context<'_, Self>, socket: Socket) {
        let _ = (cx, socket);
    }
}

/// Exports a [`Protocol`] as this module's.
#[macro_export]
macro_rules! export_protocol {
    ($protocol:ty) => {
        /// What the daemon looks for.
        #[expect(unsafe_code, reason = "the one exported symbol of a module")]
        #[unsafe(no_mangle)]
        #[expect(non_upper_case_globals, reason = "C's name")]
        pub static lsm_module: $crate::Export = $crate::Export::of::<$protocol>(
            const {
                match ::core::ffi::CStr::from_bytes_with_nul(
                    ::core::concat!(::core::env!("CARGO_PKG_VERSION"), "\0").as_bytes(),
                ) {
                    Ok(version) => version,
                    Err(_) => c"",
                }
            },
        );
    };
}
