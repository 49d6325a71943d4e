//! What `ping` and `traceroute` share: sockets of the stack, and what ICMP says of the packets that went
//! out by them (RFC 792, RFC 4443).

use std::io::{self, IoSlice, IoSliceMut};
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Instant;

use io_pkt_client::{Channel, Family, RecvFlags, SendFlags, Socket, Transport};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use wire::{icmp, icmp6, ipv4};

use crate::control::{Control, prefix};
use crate::fail::Failure;

/// `IPPROTO_ICMP`, `IPPROTO_ICMPV6`, from Linux's headers as the names below.
const ICMP: u8 = 1;
const ICMP6: u8 = 58;
pub(crate) const IPPROTO_IP: i32 = 0;
pub(crate) const IPPROTO_IPV6: i32 = 41;
const IP_TOS: i32 = 1;
const IP_TTL: i32 = 2;
const IPV6_UNICAST_HOPS: i32 = 16;
const IPV6_TCLASS: i32 = 67;

/// A socket of the stack and its descriptor.
pub(crate) struct Line {
    socket: Socket,
    fd: OwnedFd,
}

/// A message that has come.
pub(crate) struct Arrived {
    /// Its sender.
    pub(crate) from: IpAddr,
    /// Hops it could still have gone.
    pub(crate) ttl: Option<u8>,
    /// All of it.
    pub(crate) bytes: Vec<u8>,
}

/// What a message says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Said {
    /// It answers an echo request with these numbers.
    Answer { id: u16, sequence: u16 },
    /// A packet to there has not arrived.
    Trouble { to: IpAddr, words: String, mark: Trouble, about: About },
}

/// Why it has not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// No hops were left.
    TooFar,
    /// Nobody has the port, which is what `traceroute` waits for.
    NoPort,
    /// Something else, as `traceroute` marks it.
    Other(&'static str),
}

/// The packet that it is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum About {
    /// An echo request with these numbers.
    Request { id: u16, sequence: u16 },
    /// A datagram between these ports, ours first.
    Datagram { from: u16, to: u16 },
    /// Something else.
    Else,
}

impl Line {
    /// Packets of ICMP, for who may have such.
    pub(crate) fn of_icmp(channel: &Arc<Channel>, ipv6: bool) -> io::Result<Self> {
        Self::of(channel, ipv6, Transport::Raw)
    }

    /// Echo requests and the answers to them.
    pub(crate) fn of_echoes(channel: &Arc<Channel>, ipv6: bool) -> io::Result<Self> {
        Self::of(channel, ipv6, Transport::Datagram)
    }

    /// Datagrams of UDP.
    pub(crate) fn of_udp(channel: &Arc<Channel>, ipv6: bool) -> io::Result<Self> {
        let (socket, fd) = Socket::open_in(channel, family(ipv6), Transport::Datagram)?;
        Ok(Self { socket, fd })
    }

    fn of(channel: &Arc<Channel>, ipv6: bool, transport: Transport) -> io::Result<Self> {
        let protocol = if ipv6 { ICMP6 } else { ICMP };
        let (socket, fd) = Socket::open_raw(channel, family(ipv6), transport, protocol)?;
        Ok(Self { socket, fd })
    }

    /// It sends from this address.
    pub(crate) fn bind(&self, from: IpAddr) -> io::Result<()> {
        self.socket.bind(self.fd.as_fd(), SocketAddr::new(from, 0))
    }

    /// Its port, or the identifier of its requests.
    pub(crate) fn port(&self) -> io::Result<u16> {
        self.socket.local_name().map(|name| name.port())
    }

    pub(crate) fn set(&self, level: i32, name: i32, value: u32) -> io::Result<()> {
        self.socket.set_option(level, name, &value.to_ne_bytes())
    }

    /// What it sends goes so many hops.
    pub(crate) fn set_ttl(&self, ipv6: bool, ttl: u8) -> io::Result<()> {
        let (level, name) =
            if ipv6 { (IPPROTO_IPV6, IPV6_UNICAST_HOPS) } else { (IPPROTO_IP, IP_TTL) };
        self.set(level, name, ttl.into())
    }

    pub(crate) fn set_tos(&self, ipv6: bool, tos: u8) -> io::Result<()> {
        let (level, name) = if ipv6 { (IPPROTO_IPV6, IPV6_TCLASS) } else { (IPPROTO_IP, IP_TOS) };
        self.set(level, name, tos.into())
    }

    pub(crate) fn send(&self, bytes: &[u8], to: SocketAddr) -> io::Result<()> {
        let flags = SendFlags::empty();
        self.socket.send(self.fd.as_fd(), &[IoSlice::new(bytes)], Some(to), flags).map(drop)
    }

    /// What has come; `None` if nothing has.
    pub(crate) fn receive(&self) -> io::Result<Option<Arrived>> {
        let mut room = vec![0; usize::from(u16::MAX)];
        let into = &mut [IoSliceMut::new(&mut room)];
        match self.socket.recv(self.fd.as_fd(), into, RecvFlags::DONTWAIT) {
            Ok(received) => {
                let (from, ttl) = (received.from, received.ancillary.and_then(|a| a.ttl));
                room.truncate(received.len);
                Ok(from.map(|from| Arrived { from: from.ip(), ttl, bytes: room }))
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error),
        }
    }
}

impl AsFd for Line {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

fn family(ipv6: bool) -> Family {
    if ipv6 { Family::Inet6 } else { Family::Inet }
}

/// Waits until one of the descriptors is readable. `false`: the time is over.
pub(crate) fn wait(all: &[BorrowedFd<'_>], until: Instant) -> io::Result<bool> {
    let mut all: Vec<_> = all.iter().map(|fd| PollFd::new(fd, PollFlags::IN)).collect();
    loop {
        let left = until.saturating_duration_since(Instant::now());
        let left = Timespec::try_from(left).map_err(|_| Errno::INVAL)?;
        match poll(&mut all, Some(&left)) {
            Ok(ready) => return Ok(ready > 0),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}

/// The stack that is meant, or why there is none.
pub(crate) fn channel(sock: Option<String>) -> Result<Arc<Channel>, Failure> {
    let chosen = prefix(sock.clone());
    let _answers = Control::open(sock)?.daemon()?;
    io_pkt_client::set_sock_prefix(&chosen);
    Channel::current().map_err(|error| Failure::failed(format!("cannot use the stack: {error}")))
}

/// The address of a host, by its name or by itself.
pub(crate) fn resolve(host: &str, want: Option<bool>) -> Result<IpAddr, Failure> {
    let fits = |address: &IpAddr| want.is_none_or(|ipv6| address.is_ipv6() == ipv6);
    let addresses = (host, 0).to_socket_addrs().map(|all| all.map(|name| name.ip()));
    let found = addresses.ok().and_then(|mut all| all.find(fits));
    found.ok_or_else(|| {
        Failure::failed(format!(
            "{host}: no such host; write an address, or see: getent hosts {host}"
        ))
    })
}

/// What a message of ICMP says, if that is of interest. A raw socket's of IPv4 begins with the IP header.
pub(crate) fn said(arrived: &Arrived, with_header: bool) -> Option<Said> {
    let ipv6 = arrived.from.is_ipv6();
    if ipv6 {
        return said6(&icmp6::Message::parse(&arrived.bytes).ok()?);
    }
    let message = if with_header {
        icmp::Message::parse(ipv4::Packet::parse(&arrived.bytes).ok()?.payload).ok()?
    } else {
        icmp::Message::parse(&arrived.bytes).ok()?
    };
    let header = message.header;
    if header.kind() == icmp::Type::ECHO_REPLY {
        return Some(Said::Answer { id: header.echo_id(), sequence: header.echo_sequence() });
    }
    let quoted = message.quoted().ok()?;
    let about = about(quoted.ports(), quoted.echo_id(), quoted.transport);
    let (words, mark) = words(header);
    Some(Said::Trouble { to: quoted.header.dst().into(), words, mark, about })
}

fn said6(message: &icmp6::Message<'_>) -> Option<Said> {
    let header = message.header;
    if header.kind() == icmp6::Type::ECHO_REPLY {
        let (id, sequence) = header.echo();
        return Some(Said::Answer { id, sequence });
    }
    let quoted = message.quoted().ok()?;
    let about = about(quoted.ports(), quoted.echo_id(), quoted.transport);
    let (words, mark) = words6(header);
    Some(Said::Trouble { to: quoted.header.dst().into(), words, mark, about })
}

fn about(ports: Option<(u16, u16)>, id: Option<u16>, transport: &[u8; 8]) -> About {
    let [.., a, b] = *transport;
    match (ports, id) {
        (Some((from, to)), _) => About::Datagram { from, to },
        (None, Some(id)) => About::Request { id, sequence: u16::from_be_bytes([a, b]) },
        (None, None) => About::Else,
    }
}

fn words(header: &icmp::Header) -> (String, Trouble) {
    let (words, mark) = match (header.kind(), header.code()) {
        (icmp::Type::TIME_EXCEEDED, _) => ("Time to live exceeded", Trouble::TooFar),
        (icmp::Type::DESTINATION_UNREACHABLE, code) => match code.0 {
            0 => ("Destination Net Unreachable", Trouble::Other("!N")),
            1 => ("Destination Host Unreachable", Trouble::Other("!H")),
            2 => ("Destination Protocol Unreachable", Trouble::Other("!P")),
            3 => ("Destination Port Unreachable", Trouble::NoPort),
            4 => {
                let words = format!("frag needed and DF set (MTU {})", header.mtu());
                return (words, Trouble::Other("!F"));
            }
            9 | 10 | 13 => ("Communication prohibited", Trouble::Other("!X")),
            _ => ("Destination Unreachable", Trouble::Other("!U")),
        },
        (icmp::Type::PARAMETER_PROBLEM, _) => ("Parameter problem", Trouble::Other("!<P>")),
        _ => ("ICMP error", Trouble::Other("!?")),
    };
    (words.into(), mark)
}

fn words6(header: &icmp6::Header) -> (String, Trouble) {
    let (words, mark) = match (header.kind(), header.code()) {
        (icmp6::Type::TIME_EXCEEDED, _) => ("Hop limit exceeded", Trouble::TooFar),
        (icmp6::Type::DESTINATION_UNREACHABLE, code) => match code.0 {
            0 => ("No route", Trouble::Other("!N")),
            1 => ("Communication prohibited", Trouble::Other("!X")),
            3 => ("Address unreachable", Trouble::Other("!H")),
            4 => ("Port unreachable", Trouble::NoPort),
            _ => ("Destination unreachable", Trouble::Other("!U")),
        },
        (icmp6::Type::PACKET_TOO_BIG, _) => {
            let words = format!("packet too big (MTU {})", header.rest.get());
            return (words, Trouble::Other("!F"));
        }
        (icmp6::Type::PARAMETER_PROBLEM, _) => ("Parameter problem", Trouble::Other("!<P>")),
        _ => ("ICMP error", Trouble::Other("!?")),
    };
    (words.into(), mark)
}

/// Why a socket could not be had or used.
pub(crate) fn failed(what: &str, error: &io::Error) -> Failure {
    let errno = error.raw_os_error().unwrap_or(0);
    Failure::refused(what, errno, "see: iopkt route show, iopkt ifconfig")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;
    use zerocopy::IntoBytes;

    const ROUTER: Ipv4Addr = Ipv4Addr::new(198, 18, 77, 1);
    const FAR: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 1);

    fn packet(from: Ipv4Addr, to: Ipv4Addr, protocol: ipv4::Protocol, payload: &[u8]) -> Vec<u8> {
        let header = ipv4::Header::new(from, to, protocol, payload.len()).unwrap();
        [header.with_checksum().as_bytes(), payload].concat()
    }

    fn arrived(message: &[u8]) -> Arrived {
        let bytes = packet(ROUTER, Ipv4Addr::LOCALHOST, ipv4::Protocol::ICMP, message);
        Arrived { from: ROUTER.into(), ttl: Some(64), bytes }
    }

    #[test]
    fn answers_have_the_numbers_of_their_requests() {
        let message = icmp::Header::echo_reply(7, 9);
        let heard = said(&arrived(message.as_bytes()), true);
        assert_eq!(heard, Some(Said::Answer { id: 7, sequence: 9 }));
    }

    #[test]
    fn a_router_says_which_packet_has_gone_too_far() {
        let request = icmp::Header::echo_request(7, 9);
        let ours = packet(Ipv4Addr::LOCALHOST, FAR, ipv4::Protocol::ICMP, request.as_bytes());
        let header = icmp::Header::time_exceeded(icmp::Code::TTL_EXCEEDED);
        let heard = said(&arrived(&[header.as_bytes(), &ours].concat()), true);
        let words = "Time to live exceeded".into();
        let about = About::Request { id: 7, sequence: 9 };
        let expected = Said::Trouble { to: FAR.into(), words, mark: Trouble::TooFar, about };
        assert_eq!(heard, Some(expected));
    }

    #[test]
    fn the_end_of_a_route_is_a_port_that_nobody_has() {
        let ports = [0x80, 0x01, 0x82, 0x9b, 0, 8, 0, 0];
        let ours = packet(Ipv4Addr::LOCALHOST, FAR, ipv4::Protocol::UDP, &ports);
        let header = icmp::Header::destination_unreachable(icmp::Code::PORT_UNREACHABLE);
        match said(&arrived(&[header.as_bytes(), &ours].concat()), true) {
            Some(Said::Trouble { mark: Trouble::NoPort, about, .. }) => {
                assert_eq!(about, About::Datagram { from: 0x8001, to: 0x829b });
            }
            other => panic!("{other:?}"),
        }
        assert_eq!(said(&arrived(&[8, 0, 0, 0, 0, 0, 0, 0]), true), None, "a request says nothing");
    }
}
