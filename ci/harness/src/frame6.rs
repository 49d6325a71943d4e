//! IPv6 frames from the peer.

use core::net::Ipv6Addr;

use types::MacAddr;
use wire::ipv4::Protocol;
use wire::ndp::{NeighborAdvertisement, NeighborMessage};
use wire::{IntoBytes, ethernet, icmp6, ipv6, tcp, udp};

use crate::{LOCAL_MAC, LOCAL6, PEER_MAC, PEER6};

/// Ethernet and IPv6 in front of what `next` says, with all the header's fields.
#[must_use]
pub fn packet(header: &ipv6::Header, payload: &[u8]) -> Vec<u8> {
    let to =
        if header.dst().is_multicast() { ipv6::multicast_mac(header.dst()) } else { LOCAL_MAC };
    let ethernet = ethernet::Header::new(to, PEER_MAC, ethernet::EtherType::IPV6);
    [ethernet.as_bytes(), header.as_bytes(), payload].concat()
}

/// A header; `None`: the payload is too long.
#[must_use]
pub fn header(src: Ipv6Addr, dst: Ipv6Addr, next: Protocol, payload: &[u8]) -> ipv6::Header {
    let header = ipv6::Header::new(src, dst, next, payload.len());
    header.unwrap_or_else(|| unreachable!("harness payloads are short"))
}

/// An ICMPv6 message as a frame.
#[must_use]
pub fn icmp6(src: Ipv6Addr, dst: Ipv6Addr, head: icmp6::Header, body: &[u8]) -> Vec<u8> {
    let message = [head.with_checksum(src, dst, body).as_bytes(), body].concat();
    packet(&header(src, dst, Protocol::ICMPV6, &message), &message)
}

/// An echo request to one of the stack's addresses or groups.
#[must_use]
pub fn echo(dst: Ipv6Addr, payload: &[u8]) -> Vec<u8> {
    icmp6(PEER6, dst, icmp6::Header::echo_request(7, 1), payload)
}

/// A UDP datagram.
#[must_use]
pub fn udp(dst: Ipv6Addr, src_port: u16, dst_port: u16, payload: &[u8]) -> Vec<u8> {
    let head = udp::Header::new(src_port, dst_port, payload.len());
    let head = head.map(|h| h.with_checksum(PEER6, dst, payload));
    let head = head.as_ref().map(IntoBytes::as_bytes).unwrap_or_default();
    let datagram = [head, payload].concat();
    packet(&header(PEER6, dst, Protocol::UDP, &datagram), &datagram)
}

/// A message of neighbour discovery.
#[must_use]
pub fn neighbor(src: Ipv6Addr, dst: Ipv6Addr, message: &NeighborMessage, len: usize) -> Vec<u8> {
    let body = message.as_bytes().get(icmp6::Header::LEN..len).unwrap_or_default();
    let message = [message.header.with_checksum(src, dst, body).as_bytes(), body].concat();
    let header = header(src, dst, Protocol::ICMPV6, &message).with_hop_limit(255);
    packet(&header, &message)
}

/// The peer asks who has an address.
#[must_use]
pub fn solicitation(target: Ipv6Addr) -> Vec<u8> {
    let message = NeighborMessage::solicitation(target, PEER_MAC);
    neighbor(PEER6, ipv6::solicited_node(target), &message, size_of_val(&message))
}

/// The peer, who has no address yet, asks whether one is taken (RFC 4862 5.4.2).
#[must_use]
pub fn probe(target: Ipv6Addr) -> Vec<u8> {
    let message = NeighborMessage::solicitation(target, PEER_MAC);
    let nobody = Ipv6Addr::UNSPECIFIED;
    neighbor(nobody, ipv6::solicited_node(target), &message, NeighborMessage::BARE_LEN)
}

/// A station says that an address is its own.
#[must_use]
pub fn advertisement(target: Ipv6Addr, mac: MacAddr, overriding: bool) -> Vec<u8> {
    let what = NeighborAdvertisement { target, router: false, solicited: true, overriding };
    let message = NeighborMessage::advertisement(what, mac);
    neighbor(target, LOCAL6, &message, size_of_val(&message))
}

/// The station that was asked says that it still has an address (RFC 4861 4.4: its own is known).
#[must_use]
pub fn confirmation(target: Ipv6Addr) -> Vec<u8> {
    let what = NeighborAdvertisement { target, router: false, solicited: true, overriding: false };
    let message = NeighborMessage::advertisement(what, PEER_MAC);
    neighbor(target, LOCAL6, &message, NeighborMessage::BARE_LEN)
}

/// A TCP segment with its options.
#[must_use]
pub fn tcp(dst: Ipv6Addr, head: tcp::Header, options: &[u8], text: &[u8]) -> Vec<u8> {
    let head =
        head.with_options_len(options.len()).map(|h| h.with_checksum(PEER6, dst, options, text));
    let head = head.as_ref().map(IntoBytes::as_bytes).unwrap_or_default();
    let segment = [head, options, text].concat();
    packet(&header(PEER6, dst, Protocol::TCP, &segment), &segment)
}
