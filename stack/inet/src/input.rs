//! From a frame to the transport: Ethernet, ARP, IPv4. IPv6 is in `input6.rs`.
//!
//! Each function takes a frame a step further or returns the [`DropReason`]; [`Worker::input`]
//! counts it. A frame that is handed on leaves by `Ok`.

use core::net::{IpAddr, Ipv4Addr};

use dpdk::{ChecksumState, Mbuf};
use shm::Ancillary;
use types::{DropReason, Instant};
use wire::{arp, ethernet, ipv4};

use crate::command::Handoff;
use crate::forward::Transit;
use crate::hearing::Subject;
use crate::network::{Destination, LOOPBACK};
use crate::output::ip_version;
use crate::worker::Worker;

/// What a transport needs to know about the packet that carried a segment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Received {
    /// Interface it came in on.
    pub interface: u16,
    /// Source address.
    pub source: IpAddr,
    /// Destination address.
    pub destination: IpAddr,
    /// What the destination is to us.
    pub to: Destination,
    /// Offset of the IP header in the first buffer.
    pub ip_offset: usize,
    /// Length of the IP header, extension headers with it.
    pub ip_len: usize,
    /// Length of the transport segment.
    pub segment_len: usize,
    /// The transport checksum needs no check: the port did it.
    pub verified: bool,
    /// Type of service, or traffic class.
    pub tos: u8,
    /// Time to live, or hop limit.
    pub ttl: u8,
    /// Raw sockets have got it.
    pub heard: bool,
}

impl Received {
    /// Both addresses, source first, of an IPv4 packet.
    #[must_use]
    pub(crate) fn ipv4(&self) -> Option<(Ipv4Addr, Ipv4Addr)> {
        match (self.source, self.destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => Some((source, destination)),
            _ => None,
        }
    }

    /// What a socket's user may know of the packet besides its payload.
    #[must_use]
    pub(crate) fn ancillary(&self, now: Instant) -> Ancillary {
        Ancillary {
            local: Some(self.destination),
            interface: self.interface.into(),
            ttl: Some(self.ttl),
            tos: Some(self.tos),
            at_ns: now.as_nanos(),
            segment: None,
        }
    }

    /// The transport segment in the packet that carried it.
    #[must_use]
    pub(crate) fn segment<'a>(&self, mbuf: &'a Mbuf) -> Option<&'a [u8]> {
        let start = self.ip_offset + self.ip_len;
        mbuf.data().get(start..start + self.segment_len)
    }
}

impl Worker {
    /// One frame from a port.
    pub(crate) fn input(&mut self, mut mbuf: Mbuf, interface: u16, now: Instant) {
        if !mbuf.linearize() {
            return self.out.count_drop(DropReason::MbufChain);
        }
        if let Err(reason) = self.ethernet_input(mbuf, interface, now) {
            self.out.count_drop(reason);
        }
    }

    pub(crate) fn ethernet_input(
        &mut self,
        mbuf: Mbuf,
        interface: u16,
        now: Instant,
    ) -> Result<(), DropReason> {
        let network = &self.out.network;
        let config = network.interface(interface).ok_or(DropReason::InterfaceDown)?;
        if !config.up {
            return Err(DropReason::InterfaceDown);
        }
        let frame = ethernet::Frame::parse(mbuf.data())?;
        let to = frame.header.dst();
        if !to.is_group() && to != config.mac {
            let is_tagged = wire::vlan::Kind::of(frame.header.ethertype()).is_some();
            if is_tagged && network.links.carries_members(interface) {
                return self.vlan_input(mbuf, interface, now);
            }
            return Err(DropReason::EthernetNotForUs);
        }
        match frame.header.ethertype() {
            ethernet::EtherType::IPV4 => {
                self.counters.ipv4.packets_received.increment();
                self.ipv4_input(mbuf, ethernet::Header::LEN, interface, now)
            }
            ethernet::EtherType::IPV6 => {
                self.counters.ipv6.packets_received.increment();
                self.ipv6_input(mbuf, ethernet::Header::LEN, interface, now)
            }
            ethernet::EtherType::ARP => self.arp_input(&mbuf, interface, now),
            ethernet::EtherType::VLAN | ethernet::EtherType::SERVICE_VLAN => {
                self.vlan_input(mbuf, interface, now)
            }
            kind => self.ethertype_input(kind, mbuf, interface),
        }
    }

    /// RFC 826, with the checks of RFC 5227: nobody may claim our address or a group's.
    fn arp_input(&mut self, mbuf: &Mbuf, interface: u16, now: Instant) -> Result<(), DropReason> {
        let frame = ethernet::Frame::parse(mbuf.data())?;
        let packet = arp::Packet::parse(frame.payload)?;
        self.counters.arp.packets_received.increment();
        let (sender, mac) = (packet.sender_ip, packet.sender_mac);
        if !mac.is_unicast() || mac != frame.header.src() || sender.is_multicast() {
            return Err(DropReason::ArpSender);
        }
        let network = self.out.network.clone();
        let config = network.interface(interface).ok_or(DropReason::InterfaceDown)?;
        let ours = |address| config.addresses.iter().any(|a| a.address == address);
        // Who has an address of the link's own, or looks for one that is not ours yet (RFC 3927 2.2.1, 2.5).
        let is_rival = packet.is_probe() && !ours(packet.target_ip);
        let about = if is_rival { packet.target_ip } else { sender };
        if config.arp_watched == Some(about) && mac != config.mac {
            return self.let_hear_frame(Subject::Duplicates, mbuf, interface, now);
        }
        if ours(sender) {
            if !self.arp_defences.permit(now) {
                return Err(DropReason::ArpConflict);
            }
            let defence = arp::Packet::announcement(config.mac, sender);
            self.out.arp(defence, interface, types::MacAddr::BROADCAST);
            return Err(DropReason::ArpConflict);
        }
        let for_us = ours(packet.target_ip);
        if !sender.is_unspecified() && !sender.is_broadcast() {
            let waiting = self.out.neighbors.hear(sender, mac, interface, for_us, now);
            self.out.neighbor_learned(waiting, mac, interface);
            self.mesh.neighbor(sender.into(), mac, interface, for_us, now);
        }
        let station = if for_us {
            Some(config.mac)
        } else {
            // RFC 1027; who looks whether his own address is taken is not told that it is.
            let others = network.published(packet.target_ip, interface);
            others.filter(|_| sender != packet.target_ip)
        };
        let station = station.ok_or(DropReason::ArpNotForUs)?;
        if packet.operation == arp::Operation::Request {
            // So that all hear who has an address of the link's own (RFC 3927 2.5).
            let of_link = packet.target_ip.is_link_local();
            let whom = if of_link { types::MacAddr::BROADCAST } else { mac };
            self.out.arp(packet.reply(station), interface, whom);
        }
        Ok(())
    }

    /// A packet that was sent to one of our own addresses.
    pub(crate) fn loopback_input(&mut self, mbuf: Mbuf, now: Instant) {
        if ip_version(&mbuf) == 6 {
            self.counters.ipv6.packets_received.increment();
        } else {
            self.counters.ipv4.packets_received.increment();
        }
        self.ip_input(mbuf, LOOPBACK, now);
    }

    /// A packet without link header, of either version.
    pub(crate) fn ip_input(&mut self, mbuf: Mbuf, interface: u16, now: Instant) {
        let result = if ip_version(&mbuf) == 6 {
            self.ipv6_input(mbuf, 0, interface, now)
        } else {
            self.ipv4_input(mbuf, 0, interface, now)
        };
        if let Err(reason) = result {
            self.out.count_drop(reason);
        }
    }

    /// RFC 791 and the checks of RFC 1122 3.2.1. The worker that took the packet in has counted it.
    pub(crate) fn ipv4_input(
        &mut self,
        mbuf: Mbuf,
        ip_offset: usize,
        interface: u16,
        now: Instant,
    ) -> Result<(), DropReason> {
        let bytes = mbuf.data().get(ip_offset..).ok_or(DropReason::Ipv4TooShort)?;
        let packet = ipv4::Packet::parse(bytes)?;
        match mbuf.rx_ip_checksum() {
            ChecksumState::Bad => return Err(DropReason::Ipv4Checksum),
            ChecksumState::Good => {}
            ChecksumState::Unknown => packet.verify()?,
        }
        let (source, destination) = (packet.header.src(), packet.header.dst());
        let protocol = packet.header.protocol();
        // A bridge that asks in the place of a router has no address (RFC 4541 2.1.1).
        let is_bridges = protocol == ipv4::Protocol::IGMP && source.is_unspecified();
        let to = if is_bridges && destination.is_multicast() {
            Destination::Multicast
        } else {
            self.check_addresses(source, destination, interface)?
        };
        if packet.has_source_route()? {
            return Err(DropReason::Ipv4SourceRoute);
        }
        if to == Destination::Remote {
            let transit = Transit { header: *packet.header, ip_offset, interface };
            return self.ipv4_forward(mbuf, &transit, now);
        }
        if packet.is_fragment() {
            let (header, len) = (*packet.header, packet.payload.len());
            return self.ipv4_fragment(mbuf, (&header, len), (ip_offset, interface), now);
        }
        let mut received = Received {
            interface,
            source: source.into(),
            destination: destination.into(),
            to,
            ip_offset,
            ip_len: packet.header.header_len(),
            segment_len: packet.payload.len(),
            verified: match mbuf.rx_l4_checksum() {
                ChecksumState::Bad => return Err(bad_l4_checksum(protocol)),
                ChecksumState::Good => true,
                ChecksumState::Unknown => false,
            },
            tos: packet.header.tos,
            ttl: packet.header.ttl,
            heard: false,
        };
        if self.out.network.raw.has(false, protocol.0) {
            received.heard = self.raw_input(&mbuf, &received, protocol, now);
        }
        match protocol {
            ipv4::Protocol::TCP => self.tcp_input(mbuf, &received, now),
            ipv4::Protocol::UDP => self.udp_input(mbuf, &received, now),
            ipv4::Protocol::ICMP => self.icmp_input(mbuf, &received, now),
            ipv4::Protocol::IGMP => self.igmp_input(&mbuf, &received, now),
            protocol => self.protocol_input(protocol, mbuf, &received, now),
        }
    }

    /// Martians, LAND, and packets for others where those are not passed on.
    pub(crate) fn check_addresses(
        &self,
        source: Ipv4Addr,
        destination: Ipv4Addr,
        interface: u16,
    ) -> Result<Destination, DropReason> {
        let addresses = &self.out.addresses;
        if interface != LOOPBACK {
            if source.is_unspecified() || source.is_loopback() || destination.is_loopback() {
                return Err(DropReason::Ipv4Source);
            }
            match addresses.classify(source) {
                Destination::Remote => {}
                Destination::Local => return Err(DropReason::Ipv4Land),
                Destination::Broadcast | Destination::Multicast => {
                    return Err(DropReason::Ipv4Source);
                }
            }
        }
        match addresses.classify(destination) {
            Destination::Remote if !self.out.network.host.forward || interface == LOOPBACK => {
                Err(DropReason::Ipv4NotForUs)
            }
            Destination::Multicast if !addresses.is_member(destination.into(), interface) => {
                Err(DropReason::Ipv4NotMember)
            }
            to => Ok(to),
        }
    }

    /// Hands a packet to the worker that owns its flow.
    pub(crate) fn hand_over(
        &mut self,
        mut mbuf: Mbuf,
        received: &Received,
        to: u16,
    ) -> Result<(), DropReason> {
        if !drop_front(&mut mbuf, received.ip_offset) {
            return Err(DropReason::Ipv4TooShort);
        }
        let packet = Handoff::Packet { interface: received.interface, mbuf };
        self.counters.worker.handoffs.increment();
        self.mesh.send(to, packet).map_err(|_| DropReason::HandoffQueueFull)
    }
}

pub(crate) fn bad_l4_checksum(protocol: ipv4::Protocol) -> DropReason {
    match protocol {
        ipv4::Protocol::UDP => DropReason::UdpChecksum,
        ipv4::Protocol::ICMPV6 => DropReason::Icmp6Checksum,
        _ => DropReason::TcpChecksum,
    }
}

/// Takes bytes off the front; `false` if there are fewer.
pub(crate) fn drop_front(mbuf: &mut Mbuf, len: usize) -> bool {
    u16::try_from(len).is_ok_and(|len| mbuf.adjust(len))
}
