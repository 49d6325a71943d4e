//! TCP segments (RFC 9293, 3.1). What options and control bits mean is the engine's matter.

use core::net::IpAddr;

use types::DropReason;
use zerocopy::network_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::checksum::Checksum;
use crate::ipv4::Protocol;

/// Control bits (RFC 9293, 3.1; RFC 3168, 6.1).
pub mod flag {
    /// No more text from the sender.
    pub const FIN: u8 = 1 << 0;
    /// Synchronize sequence numbers.
    pub const SYN: u8 = 1 << 1;
    /// Reset the connection.
    pub const RST: u8 = 1 << 2;
    /// Push function.
    pub const PSH: u8 = 1 << 3;
    /// The acknowledgment field counts.
    pub const ACK: u8 = 1 << 4;
    /// The urgent pointer counts.
    pub const URG: u8 = 1 << 5;
    /// Congestion experienced, echoed.
    pub const ECE: u8 = 1 << 6;
    /// Congestion window reduced.
    pub const CWR: u8 = 1 << 7;
}

/// Most bytes of options a segment can have: the data offset counts up to 15 words.
pub const OPTIONS_LEN_MAX: usize = 40;

/// The 20 bytes in front of a segment's options.
///
/// ```text
///  0                 4                 8                 12
/// +--------+--------+-----------------+-----------------+
/// |src_port|dst_port| seq             | ack             |
/// +--------+--------+--------+--------+-----------------+
/// |off|flag| window |checksum| urgent |      offset_flags: 4 bits data offset in words,
/// +--------+--------+--------+--------+                    4 bits reserved, 8 control bits
///  12       14       16       18      20
/// ```
#[derive(
    FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned, Clone, Copy, Debug, PartialEq, Eq,
)]
#[repr(C)]
pub struct Header {
    /// Source port.
    pub src_port: U16,
    /// Destination port.
    pub dst_port: U16,
    /// Sequence number of the first byte of text, or of SYN.
    pub seq: U32,
    /// Next sequence number the sender expects, if ACK is on.
    pub ack: U32,
    /// Data offset, reserved bits and control bits.
    pub offset_flags: U16,
    /// Receive window, not scaled.
    pub window: U16,
    /// Checksum over pseudo header, header, options and text.
    pub checksum: U16,
    /// Urgent pointer, if URG is on.
    pub urgent: U16,
}

const _: () = assert!(size_of::<Header>() == 20);

impl Header {
    /// Length in bytes, without options.
    pub const LEN: usize = size_of::<Self>();

    /// A header without options and checksum; `flags` are [`flag`]s.
    #[inline]
    #[must_use]
    pub const fn new(
        src_port: u16,
        dst_port: u16,
        seq: u32,
        ack: u32,
        flags: u8,
        window: u16,
    ) -> Self {
        Self {
            src_port: U16::new(src_port),
            dst_port: U16::new(dst_port),
            seq: U32::new(seq),
            ack: U32::new(ack),
            offset_flags: U16::new(OFFSET_MIN << OFFSET_SHIFT | flags as u16),
            window: U16::new(window),
            checksum: U16::ZERO,
            urgent: U16::ZERO,
        }
    }

    /// The header for options of `options_len` bytes, padding included; `None` if the length is
    /// not a multiple of 4 or over [`OPTIONS_LEN_MAX`].
    #[inline]
    #[must_use]
    pub fn with_options_len(mut self, options_len: usize) -> Option<Self> {
        if !options_len.is_multiple_of(4) || options_len > OPTIONS_LEN_MAX {
            return None;
        }
        let words = u16::try_from(options_len / 4).ok()?.checked_add(OFFSET_MIN)?;
        self.offset_flags = U16::new(words << OFFSET_SHIFT | self.offset_flags.get() & BITS);
        Some(self)
    }

    /// The header with these control bits; `flags` are [`flag`]s.
    #[inline]
    #[must_use]
    pub const fn with_flags(mut self, flags: u8) -> Self {
        let others = self.offset_flags.get() & !0xff;
        self.offset_flags = U16::new(others | flags as u16);
        self
    }

    /// The header with its checksum over `options` and `text`. For text in several pieces, sum them
    /// with [`Checksum`] after [`Checksum::pseudo`].
    #[inline]
    #[must_use]
    pub fn with_checksum(
        mut self,
        src: impl Into<IpAddr>,
        dst: impl Into<IpAddr>,
        options: &[u8],
        text: &[u8],
    ) -> Self {
        self.checksum = U16::ZERO;
        self.checksum = U16::new(sum(&self, src.into(), dst.into(), options, text).finish());
        self
    }

    /// The header with the sum of the pseudo header in its checksum field, for a NIC that adds the
    /// rest. `segment_len` covers header, options and text; it is 0 if the NIC also cuts the text
    /// into segments.
    #[inline]
    #[must_use]
    pub fn with_pseudo_checksum(
        mut self,
        src: impl Into<IpAddr>,
        dst: impl Into<IpAddr>,
        segment_len: u16,
    ) -> Self {
        let pseudo = Checksum::pseudo(src.into(), dst.into(), Protocol::TCP.0, segment_len);
        self.checksum = U16::new(pseudo.folded());
        self
    }

    /// The control bits: a set of [`flag`]s.
    #[inline]
    #[must_use]
    pub const fn flags(&self) -> u8 {
        let [_, flags] = self.offset_flags.to_bytes();
        flags
    }

    /// Length of header and options in bytes as the data offset says: 0 to 60.
    #[inline]
    #[must_use]
    pub const fn header_len(&self) -> usize {
        let [offset, _] = self.offset_flags.to_bytes();
        ((offset >> 4) as usize) << 2
    }
}

/// A segment whose data offset agrees with its bytes and that is between two ports.
#[derive(Clone, Copy, Debug)]
pub struct Segment<'a> {
    /// The header.
    pub header: &'a Header,
    /// Options: a multiple of 4 bytes, at most [`OPTIONS_LEN_MAX`].
    pub options: &'a [u8],
    /// Text.
    pub text: &'a [u8],
}

impl<'a> Segment<'a> {
    /// Borrows a segment from the payload of an IP packet.
    ///
    /// # Errors
    /// `TcpTooShort`, `TcpHeaderLength` or `TcpPort`.
    #[inline]
    pub fn parse(bytes: &'a [u8]) -> Result<Self, DropReason> {
        let (header, rest) = Header::ref_from_prefix(bytes).map_err(|_| DropReason::TcpTooShort)?;
        let (options, text) = header
            .header_len()
            .checked_sub(Header::LEN)
            .and_then(|options_len| rest.split_at_checked(options_len))
            .ok_or(DropReason::TcpHeaderLength)?;
        if header.src_port == U16::ZERO || header.dst_port == U16::ZERO {
            return Err(DropReason::TcpPort);
        }
        Ok(Self { header, options, text })
    }

    /// The control bits: a set of [`flag`]s.
    #[inline]
    #[must_use]
    pub const fn flags(&self) -> u8 {
        self.header.flags()
    }

    /// Checks the checksum (RFC 9293, 3.1: MUST-3).
    ///
    /// # Errors
    /// `TcpChecksum`.
    #[inline]
    pub fn verify(&self, src: impl Into<IpAddr>, dst: impl Into<IpAddr>) -> Result<(), DropReason> {
        if sum(self.header, src.into(), dst.into(), self.options, self.text).is_valid() {
            Ok(())
        } else {
            Err(DropReason::TcpChecksum)
        }
    }
}

/// Data offset of a header without options, in words.
const OFFSET_MIN: u16 = 5;
/// Position of the data offset in `offset_flags`.
const OFFSET_SHIFT: u32 = 12;
/// Reserved and control bits of `offset_flags`.
const BITS: u16 = 0x0fff;

/// The sum over all that the checksum covers. More than IPv4's 65,535 bytes cannot be summed right
/// and will not verify.
#[inline]
fn sum(header: &Header, src: IpAddr, dst: IpAddr, options: &[u8], text: &[u8]) -> Checksum {
    let len = Header::LEN.saturating_add(options.len()).saturating_add(text.len());
    let len = u16::try_from(len).unwrap_or(u16::MAX);
    Checksum::pseudo(src, dst, Protocol::TCP.0, len).sum(header.as_bytes()).sum(options).sum(text)
}
