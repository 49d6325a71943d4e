//! The sockets in a `mio::Poll`: with the feature `mio`. They must be in nonblocking mode.

use std::io;
use std::os::fd::AsRawFd;

use mio::event::Source;
use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};

use crate::{TcpListener, TcpStream, UdpSocket};

macro_rules! source {
    ($($socket:ty),*) => {$(
        impl Source for $socket {
            fn register(&mut self, to: &Registry, token: Token, of: Interest) -> io::Result<()> {
                SourceFd(&self.as_raw_fd()).register(to, token, of)
            }

            fn reregister(&mut self, to: &Registry, token: Token, of: Interest) -> io::Result<()> {
                SourceFd(&self.as_raw_fd()).reregister(to, token, of)
            }

            fn deregister(&mut self, from: &Registry) -> io::Result<()> {
                SourceFd(&self.as_raw_fd()).deregister(from)
            }
        }
    )*};
}

source!(TcpStream, TcpListener, UdpSocket);
