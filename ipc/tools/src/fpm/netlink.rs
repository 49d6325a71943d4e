//! What zebra's Forwarding Plane Manager sends: netlink messages about routes, each in a frame of four
//! bytes.
//!
//! ```text
//!  0       1        2        4                20
//! +-------+--------+--------+----------------+-----------------+----------------+
//! | 1     | 1      | length | nlmsghdr       | rtmsg or nhmsg  | attributes …   |
//! +-------+--------+--------+----------------+-----------------+----------------+
//!  version netlink  (big-endian, all of it)   in the machine's own order
//! ```

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Of a frame, and its longest.
pub(super) const FRAME_HEADER: usize = 4;
pub(super) const FRAME_MAX: usize = 65535;

const HEADER: usize = 16;
const NEW_ROUTE: u16 = 24;
const DELETE_ROUTE: u16 = 25;
const NEW_NEXT_HOP: u16 = 104;
const DELETE_NEXT_HOP: u16 = 105;

const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;
const TABLE_MAIN: u32 = 254;

/// What a message says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Message {
    /// Packets to this prefix go this way.
    Route(Prefix, Onward),
    /// Or no more.
    Gone(Prefix),
    /// Routes name these hops by a number.
    Hops(u32, Group),
    /// Or no more.
    HopsGone(u32),
}

/// A network and its prefix length.
pub(super) type Prefix = (IpAddr, u8);

/// Where a route leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Onward {
    /// To these stations.
    Hops(Vec<Hop>),
    /// To those that a number names.
    Named(u32),
    /// Nowhere, in silence.
    Blackhole,
    /// Nowhere, and senders are told.
    Reject,
}

/// What a number names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Group {
    One(Hop),
    Several(Vec<u32>),
    Blackhole,
}

/// A station on a link.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Hop {
    pub(super) gateway: Option<IpAddr>,
    /// The kernel's number of the link.
    pub(super) link: Option<u32>,
}

/// Bytes that are no message of this protocol: there is no way to find the next one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Broken(pub(super) &'static str);

/// The first frame's length, once its header is there.
pub(super) fn frame_length(bytes: &[u8]) -> Result<Option<usize>, Broken> {
    let Some([version, kind, high, low]) = bytes.first_chunk::<FRAME_HEADER>() else {
        return Ok(None);
    };
    let length = usize::from(u16::from_be_bytes([*high, *low]));
    match (version, kind) {
        (1, 1) if length >= FRAME_HEADER + HEADER => Ok(Some(length)),
        (1, 1) => Err(Broken("a frame too short for netlink")),
        (1, _) => Err(Broken("not netlink; zebra needs -M dplane_fpm_nl")),
        _ => Err(Broken("not FPM version 1")),
    }
}

/// Reads a frame's messages. What is no business of ours is left out: other tables, other kinds.
pub(super) fn parse(frame: &[u8]) -> Result<Vec<Message>, Broken> {
    let mut rest = frame.get(FRAME_HEADER..).unwrap_or_default();
    let mut messages = Vec::new();
    while !rest.is_empty() {
        let length = long(rest, 0).and_then(|length| usize::try_from(length).ok());
        let one = length.filter(|length| *length >= HEADER).and_then(|length| rest.get(..length));
        let one = one.ok_or(Broken("a netlink message longer than its frame"))?;
        messages.extend(message(one)?);
        rest = rest.get(one.len().next_multiple_of(4)..).unwrap_or_default();
    }
    Ok(messages)
}

fn message(bytes: &[u8]) -> Result<Option<Message>, Broken> {
    let kind = short(bytes, 4);
    let body = bytes.get(HEADER..).unwrap_or_default();
    match kind {
        Some(NEW_ROUTE) => route(body, true),
        Some(DELETE_ROUTE) => route(body, false),
        Some(NEW_NEXT_HOP) => next_hop(body, true),
        Some(DELETE_NEXT_HOP) => next_hop(body, false),
        _ => Ok(None),
    }
}

/// `struct rtmsg` and its attributes.
fn route(body: &[u8], new: bool) -> Result<Option<Message>, Broken> {
    const BODY: usize = 12;
    let (Some([family, len, _, _, table, _, _, kind, ..]), Some(rest)) =
        (body.first_chunk::<BODY>(), body.get(BODY..))
    else {
        return Err(Broken("a route shorter than its header"));
    };
    let any = match *family {
        AF_INET => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        AF_INET6 => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        _ => return Ok(None),
    };
    let (mut to, mut table, mut hop) = (any, u32::from(*table), Hop::default());
    let (mut hops, mut named) = (Vec::new(), None);
    for (number, value) in attributes(rest)? {
        match number {
            1 => to = address(value).ok_or(Broken("a destination of no address's length"))?,
            4 => hop.link = long(value, 0),
            5 => hop.gateway = address(value),
            9 => hops = several(value)?,
            15 => table = long(value, 0).unwrap_or(0),
            30 => named = long(value, 0),
            _ => {}
        }
    }
    let bits = if to.is_ipv4() { 32 } else { 128 };
    if to.is_ipv4() != any.is_ipv4() || *len > bits {
        return Err(Broken("a prefix that is none"));
    }
    // 0: not said.
    if table != TABLE_MAIN && table != 0 {
        return Ok(None);
    }
    let prefix = (to, *len);
    if !new {
        return Ok(Some(Message::Gone(prefix)));
    }
    if hops.is_empty() && (hop.gateway.is_some() || hop.link.is_some()) {
        hops.push(hop);
    }
    let onward = match (*kind, named) {
        (6, _) => Onward::Blackhole,
        (7 | 8, _) => Onward::Reject,
        (1, Some(number)) => Onward::Named(number),
        (1, None) => Onward::Hops(hops),
        _ => return Ok(None),
    };
    Ok(Some(Message::Route(prefix, onward)))
}

/// `struct rtnexthop`, one after the other, each with attributes.
fn several(mut bytes: &[u8]) -> Result<Vec<Hop>, Broken> {
    const ONE: usize = 8;
    let mut hops = Vec::new();
    while !bytes.is_empty() {
        let length = short(bytes, 0).map(usize::from).filter(|length| *length >= ONE);
        let one = length.and_then(|length| bytes.get(..length));
        let one = one.ok_or(Broken("a next hop longer than its list"))?;
        let mut hop = Hop { gateway: None, link: long(one, 4) };
        for (number, value) in attributes(one.get(ONE..).unwrap_or_default())? {
            if number == 5 {
                hop.gateway = address(value);
            }
        }
        hops.push(hop);
        bytes = bytes.get(one.len().next_multiple_of(4)..).unwrap_or_default();
    }
    Ok(hops)
}

/// `struct nhmsg` and its attributes.
fn next_hop(body: &[u8], new: bool) -> Result<Option<Message>, Broken> {
    const BODY: usize = 8;
    const MEMBER: usize = 8;
    let rest = body.get(BODY..).ok_or(Broken("a next hop shorter than its header"))?;
    let (mut number, mut group, mut hop, mut blackhole) = (None, None, Hop::default(), false);
    for (attribute, value) in attributes(rest)? {
        match attribute {
            1 => number = long(value, 0),
            2 => group = Some(value.chunks(MEMBER).filter_map(|member| long(member, 0)).collect()),
            4 => blackhole = true,
            5 => hop.link = long(value, 0),
            6 => hop.gateway = address(value),
            _ => {}
        }
    }
    let number = number.ok_or(Broken("a next hop without a number"))?;
    let group = match group {
        Some(members) => Group::Several(members),
        None if blackhole => Group::Blackhole,
        None => Group::One(hop),
    };
    Ok(Some(if new { Message::Hops(number, group) } else { Message::HopsGone(number) }))
}

/// Number and value of each `struct rtattr`.
fn attributes(mut bytes: &[u8]) -> Result<Vec<(u16, &[u8])>, Broken> {
    const HEADER: usize = 4;
    const NUMBER: u16 = 0x3fff;
    let mut found = Vec::new();
    while bytes.len() >= HEADER {
        let length = short(bytes, 0).map(usize::from).filter(|length| *length >= HEADER);
        let one = length.and_then(|length| bytes.get(..length));
        let one = one.ok_or(Broken("an attribute longer than its message"))?;
        let number = short(one, 2).unwrap_or(0) & NUMBER;
        found.push((number, one.get(HEADER..).unwrap_or_default()));
        bytes = bytes.get(one.len().next_multiple_of(4)..).unwrap_or_default();
    }
    Ok(found)
}

fn short(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().map(|two| u16::from_ne_bytes(*two))
}

fn long(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|four| u32::from_ne_bytes(*four))
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    let four = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    four.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from)).ok()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(crate) fn attribute(number: u16, value: &[u8]) -> Vec<u8> {
        let length = u16::try_from(4 + value.len()).unwrap();
        let mut bytes = [length.to_ne_bytes(), number.to_ne_bytes()].concat();
        bytes.extend(value);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    pub(crate) fn framed(kind: u16, body: &[u8]) -> Vec<u8> {
        let length = u16::try_from(FRAME_HEADER + HEADER + body.len()).unwrap();
        let mut frame = vec![1, 1];
        frame.extend(length.to_be_bytes());
        frame.extend((u32::from(length) - 4).to_ne_bytes());
        frame.extend(kind.to_ne_bytes());
        frame.extend([0; 10]);
        frame.extend(body);
        frame
    }

    /// A route of IPv4 in the main table.
    pub(crate) fn route4(kind: u8, to: [u8; 4], len: u8, more: &[Vec<u8>]) -> Vec<u8> {
        let mut body = vec![AF_INET, len, 0, 0, 254, 186, 0, kind, 0, 0, 0, 0];
        body.extend(attribute(1, &to));
        body.extend(more.concat());
        body
    }

    const TEN: Prefix = (IpAddr::V4(Ipv4Addr::new(10, 0, 0, 0)), 8);
    const ROUTER: [u8; 4] = [198, 18, 77, 1];

    fn hop(gateway: [u8; 4], link: u32) -> Hop {
        Hop { gateway: Some(gateway.into()), link: Some(link) }
    }

    fn parsed(kind: u16, body: &[u8]) -> Vec<Message> {
        let frame = framed(kind, body);
        assert_eq!(frame_length(&frame), Ok(Some(frame.len())));
        parse(&frame).unwrap()
    }

    #[test]
    fn a_route_by_one_router() {
        let more = [attribute(5, &ROUTER), attribute(4, &7_u32.to_ne_bytes())];
        let body = route4(1, [10, 0, 0, 0], 8, &more);
        let route = Message::Route(TEN, Onward::Hops(vec![hop(ROUTER, 7)]));
        assert_eq!(parsed(NEW_ROUTE, &body), [route]);
        assert_eq!(parsed(DELETE_ROUTE, &body), [Message::Gone(TEN)]);
    }

    #[test]
    fn a_route_by_several() {
        let one = |gateway: [u8; 4], link: u32| {
            let mut bytes = [16_u16.to_ne_bytes(), [0, 0]].concat();
            bytes.extend(link.to_ne_bytes());
            bytes.extend(attribute(5, &gateway));
            bytes
        };
        let other = [198, 18, 78, 1];
        let list = [one(ROUTER, 7), one(other, 8)].concat();
        let body = route4(1, [10, 0, 0, 0], 8, &[attribute(9, &list)]);
        let hops = vec![hop(ROUTER, 7), hop(other, 8)];
        assert_eq!(parsed(NEW_ROUTE, &body), [Message::Route(TEN, Onward::Hops(hops))]);
    }

    #[test]
    fn numbered_hops_and_groups_of_them() {
        let number = attribute(1, &3_u32.to_ne_bytes());
        let body =
            [vec![AF_INET, 0, 0, 0, 0, 0, 0, 0], number.clone(), attribute(6, &ROUTER)].concat();
        let one = Group::One(Hop { gateway: Some(ROUTER.into()), link: None });
        assert_eq!(parsed(NEW_NEXT_HOP, &body), [Message::Hops(3, one)]);
        let members = [5_u32.to_ne_bytes(), [0; 4], 6_u32.to_ne_bytes(), [0; 4]].concat();
        let body = [vec![0; 8], number.clone(), attribute(2, &members)].concat();
        assert_eq!(parsed(NEW_NEXT_HOP, &body), [Message::Hops(3, Group::Several(vec![5, 6]))]);
        let body = [vec![0; 8], number].concat();
        assert_eq!(parsed(DELETE_NEXT_HOP, &body), [Message::HopsGone(3)]);
        let named = route4(1, [10, 0, 0, 0], 8, &[attribute(30, &3_u32.to_ne_bytes())]);
        assert_eq!(parsed(NEW_ROUTE, &named), [Message::Route(TEN, Onward::Named(3))]);
    }

    #[test]
    fn no_way_and_other_tables() {
        let of = |kind| parsed(NEW_ROUTE, &route4(kind, [10, 0, 0, 0], 8, &[]));
        assert_eq!(of(6), [Message::Route(TEN, Onward::Blackhole)]);
        assert_eq!(of(7), [Message::Route(TEN, Onward::Reject)]);
        assert_eq!(of(2), [], "an address of the kernel's");
        let table = attribute(15, &100_u32.to_ne_bytes());
        assert_eq!(parsed(NEW_ROUTE, &route4(6, [10, 0, 0, 0], 8, &[table])), []);
        assert_eq!(parsed(99, &[0; 12]), []);
    }

    #[test]
    fn bytes_of_another_kind_are_told_at_once() {
        assert_eq!(frame_length(&[1, 1, 0]), Ok(None));
        assert!(frame_length(&[2, 1, 0, 40]).is_err());
        assert!(frame_length(&[1, 2, 0, 40]).unwrap_err().0.contains("dplane_fpm_nl"));
        assert!(frame_length(&[1, 1, 0, 19]).is_err());
        assert!(parse(&framed(NEW_ROUTE, &[AF_INET, 8])).is_err());
        assert!(parse(&framed(NEW_ROUTE, &route4(1, [10, 0, 0, 0], 33, &[]))).is_err());
        let mut cut = framed(NEW_ROUTE, &route4(1, [10, 0, 0, 0], 8, &[]));
        let _ = cut.pop();
        assert!(parse(&cut).is_err());
    }
}
