//! What the loads talk to: an epoll loop for requests, one thread for each bulk connection, one for UDP.

use std::collections::HashMap;
use std::io::{self, ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::thread;

use crate::CHUNK;
use crate::content::{Way, serve_verify};
use crate::datagrams;
use crate::many::{Incoming, Waiting};
use crate::sockets::{Datagrams, Kind, Listener, Stream};

/// The listener's number among what is waited for.
const LISTENER: u64 = 0;

/// A connection whose first byte has not come, or one with requests.
struct Connection {
    stream: Stream,
    requests: Option<Incoming>,
}

impl Connection {
    /// Answers what has come; the kind of the connection if it is not one of requests.
    fn serve(&mut self) -> io::Result<Option<u8>> {
        if self.requests.is_none() {
            let mut kind = [0];
            match self.stream.read(&mut kind) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(_) if kind == *b"r" => self.requests = Some(Incoming::new()),
                Ok(_) => return Ok(Some(kind[0])),
                Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(None),
                Err(e) => return Err(e),
            }
        }
        if let Some(incoming) = &mut self.requests
            && let Some(message) = incoming.read(&mut self.stream)?
        {
            self.stream.write_all(&message)?;
        }
        Ok(None)
    }
}

/// Serves one bulk connection to its end.
fn serve_bulk(mut stream: Stream, kind: u8) -> io::Result<()> {
    match kind {
        b's' => {
            let (mut chunk, mut total) = (vec![0; CHUNK], 0_u64);
            loop {
                match stream.get(&mut chunk)? {
                    0 => return stream.write_all(&total.to_le_bytes()),
                    len => total += len as u64,
                }
            }
        }
        b'v' => serve_verify(&mut stream, Way::Send),
        b'w' => serve_verify(&mut stream, Way::Receive),
        _ => {
            let chunk = vec![7; CHUNK];
            loop {
                stream.put(&chunk)?;
            }
        }
    }
}

/// Says what went wrong, unless a peer that went is all.
fn complain(outcome: io::Result<()>) {
    let ends = [ErrorKind::UnexpectedEof, ErrorKind::ConnectionReset, ErrorKind::BrokenPipe];
    if let Err(e) = outcome
        && !ends.contains(&e.kind())
    {
        eprintln!("load server: {e}");
    }
}

pub(crate) fn run(kind: Kind, address: SocketAddr) -> io::Result<()> {
    let socket = Datagrams::bind(kind, address)?;
    let _ = thread::spawn(move || complain(datagrams::serve(&socket)));
    let listener = Listener::bind(kind, address)?;
    let mut waiting = Waiting::new()?;
    waiting.add(&listener, LISTENER)?;
    let (mut connections, mut next, mut ready) = (HashMap::new(), LISTENER, Vec::new());
    loop {
        ready.clear();
        ready.extend(waiting.wait()?);
        for number in &ready {
            if *number == LISTENER {
                while let Some(stream) = accept(&listener)? {
                    next += 1;
                    waiting.add(&stream, next)?;
                    let _ = connections.insert(next, Connection { stream, requests: None });
                }
                continue;
            }
            match connections.get_mut(number).map(Connection::serve) {
                None | Some(Ok(None)) => {}
                Some(ended) => {
                    let stream = connections.remove(number).map(|connection| connection.stream);
                    match (ended, stream) {
                        (Ok(Some(kind)), Some(stream)) => hand_over(&waiting, stream, kind)?,
                        (ended, _) => complain(ended.map(|_| ())),
                    }
                }
            }
        }
    }
}

fn accept(listener: &Listener) -> io::Result<Option<Stream>> {
    match listener.accept() {
        Ok(stream) => {
            stream.set_nodelay()?;
            stream.set_nonblocking(true)?;
            Ok(Some(stream))
        }
        Err(e) if e.kind() == ErrorKind::WouldBlock => Ok(None),
        Err(e) => Err(e),
    }
}

/// To a thread of its own, in blocking calls.
fn hand_over(waiting: &Waiting, stream: Stream, kind: u8) -> io::Result<()> {
    waiting.remove(&stream)?;
    stream.set_nonblocking(false)?;
    let _ = thread::spawn(move || complain(serve_bulk(stream, kind)));
    Ok(())
}
