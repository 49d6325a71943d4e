//! A bad link between two interfaces: seeded loss, delay, reordering, corruption, a rate and a queue.
//!
//! Each interface is taken with a packet socket, so nothing is set up but the two of them: the
//! kernel's end of io-pkt's tap, and one end of a veth pair whose other end has a kernel stack.
//! Whoever sends must finish checksums and not join segments (`ethtool -K DEV tx off tso off gso off`).
#![forbid(unsafe_code)]

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use clap::Parser;
use harness::impair::{Impairment, Lane, Passage};
use nix::ifaddrs::getifaddrs;
use nix::sys::socket::{self, AddressFamily, SockFlag, SockProtocol, SockType};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

/// Bytes of the longest frame an interface without offloads hands over: far more than needed.
const FRAME_LEN_MAX: usize = 1 << 16;
/// Bytes that may wait in each packet socket, so that a burst meets our queue and not the kernel's.
const SOCKET_BUFFER_LEN: usize = 64 << 20;
/// Frames taken from one side before the other has its turn.
const BURST: usize = 64;

/// Joins two interfaces by a bad link until it is told to end; then says what it did.
#[derive(Debug, Parser)]
#[command(
    name = "link",
    after_help = "A specification: loss=1%,duplicate=1%,corrupt=1%,reorder=1%,behind=1ms,delay=5ms,jitter=1ms,\
                  rate=100M,queue=64K\nExample:\n  link iop0 k1 --both loss=1%,delay=1ms --there rate=10M --seed 7"
)]
struct Args {
    /// An interface.
    here: String,
    /// The other.
    there: String,
    /// What happens in both directions.
    #[arg(long, default_value = "")]
    both: String,
    /// What happens besides on the way from the first to the second.
    #[arg(long, default_value = "")]
    forth: String,
    /// What happens besides on the way from the second to the first.
    #[arg(long, default_value = "")]
    back: String,
    /// The same seed takes the same decisions.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// An interface, taken with a packet socket.
struct Port {
    name: String,
    socket: OwnedFd,
    /// The interface's own count when the link began.
    rx_before: u64,
    /// Frames the interface would not take.
    refused: u64,
}

impl Port {
    fn open(name: &str) -> io::Result<Self> {
        let of_name = |what: io::Error| io::Error::new(what.kind(), format!("{name}: {what}"));
        // A link-layer address as the kernel lists it names the interface and no protocol; bind
        // then keeps the socket's own, which is every protocol.
        let address = getifaddrs()?
            .filter(|entry| entry.interface_name == name)
            .find_map(|entry| entry.address?.as_link_addr().copied())
            .ok_or_else(|| of_name(io::ErrorKind::NotFound.into()))?;
        let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
        let (family, protocol) = (AddressFamily::Packet, SockProtocol::EthAll);
        let socket = socket::socket(family, SockType::Raw, flags, protocol)?;
        socket::setsockopt(&socket, socket::sockopt::RcvBufForce, &SOCKET_BUFFER_LEN)?;
        socket::setsockopt(&socket, socket::sockopt::SndBuf, &SOCKET_BUFFER_LEN)?;
        socket::bind(socket.as_raw_fd(), &address)?;
        let rx_before = rx_count(name).map_err(of_name)?;
        let port = Self { name: name.to_owned(), socket, rx_before, refused: 0 };
        // Between the two calls the socket heard all interfaces.
        let mut buffer = vec![0; FRAME_LEN_MAX];
        while port.receive(&mut buffer)?.is_some() {}
        Ok(port)
    }

    fn receive(&self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        match rustix::io::read(&self.socket, buffer) {
            Ok(len) => Ok(Some(len)),
            // An interface that goes down says so once; it may come back.
            Err(Errno::AGAIN | Errno::NETDOWN) => Ok(None),
            Err(e) => Err(e.into()),
        }
    }

    fn send(&mut self, frame: &[u8]) {
        if rustix::io::write(&self.socket, frame) != Ok(frame.len()) {
            self.refused += 1;
        }
    }
}

/// Frames the interface has received, as it counts them.
fn rx_count(name: &str) -> io::Result<u64> {
    let text = fs::read_to_string(format!("/sys/class/net/{name}/statistics/rx_packets"))?;
    text.trim().parse().map_err(|_| io::ErrorKind::InvalidData.into())
}

/// A frame on its way: ordered by time of arrival, then by when it came.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Flying {
    due: Duration,
    number: u64,
    to: usize,
    frame: Vec<u8>,
}

struct Link {
    ports: [Port; 2],
    lanes: [Lane; 2],
    flying: BinaryHeap<Reverse<Flying>>,
    spare: Vec<Vec<u8>>,
    buffer: Vec<u8>,
    number: u64,
    started: Instant,
}

impl Link {
    fn new(args: &Args) -> Result<Self, Box<dyn std::error::Error>> {
        let spec = |way: &str| format!("{},{way}", args.both).parse::<Impairment>();
        let lanes = [
            Lane::new(spec(&args.forth)?, args.seed, 0),
            Lane::new(spec(&args.back)?, args.seed, 1),
        ];
        Ok(Self {
            ports: [Port::open(&args.here)?, Port::open(&args.there)?],
            lanes,
            flying: BinaryHeap::new(),
            spare: Vec::new(),
            buffer: vec![0; FRAME_LEN_MAX],
            number: 0,
            started: Instant::now(),
        })
    }

    /// Takes what has come to one side; true if there may be more.
    fn take(&mut self, from: usize) -> io::Result<bool> {
        let to = 1 - from;
        for _ in 0..BURST {
            let Some(len) = self.ports[from].receive(&mut self.buffer)? else { return Ok(false) };
            let now = self.started.elapsed();
            match self.lanes[from].pass(&mut self.buffer[..len], now) {
                Passage::Dropped => {}
                Passage::Once(due) if due <= now && self.flying.is_empty() => {
                    self.ports[to].send(&self.buffer[..len]);
                }
                Passage::Once(due) => self.launch(len, to, due),
                Passage::Twice(first, second) => {
                    self.launch(len, to, first);
                    self.launch(len, to, second);
                }
            }
        }
        Ok(true)
    }

    fn launch(&mut self, len: usize, to: usize, due: Duration) {
        let mut frame = self.spare.pop().unwrap_or_default();
        frame.clear();
        frame.extend_from_slice(&self.buffer[..len]);
        self.number += 1;
        self.flying.push(Reverse(Flying { due, number: self.number, to, frame }));
    }

    /// Hands over what has arrived by now; returns how long until the next.
    fn land(&mut self) -> Option<Duration> {
        loop {
            let due = self.flying.peek()?.0.due;
            let wait = due.saturating_sub(self.started.elapsed());
            if !wait.is_zero() {
                return Some(wait);
            }
            let Reverse(flying) = self.flying.pop()?;
            self.ports[flying.to].send(&flying.frame);
            self.spare.push(flying.frame);
        }
    }

    fn run(&mut self, end: &AtomicBool) -> io::Result<()> {
        while !end.load(Ordering::Relaxed) {
            let more = self.take(0)? | self.take(1)?;
            let wait = self.land();
            if more {
                continue;
            }
            let wait = wait.and_then(|wait| Timespec::try_from(wait).ok());
            let mut fds = [0, 1]
                .map(|n| PollFd::from_borrowed_fd(self.ports[n].socket.as_fd(), PollFlags::IN));
            match poll(&mut fds, wait.as_ref()) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(e) => return Err(e.into()),
            }
        }
        Ok(())
    }

    /// One line per direction, names and numbers in turn.
    fn report(&mut self) {
        for from in [0, 1] {
            let (port, tally) = (&self.ports[from], self.lanes[from].tally());
            let seen = rx_count(&port.name).unwrap_or(0).saturating_sub(port.rx_before);
            // What still comes at the end was not missed. The interface counts a frame first.
            std::thread::sleep(Duration::from_millis(1));
            let mut late = 0;
            while matches!(port.receive(&mut self.buffer), Ok(Some(_))) {
                late += 1;
            }
            println!(
                "from {} received {} lost {} overflowed {} duplicated {} corrupted {} reordered {} refused {} missed {}",
                port.name,
                tally.received,
                tally.lost,
                tally.overflowed,
                tally.duplicated,
                tally.corrupted,
                tally.reordered,
                self.ports[1 - from].refused,
                seen.saturating_sub(tally.received + late),
            );
        }
    }
}

fn run() -> Result<(), Box<dyn std::error::Error>> {
    let mut link = Link::new(&Args::parse())?;
    let end = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGTERM, signal_hook::consts::SIGINT] {
        let _ = signal_hook::flag::register(signal, Arc::clone(&end))?;
    }
    println!("ready");
    let outcome = link.run(&end);
    link.report();
    Ok(outcome?)
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("link: {why}");
            ExitCode::FAILURE
        }
    }
}
