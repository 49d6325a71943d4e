//! What is emitted parses to the same values.

use core::net::Ipv4Addr;

use proptest::collection::vec;
use proptest::prelude::*;
use types::MacAddr;
use wire::ethernet::{self, EtherType, Frame};
use wire::icmp::{self, Code, Message, Type};
use wire::ipv4::{self, Packet, Protocol};
use wire::tcp::{self, Segment};
use wire::udp::{self, Datagram};
use wire::{Checksum, IntoBytes, arp};

use crate::{DST, SRC};

fn payload() -> impl Strategy<Value = Vec<u8>> {
    vec(any::<u8>(), 0..1500)
}

fn mac() -> impl Strategy<Value = MacAddr> {
    any::<[u8; 6]>().prop_map(|mut octets| {
        octets[0] &= 0xfe;
        MacAddr(octets)
    })
}

proptest! {
    #[test]
    fn ethernet(dst in any::<[u8; 6]>(), src in mac(), ethertype in any::<u16>(), payload in payload()) {
        let header = ethernet::Header::new(MacAddr(dst), src, EtherType(ethertype));
        let bytes = [header.as_bytes(), &payload].concat();
        let frame = Frame::parse(&bytes).unwrap();
        prop_assert_eq!(frame.header, &header);
        prop_assert_eq!(frame.header.dst(), MacAddr(dst));
        prop_assert_eq!(frame.header.src(), src);
        prop_assert_eq!(frame.header.ethertype(), EtherType(ethertype));
        prop_assert_eq!(frame.payload, payload);
    }

    #[test]
    fn arp(
        is_reply in any::<bool>(), sender_mac in mac(), sender_ip in any::<Ipv4Addr>(),
        target_mac in mac(), target_ip in any::<Ipv4Addr>(), padding in vec(any::<u8>(), 0..20)
    ) {
        let operation = if is_reply { arp::Operation::Reply } else { arp::Operation::Request };
        let packet = arp::Packet { operation, sender_mac, sender_ip, target_mac, target_ip };
        let bytes = [packet.emit().as_bytes(), &padding].concat();
        prop_assert_eq!(arp::Packet::parse(&bytes), Ok(packet));
    }

    #[test]
    fn ipv4(
        src in any::<Ipv4Addr>(), dst in any::<Ipv4Addr>(), protocol in any::<u8>(),
        (ttl, tos, id, dont_fragment) in any::<(u8, u8, u16, bool)>(),
        payload in payload(), padding in vec(any::<u8>(), 0..40)
    ) {
        let header = ipv4::Header::new(src, dst, Protocol(protocol), payload.len())
            .unwrap()
            .with_ttl(ttl)
            .with_tos(tos)
            .with_id(id)
            .with_dont_fragment(dont_fragment)
            .with_checksum();
        let bytes = [header.as_bytes(), &payload, &padding].concat();
        let packet = Packet::parse(&bytes).unwrap();
        prop_assert_eq!(packet.verify(), Ok(()));
        prop_assert_eq!((packet.header.src(), packet.header.dst()), (src, dst));
        prop_assert_eq!(packet.header.protocol(), Protocol(protocol));
        prop_assert_eq!((packet.header.ttl, packet.header.tos, packet.header.id.get()), (ttl, tos, id));
        prop_assert_eq!(packet.header.dont_fragment(), dont_fragment);
        prop_assert!(!packet.is_fragment());
        prop_assert_eq!(packet.payload, payload);
        prop_assert_eq!(packet.has_source_route(), Ok(false));
    }

    #[test]
    fn icmp(kind in any::<u8>(), code in any::<u8>(), rest in any::<[u16; 2]>(), payload in payload()) {
        let header = icmp::Header::new(Type(kind), Code(code), rest).with_checksum(&payload);
        let bytes = [header.as_bytes(), &payload].concat();
        let message = Message::parse(&bytes).unwrap();
        prop_assert_eq!(message.verify(), Ok(()));
        prop_assert_eq!((message.header.kind(), message.header.code()), (Type(kind), Code(code)));
        prop_assert_eq!([message.header.echo_id(), message.header.echo_sequence()], rest);
        prop_assert_eq!(message.payload, payload);
    }

    #[test]
    fn icmp_error_about_any_packet(payload in payload(), src_port in any::<u16>(), dst_port in 1_u16..) {
        let udp = udp::Header::new(src_port, dst_port, payload.len()).unwrap();
        let udp = [udp.as_bytes(), &payload].concat();
        let ip = ipv4::Header::new(SRC, DST, Protocol::UDP, udp.len()).unwrap().with_checksum();
        let packet = [ip.as_bytes(), &udp].concat();

        let quote = icmp::quote(&packet);
        let header = icmp::Header::fragmentation_needed(576).with_checksum(quote);
        let bytes = [header.as_bytes(), quote].concat();
        prop_assert!(bytes.len() + ipv4::Header::LEN <= 576);
        let quoted = Message::parse(&bytes).unwrap().quoted().unwrap();
        prop_assert_eq!(quoted.header, &ip);
        prop_assert_eq!(quoted.ports(), Some((src_port, dst_port)));
    }

    #[test]
    fn udp(src_port in any::<u16>(), dst_port in 1_u16.., payload in payload()) {
        let header = udp::Header::new(src_port, dst_port, payload.len()).unwrap();
        let header = header.with_checksum(SRC, DST, &payload);
        prop_assert_ne!(header.checksum.get(), 0);
        let bytes = [header.as_bytes(), &payload].concat();
        let datagram = Datagram::parse(&bytes).unwrap();
        prop_assert_eq!(datagram.verify(SRC, DST), Ok(()));
        prop_assert_eq!(datagram.header.src_port.get(), src_port);
        prop_assert_eq!(datagram.header.dst_port.get(), dst_port);
        prop_assert_eq!(datagram.payload, payload);
    }

    #[test]
    fn tcp(
        (src_port, dst_port) in (1_u16.., 1_u16..),
        (seq, ack, flags, window) in any::<(u32, u32, u8, u16)>(),
        option_words in vec(any::<[u8; 4]>(), 0..=10), text in payload()
    ) {
        let options = option_words.concat();
        let header = tcp::Header::new(src_port, dst_port, seq, ack, flags, window)
            .with_options_len(options.len())
            .unwrap()
            .with_checksum(SRC, DST, &options, &text);
        let bytes = [header.as_bytes(), &options, &text].concat();
        let segment = Segment::parse(&bytes).unwrap();
        prop_assert_eq!(segment.verify(SRC, DST), Ok(()));
        prop_assert_eq!((segment.header.seq.get(), segment.header.ack.get()), (seq, ack));
        prop_assert_eq!((segment.flags(), segment.header.window.get()), (flags, window));
        prop_assert_eq!(segment.options, options);
        prop_assert_eq!(segment.text, text);
    }

    /// The NIC adds header and payload to the sum of the pseudo header that it finds in the field.
    #[test]
    fn an_offloaded_checksum_is_the_software_one(text in payload(), seq in any::<u32>()) {
        let tcp = tcp::Header::new(1, 2, seq, 0, 0, 0);
        let segment_len = u16::try_from(tcp::Header::LEN + text.len()).unwrap();
        let for_nic = tcp.with_pseudo_checksum(SRC, DST, segment_len);
        let by_nic = Checksum::new().sum(for_nic.as_bytes()).sum(&text).finish();
        prop_assert_eq!(by_nic, tcp.with_checksum(SRC, DST, b"", &text).checksum.get());

        let udp = udp::Header::new(1, 2, text.len()).unwrap();
        let for_nic = udp.with_pseudo_checksum(SRC, DST);
        let by_nic = Checksum::new().sum(for_nic.as_bytes()).sum(&text).finish();
        let by_nic = if by_nic == 0 { 0xffff } else { by_nic }; // as NICs do for UDP
        prop_assert_eq!(by_nic, udp.with_checksum(SRC, DST, &text).checksum.get());
    }
}
