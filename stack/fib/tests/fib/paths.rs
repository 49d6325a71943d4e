//! Several equal gateways, routes that let nothing pass, MTUs of routes, and snapshots made in parts.

use std::collections::HashMap;
use std::net::{Ipv4Addr, Ipv6Addr};

use fib::{AddRouteError, Ipv4Net, Ipv6Net, NextHop, Refusal, Rib, Route, RouteFlags};

use crate::net;

const FAR: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 7);
const FLOWS: u32 = 20_000;

fn gateway(number: u8) -> Ipv4Addr {
    Ipv4Addr::new(192, 0, 2, number)
}

fn route(number: u8) -> Route {
    Route::gateway(net("203.0.113.0/24"), 1, gateway(number))
}

/// A link and a route with the gateways 1 … `count`.
fn rib(count: u8) -> Rib {
    let mut rib = Rib::new();
    rib.add(Route::connected(net("192.0.2.0/24"), 1)).unwrap();
    (1..=count).for_each(|number| rib.add_path(route(number)).unwrap());
    rib
}

fn split(rib: &Rib) -> Vec<Ipv4Addr> {
    let fib = rib.publish();
    let way = fib.way(FAR).unwrap();
    let flow = |n: u32| n.wrapping_mul(0x9e37_79b9);
    (0..FLOWS).map(|n| way.hop(|| flow(n)).unwrap().gateway.unwrap()).collect()
}

#[test]
fn equal_gateways_share_the_flows() {
    for count in [2_u8, 3, 16] {
        let mut seen = HashMap::<Ipv4Addr, u32>::new();
        split(&rib(count)).into_iter().for_each(|gateway| *seen.entry(gateway).or_default() += 1);
        let fair = FLOWS / u32::from(count);
        assert_eq!(seen.len(), usize::from(count));
        assert!(seen.values().all(|n| (fair * 4 / 5..fair * 6 / 5).contains(n)), "{seen:?}");
    }
}

#[test]
fn a_gateway_that_goes_takes_only_its_own_flows_with_it() {
    let mut rib = rib(4);
    let before = split(&rib);
    rib.delete_path(net("203.0.113.0/24"), gateway(1)).unwrap();
    let after = split(&rib);
    for (before, after) in before.iter().zip(&after) {
        assert!(before == after || *before == gateway(1), "{before} {after}");
    }
    assert!(!after.contains(&gateway(1)));
    rib.add_path(route(1)).unwrap();
    assert_eq!(split(&rib), before, "whatever the order in which they came");
}

#[test]
fn of_gateways_only_those_on_a_link_are_used() {
    let mut rib = rib(2);
    rib.add(Route::connected(net("198.51.100.0/24"), 2)).unwrap();
    let other = Ipv4Addr::new(198, 51, 100, 1);
    rib.add_path(Route::gateway(net("203.0.113.0/24"), 2, other)).unwrap();
    assert!(split(&rib).contains(&other));
    assert!(rib.publish().way(FAR).unwrap().leaves_by(2));
    let _ = rib.delete(net("198.51.100.0/24")).unwrap();
    assert!(!split(&rib).contains(&other));
    assert!(!rib.publish().way(FAR).unwrap().leaves_by(2));
    rib.add(Route::connected(net("198.51.100.0/24"), 2)).unwrap();
    assert!(split(&rib).contains(&other));
    assert_eq!(rib.delete_interface(1), 1, "its link; the route goes on over the other");
    assert_eq!(rib.lookup(FAR), Some(NextHop { interface: 2, gateway: Some(other) }));
    assert_eq!(rib.delete_interface(2), 2);
}

#[test]
fn what_is_no_further_gateway_is_refused() {
    let mut rib = rib(2);
    let there = Err(AddRouteError::Exists(net("203.0.113.0/24")));
    assert_eq!(rib.add_path(route(2)), there, "twice the same");
    assert_eq!(rib.add_path(Route { mtu: Some(1400), ..route(3) }), there, "another MTU");
    assert_eq!(rib.add_path(Route { flags: RouteFlags::DYNAMIC, ..route(3) }), there);
    assert_eq!(rib.add_path(Route::refused(net("203.0.113.0/24"), Refusal::Reject)), there);
    assert_eq!(rib.add(route(3)), there);
    for number in 3..=16 {
        rib.add_path(route(number)).unwrap();
    }
    assert_eq!(rib.add_path(route(17)), Err(AddRouteError::TooMany(net("203.0.113.0/24"))));
    let all: Vec<Ipv4Addr> = (1..=16).map(gateway).collect();
    for number in all {
        rib.delete_path(net("203.0.113.0/24"), number).unwrap();
    }
    assert!(rib.route(net("203.0.113.0/24")).is_none() && rib.lookup(FAR).is_none());
}

#[test]
fn nothing_passes_by_a_route_that_says_so() {
    let mut rib = rib(1);
    for refusal in [Refusal::Blackhole, Refusal::Reject] {
        let one = Ipv4Net::host(FAR);
        rib.add(Route::refused(one, refusal)).unwrap();
        let fib = rib.publish();
        assert_eq!(fib.way(FAR).unwrap().hop(|| 0), Err(refusal));
        assert_eq!(fib.lookup(FAR), None);
        assert_eq!(rib.delete_interface(9), 0, "it is no interface's");
        assert_eq!(rib.delete(one).unwrap().refusal(), Some(refusal));
        assert!(rib.lookup(FAR).is_some());
    }
}

#[test]
fn a_route_says_its_mtu() {
    let mut rib = rib(0);
    rib.add_path(Route { mtu: Some(1400), ..route(1) }).unwrap();
    assert_eq!(rib.publish().way(FAR).unwrap().mtu, Some(1400));
    rib.replace(route(1)).unwrap();
    assert_eq!(rib.publish().way(FAR).unwrap().mtu, None);
}

#[test]
fn in_ipv6_too() {
    let mut rib = Rib::<Ipv6Addr>::new();
    let all = Ipv6Net::DEFAULT;
    for number in [1, 2] {
        let router = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, number);
        rib.add_path(Route::gateway(all, number, router)).unwrap();
    }
    let fib = rib.publish();
    let way = fib.way(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1)).unwrap();
    let first = (0..1000).filter(|n| way.hop(|| *n).unwrap().interface == 1).count();
    assert!((400..600).contains(&first), "{first}");
}

#[test]
fn a_snapshot_made_in_parts_is_seen_when_it_is_whole() {
    let mut rib = rib(1);
    let before = rib.publish();
    for third in 0..=255 {
        for number in 0..64 {
            let net = Ipv4Net::new(Ipv4Addr::new(10, third, number, 0), 24).unwrap();
            rib.replace(Route::gateway(net, 1, gateway(third))).unwrap();
        }
    }
    rib.replace(Route::gateway(Ipv4Net::DEFAULT, 1, gateway(9))).unwrap();
    let mut parts = 0;
    while !rib.refresh(256) {
        parts += 1;
        assert_eq!(rib.published().lookup(FAR), before.lookup(FAR));
        assert_eq!(rib.published().lookup(Ipv4Addr::new(10, 7, 7, 7)), None);
    }
    assert!(parts > 100, "{parts}");
    let hop = |number| Some(NextHop { interface: 1, gateway: Some(gateway(number)) });
    assert_eq!(rib.published().lookup(Ipv4Addr::new(10, 7, 7, 7)), hop(7));
    assert_eq!(rib.published().lookup(Ipv4Addr::new(11, 7, 7, 7)), hop(9));
    let (mut from, mut steps) = (Some(Ipv4Net::DEFAULT), 0);
    while let Some(net) = from {
        from = rib.sweep(net, 100, |route| route.destination.prefix_len() == 24);
        steps += 1;
    }
    assert_eq!((rib.len(), steps > 100), (1, true), "the default route");
}
