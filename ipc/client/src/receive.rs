//! Receiving.

use std::io::{self, IoSliceMut};
use std::net::SocketAddr;
use std::os::fd::BorrowedFd;

use proto::message::Transport;
use rustix::event::PollFlags;
use rustix::io::Errno;
use shm::{ReceiveQueue, Status};

use crate::descriptor::{self, Tokens};
use crate::option::timeout;
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
}

/// How often to look for a token that was announced. A worker that takes longer was interrupted; then
/// the descriptor may say readable once when nothing waits.
const TOKEN_ROUNDS_MAX: u32 = 200;

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
        let mut patience = Patience::new(nonblocking, timeout(&self.receive_timeout));
        if self.transport() == Transport::Datagram {
            return self.wait_for(fd, &mut patience, || self.try_datagram(fd, data, flags));
        }
        let wanted = data.iter().fold(0usize, |sum, slice| sum.saturating_add(slice.len()));
        if wanted == 0 {
            return Ok(Received::bytes(0));
        }
        let all = flags.contains(RecvFlags::WAITALL) && !flags.contains(RecvFlags::PEEK);
        let mut rest = data;
        let mut total = 0usize;
        loop {
            let len = match self.wait_for(fd, &mut patience, || self.try_stream(fd, rest, flags)) {
                Ok(received) => received.len,
                // What was read before counts; the error comes with the next call if it is still so.
                Err(_) if total > 0 => 0,
                Err(error) => return Err(error),
            };
            total = total.saturating_add(len);
            if len == 0 || !all || total >= wanted {
                return Ok(Received::bytes(total));
            }
            IoSliceMut::advance_slices(&mut rest, len);
        }
    }

    fn wait_for(
        &self,
        fd: BorrowedFd<'_>,
        patience: &mut Patience,
        mut attempt: impl FnMut() -> io::Result<Attempt>,
    ) -> io::Result<Received> {
        loop {
            match attempt()? {
                Attempt::Done(received) => return Ok(received),
                Attempt::Again => continue,
                Attempt::Empty => patience.check(fd)?,
            }
            if !self.spin.until(|| self.memory.unread() > 0) {
                patience.sleep(fd, PollFlags::IN)?;
            }
        }
    }

    fn try_stream(
        &self,
        fd: BorrowedFd<'_>,
        into: &mut [IoSliceMut<'_>],
        flags: RecvFlags,
    ) -> io::Result<Attempt> {
        // The end is announced after the last byte, so it is looked at before the bytes are.
        let status = self.memory.status();
        let mut queue = self.memory.receive();
        let peek = flags.contains(RecvFlags::PEEK);
        let len = queue.read(into, peek);
        if len > 0 {
            let tell = queue.worth_telling() | self.settle(fd, &mut queue);
            drop(queue);
            if tell {
                let _ = self.memory.post_arm();
            }
            return Ok(Attempt::Done(Received::bytes(len)));
        }
        let (tokens, again) = self.take_tokens(fd, &mut queue);
        drop(queue);
        let marks = self.memory.marks();
        let Some(status) = status else { return Err(Errno::CONNRESET.into()) };
        if let Some(error) = self.take_error() {
            return Err(error);
        }
        if status.contains(Status::EOF)
            || status.contains(Status::CLOSED)
            || marks & mark::READ_SHUT != 0
        {
            return Ok(Attempt::Done(Received::bytes(0)));
        }
        if again || self.memory.unread() > 0 || self.memory.status() != Some(status) {
            return Ok(Attempt::Again);
        }
        if tokens.shut {
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
        into: &mut [IoSliceMut<'_>],
        flags: RecvFlags,
    ) -> io::Result<Attempt> {
        if self.memory.status().is_none() {
            return Err(Errno::CONNRESET.into());
        }
        if let Some(error) = self.take_error() {
            let mut queue = self.memory.receive();
            let tell = self.settle(fd, &mut queue);
            drop(queue);
            if tell {
                let _ = self.memory.post_arm();
            }
            return Err(error);
        }
        let mut queue = self.memory.receive();
        let datagram = queue.read_datagram(into, flags.contains(RecvFlags::PEEK));
        let Some(datagram) = datagram else {
            let (tokens, again) = self.take_tokens(fd, &mut queue);
            drop(queue);
            return match tokens {
                _ if again || self.memory.has_error() => Ok(Attempt::Again),
                _ if self.memory.marks() & mark::READ_SHUT != 0 => {
                    Ok(Attempt::Done(Received::bytes(0)))
                }
                Tokens { shut: true, .. } => Err(Errno::CONNRESET.into()),
                Tokens { shut: false, .. } => Ok(Attempt::Empty),
            };
        };
        let tell = self.settle(fd, &mut queue);
        drop(queue);
        if tell {
            let _ = self.memory.post_arm();
        }
        let truncated = datagram.len < datagram.full_len;
        let full = flags.contains(RecvFlags::TRUNC);
        let len = if full { datagram.full_len } else { datagram.len };
        Ok(Attempt::Done(Received { len, from: datagram.from, truncated }))
    }

    /// Makes the descriptor say what the queue says. True: the worker must look once more, since
    /// something waits that no token may have been written for.
    fn settle(&self, fd: BorrowedFd<'_>, queue: &mut ReceiveQueue<'_>) -> bool {
        if self.waits(queue) {
            return !queue.has_token();
        }
        // Without a token the queue is armed, and was looked at after that.
        queue.has_token() && self.take_tokens(fd, queue).1
    }

    /// Takes the tokens out and asks for a new one. True: something waits meanwhile.
    pub(crate) fn take_tokens(
        &self,
        fd: BorrowedFd<'_>,
        queue: &mut ReceiveQueue<'_>,
    ) -> (Tokens, bool) {
        let mut tokens = descriptor::take_tokens(fd);
        // One that was announced comes in a moment, or is revoked.
        let mut rounds = 0;
        while !tokens.any && !tokens.shut && queue.has_token() && rounds < TOKEN_ROUNDS_MAX {
            rounds += 1;
            rustix::thread::sched_yield();
            tokens = descriptor::take_tokens(fd);
        }
        if tokens.any || queue.has_token() {
            queue.arm();
        }
        (tokens, self.waits(queue))
    }

    fn waits(&self, queue: &ReceiveQueue<'_>) -> bool {
        queue.unread() > 0 || self.memory.has_error()
    }
}

impl Received {
    fn bytes(len: usize) -> Self {
        Self { len, from: None, truncated: false }
    }
}
