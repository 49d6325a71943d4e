//! Tests of the public interface of `counters`.

use std::sync::Barrier;
use std::thread;

use counters::{Counter, Drops, Gauge, Histogram, counters};

counters! {
    /// A block as a layer declares it.
    pub struct TestCounters "test" {
        segments_received "Segments received.",
        segments_sent "Segments sent.",
        segments_retransmitted "Segments sent again.",
    }
}

counters! {
    /// Private, with one row and no comma.
    struct Small "small" { only "The only one." }
}

#[test]
fn a_counter_counts() {
    let counter = Counter::new();
    counter.increment();
    counter.add(41);
    assert_eq!(counter.value(), 42);
    counter.add(u64::MAX);
    assert_eq!(counter.value(), 41, "wraps");
}

#[test]
fn a_gauge_is_set_raised_and_lowered_within_its_range() {
    let gauge = Gauge::new();
    gauge.set(5);
    gauge.add(3);
    gauge.sub(1);
    assert_eq!(gauge.value(), 7);
    gauge.sub(8);
    assert_eq!(gauge.value(), 0);
    gauge.set(u64::MAX);
    gauge.add(1);
    assert_eq!(gauge.value(), u64::MAX);
}

#[test]
fn a_block_lists_its_rows_in_order() {
    let block = TestCounters::default();
    block.segments_sent.add(7);
    let rows: Vec<_> = block.rows().collect();
    assert_eq!(
        rows,
        [
            ("segments_received", "Segments received.", 0),
            ("segments_sent", "Segments sent.", 7),
            ("segments_retransmitted", "Segments sent again.", 0),
        ]
    );
    assert_eq!(TestCounters::SUBSYSTEM, "test");
}

#[test]
fn rows_are_a_snapshot() {
    let block = Small::default();
    let rows = block.rows();
    block.only.increment();
    assert_eq!(rows.last(), Some(("only", "The only one.", 0)));
    assert_eq!(Small::SUBSYSTEM, "small");
}

#[test]
fn blocks_start_on_cache_lines_of_their_own() {
    assert_eq!(align_of::<TestCounters>(), 64);
    assert_eq!(size_of::<TestCounters>(), 64);
    assert_eq!(align_of::<Drops<3>>(), 64);
    assert_eq!(align_of::<Histogram>(), 64);
}

#[test]
fn drops_are_counted_by_discriminant() {
    #[derive(Clone, Copy)]
    enum Reason {
        Short,
        Checksum,
    }
    let drops = Drops::<2>::default();
    drops.count(Reason::Checksum as usize);
    drops.count(Reason::Checksum as usize);
    assert_eq!(drops.value(Reason::Short as usize), 0);
    assert_eq!(drops.value(Reason::Checksum as usize), 2);
    assert_eq!(drops.values().collect::<Vec<_>>(), [0, 2]);
    assert_eq!(drops.total(), 2);
}

#[test]
fn a_discriminant_out_of_range_is_ignored() {
    let drops = Drops::<2>::default();
    drops.count(2);
    drops.count(usize::MAX);
    assert_eq!((drops.total(), drops.value(2)), (0, 0));
    Drops::<0>::default().count(0);
}

#[test]
fn every_duration_is_in_the_first_bucket_whose_bound_covers_it() {
    let powers = (0..64).map(|exponent| 1_u64 << exponent);
    let around = powers.flat_map(|power| [power - 1, power, power.saturating_add(1)]);
    for us in around.chain([u64::MAX]) {
        let histogram = Histogram::default();
        histogram.record(us);
        for bucket in histogram.buckets() {
            let covered = bucket.upper_us.is_none_or(|upper_us| us <= upper_us);
            assert_eq!(bucket.cumulative_count, u64::from(covered), "{us} us in {bucket:?}");
        }
        assert_eq!((histogram.count(), histogram.sum_us()), (1, us));
    }
}

#[test]
fn buckets_are_powers_of_two_and_the_last_is_unbounded() {
    let histogram = Histogram::default();
    let bounds: Vec<_> = histogram.buckets().map(|bucket| bucket.upper_us).collect();
    assert_eq!(bounds.len(), Histogram::BUCKETS);
    assert_eq!(bounds[..4], [Some(1), Some(2), Some(4), Some(8)]);
    assert_eq!(bounds[26..], [Some(67_108_864), None]);
}

#[test]
fn buckets_accumulate() {
    let histogram = Histogram::default();
    for us in [0, 1, 3, 4, 100, 80_000_000] {
        histogram.record(us);
    }
    let counts: Vec<_> = histogram.buckets().map(|bucket| bucket.cumulative_count).collect();
    assert_eq!(counts[..8], [2, 2, 4, 4, 4, 4, 4, 5]);
    assert_eq!(counts[26..], [5, 6]);
    assert_eq!(histogram.count(), 6);
    assert_eq!(histogram.sum_us(), 80_000_108);
}

#[test]
fn a_reader_sees_no_count_lost_and_no_counter_run_backwards() {
    const EVENTS: u64 = 1_000_000;
    let block = TestCounters::default();
    let drops = Drops::<4>::default();
    let histogram = Histogram::default();
    let start = Barrier::new(2);
    thread::scope(|scope| {
        let _writer = scope.spawn(|| {
            let _leader = start.wait();
            for event in 0..EVENTS {
                block.segments_received.increment();
                block.segments_sent.add(3);
                drops.count(usize::try_from(event % 4).unwrap());
                histogram.record(event % 1000);
            }
        });
        let _reader = scope.spawn(|| {
            let _leader = start.wait();
            let mut last = [0; 3];
            while last[0] < EVENTS {
                let now = [block.segments_received.value(), drops.value(3), histogram.count()];
                assert!(now.iter().zip(&last).all(|(now, last)| now >= last), "{last:?} {now:?}");
                last = now;
            }
        });
    });
    assert_eq!(block.segments_received.value(), EVENTS);
    assert_eq!(block.segments_sent.value(), 3 * EVENTS);
    assert_eq!(drops.values().collect::<Vec<_>>(), [EVENTS / 4; 4]);
    assert_eq!((histogram.count(), histogram.sum_us()), (EVENTS, EVENTS / 1000 * 499_500));
}
