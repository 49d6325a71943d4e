//! What IPv6 addresses mean to this host, and which of them a packet comes from (RFC 4291, RFC 6724).

use core::cmp::Reverse;
use core::net::Ipv6Addr;

use wire::ipv6;

use crate::network::{Addresses, Destination, Interface, Network};

/// An IPv6 address with its network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Address6 {
    /// Address.
    pub address: Ipv6Addr,
    /// Prefix length.
    pub prefix_len: u8,
}

/// An address where it is: a link-local one may be there on each link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct OnLink {
    /// Address.
    pub address: Ipv6Addr,
    /// Interface.
    pub interface: u16,
}

/// RFC 4291 2.7: every node listens to it.
pub(crate) const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);

impl Addresses {
    /// What `address` means to this host on an interface. A group is ours if every node is in it or one
    /// of our addresses is (RFC 4291 2.8).
    #[must_use]
    pub(crate) fn classify6(&self, address: Ipv6Addr, interface: u16) -> Destination {
        if address.is_multicast() {
            let here = |ours: &&OnLink| ours.interface == interface;
            let asked = |ours: &OnLink| ipv6::solicited_node(ours.address) == address;
            let is_member = address == ALL_NODES || self.ours6.iter().filter(here).any(asked);
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

    /// It is ours, on whichever interface.
    #[must_use]
    pub(crate) fn has6(&self, address: Ipv6Addr) -> bool {
        address.is_loopback() || self.ours6.iter().any(|ours| ours.address == address)
    }
}

impl Network {
    /// The source address for packets to `destination` that leave by an interface (RFC 6724 5, rules 1,
    /// 2 and 8).
    #[must_use]
    pub fn source_for6(&self, destination: Ipv6Addr, interface: u16) -> Option<Ipv6Addr> {
        if destination.is_loopback() {
            return Some(destination);
        }
        self.interface(interface)?.source_for6(destination)
    }

    /// The interface of packets to a link's own addresses where nobody has named one: the only one that
    /// has IPv6, else none.
    pub(crate) fn only_link6(&self) -> Option<&Interface> {
        let mut links = self.interfaces.iter().skip(1).filter(|i| i.up && !i.addresses6.is_empty());
        let first = links.next()?;
        links.next().is_none().then_some(first)
    }
}

impl Interface {
    /// The source address for packets to `destination` that leave by this interface.
    #[must_use]
    pub fn source_for6(&self, destination: Ipv6Addr) -> Option<Ipv6Addr> {
        let wanted = scope(destination);
        let preference = |address: &Ipv6Addr| {
            let scope = scope(*address);
            // Of those that reach as far the narrowest, else the widest.
            let reach = if scope >= wanted { (1, Reverse(scope)) } else { (0, Reverse(!scope)) };
            let common = (address.to_bits() ^ destination.to_bits()).leading_zeros();
            (*address == destination, reach, common)
        };
        self.addresses6.iter().map(|a| a.address).max_by_key(preference)
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

    const LINK_LOCAL: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 2);
    const NEAR: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 2);
    const FAR: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 2, 0, 0, 0, 0, 2);

    fn network() -> Network {
        let address = |address| Address6 { address, prefix_len: 64 };
        let interface = |index, name: &str, addresses6| Interface {
            index,
            name: name.into(),
            mac: MacAddr::ZERO,
            mtu: 1500,
            up: true,
            addresses: Vec::new(),
            addresses6,
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
            (ALL_NODES, 1, Destination::Multicast),
            (solicited, 1, Destination::Multicast),
            (solicited, 2, Destination::Remote),
            (Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 2), 1, Destination::Remote),
            (Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 3), 1, Destination::Remote),
        ] {
            assert_eq!(addresses.classify6(address, interface), expected, "{address} {interface}");
        }
    }

    #[test]
    fn the_source_reaches_as_far_as_the_destination_and_is_as_near_as_can_be() {
        let network = network();
        let source = |to: Ipv6Addr| network.source_for6(to, 1);
        assert_eq!(source("fe80::9".parse().unwrap()), Some(LINK_LOCAL));
        assert_eq!(source("ff02::1".parse().unwrap()), Some(LINK_LOCAL));
        assert_eq!(source("2001:db8:1::9".parse().unwrap()), Some(NEAR));
        assert_eq!(source("2001:db8:2::9".parse().unwrap()), Some(FAR));
        assert_eq!(source(FAR), Some(FAR));
        assert_eq!(network.source_for6(FAR, 0), None);
    }
}
