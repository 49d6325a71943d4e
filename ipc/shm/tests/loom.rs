//! What daemon and client do together without locks, in every order in which it could happen.
//!
//! `cargo test -p shm --features loom --test loom --release`. The code is the one that runs; only its atomics
//! and its memory are the model's.

use std::io::IoSlice;
use std::io::IoSliceMut;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use loom::sync::atomic::{AtomicU32, Ordering};
use loom::thread;
use rustix::event::{EventfdFlags, eventfd};
use shm::{
    Arena, CellId, ClientFiles, ClientMap, Lane, PacketMemory, PushError, Share, SocketMemory,
    StreamProducer, TxFlags, WorkersPage,
};

#[path = "loom/datagrams.rs"]
mod datagrams;
#[path = "loom/lending.rs"]
mod lending;

/// Every order with so many switches to another thread that nothing made necessary.
const SWITCHES: usize = 5;

fn model(check: impl Fn() + Sync + Send + 'static) {
    bounded(SWITCHES, check);
}

/// The same with fewer switches, for models that would take minutes otherwise.
fn bounded(switches: usize, check: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(switches);
    builder.max_branches = 20_000;
    builder.check(check);
}

/// A client with one socket, from both sides.
struct Pair {
    lane: Lane,
    map: Arc<ClientMap>,
    page: WorkersPage,
    doorbell: OwnedFd,
    cell: CellId,
    memory: Arc<SocketMemory>,
}

impl Pair {
    fn new() -> Self {
        Self::of(Share::default(), None)
    }

    /// Of a user with this share, who may be lent packets of this memory.
    fn of(share: Share, packets: Option<&PacketMemory>) -> Self {
        let arena = Arena::reserve(1).unwrap();
        let (slot, files) = arena.attach(1, Arc::new(share)).unwrap();
        let packets = packets.map(|packets| packets.file().try_clone_to_owned().unwrap());
        let (page, workers) = WorkersPage::create(1).unwrap();
        let doorbell = eventfd(0, EventfdFlags::NONBLOCK).unwrap();
        let doorbells = vec![doorbell.try_clone().unwrap()];
        let files =
            ClientFiles { read: files.read, write: files.write, workers, packets, doorbells };
        let map = ClientMap::map(files).unwrap();
        let mut lane = slot.lane(0).unwrap();
        page.set_sleeping(0, false);
        let cell = lane.allocate_cell().unwrap();
        lane.set_send_buffer(cell, 1000);
        let memory = Arc::new(map.socket(cell, 0).unwrap());
        shm::prepare(&slot, cell.index);
        Self { lane, map, page, doorbell, cell, memory }
    }

    fn rung(&self) -> bool {
        rustix::io::read(&self.doorbell, &mut [0; 8]).is_ok()
    }
}

fn read(memory: &SocketMemory, out: &mut [u8]) -> usize {
    memory.receive().read(&mut [IoSliceMut::new(out)], false, true)
}

#[test]
fn two_threads_post_and_the_worker_receives_each_descriptor_once() {
    model(|| {
        let Pair { mut lane, memory, page: _page, .. } = Pair::new();
        let post = |memory: Arc<SocketMemory>| thread::spawn(move || assert!(memory.post_arm()));
        let posting = [post(Arc::clone(&memory)), post(memory)];
        let mut received = 0;
        received += u32::from(lane.receive().unwrap().is_some());
        for posting in posting {
            posting.join().unwrap();
        }
        while let Some(posted) = lane.receive().unwrap() {
            assert_eq!(posted.flags, TxFlags::ARM);
            received += 1;
        }
        assert_eq!(received, 2);
    });
}

#[test]
fn a_worker_that_falls_asleep_sees_what_was_posted_or_is_rung() {
    model(|| {
        let pair = Pair::new();
        let memory = Arc::clone(&pair.memory);
        let posting = thread::spawn(move || assert!(memory.post_arm()));
        pair.page.set_sleeping(0, true);
        let seen = pair.lane.pending();
        posting.join().unwrap();
        assert!(seen || pair.rung(), "it sleeps with work to do");
    });
}

#[test]
fn bytes_are_read_as_they_were_written() {
    model(|| {
        let Pair { mut lane, cell, memory, page: _page, .. } = Pair::new();
        let mut producer = StreamProducer::new(cell, 1000);
        let reading = thread::spawn(move || {
            let (mut out, mut len) = ([0; 4], 0);
            while len < 2 {
                let more = read(&memory, &mut out[len..]);
                len += more;
                if more == 0 {
                    thread::yield_now();
                }
            }
            assert_eq!(&out[..len], b"ab");
        });
        for byte in [b"a", b"b"] {
            assert_eq!(producer.write(&mut lane, 0, byte), 1);
            producer.advance(&mut lane, 1);
            assert!(producer.refresh(&mut lane).is_ok());
        }
        reading.join().unwrap();
        assert_eq!(producer.refresh(&mut lane).map(|_| producer.unread()), Ok(0));
    });
}

/// The client's `recv` and the worker's signal, with a counter for the bytes in the descriptor.
#[test]
fn whoever_has_read_everything_and_sleeps_is_woken_by_the_next_byte() {
    model(|| {
        let Pair { mut lane, cell, memory, page: _page, .. } = Pair::new();
        let tokens = Arc::new(AtomicU32::new(0));
        let mut producer = StreamProducer::new(cell, 1000);
        let client = (Arc::clone(&memory), Arc::clone(&tokens));
        let reading = thread::spawn(move || {
            let (memory, tokens) = client;
            let mut queue = memory.receive();
            let announced = |queue: &shm::ReceiveQueue<'_>| {
                queue.has_token() || tokens.load(Ordering::SeqCst) > 0
            };
            if queue.unread() > 0 && !announced(&queue) {
                return;
            }
            let _ = queue.read(&mut [IoSliceMut::new(&mut [0; 4])], false, true);
            if queue.unread() > 0 {
                return;
            }
            let had = queue.has_token();
            if tokens.swap(0, Ordering::SeqCst) == 0 && !had {
                return;
            }
            queue.arm();
            let again = queue.unread() > 0;
            drop(queue);
            if again {
                assert!(memory.post_arm());
            }
        });
        for byte in [b"a", b"b"] {
            assert_eq!(producer.write(&mut lane, 0, byte), 1);
            producer.advance(&mut lane, 1);
            signal(&mut lane, cell, &producer, &tokens);
        }
        reading.join().unwrap();
        // Had it asked the worker to look once more.
        while lane.receive().unwrap().is_some() {
            signal(&mut lane, cell, &producer, &tokens);
        }
        let waits = memory.unread() > 0;
        assert!(!waits || tokens.load(Ordering::SeqCst) > 0, "bytes wait, and nobody says so");
        assert!(tokens.load(Ordering::SeqCst) < 2, "one token says everything");
    });
}

/// As the worker does it when a breath ends.
fn signal(lane: &mut Lane, cell: CellId, producer: &StreamProducer, tokens: &AtomicU32) {
    if lane.in_armed(cell) && !producer.is_read(lane) {
        let _ = tokens.fetch_add(1, Ordering::SeqCst);
        lane.in_token_sent(cell);
    }
}

#[test]
fn what_has_been_released_is_written_anew_and_nothing_else() {
    model(|| {
        let Pair { mut lane, cell, memory, page: _page, .. } = Pair::new();
        // Room for one byte on its way.
        lane.set_send_buffer(cell, 1);
        let sending = thread::spawn(move || {
            for byte in [b"a", b"b"] {
                while memory.send().push(&[IoSlice::new(byte)], 0, TxFlags::NONE)
                    == Err(PushError::NoRoom)
                {
                    thread::yield_now();
                }
            }
        });
        let (mut received, mut byte) = (Vec::new(), [0]);
        while received.len() < 2 {
            let Some(posted) = lane.receive().unwrap() else {
                thread::yield_now();
                continue;
            };
            assert!(lane.copy_out(posted.offset, &mut byte));
            received.extend(byte);
            lane.commit();
            lane.set_tx_released(cell, received.len() as u64);
        }
        sending.join().unwrap();
        assert_eq!(received, b"ab");
    });
}
