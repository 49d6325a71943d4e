//! What the world promises to those who judge the engine by it.

use core::net::Ipv4Addr;
use core::time::Duration;

use netsim::app::{Ending, Plan};
use netsim::buffer::RecvRing;
use netsim::host::HostSettings;
use netsim::link::{Fate, Link, LinkSettings};
use netsim::world::{HostId, LinkId};
use netsim::{World, packet, payload};
use tcp::{Config, RecvBuffer, SeqNum, Tcb};
use types::{FlowKey, Instant};

const MILLISECOND: Duration = Duration::from_millis(1);

struct Pair {
    world: World,
    client: HostId,
    server: HostId,
    there: LinkId,
}

/// A client and a server 10 ms apart.
fn pair(path: LinkSettings) -> Pair {
    let mut world = World::new(1);
    let client = world.add_host(Ipv4Addr::new(10, 0, 0, 1), HostSettings::default());
    let server = world.add_host(Ipv4Addr::new(10, 0, 0, 2), HostSettings::default());
    let there = world.add_link(client, server, path);
    let _ = world.add_link(server, client, LinkSettings::perfect(path.delay));
    world.hosts[server.0].listen(80, 8, Plan::exchange(0, 0));
    Pair { world, client, server, there }
}

fn good() -> LinkSettings {
    LinkSettings::perfect(10 * MILLISECOND)
}

impl Pair {
    fn connect(&mut self, plan: Plan) {
        let _ = self.world.connect(self.client, self.server, 80, plan);
    }

    fn run(&mut self, time: Duration) {
        self.world.run_until(self.world.now() + time);
    }

    /// Both ends have all and are gone.
    fn assert_complete(&self) {
        for host in &self.world.hosts {
            let [end] = &host.reports[..] else { panic!("{:?}", host.reports) };
            assert!(end.completed_at.is_some() && !end.wrong && end.error.is_none(), "{end:?}");
        }
    }
}

fn syn() -> Vec<u8> {
    let flow = FlowKey {
        local_addr: Ipv4Addr::new(10, 0, 0, 1).into(),
        remote_addr: Ipv4Addr::new(10, 0, 0, 2).into(),
        local_port: 40_000,
        remote_port: 80,
    };
    let now = Instant::from_millis(1);
    let mut tcb = Tcb::connect(&Config::default(), SeqNum::new(7), now);
    let syn = tcb.poll_transmit(now, &RecvRing::new(1_000)).unwrap();
    let mut bytes = Vec::new();
    packet::emit(&mut bytes, &flow, &syn, |_| {});
    bytes
}

#[test]
fn every_flipped_bit_is_found() {
    let mut bytes = syn();
    assert!(packet::parse(&bytes).is_ok());
    for bit in 0..bytes.len() * 8 {
        bytes[bit / 8] ^= 1 << (bit % 8);
        assert!(packet::parse(&bytes).is_err(), "bit {bit}");
        bytes[bit / 8] ^= 1 << (bit % 8);
    }
}

#[test]
fn one_seed_gives_one_trace() {
    for seed in 0..5 {
        let [first, second] = [(); 2].map(|()| payload::run(seed, 50_000));
        assert!(first.holds(), "{first:?}");
        assert_eq!(first.hash, second.hash);
    }
    assert_ne!(payload::run(0, 50_000).hash, payload::run(1, 50_000).hash);
}

#[test]
fn a_queue_delays_and_then_drops_at_the_tail() {
    let settings = LinkSettings {
        rate: Some(100_000),
        queue_len: 3_000,
        ..LinkSettings::perfect(MILLISECOND)
    };
    let mut link = Link::new(0, settings, 1);
    let now = Instant::from_millis(5);
    let mut packet = vec![0; 1_000];
    for sent in 1..=3_u32 {
        let at = now + 10 * MILLISECOND * sent + MILLISECOND;
        assert_eq!(link.carry(&mut packet, now), Fate::Arrives(at, None));
    }
    assert_eq!(link.carry(&mut packet, now), Fate::Overflow);
    let later = now + 10 * MILLISECOND;
    assert!(matches!(link.carry(&mut packet, later), Fate::Arrives(..)));
}

#[test]
fn a_queue_marks_what_can_be_marked() {
    let settings = LinkSettings {
        rate: Some(100_000),
        queue_len: 10_000,
        mark_len: Some(20),
        ..LinkSettings::perfect(MILLISECOND)
    };
    let mut link = Link::new(0, settings, 1);
    let (mut plain, now) = (syn(), Instant::ZERO);
    for _ in 0..3 {
        let _ = link.carry(&mut plain, now);
    }
    assert_eq!((link.counts.marked, &plain), (0, &syn()));
    // The same packet, ECN-capable: its header checksum stays right.
    let mut capable = syn();
    capable[1] |= 0b10;
    let sum = u16::from_be_bytes([capable[10], capable[11]]);
    capable[10..12].copy_from_slice(&wire::checksum::update_u16(sum, 0x4500, 0x4502).to_be_bytes());
    assert!(packet::parse(&capable).is_ok());
    let _ = link.carry(&mut capable, now);
    assert_eq!((link.counts.marked, capable[1] & 0b11), (1, 0b11));
    assert!(packet::parse(&capable).is_ok());
}

#[test]
fn a_smaller_mtu_is_told_and_the_text_still_arrives() {
    let mut pair = pair(good());
    pair.connect(Plan::exchange(1_000_000, 0));
    pair.run(50 * MILLISECOND);
    pair.world.links[pair.there.0].settings.mtu = 700;
    pair.run(Duration::from_secs(60));
    pair.assert_complete();
    assert!(pair.world.links[pair.there.0].counts.too_big > 0);
}

#[test]
fn a_leaping_clock_fires_timers_at_once() {
    let mut pair = pair(LinkSettings { up: false, ..good() });
    pair.connect(Plan::exchange(1, 1));
    let offered = |pair: &Pair| pair.world.links[pair.there.0].counts.offered;
    assert_eq!(offered(&pair), 1);
    pair.world.jump(pair.client, Duration::from_secs(2));
    assert_eq!(offered(&pair), 2, "the SYN goes out again");
    pair.world.links[pair.there.0].settings.up = true;
    pair.run(Duration::from_secs(10));
    pair.assert_complete();
}

#[test]
fn what_a_crashed_client_left_is_reset() {
    let mut pair = pair(good());
    pair.connect(Plan { ending: Ending::Vanish, ..Plan::exchange(10, 1_000_000) });
    pair.run(Duration::from_secs(5));
    let [server] = &pair.world.hosts[pair.server.0].reports[..] else { panic!("still there") };
    assert_eq!(server.error, Some(tcp::ConnectionError::Reset));
    assert!(pair.world.hosts.iter().all(|host| host.population().total() == 0));
}

#[test]
fn the_ring_is_a_queue_with_room_for_what_comes_out_of_order() {
    let mut ring = RecvRing::new(10);
    for round in 0..50_u8 {
        let text: Vec<u8> = (0..7).map(|at| round.wrapping_mul(7).wrapping_add(at)).collect();
        assert_eq!(ring.write(3, &text[3..]), 4);
        assert_eq!(ring.write(0, &text[..3]), 3);
        ring.advance(7);
        assert_eq!(ring.window(), 3);
        assert_eq!(ring.write(0, &[9; 5]), 3, "no more than fits");
        let mut read = Vec::new();
        while ring.unread() > 0 {
            let piece = ring.readable().to_vec();
            ring.consume(piece.len());
            read.extend(piece);
        }
        assert_eq!(read, text);
    }
}
