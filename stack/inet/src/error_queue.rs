//! What becomes of what a socket has sent, told one by one (`IP_RECVERR`, `IPV6_RECVERR`).
//!
//! Who asks for it has each error about a datagram of his kept with what is quoted of that, until he reads it by
//! `MSG_ERRQUEUE`; and he hears of errors that others are not told of, whether he is connected or not.

use core::net::{IpAddr, SocketAddr, SocketAddrV6};
use std::collections::VecDeque;

use rustix::io::Errno;
use shm::{Ancillary, Status};
use types::Instant;
use wire::udp;

use crate::attend::raise;
use crate::command::Outcome;
use crate::limits::{ERRORS_MAX, QUOTED_MAX};
use crate::socket::{Kind, Signal, SocketId};
use crate::worker::Worker;

/// Who says so, by the number of Linux's `SO_EE_ORIGIN_*`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Origin {
    /// This stack.
    Local = 1,
    /// A message of ICMP.
    Icmp,
    /// A message of ICMPv6.
    Icmp6,
}

/// An error about something that a socket has sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExtendedError {
    /// What it means to programs.
    pub errno: Errno,
    /// Who says so.
    pub origin: Origin,
    /// The message's type and code.
    pub kind: (u8, u8),
    /// The MTU that was too small, or the place of what is wrong in a header.
    pub info: u32,
    /// Where it went that this is about.
    pub to: SocketAddr,
    /// Who has sent the message.
    pub offender: Option<IpAddr>,
    /// What came with the message.
    pub ancillary: Ancillary,
    /// What it quotes of what was sent.
    pub quoted: Box<[u8]>,
}

/// What an error says, whichever socket it is about.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Report<'a> {
    pub errno: Errno,
    pub origin: Origin,
    pub kind: (u8, u8),
    pub info: u32,
    pub offender: Option<IpAddr>,
    pub ancillary: Ancillary,
    /// Where the message came in, or nobody answered; none if the stack itself says so for another reason.
    pub interface: Option<u16>,
    /// The packet that is quoted, and how long its IP header is.
    pub packet: (&'a [u8], usize),
    /// Connected sockets hear of it even if they have not asked (RFC 1122 4.1.3.3).
    pub for_all: bool,
}

impl Report<'_> {
    /// The headers that the stack has made: what a socket's user has sent begins behind them.
    fn headers_len(&self, kind: &Kind) -> usize {
        let (_, ip_len) = self.packet;
        match kind {
            Kind::Datagram(_) => ip_len.saturating_add(udp::Header::LEN),
            Kind::Raw(raw) if raw.header_included => 0,
            _ => ip_len,
        }
    }

    fn about(&self, to: SocketAddr, headers_len: usize) -> ExtendedError {
        let (packet, _) = self.packet;
        let text = packet.get(headers_len..).unwrap_or_default();
        ExtendedError {
            errno: self.errno,
            origin: self.origin,
            kind: self.kind,
            info: self.info,
            to: self.on_link(to),
            offender: self.offender,
            ancillary: self.ancillary,
            quoted: text.get(..QUOTED_MAX).unwrap_or(text).into(),
        }
    }

    /// Addresses of a link are told apart by its number.
    fn on_link(&self, name: SocketAddr) -> SocketAddr {
        match name {
            SocketAddr::V6(v6) if v6.ip().is_unicast_link_local() => {
                SocketAddrV6::new(*v6.ip(), v6.port(), 0, self.ancillary.interface).into()
            }
            name => name,
        }
    }
}

/// What was reported to one socket and not read yet.
#[derive(Debug, Default)]
pub(crate) struct ErrorQueue {
    /// `IP_RECVERR`, `IPV6_RECVERR`.
    of: [bool; 2],
    waiting: VecDeque<ExtendedError>,
}

impl ErrorQueue {
    /// Sets one of the options. `false`: none is set any more.
    pub(crate) fn choose(&mut self, v6: bool, on: bool) -> bool {
        let [of_v4, of_v6] = &mut self.of;
        *(if v6 { of_v6 } else { of_v4 }) = on;
        self.of != [false; 2]
    }

    fn wants(&self, v6: bool) -> bool {
        let [of_v4, of_v6] = self.of;
        if v6 { of_v6 } else { of_v4 }
    }

    /// One that does not fit is told by its number alone.
    fn push(&mut self, report: &Report<'_>, to: SocketAddr, headers_len: usize) {
        if self.waiting.len() < ERRORS_MAX {
            self.waiting.push_back(report.about(to, headers_len));
        }
    }
}

/// Why a datagram has not been sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NotSent {
    Because(Errno),
    /// It may not be cut, and is longer than this.
    TooLong(u16),
}

impl From<Errno> for NotSent {
    fn from(errno: Errno) -> Self {
        Self::Because(errno)
    }
}

impl NotSent {
    pub(crate) fn errno(self) -> Errno {
        match self {
            Self::Because(errno) => errno,
            Self::TooLong(_) => Errno::MSGSIZE,
        }
    }
}

impl Worker {
    /// Tells a socket of an error about a packet to `to`. `true`: it hears of it.
    pub(crate) fn report(&mut self, id: SocketId, to: SocketAddr, report: &Report<'_>) -> bool {
        let Some(socket) = self.sockets.find_mut(id) else { return false };
        let client = self.clients.owner_mut(socket.client);
        let headers_len = report.headers_len(&socket.kind);
        let Some(datagram) = socket.kind.datagram_mut() else { return false };
        match datagram.errors.as_deref_mut().filter(|errors| errors.wants(to.is_ipv6())) {
            Some(errors) => {
                errors.push(report, to, headers_len);
                if let Some(client) = &client {
                    client.add_status(socket.cell, Status::ERRORS);
                }
            }
            None if report.for_all && datagram.remote.is_some() => {}
            None => return false,
        }
        socket.error = Some(report.errno);
        if let Some(client) = client {
            client.set_error(socket.cell, report.errno);
        }
        self.raise(id, Signal { readable: true, ..Signal::default() });
        true
    }

    /// A datagram was too long: who wants to know hears how long it may be.
    #[cold]
    pub(crate) fn report_too_long(&mut self, id: SocketId, to: SocketAddr, mtu: u16, now: Instant) {
        let ancillary = Ancillary { at_ns: now.as_nanos(), ..Ancillary::default() };
        let peer = self.sockets.find(id).and_then(|socket| socket.kind.datagram()?.remote);
        let to = match to {
            // Linux names the port of a peer, and none where there is no peer.
            SocketAddr::V4(v4) => SocketAddr::new((*v4.ip()).into(), peer.map_or(0, |p| p.port())),
            SocketAddr::V6(_) => to,
        };
        let report = Report {
            errno: Errno::MSGSIZE,
            origin: Origin::Local,
            kind: (0, 0),
            info: mtu.into(),
            offender: None,
            ancillary,
            interface: None,
            packet: (&[], 0),
            for_all: false,
        };
        let _ = self.report(id, to, &report);
    }

    /// `recvmsg(MSG_ERRQUEUE)`, also about what the socket has sent just before. The next one's number is `SO_ERROR`
    /// again, and wakes whoever waits.
    pub(crate) fn take_extended_error(
        &mut self,
        id: SocketId,
        now: Instant,
    ) -> Result<Outcome, Errno> {
        self.take_posted_before(id, now);
        let socket = self.sockets.find_mut(id).ok_or(Errno::BADF)?;
        let errors = socket.kind.datagram_mut().and_then(|datagram| datagram.errors.as_deref_mut());
        let waiting = errors.map(|errors| &mut errors.waiting).ok_or(Errno::AGAIN)?;
        let error = waiting.pop_front();
        let next = waiting.front().map(|next| (next.errno, next.origin != Origin::Local));
        let client = self.clients.owner_mut(socket.client);
        match (next, client) {
            (Some((errno, true)), client) => {
                socket.error = Some(errno);
                if let Some(client) = client {
                    client.set_error(socket.cell, errno);
                }
                let signal = Signal { readable: true, ..Signal::default() };
                raise(socket, id, signal, &mut self.signals);
            }
            (Some(_), _) => {}
            (None, client) => {
                socket.error = None;
                if let Some(client) = client {
                    let status = client.lane.status(socket.cell);
                    client.lane.set_status(socket.cell, status.without(Status::ERRORS));
                }
            }
        }
        error.map(|error| Outcome::ExtendedError(Box::new(error))).ok_or(Errno::AGAIN)
    }

    /// `IP_RECVERR` or `IPV6_RECVERR`. Without both nothing is kept.
    pub(crate) fn receive_errors(&mut self, id: SocketId, v6: bool, on: bool) {
        let Some(socket) = self.sockets.find_mut(id) else { return };
        let Some(datagram) = socket.kind.datagram_mut() else { return };
        let queue = datagram.errors.get_or_insert_default();
        if queue.choose(v6, on) && on {
            return;
        }
        // As Linux: whoever takes one of them off gives up what has come.
        queue.waiting.clear();
        if !queue.wants(!v6) {
            datagram.errors = None;
        }
        if let Some(client) = self.clients.owner_mut(socket.client) {
            let status = client.lane.status(socket.cell);
            client.lane.set_status(socket.cell, status.without(Status::ERRORS));
        }
    }
}
