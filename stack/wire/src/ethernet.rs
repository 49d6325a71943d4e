//! Ethernet II frames (RFC 894).

use core::fmt;

use types::{DropReason, MacAddr};
use zerocopy::network_endian::U16;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Shortest frame without its check sequence: shorter ones are padded before they are sent
/// (IEEE 802.3, 3.2.8).
pub const MIN_FRAME: usize = 60;

/// What the payload of a frame is (IEEE 802 Numbers).
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct EtherType(pub u16);

impl EtherType {
    /// IPv4 (RFC 894).
    pub const IPV4: Self = Self(0x0800);
    /// ARP (RFC 826).
    pub const ARP: Self = Self(0x0806);
    /// A VLAN tag follows (IEEE 802.1Q).
    pub const VLAN: Self = Self(0x8100);
    /// IPv6 (RFC 2464).
    pub const IPV6: Self = Self(0x86dd);
    /// Slow protocols (IEEE 802.3 57A).
    pub const SLOW_PROTOCOLS: Self = Self(0x8809);
    /// A provider's VLAN tag follows (IEEE 802.1ad).
    pub const SERVICE_VLAN: Self = Self(0x88a8);
}

impl fmt::Debug for EtherType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EtherType({:#06x})", self.0)
    }
}

/// The 14 bytes in front of a frame's payload.
///
/// ```text
///  0            6            12     14
/// +------------+------------+------+
/// | dst        | src        | type |
/// +------------+------------+------+
/// ```
#[derive(
    FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned, Clone, Copy, Debug, PartialEq, Eq,
)]
#[repr(C)]
pub struct Header {
    /// Destination station or group.
    pub dst: [u8; 6],
    /// Source station.
    pub src: [u8; 6],
    /// What the payload is.
    pub ethertype: U16,
}

const _: () = assert!(size_of::<Header>() == 14);

impl Header {
    /// Length in bytes.
    pub const LEN: usize = size_of::<Self>();

    /// A header for a frame from `src` to `dst`.
    #[inline]
    #[must_use]
    pub const fn new(dst: MacAddr, src: MacAddr, ethertype: EtherType) -> Self {
        Self { dst: dst.0, src: src.0, ethertype: U16::new(ethertype.0) }
    }

    /// Destination station or group.
    #[inline]
    #[must_use]
    pub const fn dst(&self) -> MacAddr {
        MacAddr(self.dst)
    }

    /// Source station.
    #[inline]
    #[must_use]
    pub const fn src(&self) -> MacAddr {
        MacAddr(self.src)
    }

    /// What the payload is.
    #[inline]
    #[must_use]
    pub const fn ethertype(&self) -> EtherType {
        EtherType(self.ethertype.get())
    }
}

/// A frame whose header is complete and whose source is one station.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    /// The header.
    pub header: &'a Header,
    /// What follows the header, padding included.
    pub payload: &'a [u8],
}

impl<'a> Frame<'a> {
    /// Borrows a frame from the bytes a NIC received, without their check sequence.
    ///
    /// # Errors
    /// `EthernetTooShort`; `EthernetSource` for a group as source (RFC 1812, 3.3.2).
    #[inline]
    pub fn parse(bytes: &'a [u8]) -> Result<Self, DropReason> {
        let (header, payload) =
            Header::ref_from_prefix(bytes).map_err(|_| DropReason::EthernetTooShort)?;
        if header.src().is_group() {
            return Err(DropReason::EthernetSource);
        }
        Ok(Self { header, payload })
    }
}
