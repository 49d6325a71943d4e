//! ICMP messages (RFC 792) and the packets that errors quote.

use core::net::Ipv4Addr;

use types::DropReason;
use zerocopy::network_endian::U16;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::checksum::Checksum;
use crate::{ipv4, quoted};

/// Type of a message (RFC 792).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Type(pub u8);

impl Type {
    /// Answer to an echo request.
    pub const ECHO_REPLY: Self = Self(0);
    /// A packet could not be delivered; see the `Code`s.
    pub const DESTINATION_UNREACHABLE: Self = Self(3);
    /// Deprecated congestion signal (RFC 6633).
    pub const SOURCE_QUENCH: Self = Self(4);
    /// A better next hop.
    pub const REDIRECT: Self = Self(5);
    /// Asks for an echo.
    pub const ECHO_REQUEST: Self = Self(8);
    /// A packet or its fragments were too long on their way.
    pub const TIME_EXCEEDED: Self = Self(11);
    /// A packet's header is wrong.
    pub const PARAMETER_PROBLEM: Self = Self(12);
    /// Asks for the time.
    pub const TIMESTAMP_REQUEST: Self = Self(13);
    /// Answer to a timestamp request.
    pub const TIMESTAMP_REPLY: Self = Self(14);

    /// Whether messages of this type quote a packet; no error may be sent about them (RFC 1122,
    /// 3.2.2).
    #[must_use]
    pub const fn is_error(self) -> bool {
        matches!(
            self,
            Self::DESTINATION_UNREACHABLE
                | Self::SOURCE_QUENCH
                | Self::REDIRECT
                | Self::TIME_EXCEEDED
                | Self::PARAMETER_PROBLEM
        )
    }
}

/// Code of a message: what it means depends on the type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Code(pub u8);

impl Code {
    /// The only code of most types.
    pub const ZERO: Self = Self(0);
    /// Destination unreachable: no route to the network.
    pub const NET_UNREACHABLE: Self = Self(0);
    /// Destination unreachable: the host does not answer.
    pub const HOST_UNREACHABLE: Self = Self(1);
    /// Destination unreachable: no such transport protocol.
    pub const PROTOCOL_UNREACHABLE: Self = Self(2);
    /// Destination unreachable: nobody uses the port.
    pub const PORT_UNREACHABLE: Self = Self(3);
    /// Destination unreachable: too big for the next link, and must not be fragmented.
    pub const FRAGMENTATION_NEEDED: Self = Self(4);
    /// Destination unreachable: a prescribed hop is not there.
    pub const SOURCE_ROUTE_FAILED: Self = Self(5);
    /// Redirect: for the destination alone.
    pub const HOST_REDIRECT: Self = Self(1);
    /// Destination unreachable: an administrator does not want it (RFC 1812, 5.2.7.1).
    pub const ADMINISTRATIVELY_PROHIBITED: Self = Self(13);
    /// Time exceeded: no hops left.
    pub const TTL_EXCEEDED: Self = Self(0);
    /// Time exceeded: fragments are missing.
    pub const REASSEMBLY_TIME_EXCEEDED: Self = Self(1);
    /// Parameter problem: the pointer shows where.
    pub const POINTER: Self = Self(0);
    /// Parameter problem: a required option is missing (RFC 1122, 3.2.2.5).
    pub const OPTION_MISSING: Self = Self(1);
}

/// The 8 bytes in front of a message's payload.
///
/// ```text
///  0        1        2                 4                                  8
/// +--------+--------+-----------------+----------------------------------+
/// | kind   | code   | checksum        | rest: id and sequence (echo),    |
/// |        |        |                 |   0 and MTU, pointer and 0s, …   |
/// +--------+--------+-----------------+----------------------------------+
/// ```
#[derive(
    FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned, Clone, Copy, Debug, PartialEq, Eq,
)]
#[repr(C)]
pub struct Header {
    /// The type.
    pub kind: u8,
    /// The code.
    pub code: u8,
    /// Checksum over header and payload.
    pub checksum: U16,
    /// What it means depends on the type.
    pub rest: [U16; 2],
}

const _: () = assert!(size_of::<Header>() == 8);

impl Header {
    /// Length in bytes.
    pub const LEN: usize = size_of::<Self>();

    /// A header without a checksum.
    #[must_use]
    pub const fn new(kind: Type, code: Code, rest: [u16; 2]) -> Self {
        let [first, second] = rest;
        let rest = [U16::new(first), U16::new(second)];
        Self { kind: kind.0, code: code.0, checksum: U16::ZERO, rest }
    }

    /// Asks for an echo of the payload.
    #[must_use]
    pub const fn echo_request(id: u16, sequence: u16) -> Self {
        Self::new(Type::ECHO_REQUEST, Code::ZERO, [id, sequence])
    }

    /// Answers an echo request; the payload is the request's (RFC 1122, 3.2.2.6).
    #[must_use]
    pub const fn echo_reply(id: u16, sequence: u16) -> Self {
        Self::new(Type::ECHO_REPLY, Code::ZERO, [id, sequence])
    }

    /// Says that the quoted packet could not be delivered.
    #[must_use]
    pub const fn destination_unreachable(code: Code) -> Self {
        Self::new(Type::DESTINATION_UNREACHABLE, code, [0, 0])
    }

    /// Says that the quoted packet is bigger than the next link's `mtu` (RFC 1191, 4).
    #[must_use]
    pub const fn fragmentation_needed(mtu: u16) -> Self {
        Self::new(Type::DESTINATION_UNREACHABLE, Code::FRAGMENTATION_NEEDED, [0, mtu])
    }

    /// "`router` on your own link is nearer" (RFC 1812, 5.2.7.2).
    #[must_use]
    pub const fn redirect(code: Code, router: Ipv4Addr) -> Self {
        let [a, b, c, d] = router.octets();
        Self::new(Type::REDIRECT, code, [u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d])])
    }

    /// The router that a redirect names.
    #[must_use]
    pub fn router(&self) -> Ipv4Addr {
        let [first, second] = self.rest.map(U16::get);
        Ipv4Addr::from_bits(u32::from(first) << 16 | u32::from(second))
    }

    /// Says that the quoted packet was too long on its way.
    #[must_use]
    pub const fn time_exceeded(code: Code) -> Self {
        Self::new(Type::TIME_EXCEEDED, code, [0, 0])
    }

    /// Says that byte `pointer` of the quoted packet is wrong.
    #[must_use]
    pub const fn parameter_problem(code: Code, pointer: u8) -> Self {
        Self::new(Type::PARAMETER_PROBLEM, code, [u16::from_be_bytes([pointer, 0]), 0])
    }

    /// The header with its checksum over `payload`.
    #[inline]
    #[must_use]
    pub fn with_checksum(mut self, payload: &[u8]) -> Self {
        self.checksum = U16::ZERO;
        self.checksum = U16::new(Checksum::new().sum(self.as_bytes()).sum(payload).finish());
        self
    }

    /// The type.
    #[must_use]
    pub const fn kind(&self) -> Type {
        Type(self.kind)
    }

    /// The code.
    #[must_use]
    pub const fn code(&self) -> Code {
        Code(self.code)
    }

    /// Identifier of an echo request or reply.
    #[must_use]
    pub const fn echo_id(&self) -> u16 {
        let [id, _] = self.rest;
        id.get()
    }

    /// Sequence number of an echo request or reply.
    #[must_use]
    pub const fn echo_sequence(&self) -> u16 {
        let [_, sequence] = self.rest;
        sequence.get()
    }

    /// MTU of the next link in "fragmentation needed"; 0 from routers older than RFC 1191.
    #[must_use]
    pub const fn mtu(&self) -> u16 {
        let [_, mtu] = self.rest;
        mtu.get()
    }

    /// The wrong byte in a parameter problem.
    #[must_use]
    pub const fn pointer(&self) -> u8 {
        let [first, _] = self.rest;
        let [pointer, _] = first.to_bytes();
        pointer
    }
}

/// A message whose header is complete.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    /// The header.
    pub header: &'a Header,
    /// Echo data, or the packet that an error quotes.
    pub payload: &'a [u8],
}

impl<'a> Message<'a> {
    /// Borrows a message from the payload of an IP packet.
    ///
    /// # Errors
    /// `IcmpTooShort`.
    #[inline]
    pub fn parse(bytes: &'a [u8]) -> Result<Self, DropReason> {
        let (header, payload) =
            Header::ref_from_prefix(bytes).map_err(|_| DropReason::IcmpTooShort)?;
        Ok(Self { header, payload })
    }

    /// Checks the checksum.
    ///
    /// # Errors
    /// `IcmpChecksum`.
    #[inline]
    pub fn verify(&self) -> Result<(), DropReason> {
        if Checksum::new().sum(self.header.as_bytes()).sum(self.payload).is_valid() {
            Ok(())
        } else {
            Err(DropReason::IcmpChecksum)
        }
    }

    /// The packet that an error message quotes.
    ///
    /// # Errors
    /// `IcmpType` if this is no error message; else as [`Quoted::parse`].
    pub fn quoted(&self) -> Result<Quoted<'a>, DropReason> {
        if !self.header.kind().is_error() {
            return Err(DropReason::IcmpType);
        }
        Quoted::parse(self.payload)
    }
}

/// The beginning of a packet this host sent, as an error message quotes it: the IP header and the
/// first 64 bits of its payload (RFC 792).
///
/// Anyone can forge one: compare all of it with a real connection before believing it (RFC 5927).
#[derive(Clone, Copy, Debug)]
pub struct Quoted<'a> {
    /// The packet's header.
    pub header: &'a ipv4::Header,
    /// The first bytes of its payload.
    pub transport: &'a [u8; 8],
    /// All that is quoted, from its IP header on.
    pub packet: &'a [u8],
}

impl<'a> Quoted<'a> {
    /// Borrows a quoted packet from the payload of an error message.
    ///
    /// The total length is not looked at: the packet is truncated, and old stacks quote the field
    /// in wrong byte order or without the header. Nor is the checksum: hops change the header.
    ///
    /// # Errors
    /// `IcmpQuoted` if the header is not IPv4's, its length is wrong, or bytes are missing.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, DropReason> {
        let parts = || {
            let (header, _) = ipv4::Header::ref_from_prefix(bytes).ok()?;
            let payload = bytes.get(header.header_len()..)?;
            let is_ipv4 = header.version() == 4 && header.header_len() >= ipv4::Header::LEN;
            let transport = payload.first_chunk().filter(|_| is_ipv4)?;
            Some(Self { header, transport, packet: bytes })
        };
        parts().ok_or(DropReason::IcmpQuoted)
    }

    /// Source (ours) and destination port of a TCP segment or UDP datagram. `None` for other
    /// protocols and for fragments without the transport header.
    #[must_use]
    pub fn ports(&self) -> Option<(u16, u16)> {
        let is_first = self.header.fragment_offset() == 0;
        quoted::ports(self.header.protocol(), self.transport).filter(|_| is_first)
    }

    /// Identifier of an echo request, `None` for others and as for [`ports`](Self::ports).
    #[must_use]
    pub fn echo_id(&self) -> Option<u16> {
        let is_first = self.header.fragment_offset() == 0;
        quoted::echo_id(self.header.protocol(), self.transport).filter(|_| is_first)
    }

    /// Sequence number of a TCP segment, `None` as for [`ports`](Self::ports).
    #[must_use]
    pub fn tcp_sequence(&self) -> Option<u32> {
        let is_first = self.header.fragment_offset() == 0;
        quoted::tcp_sequence(self.header.protocol(), self.transport).filter(|_| is_first)
    }
}

/// As much of `packet`, from its IP header on, as an error message about it quotes: the whole
/// message is to have at most 576 bytes (RFC 1812, 4.3.2.3).
#[must_use]
pub fn quote(packet: &[u8]) -> &[u8] {
    packet.get(..QUOTE_LEN_MAX).unwrap_or(packet)
}

/// 576 bytes less the headers in front of the quoted packet.
const QUOTE_LEN_MAX: usize = 576 - ipv4::Header::LEN - Header::LEN;
