//! Two stacks in one process, a client's and a server's, with a wire of two rings between them.
//!
//! ```text
//!   client's memory ── worker ──► ring ──► worker ── server's memory
//!    (PEER)                 ◄── ring ◄──              (LOCAL)
//! ```

use core::net::SocketAddr;
use core::time::Duration;
use std::io::{IoSlice, IoSliceMut};
use std::os::fd::OwnedFd;
use std::sync::Arc;

use inet::command::{Command, Event, Transport};
use inet::network::Address;
use shm::{SocketEnd, SocketMemory, TxFlags};

use crate::World;
use crate::path::counted;
use crate::world::{self, LOCAL, PEER, PEER_MAC};

/// Text of a request and of a response.
const MESSAGE: [u8; 64] = [7; 64];
/// The client's port.
const PORT: u16 = 40_000;
/// Frames go to and fro so often until a connection is there, the neighbours' search included.
const ROUNDS: usize = 16;

/// A connection between two stacks, and both its ends' memory.
pub struct Pair<'a> {
    server: &'a mut World,
    client: World,
    asks: SocketMemory,
    answers: SocketMemory,
    _descriptors: [OwnedFd; 2],
}

impl<'a> Pair<'a> {
    /// Connects a second stack to this one's port.
    ///
    /// # Errors
    /// What was refused, as text.
    pub fn connect(server: &'a mut World, port: u16) -> Result<Self, String> {
        let mut network = world::network();
        if let Some(wire) = network.interfaces.get_mut(1) {
            wire.mac = PEER_MAC;
            wire.addresses = vec![Address { address: PEER, prefix_len: 24 }];
            wire.addresses6 = Vec::new();
        }
        let mut client = server.beside(network)?;
        server.listen(port, 8);
        let (socket, cell, descriptor) = client.open(Transport::Stream)?;
        let local = SocketAddr::new(PEER.into(), PORT);
        let remote = Some(SocketAddr::new(LOCAL.into(), port));
        let _ = client.call(|call| Command::Connect {
            call,
            socket,
            local,
            remote,
            fast_open: false,
        })?;
        let asks = client.memory(cell).ok_or("no memory")?;
        let mut accepted = None;
        for _ in 0..ROUNDS {
            server.hear(&mut client);
            breathe(server);
            client.hear(server);
            breathe(&mut client);
            for event in server.events.drain(..) {
                let Event::Established { socket, cell, .. } = event else { continue };
                accepted = Some((socket, cell));
            }
        }
        let (socket, cell) = accepted.ok_or("no connection")?;
        let (ours, theirs) = SocketEnd::pair().map_err(|e| e.to_string())?;
        server.send(Command::Accepted { socket, descriptor: Arc::new(ours) });
        breathe(server);
        let answers = server.memory(cell).ok_or("no memory")?;
        Ok(Self { server, client, asks, answers, _descriptors: [descriptor, theirs] })
    }

    /// A request of the client's and the server's response; all of it in this thread, and nobody sleeps.
    ///
    /// # Errors
    /// One of them did not arrive.
    pub fn exchange(&mut self) -> Result<(), String> {
        write(&self.asks)?;
        breathe(&mut self.client);
        self.server.hear(&mut self.client);
        breathe(self.server);
        read(&self.answers)?;
        write(&self.answers)?;
        breathe(self.server);
        self.client.hear(self.server);
        breathe(&mut self.client);
        self.server.events.clear();
        self.client.events.clear();
        read(&self.asks)
    }
}

fn breathe(world: &mut World) {
    world.now += Duration::from_micros(2);
    world.breathe_in(counted);
}

fn write(memory: &SocketMemory) -> Result<(), String> {
    match memory.send().push(&[IoSlice::new(&MESSAGE)], 0, TxFlags::NONE) {
        Ok(len) if len == MESSAGE.len() => Ok(()),
        other => Err(format!("posted {other:?}")),
    }
}

fn read(memory: &SocketMemory) -> Result<(), String> {
    let mut text = MESSAGE;
    match memory.receive().read(&mut [IoSliceMut::new(&mut text)], false, false) {
        len if len == text.len() => Ok(()),
        len => Err(format!("{len} bytes were there to read")),
    }
}
