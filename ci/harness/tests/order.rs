//! What a client posts and what it calls take effect in the order in which it has done them.

use core::net::SocketAddr;
use core::time::Duration;
use std::io::IoSlice;
use std::os::fd::OwnedFd;
use std::sync::mpsc::SyncSender;

use harness::path::quiet;
use harness::peers::Peers;
use harness::{LOCAL, PEER, World, frame};
use inet::SocketId;
use inet::command::{Command, SocketOption, Transport};
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{RecvFlags, recv};
use shm::{Ancillary, SocketMemory};
use wire::tcp::flag;
use wire::{ethernet, ipv4, tcp, udp};

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

/// Somebody who accepts at a listening socket, beside a worker that breathes.
struct Acceptor {
    commands: SyncSender<Command>,
    socket: SocketId,
    memory: SocketMemory,
    descriptor: OwnedFd,
}

impl Acceptor {
    /// What the control plane says when a connection comes, or the last one has been taken.
    fn waiting(&self, waiting: bool) {
        self.commands.send(Command::Acceptable { socket: self.socket, waiting }).unwrap();
    }

    /// What a client does when it has accepted the last connection: the token is taken, another asked for.
    fn settle(&self) {
        let _ = recv(&self.descriptor, &mut [0; 64], RecvFlags::DONTWAIT);
        self.memory.receive().arm();
        self.waiting(false);
        let _ = self.memory.post_arm();
    }

    fn is_told(&self) -> bool {
        let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT;
        recv(&self.descriptor, &mut [0; 1], flags).is_ok()
    }
}

/// What the client posts may reach the worker in a breath that began before the connection was taken.
fn who_has_taken_the_last_connection_is_not_told_of_it_again(world: &mut World) {
    let (socket, cell, descriptor) = world.open(Transport::Stream).unwrap();
    let memory = world.memory(cell).unwrap();
    let acceptor = Acceptor { commands: world.control(), socket, memory, descriptor };
    let counters = world.worker.counters().clone();
    let user = std::thread::spawn(move || {
        let breaths = || counters.worker.breaths.value();
        let patience = Some(Duration::from_secs(10));
        set_socket_timeout(&acceptor.descriptor, Timeout::Recv, patience).unwrap();
        acceptor.settle();
        (0..1000).all(|_| {
            acceptor.waiting(true);
            assert!(recv(&acceptor.descriptor, &mut [0; 1], RecvFlags::PEEK).is_ok(), "not told");
            acceptor.settle();
            let now = breaths();
            while breaths() < now + 2 {
                std::thread::yield_now();
            }
            !acceptor.is_told()
        })
    });
    let nobodys = frame::udp(5000, 7, b"what makes a breath long");
    while !user.is_finished() {
        for _ in 0..32 {
            assert!(world.inject(&nobodys));
        }
        world.breathe();
        world.each_sent(|_| {});
    }
    assert!(user.join().unwrap());
}

/// A close that finds something unread resets the connection; what was sent before leaves before that, though the worker
/// hears of both in one breath.
fn what_was_sent_leaves_before_a_reset(world: &mut World) {
    world.listen(80, 1);
    let mut peers = Peers::new().unwrap();
    peers.open(world, (0, 80), 6000..6001, &mut quiet).unwrap();
    peers.inject(world, 0, flag::ACK | flag::PSH, b"unread").unwrap();
    quiet(world);
    world.each_sent(|_| {});
    peers.write(0, b"sent before").unwrap();
    world.send(Command::Close { socket: peers.list[0].socket, reset: false });
    quiet(world);
    let mut left = Vec::new();
    world.each_sent(|frame| {
        let packet = ipv4::Packet::parse(&frame[ethernet::Header::LEN..]).unwrap();
        let segment = tcp::Segment::parse(packet.payload).unwrap();
        left.push((segment.text.to_vec(), segment.flags() & flag::RST != 0));
    });
    assert_eq!(left, [(b"sent before".to_vec(), false), (Vec::new(), true)]);
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
    who_has_taken_the_last_connection_is_not_told_of_it_again(&mut world);
    what_was_sent_leaves_before_a_reset(&mut world);
    assert_eq!(world.wind_up(), 0, "buffers left");
}
