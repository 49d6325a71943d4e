//! Loads of one connection, in blocking calls, and what they found out.

use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::sockets::{Datagrams, Kind, Stream};
use crate::{CHUNK, MESSAGE};

/// A connection whose first byte says what it is for.
pub(crate) fn connect(kind: Kind, address: SocketAddr, what: u8) -> io::Result<Stream> {
    let mut stream = Stream::connect(kind, address)?;
    stream.set_nodelay()?;
    stream.write_all(&[what])?;
    Ok(stream)
}

/// Prints the rate and percentiles of what `took` so long each.
pub(crate) fn report(mut took: Vec<Duration>, in_all: Duration) {
    let rate = took.len() as f64 / in_all.as_secs_f64();
    took.sort_unstable();
    let at = |share: usize| {
        let index = took.len().saturating_sub(1) * share / 1000;
        took.get(index).map_or(0.0, |d| d.as_secs_f64() * 1e6)
    };
    println!("rate {rate:.0} p50 {:.1} p99 {:.1} p999 {:.1}", at(500), at(990), at(999));
}

/// One request after the other, each after so long a silence.
pub(crate) fn rr(
    kind: Kind,
    address: SocketAddr,
    time: Duration,
    silence: Duration,
) -> io::Result<()> {
    let mut stream = connect(kind, address, b'r')?;
    let mut message = [7; MESSAGE];
    let mut took = Vec::with_capacity(1 << 20);
    let started = Instant::now();
    while started.elapsed() < time {
        std::thread::sleep(silence);
        let sent = Instant::now();
        stream.write_all(&message)?;
        stream.read_exact(&mut message)?;
        took.push(sent.elapsed());
    }
    report(took, started.elapsed());
    Ok(())
}

/// Two sockets, one after the other.
pub(crate) fn open(kind: Kind) -> io::Result<()> {
    for name in ["first", "next"] {
        let started = Instant::now();
        let _socket = Datagrams::bind(kind, SocketAddr::from(([0; 4], 0)))?;
        print!("{name} {:.1} ", started.elapsed().as_secs_f64() * 1e6);
    }
    println!();
    Ok(())
}

/// Handshake, one request, its response, close.
pub(crate) fn crr(kind: Kind, address: SocketAddr, time: Duration) -> io::Result<()> {
    let mut took = Vec::with_capacity(1 << 16);
    let started = Instant::now();
    while started.elapsed() < time {
        let began = Instant::now();
        let mut stream = Stream::connect(kind, address)?;
        let mut message = [b'r'; MESSAGE + 1];
        stream.write_all(&message)?;
        stream.read_exact(&mut message[..MESSAGE])?;
        drop(stream);
        took.push(began.elapsed());
    }
    report(took, started.elapsed());
    Ok(())
}

/// Bytes that the server says it got.
pub(crate) fn send(kind: Kind, address: SocketAddr, time: Duration) -> io::Result<u64> {
    let mut stream = connect(kind, address, b's')?;
    let chunk = vec![7; CHUNK];
    let started = Instant::now();
    while started.elapsed() < time {
        stream.put(&chunk)?;
    }
    stream.shutdown_write()?;
    let mut total = [0; 8];
    stream.read_exact(&mut total)?;
    Ok(u64::from_le_bytes(total))
}

/// Bytes that came.
pub(crate) fn receive(kind: Kind, address: SocketAddr, time: Duration) -> io::Result<u64> {
    let mut stream = connect(kind, address, b'b')?;
    let (mut chunk, mut total) = (vec![0; CHUNK], 0_u64);
    let started = Instant::now();
    while started.elapsed() < time {
        total += stream.get(&mut chunk)? as u64;
    }
    Ok(total)
}

/// Prints the rate of `count` bulk loads at once.
pub(crate) fn together(
    count: usize,
    load: impl Fn() -> io::Result<u64> + Clone + Send + 'static,
) -> io::Result<()> {
    let started = Instant::now();
    let threads: Vec<_> = (0..count.max(1)).map(|_| std::thread::spawn(load.clone())).collect();
    let mut total = 0;
    for thread in threads {
        total += thread.join().map_err(|_| io::Error::other("a thread panicked"))??;
    }
    println!("gbit {:.3}", total as f64 * 8.0 / started.elapsed().as_secs_f64() / 1e9);
    Ok(())
}
