//! Messages of ICMP that one of several workers has taken in and that are about what another one does: a
//! port chooses a worker by the addresses of whoever sends the message, not by those of the flow it quotes.
//!
//! ```text
//!  icmp_input ── somebody here? ──┬── yes: he is told
//!                                 └── no: Handoff::Message ──> the flow's, the port's or the pings' worker
//! ```

use core::net::IpAddr;

use dpdk::Mbuf;
use types::{DropReason, FlowKey, Instant};
use wire::{icmp, icmp6, ipv4};

use crate::command::Handoff;
use crate::input::{Received, drop_front};
use crate::raw::{RAW_WORKER, checked};
use crate::steer;
use crate::worker::Worker;

/// What a message is about, as far as that tells whose it is.
#[derive(Clone, Copy, Debug)]
pub(crate) enum About {
    /// A connection.
    Segment(FlowKey),
    /// A datagram from a port of ours, of IPv6 if `true`.
    Datagram(u16, bool),
    /// An echo that we have asked for.
    Echo {
        /// Of ICMPv6.
        inet6: bool,
    },
    /// A packet without ports.
    Packet {
        /// Of IPv6.
        inet6: bool,
        /// Its protocol.
        protocol: ipv4::Protocol,
    },
}

impl About {
    /// What an error of IPv4 is about.
    pub(crate) fn quoted(quoted: &icmp::Quoted<'_>) -> Self {
        let header = quoted.header;
        let ends = (header.src().into(), header.dst().into());
        Self::of(ends, header.protocol(), quoted.ports(), quoted.echo_id())
    }

    /// The same of IPv6.
    pub(crate) fn quoted6(quoted: &icmp6::Quoted<'_>) -> Self {
        let ends = (quoted.header.src().into(), quoted.header.dst().into());
        Self::of(ends, quoted.protocol, quoted.ports(), quoted.echo_id())
    }

    fn of(
        (local_addr, remote_addr): (IpAddr, IpAddr),
        protocol: ipv4::Protocol,
        ports: Option<(u16, u16)>,
        echo: Option<u16>,
    ) -> Self {
        let inet6 = local_addr.is_ipv6();
        match ports {
            Some((local_port, remote_port)) if protocol == ipv4::Protocol::TCP => {
                Self::Segment(FlowKey { local_addr, remote_addr, local_port, remote_port })
            }
            Some((local_port, _)) => Self::Datagram(local_port, inet6),
            None if echo.is_some() => Self::Echo { inet6 },
            None => Self::Packet { inet6, protocol },
        }
    }
}

impl Worker {
    /// A message that is about nothing of this worker's may be about something of another one's.
    #[cold]
    pub(crate) fn or_another(
        &mut self,
        mut mbuf: Mbuf,
        received: &Received,
        about: &About,
        why_not: DropReason,
    ) -> Result<(), DropReason> {
        match self.concerned(about) {
            // It has got a copy for its raw sockets.
            Some(RAW_WORKER) if received.heard => Ok(()),
            Some(other) => {
                if !drop_front(&mut mbuf, received.ip_offset) {
                    return Err(why_not);
                }
                self.counters.worker.handoffs.increment();
                let message = Handoff::Message { interface: received.interface, mbuf };
                self.mesh.send(other, message).map_err(|_| DropReason::HandoffQueueFull)
            }
            None if received.heard => Ok(()),
            None => Err(why_not),
        }
    }

    /// Whose it would be.
    fn concerned(&self, about: &About) -> Option<u16> {
        let (me, workers) = (self.mesh.me, self.mesh.workers());
        if workers < 2 {
            return None;
        }
        let raw = &self.out.network.raw;
        let to = match *about {
            About::Segment(key) => steer::owner(&key, workers),
            About::Datagram(port, inet6) => self.udp_owners.other((port, inet6), me)?,
            About::Echo { inet6 } if raw.pings(inet6) => RAW_WORKER,
            About::Packet { inet6, protocol } if raw.has(inet6, protocol.0) => RAW_WORKER,
            About::Echo { .. } | About::Packet { .. } => return None,
        };
        Some(to).filter(|to| *to != me)
    }

    /// Another worker has taken this message in, checked and counted it, and nobody there has waited for it.
    pub(crate) fn message_handoff(&mut self, mbuf: &Mbuf, interface: u16, now: Instant) {
        let Some((received, _)) = checked(mbuf.data(), interface) else { return };
        let received = Received { heard: false, ..received };
        if let Err(reason) = self.overheard(mbuf, &received, now) {
            self.out.count_drop(reason);
        }
    }

    /// Whoever of this worker's such a message is about learns it.
    pub(crate) fn overheard(
        &mut self,
        mbuf: &Mbuf,
        received: &Received,
        now: Instant,
    ) -> Result<(), DropReason> {
        let bytes = received.segment(mbuf).unwrap_or_default();
        match (received.source, received.destination) {
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                let message = icmp6::Message::parse(bytes)?;
                message.verify(source, destination)?;
                self.icmp6_about(mbuf, received, &message, now)
            }
            _ => {
                let message = icmp::Message::parse(bytes)?;
                message.verify()?;
                self.icmp_about(mbuf, received, &message, now)
            }
        }
    }
}
