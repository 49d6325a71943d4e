//! Does one thing to many packets, so that callgrind can count the instructions of one.
//!
//! `packet-cost udp-echo 1000` and the same with 11000: the difference is 10000 packets without the
//! start. Only `Worker::breathe` counts: the client's side and the peer's are outside of it.
#![forbid(unsafe_code)]

use std::io::{IoSlice, IoSliceMut};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::{Parser, ValueEnum};
use harness::World;
use harness::frame::{self, Segment};
use inet::command::{Command, Event};
use wire::ipv4;
use wire::tcp::flag;

/// Packets of a burst.
const BURST: u32 = 32;
/// Text of a full segment with timestamps.
const SEGMENT_LEN: usize = 1448;
/// Payload of a small datagram.
const DATAGRAM_LEN: usize = 22;

/// What is done to each packet.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Path {
    /// A 64-byte frame comes in, the client sends it back.
    UdpEcho,
    /// A full segment comes in, the client reads it, the ACK goes out.
    TcpReceive,
}

/// One worker, one client, one peer in this process, over `net_ring`, without hugepages.
#[derive(Debug, Parser)]
#[command(name = "packet-cost")]
struct Args {
    /// What is done to each packet.
    path: Path,
    /// How many packets, rounded up to bursts of 32.
    count: u32,
}

fn udp_echo(world: &mut World, bursts: u32) -> Result<(), String> {
    let (_, cell, _descriptor) = world.bind_udp(7)?;
    let memory = world.memory(cell).ok_or("no memory")?;
    let request = frame::udp(5000, 7, &[7; DATAGRAM_LEN]);
    let mut echoed = 0;
    for _ in 0..bursts {
        for _ in 0..BURST {
            let _ = world.inject(&request);
        }
        world.pass(Duration::from_micros(10));
        let mut bytes = [0; 64];
        loop {
            let read = memory.receive().read_datagram(&mut [IoSliceMut::new(&mut bytes)], false);
            let Some(datagram) = read else { break };
            let reply = bytes.get(..datagram.len).unwrap_or_default();
            memory
                .send()
                .push_datagram(datagram.from, &[IoSlice::new(reply)])
                .map_err(|e| format!("{e:?}"))?;
        }
        world.pass(Duration::from_micros(10));
        world.each_sent(|_| echoed += 1);
        world.events.clear();
    }
    if echoed < bursts * BURST { Err(format!("{echoed} echoes")) } else { Ok(()) }
}

fn tcp_receive(world: &mut World, bursts: u32) -> Result<(), String> {
    world.listen(80, 8);
    let syn = Segment {
        src_port: 5000,
        dst_port: 80,
        seq: 99,
        ack: 0,
        flags: flag::SYN,
        options: &[2, 4, 5, 180],
        text: &[],
    };
    let _ = world.inject(&frame::tcp(&syn));
    world.breathe();
    let iss = world.sent().iter().find_map(|f| syn_ack(f)).ok_or("no SYN-ACK")?;
    let ack = iss.wrapping_add(1);
    let _ = world.inject(&frame::tcp(&Segment {
        seq: 100,
        ack,
        flags: flag::ACK,
        options: &[],
        ..syn
    }));
    world.breathe();
    let established = world.events.iter().find_map(|e| match e {
        Event::Established { socket, cell, .. } => Some((*socket, *cell)),
        _ => None,
    });
    let (socket, cell) = established.ok_or("not established")?;
    let (ours, _theirs) = shm::SocketEnd::pair().map_err(|e| e.to_string())?;
    world.send(Command::Accepted { socket, descriptor: std::sync::Arc::new(ours) });
    let memory = world.memory(cell).ok_or("no memory")?;
    let text = [7; SEGMENT_LEN];
    let mut seq = 100_u32;
    let mut read = 0;
    let mut bytes = vec![0; 64 * 1024];
    for _ in 0..bursts {
        for _ in 0..BURST {
            let segment = Segment { seq, ack, flags: flag::ACK, options: &[], text: &text, ..syn };
            let _ = world.inject(&frame::tcp(&segment));
            seq = seq.wrapping_add(u32::try_from(SEGMENT_LEN).unwrap_or(0));
        }
        world.pass(Duration::from_micros(50));
        let mut queue = memory.receive();
        loop {
            let len = queue.read(&mut [IoSliceMut::new(&mut bytes)], false);
            if len == 0 {
                break;
            }
            read += len;
        }
        let tell = queue.worth_telling();
        drop(queue);
        if tell {
            let _ = memory.post_arm();
        }
        world.each_sent(|_| {});
        world.events.clear();
    }
    let wanted = bursts as usize * BURST as usize * SEGMENT_LEN;
    if read == wanted { Ok(()) } else { Err(format!("{read} of {wanted} bytes read")) }
}

fn syn_ack(frame: &[u8]) -> Option<u32> {
    let packet = ipv4::Packet::parse(frame.get(14..)?).ok()?;
    let segment = wire::tcp::Segment::parse(packet.payload).ok()?;
    (segment.flags() == flag::SYN | flag::ACK).then(|| segment.header.seq.get())
}

fn main() -> ExitCode {
    let args = Args::parse();
    let bursts = args.count.div_ceil(BURST);
    let outcome = World::new().and_then(|mut world| {
        let started = Instant::now();
        match args.path {
            Path::UdpEcho => udp_echo(&mut world, bursts)?,
            Path::TcpReceive => tcp_receive(&mut world, bursts)?,
        }
        let per_packet = started.elapsed().as_nanos() / u128::from(bursts * BURST).max(1);
        println!("{} packets, {per_packet} ns each with peer and client", bursts * BURST);
        Ok(())
    });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("packet-cost: {why}");
            ExitCode::FAILURE
        }
    }
}
