//! Multicast listener discovery, version 2 (RFC 3810): the listener's side.

use core::net::Ipv6Addr;

use types::DropReason;
use zerocopy::network_endian::U16;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::icmp6::{self, Code, Type};
use crate::ipv4::Protocol;
use crate::ipv6;

/// Where reports go: all routers that know version 2 (RFC 3810, 5.2.14).
pub const REPORT_GROUP: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0x16);

/// The hop-by-hop header in front of each message: "look into this" and two bytes of padding
/// (RFC 2711; RFC 3810, 5).
pub const ROUTER_ALERT: [u8; 8] = [Protocol::ICMPV6.0, 0, 5, 2, 0, 0, 1, 0];

/// A router asks who listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Query<'a> {
    /// The group it asks about; unspecified: about all.
    pub group: Ipv6Addr,
    /// Answers are to be spread over so many milliseconds.
    pub max_response_delay: u32,
    /// The sources it asks about, 16 bytes each; none: about all.
    pub sources: &'a [u8],
    /// The router knows only version 1 and wants its report (RFC 3810, 8.1).
    pub is_version_1: bool,
}

impl<'a> Query<'a> {
    /// Reads the query of a packet whose checksum is right.
    ///
    /// # Errors
    /// `Icmp6Type` if it is another type of message; `MldFormat` if it is cut off, comes from beyond
    /// the link or without a router alert (RFC 3810, 5.1.14, 6.2), or asks about no group.
    pub fn parse(
        packet: &ipv6::Header,
        router_alert: bool,
        message: &icmp6::Message<'a>,
    ) -> Result<Self, DropReason> {
        if message.header.kind() != Type::MLD_QUERY {
            return Err(DropReason::Icmp6Type);
        }
        let from_link = packet.src().is_unicast_link_local() && packet.hop_limit == 1;
        if !from_link || !router_alert {
            return Err(DropReason::MldFormat);
        }
        Self::body(message).ok_or(DropReason::MldFormat)
    }

    fn body(message: &icmp6::Message<'a>) -> Option<Self> {
        let (group, rest) = message.body.split_first_chunk::<16>()?;
        let group = Ipv6Addr::from(*group);
        if !group.is_unspecified() && !group.is_multicast() {
            return None;
        }
        let [high, low, ..] = message.header.rest.to_bytes();
        let code = u16::from_be_bytes([high, low]);
        if rest.is_empty() {
            let max_response_delay = u32::from(code);
            return Some(Self { group, max_response_delay, sources: &[], is_version_1: true });
        }
        let (&[_, _, count @ ..], rest) = rest.split_first_chunk::<4>()?;
        let sources_len = usize::from(u16::from_be_bytes(count)).checked_mul(16)?;
        let sources = rest.get(..sources_len)?;
        Some(Self { group, max_response_delay: delay(code), sources, is_version_1: false })
    }
}

/// The maximum response code as milliseconds: above 32,767 a floating-point number (RFC 3810,
/// 5.1.3).
const fn delay(code: u16) -> u32 {
    if code < 0x8000 {
        return code as u32;
    }
    let mantissa = (code & 0x0fff) as u32 | 0x1000;
    let exponent = (code >> 12 & 7) as u32;
    mantissa << exponent.saturating_add(3)
}

/// What a record of a report says about a group (RFC 3810, 5.2.12).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum RecordType {
    /// Someone listens to these sources.
    ModeIsInclude = 1,
    /// Someone listens to all but these sources.
    ModeIsExclude = 2,
    /// From now on only to these.
    ChangeToInclude = 3,
    /// From now on to all but these.
    ChangeToExclude = 4,
    /// Also to these.
    AllowNewSources = 5,
    /// No longer to these.
    BlockOldSources = 6,
}

/// A report's header for `records` records. The checksum is [`icmp6::Header::with_checksum`]'s.
#[must_use]
pub const fn report(records: u16) -> icmp6::Header {
    icmp6::Header::new(Type::MLD_REPORT_V2, Code::ZERO, records as u32)
}

/// What a report says about a group; its sources follow, 16 bytes each.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned, Clone, Copy, Debug)]
#[repr(C)]
pub struct Record {
    kind: u8,
    auxiliary_len: u8,
    sources: U16,
    group: [u8; 16],
}

const _: () = assert!(size_of::<Record>() == 20);

impl Record {
    /// A record in front of `sources` sources.
    #[must_use]
    pub const fn new(kind: RecordType, group: Ipv6Addr, sources: u16) -> Self {
        let (sources, group) = (U16::new(sources), group.octets());
        Self { kind: kind as u8, auxiliary_len: 0, sources, group }
    }
}
