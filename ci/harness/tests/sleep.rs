//! Connections sleep when nothing goes on, and nobody can tell: not the peer, not the client.

use core::net::SocketAddr;
use core::time::Duration;
use std::io::IoSliceMut;
use std::sync::Arc;

use harness::frame::{self, Random};
use harness::peers::Peers;
use harness::{LOCAL, World};
use inet::command::{Command, ListenerId, Outcome, SocketOption, Transport};
use inet::limits::CLIENT_BUDGET;
use shm::{Share, SocketEnd};
use tcp::{DeliveryRate, Info};
use types::Instant;
use wire::Plain;
use wire::tcp::flag;

const PORT: u16 = 80;
/// Where connections have a small receive buffer.
const SMALL: u16 = 79;
const STEPS: usize = 60;
/// Nanoseconds from life to life.
const EPOCH: u64 = 1_000_000_000_000;

fn breathe(world: &mut World) {
    world.pass(Duration::from_micros(20));
}

/// One connection, and what its peer and its client see, relative to its first numbers.
struct Life {
    peers: Peers,
    iss: u32,
    port: u16,
    log: Vec<String>,
    /// What has come, and what is there to read.
    sent_len: u32,
    /// Steps after which it slept.
    naps: usize,
}

impl Life {
    fn begin(world: &mut World, to: u16, port: u16) -> Self {
        let mut peers = Peers::new().unwrap();
        peers.open(world, (0, to), port..port + 1, &mut breathe).unwrap();
        let iss = peers.list[0].ack;
        Self { peers, iss, port, log: Vec::new(), sent_len: 0, naps: 0 }
    }

    /// What the worker has sent is written down, and acknowledged later.
    fn look(&mut self, world: &mut World) {
        for frame in world.sent() {
            let Some(plain) = Plain::parse(&frame).filter(|p| p.dst_port() == self.port) else {
                continue;
            };
            let seq = plain.seq().wrapping_sub(self.iss);
            let (ack, flags, window) = (plain.ack(), plain.flags(), plain.window());
            self.log.push(format!("{seq} {ack} {flags:#x} {window} {}", plain.text.len()));
            let end = u32::try_from(plain.text.len()).unwrap().wrapping_add(seq);
            self.sent_len = self.sent_len.max(end);
        }
        self.naps += world.worker.usage().asleep;
    }

    /// The client reads so much at most, and says so if it was asked to.
    fn read(&mut self, len: usize) {
        let mut bytes = vec![0; len];
        let memory = &self.peers.list[0].memory;
        let mut queue = memory.receive();
        let read = queue.read(&mut [IoSliceMut::new(&mut bytes)], false, false);
        let tell = queue.worth_telling();
        drop(queue);
        if tell {
            assert!(memory.post_arm());
        }
        self.log.push(format!("read {read} {tell}"));
    }

    fn inject_at(&mut self, world: &mut World, ahead: u32, text: &[u8]) {
        let next = self.peers.list[0].seq;
        self.peers.list[0].seq = next.wrapping_add(ahead);
        self.peers.inject(world, 0, flag::ACK | flag::PSH, text).unwrap();
        self.peers.list[0].seq = next;
    }

    /// Something that peers, clients and time do.
    fn step(&mut self, world: &mut World, random: &mut Random) {
        let text = vec![random.byte(); 1 + random.below(1448)];
        let len = u32::try_from(text.len()).unwrap();
        match random.below(12) {
            0 | 1 => self.peers.inject(world, 0, flag::ACK | flag::PSH, &text).unwrap(),
            // Late, and then in its place; or repeated.
            2 => {
                self.inject_at(world, len, &text);
                breathe(world);
                self.peers.inject(world, 0, flag::ACK, &text).unwrap();
            }
            3 => self.inject_at(world, len.wrapping_neg(), &text),
            4 => self.inject_at(world, u32::MAX, &[]),
            5 | 6 => {
                self.read(1 + random.below(4_000));
                // Whoever looks if a connection may sleep sees what was read, and a window is larger for it.
                let _ = world.call(|call| Command::ListSockets { call }).unwrap();
            }
            7 => {
                let posted = self.peers.write(0, &text);
                self.log.push(format!("posted {posted:?}"));
            }
            8 | 9 => {
                self.peers.list[0].ack = self.iss.wrapping_add(self.sent_len);
                self.peers.acknowledge(world, 0, 0).unwrap();
            }
            10 => world.pass(Duration::from_millis([1, 60, 1_500][random.below(3)])),
            _ => {
                let socket = self.peers.list[0].socket;
                let option = match random.below(3) {
                    0 => SocketOption::NoDelay(random.below(2) == 0),
                    1 => SocketOption::Tos(random.byte() & 0xfc),
                    _ => SocketOption::ReceiveBuffer(16_384 << random.below(3)),
                };
                let set = |call| Command::SetOption { call, socket, option };
                let _ = world.call(set).unwrap();
            }
        }
        breathe(world);
        self.look(world);
    }

    fn info(&mut self, world: &mut World) {
        let socket = self.peers.list[0].socket;
        let info = world.call(|call| Command::Info { call, socket, take_error: false }).unwrap();
        let Outcome::Info(info) = info else { panic!("{info:?}") };
        let since = |at: Instant| Instant::from_nanos(at.as_nanos() % EPOCH);
        let tcp = info.tcp.map(|tcp| Info {
            sent_at: since(tcp.sent_at),
            heard_at: since(tcp.heard_at),
            // Forgotten with what was in flight.
            delivery_rate: DeliveryRate::default(),
            ..tcp
        });
        let queues = (info.recv_queue, info.send_queue, info.received, info.acknowledged);
        self.log.push(format!("{queues:?} {} {tcp:?}", info.receive_buffer));
    }

    fn end(&mut self, world: &mut World) {
        self.read(64 * 1024);
        breathe(world);
        self.peers.list[0].ack = self.iss.wrapping_add(self.sent_len);
        let reset = flag::ACK | flag::RST;
        self.peers.inject(world, 0, reset, &[]).unwrap();
        let socket = self.peers.list[0].socket;
        breathe(world);
        world.send(Command::Close { socket, reset: true });
        breathe(world);
        self.look(world);
        world.events.clear();
    }
}

/// The same life again: at the same time, since timestamps are rounded.
fn live(world: &mut World, port: u16, seed: u64, awake_max: usize) -> Life {
    let epoch = world.now.as_nanos().next_multiple_of(EPOCH) + EPOCH;
    world.now = Instant::from_nanos(epoch);
    // The peer's station has been forgotten meanwhile.
    assert!(world.inject(&frame::arp(true)));
    breathe(world);
    let _ = world.sent();
    world.worker.keep_awake(awake_max);
    let mut random = Random::new(seed);
    let mut life = Life::begin(world, PORT, port);
    for _ in 0..STEPS {
        life.step(world, &mut random);
    }
    life.info(world);
    life.end(world);
    life
}

/// Whatever is lost, late, repeated or changed: each connection sleeps whenever it may, or never.
fn those_that_sleep_do_what_those_do_that_never_sleep(world: &mut World) {
    let mut naps = 0;
    for seed in 0..200 {
        let port = 5_000 + 2 * u16::try_from(seed).unwrap();
        let awake = live(world, port, seed, usize::MAX);
        let sleepy = live(world, port + 1, seed, 0);
        assert_eq!(awake.naps, 0);
        naps += sleepy.naps;
        assert_eq!(awake.log, sleepy.log, "seed {seed}");
    }
    assert!(naps > 200 * STEPS / 10, "{naps} naps");
}

/// The client was asked to say when it has read half of what waits: whoever looks before it does must
/// not take that back. Else it reads the rest in silence, and the peer never learns that there is room.
fn a_window_that_was_shut_is_opened(world: &mut World) {
    world.worker.keep_awake(0);
    let (local, listener) = (SocketAddr::from((LOCAL, SMALL)), ListenerId(SMALL.into()));
    let options = vec![SocketOption::ReceiveBuffer(32_768)];
    let listen = |call| Command::Listen { call, listener, client: 0, local, backlog: 64, options };
    let _ = world.call(listen).unwrap();
    let mut life = Life::begin(world, SMALL, 6_000);
    for len in [1024; 32] {
        life.peers.inject(world, 0, flag::ACK, &vec![1; len]).unwrap();
    }
    breathe(world);
    let window = |world: &mut World| {
        let sent = world.sent();
        sent.iter().filter_map(|frame| Plain::parse(frame)).map(|plain| plain.window()).next_back()
    };
    assert_eq!(window(world), Some(0), "all of it waits");
    for len in [8_000, 8_500, 32_768] {
        life.read(len);
        // A listing looks as well.
        let _ = world.call(|call| Command::ListSockets { call }).unwrap();
        breathe(world);
    }
    assert!(window(world) > Some(16_384), "the peer was told that there is room");
    life.end(world);
}

/// A client that is short of blocks has its connections looked through for some: those that sleep hold
/// none, and sleep on.
fn a_sweep_for_blocks_wakes_nobody(world: &mut World) {
    const BLOCK: u64 = 16_384;
    world.worker.keep_awake(0);
    let client = world.add_client_of(Share::new(Some(20 * BLOCK), None)).unwrap();
    world.listen_as(client, PORT + client, 64);
    let mut peers = Peers::new().unwrap();
    peers.open(world, (client, PORT + client), 7_000..7_010, &mut breathe).unwrap();
    // A few of them are looked at per breath.
    (0..10).for_each(|_| breathe(world));
    assert_eq!(world.worker.usage().asleep, 10);
    world.worker.keep_awake(usize::MAX);
    peers.inject(world, 0, flag::ACK, &[1; 64]).unwrap();
    breathe(world);
    assert_eq!(world.worker.usage().asleep, 9, "all but the one that text has come for");
    world.send(Command::Detach { client });
    breathe(world);
    world.events.clear();
}

/// A ring whose user has posted too much waits, however often somebody calls. But a FIN comes after
/// the bytes that were posted before it.
fn a_ring_that_waits_is_read_for_the_sake_of_a_fin_only(world: &mut World) {
    let client = world.add_client_of(Share::new(None, Some(10))).unwrap();
    let (ours, _theirs) = SocketEnd::pair().unwrap();
    let descriptor = Arc::new(ours);
    let transport = Transport::Datagram;
    let open = |call| Command::Open { call, client, transport, descriptor };
    let Outcome::Opened { socket, cell } = world.call(open).unwrap() else { panic!("not opened") };
    world.listen_as(client, PORT + client, 64);
    let mut peers = Peers::new().unwrap();
    peers.open(world, (client, PORT + client), 7_100..7_101, &mut breathe).unwrap();
    let memory = world.memory_of(client, cell).unwrap();
    let posted_len = 2 * CLIENT_BUDGET;
    for _ in 0..posted_len {
        assert!(memory.post_arm());
    }
    let received = |world: &World| world.worker.counters().worker.descriptors_received.value();
    let before = received(world);
    // The first call comes when nothing waits yet.
    let option = SocketOption::NoDelay(true);
    let _ = world.call(|call| Command::SetOption { call, socket, option }).unwrap();
    let taken = received(world) - before;
    assert_eq!(taken, CLIENT_BUDGET as u64, "one turn's worth, and then it waits");
    for (read, write) in [(true, false), (true, true), (false, true)] {
        let _ = world.call(|call| Command::Shutdown { call, socket, read, write });
        assert_eq!(received(world) - before, taken);
    }
    let socket = peers.list[0].socket;
    for (read, write, taken) in [(true, false, taken), (false, true, posted_len as u64)] {
        let _ = world.call(|call| Command::Shutdown { call, socket, read, write }).unwrap();
        assert_eq!(received(world) - before, taken);
    }
    world.send(Command::Detach { client });
    breathe(world);
    world.events.clear();
}

// EAL starts once per process, so all share one test.
#[test]
fn nobody_can_tell_who_sleeps() {
    let mut world = World::new().expect("a world without hugepages and without root");
    world.listen(PORT, 64);
    those_that_sleep_do_what_those_do_that_never_sleep(&mut world);
    a_window_that_was_shut_is_opened(&mut world);
    a_sweep_for_blocks_wakes_nobody(&mut world);
    a_ring_that_waits_is_read_for_the_sake_of_a_fin_only(&mut world);
    assert_eq!(world.wind_up(), 0, "buffers left behind");
}
