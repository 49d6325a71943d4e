//! What a peer or a client does over and over leaves nothing behind.

use core::net::{Ipv4Addr, SocketAddr};
use core::time::Duration;

use harness::frame::{self, Segment};
use harness::{LOCAL, World};
use inet::SocketId;
use inet::command::{Command, ListenerId, SocketOption, Transport};
use inet::limits::RESETS_PER_SECOND;
use wire::tcp::flag;

/// A connection attempt from a fixed port.
fn connect(world: &mut World, socket: SocketId, port: u16, to: Ipv4Addr) {
    let local = SocketAddr::new(LOCAL.into(), port);
    let remote = Some(SocketAddr::new(to.into(), 80));
    let connect = |call| Command::Connect { call, socket, local, remote, fast_open: false };
    let _ = world.call(connect).unwrap();
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

const SYN: Segment<'static> = Segment {
    src_port: 6000,
    dst_port: 81,
    seq: 7,
    ack: 0,
    flags: flag::SYN,
    options: &[],
    text: &[],
};

/// Wrong acknowledgements of a SYN-ACK: RSTs are limited as those to strangers are.
fn guesses_at_a_half_open_connection(world: &mut World) {
    world.listen(SYN.dst_port, 128);
    let _ = world.inject(&frame::tcp(&SYN));
    world.pass(Duration::from_secs(1));
    world.each_sent(|_| {});
    let before = world.worker.counters().tcp.resets_withheld.value();
    let mut resets = 0;
    for guess in 0..1_000 {
        let ack = Segment { seq: 8, ack: guess, flags: flag::ACK, ..SYN };
        let _ = world.inject(&frame::tcp(&ack));
        world.breathe();
        world.each_sent(|frame| {
            resets += u64::from(frame.get(47).is_some_and(|f| f & flag::RST != 0))
        });
    }
    let withheld = world.worker.counters().tcp.resets_withheld.value() - before;
    assert!(resets > 0 && resets <= u64::from(RESETS_PER_SECOND), "{resets} RSTs in no time");
    assert_eq!(resets + withheld, 1_000);
    let _ = world.inject(&frame::tcp(&Segment { seq: 8, flags: flag::RST, ..SYN }));
    world.pass(Duration::from_secs(2));
}

/// SYNs with text for a client that can take no connection: each gives its place in the limit of
/// unproven connections back, and the client that can gets its own.
fn fast_opens_that_fail(world: &mut World) {
    let client = 1;
    let local = SocketAddr::from((LOCAL, 82));
    let options = vec![SocketOption::FastOpen(2)];
    let listener = ListenerId(82);
    let backlog = 16;
    let _ = world
        .call(|call| Command::Listen { call, listener, client, local, backlog, options })
        .unwrap();
    let asks = Segment { dst_port: 82, options: &[34, 2, 1, 1], ..SYN };
    let _ = world.inject(&frame::tcp(&asks));
    world.breathe();
    let answers = world.sent();
    let kind =
        answers.iter().find_map(|f| f.windows(2).position(|w| w == [34, 10]).map(|at| &f[at..]));
    let options = [&kind.expect("a cookie")[..10], &[1, 1]].concat();
    let _ = world.inject(&frame::tcp(&Segment { seq: 8, flags: flag::RST, options: &[], ..asks }));
    for port in 0..10 {
        let syn = Segment { src_port: 7_000 + port, options: &options, text: b"hello", ..asks };
        let _ = world.inject(&frame::tcp(&syn));
        world.breathe();
    }
    let opened = world.worker.counters().tcp.fast_opens_received.value();
    assert_eq!((opened, world.worker.usage().sockets), (0, 0));
    assert_eq!(world.add_client().unwrap(), client);
    let syn = Segment { src_port: 7_100, options: &options, text: b"hello", ..asks };
    let _ = world.inject(&frame::tcp(&syn));
    world.breathe();
    assert_eq!(world.worker.counters().tcp.fast_opens_received.value(), 1);
    world.send(Command::Detach { client });
    world.pass(Duration::from_secs(1));
    let _ = world.inject(&frame::tcp(&Segment { seq: 13, flags: flag::RST, options: &[], ..syn }));
    world.send(Command::Unlisten { listener });
    world.pass(Duration::from_secs(1));
    world.each_sent(|_| {});
}

// EAL starts once per process, so all share one test.
#[test]
fn nothing_piles_up() {
    let mut world = World::new().expect("a world without hugepages and without root");
    opened_and_reset(&mut world);
    a_scan_of_the_link(&mut world);
    listening_while_connecting(&mut world);
    guesses_at_a_half_open_connection(&mut world);
    fast_opens_that_fail(&mut world);
    assert_eq!(world.wind_up(), 0, "buffers left behind");
}
