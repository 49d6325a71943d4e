//! Datagrams: one is read while the next comes.

use std::io::IoSliceMut;
use std::net::SocketAddr;
use std::sync::Arc;

use loom::thread;
use shm::{Ancillary, DatagramProducer, SocketMemory};

use super::{Pair, bounded};

/// The last is so long that it would reach into the second, were it written to where the first was.
const TEXTS: [&[u8]; 3] = [b"a", b"bcd", b"efghijklmnop"];

fn from(number: usize) -> SocketAddr {
    ([198, 18, 0, 1], 1000 + u16::try_from(number).unwrap()).into()
}

/// The next datagram must be the one with this number. `false`: there is none yet.
fn reads(memory: &SocketMemory, number: usize) -> bool {
    let mut out = [0; 16];
    let mut queue = memory.receive();
    let Some(datagram) = queue.read_datagram(&mut [IoSliceMut::new(&mut out)], false) else {
        return false;
    };
    assert_eq!(datagram.from, Some(from(number)));
    assert_eq!(datagram.ancillary.interface, u32::try_from(number).unwrap());
    assert_eq!((&out[..datagram.len], datagram.full_len), (TEXTS[number], TEXTS[number].len()));
    true
}

#[test]
fn a_datagram_is_read_as_it_was_written_while_the_next_comes() {
    bounded(3, || {
        let Pair { mut lane, cell, memory, page: _page, .. } = Pair::new();
        let mut producer = DatagramProducer::new(cell, 1000);
        let client = Arc::clone(&memory);
        let reading = thread::spawn(move || {
            (0..2).fold(0, |number, _| number + usize::from(reads(&client, number)))
        });
        for (number, text) in TEXTS.iter().enumerate() {
            let interface = u32::try_from(number).unwrap();
            let ancillary = Ancillary { interface, ..Ancillary::default() };
            producer.push(&mut lane, from(number), &ancillary, text).unwrap();
            // If all has been read, the next one is written over it.
            let _ = producer.refresh(&mut lane).unwrap();
        }
        let read = reading.join().unwrap();
        assert!((read..TEXTS.len()).all(|number| reads(&memory, number)));
        let _ = producer.refresh(&mut lane).unwrap();
        assert_eq!((producer.unread(), lane.slot().rx_memory_in_use()), (0, 0));
    });
}
