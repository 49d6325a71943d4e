//! Each disagreement of lengths, and every other broken format rule, under its own reason.

use types::DropReason;
use wire::arp;
use wire::ethernet::{self, Frame};
use wire::icmp::{Message, Quoted};
use wire::ipv4::{self, Packet, Protocol};
use wire::tcp::{self, Segment};
use wire::udp::{self, Datagram};

use crate::{DST, SRC, hex};

/// `template` with the bytes `patch` at offset `at`, cut or zero-extended to `len`.
fn patched(template: &str, at: usize, patch: &str, len: usize) -> Vec<u8> {
    let mut bytes = hex(template);
    let patch = hex(patch);
    bytes[at..at + patch.len()].copy_from_slice(&patch);
    bytes.resize(len, 0);
    bytes
}

#[test]
fn ethernet() {
    for len in 0..ethernet::Header::LEN {
        assert_eq!(Frame::parse(&vec![0; len]).err(), Some(DropReason::EthernetTooShort), "{len}");
    }
    let frame = "ffffffffffff 020000000001 0806";
    assert!(Frame::parse(&patched(frame, 0, "", 14)).is_ok());
    for group in ["01", "03", "ff"] {
        let bytes = patched(frame, 6, group, 60);
        assert_eq!(Frame::parse(&bytes).err(), Some(DropReason::EthernetSource), "{group}");
    }
}

#[test]
fn arp() {
    use DropReason::{ArpFormat, ArpOperation, ArpTooShort};
    let packet = "0001 0800 06 04 0001 020000000001 c0000201 000000000000 c6336402";
    for (at, patch, len, expected) in [
        (0, "", 28, None),
        (0, "", 46, None), // padded to the shortest frame
        (0, "", 27, Some(ArpTooShort)),
        (0, "", 0, Some(ArpTooShort)),
        (0, "0006", 28, Some(ArpFormat)), // hardware type: IEEE 802
        (2, "86dd", 28, Some(ArpFormat)), // protocol type: IPv6
        (4, "08", 28, Some(ArpFormat)),   // hardware length
        (5, "10", 28, Some(ArpFormat)),   // protocol length
        (6, "0000", 28, Some(ArpOperation)),
        (6, "0003", 28, Some(ArpOperation)), // reverse ARP
        (6, "0100", 28, Some(ArpOperation)),
    ] {
        let bytes = patched(packet, at, patch, len);
        assert_eq!(arp::Packet::parse(&bytes).err(), expected, "{at} {patch} {len}");
    }
}

#[test]
fn ipv4() {
    use DropReason::{Ipv4HeaderLength, Ipv4TooShort, Ipv4TotalLength, Ipv4Version};
    let packet = "45000028 00004000 40060000 c0000201 c6336402";
    for (at, patch, len, expected) in [
        (0, "", 40, None),
        (0, "", 46, None),
        (0, "", 0, Some(Ipv4TooShort)),
        (0, "", 19, Some(Ipv4TooShort)),
        (0, "65", 40, Some(Ipv4Version)),
        (0, "05", 40, Some(Ipv4Version)),
        (0, "40", 40, Some(Ipv4HeaderLength)),
        (0, "44", 40, Some(Ipv4HeaderLength)), // 16 bytes
        (0, "46", 40, None),                   // 24 bytes
        (0, "4a", 40, None),                   // 40 bytes: options and nothing else
        (0, "4b", 44, Some(Ipv4TotalLength)),  // 44 bytes: more than the total length ...
        (0, "4b", 43, Some(Ipv4HeaderLength)), // ... and more than the frame
        (2, "0000", 40, Some(Ipv4TotalLength)),
        (2, "0013", 40, Some(Ipv4TotalLength)), // below the header
        (2, "0014", 40, None),                  // header only
        (2, "0029", 40, Some(Ipv4TotalLength)), // one beyond the frame
        (2, "ffff", 40, Some(Ipv4TotalLength)),
        (0, "", 39, Some(Ipv4TotalLength)), // truncated on the way
    ] {
        let bytes = patched(packet, at, patch, len);
        assert_eq!(Packet::parse(&bytes).err(), expected, "{at} {patch} {len}");
    }
}

#[test]
fn ipv4_slices_agree_with_the_length_fields() {
    for ihl in 5..=15_u8 {
        for total_len in usize::from(ihl) * 4..=64 {
            let mut bytes = hex("45000000 00004000 40060000 c0000201 c6336402");
            bytes[0] = 0x40 | ihl;
            bytes[3] = u8::try_from(total_len).unwrap();
            bytes.resize(80, 0);
            let packet = Packet::parse(&bytes).unwrap();
            assert_eq!(packet.options.len(), usize::from(ihl) * 4 - 20);
            assert_eq!(packet.payload.len(), total_len - usize::from(ihl) * 4);
        }
    }
}

#[test]
fn icmp() {
    for len in 0..8 {
        assert_eq!(Message::parse(&vec![8; len]).err(), Some(DropReason::IcmpTooShort), "{len}");
    }
    assert!(Message::parse(&[8; 8]).is_ok());
}

#[test]
fn icmp_quoted() {
    let quoted = "45000028 00004000 40060000 c0000201 c6336402 c0000050 11223344";
    for (at, patch, len, is_ok) in [
        (0, "", 28, true),
        (0, "", 548, true),
        (0, "", 0, false),
        (0, "", 19, false),
        (0, "", 20, false),
        (0, "", 27, false), // one bit short of 64
        (0, "65", 28, false),
        (0, "44", 28, false),
        (0, "46", 31, false), // options push the transport out
        (0, "46", 32, true),
        (0, "4f", 60, false),
        (0, "4f", 68, true),
        (2, "0000", 28, true), // old stacks change the total length
    ] {
        let bytes = patched(quoted, at, patch, len);
        let expected = (!is_ok).then_some(DropReason::IcmpQuoted);
        assert_eq!(Quoted::parse(&bytes).err(), expected, "{at} {patch} {len}");
    }
}

#[test]
fn udp() {
    use DropReason::{UdpLength, UdpPort, UdpTooShort};
    let datagram = "1234 0035 000c 0000 01020304";
    for (at, patch, len, expected) in [
        (0, "", 12, None),
        (0, "", 16, None), // the IP payload may be longer
        (0, "", 0, Some(UdpTooShort)),
        (0, "", 7, Some(UdpTooShort)),
        (0, "", 11, Some(UdpLength)),
        (4, "0000", 12, Some(UdpLength)),
        (4, "0007", 12, Some(UdpLength)),
        (4, "0008", 8, None),
        (4, "000d", 12, Some(UdpLength)),
        (4, "ffff", 12, Some(UdpLength)),
        (2, "0000", 12, Some(UdpPort)),
        (0, "0000", 12, None), // no answer expected
    ] {
        let bytes = patched(datagram, at, patch, len);
        assert_eq!(Datagram::parse(&bytes).err(), expected, "{at} {patch} {len}");
    }
}

#[test]
fn tcp() {
    use DropReason::{TcpHeaderLength, TcpPort, TcpTooShort};
    let segment = "c0000050 00000000 00000000 50020000 00000000 01010101";
    for (at, patch, len, expected) in [
        (0, "", 20, None),
        (0, "", 24, None),
        (0, "", 0, Some(TcpTooShort)),
        (0, "", 19, Some(TcpTooShort)),
        (12, "00", 24, Some(TcpHeaderLength)),
        (12, "40", 24, Some(TcpHeaderLength)), // 16 bytes
        (12, "60", 24, None),                  // options and nothing else
        (12, "60", 23, Some(TcpHeaderLength)),
        (12, "70", 24, Some(TcpHeaderLength)), // 28 bytes
        (12, "f0", 59, Some(TcpHeaderLength)),
        (12, "f0", 60, None),
        (0, "0000", 24, Some(TcpPort)),
        (2, "0000", 24, Some(TcpPort)),
    ] {
        let bytes = patched(segment, at, patch, len);
        assert_eq!(Segment::parse(&bytes).err(), expected, "{at} {patch} {len}");
    }
}

#[test]
fn headers_refuse_what_their_length_field_cannot_say() {
    assert!(ipv4::Header::new(SRC, DST, Protocol::TCP, 65_515).is_some());
    assert!(ipv4::Header::new(SRC, DST, Protocol::TCP, 65_516).is_none());
    assert!(ipv4::Header::new(SRC, DST, Protocol::TCP, usize::MAX).is_none());
    assert!(udp::Header::new(1, 2, 65_527).is_some());
    assert!(udp::Header::new(1, 2, 65_528).is_none());
    assert!(udp::Header::new(1, 2, usize::MAX).is_none());
    let header = tcp::Header::new(1, 2, 0, 0, 0xff, 0);
    for options_len in 0..64 {
        let with_options = header.with_options_len(options_len);
        assert_eq!(with_options.is_some(), options_len % 4 == 0 && options_len <= 40);
        if let Some(header) = with_options {
            assert_eq!((header.header_len(), header.flags()), (20 + options_len, 0xff));
        }
    }
}
