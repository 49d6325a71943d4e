//! What the operator may add and delete.

use core::net::Ipv4Addr;

use fib::{AddRouteError, DeleteRouteError, Ipv4Net, NextHop, Rib, Route, RouteFlags};

use crate::net;

const ROUTER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const FAR: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 5);

/// Interface 1 is on 192.0.2.0/24, where the default router is; interface 2 on 198.51.100.0/24.
fn rib() -> Rib {
    let mut rib = Rib::new();
    rib.add(Route::connected(net("192.0.2.0/24"), 1)).unwrap();
    rib.add(Route::connected(net("198.51.100.0/24"), 2)).unwrap();
    rib.add(Route::gateway(Ipv4Net::DEFAULT, 1, ROUTER)).unwrap();
    rib
}

#[test]
fn destination_on_the_link_and_behind_the_router() {
    let fib = rib().publish();
    let on_link = Ipv4Addr::new(192, 0, 2, 77);
    let next_hop = fib.lookup(on_link).unwrap();
    assert_eq!(next_hop, NextHop { interface: 1, gateway: None });
    assert_eq!(next_hop.neighbor(on_link), on_link);

    let next_hop = fib.lookup(FAR).unwrap();
    assert_eq!(next_hop, NextHop { interface: 1, gateway: Some(ROUTER) });
    assert_eq!(next_hop.neighbor(FAR), ROUTER);
}

#[test]
fn no_route() {
    assert_eq!(Rib::new().publish().lookup(FAR), None);
    let mut rib = rib();
    let _route = rib.delete(Ipv4Net::DEFAULT).unwrap();
    assert_eq!(rib.publish().lookup(FAR), None);
}

#[test]
fn one_route_per_destination() {
    let mut rib = rib();
    let other = Route::gateway(Ipv4Net::DEFAULT, 2, Ipv4Addr::new(198, 51, 100, 1));
    assert_eq!(rib.add(other), Err(AddRouteError::Exists(Ipv4Net::DEFAULT)));
    assert_eq!(rib.len(), 3);
    // Another length is another destination.
    rib.add(Route { destination: net("0.0.0.0/1"), ..other }).unwrap();
}

#[test]
fn gateway_must_be_on_a_link_of_the_interface() {
    let mut rib = rib();
    let destination = net("203.0.113.0/24");
    for (interface, gateway) in [
        (1, FAR),                              // only through the default route
        (2, ROUTER),                           // on the other interface's link
        (3, Ipv4Addr::new(198, 51, 100, 1)),   // on no interface's
        (1, Ipv4Addr::new(198, 51, 100, 254)), // likewise
    ] {
        let route = Route::gateway(destination, interface, gateway);
        assert_eq!(rib.add(route), Err(AddRouteError::Unreachable(gateway)), "{interface}");
    }
    assert_eq!(rib.len(), 3);
}

#[test]
fn gateway_behind_another_gateway_is_not_on_the_link() {
    let mut rib = rib();
    let behind = Ipv4Addr::new(192, 0, 2, 9);
    rib.add(Route::gateway(Ipv4Net::host(behind), 1, ROUTER)).unwrap();
    let route = Route::gateway(net("203.0.113.0/24"), 1, behind);
    assert_eq!(rib.add(route), Err(AddRouteError::Unreachable(behind)));
}

#[test]
fn a_route_cannot_be_its_own_link() {
    let mut rib = Rib::new();
    let route = Route::gateway(Ipv4Net::DEFAULT, 1, ROUTER);
    assert_eq!(rib.add(route), Err(AddRouteError::Unreachable(ROUTER)));
}

#[test]
fn an_on_link_route_makes_a_gateway_reachable() {
    let mut rib = Rib::new();
    rib.add(Route::on_link(Ipv4Net::host(ROUTER), 4)).unwrap();
    rib.add(Route::gateway(Ipv4Net::DEFAULT, 4, ROUTER)).unwrap();
    let expected = NextHop { interface: 4, gateway: Some(ROUTER) };
    assert_eq!(rib.publish().lookup(FAR), Some(expected));
}

#[test]
fn deleting_returns_the_route_once() {
    let mut rib = rib();
    let link = net("192.0.2.0/24");
    assert_eq!(rib.delete(link), Ok(Route::connected(link, 1)));
    assert_eq!(rib.delete(link), Err(DeleteRouteError::NotFound(link)));
    let inside = net("198.51.100.0/25");
    assert_eq!(rib.delete(inside), Err(DeleteRouteError::NotFound(inside)));
}

#[test]
fn a_route_without_its_link_is_listed_but_not_published() {
    let mut rib = rib();
    let link = rib.delete(net("192.0.2.0/24")).unwrap();
    let default = *rib.iter().next().unwrap();
    assert_eq!(default.destination, Ipv4Net::DEFAULT);
    assert!(!rib.is_active(&default));
    assert_eq!(rib.publish().lookup(FAR), None);
    assert_eq!((rib.len(), rib.iter().filter(|route| rib.is_active(route)).count()), (2, 1));

    rib.add(link).unwrap();
    assert!(rib.is_active(&default));
    assert!(rib.publish().lookup(FAR).is_some());
}

#[test]
fn an_interface_takes_its_routes_along() {
    let mut rib = rib();
    assert_eq!(rib.delete_interface(1), 2);
    assert_eq!(rib.delete_interface(1), 0);
    let left: Vec<_> = rib.iter().map(|route| route.destination).collect();
    assert_eq!(left, [net("198.51.100.0/24")]);
    assert_eq!(rib.delete_interface(2), 1);
    assert!(rib.is_empty());
}

#[test]
fn a_snapshot_does_not_change() {
    let mut rib = rib();
    let before = rib.publish();
    assert_eq!(rib.delete_interface(1), 2);
    assert!(before.lookup(FAR).is_some());
    assert!(rib.publish().lookup(FAR).is_none());
}

#[test]
fn routes_are_listed_by_address_and_length() {
    let mut rib = rib();
    rib.add(Route::on_link(net("192.0.2.0/25"), 1)).unwrap();
    let listed: Vec<_> = rib.iter().map(|route| route.destination.to_string()).collect();
    assert_eq!(listed, ["0.0.0.0/0", "192.0.2.0/24", "192.0.2.0/25", "198.51.100.0/24"]);
}

#[test]
fn flags_are_a_set() {
    let flags = RouteFlags::STATIC | RouteFlags::CONNECTED;
    assert!(flags.contains(RouteFlags::STATIC) && flags.contains(RouteFlags::NONE));
    assert!(!flags.contains(RouteFlags::DYNAMIC));
    assert!(!flags.contains(RouteFlags::STATIC | RouteFlags::DYNAMIC));
    assert!(Route::connected(Ipv4Net::DEFAULT, 1).flags.contains(RouteFlags::CONNECTED));
}

#[test]
fn a_snapshot_is_of_the_routes_of_its_time() {
    let mut rib = Rib::new();
    let to = Ipv4Addr::new(192, 0, 2, 7);
    let none = rib.publish();
    rib.add(Route::connected(net("192.0.2.0/24"), 1)).unwrap();
    let one = rib.publish();
    assert!(rib.add(Route::connected(net("192.0.2.0/24"), 2)).is_err());
    assert_eq!(rib.lookup(to), one.lookup(to), "what was refused changes nothing");
    let _ = rib.delete(net("192.0.2.0/24")).unwrap();
    assert_eq!((rib.lookup(to), rib.publish().lookup(to)), (None, None));
    rib.add(Route::connected(net("192.0.2.0/24"), 2)).unwrap();
    let interface = |fib: &fib::Fib| fib.lookup(to).map(|hop| hop.interface);
    assert_eq!((interface(&none), interface(&one)), (None, Some(1)));
    assert_eq!(interface(&rib.publish()), Some(2));
    assert_eq!(rib.delete_interface(2), 1);
    assert_eq!(rib.lookup(to), None);
    assert_eq!(rib.route(net("192.0.2.0/24")), None);
}
