//! Streams whose text is lent where it lies, copied, or both in turn.

use std::collections::BTreeSet;
use std::sync::Arc;

use shm::layout::PACKET_ROOM;
use shm::{Arena, Lane, PacketMemory, PeerMisbehaved, Place, Share, StreamProducer};

use super::{Pair, Random, read};

const BUFFERS: u32 = 600;

/// Packet buffers: who has which.
struct Packets {
    memory: PacketMemory,
    free: BTreeSet<u32>,
    lent: BTreeSet<u32>,
}

impl Packets {
    fn new() -> Self {
        let memory = PacketMemory::create(BUFFERS).unwrap();
        Self { memory, free: (0..BUFFERS).collect(), lent: BTreeSet::new() }
    }

    /// A packet with this text.
    fn fill(&self, text: &[u8]) -> Option<Place> {
        let len = u32::try_from(text.len()).unwrap();
        let place = Place { buffer: *self.free.first()?, offset: 66, len };
        let at = place.buffer as usize * PACKET_ROOM as usize + 66;
        // SAFETY: within the memory, in a buffer that is lent to nobody.
        let to = unsafe { self.memory.base().add(at) };
        // SAFETY: a buffer has room for the text.
        unsafe { core::ptr::copy_nonoverlapping(text.as_ptr(), to.as_ptr(), text.len()) };
        Some(place)
    }

    /// Lends it; `false`: it was not taken.
    fn lend(
        &mut self,
        stream: &mut StreamProducer,
        lane: &mut Lane,
        offset: u32,
        text: &[u8],
    ) -> bool {
        let Some(place) = self.fill(text) else { return false };
        let taken = stream.lend(lane, offset, &[place]) == 1;
        if taken {
            assert!(self.free.remove(&place.buffer) && self.lent.insert(place.buffer));
        }
        taken
    }

    /// What came back is scribbled over: nobody may look at it any more.
    fn take_back(&mut self, lane: &mut Lane) {
        lane.returned(|buffer| {
            assert!(self.lent.remove(&buffer), "{buffer} was not lent");
            assert!(self.free.insert(buffer));
            let at = buffer as usize * PACKET_ROOM as usize;
            // SAFETY: within the memory.
            let to = unsafe { self.memory.base().add(at) };
            // SAFETY: a buffer's length, lent to nobody.
            unsafe { to.write_bytes(0xdb, PACKET_ROOM as usize) };
        });
    }
}

/// A stream, what was promised to its peer, and what was sent.
struct Stream {
    producer: StreamProducer,
    sent: Vec<u8>,
    read: usize,
    /// The right edge of the window.
    edge: usize,
}

impl Stream {
    fn promise(&mut self) {
        let edge = self.sent.len() + self.producer.window() as usize;
        self.edge = self.edge.max(edge);
    }

    /// The client reads some of it, by copy or in place.
    fn read(&mut self, memory: &shm::SocketMemory, random: &mut Random) {
        let mut queue = memory.receive();
        let unread = usize::try_from(queue.unread()).unwrap();
        assert_eq!(unread, self.sent.len() - self.read);
        if random.below(3) == 0 {
            while random.below(8) > 0 {
                let piece = queue.first(true);
                let len = piece.len();
                assert_eq!(piece, &self.sent[self.read..self.read + len]);
                let len = if random.below(4) == 0 { len / 2 } else { len };
                assert_eq!(queue.consume(len), len);
                self.read += len;
            }
            return;
        }
        let most = if random.below(4) == 0 { 1 << 20 } else { random.below(9000) };
        let mut out = vec![0; most as usize];
        let peeked = read(&mut queue, &mut out, true);
        assert_eq!(out[..peeked], self.sent[self.read..self.read + peeked]);
        let len = read(&mut queue, &mut out, false);
        assert_eq!(len, peeked);
        assert_eq!(out[..len], self.sent[self.read..self.read + len]);
        self.read += len;
    }
}

#[test]
#[cfg_attr(miri, ignore = "takes hours there")]
fn text_that_is_lent_and_copied_in_turn_is_read_as_it_was_sent() {
    let mut random = Random(0x5eed);
    let mut packets = Packets::new();
    let mut pair = Pair::of(Share::default().lending(500), Some(&packets.memory));
    let (_, memory, producer) = pair.stream(1 << 20);
    let mut stream = Stream { producer, sent: Vec::new(), read: 0, edge: 0 };
    let (mut lent, mut copied) = (0, 0);
    for round in 0..60_000 {
        if stream.sent.len() > 50 << 20 {
            break;
        }
        stream.promise();
        // The peer fills the window in some rounds, and sends little in others.
        let burst = if round % 64 > 40 { 32 } else { random.below(6) };
        let mut offset = 0;
        for _ in 0..burst {
            let len = if random.below(4) == 0 { 1 + random.below(200) } else { 1448 };
            let room = stream.edge - stream.sent.len();
            let text = random.bytes(len.min(u32::try_from(room).unwrap()));
            let len = u32::try_from(text.len()).unwrap();
            if len == 0 {
                break;
            }
            let Pair { lane, .. } = &mut pair;
            let goes = len > 128 && random.below(16) > 0;
            if goes && packets.lend(&mut stream.producer, lane, offset, &text) {
                lent += 1;
            } else {
                // What was promised is taken.
                assert_eq!(stream.producer.write(lane, offset, &text), len);
                copied += 1;
            }
            offset += len;
            stream.sent.extend(text);
        }
        stream.producer.publish(offset);
        stream.producer.show(&mut pair.lane).unwrap();
        packets.take_back(&mut pair.lane);
        if random.below(3) > 0 {
            stream.read(&memory, &mut random);
        }
        if random.below(5) == 0 {
            let _ = stream.producer.refresh(&mut pair.lane).unwrap();
            packets.take_back(&mut pair.lane);
        }
        assert!(packets.lent.len() <= 500);
        assert_eq!(pair.slot.lent(), packets.lent.len() as u64);
    }
    assert!(lent > 10_000 && copied > 5_000, "{lent} lent, {copied} copied");
    let mut out = vec![0; 1 << 20];
    while read(&mut memory.receive(), &mut out, false) > 0 {}
    let _ = stream.producer.refresh(&mut pair.lane).unwrap();
    packets.take_back(&mut pair.lane);
    assert_eq!((packets.lent.len(), pair.slot.lent()), (0, 0));
    assert_eq!(pair.slot.rx_memory_in_use(), 0, "an idle connection holds no block");
    assert!(stream.producer.rest().is_some());
}

/// Text arrives, is lent if it may be, and is shown.
fn arrive(stream: &mut Stream, of: (&mut Pair, &mut Packets), text: &[u8], lend: bool) {
    let (Pair { lane, .. }, packets) = of;
    let len = u32::try_from(text.len()).unwrap();
    if !lend || !packets.lend(&mut stream.producer, lane, 0, text) {
        assert_eq!(stream.producer.write(lane, 0, text), len);
    }
    stream.sent.extend(text);
    stream.producer.advance(lane, len);
}

#[test]
#[cfg_attr(miri, ignore = "takes too long there")]
fn there_are_descriptors_for_copies_whatever_was_lent_before() {
    let mut random = Random(7);
    let mut packets = Packets::new();
    let mut pair = Pair::of(Share::default().lending(BUFFERS), Some(&packets.memory));
    let (_, memory, producer) = pair.stream(1 << 20);
    let mut stream = Stream { producer, sent: Vec::new(), read: 0, edge: 0 };
    let mut out = vec![0; 1 << 20];
    for round in 0..150 {
        // The window is filled: with packets, in small pieces, lent and copied in turn, and with copies.
        for kind in 0..3 {
            let leave = [random.below(20_000), random.below(20_000), 0][kind];
            while stream.producer.window() > leave {
                let most = [1448, 129 + random.below(200), 9000][kind];
                let text = random.bytes(stream.producer.window().min(most));
                arrive(&mut stream, (&mut pair, &mut packets), &text, kind < 2);
                if kind == 1 && stream.producer.window() > 0 {
                    let text = random.bytes(1);
                    arrive(&mut stream, (&mut pair, &mut packets), &text, false);
                }
            }
        }
        // Much of it is read, so that the next packets come beside old ones.
        let len = if round % 2 == 0 { 700_000 } else { random.below(700_000) } as usize;
        let len = len.min(stream.sent.len() - stream.read);
        assert_eq!(read(&mut memory.receive(), &mut out[..len], false), len);
        assert!(out[..len] == stream.sent[stream.read..stream.read + len], "not what was sent");
        stream.read += len;
        let _ = stream.producer.refresh(&mut pair.lane).unwrap();
        packets.take_back(&mut pair.lane);
    }
}

#[test]
fn what_is_not_read_comes_back_when_the_stream_ends() {
    let mut packets = Packets::new();
    let mut pair = Pair::of(Share::default().lending(500), Some(&packets.memory));
    let (_, _memory, mut producer) = pair.stream(65_536);
    for n in 0..5 {
        let offset = n * 1000;
        assert!(packets.lend(&mut producer, &mut pair.lane, offset, &[1; 1000]));
    }
    producer.advance(&mut pair.lane, 5000);
    producer.release(&mut pair.lane);
    packets.take_back(&mut pair.lane);
    assert!(packets.lent.is_empty());
    assert_eq!(pair.slot.rx_memory_in_use(), 0);
}

#[test]
fn a_share_of_loans_ends_and_copies_go_on() {
    let mut packets = Packets::new();
    let mut pair = Pair::of(Share::default().lending(3), Some(&packets.memory));
    let (_, memory, mut producer) = pair.stream(65_536);
    let mut take = |pair: &mut Pair, offset| {
        let text = [7; 1000];
        let lent = packets.lend(&mut producer, &mut pair.lane, offset, &text);
        if !lent {
            assert_eq!(producer.write(&mut pair.lane, offset, &text), 1000);
        }
        lent
    };
    let lent: Vec<_> = (0..5).map(|n| take(&mut pair, n * 1000)).collect();
    assert_eq!(lent, [true, true, true, false, false]);
    assert_eq!(pair.lane.loans_refused(), 2);
    producer.advance(&mut pair.lane, 5000);
    assert_eq!(read(&mut memory.receive(), &mut [0; 2000], false), 2000);
    let _ = producer.refresh(&mut pair.lane).unwrap();
    packets.take_back(&mut pair.lane);
    assert!(packets.lend(&mut producer, &mut pair.lane, 0, &[8; 1000]));
}

#[test]
fn who_may_not_borrow_is_lent_nothing() {
    let mut packets = Packets::new();
    let mut pair = Pair::new();
    let (_, _memory, mut producer) = pair.stream(65_536);
    assert!(!packets.lend(&mut producer, &mut pair.lane, 0, &[1; 1000]));
}

#[test]
fn nothing_is_lent_behind_a_hole() {
    let mut packets = Packets::new();
    let mut pair = Pair::of(Share::default().lending(9), Some(&packets.memory));
    let (_, memory, mut producer) = pair.stream(65_536);
    let lane = &mut pair.lane;
    assert_eq!(producer.write(lane, 1000, &[2; 1000]), 1000);
    assert!(!packets.lend(&mut producer, lane, 0, &[1; 1000]), "it would overtake what waits");
    assert_eq!(producer.write(lane, 0, &[1; 1000]), 1000);
    assert!(packets.lend(&mut producer, lane, 2000, &[3; 1000]), "all before it is there");
    producer.advance(lane, 3000);
    let mut out = [0; 4000];
    assert_eq!(read(&mut memory.receive(), &mut out, false), 3000);
    assert!(
        out[..1000] == [1; 1000] && out[1000..2000] == [2; 1000] && out[2000..3000] == [3; 1000]
    );
}

#[test]
#[cfg_attr(miri, ignore = "the kernel refuses it")]
fn the_packets_memory_cannot_be_written_by_who_has_its_file() {
    let packets = Packets::new();
    let file = packets.memory.file();
    assert!(rustix::fs::ftruncate(file, 0).is_err());
    assert!(rustix::io::pwrite(file, b"x", 0).is_err());
    let write = rustix::mm::ProtFlags::READ | rustix::mm::ProtFlags::WRITE;
    let shared = rustix::mm::MapFlags::SHARED;
    // SAFETY: no address is asked for.
    let map = unsafe { rustix::mm::mmap(core::ptr::null_mut(), 4096, write, shared, file, 0) };
    assert_eq!(map.unwrap_err(), rustix::io::Errno::PERM);
}

#[test]
#[cfg_attr(miri, ignore = "writes by the kernel")]
fn a_client_that_says_it_has_read_more_than_there_was_gets_nothing_back_for_it() {
    let mut packets = Packets::new();
    let arena = Arena::reserve(1).unwrap();
    let (slot, files) = arena.attach(1, Arc::new(Share::default().lending(9))).unwrap();
    let mut lane = slot.lane(0).unwrap();
    let cell = lane.allocate_cell().unwrap();
    let mut producer = StreamProducer::new(cell, 65_536).lending(&lane);
    assert!(packets.lend(&mut producer, &mut lane, 0, &[1; 1000]));
    producer.advance(&mut lane, 1000);
    assert!(packets.lend(&mut producer, &mut lane, 0, &[1; 1000]), "this one is not shown yet");
    for bad in [1001, 2000, (1 << 48) - 1] {
        let word = (u64::from(cell.generation) << 48 | bad).to_ne_bytes();
        assert_eq!(rustix::io::pwrite(&files.write, &word, 1 << 20), Ok(8));
        assert_eq!(producer.refresh(&mut lane), Err(PeerMisbehaved::ConsumedTooMuch));
        packets.take_back(&mut lane);
        assert_eq!(packets.lent.len(), 2);
    }
    // Of the cell's last socket, or its next: it gives nothing back of this one.
    for generation in [cell.generation.wrapping_sub(2), cell.generation.wrapping_add(2)] {
        let word = (u64::from(generation) << 48 | 1000).to_ne_bytes();
        assert_eq!(rustix::io::pwrite(&files.write, &word, 1 << 20), Ok(8));
        assert_eq!(producer.refresh(&mut lane), Ok(0));
        packets.take_back(&mut lane);
        assert_eq!(packets.lent.len(), 2);
    }
}

#[test]
fn a_packet_comes_back_once() {
    let mut packets = Packets::new();
    let mut pair = Pair::of(Share::default().lending(9), Some(&packets.memory));
    let (_, memory, mut producer) = pair.stream(65_536);
    for n in 0..2 {
        assert!(packets.lend(&mut producer, &mut pair.lane, n * 1000, &[1; 1000]));
    }
    producer.advance(&mut pair.lane, 2000);
    let mut left = Vec::new();
    // In place and released twice, and more than there was.
    for len in [1000, 1000, 1000, 2000] {
        let _ = memory.receive().consume(len);
        for _ in 0..2 {
            let _ = producer.refresh(&mut pair.lane).unwrap();
            packets.take_back(&mut pair.lane);
        }
        left.push(packets.lent.len());
    }
    assert_eq!((left, pair.slot.lent()), (vec![1, 0, 0, 0], 0));
}
