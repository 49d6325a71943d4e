//! A burst that the port cuts is on the wire what it would be if the stack had cut it.

use core::time::Duration;
use std::process::Command;

use devnp::{RxQueue, TxQueue};
use dpdk::Burst;
use harness::World;
use harness::peers::Peers;
use inet::network::TxChecksum;
use wire::tcp::flag;
use wire::{ipv4, tcp};

/// What a tap that cuts has: its driver counts the Ethernet header too.
const MTU: u16 = 1486;
/// Text of a full segment: less 40 bytes of headers and 12 of timestamps.
const MSS: usize = 1434;
const SEGMENTS: usize = 8;

/// All of a segment that does not differ between two connections; its checksums are right.
#[derive(Debug, PartialEq, Eq)]
struct Normal {
    offset: u32,
    flags: u8,
    window: u16,
    tos: u8,
    ttl: u8,
    ip_flags: u16,
    options_len: usize,
    text: Vec<u8>,
}

fn normal(frames: &[Vec<u8>]) -> Vec<Normal> {
    let mut first = None;
    let parse = |frame: &Vec<u8>| {
        let packet = ipv4::Packet::parse(frame.get(14..)?).ok()?;
        packet.verify().unwrap();
        let header = packet.header;
        let segment = tcp::Segment::parse(packet.payload).ok()?;
        segment.verify(header.src(), header.dst()).unwrap();
        let seq = segment.header.seq.get();
        Some(Normal {
            offset: seq.wrapping_sub(*first.get_or_insert(seq)),
            flags: segment.flags(),
            window: segment.header.window.get(),
            tos: header.tos,
            ttl: header.ttl,
            ip_flags: header.flags_fragment.get(),
            options_len: segment.options.len(),
            text: segment.text.to_vec(),
        })
    };
    frames.iter().filter_map(parse).collect()
}

fn whole(burst: &Burst) -> Vec<Vec<u8>> {
    let copy = |mbuf: &dpdk::Mbuf| {
        let mut bytes = vec![0; mbuf.packet_len() as usize];
        assert!(mbuf.copy_out(0, &mut bytes));
        bytes
    };
    burst.iter().map(copy).collect()
}

/// One burst of full segments of connection `index`, as the worker hands it to the port.
fn burst(world: &mut World, peers: &mut Peers, index: usize) -> Burst {
    let text: Vec<u8> = (0..251).cycle().take(SEGMENTS * MSS).collect();
    peers.write(index, &text).unwrap();
    world.pass(Duration::from_micros(20));
    world.take_sent()
}

fn port_cuts(world: &mut World, loans: bool) {
    world.configure(|interface| {
        interface.mtu = MTU;
        interface.tx_checksum = TxChecksum::Port;
        interface.loans = loans;
        interface.tso_buffers_max = 64;
        interface.tso_ipv4_checksum = true;
    });
}

/// The same burst by a driver that cuts, seen by the kernel.
fn through(tx: &mut TxQueue, mut burst: Burst, seen: &mut RxQueue) -> Vec<Vec<u8>> {
    assert_eq!(tx.tx_burst(&mut burst), 1);
    let mut frames = Vec::new();
    for _ in 0..200 {
        let mut got = Burst::new();
        let _ = seen.rx_burst(&mut got);
        frames.extend(whole(&got).into_iter().filter(|f| f.get(12..14) == Some(&[8, 0])));
        if frames.len() >= SEGMENTS {
            break;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    frames
}

#[test]
fn what_a_port_cuts_is_what_the_stack_would_have_cut() {
    let mut world = World::new().unwrap();
    world.configure(|interface| interface.mtu = MTU);
    world.listen(80, 16);
    let mut peers = Peers::new().unwrap();
    let mut breathe = |world: &mut World| world.pass(Duration::from_micros(20));
    peers.open(&mut world, (0, 80), 5000..5004, &mut breathe).unwrap();

    let plain = burst(&mut world, &mut peers, 0);
    assert_eq!(plain.len(), SEGMENTS, "cut by the stack");
    let plain = normal(&whole(&plain));
    assert_eq!(plain.len(), SEGMENTS);
    let flags: Vec<u8> = plain.iter().map(|segment| segment.flags).collect();
    assert_eq!(flags[..SEGMENTS - 1], [flag::ACK; SEGMENTS - 1]);
    assert_eq!(flags[SEGMENTS - 1], flag::ACK | flag::PSH, "on the last only");

    port_cuts(&mut world, true);
    let lent = burst(&mut world, &mut peers, 1);
    port_cuts(&mut world, false);
    let copied = burst(&mut world, &mut peers, 2);
    for burst in [&lent, &copied] {
        assert_eq!(burst.len(), 1, "left to the port");
        let frame = &whole(burst)[0];
        let text: Vec<u8> = plain.iter().flat_map(|segment| segment.text.clone()).collect();
        assert_eq!(frame[66..], text);
    }
    drop(lent);

    let tun = std::fs::OpenOptions::new().read(true).write(true).open("/dev/net/tun");
    if tun.is_err() {
        return println!("no /dev/net/tun: the driver that cuts is skipped");
    }
    let name = format!("ioseg{}", std::process::id() % 10_000);
    let mut tap = match world.attach("net_tap", &format!("iface={name},tso=on")) {
        Ok(tap) => tap,
        Err(why) => return println!("no tap ({why}): the driver that cuts is skipped"),
    };
    assert_eq!((tap.mtu(), tap.capabilities().loans), (MTU, false));
    assert!(tap.capabilities().tso_buffers_max >= 64);
    let up = Command::new("ip").args(["link", "set", &name, "up"]).status().unwrap();
    assert!(up.success());
    let mut kernel = world.attach("net_af_packet", &format!("iface={name}")).unwrap();
    let (_, mut tx) = tap.take_queues(0).unwrap();
    let (mut seen, kernel_tx) = kernel.take_queues(0).unwrap();
    let cut = normal(&through(&mut tx, copied, &mut seen));
    assert_eq!(cut, plain);
    drop((tx, seen, kernel_tx));
}
