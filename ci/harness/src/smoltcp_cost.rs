//! What the same packets cost in smoltcp, a TCP/IP stack that is a library of its one program: no clients
//! beside it, no memory shared with them, no descriptors.
//!
//! As in `packet-cost`, only `counted` counts: the stack and its user's calls, not the peer.
#![forbid(unsafe_code)]

use std::collections::VecDeque;
use std::process::ExitCode;

use clap::{Parser, ValueEnum};
use harness::frame::{self, Segment};
use harness::path::{BURST, syn_ack};
use harness::{LOCAL, LOCAL_MAC, PEER, PEER_MAC};
use smoltcp::iface::{Config, Interface, PollResult, SocketHandle, SocketSet};
use smoltcp::phy::{Device, DeviceCapabilities, Medium, RxToken, TxToken};
use smoltcp::socket::{tcp, udp};
use smoltcp::time::{Duration, Instant};
use smoltcp::wire::{EthernetAddress, IpCidr};
use wire::ipv4;
use wire::tcp::flag;

/// Longest frame.
const FRAME_MAX: usize = 1514;
/// Text of a request and of a response.
const MESSAGE: [u8; 64] = [7; 64];
/// Payload of a 64-byte frame.
const DATAGRAM: [u8; 22] = [7; 22];
/// Room of each direction of a socket.
const BUFFER: usize = 4096;
const FIRST_PORT: u16 = 6000;

/// smoltcp on a wire in memory.
#[derive(Debug, Parser)]
#[command(name = "smoltcp-cost")]
struct Args {
    /// What is done to each packet.
    path: Kind,
    /// How many packets, rounded up to whole bursts.
    count: u32,
    /// Connections there are; 32 of them are used.
    #[arg(long, default_value_t = BURST, value_parser = clap::value_parser!(u32).range(i64::from(BURST)..=2000))]
    connections: u32,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Kind {
    /// A 64-byte frame comes in and goes back.
    UdpEcho,
    /// 64 bytes come in, 64 go out, the ACK comes in.
    RequestResponse,
}

/// Frames in both directions. What goes out lies in memory that is there.
struct Wire {
    incoming: VecDeque<Vec<u8>>,
    sent: Vec<[u8; FRAME_MAX]>,
    sent_len: usize,
}

impl Wire {
    fn new() -> Self {
        Self { incoming: VecDeque::new(), sent: vec![[0; FRAME_MAX]; 4096], sent_len: 0 }
    }

    /// Takes what has gone out.
    fn sent(&mut self) -> &[[u8; FRAME_MAX]] {
        let len = core::mem::take(&mut self.sent_len);
        self.sent.get(..len).unwrap_or_default()
    }
}

struct Incoming(Vec<u8>);

impl RxToken for Incoming {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, take: F) -> R {
        take(&self.0)
    }
}

struct Outgoing<'a>(&'a mut [u8; FRAME_MAX], &'a mut usize);

impl TxToken for Outgoing<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, fill: F) -> R {
        *self.1 += 1;
        fill(&mut self.0[..len.min(FRAME_MAX)])
    }
}

impl Device for Wire {
    type RxToken<'a> = Incoming;
    type TxToken<'a> = Outgoing<'a>;

    fn receive(&mut self, _: Instant) -> Option<(Incoming, Outgoing<'_>)> {
        let frame = self.sent.get_mut(self.sent_len)?;
        let incoming = self.incoming.pop_front()?;
        Some((Incoming(incoming), Outgoing(frame, &mut self.sent_len)))
    }

    fn transmit(&mut self, _: Instant) -> Option<Outgoing<'_>> {
        let frame = self.sent.get_mut(self.sent_len)?;
        Some(Outgoing(frame, &mut self.sent_len))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ethernet;
        capabilities.max_transmission_unit = FRAME_MAX;
        capabilities
    }
}

/// A connection as the peer knows it.
struct Peer {
    port: u16,
    seq: u32,
    ack: u32,
}

struct World {
    wire: Wire,
    interface: Interface,
    sockets: SocketSet<'static>,
    now: Instant,
    handles: Vec<SocketHandle>,
    peers: Vec<Peer>,
}

impl World {
    fn new() -> Result<Self, String> {
        let mut wire = Wire::new();
        let config = Config::new(EthernetAddress(LOCAL_MAC.0).into());
        let mut interface = Interface::new(config, &mut wire, Instant::ZERO);
        interface.update_ip_addrs(|list| {
            // The list is empty.
            let _ = list.push(IpCidr::new(LOCAL.into(), 24));
        });
        let sockets = SocketSet::new(Vec::new());
        let (handles, peers) = (Vec::new(), Vec::new());
        let mut world = Self { wire, interface, sockets, now: Instant::ZERO, handles, peers };
        // Who the peer is, so that no ARP comes in between.
        world.wire.incoming.push_back(frame::arp(true));
        counted(&mut world, |_, _| {});
        if world.wire.sent().is_empty() {
            return Err(format!("smoltcp does not answer {PEER} ({PEER_MAC:?})"));
        }
        Ok(world)
    }

    fn open_udp(&mut self) -> Result<(), String> {
        let room = || udp::PacketBuffer::new(vec![udp::PacketMetadata::EMPTY; 64], vec![0; BUFFER]);
        let mut socket = udp::Socket::new(room(), room());
        socket.bind(7).map_err(|e| format!("{e:?}"))?;
        self.handles.push(self.sockets.add(socket));
        Ok(())
    }

    fn open_tcp(&mut self, count: u32) -> Result<(), String> {
        let end = FIRST_PORT.saturating_add(u16::try_from(count).unwrap_or(u16::MAX));
        for port in FIRST_PORT..end {
            let room = || tcp::SocketBuffer::new(vec![0; BUFFER]);
            let mut socket = tcp::Socket::new(room(), room());
            socket.set_nagle_enabled(false);
            socket.listen(80).map_err(|e| format!("{e:?}"))?;
            self.handles.push(self.sockets.add(socket));
            let syn =
                Segment { flags: flag::SYN, options: &[2, 4, 5, 180], ..segment(port, 99, 0) };
            self.wire.incoming.push_back(frame::tcp(&syn));
            counted(self, |_, _| {});
            let iss = self.wire.sent().iter().find_map(|frame| syn_ack(frame));
            let ack = iss.ok_or("no SYN-ACK")?.wrapping_add(1);
            self.wire.incoming.push_back(frame::tcp(&segment(port, 100, ack)));
            counted(self, |_, _| {});
            self.peers.push(Peer { port, seq: 100, ack });
        }
        Ok(())
    }

    /// 32 requests, their responses, the acknowledgements; how many responses came.
    fn exchange(&mut self) -> usize {
        for peer in self.peers.iter().take(BURST as usize) {
            let flags = flag::ACK | flag::PSH;
            let request =
                Segment { flags, text: &MESSAGE, ..segment(peer.port, peer.seq, peer.ack) };
            self.wire.incoming.push_back(frame::tcp(&request));
        }
        counted(self, |_, _| {});
        counted(self, |sockets, handles| {
            for handle in handles.iter().take(BURST as usize) {
                let socket = sockets.get_mut::<tcp::Socket<'_>>(*handle);
                let mut message = [0; MESSAGE.len()];
                if socket.recv_slice(&mut message) == Ok(message.len()) {
                    // What does not fit is missed by the peer.
                    let _ = socket.send_slice(&message);
                }
            }
        });
        let answers = self.wire.sent().iter().filter(|frame| carries_text(*frame)).count();
        for peer in self.peers.iter_mut().take(BURST as usize) {
            peer.seq = peer.seq.wrapping_add(64);
            peer.ack = peer.ack.wrapping_add(64);
            let ack = frame::tcp(&segment(peer.port, peer.seq, peer.ack));
            self.wire.incoming.push_back(ack);
        }
        counted(self, |_, _| {});
        answers
    }

    /// 32 datagrams and their echoes; how many came back.
    fn echo(&mut self) -> usize {
        for _ in 0..BURST {
            self.wire.incoming.push_back(frame::udp(5000, 7, &DATAGRAM));
        }
        counted(self, |_, _| {});
        counted(self, |sockets, handles| {
            let Some(handle) = handles.first() else { return };
            let socket = sockets.get_mut::<udp::Socket<'_>>(*handle);
            let mut datagram = [0; 64];
            while let Ok((len, from)) = socket.recv_slice(&mut datagram) {
                // What does not fit is missed by the peer.
                let _ = socket.send_slice(&datagram[..len], from);
            }
        });
        self.wire.sent().len()
    }
}

/// What the program does with its sockets, and the stack's turns: in one a socket sends one packet.
#[inline(never)]
fn counted(world: &mut World, program: impl FnOnce(&mut SocketSet<'static>, &[SocketHandle])) {
    program(&mut world.sockets, &world.handles);
    world.now += Duration::from_micros(20);
    let World { interface, wire, sockets, now, .. } = world;
    while interface.poll(*now, wire, sockets) == PollResult::SocketStateChanged {}
}

fn segment(src_port: u16, seq: u32, ack: u32) -> Segment<'static> {
    Segment { src_port, dst_port: 80, seq, ack, flags: flag::ACK, options: &[], text: &[] }
}

fn carries_text(frame: &[u8]) -> bool {
    let packet = ipv4::Packet::parse(frame.get(14..).unwrap_or_default());
    let segment = packet.ok().and_then(|packet| wire::tcp::Segment::parse(packet.payload).ok());
    segment.is_some_and(|segment| !segment.text.is_empty())
}

fn run(args: &Args) -> Result<(), String> {
    let mut world = World::new()?;
    match args.path {
        Kind::UdpEcho => world.open_udp()?,
        Kind::RequestResponse => world.open_tcp(args.connections)?,
    }
    for _ in 0..args.count.div_ceil(BURST) {
        let done = match args.path {
            Kind::UdpEcho => world.echo(),
            Kind::RequestResponse => world.exchange(),
        };
        if done != BURST as usize {
            return Err(format!("{done} of {BURST} came through"));
        }
    }
    Ok(())
}

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("smoltcp-cost: {why}");
            ExitCode::FAILURE
        }
    }
}
