//! Address resolution for IPv4 over Ethernet (RFC 826, RFC 5227).

use core::net::Ipv4Addr;

use types::{DropReason, MacAddr};
use zerocopy::network_endian::U16;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::ethernet::EtherType;

/// The 28 bytes of an ARP packet for IPv4 over Ethernet.
///
/// ```text
///  0     2     4   5   6     8            14       18           24       28
/// +-----+-----+---+---+-----+------------+--------+------------+--------+
/// |hrd 1|pro  |hln|pln|op   | sender_mac | sender | target_mac | target |
/// |     | 0800|  6|  4|     |            |   _ip  |            |   _ip  |
/// +-----+-----+---+---+-----+------------+--------+------------+--------+
/// ```
#[derive(
    FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned, Clone, Copy, Debug, PartialEq, Eq,
)]
#[repr(C)]
pub struct Header {
    /// ar$hrd: 1, Ethernet.
    pub hardware_type: U16,
    /// ar$pro: the EtherType of IPv4.
    pub protocol_type: U16,
    /// ar$hln: 6.
    pub hardware_len: u8,
    /// ar$pln: 4.
    pub protocol_len: u8,
    /// ar$op: an [`Operation`].
    pub operation: U16,
    /// ar$sha.
    pub sender_mac: [u8; 6],
    /// ar$spa.
    pub sender_ip: [u8; 4],
    /// ar$tha.
    pub target_mac: [u8; 6],
    /// ar$tpa.
    pub target_ip: [u8; 4],
}

const _: () = assert!(size_of::<Header>() == 28);

impl Header {
    /// Length in bytes.
    pub const LEN: usize = size_of::<Self>();
}

/// What an ARP packet wants (RFC 826, ar$op).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u16)]
pub enum Operation {
    /// Who has the target address?
    Request = 1,
    /// The sender has the sender address.
    Reply = 2,
}

/// What an ARP packet says, its constant fields checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet {
    /// Request or reply.
    pub operation: Operation,
    /// Station that sent the packet.
    pub sender_mac: MacAddr,
    /// Its address; 0.0.0.0 in a probe.
    pub sender_ip: Ipv4Addr,
    /// Station that is asked; in requests it means nothing.
    pub target_mac: MacAddr,
    /// Address that is asked for.
    pub target_ip: Ipv4Addr,
}

impl Packet {
    /// Reads an ARP packet; bytes after it are padding.
    ///
    /// # Errors
    /// `ArpTooShort`, `ArpFormat` or `ArpOperation`, in the order of RFC 826's packet reception.
    pub fn parse(bytes: &[u8]) -> Result<Self, DropReason> {
        let (header, _padding) =
            Header::ref_from_prefix(bytes).map_err(|_| DropReason::ArpTooShort)?;
        let Header { hardware_type, protocol_type, hardware_len, protocol_len, .. } = *header;
        if (hardware_type.get(), protocol_type.get()) != (HARDWARE_ETHERNET, EtherType::IPV4.0)
            || (hardware_len, protocol_len) != (6, 4)
        {
            return Err(DropReason::ArpFormat);
        }
        let operation = match header.operation.get() {
            1 => Operation::Request,
            2 => Operation::Reply,
            _ => return Err(DropReason::ArpOperation),
        };
        Ok(Self {
            operation,
            sender_mac: MacAddr(header.sender_mac),
            sender_ip: Ipv4Addr::from(header.sender_ip),
            target_mac: MacAddr(header.target_mac),
            target_ip: Ipv4Addr::from(header.target_ip),
        })
    }

    /// The packet as it goes on the wire.
    #[must_use]
    pub const fn emit(self) -> Header {
        Header {
            hardware_type: U16::new(HARDWARE_ETHERNET),
            protocol_type: U16::new(EtherType::IPV4.0),
            hardware_len: 6,
            protocol_len: 4,
            operation: U16::new(self.operation as u16),
            sender_mac: self.sender_mac.0,
            sender_ip: self.sender_ip.octets(),
            target_mac: self.target_mac.0,
            target_ip: self.target_ip.octets(),
        }
    }

    /// Asks for the station that has `target_ip`.
    #[must_use]
    pub const fn request(sender_mac: MacAddr, sender_ip: Ipv4Addr, target_ip: Ipv4Addr) -> Self {
        let target_mac = MacAddr::ZERO;
        Self { operation: Operation::Request, sender_mac, sender_ip, target_mac, target_ip }
    }

    /// Tells the sender of `self`, a request, that `mac` has the address it asked for.
    #[must_use]
    pub const fn reply(&self, mac: MacAddr) -> Self {
        Self {
            operation: Operation::Reply,
            sender_mac: mac,
            sender_ip: self.target_ip,
            target_mac: self.sender_mac,
            target_ip: self.sender_ip,
        }
    }

    /// Asks whether anyone uses `ip` before `mac` does (RFC 5227, 1.1: ARP Probe).
    #[must_use]
    pub const fn probe(mac: MacAddr, ip: Ipv4Addr) -> Self {
        Self::request(mac, Ipv4Addr::UNSPECIFIED, ip)
    }

    /// Tells everyone that `mac` has `ip` (RFC 5227, 1.1: ARP Announcement).
    #[must_use]
    pub const fn announcement(mac: MacAddr, ip: Ipv4Addr) -> Self {
        Self::request(mac, ip, ip)
    }

    /// Whether this is a probe: a request from no address (RFC 5227, 1.1).
    #[must_use]
    pub const fn is_probe(&self) -> bool {
        matches!(self.operation, Operation::Request) && self.sender_ip.is_unspecified()
    }

    /// Whether sender and target address are the same: an announcement, or gratuitous ARP
    /// (RFC 5227, 1.1; RFC 2002, 4.6).
    #[must_use]
    pub const fn is_announcement(&self) -> bool {
        self.sender_ip.to_bits() == self.target_ip.to_bits()
    }
}

/// ar$hrd of Ethernet (RFC 826).
const HARDWARE_ETHERNET: u16 = 1;
