//! The two versions of IP, as output sees them: by the type of an address.

use core::fmt::Debug;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use dpdk::Mbuf;
use types::{DropReason, Instant};
use wire::{Checksum, ethernet, ipv4, ipv6};
use zerocopy::network_endian::U16;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::address6::OnLink;
use crate::network::Destination;
use crate::output::{Hop, Output};
use crate::timer_wheel::Timers;

/// Lengths of the headers.
const IPV4_LEN: u16 = 20;
const IPV6_LEN: u16 = 40;
const _: () = assert!(IPV4_LEN as usize == ipv4::Header::LEN);
const _: () = assert!(IPV6_LEN as usize == ipv6::Header::LEN);

/// An IP version.
pub(crate) trait Family: Copy + Debug + Into<IpAddr> {
    /// Its header.
    type Header: FromBytes + IntoBytes + KnownLayout + Immutable + Unaligned + Copy + Debug;
    /// That one's length.
    const HEADER_LEN: u16;
    /// It is IPv4.
    const IS_IPV4: bool;
    /// Why a segment that is too large for the link is dropped.
    const TOO_BIG: DropReason;

    /// A header without length; source first.
    fn header(
        hosts: (Self, Self),
        protocol: ipv4::Protocol,
        ttl: u8,
        tos: u8,
    ) -> Option<Self::Header>;
    /// Fills in how long the segment is. `false`: that is too long.
    fn set_segment_len(header: &mut Self::Header, len: u32) -> bool;
    /// Lets routers cut the packet, where they do.
    fn allow_cut(header: &mut Self::Header, id: u32);
    /// Sends a packet that is too long for `hop` in pieces that fit.
    fn fragments(
        out: &mut Output,
        packet: &Mbuf,
        id: u32,
        hop: &Hop<Self>,
        now: Instant,
        timers: &mut Timers,
    );
    /// The sum of the pseudo header of a TCP segment, without length.
    fn pseudo(hosts: (Self, Self)) -> Checksum;
    /// The Ethernet header of packets along `hop`, if the neighbour there is known for sure.
    fn link_header(out: &mut Output, hop: &Hop<Self>, now: Instant) -> Option<ethernet::Header>;
    /// Hands a packet to the link.
    fn link(out: &mut Output, mbuf: Mbuf, hop: &Hop<Self>, now: Instant, timers: &mut Timers);
    /// Counts packets that were sent.
    fn count_sent(out: &Output, count: u32);
}

impl Family for Ipv4Addr {
    type Header = ipv4::Header;
    const HEADER_LEN: u16 = IPV4_LEN;
    const IS_IPV4: bool = true;
    const TOO_BIG: DropReason = DropReason::Ipv4TooBig;

    #[inline]
    fn header(
        (from, to): (Self, Self),
        protocol: ipv4::Protocol,
        ttl: u8,
        tos: u8,
    ) -> Option<ipv4::Header> {
        Some(ipv4::Header::new(from, to, protocol, 0)?.with_ttl(ttl).with_tos(tos))
    }

    #[inline]
    fn set_segment_len(header: &mut ipv4::Header, len: u32) -> bool {
        let len = u16::try_from(len).ok().and_then(|len| len.checked_add(IPV4_LEN));
        if let Some(len) = len {
            header.total_len = U16::new(len);
            *header = header.with_checksum();
        }
        len.is_some()
    }

    fn allow_cut(header: &mut ipv4::Header, id: u32) {
        // The lower half of a number that does not repeat before its 2^16th successor.
        let [_, _, a, b] = id.to_be_bytes();
        *header = header.with_id(u16::from_be_bytes([a, b])).with_dont_fragment(false);
    }

    fn fragments(
        out: &mut Output,
        packet: &Mbuf,
        _id: u32,
        hop: &Hop,
        now: Instant,
        timers: &mut Timers,
    ) {
        out.ipv4_fragments(packet, hop, now, timers);
    }

    fn pseudo((from, to): (Self, Self)) -> Checksum {
        Checksum::pseudo_v4(from, to, ipv4::Protocol::TCP.0, 0)
    }

    fn link_header(out: &mut Output, hop: &Hop, now: Instant) -> Option<ethernet::Header> {
        if hop.destination != Destination::Remote {
            return None;
        }
        let interface = out.network.interface(hop.interface).filter(|i| i.up)?;
        let neighbor = out.neighbors.mac(hop.next, now)?;
        Some(ethernet::Header::new(neighbor, interface.mac, ethernet::EtherType::IPV4))
    }

    fn link(out: &mut Output, mbuf: Mbuf, hop: &Hop, now: Instant, timers: &mut Timers) {
        out.link(mbuf, hop, now, timers);
    }

    fn count_sent(out: &Output, count: u32) {
        out.counters().ipv4.packets_sent.add(count.into());
    }
}

impl Family for Ipv6Addr {
    type Header = ipv6::Header;
    const HEADER_LEN: u16 = IPV6_LEN;
    const IS_IPV4: bool = false;
    const TOO_BIG: DropReason = DropReason::Ipv6TooBig;

    #[inline]
    fn header(
        (from, to): (Self, Self),
        protocol: ipv4::Protocol,
        ttl: u8,
        tos: u8,
    ) -> Option<ipv6::Header> {
        let header = ipv6::Header::new(from, to, protocol, 0)?;
        Some(header.with_hop_limit(ttl).with_traffic_class(tos))
    }

    #[inline]
    fn set_segment_len(header: &mut ipv6::Header, len: u32) -> bool {
        let len = u16::try_from(len).ok();
        if let Some(len) = len {
            header.payload_len = U16::new(len);
        }
        len.is_some()
    }

    fn allow_cut(_header: &mut ipv6::Header, _id: u32) {}

    fn fragments(
        out: &mut Output,
        packet: &Mbuf,
        id: u32,
        hop: &Hop<Self>,
        now: Instant,
        timers: &mut Timers,
    ) {
        out.ipv6_fragments(packet, id, hop, now, timers);
    }

    fn pseudo((from, to): (Self, Self)) -> Checksum {
        Checksum::pseudo_v6(from, to, ipv4::Protocol::TCP.0, 0)
    }

    fn link_header(out: &mut Output, hop: &Hop<Self>, now: Instant) -> Option<ethernet::Header> {
        if hop.destination != Destination::Remote {
            return None;
        }
        let interface = out.network.interface(hop.interface).filter(|i| i.up)?;
        let next = OnLink { address: hop.next, interface: hop.interface };
        let neighbor = out.neighbors6.mac(next, now)?;
        Some(ethernet::Header::new(neighbor, interface.mac, ethernet::EtherType::IPV6))
    }

    fn link(out: &mut Output, mbuf: Mbuf, hop: &Hop<Self>, now: Instant, timers: &mut Timers) {
        out.link6(mbuf, hop, now, timers);
    }

    fn count_sent(out: &Output, count: u32) {
        out.counters().ipv6.packets_sent.add(count.into());
    }
}
