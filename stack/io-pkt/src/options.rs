//! `setsockopt` and `getsockopt` by Linux's numbers.

use inet::Device;
use inet::command::{MtuDiscover, SocketInfo, SocketOption, Transport};
use inet::limits::{RECEIVE_BUFFER_MAX, RECEIVE_BUFFER_MIN, SEND_BUFFER_MAX, SEND_BUFFER_MIN};
use rustix::io::Errno;

use tcp::TcpValues;

mod info;
pub(crate) mod ipv6;
pub(crate) mod multicast;
mod raw;
mod tcp;

pub(crate) use raw::RawValues;

/// `SOL_SOCKET` and its options, from Linux's `asm-generic/socket.h`.
pub(crate) mod sol {
    pub(crate) const SOCKET: i32 = 1;
    pub(crate) const IP: i32 = 0;
    pub(crate) const TCP: i32 = 6;
    pub(crate) const UDP: i32 = 17;
    pub(crate) const IPV6: i32 = 41;
    pub(crate) const SO_DEBUG: i32 = 1;
    pub(crate) const SO_REUSEADDR: i32 = 2;
    pub(crate) const SO_TYPE: i32 = 3;
    pub(crate) const SO_ERROR: i32 = 4;
    pub(crate) const SO_DONTROUTE: i32 = 5;
    pub(crate) const SO_BROADCAST: i32 = 6;
    pub(crate) const SO_SNDBUF: i32 = 7;
    pub(crate) const SO_RCVBUF: i32 = 8;
    pub(crate) const SO_KEEPALIVE: i32 = 9;
    pub(crate) const SO_OOBINLINE: i32 = 10;
    pub(crate) const SO_NO_CHECK: i32 = 11;
    pub(crate) const SO_PRIORITY: i32 = 12;
    pub(crate) const SO_LINGER: i32 = 13;
    pub(crate) const SO_BSDCOMPAT: i32 = 14;
    pub(crate) const SO_REUSEPORT: i32 = 15;
    pub(crate) const SO_PASSCRED: i32 = 16;
    pub(crate) const SO_BINDTODEVICE: i32 = 25;
    pub(crate) const SO_BINDTOIFINDEX: i32 = 62;
    /// Of io-pkt; Linux has none.
    pub(crate) const SO_SETFIB: i32 = 0x100a;
    pub(crate) const SO_RCVLOWAT: i32 = 18;
    pub(crate) const SO_SNDLOWAT: i32 = 19;
    pub(crate) const SO_RCVTIMEO: i32 = 20;
    pub(crate) const SO_SNDTIMEO: i32 = 21;
    pub(crate) const SO_ACCEPTCONN: i32 = 30;
    pub(crate) const SO_PROTOCOL: i32 = 38;
    pub(crate) const SO_DOMAIN: i32 = 39;
    pub(crate) const SO_MAX_PACING_RATE: i32 = 47;
    pub(crate) const IP_TOS: i32 = 1;
    pub(crate) const IP_TTL: i32 = 2;
    pub(crate) const IP_MTU_DISCOVER: i32 = 10;
    pub(crate) const IP_RECVERR: i32 = 11;
    pub(crate) const IP_MTU: i32 = 14;
    pub(crate) const IP_BIND_ADDRESS_NO_PORT: i32 = 24;
}
use sol as o;
use tcp::name as n;

/// A socket's options as its user has set them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Values {
    /// A socket of `AF_INET6`.
    pub inet6: bool,
    /// What else it has if it is a raw or ping socket.
    pub raw: Option<RawValues>,
    /// `IPV6_V6ONLY`.
    pub v6_only: bool,
    /// `SO_REUSEADDR`.
    pub reuse_address: bool,
    /// `SO_REUSEPORT`.
    pub reuse_port: bool,
    /// `SO_BROADCAST`.
    pub broadcast: bool,
    /// `SO_BINDTODEVICE`, `SO_SETFIB`.
    pub device: Device,
    tcp: TcpValues,
    oob_inline: bool,
    linger: Option<u32>,
    /// As the user has set it; else it grows by itself.
    receive_buffer: Option<u32>,
    send_buffer: Option<u32>,
    receive_timeout: [u8; 16],
    send_timeout: [u8; 16],
    receive_low: u32,
    priority: u32,
    /// `None`: as fast as the congestion control allows.
    pacing_rate: Option<u64>,
    tos: u8,
    ttl: u8,
    dont_route: bool,
    debug: bool,
    no_check: bool,
    mtu_discover: MtuDiscover,
    address_no_port: bool,
    /// `IP_RECVERR`, `IPV6_RECVERR`.
    receive_errors: [bool; 2],
}

impl Default for Values {
    fn default() -> Self {
        Self {
            inet6: false,
            raw: None,
            v6_only: false,
            reuse_address: false,
            reuse_port: false,
            broadcast: false,
            device: Device::ANY,
            tcp: TcpValues::default(),
            oob_inline: false,
            linger: None,
            receive_buffer: None,
            send_buffer: None,
            receive_timeout: [0; 16],
            send_timeout: [0; 16],
            receive_low: 1,
            priority: 0,
            pacing_rate: None,
            tos: 0,
            ttl: inet::limits::TTL,
            dont_route: false,
            debug: false,
            no_check: false,
            mtu_discover: MtuDiscover::default(),
            address_no_port: false,
            receive_errors: [false; 2],
        }
    }
}

fn int(value: &[u8]) -> Result<u32, Errno> {
    let bytes = value.first_chunk::<4>().ok_or(Errno::INVAL)?;
    Ok(u32::from_ne_bytes(*bytes))
}

fn timeout(value: &[u8]) -> Result<[u8; 16], Errno> {
    value.first_chunk::<16>().copied().ok_or(Errno::INVAL)
}

impl Values {
    /// Records a value. `Some`: the worker must know of it. `closed`: there is no connection and no
    /// listener yet.
    ///
    /// # Errors
    /// `EINVAL`, `ENOPROTOOPT`.
    pub(crate) fn set(
        &mut self,
        level: i32,
        name: i32,
        value: &[u8],
        closed: bool,
    ) -> Result<Option<SocketOption>, Errno> {
        if let Some(option) = self.set_raw(level, name, value) {
            return option.map(Some);
        }
        match level {
            o::SOCKET => self.set_socket(name, value),
            o::TCP => self.tcp.set(name, value, closed).map(Some),
            o::IP => self.set_ip(name, value),
            o::IPV6 if self.inet6 => self.set_ipv6(name, value),
            _ => Err(Errno::NOPROTOOPT),
        }
    }

    fn set_socket(&mut self, name: i32, value: &[u8]) -> Result<Option<SocketOption>, Errno> {
        // Linux looks at the length before it looks at the name.
        let _ = int(value)?;
        match name {
            o::SO_REUSEADDR => self.reuse_address = int(value)? != 0,
            o::SO_REUSEPORT => self.reuse_port = int(value)? != 0,
            o::SO_OOBINLINE => self.oob_inline = int(value)? != 0,
            o::SO_PRIORITY => self.priority = int(value)?,
            o::SO_RCVLOWAT => self.receive_low = int(value)?.max(1),
            o::SO_DONTROUTE => self.dont_route = int(value)? != 0,
            o::SO_DEBUG => self.debug = int(value)? != 0,
            o::SO_NO_CHECK => self.no_check = int(value)? != 0,
            o::SO_BSDCOMPAT => {}
            o::SO_PASSCRED => return Err(Errno::OPNOTSUPP),
            o::SO_RCVTIMEO => self.receive_timeout = timeout(value)?,
            o::SO_SNDTIMEO => self.send_timeout = timeout(value)?,
            o::SO_BROADCAST => {
                self.broadcast = int(value)? != 0;
                return Ok(Some(SocketOption::Broadcast(self.broadcast)));
            }
            o::SO_KEEPALIVE => {
                self.tcp.keepalive = int(value)? != 0;
                return Ok(Some(self.tcp.keepalive_option()));
            }
            o::SO_MAX_PACING_RATE => {
                self.pacing_rate = pacing_rate(value)?;
                return Ok(Some(self.pacing_option()));
            }
            // Linux doubles what is asked for, to allow for its own overhead, and reports that
            // within its limits.
            o::SO_RCVBUF => {
                let asked = int(value)?.saturating_mul(2);
                let len = asked.clamp(RECEIVE_BUFFER_MIN, RECEIVE_BUFFER_MAX);
                self.receive_buffer = Some(len);
                return Ok(Some(SocketOption::ReceiveBuffer(len)));
            }
            o::SO_SNDBUF => {
                let asked = int(value)?.saturating_mul(2);
                let len = asked.clamp(SEND_BUFFER_MIN, SEND_BUFFER_MAX);
                self.send_buffer = Some(len);
                return Ok(Some(SocketOption::SendBuffer(len)));
            }
            o::SO_LINGER => {
                let on = int(value)? != 0;
                let seconds = int(value.get(4..).unwrap_or_default())?;
                self.linger = on.then_some(seconds);
                return Ok(Some(SocketOption::LingerZero(self.linger == Some(0))));
            }
            _ => return Err(Errno::NOPROTOOPT),
        }
        Ok(None)
    }

    fn set_ip(&mut self, name: i32, value: &[u8]) -> Result<Option<SocketOption>, Errno> {
        // One byte is as good as an int here.
        let number = match value.first() {
            Some(byte) => int(value).unwrap_or_else(|_| u32::from(*byte)),
            None if name == o::IP_TTL => return Err(Errno::INVAL),
            None => 0,
        };
        match name {
            o::IP_TOS => {
                self.tos = u8::try_from(number & 0xff).unwrap_or(0);
                Ok(Some(SocketOption::Tos(self.tos)))
            }
            o::IP_TTL => {
                self.ttl = match u8::try_from(number) {
                    Ok(ttl @ 1..) => ttl,
                    // -1: the default again.
                    _ if number == u32::MAX => inet::limits::TTL,
                    _ => return Err(Errno::INVAL),
                };
                Ok(Some(SocketOption::Ttl(self.ttl)))
            }
            o::IP_MTU_DISCOVER => self.set_mtu_discover(number),
            o::IP_RECVERR => Ok(Some(self.set_receive_errors(false, number != 0))),
            // A port is always chosen for its peer.
            o::IP_BIND_ADDRESS_NO_PORT => {
                self.address_no_port = number != 0;
                Ok(None)
            }
            _ => Err(Errno::NOPROTOOPT),
        }
    }

    fn set_mtu_discover(&mut self, number: u32) -> Result<Option<SocketOption>, Errno> {
        self.mtu_discover = MtuDiscover::from_number(number).ok_or(Errno::INVAL)?;
        Ok(Some(SocketOption::MtuDiscover(self.mtu_discover)))
    }

    fn set_receive_errors(&mut self, v6: bool, on: bool) -> SocketOption {
        let [of_v4, of_v6] = &mut self.receive_errors;
        *(if v6 { of_v6 } else { of_v4 }) = on;
        SocketOption::ReceiveErrors { v6, on }
    }

    fn pacing_option(&self) -> SocketOption {
        SocketOption::MaxPacingRate(self.pacing_rate.unwrap_or(u64::MAX))
    }

    /// Those of a new socket where the operator has chosen these.
    #[must_use]
    pub(crate) fn of_host(congestion: ::tcp::Algorithm, ttl: u8, inet6: bool) -> Self {
        Self { tcp: TcpValues::of_host(congestion), ttl, inet6, ..Self::default() }
    }

    /// What a worker does not know of a new socket that has these.
    pub(crate) fn unusual(&self, transport: Transport) -> impl Iterator<Item = SocketOption> {
        let usual = Self::default();
        let stream = transport == Transport::Stream;
        let congestion = (stream && self.tcp.congestion != usual.tcp.congestion)
            .then_some(SocketOption::Congestion(self.tcp.congestion));
        let ttl = (self.ttl != usual.ttl).then_some(SocketOption::Ttl(self.ttl));
        let raw = self.raw.iter().flat_map(RawValues::unusual);
        congestion.into_iter().chain(ttl).chain(raw)
    }

    /// The protocol of a raw or ping socket; else 0.
    pub(crate) fn raw_protocol(&self) -> u16 {
        self.raw.map_or(0, |raw| raw.kind.protocol.into())
    }

    /// What connections accepted by this listener inherit.
    #[must_use]
    pub(crate) fn inherited(&self) -> Vec<SocketOption> {
        let mut options = self.tcp.inherited();
        options.extend(self.receive_buffer.map(SocketOption::ReceiveBuffer));
        options.extend(self.send_buffer.map(SocketOption::SendBuffer));
        options.extend(self.pacing_rate.map(SocketOption::MaxPacingRate));
        options.push(SocketOption::LingerZero(self.linger == Some(0)));
        options.push(SocketOption::Tos(self.tos));
        options.push(SocketOption::Ttl(self.ttl));
        options.push(SocketOption::V6Only(self.v6_only));
        options.push(SocketOption::Device(self.device));
        options
    }

    /// Those of a connection accepted by this listener.
    #[must_use]
    pub(crate) fn of_accepted(self) -> Self {
        Self { priority: 0, ..self }
    }

    /// Reads a value that does not depend on the connection's state. `None`: it does.
    ///
    /// # Errors
    /// `ENOPROTOOPT`.
    pub(crate) fn value(
        &self,
        level: i32,
        name: i32,
        transport: Transport,
        listening: bool,
        connected: bool,
    ) -> Result<Option<Vec<u8>>, Errno> {
        if let Some(value) = self.raw_value(level, name) {
            return value.map(Some);
        }
        let stream = transport == Transport::Stream;
        let number = match (level, name) {
            (o::SOCKET, o::SO_REUSEADDR) => u32::from(self.reuse_address),
            (o::SOCKET, o::SO_REUSEPORT) => u32::from(self.reuse_port),
            (o::SOCKET, o::SO_BROADCAST) => u32::from(self.broadcast),
            (o::SOCKET, o::SO_KEEPALIVE) => u32::from(self.tcp.keepalive),
            (o::SOCKET, o::SO_OOBINLINE) => u32::from(self.oob_inline),
            (o::SOCKET, o::SO_PRIORITY) => self.priority,
            (o::SOCKET, o::SO_RCVLOWAT) => self.receive_low,
            (o::SOCKET, o::SO_SNDLOWAT) => 1,
            (o::SOCKET, o::SO_DONTROUTE) => u32::from(self.dont_route),
            (o::SOCKET, o::SO_DEBUG) => u32::from(self.debug),
            (o::SOCKET, o::SO_NO_CHECK) => u32::from(self.no_check),
            (o::SOCKET, o::SO_BSDCOMPAT) => 0,
            (o::SOCKET, o::SO_PASSCRED) => return Err(Errno::OPNOTSUPP),
            (o::SOCKET, o::SO_RCVBUF) => match self.receive_buffer {
                Some(len) => len,
                None => return Ok(None),
            },
            (o::SOCKET, o::SO_SNDBUF) => match self.send_buffer {
                Some(len) => len,
                None => return Ok(None),
            },
            (o::SOCKET, o::SO_TYPE) => match transport {
                Transport::Stream | Transport::ModuleStream => 1,
                Transport::Raw => 3,
                _ => 2,
            },
            (o::SOCKET, o::SO_DOMAIN) if self.inet6 => 10,
            (o::SOCKET, o::SO_DOMAIN) => 2,
            (o::SOCKET, o::SO_PROTOCOL) if stream => 6,
            (o::SOCKET, o::SO_PROTOCOL) => self.raw.map_or(17, |raw| raw.kind.protocol.into()),
            (o::SOCKET, o::SO_MAX_PACING_RATE) => {
                return Ok(Some(self.pacing_rate.unwrap_or(u64::MAX).to_ne_bytes().to_vec()));
            }
            (o::SOCKET, o::SO_ACCEPTCONN) => u32::from(listening),
            (o::SOCKET, o::SO_RCVTIMEO) => return Ok(Some(self.receive_timeout.to_vec())),
            (o::SOCKET, o::SO_SNDTIMEO) => return Ok(Some(self.send_timeout.to_vec())),
            (o::SOCKET, o::SO_LINGER) => {
                let mut bytes = u32::from(self.linger.is_some()).to_ne_bytes().to_vec();
                bytes.extend(self.linger.unwrap_or(0).to_ne_bytes());
                return Ok(Some(bytes));
            }
            (o::SOCKET, o::SO_ERROR) => return Ok(None),
            (o::TCP, _) if stream => return self.tcp.value(name, connected),
            (o::IP, o::IP_TOS) => u32::from(self.tos),
            (o::IP, o::IP_TTL) => u32::from(self.ttl),
            (o::IP, o::IP_MTU_DISCOVER) => self.mtu_discover.number(),
            (o::IP, o::IP_RECVERR) => u32::from(self.receive_errors[0]),
            (o::IP, o::IP_BIND_ADDRESS_NO_PORT) => u32::from(self.address_no_port),
            (o::IPV6, _) if self.inet6 => self.ipv6_value(name)?,
            (o::SOCKET | o::IP, _) => return Err(Errno::NOPROTOOPT),
            (o::UDP, _) if !stream => return Err(Errno::NOPROTOOPT),
            // Linux's word for a level that is another protocol's.
            _ => return Err(Errno::OPNOTSUPP),
        };
        Ok(Some(number.to_ne_bytes().to_vec()))
    }
}

/// `SO_MAX_PACING_RATE` is an unsigned int or long; all ones mean no limit.
fn pacing_rate(value: &[u8]) -> Result<Option<u64>, Errno> {
    let rate = match value.first_chunk() {
        Some(bytes) => u64::from_ne_bytes(*bytes),
        None => match int(value)? {
            u32::MAX => u64::MAX,
            rate => u64::from(rate),
        },
    };
    Ok(Some(rate).filter(|rate| *rate != u64::MAX))
}

/// Reads a value that depends on the connection's state.
///
/// # Errors
/// `ENOPROTOOPT`.
pub(crate) fn live_value(
    (level, name): (i32, i32),
    listening: bool,
    info: &SocketInfo,
) -> Result<Vec<u8>, Errno> {
    match (level, name) {
        (o::SOCKET, o::SO_ERROR) => {
            let errno = info.error.map_or(0, Errno::raw_os_error);
            Ok(errno.to_ne_bytes().to_vec())
        }
        (o::SOCKET, o::SO_RCVBUF) => Ok(info.receive_buffer.to_ne_bytes().to_vec()),
        (o::SOCKET, o::SO_SNDBUF) => Ok(info.send_buffer.to_ne_bytes().to_vec()),
        (o::TCP, n::INFO) => Ok(info::tcp_info(info, listening)),
        (o::TCP, n::QUICKACK) => {
            let quick = info.tcp.as_ref().is_none_or(|tcp| tcp.quick_ack);
            Ok(u32::from(quick).to_ne_bytes().to_vec())
        }
        (o::TCP, n::MAXSEG) => {
            let mss = info.tcp.as_ref().map_or(536, |tcp| u32::from(tcp.mss));
            Ok(mss.to_ne_bytes().to_vec())
        }
        _ => Err(Errno::NOPROTOOPT),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_set_is_read_back() {
        let mut values = Values::default();
        let on = 1_u32.to_ne_bytes();
        for (level, name) in [
            (o::SOCKET, o::SO_REUSEADDR),
            (o::SOCKET, o::SO_KEEPALIVE),
            (o::SOCKET, o::SO_BROADCAST),
            (o::TCP, n::NODELAY),
            (o::TCP, n::KEEPCNT),
            (o::IP, o::IP_TTL),
        ] {
            let _ = values.set(level, name, &on, true).unwrap();
            let read = values.value(level, name, Transport::Stream, false, false).unwrap();
            assert_eq!(read.as_deref(), Some(&on[..]), "{level}/{name}");
        }
    }

    #[test]
    fn buffers_are_reported_as_they_are_in_force() {
        let mut values = Values::default();
        let set = |values: &mut Values, name, number: u32| {
            let _ = values.set(o::SOCKET, name, &number.to_ne_bytes(), true).unwrap();
            values.value(o::SOCKET, name, Transport::Stream, false, false).unwrap().unwrap()
        };
        let buffer = |bytes: u32| bytes.to_ne_bytes().to_vec();
        assert_eq!(set(&mut values, o::SO_RCVBUF, 8192), buffer(16_384));
        assert_eq!(set(&mut values, o::SO_RCVBUF, 1 << 30), buffer(RECEIVE_BUFFER_MAX));
        assert_eq!(set(&mut values, o::SO_RCVBUF, 0), buffer(RECEIVE_BUFFER_MIN));
        assert_eq!(set(&mut values, o::SO_SNDBUF, u32::MAX), buffer(SEND_BUFFER_MAX));
        assert_eq!(set(&mut values, o::SO_SNDBUF, 1), buffer(SEND_BUFFER_MIN));
    }

    #[test]
    fn a_pacing_rate_is_an_int_or_a_long() {
        let mut values = Values::default();
        let mut set = |value: &[u8]| {
            let option = values.set(o::SOCKET, o::SO_MAX_PACING_RATE, value, true).unwrap();
            let read =
                values.value(o::SOCKET, o::SO_MAX_PACING_RATE, Transport::Stream, false, true);
            (option, u64::from_ne_bytes(read.unwrap().unwrap().try_into().unwrap()))
        };
        for rate in [1_000_000, u64::MAX, 1 << 40] {
            let expected = (Some(SocketOption::MaxPacingRate(rate)), rate);
            assert_eq!(set(&rate.to_ne_bytes()), expected);
            if let Ok(rate) = u32::try_from(rate) {
                assert_eq!(set(&rate.to_ne_bytes()), expected);
            }
        }
        assert_eq!(set(&u32::MAX.to_ne_bytes()).1, u64::MAX);
    }

    #[test]
    fn a_time_to_live_fits_in_a_byte_or_is_the_default() {
        let mut values = Values::default();
        let mut ttl = |value: &[u8]| values.set(o::IP, o::IP_TTL, value, true);
        assert_eq!(ttl(&300_u32.to_ne_bytes()), Err(Errno::INVAL));
        assert_eq!(ttl(&0_u32.to_ne_bytes()), Err(Errno::INVAL));
        assert_eq!(ttl(&[]), Err(Errno::INVAL));
        assert_eq!(ttl(&[9]), Ok(Some(SocketOption::Ttl(9))));
        assert_eq!(ttl(&255_u32.to_ne_bytes()), Ok(Some(SocketOption::Ttl(255))));
        assert_eq!(ttl(&u32::MAX.to_ne_bytes()), Ok(Some(SocketOption::Ttl(inet::limits::TTL))));
    }

    #[test]
    fn short_values_and_unknown_names_are_refused() {
        let mut values = Values::default();
        assert_eq!(values.set(o::SOCKET, o::SO_REUSEADDR, &[1], true), Err(Errno::INVAL));
        assert_eq!(values.set(o::SOCKET, 9999, &[0; 4], true), Err(Errno::NOPROTOOPT));
        assert_eq!(values.set(41, 26, &[0; 4], true), Err(Errno::NOPROTOOPT));
        assert_eq!(values.set(o::TCP, n::KEEPIDLE, &[0; 4], true), Err(Errno::INVAL));
    }
}
