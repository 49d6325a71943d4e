//! What comes from a link below IP: tags, what bridges, ends of aggregated links and listeners tell each other. What is read
//! goes to the engines that act on it.

use core::net::{IpAddr, Ipv4Addr};
use core::time::Duration;

use bridge::stp::{PortConfig, Tree, TreeConfig};
use bridge::{Asked, Groups, Secret};
use lagg::{Aggregate, Protocol};
use types::{Instant, MacAddr};
use wire::bpdu::Bpdu;
use wire::lacp::{Lacpdu, Slow, state};
use wire::snoop::Snooped;
use wire::vlan::{Kind, TAG_LEN, Tag, Tci};
use wire::{Checksum, ethernet, vlan};

use crate::bytes::Bytes;

const OURS: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);
const THEIRS: MacAddr = MacAddr([2, 0, 0, 0, 0, 2]);

/// A tag goes in and comes out again, and the frame is what it was.
fn tagged(bytes: &[u8]) {
    if let Ok((kind, tci)) = Tag::parse(bytes) {
        let mut without = bytes.to_vec();
        assert!(vlan::strip(&mut without), "what has a tag is stripped of it");
        let frame = &without[TAG_LEN..];
        let mut again = [&[0; TAG_LEN], frame].concat();
        assert!(vlan::insert(&mut again, Tag::new(kind, Tci::new(tci.id(), tci.priority()))));
        assert_eq!(again[..14], bytes[..14], "addresses and type");
        assert_eq!(again[16..], bytes[16..], "what follows the tag");
    }
    let mut any = bytes.to_vec();
    let _ =
        (vlan::strip(&mut any), vlan::insert(&mut any, Tag::new(Kind::Service, Tci::new(5, 1))));
}

/// A message between bridges with the right start.
fn bpdu_of(bytes: &mut Bytes<'_>) -> Vec<u8> {
    let kind: [u8; 2] = [[0, 0], [2, 2], [0, 0x80], [3, 2]][usize::from(bytes.u8() & 3)];
    let body = bytes.take(32);
    let len = u8::try_from(7 + body.len()).expect("short");
    let start = [0x42, 0x42, 0x03, 0, 0, kind[0], kind[1]];
    let head = [wire::bpdu::BRIDGES.0, THEIRS.0].concat();
    [&head[..], &[0, len], &start, body].concat()
}

fn is_too_old(bpdu: &Bpdu) -> bool {
    match bpdu {
        Bpdu::TopologyChange => false,
        Bpdu::Config(config) | Bpdu::Rapid(config) => config.message_age >= config.max_age,
    }
}

/// A bridge of three ports hears anything: it answers within bounds and is of one mind with itself.
fn tree(bytes: &mut Bytes<'_>) {
    let mut tree = Tree::new(OURS, TreeConfig::default());
    let mut now = Instant::from_millis(1000);
    for number in 1..=3 {
        tree.set_port(
            number.into(),
            PortConfig { number, priority: 128, cost: 2000, up: true },
            now,
        );
    }
    while !bytes.is_empty() {
        let port = 1 + u16::from(bytes.u8() % 3);
        match bytes.u8() % 4 {
            0 => {
                now += Duration::from_millis(u64::from(bytes.u16()));
                tree.timeout(now);
            }
            1 => {
                let up = bytes.bool();
                let number = u8::try_from(port).expect("small");
                tree.set_port(port, PortConfig { number, priority: 128, cost: 2000, up }, now);
            }
            _ => {
                let frame = bpdu_of(bytes);
                let Ok(bpdu) = Bpdu::parse(&frame) else { continue };
                assert_eq!(Bpdu::parse(bpdu.emit(THEIRS).as_bytes()), Ok(bpdu));
                tree.bpdu_arrives(port, &bpdu, now);
            }
        }
        let said = core::iter::from_fn(|| tree.poll_transmit()).inspect(|(_, bpdu)| {
            // A root beyond reach is spoken of, and whoever hears it takes no notice (802.1D-2004 17.21.23).
            let heard = Bpdu::parse(bpdu.emit(OURS).as_bytes());
            assert!(heard == Ok(*bpdu) || is_too_old(bpdu), "{bpdu:?}");
        });
        assert!(said.count() <= 3 * 6, "more than a port may say in a second");
        let (_, cost, root_port) = tree.root();
        assert!(root_port.is_some() || cost == 0, "a root with a way to itself");
        let row = root_port.and_then(|port| tree.row(port));
        assert!(row.is_none_or(|row| row.role == bridge::stp::Role::Root));
        assert!((1..=3).all(|port| tree.state(port).is_some()));
        let _ = tree.take_flushes(now);
    }
}

/// An aggregate of four ports hears anything: what it uses leads to one system, and it does not talk without end.
fn aggregate(bytes: &mut Bytes<'_>) {
    let mut here = Aggregate::new(Protocol::Lacp, OURS);
    let mut now = Instant::from_millis(1000);
    let mut said = Vec::new();
    let config = |port: u16, speed_mbps, up| lagg::PortConfig { number: port, speed_mbps, up };
    (1..=4).for_each(|port| here.set_port(port, config(port, 1000, true), now));
    while !bytes.is_empty() {
        let port = 1 + u16::from(bytes.u8() & 3);
        match bytes.u8() % 6 {
            0 => {
                now += Duration::from_millis(u64::from(bytes.u16() & 0xfff));
                here.timeout(now);
            }
            1 => {
                let speed = [0, 100, 1000, 1000][usize::from(bytes.u8() & 3)];
                here.set_port(port, config(port, speed, bytes.bool()), now);
            }
            2 => here.remove_port(port, now),
            how => lacpdu(&mut here, port, how, bytes, now),
        }
        said.extend(core::iter::from_fn(|| here.poll_transmit()).map(|(port, pdu)| {
            assert_eq!(Slow::parse(&pdu.emit(OURS)), Ok(Slow::Lacp(pdu)));
            (port, now)
        }));
        said.retain(|(_, at)| now.since(*at) < Duration::from_secs(1));
        // A port that came back has said nothing yet.
        assert!(said.len() <= 4 * 2 * 3 * 8, "{} messages in a second", said.len());
        let used = here.port_names().into_iter().filter(|port| here.collects(*port));
        let ends: Vec<_> = used.filter_map(|port| Some(here.row(port)?.partner)).collect();
        let to_one = |pair: &[wire::lacp::Info]| {
            (pair[0].system, pair[0].key) == (pair[1].system, pair[1].key)
        };
        assert!(ends.windows(2).all(to_one), "{ends:?}");
        assert!(ends.iter().all(|end| end.system != OURS.0 && end.is(state::SYNCHRONIZATION)));
        assert!((1..=4).all(|port| !here.distributes(port) || here.collects(port)));
    }
}

/// A message, made so that it agrees with us in part.
fn lacpdu(here: &mut Aggregate, port: u16, how: u8, bytes: &mut Bytes<'_>, now: Instant) {
    let Some(row) = here.row(port) else { return };
    let mut raw = Lacpdu { actor: row.partner, partner: row.actor }.emit(THEIRS);
    match how {
        // Another system, key or port.
        3 => raw[18 + usize::from(bytes.u8() % 15)] = bytes.u8(),
        4 => {
            let at = usize::from(bytes.u8()) % raw.len();
            raw[at] = bytes.u8();
        }
        // The same, in another state.
        _ => {
            raw[20..26].copy_from_slice(&[2, 0, 0, 0, 0, 2 + (bytes.u8() & 1)]);
            raw[32] = bytes.u8();
        }
    }
    let len = if how == 4 { usize::from(bytes.u8()) } else { raw.len() };
    if let Ok(Slow::Lacp(pdu)) = Slow::parse(&raw[..len.min(raw.len())]) {
        here.lacpdu_arrives(port, &pdu, now);
    }
}

/// What is said about groups, its checksum put right.
fn snooped(bytes: &mut Bytes<'_>) {
    let mut groups = Groups::new(Secret([3, 4]));
    let mut now = Instant::from_millis(1000);
    while !bytes.is_empty() {
        let port = u16::from(bytes.u8() & 3);
        now += Duration::from_secs(u64::from(bytes.u8()));
        let len = usize::from(bytes.u8() % 64);
        let message = bytes.take(len);
        let frame = if bytes.bool() { igmp(message) } else { mld(message) };
        match Snooped::parse(&frame) {
            Ok(Snooped::Report(report)) => report.groups(|group| {
                assert!(group.is_multicast(), "{group} is no group");
                let _ = groups.report(group, port, now);
            }),
            Ok(Snooped::Query(query)) => {
                let wire::snoop::Query { inet6, group, max_response } = query;
                groups.query(&Asked { inet6, group, max_response }, Some(port), now);
            }
            Ok(Snooped::Data(_) | Snooped::Other) | Err(_) => {}
        }
        assert!(groups.rows(now).count() <= 4 * (1 + bridge::limits::GROUPS_MAX));
        let group = IpAddr::V4(Ipv4Addr::new(239, 1, 1, 1));
        let only = groups.listeners(group, now).map(|to| (0..4).any(|port| to.has(port)));
        assert!(only != Some(false), "a group that nobody gets");
    }
}

fn igmp(message: &[u8]) -> Vec<u8> {
    let mut igmp = message.to_vec();
    if let Some([kind, _, high, low]) = igmp.first_chunk_mut::<4>() {
        *kind = [0x11, 0x12, 0x16, 0x17, 0x22, 0x22, 0x22, *kind][usize::from(*kind & 7)];
        (*high, *low) = (0, 0);
        let sum = Checksum::new().sum(&igmp).finish().to_be_bytes();
        igmp[2..4].copy_from_slice(&sum);
    }
    // Questions are not heard elsewhere; where a report goes is not looked at.
    let (from, to) = (Ipv4Addr::new(10, 0, 0, 1), wire::igmp::ALL_SYSTEMS);
    let protocol = wire::ipv4::Protocol::IGMP;
    let header = wire::ipv4::Header::new(from, to, protocol, igmp.len()).expect("short");
    let header = header.with_ttl(1);
    framed(ethernet::EtherType::IPV4, &[wire::IntoBytes::as_bytes(&header.with_checksum()), &igmp])
}

fn mld(message: &[u8]) -> Vec<u8> {
    let (from, to) = ("fe80::1".parse().expect("one"), wire::ipv6::ALL_NODES);
    let mut message = message.to_vec();
    if let Some([kind, code, high, low]) = message.first_chunk_mut::<4>() {
        *kind = [130, 131, 132, 143, 143, 143, 143, *kind][usize::from(*kind & 7)];
        (*code, *high, *low) = (0, 0, 0);
    }
    if let Ok(parsed) = wire::icmp6::Message::parse(&message) {
        let right = parsed.header.with_checksum(from, to, parsed.body);
        message = [wire::IntoBytes::as_bytes(&right), parsed.body].concat();
    }
    let payload = [&wire::mld::ROUTER_ALERT[..], &message].concat();
    let first = wire::ipv4::Protocol(0);
    let header = wire::ipv6::Header::new(from, to, first, payload.len()).expect("short");
    let header = header.with_hop_limit(1);
    framed(ethernet::EtherType::IPV6, &[wire::IntoBytes::as_bytes(&header), &payload])
}

fn framed(kind: ethernet::EtherType, packet: &[&[u8]]) -> Vec<u8> {
    let header = ethernet::Header::new(MacAddr::BROADCAST, THEIRS, kind);
    [wire::IntoBytes::as_bytes(&header), &packet.concat()].concat()
}

/// Frames below IP.
pub fn links(input: &[u8]) {
    let mut bytes = Bytes::new(input);
    match bytes.u8() & 3 {
        0 => {
            let raw = bytes.take(usize::MAX);
            tagged(raw);
            let _ = (Bpdu::parse(raw), Slow::parse(raw), Snooped::parse(raw));
        }
        1 => tree(&mut bytes),
        2 => aggregate(&mut bytes),
        _ => snooped(&mut bytes),
    }
}
