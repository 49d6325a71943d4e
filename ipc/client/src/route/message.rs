//! Messages as values and as bytes. Nothing that a program writes makes reading them fail otherwise than by
//! [`Malformed`].

use core::net::IpAddr;

use zerocopy::{FromBytes, Immutable, IntoBytes};

use super::layout::{
    AddressHead, AnnounceHead, Head, InterfaceData, InterfaceHead, Metrics, RouteHead,
};
use super::number::{
    IFAN_ARRIVAL, IFAN_DEPARTURE, IFT_ETHER, IFT_LOOP, LINK_STATE_DOWN, LINK_STATE_UP, RTF_GATEWAY,
    RTF_HOST, RTF_STATIC, RTF_UP, RTM_ADD, RTM_CHANGE, RTM_DELADDR, RTM_DELETE, RTM_GET,
    RTM_IFANNOUNCE, RTM_IFINFO, RTM_NEWADDR, RTM_VERSION, RTV_MTU,
};
use super::sockaddr::{Addresses, LOOPBACK, NAME_MAX, NextHop};

/// No message is longer, whoever makes it.
const LEN_MAX: usize = 2048;

/// What a routing socket says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// Of a route, or of a neighbour.
    Route(RouteMessage),
    /// Of an interface: its state, carrier, MTU or MAC address (`RTM_IFINFO`).
    Interface(InterfaceMessage),
    /// Of an interface's address (`RTM_NEWADDR`, `RTM_DELADDR`).
    Address(AddressMessage),
    /// Of an interface that has come or gone (`RTM_IFANNOUNCE`).
    Announce(AnnounceMessage),
}

/// What has become of a route, or is to become of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RouteKind {
    /// `RTM_ADD`.
    Add,
    /// `RTM_DELETE`.
    Delete,
    /// `RTM_CHANGE`.
    Change,
    /// `RTM_GET`.
    Get,
}

/// `struct rt_msghdr` and what follows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteMessage {
    /// What.
    pub kind: RouteKind,
    /// Number of the interface; 0: none, or not known.
    pub index: u16,
    /// `RTF_…`.
    pub flags: i32,
    /// Whose question this answers; 0: nobody has asked.
    pub pid: i32,
    /// Its number, as it was sent.
    pub seq: i32,
    /// Why nothing has come of it; 0: it is done.
    pub errno: i32,
    /// Most bytes of an IP packet on this way, if fewer than of the interface's.
    pub mtu: Option<u16>,
    /// Destination, gateway and netmask; interface.
    pub addresses: Addresses,
}

/// `struct if_msghdr`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InterfaceMessage {
    /// Number of the interface; 0: not known.
    pub index: u16,
    /// `IFF_…`, Linux's.
    pub flags: i32,
    /// There is a carrier.
    pub running: bool,
    /// Bytes of an IP packet.
    pub mtu: u16,
    /// The interface.
    pub addresses: Addresses,
}

/// What has become of an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Address {
    /// It is there, or its state is another (`RTM_NEWADDR`).
    New,
    /// It is gone (`RTM_DELADDR`).
    Deleted,
}

/// `struct ifa_msghdr`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddressMessage {
    /// What.
    pub kind: Address,
    /// Number of the interface; 0: not known.
    pub index: u16,
    /// `IN6_IFF_…`.
    pub flags: i32,
    /// Address, netmask, broadcast address; interface.
    pub addresses: Addresses,
}

/// `struct if_announcemsghdr`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AnnounceMessage {
    /// Number of the interface; 0: not known.
    pub index: u16,
    /// Its name, at most 15 bytes.
    pub name: String,
    /// It has come, else it has gone.
    pub arrived: bool,
}

/// Why bytes are no message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// They are fewer or more than their head says, or than a message has (`EINVAL`).
    Length,
    /// Of another version (`EPROTONOSUPPORT`).
    Version,
    /// Of a kind that is not known here (`EOPNOTSUPP`).
    Kind,
    /// The addresses are none, or too many, or end too early (`EINVAL`).
    Addresses,
    /// An address of a family that it can't have (`EAFNOSUPPORT`).
    Family,
}

impl core::fmt::Display for Malformed {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::Length => "rtm_msglen is not the message's length",
            Self::Version => "rtm_version is not RTM_VERSION",
            Self::Kind => "rtm_type is none that is known here",
            Self::Addresses => "the addresses are not those that rtm_addrs says",
            Self::Family => "an address is of a family that it cannot have",
        })
    }
}

impl core::error::Error for Malformed {}

impl RouteMessage {
    /// Asks for a route to a network by a router.
    #[must_use]
    pub fn add(destination: IpAddr, prefix_len: u8, gateway: IpAddr) -> Self {
        let flags = RTF_UP | RTF_GATEWAY | RTF_STATIC;
        let addresses = Addresses {
            destination: Some(destination),
            gateway: Some(NextHop::Router(gateway)),
            prefix_len: Some(prefix_len),
            ..Addresses::default()
        };
        Self { flags, addresses, ..Self::new(RouteKind::Add) }
    }

    /// Asks that the route to a network be gone.
    #[must_use]
    pub fn delete(destination: IpAddr, prefix_len: u8) -> Self {
        let (destination, prefix_len) = (Some(destination), Some(prefix_len));
        let addresses = Addresses { destination, prefix_len, ..Addresses::default() };
        Self { addresses, ..Self::new(RouteKind::Delete) }
    }

    /// Asks by which route packets to an address go.
    #[must_use]
    pub fn get(to: IpAddr) -> Self {
        let addresses = Addresses { destination: Some(to), ..Addresses::default() };
        Self { flags: RTF_HOST, addresses, ..Self::new(RouteKind::Get) }
    }

    /// Says nothing yet.
    #[must_use]
    pub fn new(kind: RouteKind) -> Self {
        let addresses = Addresses::default();
        Self { kind, index: 0, flags: 0, pid: 0, seq: 0, errno: 0, mtu: None, addresses }
    }

    /// The network, if there is one: without a netmask it is a host.
    #[must_use]
    pub fn destination(&self) -> Option<(IpAddr, u8)> {
        let address = self.addresses.destination?;
        let bits = if address.is_ipv4() { 32 } else { 128 };
        let len = self.addresses.prefix_len.filter(|_| self.flags & RTF_HOST == 0);
        Some((address, len.unwrap_or(bits).min(bits)))
    }

    /// Reads a message that a program has written.
    ///
    /// # Errors
    /// [`Malformed`]; [`Malformed::Kind`] for messages that only tell something, too.
    pub fn parse(bytes: &[u8]) -> Result<Self, Malformed> {
        match Message::parse(bytes)? {
            Message::Route(message) => Ok(message),
            _ => Err(Malformed::Kind),
        }
    }
}

impl Message {
    /// Reads a message.
    ///
    /// # Errors
    /// [`Malformed`].
    pub fn parse(bytes: &[u8]) -> Result<Self, Malformed> {
        let (head, _) = split::<Head>(bytes)?;
        if usize::from(head.rtm_msglen) != bytes.len() || bytes.len() > LEN_MAX {
            return Err(Malformed::Length);
        }
        if i32::from(head.rtm_version) != RTM_VERSION {
            return Err(Malformed::Version);
        }
        Ok(match i32::from(head.rtm_type) {
            RTM_ADD => Self::Route(parse_route(RouteKind::Add, bytes)?),
            RTM_DELETE => Self::Route(parse_route(RouteKind::Delete, bytes)?),
            RTM_CHANGE => Self::Route(parse_route(RouteKind::Change, bytes)?),
            RTM_GET => Self::Route(parse_route(RouteKind::Get, bytes)?),
            RTM_IFINFO => Self::Interface(parse_interface(bytes)?),
            RTM_NEWADDR => Self::Address(parse_address(Address::New, bytes)?),
            RTM_DELADDR => Self::Address(parse_address(Address::Deleted, bytes)?),
            RTM_IFANNOUNCE => Self::Announce(parse_announce(bytes)?),
            _ => return Err(Malformed::Kind),
        })
    }

    /// Writes it.
    #[must_use]
    pub fn emit(&self) -> Vec<u8> {
        match self {
            Self::Route(message) => emit_route(message),
            Self::Interface(message) => emit_interface(message),
            Self::Address(message) => emit_address(message),
            Self::Announce(message) => emit_announce(message),
        }
    }
}

fn split<T: FromBytes>(bytes: &[u8]) -> Result<(T, &[u8]), Malformed> {
    T::read_from_prefix(bytes).map_err(|_| Malformed::Length)
}

fn parse_route(kind: RouteKind, bytes: &[u8]) -> Result<RouteMessage, Malformed> {
    let (head, rest) = split::<RouteHead>(bytes)?;
    let has_mtu = head.rtm_inits & RTV_MTU != 0 && head.rtm_rmx.rmx_mtu != 0;
    Ok(RouteMessage {
        kind,
        index: head.rtm_index,
        flags: head.rtm_flags,
        pid: head.rtm_pid,
        seq: head.rtm_seq,
        errno: head.rtm_errno,
        // A larger one than any packet is none.
        mtu: if has_mtu { u16::try_from(head.rtm_rmx.rmx_mtu).ok() } else { None },
        addresses: Addresses::parse(head.rtm_addrs, rest)?,
    })
}

fn emit_route(message: &RouteMessage) -> Vec<u8> {
    let mtu = message.mtu.map_or(0, u64::from);
    let head = |len| RouteHead {
        rtm_msglen: len,
        rtm_version: number(RTM_VERSION),
        rtm_type: number(match message.kind {
            RouteKind::Add => RTM_ADD,
            RouteKind::Delete => RTM_DELETE,
            RouteKind::Change => RTM_CHANGE,
            RouteKind::Get => RTM_GET,
        }),
        rtm_index: message.index,
        rtm_flags: message.flags,
        rtm_addrs: message.addresses.bits(),
        rtm_pid: message.pid,
        rtm_seq: message.seq,
        rtm_errno: message.errno,
        rtm_inits: if message.mtu.is_some() { RTV_MTU } else { 0 },
        rtm_rmx: Metrics { rmx_mtu: mtu, ..Metrics::default() },
        ..RouteHead::default()
    };
    with_addresses(head, message.index, &message.addresses)
}

fn parse_interface(bytes: &[u8]) -> Result<InterfaceMessage, Malformed> {
    let (head, rest) = split::<InterfaceHead>(bytes)?;
    Ok(InterfaceMessage {
        index: head.ifm_index,
        flags: head.ifm_flags,
        running: head.ifm_data.ifi_link_state == LINK_STATE_UP,
        mtu: u16::try_from(head.ifm_data.ifi_mtu).unwrap_or(u16::MAX),
        addresses: Addresses::parse(head.ifm_addrs, rest)?,
    })
}

fn emit_interface(message: &InterfaceMessage) -> Vec<u8> {
    let is_loopback = message.index == LOOPBACK;
    let data = InterfaceData {
        ifi_type: number(if is_loopback { IFT_LOOP } else { IFT_ETHER }),
        ifi_addrlen: if is_loopback { 0 } else { 6 },
        ifi_hdrlen: if is_loopback { 0 } else { 14 },
        ifi_link_state: if message.running { LINK_STATE_UP } else { LINK_STATE_DOWN },
        ifi_mtu: message.mtu.into(),
        ..InterfaceData::default()
    };
    let head = |len| InterfaceHead {
        ifm_msglen: len,
        ifm_version: number(RTM_VERSION),
        ifm_type: number(RTM_IFINFO),
        ifm_addrs: message.addresses.bits(),
        ifm_flags: message.flags,
        ifm_index: message.index,
        ifm_data: data,
        ..InterfaceHead::default()
    };
    with_addresses(head, message.index, &message.addresses)
}

fn parse_address(kind: Address, bytes: &[u8]) -> Result<AddressMessage, Malformed> {
    let (head, rest) = split::<AddressHead>(bytes)?;
    let (index, flags) = (head.ifam_index, head.ifam_addrflags);
    let addresses = Addresses::parse(head.ifam_addrs, rest)?;
    Ok(AddressMessage { kind, index, flags, addresses })
}

fn emit_address(message: &AddressMessage) -> Vec<u8> {
    let head = |len| AddressHead {
        ifam_msglen: len,
        ifam_version: number(RTM_VERSION),
        ifam_type: number(match message.kind {
            Address::New => RTM_NEWADDR,
            Address::Deleted => RTM_DELADDR,
        }),
        ifam_index: message.index,
        ifam_addrs: message.addresses.bits(),
        ifam_addrflags: message.flags,
        ..AddressHead::default()
    };
    with_addresses(head, message.index, &message.addresses)
}

fn parse_announce(bytes: &[u8]) -> Result<AnnounceMessage, Malformed> {
    let (head, _) = split::<AnnounceHead>(bytes)?;
    let name = head.ifan_name.split(|byte| *byte == 0).next().unwrap_or_default();
    let name = core::str::from_utf8(name).ok().filter(|name| name.len() <= NAME_MAX);
    let name = name.ok_or(Malformed::Length)?;
    let arrived = i32::from(head.ifan_what) == IFAN_ARRIVAL;
    Ok(AnnounceMessage { index: head.ifan_index, name: name.into(), arrived })
}

fn emit_announce(message: &AnnounceMessage) -> Vec<u8> {
    let mut head = AnnounceHead {
        ifan_msglen: u16::try_from(size_of::<AnnounceHead>()).unwrap_or(0),
        ifan_version: number(RTM_VERSION),
        ifan_type: number(RTM_IFANNOUNCE),
        ifan_index: message.index,
        ifan_what: number(if message.arrived { IFAN_ARRIVAL } else { IFAN_DEPARTURE }),
        ..AnnounceHead::default()
    };
    // The last byte stays 0.
    let name = message.name.bytes().take(NAME_MAX);
    head.ifan_name.iter_mut().zip(name).for_each(|(to, from)| *to = from);
    head.as_bytes().to_vec()
}

/// A head that knows the whole length, and the addresses behind it.
fn with_addresses<T: IntoBytes + Immutable>(
    head: impl FnOnce(u16) -> T,
    index: u16,
    addresses: &Addresses,
) -> Vec<u8> {
    let mut bytes = vec![0; size_of::<T>()];
    addresses.emit(index, &mut bytes);
    let head = head(u16::try_from(bytes.len()).unwrap_or(0));
    bytes.iter_mut().zip(head.as_bytes()).for_each(|(to, from)| *to = *from);
    bytes
}

/// One of BSD's numbers where it has fewer bits.
fn number<T: TryFrom<i32> + Default>(number: i32) -> T {
    T::try_from(number).unwrap_or_default()
}
