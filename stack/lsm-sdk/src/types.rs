//! What a protocol is told, in Rust's types.

use core::net::{Ipv4Addr, Ipv6Addr};

use lsm_abi as abi;

/// Which way packets go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// They come.
    In,
    /// They go.
    Out,
}

impl Direction {
    pub(crate) fn bits(directions: &[Self]) -> u32 {
        let bit = |direction: &Self| match direction {
            Self::In => abi::IN,
            Self::Out => abi::OUT,
        };
        directions.iter().map(bit).fold(0, |all, bit| all | bit)
    }
}

/// Where a filter stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Point {
    /// IPv4 packets, from the IP header on. Those that come are well formed.
    Inet,
    /// IPv6 packets, likewise; extension headers have not been looked at.
    Inet6,
    /// Frames at the interfaces, from the Ethernet header on.
    Interface,
}

/// Names an attachment of this module.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Attachment(pub(crate) u32);

/// What the packets of a call have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// Which of the module's attachments they belong to.
    pub attachment: Attachment,
    /// Which way they go.
    pub direction: Direction,
    /// The interface they came by or are to leave by.
    pub interface: u32,
}

impl Arrival {
    pub(crate) fn of(raw: &abi::Arrival) -> Self {
        Self {
            attachment: Attachment(raw.attachment),
            direction: if raw.direction == abi::OUT { Direction::Out } else { Direction::In },
            interface: raw.interface,
        }
    }
}

/// Where a packet goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Destination {
    /// The address.
    pub to: Ipv4Addr,
    /// Address to send from; `None`: the one that the route suggests.
    pub from: Option<Ipv4Addr>,
    /// Protocol number.
    pub protocol: u8,
    /// Type of service.
    pub tos: u8,
    /// Time to live; `None`: the stack's.
    pub ttl: Option<u8>,
}

impl Destination {
    /// There, with the stack's own choices.
    #[must_use]
    pub fn new(to: Ipv4Addr, protocol: u8) -> Self {
        Self { to, from: None, protocol, tos: 0, ttl: None }
    }

    pub(crate) fn to_abi(self) -> abi::Destination {
        abi::Destination {
            size: 16,
            to: self.to.octets(),
            from: self.from.unwrap_or(Ipv4Addr::UNSPECIFIED).octets(),
            protocol: self.protocol,
            tos: self.tos,
            ttl: self.ttl.unwrap_or(0),
            reserved: 0,
        }
    }
}

/// An interface as it was a moment ago.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// Its number, as in [`Arrival::interface`].
    pub index: u32,
    /// Its name.
    pub name: String,
    /// Its MAC address.
    pub mac: [u8; 6],
    /// Largest IP packet.
    pub mtu: u32,
    /// The operator has set it up.
    pub up: bool,
    /// There is a carrier.
    pub running: bool,
    /// Packets to ourselves.
    pub loopback: bool,
    /// Its first IPv4 address with its prefix length.
    pub address: Option<(Ipv4Addr, u8)>,
}

impl Interface {
    pub(crate) fn of(raw: &abi::Interface) -> Self {
        let name: Vec<u8> =
            raw.name.iter().map(|c| c.cast_unsigned()).take_while(|b| *b != 0).collect();
        let address = Ipv4Addr::from(raw.address);
        Self {
            index: raw.index,
            name: String::from_utf8_lossy(&name).into_owned(),
            mac: raw.mac,
            mtu: raw.mtu,
            up: raw.flags & abi::INTERFACE_UP != 0,
            running: raw.flags & abi::INTERFACE_RUNNING != 0,
            loopback: raw.flags & abi::INTERFACE_LOOPBACK != 0,
            address: (!address.is_unspecified()).then_some((address, raw.prefix_len)),
        }
    }
}

/// Names a variable of this module.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Variable(pub(crate) u32);

/// Names a path of this module.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PathId(pub(crate) u32);

/// What a request of a path has come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// So many bytes were written.
    Bytes(usize),
    /// [`Host::path_answer`](crate::Host::path_answer) will say it. The handle has to be this client's
    /// alone; it asks nothing more until then.
    Later,
}

/// Who has opened a path, as the kernel knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Which path.
    pub path: PathId,
    /// Process id.
    pub pid: u32,
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
}

impl Peer {
    pub(crate) fn of(raw: &abi::Peer) -> Self {
        Self { path: PathId(raw.path), pid: raw.pid, uid: raw.uid, gid: raw.gid }
    }
}

/// Names a socket of this module, and no other ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Socket(pub(crate) u64);

/// A socket's address. A program has it as `struct sockaddr_in` in `AF_INET`, and in every other family in
/// the layout of `struct sockaddr_in6`; what the bytes mean is the module's business.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Name {
    /// The address, from the front; `AF_INET` has 4 bytes.
    pub address: [u8; 16],
    /// Port.
    pub port: u16,
    /// `sin6_scope_id`: an interface, as a rule.
    pub scope: u32,
}

impl Name {
    /// One of `AF_INET`.
    #[must_use]
    pub fn ipv4(address: Ipv4Addr, port: u16) -> Self {
        let [a, b, c, d] = address.octets();
        Self { address: [a, b, c, d, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], port, scope: 0 }
    }

    /// The address of one of `AF_INET`.
    #[must_use]
    pub fn to_ipv4(self) -> Ipv4Addr {
        let [a, b, c, d, ..] = self.address;
        Ipv4Addr::new(a, b, c, d)
    }

    pub(crate) fn of(raw: &abi::Name) -> Self {
        Self { address: raw.address, port: raw.port, scope: raw.scope }
    }

    pub(crate) fn to_abi(self, family: u16) -> abi::Name {
        abi::Name { size: 28, family, port: self.port, scope: self.scope, address: self.address }
    }
}

/// A socket that a program opens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opening {
    /// Which of the module's attachments it is of.
    pub attachment: Attachment,
    /// Its name in all calls.
    pub socket: Socket,
    /// Process id of the program, as the kernel knows it.
    pub pid: u32,
    /// Its user id.
    pub uid: u32,
}

impl Opening {
    pub(crate) fn of(raw: &abi::Opening) -> Self {
        Self {
            attachment: Attachment(raw.attachment),
            socket: Socket(raw.socket),
            pid: raw.pid,
            uid: raw.uid,
        }
    }
}

/// What has changed in the network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// An interface has come.
    Attached(Interface),
    /// An interface is gone.
    Detached(Interface),
    /// An interface was set up or down, its MTU, address or carrier is another.
    Changed(Interface),
    /// An interface has got an address, with its prefix length.
    AddressAdded(Interface, Ipv4Addr, u8),
    /// An interface has lost an address.
    AddressRemoved(Interface, Ipv4Addr, u8),
    /// An interface has got an IPv6 address, which may be used now, with its prefix length.
    Address6Added(Interface, Ipv6Addr, u8),
    /// An interface has lost an IPv6 address.
    Address6Removed(Interface, Ipv6Addr, u8),
}

impl Event {
    /// It is the beginning of an [`abi::Event6`].
    pub(crate) fn is_of_ipv6(raw: &abi::Event) -> bool {
        matches!(raw.kind, abi::EVENT_ADDRESS6_ADDED | abi::EVENT_ADDRESS6_REMOVED)
    }

    /// `None`: a kind that this SDK does not know.
    pub(crate) fn of(raw: &abi::Event, six: Option<&abi::Event6>) -> Option<Self> {
        let interface = Interface::of(&raw.interface);
        let address = Ipv4Addr::from(raw.address);
        Some(match raw.kind {
            abi::EVENT_ATTACHED => Self::Attached(interface),
            abi::EVENT_DETACHED => Self::Detached(interface),
            abi::EVENT_CHANGED => Self::Changed(interface),
            abi::EVENT_ADDRESS_ADDED => Self::AddressAdded(interface, address, raw.prefix_len),
            abi::EVENT_ADDRESS_REMOVED => Self::AddressRemoved(interface, address, raw.prefix_len),
            abi::EVENT_ADDRESS6_ADDED => {
                Self::Address6Added(interface, six?.address.into(), raw.prefix_len)
            }
            abi::EVENT_ADDRESS6_REMOVED => {
                Self::Address6Removed(interface, six?.address.into(), raw.prefix_len)
            }
            _ => return None,
        })
    }
}
