//! Which of several equal next hops a packet takes: a number that all packets of a flow have in common, so
//! that they stay in their order (RFC 2991 2).

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use types::FlowKey;
use wire::ethernet::EtherType;
use wire::vlan::ADDRESSES_LEN;
use wire::{ipv4, ipv6};
use zerocopy::FromBytes;

/// What tells one flow from another.
#[derive(Clone, Copy, Debug, Default)]
struct Mix(u32);

impl Mix {
    #[inline]
    fn with(self, word: u32) -> Self {
        Self((self.0 ^ word).wrapping_mul(0x9e37_79b1).rotate_left(15))
    }

    fn with_address6(self, address: Ipv6Addr) -> Self {
        let words = address.octets();
        let words = words.as_chunks::<4>().0;
        words.iter().fold(self, |mix, word| mix.with(u32::from_be_bytes(*word)))
    }

    fn with_ports(self, source: u16, destination: u16) -> Self {
        self.with(u32::from(source) << 16 | u32::from(destination))
    }
}

/// Of packets of a host's own to another without ports.
#[inline]
pub(crate) fn to_host(to: Ipv4Addr) -> u32 {
    Mix::default().with(to.to_bits()).0
}

/// The same for IPv6.
pub(crate) fn to_host6(to: Ipv6Addr) -> u32 {
    Mix::default().with_address6(to).0
}

/// Of a socket's packets.
pub(crate) fn of_socket(flow: &FlowKey) -> u32 {
    let mix = match flow.remote_addr {
        IpAddr::V4(to) => Mix(to_host(to)),
        IpAddr::V6(to) => Mix(to_host6(to)),
    };
    mix.with_ports(flow.local_port, flow.remote_port).0
}

/// Of a packet for others. A fragment goes the way of its packet's others, which have no ports to look at.
pub(crate) fn of_ipv4(header: &ipv4::Header, payload: &[u8]) -> u32 {
    let mix = Mix(header.protocol.into()).with(header.src().to_bits()).with(header.dst().to_bits());
    let whole = header.fragment_offset() == 0 && !header.more_fragments();
    ports(header.protocol(), payload).filter(|_| whole).map_or(mix, |(s, d)| mix.with_ports(s, d)).0
}

/// The same for IPv6; what has no ports at once behind the header has its flow label (RFC 6438).
pub(crate) fn of_ipv6(header: &ipv6::Header, payload: &[u8]) -> u32 {
    let protocol = ipv4::Protocol(header.next_header);
    let mix = Mix(header.next_header.into());
    let mix = mix.with_address6(header.src()).with_address6(header.dst());
    match ports(protocol, payload) {
        Some((source, destination)) => mix.with_ports(source, destination).0,
        None => mix.with(header.flow_label()).0,
    }
}

/// Of a frame, whatever is in it: addresses and ports behind its tags, or else its stations.
#[inline]
pub(crate) fn of_frame(frame: &[u8]) -> u32 {
    of_packet(frame).unwrap_or_else(|| {
        let stations = frame.first_chunk::<12>().map_or(&[][..], |both| both.as_slice());
        let words = stations.as_chunks::<4>().0.iter();
        words.fold(Mix::default(), |mix, word| mix.with(u32::from_be_bytes(*word))).0
    })
}

fn of_packet(frame: &[u8]) -> Option<u32> {
    let mut rest = frame.get(ADDRESSES_LEN..)?;
    loop {
        let (kind, payload) = rest.split_first_chunk()?;
        let kind = EtherType(u16::from_be_bytes(*kind));
        match kind {
            EtherType::VLAN | EtherType::SERVICE_VLAN => rest = payload.get(2..)?,
            EtherType::IPV4 => {
                let (header, _) = ipv4::Header::ref_from_prefix(payload).ok()?;
                return Some(of_ipv4(header, payload.get(header.header_len()..)?));
            }
            EtherType::IPV6 => {
                let (header, payload) = ipv6::Header::ref_from_prefix(payload).ok()?;
                return Some(of_ipv6(header, payload));
            }
            _ => return None,
        }
    }
}

fn ports(protocol: ipv4::Protocol, payload: &[u8]) -> Option<(u16, u16)> {
    let has_ports = matches!(protocol, ipv4::Protocol::TCP | ipv4::Protocol::UDP);
    let [a, b, c, d] = *payload.first_chunk().filter(|_| has_ports)?;
    Some((u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d])))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fragments_of_a_packet_go_one_way_and_flows_have_their_own() {
        let (source, destination) = (Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::new(10, 1, 0, 1));
        let whole = ipv4::Header::new(source, destination, ipv4::Protocol::UDP, 8).unwrap();
        let fragment = |word| {
            let mut header = whole;
            header.flags_fragment.set(word);
            header
        };
        let [one, two] = [[0, 1, 0, 2], [0, 3, 0, 2]];
        assert_ne!(of_ipv4(&whole, &one), of_ipv4(&whole, &two), "another port");
        let (first, last) = (fragment(0x2000), fragment(100));
        assert_eq!(of_ipv4(&first, &one), of_ipv4(&last, &two), "the second has text there");
    }

    #[test]
    fn a_frame_has_its_packets_flow_behind_any_tags_and_else_its_stations() {
        let (source, destination) = (Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::new(10, 1, 0, 1));
        let packet = |port: u8| {
            let header = ipv4::Header::new(source, destination, ipv4::Protocol::UDP, 8).unwrap();
            [zerocopy::IntoBytes::as_bytes(&header), &[0, port, 0, 2, 0, 8, 0, 0]].concat()
        };
        let frame = |tags: &[u8], port| [&[2; 12], tags, &[8, 0], &packet(port)].concat();
        let tags = [0x88, 0xa8, 0, 5, 0x81, 0, 0, 7];
        assert_eq!(of_frame(&frame(&[], 1)), of_frame(&frame(&tags, 1)));
        assert_ne!(of_frame(&frame(&tags, 1)), of_frame(&frame(&tags, 2)));
        let other =
            |station| of_frame(&[&[2, 2, 2, 2, 2, station][..], &[2; 6], &[8, 6, 0]].concat());
        assert_ne!(other(1), other(2), "no packet of IP");
        for len in 0..46 {
            let _ = of_frame(&frame(&tags, 1)[..len]);
        }
    }
}
