//! An echo server on mio: one thread, edges only.

use std::collections::HashMap;
use std::io::{self, Read as _, Write as _};
use std::net::SocketAddr;

use io_pkt_client::{TcpListener, TcpStream};
use mio::event::Source as _;
use mio::{Events, Interest, Poll, Token};

const LISTENER: Token = Token(0);

/// A connection and what it has not been given back yet.
struct Peer {
    stream: TcpStream,
    owed: Vec<u8>,
    ended: bool,
}

/// Serves without end.
pub(crate) fn serve(address: SocketAddr) -> io::Result<()> {
    let (mut poll, mut events) = (Poll::new()?, Events::with_capacity(64));
    let mut listener = TcpListener::bind(address)?;
    listener.register(poll.registry(), LISTENER, Interest::READABLE)?;
    let mut peers = HashMap::new();
    let mut next = 1;
    println!("ready");
    loop {
        poll.poll(&mut events, None)?;
        for event in &events {
            if event.token() == LISTENER {
                while let Some((mut stream, _)) = unless_it_waits(listener.accept())? {
                    let both = Interest::READABLE | Interest::WRITABLE;
                    stream.register(poll.registry(), Token(next), both)?;
                    let _ = peers.insert(next, Peer { stream, owed: Vec::new(), ended: false });
                    next += 1;
                }
                continue;
            }
            let number = event.token().0;
            let Some(peer) = peers.get_mut(&number) else { continue };
            if peer.echo().is_err() || (peer.ended && peer.owed.is_empty()) {
                peer.stream.deregister(poll.registry())?;
                let _ = peers.remove(&number);
            }
        }
    }
}

impl Peer {
    /// Reads and writes until neither goes on.
    fn echo(&mut self) -> io::Result<()> {
        let mut buffer = [0; 16_384];
        while !self.ended {
            let Some(len) = unless_it_waits(self.stream.read(&mut buffer))? else { break };
            self.ended = len == 0;
            self.owed.extend_from_slice(buffer.get(..len).unwrap_or_default());
        }
        while !self.owed.is_empty() {
            let Some(len) = unless_it_waits(self.stream.write(&self.owed))? else { break };
            let _ = self.owed.drain(..len);
        }
        Ok(())
    }
}

fn unless_it_waits<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
        result => result.map(Some),
    }
}
