//! IPv6 packets for others: which way they go, and what becomes of those that don't.

use core::net::Ipv6Addr;
use core::time::Duration;

use fib::{Ipv6Net, Refusal, Rib, Route};
use harness::router::{FAR, LOCAL_FAR_MAC, PEER_FAR_MAC};
use harness::{LOCAL_LINK6, LOCAL6, PEER_MAC, PEER6, World, frame6};
use inet::network::{Address6, Network, ReversePath};
use types::{DropReason, MacAddr};
use wire::ipv4::Protocol;
use wire::ndp::NeighborMessage;
use wire::{ethernet, icmp6, ipv6};

/// The second link: the stack's address, the peer's, and somebody silent.
const LOCAL_FAR6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 78, 0, 0, 0, 2);
const PEER_FAR6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 78, 0, 0, 0, 1);
const MUTE6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 78, 0, 0, 0, 9);
/// Behind the peer of the second link.
const BEYOND6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 9, 0, 0, 0, 0, 1);
/// Behind the peer of the first link.
const BEFORE6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 7, 0, 0, 0, 0, 1);
/// A router on the first link, and what is behind it.
const NEARER6: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 9);
const BEHIND_NEARER6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 8, 0, 0, 0, 0, 1);
/// No way leads there.
const NOWHERE6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0xdead, 0, 0, 0, 0, 1);

/// Where the operator lets nothing pass, and where not all.
const HOLE6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 10, 0, 0, 0, 0, 1);
const REJECTED6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 11, 0, 0, 0, 0, 1);
const NARROW6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 12, 0, 0, 0, 0, 1);

/// Ethernet addresses, source first, header, payload.
type Sent = (MacAddr, MacAddr, ipv6::Header, Vec<u8>);

fn parse(frame: &[u8]) -> Option<Sent> {
    let frame = ethernet::Frame::parse(frame).ok()?;
    let packet = ipv6::Packet::parse(frame.payload).ok()?;
    Some((frame.header.src(), frame.header.dst(), *packet.header, packet.payload.to_vec()))
}

struct Router(World);

impl Router {
    fn new() -> Self {
        let mut world = World::new().expect("a world without hugepages and without root");
        world.become_router().unwrap();
        let mut router = Self(world);
        router.configure(|_| {});
        let _ = router.exchange(&frame6::solicitation(LOCAL6));
        let message = NeighborMessage::solicitation(LOCAL_FAR6, PEER_FAR_MAC);
        let mut frame = frame6::neighbor(PEER_FAR6, LOCAL_FAR6, &message, size_of_val(&message));
        frame[..6].copy_from_slice(&LOCAL_FAR_MAC.0);
        frame[6..12].copy_from_slice(&PEER_FAR_MAC.0);
        assert!(router.0.inject_far(&frame));
        router.0.pass(Duration::from_millis(1));
        let _ = router.0.sent_far();
        router
    }

    fn configure(&mut self, change: impl FnOnce(&mut Network)) {
        self.0.route([], |network| {
            let mut rib = Rib::new();
            let net = |address, len| Ipv6Net::containing(address, len).unwrap();
            for route in [
                Route::connected(net(LOCAL6, 64), 1),
                Route::connected(net(LOCAL_FAR6, 64), FAR),
                Route::gateway(net(BEYOND6, 48), FAR, PEER_FAR6),
                Route::gateway(net(BEFORE6, 48), 1, PEER6),
                Route::gateway(net(BEHIND_NEARER6, 48), 1, NEARER6),
                Route::refused(net(HOLE6, 48), Refusal::Blackhole),
                Route::refused(net(REJECTED6, 48), Refusal::Reject),
                Route { mtu: Some(1300), ..Route::gateway(net(NARROW6, 48), FAR, PEER_FAR6) },
            ] {
                rib.add(route).unwrap();
            }
            network.fib6 = rib.publish();
            let far = network.interfaces.get_mut(usize::from(FAR)).unwrap();
            far.addresses6 = vec![Address6::preferred(LOCAL_FAR6, 64)];
            network.host.forward6 = true;
            change(network);
        });
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

    fn silently_refused(&mut self, frame: &[u8], reason: DropReason) {
        let answer = self.refused(frame, reason);
        assert!(answer.is_none(), "{reason:?}: {answer:?}");
    }

    /// The error that the sender of this frame gets: type, code, the word behind.
    fn told(&mut self, frame: &[u8], reason: DropReason) -> (u8, u8, u32) {
        let (_, to, header, payload) = self.refused(frame, reason).expect("an ICMPv6 error");
        assert_eq!(to, PEER_MAC);
        let message = icmp6::Message::parse(&payload).unwrap();
        message.verify(header.src(), header.dst()).unwrap();
        assert_eq!(message.body, icmp6::quote(&frame[14..]), "quoted as it came");
        (message.header.kind, message.header.code, message.header.rest.get())
    }
}

fn packet(
    source: Ipv6Addr,
    destination: Ipv6Addr,
    payload: &[u8],
    change: impl FnOnce(ipv6::Header) -> ipv6::Header,
) -> Vec<u8> {
    let header = frame6::header(source, destination, Protocol::UDP, payload);
    frame6::packet(&change(header), payload)
}

fn plain(source: Ipv6Addr, destination: Ipv6Addr) -> Vec<u8> {
    packet(source, destination, &[7; 40], |header| header)
}

fn passes_on(router: &mut Router) {
    let (near, far) = router.exchange(&plain(PEER6, BEYOND6));
    assert!(near.is_empty());
    let [(from, to, header, payload)] = far.as_slice() else { panic!("{far:?}") };
    assert_eq!((*from, *to), (LOCAL_FAR_MAC, PEER_FAR_MAC), "over the second link to its router");
    assert_eq!((header.src(), header.dst(), header.hop_limit), (PEER6, BEYOND6, 63));
    assert_eq!(payload, &[7; 40]);
    let mut padded = packet(BEFORE6, PEER_FAR6, &[1], |header| header);
    padded.resize(60, 0xee);
    let (_, far) = router.exchange(&padded);
    assert_eq!(far[0].3, [1], "padding is no part of the packet");
}

fn says_why_not(router: &mut Router) {
    let short_lived = |header: ipv6::Header| header.with_hop_limit(1);
    let frame = packet(PEER6, BEYOND6, &[7; 40], short_lived);
    assert_eq!(router.told(&frame, DropReason::Ipv6HopLimit), (3, 0, 0));
    let last = packet(PEER6, BEYOND6, &[7; 40], |header| header.with_hop_limit(2));
    assert_eq!(router.exchange(&last).1[0].2.hop_limit, 1);
    assert_eq!(router.told(&plain(PEER6, NOWHERE6), DropReason::Ipv6NoRoute), (1, 0, 0));
    let fe80 = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);
    router.configure(|network| network.interfaces[usize::from(FAR)].mtu = 1_280);
    let long = packet(PEER6, BEYOND6, &[7; 1_241], |header| header);
    assert_eq!(router.told(&long, DropReason::Ipv6TooBig), (2, 0, 1_280));
    assert_eq!(router.exchange(&packet(PEER6, BEYOND6, &[7; 1_240], |h| h)).1.len(), 1);
    router.configure(|_| {});
    let before = router.drops(DropReason::Ipv6Scope);
    let _ = router.exchange(&plain(fe80, BEYOND6));
    assert_eq!(router.drops(DropReason::Ipv6Scope) - before, 1);
    router.silently_refused(&plain(PEER6, fe80), DropReason::Ipv6Scope);
}

fn says_nothing_about_errors(router: &mut Router) {
    let error = icmp6::Header::new(icmp6::Type::PACKET_TOO_BIG, icmp6::Code::ZERO, 1_280);
    let frame = frame6::icmp6(PEER6, NOWHERE6, error, &[0; 48]);
    router.silently_refused(&frame, DropReason::Ipv6NoRoute);
    let echo = frame6::icmp6(PEER6, NOWHERE6, icmp6::Header::echo_request(1, 1), &[]);
    assert!(router.refused(&echo, DropReason::Ipv6NoRoute).is_some());
}

fn keeps_back_what_is_not_to_pass(router: &mut Router) {
    let mut to_all = plain(PEER6, BEYOND6);
    to_all[..6].copy_from_slice(&[0x33, 0x33, 0, 0, 0, 1]);
    router.silently_refused(&to_all, DropReason::Ipv6LinkGroup);
    let group = Ipv6Addr::new(0xff0e, 0, 0, 0, 0, 0, 0, 0x77);
    router.silently_refused(&plain(PEER6, group), DropReason::Ipv6NotForUs);
    router.silently_refused(&plain(PEER6, Ipv6Addr::UNSPECIFIED), DropReason::Ipv6Source);
}

fn looks_at_the_way_back(router: &mut Router) {
    for (how, passes) in [(ReversePath::Strict, false), (ReversePath::Loose, true)] {
        router.configure(|network| network.host.reverse_path = how);
        // From behind the second link, over the first.
        let spoofed = plain(BEYOND6, PEER_FAR6);
        if passes {
            assert_eq!(router.exchange(&spoofed).1.len(), 1);
        } else {
            router.silently_refused(&spoofed, DropReason::Ipv6ReversePath);
        }
        router.silently_refused(&plain(NOWHERE6, PEER_FAR6), DropReason::Ipv6ReversePath);
        assert_eq!(router.exchange(&plain(BEFORE6, PEER_FAR6)).1.len(), 1);
    }
    router.configure(|_| {});
}

fn tells_of_a_nearer_router(router: &mut Router) {
    router.0.pass(Duration::from_secs(2));
    let _ = router.0.sent();
    let (near, _) = router.exchange(&plain(PEER6, BEHIND_NEARER6));
    let redirect = near.iter().find(|(_, to, ..)| *to == PEER_MAC).expect("a redirect");
    let (_, _, header, payload) = redirect;
    assert_eq!((header.src(), header.dst(), header.hop_limit), (LOCAL_LINK6, PEER6, 255));
    let message = icmp6::Message::parse(payload).unwrap();
    message.verify(header.src(), header.dst()).unwrap();
    assert_eq!(message.header.kind(), icmp6::Type::REDIRECT);
    let wire::ndp::Ndp::Redirect(said, _) = wire::ndp::Ndp::parse(header, &message).unwrap() else {
        panic!("{message:?}")
    };
    assert_eq!((said.target, said.destination), (NEARER6, BEHIND_NEARER6));
    // Not to who is no neighbour, and not if nobody wants it.
    let is_redirect = |sent: &Sent| sent.3.first() == Some(&icmp6::Type::REDIRECT.0);
    let (near, _) = router.exchange(&plain(BEFORE6, BEHIND_NEARER6));
    assert!(!near.iter().any(is_redirect));
    router.configure(|network| network.host.redirects = false);
    let (near, _) = router.exchange(&plain(PEER6, BEHIND_NEARER6));
    assert!(!near.iter().any(is_redirect));
    router.configure(|_| {});
}

fn says_that_nobody_answers(router: &mut Router) {
    for _ in 0..80 {
        router.0.pass(Duration::from_millis(100));
    }
    let _ = router.0.sent();
    assert!(router.exchange(&plain(PEER6, MUTE6)).0.is_empty());
    for _ in 0..50 {
        router.0.pass(Duration::from_millis(100));
    }
    let answers: Vec<Sent> = router.0.sent().iter().filter_map(|f| parse(f)).collect();
    let is_error = |sent: &&Sent| sent.3.get(..2) == Some(&[1, 3][..]);
    assert_eq!(answers.iter().filter(is_error).count(), 1, "address unreachable: {answers:?}");
}

fn errors_are_limited(router: &mut Router) {
    router.0.pass(Duration::from_secs(2));
    let limit = inet::limits::ICMP_ERRORS_PER_SECOND;
    let before = router.drops(DropReason::IcmpRateLimit);
    let told = (0..5 * limit).filter(|_| {
        assert!(router.0.inject(&plain(PEER6, NOWHERE6)));
        router.0.breathe();
        router.0.sent().iter().filter_map(|f| parse(f)).count() > 0
    });
    let told = u32::try_from(told.count()).unwrap();
    assert!(told <= limit, "{told}");
    assert_eq!(router.drops(DropReason::IcmpRateLimit) - before, u64::from(5 * limit - told));
}

fn lets_nothing_pass_where_the_operator_says_so(router: &mut Router) {
    router.0.pass(Duration::from_secs(2));
    let _ = router.0.sent();
    router.silently_refused(&plain(PEER6, HOLE6), DropReason::Ipv6Blackhole);
    let said = router.told(&plain(PEER6, REJECTED6), DropReason::Ipv6Reject);
    assert_eq!(said, (1, 6, 0), "reject route to destination");
    let big = packet(PEER6, NARROW6, &[7; 1261], |header| header);
    assert_eq!(router.told(&big, DropReason::Ipv6TooBig), (2, 0, 1300), "the route's MTU");
    let fits = packet(PEER6, NARROW6, &[7; 1260], |header| header);
    assert_eq!(router.exchange(&fits).1.len(), 1);
}

fn is_a_host_unless_told(router: &mut Router) {
    router.configure(|network| network.host.forward6 = false);
    router.silently_refused(&plain(PEER6, BEYOND6), DropReason::Ipv6NotForUs);
    router.configure(|_| {});
}

// EAL starts once per process, so all share one test.
#[test]
fn a_router_of_ipv6() {
    let mut router = Router::new();
    passes_on(&mut router);
    says_why_not(&mut router);
    says_nothing_about_errors(&mut router);
    keeps_back_what_is_not_to_pass(&mut router);
    looks_at_the_way_back(&mut router);
    tells_of_a_nearer_router(&mut router);
    lets_nothing_pass_where_the_operator_says_so(&mut router);
    is_a_host_unless_told(&mut router);
    errors_are_limited(&mut router);
    says_that_nobody_answers(&mut router);
    let _ = router.0.sent_far();
    assert_eq!(router.0.wind_up(), 0, "buffers left behind");
}
