//! Sending.

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::os::fd::BorrowedFd;
use std::sync::atomic::Ordering;
use std::time::Duration;

use proto::message::{Family, Transport};
use rustix::io::Errno;
use rustix::time::{ClockId, clock_gettime};
use shm::{Ancillary, PushError, SendQueue, Status, TxFlags};

use crate::descriptor;
use crate::segments::WHOLE_MAX;
use crate::socket::{Socket, mark};
use crate::wait::Patience;

/// How often a socket that only sends looks whether the daemon is still there.
const LOOK_EVERY_MS: u64 = 10;

/// Memory comes back when other sockets' peers acknowledge: nothing tells this one.
const MEMORY_PAUSE: Duration = Duration::from_millis(1);

bitflags::bitflags! {
    /// How to send.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct SendFlags: u32 {
        /// Do not wait.
        const DONTWAIT = 1;
        /// Streams: more will follow soon, so a small segment may wait for it.
        const MORE = 1 << 1;
        /// Streams: the last byte is urgent.
        const OOB = 1 << 2;
    }
}

fn stream_flags(flags: SendFlags) -> TxFlags {
    let more = if flags.contains(SendFlags::MORE) { TxFlags::MORE } else { TxFlags::NONE };
    let oob = if flags.contains(SendFlags::OOB) { TxFlags::URGENT } else { TxFlags::NONE };
    more | oob
}

impl Socket {
    /// `send()`, `sendto()`, `sendmsg()`. A stream sends all before it returns, unless it may not
    /// wait; a datagram goes as a whole or not at all.
    ///
    /// # Errors
    /// `EAGAIN` when it would have to wait and may not, `EINTR`, `EPIPE` (the daemon's death
    /// included), `EDESTADDRREQ`, `EMSGSIZE`, and what the network has reported about the peer.
    pub fn send(
        &self,
        fd: BorrowedFd<'_>,
        data: &[IoSlice<'_>],
        to: Option<SocketAddr>,
        flags: SendFlags,
    ) -> io::Result<usize> {
        self.send_with(fd, data, to, &Ancillary::default(), flags)
    }

    /// [`Socket::send`] with ancillary data, which a stream has no use for.
    ///
    /// # Errors
    /// Those of [`Socket::send`].
    pub fn send_with(
        &self,
        fd: BorrowedFd<'_>,
        data: &[IoSlice<'_>],
        to: Option<SocketAddr>,
        ancillary: &Ancillary,
        flags: SendFlags,
    ) -> io::Result<usize> {
        let nonblocking = flags.contains(SendFlags::DONTWAIT);
        let mut patience = self.patience_to_send(nonblocking);
        let total = data.iter().fold(0usize, |sum, slice| sum.saturating_add(slice.len()));
        if !self.is_stream() {
            if flags.contains(SendFlags::OOB) {
                return Err(Errno::OPNOTSUPP.into());
            }
            self.check_request(data, total)?;
            let to = to.map(|to| self.inward(to)).transpose()?;
            if self.needs_a_name() {
                // The daemon is asked for a name.
                let _ = patience.enter(fd);
            }
            self.check_destination(fd, to)?;
            self.check_way(to, ancillary.local)?;
            if let Some(size) = self.piece_len(ancillary, total) {
                let pieces = (size, total);
                return self.send_pieces(fd, data, (to, ancillary), pieces, &mut patience);
            }
            return self.send_datagram(fd, data, (to, ancillary), &mut patience).map(|()| total);
        }
        if flags.contains(SendFlags::MORE) {
            self.let_push_pass();
        }
        let mut done = 0usize;
        loop {
            let push = |queue: &mut SendQueue<'_>| queue.push(data, done, stream_flags(flags));
            // A signal ends a call that has sent some: it says how much.
            patience.may_restart = done == 0;
            match self.send_some(fd, &mut patience, push) {
                Ok(len) => done = done.saturating_add(len),
                Err(_) if done > 0 => return Ok(done),
                Err(error) => return Err(error),
            }
            if done >= total {
                self.wait_for_handshake(patience.fd(fd), nonblocking || total == 0)?;
                return Ok(done);
            }
        }
    }

    /// `sendto()` with `MSG_FASTOPEN`: connects and sends in one (RFC 7413). The text goes with the SYN
    /// if the server's cookie is known, else the SYN asks for one, and the text follows when there is a
    /// connection. Either way a call that may wait does so until then.
    ///
    /// # Errors
    /// Those of [`Socket::connect`] and [`Socket::send`]. `EINPROGRESS`: the call may not wait, there
    /// was no cookie, and nothing has been sent.
    pub fn send_connecting(
        &self,
        fd: BorrowedFd<'_>,
        data: &[IoSlice<'_>],
        to: SocketAddr,
        flags: SendFlags,
    ) -> io::Result<usize> {
        if !self.is_stream() {
            return self.send(fd, data, Some(to), flags);
        }
        let nonblocking = flags.contains(SendFlags::DONTWAIT) || descriptor::is_nonblocking(fd)?;
        // A SYN that waits for text that never comes would never leave.
        let text = data.iter().any(|slice| !slice.is_empty());
        let call = self.begin_call();
        self.connect_stream(call.fd(fd), to, nonblocking, text)?;
        self.send(call.fd(fd), data, None, flags)
    }

    /// Text was sent that may have gone with the SYN: a call that may wait returns when the handshake is over,
    /// as Linux's does. One whose time is up, or that a signal ends, has sent its text all the same: whoever
    /// repeats a call that has failed would send it twice.
    fn wait_for_handshake(&self, fd: BorrowedFd<'_>, nonblocking: bool) -> io::Result<()> {
        if nonblocking || !self.has(Status::OPENING) || descriptor::is_nonblocking(fd)? {
            return Ok(());
        }
        self.stuff_until_decided(fd);
        let is =
            |error: &io::Error, errno: Errno| error.raw_os_error() == Some(errno.raw_os_error());
        match self.wait_connected(fd, Errno::INPROGRESS) {
            Err(error) if is(&error, Errno::INPROGRESS) || is(&error, Errno::INTR) => Ok(()),
            Err(error) => {
                if self.has(Status::CLOSED) {
                    self.memory.remove_marks(mark::CONNECTED);
                }
                Err(error)
            }
            Ok(()) => Ok(()),
        }
    }

    /// Gives room for up to `wanted` stream bytes that follow each other in memory, to be written where they
    /// are sent from, without a copy. `write` says how many of them it has written; those are sent.
    ///
    /// `write` must not use the socket: other threads that do wait for it.
    ///
    /// # Errors
    /// Those of [`Socket::send`]; `EOPNOTSUPP` for datagrams.
    pub fn send_in_place(
        &self,
        fd: BorrowedFd<'_>,
        wanted: usize,
        flags: SendFlags,
        mut write: impl FnMut(&mut [u8]) -> usize,
    ) -> io::Result<usize> {
        self.with_room(fd, wanted, flags, |queue, wanted| {
            let room = queue.reserve(wanted)?;
            let len = write(room).min(room.len());
            let at = room.as_ptr();
            queue.commit(at, u32::try_from(len).unwrap_or(u32::MAX), stream_flags(flags))?;
            Ok(len)
        })
    }

    /// The first half of [`Socket::send_in_place`]: where the room is, and how much of it. It is the caller's
    /// until [`Socket::send_commit`] or another call that sends.
    ///
    /// # Errors
    /// Those of [`Socket::send_in_place`].
    pub fn send_reserve(
        &self,
        fd: BorrowedFd<'_>,
        wanted: usize,
        flags: SendFlags,
    ) -> io::Result<(*mut u8, usize)> {
        let mut place = core::ptr::null_mut();
        let len = self.with_room(fd, wanted, flags, |queue, wanted| {
            let room = queue.reserve(wanted)?;
            place = room.as_mut_ptr();
            Ok(room.len())
        })?;
        Ok((place, len))
    }

    /// The second half: sends the first `len` bytes of what was reserved last.
    ///
    /// # Errors
    /// Those of [`Socket::send_in_place`]; `EINVAL`: `at` is not what was reserved last, or `len` is more.
    pub fn send_commit(
        &self,
        fd: BorrowedFd<'_>,
        (at, len): (*const u8, usize),
        flags: SendFlags,
    ) -> io::Result<usize> {
        self.with_room(fd, len, flags, |queue, wanted| {
            queue.commit(at, wanted, stream_flags(flags)).map(|()| len)
        })
    }

    fn with_room(
        &self,
        fd: BorrowedFd<'_>,
        wanted: usize,
        flags: SendFlags,
        mut push: impl FnMut(&mut SendQueue<'_>, u32) -> Result<usize, PushError>,
    ) -> io::Result<usize> {
        if !self.is_stream() {
            return Err(Errno::OPNOTSUPP.into());
        }
        if wanted == 0 {
            return Ok(0);
        }
        if flags.contains(SendFlags::MORE) {
            self.let_push_pass();
        }
        let wanted = u32::try_from(wanted).unwrap_or(u32::MAX);
        let nonblocking = flags.contains(SendFlags::DONTWAIT);
        let mut patience = self.patience_to_send(nonblocking);
        self.send_some(fd, &mut patience, |queue| push(queue, wanted))
    }

    /// Posts what there is room for; waits until there is some.
    fn send_some(
        &self,
        fd: BorrowedFd<'_>,
        patience: &mut Patience<'_>,
        mut push: impl FnMut(&mut SendQueue<'_>) -> Result<usize, PushError>,
    ) -> io::Result<usize> {
        loop {
            if !patience.may_restart && self.memory.has_error() {
                // It has sent some, so it is the next call that says why there is no more.
                return Err(Errno::PIPE.into());
            }
            if !self.check_stream(patience.fd(fd))? {
                // Still connecting: the descriptor is stuffed until that is decided.
                patience.check(fd)?;
                self.sleep_for_output(fd, patience)?;
                continue;
            }
            let mut queue = self.memory.send();
            if self.memory.marks() & mark::WRITE_SHUT != 0 {
                return Err(Errno::PIPE.into());
            }
            let why = match push(&mut queue) {
                Ok(len) => return Ok(len),
                Err(PushError::TooLong) => return Err(Errno::INVAL.into()),
                Err(why) => why,
            };
            if !self.out_of_room(patience.enter(fd), queue, why, 1)? {
                self.wait_for_room(fd, why, patience)?;
            }
        }
    }

    pub(crate) fn send_datagram(
        &self,
        fd: BorrowedFd<'_>,
        data: &[IoSlice<'_>],
        (to, ancillary): (Option<SocketAddr>, &Ancillary),
        patience: &mut Patience<'_>,
    ) -> io::Result<()> {
        let len = data.iter().fold(0usize, |sum, slice| sum.saturating_add(slice.len()));
        let len = u32::try_from(len).unwrap_or(u32::MAX);
        loop {
            if self.memory.status().is_none() || self.daemon_is_gone(patience.fd(fd))? {
                return Err(Errno::PIPE.into());
            }
            // As in Linux, who sends by a raw socket hears of earlier packets when he receives.
            let reports = self.transport() != Transport::Raw;
            if let Some(error) = if reports { self.take_error() } else { None } {
                return Err(error);
            }
            let mut queue = self.memory.send();
            if self.memory.marks() & mark::WRITE_SHUT != 0 {
                return Err(Errno::PIPE.into());
            }
            let why = match queue.push_datagram(to, ancillary, data) {
                Ok(()) => return Ok(()),
                Err(PushError::TooLong) => {
                    if matches!(to, Some(SocketAddr::V6(_)))
                        && self.wants_reports.load(Ordering::Relaxed)
                    {
                        // The worker says how long it may be. No packet of IPv6 takes this one.
                        let whole = vec![0; WHOLE_MAX];
                        let _ = queue.push_datagram(to, ancillary, &[IoSlice::new(&whole)]);
                    }
                    return Err(Errno::MSGSIZE.into());
                }
                Err(why) => why,
            };
            if !self.out_of_room(patience.enter(fd), queue, why, len)? {
                self.wait_for_room(fd, why, patience)?;
            }
        }
    }

    fn check_destination(&self, fd: BorrowedFd<'_>, to: Option<SocketAddr>) -> io::Result<()> {
        // Linux: it has a name from now on, whatever becomes of the datagram.
        self.bind_if_needed(fd)?;
        match to {
            None if self.memory.marks() & mark::PEER == 0 => Err(Errno::DESTADDRREQ.into()),
            Some(to) if !self.may_have_port(to) => Err(Errno::INVAL.into()),
            // Packets of IPv4 are not for raw sockets of IPv6.
            Some(SocketAddr::V4(_)) if self.is_raw6() => Err(Errno::NETUNREACH.into()),
            _ => Ok(()),
        }
    }

    fn is_raw6(&self) -> bool {
        self.raw_protocol().is_some() && self.family() == Family::Inet6
    }

    /// A ping socket sends echo requests alone (RFC 792, RFC 4443 4.1).
    fn check_request(&self, data: &[IoSlice<'_>], total: usize) -> io::Result<()> {
        const HEADER_LEN: usize = 8;
        let request: u8 = match (self.transport(), self.raw_protocol(), self.family()) {
            (Transport::Datagram, Some(_), Family::Inet6) => 128,
            (Transport::Datagram, Some(_), _) => 8,
            _ => return Ok(()),
        };
        if total > usize::from(u16::MAX) {
            return Err(Errno::MSGSIZE.into());
        }
        let mut bytes = data.iter().flat_map(|slice| slice.iter().copied());
        if total < HEADER_LEN || bytes.next() != Some(request) || bytes.next() != Some(0) {
            return Err(Errno::INVAL.into());
        }
        Ok(())
    }

    /// A port is to be named with UDP. With raw sockets of IPv6 it is the protocol, if it is anything; that
    /// of others is not looked at.
    fn may_have_port(&self, to: SocketAddr) -> bool {
        match (self.raw_protocol(), self.transport()) {
            (None, _) => to.port() != 0 || self.is_of_module(),
            (Some(protocol), Transport::Raw) if to.is_ipv6() => {
                to.port() == 0 || to.port() == u16::from(protocol)
            }
            (Some(_), _) => true,
        }
    }

    /// May a stream send? False: it is still connecting.
    fn check_stream(&self, fd: BorrowedFd<'_>) -> io::Result<bool> {
        let Some(status) = self.memory.status() else { return Err(Errno::PIPE.into()) };
        if status.contains(Status::CLOSED) {
            return Err(self.take_error().unwrap_or_else(|| Errno::PIPE.into()));
        }
        if self.memory.marks() & mark::WRITE_SHUT != 0 {
            return Err(Errno::PIPE.into());
        }
        if self.daemon_is_gone(fd)? {
            // Or the connection is, since the first look.
            let error = if self.has(Status::CLOSED) { self.take_error() } else { None };
            return Err(error.unwrap_or_else(|| Errno::PIPE.into()));
        }
        if status.contains(Status::CONNECTED) {
            return Ok(true);
        }
        let connecting = self.memory.marks() & mark::CONNECTING != 0;
        if connecting { Ok(false) } else { Err(Errno::PIPE.into()) }
    }

    /// Makes the descriptor say that there is no room. True: there is some now.
    fn out_of_room(
        &self,
        fd: BorrowedFd<'_>,
        mut queue: SendQueue<'_>,
        why: PushError,
        wanted: u32,
    ) -> io::Result<bool> {
        if self.has(Status::CLOSED) {
            // The next look finds out how it has ended.
            return Ok(true);
        }
        if why == PushError::RingFull && descriptor::is_closed(fd)? {
            return Err(Errno::PIPE.into());
        }
        let stuffed = match descriptor::stuff(fd) {
            Err(_) if self.has(Status::CLOSED) => return Ok(true),
            stuffed => stuffed?,
        };
        if stuffed || queue.is_drained() {
            queue.arm();
            let _ = self.memory.post_arm();
        }
        let empty = queue.unreleased() == 0;
        Ok(why == PushError::NoRoom && (queue.room() >= wanted || empty))
    }

    fn wait_for_room(
        &self,
        fd: BorrowedFd<'_>,
        why: PushError,
        patience: &mut Patience<'_>,
    ) -> io::Result<()> {
        patience.check(fd)?;
        if why != PushError::NoRoom {
            patience.pause(fd, MEMORY_PAUSE);
            return Ok(());
        }
        self.sleep_for_output(fd, patience)
    }

    fn sleep_for_output(&self, fd: BorrowedFd<'_>, patience: &mut Patience<'_>) -> io::Result<()> {
        if patience.sleep_for_output(fd, patience.may_restart)? {
            self.take_stuffing_out();
        }
        Ok(())
    }

    /// Looks at the descriptor, but not with every packet.
    fn daemon_is_gone(&self, fd: BorrowedFd<'_>) -> io::Result<bool> {
        let now = clock_gettime(ClockId::MonotonicCoarse);
        let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
        let millis = u64::try_from(now.tv_nsec).unwrap_or(0) / 1_000_000;
        let now = seconds.saturating_mul(1000).saturating_add(millis);
        let last = self.looked_ms.load(Ordering::Relaxed);
        if now.saturating_sub(last) < LOOK_EVERY_MS {
            return Ok(false);
        }
        let gone = descriptor::is_closed(fd)?;
        if !gone {
            // Once it is gone every look has to say so: there may still be room for bytes.
            self.looked_ms.store(now, Ordering::Relaxed);
        }
        Ok(gone)
    }
}
