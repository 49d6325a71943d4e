//! What a link does with what it hears, in virtual time.
#![expect(clippy::arithmetic_side_effects, reason = "numbers of tests are small")]

use core::net::Ipv6Addr;
use core::time::Duration;

use types::{Instant, MacAddr};
use wire::icmp6;
use wire::ipv6;
use wire::ndp::Ndp;

use crate::limits::{ADVERTISED_MAX, IDENTIFIERS_MAX, PREFIXES_MAX, ROUTERS_MAX};
use crate::{Identity, Link, Message, News, Origin, Settings, State};

mod temporary;

const MAC: MacAddr = MacAddr([0x02, 0x1b, 0x63, 0x84, 0x45, 0xe6]);
const IDENTITY: Identity = Identity { secret: [7; 16] };
const OURS: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 2);
const ROUTER: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);
const DAY: u64 = 86_400;

fn at(seconds: u64) -> Instant {
    Instant::ZERO + Duration::from_secs(seconds)
}

fn soon() -> Instant {
    Instant::from_millis(10)
}

/// A link whose host asks `dad_count` times and believes routers if `accept`.
fn link(dad_count: u8, accept: bool) -> Link {
    let mut link = Link::new("tap0", MAC, IDENTITY);
    link.set(Settings { accept, dad_count, ..Settings::default() });
    link
}

/// Lets time pass, and returns what was sent.
fn run(link: &mut Link, until: Instant) -> Vec<Message> {
    let mut random = || 0x0102_0304_0506_0708;
    let mut sent = Vec::new();
    while let Some(due) = link.next_timeout().filter(|due| *due <= until) {
        link.timeout(due.max(Instant::from_nanos(1)), &mut random);
        sent.extend(core::iter::from_fn(|| link.poll_transmit()));
    }
    sent
}

fn state(link: &Link, address: Ipv6Addr) -> Option<State> {
    link.addresses().find(|own| own.address == address).map(|own| own.state)
}

fn advertised(link: &Link) -> Vec<Ipv6Addr> {
    let made = link.addresses().filter(|own| own.origin == Origin::Advertised);
    made.map(|own| own.address).collect()
}

/// A message of neighbour discovery as it comes from the wire.
fn hear(link: &mut Link, from: Ipv6Addr, kind: u8, rest: u32, body: &[u8], now: Instant) {
    let header = icmp6::Header::new(icmp6::Type(kind), icmp6::Code::ZERO, rest);
    let to =
        if from.is_unspecified() { ipv6::solicited_node(OURS) } else { "ff02::1".parse().unwrap() };
    let packet = ipv6::Header::new(from, to, wire::ipv4::Protocol::ICMPV6, 8 + body.len());
    let packet = packet.unwrap().with_hop_limit(255);
    let message = icmp6::Message { header: &header, body };
    link.hear(from, &Ndp::parse(&packet, &message).unwrap(), now);
}

/// A router advertisement: lifetime of the router, flags, options.
fn router(
    link: &mut Link,
    from: Ipv6Addr,
    (lifetime, flags): (u16, u8),
    options: &[u8],
    now: Instant,
) {
    let rest = 64 << 24 | u32::from(flags) << 16 | u32::from(lifetime);
    let body = [&[0; 8], options].concat();
    hear(link, from, 134, rest, &body, now);
}

/// A prefix option that makes addresses and is on the link.
fn prefix(text: &str, valid: u32, preferred: u32) -> Vec<u8> {
    let prefix: Ipv6Addr = text.parse().unwrap();
    let mut option = vec![3, 4, 64, 0xc0];
    option.extend(valid.to_be_bytes());
    option.extend(preferred.to_be_bytes());
    option.extend([0; 4]);
    option.extend(prefix.octets());
    option
}

#[test]
fn a_router_that_says_the_same_again_is_no_change() {
    let mut link = link(0, true);
    let gateway: Ipv6Addr = "fe80::1".parse().unwrap();
    let said = prefix("2001:db8:1::", 7200, 3600);
    router(&mut link, gateway, (1800, 0), &said, at(0));
    assert!(link.take_changed());
    router(&mut link, gateway, (1800, 0), &said, at(10));
    assert!(!link.take_changed(), "only lifetimes have moved");
    assert_eq!(state(&link, OURS), None);
    router(&mut link, gateway, (0, 0), &said, at(20));
    assert!(link.take_changed(), "it is no router any more");
}

#[test]
fn an_address_is_tentative_until_nobody_has_answered() {
    let mut link = link(1, false);
    link.add(OURS, 64);
    assert_eq!(state(&link, OURS), Some(State::Tentative));
    let sent = run(&mut link, at(0) + Duration::from_millis(999));
    assert!(matches!(sent[..], [Message::Probe { target: OURS, .. }]), "{sent:?}");
    assert_eq!(state(&link, OURS), Some(State::Tentative));
    assert_eq!(run(&mut link, at(2)), []);
    assert_eq!(state(&link, OURS), Some(State::Preferred));
    assert_eq!(link.take_news(), [News::Usable(OURS)]);
}

#[test]
fn as_many_probes_as_asked_for_and_none_at_all() {
    let mut thrice = link(3, false);
    thrice.add(OURS, 64);
    assert_eq!(run(&mut thrice, at(9)).len(), 3);
    let mut never = link(0, false);
    never.add(OURS, 64);
    assert_eq!((state(&never, OURS), run(&mut never, at(9))), (Some(State::Preferred), vec![]));
}

#[test]
fn what_nobody_has_given_is_used_meanwhile_if_the_operator_has_it_so() {
    let mut link = link(1, true);
    link.set(Settings { accept: true, dad_count: 1, optimistic: true, ..Settings::default() });
    link.add(OURS, 64);
    assert_eq!(state(&link, OURS), Some(State::Tentative), "a person has given it");
    router(&mut link, ROUTER, (1800, 0), &prefix("2001:db8:1::", 7200, 7200), at(1));
    let [made] = advertised(&link)[..] else { panic!("{:?}", advertised(&link)) };
    assert_eq!(state(&link, made), Some(State::Optimistic));
    // That a router says it again makes it no surer.
    router(&mut link, ROUTER, (1800, 0), &prefix("2001:db8:1::", 7200, 7200), at(1));
    assert_eq!(state(&link, made), Some(State::Optimistic));
    let sent = run(&mut link, at(5));
    assert!(sent.iter().any(|m| matches!(m, Message::Probe { target, .. } if *target == made)));
    assert_eq!(state(&link, made), Some(State::Preferred));
    assert!(link.take_news().contains(&News::Usable(made)), "now it is told of");
}

#[test]
fn an_optimistic_address_is_given_up_when_somebody_has_it() {
    let mut link = link(1, true);
    link.set(Settings { accept: true, dad_count: 1, optimistic: true, ..Settings::default() });
    router(&mut link, ROUTER, (1800, 0), &prefix("2001:db8:1::", 7200, 7200), at(1));
    let [made] = advertised(&link)[..] else { panic!("{:?}", advertised(&link)) };
    hear(&mut link, made, 136, 1 << 29, &made.octets(), at(1));
    assert_eq!(state(&link, made), None, "another identifier");
    let [other] = advertised(&link)[..] else { panic!("{:?}", advertised(&link)) };
    assert_eq!(state(&link, other), Some(State::Optimistic));
}

#[test]
fn an_advertisement_of_another_station_is_a_duplicate() {
    let mut link = link(1, false);
    link.add(OURS, 64);
    let _ = run(&mut link, at(0) + Duration::from_millis(500));
    let body = [&OURS.octets()[..], &[2, 1, 2, 0, 0, 0, 0, 9]].concat();
    hear(&mut link, OURS, 136, 1 << 29, &body, at(0));
    let other = MacAddr([2, 0, 0, 0, 0, 9]);
    assert_eq!(link.take_news(), [News::Duplicate(OURS, Some(other))]);
    assert_eq!(run(&mut link, at(99)), []);
    assert_eq!(state(&link, OURS), Some(State::Duplicate), "it is never used");
    assert_eq!(link.counts().duplicates, 1);
}

#[test]
fn who_probes_for_the_same_address_has_it_too() {
    let mut link = link(1, false);
    link.add(OURS, 64);
    let Some(Message::Probe { nonce, .. }) = run(&mut link, soon()).pop() else {
        panic!("no probe")
    };
    let ours = [&OURS.octets()[..], &[14, 1], &nonce].concat();
    hear(&mut link, Ipv6Addr::UNSPECIFIED, 135, 0, &ours, at(0));
    assert_eq!(state(&link, OURS), Some(State::Tentative), "our own probe has come back");
    hear(&mut link, Ipv6Addr::UNSPECIFIED, 135, 0, &OURS.octets(), at(0));
    assert_eq!(state(&link, OURS), Some(State::Duplicate));
}

#[test]
fn a_probe_that_comes_back_after_the_next_is_still_ours() {
    let mut link = link(2, false);
    link.add(OURS, 64);
    let mut random = 0..;
    let mut probe = |link: &mut Link, now| {
        for _ in 0..2 {
            link.timeout(now, &mut || u64::from_be_bytes([random.next().unwrap(); 8]));
        }
        let Some(Message::Probe { nonce, .. }) = link.poll_transmit() else { panic!("no probe") };
        nonce
    };
    let first = probe(&mut link, at(1));
    let _ = probe(&mut link, at(2));
    let late = [&OURS.octets()[..], &[14, 1], &first].concat();
    hear(&mut link, Ipv6Addr::UNSPECIFIED, 135, 0, &late, at(2));
    assert_eq!(state(&link, OURS), Some(State::Tentative));
}

#[test]
fn who_only_looks_for_an_address_does_not_have_it() {
    let mut link = link(1, false);
    link.add(OURS, 64);
    let _ = run(&mut link, soon());
    hear(&mut link, ROUTER, 135, 0, &OURS.octets(), at(0));
    assert_eq!(state(&link, OURS), Some(State::Tentative));
}

#[test]
fn an_address_in_use_is_kept_by_its_users() {
    let mut link = link(1, false);
    link.add(OURS, 64);
    let _ = run(&mut link, at(2));
    hear(&mut link, Ipv6Addr::UNSPECIFIED, 135, 0, &OURS.octets(), at(2));
    assert_eq!(state(&link, OURS), Some(State::Preferred));
}

#[test]
fn a_host_asks_for_routers_three_times_and_stops_when_one_speaks() {
    let mut silent = link(1, true);
    let sent = run(&mut silent, at(60));
    let asked = sent.iter().filter(|m| matches!(m, Message::Solicitation { .. })).count();
    assert_eq!(asked, 3);
    let mut answered = link(1, true);
    let _ = run(&mut answered, at(1));
    router(&mut answered, ROUTER, (1800, 0), &[], at(1));
    assert_eq!(run(&mut answered, at(60)).len(), 0, "{answered:?}");
    assert_eq!(answered.default_router(), Some(ROUTER));
}

#[test]
fn a_prefix_makes_an_address_that_ends_with_it() {
    let mut link = link(1, true);
    router(&mut link, ROUTER, (30, 0), &prefix("2001:db8:5::", 40, 20), at(0));
    let [address] = advertised(&link)[..] else { panic!("{link:?}") };
    assert_eq!(address, IDENTITY.address("2001:db8:5::".parse().unwrap(), "tap0", 0));
    let _ = run(&mut link, at(10));
    assert_eq!(state(&link, address), Some(State::Preferred));
    assert_eq!(link.prefixes().collect::<Vec<_>>(), [("2001:db8:5::".parse().unwrap(), 64)]);
    let _ = run(&mut link, at(20));
    assert_eq!(state(&link, address), Some(State::Deprecated));
    assert_eq!(link.default_router(), Some(ROUTER));
    let _ = run(&mut link, at(30));
    assert_eq!(link.default_router(), None);
    let _ = link.take_news();
    let _ = run(&mut link, at(40));
    assert_eq!((state(&link, address), link.prefixes().count()), (None, 0));
    assert_eq!(link.take_news(), [News::Expired(address)]);
}

#[test]
fn no_router_puts_everything_on_the_link() {
    let mut link = link(1, true);
    let mut everything = prefix("::", 40, 20);
    everything[2] = 0;
    router(&mut link, ROUTER, (30, 0), &everything, at(0));
    assert_eq!(link.prefixes().count(), 0);
    assert_eq!(link.default_router(), Some(ROUTER));
}

/// RFC 4862 5.5.3 (e): how much is left of the address's life when a router says `valid`.
fn left_after(remaining: u64, valid: u32) -> u64 {
    let mut link = link(0, true);
    let days = u32::try_from(DAY).unwrap();
    router(&mut link, ROUTER, (0, 0), &prefix("2001:db8:5::", days, days), at(0));
    let now = at(DAY - remaining);
    router(&mut link, ROUTER, (0, 0), &prefix("2001:db8:5::", valid, 0), now);
    let own = *link.addresses().find(|own| own.origin == Origin::Advertised).unwrap();
    own.valid_until.since(now).as_secs()
}

#[test]
fn nobody_can_cut_an_addresss_life_to_less_than_two_hours() {
    assert_eq!(left_after(DAY, 1), 7200, "two hours are left it");
    assert_eq!(left_after(DAY, 7201), 7201, "more than two hours count");
    assert_eq!(left_after(3600, 1), 3600, "less than that is left alone");
    assert_eq!(left_after(3600, 5000), 5000, "longer is believed");
}

#[test]
fn wrong_prefixes_make_nothing() {
    let mut link = link(0, true);
    let mut longer = prefix("2001:db8:5::", 100, 100);
    longer[2] = 65;
    for wrong in [
        prefix("fe80::", 100, 100),
        prefix("ff00::", 100, 100),
        prefix("2001:db8:5::", 100, 101),
        prefix("2001:db8:5::", 0, 0),
        longer,
    ] {
        router(&mut link, ROUTER, (0, 0), &wrong, at(0));
        assert!(advertised(&link).is_empty(), "{wrong:?}");
    }
}

#[test]
fn the_preferred_router_is_the_default_and_zero_ends_it() {
    let other: Ipv6Addr = "fe80::2".parse().unwrap();
    let mut link = link(0, true);
    router(&mut link, ROUTER, (100, 0x18), &[], at(0));
    router(&mut link, other, (100, 0), &[], at(0));
    assert_eq!(link.default_router(), Some(other), "the first said: rather others");
    router(&mut link, ROUTER, (100, 0x08), &[], at(1));
    assert_eq!(link.default_router(), Some(ROUTER));
    router(&mut link, ROUTER, (0, 0x08), &[], at(2));
    assert_eq!(link.default_router(), Some(other));
}

#[test]
fn a_flood_of_routers_and_prefixes_meets_limits() {
    let mut link = link(0, true);
    for n in 1..=100_u16 {
        let from = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 1, n);
        router(&mut link, from, (100, 0), &prefix(&format!("2001:db8:{n:x}::"), 100, 100), at(0));
    }
    assert_eq!(advertised(&link).len(), ADVERTISED_MAX);
    assert_eq!(link.prefixes().count(), PREFIXES_MAX);
    assert_eq!(link.routers.len(), ROUTERS_MAX);
    assert_eq!(link.counts().refused, 3 * 84);
}

#[test]
fn mtu_and_hop_limit_are_believed_within_reason() {
    let mut link = link(0, true);
    let mtu = |value: u32| [&[5, 1, 0, 0], &value.to_be_bytes()[..]].concat();
    for (told, expected) in [(1279, None), (1400, Some(1400)), (100_000, Some(1400))] {
        router(&mut link, ROUTER, (0, 0), &mtu(told), at(0));
        assert_eq!(link.mtu(), expected, "{told}");
    }
    hear(&mut link, ROUTER, 134, 1 << 24, &[0; 8], at(0));
    assert_eq!(link.hop_limit(), None, "a hop limit of 1 would cut us off");
    let [kept, more] = [Some(128), Some(255)];
    for (told, expected) in [(128, kept), (0, kept), (63, kept), (255, more), (64, None)] {
        hear(&mut link, ROUTER, 134, told << 24, &[0; 8], at(0));
        assert_eq!(link.hop_limit(), expected, "{told}");
    }
}

#[test]
fn a_taken_identifier_is_tried_otherwise_but_not_for_ever() {
    let mut link = link(1, true);
    router(&mut link, ROUTER, (0, 0), &prefix("2001:db8:5::", 1000, 1000), at(0));
    let mut seen = Vec::new();
    for second in 0..=u64::from(IDENTIFIERS_MAX) {
        let address = advertised(&link)[0];
        assert!(!seen.contains(&address));
        seen.push(address);
        let body = [&address.octets()[..], &[2, 1, 2, 0, 0, 0, 0, 9]].concat();
        hear(&mut link, address, 136, 1 << 29, &body, at(second));
    }
    assert_eq!(state(&link, seen[usize::from(IDENTIFIERS_MAX)]), Some(State::Duplicate));
    assert_eq!(
        run(&mut link, at(20))
            .iter()
            .filter(|m| matches!(m, Message::Probe { target, .. } if seen.contains(target)))
            .count(),
        0
    );
}

#[test]
fn routers_are_not_believed_unless_the_operator_says_so() {
    let mut link = link(0, false);
    router(&mut link, ROUTER, (100, 0), &prefix("2001:db8:5::", 100, 100), at(0));
    assert_eq!((link.default_router(), link.addresses().count()), (None, 0));
    link.add_link_local();
    let _ = link.take_changed();
    link.set(Settings { accept: true, ..Settings::default() });
    assert!(link.take_changed() && link.accepts(), "others must hear of it");
    router(&mut link, ROUTER, (100, 0), &prefix("2001:db8:5::", 100, 100), at(0));
    assert_eq!(advertised(&link).len(), 1);
    link.set(Settings::default());
    assert_eq!((link.default_router(), advertised(&link)), (None, vec![]), "and then no longer");
}

#[test]
fn a_link_that_comes_up_again_is_another_link() {
    let mut link = link(1, true);
    link.add(OURS, 64);
    router(&mut link, ROUTER, (100, 0), &prefix("2001:db8:5::", 100, 100), at(0));
    let _ = run(&mut link, at(5));
    link.set_up(false);
    assert_eq!(link.next_timeout(), None);
    link.set_up(true);
    assert_eq!((state(&link, OURS), link.default_router()), (Some(State::Tentative), None));
    assert!(advertised(&link).is_empty());
    let sent = run(&mut link, at(20));
    assert!(sent.iter().any(|m| matches!(m, Message::Solicitation { .. })));
    assert_eq!(state(&link, OURS), Some(State::Preferred));
}

#[test]
fn without_probes_addresses_are_usable_as_soon_as_the_link_is_up() {
    let mut link = link(0, false);
    link.add(OURS, 64);
    link.set_up(false);
    let _ = link.take_news();
    link.set_up(true);
    assert_eq!(state(&link, OURS), Some(State::Preferred));
    assert_eq!(link.take_news(), [News::Usable(OURS)], "neighbours must hear of it");
}

#[test]
fn identifiers_differ_by_prefix_interface_secret_and_try() {
    let prefix: Ipv6Addr = "2001:db8:5::".parse().unwrap();
    let one = IDENTITY.address(prefix, "tap0", 0);
    assert_eq!(one, IDENTITY.address(prefix, "tap0", 0));
    assert_eq!(one.to_bits() >> 64, prefix.to_bits() >> 64);
    let identifier = |a: Ipv6Addr| a.to_bits() & u128::from(u64::MAX);
    for other in [
        IDENTITY.address("2001:db8:6::".parse().unwrap(), "tap0", 0),
        IDENTITY.address(prefix, "tap1", 0),
        IDENTITY.address(prefix, "tap0", 1),
        Identity { secret: [8; 16] }.address(prefix, "tap0", 0),
    ] {
        assert_ne!(identifier(one), identifier(other));
    }
}

#[test]
fn a_stations_address_on_its_link() {
    assert_eq!(crate::link_local(MAC), "fe80::1b:63ff:fe84:45e6".parse::<Ipv6Addr>().unwrap());
}

#[test]
fn a_link_that_can_not_be_sent_by_finds_nothing_out_until_it_can() {
    let mut link = link(1, true);
    assert!(!link.set_running(false));
    link.add(OURS, 64);
    assert_eq!((run(&mut link, at(100)), link.next_timeout()), (vec![], None));
    assert_eq!(state(&link, OURS), Some(State::Tentative));
    assert!(link.set_running(true) && !link.set_running(true));
    let sent = run(&mut link, at(200));
    assert!(sent.iter().any(|m| matches!(m, Message::Probe { target, .. } if *target == OURS)));
    assert!(sent.iter().any(|m| matches!(m, Message::Solicitation { .. })));
    assert_eq!(state(&link, OURS), Some(State::Preferred));
    let _ = (link.set_running(false), link.set_running(true));
    assert_eq!(state(&link, OURS), Some(State::Tentative), "it may be another link");
    link.set_up(false);
    let _ = (link.set_running(false), link.set_running(true));
    assert_eq!(run(&mut link, at(300)), []);
}
