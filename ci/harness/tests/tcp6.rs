//! TCP over IPv6 in one worker: both opens, text both ways, what routers say, and listeners of both
//! families.

use core::net::{Ipv6Addr, SocketAddr};
use core::time::Duration;
use std::io::{IoSlice, IoSliceMut};

use harness::{LOCAL, LOCAL_MAC, LOCAL6, PEER, PEER_MAC, PEER6, World, frame, frame6};
use inet::SocketId;
use inet::command::{Command, Event, ListenerId, Outcome, SocketOption, Transport};
use shm::{CellId, TxFlags};
use types::DropReason;
use wire::tcp::{Segment, flag};
use wire::{ethernet, icmp6, ipv4, ipv6, tcp};

const MSS: [u8; 4] = [2, 4, 0x05, 0xa0];

/// A segment that the worker has sent to the peer.
#[derive(Clone, Debug, PartialEq)]
struct Sent {
    header: tcp::Header,
    options: Vec<u8>,
    text: Vec<u8>,
    packet: Vec<u8>,
}

/// What the worker has sent over IPv6, its checksums right.
fn sent6(world: &mut World) -> Vec<Sent> {
    let parse = |frame: Vec<u8>| {
        let frame = ethernet::Frame::parse(&frame).ok()?;
        assert_eq!((frame.header.dst(), frame.header.src()), (PEER_MAC, LOCAL_MAC));
        let packet = ipv6::Packet::parse(frame.payload).ok()?;
        let hosts = (packet.header.src(), packet.header.dst());
        assert_eq!(hosts, (LOCAL6, PEER6));
        let segment = Segment::parse(packet.payload).ok()?;
        segment.verify(LOCAL6, PEER6).expect("the checksum is right");
        Some(Sent {
            header: *segment.header,
            options: segment.options.to_vec(),
            text: segment.text.to_vec(),
            packet: frame.payload.to_vec(),
        })
    };
    world.sent().into_iter().filter_map(parse).collect()
}

fn exchange(world: &mut World, frame: &[u8]) -> Vec<Sent> {
    assert!(world.inject(frame));
    world.pass(Duration::from_millis(1));
    sent6(world)
}

fn head(ports: (u16, u16), (seq, ack): (u32, u32), flags: u8) -> tcp::Header {
    tcp::Header::new(ports.0, ports.1, seq, ack, flags, 60_000)
}

fn only(sent: &[Sent]) -> &Sent {
    let [one] = sent else { panic!("{sent:?}") };
    one
}

fn listen6(world: &mut World, port: u16, options: Vec<SocketOption>) {
    let local = SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), port);
    let listener = ListenerId(port.into());
    let _ = world
        .call(|call| Command::Listen { call, listener, client: 0, local, backlog: 8, options })
        .unwrap();
}

fn established(world: &mut World) -> (SocketId, CellId, SocketAddr, SocketAddr) {
    let at = world.events.iter().position(|event| matches!(event, Event::Established { .. }));
    match world.events.remove(at.expect("a connection waits")) {
        Event::Established { socket, cell, local, remote, .. } => (socket, cell, local, remote),
        _ => unreachable!("it was looked for"),
    }
}

fn receive(world: &World, cell: CellId) -> Vec<u8> {
    let mut room = [0; 4096];
    let len =
        world.memory(cell).unwrap().receive().read(&mut [IoSliceMut::new(&mut room)], false, false);
    room[..len].to_vec()
}

fn send(world: &World, cell: CellId, text: &[u8]) {
    let memory = world.memory(cell).unwrap();
    let pushed = memory.send().push(&[IoSlice::new(text)], 0, TxFlags::NONE).unwrap();
    assert_eq!(pushed, text.len());
}

/// A connection from the peer; its port, and the sequence numbers both sides have come to.
fn accept(world: &mut World, ports: (u16, u16)) -> (CellId, SocketId, u32, u32) {
    let syn = frame6::tcp(LOCAL6, head(ports, (1_000, 0), flag::SYN), &MSS, &[]);
    let answers = exchange(world, &syn);
    let answer = only(&answers);
    assert_eq!(answer.header.flags(), flag::SYN | flag::ACK);
    assert_eq!(answer.header.ack.get(), 1_001);
    // 1500 bytes less both headers.
    assert_eq!(answer.options.get(..4), Some(&MSS[..]));
    let theirs = answer.header.seq.get().wrapping_add(1);
    let ack = frame6::tcp(LOCAL6, head(ports, (1_001, theirs), flag::ACK), &[], &[]);
    assert!(exchange(world, &ack).is_empty());
    let (socket, cell, local, remote) = established(world);
    assert_eq!(local, SocketAddr::new(LOCAL6.into(), ports.1));
    assert_eq!(remote, SocketAddr::new(PEER6.into(), ports.0));
    (cell, socket, 1_001, theirs)
}

fn text_goes_both_ways(world: &mut World) {
    let ports = (40_000, 80);
    let (cell, socket, ours, theirs) = accept(world, ports);
    let text =
        frame6::tcp(LOCAL6, head(ports, (ours, theirs), flag::ACK | flag::PSH), &[], b"to six");
    let _ = exchange(world, &text);
    assert_eq!(receive(world, cell), b"to six");
    send(world, cell, b"from six");
    world.pass(Duration::from_millis(1));
    let answers = sent6(world);
    let answer = only(&answers);
    assert_eq!((answer.text.as_slice(), answer.header.ack.get()), (&b"from six"[..], ours + 6));
    let theirs = theirs.wrapping_add(8);
    let fin = frame6::tcp(LOCAL6, head(ports, (ours + 6, theirs), flag::ACK | flag::FIN), &[], &[]);
    let answers = exchange(world, &fin);
    assert_eq!(only(&answers).header.ack.get(), ours + 7);
    let _ =
        world.call(|call| Command::Shutdown { call, socket, read: false, write: true }).unwrap();
    let answers = sent6(world);
    assert_eq!(only(&answers).header.flags(), flag::FIN | flag::ACK);
    let last =
        frame6::tcp(LOCAL6, head(ports, (ours + 7, theirs.wrapping_add(1)), flag::ACK), &[], &[]);
    assert!(exchange(world, &last).is_empty());
    // Nobody is there any more, and nobody listens next door.
    let answers = exchange(world, &last);
    assert_eq!(only(&answers).header.flags(), flag::RST);
    let stranger = frame6::tcp(LOCAL6, head((40_000, 81), (1, 0), flag::SYN), &MSS, &[]);
    let answers = exchange(world, &stranger);
    assert_eq!(only(&answers).header.flags(), flag::RST | flag::ACK);
}

/// RFC 8201: what a router says of a segment in flight makes segments smaller, but not below 1280 bytes.
fn routers_are_heard(world: &mut World) {
    let ports = (40_001, 80);
    let (cell, socket, _, _) = accept(world, ports);
    send(world, cell, &[7; 4_000]);
    world.pass(Duration::from_millis(1));
    let sent = sent6(world);
    let lens: Vec<usize> = sent.iter().map(|segment| segment.text.len()).collect();
    assert_eq!(lens, [1_440, 1_440, 1_120]);
    let too_big = |quoted: &Sent, mtu: u32| {
        let head = icmp6::Header::new(icmp6::Type::PACKET_TOO_BIG, icmp6::Code::ZERO, mtu);
        frame6::icmp6(PEER6, LOCAL6, head, &quoted.packet[..200])
    };
    let again = exchange(world, &too_big(&sent[0], 1_400));
    assert_eq!(again.first().map(|segment| segment.text.len()), Some(1_340));
    let again = exchange(world, &too_big(&again[0], 600));
    assert_eq!(again.first().map(|segment| segment.text.len()), Some(1_220));
    // Of a segment that fits everywhere nobody says so in earnest.
    let before = world.worker.counters().drops.value(DropReason::Icmp6Quoted as usize);
    assert!(exchange(world, &too_big(&again[0], 600)).is_empty());
    let dropped = world.worker.counters().drops.value(DropReason::Icmp6Quoted as usize);
    assert_eq!(dropped - before, 1);
    world.send(Command::Close { socket, reset: true });
    world.pass(Duration::from_millis(1));
    let _ = sent6(world);
}

fn a_listener_serves_both_families(world: &mut World) {
    listen6(world, 90, Vec::new());
    listen6(world, 91, vec![SocketOption::V6Only(true)]);
    let syn = |dst_port| {
        let (src_port, flags) = (41_000, flag::SYN);
        let segment =
            frame::Segment { src_port, dst_port, seq: 1, ack: 0, flags, options: &MSS, text: &[] };
        frame::tcp(&segment)
    };
    let mut answer = |port| {
        assert!(world.inject(&syn(port)));
        world.pass(Duration::from_millis(1));
        let frames = world.sent();
        let frame = frames.first().expect("an answer");
        let frame = ethernet::Frame::parse(frame).unwrap();
        let packet = ipv4::Packet::parse(frame.payload).unwrap();
        assert_eq!((packet.header.src(), packet.header.dst()), (LOCAL, PEER));
        Segment::parse(packet.payload).unwrap().header.flags()
    };
    assert_eq!(answer(90), flag::SYN | flag::ACK);
    assert_eq!(answer(91), flag::RST | flag::ACK);
}

fn active_open(world: &mut World) {
    let (socket, cell, descriptor) = world.open(Transport::Stream).unwrap();
    let local = SocketAddr::new(LOCAL6.into(), 50_000);
    let remote = SocketAddr::new(PEER6.into(), 9);
    let connect =
        |call| Command::Connect { call, socket, local, remote: Some(remote), fast_open: false };
    assert!(matches!(world.call(connect).unwrap(), Outcome::Done));
    let answers = sent6(world);
    let syn = only(&answers);
    assert_eq!((syn.header.flags(), syn.options.get(..4)), (flag::SYN, Some(&MSS[..])));
    let (ports, theirs) = ((9, 50_000), syn.header.seq.get().wrapping_add(1));
    let syn_ack = frame6::tcp(LOCAL6, head(ports, (500, theirs), flag::SYN | flag::ACK), &MSS, &[]);
    let answers = exchange(world, &syn_ack);
    assert_eq!(only(&answers).header.ack.get(), 501);
    send(world, cell, b"hello");
    world.pass(Duration::from_millis(1));
    let answers = sent6(world);
    assert_eq!(only(&answers).text, b"hello");
    drop(descriptor);
}

/// A peer that can't be reached is told at once, as over IPv4.
fn unreachable_peers(world: &mut World) {
    let (socket, cell, descriptor) = world.open(Transport::Stream).unwrap();
    let local = SocketAddr::new(LOCAL6.into(), 50_001);
    let remote = SocketAddr::new(PEER6.into(), 10);
    let connect =
        |call| Command::Connect { call, socket, local, remote: Some(remote), fast_open: false };
    assert!(matches!(world.call(connect).unwrap(), Outcome::Done));
    let answers = sent6(world);
    let kind = icmp6::Type::DESTINATION_UNREACHABLE;
    let head = icmp6::Header::new(kind, icmp6::Code::NO_ROUTE, 0);
    let error = frame6::icmp6(PEER6, LOCAL6, head, &only(&answers).packet);
    let _ = exchange(world, &error);
    let errno = world.memory(cell).unwrap().take_error();
    assert_eq!(errno, Some(rustix::io::Errno::NETUNREACH.raw_os_error()));
    drop(descriptor);
}

/// One world, for EAL starts once in a process.
#[test]
fn tcp_over_ipv6() {
    let mut world = World::new().unwrap();
    // The peer asks for us, so its station is known from then on.
    assert!(world.inject(&frame6::solicitation(LOCAL6)));
    world.pass(Duration::from_millis(1));
    let _ = world.sent();
    listen6(&mut world, 80, Vec::new());
    text_goes_both_ways(&mut world);
    routers_are_heard(&mut world);
    a_listener_serves_both_families(&mut world);
    active_open(&mut world);
    unreachable_peers(&mut world);
    assert_eq!(world.wind_up(), 0, "buffers left");
    let usage = world.worker.usage();
    assert_eq!((usage.flows, usage.sockets, usage.pairs), (0, 0, 0));
}
