//! What the network says of datagrams: who hears of it, and how much of it is kept.

use core::net::{Ipv4Addr, SocketAddr};
use core::time::Duration;
use std::io::IoSlice;

use harness::{LOCAL, PEER, World, frame};
use inet::command::{Command, ExtendedError, MtuDiscover, Origin, Outcome, SocketOption};
use inet::limits::{ERRORS_MAX, QUOTED_MAX};
use inet::{Device, SocketId};
use rustix::io::Errno;
use shm::{Ancillary, SocketMemory, Status};
use types::DropReason;
use wire::ipv4::Protocol;
use wire::{icmp, ipv4};
use zerocopy::IntoBytes;

const PORT: u16 = 5353;

/// A test has one bound UDP socket.
fn with(world: &mut World, test: impl FnOnce(&mut World, SocketId, &SocketMemory)) {
    let (socket, cell, descriptor) = world.bind_udp(PORT).unwrap();
    let memory = world.memory(cell).unwrap();
    test(world, socket, &memory);
    world.send(Command::Close { socket, reset: false });
    world.breathe();
    drop(descriptor);
}

fn set(world: &mut World, socket: SocketId, option: SocketOption) {
    let _ = world.call(|call| Command::SetOption { call, socket, option }).unwrap();
}

fn asks(world: &mut World, socket: SocketId, on: bool) {
    set(world, socket, SocketOption::ReceiveErrors { v6: false, on });
}

/// A router says something of a datagram of ours with this text.
fn says(world: &mut World, kind: icmp::Type, code: u8, text: &[u8]) {
    let mut quoted = frame::quoted(Protocol::UDP, PORT, 9, 0);
    quoted.extend_from_slice(text);
    let header = icmp::Header::new(kind, icmp::Code(code), [0x0500, 1400]).with_checksum(&quoted);
    let message = [header.as_bytes(), &quoted].concat();
    assert!(world.inject(&frame::ipv4(Protocol::ICMP, &message)));
    world.pass(Duration::from_millis(1));
}

/// A router could pass on 1400 bytes of a datagram of ours.
fn says_too_long(world: &mut World) {
    let mut quoted = frame::quoted(Protocol::UDP, PORT, 9, 0);
    let (header, _) = <ipv4::Header as zerocopy::FromBytes>::mut_from_prefix(&mut quoted).unwrap();
    header.total_len.set(1500);
    let said = icmp::Header::fragmentation_needed(1400).with_checksum(&quoted);
    let message = [said.as_bytes(), &quoted].concat();
    assert!(world.inject(&frame::ipv4(Protocol::ICMP, &message)));
    world.pass(Duration::from_millis(1));
}

fn kept(world: &mut World, socket: SocketId) -> Option<ExtendedError> {
    match world.call(|call| Command::TakeExtendedError { call, socket }) {
        Ok(Outcome::ExtendedError(error)) => Some(*error),
        _ => None,
    }
}

fn number(world: &mut World, socket: SocketId) -> Option<Errno> {
    match world.call(|call| Command::Info { call, socket, take_error: true }).unwrap() {
        Outcome::Info(info) => info.error,
        other => panic!("{other:?}"),
    }
}

fn who_has_not_asked_is_told_nothing(world: &mut World, socket: SocketId, memory: &SocketMemory) {
    for kind in [icmp::Type::TIME_EXCEEDED, icmp::Type::DESTINATION_UNREACHABLE] {
        says(world, kind, 1, b"text");
        assert_eq!((number(world, socket), kept(world, socket)), (None, None));
    }
    assert_eq!(memory.status(), Some(Status::empty()));
    assert_eq!(world.worker.counters().drops.value(DropReason::IcmpQuoted as usize), 2);
}

fn who_has_asked_hears_all_of_it(world: &mut World, socket: SocketId, memory: &SocketMemory) {
    asks(world, socket, true);
    let to = SocketAddr::new(PEER.into(), 9);
    for (kind, code, errno, info) in [
        (icmp::Type::TIME_EXCEEDED, 0, Errno::HOSTUNREACH, 0),
        (icmp::Type::DESTINATION_UNREACHABLE, 3, Errno::CONNREFUSED, 0),
        (icmp::Type::DESTINATION_UNREACHABLE, 8, Errno::NONET, 0),
        (icmp::Type::PARAMETER_PROBLEM, 0, Errno::PROTO, 5),
    ] {
        says(world, kind, code, b"text");
        assert!(memory.status().unwrap().contains(Status::ERRORS));
        let error = kept(world, socket).unwrap();
        assert_eq!((error.errno, error.origin, error.info), (errno, Origin::Icmp, info));
        assert_eq!((error.kind, error.to), ((kind.0, code), to));
        assert_eq!((error.offender, &*error.quoted), (Some(PEER.into()), &b"text"[..]));
        assert_eq!((error.ancillary.local, error.ancillary.ttl), (Some(LOCAL.into()), Some(64)));
        assert!(!memory.status().unwrap().contains(Status::ERRORS), "all are read");
        assert_eq!(number(world, socket), None, "with the last one its number goes");
    }
}

fn the_next_ones_number_is_told_again(world: &mut World, socket: SocketId, _: &SocketMemory) {
    asks(world, socket, true);
    says(world, icmp::Type::DESTINATION_UNREACHABLE, 3, b"one");
    says(world, icmp::Type::TIME_EXCEEDED, 0, b"two");
    assert_eq!(number(world, socket), Some(Errno::HOSTUNREACH));
    assert_eq!(&*kept(world, socket).unwrap().quoted, b"one");
    assert_eq!(number(world, socket), Some(Errno::HOSTUNREACH));
    assert_eq!(&*kept(world, socket).unwrap().quoted, b"two");
    assert_eq!((number(world, socket), kept(world, socket)), (None, None));
}

fn the_next_one_wakes_who_waits(world: &mut World, socket: SocketId, memory: &SocketMemory) {
    asks(world, socket, true);
    memory.receive().arm();
    says(world, icmp::Type::DESTINATION_UNREACHABLE, 3, b"one");
    says(world, icmp::Type::TIME_EXCEEDED, 0, b"two");
    assert!(memory.receive().has_token());
    // As recv() does, which returns the number.
    assert_eq!(memory.take_error(), Some(Errno::HOSTUNREACH.raw_os_error()));
    memory.receive().arm();
    assert!(!memory.has_error() && !memory.receive().has_token());
    assert_eq!(&*kept(world, socket).unwrap().quoted, b"one");
    world.pass(Duration::from_millis(1));
    assert!(memory.has_error() && memory.receive().has_token());
    assert_eq!(&*kept(world, socket).unwrap().quoted, b"two");
}

fn no_more_is_kept_than_may_be(world: &mut World, socket: SocketId, _: &SocketMemory) {
    asks(world, socket, true);
    for _ in 0..ERRORS_MAX + 9 {
        says(world, icmp::Type::TIME_EXCEEDED, 0, b"text");
    }
    let count = core::iter::from_fn(|| kept(world, socket)).count();
    assert_eq!(count, ERRORS_MAX);
    says(world, icmp::Type::TIME_EXCEEDED, 0, b"text");
    assert!(kept(world, socket).is_some(), "there is room again");
}

fn no_more_of_a_packet_is_kept_than_a_message_should_quote(
    world: &mut World,
    socket: SocketId,
    _: &SocketMemory,
) {
    asks(world, socket, true);
    for len in [QUOTED_MAX, QUOTED_MAX + 1] {
        says(world, icmp::Type::TIME_EXCEEDED, 0, &vec![7; len]);
        assert_eq!(kept(world, socket).unwrap().quoted.len(), QUOTED_MAX);
    }
}

fn what_has_come_goes_with_the_option(world: &mut World, socket: SocketId, memory: &SocketMemory) {
    asks(world, socket, true);
    says(world, icmp::Type::TIME_EXCEEDED, 0, b"text");
    asks(world, socket, false);
    assert!(!memory.status().unwrap().contains(Status::ERRORS));
    asks(world, socket, true);
    assert_eq!(kept(world, socket), None);
}

fn what_is_too_long_is_told_by_the_stack(
    world: &mut World,
    socket: SocketId,
    memory: &SocketMemory,
) {
    set(world, socket, SocketOption::MtuDiscover(MtuDiscover::Do));
    asks(world, socket, true);
    let to = SocketAddr::new(PEER.into(), 9);
    let text = IoSlice::new(&[0; 1473]);
    memory.send().push_datagram(Some(to), &Ancillary::default(), &[text]).unwrap();
    // At once: the worker looks at what was sent before it answers.
    let error = kept(world, socket).unwrap();
    assert_eq!((error.errno, error.origin, error.info), (Errno::MSGSIZE, Origin::Local, 1500));
    let unconnected = SocketAddr::new(PEER.into(), 0);
    assert_eq!((error.to, error.offender, error.quoted.len()), (unconnected, None, 0));
    says(world, icmp::Type::DESTINATION_UNREACHABLE, 4, &[0; 1000]);
    assert_eq!(kept(world, socket), None, "it would have fitted");
    says_too_long(world);
    let error = kept(world, socket).unwrap();
    assert_eq!((error.errno, error.origin, error.info), (Errno::MSGSIZE, Origin::Icmp, 1400));
}

fn who_is_bound_to_another_interface_is_not_told(
    world: &mut World,
    elsewhere: SocketId,
    memory: &SocketMemory,
) {
    set(world, elsewhere, SocketOption::Device(Device::of(7)));
    asks(world, elsewhere, true);
    let (here, _, descriptor) = world.bind_udp(PORT).unwrap();
    set(world, here, SocketOption::Device(Device::of(1)));
    asks(world, here, true);
    // The other one was there first.
    says(world, icmp::Type::DESTINATION_UNREACHABLE, 3, b"secret");
    says_too_long(world);
    assert_eq!((number(world, elsewhere), kept(world, elsewhere)), (None, None));
    assert_eq!(memory.status(), Some(Status::empty()));
    assert_eq!(&*kept(world, here).unwrap().quoted, b"secret");
    assert_eq!(kept(world, here).unwrap().errno, Errno::MSGSIZE);
    world.send(Command::Close { socket: here, reset: false });
    says(world, icmp::Type::DESTINATION_UNREACHABLE, 3, b"secret");
    assert_eq!(kept(world, elsewhere), None, "nobody else has the port");
    drop(descriptor);
}

fn who_is_bound_to_another_interface_is_not_told_that_nobody_answers(
    world: &mut World,
    elsewhere: SocketId,
    _: &SocketMemory,
) {
    set(world, elsewhere, SocketOption::Device(Device::of(7)));
    asks(world, elsewhere, true);
    let (here, cell, descriptor) = world.bind_udp(PORT).unwrap();
    set(world, here, SocketOption::Device(Device::of(1)));
    asks(world, here, true);
    let nobody = Ipv4Addr::from_bits(PEER.to_bits() ^ 0x44);
    let memory = world.memory(cell).unwrap();
    let to = Some(SocketAddr::new(nobody.into(), 9));
    let text = IoSlice::new(b"secret");
    memory.send().push_datagram(to, &Ancillary::default(), &[text]).unwrap();
    for _ in 0..50 {
        world.pass(Duration::from_millis(100));
    }
    assert_eq!(kept(world, elsewhere), None);
    let error = kept(world, here).unwrap();
    assert_eq!((error.errno, &*error.quoted), (Errno::HOSTUNREACH, &b"secret"[..]));
    world.send(Command::Close { socket: here, reset: false });
    world.breathe();
    drop(descriptor);
}

// EAL starts once in a process.
#[test]
fn errors() {
    let mut world = World::new().unwrap();
    with(&mut world, who_has_not_asked_is_told_nothing);
    with(&mut world, who_has_asked_hears_all_of_it);
    with(&mut world, the_next_ones_number_is_told_again);
    with(&mut world, the_next_one_wakes_who_waits);
    with(&mut world, no_more_is_kept_than_may_be);
    with(&mut world, no_more_of_a_packet_is_kept_than_a_message_should_quote);
    with(&mut world, what_has_come_goes_with_the_option);
    with(&mut world, what_is_too_long_is_told_by_the_stack);
    with(&mut world, who_is_bound_to_another_interface_is_not_told);
    with(&mut world, who_is_bound_to_another_interface_is_not_told_that_nobody_answers);
    assert_eq!(world.wind_up(), 0, "buffers left");
}
