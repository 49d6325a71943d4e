//! Loads of one UDP socket, in blocking calls, and what they talk to.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::client::report;
use crate::sockets::{Datagrams, Kind};

/// Bytes of a datagram: 64 bytes on the wire, without the frame's checksum 60.
const DATAGRAM: usize = 18;
/// The same for one that is counted and not sent back.
const COUNTED: usize = DATAGRAM - 1;
/// The question how many of those have come since the last such question.
const QUESTION: usize = 1;
/// The order to send so many milliseconds long.
const ORDER: usize = size_of::<u64>();
/// How long a datagram may stay away before it counts as lost.
const LOST: Duration = Duration::from_millis(100);
/// Questions that may be lost.
const QUESTIONS: usize = 20;
/// Datagrams between two looks at the clock.
const ROUND: usize = 32;

fn connect(kind: Kind, address: SocketAddr) -> io::Result<Datagrams> {
    let any = match address {
        SocketAddr::V4(_) => SocketAddr::from(([0; 4], 0)),
        SocketAddr::V6(_) => SocketAddr::from(([0_u16; 8], 0)),
    };
    let socket = Datagrams::bind(kind, any)?;
    socket.connect(address)?;
    socket.set_read_timeout(LOST)?;
    Ok(socket)
}

fn is_late(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}

/// Sends each datagram back, but for those that say otherwise by their length.
pub(crate) fn serve(socket: &Datagrams) -> io::Result<()> {
    let (mut datagram, mut count) = ([0; 2048], 0_u64);
    loop {
        let (len, from) = socket.recv_from(&mut datagram)?;
        match len {
            COUNTED => count += 1,
            QUESTION => {
                let _ = socket.send_to(&count.to_le_bytes(), from);
                count = 0;
            }
            ORDER => {
                let order = datagram.first_chunk().copied().unwrap_or_default();
                let time = Duration::from_millis(u64::from_le_bytes(order));
                let _ = pour(time, |datagram| socket.send_to(datagram, from));
            }
            _ => {
                let _ = socket.send_to(&datagram[..len], from);
            }
        }
    }
}

/// Datagrams one after the other; the time it took.
fn pour(time: Duration, send: impl Fn(&[u8]) -> io::Result<usize>) -> Duration {
    let started = Instant::now();
    while started.elapsed() < time {
        for _ in 0..ROUND {
            // One that finds no room is lost, as it may be anywhere.
            let _ = send(&[7; COUNTED]);
        }
    }
    started.elapsed()
}

/// Prints the rate of those that have arrived.
pub(crate) fn send(kind: Kind, address: SocketAddr, time: Duration) -> io::Result<()> {
    let socket = connect(kind, address)?;
    let took = pour(time, |datagram| socket.send(datagram));
    let mut answer = [0; 8];
    for _ in 0..QUESTIONS {
        let _ = socket.send(&[0; QUESTION])?;
        match socket.recv(&mut answer) {
            Ok(_) => {
                let arrived = u64::from_le_bytes(answer) as f64;
                println!("rate {:.0}", arrived / took.as_secs_f64());
                return Ok(());
            }
            Err(e) if is_late(&e) => {}
            Err(e) => return Err(e),
        }
    }
    Err(io::Error::new(ErrorKind::TimedOut, "the server does not say how many have arrived"))
}

/// Prints the rate of those that come.
pub(crate) fn receive(kind: Kind, address: SocketAddr, time: Duration) -> io::Result<()> {
    let socket = connect(kind, address)?;
    let millis = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    let _ = socket.send(&millis.to_le_bytes())?;
    let (mut count, mut datagram) = (0_u64, [0; 2048]);
    loop {
        match socket.recv(&mut datagram) {
            Ok(_) => count += 1,
            Err(e) if is_late(&e) => break,
            Err(e) => return Err(e),
        }
    }
    println!("rate {:.0}", count as f64 / time.as_secs_f64());
    Ok(())
}

/// Keeps `window` datagrams on their way; each carries the time it left.
pub(crate) fn echo(
    kind: Kind,
    address: SocketAddr,
    time: Duration,
    window: usize,
) -> io::Result<()> {
    let socket = connect(kind, address)?;
    let started = Instant::now();
    let send = || {
        let mut datagram = [7; DATAGRAM];
        let now = started.elapsed().as_nanos().to_le_bytes();
        datagram[..16].copy_from_slice(&now);
        socket.send(&datagram)
    };
    let (mut took, mut lost, mut buffer) = (Vec::with_capacity(1 << 20), 0_usize, [0; 2048]);
    for _ in 0..window {
        let _ = send()?;
    }
    while started.elapsed() < time {
        match socket.recv(&mut buffer) {
            Ok(DATAGRAM) => {
                let mut then = [0; 16];
                then.copy_from_slice(&buffer[..16]);
                let then =
                    Duration::from_nanos(u64::try_from(u128::from_le_bytes(then)).unwrap_or(0));
                took.push(started.elapsed().saturating_sub(then));
                let _ = send()?;
            }
            Ok(_) => return Err(io::Error::new(ErrorKind::InvalidData, "another datagram")),
            Err(e) if is_late(&e) => {
                lost += window;
                for _ in 0..window {
                    let _ = send()?;
                }
            }
            Err(e) => return Err(e),
        }
    }
    print!("lost {lost} ");
    report(took, started.elapsed());
    Ok(())
}
