//! One thing done to a burst of packets: what the benchmarks count and the tests watch.

use core::net::SocketAddr;
use core::time::Duration;
use std::io::{IoSlice, IoSliceMut};
use std::os::fd::OwnedFd;
use std::sync::Arc;

use clap::ValueEnum;
use inet::Worker;
use inet::command::{Command, Event};
use inet::network::TxChecksum;
use shm::{Ancillary, ReceiveQueue, Share, SocketEnd, SocketMemory};
use types::Instant;
use wire::ipv4;
use wire::tcp::flag;

use crate::World;
use crate::bridged::Bridged;
use crate::forwarding::{Forwarding, Size};
use crate::frame::{self, Segment};
use crate::peers::Peers;
use crate::world::PEER;

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
    /// A 64-byte frame comes in, the client reads it.
    UdpReceive,
    /// The client sends a 64-byte frame; it goes out.
    UdpSend,
    /// A full segment comes in, the client reads it, the ACK goes out.
    TcpReceive,
    /// The same for a client that is lent packets, which reads the text where it lies.
    TcpReceiveLent,
    /// A segment of one byte comes in, the client reads it, the ACK goes out.
    TcpByte,
    /// A segment of one byte comes in that nothing before it joins to the rest, or that joins two such.
    TcpPiece,
    /// The client sends a full segment; it goes out.
    TcpSend,
    /// The same through a port that sums and takes the client's bytes from where they lie.
    TcpSendOffload,
    /// The same through a port that cuts as well.
    TcpSendTso,
    /// The acknowledgement of a full segment comes in.
    TcpAck,
    /// On one of 32 connections: 64 bytes come in, 64 go out, the ACK comes in.
    RequestResponse,
    /// On one connection, one request at a time: 64 bytes come in that acknowledge the response before, 64 go out.
    RequestAlone,
    /// The same on 32 connections at once, behind a port with offloads: it has verified what came, sums what goes,
    /// and takes chains.
    RequestBurst,
    /// A SYN comes in, the SYN-ACK goes out.
    Syn,
    /// Handshake, accept, one request, both ends close.
    Connection,
    /// A frame of 60 bytes passes a bridge to one of its known stations.
    L2Bridge,
    /// A 64-byte frame of IPv4 comes in and is passed on.
    Ip4Forward,
    /// A frame of IPv6 comes in and is passed on.
    Ip6Forward,
}

impl Kind {
    /// Of one connection on which the client sends.
    fn is_stream(self) -> bool {
        matches!(self, Self::TcpSend | Self::TcpSendOffload | Self::TcpSendTso | Self::TcpAck)
    }

    /// Lets the worker believe that its port does what a NIC does.
    fn configure(self, world: &mut World) {
        let tso_buffers_max = match self {
            Self::TcpSendTso => u16::MAX,
            Self::TcpSendOffload | Self::RequestBurst => 0,
            _ => return,
        };
        world.verified |= matches!(self, Self::RequestBurst);
        world.configure(|interface| {
            interface.tx_checksum = TxChecksum::Port;
            interface.loans = true;
            interface.tso_buffers_max = tso_buffers_max;
        });
    }
}

/// A path that has been set up.
#[derive(Debug)]
pub enum Path {
    /// On one socket.
    Socket(Box<OneSocket>),
    /// Of a peer with its connections.
    Peers(Kind, Peers),
    /// Through a bridge.
    Bridged(Bridged),
    /// Through a router.
    Forwarding(Forwarding),
}

/// A path on one socket.
#[derive(Debug)]
pub struct OneSocket {
    kind: Kind,
    memory: SocketMemory,
    request: Vec<u8>,
    bytes: Vec<u8>,
    seq: u32,
    ack: u32,
    pieces: u32,
    burst_len: u32,
    _descriptor: OwnedFd,
}

impl Path {
    /// Opens the sockets the path needs.
    ///
    /// # Errors
    /// What was refused, as text.
    pub fn new(world: &mut World, kind: Kind) -> Result<Self, String> {
        match kind {
            Kind::Ip4Forward | Kind::Ip6Forward => {
                Self::forwarding(world, kind, Size { routes: 1, neighbors: 0 })
            }
            Kind::UdpEcho | Kind::UdpReceive | Kind::UdpSend => {
                Ok(Self::Socket(Box::new(OneSocket::udp(world, kind)?)))
            }
            Kind::TcpReceive | Kind::TcpReceiveLent | Kind::TcpByte | Kind::TcpPiece => {
                Ok(Self::Socket(Box::new(OneSocket::tcp_receive(world, kind)?)))
            }
            Kind::L2Bridge => Self::bridged(world, 1000),
            _ => {
                world.listen(80, 64);
                kind.configure(world);
                let mut peers = Peers::new()?;
                let (first, count) = match kind {
                    Kind::RequestResponse => (6000, 32),
                    Kind::RequestAlone => (6500, 1),
                    Kind::RequestBurst => (6600, 32),
                    _ if kind.is_stream() => (7000, 1),
                    _ => (8000, 0),
                };
                let ours: Vec<u16> = world.own_ports(first).take(count).collect();
                peers.open(world, (0, 80), ours.into_iter(), &mut quiet)?;
                if matches!(kind, Kind::RequestAlone | Kind::RequestBurst) {
                    peers.serve(world, 0..count, false, &mut quiet)?;
                }
                Ok(Self::Peers(kind, peers))
            }
        }
    }

    /// A bridge that knows so many stations.
    ///
    /// # Errors
    /// What was refused, as text.
    pub fn bridged(world: &mut World, stations: u32) -> Result<Self, String> {
        Ok(Self::Bridged(Bridged::new(world, stations)?))
    }

    /// A router that has so much to know.
    ///
    /// # Errors
    /// What was refused, as text.
    pub fn forwarding(world: &mut World, kind: Kind, size: Size) -> Result<Self, String> {
        let six = matches!(kind, Kind::Ip6Forward);
        Ok(Self::Forwarding(Forwarding::new(world, six, size)?))
    }

    /// Lets fewer packets come at once, on paths of one socket; false on others.
    pub fn set_burst_len(&mut self, len: u32) -> bool {
        let Self::Socket(socket) = self else { return false };
        socket.burst_len = len.clamp(1, BURST);
        true
    }

    /// One burst through the worker and the client; how many packets (datagrams echoed, segments
    /// read, requests answered, connections closed) came out. `breathe` is how the worker is made to
    /// do the part that counts.
    ///
    /// # Errors
    /// The client's memory refused something, or something got lost.
    pub fn burst(
        &mut self,
        world: &mut World,
        mut breathe: impl FnMut(&mut World),
    ) -> Result<u32, String> {
        match self {
            Self::Socket(socket) => socket.burst(world, breathe),
            Self::Peers(kind, peers) => of_peers(*kind, peers, world, &mut breathe),
            Self::Bridged(bridged) => bridged.burst(world, breathe),
            Self::Forwarding(router) => router.burst(world, breathe),
        }
    }
}

fn of_peers(
    kind: Kind,
    peers: &mut Peers,
    world: &mut World,
    breathe: &mut impl FnMut(&mut World),
) -> Result<u32, String> {
    let all: [usize; BURST as usize] = core::array::from_fn(|index| index);
    match kind {
        Kind::RequestResponse => peers.exchange(world, &all, breathe)?,
        Kind::RequestAlone => {
            (0..BURST).try_for_each(|_| peers.serve(world, 0..1, true, breathe))?
        }
        Kind::RequestBurst => peers.serve(world, 0..all.len(), true, breathe)?,
        Kind::Connection => {
            peers.open(world, (0, 80), 8000..8032, breathe)?;
            peers.exchange(world, &all, breathe)?;
            peers.close(world, breathe)?;
        }
        Kind::TcpSend | Kind::TcpSendOffload | Kind::TcpSendTso => {
            return stream(peers, world, breathe, &mut quiet);
        }
        Kind::TcpAck => return stream(peers, world, &mut quiet, breathe),
        _ => return syns(world, breathe),
    }
    Ok(BURST)
}

/// The client sends 32 segments, the peer acknowledges each.
fn stream(
    peers: &mut Peers,
    world: &mut World,
    send: &mut impl FnMut(&mut World),
    acknowledge: &mut impl FnMut(&mut World),
) -> Result<u32, String> {
    peers.write(0, &[7; SEGMENT_LEN * BURST as usize])?;
    send(world);
    let mut segments = 0;
    loop {
        let mut sent = 0;
        world.each_sent(|frame| sent += segments_of(frame));
        segments += sent;
        for _ in 0..sent {
            peers.acknowledge(world, 0, u32::try_from(SEGMENT_LEN).unwrap_or(0))?;
        }
        acknowledge(world);
        if segments >= BURST || sent == 0 {
            return Ok(segments);
        }
    }
}

/// How many segments of full length a frame holds, which is more than one if the port cuts.
fn segments_of(frame: &[u8]) -> u32 {
    let Ok(packet) = ipv4::Packet::parse(frame.get(14..).unwrap_or_default()) else {
        // Most of its text is in other buffers.
        let len =
            frame.get(16..18).map_or(0, |len| len.iter().fold(0, |n, b| n << 8 | u32::from(*b)));
        return (len / u32::try_from(SEGMENT_LEN).unwrap_or(u32::MAX)).max(1);
    };
    u32::from(!packet.payload.is_empty())
}

fn syns(world: &mut World, breathe: &mut impl FnMut(&mut World)) -> Result<u32, String> {
    let from = |port, flags, seq| Segment {
        src_port: port,
        flags,
        options: if flags == flag::SYN { &[2, 4, 5, 180] } else { &[] },
        ..segment(seq, 0, &[])
    };
    for port in (8000..).take(BURST as usize) {
        let _ = world.inject(&frame::tcp(&from(port, flag::SYN, 99)));
    }
    breathe(world);
    let mut answers = 0;
    world.each_sent(|frame| answers += u32::from(syn_ack(frame).is_some()));
    for port in (8000..).take(BURST as usize) {
        let _ = world.inject(&frame::tcp(&from(port, flag::RST, 100)));
    }
    quiet(world);
    Ok(answers)
}

impl OneSocket {
    fn udp(world: &mut World, kind: Kind) -> Result<Self, String> {
        let (_, cell, descriptor) = world.bind_udp(7)?;
        Ok(Self {
            kind,
            memory: world.memory(cell).ok_or("no memory")?,
            request: frame::udp(5000, 7, &[7; DATAGRAM_LEN]),
            bytes: Vec::new(),
            seq: 0,
            ack: 0,
            pieces: 0,
            burst_len: BURST,
            _descriptor: descriptor,
        })
    }

    fn tcp_receive(world: &mut World, kind: Kind) -> Result<Self, String> {
        let client = match kind {
            Kind::TcpReceiveLent => world.add_client_of(Share::default().lending(1024))?,
            _ => 0,
        };
        world.listen_as(client, 80, 8);
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
            kind,
            memory: world.memory_of(client, cell).ok_or("no memory")?,
            request: Vec::new(),
            bytes: vec![0; 64 * 1024],
            seq,
            ack,
            pieces: 0,
            burst_len: BURST,
            _descriptor: descriptor,
        })
    }

    fn burst(
        &mut self,
        world: &mut World,
        mut breathe: impl FnMut(&mut World),
    ) -> Result<u32, String> {
        match self.kind {
            Kind::UdpEcho => {
                self.inject(world);
                breathe(world);
                let _ = self.receive_datagrams(true)?;
                breathe(world);
                Ok(frames_sent(world))
            }
            Kind::UdpReceive => {
                self.inject(world);
                breathe(world);
                self.receive_datagrams(false)
            }
            Kind::UdpSend => {
                for _ in 0..self.burst_len {
                    self.send_datagram(Some((PEER, 5000).into()), &[7; DATAGRAM_LEN])?;
                }
                breathe(world);
                Ok(frames_sent(world))
            }
            Kind::TcpPiece => {
                for _ in 0..self.burst_len {
                    let at = self.seq.wrapping_add(piece(self.pieces));
                    let _ = world.inject(&frame::tcp(&segment(at, self.ack, &[7])));
                    self.pieces = self.pieces.wrapping_add(1);
                }
                breathe(world);
                Ok(if frames_sent(world) > 0 { self.burst_len } else { 0 })
            }
            _ => {
                let text = &[7; SEGMENT_LEN];
                let len = if matches!(self.kind, Kind::TcpByte) { 1 } else { SEGMENT_LEN };
                for _ in 0..self.burst_len {
                    let _ = world.inject(&frame::tcp(&segment(self.seq, self.ack, &text[..len])));
                    self.seq = self.seq.wrapping_add(u32::try_from(len).unwrap_or(0));
                }
                breathe(world);
                let read = match self.kind {
                    Kind::TcpReceiveLent => self.read_in_place(),
                    _ => self.read(),
                };
                world.each_sent(|_| {});
                Ok(u32::try_from(read / len).unwrap_or(0))
            }
        }
    }

    fn inject(&self, world: &mut World) {
        for _ in 0..self.burst_len {
            let _ = world.inject(&self.request);
        }
    }

    /// The client reads all that has come, and sends it back if it is an echo; how many.
    fn receive_datagrams(&mut self, echo: bool) -> Result<u32, String> {
        let mut count = 0;
        loop {
            let mut bytes = [0; DATAGRAM_LEN];
            let into = &mut [IoSliceMut::new(&mut bytes)];
            let Some(datagram) = self.memory.receive().read_datagram(into, false) else {
                return Ok(count);
            };
            count += 1;
            if echo {
                self.send_datagram(datagram.from, &bytes)?;
            }
        }
    }

    fn send_datagram(&self, to: Option<SocketAddr>, bytes: &[u8]) -> Result<(), String> {
        let bytes = &[IoSlice::new(bytes)];
        let posted = self.memory.send().push_datagram(to, &Ancillary::default(), bytes);
        posted.map(|_| ()).map_err(|e| format!("{e:?}"))
    }

    fn read(&mut self) -> usize {
        let mut bytes = core::mem::take(&mut self.bytes);
        let into = &mut [IoSliceMut::new(&mut bytes)];
        let total = self.read_all(|queue| queue.read(into, false, false));
        self.bytes = bytes;
        total
    }

    fn read_in_place(&mut self) -> usize {
        self.read_all(|queue| {
            let len = queue.first(false).len();
            queue.consume(len)
        })
    }

    fn read_all(&mut self, mut read: impl FnMut(&mut ReceiveQueue<'_>) -> usize) -> usize {
        let mut queue = self.memory.receive();
        let mut total = 0;
        loop {
            match read(&mut queue) {
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

/// Where the next of all the single bytes goes that make the list of what is out of order work most:
/// every other one, each before all others of its block, until the list is full; then those between,
/// each of which joins two.
fn piece(count: u32) -> u32 {
    let (block, at) = (count / PIECES, count % PIECES);
    let place = if at < PIECES / 2 { PIECES - 2 * at } else { 2 * (at - PIECES / 2) + 3 };
    block * PIECES + place
}

/// Twice the ranges that a connection keeps, less the one of the blocks before.
const PIECES: u32 = 510;
const _: () = assert!(PIECES as usize == 2 * (tcp::limits::REASSEMBLY_RANGES - 1));

/// Lets a little time pass and breathes. What the worker does in it counts.
pub fn tick(world: &mut World) {
    world.now += Duration::from_micros(20);
    world.breathe_in(counted);
}

/// The same; how many nanoseconds it took.
pub fn breathe_timed(world: &mut World) -> u128 {
    world.now += Duration::from_micros(20);
    let mut spent = 0;
    world.breathe_in(|worker, now| {
        let began = std::time::Instant::now();
        counted(worker, now);
        spent = began.elapsed().as_nanos();
    });
    spent
}

/// The same, not counted.
pub fn quiet(world: &mut World) {
    world.pass(Duration::from_micros(20));
}

/// Where `ci/bench` begins and ends to count.
#[inline(never)]
pub fn counted(worker: &mut Worker, now: Instant) {
    let _ = worker.breathe(now);
}

/// Takes the frames that have gone out and counts them.
fn frames_sent(world: &mut World) -> u32 {
    let mut count = 0;
    world.each_sent(|_| count += 1);
    count
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
