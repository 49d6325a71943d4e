//! What a transport says of an IP packet that it wants sent.

use core::net::Ipv4Addr;

use dpdk::L4;
use wire::ipv4;

use crate::limits::TTL;

/// Fields of the IP header that the transport chooses.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PacketOut<A = Ipv4Addr> {
    /// Source address.
    pub source: A,
    /// Destination address.
    pub destination: A,
    /// Protocol number.
    pub protocol: ipv4::Protocol,
    /// Type of service, or traffic class.
    pub tos: u8,
    /// Time to live, or hop limit.
    pub ttl: u8,
    /// Length of the transport header, for checksum offload.
    pub l4_len: u8,
    /// The port computes this transport checksum.
    pub offload: Option<L4>,
    /// What may become of it where a link is too narrow.
    pub cut: Cut,
}

/// Whether an IP packet may be cut into fragments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cut {
    /// Here, if it is too long for the way it takes.
    pub here: bool,
    /// By routers, in IPv4 (in IPv6 they never do).
    pub on_the_way: bool,
}

impl Cut {
    /// Here if need be; what fits is to stay whole, or routers are to say so (RFC 1191).
    pub(crate) const DEFAULT: Self = Self { here: true, on_the_way: false };
}

impl<A> PacketOut<A> {
    /// Default TTL and TOS, checksum complete.
    #[must_use]
    pub(crate) const fn new(source: A, destination: A, protocol: ipv4::Protocol) -> Self {
        Self {
            source,
            destination,
            protocol,
            tos: 0,
            ttl: TTL,
            l4_len: 0,
            offload: None,
            cut: Cut::DEFAULT,
        }
    }
}
