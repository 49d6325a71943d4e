//! The sockets as sources of `mio`: what it waits with, `epoll`, waits for their descriptors.

use std::io;
use std::os::fd::AsRawFd;

use mio::event::Source;
use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};

use crate::{TcpListener, TcpStream, UdpSocket};

macro_rules! source {
    ($($socket:ty),+) => {$(
        /// Registered once, its calls do not wait any more.
        impl Source for $socket {
            fn register(
                &mut self,
                registry: &Registry,
                token: Token,
                interests: Interest,
            ) -> io::Result<()> {
                self.set_nonblocking(true)?;
                SourceFd(&self.as_raw_fd()).register(registry, token, interests)
            }

            fn reregister(
                &mut self,
                registry: &Registry,
                token: Token,
                interests: Interest,
            ) -> io::Result<()> {
                SourceFd(&self.as_raw_fd()).reregister(registry, token, interests)
            }

            fn deregister(&mut self, registry: &Registry) -> io::Result<()> {
                SourceFd(&self.as_raw_fd()).deregister(registry)
            }
        }
    )+};
}

source!(TcpListener, TcpStream, UdpSocket);
