//! A bad link does what its specification says, and the same with the same seed.

use core::time::Duration;

use harness::impair::{Impairment, Lane, Passage};

fn lane(spec: &str, seed: u64) -> Lane {
    Lane::new(spec.parse().unwrap(), seed, 0)
}

/// What happens to `count` frames that come 1 µs apart.
fn passages(lane: &mut Lane, count: u64) -> Vec<Passage> {
    (0..count).map(|n| lane.pass(&mut [0; 1000], Duration::from_micros(n))).collect()
}

#[test]
fn a_clean_link_passes_each_frame_at_once() {
    let mut lane = lane("", 1);
    let now = Duration::from_secs(3);
    assert_eq!(lane.pass(&mut [1, 2], now), Passage::Once(now));
}

#[test]
fn the_same_seed_takes_the_same_decisions_and_another_seed_others() {
    let spec = "loss=10%,duplicate=5%,reorder=5%,jitter=3ms";
    let first = passages(&mut lane(spec, 7), 1000);
    assert_eq!(first, passages(&mut lane(spec, 7), 1000));
    assert_ne!(first, passages(&mut lane(spec, 8), 1000));
    let mut back = Lane::new(spec.parse().unwrap(), 7, 1);
    assert_ne!(first, passages(&mut back, 1000), "the directions differ");
}

#[test]
fn the_timing_does_not_change_which_frames_are_lost() {
    let lost = |gap: u32| {
        let mut lane = lane("loss=20%,delay=1ms", 3);
        (0..500_u32)
            .map(|n| {
                lane.pass(&mut [0; 60], Duration::from_micros(1) * (n * gap)) == Passage::Dropped
            })
            .collect::<Vec<_>>()
    };
    assert_eq!(lost(1), lost(1000));
}

#[test]
fn shares_come_out_as_asked() {
    let mut lane = lane("loss=5%,duplicate=2%,corrupt=1%,reorder=3%", 11);
    let _ = passages(&mut lane, 100_000);
    let tally = lane.tally();
    for (name, got, want) in [
        ("lost", tally.lost, 5000_u64),
        ("duplicated", tally.duplicated, 1900),
        ("corrupted", tally.corrupted, 950),
        ("reordered", tally.reordered, 2850),
    ] {
        assert!(got.abs_diff(want) < want / 5, "{name}: {got}, not about {want}");
    }
}

#[test]
fn corruption_flips_one_bit() {
    let mut lane = lane("corrupt=100%", 5);
    for _ in 0..100 {
        let mut frame = [0_u8; 64];
        let _ = lane.pass(&mut frame, Duration::ZERO);
        assert_eq!(frame.iter().map(|byte| byte.count_ones()).sum::<u32>(), 1);
    }
}

#[test]
fn a_rate_spaces_frames_and_a_full_queue_drops() {
    // 1000 bytes at 8 Mbit/s take 1 ms; the queue holds what is left of three of them.
    let mut lane = lane("rate=8M,queue=2500,delay=10ms", 1);
    let ms = Duration::from_millis;
    let now = Duration::ZERO;
    let got: Vec<_> = (0..5).map(|_| lane.pass(&mut [0; 1000], now)).collect();
    let once = |at| Passage::Once(ms(at));
    assert_eq!(got, [once(11), once(12), once(13), Passage::Dropped, Passage::Dropped]);
    assert_eq!(lane.pass(&mut [0; 1000], ms(5)), once(16), "the line was idle by then");
}

#[test]
fn specifications_read_as_written() {
    let it: Impairment = "loss=0.1%,delay=2ms,jitter=300us,rate=1.5G,queue=64K".parse().unwrap();
    assert_eq!(it.delay, Duration::from_millis(2));
    assert_eq!(it.jitter, Duration::from_micros(300));
    assert_eq!((it.rate, it.queue_len), (1_500_000_000, 64_000));
    assert!((it.loss - 0.001).abs() < 1e-9);
    for bad in ["loss=101%", "loss", "speed=1", "delay=-1ms", "rate=x"] {
        assert!(bad.parse::<Impairment>().is_err(), "{bad}");
    }
}
