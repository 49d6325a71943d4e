//! Packets on loan: read where they lie, given back by what has been read, lent anew.

use std::collections::BTreeSet;
use std::io::IoSliceMut;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock, Mutex};

use loom::thread;
use shm::{
    CellId, PacketMemory, Place, Share, SocketMemory, StreamProducer, contest, receive_packet,
};

use super::{Pair, bounded, model};

/// Where the text is in a packet.
const TEXT: u32 = 66;

/// Buffers that there are in all runs; what is in them is a run's own.
static PACKETS: LazyLock<PacketMemory> = LazyLock::new(|| PacketMemory::create(3).unwrap());

/// A worker with one stream whose client may borrow, and packet buffers: who has which.
struct Worker {
    pair: Pair,
    producer: StreamProducer,
    free: BTreeSet<u32>,
    lent: BTreeSet<u32>,
}

impl Worker {
    fn new(buffers: u32) -> Self {
        let pair = Pair::of(Share::default().lending(buffers), Some(&PACKETS));
        let producer = StreamProducer::new(pair.cell, 1000).lending(&pair.lane);
        Self { pair, producer, free: (0..buffers).collect(), lent: BTreeSet::new() }
    }

    fn memory(&self) -> Arc<SocketMemory> {
        Arc::clone(&self.pair.memory)
    }

    /// Text comes in one packet and is lent, `offset` bytes beyond what is published. `false`: there is no buffer, or
    /// the list is full.
    fn lend(&mut self, offset: u32, text: &[u8]) -> bool {
        let Some(&buffer) = self.free.first() else { return false };
        let place = Place { buffer, offset: TEXT, len: len(text) };
        // Whoever may still look at what was there before is found out by the model.
        receive_packet(&PACKETS, place, text);
        let taken = self.producer.lend(&mut self.pair.lane, offset, &[place]) == 1;
        if taken {
            assert!(self.free.remove(&buffer) && self.lent.insert(buffer));
        }
        taken
    }

    fn copy(&mut self, offset: u32, text: &[u8]) {
        assert_eq!(self.producer.write(&mut self.pair.lane, offset, text), len(text));
    }

    /// So much more is shown. What the client has passed comes back.
    fn show(&mut self, len: u32) {
        self.producer.publish(len);
        self.producer.show(&mut self.pair.lane).unwrap();
        self.take_back();
    }

    fn take_back(&mut self) {
        let Self { pair, free, lent, .. } = self;
        pair.lane.returned(|buffer| {
            assert!(lent.remove(&buffer), "{buffer} was not lent");
            assert!(free.insert(buffer));
        });
    }

    /// The socket ends.
    fn close(&mut self) {
        let ended = StreamProducer::new(self.pair.cell, 0);
        core::mem::replace(&mut self.producer, ended).release(&mut self.pair.lane);
        self.pair.lane.free_cell(self.pair.cell);
        self.take_back();
    }

    /// The next one begins, in the same cell.
    fn open(&mut self) -> CellId {
        let (lane, before) = (&mut self.pair.lane, self.pair.cell.index);
        let _other = lane.allocate_cell().filter(|cell| cell.index != before).unwrap();
        self.pair.cell = lane.allocate_cell().filter(|cell| cell.index == before).unwrap();
        self.producer = StreamProducer::new(self.pair.cell, 1000).lending(lane);
        self.pair.cell
    }

    /// The rest is read: in all it was this.
    fn end_with(self, memory: &SocketMemory, log: &Log, all: &[u8]) {
        while !take_in_place(memory, log).is_empty() {}
        assert_eq!(*log.lock().unwrap(), all);
        self.end();
    }

    /// Everything has been read.
    fn end(mut self) {
        let _ = self.producer.refresh(&mut self.pair.lane).unwrap();
        self.take_back();
        assert_eq!((self.producer.unread(), self.lent.len()), (0, 0), "it has not come back");
        let slot = self.pair.lane.slot();
        assert_eq!((slot.lent(), slot.rx_memory_in_use()), (0, 0));
        assert!(self.producer.rest().is_some());
    }
}

fn len(text: &[u8]) -> u32 {
    u32::try_from(text.len()).unwrap()
}

/// What has been read, in the order of reading.
type Log = Arc<Mutex<Vec<u8>>>;

/// Looks at the next piece in place, and takes it. What it had, and is noted while the queue is locked.
fn take_in_place(memory: &SocketMemory, log: &Log) -> Vec<u8> {
    let mut queue = memory.receive();
    let piece = queue.first(true).to_vec();
    // It is there as long as it is looked at.
    assert_eq!(queue.first(true).get(..piece.len()), Some(&piece[..]));
    assert_eq!(queue.consume(piece.len()), piece.len());
    log.lock().unwrap().extend(&piece);
    piece
}

/// Copies up to so many bytes.
fn take_copy(memory: &SocketMemory, most: usize, log: &Log) {
    let mut queue = memory.receive();
    let mut out = vec![0; most];
    let len = queue.read(&mut [IoSliceMut::new(&mut out)], false, true);
    log.lock().unwrap().extend(&out[..len]);
}

#[test]
fn a_packet_is_looked_at_whole_while_the_next_comes() {
    bounded(3, || {
        let mut worker = Worker::new(3);
        let memory = worker.memory();
        let reading = thread::spawn(move || {
            let (log, mut pieces) = (Log::default(), Vec::new());
            while pieces.len() < 2 {
                match take_in_place(&memory, &log) {
                    none if none.is_empty() => thread::yield_now(),
                    piece => pieces.push(piece),
                }
            }
            assert_eq!(pieces, [&b"ab"[..], b"cde"]);
        });
        assert!(worker.lend(0, b"ab"));
        worker.show(2);
        assert!(worker.lend(0, b"cde"));
        worker.show(3);
        reading.join().unwrap();
        worker.end();
    });
}

/// The list is full with two packets: the third is lent if the first has come back, and else copied.
#[test]
fn what_has_been_read_comes_back_once_and_is_lent_anew() {
    static LENT: AtomicBool = AtomicBool::new(false);
    static COPIED: AtomicBool = AtomicBool::new(false);
    bounded(2, || {
        let mut worker = Worker::new(3);
        let log = Log::default();
        let (memory, noted) = (worker.memory(), Arc::clone(&log));
        let reading = thread::spawn(move || {
            for _ in 0..2 {
                let _ = take_in_place(&memory, &noted);
            }
        });
        for text in [b"a", b"b", b"c"] {
            let lent = worker.lend(0, text);
            if !lent {
                worker.copy(0, text);
            }
            worker.show(1);
            if text == b"c" {
                (if lent { &LENT } else { &COPIED }).store(true, Ordering::Relaxed);
            }
        }
        reading.join().unwrap();
        let memory = worker.memory();
        worker.end_with(&memory, &log, b"abc");
    });
    assert!(LENT.load(Ordering::Relaxed) && COPIED.load(Ordering::Relaxed), "one never happened");
}

#[test]
fn two_threads_that_read_give_each_packet_back_once() {
    bounded(2, || {
        let mut worker = Worker::new(2);
        let log = Log::default();
        let take = || {
            let (memory, log) = (worker.memory(), Arc::clone(&log));
            thread::spawn(move || drop(take_in_place(&memory, &log)))
        };
        let reading = [take(), take()];
        for text in [b"a", b"b"] {
            assert!(worker.lend(0, text));
            worker.show(1);
        }
        for reading in reading {
            reading.join().unwrap();
        }
        let memory = worker.memory();
        worker.end_with(&memory, &log, b"ab");
    });
}

#[test]
fn what_is_lent_and_copied_in_turn_is_looked_at_and_copied_in_order() {
    bounded(3, || {
        let mut worker = Worker::new(3);
        let log = Log::default();
        let (memory, noted) = (worker.memory(), Arc::clone(&log));
        let looking = thread::spawn(move || drop(take_in_place(&memory, &noted)));
        let (memory, noted) = (worker.memory(), Arc::clone(&log));
        let copying = thread::spawn(move || (0..2).for_each(|_| take_copy(&memory, 2, &noted)));
        assert!(worker.lend(0, b"ab"));
        worker.show(2);
        worker.copy(0, b"c");
        assert!(worker.lend(1, b"de"));
        worker.show(3);
        looking.join().unwrap();
        copying.join().unwrap();
        let memory = worker.memory();
        worker.end_with(&memory, &log, b"abcde");
    });
}

/// The socket ends, and its cell serves the next, while a thread still takes what the first one was lent.
#[test]
fn what_a_client_has_left_comes_back_once_and_no_more_of_the_next_socket() {
    bounded(3, || {
        let mut worker = Worker::new(2);
        let memory = worker.memory();
        assert!(worker.lend(0, b"a") && worker.lend(1, b"b"));
        worker.show(2);
        let late = thread::spawn(move || {
            // It looks at no text: that may be other text by now.
            let _ = memory.receive().consume(1);
        });
        // What it has taken by now comes back this way, and the rest as the socket ends.
        worker.show(0);
        worker.close();
        assert_eq!(worker.lent.len(), 0);
        let cell = worker.open();
        assert!(worker.lend(0, b"c"));
        worker.show(1);
        assert_eq!(worker.producer.refresh(&mut worker.pair.lane), Ok(0));
        late.join().unwrap();
        worker.show(0);
        assert_eq!(worker.lent.len(), 1, "nobody has read it");
        let (memory, log) = (worker.pair.map.socket(cell, 0).unwrap(), Log::default());
        worker.end_with(&memory, &log, b"c");
    });
}

/// A thread copies what a packet has while another closes the socket and the packet is received into anew.
#[test]
fn what_is_copied_is_what_the_socket_had_or_nothing() {
    model(|| {
        let mut worker = Worker::new(1);
        let place = Place { buffer: 0, offset: TEXT, len: 1 };
        contest(&PACKETS, place);
        assert!(worker.lend(0, b"a"));
        worker.show(1);
        let memory = worker.memory();
        let reading = thread::spawn(move || {
            let log = Log::default();
            take_copy(&memory, 1, &log);
            let read = log.lock().unwrap();
            assert!(read.is_empty() || *read == b"a", "it is another's");
        });
        worker.close();
        receive_packet(&PACKETS, place, b"b");
        reading.join().unwrap();
    });
}
