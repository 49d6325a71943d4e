//! Longest-prefix match against a linear search.

use core::net::Ipv4Addr;

use fib::{Ipv4Net, NextHop, Rib, Route};
use proptest::collection::vec;
use proptest::prelude::*;

use crate::{net, together};

/// The definition (RFC 1812, 5.2.4.3): of all routes that contain the address, the longest.
fn oracle(routes: &[Route], addr: Ipv4Addr) -> Option<NextHop> {
    let matching = routes.iter().filter(|route| route.destination.contains(addr));
    matching.max_by_key(|route| route.destination.prefix_len()).map(|route| route.next_hop)
}

/// Addresses that share many leading bits, so that prefixes nest.
fn addr() -> impl Strategy<Value = Ipv4Addr> {
    let crowded = (0_u8..4, 0_u8..4, any::<u8>()).prop_map(|(b, c, d)| Ipv4Addr::new(10, b, c, d));
    prop_oneof![4 => crowded, 1 => any::<Ipv4Addr>()]
}

fn prefix() -> impl Strategy<Value = Ipv4Net> {
    (addr(), 0_u8..=32).prop_map(|(addr, len)| Ipv4Net::containing(addr, len).unwrap())
}

proptest! {
    #[test]
    fn lookup_is_the_definition(
        routes in vec((prefix(), any::<u16>()), 0..60), probes in vec(addr(), 1..40)
    ) {
        let mut rib = Rib::new();
        for &(destination, interface) in &routes {
            let _exists = rib.add(Route::on_link(destination, interface));
        }
        let fib = rib.publish();
        let routes: Vec<Route> = rib.iter().copied().collect();
        let edges = routes.iter().flat_map(|route| {
            let (first, last) = (route.destination.addr().to_bits(), route.destination.last().to_bits());
            [first, last, first.wrapping_sub(1), last.wrapping_add(1)].map(Ipv4Addr::from_bits)
        });
        let probes: Vec<Ipv4Addr> = probes.into_iter().chain(edges).collect();
        for (probe, found) in probes.iter().zip(together(&fib, &probes)) {
            prop_assert_eq!(fib.lookup(*probe), oracle(&routes, *probe), "{}", probe);
            prop_assert_eq!(found, fib.lookup(*probe), "{} among others", probe);
        }
    }

    #[test]
    fn lookup_after_deletes_is_the_definition(
        routes in vec(prefix(), 1..40), deletes in vec(any::<proptest::sample::Index>(), 0..40),
        probes in vec(addr(), 1..40)
    ) {
        let mut rib = Rib::new();
        for (destination, interface) in routes.iter().zip(0..) {
            let _exists = rib.add(Route::on_link(*destination, interface));
        }
        let _before = rib.publish();
        for delete in deletes {
            let _not_found = rib.delete(*delete.get(&routes));
        }
        let left: Vec<Route> = rib.iter().copied().collect();
        for probe in &probes {
            prop_assert_eq!(rib.lookup(*probe), oracle(&left, *probe), "not published: {}", probe);
        }
        for probe in probes {
            prop_assert_eq!(rib.publish().lookup(probe), oracle(&left, probe), "{}", probe);
            prop_assert_eq!(rib.lookup(probe), oracle(&left, probe), "published: {}", probe);
        }
    }

    /// A published route through a gateway leads to a neighbour that is itself on a link.
    #[test]
    fn published_gateways_are_on_a_link(
        links in vec((prefix(), 0_u16..3), 1..6), routes in vec((prefix(), 0_u16..3, addr()), 0..20),
        deletes in vec(any::<proptest::sample::Index>(), 0..4), probes in vec(addr(), 1..40)
    ) {
        let mut rib = Rib::new();
        for &(destination, interface) in &links {
            let _exists = rib.add(Route::connected(destination, interface));
        }
        for &(destination, interface, gateway) in &routes {
            let _refused = rib.add(Route::gateway(destination, interface, gateway));
        }
        for delete in deletes {
            let _not_found = rib.delete(delete.get(&links).0);
        }
        for probe in probes {
            let Some(next_hop) = rib.publish().lookup(probe) else { continue };
            let Some(gateway) = next_hop.gateway else { continue };
            let link = NextHop { gateway: None, ..next_hop };
            let all: Vec<Route> = rib.iter().copied().collect();
            prop_assert_eq!(oracle(&all, gateway), Some(link));
        }
    }
}

#[test]
fn every_prefix_length_beats_the_shorter_ones() {
    let addr = Ipv4Addr::new(0xaa, 0x55, 0xaa, 0x55);
    let mut rib = Rib::new();
    for prefix_len in 0..=32_u8 {
        let destination = Ipv4Net::containing(addr, prefix_len).unwrap();
        rib.add(Route::on_link(destination, prefix_len.into())).unwrap();
        assert_eq!(rib.publish().lookup(addr).unwrap().interface, prefix_len.into());
    }
    // An address that differs in bit n matches the prefix of length n and no longer one.
    for n in 0..32_u16 {
        let other = Ipv4Addr::from_bits(addr.to_bits() ^ (1 << (31 - n)));
        assert_eq!(rib.publish().lookup(other).unwrap().interface, n);
    }
}

#[test]
fn default_route_catches_the_lowest_and_the_highest_address() {
    let mut rib = Rib::new();
    rib.add(Route::on_link(Ipv4Net::DEFAULT, 9)).unwrap();
    rib.add(Route::on_link(net("128.0.0.0/1"), 8)).unwrap();
    let fib = rib.publish();
    assert_eq!(fib.lookup(Ipv4Addr::UNSPECIFIED).unwrap().interface, 9);
    assert_eq!(fib.lookup(Ipv4Addr::BROADCAST).unwrap().interface, 8);
}
