//! Options of level `IPPROTO_TCP`, with the limits and the odd ways of Linux 6.1.

use inet::command::SocketOption;
use inet::limits::RECEIVE_BUFFER_MIN;
use rustix::io::Errno;
use tcp::Algorithm;

use super::int;

/// The options, from Linux's `uapi/linux/tcp.h`.
pub(crate) mod name {
    pub(crate) const NODELAY: i32 = 1;
    pub(crate) const MAXSEG: i32 = 2;
    pub(crate) const CORK: i32 = 3;
    pub(crate) const KEEPIDLE: i32 = 4;
    pub(crate) const KEEPINTVL: i32 = 5;
    pub(crate) const KEEPCNT: i32 = 6;
    pub(crate) const SYNCNT: i32 = 7;
    pub(crate) const LINGER2: i32 = 8;
    pub(crate) const DEFER_ACCEPT: i32 = 9;
    pub(crate) const WINDOW_CLAMP: i32 = 10;
    pub(crate) const INFO: i32 = 11;
    pub(crate) const QUICKACK: i32 = 12;
    pub(crate) const CONGESTION: i32 = 13;
    pub(crate) const USER_TIMEOUT: i32 = 18;
    pub(crate) const FASTOPEN: i32 = 23;
    pub(crate) const FASTOPEN_CONNECT: i32 = 30;
    pub(crate) const NOTSENT_LOWAT: i32 = 25;
}
use name as n;

/// `TCP_CA_NAME_MAX`.
const ALGORITHM_LEN: usize = 16;
/// `TCP_MIN_MSS`.
const MSS_MIN: u32 = 88;
/// `MAX_TCP_WINDOW`, which bounds the MSS.
const MSS_MAX: u32 = 32_767;
/// `MAX_TCP_KEEPIDLE`, `MAX_TCP_KEEPINTVL`, in seconds.
const KEEP_MAX_S: u32 = 32_767;
/// `MAX_TCP_KEEPCNT`, `MAX_TCP_SYNCNT`.
const COUNT_MAX: u32 = 127;
/// `TCP_FIN_TIMEOUT_MAX` and `net.ipv4.tcp_fin_timeout`, in seconds.
const FIN_TIMEOUT_MAX_S: i32 = 120;
const FIN_TIMEOUT_S: i32 = 60;
/// `net.core.somaxconn`.
const QUEUE_MAX: u32 = 4096;

/// TCP's options as the user has set them; 0 is Linux's word for "not set".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TcpValues {
    nodelay: bool,
    cork: bool,
    pub(super) keepalive: bool,
    keep_idle_s: u32,
    keep_interval_s: u32,
    keep_count: u32,
    max_segment: u32,
    syn_count: u32,
    linger2_s: i32,
    defer_accept: u8,
    window_clamp: u32,
    pub(super) congestion: Algorithm,
    user_timeout_ms: u32,
    fast_open: u32,
    fast_open_connect: bool,
    not_sent_low: u32,
}

impl Default for TcpValues {
    fn default() -> Self {
        Self {
            nodelay: false,
            cork: false,
            keepalive: false,
            keep_idle_s: 7200,
            keep_interval_s: 75,
            keep_count: 9,
            max_segment: 0,
            syn_count: 0,
            linger2_s: 0,
            defer_accept: 0,
            window_clamp: 0,
            congestion: Algorithm::default(),
            user_timeout_ms: 0,
            fast_open: 0,
            fast_open_connect: false,
            not_sent_low: 0,
        }
    }
}

impl TcpValues {
    /// Records a value; the worker must know of what is returned. `closed`: there is no connection
    /// and no listener yet.
    ///
    /// # Errors
    /// `EINVAL`, `ENOENT` (no such algorithm), `ENOPROTOOPT`.
    pub(super) fn set(
        &mut self,
        name: i32,
        value: &[u8],
        closed: bool,
    ) -> Result<SocketOption, Errno> {
        if name == n::CONGESTION {
            self.congestion = algorithm(value)?;
            return Ok(SocketOption::Congestion(self.congestion));
        }
        let number = int(value)?;
        match name {
            n::NODELAY => {
                self.nodelay = number != 0;
                Ok(SocketOption::NoDelay(self.nodelay))
            }
            n::CORK => {
                self.cork = number != 0;
                Ok(SocketOption::Cork(self.cork))
            }
            n::QUICKACK => Ok(SocketOption::QuickAck(number != 0)),
            n::NOTSENT_LOWAT => {
                self.not_sent_low = number;
                Ok(SocketOption::NotSentLow(if number == 0 { u32::MAX } else { number }))
            }
            n::MAXSEG | n::WINDOW_CLAMP => self.set_size(name, number, closed),
            n::KEEPIDLE | n::KEEPINTVL | n::KEEPCNT => self.set_keepalive_times(name, number),
            _ => self.set_patience(name, number, closed),
        }
    }

    fn set_size(&mut self, name: i32, number: u32, closed: bool) -> Result<SocketOption, Errno> {
        if name == n::MAXSEG {
            if number != 0 && !(MSS_MIN..=MSS_MAX).contains(&number) {
                return Err(Errno::INVAL);
            }
            self.max_segment = number;
            let mss = u16::try_from(number).ok().filter(|mss| *mss != 0);
            return Ok(SocketOption::MaxSegment(mss.unwrap_or(u16::MAX)));
        }
        if number == 0 && !closed {
            return Err(Errno::INVAL);
        }
        self.window_clamp = if number == 0 { 0 } else { number.max(RECEIVE_BUFFER_MIN / 2) };
        let clamp = if number == 0 { u32::MAX } else { self.window_clamp };
        Ok(SocketOption::WindowClamp(clamp))
    }

    fn set_keepalive_times(&mut self, name: i32, number: u32) -> Result<SocketOption, Errno> {
        let max = if name == n::KEEPCNT { COUNT_MAX } else { KEEP_MAX_S };
        if !(1..=max).contains(&number) {
            return Err(Errno::INVAL);
        }
        match name {
            n::KEEPIDLE => self.keep_idle_s = number,
            n::KEEPINTVL => self.keep_interval_s = number,
            _ => self.keep_count = number,
        }
        Ok(self.keepalive_option())
    }

    /// How long things are tried.
    fn set_patience(
        &mut self,
        name: i32,
        number: u32,
        closed: bool,
    ) -> Result<SocketOption, Errno> {
        let signed = number.cast_signed();
        match name {
            n::SYNCNT if (1..=COUNT_MAX).contains(&number) => {
                self.syn_count = number;
                Ok(SocketOption::SynCount(u8::try_from(number).unwrap_or(u8::MAX)))
            }
            n::LINGER2 => {
                self.linger2_s = signed.clamp(-1, FIN_TIMEOUT_MAX_S);
                Ok(SocketOption::Linger2(self.linger2()))
            }
            n::DEFER_ACCEPT => {
                self.defer_accept = if signed > 0 { retries_of(number) } else { 0 };
                Ok(SocketOption::DeferAccept(self.defer_accept))
            }
            n::USER_TIMEOUT if signed >= 0 => {
                self.user_timeout_ms = number;
                Ok(SocketOption::UserTimeout(number))
            }
            n::FASTOPEN if signed >= 0 && closed => {
                self.fast_open = number.min(QUEUE_MAX);
                Ok(SocketOption::FastOpen(self.fast_open))
            }
            n::FASTOPEN_CONNECT if number <= 1 && closed => {
                self.fast_open_connect = number != 0;
                Ok(SocketOption::FastOpenConnect(self.fast_open_connect))
            }
            n::SYNCNT | n::USER_TIMEOUT | n::FASTOPEN | n::FASTOPEN_CONNECT => Err(Errno::INVAL),
            _ => Err(Errno::NOPROTOOPT),
        }
    }

    /// How long FIN-WAIT-2 lasts, in seconds; `None`: not at all.
    fn linger2(&self) -> Option<u32> {
        let seconds = if self.linger2_s == 0 { FIN_TIMEOUT_S } else { self.linger2_s };
        u32::try_from(seconds).ok()
    }

    pub(super) fn keepalive_option(&self) -> SocketOption {
        SocketOption::Keepalive(self.keepalive.then(|| tcp::Keepalive {
            idle_s: self.keep_idle_s,
            interval_s: self.keep_interval_s,
            count: u8::try_from(self.keep_count).unwrap_or(u8::MAX),
        }))
    }

    /// Those of a socket whose user has set nothing, with the host's algorithm.
    pub(super) fn of_host(congestion: Algorithm) -> Self {
        Self { congestion, ..Self::default() }
    }

    /// What connections accepted by this listener inherit.
    pub(super) fn inherited(&self) -> Vec<SocketOption> {
        let low = if self.not_sent_low == 0 { u32::MAX } else { self.not_sent_low };
        let mut options = vec![
            SocketOption::NoDelay(self.nodelay),
            SocketOption::Congestion(self.congestion),
            self.keepalive_option(),
        ];
        let mut add = |is_set: bool, option| {
            if is_set {
                options.push(option);
            }
        };
        let mss = u16::try_from(self.max_segment).unwrap_or(u16::MAX);
        add(self.max_segment > 0, SocketOption::MaxSegment(mss));
        add(self.cork, SocketOption::Cork(true));
        add(self.window_clamp > 0, SocketOption::WindowClamp(self.window_clamp));
        add(self.not_sent_low > 0, SocketOption::NotSentLow(low));
        add(self.linger2_s != 0, SocketOption::Linger2(self.linger2()));
        add(self.defer_accept > 0, SocketOption::DeferAccept(self.defer_accept));
        add(self.user_timeout_ms > 0, SocketOption::UserTimeout(self.user_timeout_ms));
        add(self.fast_open > 0, SocketOption::FastOpen(self.fast_open));
        options
    }

    /// A value that does not depend on the connection's state. `None`: it does.
    ///
    /// # Errors
    /// `ENOPROTOOPT`.
    pub(super) fn value(&self, name: i32, connected: bool) -> Result<Option<Vec<u8>>, Errno> {
        let number = match name {
            n::NODELAY => u32::from(self.nodelay),
            n::CORK => u32::from(self.cork),
            n::MAXSEG if !connected && self.max_segment > 0 => self.max_segment,
            n::INFO | n::MAXSEG | n::QUICKACK => return Ok(None),
            n::KEEPIDLE => self.keep_idle_s,
            n::KEEPINTVL => self.keep_interval_s,
            n::KEEPCNT => self.keep_count,
            n::SYNCNT if self.syn_count == 0 => u32::from(tcp::limits::SYN_RETRIES_MAX),
            n::SYNCNT => self.syn_count,
            n::LINGER2 if self.linger2_s == 0 => FIN_TIMEOUT_S.cast_unsigned(),
            n::LINGER2 => self.linger2_s.cast_unsigned(),
            n::DEFER_ACCEPT => seconds_of(self.defer_accept),
            n::WINDOW_CLAMP => self.window_clamp,
            n::USER_TIMEOUT => self.user_timeout_ms,
            n::FASTOPEN => self.fast_open,
            n::FASTOPEN_CONNECT => u32::from(self.fast_open_connect),
            n::NOTSENT_LOWAT => self.not_sent_low,
            n::CONGESTION => {
                let mut bytes = self.congestion.name().as_bytes().to_vec();
                bytes.resize(ALGORITHM_LEN, 0);
                return Ok(Some(bytes));
            }
            _ => return Err(Errno::NOPROTOOPT),
        };
        Ok(Some(number.to_ne_bytes().to_vec()))
    }
}

/// The algorithm of a name, which may or may not end with a zero byte.
fn algorithm(value: &[u8]) -> Result<Algorithm, Errno> {
    let name = value.split(|byte| *byte == 0).next().unwrap_or_default();
    if name.is_empty() {
        return Err(Errno::INVAL);
    }
    let name = core::str::from_utf8(name).map_err(|_| Errno::NOENT)?;
    Algorithm::from_name(name).ok_or(Errno::NOENT)
}

/// Longest time between two SYN-ACKs, in seconds (`TCP_RTO_MAX`).
const RTO_MAX_S: u32 = 120;

/// So many SYN-ACKs, sent after 1, 2, 4 … seconds, take at least this long (`secs_to_retrans`).
fn retries_of(seconds: u32) -> u8 {
    let (mut retries, mut timeout, mut passed) = (1_u8, 1_u32, 1_u32);
    while seconds > passed && retries < u8::MAX {
        retries += 1;
        timeout = (timeout * 2).min(RTO_MAX_S);
        passed += timeout;
    }
    retries
}

/// The time that so many SYN-ACKs take (`retrans_to_secs`).
fn seconds_of(retries: u8) -> u32 {
    let (mut timeout, mut passed) = (1_u32, u32::from(retries > 0));
    for _ in 1..retries {
        timeout = (timeout * 2).min(RTO_MAX_S);
        passed += timeout;
    }
    passed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deferral_is_rounded_up_to_whole_retransmissions() {
        for (asked, told) in [(0, 0), (1, 1), (2, 3), (5, 7), (10, 15), (200, 247)] {
            let retries = if asked > 0 { retries_of(asked) } else { 0 };
            assert_eq!(seconds_of(retries), told, "{asked} s");
        }
    }

    #[test]
    fn algorithms_have_names_and_unknown_ones_are_enoent() {
        let mut values = TcpValues::default();
        assert!(values.set(n::CONGESTION, b"reno", true).is_ok());
        let name = values.value(n::CONGESTION, false).unwrap().unwrap();
        assert_eq!(name, *b"reno\0\0\0\0\0\0\0\0\0\0\0\0");
        assert!(values.set(n::CONGESTION, b"cubic\0\0\0", true).is_ok());
        assert_eq!(values.set(n::CONGESTION, b"warp", true), Err(Errno::NOENT));
        assert_eq!(values.set(n::CONGESTION, b"", true), Err(Errno::INVAL));
    }

    #[test]
    fn limits_are_linux_s() {
        let mut values = TcpValues::default();
        let mut set =
            |name, number: i32, closed| values.set(name, &number.to_ne_bytes(), closed).is_ok();
        assert!(!set(n::MAXSEG, 87, true) && set(n::MAXSEG, 88, true));
        assert!(set(n::MAXSEG, 32_767, true) && !set(n::MAXSEG, 32_768, true));
        assert!(!set(n::SYNCNT, 0, true) && set(n::SYNCNT, 127, true));
        assert!(!set(n::KEEPCNT, 128, true) && !set(n::KEEPIDLE, 32_768, true));
        assert!(!set(n::USER_TIMEOUT, -1, true) && set(n::LINGER2, -5, true));
        assert!(set(n::WINDOW_CLAMP, 0, true) && !set(n::WINDOW_CLAMP, 0, false));
        assert!(!set(n::FASTOPEN, 5, false));
    }
}
