//! A segment as scripts see it, and its form on the wire: IPv4, TCP, options.
//!
//! The option codec is our own and not the engine's, so that a mistake there does not cancel out.

use std::net::Ipv4Addr;

/// Control bits and their names in scripts.
pub(crate) const FLAGS: [(&str, u8); 8] = [
    ("FIN", 1),
    ("SYN", 1 << 1),
    ("RST", 1 << 2),
    ("PSH", 1 << 3),
    ("ACK", 1 << 4),
    ("URG", 1 << 5),
    ("ECE", 1 << 6),
    ("CWR", 1 << 7),
];

pub(crate) const SYN: u8 = 1 << 1;
pub(crate) const PSH: u8 = 1 << 3;
pub(crate) const ACK: u8 = 1 << 4;

/// One segment, absolute numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Segment {
    pub(crate) seq: u32,
    pub(crate) ack: u32,
    pub(crate) flags: u8,
    pub(crate) window: u16,
    pub(crate) urgent: u16,
    pub(crate) options: Options,
    pub(crate) text: Vec<u8>,
    /// The codepoint of RFC 3168 in the IP header.
    pub(crate) ecn: u8,
}

/// Its options.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Options {
    pub(crate) mss: Option<u16>,
    pub(crate) scale: Option<u8>,
    pub(crate) sack_permitted: bool,
    /// TSval and TSecr.
    pub(crate) timestamps: Option<(u32, u32)>,
    pub(crate) sack: Vec<(u32, u32)>,
    /// Empty: a request for a cookie.
    pub(crate) fast_open: Option<Vec<u8>>,
    /// Bytes put in front of all others, for what no well-behaved peer sends.
    pub(crate) raw: Vec<u8>,
}

const MSS: u8 = 2;
const SCALE: u8 = 3;
const SACK_PERMITTED: u8 = 4;
const SACK: u8 = 5;
const TIMESTAMPS: u8 = 8;
const FAST_OPEN: u8 = 34;

impl Options {
    /// Reads the options area of a segment.
    pub(crate) fn parse(mut bytes: &[u8]) -> Self {
        let mut options = Self::default();
        loop {
            match bytes {
                [] | [0, ..] => return options,
                [1, rest @ ..] => bytes = rest,
                [kind, len, ..] if *len >= 2 && usize::from(*len) <= bytes.len() => {
                    let (option, rest) = bytes.split_at(usize::from(*len));
                    options.read(*kind, &option[2..]);
                    bytes = rest;
                }
                _ => return options,
            }
        }
    }

    fn read(&mut self, kind: u8, value: &[u8]) {
        match (kind, value.len()) {
            (MSS, 2) => self.mss = Some(u16::from_be_bytes([value[0], value[1]])),
            (SCALE, 1) => self.scale = Some(value[0]),
            (SACK_PERMITTED, 0) => self.sack_permitted = true,
            (TIMESTAMPS, 8) => self.timestamps = Some((word(value), word(&value[4..]))),
            (SACK, len) if len % 8 == 0 => {
                self.sack = value.chunks(8).map(|pair| (word(pair), word(&pair[4..]))).collect();
            }
            (FAST_OPEN, _) => self.fast_open = Some(value.to_vec()),
            _ => {}
        }
    }

    /// Writes the options area, padded to whole words.
    pub(crate) fn emit(&self) -> Vec<u8> {
        let mut out = self.raw.clone();
        if let Some(mss) = self.mss {
            out.extend([MSS, 4]);
            out.extend(mss.to_be_bytes());
        }
        if self.sack_permitted {
            out.extend([SACK_PERMITTED, 2]);
        }
        if let Some((value, echo)) = self.timestamps {
            out.extend([TIMESTAMPS, 10]);
            out.extend(value.to_be_bytes());
            out.extend(echo.to_be_bytes());
        }
        if let Some(shift) = self.scale {
            out.extend([SCALE, 3, shift]);
        }
        if !self.sack.is_empty() {
            out.extend([SACK, u8::try_from(2 + 8 * self.sack.len()).unwrap_or(34)]);
            for (left, right) in &self.sack {
                out.extend(left.to_be_bytes());
                out.extend(right.to_be_bytes());
            }
        }
        if let Some(cookie) = &self.fast_open {
            out.extend([FAST_OPEN, u8::try_from(2 + cookie.len()).unwrap_or(18)]);
            out.extend(cookie);
        }
        out.resize(out.len().next_multiple_of(4), 1);
        out
    }
}

fn word(bytes: &[u8]) -> u32 {
    bytes.first_chunk().map_or(0, |word| u32::from_be_bytes(*word))
}

/// Both ends of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ends {
    pub(crate) from: (Ipv4Addr, u16),
    pub(crate) to: (Ipv4Addr, u16),
}

impl Segment {
    /// The segment in an IPv4 packet.
    pub(crate) fn emit(&self, ends: &Ends) -> Vec<u8> {
        let options = self.options.emit();
        let tcp_len = 20 + options.len() + self.text.len();
        let mut packet = vec![0x45, self.ecn];
        packet.extend(u16::try_from(20 + tcp_len).unwrap_or(u16::MAX).to_be_bytes());
        packet.extend([0, 0, 0x40, 0, 64, 6, 0, 0]);
        packet.extend(ends.from.0.octets());
        packet.extend(ends.to.0.octets());
        let sum = wire::Checksum::new().sum(&packet).finish();
        packet[10..12].copy_from_slice(&sum.to_be_bytes());

        packet.extend(ends.from.1.to_be_bytes());
        packet.extend(ends.to.1.to_be_bytes());
        packet.extend(self.seq.to_be_bytes());
        packet.extend(self.ack.to_be_bytes());
        let words = u8::try_from(5 + options.len() / 4).unwrap_or(15);
        packet.extend([words << 4, self.flags]);
        packet.extend(self.window.to_be_bytes());
        packet.extend([0, 0]);
        packet.extend(self.urgent.to_be_bytes());
        packet.extend(options);
        packet.extend(&self.text);
        let len = u16::try_from(tcp_len).unwrap_or(u16::MAX);
        let sum = wire::Checksum::pseudo_v4(ends.from.0, ends.to.0, 6, len).sum(&packet[20..]);
        packet[36..38].copy_from_slice(&sum.finish().to_be_bytes());
        packet
    }

    /// The TCP segment in an IPv4 packet, if it is one.
    pub(crate) fn parse(packet: &[u8]) -> Option<(Ends, Self)> {
        let header_len = usize::from(packet.first()? & 15) * 4;
        let total = usize::from(u16::from_be_bytes([*packet.get(2)?, *packet.get(3)?]));
        if packet.first()? >> 4 != 4 || packet.get(9) != Some(&6) || header_len < 20 {
            return None;
        }
        let address = |at: usize| {
            packet.get(at..at + 4).map(|b| Ipv4Addr::from(<[u8; 4]>::try_from(b).unwrap_or([0; 4])))
        };
        let tcp = packet.get(header_len..total)?;
        let data = usize::from(*tcp.get(12)? >> 4) * 4;
        let half = |at: usize| u16::from_be_bytes([tcp[at], tcp[at + 1]]);
        if tcp.len() < 20 || data < 20 {
            return None;
        }
        let ends = Ends { from: (address(12)?, half(0)), to: (address(16)?, half(2)) };
        let segment = Self {
            seq: word(&tcp[4..]),
            ack: word(&tcp[8..]),
            flags: tcp[13],
            window: half(14),
            urgent: half(18),
            options: Options::parse(tcp.get(20..data)?),
            text: tcp.get(data..)?.to_vec(),
            ecn: packet[1] & 3,
        };
        Some((ends, segment))
    }

    pub(crate) fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }
}

/// The byte that streams have at a place, unless a script says otherwise.
pub(crate) fn pattern(at: u32) -> u8 {
    at.wrapping_mul(2_654_435_761).to_be_bytes()[0]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_emitted_parses_back() {
        let segment = Segment {
            seq: 0xfffffff0,
            ack: 77,
            flags: ACK | PSH,
            window: 1000,
            urgent: 3,
            options: Options {
                mss: Some(1000),
                scale: Some(7),
                sack_permitted: true,
                timestamps: Some((5, 6)),
                sack: vec![(1, 2)],
                fast_open: None,
                raw: Vec::new(),
            },
            text: b"abc".to_vec(),
            ecn: 3,
        };
        let ends =
            Ends { from: (Ipv4Addr::new(10, 0, 0, 1), 5), to: (Ipv4Addr::new(10, 0, 0, 2), 80) };
        assert_eq!(Segment::parse(&segment.emit(&ends)), Some((ends, segment)));
    }
}
