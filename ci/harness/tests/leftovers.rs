//! What a peer or a client does over and over leaves nothing behind.

use core::net::{Ipv4Addr, SocketAddr};
use core::time::Duration;

use harness::frame::{self, Segment};
use harness::{LOCAL, World};
use inet::SocketId;
use inet::command::{Command, Transport};
use wire::tcp::flag;

/// A connection attempt from a fixed port.
fn connect(world: &mut World, socket: SocketId, port: u16, to: Ipv4Addr) {
    let local = SocketAddr::new(LOCAL.into(), port);
    let remote = Some(SocketAddr::new(to.into(), 80));
    let _ = world.call(|call| Command::Connect { call, socket, local, remote }).unwrap();
}

fn neighbor(host: u8) -> Ipv4Addr {
    Ipv4Addr::new(198, 18, 77, host)
}

/// SYN and RST in turn: the timers of the forgotten endpoints don't renew themselves.
fn opened_and_reset(world: &mut World) {
    world.listen(80, 128);
    let syn = Segment {
        src_port: 5000,
        dst_port: 80,
        seq: 7,
        ack: 0,
        flags: flag::SYN,
        options: &[],
        text: &[],
    };
    let reset = Segment { seq: 8, flags: flag::RST, ..syn };
    for _ in 0..100 {
        for _ in 0..10 {
            let _ = world.inject(&frame::tcp(&syn));
            let _ = world.inject(&frame::tcp(&reset));
        }
        let _ = world.inject(&frame::tcp(&syn));
        world.pass(Duration::from_millis(100));
        let _ = world.inject(&frame::tcp(&reset));
        world.each_sent(|_| {});
    }
    world.pass(Duration::from_millis(1));
    world.pass(Duration::from_secs(2));
    let usage = world.worker.usage();
    assert_eq!((usage.flows, usage.timers), (0, 0));
}

/// Connections to hosts that are not there: one timer for all neighbours.
fn a_scan_of_the_link(world: &mut World) {
    let mut descriptors = Vec::new();
    for host in 100..200 {
        let (socket, _, descriptor) = world.open(Transport::Stream).unwrap();
        connect(world, socket, 40_000 + u16::from(host), neighbor(host));
        descriptors.push((socket, descriptor));
        world.pass(Duration::from_millis(10));
    }
    assert!(world.worker.usage().timers <= 100 + 1, "a timer per connection and one for ARP");
    for _ in 0..50 {
        world.pass(Duration::from_millis(100));
        world.each_sent(|_| {});
    }
    assert_eq!(world.worker.usage().flows, 0, "all attempts have failed");
    for (socket, _) in descriptors {
        world.send(Command::Close { socket, reset: false });
    }
    world.breathe();
    assert_eq!(world.worker.usage().sockets, 0);
}

/// To listen while connecting: the connection stays what it is, and goes when it is closed.
fn listening_while_connecting(world: &mut World) {
    let (socket, _, _descriptor) = world.open(Transport::Stream).unwrap();
    connect(world, socket, 50_000, neighbor(1));
    world.send(Command::Acceptable { socket, waiting: true });
    world.breathe();
    world.send(Command::Close { socket, reset: true });
    world.breathe();
    let usage = world.worker.usage();
    assert_eq!((usage.flows, usage.sockets), (0, 0));
}

// EAL starts once per process, so all share one test.
#[test]
fn nothing_piles_up() {
    let mut world = World::new().expect("a world without hugepages and without root");
    opened_and_reset(&mut world);
    a_scan_of_the_link(&mut world);
    listening_while_connecting(&mut world);
    assert_eq!(world.wind_up(), 0, "buffers left behind");
}
