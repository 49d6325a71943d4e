//! IPv6 in one worker: who has which address, echo, datagrams, and what is refused.

use core::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use core::time::Duration;
use std::io::{IoSlice, IoSliceMut};

use autoconf::State;
use harness::{LOCAL_LINK6, LOCAL_MAC, LOCAL6, PEER_MAC, PEER6, World, frame6};
use inet::command::{Command, Event, Transport};
use inet::network::Address6;
use shm::{Ancillary, CellId};
use types::{DropReason, MacAddr};
use wire::ipv4::Protocol;
use wire::ndp::Ndp;
use wire::{ethernet, icmp6, ipv6, udp};

const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
/// Answers only once.
const SILENT: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 77, 0, 0, 0, 9);
/// Nobody answers for it.
const MUTE: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 77, 0, 0, 0, 10);

/// What the worker has sent, by Ethernet destination.
fn sent6(world: &mut World) -> Vec<(MacAddr, ipv6::Header, Vec<u8>)> {
    let parse = |frame: Vec<u8>| {
        let frame = ethernet::Frame::parse(&frame).ok()?;
        let packet = ipv6::Packet::parse(frame.payload).ok()?;
        Some((frame.header.dst(), *packet.header, packet.payload.to_vec()))
    };
    world.sent().into_iter().filter_map(parse).collect()
}

fn message(sent: &(MacAddr, ipv6::Header, Vec<u8>)) -> icmp6::Message<'_> {
    let message = icmp6::Message::parse(&sent.2).unwrap();
    message.verify(sent.1.src(), sent.1.dst()).unwrap();
    message
}

fn exchange(world: &mut World, frame: &[u8]) -> Vec<(MacAddr, ipv6::Header, Vec<u8>)> {
    assert!(world.inject(frame));
    world.pass(Duration::from_millis(1));
    sent6(world)
}

fn drops(world: &World, reason: DropReason) -> u64 {
    world.worker.counters().drops.value(reason as usize)
}

/// The frame is dropped for this reason, and nothing is said about it.
fn refused(world: &mut World, frame: &[u8], reason: DropReason) {
    let before = drops(world, reason);
    let answers = exchange(world, frame);
    assert_eq!(drops(world, reason) - before, 1, "{reason:?}");
    assert!(answers.is_empty(), "{reason:?}: {answers:?}");
}

fn open_udp6(world: &mut World, local: SocketAddr) -> (CellId, inet::SocketId) {
    let (socket, cell, descriptor) = world.open(Transport::Datagram).unwrap();
    core::mem::forget(descriptor);
    let _ = world.call(|call| Command::Bind { call, socket, local }).unwrap();
    (cell, socket)
}

fn receive(world: &World, cell: CellId) -> Option<(Vec<u8>, Option<SocketAddr>)> {
    let mut room = [0; 2048];
    let into = &mut [IoSliceMut::new(&mut room)];
    let got = world.memory(cell)?.receive().read_datagram(into, false)?;
    Some((room.get(..got.len)?.to_vec(), got.from))
}

fn send(world: &World, cell: CellId, to: SocketAddr, payload: &[u8]) {
    let memory = world.memory(cell).unwrap();
    let payload = [IoSlice::new(payload)];
    memory.send().push_datagram(Some(to), &Ancillary::default(), &payload).unwrap();
}

fn neighbours(world: &mut World) {
    // The peer asks for us, so its station is known from then on.
    let answers = exchange(world, &frame6::solicitation(LOCAL6));
    let [answer] = answers.as_slice() else { panic!("{answers:?}") };
    assert_eq!((answer.0, answer.1.src(), answer.1.dst()), (PEER_MAC, LOCAL6, PEER6));
    assert_eq!(answer.1.hop_limit, 255);
    match Ndp::parse(&answer.1, &message(answer)).unwrap() {
        Ndp::NeighborAdvertisement(what, options) => {
            assert_eq!((what.target, what.solicited, what.overriding), (LOCAL6, true, true));
            assert_eq!(options.target_link_layer(), Some(LOCAL_MAC));
        }
        other => panic!("{other:?}"),
    }
    // Somebody without an address wants ours: all hear that it is taken.
    let answers = exchange(world, &frame6::probe(LOCAL6));
    let [answer] = answers.as_slice() else { panic!("{answers:?}") };
    assert_eq!((answer.1.src(), answer.1.dst()), (LOCAL6, ALL_NODES));
    refused(world, &frame6::solicitation(SILENT), DropReason::Ipv6NotForUs);
    refused(world, &frame6::advertisement(LOCAL6, PEER_MAC, true), DropReason::Ipv6Land);
    // Hop limit 255 proves that it came from the link.
    let mut far = frame6::solicitation(LOCAL6);
    far[14 + 7] = 254;
    refused(world, &far, DropReason::NdpInvalid);
}

fn echoes(world: &mut World) {
    for (to, from) in [(LOCAL6, LOCAL6), (LOCAL_LINK6, LOCAL_LINK6), (ALL_NODES, LOCAL6)] {
        for len in [0, 1, 56, 1400] {
            let payload: Vec<u8> = (0..len).map(|n| u8::try_from(n % 251).unwrap()).collect();
            let answers = exchange(world, &frame6::echo(to, &payload));
            let [answer] = answers.as_slice() else { panic!("{to} {len}: {answers:?}") };
            assert_eq!((answer.0, answer.1.src(), answer.1.dst()), (PEER_MAC, from, PEER6));
            let reply = message(answer);
            assert_eq!(reply.header.kind(), icmp6::Type::ECHO_REPLY);
            assert_eq!((reply.header.echo(), reply.body), ((7, 1), payload.as_slice()));
        }
    }
    let mut spoiled = frame6::echo(LOCAL6, b"spoiled");
    *spoiled.last_mut().unwrap() ^= 1;
    refused(world, &spoiled, DropReason::Icmp6Checksum);
}

fn datagrams(world: &mut World) {
    let any = SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), 5353);
    let (cell, _) = open_udp6(world, any);
    assert!(exchange(world, &frame6::udp(LOCAL6, 4000, 5353, b"to six")).is_empty());
    let (payload, got) = receive(world, cell).expect("it has arrived");
    assert_eq!(payload, b"to six");
    assert_eq!(got, Some(SocketAddr::new(PEER6.into(), 4000)));
    // There and back, to a neighbour that is known.
    let to = SocketAddr::new(PEER6.into(), 4000);
    send(world, cell, to, b"from six");
    world.pass(Duration::from_millis(1));
    let answers = sent6(world);
    let [answer] = answers.as_slice() else { panic!("{answers:?}") };
    assert_eq!((answer.0, answer.1.src(), answer.1.dst()), (PEER_MAC, LOCAL6, PEER6));
    let datagram = udp::Datagram::parse(&answer.2).unwrap();
    datagram.verify(LOCAL6, PEER6).unwrap();
    assert_eq!(datagram.payload, b"from six");
    // No checksum is no datagram over IPv6 (RFC 8200 8.1).
    let mut bare = frame6::udp(LOCAL6, 4000, 5353, b"bare");
    bare[14 + 40 + 6..14 + 40 + 8].fill(0);
    refused(world, &bare, DropReason::UdpChecksum);
    // A socket of IPv4 hears nothing of it.
    let _ = world.bind_udp(7000).unwrap();
    let before = drops(world, DropReason::UdpNoSocket);
    let answers = exchange(world, &frame6::udp(LOCAL6, 4000, 7000, b"nobody"));
    assert_eq!(drops(world, DropReason::UdpNoSocket) - before, 1);
    let [answer] = answers.as_slice() else { panic!("{answers:?}") };
    let error = message(answer);
    assert_eq!(error.header.kind(), icmp6::Type::DESTINATION_UNREACHABLE);
    assert_eq!(error.header.code(), icmp6::Code::PORT_UNREACHABLE);
    assert_eq!(error.quoted().unwrap().ports(), Some((4000, 7000)));
}

fn resolution(world: &mut World) {
    let any = SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), 5400);
    let (cell, _) = open_udp6(world, any);
    let to = SocketAddr::new(SILENT.into(), 9);
    send(world, cell, to, b"anybody?");
    world.pass(Duration::from_millis(1));
    let asked = sent6(world);
    let [ask] = asked.as_slice() else { panic!("{asked:?}") };
    let group = ipv6::solicited_node(SILENT);
    assert_eq!((ask.0, ask.1.dst()), (ipv6::multicast_mac(group), group));
    let ndp = Ndp::parse(&ask.1, &message(ask)).unwrap();
    assert!(matches!(ndp, Ndp::NeighborSolicitation(target, options)
        if target == SILENT && options.source_link_layer() == Some(LOCAL_MAC)));
    // It answers after all, and what waited leaves.
    let station = MacAddr([2, 0, 0, 0, 0, 9]);
    let sent = exchange(world, &frame6::advertisement(SILENT, station, true));
    let [datagram] = sent.as_slice() else { panic!("{sent:?}") };
    assert_eq!((datagram.0, datagram.1.dst()), (station, SILENT));
    // Nobody may take a known neighbour's place without the right to.
    let thief = frame6::advertisement(SILENT, MacAddr([2, 0, 0, 0, 0, 66]), false);
    refused(world, &thief, DropReason::NdpInvalid);
    // A neighbour that never answers is asked a few times, and then the packet is dropped.
    let to = SocketAddr::new(MUTE.into(), 9);
    send(world, cell, to, b"nobody");
    for _ in 0..100 {
        world.pass(Duration::from_millis(100));
    }
    assert_eq!(drops(world, DropReason::NeighborUnresolved), 1);
    let asked = sent6(world);
    assert!((2..=5).contains(&asked.len()), "{asked:?}");
}

/// Who was heard of long ago is asked himself, and meanwhile nobody takes his place (RFC 4861 7.3.3).
fn still_there(world: &mut World) {
    let station = MacAddr([2, 0, 0, 0, 0, 9]);
    let (cell, _) = open_udp6(world, SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), 5401));
    let to = SocketAddr::new(SILENT.into(), 9);
    let sent = |world: &mut World| {
        send(world, cell, to, b"still there?");
        world.pass(Duration::from_millis(1));
        sent6(world)
    };
    assert_eq!(sent(world).len(), 1, "heard of just now");
    world.pass(Duration::from_secs(61));
    let both = sent(world);
    let [datagram, ask] = both.as_slice() else { panic!("{both:?}") };
    assert_eq!((datagram.0, datagram.1.dst()), (station, SILENT));
    assert_eq!((ask.0, ask.1.dst()), (station, SILENT), "asked himself");
    assert!(matches!(Ndp::parse(&ask.1, &message(ask)), Ok(Ndp::NeighborSolicitation(SILENT, _))));
    let thief = frame6::advertisement(SILENT, MacAddr([2, 0, 0, 0, 0, 66]), false);
    refused(world, &thief, DropReason::NdpInvalid);
    assert!(exchange(world, &frame6::confirmation(SILENT)).is_empty());
    world.pass(Duration::from_secs(30));
    let one = sent(world);
    let [datagram] = one.as_slice() else { panic!("he has confirmed it: {one:?}") };
    assert_eq!(datagram.0, station);
    // Of somebody unknown it says nothing.
    refused(world, &frame6::confirmation(MUTE), DropReason::NdpInvalid);
}

fn refusals(world: &mut World) {
    let datagram = frame6::udp(LOCAL6, 1, 2, b"x");
    let payload = datagram[54..].to_vec();
    let from = |src: Ipv6Addr, dst| {
        frame6::packet(&frame6::header(src, dst, Protocol::UDP, &payload), &payload)
    };
    refused(world, &from(ALL_NODES, LOCAL6), DropReason::Ipv6Source);
    refused(world, &from(Ipv6Addr::LOCALHOST, LOCAL6), DropReason::Ipv6Source);
    refused(world, &from(Ipv6Addr::UNSPECIFIED, LOCAL6), DropReason::Ipv6Source);
    refused(world, &from(PEER6, Ipv6Addr::LOCALHOST), DropReason::Ipv6Source);
    let mapped = Ipv4Addr::new(10, 0, 0, 1).to_ipv6_mapped();
    refused(world, &from(mapped, LOCAL6), DropReason::Ipv6Source);
    refused(world, &from(LOCAL6, LOCAL6), DropReason::Ipv6Land);
    refused(world, &from(PEER6, SILENT), DropReason::Ipv6NotForUs);
    // What nobody understands is said to its sender, with where it stands (RFC 4443 3.4).
    let header = frame6::header(PEER6, LOCAL6, Protocol(253), &payload);
    let before = drops(world, DropReason::Ipv6Protocol);
    let answers = exchange(world, &frame6::packet(&header, &payload));
    assert_eq!(drops(world, DropReason::Ipv6Protocol) - before, 1);
    let [answer] = answers.as_slice() else { panic!("{answers:?}") };
    let problem = message(answer);
    assert_eq!(problem.header.kind(), icmp6::Type::PARAMETER_PROBLEM);
    assert_eq!(problem.header.code(), icmp6::Code::UNKNOWN_NEXT_HEADER);
    assert_eq!(problem.header.rest.get(), 6);
}

/// A server's words without end leave whoever asks for an address of ours to be heard.
fn a_flood_does_not_hide_duplicates(world: &mut World) {
    let tentative = Address6 { state: State::Tentative, ..Address6::preferred(MUTE, 64) };
    world.configure(|interface| {
        interface.dhcp = true;
        interface.addresses6.push(tentative);
    });
    let heard = |world: &mut World, frame: &[u8]| {
        world.events.clear();
        assert!(exchange(world, frame).len() <= 1);
        world.events.iter().filter(|event| matches!(event, Event::Heard { .. })).count()
    };
    let said = harness::frame::udp(67, 68, b"a lease");
    let refused = drops(world, DropReason::ControlQueueFull);
    let all: usize = (0..200).map(|_| heard(world, &said)).sum();
    assert!((1..200).contains(&all), "{all}");
    assert_eq!(drops(world, DropReason::ControlQueueFull) - refused, 200 - all as u64);
    assert_eq!(heard(world, &frame6::probe(MUTE)), 1);
    // What comes from no server's port is any datagram, and on a link without a client all are.
    world.pass(Duration::from_secs(2));
    assert_eq!(heard(world, &harness::frame::udp(68, 68, b"no server")), 0);
    world.configure(|_| {});
    assert_eq!(heard(world, &said), 0);
}

/// An address that others may have is used, and nobody is displaced by that (RFC 4429).
fn optimistic(world: &mut World) {
    let all = |world: &mut World, state: State| {
        world.configure(|interface| interface.addresses6.iter_mut().for_each(|a| a.state = state));
    };
    all(world, State::Optimistic);
    let answers = exchange(world, &frame6::solicitation(LOCAL6));
    let [answer] = answers.as_slice() else { panic!("{answers:?}") };
    assert!(
        matches!(Ndp::parse(&answer.1, &message(answer)), Ok(Ndp::NeighborAdvertisement(what, _))
        if what.target == LOCAL6 && what.solicited && !what.overriding)
    );
    let heard = |world: &mut World, frame: &[u8]| {
        world.events.clear();
        assert!(exchange(world, frame).is_empty());
        world.events.iter().filter(|event| matches!(event, Event::Heard { .. })).count()
    };
    assert_eq!(heard(world, &frame6::probe(LOCAL6)), 1);
    let theirs = |dst| {
        let message = frame6::advertisement(LOCAL6, MacAddr([2, 0, 0, 0, 0, 66]), true);
        let body = &message[14 + 40 + 8..];
        let head = icmp6::Header::new(icmp6::Type(136), icmp6::Code::ZERO, 1 << 29);
        let message =
            [wire::IntoBytes::as_bytes(&head.with_checksum(LOCAL6, dst, body)), body].concat();
        let header = frame6::header(LOCAL6, dst, Protocol::ICMPV6, &message).with_hop_limit(255);
        frame6::packet(&header, &message)
    };
    assert_eq!(heard(world, &theirs(ALL_NODES)), 1, "somebody has it");
    // Nobody unknown is asked for from there; what waits goes when the address is ours.
    let (cell, _) = open_udp6(world, SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), 5402));
    let unknown = Ipv6Addr::new(0x2001, 0xdb8, 0, 77, 0, 0, 0, 11);
    send(world, cell, SocketAddr::new(unknown.into(), 9), b"later");
    world.pass(Duration::from_millis(1));
    assert_eq!(sent6(world).len(), 0);
    all(world, State::Preferred);
    world.pass(Duration::from_millis(1100));
    let sent = sent6(world);
    let [ask] = sent.as_slice() else { panic!("{sent:?}") };
    assert!(
        matches!(Ndp::parse(&ask.1, &message(ask)), Ok(Ndp::NeighborSolicitation(to, _)) if to == unknown)
    );
    let answer = frame6::advertisement(unknown, MacAddr([2, 0, 0, 0, 0, 11]), true);
    let sent = exchange(world, &answer);
    let [datagram] = sent.as_slice() else { panic!("{sent:?}") };
    assert_eq!((datagram.1.src(), datagram.1.dst()), (LOCAL6, unknown));
    assert_eq!(heard(world, &theirs(ALL_NODES)), 0, "it is ours for sure");
}

/// One world, for EAL starts once in a process.
#[test]
fn ipv6() {
    let mut world = World::new().unwrap();
    neighbours(&mut world);
    echoes(&mut world);
    datagrams(&mut world);
    resolution(&mut world);
    refusals(&mut world);
    still_there(&mut world);
    a_flood_does_not_hide_duplicates(&mut world);
    optimistic(&mut world);
    assert_eq!(world.wind_up(), 0, "buffers left");
}
