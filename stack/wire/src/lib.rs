//! Packet formats: borrowed views that prove structure, headers that write themselves.
//!
//! One pattern for every protocol:
//!
//! * `Header` is the format itself: `repr(C)`, big-endian fields, size checked at compile time.
//!   It is [`IntoBytes`], so a caller emits it with [`header.as_bytes()`](IntoBytes::as_bytes) into
//!   the headroom of a packet buffer, back to front.
//! * `parse` borrows a `Frame`, `Packet`, `Segment`, … from bytes. Holding one proves that all
//!   lengths agree; each disagreement has its own [`DropReason`](types::DropReason).
//! * `verify` checks integrity, which is separate because a NIC may have done so already.
//!
//! | Module | Format | RFC |
//! |---|---|---|
//! | [`checksum`] | the Internet checksum | 1071, 1624 |
//! | [`ethernet`] | frames of EtherType encapsulation | 894 |
//! | [`vlan`] | tags of VLANs | IEEE 802.1Q |
//! | [`bpdu`] | what bridges tell each other | IEEE 802.1D |
//! | [`lacp`] | what both ends of an aggregated link tell each other | IEEE 802.1AX |
//! | [`arp`] | address resolution | 826, 5227 |
//! | [`ipv4`] | packets and options | 791 |
//! | [`icmp`] | messages and quoted packets | 792, 1122, 1191, 1812 |
//! | [`ipv6`] | packets and extension headers | 8200, 7112, 8504 |
//! | [`icmp6`] | messages and quoted packets | 4443 |
//! | [`ndp`] | neighbour and router discovery | 4861, 8106 |
//! | [`igmp`] | who listens to which group of IPv4 | 2236, 3376 |
//! | [`mld`] | who listens to which group of IPv6 | 3810 |
//! | [`snoop`] | which groups listeners and routers speak of, to a bridge | 4541 |
//! | [`udp`] | datagrams | 768 |
//! | [`tcp`] | segments; options are the engine's | 9293 |
//! | [`plain`] | all of a usual TCP frame at once | 894, 791, 9293, 7323 |
//!
//! No input makes this crate panic, and it allocates nothing.
#![forbid(unsafe_code)]
#![cfg_attr(not(test), no_std)]
#![warn(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::arithmetic_side_effects
)]

pub mod arp;
pub mod bpdu;
pub mod checksum;
pub mod ethernet;
pub mod icmp;
pub mod icmp6;
pub mod igmp;
pub mod ipv4;
pub mod ipv6;
pub mod lacp;
pub mod mld;
pub mod ndp;
pub mod plain;
mod quoted;
pub mod snoop;
pub mod tcp;
pub mod udp;
pub mod vlan;

pub use checksum::Checksum;
pub use plain::Plain;
pub use zerocopy::network_endian::{U16, U32};
pub use zerocopy::{FromBytes, IntoBytes};
