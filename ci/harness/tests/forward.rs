//! IPv4 packets for others: which way they go, and what becomes of those that don't.

use core::net::{Ipv4Addr, SocketAddr};
use core::time::Duration;
use std::io::IoSlice;

use fib::{Ipv4Net, Refusal, Rib, Route};
use harness::router::{FAR, LOCAL_FAR_MAC, PEER_FAR, PEER_FAR_MAC, packet};
use harness::{LOCAL, PEER, PEER_MAC, World};
use inet::Device;
use inet::command::{Command, SocketOption};
use inet::network::{Network, ReversePath, RouteTable, StaticNeighbor};
use shm::Ancillary;
use types::{DropReason, MacAddr};
use wire::ipv4::{self, Header};
use wire::{IntoBytes, arp, ethernet, icmp};

/// Behind the peer of the second link.
const BEYOND: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 1);
/// Behind the peer of the first link.
const BEFORE: Ipv4Addr = Ipv4Addr::new(10, 7, 0, 1);
/// On the first link.
const NEARER: Ipv4Addr = Ipv4Addr::new(198, 18, 77, 9);
/// On the second link, and silent.
const MUTE: Ipv4Addr = Ipv4Addr::new(198, 18, 78, 77);

/// Another router on the second link.
const SECOND_FAR: Ipv4Addr = Ipv4Addr::new(198, 18, 78, 3);
const SECOND_FAR_MAC: MacAddr = MacAddr([2, 0, 0, 0, 1, 3]);

/// Ethernet addresses, source first, header, payload.
type Sent = (MacAddr, MacAddr, Header, Vec<u8>);

fn parse(frame: &[u8]) -> Option<Sent> {
    let frame = ethernet::Frame::parse(frame).ok()?;
    let packet = ipv4::Packet::parse(frame.payload).ok()?;
    packet.verify().unwrap();
    Some((frame.header.src(), frame.header.dst(), *packet.header, packet.payload.to_vec()))
}

struct Router(World);

impl Router {
    fn new() -> Self {
        let mut world = World::new().expect("a world without hugepages and without root");
        world.become_router().unwrap();
        let mut router = Self(world);
        router.configure(|_| {});
        router
    }

    fn configure(&mut self, change: impl FnOnce(&mut Network)) {
        let net = |text: &str, len| Ipv4Net::new(text.parse().unwrap(), len).unwrap();
        let routes = [
            Route::gateway(net("10.9.0.0", 16), FAR, PEER_FAR),
            Route::gateway(net("10.7.0.0", 16), 1, PEER),
            Route::gateway(net("10.8.0.0", 16), 1, NEARER),
            Route::on_link(net("0.0.0.0", 8), FAR),
            Route::on_link(net("240.0.0.0", 4), FAR),
            Route::on_link(net("169.254.0.0", 16), FAR),
            Route::refused(net("10.10.0.0", 16), Refusal::Blackhole),
            Route::refused(net("10.11.0.0", 16), Refusal::Reject),
            Route { mtu: Some(700), ..Route::gateway(net("10.12.0.0", 16), FAR, PEER_FAR) },
            Route::gateway(net("10.13.0.0", 16), FAR, PEER_FAR),
            Route::gateway(net("10.13.0.0", 16), FAR, SECOND_FAR),
        ];
        self.0.route(routes, change);
    }

    /// What comes out on the first and the second link.
    fn exchange(&mut self, frame: &[u8]) -> (Vec<Sent>, Vec<Sent>) {
        assert!(self.0.inject(frame));
        self.0.pass(Duration::from_millis(1));
        let parsed = |frames: Vec<Vec<u8>>| frames.iter().filter_map(|f| parse(f)).collect();
        (parsed(self.0.sent()), parsed(self.0.sent_far()))
    }

    fn drops(&self, reason: DropReason) -> u64 {
        self.0.worker.counters().drops.value(reason as usize)
    }

    /// The frame is dropped for this reason; the answer to its sender, if there is one.
    fn refused(&mut self, frame: &[u8], reason: DropReason) -> Option<Sent> {
        let before = self.drops(reason);
        let (mut near, far) = self.exchange(frame);
        assert_eq!(self.drops(reason) - before, 1, "{reason:?}");
        assert!(far.is_empty(), "{reason:?}: passed on");
        assert!(near.len() <= 1, "{reason:?}: {near:?}");
        near.pop()
    }

    /// No word about it either.
    fn silently_refused(&mut self, frame: &[u8], reason: DropReason) {
        let answer = self.refused(frame, reason);
        assert!(answer.is_none(), "{reason:?}: {answer:?}");
    }

    /// The error that the sender of this frame gets: type, code, the two words of the rest.
    fn told(&mut self, frame: &[u8], reason: DropReason) -> (u8, u8, [u16; 2]) {
        let answer = self.refused(frame, reason).expect("an ICMP error");
        error_about(&answer, frame)
    }
}

fn error_about(answer: &Sent, frame: &[u8]) -> (u8, u8, [u16; 2]) {
    let (_, to, header, payload) = answer;
    assert_eq!((*to, header.src(), header.dst()), (PEER_MAC, LOCAL, PEER));
    let message = icmp::Message::parse(payload).unwrap();
    message.verify().unwrap();
    assert_eq!(message.payload, icmp::quote(&frame[14..]), "quoted as it came");
    let rest = message.header.rest.map(|word| word.get());
    (message.header.kind, message.header.code, rest)
}

const TEXT: &[u8; 40] = &[7; 40];

fn plain(source: Ipv4Addr, destination: Ipv4Addr) -> Vec<u8> {
    packet(source, destination, TEXT, |header| header)
}

fn passes_on(router: &mut Router) {
    let (near, far) = router.exchange(&plain(PEER, BEYOND));
    assert!(near.is_empty());
    let [(from, to, header, payload)] = far.as_slice() else { panic!("{far:?}") };
    assert_eq!((*from, *to), (LOCAL_FAR_MAC, PEER_FAR_MAC), "over the second link to its router");
    assert_eq!((header.src(), header.dst(), header.ttl), (PEER, BEYOND, 63));
    assert_eq!(payload, TEXT);
    // Segments too, spoiled ones as they are: to look is their receiver's part.
    let segment = wire::tcp::Header::new(1, 2, 3, 4, wire::tcp::flag::ACK, 5);
    let mut payload = [IntoBytes::as_bytes(&segment), TEXT].concat();
    payload[16] ^= 1;
    let frame = packet(PEER, BEYOND, &payload, |header| Header {
        protocol: ipv4::Protocol::TCP.0,
        ..header
    });
    let (_, far) = router.exchange(&frame);
    assert_eq!((far[0].2.ttl, far[0].3.as_slice()), (63, payload.as_slice()));
    // The padding of a short frame is no part of the packet.
    let mut padded = packet(PEER, PEER_FAR, &[1], |header| header);
    padded.resize(60, 0xee);
    let (_, far) = router.exchange(&padded);
    assert_eq!((far[0].2.total_len.get(), far[0].3.as_slice()), (21, &[1_u8][..]));
    assert_eq!(router.0.worker.counters().ipv4.rows().nth(4).unwrap().2, 3, "counted");
}

fn keeps_martians_back(router: &mut Router) {
    let source = |text: &str| plain(text.parse().unwrap(), BEYOND);
    for martian in ["0.0.0.0", "0.1.2.3", "127.0.0.1", "224.0.0.1", "240.0.0.1", "255.255.255.255"]
    {
        router.silently_refused(&source(martian), DropReason::Ipv4Source);
    }
    router.silently_refused(&source("198.18.77.255"), DropReason::Ipv4Source);
    router.silently_refused(&plain(LOCAL, BEYOND), DropReason::Ipv4Land);
    let destination = |text: &str| plain(PEER, text.parse().unwrap());
    for martian in ["0.1.2.3", "240.0.0.1"] {
        router.silently_refused(&destination(martian), DropReason::Ipv4Destination);
    }
    router.silently_refused(&destination("127.0.0.1"), DropReason::Ipv4Source);
    router.silently_refused(&destination("169.254.1.1"), DropReason::Ipv4LinkLocal);
    router.silently_refused(&source("169.254.1.1"), DropReason::Ipv4LinkLocal);
    let mut to_all = plain(PEER, BEYOND);
    to_all[..6].fill(0xff);
    router.silently_refused(&to_all, DropReason::Ipv4LinkBroadcast);
    // To everybody on the other link: nobody there gets it (RFC 2644).
    let (near, far) = router.exchange(&plain(PEER, Ipv4Addr::new(198, 18, 78, 255)));
    assert!(near.is_empty() && far.is_empty());
}

fn drops_source_routes(router: &mut Router) {
    let loose = [131, 7, 4, 10, 9, 0, 1, 0];
    let mut frame = plain(PEER, BEYOND);
    let end = 14 + 20;
    let _ = frame.splice(end..end, loose);
    frame[14] = 0x47;
    frame[17] += 8;
    harness::frame::repair(&mut frame);
    router.silently_refused(&frame, DropReason::Ipv4SourceRoute);
}

fn says_why_not(router: &mut Router) {
    let exceeded = |ttl| packet(PEER, BEYOND, TEXT, move |header| header.with_ttl(ttl));
    for ttl in [0, 1] {
        let said = router.told(&exceeded(ttl), DropReason::Ipv4TtlExceeded);
        assert_eq!(said, (11, 0, [0, 0]), "time exceeded in transit");
    }
    let (_, far) = router.exchange(&exceeded(2));
    assert_eq!(far[0].2.ttl, 1);
    let nowhere = plain(PEER, Ipv4Addr::new(203, 0, 113, 1));
    let said = router.told(&nowhere, DropReason::Ipv4NoRoute);
    assert_eq!(said, (3, 0, [0, 0]), "net unreachable");
    router.configure(|network| network.interfaces[2].mtu = 600);
    let big = packet(PEER, BEYOND, &[7; 581], |header| header);
    let said = router.told(&big, DropReason::Ipv4TooBig);
    assert_eq!(said, (3, 4, [0, 600]), "fragmentation needed, and for which MTU");
    let fits = packet(PEER, BEYOND, &[7; 580], |header| header);
    assert_eq!(router.exchange(&fits).1.len(), 1);
    router.configure(|network| network.interfaces[2].up = false);
    let _ = router.told(&plain(PEER, BEYOND), DropReason::Ipv4NoRoute);
    router.configure(|_| {});
}

/// What comes of a packet of 1008 bytes of payload for a link that takes packets of 600.
fn cut(router: &mut Router, options: &[u8], flags_fragment: u16) -> (Vec<u8>, Vec<Sent>) {
    let payload: Vec<u8> = (0..=250).cycle().take(1008).collect();
    let mut frame = packet(PEER, BEYOND, &payload, |mut header| {
        header.flags_fragment.set(flags_fragment);
        header.with_id(77)
    });
    let end = 14 + 20;
    let _ = frame.splice(end..end, options.iter().copied());
    frame[14] += u8::try_from(options.len() / 4).unwrap();
    let len = u16::try_from(frame.len() - 14).unwrap();
    frame[16..18].copy_from_slice(&len.to_be_bytes());
    harness::frame::repair(&mut frame);
    let (near, far) = router.exchange(&frame);
    assert!(near.is_empty(), "{near:?}");
    // As it was sent: its checksum had to be made right.
    (frame.split_off(end + options.len()), far)
}

fn cuts_what_may_be_cut(router: &mut Router) {
    router.configure(|network| network.interfaces[2].mtu = 600);
    let (payload, pieces) = cut(router, &[], 0);
    let shape = |pieces: &[Sent]| -> Vec<(usize, usize, bool)> {
        let of = |(_, _, h, p): &Sent| (h.fragment_offset(), p.len(), h.more_fragments());
        pieces.iter().map(of).collect()
    };
    assert_eq!(shape(&pieces), [(0, 576, true), (576, 432, false)]);
    assert_eq!(pieces.iter().flat_map(|p| p.3.clone()).collect::<Vec<u8>>(), payload);
    assert!(pieces.iter().all(|(_, _, header, _)| (header.id.get(), header.ttl) == (77, 63)));
    // A fragment is cut further: the last piece is not the datagram's last.
    let (_, pieces) = cut(router, &[], 0x2000 | 100);
    assert_eq!(shape(&pieces), [(800, 576, true), (1376, 432, true)]);
    // Router alert (RFC 2113) is for all pieces, a record of the route for the first alone.
    let (payload, pieces) = cut(router, &[148, 4, 0, 0, 7, 3, 4, 0], 0);
    assert_eq!(shape(&pieces), [(0, 568, true), (568, 440, false)]);
    assert_eq!(pieces.iter().map(|p| p.2.header_len()).collect::<Vec<_>>(), [28, 24]);
    assert_eq!(pieces.iter().flat_map(|p| p.3.clone()).collect::<Vec<u8>>(), payload);
    router.configure(|_| {});
}

fn says_nothing_about_errors_and_later_fragments(router: &mut Router) {
    let error = icmp::Header::time_exceeded(icmp::Code::TTL_EXCEEDED);
    let error = IntoBytes::as_bytes(&error.with_checksum(&[])).to_vec();
    let frame = packet(PEER, BEYOND, &error, |mut header| {
        header.protocol = ipv4::Protocol::ICMP.0;
        header.with_ttl(1)
    });
    router.silently_refused(&frame, DropReason::Ipv4TtlExceeded);
    let frame = packet(PEER, BEYOND, TEXT, |mut header| {
        header.flags_fragment.set(5);
        header.with_ttl(1)
    });
    router.silently_refused(&frame, DropReason::Ipv4TtlExceeded);
}

fn errors_are_limited(router: &mut Router) {
    router.0.pass(Duration::from_secs(2));
    let before = router.drops(DropReason::IcmpRateLimit);
    let frame = packet(PEER, BEYOND, TEXT, |header| header.with_ttl(1));
    let answers: usize = (0..100).map(|_| router.exchange(&frame).0.len()).sum();
    assert!((10..=20).contains(&answers), "{answers}");
    assert_eq!(router.drops(DropReason::IcmpRateLimit) - before, 100 - answers as u64);
    router.0.pass(Duration::from_secs(2));
}

fn tells_of_a_nearer_router(router: &mut Router) {
    let frame = plain(PEER, Ipv4Addr::new(10, 8, 0, 1));
    let (near, _) = router.exchange(&frame);
    let [redirect] = near.as_slice() else { panic!("{near:?}") };
    let [high, low] = [NEARER.to_bits() >> 16, NEARER.to_bits() & 0xffff];
    let rest = [high, low].map(|word| u16::try_from(word).unwrap());
    assert_eq!(error_about(redirect, &frame), (5, 1, rest), "redirect for this host");
    // Somebody else's router is told nothing, and nobody is if the operator does not want it.
    assert!(router.exchange(&plain(BEFORE, Ipv4Addr::new(10, 8, 0, 1))).0.is_empty());
    router.configure(|network| network.host.redirects = false);
    assert!(router.exchange(&frame).0.is_empty());
    router.configure(|_| {});
}

fn looks_at_the_way_back(router: &mut Router) {
    let (spoofed, unknown) =
        (plain(PEER_FAR, BEYOND), plain(Ipv4Addr::new(203, 0, 113, 1), BEYOND));
    assert_eq!(router.exchange(&spoofed).1.len(), 1, "unless the operator wants it, nobody looks");
    router.configure(|network| network.host.reverse_path = ReversePath::Strict);
    router.silently_refused(&spoofed, DropReason::Ipv4ReversePath);
    router.silently_refused(&unknown, DropReason::Ipv4ReversePath);
    assert_eq!(router.exchange(&plain(BEFORE, BEYOND)).1.len(), 1);
    router.configure(|network| network.host.reverse_path = ReversePath::Loose);
    assert_eq!(router.exchange(&spoofed).1.len(), 1);
    router.silently_refused(&unknown, DropReason::Ipv4ReversePath);
    router.configure(|_| {});
}

fn says_that_nobody_answers(router: &mut Router) {
    // What waits for others is given up.
    for _ in 0..80 {
        router.0.pass(Duration::from_millis(100));
    }
    let _ = router.0.sent();
    let frame = plain(PEER, MUTE);
    assert!(router.exchange(&frame).0.is_empty());
    let before = router.drops(DropReason::NeighborUnresolved);
    for _ in 0..50 {
        router.0.pass(Duration::from_millis(100));
    }
    assert_eq!(router.drops(DropReason::NeighborUnresolved) - before, 1);
    let answers: Vec<Sent> = router.0.sent().iter().filter_map(|f| parse(f)).collect();
    let [answer] = answers.as_slice() else { panic!("{answers:?}") };
    let (_, _, _, payload) = answer;
    assert_eq!(payload.get(..2), Some(&[3_u8, 1][..]), "host unreachable");
}

fn lets_nothing_pass_where_the_operator_says_so(router: &mut Router) {
    router.0.pass(Duration::from_secs(2));
    let _ = router.0.sent();
    let hole = plain(PEER, Ipv4Addr::new(10, 10, 0, 1));
    router.silently_refused(&hole, DropReason::Ipv4Blackhole);
    let said = router.told(&plain(PEER, Ipv4Addr::new(10, 11, 0, 1)), DropReason::Ipv4Reject);
    assert_eq!(said, (3, 1, [0, 0]), "host unreachable");
    let narrow = Ipv4Addr::new(10, 12, 0, 1);
    let big = packet(PEER, narrow, &[7; 681], |header| header);
    assert_eq!(router.told(&big, DropReason::Ipv4TooBig), (3, 4, [0, 700]), "the route's MTU");
    let fits = packet(PEER, narrow, &[7; 680], |header| header);
    assert_eq!(router.exchange(&fits).1.len(), 1);
}

fn divides_flows_between_equal_routers(router: &mut Router) {
    router.configure(|network| {
        let (address, mac) = (SECOND_FAR.into(), SECOND_FAR_MAC);
        network.neighbors = vec![StaticNeighbor { address, mac, interface: FAR }];
    });
    let to = Ipv4Addr::new(10, 13, 0, 1);
    let mut by = |port: u16, word: u16| {
        let ports = [port.to_be_bytes(), [0, 53]].concat();
        let frame = packet(PEER, to, &[ports, vec![7; 36]].concat(), |mut header| {
            header.flags_fragment.set(word);
            header
        });
        let (_, far) = router.exchange(&frame);
        far[0].1
    };
    let firsts: Vec<MacAddr> = (0..64).map(|port| by(port, 0x4000)).collect();
    let agains: Vec<MacAddr> = (0..64).map(|port| by(port, 0x4000)).collect();
    assert_eq!(firsts, agains, "a flow has one");
    let second = firsts.iter().filter(|mac| **mac == SECOND_FAR_MAC).count();
    assert!((16..48).contains(&second), "{second}");
    let pieces: Vec<MacAddr> = (0..8).map(|port| by(port, 0x2000 | port)).collect();
    assert!(pieces.iter().all(|mac| *mac == pieces[0]), "fragments stay together");
    router.configure(|_| {});
}

fn answers_for_those_it_is_told_to(router: &mut Router) {
    let ask = arp::Packet::request(PEER_MAC, PEER, NEARER).emit();
    let header = ethernet::Header::new(MacAddr::BROADCAST, PEER_MAC, ethernet::EtherType::ARP);
    let frame = [header.as_bytes(), ask.as_bytes()].concat();
    let answers = |router: &mut Router| {
        assert!(router.0.inject(&frame));
        router.0.pass(Duration::from_millis(1));
        let parse = |frame: Vec<u8>| arp::Packet::parse(frame.get(14..)?).ok();
        router.0.sent().into_iter().find_map(parse)
    };
    let before = router.drops(DropReason::ArpNotForUs);
    assert!(answers(router).is_none());
    assert_eq!(router.drops(DropReason::ArpNotForUs) - before, 1);
    for (interface, answered) in [(FAR, false), (1, true)] {
        router.configure(|network| {
            let (address, mac) = (NEARER.into(), SECOND_FAR_MAC);
            network.published = vec![StaticNeighbor { address, mac, interface }];
        });
        let answer = answers(router).map(|a| (a.sender_ip, a.sender_mac, a.target_mac));
        assert_eq!(answer, answered.then_some((NEARER, SECOND_FAR_MAC, PEER_MAC)));
    }
    router.configure(|_| {});
}

/// A table of routes beside the first, for what comes by the first link and for sockets.
fn in_table_2(network: &mut Network, routes: &[Route]) {
    let mut rib = Rib::new();
    for (address, interface) in [(LOCAL, 1), (PEER_FAR, FAR)] {
        rib.add(Route::connected(Ipv4Net::containing(address, 24).unwrap(), interface)).unwrap();
    }
    routes.iter().for_each(|route| rib.add(*route).unwrap());
    network.tables = vec![RouteTable { number: 2, fib: rib.publish(), ..RouteTable::default() }];
}

fn goes_by_the_table_of_the_interface_that_a_packet_came_by(router: &mut Router) {
    let only = Ipv4Net::host(Ipv4Addr::new(203, 0, 113, 9));
    let way = Route::gateway(only, FAR, PEER_FAR);
    let frames = [plain(PEER, BEYOND), plain(PEER, only.addr())];
    router.configure(|network| in_table_2(network, &[way]));
    assert_eq!(router.exchange(&frames[0]).1.len(), 1, "the first table's");
    assert_eq!(router.told(&frames[1], DropReason::Ipv4NoRoute), (3, 0, [0, 0]));
    router.configure(|network| {
        in_table_2(network, &[way]);
        network.interfaces[1].table = 2;
    });
    assert_eq!(router.told(&frames[0], DropReason::Ipv4NoRoute), (3, 0, [0, 0]));
    let (_, far) = router.exchange(&frames[1]);
    assert_eq!((far[0].1, far[0].2.ttl), (PEER_FAR_MAC, 63));
    // The way back is looked for there, too.
    let unknown = packet(BEFORE, only.addr(), TEXT, |header| header);
    assert_eq!(router.exchange(&unknown).1.len(), 1);
    router.configure(|network| {
        in_table_2(network, &[way]);
        network.interfaces[1].table = 2;
        network.host.reverse_path = ReversePath::Loose;
    });
    router.silently_refused(&unknown, DropReason::Ipv4ReversePath);
    router.configure(|_| {});
}

fn a_socket_goes_by_the_table_that_it_has_chosen(router: &mut Router) {
    let only = Ipv4Addr::new(203, 0, 113, 9);
    router.configure(|network| {
        in_table_2(network, &[Route::gateway(Ipv4Net::host(only), FAR, PEER_FAR)]);
    });
    let world = &mut router.0;
    let (socket, cell, descriptor) = world.bind_udp(5353).unwrap();
    let memory = world.memory(cell).unwrap();
    let send = |world: &mut World| {
        let (to, text) = (SocketAddr::new(only.into(), 9), IoSlice::new(b"text"));
        memory.send().push_datagram(Some(to), &Ancillary::default(), &[text]).unwrap();
        world.pass(Duration::from_millis(1));
        let sent: Vec<Sent> = world.sent_far().iter().filter_map(|frame| parse(frame)).collect();
        sent.iter().filter(|(.., header, _)| header.dst() == only).count()
    };
    let sends = |world: &mut World, device: Device| {
        let option = SocketOption::Device(device);
        let _ = world.call(|call| Command::SetOption { call, socket, option }).unwrap();
        send(world)
    };
    let by = |table| Device::ANY.in_table(table);
    let found = [by(0), by(2), by(3), Device::of(FAR).in_table(2)].map(|by| sends(world, by));
    assert_eq!(found, [0, 1, 0, 1], "nobody has told of the third");
    assert_eq!((sends(world, by(2)), send(world)), (1, 1), "the same way once more");
    router.configure(|network| in_table_2(network, &[]));
    let world = &mut router.0;
    assert_eq!(send(world), 0, "a way that is remembered ends with its route");
    world.send(Command::Close { socket, reset: false });
    drop(descriptor);
    router.configure(|_| {});
}

fn is_a_host_unless_told(router: &mut Router) {
    router.configure(|network| network.host.forward = false);
    router.silently_refused(&plain(PEER, BEYOND), DropReason::Ipv4NotForUs);
    router.configure(|_| {});
}

// EAL starts once per process, so all share one test.
#[test]
fn a_router() {
    let mut router = Router::new();
    passes_on(&mut router);
    keeps_martians_back(&mut router);
    drops_source_routes(&mut router);
    says_why_not(&mut router);
    cuts_what_may_be_cut(&mut router);
    says_nothing_about_errors_and_later_fragments(&mut router);
    errors_are_limited(&mut router);
    tells_of_a_nearer_router(&mut router);
    looks_at_the_way_back(&mut router);
    says_that_nobody_answers(&mut router);
    lets_nothing_pass_where_the_operator_says_so(&mut router);
    divides_flows_between_equal_routers(&mut router);
    answers_for_those_it_is_told_to(&mut router);
    goes_by_the_table_of_the_interface_that_a_packet_came_by(&mut router);
    a_socket_goes_by_the_table_that_it_has_chosen(&mut router);
    is_a_host_unless_told(&mut router);
    let _ = router.0.sent_far();
    assert_eq!(router.0.wind_up(), 0, "buffers left behind");
}
