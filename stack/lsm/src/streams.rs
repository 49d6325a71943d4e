//! Streams of modules, and `ioctl`, as far as a worker calls them; what they say of streams.
//!
//! ```text
//!  the program          the worker                      the module
//!  listen()        ──>  socket_listen              ──>
//!                                                  <──  arrive
//!  accept()        <──  a stream that waits        ──>  socket_arrived
//!  connect()       ──>  socket_connect             ──>
//!                                                  <──  connected, finish
//!  send()          ──>  what was wanted            ──>  socket_send
//!                                                  <──  want
//!  recv()          <──  what there is room for     <──  deliver
//!                       socket_room                ──>
//!  shutdown()      ──>  socket_end                 ──>
//! ```

use core::ffi::c_void;

use lsm_abi as abi;
use rustix::io::Errno;

use crate::context::{Context, Sending, context};
use crate::desk::Desk;
use crate::instance::Instance;
use crate::sockets::{Name, SocketOf, counted, said};

/// Set in the number by which a module knows a stream.
pub const STREAM: u64 = 1 << 63;

/// The worker that has all streams: what is delivered by another could find the way there full.
pub const STREAM_WORKER: u16 = 0;

/// What a module says of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Word {
    /// Somebody connects to it.
    Arrive {
        /// Who.
        from: Name,
        /// What the module calls the attempt.
        tag: u64,
    },
    /// It has got its peer, and a name perhaps.
    Connected(Option<Name>),
    /// So many more bytes of what its program sends are wanted.
    Want(u32),
    /// Nothing follows, or with an errno: it has ended.
    Finish(Option<Errno>),
}

/// A stream of which this worker can say nothing.
pub(crate) fn is_elsewhere(socket: u64, worker: u16) -> bool {
    socket & STREAM != 0 && worker != STREAM_WORKER
}

impl Desk {
    /// `listen()`.
    ///
    /// # Errors
    /// As for [`socket_bind`](Self::socket_bind).
    pub fn socket_listen(&mut self, of: &SocketOf, backlog: u32) -> Result<(), Errno> {
        self.call_owner(of, |instance, context| {
            let Some(listen) = instance.running(instance.library().table.socket_listen)? else {
                return Err(Errno::OPNOTSUPP);
            };
            // SAFETY: open.
            said(unsafe { listen(instance.raw, context.as_abi(), of.socket, backlog) })
        })
    }

    /// What has come of an attempt to connect to a stream that listens: the new stream's number.
    pub fn socket_arrived(&mut self, of: &SocketOf, tag: u64, arrived: Result<u64, Errno>) {
        let (socket, error) = match arrived {
            Ok(socket) => (socket, 0),
            Err(errno) => (0, errno.raw_os_error()),
        };
        self.tell(of, |instance, context| {
            if let Ok(Some(arrived)) = instance.running(instance.library().table.socket_arrived) {
                // SAFETY: open.
                unsafe { arrived(instance.raw, context.as_abi(), tag, socket, error) };
            }
        });
    }

    /// A program has room for so much more.
    pub fn socket_room(&mut self, of: &SocketOf, bytes: u32) {
        self.tell(of, |instance, context| {
            if let Ok(Some(room)) = instance.running(instance.library().table.socket_room) {
                // SAFETY: open.
                unsafe { room(instance.raw, context.as_abi(), of.socket, bytes) };
            }
        });
    }

    /// A program sends nothing more.
    pub fn socket_end(&mut self, of: &SocketOf) {
        self.tell(of, |instance, context| {
            if let Ok(Some(end)) = instance.running(instance.library().table.socket_end) {
                // SAFETY: open.
                unsafe { end(instance.raw, context.as_abi(), of.socket) };
            }
        });
    }

    /// `ioctl()` with bytes that go in, and room for so many that come back.
    ///
    /// # Errors
    /// `ENOTTY`: the module has none. As for [`socket_bind`](Self::socket_bind).
    pub fn socket_ioctl(
        &mut self,
        of: &SocketOf,
        request: u32,
        data: &[u8],
        room: usize,
    ) -> Result<Vec<u8>, Errno> {
        let mut answer = vec![0; room];
        self.call_owner(of, |instance, context| {
            let Some(ioctl) = instance.running(instance.library().table.socket_ioctl)? else {
                return Err(Errno::NOTTY);
            };
            let (data, len) = (data.as_ptr().cast(), data.len());
            let (raw, to): (_, *mut c_void) = (instance.raw, answer.as_mut_ptr().cast());
            // SAFETY: open; so many bytes, and room for so many, valid during the call.
            let got =
                unsafe { ioctl(raw, context.as_abi(), of.socket, request, data, len, to, room) };
            answer.truncate(counted(got, room)?);
            Ok(())
        })?;
        Ok(answer)
    }

    /// Calls the module of a socket; if it is gone there is nobody to tell.
    fn tell(&mut self, of: &SocketOf, call: impl FnOnce(&Instance, &mut Context<'_>)) {
        let _ = self.call_owner(of, |instance, context| {
            call(instance, context);
            Ok(())
        });
    }
}

/// Notes what a module says of a stream; it is carried out when the call is over.
///
/// # Safety
/// As for [`context`].
unsafe fn say(of: *mut abi::Context, socket: u64, word: Word) -> i32 {
    // SAFETY: by this function's contract.
    let there = unsafe { context(of) };
    match there.filter(|context| !is_elsewhere(socket, context.worker)) {
        Some(context) => {
            let owner = context.owner;
            context.outbox.0.push_back(Sending::Stream { socket, owner, word });
            0
        }
        None => Errno::INVAL.raw_os_error().saturating_neg(),
    }
}

pub(crate) unsafe extern "C" fn arrive(
    of: *mut abi::Context,
    listener: u64,
    from: *const abi::Name,
    tag: u64,
) -> i32 {
    // SAFETY: the module passes a complete structure, or null.
    let from = Name::of(&unsafe { from.as_ref() }.copied().unwrap_or_default());
    // SAFETY: the module passes what it was called with.
    unsafe { say(of, listener, Word::Arrive { from, tag }) }
}

pub(crate) unsafe extern "C" fn connected(
    of: *mut abi::Context,
    socket: u64,
    name: *const abi::Name,
) -> i32 {
    // SAFETY: the module passes a complete structure, or null.
    let name = unsafe { name.as_ref() }.map(Name::of);
    // SAFETY: the module passes what it was called with.
    unsafe { say(of, socket, Word::Connected(name)) }
}

pub(crate) unsafe extern "C" fn want(of: *mut abi::Context, socket: u64, bytes: u32) -> i32 {
    // SAFETY: the module passes what it was called with.
    unsafe { say(of, socket, Word::Want(bytes)) }
}

pub(crate) unsafe extern "C" fn finish(of: *mut abi::Context, socket: u64, error: i32) -> i32 {
    let error = (error != 0).then(|| Errno::from_raw_os_error(error.clamp(1, 4095)));
    // SAFETY: the module passes what it was called with.
    unsafe { say(of, socket, Word::Finish(error)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_of_streams_is_taken_from_the_first_worker_alone() {
        let stream = 7 | STREAM;
        assert!(is_elsewhere(stream, 1) && !is_elsewhere(stream, 0) && !is_elsewhere(7, 1));
    }
}
