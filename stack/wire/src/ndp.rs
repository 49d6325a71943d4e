//! Neighbour discovery for IPv6 over Ethernet (RFC 4861).
//!
//! [`Ndp::parse`] makes the checks of RFC 4861, 6.1, 7.1 and 8.1, which keep senders off the link
//! out: the hop limit is still 255, the code 0, each option has a length, addresses are of the right
//! kind. What is emitted is a message of a fixed format and at most one link-layer address option.

use core::iter::FusedIterator;
use core::net::Ipv6Addr;

use types::{DropReason, MacAddr};
use zerocopy::network_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::icmp6::{self, Code, Type};
use crate::ipv6;

/// Hops that every message has left: no router has passed it on (RFC 4861, 3.1).
pub const HOP_LIMIT: u8 = 255;

mod router;

pub use router::{RouterMessage, RouterPrefix};

/// A message whose checks hold.
#[derive(Clone, Copy, Debug)]
pub enum Ndp<'a> {
    /// A host asks for routers.
    RouterSolicitation(Options<'a>),
    /// A router says what it is.
    RouterAdvertisement(RouterAdvertisement, Options<'a>),
    /// Who has the address? An unspecified source is duplicate address detection (RFC 4862, 5.4).
    NeighborSolicitation(Ipv6Addr, Options<'a>),
    /// A station has the address.
    NeighborAdvertisement(NeighborAdvertisement, Options<'a>),
    /// A router knows a better next hop.
    Redirect(Redirect, Options<'a>),
}

/// What a router says of itself and the link (RFC 4861, 4.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RouterAdvertisement {
    /// Hop limit for packets of hosts; 0: not said.
    pub hop_limit: u8,
    /// Addresses come from DHCPv6 (M).
    pub managed: bool,
    /// Other configuration comes from DHCPv6 (O).
    pub other: bool,
    /// How it compares with other routers.
    pub preference: Preference,
    /// Seconds for which it is a default router; 0: it is none.
    pub lifetime: u16,
    /// Milliseconds a neighbour counts as reachable after a sign of life; 0: not said.
    pub reachable_time: u32,
    /// Milliseconds between solicitations; 0: not said.
    pub retrans_timer: u32,
}

/// How a router compares with others (RFC 4191, 2.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Preference {
    /// Others rather.
    Low,
    /// As any.
    #[default]
    Medium,
    /// This one rather.
    High,
}

impl Preference {
    /// From the flags of an advertisement; the value that is reserved says nothing.
    const fn of(flags: u8) -> Self {
        match flags >> 3 & 3 {
            1 => Self::High,
            3 => Self::Low,
            _ => Self::Medium,
        }
    }
}

/// Who has an address (RFC 4861, 4.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NeighborAdvertisement {
    /// The address.
    pub target: Ipv6Addr,
    /// It is a router (R).
    pub router: bool,
    /// It answers a solicitation (S).
    pub solicited: bool,
    /// It replaces a link-layer address that is known (O).
    pub overriding: bool,
}

/// A better way (RFC 4861, 4.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Redirect {
    /// The better next hop: a router's link-local address, or the destination itself.
    pub target: Ipv6Addr,
    /// The destination it is better for.
    pub destination: Ipv6Addr,
}

impl Redirect {
    /// The most there can be behind the header of a message.
    pub const BODY_MAX: usize = ipv6::Header::MTU_MIN - ipv6::Header::LEN - icmp6::Header::LEN;

    /// Writes what follows the header of a message: both addresses, the target's station if it is known,
    /// and as much of the packet in question as fits (RFC 4861, 4.5, 4.6.3). Says how long it is.
    #[must_use]
    pub fn emit_body(
        &self,
        station: Option<MacAddr>,
        packet: &[u8],
        into: &mut [u8; Self::BODY_MAX],
    ) -> usize {
        const UNIT: usize = 8;
        const QUOTE_MAX: usize = Redirect::BODY_MAX - 32 - 2 * UNIT;
        let quote = packet.get(..packet.len().min(QUOTE_MAX) & !(UNIT - 1)).unwrap_or_default();
        let units = u8::try_from(quote.len() / UNIT).unwrap_or(0).saturating_add(1);
        let MacAddr([a, b, c, d, e, f]) = station.unwrap_or(MacAddr::ZERO);
        let station_option = [TARGET_LINK_LAYER, 1, a, b, c, d, e, f];
        let station_option = if station.is_some() { &station_option[..] } else { &[] };
        let (target, destination) = (self.target.octets(), self.destination.octets());
        let quoted_option = [REDIRECTED_HEADER, units, 0, 0, 0, 0, 0, 0];
        let mut len = 0_usize;
        for part in [&target[..], &destination, station_option, &quoted_option, quote] {
            let end = len.saturating_add(part.len());
            if let Some(room) = into.get_mut(len..end) {
                room.copy_from_slice(part);
                len = end;
            }
        }
        len
    }
}

impl<'a> Ndp<'a> {
    /// Reads the message of a packet whose checksum is right.
    ///
    /// # Errors
    /// `Icmp6Type` if it is another type of message, `NdpFormat` if it is cut off or an option is,
    /// `NdpInvalid` if it breaks a rule.
    pub fn parse(packet: &ipv6::Header, message: &icmp6::Message<'a>) -> Result<Self, DropReason> {
        let (src, dst) = (packet.src(), packet.dst());
        let kind = message.header.kind();
        if !matches!(kind.0, 133..=137) {
            return Err(DropReason::Icmp6Type);
        }
        if packet.hop_limit != HOP_LIMIT || message.header.code() != Code::ZERO {
            return Err(DropReason::NdpInvalid);
        }
        let (ndp, options) = match kind {
            Type::ROUTER_SOLICITATION => {
                let options = Options::checked(message.body)?;
                (Self::RouterSolicitation(options), options)
            }
            Type::ROUTER_ADVERTISEMENT => router_advertisement(message)?,
            Type::NEIGHBOR_SOLICITATION => {
                let (target, options) = target(message)?;
                check(!src.is_unspecified() || is_solicited_node(dst))?;
                (Self::NeighborSolicitation(target, options), options)
            }
            Type::NEIGHBOR_ADVERTISEMENT => neighbor_advertisement(message, dst)?,
            _ => redirect(message)?,
        };
        let from_router = matches!(kind, Type::ROUTER_ADVERTISEMENT | Type::REDIRECT);
        check(!from_router || src.is_unicast_link_local())?;
        // A sender without an address has no place for an answer (RFC 4861, 6.1.1, 7.1.1).
        check(!src.is_unspecified() || options.source_link_layer().is_none())?;
        Ok(ndp)
    }
}

fn router_advertisement<'a>(
    message: &icmp6::Message<'a>,
) -> Result<(Ndp<'a>, Options<'a>), DropReason> {
    let (body, rest) =
        AdvertisementBody::read_from_prefix(message.body).map_err(|_| DropReason::NdpFormat)?;
    let options = Options::checked(rest)?;
    let [hop_limit, flags, lifetime @ ..] = message.header.rest.to_bytes();
    let advertisement = RouterAdvertisement {
        hop_limit,
        managed: flags & MANAGED != 0,
        other: flags & OTHER != 0,
        preference: Preference::of(flags),
        lifetime: u16::from_be_bytes(lifetime),
        reachable_time: body.reachable_time.get(),
        retrans_timer: body.retrans_timer.get(),
    };
    Ok((Ndp::RouterAdvertisement(advertisement, options), options))
}

fn neighbor_advertisement<'a>(
    message: &icmp6::Message<'a>,
    dst: Ipv6Addr,
) -> Result<(Ndp<'a>, Options<'a>), DropReason> {
    let (target, options) = target(message)?;
    let flags = message.header.rest.get();
    let advertisement = NeighborAdvertisement {
        target,
        router: flags & ROUTER != 0,
        solicited: flags & SOLICITED != 0,
        overriding: flags & OVERRIDE != 0,
    };
    check(!(advertisement.solicited && dst.is_multicast()))?;
    Ok((Ndp::NeighborAdvertisement(advertisement, options), options))
}

fn redirect<'a>(message: &icmp6::Message<'a>) -> Result<(Ndp<'a>, Options<'a>), DropReason> {
    let (body, rest) =
        RedirectBody::read_from_prefix(message.body).map_err(|_| DropReason::NdpFormat)?;
    let options = Options::checked(rest)?;
    let redirect = Redirect {
        target: Ipv6Addr::from(body.target),
        destination: Ipv6Addr::from(body.destination),
    };
    let on_link = redirect.target == redirect.destination;
    check(!redirect.destination.is_multicast())?;
    check(on_link || redirect.target.is_unicast_link_local())?;
    Ok((Ndp::Redirect(redirect, options), options))
}

/// The target of a solicitation or advertisement; no group.
fn target<'a>(message: &icmp6::Message<'a>) -> Result<(Ipv6Addr, Options<'a>), DropReason> {
    let (target, rest) = message.body.split_first_chunk::<16>().ok_or(DropReason::NdpFormat)?;
    let target = Ipv6Addr::from(*target);
    let options = Options::checked(rest)?;
    check(!target.is_multicast() && !target.is_unspecified())?;
    Ok((target, options))
}

const fn check(holds: bool) -> Result<(), DropReason> {
    if holds { Ok(()) } else { Err(DropReason::NdpInvalid) }
}

fn is_solicited_node(group: Ipv6Addr) -> bool {
    ipv6::solicited_node(group) == group
}

/// What an option says; slices are what follows type and length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NdpOption<'a> {
    /// The sender's station (RFC 4861, 4.6.1).
    SourceLinkLayer(MacAddr),
    /// The target's station (RFC 4861, 4.6.1).
    TargetLinkLayer(MacAddr),
    /// A prefix of the link (RFC 4861, 4.6.2).
    Prefix(Prefix),
    /// MTU of the link (RFC 4861, 4.6.4).
    Mtu(u32),
    /// Seconds, and addresses of recursive DNS servers, 16 bytes each (RFC 8106, 5.1).
    DnsServers(u32, &'a [u8]),
    /// A nonce, to know one's own solicitation when it comes back (RFC 3971, 5.3.2; RFC 7527).
    Nonce(&'a [u8]),
    /// Any other type, or a length that is not its type's.
    Unknown(u8, &'a [u8]),
}

/// A prefix of the link (RFC 4861, 4.6.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prefix {
    /// The prefix; bits beyond its length mean nothing.
    pub prefix: Ipv6Addr,
    /// Its length in bits; more than 128 is not ruled out.
    pub len: u8,
    /// Addresses with it are on the link (L).
    pub on_link: bool,
    /// Hosts may make addresses from it (A).
    pub autonomous: bool,
    /// Seconds for which it is on the link; all ones: for ever.
    pub valid_lifetime: u32,
    /// Seconds for which addresses from it are preferred; all ones: for ever.
    pub preferred_lifetime: u32,
}

/// The options of a message, whose lengths were checked.
#[derive(Clone, Copy, Debug)]
pub struct Options<'a> {
    rest: &'a [u8],
}

impl<'a> Options<'a> {
    /// The options in `bytes`.
    ///
    /// # Errors
    /// `NdpFormat` if one has length 0 or goes beyond the message.
    pub fn checked(bytes: &'a [u8]) -> Result<Self, DropReason> {
        let mut rest = bytes;
        while !rest.is_empty() {
            (_, rest) = split_option(rest).ok_or(DropReason::NdpFormat)?;
        }
        Ok(Self { rest: bytes })
    }

    /// The sender's station, if it is said.
    #[must_use]
    pub fn source_link_layer(self) -> Option<MacAddr> {
        self.into_iter().find_map(|option| match option {
            NdpOption::SourceLinkLayer(mac) => Some(mac),
            _ => None,
        })
    }

    /// The target's station, if it is said.
    #[must_use]
    pub fn target_link_layer(self) -> Option<MacAddr> {
        self.into_iter().find_map(|option| match option {
            NdpOption::TargetLinkLayer(mac) => Some(mac),
            _ => None,
        })
    }
}

impl<'a> IntoIterator for Options<'a> {
    type Item = NdpOption<'a>;
    type IntoIter = Iter<'a>;

    fn into_iter(self) -> Iter<'a> {
        Iter { rest: self.rest }
    }
}

/// Options in the order of the message.
#[derive(Clone, Debug)]
pub struct Iter<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Iter<'a> {
    type Item = NdpOption<'a>;

    fn next(&mut self) -> Option<NdpOption<'a>> {
        let (option, rest) = split_option(self.rest)?;
        self.rest = rest;
        let (kind, data) = (option.first()?, option.get(2..)?);
        Some(NdpOption::new(*kind, data))
    }
}

impl FusedIterator for Iter<'_> {}

impl<'a> NdpOption<'a> {
    fn new(kind: u8, data: &'a [u8]) -> Self {
        Self::known(kind, data).unwrap_or(Self::Unknown(kind, data))
    }

    fn known(kind: u8, data: &'a [u8]) -> Option<Self> {
        match kind {
            SOURCE_LINK_LAYER => Some(Self::SourceLinkLayer(MacAddr(data.try_into().ok()?))),
            TARGET_LINK_LAYER => Some(Self::TargetLinkLayer(MacAddr(data.try_into().ok()?))),
            PREFIX => {
                let option = PrefixBody::read_from_bytes(data).ok()?;
                Some(Self::Prefix(Prefix {
                    prefix: Ipv6Addr::from(option.prefix),
                    len: option.len,
                    on_link: option.flags & ON_LINK != 0,
                    autonomous: option.flags & AUTONOMOUS != 0,
                    valid_lifetime: option.valid_lifetime.get(),
                    preferred_lifetime: option.preferred_lifetime.get(),
                }))
            }
            MTU => {
                let &[_, _, mtu @ ..] = <&[u8; 6]>::try_from(data).ok()?;
                Some(Self::Mtu(u32::from_be_bytes(mtu)))
            }
            NONCE => Some(Self::Nonce(data)),
            DNS_SERVERS => {
                let (&[_, _, lifetime @ ..], servers) = data.split_first_chunk::<6>()?;
                Some(Self::DnsServers(u32::from_be_bytes(lifetime), servers))
            }
            _ => None,
        }
    }
}

/// Splits the first option off. Its length byte counts units of 8 bytes, at least one.
fn split_option(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let &[_, units] = bytes.first_chunk()?;
    bytes.split_at_checked(usize::from(units).checked_mul(8).filter(|len| *len > 0)?)
}

/// A solicitation or advertisement with a link-layer address option: all this host sends about
/// neighbours. Without the option it is the first [`BARE_LEN`](Self::BARE_LEN) bytes.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned, Clone, Copy, Debug)]
#[repr(C)]
pub struct NeighborMessage {
    /// Type, code, checksum, flags.
    pub header: icmp6::Header,
    /// The address in question.
    pub target: [u8; 16],
    /// The sender's (solicitation) or the target's (advertisement) station.
    pub option: LinkLayerOption,
}

const _: () = assert!(size_of::<NeighborMessage>() == 32);

impl NeighborMessage {
    /// Length without the option.
    pub const BARE_LEN: usize = 24;

    /// Asks who has `target`; the answer goes to `mac`.
    #[must_use]
    pub const fn solicitation(target: Ipv6Addr, mac: MacAddr) -> Self {
        let header = icmp6::Header::new(Type::NEIGHBOR_SOLICITATION, Code::ZERO, 0);
        let option = LinkLayerOption::new(SOURCE_LINK_LAYER, mac);
        Self { header, target: target.octets(), option }
    }

    /// Asks for duplicate address detection who has `target` (RFC 4862, 5.4.2). Nobody is told a station,
    /// since there is no address to answer to; the nonce is what the message is known by (RFC 7527, 4.1).
    #[must_use]
    pub const fn probe(target: Ipv6Addr, nonce: [u8; 6]) -> Self {
        let header = icmp6::Header::new(Type::NEIGHBOR_SOLICITATION, Code::ZERO, 0);
        let option = LinkLayerOption::new(NONCE, MacAddr(nonce));
        Self { header, target: target.octets(), option }
    }

    /// Says that `mac` has an address.
    #[must_use]
    pub const fn advertisement(what: NeighborAdvertisement, mac: MacAddr) -> Self {
        let flags = (if what.router { ROUTER } else { 0 })
            | (if what.solicited { SOLICITED } else { 0 })
            | (if what.overriding { OVERRIDE } else { 0 });
        let header = icmp6::Header::new(Type::NEIGHBOR_ADVERTISEMENT, Code::ZERO, flags);
        let option = LinkLayerOption::new(TARGET_LINK_LAYER, mac);
        Self { header, target: what.target.octets(), option }
    }
}

/// Asks for routers; from the unspecified address the first 8 bytes only (RFC 4861, 4.1).
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned, Clone, Copy, Debug)]
#[repr(C)]
pub struct RouterSolicitation {
    /// Type, code, checksum.
    pub header: icmp6::Header,
    /// The sender's station.
    pub option: LinkLayerOption,
}

impl RouterSolicitation {
    /// Length without the option.
    pub const BARE_LEN: usize = 8;

    /// The message, without a checksum.
    #[must_use]
    pub const fn new(mac: MacAddr) -> Self {
        let header = icmp6::Header::new(Type::ROUTER_SOLICITATION, Code::ZERO, 0);
        Self { header, option: LinkLayerOption::new(SOURCE_LINK_LAYER, mac) }
    }
}

/// The station of the sender or of the target (RFC 4861, 4.6.1; RFC 2464, 6).
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned, Clone, Copy, Debug)]
#[repr(C)]
pub struct LinkLayerOption {
    kind: u8,
    /// One unit of 8 bytes.
    units: u8,
    mac: [u8; 6],
}

impl LinkLayerOption {
    const fn new(kind: u8, mac: MacAddr) -> Self {
        Self { kind, units: 1, mac: mac.0 }
    }
}

/// What follows the header in a router advertisement.
#[derive(FromBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct AdvertisementBody {
    reachable_time: U32,
    retrans_timer: U32,
}

/// What follows the header in a redirect.
#[derive(FromBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct RedirectBody {
    target: [u8; 16],
    destination: [u8; 16],
}

/// A prefix option behind type and length.
#[derive(FromBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct PrefixBody {
    len: u8,
    flags: u8,
    valid_lifetime: U32,
    preferred_lifetime: U32,
    reserved: [U16; 2],
    prefix: [u8; 16],
}

const SOURCE_LINK_LAYER: u8 = 1;
const TARGET_LINK_LAYER: u8 = 2;
const REDIRECTED_HEADER: u8 = 4;
const PREFIX: u8 = 3;
const MTU: u8 = 5;
const NONCE: u8 = 14;
const DNS_SERVERS: u8 = 25;

/// Flags of a router advertisement.
const MANAGED: u8 = 0x80;
const OTHER: u8 = 0x40;
/// Flags of a neighbour advertisement, in the header's last word.
const ROUTER: u32 = 0x8000_0000;
const SOLICITED: u32 = 0x4000_0000;
const OVERRIDE: u32 = 0x2000_0000;
/// Flags of a prefix.
const ON_LINK: u8 = 0x80;
const AUTONOMOUS: u8 = 0x40;
