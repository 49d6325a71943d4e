//! Sockets whose options are set before they are bound or connected.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::os::fd::AsFd;
use std::time::Duration;

use proto::message::Transport;

use crate::tcp::{Inner, TcpListener, TcpStream, first};
use crate::udp::UdpSocket;

// Linux's numbers, asm-generic.
const SOL_SOCKET: i32 = 1;
const SO_REUSEADDR: i32 = 2;
const SO_BROADCAST: i32 = 6;
const SO_SNDBUF: i32 = 7;
const SO_RCVBUF: i32 = 8;
const SO_KEEPALIVE: i32 = 9;
const SO_LINGER: i32 = 13;
const SO_REUSEPORT: i32 = 15;
const IPPROTO_IP: i32 = 0;
const IP_TOS: i32 = 1;
const IP_TTL: i32 = 2;
const IPPROTO_TCP: i32 = 6;
const TCP_NODELAY: i32 = 1;
const TCP_KEEPIDLE: i32 = 4;
const TCP_KEEPINTVL: i32 = 5;
const TCP_CONGESTION: i32 = 13;
const TCP_USER_TIMEOUT: i32 = 18;
const IPPROTO_IPV6: i32 = 41;
const IPV6_V6ONLY: i32 = 26;

/// Options for sockets to come; they are set in the order in which they are given here.
///
/// ```no_run
/// use io_pkt_client::SocketOptions;
///
/// let options = SocketOptions::new().nodelay(true).receive_buffer(1 << 20);
/// let stream = options.connect("198.18.77.1:80")?;
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SocketOptions {
    options: Vec<(i32, i32, Vec<u8>)>,
    local: Option<SocketAddr>,
}

impl SocketOptions {
    /// None yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Any option, with Linux's numbers and the bytes of its value.
    #[must_use]
    pub fn option(mut self, level: i32, name: i32, value: &[u8]) -> Self {
        self.options.push((level, name, value.to_vec()));
        self
    }

    fn number(self, level: i32, name: i32, value: u32) -> Self {
        self.option(level, name, &value.to_ne_bytes())
    }

    /// `SO_REUSEADDR`.
    #[must_use]
    pub fn reuse_address(self, on: bool) -> Self {
        self.number(SOL_SOCKET, SO_REUSEADDR, on.into())
    }

    /// `SO_REUSEPORT`: several listeners share what comes to one address.
    #[must_use]
    pub fn reuse_port(self, on: bool) -> Self {
        self.number(SOL_SOCKET, SO_REUSEPORT, on.into())
    }

    /// `SO_BROADCAST`.
    #[must_use]
    pub fn broadcast(self, on: bool) -> Self {
        self.number(SOL_SOCKET, SO_BROADCAST, on.into())
    }

    /// `SO_RCVBUF`; without it the buffer grows by itself.
    #[must_use]
    pub fn receive_buffer(self, bytes: u32) -> Self {
        self.number(SOL_SOCKET, SO_RCVBUF, bytes)
    }

    /// `SO_SNDBUF`; without it the buffer grows by itself.
    #[must_use]
    pub fn send_buffer(self, bytes: u32) -> Self {
        self.number(SOL_SOCKET, SO_SNDBUF, bytes)
    }

    /// `SO_LINGER`: closing waits so long for what has been sent; with no time at all it resets.
    #[must_use]
    pub fn linger(self, time: Duration) -> Self {
        let seconds = u32::try_from(time.as_secs()).unwrap_or(u32::MAX);
        let value = [1_u32.to_ne_bytes(), seconds.to_ne_bytes()].concat();
        self.option(SOL_SOCKET, SO_LINGER, &value)
    }

    /// `SO_KEEPALIVE`, after so long without a segment and then so often; at least a second each.
    #[must_use]
    pub fn keepalive(self, idle: Duration, interval: Duration) -> Self {
        let seconds = |time: Duration| u32::try_from(time.as_secs().max(1)).unwrap_or(u32::MAX);
        self.number(SOL_SOCKET, SO_KEEPALIVE, 1)
            .number(IPPROTO_TCP, TCP_KEEPIDLE, seconds(idle))
            .number(IPPROTO_TCP, TCP_KEEPINTVL, seconds(interval))
    }

    /// `TCP_NODELAY`.
    #[must_use]
    pub fn nodelay(self, on: bool) -> Self {
        self.number(IPPROTO_TCP, TCP_NODELAY, on.into())
    }

    /// `TCP_CONGESTION`: `cubic`, `reno` or `bbr`.
    #[must_use]
    pub fn congestion(self, algorithm: &str) -> Self {
        self.option(IPPROTO_TCP, TCP_CONGESTION, algorithm.as_bytes())
    }

    /// `TCP_USER_TIMEOUT`.
    #[must_use]
    pub fn user_timeout(self, time: Duration) -> Self {
        let millis = u32::try_from(time.as_millis()).unwrap_or(u32::MAX);
        self.number(IPPROTO_TCP, TCP_USER_TIMEOUT, millis)
    }

    /// `IP_TTL`.
    #[must_use]
    pub fn ttl(self, hops: u8) -> Self {
        self.number(IPPROTO_IP, IP_TTL, hops.into())
    }

    /// `IP_TOS`.
    #[must_use]
    pub fn tos(self, tos: u8) -> Self {
        self.number(IPPROTO_IP, IP_TOS, tos.into())
    }

    /// `IPV6_V6ONLY`.
    #[must_use]
    pub fn only_v6(self, on: bool) -> Self {
        self.number(IPPROTO_IPV6, IPV6_V6ONLY, on.into())
    }

    /// Where connections come from.
    #[must_use]
    pub fn from(mut self, local: SocketAddr) -> Self {
        self.local = Some(local);
        self
    }

    /// Connects to the first of the addresses that answers.
    ///
    /// # Errors
    /// Those of [`crate::Socket::set_option`] and [`TcpStream::connect`].
    pub fn connect(&self, addresses: impl ToSocketAddrs) -> io::Result<TcpStream> {
        first(addresses, |address| {
            let inner = self.open(address, Transport::Stream)?;
            if let Some(local) = self.local {
                inner.socket.bind(inner.fd.as_fd(), local)?;
            }
            inner.socket.connect(inner.fd.as_fd(), address, false)?;
            Ok(TcpStream::of(inner))
        })
    }

    /// Listens at the first of the addresses that is possible; `backlog` connections may wait.
    ///
    /// # Errors
    /// Those of [`crate::Socket::set_option`] and [`TcpListener::bind`].
    pub fn listen(&self, addresses: impl ToSocketAddrs, backlog: u32) -> io::Result<TcpListener> {
        first(addresses, |address| {
            let inner = self.open(address, Transport::Stream)?;
            inner.socket.bind(inner.fd.as_fd(), address)?;
            inner.socket.listen(inner.fd.as_fd(), backlog)?;
            Ok(TcpListener::of(inner))
        })
    }

    /// A datagram socket at the first of the addresses that is possible.
    ///
    /// # Errors
    /// Those of [`crate::Socket::set_option`] and [`UdpSocket::bind`].
    pub fn datagrams(&self, addresses: impl ToSocketAddrs) -> io::Result<UdpSocket> {
        first(addresses, |address| {
            let inner = self.open(address, Transport::Datagram)?;
            inner.socket.bind(inner.fd.as_fd(), address)?;
            Ok(UdpSocket::of(inner))
        })
    }

    fn open(&self, address: SocketAddr, transport: Transport) -> io::Result<Inner> {
        let inner = Inner::open(address, transport)?;
        for (level, name, value) in &self.options {
            inner.socket.set_option(*level, *name, value)?;
        }
        Ok(inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_set_in_the_order_in_which_they_are_given() {
        let given = SocketOptions::new().nodelay(true).linger(Duration::ZERO).ttl(3);
        let one = |n: u32| n.to_ne_bytes().to_vec();
        let expected = [
            (IPPROTO_TCP, TCP_NODELAY, one(1)),
            (SOL_SOCKET, SO_LINGER, [one(1), one(0)].concat()),
            (IPPROTO_IP, IP_TTL, one(3)),
        ];
        assert_eq!(given.options, expected);
    }
}
