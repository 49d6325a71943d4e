//! No input makes a parser panic, and no slice reaches beyond the input.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use wire::ethernet::{EtherType, Frame};
use wire::icmp::Message;
use wire::ipv4::{Options, Packet, Protocol};
use wire::tcp::Segment;
use wire::udp::Datagram;
use wire::{arp, icmp};

use crate::{DST, SRC, hex};

/// Calls everything that reads bytes.
fn read_all(bytes: &[u8]) {
    read_frame(bytes);
    read_ipv4(bytes);
    read_transport(bytes);
    let _result = arp::Packet::parse(bytes);
    assert!(Options::new(bytes).count() <= bytes.len());
    assert!(icmp::quote(bytes).len() <= bytes.len());
}

fn read_frame(bytes: &[u8]) {
    let Ok(frame) = Frame::parse(bytes) else { return };
    match frame.header.ethertype() {
        EtherType::IPV4 => read_ipv4(frame.payload),
        EtherType::ARP => drop(arp::Packet::parse(frame.payload)),
        _ => {}
    }
}

fn read_ipv4(bytes: &[u8]) {
    let Ok(packet) = Packet::parse(bytes) else { return };
    let header_len = 20 + packet.options.len();
    assert_eq!(header_len, packet.header.header_len());
    assert_eq!(header_len + packet.payload.len(), usize::from(packet.header.total_len.get()));
    assert!(header_len + packet.payload.len() <= bytes.len());
    let _results = (packet.verify(), packet.has_source_route(), packet.is_fragment());
    assert!(packet.options().count() <= packet.options.len());
    if matches!(packet.header.protocol(), Protocol::TCP | Protocol::UDP | Protocol::ICMP) {
        read_transport(packet.payload);
    }
}

fn read_transport(bytes: &[u8]) {
    if let Ok(segment) = Segment::parse(bytes) {
        assert_eq!(20 + segment.options.len() + segment.text.len(), bytes.len());
        assert!(segment.options.len() <= 40);
        let _results = (segment.verify(SRC, DST), segment.flags());
    }
    if let Ok(datagram) = Datagram::parse(bytes) {
        assert!(8 + datagram.payload.len() <= bytes.len());
        let _result = datagram.verify(SRC, DST);
    }
    if let Ok(message) = Message::parse(bytes) {
        assert_eq!(8 + message.payload.len(), bytes.len());
        let header = message.header;
        let _results = (message.verify(), header.mtu(), header.pointer(), header.kind().is_error());
        for quoted in [message.quoted(), icmp::Quoted::parse(bytes)].into_iter().flatten() {
            assert!(quoted.ports().is_some() || quoted.tcp_sequence().is_none());
        }
    }
}

/// Frames that pass every check, to be damaged.
fn seeds() -> Vec<Vec<u8>> {
    [
        "020000000002 020000000001 0806 0001080006040001020000000001c0000201000000000000c6336402",
        "020000000002 020000000001 0800 47000035 00004000 40110000 c0000201 c6336402 94040000 \
         83070401 0a000001 12340035 000dbd61 68656c6c6f",
        "020000000002 020000000001 0800 4500003c 00004000 40060000 c0000201 c6336402 \
         c0000050 11223344 00000000 a002faf0 79df0000 020405b4 0402080a 0001e240 00000000 01030307",
        "020000000002 020000000001 0800 45000038 00000000 40010000 c6336402 c0000201 \
         03032d25 00000000 45000021 00004000 40114e95 c0000201 c6336402 12340035 000dbd61",
    ]
    .map(hex)
    .to_vec()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    #[test]
    fn arbitrary_bytes(bytes in vec(any::<u8>(), 0..200)) {
        read_all(&bytes);
    }

    #[test]
    fn damaged_frames(
        seed in any::<Index>(), damage in vec(any::<(Index, u8)>(), 0..6), len in any::<Index>()
    ) {
        let mut bytes = seed.get(&seeds()).clone();
        for (at, value) in damage {
            *at.get_mut(&mut bytes) = value;
        }
        bytes.truncate(len.index(2 * bytes.len()));
        read_all(&bytes);
        if let Some(payload) = bytes.get(14..) {
            read_all(payload);
        }
    }

    #[test]
    fn arbitrary_options(bytes in vec(prop_oneof![0_u8..8, any::<u8>()], 0..=40)) {
        let items: Vec<_> = Options::new(&bytes).collect();
        let errors = items.iter().filter(|item| item.is_err()).count();
        prop_assert!(errors == 0 || errors == 1 && items.last().is_some_and(Result::is_err));
    }
}

#[test]
fn more_than_ipv4_can_carry() {
    let bytes = vec![0x5a; 200_000];
    read_all(&bytes);
}
