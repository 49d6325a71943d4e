//! How lookups and changes grow with routes: `cargo bench -p fib -- 1 1000 100000 1000000`.
//!
//! A JSON row for each count: nanoseconds of a lookup of a random address, each of which waits for the one
//! before; milliseconds in which so many random routes are added and published; microseconds of a change of
//! one route until its snapshot is there; bytes of a snapshot. With `--count N` only so many lookups are
//! made, for callgrind.

use core::hint::black_box;
use core::net::Ipv4Addr;
use std::time::Instant;

use fib::{Fib, Ipv4Net, Rib, Route};

/// Changes that are timed.
const CHANGES: u32 = 200;

/// Numbers that look random and are the same each time.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u32 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        u32::try_from(self.0 >> 32).unwrap_or(0)
    }

    /// As long as the Internet's: most have 24 bits.
    fn net(&mut self) -> Option<Ipv4Net> {
        let len = match self.next() % 100 {
            0..60 => 24,
            60..90 => 16 + u8::try_from(self.next() % 8).ok()?,
            90..97 => 8 + u8::try_from(self.next() % 8).ok()?,
            _ => 25 + u8::try_from(self.next() % 8).ok()?,
        };
        Ipv4Net::containing(Ipv4Addr::from_bits(self.next()), len).ok()
    }
}

fn filled(count: usize) -> Rib {
    let mut rib = Rib::new();
    let link = Ipv4Net::containing(Ipv4Addr::new(198, 18, 0, 0), 16);
    if let Ok(link) = link {
        // The first route of an empty table is never refused.
        let _ = rib.add(Route::connected(link, 1));
    }
    let gateway = Ipv4Addr::new(198, 18, 0, 1);
    let _ = rib.add(Route::gateway(Ipv4Net::DEFAULT, 1, gateway));
    let mut numbers = Numbers(1);
    while rib.len() < count {
        let gateway = Ipv4Addr::from_bits(gateway.to_bits() + numbers.next() % 64);
        // None that takes the gateways from their link.
        if let Some(net) = numbers.net().filter(|net| !net.contains(gateway)) {
            // One that is there already is not counted.
            let _ = rib.add(Route::gateway(net, 1, gateway));
        }
    }
    rib
}

fn look_up(fib: &Fib, count: u32) -> u32 {
    let mut numbers = Numbers(2);
    let mut last = 0;
    for _ in 0..count {
        let to = Ipv4Addr::from_bits(numbers.next() ^ last & 1);
        let hop = fib.lookup(black_box(to)).and_then(|hop| hop.gateway);
        last = hop.map_or(0, Ipv4Addr::to_bits);
    }
    last
}

fn main() {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    let at = words.iter().position(|word| word == "--count");
    let lookups = at.and_then(|at| words.get(at + 1)?.parse().ok());
    let given = words.iter().take(at.unwrap_or(words.len()));
    let mut counts: Vec<usize> = given.filter_map(|word| word.parse().ok()).collect();
    if counts.is_empty() {
        counts = vec![1, 1_000, 100_000, 1_000_000];
    }
    for count in counts {
        let began = Instant::now();
        let mut rib = filled(count);
        let fib = rib.publish();
        let loaded = began.elapsed();
        let lookups = lookups.unwrap_or(10_000_000);
        let began = Instant::now();
        let _ = black_box(look_up(&fib, lookups));
        let each = began.elapsed().as_secs_f64() * 1e9 / f64::from(lookups);
        let mut numbers = Numbers(3);
        let began = Instant::now();
        for _ in 0..CHANGES {
            let host = Ipv4Net::host(Ipv4Addr::from_bits(numbers.next()));
            let _ = rib.add(Route::on_link(host, 1));
            let _ = black_box(rib.publish());
        }
        let change = began.elapsed().as_secs_f64() * 1e6 / f64::from(CHANGES);
        println!(
            "{{\"routes\": {count}, \"lookup_ns\": {each:.1}, \"load_ms\": {:.1}, \"change_us\": {change:.1}, \"bytes\": {}}}",
            loaded.as_secs_f64() * 1e3,
            fib.memory()
        );
    }
}
