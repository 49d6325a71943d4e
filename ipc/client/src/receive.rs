//! Receiving.

use std::io::{self, IoSliceMut};
use std::net::SocketAddr;
use std::os::fd::BorrowedFd;
use std::sync::atomic::Ordering;

use proto::{ExtendedError, Reply, Request};
use rustix::io::Errno;
use shm::{Ancillary, Datagram, ReceiveQueue, Status};

use crate::descriptor::{self, End, Token};
use crate::segments::SEGMENTS_MAX;
use crate::socket::{Socket, mark};
use crate::wait::Patience;

bitflags::bitflags! {
    /// How to receive.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct RecvFlags: u32 {
        /// Do not wait.
        const DONTWAIT = 1;
        /// Leave in the queue what is read.
        const PEEK = 1 << 1;
        /// Streams: wait until all of the room is used.
        const WAITALL = 1 << 2;
        /// Datagrams: say how long it was, even if there was less room.
        const TRUNC = 1 << 3;
        /// Streams: the urgent byte.
        const OOB = 1 << 4;
    }
}

/// What was received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Received {
    /// Number of bytes. 0 from a stream is its end.
    pub len: usize,
    /// Who sent it: datagrams only.
    pub from: Option<SocketAddr>,
    /// The datagram was longer than the room.
    pub truncated: bool,
    /// What came with it: datagrams only.
    pub ancillary: Option<Ancillary>,
}

/// What a descriptor of a unix socket's can't say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unspoken {
    /// Errors wait for [`Socket::recv_error`].
    pub reports: bool,
    /// The next call fails.
    pub error: bool,
    /// Something can be read.
    pub unread: bool,
}

/// What is known of the descriptor before an attempt to read.
#[derive(Clone, Copy, Debug, Default)]
struct Hint {
    /// If there is nothing, a call of the kernel's follows that finds out the rest.
    sleeps: bool,
    /// There was a token in it, asked for by this arming of the queue or before.
    token_of: Option<u32>,
}

/// What an attempt to read has found.
enum Attempt {
    Done(Received),
    /// Nothing; wait for the descriptor.
    Empty,
    /// Something came while the descriptor was made to tell.
    Again,
}

impl Socket {
    /// `recv()`, `recvfrom()`, `recvmsg()`.
    ///
    /// # Errors
    /// `EAGAIN` when it would have to wait and may not, `EINTR`, `ENOTCONN`, `ECONNRESET` (the
    /// daemon's death included), and what the network has reported about the peer.
    pub fn recv(
        &self,
        fd: BorrowedFd<'_>,
        data: &mut [IoSliceMut<'_>],
        flags: RecvFlags,
    ) -> io::Result<Received> {
        let nonblocking = flags.contains(RecvFlags::DONTWAIT);
        let mut patience = self.patience_to_receive(nonblocking);
        if !self.is_stream() {
            let peek = flags.contains(RecvFlags::PEEK);
            let joins = self.is_udp() && self.memory.segments().1 && !peek;
            return self.wait_for(fd, &mut patience, true, |fd, hint| {
                self.try_datagram(fd, flags, hint, |queue| match joins {
                    true => queue.read_datagrams(data, SEGMENTS_MAX),
                    false => queue.read_datagram(data, peek),
                })
            });
        }
        let wanted = data.iter().fold(0usize, |sum, slice| sum.saturating_add(slice.len()));
        if flags.contains(RecvFlags::OOB) {
            return self.recv_urgent(fd, data, flags.contains(RecvFlags::PEEK));
        }
        if wanted == 0 {
            // As in Linux, it waits for a byte and leaves it where it is.
            let mut byte = [0];
            let into = &mut [IoSliceMut::new(&mut byte)];
            let inline = self.has_urgent_inline();
            return self
                .wait_for(fd, &mut patience, true, |fd, hint| {
                    let mut read = |queue: &mut ReceiveQueue<'_>| queue.read(into, true, inline);
                    self.try_stream(fd, true, hint, |queue| some(read(queue)))
                })
                .map(|_| Received::bytes(0));
        }
        let all = flags.contains(RecvFlags::WAITALL) && !flags.contains(RecvFlags::PEEK);
        let mut rest = data;
        let mut total = 0usize;
        loop {
            if total > 0 && self.memory.unread() == 0 && self.memory.has_error() {
                // What was read before counts; the error is the next call's.
                return Ok(Received::bytes(total));
            }
            let inline = self.has_urgent_inline();
            let peek = flags.contains(RecvFlags::PEEK);
            let mut read = |queue: &mut ReceiveQueue<'_>| queue.read(rest, peek, inline);
            let attempt = |fd: BorrowedFd<'_>, hint| {
                self.try_stream(fd, peek, hint, |queue| some(read(queue)))
            };
            let len = match self.wait_for(fd, &mut patience, total == 0, attempt) {
                Ok(received) => received.len,
                Err(_) if total > 0 => 0,
                Err(error) => return Err(error),
            };
            total = total.saturating_add(len);
            if len == 0 || !all || total >= wanted || self.is_at_mark() {
                return Ok(Received::bytes(total));
            }
            IoSliceMut::advance_slices(&mut rest, len);
        }
    }

    /// Shows what waits where it is, without a copy: stream bytes that follow each other in memory, or a
    /// datagram. `look` says how many bytes of a stream it has used up, the others stay; a datagram is used
    /// up by any number but 0. `None`: the end of a stream.
    ///
    /// `look` must not use the socket: other threads that do wait for it.
    ///
    /// # Errors
    /// Those of [`Socket::recv`].
    pub fn recv_in_place<T>(
        &self,
        fd: BorrowedFd<'_>,
        flags: RecvFlags,
        mut look: impl FnMut(&[u8]) -> (usize, T),
    ) -> io::Result<Option<T>> {
        let nonblocking = flags.contains(RecvFlags::DONTWAIT);
        let mut patience = self.patience_to_receive(nonblocking);
        let mut seen = None;
        let inline = self.has_urgent_inline();
        let datagrams = !self.is_stream();
        let mut show = |bytes: &[u8]| {
            let (used, result) = look(bytes);
            seen = Some(result);
            used
        };
        let _ = self.wait_for(fd, &mut patience, true, |fd, hint| match datagrams {
            true => self.try_datagram(fd, flags, hint, |queue| datagram_in_place(queue, &mut show)),
            false => {
                self.try_stream(fd, false, hint, |queue| stream_in_place(queue, inline, &mut show))
            }
        })?;
        Ok(seen)
    }

    /// Takes stream bytes that [`Socket::recv_in_place`] has shown and left, or the first datagram. Returns
    /// how many bytes there were.
    ///
    /// # Errors
    /// `EAGAIN`: nothing has been shown. Those of [`Socket::recv`].
    pub fn release(&self, fd: BorrowedFd<'_>, len: usize) -> io::Result<usize> {
        if !self.is_stream() {
            let take = |payload: &[u8]| (1, payload.len());
            return Ok(self.recv_in_place(fd, RecvFlags::DONTWAIT, take)?.unwrap_or(0));
        }
        let mut left = len;
        loop {
            let take = |bytes: &[u8]| (left, bytes.len().min(left));
            let taken = match self.recv_in_place(fd, RecvFlags::DONTWAIT, take) {
                Err(_) if left < len => 0,
                taken => taken?.unwrap_or(0),
            };
            left = left.saturating_sub(taken);
            if left == 0 || taken == 0 {
                return Ok(len.saturating_sub(left));
            }
        }
    }

    /// `recvmsg(MSG_ERRQUEUE)`: the first error that waits about what the socket has sent, for those who have asked
    /// for them (`IP_RECVERR`, `IPV6_RECVERR`).
    ///
    /// # Errors
    /// `EAGAIN`: none waits; it is never waited for.
    pub fn recv_error(&self, fd: BorrowedFd<'_>) -> io::Result<ExtendedError> {
        // What has been sent just before may still become an error: the worker looks at it before it answers. In this
        // order, as it lets go of what it has sent when it has said what is wrong with it.
        let is_on_its_way = self.wants_reports.load(Ordering::Relaxed) && self.unsent_bytes() > 0;
        if self.has(Status::ERRORS) {
            // The daemon says the number of the next one again.
            let _ = self.memory.take_error();
        } else if !is_on_its_way {
            return Err(Errno::AGAIN.into());
        }
        let call = self.begin_call();
        let request = Request::TakeExtendedError { socket: self.handle };
        let Reply::ExtendedError(mut error) = self.channel.call(request)?.0 else {
            return Err(Errno::PROTO.into());
        };
        error.to = self.outward(error.to);
        let mut queue = self.memory.receive();
        let (_, tell) = self.settle(call.fd(fd), Hint::default(), &mut queue);
        drop(queue);
        if tell {
            let _ = self.memory.post_arm();
        }
        Ok(*error)
    }

    /// What `poll` is to say of it beside what its descriptor says.
    #[must_use]
    pub fn unspoken(&self) -> Unspoken {
        Unspoken {
            reports: self.has(Status::ERRORS),
            error: self.memory.has_error(),
            unread: self.memory.unread() > 0,
        }
    }

    fn wait_for(
        &self,
        fd: BorrowedFd<'_>,
        patience: &mut Patience<'_>,
        may_restart: bool,
        mut attempt: impl FnMut(BorrowedFd<'_>, Hint) -> io::Result<Attempt>,
    ) -> io::Result<Received> {
        // Who blocked the last time sleeps in a call of the kernel's that looks at the descriptor itself: whether there
        // is a token, a daemon, and whether it may block.
        let blocked = self.blocks.load(Ordering::Relaxed);
        let sleeps = may_restart && blocked && patience.leaves_it_to_the_kernel();
        let mut hint = Hint { sleeps, token_of: None };
        loop {
            match attempt(patience.fd(fd), hint)? {
                Attempt::Done(received) => return Ok(received),
                Attempt::Again => continue,
                Attempt::Empty if hint.sleeps => {}
                Attempt::Empty => {
                    let may_wait = patience.check(fd);
                    self.blocks.store(may_wait.is_ok(), Ordering::Relaxed);
                    may_wait?;
                }
            }
            hint = Hint::default();
            let _ = patience.enter(fd);
            let come = || self.memory.unread() > 0 && self.memory.receive().has_token();
            if !self.spin.until(come) {
                let armed = self.memory.times_armed();
                let seen = patience.sleep_for_input(fd, may_restart)?;
                hint.token_of = seen.then_some(armed);
            }
        }
    }

    fn try_stream(
        &self,
        fd: BorrowedFd<'_>,
        peek: bool,
        hint: Hint,
        read: impl FnOnce(&mut ReceiveQueue<'_>) -> Option<usize>,
    ) -> io::Result<Attempt> {
        // The end is announced after the last byte, so it is looked at before the bytes are.
        let status = self.memory.status();
        let mut queue = self.memory.receive();
        let ended = has_ended(status);
        // Looked at once: what comes behind this look has not been announced.
        let waits = queue.unread() > 0;
        if waits && !ended && !hint.is_announced(fd, &queue) {
            return Ok(Attempt::Empty);
        }
        let marked = queue.urgent().is_some();
        let len = if waits { read(&mut queue) } else { None };
        if marked && queue.urgent().is_none() {
            descriptor::take_urgent(fd);
        }
        if let Some(len) = len {
            let tell = queue.worth_telling() | (!peek && self.settle(fd, hint, &mut queue).1);
            drop(queue);
            if tell {
                let _ = self.memory.post_arm();
            }
            return Ok(Attempt::Done(Received::bytes(len)));
        }
        let (end, again) = match hint.sleeps && !queue.has_token() {
            // It is armed; the sleep finds out the rest.
            true => (End::Open, false),
            false => self.settle(fd, hint, &mut queue),
        };
        drop(queue);
        if again {
            let _ = self.memory.post_arm();
        }
        let marks = self.memory.marks();
        let Some(status) = status else { return Err(Errno::CONNRESET.into()) };
        if status.contains(Status::EOF) {
            // Nothing that happens after the peer's last byte is news to a reader.
            return Ok(Attempt::Done(Received::bytes(0)));
        }
        if let Some(error) = self.take_error() {
            return Err(error);
        }
        if status.contains(Status::CLOSED) || marks & mark::READ_SHUT != 0 {
            return Ok(Attempt::Done(Received::bytes(0)));
        }
        if again || self.memory.unread() > 0 || self.memory.status() != Some(status) {
            return Ok(Attempt::Again);
        }
        if end == End::Shut {
            // Nobody has announced an end: the daemon is gone.
            return Err(Errno::CONNRESET.into());
        }
        if !status.contains(Status::CONNECTED) && marks & mark::CONNECTING == 0 {
            return Err(Errno::NOTCONN.into());
        }
        Ok(Attempt::Empty)
    }

    fn try_datagram(
        &self,
        fd: BorrowedFd<'_>,
        flags: RecvFlags,
        hint: Hint,
        read: impl FnOnce(&mut ReceiveQueue<'_>) -> Option<Datagram>,
    ) -> io::Result<Attempt> {
        if self.memory.status().is_none() {
            return Err(Errno::CONNRESET.into());
        }
        if self.memory.has_error() && !hint.is_announced(fd, &self.memory.receive()) {
            return Ok(Attempt::Empty);
        }
        let call = self.memory.has_error().then(|| self.begin_call());
        if let Some(call) = call
            && let Some(error) = self.take_error()
        {
            let mut queue = self.memory.receive();
            let (_, tell) = self.settle(call.fd(fd), hint, &mut queue);
            drop(queue);
            if tell {
                let _ = self.memory.post_arm();
            }
            return Err(error);
        }
        let mut queue = self.memory.receive();
        let waits = queue.unread() > 0;
        if waits && !hint.is_announced(fd, &queue) {
            return Ok(Attempt::Empty);
        }
        let peek = flags.contains(RecvFlags::PEEK);
        let datagram = if waits { read(&mut queue) } else { None };
        let left = match datagram {
            Some(_) => peek,
            None => hint.sleeps && !queue.has_token(),
        };
        let (end, tell) = if left { (End::Open, false) } else { self.settle(fd, hint, &mut queue) };
        drop(queue);
        if tell {
            let _ = self.memory.post_arm();
        }
        let Some(datagram) = datagram else {
            return match end {
                _ if tell || self.memory.has_error() => Ok(Attempt::Again),
                _ if self.memory.marks() & mark::READ_SHUT != 0 => {
                    Ok(Attempt::Done(Received::bytes(0)))
                }
                End::Shut => Err(Errno::CONNRESET.into()),
                End::Open => Ok(Attempt::Empty),
            };
        };
        let truncated = datagram.len < datagram.full_len;
        let full = flags.contains(RecvFlags::TRUNC);
        let len = if full { datagram.full_len } else { datagram.len };
        Ok(Attempt::Done(Received {
            len,
            from: datagram.from.map(|from| self.outward(from)),
            truncated,
            ancillary: Some(datagram.ancillary),
        }))
    }

    /// Does its descriptor show what waits in its queue?
    pub(crate) fn shows_what_waits(&self, fd: BorrowedFd<'_>) -> bool {
        has_ended(self.memory.status()) || is_announced(fd, &self.memory.receive())
    }

    /// Makes the descriptor say what the queue says: if all has been read, no token stays in it, and
    /// a new one is asked for. True: the worker must look once more, since something waits that no
    /// token may have been written for.
    fn settle(&self, fd: BorrowedFd<'_>, hint: Hint, queue: &mut ReceiveQueue<'_>) -> (End, bool) {
        let waits = |queue: &ReceiveQueue<'_>| queue.unread() > 0 || self.memory.has_error();
        if waits(queue) {
            return (End::Open, false);
        }
        let token = match queue.has_token() {
            true => Token::Announced,
            false if hint.has_seen(queue) => Token::Seen,
            false => Token::Unknown,
        };
        let (end, taken) = descriptor::take_token(fd, token, || self.has(Status::GONE));
        if token != Token::Announced && !taken {
            return (end, false);
        }
        queue.arm();
        (end, waits(queue))
    }
}

/// Shows a piece of a stream and takes what `look` has used up of it.
fn stream_in_place(
    queue: &mut ReceiveQueue<'_>,
    inline: bool,
    look: impl FnOnce(&[u8]) -> usize,
) -> Option<usize> {
    let bytes = queue.first(inline);
    let len = some(bytes.len())?;
    let used = look(bytes).min(len);
    Some(queue.consume(used))
}

/// Shows a datagram and takes it if `look` has used it up.
fn datagram_in_place(
    queue: &mut ReceiveQueue<'_>,
    look: impl FnOnce(&[u8]) -> usize,
) -> Option<Datagram> {
    let (datagram, payload) = queue.first_datagram()?;
    if look(payload) > 0 { queue.read_datagram(&mut [], false) } else { Some(datagram) }
}

/// Nothing read is nothing found.
fn some(len: usize) -> Option<usize> {
    Some(len).filter(|len| *len > 0)
}

/// Nothing more comes, and the descriptor says so.
pub(crate) fn has_ended(status: Option<Status>) -> bool {
    status.is_none_or(|status| status.contains(Status::EOF) || status.contains(Status::CLOSED))
}

/// Is the token for what waits there? The worker may have been interrupted after writing it and
/// before saying so: then the descriptor knows. Nothing may be read before it is there, or it would
/// come for bytes that are gone, and a call that trusts the descriptor would wait in vain.
pub(crate) fn is_announced(fd: BorrowedFd<'_>, queue: &ReceiveQueue<'_>) -> bool {
    queue.has_token() || descriptor::holds_token(fd)
}

impl Hint {
    /// [`is_announced`].
    fn is_announced(self, fd: BorrowedFd<'_>, queue: &ReceiveQueue<'_>) -> bool {
        self.has_seen(queue) || is_announced(fd, queue)
    }

    /// The token that was seen is still there unless the queue has been armed since.
    fn has_seen(self, queue: &ReceiveQueue<'_>) -> bool {
        self.token_of == Some(queue.times_armed())
    }
}

impl Received {
    pub(crate) fn bytes(len: usize) -> Self {
        Self { len, from: None, truncated: false, ancillary: None }
    }
}

#[cfg(test)]
mod tests;
