//! Socket options: the library keeps what is about waiting, the daemon the rest.

use std::io;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use proto::message::{Family, Transport};
use proto::{Reply, Request};
use rustix::io::Errno;
use shm::OwnWays;

use crate::socket::{Socket, mark};

// Linux's numbers, asm-generic.
const SOL_SOCKET: i32 = 1;
const SO_TYPE: i32 = 3;
const SO_ERROR: i32 = 4;
const SO_BROADCAST: i32 = 6;
const SO_KEEPALIVE: i32 = 9;
const SO_OOBINLINE: i32 = 10;
const SO_LINGER: i32 = 13;
const SO_RCVTIMEO_OLD: i32 = 20;
const SO_SNDTIMEO_OLD: i32 = 21;
const SO_RCVTIMEO_NEW: i32 = 66;
const SO_SNDTIMEO_NEW: i32 = 67;
const SO_BINDTODEVICE: i32 = 25;
/// Of io-pkt; Linux has none.
const SO_SETFIB: i32 = 0x100a;
const SO_BINDTOIFINDEX: i32 = 62;
const SO_TIMESTAMP: i32 = 29;
const SO_TIMESTAMPNS: i32 = 35;
const IPPROTO_IP: i32 = 0;
const IP_TOS: i32 = 1;
const ECN_MASK: u8 = 3;
const IP_PKTINFO: i32 = 8;
const IP_RECVTTL: i32 = 12;
const IP_UNICAST_IF: i32 = 50;
const IP_RECVTOS: i32 = 13;
const IPPROTO_TCP: i32 = 6;
const TCP_NODELAY: i32 = 1;
const TCP_INFO: i32 = 11;
const IPPROTO_IPV6: i32 = 41;
const IPV6_RECVERR: i32 = 25;
const IPV6_RECVPKTINFO: i32 = 49;
const IPV6_RECVHOPLIMIT: i32 = 51;
/// RFC 2292's of the same meaning, which tracepath asks for; it is told as RFC 3542's.
const IPV6_2292HOPLIMIT: i32 = 8;
const IPV6_RECVTCLASS: i32 = 66;
const IPV6_UNICAST_IF: i32 = 76;
const SOCK_STREAM: i32 = 1;
const SOCK_DGRAM: i32 = 2;
const SOCK_RAW: i32 = 3;

const MICROS: i64 = 1_000_000;
const MILLIS: i64 = 1000;

/// A negative timeout: Linux does not wait at all, and reports none.
const AT_ONCE: u32 = u32::MAX;

impl Socket {
    /// `setsockopt()` with Linux's numbers and the bytes of its values.
    ///
    /// # Errors
    /// `ENOPROTOOPT`, `EINVAL`, `EDOM`.
    pub fn set_option(&self, level: i32, name: i32, value: &[u8]) -> io::Result<()> {
        if level == SOL_SOCKET
            && let Some(timeout) = self.timeout_word(name)
        {
            timeout.store(parse_timeval(value)?, Ordering::Relaxed);
            return Ok(());
        }
        let known = self.set_wish(level, name, value);
        if let Some(done) = known.or_else(|| self.set_segments(level, name, value)) {
            return done;
        }
        let mut value = value.to_vec();
        if (level, name) == (IPPROTO_IP, IP_TOS)
            && self.transport() == Transport::Stream
            && let Some(tos) = value.first_mut()
        {
            // The ECN bits are TCP's own.
            *tos &= !ECN_MASK;
        }
        let request = Request::SetOption { socket: self.handle, level, name, value: value.clone() };
        if self.is_never_refused(level, name, &value) {
            self.channel.tell(request)?;
            if (level, name) == (IPPROTO_TCP, TCP_NODELAY) {
                self.pushes.store(true, Ordering::Release);
            }
            return Ok(());
        }
        self.done(request)?;
        let ways = match (level, name) {
            (SOL_SOCKET, SO_BINDTODEVICE | SO_BINDTOIFINDEX) => Some(OwnWays::Device),
            (SOL_SOCKET, SO_SETFIB) => Some(OwnWays::Table),
            (IPPROTO_IP, IP_UNICAST_IF) => Some(OwnWays::Unicast),
            (IPPROTO_IPV6, IPV6_UNICAST_IF) => Some(OwnWays::Unicast6),
            _ => None,
        };
        if let Some(ways) = ways.filter(|_| !self.is_stream()) {
            self.memory.set_own_ways(ways, value.iter().any(|byte| *byte != 0));
        }
        if (level, name) == (IPPROTO_IPV6, IPV6_RECVERR) {
            self.wants_reports.store(value.iter().any(|byte| *byte != 0), Ordering::Relaxed);
        }
        if (level, name) == (SOL_SOCKET, SO_OOBINLINE) {
            self.set_urgent_inline(value.iter().any(|byte| *byte != 0));
        }
        if (level, name) == (SOL_SOCKET, SO_BROADCAST) {
            let is_on = value.iter().any(|byte| *byte != 0);
            self.choose_marks(mark::BROADCAST, if is_on { mark::BROADCAST } else { 0 });
        }
        if (level, name) == (SOL_SOCKET, SO_LINGER) {
            self.linger_s.store(parse_linger(&value), Ordering::Relaxed);
        }
        Ok(())
    }

    /// Switches that any TCP socket takes: servers set them on each connection, which then does not wait for the daemon.
    fn is_never_refused(&self, level: i32, name: i32, value: &[u8]) -> bool {
        self.is_stream()
            && !self.is_of_module()
            && value.len() >= size_of::<i32>()
            && matches!((level, name), (IPPROTO_TCP, TCP_NODELAY) | (SOL_SOCKET, SO_KEEPALIVE))
    }

    /// `TCP_NODELAY` pushes what waits when it is set. Text that is to wait is posted when the worker has heard of it, or it
    /// would be pushed, too: what is asked of a socket is answered in order.
    pub(crate) fn let_push_pass(&self) {
        if !self.pushes.load(Ordering::Relaxed) || !self.pushes.swap(false, Ordering::Acquire) {
            return;
        }
        let request = Request::Option { socket: self.handle, level: IPPROTO_TCP, name: TCP_INFO };
        if self.channel.call_unless_within(request).is_none() {
            self.pushes.store(true, Ordering::Release);
        }
    }

    /// `getsockopt()` with Linux's numbers and the bytes of its values.
    ///
    /// # Errors
    /// `ENOPROTOOPT`.
    pub fn option(&self, level: i32, name: i32) -> io::Result<Vec<u8>> {
        if level == SOL_SOCKET {
            if let Some(timeout) = self.timeout_word(name) {
                return Ok(emit_timeval(timeout.load(Ordering::Relaxed)));
            }
            match name {
                SO_TYPE => return Ok(self.kind().to_ne_bytes().to_vec()),
                SO_ERROR => return Ok(self.error_option().to_ne_bytes().to_vec()),
                _ => {}
            }
        }
        let known = self.wish(level, name).map(i32::from);
        if let Some(known) = known.or_else(|| self.segments_option(level, name)) {
            return Ok(known.to_ne_bytes().to_vec());
        }
        self.ask(level, name)
    }

    /// Which ancillary data [`crate::Received::ancillary`] is to be told to the program.
    #[must_use]
    pub fn wishes(&self) -> Wishes {
        let marks = self.memory.marks();
        let has = |bit| marks & bit != 0;
        Wishes {
            packet_info: has(mark::PKTINFO),
            ttl: has(mark::RECVTTL),
            tos: has(mark::RECVTOS),
            timestamp: has(mark::TIMESTAMP),
            nanoseconds: has(mark::NANOSECONDS),
            inet6: has(mark::INET6),
        }
    }

    /// An option that only says which ancillary data is wished for. `None`: it is another one.
    fn set_wish(&self, level: i32, name: i32, value: &[u8]) -> Option<io::Result<()>> {
        let (among, bits) = self.wish_bits(level, name)?;
        if level == SOL_SOCKET && value.len() < size_of::<i32>() {
            return Some(Err(Errno::INVAL.into()));
        }
        let on = value.iter().take(4).any(|byte| *byte != 0);
        self.choose_marks(among, if on { bits } else { 0 });
        Some(Ok(()))
    }

    fn wish(&self, level: i32, name: i32) -> Option<bool> {
        let (among, bits) = self.wish_bits(level, name)?;
        Some(self.memory.marks() & among == bits)
    }

    /// Of some marks the chosen ones are set, the others are not. One that stays is there at every moment, for
    /// other threads.
    pub(crate) fn choose_marks(&self, among: u32, chosen: u32) {
        self.memory.add_marks(chosen);
        self.memory.remove_marks(among & !chosen);
    }

    /// The marks of a wish, and among which they are: each of the times takes the place of the other.
    fn wish_bits(&self, level: i32, name: i32) -> Option<(u32, u32)> {
        let inet6 = self.family() == Family::Inet6;
        let bits = match (level, name) {
            (IPPROTO_IP, IP_PKTINFO) => Some(mark::PKTINFO),
            (IPPROTO_IP, IP_RECVTTL) => Some(mark::RECVTTL),
            (IPPROTO_IP, IP_RECVTOS) => Some(mark::RECVTOS),
            (IPPROTO_IPV6, IPV6_RECVPKTINFO) if inet6 => Some(mark::PKTINFO),
            (IPPROTO_IPV6, IPV6_RECVHOPLIMIT | IPV6_2292HOPLIMIT) if inet6 => Some(mark::RECVTTL),
            (IPPROTO_IPV6, IPV6_RECVTCLASS) if inet6 => Some(mark::RECVTOS),
            (SOL_SOCKET, SO_TIMESTAMP) => Some(mark::TIMESTAMP),
            (SOL_SOCKET, SO_TIMESTAMPNS) => Some(mark::TIMESTAMP | mark::NANOSECONDS),
            _ => None,
        }?;
        let times = mark::TIMESTAMP | mark::NANOSECONDS;
        Some((if level == SOL_SOCKET { times } else { bits }, bits))
    }

    /// Takes over what another process has set.
    pub(crate) fn learn_linger(&self) {
        if let Ok(value) = self.ask(SOL_SOCKET, SO_LINGER) {
            self.linger_s.store(parse_linger(&value), Ordering::Relaxed);
        }
    }

    /// Reads and clears the daemon's record of the pending error.
    pub(crate) fn daemon_error(&self) -> io::Result<Vec<u8>> {
        self.ask(SOL_SOCKET, SO_ERROR)
    }

    fn ask(&self, level: i32, name: i32) -> io::Result<Vec<u8>> {
        match self.channel.call(Request::Option { socket: self.handle, level, name })?.0 {
            Reply::Value(value) => Ok(value),
            _ => Err(Errno::PROTO.into()),
        }
    }

    /// `ioctl()` of a protocol module's socket: what comes back, at most `room` bytes.
    ///
    /// # Errors
    /// `ENOTTY`: there is no such request; `EINVAL`: too many bytes; the module's; `ECONNRESET`: the daemon is gone.
    pub fn ioctl(&self, request: u32, data: &[u8], room: u32) -> io::Result<Vec<u8>> {
        let data = data.to_vec();
        let request = Request::Ioctl { socket: self.handle, request, data, room };
        match self.channel.call(request)?.0 {
            Reply::Value(value) => Ok(value),
            _ => Err(Errno::PROTO.into()),
        }
    }

    fn error_option(&self) -> i32 {
        // A call that reported the error before has cleared both; here it is the same.
        let seen = self.memory.take_error();
        match (self.daemon_error(), seen) {
            (_, Some(errno)) => self.error_after_end(errno),
            (Ok(value), None) => {
                self.error_after_end(value.try_into().map_or(0, i32::from_ne_bytes))
            }
            (Err(_), None) => Errno::CONNRESET.raw_os_error(),
        }
    }

    fn kind(&self) -> i32 {
        match self.transport() {
            Transport::Stream => SOCK_STREAM,
            Transport::Datagram => SOCK_DGRAM,
            Transport::Raw => SOCK_RAW,
        }
    }

    fn timeout_word(&self, name: i32) -> Option<&AtomicU32> {
        match name {
            SO_RCVTIMEO_OLD | SO_RCVTIMEO_NEW => Some(self.memory.receive_timeout_ms()),
            SO_SNDTIMEO_OLD | SO_SNDTIMEO_NEW => Some(self.memory.send_timeout_ms()),
            _ => None,
        }
    }
}

/// The ancillary data a program wants to receive.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "five options and a family")]
pub struct Wishes {
    /// `IP_PKTINFO`, `IPV6_RECVPKTINFO`.
    pub packet_info: bool,
    /// `IP_RECVTTL`.
    pub ttl: bool,
    /// `IP_RECVTOS`.
    pub tos: bool,
    /// `SO_TIMESTAMP` or `SO_TIMESTAMPNS`.
    pub timestamp: bool,
    /// The latter.
    pub nanoseconds: bool,
    /// They are told as `IPV6_PKTINFO`, `IPV6_HOPLIMIT`, `IPV6_TCLASS`.
    pub inet6: bool,
}

/// A timeout in milliseconds; 0 is none.
pub(crate) fn timeout(word: &AtomicU32) -> Option<Duration> {
    match word.load(Ordering::Relaxed) {
        0 => None,
        AT_ONCE => Some(Duration::ZERO),
        millis => Some(Duration::from_millis(millis.into())),
    }
}

/// The seconds of `struct linger`, if it is switched on.
fn parse_linger(value: &[u8]) -> u32 {
    let word = |bytes: Option<&[u8; 4]>| bytes.map_or(0, |bytes| i32::from_ne_bytes(*bytes));
    match value.split_first_chunk::<4>() {
        Some((on, rest)) if *on != [0; 4] => u32::try_from(word(rest.first_chunk())).unwrap_or(0),
        _ => 0,
    }
}

/// `struct timeval` of 64-bit machines as milliseconds: Linux, too, rounds up to its clock's ticks.
fn parse_timeval(value: &[u8]) -> io::Result<u32> {
    let (seconds, rest) = value.split_first_chunk::<8>().ok_or(Errno::INVAL)?;
    let micros = rest.first_chunk::<8>().ok_or(Errno::INVAL)?;
    let (seconds, micros) = (i64::from_ne_bytes(*seconds), i64::from_ne_bytes(*micros));
    if !(0..MICROS).contains(&micros) {
        return Err(Errno::DOM.into());
    }
    if seconds < 0 {
        return Ok(AT_ONCE);
    }
    let total = seconds.saturating_mul(MILLIS).saturating_add(micros.saturating_add(999) / 1000);
    // Longer than seven weeks is without end.
    Ok(u32::try_from(total).ok().filter(|millis| *millis != AT_ONCE).unwrap_or(0))
}

fn emit_timeval(millis: u32) -> Vec<u8> {
    let millis = if millis == AT_ONCE { 0 } else { i64::from(millis) };
    let mut value = (millis / MILLIS).to_ne_bytes().to_vec();
    value.extend((millis % MILLIS).saturating_mul(1000).to_ne_bytes());
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_linger_that_is_off_has_no_time() {
        let linger = |on: i32, seconds: i32| {
            parse_linger(&[on.to_ne_bytes(), seconds.to_ne_bytes()].concat())
        };
        assert_eq!(linger(1, 5), 5);
        assert_eq!((linger(0, 5), linger(1, -1), parse_linger(&[1])), (0, 0, 0));
    }

    #[test]
    fn timeouts_are_timevals() {
        let mut value = 3_i64.to_ne_bytes().to_vec();
        value.extend(500_000_i64.to_ne_bytes());
        let millis = parse_timeval(&value).expect("a good timeval");
        assert_eq!(millis, 3_500);
        assert_eq!(emit_timeval(millis), value);
        assert_eq!(parse_timeval(&value[..12]).map_err(|e| e.raw_os_error()), Err(Some(22)));
    }
}
