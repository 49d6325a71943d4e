//! Frames from the peer, sound or spoiled.

use core::net::Ipv4Addr;

use wire::{IntoBytes, arp, checksum::Checksum, ethernet, icmp, ipv4, tcp, udp};

use crate::{LOCAL, LOCAL_MAC, PEER, PEER_MAC};

/// A small generator of random numbers (splitmix64): the same seed gives the same frames.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// From a seed.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `end`, 0 if `end` is.
    pub fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.number() % (end.max(1) as u64)).unwrap_or(0)
    }

    /// A 32-bit word.
    pub fn word(&mut self) -> u32 {
        u32::try_from(self.number() >> 32).unwrap_or(0)
    }

    /// A port above the privileged ones.
    pub fn port(&mut self) -> u16 {
        u16::try_from(self.number() >> 48).unwrap_or(0) | 1024
    }

    /// A byte.
    pub fn byte(&mut self) -> u8 {
        self.number().to_le_bytes()[0]
    }
}

/// A TCP segment from the peer.
#[derive(Clone, Copy, Debug)]
pub struct Segment<'a> {
    /// Source port.
    pub src_port: u16,
    /// Destination port.
    pub dst_port: u16,
    /// SEG.SEQ.
    pub seq: u32,
    /// SEG.ACK.
    pub ack: u32,
    /// Control bits.
    pub flags: u8,
    /// Options, a multiple of four bytes.
    pub options: &'a [u8],
    /// Text.
    pub text: &'a [u8],
}

/// Ethernet and IPv4 in front of a transport segment from the peer.
#[must_use]
pub fn ipv4(protocol: ipv4::Protocol, segment: &[u8]) -> Vec<u8> {
    let mut out =
        ethernet::Header::new(LOCAL_MAC, PEER_MAC, ethernet::EtherType::IPV4).as_bytes().to_vec();
    if let Some(header) = ipv4::Header::new(PEER, LOCAL, protocol, segment.len()) {
        out.extend_from_slice(header.with_checksum().as_bytes());
    }
    out.extend_from_slice(segment);
    out
}

/// A TCP segment as a frame.
#[must_use]
pub fn tcp(segment: &Segment<'_>) -> Vec<u8> {
    let Segment { src_port, dst_port, seq, ack, flags, options, text } = *segment;
    let header = tcp::Header::new(src_port, dst_port, seq, ack, flags, 0xffff);
    let header = header.with_options_len(options.len()).unwrap_or(header);
    let header = header.with_checksum(PEER, LOCAL, options, text);
    ipv4(ipv4::Protocol::TCP, &[header.as_bytes(), options, text].concat())
}

/// A UDP datagram as a frame.
#[must_use]
pub fn udp(src_port: u16, dst_port: u16, payload: &[u8]) -> Vec<u8> {
    let header = udp::Header::new(src_port, dst_port, payload.len());
    let header = header.map(|h| h.with_checksum(PEER, LOCAL, payload));
    let header = header.as_ref().map(IntoBytes::as_bytes).unwrap_or_default();
    ipv4(ipv4::Protocol::UDP, &[header, payload].concat())
}

/// An echo request as a frame.
#[must_use]
pub fn echo(payload: &[u8]) -> Vec<u8> {
    let header = icmp::Header::echo_request(7, 1).with_checksum(payload);
    ipv4(ipv4::Protocol::ICMP, &[header.as_bytes(), payload].concat())
}

/// "Destination unreachable" about a packet of ours, as a frame.
#[must_use]
pub fn unreachable(code: icmp::Code, quoted: &[u8]) -> Vec<u8> {
    let header = icmp::Header::destination_unreachable(code).with_checksum(quoted);
    ipv4(ipv4::Protocol::ICMP, &[header.as_bytes(), quoted].concat())
}

/// A packet that we might have sent, for quoting.
#[must_use]
pub fn quoted(protocol: ipv4::Protocol, src_port: u16, dst_port: u16, seq: u32) -> Vec<u8> {
    let mut segment = [src_port.to_be_bytes(), dst_port.to_be_bytes()].concat();
    segment.extend_from_slice(&seq.to_be_bytes());
    let header = ipv4::Header::new(LOCAL, PEER, protocol, segment.len());
    let header = header.map(ipv4::Header::with_checksum);
    [header.as_ref().map(IntoBytes::as_bytes).unwrap_or_default(), &segment].concat()
}

/// An ARP packet as a frame.
#[must_use]
pub fn arp(request: bool) -> Vec<u8> {
    let ask = arp::Packet::request(PEER_MAC, PEER, LOCAL);
    let packet = if request {
        ask
    } else {
        arp::Packet { operation: arp::Operation::Reply, target_mac: LOCAL_MAC, ..ask }
    };
    let header = ethernet::Header::new(LOCAL_MAC, PEER_MAC, ethernet::EtherType::ARP);
    let mut out = [header.as_bytes(), packet.emit().as_bytes()].concat();
    out.resize(ethernet::MIN_FRAME, 0);
    out
}

/// Makes the checksums right again after a mutation, as far as the lengths allow.
pub fn repair(frame: &mut [u8]) {
    let Some(packet) = frame.get_mut(ethernet::Header::LEN..) else { return };
    let Some(first) = packet.first() else { return };
    let header_len = usize::from(first & 0xf) * 4;
    if header_len < ipv4::Header::LEN || packet.len() < header_len {
        return;
    }
    let total = usize::from(u16::from_be_bytes([packet[2], packet[3]])).min(packet.len());
    put(packet, 10, 0);
    let sum = Checksum::new().sum(&packet[..header_len]).finish();
    put(packet, 10, sum);
    let protocol = packet[9];
    let address = |at: usize, p: &[u8]| Ipv4Addr::new(p[at], p[at + 1], p[at + 2], p[at + 3]);
    let (src, dst) = (address(12, packet), address(16, packet));
    let Some(segment) = packet.get_mut(header_len..total) else { return };
    let (at, pseudo) = match protocol {
        6 => (16, true),
        17 => (6, true),
        1 => (2, false),
        _ => return,
    };
    if segment.len() < at + 2 {
        return;
    }
    put(segment, at, 0);
    let len = u16::try_from(segment.len()).unwrap_or(u16::MAX);
    let start = if pseudo { Checksum::pseudo_v4(src, dst, protocol, len) } else { Checksum::new() };
    let sum = start.sum(segment).finish();
    put(segment, at, if sum == 0 && protocol == 17 { 0xffff } else { sum });
}

fn put(bytes: &mut [u8], at: usize, value: u16) {
    if let Some(place) = bytes.get_mut(at..at + 2) {
        place.copy_from_slice(&value.to_be_bytes());
    }
}

/// Spoils a frame: bits, bytes, lengths, ends; then perhaps makes its checksums right again.
pub fn spoil(frame: &mut Vec<u8>, random: &mut Random) {
    for _ in 0..=random.below(3) {
        match random.below(8) {
            0 | 1 => flip(frame, random, usize::MAX),
            // The headers, where a flip matters more.
            2 | 3 => flip(frame, random, 74),
            4 => {
                let len = random.below(frame.len() + 1);
                frame.truncate(len);
            }
            5 => {
                let extra = random.below(64);
                frame.extend((0..extra).map(|_| random.byte()));
            }
            6 => put(frame, 16, u16::from_be_bytes([random.byte() & 7, random.byte()])),
            _ => {
                let (at, value) = (14 + random.below(40), random.number().to_le_bytes());
                put(frame, at, u16::from_le_bytes([value[0], value[1]]));
            }
        }
    }
    frame.truncate(1800);
    if random.below(10) < 8 {
        repair(frame);
    }
}

fn flip(frame: &mut [u8], random: &mut Random, end: usize) {
    let at = random.below(end.min(frame.len()));
    let bit = random.below(8);
    if let Some(byte) = frame.get_mut(at) {
        *byte ^= 1 << bit;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repair_leaves_sound_frames_alone() {
        let segment = Segment {
            src_port: 1,
            dst_port: 2,
            seq: 3,
            ack: 4,
            flags: 0x18,
            options: &[1, 1, 1, 0],
            text: b"odd",
        };
        for sound in [tcp(&segment), udp(1, 2, b"hello"), echo(b"x")] {
            let mut frame = sound.clone();
            repair(&mut frame);
            assert_eq!(frame, sound);
        }
    }
}
