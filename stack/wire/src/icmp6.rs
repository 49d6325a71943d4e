//! ICMPv6 messages (RFC 4443) and the packets that errors quote.

use core::net::Ipv6Addr;

use types::DropReason;
use zerocopy::network_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::checksum::Checksum;
use crate::ipv4::Protocol;
use crate::{ipv6, quoted};

/// Type of a message. Those below 128 are errors (RFC 4443, 2.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Type(pub u8);

impl Type {
    /// A packet could not be delivered; see the `Code`s.
    pub const DESTINATION_UNREACHABLE: Self = Self(1);
    /// A packet was bigger than the next link's MTU.
    pub const PACKET_TOO_BIG: Self = Self(2);
    /// A packet or its fragments were too long on their way.
    pub const TIME_EXCEEDED: Self = Self(3);
    /// A packet's header is wrong.
    pub const PARAMETER_PROBLEM: Self = Self(4);
    /// Asks for an echo.
    pub const ECHO_REQUEST: Self = Self(128);
    /// Answer to an echo request.
    pub const ECHO_REPLY: Self = Self(129);
    /// Who listens to which groups? (RFC 3810)
    pub const MLD_QUERY: Self = Self(130);
    /// Answer to a version 1 query (RFC 2710).
    pub const MLD_REPORT: Self = Self(131);
    /// Nobody here listens to the group any more (RFC 2710).
    pub const MLD_DONE: Self = Self(132);
    /// Asks for router advertisements (RFC 4861).
    pub const ROUTER_SOLICITATION: Self = Self(133);
    /// Prefixes, MTU and hop limit of the link (RFC 4861).
    pub const ROUTER_ADVERTISEMENT: Self = Self(134);
    /// Who has the address? (RFC 4861)
    pub const NEIGHBOR_SOLICITATION: Self = Self(135);
    /// The sender has the address (RFC 4861).
    pub const NEIGHBOR_ADVERTISEMENT: Self = Self(136);
    /// A better next hop (RFC 4861).
    pub const REDIRECT: Self = Self(137);
    /// Answer to a query, and report of changes (RFC 3810).
    pub const MLD_REPORT_V2: Self = Self(143);

    /// Whether messages of this type quote a packet; no error may be sent about them (RFC 4443,
    /// 2.4 (e.1)).
    #[must_use]
    pub const fn is_error(self) -> bool {
        self.0 < 128
    }
}

/// Code of a message: what it means depends on the type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Code(pub u8);

impl Code {
    /// The only code of most types.
    pub const ZERO: Self = Self(0);
    /// Destination unreachable: no route.
    pub const NO_ROUTE: Self = Self(0);
    /// Destination unreachable: an administrator does not want it.
    pub const ADMINISTRATIVELY_PROHIBITED: Self = Self(1);
    /// Destination unreachable: the source is an address of a link, and the destination is beyond it.
    pub const BEYOND_SCOPE: Self = Self(2);
    /// Destination unreachable: the destination does not answer on its link.
    pub const ADDRESS_UNREACHABLE: Self = Self(3);
    /// Destination unreachable: nobody uses the port.
    pub const PORT_UNREACHABLE: Self = Self(4);
    /// Destination unreachable: a route lets nothing pass.
    pub const REJECT_ROUTE: Self = Self(6);
    /// Time exceeded: no hops left.
    pub const HOP_LIMIT_EXCEEDED: Self = Self(0);
    /// Time exceeded: fragments are missing.
    pub const REASSEMBLY_TIME_EXCEEDED: Self = Self(1);
    /// Parameter problem: the pointer shows a field with a wrong value.
    pub const WRONG_FIELD: Self = Self(0);
    /// Parameter problem: the pointer shows a next header this host does not know.
    pub const UNKNOWN_NEXT_HEADER: Self = Self(1);
}

/// The 8 bytes in front of a message's body.
///
/// ```text
///  0        1        2                 4                                  8
/// +--------+--------+-----------------+----------------------------------+
/// | kind   | code   | checksum        | rest: id and sequence (echo),    |
/// |        |        |                 |   MTU, pointer, flags, …         |
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
    /// Checksum over pseudo header, header and body.
    pub checksum: U16,
    /// What it means depends on the type.
    pub rest: U32,
}

const _: () = assert!(size_of::<Header>() == 8);

impl Header {
    /// Length in bytes.
    pub const LEN: usize = size_of::<Self>();

    /// A header without a checksum.
    #[must_use]
    pub const fn new(kind: Type, code: Code, rest: u32) -> Self {
        Self { kind: kind.0, code: code.0, checksum: U16::ZERO, rest: U32::new(rest) }
    }

    /// Asks for an echo of the body.
    #[must_use]
    pub const fn echo_request(id: u16, sequence: u16) -> Self {
        Self::new(Type::ECHO_REQUEST, Code::ZERO, (id as u32) << 16 | sequence as u32)
    }

    /// Answers this echo request; the body is the request's (RFC 4443, 4.2).
    #[must_use]
    pub const fn echo_reply(&self) -> Self {
        Self::new(Type::ECHO_REPLY, Code::ZERO, self.rest.get())
    }

    /// The header with its checksum over the pseudo header and `body` (RFC 4443, 2.3).
    #[inline]
    #[must_use]
    pub fn with_checksum(mut self, src: Ipv6Addr, dst: Ipv6Addr, body: &[u8]) -> Self {
        self.checksum = U16::ZERO;
        self.checksum = U16::new(sum(&self, src, dst, body).finish());
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

    /// Identifier and sequence number of an echo request or reply.
    #[must_use]
    pub const fn echo(&self) -> (u16, u16) {
        let [a, b, c, d] = self.rest.to_bytes();
        (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]))
    }
}

/// A message whose header is complete.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    /// The header.
    pub header: &'a Header,
    /// Echo data, the packet that an error quotes, or what the type says.
    pub body: &'a [u8],
}

impl<'a> Message<'a> {
    /// Borrows a message from the payload of a packet.
    ///
    /// # Errors
    /// `Icmp6TooShort`.
    #[inline]
    pub fn parse(bytes: &'a [u8]) -> Result<Self, DropReason> {
        let (header, body) =
            Header::ref_from_prefix(bytes).map_err(|_| DropReason::Icmp6TooShort)?;
        Ok(Self { header, body })
    }

    /// Checks the checksum.
    ///
    /// # Errors
    /// `Icmp6Checksum`.
    #[inline]
    pub fn verify(&self, src: Ipv6Addr, dst: Ipv6Addr) -> Result<(), DropReason> {
        if sum(self.header, src, dst, self.body).is_valid() {
            Ok(())
        } else {
            Err(DropReason::Icmp6Checksum)
        }
    }

    /// The packet that an error message quotes.
    ///
    /// # Errors
    /// `Icmp6Type` if this is no error message; else as [`Quoted::parse`].
    pub fn quoted(&self) -> Result<Quoted<'a>, DropReason> {
        if !self.header.kind().is_error() {
            return Err(DropReason::Icmp6Type);
        }
        Quoted::parse(self.body)
    }
}

/// The beginning of a packet this host sent, as an error message quotes it.
///
/// Anyone can forge one: compare all of it with a real connection before believing it (RFC 5927).
#[derive(Clone, Copy, Debug)]
pub struct Quoted<'a> {
    /// The packet's header.
    pub header: &'a ipv6::Header,
    /// What its payload is.
    pub protocol: Protocol,
    /// The first bytes of its payload.
    pub transport: &'a [u8; 8],
    /// All that is quoted, from its IP header on.
    pub packet: &'a [u8],
}

impl<'a> Quoted<'a> {
    /// Borrows a quoted packet from the body of an error message. Only as much of it is there as
    /// fitted into the smallest MTU, so its payload length is not looked at. Packets of this host
    /// have no extension header but a fragment header, and then are fragments of datagrams.
    ///
    /// # Errors
    /// `Icmp6Quoted` if the header is not IPv6's or bytes are missing.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, DropReason> {
        let parts = || {
            let (header, payload) = ipv6::Header::ref_from_prefix(bytes).ok()?;
            let transport = payload.first_chunk().filter(|_| header.version() == 6)?;
            let protocol = Protocol(header.next_header);
            Some(Self { header, protocol, transport, packet: bytes })
        };
        parts().ok_or(DropReason::Icmp6Quoted)
    }

    /// Source (ours) and destination port of a TCP segment or UDP datagram; `None` for others.
    #[must_use]
    pub fn ports(&self) -> Option<(u16, u16)> {
        quoted::ports(self.protocol, self.transport)
    }

    /// Identifier of an echo request; `None` for others.
    #[must_use]
    pub fn echo_id(&self) -> Option<u16> {
        quoted::echo_id(self.protocol, self.transport)
    }

    /// Sequence number of a TCP segment; `None` for others.
    #[must_use]
    pub fn tcp_sequence(&self) -> Option<u32> {
        quoted::tcp_sequence(self.protocol, self.transport)
    }
}

/// As much of `packet`, from its IP header on, as an error message about it quotes: the whole
/// message must fit into the smallest MTU (RFC 4443, 2.4 (c)).
#[must_use]
pub fn quote(packet: &[u8]) -> &[u8] {
    packet.get(..QUOTE_LEN_MAX).unwrap_or(packet)
}

/// The smallest MTU less the headers in front of the quoted packet.
const QUOTE_LEN_MAX: usize = ipv6::Header::MTU_MIN - ipv6::Header::LEN - Header::LEN;

/// The sum over all that the checksum covers. More than 65,535 bytes will not verify.
#[inline]
fn sum(header: &Header, src: Ipv6Addr, dst: Ipv6Addr, body: &[u8]) -> Checksum {
    let len = u16::try_from(Header::LEN.saturating_add(body.len())).unwrap_or(u16::MAX);
    Checksum::pseudo_v6(src, dst, Protocol::ICMPV6.0, len).sum(header.as_bytes()).sum(body)
}
