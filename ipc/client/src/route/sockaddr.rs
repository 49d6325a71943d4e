//! The socket addresses behind a message's head. A bit of its `addrs` says that there is one, in the order of the
//! bits; each begins with its length and its family, and takes a multiple of eight bytes.
//!
//! ```text
//!  head │ RTA_DST: 16, AF_INET, … │ RTA_NETMASK: 7, 0, 0, 0, 255, 255, 255 │ 0 │ RTA_IFP: 32, AF_LINK, … │
//! ```

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use zerocopy::{FromBytes, Immutable, IntoBytes};

use super::layout::{Inet, Inet6, Link};
use super::message::Malformed;
use super::number::{
    AF_INET, AF_INET6, AF_LINK, IFT_ETHER, IFT_LOOP, RTA_BRD, RTA_DST, RTA_GATEWAY, RTA_IFA,
    RTA_IFP, RTA_NETMASK, RTAX_MAX,
};

/// Addresses begin at multiples of so many bytes.
const ROUND: usize = 8;

/// Number of the loopback interface, whose link has another type.
pub(super) const LOOPBACK: u16 = 1;

/// Bytes of an interface's name.
pub(super) const NAME_MAX: usize = 15;

/// An interface: its number, its name, its link address. The number of another host's link address is that of the
/// interface it is reached by.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LinkAddress {
    /// Number; 0: not known.
    pub index: u16,
    /// Name, at most 15 bytes.
    pub name: String,
    /// MAC address.
    pub mac: Option<[u8; 6]>,
}

/// Where packets go next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NextHop {
    /// To this router.
    Router(IpAddr),
    /// Over this link to whom they are for; a neighbour's own address.
    Link(LinkAddress),
}

/// The addresses of a message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Addresses {
    /// Whereto (`RTA_DST`).
    pub destination: Option<IpAddr>,
    /// By what (`RTA_GATEWAY`).
    pub gateway: Option<NextHop>,
    /// Bits of the destination, or of the interface's address, that name its network (`RTA_NETMASK`).
    pub prefix_len: Option<u8>,
    /// Over which interface (`RTA_IFP`).
    pub interface: Option<LinkAddress>,
    /// The interface's address (`RTA_IFA`).
    pub address: Option<IpAddr>,
    /// The network's broadcast address (`RTA_BRD`).
    pub broadcast: Option<Ipv4Addr>,
}

impl Addresses {
    /// The bits that say which there are.
    pub(super) fn bits(&self) -> i32 {
        [
            (self.destination.is_some(), RTA_DST),
            (self.gateway.is_some(), RTA_GATEWAY),
            (self.prefix_len.is_some(), RTA_NETMASK),
            (self.interface.is_some(), RTA_IFP),
            (self.address.is_some(), RTA_IFA),
            (self.broadcast.is_some(), RTA_BRD),
        ]
        .into_iter()
        .fold(0, |bits, (is, bit)| if is { bits | bit } else { bits })
    }

    /// Writes them behind a head. `index` is the scope of link-local ones.
    pub(super) fn emit(&self, index: u16, into: &mut Vec<u8>) {
        let six = self.destination.or(self.address).is_some_and(|address| address.is_ipv6());
        if let Some(destination) = self.destination {
            put_ip(destination, index, into);
        }
        match &self.gateway {
            Some(NextHop::Router(router)) => put_ip(*router, index, into),
            Some(NextHop::Link(link)) => put_link(link, into),
            None => {}
        }
        if let Some(len) = self.prefix_len {
            put_ip(mask(len, six), 0, into);
        }
        if let Some(link) = &self.interface {
            put_link(link, into);
        }
        if let Some(address) = self.address {
            put_ip(address, index, into);
        }
        if let Some(broadcast) = self.broadcast {
            put_ip(broadcast.into(), index, into);
        }
    }

    /// Reads those that `bits` names. What is behind them means nothing.
    pub(super) fn parse(bits: i32, mut bytes: &[u8]) -> Result<Self, Malformed> {
        let mut found = Self::default();
        let mut netmask = None;
        if bits.checked_shr(RTAX_MAX.cast_unsigned()) != Some(0) {
            return Err(Malformed::Addresses);
        }
        for bit in (0..RTAX_MAX).map(|place| 1_i32 << place).filter(|bit| bits & bit != 0) {
            let sockaddr = take(&mut bytes)?;
            match bit {
                RTA_DST => found.destination = Some(ip(sockaddr)?),
                RTA_GATEWAY => found.gateway = Some(next_hop(sockaddr)?),
                RTA_NETMASK => netmask = Some(sockaddr),
                RTA_IFP => found.interface = Some(link(sockaddr)?),
                RTA_IFA => found.address = Some(ip(sockaddr)?),
                RTA_BRD => match ip(sockaddr)? {
                    IpAddr::V4(broadcast) => found.broadcast = Some(broadcast),
                    IpAddr::V6(_) => return Err(Malformed::Family),
                },
                _ => {}
            }
        }
        // A mask's family may be anything: it is that of what it belongs to.
        if let Some(bytes) = netmask {
            let of = found.destination.or(found.address).ok_or(Malformed::Addresses)?;
            found.prefix_len = Some(prefix_len(bytes, of.is_ipv6())?);
        }
        Ok(found)
    }
}

/// The next address, without what fills it up.
fn take<'a>(bytes: &mut &'a [u8]) -> Result<&'a [u8], Malformed> {
    let len = usize::from(*bytes.first().ok_or(Malformed::Addresses)?);
    let sockaddr = bytes.get(..len).ok_or(Malformed::Addresses)?;
    let room = len.max(1).next_multiple_of(ROUND);
    // The last one may end where its bytes do.
    *bytes = bytes.get(room..).unwrap_or_default();
    Ok(sockaddr)
}

/// An address as it is laid out; what is beyond a short one is 0.
fn laid_out<T: FromBytes + IntoBytes>(bytes: &[u8]) -> T {
    let mut whole = T::new_zeroed();
    whole.as_mut_bytes().iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
    whole
}

fn ip(bytes: &[u8]) -> Result<IpAddr, Malformed> {
    match bytes.get(1) {
        Some(&AF_INET) => Ok(Ipv4Addr::from(laid_out::<Inet>(bytes).sin_addr).into()),
        Some(&AF_INET6) => Ok(Ipv6Addr::from(laid_out::<Inet6>(bytes).sin6_addr).into()),
        _ => Err(Malformed::Family),
    }
}

fn link(bytes: &[u8]) -> Result<LinkAddress, Malformed> {
    if bytes.get(1).is_none_or(|family| i32::from(*family) != AF_LINK) {
        return Err(Malformed::Family);
    }
    let link: Link = laid_out(bytes);
    let (name, rest) =
        link.sdl_data.split_at_checked(link.sdl_nlen.into()).ok_or(Malformed::Addresses)?;
    let name = core::str::from_utf8(name).map_err(|_| Malformed::Addresses)?;
    if name.len() > NAME_MAX {
        return Err(Malformed::Addresses);
    }
    let mac = match link.sdl_alen {
        0 => None,
        6 => Some(*rest.first_chunk().ok_or(Malformed::Addresses)?),
        _ => return Err(Malformed::Addresses),
    };
    Ok(LinkAddress { index: link.sdl_index, name: name.into(), mac })
}

fn next_hop(bytes: &[u8]) -> Result<NextHop, Malformed> {
    ip(bytes).map(NextHop::Router).or_else(|_| link(bytes).map(NextHop::Link))
}

fn prefix_len(bytes: &[u8], six: bool) -> Result<u8, Malformed> {
    let (bits, len) = if six {
        (u128::from_be_bytes(laid_out::<Inet6>(bytes).sin6_addr), 128)
    } else {
        (u128::from(u32::from_be_bytes(laid_out::<Inet>(bytes).sin_addr)) << 96, 32)
    };
    let ones = bits.leading_ones();
    if bits.checked_shl(ones).unwrap_or(0) != 0 {
        return Err(Malformed::Addresses);
    }
    u8::try_from(ones.min(len)).map_err(|_| Malformed::Addresses)
}

fn mask(len: u8, six: bool) -> IpAddr {
    let beyond = |bits: u8| u32::from(bits.saturating_sub(len));
    if six {
        Ipv6Addr::from_bits(u128::MAX.checked_shl(beyond(128)).unwrap_or(0)).into()
    } else {
        Ipv4Addr::from_bits(u32::MAX.checked_shl(beyond(32)).unwrap_or(0)).into()
    }
}

fn put_ip(address: IpAddr, index: u16, into: &mut Vec<u8>) {
    match address {
        IpAddr::V4(address) => put(
            &Inet {
                sin_len: len_of::<Inet>(),
                sin_family: AF_INET,
                sin_addr: address.octets(),
                ..Inet::default()
            },
            into,
        ),
        IpAddr::V6(address) => put(
            &Inet6 {
                sin6_len: len_of::<Inet6>(),
                sin6_family: AF_INET6,
                sin6_addr: address.octets(),
                sin6_scope_id: if address.is_unicast_link_local() { index.into() } else { 0 },
                ..Inet6::default()
            },
            into,
        ),
    }
}

fn put_link(link: &LinkAddress, into: &mut Vec<u8>) {
    let name = link.name.bytes().take(NAME_MAX);
    let count = |len: usize| u8::try_from(len).unwrap_or(0);
    let kind = if link.index == LOOPBACK { IFT_LOOP } else { IFT_ETHER };
    let mut sockaddr = Link {
        sdl_len: len_of::<Link>(),
        sdl_family: u8::try_from(AF_LINK).unwrap_or(0),
        sdl_index: link.index,
        sdl_type: u8::try_from(kind).unwrap_or(0),
        sdl_nlen: count(name.len()),
        sdl_alen: count(link.mac.map_or(0, |mac| mac.len())),
        ..Link::default()
    };
    let data = name.chain(link.mac.into_iter().flatten());
    sockaddr.sdl_data.iter_mut().zip(data).for_each(|(to, from)| *to = from);
    put(&sockaddr, into);
}

fn len_of<T>() -> u8 {
    u8::try_from(size_of::<T>()).unwrap_or(0)
}

fn put<T: IntoBytes + Immutable>(sockaddr: &T, into: &mut Vec<u8>) {
    into.extend_from_slice(sockaddr.as_bytes());
    into.resize(into.len().next_multiple_of(ROUND), 0);
}
