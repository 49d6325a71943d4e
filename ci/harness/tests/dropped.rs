//! Packets that are dropped, each for a reason that is provoked here: that counter goes up and no other, and
//! the buffers come back.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use core::time::Duration;
use std::io::{IoSlice, IoSliceMut};
use std::sync::Arc;

use dpdk::{PacketRings, Unseen};
use harness::module::compile;
use harness::path::syn_ack;
use harness::router::packet;
use harness::{LOCAL, LOCAL_MAC, LOCAL6, PEER, PEER_MAC, PEER6, World, frame, frame6};
use inet::command::{Command, SocketOption, Transport};
use inet::limits::NEIGHBORS_MAX;
use shm::{Ancillary, SocketEnd};
use types::{DropReason, MacAddr};
use wire::ipv4::{self, Protocol};
use wire::ndp::{NeighborAdvertisement, NeighborMessage};
use wire::tcp::{self, flag};
use wire::{IntoBytes, arp, ethernet, icmp, igmp};

const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
/// A group that nobody here has joined.
const STRANGE_GROUP: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 251);
/// The link's broadcast address.
const LINK: Ipv4Addr = Ipv4Addr::new(198, 18, 77, 255);
/// On the link, and silent.
const MUTE: Ipv4Addr = Ipv4Addr::new(198, 18, 77, 77);
const MUTE6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 77, 0, 0, 0, 77);
const THIEF_MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 66]);
/// For experiments (RFC 3692); nobody here has it.
const UNASSIGNED: Protocol = Protocol(253);
const PORT: u16 = 5353;
/// An interface beside the one of the world.
const SHOWN: u16 = 5;

/// Of these frames so many are dropped, for this reason alone, and so many answers are sent.
fn refused(world: &mut World, frames: &[Vec<u8>], reason: DropReason, count: u64, answers: usize) {
    // What may be said once a second may be said again.
    world.pass(Duration::from_secs(2));
    let mut sent = 0;
    let lost = world.dropped(|world| {
        assert!(frames.iter().all(|frame| world.inject(frame)));
        world.pass(Duration::from_millis(1));
        sent = world.sent().len();
    });
    assert_eq!((lost, sent), (Ok(vec![(reason, count)]), answers));
}

/// A packet of IPv4 in a frame to all of a group.
fn to_group(group: Ipv4Addr, protocol: Protocol, payload: &[u8]) -> Vec<u8> {
    let change = |header| ipv4::Header { protocol: protocol.0, ttl: 1, ..header };
    let mut frame = packet(PEER, group, payload, change);
    let mac = if group.is_multicast() { ipv4::multicast_mac(group) } else { MacAddr::BROADCAST };
    frame[..6].copy_from_slice(&mac.0);
    frame
}

/// An ARP request for our address in a frame from `station`.
fn asks(station: MacAddr, mac: MacAddr, address: Ipv4Addr) -> Vec<u8> {
    let kind = ethernet::EtherType::ARP;
    let header = ethernet::Header::new(MacAddr::BROADCAST, station, kind);
    [header.as_bytes(), arp::Packet::request(mac, address, LOCAL).emit().as_bytes()].concat()
}

fn syn(to: IpAddr) -> Vec<u8> {
    segment(to, 7, 0, flag::SYN)
}

fn segment(to: IpAddr, seq: u32, ack: u32, flags: u8) -> Vec<u8> {
    let head = tcp::Header::new(5000, PORT, seq, ack, flags, 0xffff);
    match to {
        IpAddr::V6(to) => frame6::tcp(to, head, &[], &[]),
        IpAddr::V4(to) => {
            let head = head.with_checksum(PEER, to, &[], &[]);
            if to == LOCAL {
                frame::ipv4(Protocol::TCP, head.as_bytes())
            } else {
                to_group(to, Protocol::TCP, head.as_bytes())
            }
        }
    }
}

fn neighbors_who_are_not_believed(world: &mut World) {
    let group = MacAddr([3, 0, 0, 0, 0, 1]);
    let forged = [
        asks(PEER_MAC, THIEF_MAC, PEER),
        asks(PEER_MAC, group, PEER),
        asks(PEER_MAC, PEER_MAC, STRANGE_GROUP),
    ];
    refused(world, &forged, DropReason::ArpSender, 3, 0);
    // The first claim is answered; who goes on is not.
    let claim = asks(THIEF_MAC, THIEF_MAC, LOCAL);
    refused(world, &[claim.clone(), claim], DropReason::ArpConflict, 2, 1);
    let message = NeighborMessage::solicitation(MUTE6, PEER_MAC);
    let others = frame6::neighbor(PEER6, LOCAL6, &message, size_of_val(&message));
    refused(world, &[others], DropReason::NdpNotForUs, 1, 0);
    let probes = [frame6::probe(LOCAL6), frame6::probe(LOCAL6)];
    refused(world, &probes, DropReason::NdpConflict, 1, 1);
    let what =
        NeighborAdvertisement { target: LOCAL6, router: false, solicited: false, overriding: true };
    let message = NeighborMessage::advertisement(what, THIEF_MAC);
    let claim = frame6::neighbor(PEER6, ALL_NODES, &message, size_of_val(&message));
    refused(world, &[claim], DropReason::NdpConflict, 1, 0);
}

fn packets_that_nobody_here_is_meant_by(world: &mut World) {
    let nobodys = to_group(STRANGE_GROUP, Protocol::UDP, &[0; 8]);
    refused(world, &[nobodys], DropReason::Ipv4NotMember, 1, 0);
    let report = igmp::Header::listening(STRANGE_GROUP).with_checksum(&[]);
    let report = to_group(igmp::ALL_SYSTEMS, Protocol::IGMP, report.as_bytes());
    refused(world, &[report], DropReason::IgmpType, 1, 0);
    let unknown = frame::ipv4(UNASSIGNED, b"hello");
    refused(world, &[unknown], DropReason::Ipv4Protocol, 1, 1);
    let echo = icmp::Header::echo_request(7, 1).with_checksum(&[]);
    let to_all = [LINK, Ipv4Addr::BROADCAST, igmp::ALL_SYSTEMS]
        .map(|group| to_group(group, Protocol::ICMP, echo.as_bytes()));
    refused(world, &to_all, DropReason::IcmpBroadcast, 3, 0);
    let to_all = [LINK.into(), igmp::ALL_SYSTEMS.into(), ALL_NODES.into()].map(syn);
    refused(world, &to_all, DropReason::TcpAddress, 3, 0);
    refused(world, &[syn(LOCAL.into())], DropReason::TcpNoListener, 1, 1);
}

/// Datagrams for who does not read: what he has and what is dropped is all there was.
fn a_socket_that_is_full(world: &mut World) {
    let (socket, cell, _descriptor) = world.bind_udp(PORT).unwrap();
    let option = SocketOption::ReceiveBuffer(0);
    let _ = world.call(|call| Command::SetOption { call, socket, option }).unwrap();
    let lost = world.dropped(|world| {
        assert!((0..20).all(|_| world.inject(&frame::udp(9, PORT, &[7; 1000]))));
        world.pass(Duration::from_millis(1));
    });
    let memory = world.memory(cell).unwrap();
    let mut room = [0; 1000];
    let read = || memory.receive().read_datagram(&mut [IoSliceMut::new(&mut room)], false);
    let had = core::iter::from_fn(read).count() as u64;
    assert!(had > 0);
    assert_eq!(lost, Ok(vec![(DropReason::UdpSocketFull, 20 - had)]));
    world.send(Command::Close { socket, reset: false });
    world.breathe();
}

/// A handshake is complete, and the listener's client has as many sockets as it may.
fn a_client_that_is_full(world: &mut World) {
    let client = world.add_client().unwrap();
    let (descriptor, _theirs) = SocketEnd::pair().unwrap();
    let descriptor = Arc::new(descriptor);
    let open = |call| {
        let (transport, descriptor) = (Transport::Datagram, Arc::clone(&descriptor));
        Command::Open { call, client, transport, descriptor }
    };
    while world.call(open).is_ok() {}
    world.listen_as(client, PORT, 8);
    assert!(world.inject(&segment(LOCAL.into(), 7, 0, flag::SYN)));
    world.pass(Duration::from_millis(1));
    let iss = world.sent().iter().find_map(|frame| syn_ack(frame)).unwrap();
    let done = segment(LOCAL.into(), 8, iss.wrapping_add(1), flag::ACK);
    let lost = world.dropped(|world| {
        assert!(world.inject(&done));
        world.pass(Duration::from_millis(1));
    });
    assert_eq!(lost, Ok(vec![(DropReason::ClientMemory, 1)]));
    world.send(Command::Detach { client });
    world.breathe();
}

/// The answer to a request needs a buffer.
fn no_buffer_is_free(world: &mut World) {
    let lost = world.dropped(|world| {
        assert!(world.inject(&frame::arp(true)));
        let pool = world.frames().clone();
        let all: Vec<_> = core::iter::from_fn(|| pool.alloc()).collect();
        world.pass(Duration::from_millis(1));
        assert_eq!(world.sent().len(), 0);
        drop(all);
    });
    assert_eq!(lost, Ok(vec![(DropReason::MbufExhausted, 1)]));
}

/// A frame in two buffers is joined, if the first has room for it.
fn a_frame_in_pieces(world: &mut World) {
    let mut arrives = |filler: u16| {
        let mut answers = 0;
        let lost = world.dropped(|world| {
            let echo = frame::echo(&[7; 100]);
            let (head, tail) = echo.split_at(130);
            let [mut first, mut second] = [(); 2].map(|()| world.pool.alloc().unwrap());
            assert!(first.extend_from_slice(head) && second.extend_from_slice(tail));
            let _ = second.append(filler).unwrap();
            first.chain(second).unwrap();
            assert!(world.inject_buffers(first));
            world.pass(Duration::from_millis(1));
            answers = world.sent().len();
        });
        (lost, answers)
    };
    assert_eq!(arrives(0), (Ok(vec![]), 1));
    assert_eq!(arrives(1950), (Ok(vec![(DropReason::MbufChain, 1)]), 0));
}

/// The peer asks and takes no answers: those that are on their way and those dropped are all there were.
fn nobody_takes_what_is_sent(world: &mut World) {
    const ASKED: u64 = 2560;
    let mut sent = 0;
    let lost = world.dropped(|world| {
        for at in 1..=ASKED {
            assert!(world.inject(&frame::echo(b"hello")));
            if at % 16 == 0 {
                world.pass(Duration::from_millis(1));
            }
        }
        for _ in 0..100 {
            world.each_sent(|_| sent += 1);
            world.pass(Duration::from_millis(1));
        }
    });
    assert!(sent > 0);
    assert_eq!(lost, Ok(vec![(DropReason::TransmitQueueFull, ASKED - sent)]));
}

/// A datagram for one neighbour more than are known, all of whom have just been heard.
fn more_neighbors_than_are_kept(world: &mut World) {
    let (socket, cell, _descriptor) = world.bind_udp(PORT).unwrap();
    let first = Ipv4Addr::new(10, 0, 0, 1).to_bits();
    for address in (first..).take(NEIGHBORS_MAX).map(Ipv4Addr::from_bits) {
        assert!(world.inject(&asks(PEER_MAC, PEER_MAC, address)));
        if address.octets()[3] % 16 == 0 {
            world.pass(Duration::from_millis(1));
            world.each_sent(|_| {});
        }
    }
    world.pass(Duration::from_millis(1));
    world.each_sent(|_| {});
    let memory = world.memory(cell).unwrap();
    let lost = world.dropped(|world| {
        let (to, text) = (Some(SocketAddr::new(MUTE.into(), 9)), [IoSlice::new(b"hello")]);
        memory.send().push_datagram(to, &Ancillary::default(), &text).unwrap();
        world.pass(Duration::from_millis(1));
    });
    assert_eq!(lost, Ok(vec![(DropReason::NeighborTableFull, 1)]));
    world.send(Command::Close { socket, reset: false });
    world.breathe();
}

fn no_application_sees_it(world: &mut World) {
    let mut ports = [(); 2].map(|()| world.attach("net_ring", "").unwrap());
    let [(rx, mut peer), (_, tx)] = ports.each_mut().map(|port| port.take_queues(0).unwrap());
    let rings = PacketRings::create("ring.rx0", world.frames(), Unseen::Drop).unwrap();
    world.send(Command::AddPort { interface: SHOWN, rx: rx.shown_to(rings), tx });
    world.breathe();
    let lost = world.dropped(|world| {
        let mut burst = dpdk::Burst::new();
        burst.extend((0..3).map(|_| {
            let mut mbuf = world.pool.alloc().unwrap();
            assert!(mbuf.extend_from_slice(&frame::echo(b"hello")));
            mbuf
        }));
        assert_eq!(peer.tx_burst(&mut burst), 3);
        world.pass(Duration::from_millis(1));
    });
    assert_eq!(lost, Ok(vec![(DropReason::ApplicationUnseen, 3)]));
    let _ = world.call(|call| Command::RemovePort { call, interface: SHOWN }).unwrap();
}

fn what_a_module_drops_and_does_wrong(world: &mut World) {
    let module = compile("dropped.c", env!("CARGO_TARGET_TMPDIR")).unwrap();
    world.load_protocol(&module).unwrap();
    refused(world, &[frame::echo(b"hello")], DropReason::FilterOutput, 1, 0);
    let header = ethernet::Header::new(LOCAL_MAC, PEER_MAC, ethernet::EtherType(0x88b5));
    for (reason, what) in [(DropReason::ModuleFrame, b"sl"), (DropReason::ModuleNoSocket, b"nt")] {
        let frames = what.map(|byte| [header.as_bytes(), &[byte; 46]].concat());
        refused(world, &frames, reason, 2, 0);
    }
}

// EAL starts once in a process.
#[test]
fn each_drop_has_its_reason() {
    let mut world = World::new().unwrap();
    let _ = world.inject(&frame6::solicitation(LOCAL6));
    neighbors_who_are_not_believed(&mut world);
    packets_that_nobody_here_is_meant_by(&mut world);
    a_socket_that_is_full(&mut world);
    a_client_that_is_full(&mut world);
    no_buffer_is_free(&mut world);
    a_frame_in_pieces(&mut world);
    nobody_takes_what_is_sent(&mut world);
    more_neighbors_than_are_kept(&mut world);
    no_application_sees_it(&mut world);
    what_a_module_drops_and_does_wrong(&mut world);
    assert_eq!(world.wind_up(), 0, "buffers left");
}
