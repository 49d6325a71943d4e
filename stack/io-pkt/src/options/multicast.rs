//! Options about groups and about the interface that datagrams leave by: Linux's numbers and formats, in both families
//! (RFC 3493 5.2, RFC 3678).

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use inet::{Casting, Membership, Multicast};
use mcast::limits::{MEMBERSHIPS_MAX, SOURCES_MAX};
use mcast::{Filter, Mode};
use rustix::io::Errno;

use super::{int, sol};

/// Their numbers, from Linux's `linux/in.h` and `linux/in6.h`.
mod name {
    pub(super) const IP_MULTICAST_IF: i32 = 32;
    pub(super) const IP_MULTICAST_TTL: i32 = 33;
    pub(super) const IP_MULTICAST_LOOP: i32 = 34;
    pub(super) const IP_ADD_MEMBERSHIP: i32 = 35;
    pub(super) const IP_DROP_MEMBERSHIP: i32 = 36;
    pub(super) const IP_UNBLOCK_SOURCE: i32 = 37;
    pub(super) const IP_BLOCK_SOURCE: i32 = 38;
    pub(super) const IP_ADD_SOURCE_MEMBERSHIP: i32 = 39;
    pub(super) const IP_DROP_SOURCE_MEMBERSHIP: i32 = 40;
    pub(super) const IP_MSFILTER: i32 = 41;
    pub(super) const MCAST_JOIN_GROUP: i32 = 42;
    pub(super) const MCAST_BLOCK_SOURCE: i32 = 43;
    pub(super) const MCAST_UNBLOCK_SOURCE: i32 = 44;
    pub(super) const MCAST_LEAVE_GROUP: i32 = 45;
    pub(super) const MCAST_JOIN_SOURCE_GROUP: i32 = 46;
    pub(super) const MCAST_LEAVE_SOURCE_GROUP: i32 = 47;
    pub(super) const MCAST_MSFILTER: i32 = 48;
    pub(super) const IP_MULTICAST_ALL: i32 = 49;
    pub(super) const IP_UNICAST_IF: i32 = 50;
    pub(super) const IPV6_MULTICAST_IF: i32 = 17;
    pub(super) const IPV6_MULTICAST_HOPS: i32 = 18;
    pub(super) const IPV6_MULTICAST_LOOP: i32 = 19;
    pub(super) const IPV6_JOIN_GROUP: i32 = 20;
    pub(super) const IPV6_LEAVE_GROUP: i32 = 21;
    pub(super) const IPV6_MULTICAST_ALL: i32 = 29;
    pub(super) const IPV6_UNICAST_IF: i32 = 76;
}

/// By which interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum By {
    /// As the routes say.
    Routes,
    /// That of this number.
    Index(u32),
    /// That which has this address.
    Address(Ipv4Addr),
}

/// What is to be done with a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verb {
    Join,
    Leave,
    JoinSource(IpAddr),
    LeaveSource(IpAddr),
    Block(IpAddr),
    Unblock(IpAddr),
    /// From exactly these sources, or from all but these.
    Set(Mode, Sources),
}

/// As many sources as one membership may name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sources {
    all: [Option<IpAddr>; SOURCES_MAX],
}

impl Sources {
    fn filter(&self, mode: Mode) -> Filter {
        let mut filter = Filter { mode, sources: Vec::new() };
        for source in self.all.iter().flatten() {
            let _ = filter.insert(*source);
        }
        filter
    }
}

/// An option about groups, or about the interface that everything else leaves by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// Groups are left by this interface, from this address of it.
    Interface {
        v6: bool,
        by: By,
        source: Option<Ipv4Addr>,
    },
    /// Everything else leaves by this one.
    Unicast {
        v6: bool,
        by: By,
    },
    Hops {
        v6: bool,
        hops: u8,
    },
    Loop {
        v6: bool,
        on: bool,
    },
    All {
        v6: bool,
        on: bool,
    },
    Group {
        group: IpAddr,
        by: By,
        verb: Verb,
    },
}

/// Reads an option. `None`: it is another one.
///
/// # Errors
/// `EINVAL` for a value that it can't have.
pub(crate) fn parse(level: i32, name: i32, value: &[u8]) -> Option<Result<Change, Errno>> {
    match (level, name) {
        (sol::IP, name::IP_UNICAST_IF) => Some(unicast(false, value)),
        (sol::IPV6, name::IPV6_UNICAST_IF) => Some(unicast(true, value)),
        (sol::IP, 32..=41 | 49) => Some(parse_v4(name, value)),
        (sol::IPV6, 17..=21 | 29) => Some(parse_v6(name, value)),
        (sol::IP | sol::IPV6, 42..=48) => Some(parse_any(level == sol::IPV6, name, value)),
        _ => None,
    }
}

fn parse_v4(name: i32, value: &[u8]) -> Result<Change, Errno> {
    let v6 = false;
    match name {
        name::IP_MULTICAST_IF => interface_v4(value),
        // One byte is as good as an int here.
        name::IP_MULTICAST_TTL => match byte_or_int(value)? {
            u32::MAX => Ok(Change::Hops { v6, hops: 1 }),
            ttl => {
                let hops = u8::try_from(ttl).map_err(|_| Errno::INVAL)?;
                Ok(Change::Hops { v6, hops })
            }
        },
        name::IP_MULTICAST_LOOP => Ok(Change::Loop { v6, on: byte_or_int(value)? != 0 }),
        name::IP_MULTICAST_ALL => match byte_or_int(value)? {
            number @ 0..=1 => Ok(Change::All { v6, on: number == 1 }),
            _ => Err(Errno::INVAL),
        },
        name::IP_ADD_MEMBERSHIP | name::IP_DROP_MEMBERSHIP => {
            let (group, by) = mreqn(value)?;
            let verb = if name == name::IP_ADD_MEMBERSHIP { Verb::Join } else { Verb::Leave };
            group_change(group.into(), by, verb)
        }
        name::IP_MSFILTER => {
            // struct ip_msfilter: group, interface, mode, number, sources.
            let ([group, interface], (mode, count)) =
                (addresses(value)?, mode_and_count(value, 8)?);
            let source = |bytes: &[u8]| addresses::<1>(bytes).map(|[source]| source.into());
            let verb = Verb::Set(mode?, listed(value, 16, 4, count, source)?);
            let by = if interface.is_unspecified() { By::Routes } else { By::Address(interface) };
            group_change(group.into(), by, verb)
        }
        _ => {
            // struct ip_mreq_source: group, interface, source.
            let [group, interface, source] = addresses(value)?;
            let verb = source_verb(name, source.into())?;
            let by = if interface.is_unspecified() { By::Routes } else { By::Address(interface) };
            group_change(group.into(), by, verb)
        }
    }
}

/// An interface's number in the order of the network; 0 for none.
fn unicast(v6: bool, value: &[u8]) -> Result<Change, Errno> {
    let bytes: [u8; 4] = value.try_into().map_err(|_| Errno::INVAL)?;
    let by = match u32::from_be_bytes(bytes) {
        0 => By::Routes,
        index => By::Index(index),
    };
    Ok(Change::Unicast { v6, by })
}

fn source_verb(name: i32, source: IpAddr) -> Result<Verb, Errno> {
    match name {
        name::IP_ADD_SOURCE_MEMBERSHIP | name::MCAST_JOIN_SOURCE_GROUP => {
            Ok(Verb::JoinSource(source))
        }
        name::IP_DROP_SOURCE_MEMBERSHIP | name::MCAST_LEAVE_SOURCE_GROUP => {
            Ok(Verb::LeaveSource(source))
        }
        name::IP_BLOCK_SOURCE | name::MCAST_BLOCK_SOURCE => Ok(Verb::Block(source)),
        name::IP_UNBLOCK_SOURCE | name::MCAST_UNBLOCK_SOURCE => Ok(Verb::Unblock(source)),
        _ => Err(Errno::NOPROTOOPT),
    }
}

/// An address, or `struct ip_mreq` or `ip_mreqn` whose group does not count.
fn interface_v4(value: &[u8]) -> Result<Change, Errno> {
    let (by, source) = if let Ok((_, by @ By::Index(_))) = mreqn(value) {
        let source = addresses::<2>(value).ok().map(|[_, source]| source);
        (by, source.filter(|source| !source.is_unspecified()))
    } else {
        let address = match addresses::<2>(value) {
            Ok([_, address]) => address,
            Err(_) => addresses::<1>(value)?[0],
        };
        let by = if address.is_unspecified() { By::Routes } else { By::Address(address) };
        (by, None)
    };
    Ok(Change::Interface { v6: false, by, source })
}

fn parse_v6(name: i32, value: &[u8]) -> Result<Change, Errno> {
    let v6 = true;
    match name {
        name::IPV6_MULTICAST_IF => {
            let index = int(value)?;
            let by = if index == 0 { By::Routes } else { By::Index(index) };
            Ok(Change::Interface { v6, by, source: None })
        }
        name::IPV6_MULTICAST_HOPS => match int(value)? {
            u32::MAX => Ok(Change::Hops { v6, hops: 1 }),
            hops => {
                let hops = u8::try_from(hops).map_err(|_| Errno::INVAL)?;
                Ok(Change::Hops { v6, hops })
            }
        },
        name::IPV6_MULTICAST_LOOP | name::IPV6_MULTICAST_ALL => {
            let on = match int(value)? {
                0 => false,
                1 => true,
                _ => return Err(Errno::INVAL),
            };
            let looped = name == name::IPV6_MULTICAST_LOOP;
            Ok(if looped { Change::Loop { v6, on } } else { Change::All { v6, on } })
        }
        name::IPV6_JOIN_GROUP | name::IPV6_LEAVE_GROUP => {
            // struct ipv6_mreq: group, interface.
            let (group, rest) = value.split_first_chunk::<16>().ok_or(Errno::INVAL)?;
            let index = int(rest)?;
            let by = if index == 0 { By::Routes } else { By::Index(index) };
            let verb = if name == name::IPV6_JOIN_GROUP { Verb::Join } else { Verb::Leave };
            group_change(Ipv6Addr::from(*group).into(), by, verb)
        }
        _ => Err(Errno::NOPROTOOPT),
    }
}

/// `struct group_req` and `group_source_req`: interface, group, source; the last two in 128 bytes each.
fn parse_any(v6: bool, name: i32, value: &[u8]) -> Result<Change, Errno> {
    const GROUP: usize = 8;
    const SOURCE: usize = 136;
    const END: usize = 264;
    let index = int(value)?;
    let by = if index == 0 { By::Routes } else { By::Index(index) };
    let group = value.get(GROUP..SOURCE).ok_or(Errno::INVAL)?;
    let group = socket_address(group, v6)?;
    let verb = match name {
        name::MCAST_JOIN_GROUP => Verb::Join,
        name::MCAST_LEAVE_GROUP => Verb::Leave,
        name::MCAST_MSFILTER => {
            // struct group_filter: interface, group, mode, number, sources.
            let (mode, count) = mode_and_count(value, SOURCE)?;
            let source = |bytes: &[u8]| socket_address(bytes, v6);
            Verb::Set(mode?, listed(value, SOURCE + 8, END - SOURCE, count, source)?)
        }
        _ => {
            let source = value.get(SOURCE..END).ok_or(Errno::INVAL)?;
            source_verb(name, socket_address(source, v6)?)?
        }
    };
    group_change(group, by, verb)
}

/// The address in a `struct sockaddr`; Linux's errno for one of another family.
fn socket_address(bytes: &[u8], v6: bool) -> Result<IpAddr, Errno> {
    const AF_INET: u16 = 2;
    const AF_INET6: u16 = 10;
    let family = bytes.first_chunk().map(|family| u16::from_ne_bytes(*family));
    let wrong = Errno::ADDRNOTAVAIL;
    match family {
        Some(AF_INET) if !v6 => {
            let address = bytes.get(4..8).and_then(|b| b.first_chunk::<4>()).ok_or(wrong)?;
            Ok(Ipv4Addr::from(*address).into())
        }
        Some(AF_INET6) if v6 => {
            let address = bytes.get(8..24).and_then(|b| b.first_chunk::<16>()).ok_or(wrong)?;
            Ok(Ipv6Addr::from(*address).into())
        }
        _ => Err(wrong),
    }
}

fn group_change(group: IpAddr, by: By, verb: Verb) -> Result<Change, Errno> {
    if group.is_multicast() { Ok(Change::Group { group, by, verb }) } else { Err(Errno::INVAL) }
}

/// What a list of sources means, and how many there are: two numbers at this place. A wrong meaning is told after
/// too many sources are, as in Linux.
fn mode_and_count(value: &[u8], at: usize) -> Result<(Result<Mode, Errno>, usize), Errno> {
    let number = |at: usize| value.get(at..).map_or(Err(Errno::INVAL), int);
    let (mode, count) = (number(at)?, number(at.saturating_add(4))?);
    let count = usize::try_from(count).unwrap_or(usize::MAX);
    if count > SOURCES_MAX {
        return Err(Errno::NOBUFS);
    }
    let mode = match mode {
        0 => Ok(Mode::Exclude),
        1 => Ok(Mode::Include),
        _ => Err(Errno::INVAL),
    };
    Ok((mode, count))
}

/// So many sources of so many bytes each, from a place on.
fn listed(
    value: &[u8],
    at: usize,
    len: usize,
    count: usize,
    source: impl Fn(&[u8]) -> Result<IpAddr, Errno>,
) -> Result<Sources, Errno> {
    let mut sources = Sources { all: [None; SOURCES_MAX] };
    let mut bytes = value.get(at..).unwrap_or_default().chunks_exact(len);
    for slot in sources.all.iter_mut().take(count) {
        *slot = Some(source(bytes.next().ok_or(Errno::INVAL)?)?);
    }
    Ok(sources)
}

/// `struct ip_mreq` or `ip_mreqn`: group, address of the interface, its number.
fn mreqn(value: &[u8]) -> Result<(Ipv4Addr, By), Errno> {
    let [group, address] = addresses(value)?;
    let index = value.get(8..12).map_or(Ok(0), int)?;
    let by = match index {
        0 if address.is_unspecified() => By::Routes,
        0 => By::Address(address),
        index => By::Index(index),
    };
    Ok((group, by))
}

fn addresses<const N: usize>(value: &[u8]) -> Result<[Ipv4Addr; N], Errno> {
    let mut all = value.chunks_exact(4);
    let mut found = [Ipv4Addr::UNSPECIFIED; N];
    for address in &mut found {
        let bytes = all.next().and_then(|bytes| bytes.first_chunk::<4>()).ok_or(Errno::INVAL)?;
        *address = Ipv4Addr::from(*bytes);
    }
    Ok(found)
}

fn byte_or_int(value: &[u8]) -> Result<u32, Errno> {
    let first = value.first().ok_or(Errno::INVAL)?;
    Ok(int(value).unwrap_or_else(|_| u32::from(*first)))
}

/// Makes a change of a group whose interface is known.
///
/// # Errors
/// Linux's: `EADDRINUSE`, `EADDRNOTAVAIL`, `EINVAL`, `ENOBUFS`.
pub(crate) fn change_group(
    all: &mut Vec<Membership>,
    (group, interface): (IpAddr, u16),
    verb: Verb,
) -> Result<(), Errno> {
    let found = all.iter().position(|m| m.group == group && m.interface == interface);
    let full = all.len() >= MEMBERSHIPS_MAX;
    let Some(membership) = found.and_then(|at| all.get_mut(at)) else {
        let filter = match verb {
            Verb::Join => Filter::any(),
            Verb::JoinSource(source) => Filter::only(source),
            Verb::Leave => return Err(Errno::ADDRNOTAVAIL),
            Verb::Set(mode, sources) if sources.filter(mode).is_nothing() => {
                return Err(Errno::ADDRNOTAVAIL);
            }
            Verb::Set(..) | Verb::LeaveSource(_) | Verb::Block(_) | Verb::Unblock(_) => {
                return Err(Errno::INVAL);
            }
        };
        if full {
            return Err(Errno::NOBUFS);
        }
        all.push(Membership { interface, group, filter });
        return Ok(());
    };
    let filter = &mut membership.filter;
    match verb {
        Verb::Join => return Err(Errno::ADDRINUSE),
        Verb::Leave => *filter = Filter::nothing(),
        Verb::Set(mode, sources) => *filter = sources.filter(mode),
        Verb::JoinSource(source) => name_source(filter, Mode::Include, source)?,
        Verb::Block(source) => name_source(filter, Mode::Exclude, source)?,
        Verb::LeaveSource(source) => forget_source(filter, Mode::Include, source)?,
        Verb::Unblock(source) => forget_source(filter, Mode::Exclude, source)?,
    }
    all.retain(|membership| !membership.filter.is_nothing());
    Ok(())
}

fn name_source(filter: &mut Filter, mode: Mode, source: IpAddr) -> Result<(), Errno> {
    if filter.mode != mode {
        return Err(Errno::INVAL);
    }
    if filter.sources.contains(&source) {
        return Err(Errno::ADDRNOTAVAIL);
    }
    if filter.sources.len() >= SOURCES_MAX {
        return Err(Errno::NOBUFS);
    }
    let _ = filter.insert(source);
    Ok(())
}

fn forget_source(filter: &mut Filter, mode: Mode, source: IpAddr) -> Result<(), Errno> {
    if filter.mode != mode {
        return Err(Errno::INVAL);
    }
    if filter.remove(source) { Ok(()) } else { Err(Errno::ADDRNOTAVAIL) }
}

/// Reads a value back. `None`: it is another option, or can't be read.
pub(crate) fn value(
    level: i32,
    name: i32,
    groups: &Multicast,
    address: Ipv4Addr,
) -> Option<Vec<u8>> {
    let unicast = |casting: &Casting| {
        let number = casting.unicast.interface().map_or(0, |index| u32::from(index) + 1);
        Some(number.to_be())
    };
    let number = |casting: &Casting, name| match name {
        name::IP_MULTICAST_TTL | name::IPV6_MULTICAST_HOPS => Some(u32::from(casting.hops)),
        name::IP_MULTICAST_LOOP | name::IPV6_MULTICAST_LOOP => Some(casting.looped.into()),
        name::IP_MULTICAST_ALL | name::IPV6_MULTICAST_ALL => Some(casting.all.into()),
        // Programs count interfaces from 1.
        name::IPV6_MULTICAST_IF => Some(casting.interface.map_or(0, |index| u32::from(index) + 1)),
        _ => None,
    };
    let number = match (level, name) {
        (sol::IP, name::IP_MULTICAST_IF) => {
            return Some(groups.v4.source.unwrap_or(address).octets().to_vec());
        }
        (sol::IP, name::IP_MULTICAST_TTL | name::IP_MULTICAST_LOOP | name::IP_MULTICAST_ALL) => {
            number(&groups.v4, name)
        }
        (sol::IPV6, 17..=19 | name::IPV6_MULTICAST_ALL) => number(&groups.v6, name),
        (sol::IP, name::IP_UNICAST_IF) => unicast(&groups.v4),
        (sol::IPV6, name::IPV6_UNICAST_IF) => unicast(&groups.v6),
        _ => None,
    };
    number.map(|number| number.to_ne_bytes().to_vec())
}

#[cfg(test)]
mod tests {
    use inet::Device;

    use super::*;

    fn change(level: i32, name: i32, value: &[u8]) -> Result<Change, Errno> {
        parse(level, name, value).unwrap()
    }

    #[test]
    fn the_three_forms_of_a_membership() {
        let group = IpAddr::from([239, 1, 2, 3]);
        let join = |by| Ok(Change::Group { group, by, verb: Verb::Join });
        let short = [239, 1, 2, 3, 10, 0, 0, 1];
        assert_eq!(change(0, 35, &short), join(By::Address([10, 0, 0, 1].into())));
        assert_eq!(change(0, 35, &[239, 1, 2, 3, 0, 0, 0, 0]), join(By::Routes));
        let long = [&short[..], &2_u32.to_ne_bytes()].concat();
        assert_eq!(change(0, 35, &long), join(By::Index(2)));
        let mut request = vec![0_u8; 136];
        request[..4].copy_from_slice(&2_u32.to_ne_bytes());
        request[8..10].copy_from_slice(&2_u16.to_ne_bytes());
        request[12..16].copy_from_slice(&[239, 1, 2, 3]);
        assert_eq!(change(0, 42, &request), join(By::Index(2)));
        assert_eq!(change(41, 42, &request), Err(Errno::ADDRNOTAVAIL), "of another family");
    }

    #[test]
    fn an_interface_that_datagrams_leave_by_is_in_the_order_of_the_network() {
        for (level, name, v6) in [(0, 50, false), (41, 76, true)] {
            assert_eq!(
                change(level, name, &[0, 0, 0, 2]),
                Ok(Change::Unicast { v6, by: By::Index(2) })
            );
            assert_eq!(change(level, name, &[0; 4]), Ok(Change::Unicast { v6, by: By::Routes }));
            assert_eq!(change(level, name, &[0, 0, 0, 2, 0]), Err(Errno::INVAL));
            let mut groups = Multicast::default();
            let chosen = if v6 { &mut groups.v6 } else { &mut groups.v4 };
            chosen.unicast = Device::of(1);
            let read = |level, name| value(level, name, &groups, Ipv4Addr::UNSPECIFIED).unwrap();
            assert_eq!(read(level, name), [0, 0, 0, 2]);
            let (level, name) = if v6 { (0, 50) } else { (41, 76) };
            assert_eq!(read(level, name), [0; 4]);
        }
    }

    #[test]
    fn wrong_values_are_refused() {
        assert_eq!(change(0, 35, &[239, 1, 2, 3]), Err(Errno::INVAL), "too short");
        assert_eq!(change(0, 35, &[10, 1, 2, 3, 0, 0, 0, 0]), Err(Errno::INVAL), "no group");
        assert_eq!(change(0, 33, &256_u32.to_ne_bytes()), Err(Errno::INVAL));
        assert_eq!(change(41, 18, &256_u32.to_ne_bytes()), Err(Errno::INVAL));
        assert_eq!(change(41, 20, &[0xff; 16]), Err(Errno::INVAL));
        assert!(parse(0, 1, &[]).is_none() && parse(6, 35, &[]).is_none());
    }

    #[test]
    fn a_list_of_sources_is_set_as_a_whole() {
        let at = (IpAddr::from([239, 1, 2, 3]), 1);
        let (one, two) = (IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2]));
        let list = |mode: u32, count: u32| {
            let head = [&[239, 1, 2, 3, 0, 0, 0, 0][..], &mode.to_ne_bytes(), &count.to_ne_bytes()];
            [&head.concat()[..], &[10, 0, 0, 2, 10, 0, 0, 1]].concat()
        };
        let verb = |mode, count| match change(0, 41, &list(mode, count)) {
            Ok(Change::Group { verb, .. }) => Ok(verb),
            other => Err(other.err()),
        };
        let mut all = Vec::new();
        let only = verb(1, 2).unwrap();
        assert_eq!(change_group(&mut all, at, only), Err(Errno::INVAL), "who has not joined");
        assert_eq!(change_group(&mut all, at, verb(1, 0).unwrap()), Err(Errno::ADDRNOTAVAIL));
        change_group(&mut all, at, Verb::Join).unwrap();
        change_group(&mut all, at, only).unwrap();
        assert_eq!(all[0].filter, Filter { mode: Mode::Include, sources: vec![one, two] });
        change_group(&mut all, at, verb(0, 1).unwrap()).unwrap();
        assert_eq!(all[0].filter, Filter { mode: Mode::Exclude, sources: vec![two] });
        change_group(&mut all, at, verb(1, 0).unwrap()).unwrap();
        assert!(all.is_empty(), "from nobody is to leave");
        assert_eq!(verb(2, 1), Err(Some(Errno::INVAL)));
        assert_eq!(verb(2, 11), Err(Some(Errno::NOBUFS)));
        assert_eq!(verb(1, 3), Err(Some(Errno::INVAL)), "a source is missing");

        let mut request = vec![0_u8; 144 + 128];
        request[8..10].copy_from_slice(&2_u16.to_ne_bytes());
        request[12..16].copy_from_slice(&[239, 1, 2, 3]);
        request[136..140].copy_from_slice(&1_u32.to_ne_bytes());
        request[140..144].copy_from_slice(&1_u32.to_ne_bytes());
        assert_eq!(change(0, 48, &request), Err(Errno::ADDRNOTAVAIL), "no source's address");
        request[144..146].copy_from_slice(&2_u16.to_ne_bytes());
        request[148..152].copy_from_slice(&[10, 0, 0, 1]);
        let Ok(Change::Group { verb, .. }) = change(0, 48, &request) else { panic!() };
        let Verb::Set(mode, sources) = verb else { panic!("{verb:?}") };
        assert_eq!(sources.filter(mode), Filter::only(one));
    }

    #[test]
    fn memberships_answer_as_linuxs() {
        let at = (IpAddr::from([239, 1, 2, 3]), 1);
        let source = IpAddr::from([10, 0, 0, 1]);
        let mut all = Vec::new();
        assert_eq!(change_group(&mut all, at, Verb::Leave), Err(Errno::ADDRNOTAVAIL));
        assert_eq!(change_group(&mut all, at, Verb::Block(source)), Err(Errno::INVAL));
        change_group(&mut all, at, Verb::Join).unwrap();
        assert_eq!(change_group(&mut all, at, Verb::Join), Err(Errno::ADDRINUSE));
        assert_eq!(change_group(&mut all, at, Verb::JoinSource(source)), Err(Errno::INVAL));
        change_group(&mut all, at, Verb::Block(source)).unwrap();
        assert!(!all[0].filter.takes(source));
        assert_eq!(change_group(&mut all, at, Verb::Block(source)), Err(Errno::ADDRNOTAVAIL));
        change_group(&mut all, at, Verb::Unblock(source)).unwrap();
        change_group(&mut all, at, Verb::Leave).unwrap();
        change_group(&mut all, at, Verb::JoinSource(source)).unwrap();
        change_group(&mut all, at, Verb::LeaveSource(source)).unwrap();
        assert!(all.is_empty(), "without a source it is no membership");
        for n in 0..20 {
            change_group(&mut all, (IpAddr::from([239, 0, 0, n]), 1), Verb::Join).unwrap();
        }
        assert_eq!(change_group(&mut all, at, Verb::Join), Err(Errno::NOBUFS));
    }
}
