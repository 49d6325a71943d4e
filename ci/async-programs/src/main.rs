//! Programs on tokio, axum, mio and async-io whose sockets are the stack's, for the tests.
//!
//! ```text
//! async-programs axum ADDRESS           a web server: GET / says hello, GET /zeros/N sends N bytes, POST / echoes
//! async-programs tokio-echo ADDRESS     a server of UDP and TCP that echoes
//! async-programs tokio ADDRESS COUNT    so many connections at once send 100 kB each and read them back
//! async-programs mio ADDRESS            a server that echoes
//! async-programs async-io ADDRESS       a connection that sends 100 kB and reads them back
//! ```
#![forbid(unsafe_code)]

mod mio_echo;
mod smol;
mod web;

use std::io;
use std::net::SocketAddr;

use io_pkt_client::tokio::{TcpListener, TcpStream, UdpSocket};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::runtime::Builder;

/// What a client sends and wants back.
const LEN: usize = 100_000;

fn main() -> io::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let invalid = |_| io::Error::from(io::ErrorKind::InvalidInput);
    let [verb, address, rest @ ..] = words.as_slice() else {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "a verb and an address"));
    };
    let address: SocketAddr = address.parse().map_err(invalid)?;
    let runtime = Builder::new_current_thread().enable_io().enable_time().build()?;
    match (*verb, rest) {
        ("axum", []) => runtime.block_on(web::serve(address)),
        ("tokio-echo", []) => runtime.block_on(echo(address)),
        ("tokio", [count]) => {
            let count = count.parse().map_err(|_| io::ErrorKind::InvalidInput)?;
            runtime.block_on(connections(address, count))
        }
        ("mio", []) => mio_echo::serve(address),
        ("async-io", []) => smol::round_trip(address),
        _ => Err(io::Error::new(io::ErrorKind::InvalidInput, "an unknown verb")),
    }
}

/// Echoes datagrams, and each connection until its end.
async fn echo(address: SocketAddr) -> io::Result<()> {
    let (listener, socket) = (TcpListener::bind(address)?, UdpSocket::bind(address)?);
    println!("ready");
    let _datagrams = tokio::spawn(async move {
        let mut buffer = [0; 2048];
        while let Ok((len, from)) = socket.recv_from(&mut buffer).await {
            if socket.send_to(buffer.get(..len).unwrap_or_default(), from).await.is_err() {
                break;
            }
        }
    });
    loop {
        let (stream, _) = listener.accept().await?;
        let _served = tokio::spawn(async move {
            let (mut from, mut to) = tokio::io::split(stream);
            let _ended = tokio::io::copy(&mut from, &mut to).await;
            to.shutdown().await
        });
    }
}

/// Connections that all wait at the same time, in one thread.
async fn connections(address: SocketAddr, count: usize) -> io::Result<()> {
    let tasks: Vec<_> = (0..count).map(|number| tokio::spawn(one(address, number))).collect();
    for task in tasks {
        task.await.map_err(io::Error::other)??;
    }
    let refused = TcpStream::connect(SocketAddr::new(address.ip(), 1)).await.map(drop);
    println!(
        "{count} came back, and nobody at port 1: {:?}",
        refused.map_err(|error| error.kind())
    );
    Ok(())
}

async fn one(address: SocketAddr, number: usize) -> io::Result<()> {
    let sent: Vec<u8> = (0..LEN).map(|at| (at ^ number).to_le_bytes()[0]).collect();
    let (mut from, mut to) = tokio::io::split(TcpStream::connect(address).await?);
    let copy = sent.clone();
    let writer = tokio::spawn(async move {
        to.write_all(&copy).await?;
        to.shutdown().await
    });
    let mut came = Vec::new();
    let _len = from.read_to_end(&mut came).await?;
    writer.await.map_err(io::Error::other)??;
    if came == sent { Ok(()) } else { Err(io::Error::other(format!("{} bytes came", came.len()))) }
}
