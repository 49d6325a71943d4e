//! [`TcpStream`], [`TcpListener`] and [`UdpSocket`] for tokio: with the feature `tokio`.
//!
//! The sockets' descriptors are real, so tokio's own reactor waits for them beside any others.

use core::pin::Pin;
use core::task::{Context, Poll, ready};
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::os::fd::AsRawFd;

use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};

const BOTH: Interest = Interest::READABLE.add(Interest::WRITABLE);

/// A TCP connection that waits in tokio's way.
#[derive(Debug)]
pub struct TcpStream(AsyncFd<crate::TcpStream>);

/// A TCP socket that accepts connections in tokio's way.
#[derive(Debug)]
pub struct TcpListener(AsyncFd<crate::TcpListener>);

/// A UDP socket that waits in tokio's way.
#[derive(Debug)]
pub struct UdpSocket(AsyncFd<crate::UdpSocket>);

impl TcpStream {
    /// Takes over a connection.
    ///
    /// # Errors
    /// The kernel's; there is no reactor (tokio's panic).
    pub fn from_std(stream: crate::TcpStream) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        Ok(Self(watched(stream, BOTH)?))
    }

    /// Connects.
    ///
    /// # Errors
    /// Those of [`crate::TcpStream::connect`].
    pub async fn connect(address: SocketAddr) -> io::Result<Self> {
        let stream = Self(watched(crate::TcpStream::begin(address)?, BOTH)?);
        let _decided = stream.0.writable().await?;
        match stream.0.get_ref().take_error()? {
            Some(error) => Err(error),
            None => Ok(stream),
        }
    }

    /// The connection, for what does not wait.
    #[must_use]
    pub fn get_ref(&self) -> &crate::TcpStream {
        self.0.get_ref()
    }
}

impl AsyncRead for TcpStream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            let mut ready = ready!(self.0.poll_read_ready(cx))?;
            let room = into.initialize_unfilled();
            match ready.try_io(|stream| (&mut stream.get_ref()).read(room)) {
                Ok(result) => return Poll::Ready(result.map(|len| into.advance(len))),
                Err(_would_block) => {}
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
        loop {
            let mut ready = ready!(self.0.poll_write_ready(cx))?;
            match ready.try_io(|stream| (&mut stream.get_ref()).write(data)) {
                Ok(result) => return Poll::Ready(result),
                Err(_would_block) => {}
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // What is written is posted.
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.0.get_ref().shutdown(std::net::Shutdown::Write))
    }
}

impl TcpListener {
    /// Listens.
    ///
    /// # Errors
    /// Those of [`crate::TcpListener::bind`].
    pub fn bind(address: SocketAddr) -> io::Result<Self> {
        let listener = crate::TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        Ok(Self(watched(listener, Interest::READABLE)?))
    }

    /// Waits for a connection.
    ///
    /// # Errors
    /// Those of [`crate::TcpListener::accept`].
    pub async fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        let accept = |listener: &crate::TcpListener| listener.accept();
        let (stream, from) = self.0.async_io(Interest::READABLE, accept).await?;
        Ok((TcpStream::from_std(stream)?, from))
    }

    /// The listener, for what does not wait.
    #[must_use]
    pub fn get_ref(&self) -> &crate::TcpListener {
        self.0.get_ref()
    }
}

impl UdpSocket {
    /// A socket at an address.
    ///
    /// # Errors
    /// Those of [`crate::UdpSocket::bind`].
    pub fn bind(address: SocketAddr) -> io::Result<Self> {
        let socket = crate::UdpSocket::bind(address)?;
        socket.set_nonblocking(true)?;
        Ok(Self(watched(socket, BOTH)?))
    }

    /// Waits for a datagram: its length and its sender.
    ///
    /// # Errors
    /// Those of [`crate::UdpSocket::recv_from`].
    pub async fn recv_from(&self, into: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        self.0.async_io(Interest::READABLE, |socket| socket.recv_from(into)).await
    }

    /// Sends a datagram.
    ///
    /// # Errors
    /// Those of [`crate::UdpSocket::send_to`].
    pub async fn send_to(&self, data: &[u8], to: SocketAddr) -> io::Result<usize> {
        self.0.async_io(Interest::WRITABLE, |socket| socket.send_to(data, to)).await
    }

    /// The socket, for what does not wait.
    #[must_use]
    pub fn get_ref(&self) -> &crate::UdpSocket {
        self.0.get_ref()
    }
}

/// A socket in tokio's reactor.
fn watched<T: AsRawFd>(socket: T, interest: Interest) -> io::Result<AsyncFd<T>> {
    #[expect(
        deprecated,
        reason = "the new form asks for a promise, by `unsafe`, that our sockets keep: one descriptor for life"
    )]
    AsyncFd::with_interest(socket, interest)
}
