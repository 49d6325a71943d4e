//! What a route is made of.

use core::net::Ipv4Addr;
use core::ops::BitOr;

use crate::address::Address;
use crate::net::Net;
use crate::way::Refusal;

/// Where a packet goes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct NextHop<A = Ipv4Addr> {
    /// Index of the interface that sends the packet.
    pub interface: u16,
    /// The router on that interface's link, or `None` if the destination itself is on the link.
    pub gateway: Option<A>,
}

impl<A: Address> NextHop<A> {
    /// The address on the link to resolve for a packet to `destination` (RFC 1122, 3.3.1.1).
    #[must_use]
    pub fn neighbor(self, destination: A) -> A {
        self.gateway.unwrap_or(destination)
    }
}

/// Where a route comes from: a set of the constants below.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct RouteFlags(u8);

impl RouteFlags {
    /// No flag.
    pub const NONE: Self = Self(0);
    /// Follows from an interface's address.
    pub const CONNECTED: Self = Self(1 << 0);
    /// The operator added it.
    pub const STATIC: Self = Self(1 << 1);
    /// A configuration protocol (DHCP) added it.
    pub const DYNAMIC: Self = Self(1 << 2);
    /// Packets are dropped, and nobody is told.
    pub const BLACKHOLE: Self = Self(1 << 3);
    /// Packets are dropped, and their senders are told.
    pub const REJECT: Self = Self(1 << 4);
    /// It is one of many that came together.
    pub const LOADED: Self = Self(1 << 5);

    /// Whether all flags of `other` are set.
    #[must_use]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

impl BitOr for RouteFlags {
    type Output = Self;
    fn bitor(self, rhs: Self) -> Self {
        Self(self.0 | rhs.0)
    }
}

/// The way to a set of destinations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Route<A = Ipv4Addr> {
    /// Destinations.
    pub destination: Net<A>,
    /// Where packets to them go next.
    pub next_hop: NextHop<A>,
    /// Where the route comes from.
    pub flags: RouteFlags,
    /// Most bytes of an IP packet on this way, if fewer than the interface's.
    pub mtu: Option<u16>,
}

impl<A: Address> Route<A> {
    /// The route to the network of one of the host's addresses.
    #[must_use]
    pub const fn connected(destination: Net<A>, interface: u16) -> Self {
        let next_hop = NextHop { interface, gateway: None };
        Self { destination, next_hop, flags: RouteFlags::CONNECTED, mtu: None }
    }

    /// An operator's route to destinations on an interface's link without an address there.
    #[must_use]
    pub const fn on_link(destination: Net<A>, interface: u16) -> Self {
        let next_hop = NextHop { interface, gateway: None };
        Self { destination, next_hop, flags: RouteFlags::STATIC, mtu: None }
    }

    /// An operator's route through a router; with [`Net::DEFAULT`], the default route.
    #[must_use]
    pub const fn gateway(destination: Net<A>, interface: u16, gateway: A) -> Self {
        let next_hop = NextHop { interface, gateway: Some(gateway) };
        Self { destination, next_hop, flags: RouteFlags::STATIC, mtu: None }
    }

    /// An operator's route that lets no packet pass. It belongs to the interface of index 0.
    #[must_use]
    pub fn refused(destination: Net<A>, refusal: Refusal) -> Self {
        let flag = match refusal {
            Refusal::Blackhole => RouteFlags::BLACKHOLE,
            Refusal::Reject => RouteFlags::REJECT,
        };
        let next_hop = NextHop { interface: 0, gateway: None };
        Self { destination, next_hop, flags: RouteFlags::STATIC | flag, mtu: None }
    }

    /// Why no packet passes.
    #[must_use]
    pub const fn refusal(&self) -> Option<Refusal> {
        if self.flags.contains(RouteFlags::BLACKHOLE) {
            Some(Refusal::Blackhole)
        } else if self.flags.contains(RouteFlags::REJECT) {
            Some(Refusal::Reject)
        } else {
            None
        }
    }
}
