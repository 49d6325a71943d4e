//! A client that writes what it likes into its memory.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use shm::{Ancillary, Arena, DatagramProducer, Lane, PeerMisbehaved, StreamProducer};

use crate::Random;

/// The write part as a file: writing to it is what a hostile client's stores do.
struct Enemy(OwnedFd);

impl Enemy {
    fn poke(&self, at: u64, bytes: &[u8]) {
        assert_eq!(rustix::io::pwrite(&self.0, bytes, at).unwrap(), bytes.len());
    }

    fn descriptor(&self, index: u64, words: [u32; 4]) {
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
        self.poke(index * 16, &bytes);
    }
}

fn client() -> (Lane, Enemy) {
    let arena = Arena::reserve(1).unwrap();
    let (slot, files) = arena.attach(1, Arc::default()).unwrap();
    (slot.lane(0).unwrap(), Enemy(files.write))
}

const LAP: u32 = 1 << 31;
const AREA: u32 = 28 << 20;
const HEADER: u32 = 64;

#[test]
fn each_field_is_checked() {
    let cases: [([u32; 4], Result<bool, PeerMisbehaved>); 11] = [
        ([1 << 16, 0, 0, LAP], Ok(true)),
        ([1 << 16, AREA - 1, 1, LAP], Ok(true)),
        ([1 << 16, AREA, 1, LAP], Err(PeerMisbehaved::OutsideTransmitArea)),
        ([1 << 16, u32::MAX, 1, LAP], Err(PeerMisbehaved::OutsideTransmitArea)),
        ([1 << 16, 1, u32::MAX, LAP], Err(PeerMisbehaved::OutsideTransmitArea)),
        ([1 << 16, 0, 10, LAP | 64], Err(PeerMisbehaved::UnknownFlags)),
        ([1 << 16, 0, HEADER - 1, LAP | 2], Err(PeerMisbehaved::DatagramLength)),
        ([1 << 16, 0, HEADER + 65_508, LAP | 2], Err(PeerMisbehaved::DatagramLength)),
        ([(1 << 16) | 9000, 0, 0, LAP], Err(PeerMisbehaved::ForeignCell)),
        ([2 << 16, 0, 0, LAP], Ok(false)),
        ([(1 << 16) | 5, 0, 0, LAP], Ok(false)),
    ];
    for (words, expected) in cases {
        let (mut lane, enemy) = client();
        let cell = lane.allocate_cell().unwrap();
        assert_eq!((cell.index, cell.generation), (0, 1));
        enemy.descriptor(0, words);
        assert_eq!(lane.receive().map(|posted| posted.is_some()), expected, "{words:x?}");
    }
}

#[test]
fn more_consumed_than_there_was() {
    let (mut lane, enemy) = client();
    let cell = lane.allocate_cell().unwrap();
    let mut producer = StreamProducer::new(cell, 65_536);
    assert_eq!(producer.write(&mut lane, 0, b"12345678"), 8);
    producer.advance(&mut lane, 8);
    let word = |value: u64| (u64::from(cell.generation) << 48) | value;
    enemy.poke(1 << 20, &word(8).to_ne_bytes());
    assert_eq!(producer.refresh(&mut lane), Ok(8));
    for bad in [7, 9, (1 << 48) - 1, 1 << 40] {
        enemy.poke(1 << 20, &word(bad).to_ne_bytes());
        assert_eq!(producer.refresh(&mut lane), Err(PeerMisbehaved::ConsumedTooMuch));
        producer.advance(&mut lane, 0);
    }
    enemy.poke(1 << 20, &0u64.to_ne_bytes());
    assert_eq!(producer.refresh(&mut lane), Ok(0), "a word of another generation is no news");
}

#[test]
fn any_bytes_are_misbehaviour_or_harmless() {
    let (mut lane, enemy) = client();
    let cell = lane.allocate_cell().unwrap();
    let mut stream = StreamProducer::new(cell, 65_536);
    let udp = lane.allocate_cell().unwrap();
    let mut datagrams = DatagramProducer::new(udp, 65_536);
    let stop = Arc::new(AtomicBool::new(false));
    let scribbler = std::thread::spawn({
        let stop = Arc::clone(&stop);
        move || {
            let mut random = Random(4711);
            while !stop.load(Ordering::Relaxed) {
                let at = if random.below(2) == 0 {
                    u64::from(random.below(4096))
                } else {
                    (1 << 20) + u64::from(random.below(128))
                };
                let bytes = random.bytes(random.0.to_le_bytes()[0] as u32 % 64 + 1);
                enemy.poke(at, &bytes);
            }
        }
    });
    let (mut good, mut bad) = (0u32, 0u32);
    let mut count = |ok: bool| if ok { good += 1 } else { bad += 1 };
    for round in 0..200_000u32 {
        match lane.receive() {
            Ok(Some(posted)) => {
                let mut out = vec![0; posted.length.min(2000) as usize];
                assert!(lane.copy_out(posted.offset, &mut out));
                let loan = lane.loan(posted.offset, posted.length).unwrap();
                assert_eq!(loan.len(), posted.length);
                count(true);
            }
            Ok(None) => {}
            Err(_) => count(false),
        }
        lane.commit();
        let taken = stream.write(&mut lane, 0, &[1; 100]);
        stream.advance(&mut lane, taken);
        count(stream.refresh(&mut lane).is_ok());
        let _ =
            datagrams.push(&mut lane, ([1, 2, 3, 4], 5).into(), &Ancillary::default(), &[2; 100]);
        count(datagrams.refresh(&mut lane).is_ok());
        for cell in [cell, udp] {
            if lane.in_armed(cell) {
                lane.in_token_sent(cell);
            }
            if lane.out_armed(cell) {
                lane.out_drained(cell);
            }
        }
        if round % 1000 == 0 {
            std::thread::yield_now();
        }
    }
    stop.store(true, Ordering::Relaxed);
    scribbler.join().unwrap();
    assert!(bad > 0 && good > 0, "{good} good, {bad} bad");
    stream.release(&mut lane);
    datagrams.release(&mut lane);
}
