//! `TcpStream` and `TcpListener`, like those of `std::net`.

use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::net::{SocketAddr, ToSocketAddrs};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::time::Duration;

use proto::message::{Family, Shutdown, Transport};
use rustix::io::Errno;

use crate::channel::Channel;
use crate::receive::RecvFlags;
use crate::send::SendFlags;
use crate::socket::Socket;

const SOL_SOCKET: i32 = 1;
const SO_REUSEADDR: i32 = 2;
const SO_ERROR: i32 = 4;
const SO_RCVTIMEO: i32 = 20;
const SO_SNDTIMEO: i32 = 21;
const IPPROTO_TCP: i32 = 6;
const TCP_NODELAY: i32 = 1;

/// Connections waiting for accept, if nobody says how many.
const BACKLOG: u32 = 128;

/// A TCP connection. Closed when the last clone is dropped.
#[derive(Clone, Debug)]
pub struct TcpStream {
    inner: Arc<Inner>,
}

/// A TCP socket that accepts connections.
#[derive(Clone, Debug)]
pub struct TcpListener {
    inner: Arc<Inner>,
}

/// A socket and its descriptor.
#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) socket: Socket,
    pub(crate) fd: OwnedFd,
}

impl TcpStream {
    pub(crate) fn of(inner: Inner) -> Self {
        Self { inner: Arc::new(inner) }
    }

    /// Connects to the first of the addresses that answers.
    ///
    /// # Errors
    /// The last address's: `ECONNREFUSED`, `ETIMEDOUT`, `ENETUNREACH`; those of
    /// [`Channel::current`].
    pub fn connect(addresses: impl ToSocketAddrs) -> io::Result<Self> {
        first(addresses, |address| {
            let inner = Inner::open(address, Transport::Stream)?;
            inner.socket.connect(inner.fd.as_fd(), address, false)?;
            Ok(Self::of(inner))
        })
    }

    /// Begins to connect and does not wait; calls on the stream don't either from then on. The descriptor becomes
    /// writable when it is decided how that ends, which [`TcpStream::take_error`] tells.
    ///
    /// # Errors
    /// `ENETUNREACH`; those of [`Channel::current`].
    pub fn connect_nonblocking(address: SocketAddr) -> io::Result<Self> {
        let inner = Inner::open(address, Transport::Stream)?;
        inner.set_nonblocking(true)?;
        match inner.socket.connect(inner.fd.as_fd(), address, true) {
            Err(error) if error.raw_os_error() != Some(Errno::INPROGRESS.raw_os_error()) => {
                Err(error)
            }
            _ => Ok(Self::of(inner)),
        }
    }

    /// Address of the other end.
    ///
    /// # Errors
    /// `ENOTCONN`.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.inner.socket.peer_name()
    }

    /// Address of this end.
    ///
    /// # Errors
    /// Those of [`Socket::local_name`].
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.inner.socket.local_name()
    }

    /// Ends one direction or both.
    ///
    /// # Errors
    /// `ENOTCONN`.
    pub fn shutdown(&self, how: std::net::Shutdown) -> io::Result<()> {
        let how = match how {
            std::net::Shutdown::Read => Shutdown::Read,
            std::net::Shutdown::Write => Shutdown::Write,
            std::net::Shutdown::Both => Shutdown::Both,
        };
        self.inner.socket.shutdown(self.as_fd(), how)
    }

    /// Sends small segments at once (`TCP_NODELAY`).
    ///
    /// # Errors
    /// Those of [`Socket::set_option`].
    pub fn set_nodelay(&self, nodelay: bool) -> io::Result<()> {
        let value = i32::from(nodelay).to_ne_bytes();
        self.inner.socket.set_option(IPPROTO_TCP, TCP_NODELAY, &value)
    }

    /// Calls return `WouldBlock` instead of waiting.
    ///
    /// # Errors
    /// The kernel's.
    pub fn set_nonblocking(&self, nonblocking: bool) -> io::Result<()> {
        self.inner.set_nonblocking(nonblocking)
    }

    /// Longest time that reading waits.
    ///
    /// # Errors
    /// `EINVAL` for no time at all.
    pub fn set_read_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        self.inner.set_timeout(SO_RCVTIMEO, timeout)
    }

    /// Longest time that writing waits.
    ///
    /// # Errors
    /// `EINVAL` for no time at all.
    pub fn set_write_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        self.inner.set_timeout(SO_SNDTIMEO, timeout)
    }

    /// The pending error, if there is one.
    ///
    /// # Errors
    /// Those of [`Socket::option`].
    pub fn take_error(&self) -> io::Result<Option<io::Error>> {
        self.inner.take_error()
    }

    /// Reads without taking out of the queue.
    ///
    /// # Errors
    /// Those of [`Socket::recv`].
    pub fn peek(&self, into: &mut [u8]) -> io::Result<usize> {
        self.inner.recv(&mut [IoSliceMut::new(into)], RecvFlags::PEEK)
    }

    /// Looks at what has come where it is, without a copy: see [`Socket::recv_in_place`]. `None`: the end.
    ///
    /// # Errors
    /// Those of [`Socket::recv`].
    pub fn recv_in_place<T>(&self, look: impl FnMut(&[u8]) -> (usize, T)) -> io::Result<Option<T>> {
        self.inner.socket.recv_in_place(self.as_fd(), RecvFlags::empty(), look)
    }

    /// Writes up to `wanted` bytes where they are sent from, without a copy: see
    /// [`Socket::send_in_place`].
    ///
    /// # Errors
    /// Those of [`Socket::send`].
    pub fn send_in_place(
        &self,
        wanted: usize,
        write: impl FnMut(&mut [u8]) -> usize,
    ) -> io::Result<usize> {
        self.inner.socket.send_in_place(self.as_fd(), wanted, SendFlags::empty(), write)
    }

    /// The socket beneath.
    #[must_use]
    pub fn socket(&self) -> &Socket {
        &self.inner.socket
    }
}

impl TcpListener {
    pub(crate) fn of(inner: Inner) -> Self {
        Self { inner: Arc::new(inner) }
    }

    /// Listens at the first of the addresses that is possible. As in `std`, an address that has
    /// just been used can be used again.
    ///
    /// # Errors
    /// The last address's: `EADDRINUSE`, `EADDRNOTAVAIL`; those of [`Channel::current`].
    pub fn bind(addresses: impl ToSocketAddrs) -> io::Result<Self> {
        first(addresses, |address| {
            let inner = Inner::open(address, Transport::Stream)?;
            inner.socket.set_option(SOL_SOCKET, SO_REUSEADDR, &1_i32.to_ne_bytes())?;
            inner.socket.bind(inner.fd.as_fd(), address)?;
            inner.socket.listen(inner.fd.as_fd(), BACKLOG)?;
            Ok(Self::of(inner))
        })
    }

    /// Waits for a connection.
    ///
    /// # Errors
    /// Those of [`Socket::accept`].
    pub fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        let (socket, fd, from) = self.inner.socket.accept(self.as_fd(), false)?;
        Ok((TcpStream::of(Inner { socket, fd }), from))
    }

    /// One connection after the other, without end.
    pub fn incoming(&self) -> impl Iterator<Item = io::Result<TcpStream>> + '_ {
        core::iter::repeat_with(|| self.accept().map(|(stream, _)| stream))
    }

    /// Address of the listener.
    ///
    /// # Errors
    /// Those of [`Socket::local_name`].
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.inner.socket.local_name()
    }

    /// [`TcpListener::accept`] returns `WouldBlock` instead of waiting.
    ///
    /// # Errors
    /// The kernel's.
    pub fn set_nonblocking(&self, nonblocking: bool) -> io::Result<()> {
        self.inner.set_nonblocking(nonblocking)
    }

    /// The socket beneath.
    #[must_use]
    pub fn socket(&self) -> &Socket {
        &self.inner.socket
    }
}

impl Inner {
    /// A socket of the family of an address.
    pub(crate) fn open(address: SocketAddr, transport: Transport) -> io::Result<Self> {
        let family = if address.is_ipv4() { Family::Inet } else { Family::Inet6 };
        let (socket, fd) = Socket::open_in(&Channel::current()?, family, transport)?;
        Ok(Self { socket, fd })
    }

    pub(crate) fn set_nonblocking(&self, nonblocking: bool) -> io::Result<()> {
        Ok(rustix::io::ioctl_fionbio(&self.fd, nonblocking)?)
    }

    pub(crate) fn recv(&self, into: &mut [IoSliceMut<'_>], flags: RecvFlags) -> io::Result<usize> {
        self.socket.recv(self.fd.as_fd(), into, flags).map(|received| received.len)
    }

    pub(crate) fn send(&self, data: &[IoSlice<'_>], to: Option<SocketAddr>) -> io::Result<usize> {
        self.socket.send(self.fd.as_fd(), data, to, SendFlags::empty())
    }

    pub(crate) fn set_read_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        self.set_timeout(SO_RCVTIMEO, timeout)
    }

    pub(crate) fn take_error(&self) -> io::Result<Option<io::Error>> {
        let value = self.socket.option(SOL_SOCKET, SO_ERROR)?;
        let errno = value.try_into().map_or(0, i32::from_ne_bytes);
        Ok((errno != 0).then(|| io::Error::from_raw_os_error(errno)))
    }

    fn set_timeout(&self, name: i32, timeout: Option<Duration>) -> io::Result<()> {
        let micros = match timeout {
            Some(Duration::ZERO) => return Err(Errno::INVAL.into()),
            Some(time) => i64::try_from(time.as_micros().max(1)).unwrap_or(i64::MAX),
            None => 0,
        };
        let mut value = (micros / 1_000_000).to_ne_bytes().to_vec();
        value.extend((micros % 1_000_000).to_ne_bytes());
        self.socket.set_option(SOL_SOCKET, name, &value)
    }
}

/// The first address for which it works; else the last one's error.
pub(crate) fn first<T>(
    addresses: impl ToSocketAddrs,
    mut attempt: impl FnMut(SocketAddr) -> io::Result<T>,
) -> io::Result<T> {
    let mut last = io::Error::from(Errno::INVAL);
    for address in addresses.to_socket_addrs()? {
        match attempt(address) {
            Ok(done) => return Ok(done),
            Err(error) => last = error,
        }
    }
    Err(last)
}

impl Read for &TcpStream {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.inner.recv(&mut [IoSliceMut::new(into)], RecvFlags::empty())
    }

    fn read_vectored(&mut self, into: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        self.inner.recv(into, RecvFlags::empty())
    }
}

impl Write for &TcpStream {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.inner.send(&[IoSlice::new(data)], None)
    }

    fn write_vectored(&mut self, data: &[IoSlice<'_>]) -> io::Result<usize> {
        self.inner.send(data, None)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Read for TcpStream {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        (&*self).read(into)
    }

    fn read_vectored(&mut self, into: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        (&*self).read_vectored(into)
    }
}

impl Write for TcpStream {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        (&*self).write(data)
    }

    fn write_vectored(&mut self, data: &[IoSlice<'_>]) -> io::Result<usize> {
        (&*self).write_vectored(data)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl AsFd for TcpStream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inner.fd.as_fd()
    }
}

impl AsRawFd for TcpStream {
    fn as_raw_fd(&self) -> RawFd {
        self.inner.fd.as_raw_fd()
    }
}

impl AsFd for TcpListener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inner.fd.as_fd()
    }
}

impl AsRawFd for TcpListener {
    fn as_raw_fd(&self) -> RawFd {
        self.inner.fd.as_raw_fd()
    }
}
