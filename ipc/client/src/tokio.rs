//! The sockets as tokio's: calls wait in tasks and not in threads.
//!
//! Addresses are given as such; `tokio::net::lookup_host` finds those of a name.

use std::io::{self, IoSlice, Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::os::fd::{AsFd, AsRawFd};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use ::tokio::io::unix::AsyncFd;
use ::tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use rustix::io::Errno;

/// A TCP connection. Closed when dropped.
#[derive(Debug)]
pub struct TcpStream {
    inner: AsyncFd<crate::TcpStream>,
}

impl TcpStream {
    /// Takes over a stream.
    ///
    /// # Errors
    /// The kernel's.
    ///
    /// # Panics
    /// Outside of a runtime of tokio with its driver of I/O, as tokio's own do.
    pub fn new(stream: crate::TcpStream) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        Ok(Self { inner: watched(stream)? })
    }

    /// Connects.
    ///
    /// # Errors
    /// `ECONNREFUSED`, `ETIMEDOUT`, `ENETUNREACH`; those of [`crate::Channel::current`].
    pub async fn connect(address: SocketAddr) -> io::Result<Self> {
        let stream = Self::new(crate::TcpStream::connect_nonblocking(address)?)?;
        loop {
            let mut guard = stream.inner.writable().await?;
            match guard.get_inner().decided(address) {
                Some(result) => break result?,
                None => guard.clear_ready(),
            }
        }
        Ok(stream)
    }

    /// The stream of blocking words: its options, its addresses.
    #[must_use]
    pub fn get_ref(&self) -> &crate::TcpStream {
        self.inner.get_ref()
    }

    /// Waits until something can be read, or written.
    ///
    /// # Errors
    /// The runtime's.
    pub async fn ready(&self, interest: Interest) -> io::Result<()> {
        self.inner.ready(interest).await.map(drop)
    }
}

impl AsyncRead for TcpStream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            let mut guard = ready!(self.inner.poll_read_ready(cx))?;
            let room = into.initialize_unfilled();
            if let Ok(result) = guard.try_io(|inner| inner.get_ref().read(room)) {
                return Poll::Ready(result.map(|len| into.advance(len)));
            }
        }
    }
}

impl AsyncWrite for TcpStream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(data)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        loop {
            let mut guard = ready!(self.inner.poll_write_ready(cx))?;
            if let Ok(result) = guard.try_io(|inner| inner.get_ref().write_vectored(data)) {
                return Poll::Ready(result);
            }
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_ref().shutdown(Shutdown::Write) {
            // It has ended already.
            Err(error) if error.kind() == io::ErrorKind::NotConnected => Poll::Ready(Ok(())),
            result => Poll::Ready(result),
        }
    }
}

/// A TCP socket that accepts connections.
#[derive(Debug)]
pub struct TcpListener {
    inner: AsyncFd<crate::TcpListener>,
}

impl TcpListener {
    /// Takes over a listener.
    ///
    /// # Errors
    /// The kernel's.
    ///
    /// # Panics
    /// As [`TcpStream::new`].
    pub fn new(listener: crate::TcpListener) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        Ok(Self { inner: watched(listener)? })
    }

    /// Listens at an address.
    ///
    /// # Errors
    /// Those of [`crate::TcpListener::bind`].
    pub fn bind(address: SocketAddr) -> io::Result<Self> {
        Self::new(crate::TcpListener::bind(address)?)
    }

    /// Waits for a connection.
    ///
    /// # Errors
    /// Those of [`crate::Socket::accept`].
    pub async fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        let accept = |listener: &crate::TcpListener| listener.accept();
        let (stream, from) = self.inner.async_io(Interest::READABLE, accept).await?;
        Ok((TcpStream::new(stream)?, from))
    }

    /// The listener of blocking words: its options, its address.
    #[must_use]
    pub fn get_ref(&self) -> &crate::TcpListener {
        self.inner.get_ref()
    }
}

/// A UDP socket. Closed when dropped.
#[derive(Debug)]
pub struct UdpSocket {
    inner: AsyncFd<crate::UdpSocket>,
}

impl UdpSocket {
    /// Takes over a socket.
    ///
    /// # Errors
    /// The kernel's.
    ///
    /// # Panics
    /// As [`TcpStream::new`].
    pub fn new(socket: crate::UdpSocket) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        Ok(Self { inner: watched(socket)? })
    }

    /// A socket at an address.
    ///
    /// # Errors
    /// Those of [`crate::UdpSocket::bind`].
    pub fn bind(address: SocketAddr) -> io::Result<Self> {
        Self::new(crate::UdpSocket::bind(address)?)
    }

    /// Sends a datagram.
    ///
    /// # Errors
    /// Those of [`crate::Socket::send`].
    pub async fn send_to(&self, data: &[u8], to: SocketAddr) -> io::Result<usize> {
        self.inner.async_io(Interest::WRITABLE, |socket| socket.send_to(data, to)).await
    }

    /// Sends a datagram to the peer.
    ///
    /// # Errors
    /// Those of [`crate::Socket::send`].
    pub async fn send(&self, data: &[u8]) -> io::Result<usize> {
        self.inner.async_io(Interest::WRITABLE, |socket| socket.send(data)).await
    }

    /// Receives a datagram; what does not fit is lost.
    ///
    /// # Errors
    /// Those of [`crate::Socket::recv`].
    pub async fn recv_from(&self, into: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        self.inner.async_io(Interest::READABLE, |socket| socket.recv_from(into)).await
    }

    /// Receives a datagram; what does not fit is lost.
    ///
    /// # Errors
    /// Those of [`crate::Socket::recv`].
    pub async fn recv(&self, into: &mut [u8]) -> io::Result<usize> {
        self.inner.async_io(Interest::READABLE, |socket| socket.recv(into)).await
    }

    /// The socket of blocking words: its options, its addresses, `connect`.
    #[must_use]
    pub fn get_ref(&self) -> &crate::UdpSocket {
        self.inner.get_ref()
    }
}

#[expect(
    deprecated,
    reason = "what replaces it is unsafe for types that may change their descriptor; these own theirs and never do"
)]
fn watched<T: AsRawFd>(socket: T) -> io::Result<AsyncFd<T>> {
    AsyncFd::new(socket)
}

impl crate::TcpStream {
    /// How an attempt to connect has ended, if it has.
    fn decided(&self, address: SocketAddr) -> Option<io::Result<()>> {
        match self.socket().connect(self.as_fd(), address, true) {
            Err(error) if error.raw_os_error() == Some(Errno::ALREADY.raw_os_error()) => None,
            // An attempt of before has told the outcome.
            Err(error) if error.raw_os_error() == Some(Errno::ISCONN.raw_os_error()) => {
                Some(Ok(()))
            }
            result => Some(result),
        }
    }
}
