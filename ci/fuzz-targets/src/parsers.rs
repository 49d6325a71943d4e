//! Packet formats: no bytes make a parser panic, and what a parser proves holds.

use core::net::Ipv4Addr;

use wire::{Checksum, IntoBytes, arp, ethernet, icmp, icmp6, ipv4, ipv6, mld, ndp, tcp, udp};

use crate::bytes::Bytes;

/// Header and payload are the bytes that were parsed, up to padding.
fn covers(header: &[u8], rest: &[u8], bytes: &[u8]) {
    let (front, behind) = bytes.split_at(header.len());
    assert_eq!(front, header);
    assert!(behind.starts_with(rest), "the payload is somewhere else");
}

fn tcp_segment(bytes: &[u8], src: Ipv4Addr, dst: Ipv4Addr) {
    let Ok(segment) = tcp::Segment::parse(bytes) else { return };
    let header_len = segment.header.header_len();
    assert_eq!(header_len, 20 + segment.options.len());
    assert_eq!(bytes.len(), header_len + segment.text.len());
    let _ = ::tcp::Options::parse(segment.options);
    let valid = segment.verify(src, dst).is_ok();
    let header = segment.header.with_checksum(src, dst, segment.options, segment.text);
    let mut again = header.as_bytes().to_vec();
    again.extend_from_slice(segment.options);
    again.extend_from_slice(segment.text);
    let again = tcp::Segment::parse(&again).expect("what was parsed parses again");
    assert!(again.verify(src, dst).is_ok(), "our own checksum");
    let one = |sum: u16| if sum == 0xffff { 0 } else { sum };
    let (ours, theirs) = (header.checksum.get(), segment.header.checksum.get());
    assert_eq!(valid, one(ours) == one(theirs), "{ours:x} and {theirs:x}");
}

fn udp_datagram(bytes: &[u8], src: Ipv4Addr, dst: Ipv4Addr) {
    let Ok(datagram) = udp::Datagram::parse(bytes) else { return };
    covers(datagram.header.as_bytes(), datagram.payload, bytes);
    let _ = datagram.verify(src, dst);
    let header = datagram.header.with_checksum(src, dst, datagram.payload);
    let mut again = header.as_bytes().to_vec();
    again.extend_from_slice(datagram.payload);
    let again = udp::Datagram::parse(&again).expect("what was parsed parses again");
    assert!(again.verify(src, dst).is_ok(), "our own checksum");
}

fn icmp_message(bytes: &[u8]) {
    let Ok(message) = icmp::Message::parse(bytes) else { return };
    covers(message.header.as_bytes(), message.payload, bytes);
    let _ = (message.verify(), message.header.mtu(), message.header.pointer());
    for quoted in [message.quoted(), icmp::Quoted::parse(bytes)].into_iter().flatten() {
        assert!(quoted.ports().is_some() || quoted.tcp_sequence().is_none());
    }
}

fn ipv4_packet(bytes: &[u8]) {
    let Ok(packet) = ipv4::Packet::parse(bytes) else { return };
    let header_len = packet.header.header_len();
    assert!((20..=60).contains(&header_len) && header_len <= bytes.len());
    assert!(bytes[header_len..].starts_with(packet.payload));
    let valid = Checksum::new().sum(&bytes[..header_len]).is_valid();
    assert_eq!(packet.verify().is_ok(), valid);
    let options: Vec<_> = packet.options().collect();
    assert!(options.iter().rev().skip(1).all(Result::is_ok), "an error is the last item");
    let _ = packet.has_source_route();
    assert!(icmp::quote(bytes).len() <= bytes.len());
    let (src, dst) = (packet.header.src(), packet.header.dst());
    match packet.header.protocol() {
        ipv4::Protocol::TCP => tcp_segment(packet.payload, src, dst),
        ipv4::Protocol::UDP => udp_datagram(packet.payload, src, dst),
        ipv4::Protocol::ICMP => icmp_message(packet.payload),
        _ => {}
    }
}

fn icmp6_message(packet: &ipv6::Header, bytes: &[u8]) {
    let Ok(message) = icmp6::Message::parse(bytes) else { return };
    covers(message.header.as_bytes(), message.body, bytes);
    let (src, dst) = (packet.src(), packet.dst());
    let _ = (message.verify(src, dst), mld::Query::parse(packet, true, &message));
    if let Ok(quoted) = message.quoted() {
        assert!(quoted.ports().is_some() || quoted.tcp_sequence().is_none());
    }
    if ndp::Ndp::parse(packet, &message).is_ok() {
        assert_eq!(packet.hop_limit, ndp::HOP_LIMIT);
    }
}

fn ipv6_packet(bytes: &[u8]) {
    let Ok(packet) = ipv6::Packet::parse(bytes) else { return };
    covers(packet.header.as_bytes(), packet.payload, bytes);
    assert!(icmp6::quote(bytes).len() <= bytes.len());
    match packet.chain() {
        Ok(chain) => {
            assert!(bytes[chain.payload_at..].starts_with(chain.payload));
            assert_eq!(bytes[chain.protocol_at], chain.protocol.0);
            if chain.protocol == ipv4::Protocol::ICMPV6 && chain.fragment.is_none() {
                icmp6_message(packet.header, chain.payload);
            }
        }
        Err(fault) => {
            let pointer = fault.problem.map_or(0, |problem| problem.pointer);
            assert!((pointer as usize) < bytes.len(), "points into the packet");
        }
    }
}

fn frame(bytes: &[u8]) {
    let Ok(frame) = ethernet::Frame::parse(bytes) else { return };
    covers(frame.header.as_bytes(), frame.payload, bytes);
    match frame.header.ethertype() {
        ethernet::EtherType::IPV4 => ipv4_packet(frame.payload),
        ethernet::EtherType::IPV6 => ipv6_packet(frame.payload),
        ethernet::EtherType::ARP => arp_packet(frame.payload),
        _ => {}
    }
}

fn arp_packet(bytes: &[u8]) {
    if let Ok(packet) = arp::Packet::parse(bytes) {
        let again = packet.emit();
        assert_eq!(arp::Packet::parse(again.as_bytes()), Ok(packet));
        let _ = (packet.is_probe(), packet.is_announcement());
    }
}

/// The sum in two parts is the sum in one, and as RFC 1071 §4.1 adds it.
fn checksum(bytes: &[u8], at: usize) {
    let (front, back) = bytes.split_at(at.min(bytes.len()) & !1);
    let whole = Checksum::new().sum(bytes);
    assert_eq!(whole.finish(), Checksum::new().sum(front).sum(back).finish());
    let mut copy = vec![0; bytes.len()];
    let copied = Checksum::new().copy_and_sum(&mut copy, bytes).map(Checksum::finish);
    assert_eq!((copied, &copy[..]), (Some(whole.finish()), bytes));
    let mut sum = 0_u32;
    for pair in bytes.chunks(2) {
        sum += u32::from(pair[0]) << 8 | pair.get(1).map_or(0, |low| u32::from(*low));
        sum = (sum & 0xffff) + (sum >> 16);
    }
    let expected = !u16::try_from(sum).expect("folded");
    let one = |sum: u16| if sum == 0xffff { 0 } else { sum };
    assert_eq!(one(whole.finish()), one(expected));
}

/// Makes an IPv6 packet with the right length in front of a chain of headers or a message.
fn put_right_v6(bytes: &mut [u8], what: u8) {
    let first = [0, 43, 44, 58, 58, 58, 60, 17];
    let Some((ethernet, packet)) = bytes.split_at_mut_checked(14) else { return };
    ethernet[12..].copy_from_slice(&[0x86, 0xdd]);
    let Some((header, message)) = packet.split_at_mut_checked(40) else { return };
    let payload_len = u16::try_from(message.len()).unwrap_or(u16::MAX).to_be_bytes();
    header[0] = 0x60 | header[0] & 0xf;
    header[4..6].copy_from_slice(&payload_len);
    header[6] = first[usize::from(what & 7)];
    if what & 8 == 0 {
        header[7] = ndp::HOP_LIMIT;
        header[8..16].copy_from_slice(&[0xfe, 0x80, 0, 0, 0, 0, 0, 0]);
    }
    if let (58, Some([kind, code, ..])) = (header[6], message.first_chunk_mut::<8>()) {
        *kind = 130 + *kind % 14;
        *code = 0;
    }
}

/// Puts lengths right, so that the parsers behind the first one see something.
fn put_right(bytes: &mut [u8], what: u8) {
    let protocols = [6, 6, 17, 1];
    let Some((ethernet, packet)) = bytes.split_at_mut_checked(14) else { return };
    ethernet[12..].copy_from_slice(&[8, if what & 0x1f == 0x1f { 6 } else { 0 }]);
    let total_len = u16::try_from(packet.len()).unwrap_or(u16::MAX).to_be_bytes();
    let Some((header, rest)) = packet.split_at_mut_checked(20) else { return };
    let header_len: u8 = if what & 4 == 0 { 5 } else { 5 + (header[0] & 0xf) % 11 };
    header[0] = 0x40 | header_len;
    header[2..4].copy_from_slice(&total_len);
    header[9] = protocols[usize::from(what & 3)];
    let Some(segment) = rest.get_mut(usize::from(header_len - 5) * 4..) else { return };
    let len = u16::try_from(segment.len()).unwrap_or(u16::MAX).to_be_bytes();
    match what & 3 {
        0 | 1 => {
            if let Some(offset) = segment.get_mut(12) {
                *offset = (5 + (*offset >> 4) % 11) << 4 | *offset & 0xf;
            }
        }
        2 => {
            if let Some(place) = segment.get_mut(4..6) {
                place.copy_from_slice(&len);
            }
        }
        _ => {
            // An error that quotes a packet.
            if let Some(place) = segment.get_mut(..9) {
                place[0] = if what & 8 == 0 { 3 } else { place[0] };
                place[8] = 0x45;
            }
        }
    }
}

/// A frame.
pub fn parsers(input: &[u8]) {
    let mut bytes = Bytes::new(input);
    let what = bytes.u8();
    let mut raw = bytes.take(usize::MAX).to_vec();
    checksum(&raw, usize::from(what));
    if what & 0xc0 == 0x40 {
        put_right_v6(&mut raw, what);
    } else if what & 0x80 == 0 {
        put_right(&mut raw, what);
    } else {
        let (src, dst) = (Ipv4Addr::LOCALHOST, Ipv4Addr::BROADCAST);
        ipv4_packet(&raw);
        ipv6_packet(&raw);
        tcp_segment(&raw, src, dst);
        udp_datagram(&raw, src, dst);
        icmp_message(&raw);
        arp_packet(&raw);
        let _ = ::tcp::Options::parse(&raw);
    }
    frame(&raw);
}
