//! What the daemon tells, in BSD's messages.

use core::net::{IpAddr, Ipv4Addr};

use proto::table::{AddressRow, RouteRow};
use proto::{Change, LinkRow, NetworkEvent};

use super::message::{
    Address, AddressMessage, AnnounceMessage, InterfaceMessage, Message, RouteKind, RouteMessage,
};
use super::number::{
    IFF_BROADCAST, IFF_LOOPBACK, IFF_MULTICAST, IFF_RUNNING, IFF_UP, IN6_IFF_AUTOCONF,
    IN6_IFF_DEPRECATED, IN6_IFF_DUPLICATED, IN6_IFF_TEMPORARY, IN6_IFF_TENTATIVE, RTF_BLACKHOLE,
    RTF_CONNECTED, RTF_DYNAMIC, RTF_GATEWAY, RTF_HOST, RTF_LLINFO, RTF_REJECT, RTF_STATIC, RTF_UP,
};
use super::sockaddr::{Addresses, LOOPBACK, LinkAddress, NextHop};

/// The interface that an event is about, whose number has to be known.
pub(super) fn interface(event: &NetworkEvent) -> Option<&str> {
    match event {
        NetworkEvent::Route { route, .. } => Some(&route.interface),
        NetworkEvent::Interface { interface, .. } => Some(&interface.name),
        NetworkEvent::Address { interface, .. } | NetworkEvent::Neighbor { interface, .. } => {
            Some(interface)
        }
        NetworkEvent::Missed { .. } => None,
    }
}

/// The address that says of which version of IP an event is; `None`: of both.
pub(super) fn address(event: &NetworkEvent) -> Option<IpAddr> {
    match event {
        NetworkEvent::Route { route, .. } => Some(route.destination),
        NetworkEvent::Address { address, .. } => Some(address.address),
        NetworkEvent::Neighbor { address, .. } => Some(*address),
        NetworkEvent::Interface { .. } | NetworkEvent::Missed { .. } => None,
    }
}

/// An event about the interface with this number; nothing of what has been missed.
pub(super) fn messages(event: &NetworkEvent, index: u16) -> Vec<Message> {
    match event {
        NetworkEvent::Route { change, route } => {
            vec![Message::Route(route_message(kind(*change), route, index))]
        }
        NetworkEvent::Address { change, interface, address } => {
            vec![Message::Address(address_message(*change, interface, address, index))]
        }
        NetworkEvent::Interface { change, interface } => {
            let announce = |arrived| {
                let name = interface.name.clone();
                Message::Announce(AnnounceMessage { index, name, arrived })
            };
            let state = || Message::Interface(interface_message(interface, index));
            match change {
                // What it is now has not been told, and would not be before something changes.
                Change::Added => vec![announce(true), state()],
                Change::Changed => vec![state()],
                Change::Deleted => vec![announce(false)],
            }
        }
        NetworkEvent::Neighbor { change, interface, address, mac } => {
            let mac = mac.map(|mac| mac.0);
            let gateway = LinkAddress { index, name: interface.clone(), mac };
            let addresses = Addresses {
                destination: Some(*address),
                gateway: Some(NextHop::Link(gateway)),
                ..Addresses::default()
            };
            let flags = RTF_UP | RTF_HOST | RTF_LLINFO;
            let new = RouteMessage::new(kind(*change));
            vec![Message::Route(RouteMessage { index, flags, addresses, ..new })]
        }
        NetworkEvent::Missed { .. } => Vec::new(),
    }
}

const fn kind(change: Change) -> RouteKind {
    match change {
        Change::Added => RouteKind::Add,
        Change::Changed => RouteKind::Change,
        Change::Deleted => RouteKind::Delete,
    }
}

/// A route as it is, or was.
pub(super) fn route_message(kind: RouteKind, row: &RouteRow, index: u16) -> RouteMessage {
    let flags = row.flags.chars().fold(0, |flags, letter| flags | flag(letter));
    let link = LinkAddress { index, name: row.interface.clone(), mac: None };
    let gateway = row.gateway.map_or_else(|| NextHop::Link(link.clone()), NextHop::Router);
    let addresses = Addresses {
        destination: Some(row.destination),
        gateway: Some(gateway),
        prefix_len: (flags & RTF_HOST == 0).then_some(row.prefix_len),
        interface: Some(link),
        ..Addresses::default()
    };
    RouteMessage { index, flags, mtu: row.mtu, addresses, ..RouteMessage::new(kind) }
}

/// The bit of a letter that `netstat -r` shows.
const fn flag(letter: char) -> i32 {
    match letter {
        'U' => RTF_UP,
        'G' => RTF_GATEWAY,
        'H' => RTF_HOST,
        'C' => RTF_CONNECTED,
        'S' => RTF_STATIC,
        'D' => RTF_DYNAMIC,
        'B' => RTF_BLACKHOLE,
        'R' => RTF_REJECT,
        _ => 0,
    }
}

fn interface_message(row: &LinkRow, index: u16) -> InterfaceMessage {
    let kind = if index == LOOPBACK { IFF_LOOPBACK } else { IFF_BROADCAST | IFF_MULTICAST };
    let flags = [(row.up, IFF_UP), (row.up && row.running, IFF_RUNNING)];
    let flags = flags.into_iter().fold(kind, |all, (is, flag)| if is { all | flag } else { all });
    let link = LinkAddress { index, name: row.name.clone(), mac: Some(row.mac.0) };
    let addresses = Addresses { interface: Some(link), ..Addresses::default() };
    InterfaceMessage { index, flags, running: row.running, mtu: row.mtu, addresses }
}

fn address_message(
    change: Change,
    interface: &str,
    row: &AddressRow,
    index: u16,
) -> AddressMessage {
    let kind = if change == Change::Deleted { Address::Deleted } else { Address::New };
    let flags = row.flags.iter().fold(0, |flags, word| {
        flags
            | match word.as_str() {
                "tentative" => IN6_IFF_TENTATIVE,
                "duplicated" => IN6_IFF_DUPLICATED,
                "deprecated" => IN6_IFF_DEPRECATED,
                "autoconf" => IN6_IFF_AUTOCONF,
                "temporary" => IN6_IFF_TEMPORARY,
                _ => 0,
            }
    });
    let broadcast = match row.address {
        IpAddr::V4(address) if index != LOOPBACK && row.prefix_len < 31 => {
            let host = u32::MAX.checked_shr(row.prefix_len.into()).unwrap_or(0);
            Some(Ipv4Addr::from_bits(address.to_bits() | host))
        }
        _ => None,
    };
    let addresses = Addresses {
        prefix_len: Some(row.prefix_len),
        interface: Some(LinkAddress { index, name: interface.to_owned(), mac: None }),
        address: Some(row.address),
        broadcast,
        ..Addresses::default()
    };
    AddressMessage { kind, index, flags, addresses }
}
