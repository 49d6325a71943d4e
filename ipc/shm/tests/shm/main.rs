//! Both sides of the shared memory in one process, each in its own mapping.

// What the kernel does for the two, and a hostile client that writes through it, is not in Miri.
#[cfg(not(miri))]
mod hostile;
mod lending;
#[cfg(not(miri))]
mod memory;
mod queues;
mod ring;
mod urgent;

use std::sync::Arc;

use std::io::IoSliceMut;
use std::os::fd::OwnedFd;

use rustix::event::{EventfdFlags, eventfd};
use shm::{
    Arena, CellId, ClientFiles, ClientMap, DatagramProducer, Lane, PacketMemory, ReceiveQueue,
    Share, Slot, SocketMemory, StreamProducer, WorkersPage,
};

/// One client with one lane, seen from both sides.
struct Pair {
    slot: Arc<Slot>,
    lane: Lane,
    map: Arc<ClientMap>,
    page: WorkersPage,
    doorbell: OwnedFd,
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
        let (page, page_fd) = WorkersPage::create(1).unwrap();
        let doorbell = eventfd(0, EventfdFlags::NONBLOCK).unwrap();
        let doorbells = vec![doorbell.try_clone().unwrap()];
        let (read, write) = (files.read, files.write);
        let workers = page_fd;
        let files = ClientFiles { read, write, workers, packets, doorbells };
        let map = ClientMap::map(files).unwrap();
        Self { lane: slot.lane(0).unwrap(), slot, map, page, doorbell }
    }

    fn socket(&mut self) -> (CellId, SocketMemory) {
        let cell = self.lane.allocate_cell().unwrap();
        self.lane.set_send_buffer(cell, 256 * 1024);
        let memory = self.map.socket(cell, 0).unwrap();
        (cell, memory)
    }

    fn stream(&mut self, limit: u32) -> (CellId, SocketMemory, StreamProducer) {
        let (cell, memory) = self.socket();
        (cell, memory, StreamProducer::new(cell, limit).lending(&self.lane))
    }

    fn datagrams(&mut self, limit: u32) -> (SocketMemory, DatagramProducer) {
        let (cell, memory) = self.socket();
        (memory, DatagramProducer::new(cell, limit))
    }
}

fn read(side: &mut ReceiveQueue<'_>, out: &mut [u8], peek: bool) -> usize {
    side.read(&mut [IoSliceMut::new(out)], peek, true)
}

/// How often to do something. Miri takes its time, and looks at each access.
fn rounds(count: u32) -> u32 {
    if cfg!(miri) { count.div_ceil(40) } else { count }
}

/// A repeatable stream of numbers.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, limit: u32) -> u32 {
        u32::try_from(self.next() % u64::from(limit.max(1))).unwrap()
    }

    fn bytes(&mut self, len: u32) -> Vec<u8> {
        (0..len).map(|_| self.next().to_le_bytes()[0]).collect()
    }
}
