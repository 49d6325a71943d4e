//! The format: UDP's, with the checksum's coverage in place of the length (RFC 3828 3).

use core::net::Ipv4Addr;
use core::ops::Range;

use lsm_sdk::{Interface, Name};

/// IPv4's number of UDP-Lite.
pub(crate) const PROTOCOL: u8 = 136;
/// Source port, destination port, coverage, checksum.
pub(crate) const HEADER_LEN: usize = 8;
const IP_HEADER_LEN: usize = 20;

/// A datagram whose checksum is right as far as it goes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Datagram {
    pub(crate) from: Name,
    pub(crate) to: Name,
    /// Where in the packet its text is.
    pub(crate) text: Range<usize>,
    /// Bytes that the checksum covers, and whether these are all.
    pub(crate) covered: usize,
    pub(crate) is_covered: bool,
}

impl Datagram {
    /// Reads one, from the IP header on, which has been checked.
    pub(crate) fn parse(packet: &[u8]) -> Option<Self> {
        let ip_len = usize::from(packet.first()? & 0xf) * 4;
        let address = |at: usize| Some(Ipv4Addr::from(*packet.get(at..)?.first_chunk::<4>()?));
        let (source, destination) = (address(12)?, address(16)?);
        let datagram = packet.get(ip_len.max(IP_HEADER_LEN)..)?;
        let (covered, port_from) = (word(datagram, 4)?, word(datagram, 0)?);
        // RFC 3828 3.1: 0 is all; what covers less than the header is discarded, and so is what has no sum.
        let covered = match usize::from(covered) {
            0 => datagram.len(),
            covered => covered,
        };
        if covered < HEADER_LEN || covered > datagram.len() || word(datagram, 6)? == 0 {
            return None;
        }
        let sum = pseudo_header(source, destination, datagram.len())?;
        if fold(add(sum, datagram.get(..covered)?)) != 0xffff {
            return None;
        }
        Some(Self {
            from: Name::ipv4(source, port_from),
            to: Name::ipv4(destination, word(datagram, 2)?),
            text: packet.len() - datagram.len() + HEADER_LEN..packet.len(),
            covered,
            is_covered: covered == datagram.len(),
        })
    }
}

/// Writes header and text, of which the checksum covers `coverage` bytes; 0: all.
pub(crate) fn fill(
    datagram: &mut [u8],
    (from, to): (Name, Name),
    text: &[u8],
    coverage: usize,
) -> Option<()> {
    let len = datagram.len();
    let covered = match coverage {
        0 => len,
        some => some.clamp(HEADER_LEN, len),
    };
    let field = if covered == len { 0 } else { u16::try_from(covered).ok()? };
    let (header, rest) = datagram.split_at_mut_checked(HEADER_LEN)?;
    for (place, value) in header.chunks_exact_mut(2).zip([from.port, to.port, field, 0]) {
        place.copy_from_slice(&value.to_be_bytes());
    }
    if rest.len() != text.len() {
        return None;
    }
    rest.copy_from_slice(text);
    let sum = pseudo_header(from.to_ipv4(), to.to_ipv4(), len)?;
    let checksum = match !fold(add(sum, datagram.get(..covered)?)) {
        // There is always a sum (RFC 3828 3.1).
        0 => 0xffff,
        sum => sum,
    };
    datagram.get_mut(6..HEADER_LEN)?.copy_from_slice(&checksum.to_be_bytes());
    Some(())
}

/// The address that a packet to there comes from: of its own network, or the first there is.
pub(crate) fn source_for(interfaces: &[Interface], to: Ipv4Addr) -> Option<Ipv4Addr> {
    let is_near = |(ours, len): &(Ipv4Addr, u8)| {
        let mask = u32::MAX.checked_shl(32 - u32::from(*len)).unwrap_or(0);
        (ours.to_bits() ^ to.to_bits()) & mask == 0
    };
    let addresses = || interfaces.iter().filter(|i| !i.loopback).filter_map(|i| i.address);
    addresses().find(is_near).or_else(|| addresses().next()).map(|(ours, _)| ours)
}

fn word(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk::<2>().map(|bytes| u16::from_be_bytes(*bytes))
}

/// UDP's, with the IP payload's length (RFC 3828 3.1).
fn pseudo_header(from: Ipv4Addr, to: Ipv4Addr, len: usize) -> Option<u32> {
    let len = u16::try_from(len).ok()?.to_be_bytes();
    let sum = add(add(0, &from.octets()), &to.octets());
    Some(add(add(sum, &[0, PROTOCOL]), &len))
}

/// Adds 16-bit words; an odd byte at the end counts as if a zero followed. A packet's sum fits.
fn add(sum: u32, bytes: &[u8]) -> u32 {
    bytes.chunks(2).fold(sum, |sum, pair| {
        let high = pair.first().map_or(0, |byte| u32::from(*byte) << 8);
        sum + high + pair.get(1).map_or(0, |byte| u32::from(*byte))
    })
}

fn fold(mut sum: u32) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    u16::try_from(sum).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(text: &[u8], coverage: usize) -> Vec<u8> {
        let mut packet = vec![0x45; IP_HEADER_LEN + HEADER_LEN + text.len()];
        packet[12..20].copy_from_slice(&[198, 18, 77, 1, 198, 18, 77, 2]);
        let ends = (Name::ipv4([198, 18, 77, 1].into(), 5), Name::ipv4([198, 18, 77, 2].into(), 7));
        fill(&mut packet[IP_HEADER_LEN..], ends, text, coverage).unwrap();
        packet
    }

    #[test]
    fn what_is_covered_must_be_whole_and_the_rest_need_not() {
        for coverage in [0, 8, 9, 12, 1000] {
            let whole = packet(b"some text", coverage);
            let read = Datagram::parse(&whole).unwrap();
            assert_eq!((read.from.port, read.to.port), (5, 7));
            assert_eq!(&whole[read.text], b"some text", "coverage {coverage}");
            for at in 12..whole.len() {
                let mut bent = whole.clone();
                bent[at] ^= 0x10;
                let covered = if matches!(coverage, 0 | 1000) { 17 } else { coverage };
                let seen = at < 20 + covered;
                assert_eq!(
                    Datagram::parse(&bent).is_none(),
                    seen,
                    "byte {at}, coverage {coverage}"
                );
            }
        }
    }

    #[test]
    fn a_coverage_below_the_header_or_beyond_the_datagram_is_discarded() {
        for coverage in [1u16, 7, 18, 0xffff] {
            let mut wrong = packet(b"some text", 0);
            wrong[24..26].copy_from_slice(&coverage.to_be_bytes());
            assert_eq!(Datagram::parse(&wrong), None, "{coverage}");
        }
        for len in 0..28 {
            assert_eq!(Datagram::parse(&packet(b"", 0)[..len]), None, "{len} bytes");
        }
    }

    #[test]
    fn the_source_is_of_the_destinations_network_if_there_is_one() {
        let interface = |address: [u8; 4]| Interface {
            index: 1,
            name: "tap0".into(),
            mac: [2, 0, 0, 0, 0, 1],
            mtu: 1500,
            up: true,
            running: true,
            loopback: false,
            address: Some((address.into(), 24)),
        };
        let both = [interface([10, 0, 0, 1]), interface([198, 18, 77, 2])];
        let source = |to: [u8; 4]| source_for(&both, to.into()).unwrap().octets();
        assert_eq!(source([198, 18, 77, 9]), [198, 18, 77, 2]);
        assert_eq!(source([8, 8, 8, 8]), [10, 0, 0, 1]);
        assert_eq!(source_for(&[], [8, 8, 8, 8].into()), None);
    }
}
