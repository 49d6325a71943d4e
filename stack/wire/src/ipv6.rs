//! IPv6 packets (RFC 8200).

use core::net::Ipv6Addr;

use types::DropReason;
use zerocopy::network_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::ipv4::Protocol;

mod extension;

pub use extension::{
    Chain, EXTENSIONS_MAX, Fault, Fragment, FragmentHeader, OPTIONS_MAX, ParameterProblem,
};

/// The 40 bytes every packet starts with.
///
/// ```text
///  0                          4             6        7        8
/// +--------------------------+-------------+--------+--------+
/// | version class flow_label | payload_len | next   | hop    |
/// |   4      8       20      |             | header | limit  |
/// +--------------------------+-------------+--------+--------+
/// | src                                             16 bytes |
/// +----------------------------------------------------------+
/// | dst                                             16 bytes |
/// +----------------------------------------------------------+
/// ```
#[derive(
    FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned, Clone, Copy, Debug, PartialEq, Eq,
)]
#[repr(C)]
pub struct Header {
    /// Version (4 bits), traffic class (8 bits), flow label (20 bits, RFC 6437).
    pub version_class_flow: U32,
    /// Length of everything behind this header.
    pub payload_len: U16,
    /// What follows: an extension header or the payload's protocol.
    pub next_header: u8,
    /// Hops left.
    pub hop_limit: u8,
    /// Source.
    pub src: [u8; 16],
    /// Destination.
    pub dst: [u8; 16],
}

const _: () = assert!(size_of::<Header>() == 40);

impl Header {
    /// Length in bytes.
    pub const LEN: usize = size_of::<Self>();
    /// Hops a packet may make unless a router advertises otherwise (RFC 4861, 6.3.2).
    pub const DEFAULT_HOP_LIMIT: u8 = 64;
    /// The smallest MTU a link may have (RFC 8200, 5).
    pub const MTU_MIN: usize = 1280;

    /// A header in front of `payload_len` bytes, or `None` if they are too many for IPv6 without a
    /// jumbo payload option. Traffic class and flow label are 0.
    #[inline]
    #[must_use]
    pub fn new(
        src: Ipv6Addr,
        dst: Ipv6Addr,
        protocol: Protocol,
        payload_len: usize,
    ) -> Option<Self> {
        Some(Self {
            version_class_flow: U32::new(VERSION),
            payload_len: U16::new(u16::try_from(payload_len).ok()?),
            next_header: protocol.0,
            hop_limit: Self::DEFAULT_HOP_LIMIT,
            src: src.octets(),
            dst: dst.octets(),
        })
    }

    /// The header with another number of hops.
    #[inline]
    #[must_use]
    pub const fn with_hop_limit(mut self, hop_limit: u8) -> Self {
        self.hop_limit = hop_limit;
        self
    }

    /// The header with a traffic class: differentiated services (6 bits, RFC 2474) and ECN (2 bits,
    /// RFC 3168).
    #[inline]
    #[must_use]
    pub const fn with_traffic_class(mut self, class: u8) -> Self {
        let others = self.version_class_flow.get() & !(0xff << CLASS_SHIFT);
        self.version_class_flow = U32::new(others | (class as u32) << CLASS_SHIFT);
        self
    }

    /// The header with the lower 20 bits of `label` as flow label (RFC 6437).
    #[inline]
    #[must_use]
    pub const fn with_flow_label(mut self, label: u32) -> Self {
        let others = self.version_class_flow.get() & !FLOW_LABEL;
        self.version_class_flow = U32::new(others | label & FLOW_LABEL);
        self
    }

    /// Source.
    #[inline]
    #[must_use]
    pub const fn src(&self) -> Ipv6Addr {
        Ipv6Addr::from_bits(u128::from_be_bytes(self.src))
    }

    /// Destination.
    #[inline]
    #[must_use]
    pub const fn dst(&self) -> Ipv6Addr {
        Ipv6Addr::from_bits(u128::from_be_bytes(self.dst))
    }

    /// The version: 6 in a parsed packet.
    #[inline]
    #[must_use]
    pub const fn version(&self) -> u8 {
        (self.version_class_flow.get() >> VERSION_SHIFT) as u8
    }

    /// Differentiated services and ECN.
    #[inline]
    #[must_use]
    pub const fn traffic_class(&self) -> u8 {
        (self.version_class_flow.get() >> CLASS_SHIFT & 0xff) as u8
    }

    /// The flow label: 20 bits.
    #[inline]
    #[must_use]
    pub const fn flow_label(&self) -> u32 {
        self.version_class_flow.get() & FLOW_LABEL
    }
}

/// A packet whose version is 6 and whose payload length agrees with the frame.
#[derive(Clone, Copy, Debug)]
pub struct Packet<'a> {
    /// The header.
    pub header: &'a Header,
    /// Extension headers and what they are in front of, cut to the payload length: an Ethernet
    /// frame's padding is gone.
    pub payload: &'a [u8],
}

impl<'a> Packet<'a> {
    /// Borrows a packet from the payload of a frame. Jumbograms (RFC 2675) have a payload length of
    /// 0 and are refused: their payload would be empty.
    ///
    /// # Errors
    /// `Ipv6TooShort`, `Ipv6Version` or `Ipv6PayloadLength`.
    #[inline]
    pub fn parse(bytes: &'a [u8]) -> Result<Self, DropReason> {
        let (header, rest) =
            Header::ref_from_prefix(bytes).map_err(|_| DropReason::Ipv6TooShort)?;
        if header.version() != 6 {
            return Err(DropReason::Ipv6Version);
        }
        let payload_len = usize::from(header.payload_len.get());
        let payload = rest.get(..payload_len).ok_or(DropReason::Ipv6PayloadLength)?;
        Ok(Self { header, payload })
    }

    /// Walks the extension headers.
    ///
    /// # Errors
    /// See [`Chain::walk`].
    #[inline]
    pub fn chain(&self) -> Result<Chain<'a>, Fault> {
        Chain::walk(self)
    }
}

/// The multicast group that everyone with `address` listens to, for neighbour discovery
/// (RFC 4291, 2.7.1).
#[must_use]
pub const fn solicited_node(address: Ipv6Addr) -> Ipv6Addr {
    const PREFIX: u128 = 0xff02_0000_0000_0000_0000_0001_ff00_0000;
    Ipv6Addr::from_bits(PREFIX | address.to_bits() & 0xff_ffff)
}

/// Every node of a link listens to it (RFC 4291, 2.7.1).
pub const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);

/// Every router of a link listens to it (RFC 4291, 2.7.1).
pub const ALL_ROUTERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 2);

/// The station address of a multicast group on Ethernet (RFC 2464, 7): 33:33 and the group's last
/// 32 bits.
#[must_use]
pub const fn multicast_mac(group: Ipv6Addr) -> types::MacAddr {
    let [.., a, b, c, d] = group.octets();
    types::MacAddr([0x33, 0x33, a, b, c, d])
}

const VERSION_SHIFT: u32 = 28;
const CLASS_SHIFT: u32 = 20;
/// Version 6, class and label 0.
const VERSION: u32 = 6 << VERSION_SHIFT;
const FLOW_LABEL: u32 = 0x000f_ffff;
