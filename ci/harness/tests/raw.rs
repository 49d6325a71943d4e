//! Raw and ping sockets in one worker: what they hear, what they send, what they are told.

use core::net::{Ipv4Addr, SocketAddr};
use core::time::Duration;
use std::io::{IoSlice, IoSliceMut};

use harness::{LOCAL, LOCAL6, PEER, PEER6, World, frame, frame6};
use inet::command::{Command, Outcome, SocketOption};
use inet::network::RawKind;
use shm::{Ancillary, SocketMemory};
use types::DropReason;
use wire::ipv4::Protocol;
use wire::{ethernet, icmp, icmp6, ipv4};
use zerocopy::IntoBytes;

const ANY: SocketAddr = SocketAddr::new(core::net::IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);
const UNASSIGNED: Protocol = Protocol(253);

fn raw(protocol: Protocol) -> RawKind {
    RawKind { inet6: false, protocol: protocol.0, ping: false }
}

fn ping() -> RawKind {
    RawKind { ping: true, ..raw(Protocol::ICMP) }
}

/// A test has one such socket.
fn with(
    kind: RawKind,
    world: &mut World,
    test: impl FnOnce(&mut World, inet::SocketId, &SocketMemory),
) {
    let (socket, cell, descriptor) = world.open_raw(kind).unwrap();
    let memory = world.memory(cell).unwrap();
    let _ = world.sent();
    test(world, socket, &memory);
    world.send(Command::Close { socket, reset: false });
    world.breathe();
    drop(descriptor);
}

fn bind(world: &mut World, socket: inet::SocketId, port: u16) {
    let local = SocketAddr::new(ANY.ip(), port);
    let _ = world.call(|call| Command::Bind { call, socket, local }).unwrap();
}

fn connect(world: &mut World, socket: inet::SocketId, port: u16) {
    let local = SocketAddr::new(LOCAL.into(), port);
    let remote = Some(SocketAddr::new(PEER.into(), 0));
    let connect = |call| Command::Connect { call, socket, local, remote, fast_open: false };
    let _ = world.call(connect).unwrap();
}

fn set(world: &mut World, socket: inet::SocketId, option: SocketOption) {
    let _ = world.call(|call| Command::SetOption { call, socket, option }).unwrap();
}

fn arrives(world: &mut World, frame: &[u8]) {
    assert!(world.inject(frame));
    world.pass(Duration::from_millis(1));
}

fn heard(memory: &SocketMemory) -> Option<Vec<u8>> {
    let mut room = [0; 2048];
    let into = &mut [IoSliceMut::new(&mut room)];
    let got = memory.receive().read_datagram(into, false)?;
    Some(room.get(..got.len)?.to_vec())
}

fn send(world: &mut World, memory: &SocketMemory, payload: &[u8]) {
    let to = Some(SocketAddr::new(PEER.into(), 0));
    memory.send().push_datagram(to, &Ancillary::default(), &[IoSlice::new(payload)]).unwrap();
    world.pass(Duration::from_millis(1));
}

/// The IPv4 packets that were sent: header and payload.
fn sent(world: &mut World) -> Vec<(ipv4::Header, Vec<u8>)> {
    let parse = |frame: Vec<u8>| {
        let frame = ethernet::Frame::parse(&frame).ok()?;
        let packet = ipv4::Packet::parse(frame.payload).ok()?;
        packet.verify().ok()?;
        Some((*packet.header, packet.payload.to_vec()))
    };
    world.sent().into_iter().filter_map(parse).collect()
}

fn drops(world: &World, reason: DropReason) -> u64 {
    world.worker.counters().drops.value(reason as usize)
}

fn error(world: &mut World, socket: inet::SocketId) -> Option<rustix::io::Errno> {
    match world.call(|call| Command::Info { call, socket, take_error: true }).unwrap() {
        Outcome::Info(info) => info.error,
        other => panic!("{other:?}"),
    }
}

fn echo(kind: icmp::Type, id: u16) -> Vec<u8> {
    let header = icmp::Header::new(kind, icmp::Code::ZERO, [id, 1]).with_checksum(b"abcd");
    [header.as_bytes(), b"abcd"].concat()
}

fn hears_requests_that_are_answered(world: &mut World, _: inet::SocketId, memory: &SocketMemory) {
    let request = frame::ipv4(Protocol::ICMP, &echo(icmp::Type::ECHO_REQUEST, 7));
    arrives(world, &request);
    let packet = heard(memory).expect("the packet");
    assert_eq!(packet, request.get(ethernet::Header::LEN..).unwrap()[..packet.len()]);
    let [(_, answer)] = &sent(world)[..] else { panic!("no answer") };
    assert_eq!(answer, &echo(icmp::Type::ECHO_REPLY, 7));
}

fn keeps_silent_about_its_protocol(world: &mut World, _: inet::SocketId, memory: &SocketMemory) {
    arrives(world, &frame::ipv4(UNASSIGNED, b"hello"));
    assert!(heard(memory).unwrap().ends_with(b"hello"));
    assert_eq!(sent(world), [], "nothing is unreachable");
    arrives(world, &frame::ipv4(Protocol(252), b"hello"));
    assert_eq!(heard(memory), None);
    assert_eq!(sent(world).len(), 1, "another protocol is");
}

fn filter_keeps_types_away(world: &mut World, socket: inet::SocketId, memory: &SocketMemory) {
    let mut filter = [0; 8];
    filter[0] = 1 << icmp::Type::ECHO_REQUEST.0;
    set(world, socket, SocketOption::IcmpFilter(filter));
    arrives(world, &frame::ipv4(Protocol::ICMP, &echo(icmp::Type::ECHO_REQUEST, 7)));
    assert_eq!(heard(memory), None);
    arrives(world, &frame::ipv4(Protocol::ICMP, &echo(icmp::Type::TIMESTAMP_REPLY, 7)));
    assert!(heard(memory).is_some());
    assert_eq!(drops(world, DropReason::IcmpType), 0, "somebody has it");
}

fn full_queue_is_counted(world: &mut World, socket: inet::SocketId, _: &SocketMemory) {
    set(world, socket, SocketOption::ReceiveBuffer(0));
    for _ in 0..64 {
        arrives(world, &frame::ipv4(UNASSIGNED, &[0; 1000]));
    }
    assert!(drops(world, DropReason::RawSocketFull) > 0);
}

fn answers_reach_who_has_asked(world: &mut World, socket: inet::SocketId, memory: &SocketMemory) {
    bind(world, socket, 7);
    send(world, memory, &echo(icmp::Type::ECHO_REQUEST, 1));
    let [(header, request)] = &sent(world)[..] else { panic!("no request") };
    assert_eq!((header.src(), header.dst(), header.ttl), (LOCAL, PEER, 64));
    assert_eq!(request, &echo(icmp::Type::ECHO_REQUEST, 7), "with the socket's identifier");
    arrives(world, &frame::ipv4(Protocol::ICMP, &echo(icmp::Type::ECHO_REPLY, 8)));
    assert_eq!(heard(memory), None);
    assert_eq!(drops(world, DropReason::IcmpEchoReply), 1, "nobody has asked with 8");
    arrives(world, &frame::ipv4(Protocol::ICMP, &echo(icmp::Type::ECHO_REPLY, 7)));
    assert_eq!(heard(memory), Some(echo(icmp::Type::ECHO_REPLY, 7)));
    send(world, memory, &echo(icmp::Type::ECHO_REPLY, 7));
    assert_eq!(sent(world), [], "it sends requests alone");
    assert_eq!(error(world, socket), Some(rustix::io::Errno::INVAL));
}

fn connected_ones_learn_what_is_unreachable(
    world: &mut World,
    socket: inet::SocketId,
    memory: &SocketMemory,
) {
    connect(world, socket, 7);
    send(world, memory, &echo(icmp::Type::ECHO_REQUEST, 7));
    let [(header, request)] = &sent(world)[..] else { panic!("no request") };
    let quoted = [header.as_bytes(), request].concat();
    let mut others = quoted.clone();
    others[24] ^= 1;
    arrives(world, &frame::unreachable(icmp::Code::HOST_UNREACHABLE, &others));
    assert_eq!(error(world, socket), None, "another identifier");
    assert_eq!(drops(world, DropReason::IcmpQuoted), 1);
    arrives(world, &frame::unreachable(icmp::Code::HOST_UNREACHABLE, &quoted));
    assert_eq!(error(world, socket), Some(rustix::io::Errno::HOSTUNREACH));
}

fn headers_of_the_users_are_finished(
    world: &mut World,
    socket: inet::SocketId,
    memory: &SocketMemory,
) {
    set(world, socket, SocketOption::HeaderIncluded(true));
    let header = ipv4::Header::new(Ipv4Addr::UNSPECIFIED, PEER, UNASSIGNED, 0).unwrap();
    send(world, memory, &[header.with_ttl(3).as_bytes(), b"hello"].concat());
    let [(header, payload)] = &sent(world)[..] else { panic!("no packet") };
    assert_eq!((header.src(), header.ttl, header.protocol()), (LOCAL, 3, UNASSIGNED));
    assert_eq!(payload, b"hello");
    send(world, memory, &header.as_bytes()[..19]);
    assert_eq!(error(world, socket), Some(rustix::io::Errno::INVAL));
    send(world, memory, &[0x45; 1600]);
    assert_eq!(error(world, socket), Some(rustix::io::Errno::MSGSIZE));
}

fn segments_that_follow_each_other_are_heard_one_by_one(
    world: &mut World,
    _: inet::SocketId,
    memory: &SocketMemory,
) {
    for port in [1, 2] {
        let segment = wire::tcp::Header::new(port, 9, 1, 1, 0x10, 0xffff);
        let segment = segment.with_checksum(PEER, LOCAL, &[], b"text");
        arrives(world, &frame::ipv4(Protocol::TCP, &[segment.as_bytes(), b"text"].concat()));
    }
    assert_eq!([heard(memory), heard(memory)].iter().flatten().count(), 2);
}

fn checksums_of_ipv6_are_looked_at(world: &mut World, _: inet::SocketId, memory: &SocketMemory) {
    let head = icmp6::Header::new(icmp6::Type(200), icmp6::Code(0), 5);
    let good = frame6::icmp6(PEER6, LOCAL6, head, b"abcd");
    arrives(world, &good);
    assert!(heard(memory).unwrap().ends_with(b"abcd"), "without the IP header");
    let mut bad = good;
    *bad.last_mut().unwrap() ^= 1;
    arrives(world, &bad);
    assert_eq!(heard(memory), None);
}

// EAL starts once in a process.
#[test]
fn raw_sockets() {
    let icmp6 = RawKind { inet6: true, ..raw(Protocol::ICMPV6) };
    let mut world = World::new().unwrap();
    with(raw(Protocol::ICMP), &mut world, hears_requests_that_are_answered);
    with(raw(UNASSIGNED), &mut world, keeps_silent_about_its_protocol);
    with(raw(Protocol::ICMP), &mut world, filter_keeps_types_away);
    with(raw(UNASSIGNED), &mut world, full_queue_is_counted);
    with(ping(), &mut world, answers_reach_who_has_asked);
    with(ping(), &mut world, connected_ones_learn_what_is_unreachable);
    with(raw(Protocol(255)), &mut world, headers_of_the_users_are_finished);
    with(raw(Protocol::TCP), &mut world, segments_that_follow_each_other_are_heard_one_by_one);
    with(icmp6, &mut world, checksums_of_ipv6_are_looked_at);
    assert_eq!(world.wind_up(), 0, "buffers left");
}
