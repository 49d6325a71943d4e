//! Receive queues against a `VecDeque`.

use std::collections::VecDeque;
use std::io::IoSliceMut;
use std::net::SocketAddr;

use shm::Ancillary;

use crate::{Pair, Random, read, rounds};

/// Writes in and out of order, publishes, reads, peeks; the client must see the oracle's bytes.
fn stream_run(seed: u64, limit: u32, steps: u32) {
    let mut random = Random(seed);
    let mut pair = Pair::new();
    let free = pair.lane.free_blocks();
    let (_, memory, mut producer) = pair.stream(limit);
    let mut future: Vec<u8> = Vec::new(); // stream bytes beyond `published`, as sent by the peer
    let mut stored: Vec<(u32, u32)> = Vec::new(); // ranges of them that were taken
    let mut oracle: VecDeque<u8> = VecDeque::new();
    for _ in 0..steps {
        match random.below(6) {
            0 | 1 => {
                let window = producer.window();
                if window == 0 {
                    continue;
                }
                let offset = if random.below(3) == 0 { random.below(window) } else { 0 };
                let len = (random.below(40_000) + 1).min(window - offset);
                while future.len() < (offset + len) as usize {
                    future.push(random.next().to_le_bytes()[0]);
                }
                let text = &future[offset as usize..(offset + len) as usize];
                let taken = producer.write(&mut pair.lane, offset, text);
                assert_eq!(taken, len, "promised by the window");
                stored.push((offset, len));
            }
            2 => {
                let mut ready = 0;
                stored.sort_unstable();
                for (offset, len) in &stored {
                    if *offset <= ready {
                        ready = ready.max(offset + len);
                    }
                }
                let len = random.below(ready + 1);
                producer.advance(&mut pair.lane, len);
                oracle.extend(future.drain(..len as usize));
                stored = stored
                    .iter()
                    .filter(|(offset, l)| offset + l > len)
                    .map(|(offset, l)| {
                        (offset.saturating_sub(len), (offset + l) - len.max(*offset))
                    })
                    .collect();
            }
            3 => {
                let _ = producer.refresh(&mut pair.lane).unwrap();
                let unread = u32::try_from(oracle.len()).unwrap();
                assert_eq!(producer.unread(), unread);
                assert!(producer.window() <= limit.saturating_sub(unread));
            }
            _ => {
                let mut side = memory.receive();
                assert_eq!(side.unread(), oracle.len() as u64);
                let mut out = vec![0; random.below(30_000) as usize];
                let peek = random.below(3) == 0;
                let len = read(&mut side, &mut out, peek);
                assert_eq!(len, out.len().min(oracle.len()));
                assert!(out[..len].iter().eq(oracle.iter().take(len)));
                if !peek {
                    let _ = oracle.drain(..len);
                }
            }
        }
    }
    producer.release(&mut pair.lane);
    assert_eq!(pair.lane.free_blocks(), free, "all blocks came back");
    assert_eq!(pair.slot.rx_memory_in_use(), 0);
}

#[test]
fn a_stream_arrives_as_it_was_sent() {
    for seed in 1..=u64::from(rounds(40)) {
        stream_run(seed, [4096, 65_536, 300_000, 4 << 20][(seed % 4) as usize], rounds(600));
    }
}

#[test]
fn an_idle_stream_holds_no_block() {
    let mut pair = Pair::new();
    let free = pair.lane.free_blocks();
    let (_, memory, mut producer) = pair.stream(65_536);
    for round in 0..100 {
        assert_eq!(producer.write(&mut pair.lane, 0, b"question"), 8);
        producer.advance(&mut pair.lane, 8);
        let mut side = memory.receive();
        let mut out = [0; 64];
        assert_eq!(read(&mut side, &mut out, false), 8, "round {round}");
        assert!(!side.worth_telling(), "no notice while the window is wide open");
        drop(side);
        assert_eq!(producer.refresh(&mut pair.lane), Ok(8));
        assert_eq!(pair.lane.free_blocks(), free);
    }
}

#[test]
fn a_small_window_is_worth_a_notice() {
    let mut pair = Pair::new();
    let (_, memory, mut producer) = pair.stream(65_536);
    let text = vec![7; 65_536];
    assert_eq!(producer.write(&mut pair.lane, 0, &text), 65_536);
    producer.advance(&mut pair.lane, 65_536);
    assert_eq!(producer.window(), 0);
    let mut out = vec![0; 32_767];
    let mut side = memory.receive();
    let _ = read(&mut side, &mut out, false);
    assert!(!side.worth_telling());
    let _ = read(&mut side, &mut out[..1], false);
    assert!(side.worth_telling(), "half of what waited is read");
    assert!(!side.worth_telling(), "once");
    drop(side);
    assert_eq!(producer.refresh(&mut pair.lane), Ok(32_768));
    assert_eq!(producer.window(), 32_768);
}

#[test]
fn one_stream_leaves_blocks_to_others() {
    let mut pair = Pair::new();
    let (_, _, mut first) = pair.stream(u32::MAX);
    let (_, _, second) = pair.stream(u32::MAX);
    let text = vec![0; first.window() as usize];
    assert_eq!(first.write(&mut pair.lane, 0, &text) as usize, text.len());
    assert!(second.window() > 0);
}

#[test]
fn datagrams_arrive_whole_and_in_order() {
    for seed in 1..=u64::from(rounds(30)) {
        datagram_run(seed, [9000, 200_000, 1 << 20][(seed % 3) as usize]);
    }
}

fn datagram_run(seed: u64, limit: u32) {
    let mut random = Random(seed);
    let mut pair = Pair::new();
    let free = pair.lane.free_blocks();
    let (memory, mut producer) = pair.datagrams(limit);
    let mut oracle: VecDeque<(SocketAddr, Vec<u8>)> = VecDeque::new();
    let mut refused = 0;
    for _ in 0..rounds(800) {
        if random.below(2) == 0 {
            let len = if random.below(20) == 0 { random.below(65_508) } else { random.below(1500) };
            let payload = random.bytes(len);
            let port = u16::try_from(random.below(65_536)).unwrap();
            let from: SocketAddr = if random.below(2) == 0 {
                ([10, 0, 0, 1], port).into()
            } else {
                ([1, 2, 3, 4, 5, 6, 7, 8], port).into()
            };
            match producer.push(&mut pair.lane, from, &Ancillary::default(), &payload) {
                Ok(()) => oracle.push_back((from, payload)),
                Err(_) => refused += 1,
            }
        } else {
            let peek = random.below(4) == 0;
            let mut out = vec![0; 70_000];
            let found = memory.receive().read_datagram(&mut [IoSliceMut::new(&mut out)], peek);
            let Some(found) = found else {
                assert!(oracle.is_empty());
                continue;
            };
            let (from, payload) = oracle.front().unwrap();
            assert_eq!(found.from, Some(*from));
            assert_eq!((found.len, found.full_len), (payload.len(), payload.len()));
            assert_eq!(&out[..payload.len()], &payload[..]);
            if !peek {
                let _ = oracle.pop_front();
            }
        }
        if random.below(10) == 0 {
            let _ = producer.refresh(&mut pair.lane).unwrap();
        }
    }
    assert!(refused > 0 || limit > 100_000, "a small queue overflows");
    producer.release(&mut pair.lane);
    assert_eq!(pair.lane.free_blocks(), free, "all blocks came back");
}

#[test]
fn a_datagram_too_long_for_the_caller_is_cut() {
    let mut pair = Pair::new();
    let (memory, mut producer) = pair.datagrams(65_536);
    for payload in [&b"0123456789"[..], b"next"] {
        producer
            .push(&mut pair.lane, ([10, 0, 0, 1], 7).into(), &Ancillary::default(), payload)
            .unwrap();
    }
    let mut out = [0; 4];
    assert_eq!(memory.receive().next_datagram_len(), Some(10));
    let cut = memory.receive().read_datagram(&mut [IoSliceMut::new(&mut out)], false).unwrap();
    assert_eq!((cut.len, cut.full_len, &out), (4, 10, b"0123"));
    let next = memory.receive().read_datagram(&mut [IoSliceMut::new(&mut out)], false).unwrap();
    assert_eq!((next.len, next.full_len, &out), (4, 4, b"next"));
}
