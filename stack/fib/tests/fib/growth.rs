//! Many routes: what changes is found, and nothing else is made anew.

use core::net::Ipv4Addr;

use fib::{Ipv4Net, NextHop, Rib, Route};

/// Numbers that look random and are the same each time.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u32 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 32) as u32
    }

    fn net(&mut self) -> Ipv4Net {
        let len = 8 + u8::try_from(self.next() % 25).unwrap();
        Ipv4Net::containing(Ipv4Addr::from_bits(self.next()), len).unwrap()
    }
}

/// The route with the longest prefix, by looking at each length.
fn expected(rib: &Rib, addr: Ipv4Addr) -> Option<NextHop> {
    let route = |len| rib.route(Ipv4Net::containing(addr, len).unwrap());
    (0..=32).rev().find_map(route).map(|route| route.next_hop)
}

#[test]
fn each_change_among_many_routes_is_seen_and_old_snapshots_stay() {
    let mut numbers = Numbers(7);
    let mut rib = Rib::new();
    let mut nets = Vec::new();
    for interface in 0..20_000_u32 {
        let net = numbers.net();
        if rib.add(Route::on_link(net, u16::try_from(interface % 100).unwrap())).is_ok() {
            nets.push(net);
        }
    }
    for round in 0..200 {
        let before = rib.publish();
        let probes: Vec<Ipv4Addr> = (0..50).map(|_| Ipv4Addr::from_bits(numbers.next())).collect();
        let seen: Vec<_> = probes.iter().map(|probe| before.lookup(*probe)).collect();
        let victim = nets.swap_remove(numbers.next() as usize % nets.len());
        let gone = rib.delete(victim).unwrap();
        let fib = rib.publish();
        for addr in probes.iter().copied().chain([victim.addr(), victim.last()]) {
            assert_eq!(fib.lookup(addr), expected(&rib, addr), "round {round}: {addr}");
        }
        rib.add(Route { next_hop: NextHop { interface: 999, gateway: None }, ..gone }).unwrap();
        assert_eq!(rib.publish().lookup(victim.addr()), expected(&rib, victim.addr()));
        nets.push(victim);
        let again: Vec<_> = probes.iter().map(|probe| before.lookup(*probe)).collect();
        assert_eq!(seen, again, "a snapshot changes");
    }
}

#[test]
fn next_hops_that_are_no_longer_used_make_room() {
    let mut rib = Rib::new();
    let net = Ipv4Net::containing(Ipv4Addr::new(10, 0, 0, 0), 8).unwrap();
    rib.add(Route::connected(net, 1)).unwrap();
    let far = Ipv4Net::containing(Ipv4Addr::new(192, 0, 2, 0), 24).unwrap();
    for host in 1..5_000_u32 {
        let gateway = Ipv4Addr::from_bits(0x0a00_0000 + host);
        rib.add(Route::gateway(far, 1, gateway)).unwrap();
        let hop = rib.publish().lookup(far.addr());
        assert_eq!(hop, Some(NextHop { interface: 1, gateway: Some(gateway) }));
        assert!(rib.publish().memory() < 64 << 10);
        let _ = rib.delete(far).unwrap();
    }
}
