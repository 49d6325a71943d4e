//! A worker during one call.

use core::marker::PhantomData;

use devnp_sdk::{OpenError, Packet};
use lsm_abi as abi;

use crate::Protocol;
use crate::host::Host;
use crate::types::{Destination, Name, Socket};

/// A worker during one call: what can be sent, and when it is to call again.
#[derive(Debug)]
pub struct Context<'a, P> {
    raw: *mut abi::Context,
    host: &'a Host<P>,
    call: PhantomData<&'a mut abi::Context>,
}

impl<'a, P: Protocol> Context<'a, P> {
    /// # Safety
    /// `raw` is the daemon's for the call that lasts as long as `'a`.
    pub(crate) unsafe fn new(raw: *mut abi::Context, host: &'a Host<P>) -> Self {
        Self { raw, host, call: PhantomData }
    }

    /// What the daemon does for the protocol.
    #[must_use]
    pub fn host(&self) -> &'a Host<P> {
        self.host
    }

    /// The worker's number.
    #[must_use]
    pub fn worker(&self) -> u32 {
        // SAFETY: the call is not over.
        unsafe { (self.host.api().worker)(self.raw) }
    }

    /// Nanoseconds of `CLOCK_MONOTONIC` when the worker last looked.
    #[must_use]
    pub fn now(&self) -> u64 {
        // SAFETY: the call is not over.
        unsafe { (self.host.api().now)(self.raw) }
    }

    /// Has this worker call [`Protocol::timer`] at that time or a little later; `None`: not. There is
    /// one timer for each worker, and this sets it anew.
    pub fn set_timer(&mut self, at: Option<u64>) {
        // SAFETY: the call is not over.
        unsafe { (self.host.api().set_timer)(self.raw, at.map_or(0, |at| at.max(1))) };
    }

    /// Sends a frame, Ethernet header and all, by an interface. What can't be sent there is dropped and
    /// counted.
    ///
    /// # Errors
    /// Gives it back if too many wait to be sent: try again in the next breath, by a timer.
    pub fn send_frame(&mut self, interface: u32, frame: Packet) -> Result<(), Packet> {
        let mut raw = frame.into_raw();
        // SAFETY: the call is not over; one packet, which the daemon owns if it says so.
        let taken = unsafe { (self.host.api().send_frames)(self.raw, interface, &raw mut raw, 1) };
        // SAFETY: the daemon did not take it: it is ours as before.
        if taken == 1 { Ok(()) } else { Err(unsafe { again(raw) }) }
    }

    /// Sends what follows an IP header, by the route.
    ///
    /// # Errors
    /// As for [`send_frame`](Self::send_frame).
    pub fn send_packet(&mut self, to: &Destination, packet: Packet) -> Result<(), Packet> {
        let to = to.to_abi();
        let mut raw = packet.into_raw();
        // SAFETY: the call is not over; one packet, which the daemon owns if it says so.
        let taken =
            unsafe { (self.host.api().send_packets)(self.raw, &raw const to, &raw mut raw, 1) };
        // SAFETY: the daemon did not take it: it is ours as before.
        if taken == 1 { Ok(()) } else { Err(unsafe { again(raw) }) }
    }

    /// Gives a datagram to a socket of the module's. One for a socket that is gone, or whose reader is too
    /// slow, is dropped and counted. A stream gets text so, in no more bytes than
    /// [`Protocol::socket_room`] has said; `from` means nothing then.
    ///
    /// # Errors
    /// As for [`send_frame`](Self::send_frame).
    pub fn deliver(&mut self, to: Socket, from: Name, datagram: Packet) -> Result<(), Packet> {
        // The socket knows its family.
        let from = from.to_abi(0);
        let mut raw = datagram.into_raw();
        // SAFETY: the call is not over; one packet, which the daemon owns if it says so.
        let taken =
            unsafe { (self.host.api().deliver)(self.raw, to.0, &raw const from, &raw mut raw, 1) };
        // SAFETY: the daemon did not take it: it is ours as before.
        if taken == 1 { Ok(()) } else { Err(unsafe { again(raw) }) }
    }
}

/// What is said of streams, which need [`Host::attach_streams`]. They are all the first worker's: others answer
/// with an error, and [`Host::call_in_worker`] leads there.
impl<P: Protocol> Context<'_, P> {
    /// Somebody of this name connects to a stream that listens: [`Protocol::socket_arrived`] says what has come of
    /// it, by the tag.
    ///
    /// # Errors
    /// This worker has no streams, or the daemon is older than they are.
    pub fn arrive(&mut self, listener: Socket, from: Name, tag: u64) -> Result<(), OpenError> {
        let from = from.to_abi(0);
        // SAFETY: the call is not over; a complete structure.
        said(unsafe { (self.host.streams()?.arrive)(self.raw, listener.0, &raw const from, tag) })
    }

    /// A stream's `connect()` has led to its peer; with a name it is called that from now on.
    ///
    /// # Errors
    /// This worker has no streams, or the daemon is older than they are.
    pub fn connected(&mut self, socket: Socket, name: Option<Name>) -> Result<(), OpenError> {
        let name = name.map(|name| name.to_abi(0));
        let name = name.as_ref().map_or(core::ptr::null(), core::ptr::from_ref);
        // SAFETY: the call is not over; a complete structure or null.
        said(unsafe { (self.host.streams()?.connected)(self.raw, socket.0, name) })
    }

    /// So many bytes more of what a stream's program sends are wanted.
    ///
    /// # Errors
    /// This worker has no streams, or the daemon is older than they are.
    pub fn want(&mut self, socket: Socket, bytes: u32) -> Result<(), OpenError> {
        // SAFETY: the call is not over.
        said(unsafe { (self.host.streams()?.want)(self.raw, socket.0, bytes) })
    }

    /// Nothing follows what was delivered; with an error the stream has ended in both directions, or its
    /// `connect()` has failed.
    ///
    /// # Errors
    /// This worker has no streams, or the daemon is older than they are.
    pub fn finish(&mut self, socket: Socket, error: Option<OpenError>) -> Result<(), OpenError> {
        // SAFETY: the call is not over.
        said(unsafe { (self.host.streams()?.finish)(self.raw, socket.0, error.map_or(0, |e| e.0)) })
    }
}

fn said(code: i32) -> Result<(), OpenError> {
    if code == 0 { Ok(()) } else { Err(OpenError(code.saturating_neg())) }
}

/// # Safety
/// The packet is the caller's.
unsafe fn again(raw: *mut abi::Packet) -> Packet {
    // SAFETY: it came out of a packet, which is not null.
    let raw = unsafe { core::ptr::NonNull::new_unchecked(raw) };
    // SAFETY: by this function's contract.
    unsafe { Packet::from_raw(raw) }
}
