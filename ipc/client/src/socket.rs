//! A socket in BSD's words: making, naming, connecting and shutting it down.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64};

use proto::message::{Family, Shutdown, Transport};
use proto::{Reply, Request, SocketHandle};
use rustix::io::Errno;
use shm::{CellId, SocketMemory, Status, Waits};

use crate::channel::Channel;
use crate::descriptor;
use crate::wait::Spin;

/// A socket without its descriptor: each call is given that. So numbers made by `dup` can share one
/// socket, and whoever owns the descriptor closes it. Dropping a socket closes nothing.
///
/// Any thread may use it at any time, and so may a child that inherited it in a fork.
#[derive(Debug)]
pub struct Socket {
    pub(crate) channel: Arc<Channel>,
    pub(crate) memory: SocketMemory,
    pub(crate) handle: SocketHandle,
    transport: Transport,
    /// `SO_LINGER`'s time in seconds; 0: close does not wait.
    pub(crate) linger_s: AtomicU32,
    pub(crate) spin: Spin,
    pub(crate) waits: Waits,
    /// Receiving has waited, as its descriptor was in blocking mode when somebody last looked.
    pub(crate) blocks: AtomicBool,
    /// `TCP_NODELAY` was set by a call without an answer, and nothing has been asked since.
    pub(crate) pushes: AtomicBool,
    /// This process has asked for errors in full (`IPV6_RECVERR`).
    pub(crate) wants_reports: AtomicBool,
    /// How often accept has failed because the daemon is gone.
    pub(crate) orphaned: AtomicU32,
    /// When the descriptor was last looked at for a daemon that is gone.
    pub(crate) looked_ms: AtomicU64,
}

/// What the client library remembers of a socket, for all processes that share it.
pub(crate) mod mark {
    /// The datagram socket has a local address.
    pub(crate) const BOUND: u32 = 1;
    /// The datagram socket has a peer.
    pub(crate) const PEER: u32 = 1 << 1;
    /// A connection attempt was begun.
    pub(crate) const CONNECTING: u32 = 1 << 2;
    /// The connection was established.
    pub(crate) const CONNECTED: u32 = 1 << 3;
    /// It has been shut down for reading.
    pub(crate) const READ_SHUT: u32 = 1 << 4;
    /// It has been shut down for writing.
    pub(crate) const WRITE_SHUT: u32 = 1 << 5;
    /// It listens.
    pub(crate) const LISTENING: u32 = 1 << 6;
    /// `SO_OOBINLINE`.
    pub(crate) const OOB_INLINE: u32 = 1 << 7;
    /// `IP_PKTINFO`.
    pub(crate) const PKTINFO: u32 = 1 << 8;
    /// `IP_RECVTTL`.
    pub(crate) const RECVTTL: u32 = 1 << 9;
    /// `IP_RECVTOS`.
    pub(crate) const RECVTOS: u32 = 1 << 10;
    /// `SO_TIMESTAMP` or `SO_TIMESTAMPNS`.
    pub(crate) const TIMESTAMP: u32 = 1 << 11;
    /// Which of them: nanoseconds.
    pub(crate) const NANOSECONDS: u32 = 1 << 12;
    /// It is of `AF_INET6`.
    pub(crate) const INET6: u32 = 1 << 13;
    /// It is a protocol module's.
    pub(crate) const MODULE: u32 = 1 << 14;
    /// `SO_BROADCAST`.
    pub(crate) const BROADCAST: u32 = 1 << 15;
    /// From here on: of a protocol module's, the number of its family, if that is neither `AF_INET` nor
    /// `AF_INET6`; of a raw or ping socket, its protocol.
    pub(crate) const NUMBER_SHIFT: u32 = 16;
    /// What connections have as their listener has it.
    pub(crate) const OF_LISTENER: u32 = OOB_INLINE | INET6 | MODULE | u32::MAX << NUMBER_SHIFT;
}

impl Socket {
    /// `socket()` of a family. The descriptor is blocking and close-on-exec.
    ///
    /// # Errors
    /// `ENOBUFS`: as many sockets as a client can have; `ECONNRESET`: the daemon is gone.
    pub fn open_in(
        channel: &Arc<Channel>,
        family: Family,
        transport: Transport,
    ) -> io::Result<(Self, OwnedFd)> {
        Self::request(channel, family, transport, 0)
    }

    /// `socket()` of a family or a protocol that a protocol module has brought: a datagram socket or a stream.
    ///
    /// # Errors
    /// `EAFNOSUPPORT`, `EPROTONOSUPPORT`: no module has it; the module's; those of [`Socket::open_in`].
    pub fn open_of_module(
        channel: &Arc<Channel>,
        family: Family,
        transport: Transport,
        protocol: u16,
    ) -> io::Result<(Self, OwnedFd)> {
        let (socket, fd) = Self::request(channel, family, transport, protocol)?;
        socket.memory.add_marks(mark::MODULE);
        Ok((socket, fd))
    }

    /// `socket()` of a family with `SOCK_RAW`, or for echo messages of ICMP with `SOCK_DGRAM`.
    ///
    /// # Errors
    /// `EPERM`: a raw socket is root's and the daemon's user's; `EPROTONOSUPPORT`; those of
    /// [`Socket::open_in`].
    pub fn open_raw(
        channel: &Arc<Channel>,
        family: Family,
        transport: Transport,
        protocol: u8,
    ) -> io::Result<(Self, OwnedFd)> {
        let (socket, fd) = Self::request(channel, family, transport, protocol.into())?;
        socket.memory.add_marks(u32::from(protocol) << mark::NUMBER_SHIFT);
        Ok((socket, fd))
    }

    fn request(
        channel: &Arc<Channel>,
        family: Family,
        transport: Transport,
        protocol: u16,
    ) -> io::Result<(Self, OwnedFd)> {
        let request = Request::Socket { family, transport, protocol };
        match channel.call(request)? {
            (Reply::Socket { socket }, Some(fd)) => {
                let socket = Self::new(channel, socket, transport)?;
                socket.memory.add_marks(match family {
                    Family::Inet => 0,
                    Family::Inet6 => mark::INET6,
                    Family::Module(number) => u32::from(number) << mark::NUMBER_SHIFT,
                });
                Ok((socket, fd))
            }
            _ => Err(Errno::PROTO.into()),
        }
    }

    /// A protocol module decides what its addresses mean.
    #[must_use]
    pub fn is_of_module(&self) -> bool {
        self.memory.marks() & mark::MODULE != 0
    }

    /// The protocol of a raw or ping socket.
    #[must_use]
    pub fn raw_protocol(&self) -> Option<u8> {
        let number = u8::try_from(self.memory.marks() >> mark::NUMBER_SHIFT).ok()?;
        Some(number).filter(|number| *number != 0 && !self.is_of_module())
    }

    /// [`Socket::open_in`] for IPv4.
    ///
    /// # Errors
    /// Those of [`Socket::open_in`].
    pub fn open(channel: &Arc<Channel>, transport: Transport) -> io::Result<(Self, OwnedFd)> {
        Self::open_in(channel, Family::Inet, transport)
    }

    /// The family of its addresses.
    #[must_use]
    pub fn family(&self) -> Family {
        let marks = self.memory.marks();
        match u16::try_from(marks >> mark::NUMBER_SHIFT) {
            Ok(number @ 1..) if self.is_of_module() => Family::Module(number),
            _ if marks & mark::INET6 != 0 => Family::Inet6,
            _ => Family::Inet,
        }
    }

    /// An address of the program's as the stack knows it: IPv4's own for one that is mapped (RFC 3493
    /// 3.7). Links have the numbers of `IPV6_PKTINFO` for programs, and the stack counts from `lo0`, 0.
    pub(crate) fn inward(&self, address: SocketAddr) -> io::Result<SocketAddr> {
        let SocketAddr::V6(v6) = address else { return Ok(address) };
        if self.is_of_module() {
            return Ok(address);
        }
        if self.family() == Family::Inet {
            return Err(Errno::AFNOSUPPORT.into());
        }
        Ok(match v6.ip().to_ipv4_mapped() {
            Some(v4) => SocketAddr::new(v4.into(), v6.port()),
            None => {
                let zone = v6.scope_id().saturating_sub(1);
                SocketAddrV6::new(*v6.ip(), v6.port(), 0, zone).into()
            }
        })
    }

    /// The reverse of [`Self::inward`].
    pub(crate) fn outward(&self, address: SocketAddr) -> SocketAddr {
        match address {
            address if self.is_of_module() => address,
            SocketAddr::V4(v4) if self.family() == Family::Inet6 => {
                SocketAddr::new(v4.ip().to_ipv6_mapped().into(), v4.port())
            }
            SocketAddr::V6(v6) if v6.ip().is_unicast_link_local() => {
                let zone = v6.scope_id().saturating_add(1);
                SocketAddrV6::new(*v6.ip(), v6.port(), 0, zone).into()
            }
            address => address,
        }
    }

    pub(crate) fn new(
        channel: &Arc<Channel>,
        handle: SocketHandle,
        transport: Transport,
    ) -> io::Result<Self> {
        let cell = CellId { index: handle.cell, generation: handle.generation };
        let memory = channel.map().socket(cell, handle.worker).ok_or(Errno::PROTO)?;
        Ok(Self::with(channel, memory, handle, transport))
    }

    /// The socket behind a descriptor that this process was given by another one, or by the program it
    /// was before `exec`. `None`: the descriptor is no socket of this stack.
    ///
    /// # Errors
    /// Those of [`Channel::of_descriptor`].
    pub fn of_descriptor(fd: BorrowedFd<'_>) -> io::Result<Option<Self>> {
        let Some((channel, identified)) = Channel::of_descriptor(fd)? else { return Ok(None) };
        let (handle, transport) = (identified.handle, identified.transport);
        let cell = CellId { index: handle.cell, generation: handle.generation };
        let memory = channel.map().known_socket(cell, handle.worker).ok_or(Errno::PROTO)?;
        let socket = Self::with(&channel, memory, handle, transport);
        socket.learn_linger();
        Ok(Some(socket))
    }

    fn with(
        channel: &Arc<Channel>,
        memory: SocketMemory,
        handle: SocketHandle,
        transport: Transport,
    ) -> Self {
        Self {
            channel: Arc::clone(channel),
            memory,
            handle,
            transport,
            linger_s: AtomicU32::new(0),
            wants_reports: AtomicBool::new(false),
            orphaned: AtomicU32::new(0),
            spin: Spin::default(),
            waits: Waits::default(),
            blocks: AtomicBool::new(false),
            pushes: AtomicBool::new(false),
            looked_ms: AtomicU64::new(0),
        }
    }

    /// Is it the same socket, in the same client?
    #[must_use]
    pub fn is(&self, other: &Self) -> bool {
        self.handle == other.handle && self.channel.client() == other.channel.client()
    }

    /// Stream, datagram or raw.
    #[must_use]
    pub fn transport(&self) -> Transport {
        self.transport
    }

    /// It is the stack's own UDP.
    pub(crate) fn is_udp(&self) -> bool {
        self.transport == Transport::Datagram
            && self.raw_protocol().is_none()
            && !self.is_of_module()
    }

    /// What is sent has no borders.
    #[must_use]
    pub fn is_stream(&self) -> bool {
        self.transport == Transport::Stream
    }

    /// `bind()`.
    ///
    /// # Errors
    /// `EADDRINUSE`, `EADDRNOTAVAIL`, `EACCES`, `EINVAL`.
    pub fn bind(&self, _fd: BorrowedFd<'_>, address: SocketAddr) -> io::Result<()> {
        let address = self.inward(address)?;
        self.done(Request::Bind { socket: self.handle, address })?;
        self.memory.add_marks(mark::BOUND);
        Ok(())
    }

    /// It has no local address yet, and cannot send without.
    pub(crate) fn needs_a_name(&self) -> bool {
        self.memory.marks() & mark::BOUND == 0 && self.transport != Transport::Raw
    }

    /// A datagram socket without a name gets one when it first sends.
    pub(crate) fn bind_if_needed(&self, fd: BorrowedFd<'_>) -> io::Result<()> {
        if !self.needs_a_name() {
            return Ok(());
        }
        let any = match self.family() {
            Family::Inet => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
            Family::Inet6 | Family::Module(_) => SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)),
        };
        match self.bind(fd, any) {
            // Another thread was faster.
            Err(error) if error.raw_os_error() == Some(Errno::INVAL.raw_os_error()) => Ok(()),
            result => result,
        }
    }

    /// `listen()`.
    ///
    /// # Errors
    /// `EOPNOTSUPP` for datagrams, `EINVAL` for a connected socket, `EADDRINUSE`.
    pub fn listen(&self, fd: BorrowedFd<'_>, backlog: u32) -> io::Result<()> {
        let call = self.begin_call();
        self.done(Request::Listen { socket: self.handle, backlog })?;
        self.memory.add_marks(mark::LISTENING);
        // A listener is never writable.
        descriptor::stuff(call.fd(fd)).map(drop)
    }

    /// What a call that has slept has left in the descriptor would make it look full.
    pub(crate) fn take_stuffing_out(&self) {
        self.memory.send().arm();
        // If the daemon is gone, so is the descriptor's other end.
        let _ = self.memory.post_arm();
    }

    /// It listens.
    #[must_use]
    pub fn is_listening(&self) -> bool {
        self.memory.marks() & mark::LISTENING != 0
    }

    /// The datagram socket has a peer.
    #[must_use]
    pub fn has_peer(&self) -> bool {
        self.memory.marks() & mark::PEER != 0
    }

    /// The channel it was made over.
    #[must_use]
    pub fn channel(&self) -> &Arc<Channel> {
        &self.channel
    }

    /// `shutdown()`. What was sent before still goes out. A listener that is shut for reading listens no
    /// longer, and its waiting [`Socket::accept`] returns `EINVAL`.
    ///
    /// # Errors
    /// `ENOTCONN`.
    pub fn shutdown(&self, _fd: BorrowedFd<'_>, how: Shutdown) -> io::Result<()> {
        let marks = match how {
            Shutdown::Read => mark::READ_SHUT,
            Shutdown::Write => mark::WRITE_SHUT,
            Shutdown::Both => mark::READ_SHUT | mark::WRITE_SHUT,
        };
        let before = self.memory.marks();
        if before & mark::LISTENING != 0 {
            self.done(Request::Shutdown { socket: self.handle, how })?;
            if how != Shutdown::Write {
                self.memory.remove_marks(mark::LISTENING);
            }
            return Ok(());
        }
        {
            // What other threads are posting comes before the FIN.
            let _queue = self.memory.send();
            self.memory.add_marks(marks);
        }
        let result = self.done(Request::Shutdown { socket: self.handle, how });
        if result.is_err() {
            self.memory.remove_marks(marks & !before);
        }
        result
    }

    /// `getsockname()`.
    ///
    /// # Errors
    /// `ECONNRESET`: the daemon is gone.
    pub fn local_name(&self) -> io::Result<SocketAddr> {
        self.name(Request::LocalName { socket: self.handle })
    }

    /// `getpeername()`.
    ///
    /// # Errors
    /// `ENOTCONN`.
    pub fn peer_name(&self) -> io::Result<SocketAddr> {
        self.name(Request::PeerName { socket: self.handle })
    }

    fn name(&self, request: Request) -> io::Result<SocketAddr> {
        match self.channel.call(request)?.0 {
            Reply::Name(address) => Ok(self.outward(address)),
            _ => Err(Errno::PROTO.into()),
        }
    }

    /// Bytes that can be read at once (`FIONREAD`): of a stream all up to the mark, else of the first
    /// datagram. None while `poll` would not show them yet.
    #[must_use]
    pub fn readable_bytes(&self, fd: BorrowedFd<'_>) -> usize {
        if self.memory.unread() == 0 || !self.shows_what_waits(fd) {
            return 0;
        }
        match self.transport {
            Transport::Stream => self.readable_before_mark(),
            Transport::Datagram | Transport::Raw => {
                self.memory.receive().next_datagram_len().unwrap_or(0)
            }
        }
    }

    /// Bytes that have been sent and not been acknowledged (`SIOCOUTQ`).
    #[must_use]
    pub fn unsent_bytes(&self) -> usize {
        usize::try_from(self.memory.send().unreleased()).unwrap_or(usize::MAX)
    }

    pub(crate) fn done(&self, request: Request) -> io::Result<()> {
        match self.channel.call(request)?.0 {
            Reply::Done => Ok(()),
            _ => Err(Errno::PROTO.into()),
        }
    }

    pub(crate) fn has(&self, bits: Status) -> bool {
        self.memory.status().is_some_and(|status| status.contains(bits))
    }

    /// The pending error: to be reported once, by whichever call comes first.
    pub(crate) fn take_error(&self) -> Option<io::Error> {
        let errno = self.memory.take_error()?;
        // The daemon's `SO_ERROR` is the same error. If the daemon is gone, so is that.
        let _ = self.daemon_error();
        Some(io::Error::from_raw_os_error(self.error_after_end(errno)))
    }

    /// Linux's word for a reset that comes after the peer's FIN.
    pub(crate) fn error_after_end(&self, errno: i32) -> i32 {
        let reset = Errno::CONNRESET.raw_os_error();
        if errno == reset && self.has(Status::EOF) { Errno::PIPE.raw_os_error() } else { errno }
    }
}
