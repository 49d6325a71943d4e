//! A train of segments does at the worker what its segments do one by one: the same answers on the
//! wire, the same bytes at the client, whatever is lost, doubled, late or spoiled on the way.

#![expect(clippy::cast_possible_truncation, reason = "lengths and seeds of the test's own making")]

use core::time::Duration;
use std::io::IoSliceMut;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use harness::World;
use harness::frame::{self, Random, Segment, repair};
use inet::SocketId;
use inet::command::{Command, Event};
use shm::{Share, SocketEnd, SocketMemory};
use wire::Plain;
use wire::tcp::flag;

/// The client whose text is copied.
const COPIER: u16 = 0;
const SYN_OPTIONS: [u8; 16] = [2, 4, 5, 180, 1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 0];

/// A connection whose peer is the test.
struct Connection {
    port: u16,
    /// Port of the server.
    service: u16,
    iss: u32,
    socket: SocketId,
    memory: SocketMemory,
    _descriptor: OwnedFd,
}

/// A segment of the worker's, relative to both ends' first numbers.
type Answer = (u32, u32, u8, u16, usize);

impl Connection {
    fn open(world: &mut World, port: u16) -> Self {
        Self::open_to(world, (COPIER, 80), port)
    }

    fn open_to(world: &mut World, (client, service): (u16, u16), port: u16) -> Self {
        let to = |segment| Segment { dst_port: service, ..segment };
        let syn = to(segment(port, 0, 0, flag::SYN, &SYN_OPTIONS, &[]));
        assert!(world.inject(&frame::tcp(&syn)));
        world.breathe();
        let mut iss = 0;
        world.each_sent(|frame| iss = harness::path::syn_ack(frame).unwrap_or(iss));
        let options = timestamps(1);
        let ack = to(segment(port, 1, iss.wrapping_add(1), flag::ACK, &options, &[]));
        assert!(world.inject(&frame::tcp(&ack)));
        world.breathe();
        let established = world.events.drain(..).find_map(|event| match event {
            Event::Established { socket, cell, .. } => Some((socket, cell)),
            _ => None,
        });
        let (socket, cell) = established.expect("established");
        let (ours, theirs) = SocketEnd::pair().unwrap();
        world.send(Command::Accepted { socket, descriptor: Arc::new(ours) });
        world.breathe();
        let memory = world.memory_of(client, cell).unwrap();
        Self { port, service, iss, socket, memory, _descriptor: theirs }
    }

    fn read(&self, bytes: &mut [u8]) -> Vec<u8> {
        let mut all = Vec::new();
        let mut queue = self.memory.receive();
        loop {
            match queue.read(&mut [IoSliceMut::new(bytes)], false, false) {
                0 => break,
                len => all.extend_from_slice(&bytes[..len]),
            }
        }
        let tell = queue.worth_telling();
        drop(queue);
        if tell {
            let _ = self.memory.post_arm();
        }
        all
    }

    /// What of `sent` is for this one's peer.
    fn answers(&self, sent: &[Vec<u8>]) -> Vec<Answer> {
        let plain = sent.iter().filter_map(|frame| Plain::parse(frame));
        let ours = plain.filter(|plain| plain.dst_port() == self.port);
        let answer = |p: Plain<'_>| {
            (p.seq().wrapping_sub(self.iss), p.ack(), p.flags(), p.window(), p.text.len())
        };
        ours.map(answer).collect()
    }
}

fn timestamps(value: u32) -> [u8; 12] {
    let [a, b, c, d] = value.to_be_bytes();
    [1, 1, 8, 10, a, b, c, d, 0, 0, 0, 0]
}

fn segment<'a>(
    src_port: u16,
    seq: u32,
    ack: u32,
    flags: u8,
    options: &'a [u8],
    text: &'a [u8],
) -> Segment<'a> {
    Segment { src_port, dst_port: 80, seq, ack, flags, options, text }
}

/// What the path makes of some text from `at` on: frames for a connection, in the order of arrival.
fn frames(random: &mut Random, connection: &Connection, at: u32, clock: u32) -> Vec<Vec<u8>> {
    let (mut seq, mut all, mut clock) = (at, Vec::new(), clock);
    for number in 0..1 + random.below(14) {
        let len = if random.below(3) == 0 { 1 + random.below(1448) } else { 1448 };
        let text: Vec<u8> = (0..len).map(|i| (seq as usize + i) as u8).collect();
        let mut flags = flag::ACK;
        if random.below(4) == 0 {
            flags |= flag::PSH;
        }
        clock += u32::from(random.below(20) == 0);
        let ack = connection.iss.wrapping_add(1);
        let options = timestamps(clock);
        let mut frame = frame::tcp(&segment(connection.port, seq, ack, flags, &options, &text));
        match random.below(40) {
            0 => continue_lost(&mut seq, len),
            1 => all.push(frame.clone()),
            2 => frame[60 + number] ^= 4, // its checksum is wrong
            3 => {
                frame[15] |= 3; // congestion experienced
                repair(&mut frame);
            }
            4 => {
                frame[48] ^= 0x20; // another window
                repair(&mut frame);
            }
            _ => {}
        }
        seq = seq.wrapping_add(len as u32);
        all.push(frame);
    }
    // With something between each two of them they still are one burst.
    all.truncate(16);
    if random.below(6) == 0 && all.len() > 1 {
        let (one, other) = (random.below(all.len()), random.below(all.len()));
        all.swap(one, other);
    }
    all
}

/// The text before was lost on the way.
fn continue_lost(seq: &mut u32, len: usize) {
    *seq = seq.wrapping_add(len as u32);
}

/// The same frames, to the other port.
fn readdressed(frames: &[Vec<u8>], from: &Connection, to: &Connection) -> Vec<Vec<u8>> {
    let one = |frame: &Vec<u8>| {
        let mut other = frame.clone();
        let sound = Plain::parse(frame).is_some_and(|plain| plain.is_segment_valid());
        let ack = Plain::parse(frame).unwrap().ack().wrapping_sub(from.iss).wrapping_add(to.iss);
        other[34..36].copy_from_slice(&to.port.to_be_bytes());
        other[36..38].copy_from_slice(&to.service.to_be_bytes());
        other[42..46].copy_from_slice(&ack.to_be_bytes());
        repair(&mut other);
        if !sound {
            other[50] ^= 1;
        }
        other
    };
    frames.iter().map(one).collect()
}

/// Relative number, relative acknowledgment, control bits and text of a segment of the peer's.
type Sent<'a> = (u32, u32, u8, &'a [u8]);

/// Number, acknowledgment and control bits of what the worker answers to a run of segments. One by one
/// they get the same answers. The peer's FIN is all that is awaited if the client has `closed`.
fn answers_to_a_run(
    world: &mut World,
    port: u16,
    closed: bool,
    run: &[Sent<'_>],
) -> Vec<(u32, u32, u8)> {
    let options = timestamps(1);
    let mut answers_of = |port, one_by_one: bool| {
        let connection = Connection::open(world, port);
        let iss = connection.iss;
        let frame = |(seq, ack, flags, text): Sent<'_>| {
            frame::tcp(&segment(port, seq, iss.wrapping_add(ack), flags, &options, text))
        };
        if closed {
            world.send(Command::Close { socket: connection.socket, reset: false });
            world.breathe();
            assert!(world.inject(&frame((1, 2, flag::ACK, &[]))));
            world.breathe();
            let _ = world.sent();
        }
        for sent in run {
            assert!(world.inject(&frame(*sent)));
            if one_by_one {
                world.breathe();
            }
        }
        world.breathe();
        let answer = |frame: &Vec<u8>| {
            let packet = wire::ipv4::Packet::parse(frame.get(14..)?).ok()?;
            let segment = wire::tcp::Segment::parse(packet.payload).ok()?;
            let (flags, header) = (segment.flags(), segment.header);
            // A connection that begins has another first number.
            let first = if flags & flag::SYN == 0 { iss } else { header.seq.get() };
            Some((header.seq.get().wrapping_sub(first), header.ack.get(), flags))
        };
        world.sent().iter().filter_map(answer).collect::<Vec<_>>()
    };
    let answers = answers_of(port, false);
    assert_eq!(answers, answers_of(port + 1, true));
    answers
}

/// A segment in the middle of a run ends the connection; those behind it are for what comes after.
fn an_end_in_the_middle_of_a_run(world: &mut World) {
    const ACK: u8 = flag::ACK;
    const FIN: u8 = flag::ACK | flag::FIN;
    const RST: u8 = flag::ACK | flag::RST;
    // Twice the peer's FIN: TIME-WAIT acknowledges the second.
    let twice: [Sent<'_>; 2] = [(1, 2, FIN, &[]), (1, 2, FIN, &[])];
    let answers = answers_to_a_run(world, 4_000, true, &twice);
    assert_eq!(answers, [(2, 2, ACK), (2, 2, ACK)]);
    // Text behind a reset is for nobody.
    let answers = answers_to_a_run(world, 4_002, false, &[(1, 1, RST, &[]), (1, 1, ACK, b"text")]);
    assert_eq!(answers, [(1, 0, flag::RST)]);
    // A SYN behind one begins anew.
    let answers =
        answers_to_a_run(world, 4_004, false, &[(1, 1, RST, &[]), (9, 0, flag::SYN, &[])]);
    assert_eq!(answers, [(0, 10, flag::SYN | ACK)]);
}

#[test]
fn a_train_does_what_its_segments_do_one_by_one() {
    let mut world = World::lending().expect("a world without hugepages and without root");
    world.listen(80, 64);
    let borrower = world.add_client_of(Share::default().lending(1000)).unwrap();
    world.listen_as(borrower, 81, 64);
    an_end_in_the_middle_of_a_run(&mut world);
    let mut bytes = vec![0; 64 * 1024];
    for seed in 0..300 {
        let mut random = Random::new(seed);
        let port = 5000 + 3 * (seed as u16);
        let trains = Connection::open(&mut world, port);
        let singles = Connection::open(&mut world, port + 1);
        // Half of these are lent what the others are given copies of.
        let to = if seed % 4 < 2 { (borrower, 81) } else { (COPIER, 80) };
        let twins = Connection::open_to(&mut world, to, port + 2);
        let (mut at, mut clock) = (1_u32, 1);
        for step in 0..10 {
            let whole = frames(&mut random, &trains, at, clock);
            clock += 2;
            let apart = readdressed(&whole, &trains, &singles);
            let beside = readdressed(&whole, &trains, &twins);
            let mut both: Vec<&Vec<u8>> = whole.iter().chain(&beside).collect();
            if seed % 2 > 0 {
                // The two flows alternate.
                both = whole.iter().zip(&beside).flat_map(|(one, other)| [one, other]).collect();
            }
            for frame in both {
                assert!(world.inject(frame));
            }
            world.breathe();
            let sent = world.sent();
            let answers = trains.answers(&sent);
            assert_eq!(answers, twins.answers(&sent), "seed {seed} step {step}");
            for frame in &apart {
                // A spoiled frame of the same flow in between: nothing follows anything.
                let mut spoiled = frame.clone();
                if let Some(byte) = spoiled.get_mut(51) {
                    *byte = !*byte;
                }
                assert!(world.inject(frame) && world.inject(&spoiled));
            }
            world.breathe();
            let expected = singles.answers(&world.sent());
            assert_eq!(answers, expected, "seed {seed} step {step}");
            if random.below(4) > 0 {
                let read = trains.read(&mut bytes);
                assert_eq!(read, singles.read(&mut bytes), "seed {seed} step {step}");
                assert_eq!(read, twins.read(&mut bytes), "seed {seed} step {step}");
            }
            at = answers.last().map_or(at, |(_, ack, ..)| *ack);
            let pause = Duration::from_millis([0, 1, 50][random.below(3)]);
            world.pass(pause);
            let late = world.sent();
            let expected = singles.answers(&late);
            assert_eq!(trains.answers(&late), expected, "seed {seed} step {step}");
            assert_eq!(twins.answers(&late), expected, "seed {seed} step {step}");
        }
        // All share the client's memory, so none is left behind in it.
        for connection in [&trains, &twins, &singles] {
            let _ = connection.read(&mut bytes);
            let ack = connection.iss.wrapping_add(1);
            let reset = segment(connection.port, at, ack, flag::RST | flag::ACK, &[], &[]);
            let reset = Segment { dst_port: connection.service, ..reset };
            assert!(world.inject(&frame::tcp(&reset)));
        }
        world.breathe();
        world.events.clear();
    }
    let loans = &world.worker.counters().loans;
    assert!(loans.lent.value() > 3000, "{loans:?}");
    world.send(Command::Detach { client: borrower });
    world.breathe();
    let loans = &world.worker.counters().loans;
    assert_eq!(loans.lent.value(), loans.returned.value() + loans.taken_back.value(), "{loans:?}");
    assert_eq!(world.wind_up(), 0, "buffers left behind");
}
