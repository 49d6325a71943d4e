//! A segment as scripts see it, and its options on the wire.
//!
//! The option codec is our own and not the engine's, so that a mistake there does not cancel out.

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

impl Segment {
    pub(crate) fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }
}

/// The byte that streams have at a place, unless a script says otherwise.
pub(crate) fn pattern(at: u32) -> u8 {
    at.wrapping_mul(2_654_435_761).to_be_bytes()[0]
}
