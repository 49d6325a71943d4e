//! What an ICMP error of either family quotes of a transport header: its first 64 bits (RFC 792).

use zerocopy::FromBytes;
use zerocopy::network_endian::{U16, U32};

use crate::ipv4::Protocol;
use crate::{icmp, icmp6};

/// Source and destination port of a TCP segment or UDP datagram; `None` for others.
pub(crate) fn ports(protocol: Protocol, transport: &[u8; 8]) -> Option<(u16, u16)> {
    if !matches!(protocol, Protocol::TCP | Protocol::UDP) {
        return None;
    }
    let (ports, _) = <[U16; 2]>::read_from_prefix(transport).ok()?;
    let [src, dst] = ports;
    Some((src.get(), dst.get()))
}

/// Identifier of an echo request (RFC 792, RFC 4443 4.1); `None` for others.
pub(crate) fn echo_id(protocol: Protocol, transport: &[u8; 8]) -> Option<u16> {
    let [kind, _, _, _, a, b, _, _] = *transport;
    let is_request = match protocol {
        Protocol::ICMP => kind == icmp::Type::ECHO_REQUEST.0,
        Protocol::ICMPV6 => kind == icmp6::Type::ECHO_REQUEST.0,
        _ => false,
    };
    is_request.then(|| u16::from_be_bytes([a, b]))
}

/// Sequence number of a TCP segment; `None` for others.
pub(crate) fn tcp_sequence(protocol: Protocol, transport: &[u8; 8]) -> Option<u32> {
    let (_, seq) = U32::read_from_suffix(transport).ok()?;
    Some(seq.get()).filter(|_| protocol == Protocol::TCP)
}
