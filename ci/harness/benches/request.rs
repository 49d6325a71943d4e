//! What a request of 64 bytes and its response cost a client and its worker that both poll: cycles of the time
//! stamp counter, one at a time and 32 at once behind a port with offloads; and how long it takes between two whole
//! stacks in this process, beside the kernel's in the same minute.
//!
//! `cargo bench -p harness --bench request [-- FIRST SECOND ADDRESS SPACE]`. The client reads and writes with what
//! the library reads and writes with; the worker takes two breaths, one with the requests (and the acknowledgements
//! of the responses before them) and one that sends the responses. The peer is not timed. Of all samples the middle
//! is printed, and below which a tenth of them are.
//!
//! Between two stacks all of it is timed: both programs' part, both workers' and the wire's, one after the other
//! in one thread. The kernel's stack is at both ends of its loopback, with two threads that block, as most programs
//! do, and once more with one thread that has both ends and never sleeps.
//!
//! With arguments (root) the same over a veth: FIRST and SECOND are the ends of a pair, which the two stacks have by
//! `net_af_xdp`; ADDRESS is at the far end of another pair, in the network namespace SPACE, and reached by the kernel
//! from here.

mod clock;

use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::path::Path as FilePath;
use std::time::{Duration, Instant};

use clock::{breath, clock};
use harness::World;
use harness::pair::Pair;
use harness::path::{BURST, Kind, Path};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// Requests of a spell.
const SPELL: u32 = 8_000;
/// Turns of what is compared, of which the middle one counts.
const TURNS: usize = 21;
/// Requests of one turn: between the stacks, over rings and over the kernel's devices; and of the kernel.
const PAIRED: u32 = 25_600;
const LOOPED: u32 = 9_600;

/// Requests that are on their way at once, if not one at a time.
const AT_ONCE: u16 = 32;

/// Both ends of a connection.
type Ends = (TcpStream, TcpStream);

/// What stands for many samples: the middle one, and the one below which a tenth of them are.
#[derive(Clone, Copy)]
struct Figure {
    middle: u64,
    tenth: u64,
}

impl Figure {
    fn of(mut all: Vec<u64>) -> Self {
        all.sort_unstable();
        let at = |place: usize| all.get(place).copied().unwrap_or(0);
        Self { middle: at(all.len() / 2), tenth: at(all.len() / 10) }
    }

    fn print(self, what: &str) {
        println!("{what} {} {what}_tenth {}", self.middle, self.tenth);
    }
}

/// Cycles of the client and of the worker for each request of a path, in spells: a machine has moods that last longer
/// than one.
struct Parts {
    path: Path,
    at_once: u64,
    client: Vec<u64>,
    worker: Vec<u64>,
    request: Vec<u64>,
}

impl Parts {
    fn new(world: &mut World, kind: Kind, at_once: u32) -> Result<Self, String> {
        let path = Path::new(world, kind)?;
        Ok(Self {
            path,
            at_once: at_once.into(),
            client: Vec::new(),
            worker: Vec::new(),
            request: Vec::new(),
        })
    }

    fn spell(&mut self, world: &mut World) -> Result<(), String> {
        let Self { path, at_once, client, worker, request } = self;
        let (mut requests_came, mut arriving, mut left) = (false, 0, 0);
        for _ in 0..SPELL / BURST {
            let _ = path.burst(world, |world| {
                let entered = clock();
                let cycles = breath(world);
                requests_came = !requests_came;
                if requests_came {
                    (arriving, left) = (cycles, clock());
                } else {
                    let (theirs, ours) = (entered.saturating_sub(left), arriving + cycles);
                    client.push(theirs / *at_once);
                    worker.push(ours / *at_once);
                    request.push((theirs + ours) / *at_once);
                }
            })?;
            world.events.clear();
        }
        Ok(())
    }

    fn print(self, suffix: &str) {
        Figure::of(self.client).print(&format!("client{suffix}"));
        Figure::of(self.worker).print(&format!("worker{suffix}"));
        Figure::of(self.request).print(&format!("request{suffix}"));
    }
}

/// A connection of the kernel's to an address that is here, or in another namespace.
fn connect(address: IpAddr, space: Option<&FilePath>) -> std::io::Result<Ends> {
    let listener = std::thread::scope(|scope| {
        let listen = || {
            if let Some(space) = space {
                let network = Some(LinkNameSpaceType::Network);
                move_into_link_name_space(File::open(space)?.as_fd(), network)?;
            }
            TcpListener::bind((address, 0))
        };
        scope.spawn(listen).join().map_err(|_| ErrorKind::Other)?
    })?;
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

/// One thread that has both ends of all connections.
fn polling(mut all: Vec<Ends>) -> std::io::Result<Duration> {
    for (asks, answers) in &all {
        asks.set_nonblocking(true)?;
        answers.set_nonblocking(true)?;
    }
    let rounds = LOOPED / u32::try_from(all.len()).unwrap_or(1);
    let started = Instant::now();
    for _ in 0..rounds {
        all.iter_mut().try_for_each(|(asks, _)| asks.write_all(&[7; 64]))?;
        all.iter_mut().try_for_each(|(_, answers)| poll(answers))?;
        all.iter_mut().try_for_each(|(_, answers)| answers.write_all(&[7; 64]))?;
        all.iter_mut().try_for_each(|(asks, _)| poll(asks))?;
    }
    Ok(started.elapsed())
}

/// Two threads, each of which sleeps until it has something to do.
fn blocking(all: Vec<Ends>) -> std::io::Result<Duration> {
    let (mut asks, mut answers) = all.into_iter().next().ok_or(ErrorKind::NotFound)?;
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

/// Prints the nanoseconds of a request between two stacks, between programs of the kernel's stack that never sleep, and
/// of one connection between such as do, in turns, and `between` them something else.
fn compare(
    name: &str,
    pair: &mut Pair,
    connections: u16,
    ends: impl Fn() -> std::io::Result<Ends>,
    mut between: impl FnMut() -> Result<(), String>,
) -> Result<(), String> {
    let mut all = [const { Vec::new() }; 3];
    let each = |all: Duration, count: u32| u64::try_from((all / count).as_nanos()).unwrap_or(0);
    let kernel = |measure: fn(Vec<Ends>) -> std::io::Result<Duration>| {
        let ends: std::io::Result<Vec<Ends>> = (0..connections).map(|_| ends()).collect();
        ends.and_then(measure).map(|took| each(took, LOOPED)).map_err(|e| e.to_string())
    };
    for turn in 0..=TURNS {
        between()?;
        let started = Instant::now();
        for _ in 0..PAIRED / u32::from(connections) {
            pair.exchange(connections)?;
        }
        let mut found = vec![each(started.elapsed(), PAIRED), kernel(polling)?];
        if connections == 1 {
            found.push(kernel(blocking)?);
        }
        // The first turn warms up.
        if turn > 0 {
            all.iter_mut().zip(found).for_each(|(all, found)| all.push(found));
        }
    }
    // Within a turn the machine is most often of one mood.
    let [pair, polling, _] = &all;
    let times = pair.iter().zip(polling).map(|(pair, polling)| polling * 100 / (*pair).max(1));
    println!("{name}_times_hundredths {}", Figure::of(times.collect()).middle);
    let words = ["pair", "kernel_polling", "kernel"];
    for (word, all) in words.into_iter().zip(all).filter(|(_, all)| !all.is_empty()) {
        println!("{name}_{word}_ns {}", Figure::of(all).middle);
    }
    Ok(())
}

fn run() -> Result<(), String> {
    let mut world = World::new()?;
    let local = IpAddr::from(Ipv4Addr::LOCALHOST);
    let words: Vec<String> = std::env::args().skip(1).filter(|w| !w.starts_with('-')).collect();
    let mut pair = Pair::connect(&mut world, None, AT_ONCE)?;
    let mut parts = Parts::new(&mut world, Kind::RequestAlone, 1)?;
    compare("loopback", &mut pair, 1, || connect(local, None), || parts.spell(&mut world))?;
    parts.print("");
    let mut parts = Parts::new(&mut world, Kind::RequestBurst, BURST)?;
    let mut spell = |world: &mut World| parts.spell(world);
    let ends = || connect(local, None);
    compare("loopback_of_burst", &mut pair, AT_ONCE, ends, || spell(&mut world))?;
    if let [first, second, address, space] = words.as_slice() {
        // A driver that is asked to poll the kernel would do so each time a stack looks for frames.
        let [first, second] = [first, second].map(|end| format!("iface={end},busy_budget=0"));
        let over = Some(("net_af_xdp", [first.as_str(), &second]));
        let mut pair = Pair::connect(&mut world, over, AT_ONCE)?;
        let address = address.parse().map_err(|_| format!("{address} is no address"))?;
        let ends = || connect(address, Some(FilePath::new(space)));
        compare("veth", &mut pair, 1, ends, || spell(&mut world))?;
        compare("veth_of_burst", &mut pair, AT_ONCE, ends, || spell(&mut world))?;
    }
    parts.print("_of_burst");
    Ok(())
}

fn main() {
    if let Err(why) = run() {
        eprintln!("request: {why}");
        std::process::exit(1);
    }
}
