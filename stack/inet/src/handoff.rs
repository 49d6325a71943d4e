//! What workers tell each other.

use core::net::IpAddr;

use dpdk::Mbuf;
use types::{Instant, MacAddr};

/// What makes a packet a protocol module's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClaimedBy {
    /// Its EtherType.
    EtherType(u16),
    /// Its IP protocol.
    Protocol(u8),
}

/// From one worker to another.
#[derive(Debug)]
pub enum Handoff {
    /// A frame whose flow the other worker owns, from its IP header on.
    Packet {
        /// Interface it came in on.
        interface: u16,
        /// The packet.
        mbuf: Mbuf,
    },
    /// A finished frame for a port whose only queues the other worker has; filters have seen it.
    Frame {
        /// Interface to send it by.
        interface: u16,
        /// The frame.
        mbuf: Mbuf,
    },
    /// A station of a bridge was learned, has moved or was heard again.
    Station {
        /// The bridge's interface.
        bridge: u16,
        /// The station.
        mac: MacAddr,
        /// Its port.
        port: u16,
        /// When.
        at: Instant,
    },
    /// Somebody behind a bridge's port listens to a group.
    Listening {
        /// The bridge's interface.
        bridge: u16,
        /// The port.
        port: u16,
        /// The group.
        group: IpAddr,
        /// When.
        at: Instant,
    },
    /// Somebody behind a bridge's port asks who listens.
    Asked {
        /// The bridge's interface.
        bridge: u16,
        /// The port.
        port: u16,
        /// What.
        asked: bridge::Asked,
        /// When.
        at: Instant,
    },
    /// A packet for a protocol module that the other worker alone may call.
    Claimed {
        /// What makes it the module's.
        by: ClaimedBy,
        /// Interface it came in on.
        interface: u16,
        /// As the module gets it.
        mbuf: Mbuf,
    },
    /// A datagram that a protocol module gives to a socket of the other worker.
    Datagram {
        /// The socket, as modules know it.
        socket: u64,
        /// The module.
        owner: lsm::Owner,
        /// Its sender.
        from: lsm::Name,
        /// The datagram.
        mbuf: Mbuf,
    },
    /// A datagram for everybody or for a group, from its IP header on; the sender has checked it.
    Group {
        /// Interface it came in on, or leaves by.
        interface: u16,
        /// The packet.
        mbuf: Mbuf,
    },
    /// A copy of a packet that raw sockets may want, from its IP header on; the sender has checked it.
    Raw {
        /// Interface it came in on.
        interface: u16,
        /// The packet.
        mbuf: Mbuf,
    },
    /// A message of ICMP's about a packet or a ping of the other worker's, from its IP header on; the sender
    /// has checked and counted it.
    Message {
        /// Interface it came in on.
        interface: u16,
        /// The packet.
        mbuf: Mbuf,
    },
    /// A neighbour was learned.
    Neighbor {
        /// Its address.
        address: IpAddr,
        /// Its MAC address.
        mac: MacAddr,
        /// Interface.
        interface: u16,
        /// It spoke to us: worth an entry also where nobody has asked for it.
        for_us: bool,
        /// When.
        at: Instant,
    },
}
