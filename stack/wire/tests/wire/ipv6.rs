//! IPv6, its extension headers, ICMPv6, neighbour and listener discovery.

use core::net::Ipv6Addr;

use proptest::collection::vec;
use proptest::prelude::*;
use types::{DropReason, MacAddr};
use wire::IntoBytes as _;
use wire::icmp6::{self, Code, Message, Quoted, Type};
use wire::ipv4::Protocol;
use wire::ipv6::{self, Chain, Fault, FragmentHeader, Packet};
use wire::mld::{self, Query, Record, RecordType};
use wire::ndp::{
    Ndp, NdpOption, NeighborAdvertisement, NeighborMessage, Options, RouterSolicitation,
};

use crate::hex;

const SRC: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
const DST: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 2);
const ROUTER: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);
const MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);

/// A packet from SRC to DST with `next` as first next header.
fn packet(next: u8, payload: &str) -> Vec<u8> {
    let payload = hex(payload);
    let header = ipv6::Header::new(SRC, DST, Protocol(next), payload.len()).unwrap();
    [header.as_bytes(), &payload].concat()
}

fn walk(bytes: &[u8]) -> Result<Chain<'_>, Fault> {
    Packet::parse(bytes).unwrap().chain()
}

#[test]
fn a_header_says_what_it_was_made_of() {
    let header = ipv6::Header::new(SRC, DST, Protocol::UDP, 5)
        .unwrap()
        .with_hop_limit(255)
        .with_traffic_class(0xb9)
        .with_flow_label(0xfff1_2345);
    assert_eq!(header.as_bytes()[..8], hex("6b912345 0005 11 ff"));
    assert_eq!((header.version(), header.traffic_class(), header.flow_label()), (6, 0xb9, 0x12345));
    assert_eq!((header.src(), header.dst()), (SRC, DST));
    assert_eq!(ipv6::Header::new(SRC, DST, Protocol::UDP, 65_536), None);
}

#[test]
fn lengths() {
    let template = packet(17, "0102030405060708");
    for (patch, len, expected) in [
        (0x60, 48, None),
        (0x60, 60, None), // padding
        (0x60, 39, Some(DropReason::Ipv6TooShort)),
        (0x60, 0, Some(DropReason::Ipv6TooShort)),
        (0x60, 47, Some(DropReason::Ipv6PayloadLength)),
        (0x40, 48, Some(DropReason::Ipv6Version)),
        (0x70, 48, Some(DropReason::Ipv6Version)),
    ] {
        let mut bytes = template.clone();
        bytes[0] = patch;
        bytes.resize(len, 0);
        assert_eq!(Packet::parse(&bytes).err(), expected, "{patch:x} {len}");
    }
    let mut padded = template;
    padded.resize(60, 0xee);
    assert_eq!(Packet::parse(&padded).unwrap().payload.len(), 8);
}

#[test]
fn the_payload_is_found_behind_every_kind_of_header() {
    let udp = "00010002 0008 0000";
    for (next, chain, at) in [
        (17, "", 40),
        (0, "11 00 0502000001 00", 48),
        (60, "11 01 010c 000000000000 000000000000 ", 56),
        (43, "11 00 04 00 00000000", 48),
        (44, "11 00 0000 00000007", 48), // atomic fragment
        (0, "3c 00 0104 00000000 2b 00 0104 00000000 2c 00 04 00 00000000 11 00 0000 00000007", 72),
    ] {
        let padding_too_long = next == 60;
        let bytes = packet(next, &format!("{chain}{udp}"));
        let result = walk(&bytes);
        if padding_too_long {
            assert_eq!(result.unwrap_err().reason, DropReason::Ipv6Option);
            continue;
        }
        let found = result.unwrap();
        assert_eq!((found.protocol, found.payload_at), (Protocol::UDP, at), "{chain}");
        assert_eq!(found.payload, hex(udp), "{chain}");
        assert_eq!(bytes[found.protocol_at], 17, "{chain}");
        assert!(found.fragment.is_none());
        assert_eq!(found.router_alert, chain.contains("0502"));
        assert_eq!(found.has_fragment_header, chain.contains("00000007"));
    }
}

#[test]
fn what_a_chain_must_not_be() {
    use DropReason::{Ipv6HeaderChain, Ipv6Option, Ipv6RoutingHeader};
    let end = "00010002 0008 0000";
    for (next, chain, reason, problem) in [
        // cut off
        (0, "11", Ipv6HeaderChain, None),
        (0, "1101 0104 00000000", Ipv6HeaderChain, None),
        (43, "1100", Ipv6HeaderChain, None),
        (44, "1100 0000 0000", Ipv6HeaderChain, None),
        // hop-by-hop options elsewhere than first, a second fragment header
        (60, "0000 0104 00000000 1100 0104 00000000", Ipv6HeaderChain, Some((1, 40, false))),
        (44, "2c00 0000 00000001 1100 0000 00000001", Ipv6HeaderChain, Some((1, 40, false))),
        // a route to follow
        (
            43,
            "1102 0001 00000000 20010db8000000000000000000000003",
            Ipv6RoutingHeader,
            Some((0, 42, false)),
        ),
        // options: cut off, unknown in four ways
        (60, "1100 0105 00000000", Ipv6Option, None),
        (60, "1100 4104 00000000", Ipv6Option, None),
        (60, "1100 8104 00000000", Ipv6Option, Some((2, 42, true))),
        (60, "1100 00c1 03000000", Ipv6Option, Some((2, 43, false))),
        // a first fragment without its transport header
        (44, "0600 0001 00000001 0001000200000000", Ipv6HeaderChain, Some((3, 0, false))),
        (44, "3c00 0001 00000001 11", Ipv6HeaderChain, Some((3, 0, false))),
    ] {
        let whole = problem.is_some() && next != 44;
        let bytes = packet(next, &format!("{chain}{}", if whole { end } else { "" }));
        let fault = walk(&bytes).unwrap_err();
        let told = fault.problem.map(|p| (p.code, p.pointer, p.even_to_group));
        assert_eq!((fault.reason, told), (reason, problem), "{next} {chain}");
    }
    assert!(walk(&packet(60, &format!("1100 0104 00000000{end}"))).is_ok());
    assert!(walk(&packet(60, &format!("1100 3e04 00000000{end}"))).is_ok(), "unknown, skip");
}

#[test]
fn long_chains_and_many_options_are_refused() {
    let header = |next: u8| format!("{next:02x}00 0104 00000000");
    let chain = |n: usize| {
        let mut text: String = (1..n).map(|_| header(60)).collect();
        text += &header(17);
        packet(60, &(text + "00010002 0008 0000"))
    };
    assert!(walk(&chain(ipv6::EXTENSIONS_MAX)).is_ok());
    let fault = walk(&chain(ipv6::EXTENSIONS_MAX + 1)).unwrap_err();
    assert_eq!(fault, Fault { reason: DropReason::Ipv6HeaderChain, problem: None });

    let options = |n: usize| {
        let units = (2 + 2 * n).div_ceil(8);
        let pad = units * 8 - 2 - 2 * n;
        let text = format!("11{:02x}{}{}", units - 1, "3e00".repeat(n), "00".repeat(pad));
        packet(60, &text)
    };
    assert!(walk(&options(ipv6::OPTIONS_MAX)).is_ok());
    assert_eq!(walk(&options(ipv6::OPTIONS_MAX + 1)).unwrap_err().reason, DropReason::Ipv6Option);
}

#[test]
fn fragments() {
    let first = packet(44, "1100 0001 0000abcd 00010002 0010 0000");
    let chain = walk(&first).unwrap();
    let fragment = chain.fragment.unwrap();
    assert_eq!((fragment.at, fragment.header.offset(), chain.payload.len()), (40, 0, 8));
    assert!(fragment.header.more_fragments());

    let last = packet(44, "1100 0008 0000abcd 0102030405060708");
    let chain = walk(&last).unwrap();
    let fragment = chain.fragment.unwrap();
    assert_eq!((fragment.header.offset(), fragment.header.more_fragments()), (8, false));
    assert_eq!(chain.protocol, Protocol::UDP);
    let made = FragmentHeader::new(Protocol::UDP, 8, false, 0xabcd);
    assert_eq!(made, *fragment.header);
}

#[test]
fn icmp6_checksum_covers_the_addresses() {
    let header = icmp6::Header::echo_request(0x1234, 7).with_checksum(SRC, DST, b"hello");
    let bytes = [header.as_bytes(), b"hello"].concat();
    let message = Message::parse(&bytes).unwrap();
    assert_eq!(message.verify(SRC, DST), Ok(()));
    assert_eq!(message.verify(SRC, ROUTER), Err(DropReason::Icmp6Checksum));
    assert_eq!(message.header.echo(), (0x1234, 7));
    assert_eq!(header.echo_reply().kind(), Type::ECHO_REPLY);
    assert_eq!(header.echo_reply().echo(), (0x1234, 7));
    assert_eq!(Message::parse(&bytes[..7]).err(), Some(DropReason::Icmp6TooShort));
    assert_eq!(message.quoted().err(), Some(DropReason::Icmp6Type));
}

#[test]
fn an_error_quotes_ports_and_sequence() {
    let sent = packet(6, "1f90c000 11223344 00000000 50100000 00000000");
    let quoted = Quoted::parse(&sent).unwrap();
    assert_eq!(quoted.ports(), Some((8080, 49152)));
    assert_eq!(quoted.tcp_sequence(), Some(0x1122_3344));
    assert_eq!(Quoted::parse(&packet(58, "8000000000000000")).unwrap().ports(), None);
    assert_eq!(Quoted::parse(&sent[..47]).err(), Some(DropReason::Icmp6Quoted));
    assert_eq!(icmp6::quote(&vec![0; 2000]).len(), 1280 - 48);
}

/// Header and message of a discovery packet whose body is `body`.
fn ndp(src: Ipv6Addr, dst: Ipv6Addr, kind: Type, rest: u32, body: &str) -> Vec<u8> {
    let body = hex(body);
    let header = icmp6::Header::new(kind, Code::ZERO, rest).with_checksum(src, dst, &body);
    let len = body.len() + icmp6::Header::LEN;
    let packet = ipv6::Header::new(src, dst, Protocol::ICMPV6, len).unwrap().with_hop_limit(255);
    [packet.as_bytes(), header.as_bytes(), &body].concat()
}

fn read(bytes: &[u8]) -> Result<Ndp<'_>, DropReason> {
    let packet = Packet::parse(bytes)?;
    let message = Message::parse(packet.payload)?;
    message.verify(packet.header.src(), packet.header.dst())?;
    Ndp::parse(packet.header, &message)
}

#[test]
fn a_router_advertisement() {
    let body = "00007530 000003e8 0101020000000001 0501000000000578 \
                0304 40c0 00278d00 00093a80 00000000 20010db8000000000000000000000000 \
                19030000 00000e10 20010db8000000000000000000000035 c8010000 00000000";
    let all_nodes = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
    let bytes = ndp(ROUTER, all_nodes, Type::ROUTER_ADVERTISEMENT, 0x4080_0708, body);
    let Ok(Ndp::RouterAdvertisement(said, options)) = read(&bytes) else { panic!() };
    assert_eq!((said.hop_limit, said.managed, said.other), (64, true, false));
    assert_eq!((said.lifetime, said.reachable_time, said.retrans_timer), (1800, 30_000, 1000));
    let all: Vec<_> = options.into_iter().collect();
    assert_eq!(all.len(), 5);
    assert_eq!(options.source_link_layer(), Some(MAC));
    assert_eq!(all[1], NdpOption::Mtu(1400));
    let NdpOption::Prefix(prefix) = all[2] else { panic!() };
    assert_eq!((prefix.len, prefix.on_link, prefix.autonomous), (64, true, true));
    assert_eq!((prefix.valid_lifetime, prefix.preferred_lifetime), (2_592_000, 604_800));
    let NdpOption::DnsServers(3600, servers) = all[3] else { panic!() };
    assert_eq!(servers.len(), 16);
    assert!(matches!(all[4], NdpOption::Unknown(200, _)));

    let from_afar = ndp(SRC, all_nodes, Type::ROUTER_ADVERTISEMENT, 0x4080_0708, body);
    assert_eq!(read(&from_afar).err(), Some(DropReason::NdpInvalid));
}

#[test]
fn what_this_host_asks_and_answers() {
    let group = ipv6::solicited_node(DST);
    assert_eq!(group, Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00, 2));
    assert_eq!(ipv6::multicast_mac(group), MacAddr([0x33, 0x33, 0xff, 0, 0, 2]));

    let mut asks = NeighborMessage::solicitation(DST, MAC);
    let body = &asks.as_bytes()[8..].to_vec();
    asks.header = asks.header.with_checksum(SRC, group, body);
    let packet = ipv6::Header::new(SRC, group, Protocol::ICMPV6, 32).unwrap().with_hop_limit(255);
    let bytes = [packet.as_bytes(), asks.as_bytes()].concat();
    let Ok(Ndp::NeighborSolicitation(target, options)) = read(&bytes) else { panic!() };
    assert_eq!((target, options.source_link_layer()), (DST, Some(MAC)));

    let what =
        NeighborAdvertisement { target: DST, router: false, solicited: true, overriding: true };
    let mut answer = NeighborMessage::advertisement(what, MAC);
    let body = &answer.as_bytes()[8..].to_vec();
    answer.header = answer.header.with_checksum(DST, SRC, body);
    let packet = ipv6::Header::new(DST, SRC, Protocol::ICMPV6, 32).unwrap().with_hop_limit(255);
    let bytes = [packet.as_bytes(), answer.as_bytes()].concat();
    let Ok(Ndp::NeighborAdvertisement(said, options)) = read(&bytes) else { panic!() };
    assert_eq!((said, options.target_link_layer()), (what, Some(MAC)));

    let solicitation = RouterSolicitation::new(MAC);
    assert_eq!(solicitation.as_bytes(), hex("85000000 00000000 0101 020000000001"));
}

#[test]
fn discovery_that_must_be_discarded() {
    use DropReason::{Icmp6Type, NdpFormat, NdpInvalid};
    let target = "20010db8000000000000000000000002";
    let group = ipv6::solicited_node(DST);
    let none = Ipv6Addr::UNSPECIFIED;
    let (ns, na) = (Type::NEIGHBOR_SOLICITATION, Type::NEIGHBOR_ADVERTISEMENT);
    let redirect = format!("fe800000000000000000000000000009{target}");
    for (src, dst, kind, rest, body, expected) in [
        (SRC, group, ns, 0, target.to_owned(), None),
        (none, group, ns, 0, target.to_owned(), None),
        (none, DST, ns, 0, target.to_owned(), Some(NdpInvalid)),
        (none, group, ns, 0, format!("{target}0101020000000001"), Some(NdpInvalid)),
        (SRC, group, ns, 0, format!("ff{}", &target[2..]), Some(NdpInvalid)),
        (SRC, group, ns, 0, target[2..].to_owned(), Some(NdpFormat)),
        (SRC, group, ns, 0, format!("{target}0100020000000001"), Some(NdpFormat)),
        (SRC, group, ns, 0, format!("{target}0102020000000001"), Some(NdpFormat)),
        (SRC, group, ns, 0, format!("{target}01"), Some(NdpFormat)),
        (DST, SRC, na, 0x4000_0000, target.to_owned(), None),
        (DST, group, na, 0x4000_0000, target.to_owned(), Some(NdpInvalid)),
        (none, DST, Type::ROUTER_SOLICITATION, 0, String::new(), None),
        (none, DST, Type::ROUTER_SOLICITATION, 0, "0101020000000001".to_owned(), Some(NdpInvalid)),
        (ROUTER, DST, Type::REDIRECT, 0, redirect.clone(), None),
        (SRC, DST, Type::REDIRECT, 0, redirect.clone(), Some(NdpInvalid)),
        (ROUTER, DST, Type::REDIRECT, 0, format!("{target}{}", &redirect[..32]), Some(NdpInvalid)),
        (ROUTER, DST, Type::REDIRECT, 0, target.to_owned(), Some(NdpFormat)),
        (SRC, DST, Type::ECHO_REQUEST, 0, target.to_owned(), Some(Icmp6Type)),
    ] {
        let bytes = ndp(src, dst, kind, rest, &body);
        assert_eq!(read(&bytes).err(), expected, "{kind:?} {src} {dst} {body}");
        let mut routed = bytes;
        routed[7] = 254;
        assert!(read(&routed).is_err());
    }
}

#[test]
fn listener_queries_and_reports() {
    let all = "00000000000000000000000000000000";
    let group = "ff020000000000000000000000000123";
    let query = |body: &str, rest: u32, hops: u8, alert: bool| {
        let mut bytes = ndp(ROUTER, DST, Type::MLD_QUERY, rest, body);
        bytes[7] = hops;
        let packet = Packet::parse(&bytes).unwrap();
        let message = Message::parse(packet.payload).unwrap();
        Query::parse(packet.header, alert, &message)
            .map(|q| (q.group, q.max_response_delay, q.sources.len(), q.is_version_1))
    };
    let any = Ipv6Addr::UNSPECIFIED;
    let one = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0x123);
    let version_2 = format!("{all}02 7d 0000");
    assert_eq!(query(all, 0x2710_0000, 1, true), Ok((any, 10_000, 0, true)));
    assert_eq!(query(&version_2, 0x2710_0000, 1, true), Ok((any, 10_000, 0, false)));
    assert_eq!(query(&version_2, 0x8001_0000, 1, true), Ok((any, 0x1001 << 3, 0, false)));
    let sources = format!("{group}027d0001{all}");
    assert_eq!(query(&sources, 0, 1, true), Ok((one, 0, 16, false)));
    let bad = Err(DropReason::MldFormat);
    assert_eq!(query(&format!("{group}027d0002{all}"), 0, 1, true), bad);
    assert_eq!(query(&version_2, 0, 255, true), bad);
    assert_eq!(query(&version_2, 0, 1, false), bad);
    assert_eq!(query(&format!("20{}", &group[2..]), 0, 1, true), bad);
    assert_eq!(query("00", 0, 1, true), bad);

    let record = Record::new(RecordType::ChangeToExclude, one, 0);
    let bytes = [mld::report(1).as_bytes(), record.as_bytes()].concat();
    assert_eq!(bytes, hex(&format!("8f000000 00000001 04000000 {group}")));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    #[test]
    fn arbitrary_bytes_make_nothing_panic(
        next in prop_oneof![Just(0_u8), Just(43), Just(44), Just(60), Just(58), any::<u8>()],
        bytes in vec(prop_oneof![0_u8..8, Just(44), Just(60), any::<u8>()], 0..300),
    ) {
        let header = ipv6::Header::new(ROUTER, DST, Protocol(next), bytes.len()).unwrap();
        let whole = [header.with_hop_limit(255).as_bytes(), &bytes].concat();
        let _result = Packet::parse(&bytes);
        let packet = Packet::parse(&whole).unwrap();
        if let Ok(chain) = packet.chain() {
            prop_assert_eq!(&whole[chain.payload_at..], chain.payload);
            prop_assert_eq!(whole[chain.protocol_at], chain.protocol.0);
        }
        let _results = (Quoted::parse(&bytes), Options::checked(&bytes).map(|o| o.into_iter().count()));
        for kind in 130..=143 {
            let mut body = bytes.clone();
            if let Some(first) = body.first_mut() { *first = kind; }
            if let Some(code) = body.get_mut(1) { *code = 0; }
            let Ok(message) = Message::parse(&body) else { continue };
            let _results = (message.verify(ROUTER, DST), message.quoted());
            let _results = (Ndp::parse(packet.header, &message).is_ok(),
                Query::parse(&packet.header.with_hop_limit(1), true, &message));
        }
    }
}
