//! ICMPv6 (RFC 4443) and the host's part of neighbour discovery (RFC 4861 7): echo, errors in, errors
//! out, who has which address.

use core::net::{IpAddr, Ipv6Addr};

use dpdk::Mbuf;
use rustix::io::Errno;
use shm::Ancillary;
use types::{DropReason, FlowKey, Instant, MacAddr};
use wire::icmp6::{self, Code, Type};
use wire::ndp::{Ndp, NeighborAdvertisement, NeighborMessage};
use wire::{ipv4, ipv6};
use zerocopy::IntoBytes;

use crate::address6::OnLink;
use crate::error_queue::{Origin, Report};
use crate::hearing::Subject;
use crate::input::{Received, drop_front};
use crate::neighbor::Ask;
use crate::network::Destination;
use crate::overheard::About;
use crate::packet_out::PacketOut;
use crate::raw::Quoted;
use crate::worker::Worker;

impl Worker {
    pub(crate) fn icmp6_input(
        &mut self,
        mbuf: Mbuf,
        received: &Received,
        now: Instant,
    ) -> Result<(), DropReason> {
        let bytes = received.segment(&mbuf).ok_or(DropReason::Icmp6TooShort)?;
        let message = icmp6::Message::parse(bytes)?;
        let (IpAddr::V6(source), IpAddr::V6(destination)) = (received.source, received.destination)
        else {
            return Err(DropReason::Icmp6Type);
        };
        message.verify(source, destination)?;
        self.counters.icmp6.messages_received.increment();
        match message.header.kind() {
            Type::ECHO_REQUEST if source.is_unspecified() => Err(DropReason::Ipv6Source),
            Type::ECHO_REQUEST => self.echo_reply6(mbuf, received, (source, destination), now),
            Type::ECHO_REPLY => match self.icmp6_about(&mbuf, received, &message, now) {
                Ok(()) => Ok(()),
                Err(why) => self.or_another(mbuf, received, &About::Echo { inet6: true }, why),
            },
            kind if is_about_ours(kind) => {
                let about = About::quoted6(&message.quoted()?);
                match self.icmp6_about(&mbuf, received, &message, now) {
                    Ok(()) => Ok(()),
                    Err(why) => self.or_another(mbuf, received, &about, why),
                }
            }
            Type::MLD_QUERY => self.mld_input(&mbuf, received, now),
            Type(133..=137) => self.ndp_input(&mbuf, received, now),
            _ if received.heard => Ok(()),
            _ => Err(DropReason::Icmp6Type),
        }
    }

    /// Tells whoever of this worker's a message is about.
    pub(crate) fn icmp6_about(
        &mut self,
        mbuf: &Mbuf,
        received: &Received,
        message: &icmp6::Message<'_>,
        now: Instant,
    ) -> Result<(), DropReason> {
        let header = message.header;
        match header.kind() {
            Type::ECHO_REPLY => self.ping_input(mbuf, received, header.echo().0, now),
            kind if is_about_ours(kind) => {
                let quoted = message.quoted()?;
                let report = report(header, &quoted, received.ancillary(now));
                let (offender, interface) = (Some(received.source), Some(received.interface));
                let report = Report { offender, interface, ..report };
                self.error6(&quoted, &report, received.interface, now)
            }
            _ => Ok(()),
        }
    }

    /// An error about a packet without ports.
    fn raw_quoted6(
        &mut self,
        quoted: &icmp6::Quoted<'_>,
        report: &Report<'_>,
        now: Instant,
    ) -> Result<(), DropReason> {
        let about = Quoted {
            ends: (quoted.header.src().into(), quoted.header.dst().into()),
            protocol: quoted.protocol,
            asked: quoted.echo_id(),
        };
        let known = match path_mtu(quoted, report)? {
            Some(mtu) => self.raw_path_mtu(&about, mtu, report, now),
            None => self.raw_error(&about, report),
        };
        if known { Ok(()) } else { Err(DropReason::Icmp6Quoted) }
    }

    /// Turns the request around in its own buffer. One that went to a group is answered too
    /// (RFC 4443 4.2), from an address of our own.
    fn echo_reply6(
        &mut self,
        mut mbuf: Mbuf,
        received: &Received,
        (source, destination): (Ipv6Addr, Ipv6Addr),
        now: Instant,
    ) -> Result<(), DropReason> {
        let from = if received.to == Destination::Local {
            Some(destination)
        } else {
            self.out.network.source_for6(source, received.interface)
        };
        let from = from.ok_or(DropReason::Ipv6NoRoute)?;
        if !drop_front(&mut mbuf, received.ip_offset + received.ip_len) {
            return Err(DropReason::Icmp6TooShort);
        }
        let padding = usize::from(mbuf.data_len()).saturating_sub(received.segment_len);
        if !u16::try_from(padding).is_ok_and(|padding| mbuf.trim(padding)) {
            return Err(DropReason::Icmp6TooShort);
        }
        let reply = icmp6::Message::parse(mbuf.data())
            .map(|request| request.header.echo_reply().with_checksum(from, source, request.body))?;
        let room = mbuf.data_mut().get_mut(..icmp6::Header::LEN);
        room.ok_or(DropReason::Icmp6TooShort)?.copy_from_slice(reply.as_bytes());
        self.counters.icmp6.echoes_answered.increment();
        let out = PacketOut::new(from, source, ipv4::Protocol::ICMPV6);
        self.send_icmp6(mbuf, &out, received.interface, now);
        Ok(())
    }

    /// An error about a packet of ours. Whoever is off the path can forge one: what is said of TCP is
    /// for the connection to judge (RFC 5927).
    fn error6(
        &mut self,
        quoted: &icmp6::Quoted<'_>,
        report: &Report<'_>,
        interface: u16,
        now: Instant,
    ) -> Result<(), DropReason> {
        let Some((local_port, remote_port)) = quoted.ports() else {
            return self.raw_quoted6(quoted, report, now);
        };
        if self.out.network.raw.has(true, quoted.protocol.0) {
            // That raw sockets are told too is no reason to count it otherwise.
            let _ = self.raw_quoted6(quoted, report, now);
        }
        let key = FlowKey {
            local_addr: quoted.header.src().into(),
            remote_addr: quoted.header.dst().into(),
            local_port,
            remote_port,
        };
        let mtu = path_mtu(quoted, report)?;
        let told = if let Some(sequence) = quoted.tcp_sequence() {
            let flow = self.flows.hold(&key, interface).ok_or(DropReason::Icmp6Quoted)?;
            let told = match mtu {
                Some(mtu) => self.tcp_path_mtu(&flow, sequence, mtu, now),
                None if report.for_all => self.tcp_unreachable(&flow, sequence, report.errno, now),
                None => Ok(()),
            };
            self.flows.let_go(&flow);
            told
        } else {
            match mtu {
                Some(mtu) => self.udp_path_mtu(&key, mtu, report, now),
                None => self.udp_error(&key, report),
            }
        };
        told.map_err(|_| DropReason::Icmp6Quoted)
    }

    /// A packet that could not be sent since no neighbour answered by an interface.
    pub(crate) fn address_unreachable6(&mut self, packet: &Mbuf, by: u16, now: Instant) {
        let Ok(quoted) = icmp6::Quoted::parse(packet.data()) else { return };
        if !self.out.addresses.has6(quoted.header.src()) {
            return self.address_unreachable_for_others(packet, now);
        }
        let kind = Type::DESTINATION_UNREACHABLE;
        let header = icmp6::Header::new(kind, Code::ADDRESS_UNREACHABLE, 0);
        let ancillary =
            Ancillary { interface: by.into(), at_ns: now.as_nanos(), ..Ancillary::default() };
        let offender = Some(quoted.header.src().into());
        let report = report(&header, &quoted, ancillary);
        let report = Report { offender, interface: Some(by), ..report };
        // A reason not to tell a socket is no reason to count the packet twice.
        let _ = self.error6(&quoted, &report, by, now);
    }

    fn ndp_input(
        &mut self,
        mbuf: &Mbuf,
        received: &Received,
        now: Instant,
    ) -> Result<(), DropReason> {
        let bytes = mbuf.data().get(received.ip_offset..).ok_or(DropReason::NdpFormat)?;
        let packet = ipv6::Packet::parse(bytes)?;
        let bytes = received.segment(mbuf).ok_or(DropReason::NdpFormat)?;
        let message = icmp6::Message::parse(bytes)?;
        let interface = received.interface;
        match Ndp::parse(packet.header, &message)? {
            Ndp::NeighborSolicitation(target, options) => {
                let station = options.source_link_layer();
                let source = packet.header.src();
                if source.is_unspecified() && self.out.addresses.is_sought6(target, interface) {
                    return self.let_hear(Subject::Duplicates, mbuf, received, now);
                }
                self.solicited(target, (source, station), interface, now)
            }
            Ndp::NeighborAdvertisement(what, _)
                if self.out.addresses.is_sought6(what.target, interface) =>
            {
                self.let_hear(Subject::Duplicates, mbuf, received, now)
            }
            Ndp::NeighborAdvertisement(what, options) => {
                self.advertised(what, options.target_link_layer(), interface, now)
            }
            Ndp::RouterAdvertisement(..) if self.accepts_routers(interface) => {
                self.let_hear(Subject::Routers, mbuf, received, now)
            }
            Ndp::RouterSolicitation(_) if self.advertises(interface) => {
                self.let_hear(Subject::Routers, mbuf, received, now)
            }
            Ndp::Redirect(said, _) => self.redirected6(said, packet.header.src(), interface, now),
            Ndp::RouterSolicitation(_) | Ndp::RouterAdvertisement(..) => Err(DropReason::Icmp6Type),
        }
    }

    fn accepts_routers(&self, interface: u16) -> bool {
        let config = self.out.network.interface(interface);
        config.is_some_and(|config| config.link6.accepts_routers)
    }

    fn advertises(&self, interface: u16) -> bool {
        let config = self.out.network.interface(interface);
        config.is_some_and(|config| config.link6.advertises)
    }

    /// RFC 4861 7.2.3, 7.2.4. Who asks without an address wants to take ours (RFC 4862 5.4.3): all
    /// hear that it is taken.
    fn solicited(
        &mut self,
        target: Ipv6Addr,
        (source, station): (Ipv6Addr, Option<MacAddr>),
        interface: u16,
        now: Instant,
    ) -> Result<(), DropReason> {
        if self.out.addresses.classify6(target, interface) != Destination::Local {
            return Err(DropReason::NdpNotForUs);
        }
        let mac = self.out.network.interface(interface).map(|config| config.mac);
        let mac = mac.ok_or(DropReason::InterfaceDown)?;
        let asks = !source.is_unspecified();
        if !asks {
            if !self.arp_defences.permit(now) {
                return Err(DropReason::NdpConflict);
            }
            self.out.announce6(target, mac, interface);
            return Ok(());
        }
        let what = NeighborAdvertisement {
            target,
            router: self.out.network.host.forward6,
            solicited: true,
            // RFC 4429 3.3: whoever has it keeps it.
            overriding: !self.out.addresses.is_sought6(target, interface),
        };
        let answer = NeighborMessage::advertisement(what, mac);
        if let Some(station) = station.filter(|station| station.is_unicast()) {
            self.neighbor6(source, station, interface, true, now);
        }
        let asker = OnLink { address: source, interface };
        match station.or_else(|| self.out.neighbors6.station(asker)) {
            Some(station) => {
                self.out.neighbor_message(answer, (target, source), interface, station);
            }
            None => self.out.solicit(asker, Ask::Everyone),
        }
        Ok(())
    }

    /// RFC 4861 7.2.5: what nobody asked for makes no entry, and what may not override leaves a station
    /// as it is, however long ago that was heard of. Who was asked himself need not say his own (4.4).
    fn advertised(
        &mut self,
        what: NeighborAdvertisement,
        station: Option<MacAddr>,
        interface: u16,
        now: Instant,
    ) -> Result<(), DropReason> {
        if self.out.addresses.classify6(what.target, interface) == Destination::Local {
            return Err(DropReason::NdpConflict);
        }
        let known = self.out.neighbors6.station(OnLink { address: what.target, interface });
        let station = station.or_else(|| known.filter(|_| what.solicited));
        let station = station.filter(|station| station.is_unicast());
        let station = station.ok_or(DropReason::NdpInvalid)?;
        if !what.overriding && known.is_some_and(|known| known != station) {
            return Err(DropReason::NdpInvalid);
        }
        self.neighbor6(what.target, station, interface, false, now);
        Ok(())
    }

    fn neighbor6(
        &mut self,
        address: Ipv6Addr,
        mac: MacAddr,
        interface: u16,
        for_us: bool,
        now: Instant,
    ) {
        let who = OnLink { address, interface };
        let waiting = self.out.neighbors6.hear(who, mac, interface, for_us, now);
        self.out.neighbor_learned(waiting, mac, interface);
        self.mesh.neighbor(address.into(), mac, interface, for_us, now);
    }

    /// Says what was wrong with a packet (RFC 4443 3.4).
    pub(crate) fn parameter_problem(
        &mut self,
        about: &Mbuf,
        received: &Received,
        problem: Option<ipv6::ParameterProblem>,
        now: Instant,
    ) {
        let Some(problem) = problem else { return };
        if received.to == Destination::Local || problem.even_to_group {
            let header =
                icmp6::Header::new(Type::PARAMETER_PROBLEM, Code(problem.code), problem.pointer);
            self.send_error6(about, received, header, now);
        }
    }

    /// Nobody has this port.
    pub(crate) fn port_unreachable6(&mut self, about: &Mbuf, received: &Received, now: Instant) {
        if received.to == Destination::Local {
            let kind = Type::DESTINATION_UNREACHABLE;
            let header = icmp6::Header::new(kind, Code::PORT_UNREACHABLE, 0);
            self.send_error6(about, received, header, now);
        }
    }

    /// Sends an error about a received packet, unless RFC 4443 2.4 (e) forbids it.
    pub(crate) fn send_error6(
        &mut self,
        about: &Mbuf,
        received: &Received,
        header: icmp6::Header,
        now: Instant,
    ) {
        let IpAddr::V6(to) = received.source else { return };
        if to.is_unspecified() {
            return;
        }
        if !self.icmp_errors.permit(received.source, now) {
            return self.out.count_drop(DropReason::IcmpRateLimit);
        }
        let from = match received.destination {
            IpAddr::V6(ours) if received.to == Destination::Local => Some(ours),
            _ => self.out.network.source_for6(to, received.interface),
        };
        let Some(from) = from else { return };
        let end = received.ip_offset + received.ip_len + received.segment_len;
        let Some(packet) = about.data().get(received.ip_offset..end) else { return };
        let quote = icmp6::quote(packet);
        let header = header.with_checksum(from, to, quote);
        let Some(mut mbuf) = self.out.alloc() else { return };
        if !mbuf.extend_from_slice(header.as_bytes()) || !mbuf.extend_from_slice(quote) {
            return self.out.count_drop(DropReason::MbufExhausted);
        }
        self.counters.icmp6.errors_sent.increment();
        let out = PacketOut::new(from, to, ipv4::Protocol::ICMPV6);
        self.send_icmp6(mbuf, &out, received.interface, now);
    }

    /// Routes and sends a finished message; to a link's own addresses back where it came from.
    pub(crate) fn send_icmp6(
        &mut self,
        mbuf: Mbuf,
        out: &PacketOut<Ipv6Addr>,
        interface: u16,
        now: Instant,
    ) {
        self.counters.icmp6.messages_sent.increment();
        match self.out.route6(out.destination, Some(interface)) {
            Ok(hop) => self.out.packet(mbuf, out, &hop, now, &mut self.timers),
            Err(_) => self.out.count_drop(DropReason::Ipv6NoRoute),
        }
    }
}

/// What a router says that fits, of a packet that did not. Nobody may say that less than the smallest
/// MTU does (RFC 8201 4).
fn told_mtu(quoted: &icmp6::Quoted<'_>, mtu: u32) -> Option<u16> {
    let len = usize::from(quoted.header.payload_len.get()).checked_add(ipv6::Header::LEN)?;
    let mtu = usize::try_from(mtu).ok()?.max(ipv6::Header::MTU_MIN);
    u16::try_from(mtu).ok().filter(|_| mtu < len)
}

/// Errors about packets that a socket may have sent.
fn is_about_ours(kind: Type) -> bool {
    matches!(
        kind,
        Type::DESTINATION_UNREACHABLE
            | Type::PACKET_TOO_BIG
            | Type::TIME_EXCEEDED
            | Type::PARAMETER_PROBLEM
    )
}

/// What an error says. Only those who ask for it hear that a packet was too long on its way.
fn report<'a>(
    header: &icmp6::Header,
    quoted: &icmp6::Quoted<'a>,
    ancillary: Ancillary,
) -> Report<'a> {
    let errno = match header.kind() {
        Type::DESTINATION_UNREACHABLE => unreachable_errno(header.code()),
        Type::PACKET_TOO_BIG => Errno::MSGSIZE,
        Type::TIME_EXCEEDED => Errno::HOSTUNREACH,
        _ => Errno::PROTO,
    };
    Report {
        errno,
        origin: Origin::Icmp6,
        kind: (header.kind, header.code),
        info: header.rest.get(),
        offender: None,
        ancillary,
        interface: None,
        packet: (quoted.packet, ipv6::Header::LEN),
        for_all: header.kind() != Type::TIME_EXCEEDED,
    }
}

/// The longest packet that fits, if an error is about that (RFC 4443 3.2).
fn path_mtu(quoted: &icmp6::Quoted<'_>, report: &Report<'_>) -> Result<Option<u16>, DropReason> {
    if report.errno != Errno::MSGSIZE {
        return Ok(None);
    }
    told_mtu(quoted, report.info).map(Some).ok_or(DropReason::Icmp6Quoted)
}

/// Linux's errno for an unreachable code (RFC 4443 3.1).
fn unreachable_errno(code: Code) -> Errno {
    match code {
        Code::PORT_UNREACHABLE => Errno::CONNREFUSED,
        Code::NO_ROUTE => Errno::NETUNREACH,
        Code::ADMINISTRATIVELY_PROHIBITED | Code(5 | 6) => Errno::ACCESS,
        _ => Errno::HOSTUNREACH,
    }
}
