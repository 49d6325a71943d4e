//! What a request of 64 bytes and its response cost a client and its worker that both poll: cycles of the time
//! stamp counter, the middle of many, on one connection and one request at a time.
//!
//! `cargo bench -p harness --bench request`. The client reads and writes with what the library reads and
//! writes with; the worker takes two breaths, one with the request (and the acknowledgement of the response
//! before it) and one that sends the response. The peer is not timed.

mod clock;

use clock::{breath, clock};
use harness::World;
use harness::peers::Peers;

const REQUESTS: usize = 200_000;
const PORT: u16 = 80;

/// Cycles of the client and of the worker.
fn run() -> Result<[u64; 2], String> {
    let mut world = World::new()?;
    world.listen(PORT, 8);
    let mut peers = Peers::new()?;
    peers.open(&mut world, (0, PORT), 10_000..10_001, &mut harness::path::quiet)?;
    let mut spent = [Vec::with_capacity(REQUESTS), Vec::with_capacity(REQUESTS)];
    for request in 0..REQUESTS {
        peers.request(&mut world, 0, request > 0)?;
        let arrives = breath(&mut world);
        let started = clock();
        peers.respond(0)?;
        let client = clock().saturating_sub(started);
        let leaves = breath(&mut world);
        // The first ones are acknowledged before they are answered.
        let mut frames = 0;
        world.each_sent(|_| frames += 1);
        if frames == 0 {
            return Err(format!("request {request} was not answered"));
        }
        world.events.clear();
        for (all, cycles) in spent.iter_mut().zip([client, arrives + leaves]) {
            all.push(cycles);
        }
    }
    Ok(spent.map(|mut all| {
        all.sort_unstable();
        all.get(all.len() / 2).copied().unwrap_or(0)
    }))
}

fn main() {
    match run() {
        Ok([client, worker]) => println!("client {client} worker {worker}"),
        Err(why) => {
            eprintln!("request: {why}");
            std::process::exit(1);
        }
    }
}
