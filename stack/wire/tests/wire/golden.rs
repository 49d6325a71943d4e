//! Bytes as they are on the wire, both ways.

use core::net::Ipv4Addr;

use types::{DropReason, MacAddr};
use wire::arp::{self, Operation};
use wire::ethernet::{self, EtherType, Frame};
use wire::icmp::{self, Code, Message, Type};
use wire::ipv4::{self, IpOption, Packet, Protocol};
use wire::tcp::{self, Segment, flag};
use wire::udp::{self, Datagram};
use wire::{Checksum, IntoBytes};

use crate::{DST, SRC, hex};

const OURS: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);
const THEIRS: MacAddr = MacAddr([2, 0, 0, 0, 0, 2]);
/// The IPv4 and UDP headers of a packet with "hello": what an ICMP error quotes of it.
const QUOTED: &str = "450000210000400040114e95c0000201c6336402 12340035000dbd61";

#[test]
fn ethernet_frame() {
    let bytes = hex("020000000002 020000000001 0800 dead");
    let header = ethernet::Header::new(THEIRS, OURS, EtherType::IPV4);
    assert_eq!(header.as_bytes(), &bytes[..14]);

    let frame = Frame::parse(&bytes).unwrap();
    assert_eq!(frame.header, &header);
    assert_eq!((frame.header.dst(), frame.header.src()), (THEIRS, OURS));
    assert_eq!(frame.header.ethertype(), EtherType::IPV4);
    assert_eq!(frame.payload, [0xde, 0xad]);
    assert_eq!(format!("{:?}", EtherType::IPV6), "EtherType(0x86dd)");
}

#[test]
fn arp_request_and_reply() {
    let request = arp::Packet::request(OURS, SRC, DST);
    let bytes = hex("0001 0800 06 04 0001 020000000001 c0000201 000000000000 c6336402");
    assert_eq!(request.emit().as_bytes(), bytes);
    assert_eq!(arp::Packet::parse(&bytes), Ok(request));

    let reply = request.reply(THEIRS);
    let bytes = hex("0001 0800 06 04 0002 020000000002 c6336402 020000000001 c0000201");
    assert_eq!(reply.emit().as_bytes(), bytes);
    assert_eq!(arp::Packet::parse(&bytes), Ok(reply));
    assert_eq!(reply.operation, Operation::Reply);
    assert!(!reply.is_probe() && !reply.is_announcement());
}

#[test]
fn arp_probe_and_announcement() {
    // RFC 5227, 1.1.
    let probe = arp::Packet::probe(OURS, SRC);
    let bytes = hex("0001 0800 06 04 0001 020000000001 00000000 000000000000 c0000201");
    assert_eq!(probe.emit().as_bytes(), bytes);
    assert!(probe.is_probe() && !probe.is_announcement());

    let announcement = arp::Packet::announcement(OURS, SRC);
    let bytes = hex("0001 0800 06 04 0001 020000000001 c0000201 000000000000 c0000201");
    assert_eq!(announcement.emit().as_bytes(), bytes);
    assert!(announcement.is_announcement() && !announcement.is_probe());
}

#[test]
fn ipv4_packet() {
    let bytes = hex("450000210000400040114e95c0000201c6336402");
    let header = ipv4::Header::new(SRC, DST, Protocol::UDP, 13).unwrap();
    assert_eq!(header.with_checksum().as_bytes(), bytes);
    assert_eq!(header.checksum.get(), 0, "left to the NIC");

    let padded = [&bytes[..], b"datagram here", &[0; 26]].concat();
    let packet = Packet::parse(&padded).unwrap();
    assert_eq!(packet.payload, b"datagram here", "the frame's padding is gone");
    assert_eq!(packet.options, b"");
    assert_eq!((packet.header.src(), packet.header.dst()), (SRC, DST));
    assert_eq!(packet.header.protocol(), Protocol::UDP);
    assert!(packet.header.dont_fragment() && !packet.is_fragment());
    assert_eq!(packet.verify(), Ok(()));
}

#[test]
fn ipv4_header_with_everything_set() {
    let header = ipv4::Header::new(SRC, DST, Protocol::TCP, 1480)
        .unwrap()
        .with_ttl(3)
        .with_tos(0xb8)
        .with_id(0xbeef)
        .with_dont_fragment(false)
        .with_checksum();
    assert_eq!(header.as_bytes(), hex("45b805dcbeef00000306063ec0000201c6336402"));
    assert_eq!(header.with_dont_fragment(true).flags_fragment.get(), 0x4000);
}

#[test]
fn ipv4_checksum_is_checked_over_header_and_options() {
    let mut bytes = hex("46000018 00004000 40010000 c0000201 c6336402 94040000");
    let checksum = Checksum::new().sum(&bytes).finish();
    bytes[10..12].copy_from_slice(&checksum.to_be_bytes());
    assert_eq!(Packet::parse(&bytes).unwrap().verify(), Ok(()));
    bytes[23] ^= 1;
    assert_eq!(Packet::parse(&bytes).unwrap().verify(), Err(DropReason::Ipv4Checksum));
}

#[test]
fn ipv4_fragments() {
    // Flags and offset; is it a fragment, do more follow, where does it start?
    for (field, is_fragment, more, offset) in [
        ("0000", false, false, 0),
        ("4000", false, false, 0),
        ("8000", false, false, 0),
        ("2000", true, true, 0),
        ("20b9", true, true, 1480),
        ("00b9", true, false, 1480),
        ("1fff", true, false, 65_528),
    ] {
        let bytes = hex(&format!("45000014 0000{field} 40110000 c0000201 c6336402"));
        let packet = Packet::parse(&bytes).unwrap();
        assert_eq!(packet.is_fragment(), is_fragment, "{field}");
        assert_eq!(packet.header.more_fragments(), more, "{field}");
        assert_eq!(packet.header.fragment_offset(), offset, "{field}");
    }
}

#[test]
fn ipv4_options() {
    // No-operation, router alert, unknown type, record route, end of list, then anything.
    let options = hex("01 94040000 de03aa 0707 04c6336402 00 ff");
    let packet = ipv4::Options::new(&options);
    let expected = [
        IpOption::RouterAlert(&[0, 0]),
        IpOption::Unknown(0xde, &[0xaa]),
        IpOption::RecordRoute(&[4, 198, 51, 100, 2]),
    ];
    assert_eq!(packet.collect::<Result<Vec<_>, _>>().unwrap(), expected);
}

#[test]
fn ipv4_source_routes() {
    let malformed = Err(DropReason::Ipv4Options);
    for (options, expected) in [
        ("", Ok(false)),
        ("94040000", Ok(false)),
        ("4404 0500", Ok(false)),
        ("01 8307 04c6336402", Ok(true)),
        ("01 8907 04c6336402", Ok(true)),
        ("94040000 8303 04 00", Ok(true)),
        ("00 8303 04", Ok(false)), // after the end of the list
        ("010101 83", malformed),  // no length
        ("8300 0400", malformed),  // length does not even cover type and length
        ("8301 0400", malformed),
        ("8305 0400", malformed),  // length beyond the header
        ("8303 04 94", malformed), // a source route, but the next option has no length
    ] {
        let mut options = hex(options);
        options.resize(options.len().next_multiple_of(4), 0);
        let len = 20 + options.len();
        let mut bytes = hex("450000000000400040110000c0000201c6336402");
        bytes[0] = 0x40 + u8::try_from(len / 4).unwrap();
        bytes[3] = u8::try_from(len).unwrap();
        bytes.extend_from_slice(&options);
        let packet = Packet::parse(&bytes).unwrap();
        assert_eq!(packet.has_source_route(), expected, "{options:02x?}");
    }
}

#[test]
fn icmp_echo() {
    let bytes = hex("0800 06f4 1234 0007 70696e67");
    let header = icmp::Header::echo_request(0x1234, 7).with_checksum(b"ping");
    assert_eq!(header.as_bytes(), &bytes[..8]);

    let message = Message::parse(&bytes).unwrap();
    assert_eq!(message.verify(), Ok(()));
    assert_eq!(message.header.kind(), Type::ECHO_REQUEST);
    assert_eq!((message.header.echo_id(), message.header.echo_sequence()), (0x1234, 7));
    assert_eq!(message.payload, b"ping");
    assert_eq!(message.quoted().err(), Some(DropReason::IcmpType));

    let reply = icmp::Header::echo_reply(0x1234, 7).with_checksum(message.payload);
    assert_eq!(reply.as_bytes(), hex("0000 0ef4 1234 0007"));

    let mut damaged = bytes;
    damaged[9] ^= 0x20;
    assert_eq!(Message::parse(&damaged).unwrap().verify(), Err(DropReason::IcmpChecksum));
}

#[test]
fn icmp_errors() {
    let quoted = hex(QUOTED);
    for (header, expected) in [
        (icmp::Header::destination_unreachable(Code::PORT_UNREACHABLE), "03032d2500000000"),
        (icmp::Header::fragmentation_needed(1400), "030427ac00000578"),
        (icmp::Header::time_exceeded(Code::TTL_EXCEEDED), "0b00252800000000"),
        (icmp::Header::parameter_problem(Code::POINTER, 20), "0c00102814000000"),
    ] {
        let bytes = [header.with_checksum(&quoted).as_bytes(), &quoted].concat();
        assert_eq!(bytes[..8], hex(expected));

        let message = Message::parse(&bytes).unwrap();
        assert_eq!(message.verify(), Ok(()));
        assert!(message.header.kind().is_error());
        let quoted = message.quoted().unwrap();
        assert_eq!((quoted.header.src(), quoted.header.dst()), (SRC, DST));
        assert_eq!(quoted.ports(), Some((0x1234, 53)));
        assert_eq!(quoted.tcp_sequence(), None, "UDP has none");
    }
    assert_eq!(icmp::Header::fragmentation_needed(1400).mtu(), 1400);
    assert_eq!(icmp::Header::parameter_problem(Code::POINTER, 20).pointer(), 20);
}

#[test]
fn icmp_quotes_tcp_behind_options() {
    let quoted = hex("46000040 00004000 40060000 c0000201 c6336402 94040000 c0000050 11223344");
    let quoted = icmp::Quoted::parse(&quoted).unwrap();
    assert_eq!(quoted.ports(), Some((0xc000, 80)));
    assert_eq!(quoted.tcp_sequence(), Some(0x1122_3344));
}

#[test]
fn icmp_quotes_without_ports() {
    let fragment = hex("45000040 000000b9 40060000 c0000201 c6336402 c0000050 11223344");
    assert_eq!(icmp::Quoted::parse(&fragment).unwrap().ports(), None);
    let echo = hex("45000040 00004000 40010000 c0000201 c6336402 08000000 00010001");
    assert_eq!(icmp::Quoted::parse(&echo).unwrap().ports(), None);
}

#[test]
fn icmp_errors_quote_up_to_576_bytes() {
    assert_eq!(icmp::quote(&[0; 28]).len(), 28);
    assert_eq!(icmp::quote(&[0; 548]).len(), 548);
    assert_eq!(icmp::quote(&[0; 1500]).len(), 576 - 20 - 8);
}

#[test]
fn udp_datagram() {
    let bytes = hex("1234 0035 000d bd61 68656c6c6f");
    let header = udp::Header::new(0x1234, 53, 5).unwrap();
    assert_eq!(header.with_checksum(SRC, DST, b"hello").as_bytes(), &bytes[..8]);
    assert_eq!(header.with_pseudo_checksum(SRC, DST).checksum.get(), 0xec55);

    let datagram = Datagram::parse(&bytes).unwrap();
    assert_eq!(datagram.payload, b"hello");
    assert_eq!(datagram.verify(SRC, DST), Ok(()));
    assert_eq!(datagram.verify(SRC, Ipv4Addr::LOCALHOST), Err(DropReason::UdpChecksum));
}

#[test]
fn udp_without_checksum_is_accepted() {
    let bytes = hex("1234 0035 000d 0000 68656c6c6f");
    assert_eq!(Datagram::parse(&bytes).unwrap().verify(SRC, DST), Ok(()));
}

#[test]
fn udp_checksum_of_zero_is_sent_as_all_ones() {
    let payload = hex("13a0");
    let header = udp::Header::new(1, 2, 2).unwrap().with_checksum(SRC, DST, &payload);
    assert_eq!(header.checksum.get(), 0xffff);
    let bytes = [header.as_bytes(), &payload].concat();
    assert_eq!(Datagram::parse(&bytes).unwrap().verify(SRC, DST), Ok(()));
}

#[test]
fn udp_padding_behind_the_length_is_not_payload() {
    let bytes = hex("1234 0035 000d bd61 68656c6c6f 0badcafe");
    let datagram = Datagram::parse(&bytes).unwrap();
    assert_eq!(datagram.payload, b"hello");
    assert_eq!(datagram.verify(SRC, DST), Ok(()));
}

#[test]
fn tcp_syn_with_options() {
    let options = hex("020405b4 0402080a0001e24000000000 01030307");
    let bytes = hex("c0000050 11223344 00000000 a002faf0 79df0000");
    let header = tcp::Header::new(49_152, 80, 0x1122_3344, 0, flag::SYN, 64_240)
        .with_options_len(options.len())
        .unwrap()
        .with_checksum(SRC, DST, &options, b"");
    assert_eq!(header.as_bytes(), bytes);

    let bytes = [bytes, options.clone()].concat();
    let segment = Segment::parse(&bytes).unwrap();
    assert_eq!(segment.header, &header);
    assert_eq!(segment.flags(), flag::SYN);
    assert_eq!(segment.options, options);
    assert_eq!(segment.text, b"");
    assert_eq!(segment.verify(SRC, DST), Ok(()));
}

#[test]
fn tcp_text() {
    let bytes = hex("c0000050 11223345 55667788 501801f6 54b00000 474554");
    let header = tcp::Header::new(49_152, 80, 0x1122_3345, 0x5566_7788, flag::PSH | flag::ACK, 502);
    assert_eq!(header.with_checksum(SRC, DST, b"", b"GET").as_bytes(), &bytes[..20]);
    assert_eq!(header.with_pseudo_checksum(SRC, DST, 23).checksum.get(), 0xec54);

    let segment = Segment::parse(&bytes).unwrap();
    assert_eq!(segment.text, b"GET");
    assert_eq!(segment.verify(SRC, DST), Ok(()));
    assert_eq!(segment.verify(DST, DST), Err(DropReason::TcpChecksum));
}

#[test]
fn tcp_reserved_bits_are_neither_flags_nor_length() {
    let bytes = hex("c0000050 00000000 00000000 5f020000 00000000");
    let segment = Segment::parse(&bytes).unwrap();
    assert_eq!(segment.flags(), flag::SYN);
    assert_eq!(segment.header.header_len(), 20);
}
