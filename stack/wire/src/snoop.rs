//! What a frame to a group is, to a bridge that listens in (RFC 4541): packets to a group of IP, and what listeners and
//! routers tell each other about such groups (IGMP, MLD).

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use core::time::Duration;

use types::DropReason;
use zerocopy::FromBytes;

use crate::checksum::Checksum;
use crate::ethernet::{EtherType, Frame};
use crate::icmp6::{self, Type};
use crate::{igmp, ipv4, ipv6, mld};

/// A frame to a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Snooped<'a> {
    /// A packet to a group beyond the link's own.
    Data(IpAddr),
    /// Somebody asks who listens.
    Query(Query),
    /// Listeners answer.
    Report(Report<'a>),
    /// For everybody on the link.
    Other,
}

/// Somebody asks who listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Query {
    /// He asks about IPv6.
    pub inet6: bool,
    /// The group; none: about all.
    pub group: Option<IpAddr>,
    /// Answers are spread over this time.
    pub max_response: Duration,
}

/// Groups that somebody listens to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Report<'a> {
    /// None any more.
    Left,
    /// One (IGMP versions 1 and 2, MLD version 1).
    One(IpAddr),
    /// Records of IGMP version 3.
    Records4(u16, &'a [u8]),
    /// Records of MLD version 2.
    Records6(u16, &'a [u8]),
}

impl<'a> Snooped<'a> {
    /// Reads a frame. What is not whole as a packet is nobody's business here, and for everybody.
    ///
    /// # Errors
    /// A message of IGMP or MLD that is cut off, or whose checksum is wrong; a question from beyond the link, or to
    /// others than those whom it is about.
    pub fn parse(frame: &'a [u8]) -> Result<Self, DropReason> {
        let frame = Frame::parse(frame)?;
        match frame.header.ethertype() {
            EtherType::IPV4 => parse4(frame.payload),
            EtherType::IPV6 => parse6(frame.payload),
            _ => Ok(Self::Other),
        }
    }
}

fn parse4(bytes: &[u8]) -> Result<Snooped<'_>, DropReason> {
    let Ok(packet) = ipv4::Packet::parse(bytes) else { return Ok(Snooped::Other) };
    let to = packet.header.dst();
    if packet.header.protocol() == ipv4::Protocol::IGMP && !packet.is_fragment() {
        packet.verify()?;
        return igmp(&packet);
    }
    Ok(data(to.into()))
}

const fn data(to: IpAddr) -> Snooped<'static> {
    if to.is_multicast() && !is_everybodys(to) { Snooped::Data(to) } else { Snooped::Other }
}

/// A group of the link: 224.0.0/24, of which nobody reports all (RFC 4541 2.1.2), and those in which neighbours are looked
/// for, who would not be found if they did not report them.
const fn is_everybodys(group: IpAddr) -> bool {
    match group {
        IpAddr::V4(v4) => matches!(v4.octets(), [224, 0, 0, _]),
        IpAddr::V6(v6) => matches!(v6.octets(), [0xff, scope, ..] if scope & 0xf <= 2),
    }
}

fn igmp<'a>(packet: &ipv4::Packet<'a>) -> Result<Snooped<'a>, DropReason> {
    let wrong = DropReason::IgmpFormat;
    let (header, rest) = igmp::Header::ref_from_prefix(packet.payload).map_err(|_| wrong)?;
    if !Checksum::new().sum(packet.payload).is_valid() {
        return Err(wrong);
    }
    let group = Ipv4Addr::from(header.group);
    Ok(match header.kind {
        QUERY => {
            let query = igmp::Query::parse(packet.payload)?;
            let to = packet.header.dst().into();
            if packet.header.ttl != 1 || !is_asked(to, group.into(), igmp::ALL_SYSTEMS.into()) {
                return Err(wrong);
            }
            Snooped::Query(Query {
                inet6: false,
                group: (!group.is_unspecified()).then_some(group.into()),
                max_response: query.max_response,
            })
        }
        REPORT_V1 | REPORT_V2 if group.is_multicast() => Snooped::Report(Report::One(group.into())),
        LEAVE => Snooped::Report(Report::Left),
        REPORT_V3 => {
            let [_, _, high, low] = header.group;
            let report = Report::Records4(u16::from_be_bytes([high, low]), rest);
            Snooped::Report(report.checked().ok_or(wrong)?)
        }
        REPORT_V1 | REPORT_V2 => return Err(wrong),
        _ => Snooped::Other,
    })
}

/// All those whom a query is about get it: it goes to everybody, or to the group (RFC 3376 4.1.12, RFC 3810 5.1.15).
/// Bridges that ask send to everybody what is about one group, and hosts answer that, too.
fn is_asked(to: IpAddr, group: IpAddr, everybody: IpAddr) -> bool {
    to.is_multicast() && (to == everybody || to == group)
}

fn parse6(bytes: &[u8]) -> Result<Snooped<'_>, DropReason> {
    let Ok(packet) = ipv6::Packet::parse(bytes) else { return Ok(Snooped::Other) };
    let to = packet.header.dst();
    if packet.header.next_header == HOP_BY_HOP
        && let Ok(chain) = packet.chain()
        && chain.router_alert
        && chain.protocol == ipv4::Protocol::ICMPV6
    {
        let message = icmp6::Message::parse(chain.payload)?;
        if [Type::MLD_QUERY, Type::MLD_REPORT, Type::MLD_DONE, Type::MLD_REPORT_V2]
            .contains(&message.header.kind())
        {
            message.verify(packet.header.src(), to)?;
            return mld(packet.header, &message);
        }
    }
    Ok(data(to.into()))
}

fn mld<'a>(header: &ipv6::Header, message: &icmp6::Message<'a>) -> Result<Snooped<'a>, DropReason> {
    let wrong = DropReason::MldFormat;
    Ok(match message.header.kind() {
        Type::MLD_QUERY => {
            let query = mld::Query::parse(header, true, message)?;
            if !is_asked(header.dst().into(), query.group.into(), ipv6::ALL_NODES.into()) {
                return Err(wrong);
            }
            Snooped::Query(Query {
                inet6: true,
                group: (!query.group.is_unspecified()).then_some(query.group.into()),
                max_response: Duration::from_millis(query.max_response_delay.into()),
            })
        }
        Type::MLD_REPORT => {
            let (group, _) = message.body.split_first_chunk::<16>().ok_or(wrong)?;
            let group = Ipv6Addr::from(*group);
            if !group.is_multicast() {
                return Err(wrong);
            }
            Snooped::Report(Report::One(group.into()))
        }
        Type::MLD_REPORT_V2 => {
            let [_, _, high, low] = message.header.rest.to_bytes();
            let report = Report::Records6(u16::from_be_bytes([high, low]), message.body);
            Snooped::Report(report.checked().ok_or(wrong)?)
        }
        _ => Snooped::Report(Report::Left),
    })
}

impl Report<'_> {
    /// All records are there.
    fn checked(self) -> Option<Self> {
        self.walk(|_| {}).map(|()| self)
    }

    /// The groups beyond the link's own that somebody listens to, whichever sources he wants.
    pub fn groups(&self, mut to: impl FnMut(IpAddr)) {
        // It was walked through when it was read.
        let _ = self.walk(|group| {
            if group.is_multicast() && !is_everybodys(group) {
                to(group);
            }
        });
    }

    fn walk(&self, mut to: impl FnMut(IpAddr)) -> Option<()> {
        match *self {
            Self::Left => Some(()),
            Self::One(group) => {
                to(group);
                Some(())
            }
            Self::Records4(count, bytes) => {
                walk(count, bytes, |group: &[u8; 4]| to(Ipv4Addr::from(*group).into()))
            }
            Self::Records6(count, bytes) => {
                walk(count, bytes, |group: &[u8; 16]| to(Ipv6Addr::from(*group).into()))
            }
        }
    }
}

/// Records with addresses of `N` bytes: type, length of what is unknown in words, count of sources, group, sources.
fn walk<const N: usize>(count: u16, mut rest: &[u8], mut to: impl FnMut(&[u8; N])) -> Option<()> {
    for _ in 0..count {
        let (&[kind, unknown, sources @ ..], tail) = rest.split_first_chunk::<4>()?;
        let sources = usize::from(u16::from_be_bytes(sources));
        let (group, tail) = tail.split_first_chunk::<N>()?;
        let len = sources.checked_mul(N)?.checked_add(usize::from(unknown).checked_mul(4)?)?;
        rest = tail.get(len..)?;
        // To nothing but these, or not to these: the next report says what is left.
        let listens = match kind {
            IS_INCLUDE | TO_INCLUDE | ALLOW => sources > 0,
            IS_EXCLUDE | TO_EXCLUDE => true,
            _ => false,
        };
        if listens {
            to(group);
        }
    }
    Some(())
}

const HOP_BY_HOP: u8 = 0;
const QUERY: u8 = 0x11;
const REPORT_V1: u8 = 0x12;
const REPORT_V2: u8 = 0x16;
const LEAVE: u8 = 0x17;
const REPORT_V3: u8 = 0x22;
const IS_INCLUDE: u8 = mld::RecordType::ModeIsInclude as u8;
const IS_EXCLUDE: u8 = mld::RecordType::ModeIsExclude as u8;
const TO_INCLUDE: u8 = mld::RecordType::ChangeToInclude as u8;
const TO_EXCLUDE: u8 = mld::RecordType::ChangeToExclude as u8;
const ALLOW: u8 = mld::RecordType::AllowNewSources as u8;

#[cfg(test)]
mod tests;
