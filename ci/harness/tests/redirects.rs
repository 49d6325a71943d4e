//! Redirects: whose are believed by a host.

use core::net::{Ipv4Addr, Ipv6Addr};
use core::time::Duration;
use std::sync::Arc;

use fib::{Ipv4Net, Ipv6Net, Rib, Route};
use harness::{LOCAL, LOCAL_MAC, LOCAL6, PEER, PEER_MAC, World, frame, frame6};
use inet::command::{Command, DeadHop, Event, Redirected};
use inet::network::Network;
use types::DropReason;
use wire::ethernet::EtherType;
use wire::ipv4::Protocol;
use wire::{icmp, icmp6};
use zerocopy::IntoBytes;

/// Interface of the wire.
const WIRE: u16 = 1;
/// Behind the router, and the router that is nearer to it.
const FAR: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 1);
const NEARER: Ipv4Addr = Ipv4Addr::new(198, 18, 77, 3);
const FAR6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb9, 0, 0, 0, 0, 0, 1);
const ROUTER6: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);
const NEARER6: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 3);

/// The peer is the router to everywhere.
fn configure(world: &mut World, change: impl FnOnce(&mut Network)) {
    let mut network = harness::network();
    let (mut rib, mut rib6) = (Rib::new(), Rib::new());
    let near = Ipv4Net::containing(LOCAL, 24).unwrap();
    rib.add(Route::connected(near, WIRE)).unwrap();
    rib.add(Route::gateway(Ipv4Net::DEFAULT, WIRE, PEER)).unwrap();
    rib6.add(Route::gateway(Ipv6Net::DEFAULT, WIRE, ROUTER6)).unwrap();
    (network.fib, network.fib6) = (rib.publish(), rib6.publish());
    change(&mut network);
    world.send(Command::Network(Arc::new(network)));
}

/// What is told of such a message, or why it is dropped.
fn told(world: &mut World, frame: &[u8], reason: DropReason) -> Option<Redirected> {
    let drops = |world: &World| world.worker.counters().drops.value(reason as usize);
    let before = drops(world);
    world.events.clear();
    assert!(world.inject(frame));
    world.pass(Duration::from_millis(100));
    let said = world.events.drain(..).find_map(|event| match event {
        Event::Redirected(said) => Some(said),
        _ => None,
    });
    assert_eq!(drops(world) - before, u64::from(said.is_none()));
    said
}

/// "To this host go by this router", from the peer.
fn redirect(to: Ipv4Addr, via: Ipv4Addr, source: Ipv4Addr) -> Vec<u8> {
    let quoted = wire::ipv4::Header::new(source, to, Protocol::UDP, 8).unwrap().with_checksum();
    let quoted = [quoted.as_bytes(), &[0; 8]].concat();
    let header = icmp::Header::redirect(icmp::Code::HOST_REDIRECT, via).with_checksum(&quoted);
    frame::ipv4(Protocol::ICMP, &[header.as_bytes(), &quoted].concat())
}

fn redirect6(from: Ipv6Addr, to: Ipv6Addr, target: Ipv6Addr) -> Vec<u8> {
    let header = icmp6::Header::new(icmp6::Type::REDIRECT, icmp6::Code::ZERO, 0);
    let body = [target.octets(), to.octets()].concat();
    let packet = frame6::header(from, LOCAL6, Protocol::ICMPV6, &[0; 40]).with_hop_limit(255);
    let header = header.with_checksum(from, LOCAL6, &body);
    frame6::packet(&packet, &[header.as_bytes(), &body].concat())
}

fn the_router_in_use_is_believed(world: &mut World) {
    configure(world, |_| {});
    let said =
        Redirected { interface: WIRE, from: PEER.into(), to: FAR.into(), via: Some(NEARER.into()) };
    let frame = redirect(FAR, NEARER, LOCAL);
    assert_eq!(told(world, &frame, DropReason::IcmpRedirect), Some(said));
    let said = Redirected {
        interface: WIRE,
        from: ROUTER6.into(),
        to: FAR6.into(),
        via: Some(NEARER6.into()),
    };
    let frame = redirect6(ROUTER6, FAR6, NEARER6);
    assert_eq!(told(world, &frame, DropReason::NdpRedirect), Some(said));
    let on_link = redirect6(ROUTER6, FAR6, FAR6);
    let said = told(world, &on_link, DropReason::NdpRedirect).unwrap();
    assert_eq!((said.to, said.via), (FAR6.into(), None));
}

fn nobody_else_is_and_not_what_cannot_be(world: &mut World) {
    configure(world, |_| {});
    for (to, via, source, why) in [
        (FAR, Ipv4Addr::new(192, 0, 2, 1), LOCAL, "a router that is not on the link"),
        (FAR, LOCAL, LOCAL, "ourselves"),
        (FAR, PEER, LOCAL, "itself"),
        (FAR, Ipv4Addr::new(198, 18, 77, 255), LOCAL, "everybody"),
        (NEARER, PEER, LOCAL, "it is on the link and no router's business"),
        (FAR, NEARER, PEER, "not about a packet of ours"),
    ] {
        let frame = redirect(to, via, source);
        assert_eq!(told(world, &frame, DropReason::IcmpRedirect), None, "{why}");
    }
    let frame = redirect6(NEARER6, FAR6, NEARER6);
    assert_eq!(told(world, &frame, DropReason::NdpRedirect), None, "it is not in use");
    // The route leads by another router.
    configure(world, |network| {
        let mut rib = Rib::new();
        rib.add(Route::connected(Ipv4Net::containing(LOCAL, 24).unwrap(), WIRE)).unwrap();
        rib.add(Route::gateway(Ipv4Net::DEFAULT, WIRE, Ipv4Addr::new(198, 18, 77, 9))).unwrap();
        network.fib = rib.publish();
    });
    let frame = redirect(FAR, NEARER, LOCAL);
    assert_eq!(told(world, &frame, DropReason::IcmpRedirect), None, "it is not in use");
}

fn nobody_is_where_packets_are_passed_on_or_the_operator_does_not_want_it(world: &mut World) {
    let frames = [redirect(FAR, NEARER, LOCAL), redirect6(ROUTER6, FAR6, NEARER6)];
    for change in [
        |network: &mut Network| (network.host.forward, network.host.forward6) = (true, true),
        |network: &mut Network| {
            (network.host.redirects_believed, network.host.redirects6_believed) = (false, false);
        },
    ] {
        configure(world, change);
        assert_eq!(told(world, &frames[0], DropReason::IcmpRedirect), None);
        assert_eq!(told(world, &frames[1], DropReason::NdpRedirect), None);
    }
}

/// Router advertisements that are told of.
fn advertisements(world: &mut World) -> usize {
    let header = icmp6::Header::new(icmp6::Type::ROUTER_ADVERTISEMENT, icmp6::Code::ZERO, 0);
    let body = [0; 8];
    let packet = frame6::header(ROUTER6, LOCAL6, Protocol::ICMPV6, &[0; 16]).with_hop_limit(255);
    let header = header.with_checksum(ROUTER6, LOCAL6, &body);
    world.events.clear();
    assert!(world.inject(&frame6::packet(&packet, &[header.as_bytes(), &body].concat())));
    world.pass(Duration::from_millis(1));
    world.events.drain(..).filter(|event| matches!(event, Event::Heard { .. })).count()
}

fn a_flood_of_them_silences_no_router(world: &mut World) {
    configure(world, |network| {
        network.interfaces[usize::from(WIRE)].link6.accepts_routers = true;
    });
    let drops =
        |world: &World| world.worker.counters().drops.value(DropReason::ControlQueueFull as usize);
    let before = drops(world);
    for _ in 0..1000 {
        assert!(world.inject(&redirect6(ROUTER6, FAR6, NEARER6)));
        world.pass(Duration::from_micros(10));
    }
    assert!(drops(world) > before, "there is a limit");
    assert_eq!(advertisements(world), 1);
}

/// Hops that are told to be dead after a packet from far has been answered by way of the nearer router.
fn dead(world: &mut World) -> Vec<DeadHop> {
    let echo = icmp::Header::echo_request(7, 1).with_checksum(&[]);
    let header = wire::ipv4::Header::new(FAR, LOCAL, Protocol::ICMP, icmp::Header::LEN).unwrap();
    let packet = [header.with_checksum().as_bytes(), echo.as_bytes()].concat();
    let ethernet = wire::ethernet::Header::new(LOCAL_MAC, PEER_MAC, EtherType::IPV4);
    world.events.clear();
    assert!(world.inject(&[ethernet.as_bytes(), &packet].concat()));
    (0..80).for_each(|_| world.pass(Duration::from_millis(100)));
    let hop = |event| if let Event::HopDead(hop) = event { Some(hop) } else { None };
    world.events.drain(..).filter_map(hop).collect()
}

fn a_router_that_was_named_and_does_not_answer_is_told_of(world: &mut World) {
    let by_nearer = |network: &mut Network| {
        let mut rib = Rib::new();
        rib.add(Route::connected(Ipv4Net::containing(LOCAL, 24).unwrap(), WIRE)).unwrap();
        rib.add(Route::gateway(Ipv4Net::host(FAR), WIRE, NEARER)).unwrap();
        network.fib = rib.publish();
    };
    configure(world, by_nearer);
    assert_eq!(dead(world), [], "the operator has named it");
    let hop = DeadHop { interface: WIRE, address: NEARER.into() };
    configure(world, |network| {
        by_nearer(network);
        let _new = network.redirected.insert(hop);
    });
    assert_eq!(dead(world), [hop]);
}

// EAL starts once in a process.
#[test]
fn redirects() {
    let mut world = World::new().unwrap();
    the_router_in_use_is_believed(&mut world);
    nobody_else_is_and_not_what_cannot_be(&mut world);
    nobody_is_where_packets_are_passed_on_or_the_operator_does_not_want_it(&mut world);
    a_flood_of_them_silences_no_router(&mut world);
    a_router_that_was_named_and_does_not_answer_is_told_of(&mut world);
    assert_eq!(world.wind_up(), 0, "buffers left");
}
