//! What a client posts and what it calls take effect in the order in which it has done them.

use core::net::SocketAddr;
use core::time::Duration;
use std::io::IoSlice;

use harness::{LOCAL, PEER, World, frame};
use inet::SocketId;
use inet::command::{Command, SocketOption};
use shm::{Ancillary, SocketMemory};
use wire::{ethernet, ipv4, udp};

/// Posts a datagram, without a breath of the worker's.
fn post(memory: &SocketMemory, to: Option<SocketAddr>) {
    memory.send().push_datagram(to, &Ancillary::default(), &[IoSlice::new(b"text")]).unwrap();
}

/// TTL and destination port of each datagram that has left.
fn left(world: &mut World) -> Vec<(u8, u16)> {
    world.pass(Duration::from_millis(1));
    let frames = world.sent();
    let datagram = |frame: &Vec<u8>| {
        let packet = frame.get(ethernet::Header::LEN..)?;
        let (header, rest) = <ipv4::Header as zerocopy::FromBytes>::ref_from_prefix(packet).ok()?;
        let (datagram, _) = <udp::Header as zerocopy::FromBytes>::ref_from_prefix(rest).ok()?;
        Some((header.ttl, datagram.dst_port.get()))
    };
    frames.iter().filter_map(datagram).collect()
}

fn an_option_is_for_what_is_sent_later(world: &mut World, socket: SocketId, memory: &SocketMemory) {
    let to = Some(SocketAddr::new(PEER.into(), 9));
    for ttl in 1..=3 {
        let option = SocketOption::Ttl(ttl);
        let _ = world.call(|call| Command::SetOption { call, socket, option }).unwrap();
        post(memory, to);
    }
    assert_eq!(left(world), [(1, 9), (2, 9), (3, 9)]);
}

fn a_peer_is_for_what_is_sent_later(world: &mut World, socket: SocketId, memory: &SocketMemory) {
    let local = SocketAddr::new(LOCAL.into(), 5353);
    for port in [10, 11] {
        let remote = Some(SocketAddr::new(PEER.into(), port));
        let connect = |call| Command::Connect { call, socket, local, remote, fast_open: false };
        let _ = world.call(connect).unwrap();
        post(memory, None);
    }
    assert_eq!(left(world), [(3, 10), (3, 11)]);
}

// EAL starts once in a process.
#[test]
fn order() {
    let mut world = World::new().unwrap();
    assert!(world.inject(&frame::arp(true)));
    let _ = left(&mut world);
    let (socket, cell, _descriptor) = world.bind_udp(5353).unwrap();
    let memory = world.memory(cell).unwrap();
    an_option_is_for_what_is_sent_later(&mut world, socket, &memory);
    a_peer_is_for_what_is_sent_later(&mut world, socket, &memory);
    world.send(Command::Close { socket, reset: false });
    world.breathe();
    assert_eq!(world.wind_up(), 0, "buffers left");
}
