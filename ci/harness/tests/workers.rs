//! One of two workers: what it has taken in and the other one is concerned by.

use core::net::{Ipv4Addr, SocketAddr};
use core::time::Duration;

use harness::frame::Segment;
use harness::{LOCAL, LOCAL6, PEER, PEER6, QUEUE_LEN, World, frame, frame6};
use inet::command::{Command, Handoff, Outcome};
use inet::network::RawKind;
use inet::steer;
use types::{DropReason, FlowKey};
use wire::ipv4::Protocol;
use wire::tcp::flag;
use wire::{ethernet, icmp, icmp6, ipv6};
use zerocopy::IntoBytes;

/// This worker; the other one is the first.
const ME: u16 = 1;
const UNASSIGNED: Protocol = Protocol(253);

/// The messages that the other worker gets after this frame, from their IP header on.
fn handed(world: &mut World, frame: &[u8]) -> Vec<Vec<u8>> {
    assert!(world.inject(frame));
    world.pass(Duration::from_millis(1));
    let message = |handoff| match handoff {
        Handoff::Message { mbuf, .. } => Some(mbuf.data().to_vec()),
        Handoff::Raw { .. } => Some(Vec::new()),
        _ => None,
    };
    world.handed().into_iter().filter_map(message).collect()
}

/// It is handed over, as it has come, and once.
fn goes_over(world: &mut World, frame: &[u8]) {
    let packet = frame.get(ethernet::Header::LEN..).unwrap();
    let handed = handed(world, frame);
    assert_eq!(handed.len(), 1);
    assert_eq!(handed[0].get(..packet.len()), Some(packet));
}

/// Nobody gets it: it is dropped here for this reason.
fn is_dropped(world: &mut World, frame: &[u8], reason: DropReason) {
    let drops = |world: &World| world.worker.counters().drops.value(reason as usize);
    let before = drops(world);
    assert_eq!(handed(world, frame), Vec::<Vec<u8>>::new());
    assert_eq!(drops(world) - before, 1, "{reason:?}");
}

fn echo(kind: icmp::Type, id: u16) -> Vec<u8> {
    let header = icmp::Header::new(kind, icmp::Code::ZERO, [id, 1]).with_checksum(b"abcd");
    frame::ipv4(Protocol::ICMP, &[header.as_bytes(), b"abcd"].concat())
}

/// What a router says of an echo request of ours. Its first bytes are where others have their ports.
fn about_an_echo() -> Vec<u8> {
    frame::unreachable(icmp::Code::HOST_UNREACHABLE, &frame::quoted(Protocol::ICMP, 0x800, 0, 7))
}

fn too_big6(protocol: Protocol, segment: [u8; 8]) -> Vec<u8> {
    let header = ipv6::Header::new(LOCAL6, PEER6, protocol, segment.len()).unwrap();
    let quoted = [header.as_bytes(), &segment].concat();
    let head = icmp6::Header::new(icmp6::Type::PACKET_TOO_BIG, icmp6::Code(0), 40);
    frame6::icmp6(PEER6, LOCAL6, head, &quoted)
}

/// A port from which connections to port 9 of the peer belong to a worker.
fn port_of(worker: u16) -> u16 {
    let is_its = |port: &u16| {
        let flow = FlowKey {
            local_addr: LOCAL.into(),
            remote_addr: PEER.into(),
            local_port: *port,
            remote_port: 9,
        };
        steer::owner(&flow, 2) == worker
    };
    (1024..).find(is_its).unwrap()
}

fn pings_are_the_first_workers_business_and_other_messages_are_not(world: &mut World) {
    let is_open = |world: &mut World, ping| {
        let kinds = [false, true].map(|inet6| {
            let protocol = if inet6 { Protocol::ICMPV6 } else { Protocol::ICMP };
            RawKind { inet6, protocol: protocol.0, ping }
        });
        world.want_raw(&kinds);
    };
    is_dropped(world, &echo(icmp::Type::ECHO_REPLY, 7), DropReason::IcmpEchoReply);
    is_dropped(world, &about_an_echo(), DropReason::IcmpQuoted);
    is_open(world, true);
    goes_over(world, &echo(icmp::Type::ECHO_REPLY, 7));
    goes_over(world, &about_an_echo());
    goes_over(world, &too_big6(Protocol::ICMPV6, [128, 0, 0, 0, 0, 7, 0, 1]));
    is_dropped(world, &echo(icmp::Type::TIMESTAMP_REPLY, 7), DropReason::IcmpType);
    let stranger = frame::quoted(UNASSIGNED, 0, 0, 0);
    let about_stranger = frame::unreachable(icmp::Code::HOST_UNREACHABLE, &stranger);
    is_dropped(world, &about_stranger, DropReason::IcmpQuoted);
    let request = handed(world, &echo(icmp::Type::ECHO_REQUEST, 7));
    assert_eq!(
        (request.len(), world.sent().len()),
        (0, 1),
        "answered here, and nobody is shown it"
    );
    // Who listens to all of ICMP is shown everything, and nothing twice.
    is_open(world, false);
    for frame in [echo(icmp::Type::TIMESTAMP_REPLY, 7), echo(icmp::Type::ECHO_REPLY, 7)] {
        assert_eq!(handed(world, &frame), [Vec::new()]);
    }
    world.want_raw(&[]);
}

fn errors_go_to_the_worker_that_has_the_flow(world: &mut World) {
    let refused = |protocol, port| {
        let quoted = frame::quoted(protocol, port, 9, 1);
        frame::unreachable(icmp::Code::FRAGMENTATION_NEEDED, &quoted)
    };
    goes_over(world, &refused(Protocol::TCP, port_of(0)));
    is_dropped(world, &refused(Protocol::TCP, port_of(ME)), DropReason::IcmpQuoted);
    is_dropped(world, &refused(Protocol::UDP, 53), DropReason::IcmpQuoted);
    let local = SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), 53);
    let bound = |bound| Command::UdpOwner { local, v6_only: false, owner: 0, bound };
    world.send(bound(true));
    goes_over(world, &refused(Protocol::UDP, 53));
    world.send(bound(false));
    is_dropped(world, &refused(Protocol::UDP, 53), DropReason::IcmpQuoted);
}

fn what_is_handed_over_reaches_the_socket(world: &mut World) {
    let (socket, _, _descriptor) = world.bind_udp(53).unwrap();
    let (local, remote) = (SocketAddr::new(LOCAL.into(), 53), SocketAddr::new(PEER.into(), 9));
    let remote = Some(remote);
    let connect = |call| Command::Connect { call, socket, local, remote, fast_open: false };
    let _ = world.call(connect).unwrap();
    let quoted = frame::quoted(Protocol::UDP, 53, 9, 0);
    let frame = frame::unreachable(icmp::Code::PORT_UNREACHABLE, &quoted);
    let mut mbuf = world.pool.alloc().unwrap();
    assert!(mbuf.extend_from_slice(frame.get(ethernet::Header::LEN..).unwrap()));
    world.hand(Handoff::Message { interface: 1, mbuf });
    world.breathe();
    match world.call(|call| Command::Info { call, socket, take_error: true }).unwrap() {
        Outcome::Info(info) => assert_eq!(info.error, Some(rustix::io::Errno::CONNREFUSED)),
        other => panic!("{other:?}"),
    }
}

/// It takes nothing meanwhile.
fn what_the_other_worker_has_no_room_for_is_dropped(world: &mut World) {
    let syn = Segment {
        src_port: 9,
        dst_port: port_of(0),
        seq: 7,
        ack: 0,
        flags: flag::SYN,
        options: &[],
        text: &[],
    };
    let lost = world.dropped(|world| {
        for _ in 0..=QUEUE_LEN / 16 {
            assert!((0..16).all(|_| world.inject(&frame::tcp(&syn))));
            world.pass(Duration::from_millis(1));
        }
        assert_eq!(world.handed().len(), QUEUE_LEN);
    });
    assert_eq!(lost, Ok(vec![(DropReason::HandoffQueueFull, 16)]));
}

// EAL starts once in a process.
#[test]
fn one_of_two_workers() {
    let mut world = World::as_worker(None, ME, 2).unwrap();
    let _ = (world.sent(), world.handed());
    pings_are_the_first_workers_business_and_other_messages_are_not(&mut world);
    errors_go_to_the_worker_that_has_the_flow(&mut world);
    what_is_handed_over_reaches_the_socket(&mut world);
    what_the_other_worker_has_no_room_for_is_dropped(&mut world);
    assert_eq!(world.wind_up(), 0, "buffers left");
}
