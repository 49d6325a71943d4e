//! The same for IPv6.

use core::net::Ipv6Addr;

use fib::{AddRouteError, BadPrefix, Ipv6Net, NextHop, Rib, Route};
use proptest::collection::vec;
use proptest::prelude::*;

use crate::together;

fn net(text: &str) -> Ipv6Net {
    let (addr, prefix_len) = text.split_once('/').unwrap();
    Ipv6Net::new(addr.parse().unwrap(), prefix_len.parse().unwrap()).unwrap()
}

/// Addresses that share many leading bits, so that prefixes nest.
fn addr() -> impl Strategy<Value = Ipv6Addr> {
    let crowded = (0_u16..4, 0_u16..4, any::<u16>())
        .prop_map(|(b, c, d)| Ipv6Addr::new(0x2001, 0xdb8, b, c, 0, 0, c, d));
    prop_oneof![4 => crowded, 1 => any::<u128>().prop_map(Ipv6Addr::from_bits)]
}

proptest! {
    #[test]
    fn lookup_is_the_definition(
        routes in vec((addr(), 0_u8..=128, any::<u16>()), 0..60), probes in vec(addr(), 1..40)
    ) {
        let mut rib = Rib::new();
        for &(addr, len, interface) in &routes {
            let _exists = rib.add(Route::on_link(Ipv6Net::containing(addr, len).unwrap(), interface));
        }
        let fib = rib.publish();
        let routes: Vec<Route<Ipv6Addr>> = rib.iter().copied().collect();
        let edges = routes.iter().flat_map(|route| [route.destination.addr(), route.destination.last()]);
        let probes: Vec<Ipv6Addr> = probes.into_iter().chain(edges).collect();
        for (probe, found) in probes.iter().copied().zip(together(&fib, &probes)) {
            let matching = routes.iter().filter(|route| route.destination.contains(probe));
            let longest = matching.max_by_key(|route| route.destination.prefix_len());
            prop_assert_eq!(fib.lookup(probe), longest.map(|route| route.next_hop), "{}", probe);
            prop_assert_eq!(found, fib.lookup(probe), "{} among others", probe);
        }
    }
}

#[test]
fn prefixes_end_at_128_bits() {
    let addr = "2001:db8::1".parse().unwrap();
    assert_eq!(Ipv6Net::new(addr, 129), Err(BadPrefix { addr, prefix_len: 129 }));
    assert_eq!(Ipv6Net::new(addr, 64), Err(BadPrefix { addr, prefix_len: 64 }));
    assert_eq!(
        BadPrefix { addr, prefix_len: 64 }.to_string(),
        "2001:db8::1/64 is not a prefix: the length is at most 128 and no bit beyond it is set"
    );
    assert_eq!(
        net("2001:db8::/32").last(),
        "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff".parse::<Ipv6Addr>().unwrap()
    );
    assert_eq!(Ipv6Net::host(addr).to_string(), "2001:db8::1/128");
}

#[test]
fn a_link_local_router_needs_no_route_to_it() {
    let router: Ipv6Addr = "fe80::1".parse().unwrap();
    let far: Ipv6Addr = "2001:db8:1::1".parse().unwrap();
    let mut rib = Rib::new();
    rib.add(Route::gateway(Ipv6Net::DEFAULT, 2, router)).unwrap();
    assert_eq!(rib.publish().lookup(far), Some(NextHop { interface: 2, gateway: Some(router) }));
    let refused = rib.add(Route::gateway(net("2001:db8::/32"), 2, far));
    assert_eq!(refused, Err(AddRouteError::Unreachable(far)));
}
