//! What IPv6 addresses mean to this host (RFC 4291). `source`: which of them a packet comes from.

pub(crate) mod source;

use core::net::Ipv6Addr;

use autoconf::State;
use wire::ipv6;

use crate::network::{Addresses, Destination, Interface, Network};

/// An IPv6 address with its network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Address6 {
    /// Address.
    pub address: Ipv6Addr,
    /// Prefix length.
    pub prefix_len: u8,
    /// What it may be used for.
    pub state: State,
    /// Whether it is taken where others would do as well (RFC 6724 5, rule 7).
    pub favour: Favour,
}

/// How an address that changes compares with those that do not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Favour {
    /// It changes, and is taken only if there is no other.
    Less,
    /// It does not change.
    #[default]
    Same,
    /// It changes, and is taken.
    More,
}

impl Address6 {
    /// An address that may be used for everything.
    #[must_use]
    pub const fn preferred(address: Ipv6Addr, prefix_len: u8) -> Self {
        Self { address, prefix_len, state: State::Preferred, favour: Favour::Same }
    }
}

/// What is between a link and its routers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Link6 {
    /// Bytes of an IPv6 packet, if fewer than of others.
    pub mtu: Option<u16>,
    /// Routers are believed.
    pub accepts_routers: bool,
    /// We are a router of it, and say so.
    pub advertises: bool,
}

/// An address where it is: a link-local one may be there on each link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct OnLink {
    /// Address.
    pub address: Ipv6Addr,
    /// Interface.
    pub interface: u16,
}

impl Addresses {
    /// What `address` means to this host on an interface. A group is ours if every node is in it or one
    /// of our addresses is (RFC 4291 2.8).
    #[must_use]
    pub(crate) fn classify6(&self, address: Ipv6Addr, interface: u16) -> Destination {
        if address.is_multicast() {
            let here = |ours: &&OnLink| ours.interface == interface;
            let asked = |ours: &OnLink| ipv6::solicited_node(ours.address) == address;
            let all = || self.ours6.iter().chain(&self.sought6);
            let is_member = address == ipv6::ALL_NODES
                || (address == ipv6::ALL_ROUTERS && self.advertising.contains(&interface))
                || all().filter(here).any(asked)
                || self.is_member(address.into(), interface);
            return if is_member { Destination::Multicast } else { Destination::Remote };
        }
        let is_ours = |ours: &OnLink| {
            ours.address == address
                && (ours.interface == interface || !address.is_unicast_link_local())
        };
        if address.is_loopback() || self.ours6.iter().any(is_ours) {
            Destination::Local
        } else {
            Destination::Remote
        }
    }

    /// An address that is on no link by itself is none of ours.
    #[inline]
    #[must_use]
    pub(crate) fn is_nobodys6(&self, address: Ipv6Addr) -> bool {
        !self.ours6.iter().any(|ours| ours.address == address)
    }

    /// We would like it to be ours on this interface, and do not know yet whether it can be. An optimistic one is used
    /// meanwhile.
    #[must_use]
    pub(crate) fn is_sought6(&self, address: Ipv6Addr, interface: u16) -> bool {
        self.sought6.contains(&OnLink { address, interface })
    }

    /// It is ours, on whichever interface.
    #[must_use]
    pub(crate) fn has6(&self, address: Ipv6Addr) -> bool {
        address.is_loopback() || self.ours6.iter().any(|ours| ours.address == address)
    }
}

impl Network {
    /// The interface of packets to a link's own addresses where nobody has named one: the only one that
    /// has IPv6, else none.
    pub(crate) fn only_link6(&self) -> Option<&Interface> {
        let mut links = self.interfaces.iter().skip(1).filter(|i| i.up && !i.addresses6.is_empty());
        let first = links.next()?;
        links.next().is_none().then_some(first)
    }
}

/// How far an address reaches, as the scope of a multicast group does (RFC 6724 3.1).
fn scope(address: Ipv6Addr) -> u8 {
    const LINK: u8 = 2;
    const GLOBAL: u8 = 14;
    if address.is_multicast() {
        address.octets()[1] & 0xf
    } else if address.is_unicast_link_local() || address.is_loopback() {
        LINK
    } else {
        GLOBAL
    }
}

/// Only the link knows the way to it.
pub(crate) fn is_of_a_link(address: Ipv6Addr) -> bool {
    address.is_unicast_link_local() || address.is_multicast() && scope(address) <= 2
}

#[cfg(test)]
mod tests {
    use super::*;
    use types::MacAddr;

    pub(super) const LINK_LOCAL: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 2);
    pub(super) const NEAR: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 2);
    pub(super) const FAR: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 2, 0, 0, 0, 0, 2);

    /// `lo0` without addresses, and `tap0` with all three.
    pub(super) fn network() -> Network {
        let address = |address| Address6::preferred(address, 64);
        let interface = |index, name: &str, addresses6| Interface {
            index,
            name: name.into(),
            mac: MacAddr::ZERO,
            mtu: 1500,
            up: true,
            table: 0,
            addresses: Vec::new(),
            addresses6,
            link6: Link6::default(),
            dhcp: false,
            arp_watched: None,
            tx_checksum: crate::network::TxChecksum::Stack,
            loans: false,
            tso_buffers_max: 0,
            tso_ipv4_checksum: false,
        };
        let all = [LINK_LOCAL, NEAR, FAR].map(address);
        let interfaces = vec![interface(0, "lo0", vec![]), interface(1, "tap0", all.to_vec())];
        Network { interfaces, ..Network::default() }
    }

    #[test]
    fn destinations_are_told_apart() {
        let addresses = Addresses::of(&network());
        let solicited = ipv6::solicited_node(NEAR);
        for (address, interface, expected) in [
            (NEAR, 1, Destination::Local),
            (NEAR, 2, Destination::Local),
            (LINK_LOCAL, 1, Destination::Local),
            (LINK_LOCAL, 2, Destination::Remote),
            (Ipv6Addr::LOCALHOST, 0, Destination::Local),
            (ipv6::ALL_NODES, 1, Destination::Multicast),
            (solicited, 1, Destination::Multicast),
            (solicited, 2, Destination::Remote),
            (Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 2), 1, Destination::Remote),
            (Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 3), 1, Destination::Remote),
        ] {
            assert_eq!(addresses.classify6(address, interface), expected, "{address} {interface}");
        }
    }

    #[test]
    fn a_tentative_address_is_nobodys_but_its_group_is_heard() {
        let mut network = network();
        network.interfaces[1].addresses6[1].state = State::Tentative;
        let addresses = Addresses::of(&network);
        assert_eq!(addresses.classify6(NEAR, 1), Destination::Remote);
        let group = ipv6::solicited_node(NEAR);
        assert_eq!(addresses.classify6(group, 1), Destination::Multicast);
        assert!(addresses.is_sought6(NEAR, 1) && !addresses.is_sought6(FAR, 1));
    }
}
