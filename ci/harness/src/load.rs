//! A server and its load, in plain std::net: the same program runs on the kernel and, under
//! `iopkt run`, on io-pkt.
#![forbid(unsafe_code)]

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::{Parser, Subcommand};

/// Bytes of a request and of its response.
const MESSAGE: usize = 64;
/// Bytes of one write in bulk.
const CHUNK: usize = 64 * 1024;

/// Request/response and bulk transfer over TCP.
#[derive(Debug, Parser)]
#[command(
    name = "load",
    after_help = "Example:\n  load server 0.0.0.0:9100 &  load rr 127.0.0.1:9100 --seconds 2"
)]
struct Args {
    #[command(subcommand)]
    role: Role,
}

#[derive(Debug, Subcommand)]
enum Role {
    /// Serves: the first byte of a connection says what it is for.
    Server { address: SocketAddr },
    /// 64-byte requests, one at a time; prints rate and percentiles.
    Rr {
        address: SocketAddr,
        #[arg(long, default_value_t = 2.0)]
        seconds: f64,
    },
    /// Sends as fast as it goes; prints the rate the server confirms.
    Send {
        address: SocketAddr,
        #[arg(long, default_value_t = 2.0)]
        seconds: f64,
    },
    /// Receives as fast as it goes.
    Receive {
        address: SocketAddr,
        #[arg(long, default_value_t = 2.0)]
        seconds: f64,
    },
}

fn serve(mut stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut what = [0];
    stream.read_exact(&mut what)?;
    match what {
        [b'r'] => {
            let mut message = [0; MESSAGE];
            loop {
                stream.read_exact(&mut message)?;
                stream.write_all(&message)?;
            }
        }
        [b's'] => {
            let (mut chunk, mut total) = (vec![0; CHUNK], 0_u64);
            loop {
                match stream.read(&mut chunk)? {
                    0 => return stream.write_all(&total.to_le_bytes()),
                    len => total += len as u64,
                }
            }
        }
        _ => {
            let chunk = vec![7; CHUNK];
            loop {
                stream.write_all(&chunk)?;
            }
        }
    }
}

fn server(address: SocketAddr) -> io::Result<()> {
    let listener = TcpListener::bind(address)?;
    loop {
        let (stream, _) = listener.accept()?;
        let _ = std::thread::spawn(move || match serve(stream) {
            Err(e)
                if !matches!(
                    e.kind(),
                    ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset | ErrorKind::BrokenPipe
                ) =>
            {
                eprintln!("load server: {e}");
            }
            _ => {}
        });
    }
}

fn connect(address: SocketAddr, what: u8) -> io::Result<TcpStream> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    stream.write_all(&[what])?;
    Ok(stream)
}

fn rr(address: SocketAddr, time: Duration) -> io::Result<()> {
    let mut stream = connect(address, b'r')?;
    let mut message = [7; MESSAGE];
    let mut took = Vec::with_capacity(1 << 20);
    let started = Instant::now();
    while started.elapsed() < time {
        let sent = Instant::now();
        stream.write_all(&message)?;
        stream.read_exact(&mut message)?;
        took.push(sent.elapsed());
    }
    let rate = took.len() as f64 / started.elapsed().as_secs_f64();
    took.sort_unstable();
    let at = |share: usize| {
        let index = took.len().saturating_sub(1) * share / 1000;
        took.get(index).map_or(0.0, |d| d.as_secs_f64() * 1e6)
    };
    println!("rate {rate:.0} p50 {:.1} p99 {:.1} p999 {:.1}", at(500), at(990), at(999));
    Ok(())
}

fn send(address: SocketAddr, time: Duration) -> io::Result<()> {
    let mut stream = connect(address, b's')?;
    let chunk = vec![7; CHUNK];
    let started = Instant::now();
    while started.elapsed() < time {
        stream.write_all(&chunk)?;
    }
    stream.shutdown(std::net::Shutdown::Write)?;
    let mut total = [0; 8];
    stream.read_exact(&mut total)?;
    let bits = u64::from_le_bytes(total) as f64 * 8.0;
    println!("gbit {:.3}", bits / started.elapsed().as_secs_f64() / 1e9);
    Ok(())
}

fn receive(address: SocketAddr, time: Duration) -> io::Result<()> {
    let mut stream = connect(address, b'b')?;
    let (mut chunk, mut total) = (vec![0; CHUNK], 0_u64);
    let started = Instant::now();
    while started.elapsed() < time {
        total += stream.read(&mut chunk)? as u64;
    }
    println!("gbit {:.3}", total as f64 * 8.0 / started.elapsed().as_secs_f64() / 1e9);
    Ok(())
}

fn main() -> ExitCode {
    let seconds = Duration::from_secs_f64;
    let outcome = match Args::parse().role {
        Role::Server { address } => server(address),
        Role::Rr { address, seconds: s } => rr(address, seconds(s)),
        Role::Send { address, seconds: s } => send(address, seconds(s)),
        Role::Receive { address, seconds: s } => receive(address, seconds(s)),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("load: {why}");
            ExitCode::FAILURE
        }
    }
}
