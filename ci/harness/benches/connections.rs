//! What a connection costs when there are a million: bytes in the worker while it is idle, and
//! cycles of a request and its response.
//!
//! `cargo bench -p harness --bench connections -- 1000 10000 100000 1000000`; with `--counted` as few
//! exchanges as callgrind needs once a line was read from the standard input, and how many they were: nothing
//! else here calls `counted`. A client has 8192 sockets at most, so a million are those of 125 clients, and so
//! are a thousand, unless `--clients` says otherwise: what is compared differs in nothing else. Bytes are
//! counted twice: by the allocator, and by the kernel as private and as shared memory (the clients').
//! What the control thread has of an accepted connection is not made here, but it is bounded and added.
//!
//! Requests come as a busy port delivers them, 32 at once and each for another connection, and once more
//! one at a time, when nothing can be fetched ahead. Timed is what the worker does and nothing of its peer
//! or its clients; but their part of an exchange goes through the same cache in between.

mod clock;

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use clock::breath;
use harness::World;
use harness::frame::Random;
use harness::peers::{BATCH, Peers};
use inet::command::SocketOption;

/// The system's allocator, and how many bytes are out.
struct Counting;

static BYTES: AtomicU64 = AtomicU64::new(0);

// SAFETY: hands every call on to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let _ = BYTES.fetch_add(layout.size() as u64, Ordering::Relaxed);
        // SAFETY: the caller's promises are those of the system's allocator.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        let _ = BYTES.fetch_sub(layout.size() as u64, Ordering::Relaxed);
        // SAFETY: the caller's promises are those of the system's allocator.
        unsafe { System.dealloc(place, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Most bytes of an accepted connection in the control thread: its entry, whose length the daemon
/// asserts; the entry's number in the table by descriptor (5 bytes, at worst doubled a moment ago from
/// 7/8 full); its place in the client's list of cells; and the daemon's end of its descriptor with two
/// counts, which it shares with the worker.
const CONTROL_LEN: u64 = inet::limits::CONTROL_ENTRY_LEN as u64 + 5 * 2 * 8 / 7 + 8 + 24;

/// Connections of one client.
const PER_CLIENT: u16 = 8000;
/// Bursts of exchanges timed at each size.
const BURSTS: usize = 3000;
/// The same under callgrind, which is slow and exact.
const COUNTED_BURSTS: usize = 200;

/// Bytes now: of the allocator, private, shared.
fn memory() -> [u64; 3] {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let kib = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name));
        let word = line.and_then(|line| line.split_whitespace().nth(1));
        word.and_then(|word| word.parse::<u64>().ok()).unwrap_or(0) * 1024
    };
    [BYTES.load(Ordering::Relaxed), kib("RssAnon"), kib("RssShmem")]
}

fn quiet(world: &mut World) {
    world.pass(core::time::Duration::from_micros(20));
}

/// Adds clients until there are so many; how many connections each has.
fn add_clients(world: &mut World, clients: usize) -> Result<Vec<u16>, String> {
    for _ in 1..clients {
        let _ = world.add_client()?;
    }
    Ok(vec![0; clients])
}

/// Opens connections until there are `count`, shared out evenly among the clients, of whom each has `opened`
/// so many.
fn grow(
    world: &mut World,
    peers: &mut Peers,
    opened: &mut [u16],
    count: usize,
) -> Result<(), String> {
    let clients = opened.len();
    for (number, opened) in opened.iter_mut().enumerate() {
        let share =
            count.saturating_mul(number + 1) / clients - count.saturating_mul(number) / clients;
        let end = u16::try_from(share).unwrap_or(u16::MAX).min(PER_CLIENT);
        let client = u16::try_from(number).map_err(|e| e.to_string())?;
        let port = 80 + client;
        if *opened == 0 {
            // A connection acknowledges its first segments one by one until it has seen that it is a
            // dialogue. Each of a thousand has long seen it when it is timed, none of a million had.
            world.listen_with(client, port, 128, vec![SocketOption::QuickAck(false)]);
        }
        peers.open(world, (client, port), 10_000 + *opened..10_000 + end, &mut quiet)?;
        *opened = end.max(*opened);
    }
    Ok(())
}

/// Does what is still to be done for new connections, and for their timers.
fn settle(world: &mut World) {
    world.pass(core::time::Duration::from_secs(2));
    for _ in 0..2000 {
        quiet(world);
    }
    world.each_sent(|_| {});
    world.events.clear();
}

/// One request on each connection, so that none that is timed is its first: that one takes pages of
/// the client's memory from the kernel.
fn warm(world: &mut World, peers: &mut Peers) -> Result<(), String> {
    let all: Vec<usize> = (0..peers.list.len()).collect();
    for which in all.chunks(BATCH.into()) {
        peers.exchange(world, which, &mut quiet)?;
        world.events.clear();
    }
    Ok(())
}

/// The worker's time in cycles of the time stamp counter for each request and response on
/// connections chosen at random: median and minimum of all bursts.
fn exchange(
    world: &mut World,
    peers: &mut Peers,
    random: &mut Random,
    (bursts, at_once): (usize, usize),
) -> Result<(u64, u64), String> {
    let mut cycles = Vec::with_capacity(bursts);
    for _ in 0..bursts {
        let mut which = Vec::with_capacity(BATCH.into());
        while which.len() < usize::from(BATCH) {
            let index = random.below(peers.list.len());
            if !which.contains(&index) {
                which.push(index);
            }
        }
        let mut spent = 0;
        let mut timed = |world: &mut World| spent += breath(world);
        for together in which.chunks(at_once) {
            peers.exchange(world, together, &mut timed)?;
        }
        world.events.clear();
        cycles.push(spent / u64::from(BATCH));
    }
    cycles.sort_unstable();
    let at = |part: usize| cycles.get(cycles.len() * part / 100).copied().unwrap_or(0);
    Ok((at(50), at(1)))
}

/// What callgrind is to count: requests and responses on connections chosen at random.
fn run_counted(size: usize, clients: usize) -> Result<(), String> {
    let (mut world, mut peers) = (World::new()?, Peers::new()?);
    let mut opened = add_clients(&mut world, clients)?;
    grow(&mut world, &mut peers, &mut opened, size)?;
    settle(&mut world);
    warm(&mut world, &mut peers)?;
    println!("ready");
    let _ = std::io::stdin().read_line(&mut String::new()).map_err(|e| e.to_string())?;
    let much = (COUNTED_BURSTS, BATCH.into());
    let _ = exchange(&mut world, &mut peers, &mut Random::new(1), much)?;
    println!("{} requests", COUNTED_BURSTS * usize::from(BATCH));
    Ok(())
}

fn run(sizes: &[usize], clients: usize) -> Result<(), String> {
    let mut world = World::new()?;
    let mut peers = Peers::new()?;
    let mut random = Random::new(1);
    let mut list = Vec::new();
    list.reserve_exact(sizes.iter().copied().max().unwrap_or(0));
    peers.list = list;
    let start = memory();
    let mut opened = add_clients(&mut world, clients)?;
    println!(
        "connections  bytes each: allocator  + control  private  shared     RR cycles: median     1 %  singly   opened in"
    );
    for size in sizes {
        let started = Instant::now();
        grow(&mut world, &mut peers, &mut opened, *size)?;
        let seconds = started.elapsed().as_secs_f64();
        settle(&mut world);
        let each = |now: u64, then: u64| now.saturating_sub(then) / *size as u64;
        let now = memory();
        warm(&mut world, &mut peers)?;
        let much = (BURSTS, BATCH.into());
        let (median, low) = exchange(&mut world, &mut peers, &mut random, much)?;
        let (single, _) = exchange(&mut world, &mut peers, &mut random, (BURSTS, 1))?;
        println!(
            "{size:>11}  {:>22}  {:>9}  {:>7}  {:>6}  {median:>19}  {low:>6}  {single:>6}  {seconds:>8.1} s",
            each(now[0], start[0]),
            each(now[0], start[0]) + CONTROL_LEN,
            each(now[1], start[1]),
            each(now[2], start[2]),
        );
    }
    println!(
        "clients: {clients}, timers armed: {}, flows: {}",
        world.worker.usage().timers,
        world.worker.usage().flows
    );
    Ok(())
}

fn main() {
    let words: Vec<String> = std::env::args().collect();
    let asked = words.iter().position(|word| word == "--clients").map(|at| at + 1);
    let number = |at: usize| words.get(at).and_then(|word| word.parse::<usize>().ok());
    let sizes: Vec<usize> =
        (0..words.len()).filter(|at| Some(*at) != asked).filter_map(number).collect();
    let sizes = if sizes.is_empty() { vec![1000, 10_000, 100_000, 1_000_000] } else { sizes };
    let most = sizes.iter().copied().max().unwrap_or(0);
    let clients = asked.and_then(number).unwrap_or_else(|| most.div_ceil(PER_CLIENT.into())).max(1);
    let done = if words.iter().any(|word| word == "--counted") {
        sizes.first().map_or(Ok(()), |size| run_counted(*size, clients))
    } else {
        run(&sizes, clients)
    };
    if let Err(why) = done {
        eprintln!("connections: {why}");
        std::process::exit(1);
    }
}
