//! The peer's side of many connections to one worker.

use core::ops::Range;
use std::collections::HashMap;
use std::io::{IoSlice, IoSliceMut};
use std::os::fd::OwnedFd;
use std::sync::Arc;

use inet::SocketId;
use inet::command::{Command, Event};
use shm::{CellId, SocketEnd, SocketMemory, TxFlags};
use wire::ipv4;
use wire::tcp::flag;

use crate::World;
use crate::frame::{self, Segment};

/// Connections opened, used or closed at once.
pub const BATCH: u16 = 32;
/// Text of a request and of a response.
const MESSAGE_LEN: u32 = 64;
const MESSAGE: [u8; MESSAGE_LEN as usize] = [7; MESSAGE_LEN as usize];
/// Timestamps of which the worker learns no round trip.
pub(crate) const TIMESTAMPS: [u8; 12] = [1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 0];
/// MSS 1460, then timestamps.
const SYN_OPTIONS: [u8; 16] = [2, 4, 5, 180, 1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 0];

/// One connection, as the peer sees it.
#[derive(Debug)]
pub struct Connection {
    /// The worker's name for it.
    pub socket: SocketId,
    /// The client's memory of it.
    pub memory: SocketMemory,
    src_port: u16,
    dst_port: u16,
    /// The peer's next number.
    pub seq: u32,
    /// What the peer acknowledges.
    pub ack: u32,
}

/// Connections of one peer.
#[derive(Debug)]
pub struct Peers {
    /// All that are open.
    pub list: Vec<Connection>,
    /// One descriptor for all: a million would need as many of the kernel's.
    descriptor: Arc<SocketEnd>,
    bytes: Vec<u8>,
    _theirs: OwnedFd,
}

impl Peers {
    /// None yet.
    ///
    /// # Errors
    /// The kernel's when no descriptor is free.
    pub fn new() -> Result<Self, String> {
        let (ours, theirs) = SocketEnd::pair().map_err(|e| e.to_string())?;
        let (list, bytes) = (Vec::new(), vec![0; 64 * 1024]);
        Ok(Self { list, descriptor: Arc::new(ours), bytes, _theirs: theirs })
    }

    /// The cells of all that are open.
    pub fn cells(&self) -> impl Iterator<Item = CellId> {
        self.list.iter().map(|connection| connection.memory.id())
    }

    /// Opens connections from `ports` to a listener of a client; accepted, nothing sent.
    ///
    /// # Errors
    /// One was not established.
    pub fn open(
        &mut self,
        world: &mut World,
        (client, dst_port): (u16, u16),
        ports: impl Iterator<Item = u16>,
        breathe: &mut impl FnMut(&mut World),
    ) -> Result<(), String> {
        let ports: Vec<u16> = ports.collect();
        let mut batches = ports.chunks(BATCH.into());
        batches.try_for_each(|batch| self.open_batch(world, (client, dst_port), batch, breathe))
    }

    fn open_batch(
        &mut self,
        world: &mut World,
        (client, dst_port): (u16, u16),
        ports: &[u16],
        breathe: &mut impl FnMut(&mut World),
    ) -> Result<(), String> {
        let segment = |src_port, seq, ack, flags| Segment {
            src_port,
            dst_port,
            seq,
            ack,
            flags,
            options: &TIMESTAMPS,
            text: &[],
        };
        for &port in ports {
            let syn = Segment { options: &SYN_OPTIONS, ..segment(port, 99, 0, flag::SYN) };
            let _ = world.inject(&frame::tcp(&syn));
        }
        breathe(world);
        let mut isns = HashMap::new();
        world.each_sent(|frame| isns.extend(syn_ack(frame)));
        for &port in ports {
            let iss = isns.get(&port).ok_or("no SYN-ACK")?;
            let ack = segment(port, 100, iss.wrapping_add(1), flag::ACK);
            let _ = world.inject(&frame::tcp(&ack));
        }
        breathe(world);
        let before = self.list.len();
        for event in core::mem::take(&mut world.events) {
            let Event::Established { socket, cell, remote, .. } = event else { continue };
            let src_port = remote.port();
            let Some(iss) = isns.get(&src_port) else { continue };
            let ack = iss.wrapping_add(1);
            let memory = world.memory_of(client, cell).ok_or("no memory")?;
            self.list.push(Connection { socket, memory, src_port, dst_port, seq: 100, ack });
            world.send(Command::Accepted { socket, descriptor: Arc::clone(&self.descriptor) });
        }
        breathe(world);
        world.each_sent(|_| {});
        let opened = self.list.len() - before;
        if opened == ports.len() { Ok(()) } else { Err(format!("{opened} of {}", ports.len())) }
    }

    /// A request on each of these connections, the client's response, and its acknowledgement.
    ///
    /// # Errors
    /// A request or a response got lost.
    pub fn exchange(
        &mut self,
        world: &mut World,
        which: &[usize],
        breathe: &mut impl FnMut(&mut World),
    ) -> Result<(), String> {
        for index in which {
            self.inject(world, *index, flag::ACK | flag::PSH, &MESSAGE)?;
        }
        breathe(world);
        for index in which {
            let len = self.read(*index)?;
            if len != MESSAGE.len() {
                return Err(format!("{len} bytes of a request were read"));
            }
            self.write(*index, &MESSAGE)?;
        }
        breathe(world);
        let mut responses = 0;
        world.each_sent(|_| responses += 1);
        if responses < which.len() {
            return Err(format!("{responses} of {} responses", which.len()));
        }
        for index in which {
            self.acknowledge(world, *index, MESSAGE_LEN)?;
        }
        breathe(world);
        Ok(())
    }

    /// A request that acknowledges the last response, if there was one.
    ///
    /// # Errors
    /// No such connection.
    pub fn request(&mut self, world: &mut World, index: usize, after: bool) -> Result<(), String> {
        let connection = self.list.get_mut(index).ok_or("no such connection")?;
        connection.ack = connection.ack.wrapping_add(if after { MESSAGE_LEN } else { 0 });
        self.inject(world, index, flag::ACK | flag::PSH, &MESSAGE)
    }

    /// The client reads a request and posts its response.
    ///
    /// # Errors
    /// There is none, or no room.
    pub fn respond(&self, index: usize) -> Result<(), String> {
        let connection = self.list.get(index).ok_or("no such connection")?;
        let mut text = MESSAGE;
        let read = |into: &mut [u8]| {
            connection.memory.receive().read(&mut [IoSliceMut::new(into)], false, false)
        };
        if read(&mut text) != text.len() {
            return Err("no request".into());
        }
        self.write(index, &text)
    }

    /// Requests of these connections in one breath and their responses in another; `after` others, which they
    /// acknowledge.
    ///
    /// # Errors
    /// Not all were answered.
    pub fn serve(
        &mut self,
        world: &mut World,
        which: Range<usize>,
        after: bool,
        breathe: &mut impl FnMut(&mut World),
    ) -> Result<(), String> {
        which.clone().try_for_each(|index| self.request(world, index, after))?;
        breathe(world);
        which.clone().try_for_each(|index| self.respond(index))?;
        breathe(world);
        let mut answered = 0;
        world.each_sent(|frame| answered += usize::from(has_text(frame)));
        // More is no error: a response may have been sent twice.
        if answered < which.len() {
            return Err(format!("{answered} of {} requests were answered", which.len()));
        }
        Ok(())
    }

    /// The peer closes, then the client; `list` is empty afterwards.
    ///
    /// # Errors
    /// Never, with an intact list.
    pub fn close(
        &mut self,
        world: &mut World,
        breathe: &mut impl FnMut(&mut World),
    ) -> Result<(), String> {
        for index in 0..self.list.len() {
            self.inject(world, index, flag::ACK | flag::FIN, &[])?;
        }
        breathe(world);
        for connection in &self.list {
            world.send(Command::Close { socket: connection.socket, reset: false });
        }
        breathe(world);
        for index in 0..self.list.len() {
            if let Some(connection) = self.list.get_mut(index) {
                connection.seq = connection.seq.wrapping_add(1);
            }
            self.acknowledge(world, index, 1)?;
        }
        breathe(world);
        self.list.clear();
        world.each_sent(|_| {});
        Ok(())
    }

    /// A segment from the peer, whose text counts.
    ///
    /// # Errors
    /// No such connection.
    pub fn inject(
        &mut self,
        world: &mut World,
        index: usize,
        flags: u8,
        text: &[u8],
    ) -> Result<(), String> {
        let connection = self.list.get_mut(index).ok_or("no such connection")?;
        let &mut Connection { src_port, dst_port, seq, ack, .. } = connection;
        let options = &TIMESTAMPS;
        let segment = Segment { src_port, dst_port, seq, ack, flags, options, text };
        let _ = world.inject(&frame::tcp(&segment));
        connection.seq = seq.wrapping_add(u32::try_from(text.len()).unwrap_or(0));
        Ok(())
    }

    /// The peer shuts its window.
    ///
    /// # Errors
    /// No such connection.
    pub fn shut_window(&mut self, world: &mut World, index: usize) -> Result<(), String> {
        let connection = self.list.get(index).ok_or("no such connection")?;
        let &Connection { src_port, dst_port, seq, ack, .. } = connection;
        let options = &TIMESTAMPS;
        let segment =
            Segment { src_port, dst_port, seq, ack, flags: flag::ACK, options, text: &[] };
        let mut frame = frame::tcp(&segment);
        // Ethernet 14, IPv4 20, and 14 bytes of TCP are before it.
        if let Some(window) = frame.get_mut(48..50) {
            window.fill(0);
        }
        frame::repair(&mut frame);
        let _ = world.inject(&frame);
        Ok(())
    }

    /// Acknowledges `len` more bytes.
    ///
    /// # Errors
    /// No such connection.
    pub fn acknowledge(&mut self, world: &mut World, index: usize, len: u32) -> Result<(), String> {
        let connection = self.list.get_mut(index).ok_or("no such connection")?;
        connection.ack = connection.ack.wrapping_add(len);
        self.inject(world, index, flag::ACK, &[])
    }

    /// The client reads what is there.
    ///
    /// # Errors
    /// No such connection.
    pub fn read(&mut self, index: usize) -> Result<usize, String> {
        let connection = self.list.get(index).ok_or("no such connection")?;
        let mut queue = connection.memory.receive();
        let mut total = 0;
        loop {
            match queue.read(&mut [IoSliceMut::new(&mut self.bytes)], false, false) {
                0 => return Ok(total),
                len => total += len,
            }
        }
    }

    /// The client sends.
    ///
    /// # Errors
    /// Not everything fitted.
    pub fn write(&self, index: usize, text: &[u8]) -> Result<(), String> {
        let connection = self.list.get(index).ok_or("no such connection")?;
        let posted = connection.memory.send().push(&[IoSlice::new(text)], 0, TxFlags::NONE);
        match posted {
            Ok(len) if len == text.len() => Ok(()),
            other => Err(format!("posted {other:?}")),
        }
    }
}

/// The peer's port and our sequence number, of a SYN-ACK.
fn syn_ack(frame: &[u8]) -> Option<(u16, u32)> {
    let packet = ipv4::Packet::parse(frame.get(14..)?).ok()?;
    let segment = wire::tcp::Segment::parse(packet.payload).ok()?;
    (segment.flags() == flag::SYN | flag::ACK)
        .then(|| (segment.header.dst_port.get(), segment.header.seq.get()))
}

/// Is it a segment with text?
fn has_text(frame: &[u8]) -> bool {
    let packet = frame.get(14..).and_then(|packet| ipv4::Packet::parse(packet).ok());
    let segment = packet.and_then(|packet| wire::tcp::Segment::parse(packet.payload).ok());
    segment.is_some_and(|segment| !segment.text.is_empty())
}
