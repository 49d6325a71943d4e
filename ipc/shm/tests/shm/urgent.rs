//! The urgent byte of a stream: where the reader stops, what it passes over.

use crate::rounds;
use shm::{TxFlags, Urgent};

use super::{Pair, Random};
use std::io::{IoSlice, IoSliceMut};

#[test]
fn reader_stops_before_the_urgent_byte_and_passes_over_it() {
    let mut pair = Pair::new();
    let (_, memory, mut producer) = pair.stream(65_536);
    producer.mark_urgent(&pair.lane, 3);
    assert_eq!(producer.write(&mut pair.lane, 0, b"abc!def"), 7);
    producer.advance(&mut pair.lane, 7);
    let mut side = memory.receive();
    let mut out = [0; 16];
    let urgent = Urgent { ahead: 3, has_come: true, was_read: false };
    assert_eq!(side.urgent(), Some(urgent));
    assert_eq!(side.read(&mut [IoSliceMut::new(&mut out)], false, false), 3);
    assert_eq!((side.read_urgent(true), side.read_urgent(false)), (Some(b'!'), Some(b'!')));
    assert_eq!(side.read_urgent(false), None, "once");
    assert_eq!(side.read(&mut [IoSliceMut::new(&mut out)], true, false), 3, "by peeking too");
    assert_eq!(side.read(&mut [IoSliceMut::new(&mut out)], false, false), 3);
    assert_eq!(&out[..3], b"def");
    assert_eq!((side.urgent(), side.unread()), (None, 0));
}

#[test]
fn an_announced_byte_has_not_come() {
    let mut pair = Pair::new();
    let (_, memory, mut producer) = pair.stream(65_536);
    producer.mark_urgent(&pair.lane, 1);
    let urgent = || memory.receive().urgent();
    assert_eq!(urgent(), Some(Urgent { ahead: 1, has_come: false, was_read: false }));
    assert_eq!(memory.receive().read_urgent(false), None);
    assert_eq!(producer.write(&mut pair.lane, 0, b"a!"), 2);
    producer.advance(&mut pair.lane, 2);
    assert_eq!(urgent(), Some(Urgent { ahead: 1, has_come: true, was_read: false }));
}

#[test]
fn the_last_of_what_is_pushed_is_urgent() {
    let mut pair = Pair::new();
    let (_, memory) = pair.socket();
    let text = vec![7; 40_000];
    let flags = TxFlags::URGENT | TxFlags::MORE;
    let _ = memory.send().push(&[IoSlice::new(&text)], 0, flags).unwrap();
    let mut seen = Vec::new();
    while let Some(posted) = pair.lane.receive().unwrap() {
        seen.push((posted.flags.contains(TxFlags::MORE), posted.flags.contains(TxFlags::URGENT)));
    }
    assert_eq!(seen, [(true, false), (true, false), (true, true)]);
}

/// Whatever the marks and the sizes of reads, each byte is read once and in order, but for the urgent
/// ones that a reader without `SO_OOBINLINE` finds in its way.
#[test]
fn no_mark_loses_or_repeats_a_byte() {
    for seed in 1..=u64::from(rounds(40)) {
        let mut random = Random(seed);
        let mut pair = Pair::new();
        let (_, memory, mut producer) = pair.stream(200_000);
        let mut stream: Vec<u8> = Vec::new();
        let (mut consumed, mut mark) = (0_usize, None);
        for _ in 0..rounds(200) {
            if random.below(4) == 0 {
                let offset = random.below(3_000);
                producer.mark_urgent(&pair.lane, offset);
                mark = Some(stream.len() + offset as usize);
            }
            let len = random.below(20_000).min(producer.window());
            let text = random.bytes(len);
            assert_eq!(producer.write(&mut pair.lane, 0, &text), len);
            producer.advance(&mut pair.lane, len);
            stream.extend(text);
            let inline = random.below(2) == 0;
            let mut out = vec![0; random.below(30_000) as usize + 1];
            let mut side = memory.receive();
            if let Some(at) = mark.filter(|at| *at >= consumed && *at < stream.len()) {
                assert_eq!(side.read_urgent(true), Some(stream[at]), "seed {seed}");
            }
            let mut end = stream.len();
            match mark.filter(|at| *at >= consumed) {
                Some(at) if at > consumed => end = end.min(at),
                Some(at) if !inline && at < stream.len() => consumed += 1,
                _ => {}
            }
            let wanted = out.len().min(end - consumed);
            let got = side.read(&mut [IoSliceMut::new(&mut out)], false, inline);
            assert_eq!(&out[..got], &stream[consumed..consumed + wanted], "seed {seed}");
            consumed += wanted;
            drop(side);
            let _ = producer.refresh(&mut pair.lane).unwrap();
        }
    }
}
