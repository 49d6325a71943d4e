//! IPv4 packets (RFC 791).

use core::net::Ipv4Addr;

use types::DropReason;
use zerocopy::network_endian::U16;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::checksum::Checksum;

mod option;

pub use option::{IpOption, Options};

/// What the payload of a packet is (RFC 5237).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Protocol(pub u8);

impl Protocol {
    /// Hop-by-hop options, in IPv6 (RFC 8200).
    pub const HOP_BY_HOP: Self = Self(0);
    /// ICMP (RFC 792).
    pub const ICMP: Self = Self(1);
    /// IGMP (RFC 3376).
    pub const IGMP: Self = Self(2);
    /// TCP (RFC 9293).
    pub const TCP: Self = Self(6);
    /// UDP (RFC 768).
    pub const UDP: Self = Self(17);
    /// ICMPv6 (RFC 4443).
    pub const ICMPV6: Self = Self(58);
    /// IPsec encapsulating security payload (RFC 4303).
    pub const ESP: Self = Self(50);
    /// IPsec authentication header (RFC 4302).
    pub const AH: Self = Self(51);
}

/// The 20 bytes in front of a packet's options.
///
/// ```text
///  0        1        2                 4                 6                8
/// +--------+--------+-----------------+-----------------+----------------+
/// |ver|ihl | tos    | total_len       | id              | flags_fragment |
/// +--------+--------+-----------------+-----------------+----------------+
/// | ttl    |protocol| checksum        | src                              |
/// +--------+--------+-----------------+----------------------------------+
/// | dst                               |
/// +-----------------------------------+
/// ```
#[derive(
    FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned, Clone, Copy, Debug, PartialEq, Eq,
)]
#[repr(C)]
pub struct Header {
    /// Version (4) and header length in 32-bit words.
    pub version_ihl: u8,
    /// Differentiated services (6 bits, RFC 2474) and ECN (2 bits, RFC 3168).
    pub tos: u8,
    /// Length of header, options and payload.
    pub total_len: U16,
    /// Groups the fragments of one packet (RFC 6864).
    pub id: U16,
    /// Three flags and the fragment's offset in units of 8 bytes.
    pub flags_fragment: U16,
    /// Hops left.
    pub ttl: u8,
    /// What the payload is.
    pub protocol: u8,
    /// Checksum over header and options.
    pub checksum: U16,
    /// Source.
    pub src: [u8; 4],
    /// Destination.
    pub dst: [u8; 4],
}

const _: () = assert!(size_of::<Header>() == 20);

impl Header {
    /// Length in bytes, without options.
    pub const LEN: usize = size_of::<Self>();
    /// Hops a packet may make unless someone says otherwise (RFC 1122, 3.2.1.7; RFC 1700).
    pub const DEFAULT_TTL: u8 = 64;

    /// A header without options and checksum, or `None` if the payload is too long for IPv4.
    ///
    /// The packet has [`DEFAULT_TTL`](Self::DEFAULT_TTL), no type of service, and must not be
    /// fragmented, so that its id may be 0 (RFC 6864, 4.1). The `with_` functions change that.
    #[inline]
    #[must_use]
    pub fn new(
        src: Ipv4Addr,
        dst: Ipv4Addr,
        protocol: Protocol,
        payload_len: usize,
    ) -> Option<Self> {
        let total_len = u16::try_from(payload_len.checked_add(Self::LEN)?).ok()?;
        Some(Self {
            version_ihl: VERSION_IHL,
            tos: 0,
            total_len: U16::new(total_len),
            id: U16::ZERO,
            flags_fragment: U16::new(DONT_FRAGMENT),
            ttl: Self::DEFAULT_TTL,
            protocol: protocol.0,
            checksum: U16::ZERO,
            src: src.octets(),
            dst: dst.octets(),
        })
    }

    /// The header with another number of hops.
    #[inline]
    #[must_use]
    pub const fn with_ttl(mut self, ttl: u8) -> Self {
        self.ttl = ttl;
        self
    }

    /// The header with a type of service.
    #[inline]
    #[must_use]
    pub const fn with_tos(mut self, tos: u8) -> Self {
        self.tos = tos;
        self
    }

    /// The header with an id.
    #[inline]
    #[must_use]
    pub const fn with_id(mut self, id: u16) -> Self {
        self.id = U16::new(id);
        self
    }

    /// The header with the don't-fragment flag on or off. A packet that may be fragmented needs an
    /// [id](Self::with_id) that is unique for a while (RFC 6864, 4.3).
    #[inline]
    #[must_use]
    pub const fn with_dont_fragment(mut self, dont_fragment: bool) -> Self {
        let others = self.flags_fragment.get() & !DONT_FRAGMENT;
        self.flags_fragment = U16::new(if dont_fragment { others | DONT_FRAGMENT } else { others });
        self
    }

    /// The header with its checksum; the last call. Left out if the NIC fills it in.
    #[inline]
    #[must_use]
    pub fn with_checksum(mut self) -> Self {
        self.checksum = U16::ZERO;
        self.checksum = U16::new(Checksum::new().sum(self.as_bytes()).finish());
        self
    }

    /// Source.
    #[inline]
    #[must_use]
    pub const fn src(&self) -> Ipv4Addr {
        Ipv4Addr::from_bits(u32::from_be_bytes(self.src))
    }

    /// Destination.
    #[inline]
    #[must_use]
    pub const fn dst(&self) -> Ipv4Addr {
        Ipv4Addr::from_bits(u32::from_be_bytes(self.dst))
    }

    /// What the payload is.
    #[inline]
    #[must_use]
    pub const fn protocol(&self) -> Protocol {
        Protocol(self.protocol)
    }

    /// The version: 4 in a parsed packet.
    #[inline]
    #[must_use]
    pub const fn version(&self) -> u8 {
        self.version_ihl >> 4
    }

    /// Length of header and options in bytes: 0 to 60, at least 20 in a parsed packet.
    #[inline]
    #[must_use]
    pub const fn header_len(&self) -> usize {
        ((self.version_ihl & 0x0f) as usize) << 2
    }

    /// This header for the piece of the packet that begins at `offset` and has `len` bytes, with so many
    /// bytes of options, all but its checksum. `None` if the offset or the options' length can't be
    /// said (they are multiples of 8 and 4) or the piece would be too long.
    #[must_use]
    pub fn of_fragment(
        mut self,
        offset: usize,
        more: bool,
        options_len: usize,
        len: usize,
    ) -> Option<Self> {
        let eights = u16::try_from(offset / 8).ok().filter(|eights| *eights <= FRAGMENT_OFFSET)?;
        let words = u8::try_from(options_len / 4).ok().filter(|words| *words <= 10)?;
        if !offset.is_multiple_of(8) || !options_len.is_multiple_of(4) {
            return None;
        }
        let total = Self::LEN.checked_add(options_len)?.checked_add(len)?;
        self.version_ihl = VERSION_IHL.checked_add(words)?;
        self.total_len = U16::new(u16::try_from(total).ok()?);
        self.flags_fragment = U16::new(if more { eights | MORE_FRAGMENTS } else { eights });
        self.checksum = U16::ZERO;
        Some(self)
    }

    /// The header with this checksum, summed over header and options.
    #[inline]
    #[must_use]
    pub const fn with_this_checksum(mut self, checksum: u16) -> Self {
        self.checksum = U16::new(checksum);
        self
    }

    /// Whether the packet must not be fragmented on its way.
    #[inline]
    #[must_use]
    pub const fn dont_fragment(&self) -> bool {
        self.flags_fragment.get() & DONT_FRAGMENT != 0
    }

    /// Whether fragments with higher offsets follow.
    #[inline]
    #[must_use]
    pub const fn more_fragments(&self) -> bool {
        self.flags_fragment.get() & MORE_FRAGMENTS != 0
    }

    /// Where in the whole packet's payload this fragment's starts, in bytes.
    #[inline]
    #[must_use]
    pub const fn fragment_offset(&self) -> usize {
        ((self.flags_fragment.get() & FRAGMENT_OFFSET) as usize) << 3
    }

    /// Whether the packet is a part of another (RFC 791, 3.2).
    #[inline]
    #[must_use]
    pub const fn is_fragment(&self) -> bool {
        self.flags_fragment.get() & (MORE_FRAGMENTS | FRAGMENT_OFFSET) != 0
    }
}

/// A packet whose version is 4 and whose lengths agree.
#[derive(Clone, Copy, Debug)]
pub struct Packet<'a> {
    /// The header.
    pub header: &'a Header,
    /// Option bytes: a multiple of 4, at most 40.
    pub options: &'a [u8],
    /// The payload, cut to the total length: an Ethernet frame's padding is gone.
    pub payload: &'a [u8],
}

impl<'a> Packet<'a> {
    /// Borrows a packet from the payload of a frame.
    ///
    /// # Errors
    /// `Ipv4TooShort`, `Ipv4Version`, `Ipv4HeaderLength` or `Ipv4TotalLength`: the checks of
    /// RFC 1812, 5.2.2, except the checksum.
    #[inline]
    pub fn parse(bytes: &'a [u8]) -> Result<Self, DropReason> {
        let (header, _) = Header::ref_from_prefix(bytes).map_err(|_| DropReason::Ipv4TooShort)?;
        if header.version() != 4 {
            return Err(DropReason::Ipv4Version);
        }
        let header_len = header.header_len();
        if header_len < Header::LEN || header_len > bytes.len() {
            return Err(DropReason::Ipv4HeaderLength);
        }
        let total_len = usize::from(header.total_len.get());
        let packet = bytes.get(..total_len).ok_or(DropReason::Ipv4TotalLength)?;
        let payload = packet.get(header_len..).ok_or(DropReason::Ipv4TotalLength)?;
        let options = packet.get(Header::LEN..header_len).ok_or(DropReason::Ipv4HeaderLength)?;
        Ok(Self { header, options, payload })
    }

    /// Checks the header checksum (RFC 1122, 3.2.1.2). Unnecessary if the NIC did.
    ///
    /// # Errors
    /// `Ipv4Checksum`.
    #[inline]
    pub fn verify(&self) -> Result<(), DropReason> {
        if Checksum::new().sum(self.header.as_bytes()).sum(self.options).is_valid() {
            Ok(())
        } else {
            Err(DropReason::Ipv4Checksum)
        }
    }

    /// Whether the packet is a part of another.
    #[inline]
    #[must_use]
    pub const fn is_fragment(&self) -> bool {
        self.header.is_fragment()
    }

    /// The options one by one.
    #[inline]
    #[must_use]
    pub const fn options(&self) -> Options<'a> {
        Options::new(self.options)
    }

    /// Whether the sender prescribes hops (RFC 791, 3.1: LSRR and SSRR; RFC 7126, 4.3, 4.4).
    ///
    /// # Errors
    /// `Ipv4Options` if the list is malformed, wherever the source route is.
    #[inline]
    pub fn has_source_route(&self) -> Result<bool, DropReason> {
        self.options().try_fold(false, |found, option| {
            Ok(found
                | matches!(option?, IpOption::LooseSourceRoute(_) | IpOption::StrictSourceRoute(_)))
        })
    }
}

/// Version 4 and a header of five words.
const VERSION_IHL: u8 = 0x45;
/// `flags_fragment`: don't fragment.
const DONT_FRAGMENT: u16 = 0x4000;
/// `flags_fragment`: more fragments.
const MORE_FRAGMENTS: u16 = 0x2000;
/// `flags_fragment`: fragment offset in units of 8 bytes.
const FRAGMENT_OFFSET: u16 = 0x1fff;

/// The station address of a multicast group on Ethernet: 01:00:5e and the group's last 23 bits
/// (RFC 1112, 6.4).
#[must_use]
pub const fn multicast_mac(group: Ipv4Addr) -> types::MacAddr {
    let [_, b, c, d] = group.octets();
    types::MacAddr([0x01, 0x00, 0x5e, b & 0x7f, c, d])
}
