//! Which address an IPv6 packet comes from (RFC 6724 5).
//!
//! Candidates are the addresses of the interface that it leaves by, so that rule 5 holds. Where none of them reaches as
//! far as the destination, as on a link between routers that has no prefix, those of the other interfaces of its table of
//! routes are as well, but not for groups. There are no home addresses (rule 4), and nobody remembers which router has
//! told of which prefix (rule 5.5, which is for those who do).

use core::cmp::Reverse;
use core::net::Ipv6Addr;

use autoconf::State;

use super::{Address6, Favour, scope};
use crate::network::{Interface, Network};

/// Kinds of addresses, by their prefixes, longest first: one kind is not for talking to another where there is a
/// choice (RFC 6724 2.1, the labels of the default table).
const KINDS: [(Ipv6Addr, u32, u8); 8] = [
    (Ipv6Addr::LOCALHOST, 128, 0),
    (Ipv6Addr::new(0, 0, 0, 0, 0, 0xffff, 0, 0), 96, 4),
    (Ipv6Addr::UNSPECIFIED, 96, 3),
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 32, 5),
    (Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16, 2),
    (Ipv6Addr::new(0x3ffe, 0, 0, 0, 0, 0, 0, 0), 16, 12),
    (Ipv6Addr::new(0xfec0, 0, 0, 0, 0, 0, 0, 0), 10, 11),
    (Ipv6Addr::new(0xfc00, 0, 0, 0, 0, 0, 0, 0), 7, 13),
];
/// What is of none of these kinds.
const COMMON: u8 = 1;

impl Network {
    /// The source address for packets to `destination` that leave by an interface.
    #[must_use]
    pub fn source_for6(&self, destination: Ipv6Addr, interface: u16) -> Option<Ipv6Addr> {
        if destination.is_loopback() {
            return Some(destination);
        }
        source_by6(self.interface(interface)?, self.interfaces.iter(), destination)
    }
}

impl Interface {
    /// The source address for packets to `destination` among those of this interface that are ours for sure.
    #[must_use]
    pub(crate) fn sure_source_for6(&self, destination: Ipv6Addr) -> Option<Ipv6Addr> {
        let usable = |own: &&Address6| own.state.is_usable() && !own.state.is_sought();
        Wanted::of(destination).best(self.addresses6.iter().filter(usable))
    }
}

/// The source address for packets to `destination` that leave by `interface`, one of `all`.
#[must_use]
pub fn source_by6<'a>(
    interface: &'a Interface,
    all: impl Iterator<Item = &'a Interface>,
    destination: Ipv6Addr,
) -> Option<Ipv6Addr> {
    let usable = |own: &&Address6| own.state.is_usable();
    let wanted = Wanted::of(destination);
    let here = wanted.best(interface.addresses6.iter().filter(usable));
    // To groups and on the link by an address there alone (RFC 6724 4).
    let stays = destination.is_multicast() || destination.is_unicast_link_local();
    if stays || here.is_some_and(|own| wanted.is_reached_from(own)) {
        return here;
    }
    let beside = all.filter(|one| one.up && one.table == interface.table);
    let elsewhere = beside.flat_map(|one| &one.addresses6).filter(usable);
    wanted.best(elsewhere).filter(|own| wanted.is_reached_from(*own)).or(here)
}

/// A destination, and what of it each candidate is compared with.
struct Wanted {
    address: Ipv6Addr,
    scope: u8,
    kind: u8,
}

impl Wanted {
    fn of(address: Ipv6Addr) -> Self {
        Self { address, scope: scope(address), kind: kind(address) }
    }

    fn best<'a>(&self, candidates: impl Iterator<Item = &'a Address6>) -> Option<Ipv6Addr> {
        candidates.max_by_key(|own| self.preference(own)).map(|own| own.address)
    }

    fn is_reached_from(&self, address: Ipv6Addr) -> bool {
        scope(address) >= self.scope
    }

    fn preference(&self, own: &Address6) -> Preference {
        let address = own.address;
        let (scope, reaches) = (scope(address), self.is_reached_from(address));
        Preference {
            is_the_same: address == self.address,
            reaches,
            // Turned round, the widest is the narrowest.
            reach: Reverse(if reaches { scope } else { !scope }),
            state: own.state,
            is_of_its_kind: kind(address) == self.kind,
            favour: own.favour,
            common: (address.to_bits() ^ self.address.to_bits()).leading_zeros(),
        }
    }
}

/// The more the better, rule by rule.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Preference {
    /// Rule 1.
    is_the_same: bool,
    /// Rule 2: one that reaches as far; of those the narrowest, else the widest.
    reaches: bool,
    reach: Reverse<u8>,
    /// Rule 3.
    state: State,
    /// Rule 6.
    is_of_its_kind: bool,
    /// Rule 7.
    favour: Favour,
    /// Rule 8: bits.
    common: u32,
}

fn kind(address: Ipv6Addr) -> u8 {
    let differ = |prefix: Ipv6Addr| (address.to_bits() ^ prefix.to_bits()).leading_zeros();
    let found = KINDS.iter().find(|(prefix, len, _)| differ(*prefix) >= *len);
    found.map_or(COMMON, |(_, _, label)| *label)
}

#[cfg(test)]
mod tests {
    use super::super::tests::{FAR, LINK_LOCAL, NEAR, network};
    use super::*;

    #[test]
    fn the_source_reaches_as_far_as_the_destination_and_is_as_near_as_can_be() {
        let network = network();
        let source = |to: Ipv6Addr| network.source_for6(to, 1);
        assert_eq!(source("fe80::9".parse().unwrap()), Some(LINK_LOCAL));
        assert_eq!(source("ff02::1".parse().unwrap()), Some(LINK_LOCAL));
        assert_eq!(source("2001:db8:1::9".parse().unwrap()), Some(NEAR));
        assert_eq!(source("2001:db8:2::9".parse().unwrap()), Some(FAR));
        assert_eq!(source(FAR), Some(FAR));
        assert_eq!(network.source_for6(FAR, 0), Some(FAR));
        assert_eq!(network.source_for6("ff02::1".parse().unwrap(), 0), None);
    }

    #[test]
    fn the_source_is_in_use_and_rather_not_a_deprecated_one() {
        let mut network = network();
        let to: Ipv6Addr = "2001:db8:1::9".parse().unwrap();
        for (near, far, expected) in [
            (State::Preferred, State::Preferred, NEAR),
            (State::Deprecated, State::Preferred, FAR),
            (State::Deprecated, State::Deprecated, NEAR),
            (State::Tentative, State::Deprecated, FAR),
            (State::Duplicate, State::Tentative, LINK_LOCAL),
        ] {
            let addresses = &mut network.interfaces[1].addresses6;
            (addresses[1].state, addresses[2].state) = (near, far);
            assert_eq!(network.source_for6(to, 1), Some(expected), "{near:?} {far:?}");
        }
    }

    #[test]
    fn an_address_that_changes_is_the_source_unless_it_may_not_be_or_does_not_reach() {
        let mut network = network();
        let source = |network: &Network, to: &str| network.source_for6(to.parse().unwrap(), 1);
        network.interfaces[1].addresses6[2].favour = Favour::More;
        assert_eq!(source(&network, "2001:db8:1::9"), Some(FAR), "though another is nearer");
        assert_eq!(source(&network, "fe80::9"), Some(LINK_LOCAL));
        network.interfaces[1].addresses6[2].state = State::Deprecated;
        assert_eq!(source(&network, "2001:db8:1::9"), Some(NEAR));
        let addresses = &mut network.interfaces[1].addresses6;
        (addresses[2].state, addresses[2].favour) = (State::Preferred, Favour::Less);
        assert_eq!(source(&network, "2001:db8:2::9"), Some(NEAR), "though it is nearer");
        network.interfaces[1].addresses6[1].state = State::Tentative;
        assert_eq!(source(&network, "2001:db8:2::9"), Some(FAR));
    }

    #[test]
    fn a_source_of_the_destinations_kind_comes_before_one_that_changes_and_one_that_is_nearer() {
        let mut network = network();
        let local: Ipv6Addr = "fd00:1::2".parse().unwrap();
        network.interfaces[1].addresses6.push(Address6::preferred(local, 64));
        network.interfaces[1].addresses6[1].favour = Favour::More;
        let source = |network: &Network, to: &str| network.source_for6(to.parse().unwrap(), 1);
        assert_eq!(source(&network, "fd00:ffff::9"), Some(local));
        assert_eq!(source(&network, "fc00::9"), Some(local));
        assert_eq!(source(&network, "2600::9"), Some(NEAR));
        // Nearer by its bits is the local one, of its kind are the others.
        assert_eq!(source(&network, "f000::9"), Some(NEAR));
        network.interfaces[1].addresses6[3].state = State::Deprecated;
        assert_eq!(source(&network, "fd00:ffff::9"), Some(NEAR), "a deprecated one comes later");
    }

    #[test]
    fn each_address_is_of_one_kind() {
        for (address, expected) in [
            ("::1", 0),
            ("2600::1", 1),
            ("ff02::1", 1),
            ("fe80::1", 1),
            ("2002::1", 2),
            ("::2", 3),
            ("::ffff:192.0.2.1", 4),
            ("2001:0:1::1", 5),
            ("2001:db8::1", 1),
            ("fec0::1", 11),
            ("3ffe::1", 12),
            ("fd12::1", 13),
        ] {
            assert_eq!(kind(address.parse().unwrap()), expected, "{address}");
        }
    }

    #[test]
    fn where_a_link_has_no_address_that_reaches_so_far_another_links_is_the_source() {
        let mut network = network();
        let [from, far] = ["fe80::7", "2001:db8:2::9"].map(|address| address.parse().unwrap());
        let unnumbered = Interface {
            index: 2,
            name: "tap1".into(),
            addresses6: vec![Address6::preferred(from, 64)],
            ..network.interfaces[1].clone()
        };
        network.interfaces.push(unnumbered);
        assert_eq!(network.source_for6(far, 2), Some(FAR));
        assert_eq!(network.source_for6("fe80::9".parse().unwrap(), 2), Some(from));
        assert_eq!(network.source_for6("ff02::9".parse().unwrap(), 2), Some(from));
        assert_eq!(network.source_for6("ff05::9".parse().unwrap(), 2), Some(from));
        network.interfaces[1].table = 1;
        assert_eq!(network.source_for6(far, 2), Some(from), "other networks' are not shown");
        network.interfaces[1].table = 0;
        network.interfaces[1].up = false;
        assert_eq!(network.source_for6(far, 2), Some(from), "who is down lends no address");
    }
}
