//! `setsockopt` and `getsockopt` by Linux's numbers.

use inet::command::{SocketInfo, SocketOption, Transport};
use inet::limits::{RECEIVE_BUFFER_MAX, RECEIVE_BUFFER_MIN, SEND_BUFFER_MAX, SEND_BUFFER_MIN};
use rustix::io::Errno;

/// `SOL_SOCKET` and its options, from Linux's `asm-generic/socket.h`.
pub(crate) mod sol {
    pub(crate) const SOCKET: i32 = 1;
    pub(crate) const IP: i32 = 0;
    pub(crate) const TCP: i32 = 6;
    pub(crate) const SO_REUSEADDR: i32 = 2;
    pub(crate) const SO_TYPE: i32 = 3;
    pub(crate) const SO_ERROR: i32 = 4;
    pub(crate) const SO_DONTROUTE: i32 = 5;
    pub(crate) const SO_BROADCAST: i32 = 6;
    pub(crate) const SO_SNDBUF: i32 = 7;
    pub(crate) const SO_RCVBUF: i32 = 8;
    pub(crate) const SO_KEEPALIVE: i32 = 9;
    pub(crate) const SO_OOBINLINE: i32 = 10;
    pub(crate) const SO_PRIORITY: i32 = 12;
    pub(crate) const SO_LINGER: i32 = 13;
    pub(crate) const SO_REUSEPORT: i32 = 15;
    pub(crate) const SO_RCVLOWAT: i32 = 18;
    pub(crate) const SO_SNDLOWAT: i32 = 19;
    pub(crate) const SO_RCVTIMEO: i32 = 20;
    pub(crate) const SO_SNDTIMEO: i32 = 21;
    pub(crate) const SO_ACCEPTCONN: i32 = 30;
    pub(crate) const SO_PROTOCOL: i32 = 38;
    pub(crate) const SO_DOMAIN: i32 = 39;
    pub(crate) const IP_TOS: i32 = 1;
    pub(crate) const IP_TTL: i32 = 2;
    pub(crate) const TCP_NODELAY: i32 = 1;
    pub(crate) const TCP_MAXSEG: i32 = 2;
    pub(crate) const TCP_CORK: i32 = 3;
    pub(crate) const TCP_KEEPIDLE: i32 = 4;
    pub(crate) const TCP_KEEPINTVL: i32 = 5;
    pub(crate) const TCP_KEEPCNT: i32 = 6;
    pub(crate) const TCP_DEFER_ACCEPT: i32 = 9;
    pub(crate) const TCP_QUICKACK: i32 = 12;
    pub(crate) const TCP_USER_TIMEOUT: i32 = 18;
}
use sol as o;

/// A socket's options as its user has set them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Values {
    /// `SO_REUSEADDR`.
    pub reuse_address: bool,
    /// `SO_REUSEPORT`.
    pub reuse_port: bool,
    broadcast: bool,
    keepalive: bool,
    keep_idle_s: u32,
    keep_interval_s: u32,
    keep_count: u32,
    nodelay: bool,
    oob_inline: bool,
    linger: Option<u32>,
    receive_buffer: u32,
    send_buffer: u32,
    receive_timeout: [u8; 16],
    send_timeout: [u8; 16],
    receive_low: u32,
    priority: u32,
    tos: u8,
    ttl: u8,
}

impl Default for Values {
    fn default() -> Self {
        Self {
            reuse_address: false,
            reuse_port: false,
            broadcast: false,
            keepalive: false,
            keep_idle_s: 7200,
            keep_interval_s: 75,
            keep_count: 9,
            nodelay: false,
            oob_inline: false,
            linger: None,
            receive_buffer: inet::limits::RECEIVE_BUFFER,
            send_buffer: inet::limits::SEND_BUFFER,
            receive_timeout: [0; 16],
            send_timeout: [0; 16],
            receive_low: 1,
            priority: 0,
            tos: 0,
            ttl: inet::limits::TTL,
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
    /// Records a value. `Some`: the worker must know of it.
    ///
    /// # Errors
    /// `EINVAL`, `ENOPROTOOPT`.
    pub(crate) fn set(
        &mut self,
        level: i32,
        name: i32,
        value: &[u8],
    ) -> Result<Option<SocketOption>, Errno> {
        match level {
            o::SOCKET => self.set_socket(name, value),
            o::TCP => self.set_tcp(name, value),
            o::IP => self.set_ip(name, value),
            _ => Err(Errno::NOPROTOOPT),
        }
    }

    fn set_socket(&mut self, name: i32, value: &[u8]) -> Result<Option<SocketOption>, Errno> {
        match name {
            o::SO_REUSEADDR => self.reuse_address = int(value)? != 0,
            o::SO_REUSEPORT => self.reuse_port = int(value)? != 0,
            o::SO_OOBINLINE => self.oob_inline = int(value)? != 0,
            o::SO_PRIORITY => self.priority = int(value)?,
            o::SO_RCVLOWAT => self.receive_low = int(value)?.max(1),
            o::SO_DONTROUTE => {}
            o::SO_RCVTIMEO => self.receive_timeout = timeout(value)?,
            o::SO_SNDTIMEO => self.send_timeout = timeout(value)?,
            o::SO_BROADCAST => {
                self.broadcast = int(value)? != 0;
                return Ok(Some(SocketOption::Broadcast(self.broadcast)));
            }
            o::SO_KEEPALIVE => {
                self.keepalive = int(value)? != 0;
                return Ok(Some(self.keepalive_option()));
            }
            // Linux doubles what is asked for, to allow for its own overhead, and reports that
            // within its limits.
            o::SO_RCVBUF => {
                let asked = int(value)?.saturating_mul(2);
                self.receive_buffer = asked.clamp(RECEIVE_BUFFER_MIN, RECEIVE_BUFFER_MAX);
                return Ok(Some(SocketOption::ReceiveBuffer(self.receive_buffer)));
            }
            o::SO_SNDBUF => {
                let asked = int(value)?.saturating_mul(2);
                self.send_buffer = asked.clamp(SEND_BUFFER_MIN, SEND_BUFFER_MAX);
                return Ok(Some(SocketOption::SendBuffer(self.send_buffer)));
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

    fn set_tcp(&mut self, name: i32, value: &[u8]) -> Result<Option<SocketOption>, Errno> {
        let number = int(value)?;
        match name {
            o::TCP_NODELAY => {
                self.nodelay = number != 0;
                return Ok(Some(SocketOption::NoDelay(self.nodelay)));
            }
            o::TCP_KEEPIDLE if (1..=32_767).contains(&number) => self.keep_idle_s = number,
            o::TCP_KEEPINTVL if (1..=32_767).contains(&number) => self.keep_interval_s = number,
            o::TCP_KEEPCNT if (1..=127).contains(&number) => self.keep_count = number,
            o::TCP_KEEPIDLE | o::TCP_KEEPINTVL | o::TCP_KEEPCNT => return Err(Errno::INVAL),
            // Hints: accepted, without effect so far.
            o::TCP_CORK | o::TCP_QUICKACK | o::TCP_DEFER_ACCEPT | o::TCP_USER_TIMEOUT => {
                return Ok(None);
            }
            _ => return Err(Errno::NOPROTOOPT),
        }
        Ok(Some(self.keepalive_option()))
    }

    fn set_ip(&mut self, name: i32, value: &[u8]) -> Result<Option<SocketOption>, Errno> {
        // One byte is as good as an int here.
        let number = match value.first() {
            Some(byte) => int(value).unwrap_or_else(|_| u32::from(*byte)),
            None => return Err(Errno::INVAL),
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
            _ => Err(Errno::NOPROTOOPT),
        }
    }

    fn keepalive_option(&self) -> SocketOption {
        SocketOption::Keepalive(self.keepalive.then(|| tcp::Keepalive {
            idle_s: self.keep_idle_s,
            interval_s: self.keep_interval_s,
            count: u8::try_from(self.keep_count).unwrap_or(u8::MAX),
        }))
    }

    /// What connections accepted by this listener inherit.
    #[must_use]
    pub(crate) fn inherited(&self) -> Vec<SocketOption> {
        vec![
            SocketOption::NoDelay(self.nodelay),
            self.keepalive_option(),
            SocketOption::ReceiveBuffer(self.receive_buffer),
            SocketOption::SendBuffer(self.send_buffer),
            SocketOption::LingerZero(self.linger == Some(0)),
            SocketOption::Tos(self.tos),
            SocketOption::Ttl(self.ttl),
        ]
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
    ) -> Result<Option<Vec<u8>>, Errno> {
        let stream = transport == Transport::Stream;
        let number = match (level, name) {
            (o::SOCKET, o::SO_REUSEADDR) => u32::from(self.reuse_address),
            (o::SOCKET, o::SO_REUSEPORT) => u32::from(self.reuse_port),
            (o::SOCKET, o::SO_BROADCAST) => u32::from(self.broadcast),
            (o::SOCKET, o::SO_KEEPALIVE) => u32::from(self.keepalive),
            (o::SOCKET, o::SO_OOBINLINE) => u32::from(self.oob_inline),
            (o::SOCKET, o::SO_PRIORITY) => self.priority,
            (o::SOCKET, o::SO_RCVLOWAT) => self.receive_low,
            (o::SOCKET, o::SO_SNDLOWAT) => 1,
            (o::SOCKET, o::SO_DONTROUTE) => 0,
            (o::SOCKET, o::SO_RCVBUF) => self.receive_buffer,
            (o::SOCKET, o::SO_SNDBUF) => self.send_buffer,
            (o::SOCKET, o::SO_TYPE) => {
                if stream {
                    1
                } else {
                    2
                }
            }
            (o::SOCKET, o::SO_DOMAIN) => 2,
            (o::SOCKET, o::SO_PROTOCOL) => {
                if stream {
                    6
                } else {
                    17
                }
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
            (o::TCP, _) if !stream => return Err(Errno::NOPROTOOPT),
            (o::TCP, o::TCP_MAXSEG) => return Ok(None),
            (o::TCP, o::TCP_NODELAY) => u32::from(self.nodelay),
            (o::TCP, o::TCP_KEEPIDLE) => self.keep_idle_s,
            (o::TCP, o::TCP_KEEPINTVL) => self.keep_interval_s,
            (o::TCP, o::TCP_KEEPCNT) => self.keep_count,
            (o::TCP, o::TCP_CORK | o::TCP_DEFER_ACCEPT | o::TCP_USER_TIMEOUT) => 0,
            (o::TCP, o::TCP_QUICKACK) => 1,
            (o::IP, o::IP_TOS) => u32::from(self.tos),
            (o::IP, o::IP_TTL) => u32::from(self.ttl),
            _ => return Err(Errno::NOPROTOOPT),
        };
        Ok(Some(number.to_ne_bytes().to_vec()))
    }
}

/// Reads a value that depends on the connection's state.
///
/// # Errors
/// `ENOPROTOOPT`.
pub(crate) fn live_value(level: i32, name: i32, info: &SocketInfo) -> Result<Vec<u8>, Errno> {
    match (level, name) {
        (o::SOCKET, o::SO_ERROR) => {
            let errno = info.error.map_or(0, Errno::raw_os_error);
            Ok(errno.to_ne_bytes().to_vec())
        }
        (o::TCP, o::TCP_MAXSEG) => {
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
            (o::TCP, o::TCP_NODELAY),
            (o::TCP, o::TCP_KEEPCNT),
            (o::IP, o::IP_TTL),
        ] {
            let _ = values.set(level, name, &on).unwrap();
            let read = values.value(level, name, Transport::Stream, false).unwrap();
            assert_eq!(read.as_deref(), Some(&on[..]), "{level}/{name}");
        }
    }

    #[test]
    fn buffers_are_reported_as_they_are_in_force() {
        let mut values = Values::default();
        let set = |values: &mut Values, name, number: u32| {
            let _ = values.set(o::SOCKET, name, &number.to_ne_bytes()).unwrap();
            values.value(o::SOCKET, name, Transport::Stream, false).unwrap().unwrap()
        };
        let buffer = |bytes: u32| bytes.to_ne_bytes().to_vec();
        assert_eq!(set(&mut values, o::SO_RCVBUF, 8192), buffer(16_384));
        assert_eq!(set(&mut values, o::SO_RCVBUF, 1 << 30), buffer(RECEIVE_BUFFER_MAX));
        assert_eq!(set(&mut values, o::SO_RCVBUF, 0), buffer(RECEIVE_BUFFER_MIN));
        assert_eq!(set(&mut values, o::SO_SNDBUF, u32::MAX), buffer(SEND_BUFFER_MAX));
        assert_eq!(set(&mut values, o::SO_SNDBUF, 1), buffer(SEND_BUFFER_MIN));
    }

    #[test]
    fn a_time_to_live_fits_in_a_byte_or_is_the_default() {
        let mut values = Values::default();
        let mut ttl = |value: &[u8]| values.set(o::IP, o::IP_TTL, value);
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
        assert_eq!(values.set(o::SOCKET, o::SO_REUSEADDR, &[1]), Err(Errno::INVAL));
        assert_eq!(values.set(o::SOCKET, 9999, &[0; 4]), Err(Errno::NOPROTOOPT));
        assert_eq!(values.set(41, 26, &[0; 4]), Err(Errno::NOPROTOOPT));
        assert_eq!(values.set(o::TCP, o::TCP_KEEPIDLE, &[0; 4]), Err(Errno::INVAL));
    }
}
