//! What a request of 64 bytes and its response cost a client and its worker that both poll: cycles of the time
//! stamp counter, the middle of many, on one connection and one request at a time; and how long it takes between
//! two stacks in this process, beside the kernel's loopback in the same minute.
//!
//! `cargo bench -p harness --bench request`. The client reads and writes with what the library reads and
//! writes with; the worker takes two breaths, one with the request (and the acknowledgement of the response
//! before it) and one that sends the response. The peer is not timed.
//!
//! Between two stacks all of it is timed: both programs' part, both workers' and the wire's, one after the other
//! in one thread. Over the loopback there are two threads that block, as most programs do, and once more one
//! thread that has both ends and never sleeps.

mod clock;

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use clock::{breath, clock};
use harness::World;
use harness::pair::Pair;
use harness::path::{BURST, Kind, Path};

const REQUESTS: u32 = 200_000;
/// Where the other stack finds the server.
const PAIR_PORT: u16 = 81;
/// Turns of the three that are compared, of which the middle one counts.
const TURNS: usize = 7;
/// Requests of one turn: between the stacks, over the loopback.
const PAIRED: u32 = 100_000;
const LOOPED: u32 = 10_000;

/// Cycles of the client and of the worker for each request of a path: the middle of all.
fn parts(world: &mut World, kind: Kind, at_once: u32) -> Result<[u64; 2], String> {
    let mut path = Path::new(world, kind)?;
    let mut spent = [const { Vec::new() }; 2];
    let (mut requests_came, mut worker, mut left) = (false, 0, 0);
    for _ in 0..REQUESTS / BURST {
        let _ = path.burst(world, |world| {
            let entered = clock();
            let cycles = breath(world);
            requests_came = !requests_came;
            if requests_came {
                (worker, left) = (cycles, clock());
            } else {
                let found = [entered.saturating_sub(left), worker + cycles];
                spent
                    .iter_mut()
                    .zip(found)
                    .for_each(|(all, cycles)| all.push(cycles / u64::from(at_once)));
            }
        })?;
        world.events.clear();
    }
    Ok(spent.map(middle))
}

/// The middle of all, once they are in their order.
fn middle(mut all: Vec<u64>) -> u64 {
    all.sort_unstable();
    all.get(all.len() / 2).copied().unwrap_or(0)
}

/// The kernel's loopback: both ends of a connection.
fn loopback() -> std::io::Result<(TcpStream, TcpStream)> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let asks = TcpStream::connect(listener.local_addr()?)?;
    let (answers, _) = listener.accept()?;
    asks.set_nodelay(true)?;
    answers.set_nodelay(true)?;
    Ok((asks, answers))
}

/// A message that comes, however often one has to look.
fn poll(from: &mut TcpStream) -> std::io::Result<()> {
    loop {
        match from.read(&mut [0; 64]) {
            Ok(64) => return Ok(()),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Ok(_) => return Err(ErrorKind::UnexpectedEof.into()),
            Err(error) => return Err(error),
        }
    }
}

/// One thread that has both ends.
fn polling() -> std::io::Result<Duration> {
    let (mut asks, mut answers) = loopback()?;
    asks.set_nonblocking(true)?;
    answers.set_nonblocking(true)?;
    let started = Instant::now();
    for _ in 0..LOOPED {
        asks.write_all(&[7; 64])?;
        poll(&mut answers)?;
        answers.write_all(&[7; 64])?;
        poll(&mut asks)?;
    }
    Ok(started.elapsed())
}

/// Two threads, each of which sleeps until it has something to do.
fn blocking() -> std::io::Result<Duration> {
    let (mut asks, mut answers) = loopback()?;
    let server = std::thread::spawn(move || {
        let mut text = [0; 64];
        (0..LOOPED).try_for_each(|_| {
            answers.read_exact(&mut text)?;
            answers.write_all(&text)
        })
    });
    let started = Instant::now();
    let mut text = [7; 64];
    for _ in 0..LOOPED {
        asks.write_all(&text)?;
        asks.read_exact(&mut text)?;
    }
    let took = started.elapsed();
    server.join().map_err(|_| ErrorKind::Other)??;
    Ok(took)
}

/// Nanoseconds of a request between two stacks, over the loopback, and there without sleep, in turns.
fn beside(world: &mut World) -> Result<[u64; 3], String> {
    let mut pair = Pair::connect(world, PAIR_PORT)?;
    let mut all = [const { Vec::new() }; 3];
    let each = |all: Duration, count: u32| u64::try_from((all / count).as_nanos()).unwrap_or(0);
    for turn in 0..=TURNS {
        let started = Instant::now();
        for _ in 0..PAIRED {
            pair.exchange()?;
        }
        let paired = started.elapsed();
        let blocked = blocking().map_err(|e| e.to_string())?;
        let polled = polling().map_err(|e| e.to_string())?;
        let found = [each(paired, PAIRED), each(blocked, LOOPED), each(polled, LOOPED)];
        // The first turn warms up.
        if turn > 0 {
            all.iter_mut().zip(found).for_each(|(all, found)| all.push(found));
        }
    }
    Ok(all.map(middle))
}

fn run() -> Result<(), String> {
    let mut world = World::new()?;
    let [client, worker] = parts(&mut world, Kind::RequestAlone, 1)?;
    let [pair, kernel, polling] = beside(&mut world)?;
    let [clients, workers] = parts(&mut world, Kind::RequestBurst, BURST)?;
    println!(
        "client {client} worker {worker} client_of_burst {clients} worker_of_burst {workers} \
         pair_ns {pair} kernel_ns {kernel} kernel_polling_ns {polling}"
    );
    Ok(())
}

fn main() {
    if let Err(why) = run() {
        eprintln!("request: {why}");
        std::process::exit(1);
    }
}
