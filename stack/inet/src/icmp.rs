//! ICMP for IPv4 (RFC 792, RFC 1122 3.2.2): echo, errors in, errors out.

use core::net::{IpAddr, Ipv4Addr};

use dpdk::Mbuf;
use rustix::io::Errno;
use shm::Ancillary;
use types::{DropReason, FlowKey, Instant};
use wire::icmp::{self, Code, Type};
use wire::{checksum, ipv4};
use zerocopy::{FromBytes, IntoBytes};

use crate::error_queue::{Origin, Report};
use crate::input::{Received, drop_front};
use crate::network::{Destination, LOOPBACK};
use crate::output::ip_version;
use crate::overheard::About;
use crate::packet_out::PacketOut;
use crate::raw::Quoted;
use crate::worker::Worker;

impl Worker {
    pub(crate) fn icmp_input(
        &mut self,
        mbuf: Mbuf,
        received: &Received,
        now: Instant,
    ) -> Result<(), DropReason> {
        let bytes = received.segment(&mbuf).ok_or(DropReason::IcmpTooShort)?;
        let message = icmp::Message::parse(bytes)?;
        message.verify()?;
        self.counters.icmp.messages_received.increment();
        match message.header.kind() {
            Type::ECHO_REQUEST if received.to != Destination::Local => {
                Err(DropReason::IcmpBroadcast)
            }
            Type::ECHO_REQUEST => self.echo_reply(mbuf, received, now),
            Type::ECHO_REPLY => match self.icmp_about(&mbuf, received, &message, now) {
                Ok(()) => Ok(()),
                Err(why) => self.or_another(mbuf, received, &About::Echo { inet6: false }, why),
            },
            kind if is_about_ours(kind) => {
                let about = About::quoted(&message.quoted()?);
                match self.icmp_about(&mbuf, received, &message, now) {
                    Ok(()) => Ok(()),
                    Err(why) => self.or_another(mbuf, received, &about, why),
                }
            }
            Type::REDIRECT => self.redirected(&message, received, now),
            _ if received.heard => Ok(()),
            _ => Err(DropReason::IcmpType),
        }
    }

    /// Tells whoever of this worker's a message is about.
    pub(crate) fn icmp_about(
        &mut self,
        mbuf: &Mbuf,
        received: &Received,
        message: &icmp::Message<'_>,
        now: Instant,
    ) -> Result<(), DropReason> {
        let header = message.header;
        match header.kind() {
            Type::ECHO_REPLY => self.ping_input(mbuf, received, header.echo_id(), now),
            kind if is_about_ours(kind) => {
                let quoted = message.quoted()?;
                let report = report(header, &quoted, received.ancillary(now));
                let (offender, interface) = (Some(received.source), Some(received.interface));
                let report = Report { offender, interface, ..report };
                self.quoted_error(&quoted, &report, now)
            }
            _ => Ok(()),
        }
    }

    /// An error about a packet without ports.
    fn raw_quoted(
        &mut self,
        quoted: &icmp::Quoted<'_>,
        report: &Report<'_>,
        now: Instant,
    ) -> Result<(), DropReason> {
        let about = Quoted {
            ends: (quoted.header.src().into(), quoted.header.dst().into()),
            protocol: quoted.header.protocol(),
            asked: quoted.echo_id(),
        };
        let known = match path_mtu(quoted, report)? {
            Some(mtu) => self.raw_path_mtu(&about, mtu, report, now),
            None => self.raw_error(&about, report),
        };
        if known { Ok(()) } else { Err(DropReason::IcmpQuoted) }
    }

    /// Turns the request around in its own buffer.
    fn echo_reply(
        &mut self,
        mut mbuf: Mbuf,
        received: &Received,
        now: Instant,
    ) -> Result<(), DropReason> {
        if !drop_front(&mut mbuf, received.ip_offset + received.ip_len) {
            return Err(DropReason::IcmpTooShort);
        }
        let padding = usize::from(mbuf.data_len()).saturating_sub(received.segment_len);
        if !u16::try_from(padding).is_ok_and(|padding| mbuf.trim(padding)) {
            return Err(DropReason::IcmpTooShort);
        }
        let (header, _) =
            icmp::Header::mut_from_prefix(mbuf.data_mut()).map_err(|_| DropReason::IcmpTooShort)?;
        let request = u16::from_be_bytes([header.kind, header.code]);
        header.kind = Type::ECHO_REPLY.0;
        let reply = u16::from_be_bytes([header.kind, header.code]);
        let checksum = checksum::update_u16(header.checksum.get(), request, reply);
        header.checksum.set(checksum);
        self.counters.icmp.echoes_answered.increment();
        let (source, destination) = received.ipv4().ok_or(DropReason::IcmpType)?;
        let out = PacketOut::new(destination, source, ipv4::Protocol::ICMP);
        self.send_ipv4(mbuf, &out, now);
        Ok(())
    }

    /// An error about a packet of ours. Off-path attackers can forge these, so nothing is believed
    /// that doesn't quote a flow of ours, and an established connection survives (RFC 5927).
    fn quoted_error(
        &mut self,
        quoted: &icmp::Quoted<'_>,
        report: &Report<'_>,
        now: Instant,
    ) -> Result<(), DropReason> {
        let protocol = quoted.header.protocol();
        let Some((local_port, remote_port)) = quoted.ports() else {
            return self.raw_quoted(quoted, report, now);
        };
        if self.out.network.raw.has(false, protocol.0) {
            // That raw sockets are told too is no reason to count it otherwise.
            let _ = self.raw_quoted(quoted, report, now);
        }
        let key = FlowKey {
            local_addr: quoted.header.src().into(),
            remote_addr: quoted.header.dst().into(),
            local_port,
            remote_port,
        };
        let mtu = path_mtu(quoted, report)?;
        let Some(sequence) = quoted.tcp_sequence() else {
            return match mtu {
                Some(mtu) => self.udp_path_mtu(&key, mtu, report, now),
                None => self.udp_error(&key, report),
            };
        };
        let flow = self.flows.hold(&key, LOOPBACK).ok_or(DropReason::IcmpQuoted)?;
        match mtu {
            Some(mtu) => self.tcp_path_mtu(&flow, sequence, mtu, now),
            None if report.for_all => self.tcp_unreachable(&flow, sequence, report.errno, now),
            None => Ok(()),
        }
    }

    /// RFC 1122 3.2.2.1: no transport for this protocol.
    pub(crate) fn protocol_unreachable(&mut self, mbuf: &Mbuf, received: &Received, now: Instant) {
        self.send_unreachable(mbuf, received, Code::PROTOCOL_UNREACHABLE, now);
    }

    /// Sends "destination unreachable" about a received packet, unless RFC 1122 3.2.2 forbids it.
    pub(crate) fn send_unreachable(
        &mut self,
        about: &Mbuf,
        received: &Received,
        code: Code,
        now: Instant,
    ) {
        let Some((_, ours)) = received.ipv4() else { return };
        if received.to == Destination::Local {
            let header = icmp::Header::destination_unreachable(code);
            self.icmp_error(about, received.ip_offset, header, Some(ours), now);
        }
    }

    /// Sends an error about a packet of somebody else's that begins at `ip_offset`, from the given
    /// address or else from the one that is nearest to him. None is sent about an error or about a
    /// fragment other than the first (RFC 1812 4.3.2.7).
    pub(crate) fn icmp_error(
        &mut self,
        about: &Mbuf,
        ip_offset: usize,
        header: icmp::Header,
        from: Option<Ipv4Addr>,
        now: Instant,
    ) {
        let bytes = about.data().get(ip_offset..).unwrap_or_default();
        let Ok(packet) = ipv4::Packet::parse(bytes) else { return };
        let is_error = packet.header.protocol() == ipv4::Protocol::ICMP
            && packet.payload.first().is_none_or(|kind| Type(*kind).is_error());
        if is_error || packet.header.fragment_offset() > 0 {
            return;
        }
        let source = packet.header.src();
        let Some(from) = from.or_else(|| self.out.network.source_for(source)) else { return };
        if !self.icmp_errors.permit(source.into(), now) {
            return self.out.count_drop(DropReason::IcmpRateLimit);
        }
        let len = usize::from(packet.header.total_len.get());
        let quote = icmp::quote(bytes.get(..len).unwrap_or(bytes));
        let header = header.with_checksum(quote);
        let Some(mut mbuf) = self.out.alloc() else { return };
        if !mbuf.extend_from_slice(header.as_bytes()) || !mbuf.extend_from_slice(quote) {
            return self.out.count_drop(DropReason::MbufExhausted);
        }
        self.counters.icmp.errors_sent.increment();
        let out = PacketOut::new(from, source, ipv4::Protocol::ICMP);
        self.send_ipv4(mbuf, &out, now);
    }

    /// Routes and sends a finished transport segment.
    pub(crate) fn send_ipv4(&mut self, mbuf: Mbuf, out: &PacketOut, now: Instant) {
        match self.out.route(out.destination) {
            Ok(hop) => self.out.packet(mbuf, out, &hop, now, &mut self.timers),
            Err(_) => self.out.count_drop(DropReason::Ipv4NoRoute),
        }
    }

    /// Nobody has this port.
    pub(crate) fn port_unreachable(&mut self, about: &Mbuf, received: &Received, now: Instant) {
        match received.source {
            IpAddr::V4(_) => self.send_unreachable(about, received, Code::PORT_UNREACHABLE, now),
            IpAddr::V6(_) => self.port_unreachable6(about, received, now),
        }
    }

    /// Packets that can't be sent since nobody answers by an interface: the sockets learn it as from a router, and
    /// others whose packets we pass on from us.
    pub(crate) fn host_unreachable(&mut self, packet: &Mbuf, by: u16, now: Instant) {
        self.out.count_drop(DropReason::NeighborUnresolved);
        if ip_version(packet) == 6 {
            return self.address_unreachable6(packet, by, now);
        }
        let Ok(quoted) = icmp::Quoted::parse(packet.data()) else { return };
        if self.out.addresses.classify(quoted.header.src()) != Destination::Local {
            let header = icmp::Header::destination_unreachable(Code::HOST_UNREACHABLE);
            return self.icmp_error(packet, 0, header, None, now);
        }
        if self.out.network.raw.has(false, ipv4::Protocol::ICMP.0) {
            // Who listens to ICMP hears of it as of a router's word, and so do the others.
            let header = icmp::Header::destination_unreachable(Code::HOST_UNREACHABLE);
            return self.icmp_error(packet, 0, header, Some(quoted.header.src()), now);
        }
        let header = icmp::Header::destination_unreachable(Code::HOST_UNREACHABLE);
        let ancillary = Ancillary { at_ns: now.as_nanos(), ..Ancillary::default() };
        let offender = Some(quoted.header.src().into());
        let report = report(&header, &quoted, ancillary);
        let report = Report { offender, interface: Some(by), ..report };
        // A reason not to tell a socket is no reason to count the packet twice.
        let _ = self.quoted_error(&quoted, &report, now);
    }
}

/// What a router that speaks of a packet of `len` bytes means. It can't have been too small for what
/// is said to fit (RFC 5927 7.2); a router of old says nothing, and the next of the usual sizes is
/// taken (RFC 1191 7).
fn told_mtu(len: u16, mtu: u16) -> Option<u16> {
    const USUAL: [u16; 4] = [4_352, 1_492, 1_006, 552];
    if mtu == 0 {
        USUAL.into_iter().find(|usual| *usual < len)
    } else {
        Some(mtu).filter(|mtu| *mtu < len)
    }
}

/// Errors about packets that a socket may have sent. A router's word for a better way is none.
fn is_about_ours(kind: Type) -> bool {
    matches!(kind, Type::DESTINATION_UNREACHABLE | Type::TIME_EXCEEDED | Type::PARAMETER_PROBLEM)
}

/// What an error says. Only those who ask for it hear that a packet was too long on its way.
fn report<'a>(
    header: &icmp::Header,
    quoted: &icmp::Quoted<'a>,
    ancillary: Ancillary,
) -> Report<'a> {
    let (errno, info) = match header.kind() {
        Type::TIME_EXCEEDED => (Errno::HOSTUNREACH, 0),
        Type::PARAMETER_PROBLEM => (Errno::PROTO, header.pointer().into()),
        _ if header.code() == Code::FRAGMENTATION_NEEDED => (Errno::MSGSIZE, header.mtu().into()),
        _ => (unreachable_errno(header.code()), 0),
    };
    Report {
        errno,
        origin: Origin::Icmp,
        kind: (header.kind, header.code),
        info,
        offender: None,
        ancillary,
        interface: None,
        packet: (quoted.packet, quoted.header.header_len()),
        for_all: header.kind() != Type::TIME_EXCEEDED,
    }
}

/// The longest packet that fits, if an error is about that.
fn path_mtu(quoted: &icmp::Quoted<'_>, report: &Report<'_>) -> Result<Option<u16>, DropReason> {
    if report.errno != Errno::MSGSIZE {
        return Ok(None);
    }
    let said = u16::try_from(report.info).unwrap_or(u16::MAX);
    told_mtu(quoted.header.total_len.get(), said).map(Some).ok_or(DropReason::IcmpQuoted)
}

/// Linux's errno for an unreachable code (RFC 1122 4.2.3.9 calls 2, 3 and 4 hard errors).
fn unreachable_errno(code: Code) -> Errno {
    match code {
        Code::NET_UNREACHABLE | Code(6 | 9 | 11) => Errno::NETUNREACH,
        Code::PROTOCOL_UNREACHABLE => Errno::NOPROTOOPT,
        Code::PORT_UNREACHABLE => Errno::CONNREFUSED,
        Code::SOURCE_ROUTE_FAILED => Errno::OPNOTSUPP,
        Code(7) => Errno::HOSTDOWN,
        Code(8) => Errno::NONET,
        _ => Errno::HOSTUNREACH,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_router_is_believed_only_about_packets_that_did_not_fit() {
        assert_eq!(told_mtu(1_500, 1_400), Some(1_400));
        assert_eq!(told_mtu(1_400, 1_400), None);
        assert_eq!(told_mtu(40, 1_400), None);
        assert_eq!(told_mtu(1_500, 0), Some(1_492), "a router of before 1990");
        assert_eq!(told_mtu(552, 0), None);
    }
}
