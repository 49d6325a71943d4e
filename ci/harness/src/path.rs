//! One thing done to a burst of packets: what the benchmarks count and the tests watch.

use core::time::Duration;
use std::io::{IoSlice, IoSliceMut};
use std::os::fd::OwnedFd;
use std::sync::Arc;

use clap::ValueEnum;
use inet::command::{Command, Event};
use shm::{SocketEnd, SocketMemory};
use wire::ipv4;
use wire::tcp::flag;

use crate::World;
use crate::frame::{self, Segment};

/// Packets of a burst.
pub const BURST: u32 = 32;
/// Text of a full segment with timestamps.
const SEGMENT_LEN: usize = 1448;
/// Payload of a 64-byte frame.
const DATAGRAM_LEN: usize = 22;

/// What is done to each packet.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Kind {
    /// A 64-byte frame comes in, the client sends it back.
    UdpEcho,
    /// A full segment comes in, the client reads it, the ACK goes out.
    TcpReceive,
}

/// A path that has been set up.
#[derive(Debug)]
pub struct Path {
    kind: Kind,
    memory: SocketMemory,
    request: Vec<u8>,
    bytes: Vec<u8>,
    seq: u32,
    ack: u32,
    _descriptor: OwnedFd,
}

impl Path {
    /// Opens the sockets the path needs.
    ///
    /// # Errors
    /// What was refused, as text.
    pub fn new(world: &mut World, kind: Kind) -> Result<Self, String> {
        match kind {
            Kind::UdpEcho => Self::udp_echo(world),
            Kind::TcpReceive => Self::tcp_receive(world),
        }
    }

    fn udp_echo(world: &mut World) -> Result<Self, String> {
        let (_, cell, descriptor) = world.bind_udp(7)?;
        Ok(Self {
            kind: Kind::UdpEcho,
            memory: world.memory(cell).ok_or("no memory")?,
            request: frame::udp(5000, 7, &[7; DATAGRAM_LEN]),
            bytes: vec![0; 2048],
            seq: 0,
            ack: 0,
            _descriptor: descriptor,
        })
    }

    fn tcp_receive(world: &mut World) -> Result<Self, String> {
        world.listen(80, 8);
        let syn = Segment { flags: flag::SYN, options: &[2, 4, 5, 180], ..segment(99, 0, &[]) };
        let _ = world.inject(&frame::tcp(&syn));
        world.breathe();
        let iss = world.sent().iter().find_map(|f| syn_ack(f)).ok_or("no SYN-ACK")?;
        let (seq, ack) = (100, iss.wrapping_add(1));
        let _ = world.inject(&frame::tcp(&segment(seq, ack, &[])));
        world.breathe();
        let established = world.events.iter().find_map(|e| match e {
            Event::Established { socket, cell, .. } => Some((*socket, *cell)),
            _ => None,
        });
        let (socket, cell) = established.ok_or("not established")?;
        let (ours, descriptor) = SocketEnd::pair().map_err(|e| e.to_string())?;
        world.send(Command::Accepted { socket, descriptor: Arc::new(ours) });
        world.breathe();
        Ok(Self {
            kind: Kind::TcpReceive,
            memory: world.memory(cell).ok_or("no memory")?,
            request: Vec::new(),
            bytes: vec![0; 64 * 1024],
            seq,
            ack,
            _descriptor: descriptor,
        })
    }

    /// One burst through the worker and the client; how many packets (datagrams echoed, segments
    /// read) came out. `breathe` is how the worker is made to work.
    ///
    /// # Errors
    /// The client's memory refused something.
    pub fn burst(
        &mut self,
        world: &mut World,
        mut breathe: impl FnMut(&mut World),
    ) -> Result<u32, String> {
        match self.kind {
            Kind::UdpEcho => {
                for _ in 0..BURST {
                    let _ = world.inject(&self.request);
                }
                breathe(world);
                self.echo()?;
                breathe(world);
                let mut echoed = 0;
                world.each_sent(|_| echoed += 1);
                Ok(echoed)
            }
            Kind::TcpReceive => {
                let text = [7; SEGMENT_LEN];
                for _ in 0..BURST {
                    let _ = world.inject(&frame::tcp(&segment(self.seq, self.ack, &text)));
                    self.seq = self.seq.wrapping_add(u32::try_from(SEGMENT_LEN).unwrap_or(0));
                }
                breathe(world);
                let read = self.read();
                world.each_sent(|_| {});
                Ok(u32::try_from(read / SEGMENT_LEN).unwrap_or(0))
            }
        }
    }

    fn echo(&mut self) -> Result<(), String> {
        loop {
            let into = &mut [IoSliceMut::new(&mut self.bytes)];
            let Some(datagram) = self.memory.receive().read_datagram(into, false) else {
                return Ok(());
            };
            let reply = self.bytes.get(..datagram.len).unwrap_or_default();
            let posted = self.memory.send().push_datagram(datagram.from, &[IoSlice::new(reply)]);
            posted.map_err(|e| format!("{e:?}"))?;
        }
    }

    fn read(&mut self) -> usize {
        let mut queue = self.memory.receive();
        let mut total = 0;
        loop {
            match queue.read(&mut [IoSliceMut::new(&mut self.bytes)], false, false) {
                0 => break,
                len => total += len,
            }
        }
        let tell = queue.worth_telling();
        drop(queue);
        if tell {
            // A full ring is no loss: the next read tells again.
            let _ = self.memory.post_arm();
        }
        total
    }
}

/// Lets a little time pass and breathes.
pub fn tick(world: &mut World) {
    world.pass(Duration::from_micros(20));
    world.events.clear();
}

fn segment(seq: u32, ack: u32, text: &[u8]) -> Segment<'_> {
    Segment { src_port: 5000, dst_port: 80, seq, ack, flags: flag::ACK, options: &[], text }
}

/// The sequence number of a SYN-ACK.
#[must_use]
pub fn syn_ack(frame: &[u8]) -> Option<u32> {
    let packet = ipv4::Packet::parse(frame.get(14..)?).ok()?;
    let segment = wire::tcp::Segment::parse(packet.payload).ok()?;
    (segment.flags() == flag::SYN | flag::ACK).then(|| segment.header.seq.get())
}
