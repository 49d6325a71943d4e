//! Raw sockets: each gets a copy of all packets of its IP protocol that are for this host, whoever else
//! takes them. Ping sockets get the answers to what they have asked.
//!
//! ```text
//!  ipv4_input, ipv6_input ── a copy, of any worker ──> RAW_WORKER: raw_deliver ──> the sockets' queues
//!          `──> icmp, igmp, udp, tcp, modules: as if there were none
//! ```
//! As in Linux they see what the stack answers itself, too, and what it does not understand. Packets of
//! IPv4 come with their header, of IPv6 without it (RFC 3542 3).

use core::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use dpdk::Mbuf;
use rustix::io::Errno;
use shm::{DatagramProducer, SocketEnd};
use types::{DropReason, Instant};
use wire::{Checksum, ipv4, ipv6};

use crate::command::{Handoff, Outcome, SocketOption, Transport};
use crate::error_queue::Report;
use crate::input::Received;
use crate::network::{Destination, RawKind};
use crate::socket::{Datagram, Kind, RawSocket, SocketId};
use crate::udp::remote;
use crate::worker::Worker;

/// The worker that has all raw sockets: any of the workers may get a packet for any of them.
pub const RAW_WORKER: u16 = 0;

/// Place of the checksum of ICMPv6 (RFC 4443 2.1).
pub(crate) const ICMP6_CHECKSUM_AT: u16 = 2;

impl RawSocket {
    fn new(kind: RawKind, recv: DatagramProducer) -> Self {
        let icmp6 = kind.inet6 && kind.protocol == ipv4::Protocol::ICMPV6.0;
        Self {
            kind,
            datagram: Datagram::new(recv),
            header_included: false,
            filter: [0; 8],
            checksum: icmp6.then_some(ICMP6_CHECKSUM_AT),
        }
    }

    /// `setsockopt()`, as far as it is not every socket's.
    pub(crate) fn set_option(&mut self, option: SocketOption, receive_buffer: u32) {
        match option {
            SocketOption::HeaderIncluded(on) => self.header_included = on,
            SocketOption::IcmpFilter(filter) => self.filter = filter,
            SocketOption::RawChecksum(at) => self.checksum = at,
            _ => self.datagram.recv.set_limit(receive_buffer),
        }
    }

    /// Are these its addresses, as far as it has some?
    fn is_between(&self, local: IpAddr, remote: IpAddr) -> bool {
        let of_ours =
            self.datagram.local.is_none_or(|at| at.ip().is_unspecified() || at.ip() == local);
        of_ours && self.datagram.remote.is_none_or(|peer| peer.ip() == remote)
    }

    /// Does a packet go to it?
    fn takes(&self, packet: &Heard<'_>) -> bool {
        let received = packet.received;
        let (local, remote) = (received.destination, received.source);
        let groups = self.datagram.multicast.as_deref().filter(|_| local.is_multicast());
        self.kind.inet6 == local.is_ipv6()
            && self.kind.protocol == packet.protocol.0
            && self.is_between(local, remote)
            && groups.is_none_or(|groups| groups.hears(local, remote, received.interface))
            && !self.filters_out(packet)
            && self.is_sound(packet)
    }

    fn filters_out(&self, packet: &Heard<'_>) -> bool {
        if !matches!(packet.protocol, ipv4::Protocol::ICMP | ipv4::Protocol::ICMPV6) {
            return false;
        }
        let kind = packet.segment.first().copied().unwrap_or(0);
        let word = self.filter.get(usize::from(kind >> 5));
        word.is_some_and(|word| word >> (kind & 31) & 1 != 0)
    }

    /// RFC 3542 3.1: who has named a checksum's place gets no packets with a wrong one.
    fn is_sound(&self, packet: &Heard<'_>) -> bool {
        let (IpAddr::V6(source), IpAddr::V6(destination), Some(_)) =
            (packet.received.source, packet.received.destination, self.checksum)
        else {
            return true;
        };
        let len = u16::try_from(packet.segment.len()).unwrap_or(u16::MAX);
        let sum = Checksum::pseudo_v6(source, destination, packet.protocol.0, len);
        sum.sum(packet.segment).is_valid()
    }
}

/// A packet for raw sockets.
struct Heard<'a> {
    received: &'a Received,
    protocol: ipv4::Protocol,
    /// From the IP header on.
    packet: &'a [u8],
    /// What follows the IP headers.
    segment: &'a [u8],
}

impl Worker {
    /// A new socket.
    pub(crate) fn open_raw(
        &mut self,
        slot: u16,
        kind: RawKind,
        descriptor: Arc<SocketEnd>,
    ) -> Result<Outcome, Errno> {
        let Outcome::Opened { socket: id, cell } =
            self.open(slot, Transport::Datagram, descriptor)?
        else {
            return Err(Errno::NOBUFS);
        };
        let socket = self.sockets.find_mut(id).ok_or(Errno::NOBUFS)?;
        let recv = DatagramProducer::new(cell, socket.options.receive_buffer);
        socket.kind = Kind::Raw(Box::new(RawSocket::new(kind, recv)));
        if !kind.ping {
            let _ = self.raw_sockets.insert(id);
        }
        Ok(Outcome::Opened { socket: id, cell })
    }

    /// `bind()`, `connect()`. A port is the identifier of a ping socket's requests.
    pub(crate) fn raw_named(
        &mut self,
        id: SocketId,
        local: SocketAddr,
        remote: Option<SocketAddr>,
    ) {
        let Some(socket) = self.sockets.find_mut(id) else { return };
        let Kind::Raw(raw) = &mut socket.kind else { return };
        if raw.kind.ping && raw.datagram.local.is_none() {
            self.ping_ids.entry(local.port()).or_default().push(id);
        }
        raw.datagram.local = Some(local);
        raw.datagram.remote = remote;
    }

    /// A socket is about to be freed.
    pub(crate) fn raw_forgotten(
        &mut self,
        id: SocketId,
        (ping, local): (bool, Option<SocketAddr>),
    ) {
        let _ = self.raw_sockets.remove(&id);
        let number = local.map(|local| local.port()).filter(|_| ping);
        if let Some(number) = number
            && let Some(named) = self.ping_ids.get_mut(&number)
        {
            named.retain(|other| *other != id);
            if named.is_empty() {
                let _ = self.ping_ids.remove(&number);
            }
        }
    }

    /// A packet for this host, of a protocol that there are raw sockets for. `true`: one got it, or may
    /// get it from the worker that has them.
    #[cold]
    pub(crate) fn raw_input(
        &mut self,
        mbuf: &Mbuf,
        received: &Received,
        protocol: ipv4::Protocol,
        now: Instant,
    ) -> bool {
        let start = received.ip_offset;
        let end = start + received.ip_len + received.segment_len;
        let packet = mbuf.data().get(start..end).unwrap_or_default();
        if self.mesh.me == RAW_WORKER {
            let segment = received.segment(mbuf).unwrap_or_default();
            return self.raw_deliver(&Heard { received, protocol, packet, segment }, now);
        }
        let Some(mut copy) = self.out.pools.alloc_for(packet.len()) else {
            self.out.count_drop(DropReason::MbufExhausted);
            return true;
        };
        copy.data_mut().copy_from_slice(packet);
        let handoff = Handoff::Raw { interface: received.interface, mbuf: copy };
        if self.mesh.send(RAW_WORKER, handoff).is_err() {
            self.out.count_drop(DropReason::HandoffQueueFull);
        }
        true
    }

    /// A packet that another worker has taken in, checked, and handled but for sockets that are here.
    pub(crate) fn raw_handoff(&mut self, mbuf: &Mbuf, interface: u16, now: Instant) {
        let Some((received, protocol)) = checked(mbuf.data(), interface) else { return };
        let packet = mbuf.data();
        let segment = received.segment(mbuf).unwrap_or_default();
        let _ = self.raw_deliver(&Heard { received: &received, protocol, packet, segment }, now);
        if matches!(protocol, ipv4::Protocol::ICMP | ipv4::Protocol::ICMPV6) {
            // What concerns nobody here has been counted there.
            let _ = self.overheard(mbuf, &received, now);
        }
    }

    fn raw_deliver(&mut self, packet: &Heard<'_>, now: Instant) -> bool {
        let mut wanted = core::mem::take(&mut self.group_sockets);
        wanted.extend(
            self.raw_sockets
                .iter()
                .copied()
                .filter(|id| self.raw_by(*id, packet.received.interface, |raw| raw.takes(packet))),
        );
        let heard = !wanted.is_empty();
        let with_header = !packet.received.destination.is_ipv6();
        let payload = if with_header { packet.packet } else { packet.segment };
        for id in wanted.drain(..) {
            self.raw_push(id, packet.received, payload, now);
        }
        self.group_sockets = wanted;
        heard
    }

    fn raw_push(&mut self, id: SocketId, received: &Received, payload: &[u8], now: Instant) {
        let ancillary = received.ancillary(now);
        if self.udp_deliver(id, remote(received, 0), &ancillary, payload).is_err() {
            self.out.count_drop(DropReason::RawSocketFull);
        }
    }

    /// An answer to an echo request: for the socket that asked. It was for this host.
    pub(crate) fn ping_input(
        &mut self,
        mbuf: &Mbuf,
        received: &Received,
        id: u16,
        now: Instant,
    ) -> Result<(), DropReason> {
        let (local, remote) = (received.destination, received.source);
        let named = self.ping_ids.get(&id).into_iter().flatten();
        let asked = named.copied().find(|socket| {
            self.raw_by(*socket, received.interface, |raw| {
                raw.kind.inet6 == local.is_ipv6() && raw.is_between(local, remote)
            })
        });
        match (asked, received.segment(mbuf)) {
            (Some(asked), Some(message)) => {
                self.raw_push(asked, received, message, now);
                Ok(())
            }
            _ if received.heard => Ok(()),
            _ => Err(DropReason::IcmpEchoReply),
        }
    }

    /// Is it one that takes what comes by an interface, and this?
    fn raw_by(&self, id: SocketId, interface: u16, takes: impl Fn(&RawSocket) -> bool) -> bool {
        let options = self.sockets.find(id).map(|socket| socket.options);
        options.is_some_and(|options| options.device.takes(interface))
            && self.raw(id).is_some_and(takes)
    }

    fn raw(&self, id: SocketId) -> Option<&RawSocket> {
        match &self.sockets.find(id)?.kind {
            Kind::Raw(raw) => Some(raw),
            _ => None,
        }
    }

    /// Sockets that may have sent what an error quotes, of those that take what comes by its interface.
    fn senders(&self, about: &Quoted, report: &Report<'_>) -> Vec<SocketId> {
        let named = about.asked.and_then(|id| self.ping_ids.get(&id)).into_iter().flatten();
        let may = |id: &SocketId| match report.interface {
            Some(interface) => self.raw_by(*id, interface, |raw| about.may_be_of(raw)),
            None => self.raw(*id).is_some_and(|raw| about.may_be_of(raw)),
        };
        self.raw_sockets.iter().chain(named).copied().filter(may).collect()
    }

    /// Something has become of a packet of a protocol without ports: those learn it who may have sent it. `true`:
    /// somebody has.
    pub(crate) fn raw_error(&mut self, about: &Quoted, report: &Report<'_>) -> bool {
        let (_, remote) = about.ends;
        let to = SocketAddr::new(remote, 0);
        let mut told = false;
        for id in self.senders(about, report) {
            told |= self.report(id, to, report);
        }
        told
    }

    /// A router has said that such a packet did not fit. `true`: somebody here sends them.
    pub(crate) fn raw_path_mtu(
        &mut self,
        about: &Quoted,
        mtu: u16,
        report: &Report<'_>,
        now: Instant,
    ) -> bool {
        let known = !self.senders(about, report).is_empty();
        if known {
            self.path_mtus.lower(about.ends.1, mtu, now);
            let _ = self.raw_error(about, report);
        }
        known
    }
}

/// A packet that an error quotes, of a protocol without ports.
pub(crate) struct Quoted {
    /// Its addresses, ours first.
    pub ends: (IpAddr, IpAddr),
    /// Its protocol.
    pub protocol: ipv4::Protocol,
    /// The identifier if it is an echo request.
    pub asked: Option<u16>,
}

impl Quoted {
    /// May the socket have sent it?
    fn may_be_of(&self, raw: &RawSocket) -> bool {
        let (local, remote) = self.ends;
        raw.kind.inet6 == local.is_ipv6()
            && raw.kind.protocol == self.protocol.0
            && raw.is_between(local, remote)
    }
}

/// What a packet is that has been looked at before.
pub(crate) fn checked(bytes: &[u8], interface: u16) -> Option<(Received, ipv4::Protocol)> {
    let mut received = Received {
        interface,
        source: IpAddr::from([0; 4]),
        destination: IpAddr::from([0; 4]),
        to: Destination::Local,
        ip_offset: 0,
        ip_len: 0,
        segment_len: 0,
        verified: true,
        tos: 0,
        ttl: 0,
        heard: true,
    };
    if bytes.first().is_some_and(|byte| byte >> 4 == 6) {
        let packet = ipv6::Packet::parse(bytes).ok()?;
        let (header, chain) = (packet.header, packet.chain().ok()?);
        (received.source, received.destination) = (header.src().into(), header.dst().into());
        (received.ip_len, received.segment_len) = (chain.payload_at, chain.payload.len());
        (received.tos, received.ttl) = (header.traffic_class(), header.hop_limit);
        return Some((received, chain.protocol));
    }
    let packet = ipv4::Packet::parse(bytes).ok()?;
    let header = packet.header;
    (received.source, received.destination) = (header.src().into(), header.dst().into());
    (received.ip_len, received.segment_len) = (header.header_len(), packet.payload.len());
    (received.tos, received.ttl) = (header.tos, header.ttl);
    Some((received, header.protocol()))
}
