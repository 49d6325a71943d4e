//! `UdpSocket`, like the one of `std::net`.

use std::io::{self, IoSlice, IoSliceMut};
use std::net::{SocketAddr, ToSocketAddrs};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::sync::Arc;
use std::time::Duration;

use proto::message::Transport;
use rustix::io::Errno;

use crate::receive::{Received, RecvFlags};
use crate::socket::Socket;
use crate::tcp::{Inner, first};

/// A UDP socket. Closed when the last clone is dropped.
#[derive(Clone, Debug)]
pub struct UdpSocket {
    inner: Arc<Inner>,
}

impl UdpSocket {
    pub(crate) fn of(inner: Inner) -> Self {
        Self { inner: Arc::new(inner) }
    }

    /// A socket at the first of the addresses that is possible.
    ///
    /// # Errors
    /// The last address's: `EADDRINUSE`, `EADDRNOTAVAIL`; those of [`crate::Channel::current`].
    pub fn bind(addresses: impl ToSocketAddrs) -> io::Result<Self> {
        first(addresses, |address| {
            let inner = Inner::open(address, Transport::Datagram)?;
            inner.socket.bind(inner.fd.as_fd(), address)?;
            Ok(Self::of(inner))
        })
    }

    /// From now on, sends to and receives from this peer only.
    ///
    /// # Errors
    /// `ENETUNREACH`.
    pub fn connect(&self, addresses: impl ToSocketAddrs) -> io::Result<()> {
        first(addresses, |address| self.inner.socket.connect(self.as_fd(), address, false))
    }

    /// Sends a datagram to the first of the addresses.
    ///
    /// # Errors
    /// Those of [`Socket::send`].
    pub fn send_to(&self, data: &[u8], addresses: impl ToSocketAddrs) -> io::Result<usize> {
        let to = addresses.to_socket_addrs()?.next().ok_or(Errno::INVAL)?;
        self.inner.send(&[IoSlice::new(data)], Some(to))
    }

    /// Sends a datagram to the peer.
    ///
    /// # Errors
    /// Those of [`Socket::send`].
    pub fn send(&self, data: &[u8]) -> io::Result<usize> {
        self.inner.send(&[IoSlice::new(data)], None)
    }

    /// Receives a datagram; what does not fit is lost.
    ///
    /// # Errors
    /// Those of [`Socket::recv`].
    pub fn recv_from(&self, into: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        let received = self.receive(into, RecvFlags::empty())?;
        Ok((received.len, received.from.ok_or(Errno::PROTO)?))
    }

    /// Receives a datagram; what does not fit is lost.
    ///
    /// # Errors
    /// Those of [`Socket::recv`].
    pub fn recv(&self, into: &mut [u8]) -> io::Result<usize> {
        self.receive(into, RecvFlags::empty()).map(|received| received.len)
    }

    /// Receives a datagram and leaves it in the queue.
    ///
    /// # Errors
    /// Those of [`Socket::recv`].
    pub fn peek_from(&self, into: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        let received = self.receive(into, RecvFlags::PEEK)?;
        Ok((received.len, received.from.ok_or(Errno::PROTO)?))
    }

    fn receive(&self, into: &mut [u8], flags: RecvFlags) -> io::Result<Received> {
        self.inner.socket.recv(self.as_fd(), &mut [IoSliceMut::new(into)], flags)
    }

    /// Address of this end.
    ///
    /// # Errors
    /// Those of [`Socket::local_name`].
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.inner.socket.local_name()
    }

    /// Address of the peer.
    ///
    /// # Errors
    /// `ENOTCONN`.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.inner.socket.peer_name()
    }

    /// Calls return `WouldBlock` instead of waiting.
    ///
    /// # Errors
    /// The kernel's.
    pub fn set_nonblocking(&self, nonblocking: bool) -> io::Result<()> {
        self.inner.set_nonblocking(nonblocking)
    }

    /// Longest time that receiving waits.
    ///
    /// # Errors
    /// `EINVAL` for no time at all.
    pub fn set_read_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        self.inner.set_read_timeout(timeout)
    }

    /// The pending error, if there is one.
    ///
    /// # Errors
    /// Those of [`Socket::option`].
    pub fn take_error(&self) -> io::Result<Option<io::Error>> {
        self.inner.take_error()
    }

    /// The socket beneath.
    #[must_use]
    pub fn socket(&self) -> &Socket {
        &self.inner.socket
    }
}

impl AsFd for UdpSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inner.fd.as_fd()
    }
}

impl AsRawFd for UdpSocket {
    fn as_raw_fd(&self) -> RawFd {
        self.inner.fd.as_raw_fd()
    }
}
