//! The chain of extension headers in front of a packet's payload (RFC 8200, 4).
//!
//! A host looks at hop-by-hop options, destination options, routing headers and fragment headers.
//! None of them changes what this stack does, so the walk only proves that each is well formed, that
//! whoever demands to be understood is, and finds the payload. What a chain may cost is bounded, as
//! RFC 8504, 5.3, asks.

use types::DropReason;
use zerocopy::network_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::{Header, Packet};
use crate::ipv4::Protocol;

/// Extension headers in a packet. Each kind may be there once, destination options twice
/// (RFC 8200, 4.1), so honest packets have at most five.
pub const EXTENSIONS_MAX: usize = 8;

/// Options other than padding in a header (RFC 8504, 5.3).
pub const OPTIONS_MAX: usize = 8;

/// The 8 bytes that make a packet a fragment of another (RFC 8200, 4.5).
#[derive(
    FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned, Clone, Copy, Debug, PartialEq, Eq,
)]
#[repr(C)]
pub struct FragmentHeader {
    /// What the fragmented part starts with.
    pub next_header: u8,
    /// Zero; ignored.
    pub reserved: u8,
    /// Offset in units of 8 bytes (13 bits), two reserved bits, more-fragments flag.
    pub offset_flags: U16,
    /// Groups the fragments of one packet.
    pub id: U32,
}

const _: () = assert!(size_of::<FragmentHeader>() == 8);

impl FragmentHeader {
    /// What announces one.
    pub const PROTOCOL: Protocol = Protocol(FRAGMENT);
    /// Length in bytes.
    pub const LEN: usize = size_of::<Self>();

    /// A header for the piece that starts `offset` bytes, a multiple of 8, into the whole.
    #[must_use]
    pub const fn new(protocol: Protocol, offset: u16, more: bool, id: u32) -> Self {
        let offset_flags = U16::new(offset & OFFSET | more as u16);
        Self { next_header: protocol.0, reserved: 0, offset_flags, id: U32::new(id) }
    }

    /// Where in the fragmented part this piece starts, in bytes.
    #[must_use]
    pub const fn offset(&self) -> usize {
        (self.offset_flags.get() & OFFSET) as usize
    }

    /// Whether pieces with higher offsets follow.
    #[must_use]
    pub const fn more_fragments(&self) -> bool {
        self.offset_flags.get() & MORE_FRAGMENTS != 0
    }
}

/// A packet's fragment header and where it is.
#[derive(Clone, Copy, Debug)]
pub struct Fragment<'a> {
    /// The header.
    pub header: &'a FragmentHeader,
    /// Its offset from the start of the packet: the length of the part that every fragment has.
    pub at: usize,
    /// Offset of the byte that names it.
    pub named_at: usize,
}

/// What the walk found.
#[derive(Clone, Copy, Debug)]
pub struct Chain<'a> {
    /// What the payload is. For a fragment that is not the first: what the first one's begins with.
    pub protocol: Protocol,
    /// What follows the last extension header that was looked at.
    pub payload: &'a [u8],
    /// Offset of the payload from the start of the packet.
    pub payload_at: usize,
    /// Offset, from the start of the packet, of the byte that names [`protocol`](Self::protocol).
    pub protocol_at: usize,
    /// The fragment header of a packet that is not whole. An atomic fragment, offset 0 and nothing
    /// following, is whole (RFC 6946).
    pub fragment: Option<Fragment<'a>>,
    /// Whether there was a fragment header at all: neighbour discovery refuses it (RFC 6980).
    pub has_fragment_header: bool,
    /// Whether a hop-by-hop option asks routers to look into the packet (RFC 2711).
    pub router_alert: bool,
}

/// What a parameter problem message about a packet says (RFC 4443, 3.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParameterProblem {
    /// The code: 0 wrong field, 1 unknown next header, 2 unknown option, 3 incomplete chain
    /// (RFC 7112, 5).
    pub code: u8,
    /// Offset of the byte in question from the start of the packet.
    pub pointer: u32,
    /// Whether it is due even if the packet went to a group (RFC 4443, 2.4 (e.3)).
    pub even_to_group: bool,
}

/// Why a chain was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The reason that is counted.
    pub reason: DropReason,
    /// What the sender is to be told.
    pub problem: Option<ParameterProblem>,
}

impl<'a> Chain<'a> {
    /// Walks from the packet's header to its payload.
    ///
    /// # Errors
    /// * `Ipv6HeaderChain`: a header is cut off, out of place or repeated, or there are more than
    ///   [`EXTENSIONS_MAX`]; also a first fragment that does not hold the whole chain (RFC 7112).
    /// * `Ipv6Option`: an option is cut off, unknown and demands to be known, or there are more than
    ///   [`OPTIONS_MAX`], or more padding than alignment needs (RFC 8504, 5.3).
    /// * `Ipv6RoutingHeader`: segments are left of a route this host does not follow (RFC 5095).
    pub fn walk(packet: &Packet<'a>) -> Result<Self, Fault> {
        let mut chain = Self {
            protocol: Protocol(packet.header.next_header),
            payload: packet.payload,
            payload_at: Header::LEN,
            protocol_at: NEXT_HEADER_AT,
            fragment: None,
            has_fragment_header: false,
            router_alert: false,
        };
        for seen in 0..=EXTENSIONS_MAX {
            match chain.protocol.0 {
                HOP_BY_HOP if seen == 0 => chain.options(true)?,
                HOP_BY_HOP => return Err(chain.out_of_place()),
                DESTINATION_OPTIONS => chain.options(false)?,
                ROUTING => chain.routing()?,
                FRAGMENT if chain.has_fragment_header => return Err(chain.out_of_place()),
                FRAGMENT => {
                    if chain.fragment()? {
                        return Ok(chain);
                    }
                }
                _ => return chain.complete(),
            }
        }
        Err(Fault { reason: DropReason::Ipv6HeaderChain, problem: None })
    }

    /// The end of the chain. In a first fragment the upper-layer header must be there (RFC 7112).
    fn complete(self) -> Result<Self, Fault> {
        if self.fragment.is_some() && self.payload.len() < upper_header_len(self.protocol) {
            return Err(self.incomplete());
        }
        Ok(self)
    }

    /// Steps over a header of `len` bytes that begins with the number of the next one.
    fn skip(&mut self, len: usize) -> Result<(), Fault> {
        let Some((next, rest)) = self.payload.first().zip(self.payload.get(len..)) else {
            return Err(self.incomplete());
        };
        self.protocol_at = self.payload_at;
        self.payload_at = self.payload_at.saturating_add(len);
        self.protocol = Protocol(*next);
        self.payload = rest;
        Ok(())
    }

    /// Hop-by-hop or destination options.
    fn options(&mut self, hop_by_hop: bool) -> Result<(), Fault> {
        let len = self.extension_len()?;
        let Some(mut rest) = self.payload.get(OPTIONS_AT..len) else {
            return Err(self.incomplete());
        };
        let mut at = self.payload_at.saturating_add(OPTIONS_AT);
        let (mut count, mut padding) = (0, 0_usize);
        while let Some(&kind) = rest.first() {
            let used = option_len(rest).ok_or(BAD_OPTION)?;
            if matches!(kind, PAD1 | PADN) {
                padding = padding.saturating_add(used);
                if padding > PADDING_MAX {
                    return Err(BAD_OPTION);
                }
            } else {
                padding = 0;
                count = usize::saturating_add(count, 1);
                if count > OPTIONS_MAX {
                    return Err(BAD_OPTION);
                }
                match kind {
                    ROUTER_ALERT if hop_by_hop => self.router_alert = true,
                    _ => understand(kind, at)?,
                }
            }
            at = at.saturating_add(used);
            rest = rest.get(used..).unwrap_or_default();
        }
        self.skip(len)
    }

    /// A routing header. No type is followed, so no segments may be left (RFC 8200, 4.4).
    fn routing(&mut self) -> Result<(), Fault> {
        let len = self.extension_len()?;
        let Some(&[_, _, _, segments_left]) = self.payload.first_chunk() else {
            return Err(self.incomplete());
        };
        if segments_left != 0 {
            let at = self.payload_at.saturating_add(ROUTING_TYPE_AT);
            return Err(Fault {
                reason: DropReason::Ipv6RoutingHeader,
                problem: Some(ParameterProblem::new(WRONG_FIELD, at)),
            });
        }
        self.skip(len)
    }

    /// A fragment header. True if what follows is not the beginning of the fragmented part.
    fn fragment(&mut self) -> Result<bool, Fault> {
        let Ok((header, _)) = FragmentHeader::ref_from_prefix(self.payload) else {
            return Err(self.incomplete());
        };
        let (at, named_at) = (self.payload_at, self.protocol_at);
        self.skip(FragmentHeader::LEN)?;
        self.has_fragment_header = true;
        if header.offset() == 0 && !header.more_fragments() {
            return Ok(false);
        }
        self.fragment = Some(Fragment { header, at, named_at });
        Ok(header.offset() != 0)
    }

    /// Length of a header that says its own in units of 8 bytes, not counting the first.
    fn extension_len(&self) -> Result<usize, Fault> {
        let Some(&[_, units]) = self.payload.first_chunk() else {
            return Err(self.incomplete());
        };
        Ok(usize::from(units).saturating_add(1).saturating_mul(8))
    }

    /// A header where it must not be (RFC 8200, 4.1, and 4: an unrecognized next header).
    fn out_of_place(&self) -> Fault {
        let problem = ParameterProblem::new(UNKNOWN_NEXT_HEADER, self.protocol_at);
        Fault { reason: DropReason::Ipv6HeaderChain, problem: Some(problem) }
    }

    /// The chain goes on beyond the packet.
    fn incomplete(&self) -> Fault {
        let problem = self.fragment.map(|_| ParameterProblem::new(INCOMPLETE_CHAIN, 0));
        Fault { reason: DropReason::Ipv6HeaderChain, problem }
    }
}

impl ParameterProblem {
    /// Points at a byte of a packet to this host alone.
    #[must_use]
    pub fn new(code: u8, at: usize) -> Self {
        Self { code, pointer: u32::try_from(at).unwrap_or(u32::MAX), even_to_group: false }
    }
}

/// What an unknown option demands, in the upper two bits of its type (RFC 8200, 4.2).
fn understand(kind: u8, at: usize) -> Result<(), Fault> {
    let problem = ParameterProblem::new(UNKNOWN_OPTION, at);
    let problem = match kind >> 6 {
        0 => return Ok(()),
        1 => None,
        2 => Some(ParameterProblem { even_to_group: true, ..problem }),
        _ => Some(problem),
    };
    Err(Fault { reason: DropReason::Ipv6Option, problem })
}

/// Length of the first option with its type and length bytes; `None` if it is cut off.
fn option_len(options: &[u8]) -> Option<usize> {
    match options {
        [PAD1, ..] => Some(1),
        [_, len, ..] => Some(usize::from(*len).saturating_add(2)).filter(|n| *n <= options.len()),
        _ => None,
    }
}

/// The least a first fragment must hold of its payload's own header.
const fn upper_header_len(protocol: Protocol) -> usize {
    match protocol {
        Protocol::TCP => crate::tcp::Header::LEN,
        Protocol::UDP => crate::udp::Header::LEN,
        Protocol::ICMPV6 => crate::icmp6::Header::LEN,
        _ => 0,
    }
}

const BAD_OPTION: Fault = Fault { reason: DropReason::Ipv6Option, problem: None };

/// Offset of `next_header` in [`Header`].
const NEXT_HEADER_AT: usize = 6;
/// Where an options header's options start.
const OPTIONS_AT: usize = 2;
/// Offset of a routing header's type.
const ROUTING_TYPE_AT: usize = 2;
/// Bytes of padding in a row that alignment can need (RFC 8504, 5.3).
const PADDING_MAX: usize = 7;

const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const DESTINATION_OPTIONS: u8 = 60;

const PAD1: u8 = 0;
const PADN: u8 = 1;
const ROUTER_ALERT: u8 = 5;

/// `offset_flags`: offset in bytes, since its unit is 8 and it is shifted by 3.
const OFFSET: u16 = 0xfff8;
/// `offset_flags`: more fragments.
const MORE_FRAGMENTS: u16 = 1;

/// Codes of parameter problems (RFC 4443, 3.4; RFC 7112, 5).
const WRONG_FIELD: u8 = 0;
const UNKNOWN_NEXT_HEADER: u8 = 1;
const UNKNOWN_OPTION: u8 = 2;
const INCOMPLETE_CHAIN: u8 = 3;
