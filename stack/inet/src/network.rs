//! What the control plane publishes: interfaces, routes, owners of ports.
//!
//! A snapshot never changes. Workers adopt the newest between two breaths.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use autoconf::State;
use fib::Fib;
use hashbrown::HashSet;
use types::MacAddr;

use crate::address6::OnLink;
pub use crate::address6::source::source_by6;
pub use crate::address6::{Address6, Favour, Link6};
use crate::device::DeviceWays;
use crate::limits::{ICMP_ERRORS_PER_SECOND, RESETS_PER_SECOND};
use crate::links::Links;
use crate::redirect_input::DeadHop;

/// Index of the loopback interface `lo0` in every snapshot.
pub const LOOPBACK: u16 = 0;

/// An address with its network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Address {
    /// Address.
    pub address: Ipv4Addr,
    /// Prefix length.
    pub prefix_len: u8,
}

impl Address {
    /// The network's broadcast address; /31 and /32 have none (RFC 3021).
    #[must_use]
    pub fn broadcast(&self) -> Option<Ipv4Addr> {
        (self.prefix_len < 31).then(|| {
            let host = u32::MAX.checked_shr(u32::from(self.prefix_len)).unwrap_or(0);
            Ipv4Addr::from_bits(self.address.to_bits() | host)
        })
    }
}

impl Address {
    /// Whether `other` is on this address's network.
    #[must_use]
    pub fn is_near(&self, other: Ipv4Addr) -> bool {
        let shift = 32_u32.saturating_sub(u32::from(self.prefix_len));
        (self.address.to_bits() ^ other.to_bits()).checked_shr(shift).unwrap_or(0) == 0
    }
}

/// Who computes transport checksums of outgoing packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum TxChecksum {
    /// The stack.
    #[default]
    Stack,
    /// The port, in hardware (or because the operator asked for it).
    Port,
}

/// One interface as the workers see it.
#[derive(Clone, Debug)]
pub struct Interface {
    /// Index; equals the position in [`Network::interfaces`].
    pub index: u16,
    /// Name.
    pub name: String,
    /// MAC address.
    pub mac: MacAddr,
    /// Bytes of an IP packet.
    pub mtu: u16,
    /// Administratively up.
    pub up: bool,
    /// Packets for others that come by it go by the routes of this table.
    pub table: u8,
    /// Addresses, primary first.
    pub addresses: Vec<Address>,
    /// IPv6 addresses.
    pub addresses6: Vec<Address6>,
    /// What a router has told of the link.
    pub link6: Link6,
    /// A server is asked for its address: the control plane hears what servers say.
    pub dhcp: bool,
    /// An address that the control plane looks for or has given the link itself: it hears who else has it.
    pub arp_watched: Option<Ipv4Addr>,
    /// Who computes checksums.
    pub tx_checksum: TxChecksum,
    /// The port sends clients' bytes from where they lie.
    pub loans: bool,
    /// Most buffers of a TCP segment that the port cuts into smaller ones; 0: it does not cut.
    pub tso_buffers_max: u16,
    /// It fills in the IPv4 checksum of what it cuts; else the one of the whole stands for all.
    pub tso_ipv4_checksum: bool,
}

/// A neighbour set by the operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StaticNeighbor {
    /// Address.
    pub address: IpAddr,
    /// MAC address.
    pub mac: MacAddr,
    /// Interface.
    pub interface: u16,
}

/// What the operator has decided for all TCP connections.
#[derive(Clone, Copy, Debug)]
pub struct TcpSettings {
    /// A peer's MSS below this one counts as this one.
    pub mss_floor: u16,
    /// Explicit congestion notification (RFC 3168).
    pub ecn: tcp::EcnMode,
    /// Algorithms without a rate of their own are paced too.
    pub pacing: bool,
    /// Timestamps are offered (RFC 7323 §3).
    pub timestamps: bool,
    /// Selective acknowledgments are offered (RFC 2018 §2).
    pub sack: bool,
    /// Ends tell each other of their user timeouts (RFC 5482).
    pub user_timeout_option: bool,
    /// When listeners answer with SYN cookies (RFC 4987 3.6).
    pub syn_cookies: tcp::SynCookies,
    /// The key of Fast Open cookies, shared by servers behind one address; `None`: the daemon's own
    /// secret, with new cookies from time to time.
    pub fast_open_key: Option<[u8; 16]>,
}

impl Default for TcpSettings {
    fn default() -> Self {
        Self {
            mss_floor: tcp::limits::MSS_FLOOR,
            ecn: tcp::EcnMode::default(),
            pacing: false,
            timestamps: true,
            sack: true,
            user_timeout_option: false,
            syn_cookies: tcp::SynCookies::default(),
            fast_open_key: None,
        }
    }
}

/// What the operator has decided for this host apart from TCP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HostSettings {
    /// Most ICMP errors per second to one group of addresses.
    pub icmp_errors_per_second: u32,
    /// Most RSTs per second to one group of addresses, for segments without a connection.
    pub resets_per_second: u32,
    /// A datagram to one of our addresses goes to all sockets that share its port, not to the best.
    pub udp_to_all: bool,
    /// IPv4 packets for others are passed on.
    pub forward: bool,
    /// IPv6 packets for others are passed on.
    pub forward6: bool,
    /// Senders on a link are told of a router there that is nearer (RFC 1812 5.2.7.2).
    pub redirects: bool,
    /// Of the router in use we believe, where we are none ourselves, that another one is nearer.
    pub redirects_believed: bool,
    /// The same in IPv6.
    pub redirects6_believed: bool,
    /// Where packets for others may come from.
    pub reverse_path: ReversePath,
}

/// What is asked of the source of a packet for others (RFC 3704).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ReversePath {
    /// Nothing.
    #[default]
    Unchecked,
    /// The way to it leads over the interface that the packet came from.
    Strict,
    /// There is a way to it.
    Loose,
}

impl HostSettings {
    /// Packets for others are passed on.
    #[inline]
    #[must_use]
    pub(crate) const fn is_router(&self) -> bool {
        self.forward || self.forward6
    }
}

impl Default for HostSettings {
    fn default() -> Self {
        Self {
            icmp_errors_per_second: ICMP_ERRORS_PER_SECOND,
            resets_per_second: RESETS_PER_SECOND,
            udp_to_all: false,
            forward: false,
            forward6: false,
            redirects: true,
            redirects_believed: true,
            redirects6_believed: true,
            reverse_path: ReversePath::Unchecked,
        }
    }
}

/// What a raw socket is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RawKind {
    /// Packets of IPv6.
    pub inet6: bool,
    /// Of this protocol.
    pub protocol: u8,
    /// It sends echo requests and gets the answers to them, nothing else (`SOCK_DGRAM` with ICMP).
    pub ping: bool,
}

/// Protocols whose packets go to raw sockets, too, and whether somebody pings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RawWanted {
    v4: [u64; 4],
    v6: [u64; 4],
    pings4: bool,
    pings6: bool,
}

impl RawWanted {
    /// What sockets of these kinds want.
    #[must_use]
    pub fn by(kinds: impl Iterator<Item = RawKind>) -> Self {
        let mut wanted = Self::default();
        for kind in kinds {
            let (words, pings) = if kind.inet6 {
                (&mut wanted.v6, &mut wanted.pings6)
            } else {
                (&mut wanted.v4, &mut wanted.pings4)
            };
            if kind.ping {
                *pings = true;
            } else if let Some(word) = words.get_mut(usize::from(kind.protocol >> 6)) {
                *word |= 1 << (kind.protocol & 63);
            }
        }
        wanted
    }

    /// Is there a ping socket?
    #[must_use]
    pub(crate) const fn pings(&self, inet6: bool) -> bool {
        if inet6 { self.pings6 } else { self.pings4 }
    }

    /// Is there a socket for this protocol?
    #[inline]
    #[must_use]
    pub fn has(&self, inet6: bool, protocol: u8) -> bool {
        let words = if inet6 { &self.v6 } else { &self.v4 };
        words.get(usize::from(protocol >> 6)).is_some_and(|word| word >> (protocol & 63) & 1 != 0)
    }
}

/// Routes of a table beside the first (FreeBSD's `setfib(2)`), and of the networks that interfaces are in.
#[derive(Clone, Debug, Default)]
pub struct RouteTable {
    /// Its number, from 1.
    pub number: u8,
    /// IPv4.
    pub fib: Fib,
    /// IPv6.
    pub fib6: Fib<Ipv6Addr>,
}

/// One generation of the configuration.
#[derive(Debug, Default)]
pub struct Network {
    /// Interfaces by index; 0 is `lo0`.
    pub interfaces: Vec<Interface>,
    /// Routes.
    pub fib: Fib,
    /// IPv6 routes.
    pub fib6: Fib<Ipv6Addr>,
    /// Those of other tables, where there are some.
    pub tables: Vec<RouteTable>,
    /// Static neighbours.
    pub neighbors: Vec<StaticNeighbor>,
    /// Hosts of IPv4 that this one answers for.
    pub published: Vec<StaticNeighbor>,
    /// Ways by the interfaces that sockets have been bound to.
    pub device_ways: Arc<[DeviceWays]>,
    /// What raw sockets are open for.
    pub raw: RawWanted,
    /// Next hops of routes that routers have told of: whether they answer is to be told.
    pub redirected: HashSet<DeadHop>,
    /// Somebody wants to hear what becomes of neighbours.
    pub watched: bool,
    /// Groups that sockets of this host listen to, with their interfaces.
    pub groups: Arc<HashSet<(u16, IpAddr)>>,
    /// TCP.
    pub tcp: TcpSettings,
    /// Interfaces without a port.
    pub links: Links,
    /// Everything else.
    pub host: HostSettings,
}

/// What an IP address means to this host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Destination {
    /// One of our addresses.
    Local,
    /// A broadcast address of a network we are on, or 255.255.255.255.
    Broadcast,
    /// A multicast group.
    Multicast,
    /// Somebody else.
    Remote,
}

/// The addresses of a [`Network`] in one piece, for what is asked of each packet.
#[derive(Debug, Default)]
pub(crate) struct Addresses {
    ours: Box<[Ipv4Addr]>,
    broadcast: Box<[Ipv4Addr]>,
    pub(crate) ours6: Box<[OnLink]>,
    /// Those of which we do not know yet whether others have them.
    pub(crate) sought6: Box<[OnLink]>,
    /// Links that we are a router of, and say so.
    pub(crate) advertising: Box<[u16]>,
    pub(crate) groups: Arc<HashSet<(u16, IpAddr)>>,
}

impl Addresses {
    /// All of a network's interfaces.
    #[must_use]
    pub(crate) fn of(network: &Network) -> Self {
        let all = || network.interfaces.iter().flat_map(|i| &i.addresses);
        Self {
            ours: all().map(|a| a.address).collect(),
            broadcast: all().filter_map(Address::broadcast).collect(),
            ours6: on_links(network, State::is_usable),
            sought6: on_links(network, State::is_sought),
            advertising: {
                let links = network.interfaces.iter().filter(|i| i.link6.advertises);
                links.map(|interface| interface.index).collect()
            },
            groups: Arc::clone(&network.groups),
        }
    }

    /// Neither one of our addresses nor everybody's on one of our networks.
    #[inline]
    #[must_use]
    pub(crate) fn is_nobodys(&self, address: Ipv4Addr) -> bool {
        !self.ours.contains(&address) && !self.broadcast.contains(&address)
    }

    /// What `address` means to this host.
    #[inline]
    #[must_use]
    pub(crate) fn classify(&self, address: Ipv4Addr) -> Destination {
        // Loopback is 127/8; multicast and broadcast begin at 224.
        if let Some(special) = Some(address).filter(|a| a.octets()[0] >= 127).and_then(special) {
            return special;
        }
        if self.ours.contains(&address) {
            Destination::Local
        } else if self.broadcast.contains(&address) {
            Destination::Broadcast
        } else {
            Destination::Remote
        }
    }
}

fn on_links(network: &Network, wanted: impl Fn(State) -> bool) -> Box<[OnLink]> {
    let all = network.interfaces.iter().flat_map(|i| i.addresses6.iter().map(move |a| (i, a)));
    let wanted = all.filter(|(_, a)| wanted(a.state));
    wanted.map(|(i, a)| OnLink { address: a.address, interface: i.index }).collect()
}

/// Addresses that mean the same to every host.
fn special(address: Ipv4Addr) -> Option<Destination> {
    if address.is_broadcast() {
        Some(Destination::Broadcast)
    } else if address.is_multicast() {
        Some(Destination::Multicast)
    } else {
        address.is_loopback().then_some(Destination::Local)
    }
}

impl Network {
    /// What `address` means to this host.
    #[must_use]
    pub fn classify(&self, address: Ipv4Addr) -> Destination {
        if let Some(special) = special(address) {
            return special;
        }
        let addresses = || self.interfaces.iter().flat_map(|i| &i.addresses);
        if addresses().any(|a| a.address == address) {
            Destination::Local
        } else if addresses().any(|a| a.broadcast() == Some(address)) {
            Destination::Broadcast
        } else {
            Destination::Remote
        }
    }

    /// The station that we say a host has which is asked for on an interface, if we answer for it.
    #[must_use]
    pub fn published(&self, address: Ipv4Addr, interface: u16) -> Option<MacAddr> {
        let is_it = |n: &&StaticNeighbor| n.address == address && n.interface == interface;
        self.published.iter().find(is_it).map(|n| n.mac)
    }

    /// Interface by index.
    #[must_use]
    pub fn interface(&self, index: u16) -> Option<&Interface> {
        self.interfaces.get(usize::from(index))
    }

    /// Routes of a table; `None`: nothing uses it.
    #[inline]
    #[must_use]
    pub fn table(&self, number: u8) -> Option<(&Fib, &Fib<Ipv6Addr>)> {
        if number == 0 {
            return Some((&self.fib, &self.fib6));
        }
        let table = self.tables.iter().find(|table| table.number == number)?;
        Some((&table.fib, &table.fib6))
    }

    /// The table by which packets for others go that come by an interface.
    #[must_use]
    pub(crate) fn table_of(&self, interface: u16) -> u8 {
        self.interface(interface).map_or(0, |config| config.table)
    }

    /// The source address for packets to `destination`: of the network it is on, else the primary
    /// address of the interface the route leads out of.
    #[must_use]
    pub fn source_for(&self, destination: Ipv4Addr) -> Option<Ipv4Addr> {
        if self.classify(destination) == Destination::Local {
            return Some(destination);
        }
        let hop = self.fib.lookup(destination)?;
        self.interface(hop.interface)?.source_for(hop.neighbor(destination))
    }
}

impl Interface {
    /// The source address for packets to a neighbour: of the network it is on, else the primary one.
    #[must_use]
    pub fn source_for(&self, neighbor: Ipv4Addr) -> Option<Ipv4Addr> {
        let near = self.addresses.iter().find(|a| a.is_near(neighbor));
        near.or_else(|| self.addresses.first()).map(|a| a.address)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fib::{Ipv4Net, Rib, Route};

    const OURS: Ipv4Addr = Ipv4Addr::new(198, 18, 77, 2);
    const SECOND: Ipv4Addr = Ipv4Addr::new(198, 18, 78, 2);
    const GATEWAY: Ipv4Addr = Ipv4Addr::new(198, 18, 78, 1);

    /// One interface with two networks and a default route through the second.
    fn network() -> Network {
        let net = |a: [u8; 4]| Ipv4Net::new(a.into(), 24).unwrap();
        let mut rib = Rib::new();
        rib.add(Route::connected(net([198, 18, 77, 0]), 0)).unwrap();
        rib.add(Route::connected(net([198, 18, 78, 0]), 0)).unwrap();
        rib.add(Route::gateway(Ipv4Net::DEFAULT, 0, GATEWAY)).unwrap();
        let address = |address| Address { address, prefix_len: 24 };
        let interface = Interface {
            index: 0,
            name: "tap0".into(),
            mac: MacAddr::ZERO,
            mtu: 1500,
            up: true,
            table: 0,
            addresses: vec![address(OURS), address(SECOND)],
            addresses6: Vec::new(),
            link6: Link6::default(),
            dhcp: false,
            arp_watched: None,
            tx_checksum: TxChecksum::Stack,
            loans: false,
            tso_buffers_max: 0,
            tso_ipv4_checksum: false,
        };
        Network { interfaces: vec![interface], fib: rib.publish(), ..Network::default() }
    }

    #[test]
    fn destinations_are_told_apart() {
        let network = network();
        for (address, expected) in [
            ([198, 18, 77, 2], Destination::Local),
            ([127, 3, 2, 1], Destination::Local),
            ([198, 18, 77, 255], Destination::Broadcast),
            ([255, 255, 255, 255], Destination::Broadcast),
            ([224, 0, 0, 1], Destination::Multicast),
            ([198, 18, 77, 1], Destination::Remote),
        ] {
            assert_eq!(network.classify(address.into()), expected, "{address:?}");
            let addresses = Addresses::of(&network);
            assert_eq!(addresses.classify(address.into()), expected, "{address:?}");
        }
    }

    #[test]
    fn the_source_is_of_the_next_hops_network() {
        let network = network();
        assert_eq!(network.source_for([198, 18, 77, 9].into()), Some(OURS));
        assert_eq!(network.source_for([198, 18, 78, 9].into()), Some(SECOND));
        assert_eq!(network.source_for([8, 8, 8, 8].into()), Some(SECOND), "the gateway's network");
        assert_eq!(network.source_for(OURS), Some(OURS), "to ourselves");
        let interface = network.interface(0).unwrap();
        assert_eq!(interface.source_for(Ipv4Addr::BROADCAST), Some(OURS), "on no network of ours");
        assert_eq!(Network::default().source_for(OURS), None);
    }

    #[test]
    fn point_to_point_networks_have_no_broadcast() {
        let broadcast = |prefix_len| Address { address: OURS, prefix_len }.broadcast();
        assert_eq!(broadcast(24), Some([198, 18, 77, 255].into()));
        assert_eq!(broadcast(30), Some([198, 18, 77, 3].into()));
        assert_eq!(broadcast(31), None);
        assert_eq!(broadcast(32), None);
    }
}
