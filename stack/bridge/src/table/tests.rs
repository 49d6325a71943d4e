//! What a bridge knows of stations, and what it refuses.

use super::*;

const A: MacAddr = MacAddr([2, 0, 0, 0, 0, 0xa]);
const B: MacAddr = MacAddr([2, 0, 0, 0, 0, 0xb]);

fn table(settings: Settings) -> Table {
    Table::new(Secret([0x1234_5678_9abc_def0, 0xfedc_ba98_7654_3210]), settings)
}

fn at(seconds: u64) -> Instant {
    Instant::from_millis(seconds * 1000)
}

fn station(number: u32) -> MacAddr {
    let [a, b, c, d] = number.to_be_bytes();
    MacAddr([2, 1, a, b, c, d])
}

#[test]
fn a_station_is_where_it_was_heard_last() {
    let mut table = table(Settings::default());
    assert_eq!(table.find(A, at(0)), None);
    assert_eq!(table.learn(A, 1, at(0)), Ok(Change::New));
    assert_eq!(table.learn(A, 1, at(1)), Ok(Change::None));
    assert_eq!(table.find(A, at(1)), Some(1));
    assert_eq!(table.learn(A, 2, at(2)), Ok(Change::Moved));
    assert_eq!((table.find(A, at(2)), table.find(B, at(2))), (Some(2), None));
}

#[test]
fn a_silent_station_is_forgotten_after_its_time_and_with_0_never() {
    let timeout = Some(Duration::from_secs(8));
    let mut table = table(Settings { timeout, ..Settings::default() });
    let _ = table.learn(A, 1, at(0)).unwrap();
    assert_eq!(table.find(A, at(7)), Some(1));
    assert_eq!(table.find(A, at(8)), None);
    // What is heard again lives on, and the others are told.
    assert_eq!(table.learn(A, 1, at(1)), Ok(Change::Refreshed));
    assert_eq!(table.find(A, at(8)), Some(1));
    table.age(at(20));
    assert!(table.is_empty());
    table.set(Settings { timeout: None, ..Settings::default() });
    let _ = table.learn(A, 1, at(0)).unwrap();
    assert_eq!(table.find(A, at(1 << 30)), Some(1));
}

#[test]
fn a_flood_of_addresses_takes_no_more_than_maxaddr_and_displaces_nobody() {
    let mut table = table(Settings { stations_max: 100, ..Settings::default() });
    let _ = table.learn(A, 1, at(0)).unwrap();
    for number in 0..1_000_000 {
        let _ = table.learn(station(number), 2, at(1));
    }
    assert_eq!(table.len(), 100);
    assert_eq!(table.find(A, at(1)), Some(1));
    assert_eq!(table.learn(B, 3, at(1)), Ok(Change::Unlearned));
    // When the flood is past its time there is room again.
    assert_eq!(table.learn(A, 1, at(1100)), Ok(Change::Refreshed));
    assert_eq!(table.learn(B, 3, at(1300)), Ok(Change::New));
    assert_eq!(table.len(), 2);
}

#[test]
fn a_port_has_at_most_its_part() {
    let settings = Settings { port_max: 3, ..Settings::default() };
    let mut table = table(settings);
    for number in 0..10 {
        let _ = table.learn(station(number), 2, at(0));
    }
    assert_eq!(table.len(), 3);
    assert_eq!(table.learn(A, 1, at(0)), Ok(Change::New));
}

#[test]
fn a_static_station_neither_ages_nor_moves() {
    let mut table = table(Settings::default());
    let _ = table.learn(A, 2, at(0)).unwrap();
    table.pin(A, 1);
    assert_eq!(table.learn(A, 2, at(1)), Err(Refusal::Static));
    table.hear(A, 2, at(1));
    assert_eq!(table.learn(A, 1, at(1)), Ok(Change::None));
    assert_eq!(table.find(A, at(1 << 30)), Some(1));
    table.flush(false);
    assert_eq!(table.rows(at(5)).map(|row| (row.mac, row.pinned)).collect::<Vec<_>>(), [(A, true)]);
    table.flush(true);
    assert!(table.is_empty());
}

#[test]
fn a_station_that_two_ports_claim_is_stopped_for_the_rest_of_the_second() {
    let mut table = table(Settings::default());
    let _ = table.learn(A, 1, at(5)).unwrap();
    for turn in 0..u16::from(MOVES_MAX) {
        assert_eq!(table.learn(A, 2 - turn % 2, at(5)), Ok(Change::Moved), "{turn}");
    }
    assert_eq!(table.learn(A, 2, at(5)), Err(Refusal::Moving));
    assert_eq!(table.learn(A, 2, at(6)), Ok(Change::Moved));
}

#[test]
fn what_another_worker_has_learned_is_known_here_too() {
    let mut table = table(Settings::default());
    table.hear(A, 3, at(0));
    assert_eq!(table.find(A, at(0)), Some(3));
    table.hear(A, 4, at(1));
    assert_eq!(table.learn(A, 4, at(1)), Ok(Change::None));
    let _ = table.learn(B, 3, at(1)).unwrap();
    table.flush_ports(&[5, 4, 500]);
    assert_eq!((table.find(A, at(1)), table.find(B, at(1))), (None, Some(3)));
}

#[test]
fn keyed_addresses_do_not_fall_together() {
    let mut table = table(Settings { stations_max: 1 << 16, ..Settings::default() });
    for number in 0..1 << 16 {
        let _ = table.learn(station(number), 1, at(0)).unwrap();
    }
    let hashes: std::collections::HashSet<u64> =
        (0..1_u32 << 16).map(|number| table.secret.hash(station(number)) >> 48).collect();
    // As many of 2^16 places as chance would give: 63 %.
    assert!(hashes.len() > 39_000, "{}", hashes.len());
}

#[test]
fn the_bridges_own_addresses_are_nobodys_stations() {
    let mut table = table(Settings::default());
    assert_eq!(table.learn(A, 1, at(0)), Ok(Change::New));
    table.set_own(&[A]);
    assert_eq!(table.find(A, at(0)), None, "it was learned before it was ours");
    assert_eq!(table.learn(A, 1, at(1)), Err(Refusal::Own));
    table.hear(A, 2, at(1));
    assert_eq!((table.find(A, at(1)), table.len()), (None, 0));
    // What is ours no longer may be somebody's.
    table.set_own(&[B]);
    assert_eq!(table.learn(A, 1, at(2)), Ok(Change::New));
}
