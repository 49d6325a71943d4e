//! Who listens to which group of IPv4, versions 2 and 3 (RFC 2236, RFC 3376): the listener's side.

use core::net::Ipv4Addr;
use core::time::Duration;

use types::DropReason;
use zerocopy::network_endian::U16;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::checksum::Checksum;
use crate::mld::RecordType;

/// Where reports of version 3 go (RFC 3376, 4.2.14).
pub const REPORT_GROUP: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 22);

/// Where questions about all groups go (RFC 3376, 4.1.12).
pub const ALL_SYSTEMS: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 1);

/// Where version 2 says that nobody listens any more (RFC 2236, 3).
pub const ALL_ROUTERS: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 2);

/// The IPv4 option in front of each message: "look into this" (RFC 2113).
pub const ROUTER_ALERT: [u8; 4] = [148, 4, 0, 0];

/// What every message begins with.
///
/// ```text
///  0        1              2                 4
/// +--------+--------------+-----------------+---------------------+
/// | kind   | max response | checksum        | group, or count     |
/// +--------+--------------+-----------------+---------------------+
/// ```
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned, Clone, Copy, Debug)]
#[repr(C)]
pub struct Header {
    /// The type.
    pub kind: u8,
    /// Time for an answer, in tenths of a second; 0 in what is not a query.
    pub max_response: u8,
    /// Checksum over the message.
    pub checksum: U16,
    /// A group; in a report of version 3 zero and the count of records.
    pub group: [u8; 4],
}

const _: () = assert!(size_of::<Header>() == 8);

impl Header {
    /// Somebody here listens: version 2.
    #[must_use]
    pub const fn listening(group: Ipv4Addr) -> Self {
        Self::new(REPORT_V2, group.octets())
    }

    /// Nobody here listens any more: version 2.
    #[must_use]
    pub const fn left(group: Ipv4Addr) -> Self {
        Self::new(LEAVE, group.octets())
    }

    /// A report of version 3 with so many records.
    #[must_use]
    pub const fn report(records: u16) -> Self {
        let [high, low] = records.to_be_bytes();
        Self::new(REPORT_V3, [0, 0, high, low])
    }

    const fn new(kind: u8, group: [u8; 4]) -> Self {
        Self { kind, max_response: 0, checksum: U16::ZERO, group }
    }

    /// The header with its checksum over itself and what follows.
    #[must_use]
    pub fn with_checksum(mut self, body: &[u8]) -> Self {
        self.checksum = U16::ZERO;
        self.checksum = U16::new(Checksum::new().sum(self.as_bytes()).sum(body).finish());
        self
    }
}

/// What a report of version 3 says about a group; its sources follow, 4 bytes each.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned, Clone, Copy, Debug)]
#[repr(C)]
pub struct Record {
    kind: u8,
    auxiliary_len: u8,
    sources: U16,
    group: [u8; 4],
}

const _: () = assert!(size_of::<Record>() == 8);

impl Record {
    /// A record in front of `sources` sources.
    #[must_use]
    pub const fn new(kind: RecordType, group: Ipv4Addr, sources: u16) -> Self {
        Self {
            kind: kind as u8,
            auxiliary_len: 0,
            sources: U16::new(sources),
            group: group.octets(),
        }
    }
}

/// A router asks who listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Query<'a> {
    /// The group it asks about; unspecified: about all.
    pub group: Ipv4Addr,
    /// Answers are to be spread over this time.
    pub max_response: Duration,
    /// The sources it asks about, 4 bytes each; none: about all.
    pub sources: &'a [u8],
    /// The router speaks version 2, or 1.
    pub is_older: bool,
}

impl<'a> Query<'a> {
    /// Reads a query. The packet's hops are for the caller to check (RFC 3376, 4): 1.
    ///
    /// # Errors
    /// `IgmpFormat` if it is cut off, its checksum is wrong or it asks about no group; `IgmpType` if it
    /// is another message.
    pub fn parse(message: &'a [u8]) -> Result<Self, DropReason> {
        let (header, rest) =
            Header::ref_from_prefix(message).map_err(|_| DropReason::IgmpFormat)?;
        if !Checksum::new().sum(message).is_valid() {
            return Err(DropReason::IgmpFormat);
        }
        if header.kind != QUERY {
            return Err(DropReason::IgmpType);
        }
        let group = Ipv4Addr::from(header.group);
        if !group.is_unspecified() && !group.is_multicast() {
            return Err(DropReason::IgmpFormat);
        }
        let sources = match rest {
            [] => return Ok(Self::older(group, header.max_response)),
            [_, _, high, low, sources @ ..] => {
                let len = usize::from(u16::from_be_bytes([*high, *low])).checked_mul(4);
                len.and_then(|len| sources.get(..len)).ok_or(DropReason::IgmpFormat)?
            }
            _ => return Err(DropReason::IgmpFormat),
        };
        let max_response = tenths(code(header.max_response));
        Ok(Self { group, max_response, sources, is_older: false })
    }

    /// Version 1 says no time: 10 s (RFC 3376, 7.2.1).
    fn older(group: Ipv4Addr, max_response: u8) -> Self {
        let time = if max_response == 0 { 100 } else { u32::from(max_response) };
        Self { group, max_response: tenths(time), sources: &[], is_older: true }
    }
}

fn tenths(count: u32) -> Duration {
    Duration::from_millis(u64::from(count).saturating_mul(100))
}

/// From 128 on a floating-point number (RFC 3376, 4.1.1).
const fn code(code: u8) -> u32 {
    if code < 128 {
        return code as u32;
    }
    let mantissa = (code & 0xf) as u32 | 0x10;
    let exponent = (code >> 4 & 7) as u32;
    mantissa << exponent.saturating_add(3)
}

const QUERY: u8 = 0x11;
const REPORT_V2: u8 = 0x16;
const LEAVE: u8 = 0x17;
const REPORT_V3: u8 = 0x22;
