//! Two stacks in one process, a client's and a server's, with a wire of two rings between them, or one of the
//! kernel's that each has an end of.
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
const CLIENT_PORT: u16 = 40_000;
const SERVER_PORT: u16 = 80;
/// Frames go to and fro so often until a connection is there, the neighbours' search included.
const ROUNDS: usize = 16;
/// A stack looks at most so often for a frame that the kernel is to bring.
const LOOKS: usize = 1_000_000;

/// Connections between two stacks, and both ends' memory of each.
pub struct Pair {
    server: World,
    client: World,
    asks: Vec<SocketMemory>,
    answers: Vec<SocketMemory>,
    descriptors: Vec<OwnedFd>,
}

impl Pair {
    /// Two stacks beside this one with so many connections, joined by rings, or by one driver of the kernel's
    /// devices and its options for each of the two.
    ///
    /// # Errors
    /// What was refused, as text.
    pub fn connect(
        world: &mut World,
        over: Option<(&str, [&str; 2])>,
        connections: u16,
    ) -> Result<Self, String> {
        let end =
            |which: usize| over.and_then(|(driver, options)| Some((driver, *options.get(which)?)));
        let mut server = world.beside(world::network(), end(0))?;
        let mut network = world::network();
        if let Some(wire) = network.interfaces.get_mut(1) {
            wire.mac = PEER_MAC;
            wire.addresses = vec![Address { address: PEER, prefix_len: 24 }];
            wire.addresses6 = Vec::new();
        }
        let client = world.beside(network, end(1))?;
        server.listen(SERVER_PORT, connections.max(8).into());
        let (asks, answers) = (Vec::new(), Vec::new());
        let mut pair = Self { server, client, asks, answers, descriptors: Vec::new() };
        (0..connections).try_for_each(|number| pair.open(CLIENT_PORT + number))?;
        Ok(pair)
    }

    /// One more connection.
    fn open(&mut self, port: u16) -> Result<(), String> {
        let Self { server, client, .. } = self;
        let (socket, cell, descriptor) = client.open(Transport::Stream)?;
        let local = SocketAddr::new(PEER.into(), port);
        let remote = Some(SocketAddr::new(LOCAL.into(), SERVER_PORT));
        let _ = client.call(|call| Command::Connect {
            call,
            socket,
            local,
            remote,
            fast_open: false,
        })?;
        self.asks.push(client.memory(cell).ok_or("no memory")?);
        let mut accepted = None;
        for _ in 0..ROUNDS {
            server.hear(client);
            breathe(server);
            client.hear(server);
            breathe(client);
            for event in server.events.drain(..) {
                let Event::Established { socket, cell, .. } = event else { continue };
                accepted = Some((socket, cell));
            }
        }
        let (socket, cell) = accepted.ok_or("no connection")?;
        let (ours, theirs) = SocketEnd::pair().map_err(|e| e.to_string())?;
        server.send(Command::Accepted { socket, descriptor: Arc::new(ours) });
        breathe(server);
        self.answers.push(server.memory(cell).ok_or("no memory")?);
        self.descriptors.extend([descriptor, theirs]);
        Ok(())
    }

    /// A request of the client's and the server's response on the first so many connections; all of it in this
    /// thread, and nobody sleeps.
    ///
    /// # Errors
    /// One of them did not arrive.
    pub fn exchange(&mut self, connections: u16) -> Result<(), String> {
        let Self { server, client, asks, answers, .. } = self;
        let first = ..usize::from(connections);
        let both = asks.get(first).zip(answers.get(first));
        let (asks, answers) = both.ok_or("not so many connections")?;
        passes(asks, client, answers, server)?;
        passes(answers, server, asks, client)
    }
}

/// A message on each connection.
fn passes(
    senders: &[SocketMemory],
    from: &mut World,
    receivers: &[SocketMemory],
    to: &mut World,
) -> Result<(), String> {
    senders.iter().try_for_each(write)?;
    breathe(from);
    receivers.iter().try_for_each(|memory| arrives(memory, to, from))
}

/// Lets a stack look until its program has what the other has sent.
fn arrives(memory: &SocketMemory, to: &mut World, from: &mut World) -> Result<(), String> {
    for _ in 0..LOOKS {
        if read(memory)? {
            return Ok(());
        }
        to.hear(from);
        breathe(to);
        to.events.clear();
    }
    Err("a message got lost".into())
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

/// `false`: nothing has come.
fn read(memory: &SocketMemory) -> Result<bool, String> {
    let mut text = MESSAGE;
    match memory.receive().read(&mut [IoSliceMut::new(&mut text)], false, false) {
        0 => Ok(false),
        len if len == text.len() => Ok(true),
        len => Err(format!("{len} bytes were there to read")),
    }
}
