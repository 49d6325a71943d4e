//! From an IPv6 packet to the transport (RFC 8200).

use core::net::Ipv6Addr;

use dpdk::{ChecksumState, Mbuf};
use types::{DropReason, Instant};
use wire::{icmp6, ipv4, ipv6};

use crate::forward::Transit;
use crate::fragment_input::Fragment;
use crate::input::{Received, bad_l4_checksum};
use crate::network::{Destination, LOOPBACK};
use crate::worker::Worker;

/// Addresses of a packet.
pub(crate) struct Ends {
    pub(crate) source: Ipv6Addr,
    pub(crate) destination: Ipv6Addr,
    pub(crate) to: Destination,
}

impl Worker {
    /// The worker that took the packet in has counted it.
    pub(crate) fn ipv6_input(
        &mut self,
        mbuf: Mbuf,
        ip_offset: usize,
        interface: u16,
        now: Instant,
    ) -> Result<(), DropReason> {
        let bytes = mbuf.data().get(ip_offset..).ok_or(DropReason::Ipv6TooShort)?;
        let packet = ipv6::Packet::parse(bytes)?;
        let ends = self.check_ends(packet.header, interface)?;
        if ends.to == Destination::Remote {
            let transit = Transit { header: *packet.header, ip_offset, interface };
            return self.ipv6_forward(mbuf, &transit, now);
        }
        let mut received = Received {
            interface,
            source: ends.source.into(),
            destination: ends.destination.into(),
            to: ends.to,
            ip_offset,
            ip_len: ipv6::Header::LEN,
            segment_len: packet.payload.len(),
            verified: false,
            tos: packet.header.traffic_class(),
            ttl: packet.header.hop_limit,
            heard: false,
        };
        let chain = match packet.chain() {
            Ok(chain) => chain,
            Err(fault) => {
                self.parameter_problem(&mbuf, &received, fault.problem, now);
                return Err(fault.reason);
            }
        };
        // RFC 6980: whoever fragments neighbour discovery means harm.
        let is_discovery = chain.protocol == ipv4::Protocol::ICMPV6
            && matches!(chain.payload.first(), Some(133..=137));
        let is_first = chain.fragment.is_none_or(|fragment| fragment.header.offset() == 0);
        if chain.has_fragment_header && is_first && is_discovery {
            return Err(DropReason::NdpInvalid);
        }
        if let Some(fragment) = chain.fragment {
            let fragment = Fragment::of(packet.header, &fragment);
            return self.ipv6_fragment(mbuf, &fragment, &received, now);
        }
        received.ip_len = chain.payload_at;
        received.segment_len = chain.payload.len();
        received.verified = match mbuf.rx_l4_checksum() {
            ChecksumState::Bad => return Err(bad_l4_checksum(chain.protocol)),
            ChecksumState::Good => true,
            ChecksumState::Unknown => false,
        };
        let protocol = chain.protocol;
        let problem =
            ipv6::ParameterProblem::new(icmp6::Code::UNKNOWN_NEXT_HEADER.0, chain.protocol_at);
        if self.out.network.raw.has(true, protocol.0) {
            received.heard = self.raw_input(&mbuf, &received, protocol, now);
        }
        match protocol {
            ipv4::Protocol::TCP => self.tcp_input(mbuf, &received, now),
            ipv4::Protocol::UDP => self.udp_input(mbuf, &received, now),
            ipv4::Protocol::ICMPV6 => self.icmp6_input(mbuf, &received, now),
            _ if received.heard => Ok(()),
            _ => {
                self.parameter_problem(&mbuf, &received, Some(problem), now);
                Err(DropReason::Ipv6Protocol)
            }
        }
    }

    /// Martians, LAND and packets for others.
    pub(crate) fn check_ends(
        &self,
        header: &ipv6::Header,
        interface: u16,
    ) -> Result<Ends, DropReason> {
        let (source, destination) = (header.src(), header.dst());
        let addresses = &self.out.addresses;
        if interface != LOOPBACK {
            // To a program that is a host of IPv4; on no wire is it an address (RFC 4291 section 2.5.5.2).
            if source.to_ipv4_mapped().is_some() || destination.to_ipv4_mapped().is_some() {
                return Err(DropReason::Ipv6Source);
            }
            if source.is_multicast() || source.is_loopback() || destination.is_loopback() {
                return Err(DropReason::Ipv6Source);
            }
            // Only neighbour discovery has no source; it says more about that itself.
            if source.is_unspecified() && header.next_header != ipv4::Protocol::ICMPV6.0 {
                return Err(DropReason::Ipv6Source);
            }
            // Who has an address that we would like to have says so from there.
            let has_it = header.next_header == ipv4::Protocol::ICMPV6.0
                && addresses.is_sought6(source, interface);
            if addresses.classify6(source, interface) == Destination::Local && !has_it {
                return Err(DropReason::Ipv6Land);
            }
        }
        let is_passed_on =
            self.out.network.host.forward6 && interface != LOOPBACK && !destination.is_multicast();
        match addresses.classify6(destination, interface) {
            Destination::Remote if !is_passed_on => Err(DropReason::Ipv6NotForUs),
            to => Ok(Ends { source, destination, to }),
        }
    }
}
