//! UDP datagrams (RFC 768; RFC 8200 8.1 for IPv6).

use core::net::IpAddr;

use types::DropReason;
use zerocopy::network_endian::U16;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::checksum::Checksum;
use crate::ipv4::Protocol;

/// The 8 bytes in front of a datagram's payload.
///
/// ```text
///  0        2        4        6        8
/// +--------+--------+--------+--------+
/// |src_port|dst_port| length |checksum|
/// +--------+--------+--------+--------+
/// ```
#[derive(
    FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned, Clone, Copy, Debug, PartialEq, Eq,
)]
#[repr(C)]
pub struct Header {
    /// Source port, 0 if no answer is expected.
    pub src_port: U16,
    /// Destination port.
    pub dst_port: U16,
    /// Length of header and payload.
    pub length: U16,
    /// Checksum over pseudo header, header and payload; 0: none.
    pub checksum: U16,
}

const _: () = assert!(size_of::<Header>() == 8);

impl Header {
    /// Length in bytes.
    pub const LEN: usize = size_of::<Self>();

    /// A header without a checksum, or `None` if the payload is too long for UDP.
    #[inline]
    #[must_use]
    pub fn new(src_port: u16, dst_port: u16, payload_len: usize) -> Option<Self> {
        let length = u16::try_from(payload_len.checked_add(Self::LEN)?).ok()?;
        Some(Self {
            src_port: U16::new(src_port),
            dst_port: U16::new(dst_port),
            length: U16::new(length),
            checksum: U16::ZERO,
        })
    }

    /// The header with its checksum over `payload`. A checksum of 0 is sent as 0xffff (RFC 768).
    #[inline]
    #[must_use]
    pub fn with_checksum(
        mut self,
        src: impl Into<IpAddr>,
        dst: impl Into<IpAddr>,
        payload: &[u8],
    ) -> Self {
        self.checksum = U16::ZERO;
        let checksum = self.pseudo(src, dst).sum(self.as_bytes()).sum(payload).finish();
        self.checksum = U16::new(if checksum == 0 { 0xffff } else { checksum });
        self
    }

    /// The header with the sum of the pseudo header in its checksum field, for a NIC that adds the
    /// rest.
    #[inline]
    #[must_use]
    pub fn with_pseudo_checksum(mut self, src: impl Into<IpAddr>, dst: impl Into<IpAddr>) -> Self {
        self.checksum = U16::new(self.pseudo(src, dst).folded());
        self
    }

    #[inline]
    fn pseudo(&self, src: impl Into<IpAddr>, dst: impl Into<IpAddr>) -> Checksum {
        Checksum::pseudo(src.into(), dst.into(), Protocol::UDP.0, self.length.get())
    }
}

/// A datagram whose length field agrees with its bytes and that is for some port.
#[derive(Clone, Copy, Debug)]
pub struct Datagram<'a> {
    /// The header.
    pub header: &'a Header,
    /// The payload, cut to the length field.
    pub payload: &'a [u8],
}

impl<'a> Datagram<'a> {
    /// Borrows a datagram from the payload of an IP packet.
    ///
    /// # Errors
    /// `UdpTooShort`, `UdpLength` or `UdpPort`.
    #[inline]
    pub fn parse(bytes: &'a [u8]) -> Result<Self, DropReason> {
        let (header, rest) = Header::ref_from_prefix(bytes).map_err(|_| DropReason::UdpTooShort)?;
        let payload = usize::from(header.length.get())
            .checked_sub(Header::LEN)
            .and_then(|payload_len| rest.get(..payload_len))
            .ok_or(DropReason::UdpLength)?;
        if header.dst_port == U16::ZERO {
            return Err(DropReason::UdpPort);
        }
        Ok(Self { header, payload })
    }

    /// Checks the checksum, unless the sender left it out, which it may over IPv4 only (RFC 1122,
    /// 4.1.3.4).
    ///
    /// # Errors
    /// `UdpChecksum`.
    #[inline]
    pub fn verify(&self, src: impl Into<IpAddr>, dst: impl Into<IpAddr>) -> Result<(), DropReason> {
        let (src, dst) = (src.into(), dst.into());
        if self.header.checksum == U16::ZERO {
            return if src.is_ipv4() { Ok(()) } else { Err(DropReason::UdpChecksum) };
        }
        let sum = self.header.pseudo(src, dst).sum(self.header.as_bytes()).sum(self.payload);
        if sum.is_valid() { Ok(()) } else { Err(DropReason::UdpChecksum) }
    }
}
