//! The sockets that a load runs on: std's, or those of io-pkt's own crate, with and without copies.

use std::io::{self, Read, Write};
use std::net::{self, Shutdown, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use clap::ValueEnum;

/// Whose sockets.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Kind {
    /// `std::net`: the kernel's, or io-pkt's under `iopkt run`.
    Std,
    /// The crate `io-pkt-client`.
    Native,
    /// The same; bulk is written and read where it lies.
    InPlace,
}

/// A connection.
#[derive(Debug)]
pub(crate) enum Stream {
    Std(net::TcpStream),
    Native(io_pkt_client::TcpStream),
    InPlace(io_pkt_client::TcpStream),
}

/// What connections come from.
#[derive(Debug)]
pub(crate) enum Listener {
    Std(net::TcpListener),
    Native(io_pkt_client::TcpListener, Kind),
}

/// A UDP socket.
#[derive(Debug)]
pub(crate) enum Datagrams {
    Std(net::UdpSocket),
    Native(io_pkt_client::UdpSocket),
}

/// The same call on whichever socket it is.
macro_rules! on {
    ($socket:expr, $type:ident, $inner:pat => $call:expr) => {
        match $socket {
            $type::Std($inner) => $call,
            $type::Native($inner, ..) => $call,
        }
    };
    ($socket:expr, $inner:pat => $call:expr) => {
        match $socket {
            Stream::Std($inner) => $call,
            Stream::Native($inner) | Stream::InPlace($inner) => $call,
        }
    };
}

impl Stream {
    pub(crate) fn connect(kind: Kind, address: SocketAddr) -> io::Result<Self> {
        Ok(match kind {
            Kind::Std => Self::Std(net::TcpStream::connect(address)?),
            Kind::Native => Self::Native(io_pkt_client::TcpStream::connect(address)?),
            Kind::InPlace => Self::InPlace(io_pkt_client::TcpStream::connect(address)?),
        })
    }

    pub(crate) fn set_nodelay(&self) -> io::Result<()> {
        on!(self, stream => stream.set_nodelay(true))
    }

    pub(crate) fn set_nonblocking(&self, nonblocking: bool) -> io::Result<()> {
        on!(self, stream => stream.set_nonblocking(nonblocking))
    }

    pub(crate) fn shutdown_write(&self) -> io::Result<()> {
        on!(self, stream => stream.shutdown(Shutdown::Write))
    }

    /// Sends `chunk`, or as many bytes made where they are sent from.
    pub(crate) fn put(&mut self, chunk: &[u8]) -> io::Result<()> {
        let Self::InPlace(stream) = self else { return self.write_all(chunk) };
        let mut left = chunk.len();
        while left > 0 {
            let write = |room: &mut [u8]| {
                let len = room.len().min(left);
                room[..len].fill(7);
                len
            };
            left -= stream.send_in_place(left, write)?;
        }
        Ok(())
    }

    /// Receives into `chunk`, or looks at what has come; how many bytes, 0 at the end.
    pub(crate) fn get(&mut self, chunk: &mut [u8]) -> io::Result<usize> {
        let Self::InPlace(stream) = self else { return self.read(chunk) };
        Ok(stream.recv_in_place(|bytes| (bytes.len(), bytes.len()))?.unwrap_or(0))
    }
}

impl Read for Stream {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        on!(self, stream => stream.read(into))
    }
}

impl Write for Stream {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        on!(self, stream => stream.write(data))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        on!(self, stream => stream.as_fd())
    }
}

impl Listener {
    /// Does not wait in [`Listener::accept`].
    pub(crate) fn bind(kind: Kind, address: SocketAddr) -> io::Result<Self> {
        let listener = match kind {
            Kind::Std => Self::Std(net::TcpListener::bind(address)?),
            _ => Self::Native(io_pkt_client::TcpListener::bind(address)?, kind),
        };
        on!(&listener, Listener, listener => listener.set_nonblocking(true))?;
        Ok(listener)
    }

    pub(crate) fn accept(&self) -> io::Result<Stream> {
        Ok(match self {
            Self::Std(listener) => Stream::Std(listener.accept()?.0),
            Self::Native(listener, Kind::InPlace) => Stream::InPlace(listener.accept()?.0),
            Self::Native(listener, _) => Stream::Native(listener.accept()?.0),
        })
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        on!(self, Self, listener => listener.as_fd())
    }
}

impl Datagrams {
    pub(crate) fn bind(kind: Kind, address: SocketAddr) -> io::Result<Self> {
        Ok(match kind {
            Kind::Std => Self::Std(net::UdpSocket::bind(address)?),
            _ => Self::Native(io_pkt_client::UdpSocket::bind(address)?),
        })
    }

    pub(crate) fn connect(&self, address: SocketAddr) -> io::Result<()> {
        on!(self, Self, socket => socket.connect(address))
    }

    pub(crate) fn set_read_timeout(&self, time: Duration) -> io::Result<()> {
        on!(self, Self, socket => socket.set_read_timeout(Some(time)))
    }

    pub(crate) fn send(&self, datagram: &[u8]) -> io::Result<usize> {
        on!(self, Self, socket => socket.send(datagram))
    }

    pub(crate) fn recv(&self, into: &mut [u8]) -> io::Result<usize> {
        on!(self, Self, socket => socket.recv(into))
    }

    pub(crate) fn send_to(&self, datagram: &[u8], to: SocketAddr) -> io::Result<usize> {
        on!(self, Self, socket => socket.send_to(datagram, to))
    }

    pub(crate) fn recv_from(&self, into: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        on!(self, Self, socket => socket.recv_from(into))
    }
}
