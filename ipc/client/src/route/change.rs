//! Messages that a program writes: what the daemon is asked for, and what comes back.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use proto::message::{NewRoute, Onward};
use proto::table::RouteRow;
use proto::{Reply, Request};
use rustix::io::Errno;

use super::message::{RouteKind, RouteMessage};
use super::number::{RTF_BLACKHOLE, RTF_REJECT};
use super::sockaddr::NextHop;

/// The table of routes that messages are about.
const TABLE: u8 = 0;

/// A network.
pub(super) type Network = (IpAddr, u8);

/// What has been done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Done {
    /// There is this way to it, with this MTU.
    There(Network, Option<IpAddr>, Option<u16>),
    /// There is none, or one of several less.
    Gone(Network),
    /// This is the way.
    Found(RouteRow),
}

/// Does what a message asks for. `ask` puts it to the daemon.
///
/// # Errors
/// `EINVAL`: there is no destination or no gateway in it. `ESRCH`: there is no such route. What the daemon says.
pub(super) fn perform(
    message: &RouteMessage,
    ask: &mut impl FnMut(Request) -> Result<Reply, Errno>,
) -> Result<Done, Errno> {
    let to = message.destination().ok_or(Errno::INVAL)?;
    match message.kind {
        RouteKind::Add => {
            let onward = onward(message).ok_or(Errno::INVAL)?;
            add(to, onward, message.mtu, ask)?;
            Ok(Done::There(to, gateway(onward), message.mtu))
        }
        RouteKind::Delete => {
            delete(to, router(message), ask)?;
            Ok(Done::Gone(to))
        }
        RouteKind::Change => change(message, to, ask),
        RouteKind::Get => find(message, to, ask).map(Done::Found),
    }
}

fn router(message: &RouteMessage) -> Option<IpAddr> {
    match message.addresses.gateway {
        Some(NextHop::Router(router)) => Some(router),
        _ => None,
    }
}

/// What becomes of packets. BSD wants a gateway that is not used where there is none.
fn onward(message: &RouteMessage) -> Option<Onward> {
    if message.flags & RTF_BLACKHOLE != 0 {
        Some(Onward::Blackhole)
    } else if message.flags & RTF_REJECT != 0 {
        Some(Onward::Reject)
    } else {
        router(message).map(Onward::Gateway)
    }
}

const fn gateway(onward: Onward) -> Option<IpAddr> {
    match onward {
        Onward::Gateway(gateway) => Some(gateway),
        Onward::Blackhole | Onward::Reject => None,
    }
}

fn add(
    (destination, prefix_len): Network,
    onward: Onward,
    mtu: Option<u16>,
    ask: &mut impl FnMut(Request) -> Result<Reply, Errno>,
) -> Result<(), Errno> {
    let route = NewRoute { destination, prefix_len, onward, mtu };
    done(&ask(Request::AddRoute { table: TABLE, route })?)
}

fn delete(
    (destination, prefix_len): Network,
    gateway: Option<IpAddr>,
    ask: &mut impl FnMut(Request) -> Result<Reply, Errno>,
) -> Result<(), Errno> {
    done(&ask(Request::DeleteRoute { table: TABLE, destination, prefix_len, gateway })?)
}

fn done(reply: &Reply) -> Result<(), Errno> {
    if *reply == Reply::Done { Ok(()) } else { Err(Errno::PROTO) }
}

/// The route that a question names: by a netmask the one to exactly this network.
fn find(
    message: &RouteMessage,
    to: Network,
    ask: &mut impl FnMut(Request) -> Result<Reply, Errno>,
) -> Result<RouteRow, Errno> {
    let rows = if message.addresses.prefix_len.is_some() {
        exact(to, ask)?
    } else {
        rows(ask(Request::Route { table: TABLE, to: to.0 })?)?
    };
    rows.into_iter().next().ok_or(Errno::SRCH)
}

/// The rows of the route to exactly this network: the list of all is asked for from there on.
fn exact(
    to: Network,
    ask: &mut impl FnMut(Request) -> Result<Reply, Errno>,
) -> Result<Vec<RouteRow>, Errno> {
    let before = match to.0 {
        IpAddr::V4(address) => {
            address.to_bits().checked_sub(1).map(|bits| (Ipv4Addr::from_bits(bits).into(), 32))
        }
        IpAddr::V6(address) => Some(address.to_bits().checked_sub(1).map_or_else(
            // Behind all of IPv4.
            || (Ipv4Addr::BROADCAST.into(), 32),
            |bits| (Ipv6Addr::from_bits(bits).into(), 128),
        )),
    };
    let mut rows = rows(ask(Request::Routes { table: TABLE, after: before })?)?;
    rows.retain(|row| (row.destination, row.prefix_len) == to);
    Ok(rows)
}

fn rows(reply: Reply) -> Result<Vec<RouteRow>, Errno> {
    if let Reply::Routes(rows) = reply { Ok(rows) } else { Err(Errno::PROTO) }
}

/// What a row would be added by again.
fn onward_of(row: &RouteRow) -> Option<Onward> {
    match row.gateway {
        Some(gateway) => Some(Onward::Gateway(gateway)),
        None if row.flags.contains('B') => Some(Onward::Blackhole),
        None if row.flags.contains('R') => Some(Onward::Reject),
        None => None,
    }
}

/// Puts another gateway, or another MTU, in the place of what there is. From gateway to gateway there is a way all the
/// time; otherwise there is none for a moment.
fn change(
    message: &RouteMessage,
    to: Network,
    ask: &mut impl FnMut(Request) -> Result<Reply, Errno>,
) -> Result<Done, Errno> {
    let before = exact(to, ask)?;
    let first = before.first().ok_or(Errno::SRCH)?;
    // The way to an interface's own network is not the operator's.
    let was = onward_of(first).ok_or(Errno::INVAL)?;
    let onward = onward(message).unwrap_or(was);
    let mtu = message.mtu.or(first.mtu);
    let changed = Done::There(to, gateway(onward), mtu);
    if let (Some(new), Some(_), true) = (gateway(onward), gateway(was), mtu == first.mtu) {
        if !before.iter().any(|row| row.gateway == Some(new)) {
            add(to, onward, mtu, ask)?;
        }
        for old in before.iter().filter_map(|row| row.gateway).filter(|old| *old != new) {
            match delete(to, Some(old), ask) {
                // Somebody else was faster.
                Ok(()) | Err(Errno::SRCH) => {}
                Err(errno) => return Err(errno),
            }
        }
        return Ok(changed);
    }
    delete(to, None, ask)?;
    if let Err(errno) = add(to, onward, mtu, ask) {
        for row in &before {
            if let Some(onward) = onward_of(row) {
                add(to, onward, row.mtu, ask)?;
            }
        }
        return Err(errno);
    }
    Ok(changed)
}
