//! Options of sockets. Those of a stream are on their way to the engine, whose block remembers them;
//! a socket that has none yet, and a listener for those to come, keep them as they were set.

use core::time::Duration;

use tcp::Tcb;
use types::Instant;

use crate::command::SocketOption;
use crate::device::Device;
use crate::limits::{
    RECEIVE_BUFFER, RECEIVE_BUFFER_MAX, RECEIVE_BUFFER_MIN, SEND_BUFFER, SEND_BUFFER_MAX,
    SEND_BUFFER_MIN, TTL,
};
use crate::packet_out::Cut;
use crate::socket::Stream;

/// What a socket does with datagrams that are too long, in the order of Linux's `IP_PMTUDISC_*`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MtuDiscover {
    /// Cuts them, and lets routers do so.
    Dont,
    /// Cuts them; those that fit are not to be cut on their way.
    #[default]
    Want,
    /// Refuses them.
    Do,
    /// Refuses them, whatever routers have said of the path: the link alone counts.
    Probe,
    /// As `Probe`, but routers may cut.
    Interface,
    /// Cuts for the link alone, and lets routers cut.
    Omit,
}

impl MtuDiscover {
    /// By Linux's number.
    #[must_use]
    pub const fn from_number(number: u32) -> Option<Self> {
        Some(match number {
            0 => Self::Dont,
            1 => Self::Want,
            2 => Self::Do,
            3 => Self::Probe,
            4 => Self::Interface,
            5 => Self::Omit,
            _ => return None,
        })
    }

    /// Linux's number.
    #[must_use]
    pub const fn number(self) -> u32 {
        self as u32
    }
}

/// Options of a socket.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Options {
    /// `SO_RCVBUF`, or what it has grown to.
    pub receive_buffer: u32,
    /// `SO_SNDBUF`, or what it has grown to.
    pub send_buffer: u32,
    /// The user has set `SO_RCVBUF`: it stays.
    pub receive_fixed: bool,
    /// The user has set `SO_SNDBUF`: it stays.
    pub send_fixed: bool,
    /// `SO_LINGER` with time 0.
    pub linger_zero: bool,
    /// `IP_TOS`.
    pub tos: u8,
    /// `IP_TTL`.
    pub ttl: u8,
    /// `SO_BROADCAST`.
    pub broadcast: bool,
    /// `IPV6_V6ONLY`.
    pub v6_only: bool,
    /// `IP_MTU_DISCOVER`, `IPV6_MTU_DISCOVER`.
    pub mtu_discover: MtuDiscover,
    /// `SO_BINDTODEVICE`, `SO_SETFIB`.
    pub device: Device,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            receive_buffer: RECEIVE_BUFFER,
            send_buffer: SEND_BUFFER,
            receive_fixed: false,
            send_fixed: false,
            linger_zero: false,
            tos: 0,
            ttl: TTL,
            broadcast: false,
            v6_only: false,
            mtu_discover: MtuDiscover::default(),
            device: Device::ANY,
        }
    }
}

impl MtuDiscover {
    /// What may become of datagrams that are too long.
    pub(crate) const fn cut(self) -> Cut {
        match self {
            Self::Dont | Self::Omit => Cut { here: true, on_the_way: true },
            Self::Want => Cut::DEFAULT,
            Self::Do | Self::Probe => Cut { here: false, on_the_way: false },
            Self::Interface => Cut { here: false, on_the_way: true },
        }
    }

    /// What routers have said of the path counts, not the link alone.
    pub(crate) const fn minds_the_path(self) -> bool {
        matches!(self, Self::Dont | Self::Want | Self::Do)
    }
}

impl Options {
    /// Records an option, within its limits.
    pub(crate) fn set(&mut self, option: SocketOption) {
        match option {
            SocketOption::ReceiveBuffer(bytes) => {
                self.receive_fixed = true;
                self.receive_buffer = bytes.clamp(RECEIVE_BUFFER_MIN, RECEIVE_BUFFER_MAX);
            }
            SocketOption::SendBuffer(bytes) => {
                self.send_fixed = true;
                self.send_buffer = bytes.clamp(SEND_BUFFER_MIN, SEND_BUFFER_MAX);
            }
            SocketOption::LingerZero(on) => self.linger_zero = on,
            SocketOption::Tos(tos) => self.tos = tos,
            SocketOption::Ttl(ttl) => self.ttl = ttl.max(1),
            SocketOption::Broadcast(on) => self.broadcast = on,
            SocketOption::V6Only(on) => self.v6_only = on,
            SocketOption::MtuDiscover(how) => self.mtu_discover = how,
            SocketOption::Device(device) => self.device = device,
            SocketOption::NoDelay(_)
            | SocketOption::Congestion(_)
            | SocketOption::MaxPacingRate(_)
            | SocketOption::UserTimeout(_)
            | SocketOption::SynCount(_)
            | SocketOption::Linger2(_)
            | SocketOption::DeferAccept(_)
            | SocketOption::FastOpen(_)
            | SocketOption::FastOpenConnect(_)
            | SocketOption::Keepalive(_)
            | SocketOption::Cork(_)
            | SocketOption::QuickAck(_)
            | SocketOption::WindowClamp(_)
            | SocketOption::NotSentLow(_)
            | SocketOption::ReceiveErrors { .. }
            | SocketOption::HeaderIncluded(_)
            | SocketOption::IcmpFilter(_)
            | SocketOption::RawChecksum(_)
            | SocketOption::MaxSegment(_) => {}
        }
    }
}

impl Options {
    /// The send buffer grows with cwnd, unless the user has set it. `true`: it did.
    pub(crate) fn grow_send_buffer(&mut self, tcb: &Tcb) -> bool {
        let wanted =
            if self.send_fixed { 0 } else { tcb.send_buffer_wanted().min(SEND_BUFFER_MAX) };
        let grows = wanted > self.send_buffer;
        if grows {
            self.send_buffer = wanted;
        }
        grows
    }

    /// The receive buffer grows with what the user reads, unless he has set it.
    pub(crate) fn grow_receive_buffer(&mut self, stream: &mut Stream, now: Instant) {
        if self.receive_fixed || self.receive_buffer >= RECEIVE_BUFFER_MAX {
            return;
        }
        let unread = stream.recv.unread();
        let wanted = stream.tcb.tune_receive(self.receive_buffer, unread, now);
        if wanted > self.receive_buffer {
            self.receive_buffer = wanted.min(RECEIVE_BUFFER_MAX);
            stream.recv.set_limit(self.receive_buffer);
        }
    }
}

/// What a listener's connections inherit.
#[derive(Clone, Debug, Default)]
pub(crate) struct Inherited {
    /// The socket's part.
    pub socket: Options,
    /// The engine's part.
    pub preset: Preset,
}

impl Inherited {
    /// Records an option.
    pub(crate) fn set(&mut self, option: SocketOption) {
        self.socket.set(option);
        self.preset.record(option);
    }
}

/// Options that wait for a connection.
#[derive(Clone, Debug, Default)]
pub(crate) struct Preset {
    options: Vec<SocketOption>,
}

impl Preset {
    /// Records an option; the last of each kind counts.
    pub(crate) fn record(&mut self, option: SocketOption) {
        let kind = core::mem::discriminant(&option);
        self.options.retain(|old| core::mem::discriminant(old) != kind);
        self.options.push(option);
    }

    /// What has to be known before the SYN.
    pub(crate) fn configure(&self, config: &mut tcp::Config) {
        for option in &self.options {
            match option {
                SocketOption::MaxSegment(mss) => config.mss = config.mss.min(*mss),
                SocketOption::Congestion(algorithm) => config.congestion = *algorithm,
                SocketOption::DeferAccept(retries) => config.defer_accept = *retries,
                SocketOption::FastOpen(limit) => config.fast_open = *limit > 0,
                _ => {}
            }
        }
    }

    /// `TCP_FASTOPEN`.
    #[must_use]
    pub(crate) fn fast_open_limit(&self) -> u32 {
        let limit = |option: &SocketOption| match option {
            SocketOption::FastOpen(limit) => Some(*limit),
            _ => None,
        };
        self.options.iter().find_map(limit).unwrap_or(0)
    }

    /// `TCP_FASTOPEN_CONNECT`.
    #[must_use]
    pub(crate) fn fast_open_connect(&self) -> bool {
        self.options.contains(&SocketOption::FastOpenConnect(true))
    }

    /// Sets all options of a new connection.
    pub(crate) fn apply(&self, tcb: &mut Tcb, now: Instant) {
        for option in &self.options {
            apply(tcb, *option, now);
        }
    }
}

/// Sets an option of a connection. Those that are the socket's own business are none of the engine's.
pub(crate) fn apply(tcb: &mut Tcb, option: SocketOption, now: Instant) {
    match option {
        SocketOption::NoDelay(on) => tcb.set_nodelay(on),
        SocketOption::Keepalive(keepalive) => tcb.set_keepalive(keepalive, now),
        SocketOption::Cork(on) => tcb.set_cork(on),
        SocketOption::QuickAck(on) => tcb.set_quick_ack(on),
        SocketOption::WindowClamp(len) => tcb.set_window_clamp(len),
        SocketOption::NotSentLow(len) => tcb.set_not_sent_low(len),
        SocketOption::Congestion(algorithm) if algorithm != tcb.congestion() => {
            tcb.set_congestion(algorithm);
        }
        SocketOption::MaxPacingRate(rate) => tcb.set_max_pacing_rate(rate),
        SocketOption::UserTimeout(ms) => {
            tcb.set_user_timeout(Duration::from_millis(u64::from(ms)));
        }
        SocketOption::SynCount(count) => tcb.set_syn_retries(count),
        SocketOption::Linger2(seconds) => tcb.set_fin_wait_2(seconds),
        SocketOption::Congestion(_)
        | SocketOption::MaxSegment(_)
        | SocketOption::DeferAccept(_)
        | SocketOption::FastOpen(_)
        | SocketOption::FastOpenConnect(_)
        | SocketOption::ReceiveBuffer(_)
        | SocketOption::SendBuffer(_)
        | SocketOption::LingerZero(_)
        | SocketOption::Tos(_)
        | SocketOption::Ttl(_)
        | SocketOption::Broadcast(_)
        | SocketOption::V6Only(_)
        | SocketOption::ReceiveErrors { .. }
        | SocketOption::Device(_)
        | SocketOption::HeaderIncluded(_)
        | SocketOption::IcmpFilter(_)
        | SocketOption::RawChecksum(_)
        | SocketOption::MtuDiscover(_) => {}
    }
}
