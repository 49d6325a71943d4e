//! What an ICMP error of either family quotes of a transport header: its first 64 bits (RFC 792).

use zerocopy::FromBytes;
use zerocopy::network_endian::{U16, U32};

use crate::ipv4::Protocol;

/// Source and destination port of a TCP segment or UDP datagram; `None` for others.
pub(crate) fn ports(protocol: Protocol, transport: &[u8; 8]) -> Option<(u16, u16)> {
    if !matches!(protocol, Protocol::TCP | Protocol::UDP) {
        return None;
    }
    let (ports, _) = <[U16; 2]>::read_from_prefix(transport).ok()?;
    let [src, dst] = ports;
    Some((src.get(), dst.get()))
}

/// Sequence number of a TCP segment; `None` for others.
pub(crate) fn tcp_sequence(protocol: Protocol, transport: &[u8; 8]) -> Option<u32> {
    let (_, seq) = U32::read_from_suffix(transport).ok()?;
    Some(seq.get()).filter(|_| protocol == Protocol::TCP)
}
