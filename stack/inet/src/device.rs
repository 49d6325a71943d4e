//! Sockets that are bound to an interface (`SO_BINDTODEVICE`): what they send leaves by it, and nothing else reaches
//! them. Packets from this host to itself leave by no interface, and go where they always go. Sockets that look at
//! another table of routes than the first (`SO_SETFIB`): what reaches them does not depend on it.

use core::net::{Ipv4Addr, Ipv6Addr};

use fib::{Address, Net};

use crate::address6::is_of_a_link;
use crate::network::{Destination, LOOPBACK, Network};
use crate::output::{Hop, Output};
use crate::route::NoWay;

/// The interface that a socket is bound to, if it is, and the table of routes it looks at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Device {
    /// One more than its number.
    interface: u16,
    table: u8,
}

impl Device {
    /// Not bound, and with the first table.
    pub const ANY: Self = Self { interface: 0, table: 0 };

    /// Bound to an interface.
    #[must_use]
    pub const fn of(interface: u16) -> Self {
        Self { interface: interface.saturating_add(1), table: 0 }
    }

    /// The same with another table of routes.
    #[must_use]
    pub const fn in_table(self, table: u8) -> Self {
        Self { table, ..self }
    }

    /// Which interface.
    #[inline]
    #[must_use]
    pub const fn interface(self) -> Option<u16> {
        self.interface.checked_sub(1)
    }

    /// Which table.
    #[inline]
    #[must_use]
    pub const fn table(self) -> u8 {
        self.table
    }

    /// This interface, or if there is none the other; the table stays.
    #[inline]
    #[must_use]
    pub const fn or(self, other: Self) -> Self {
        if self.interface == 0 { other.in_table(self.table) } else { self }
    }

    /// Does what comes by an interface reach the socket?
    #[inline]
    #[must_use]
    pub const fn takes(self, interface: u16) -> bool {
        self.interface == 0 || self.interface.wrapping_sub(1) == interface
    }

    /// Could something reach both?
    #[must_use]
    pub const fn meets(self, other: Self) -> bool {
        self.interface == 0 || other.interface == 0 || self.interface == other.interface
    }
}

/// A way that leaves by an interface, whether or not another is the better one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeviceWay<A> {
    /// Destinations.
    pub destination: Net<A>,
    /// Their router.
    pub gateway: Option<A>,
    /// Most bytes of a packet.
    pub mtu: Option<u16>,
}

/// All ways by one interface that some socket has been bound to; the longest prefixes first.
#[derive(Clone, Debug, Default)]
pub struct DeviceWays {
    /// The interface.
    pub interface: u16,
    /// Those of IPv4.
    pub v4: Vec<DeviceWay<Ipv4Addr>>,
    /// Those of IPv6.
    pub v6: Vec<DeviceWay<Ipv6Addr>>,
}

fn way_of<A: Address>(ways: &[DeviceWay<A>], to: A) -> Option<(Option<A>, Option<u16>)> {
    let way = ways.iter().find(|way| way.destination.contains(to))?;
    Some((way.gateway, way.mtu))
}

impl Network {
    fn ways_by(&self, interface: u16) -> Option<&DeviceWays> {
        self.device_ways.iter().find(|ways| ways.interface == interface)
    }
}

impl Output {
    /// [`Output::route_flow`] of a socket that may be bound to an interface, or have another table.
    ///
    /// # Errors
    /// Why there is none.
    #[inline]
    pub(crate) fn route_from(
        &self,
        device: Device,
        to: Ipv4Addr,
        flow: impl FnOnce() -> u32,
    ) -> Result<Hop, NoWay> {
        if device == Device::ANY {
            self.route_flow(to, flow)
        } else {
            self.route_by(device, to, flow)
        }
    }

    /// As Linux has it, a destination without a route by the interface is on its link.
    #[cold]
    fn route_by(
        &self,
        device: Device,
        to: Ipv4Addr,
        flow: impl FnOnce() -> u32,
    ) -> Result<Hop, NoWay> {
        let Some(index) = device.interface() else { return self.route_in(device.table, to, flow) };
        let destination = self.addresses.classify(to);
        if destination == Destination::Local {
            return self.route_flow(to, flow);
        }
        let interface = self.network.interface(index).filter(|i| i.up && index != LOOPBACK);
        let interface = interface.ok_or(NoWay::Unknown)?;
        let (fib, _) = self.network.table(device.table).ok_or(NoWay::Unknown)?;
        let best = fib.way(to);
        let hop = best.map(|way| way.hop(flow)).transpose()?;
        let hop = hop.filter(|hop| hop.interface == index);
        let others = || {
            let ways = self.network.ways_by(index).filter(|_| device.table == 0);
            way_of(&ways?.v4, to)
        };
        let (gateway, mtu) = match (hop, best) {
            (Some(hop), Some(way)) => (hop.gateway, way.mtu),
            _ => others().unwrap_or((None, None)),
        };
        Ok(interface.hop(gateway.unwrap_or(to), destination, mtu))
    }

    /// [`Output::route6_flow`] of a socket that may be bound to an interface.
    ///
    /// # Errors
    /// Why there is none.
    #[inline]
    pub(crate) fn route6_from(
        &self,
        device: Device,
        to: Ipv6Addr,
        zone: Option<u16>,
        flow: impl FnOnce() -> u32,
    ) -> Result<Hop<Ipv6Addr>, NoWay> {
        if device == Device::ANY {
            return self.route6_flow(to, zone, flow);
        }
        match device.interface() {
            None => self.route6_in(device.table, to, zone, flow),
            Some(_) => self.route6_by(device, to, flow),
        }
    }

    #[cold]
    fn route6_by(
        &self,
        device: Device,
        to: Ipv6Addr,
        flow: impl FnOnce() -> u32,
    ) -> Result<Hop<Ipv6Addr>, NoWay> {
        let index = device.interface().unwrap_or(LOOPBACK);
        let of_a_link = is_of_a_link(to);
        let ours = self.addresses.classify6(to, index) == Destination::Local;
        if of_a_link || ours {
            return self.route6_flow(to, Some(index), flow);
        }
        let interface = self.network.interface(index).filter(|i| i.up && index != LOOPBACK);
        let interface = interface.ok_or(NoWay::Unknown)?;
        let (_, fib6) = self.network.table(device.table).ok_or(NoWay::Unknown)?;
        let best = fib6.way(to);
        let hop = best.map(|way| way.hop(flow)).transpose()?;
        let hop = hop.filter(|hop| hop.interface == index);
        let (gateway, mtu) = match (hop, best) {
            (Some(hop), Some(way)) => (hop.gateway, way.mtu),
            _ => {
                let ways = self.network.ways_by(index).filter(|_| device.table == 0);
                let ways = ways.ok_or(NoWay::Unknown)?;
                way_of(&ways.v6, to).ok_or(NoWay::Unknown)?
            }
        };
        Ok(interface.hop6(gateway.unwrap_or(to), Destination::Remote, mtu))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_not_bound_takes_everything() {
        let bound = Device::of(3);
        assert_eq!((bound.interface(), Device::ANY.interface()), (Some(3), None));
        assert!(Device::ANY.takes(0) && Device::ANY.takes(u16::MAX));
        assert!(bound.takes(3) && !bound.takes(2) && !bound.takes(u16::MAX));
        assert!(Device::of(0).takes(0) && !Device::of(0).takes(u16::MAX));
        assert_eq!((bound.or(Device::of(2)), Device::ANY.or(bound)), (bound, bound));
        assert!(bound.meets(Device::ANY) && bound.meets(bound) && !bound.meets(Device::of(2)));
        let other = Device::ANY.in_table(2);
        assert!(other.takes(7) && other.meets(bound.in_table(1)) && other != Device::ANY);
        assert_eq!((bound.in_table(2).interface(), bound.in_table(2).table()), (Some(3), 2));
    }

    #[test]
    fn the_longest_prefix_is_found_first() {
        let way = |destination: Net<Ipv4Addr>, gateway: Option<[u8; 4]>| DeviceWay {
            destination,
            gateway: gateway.map(Ipv4Addr::from),
            mtu: None,
        };
        let near = Net::new(Ipv4Addr::new(10, 0, 0, 0), 24).unwrap();
        let ways = [way(near, None), way(Net::DEFAULT, Some([10, 0, 0, 1]))];
        let gateway = |to: [u8; 4]| way_of(&ways, Ipv4Addr::from(to)).map(|(gateway, _)| gateway);
        assert_eq!(gateway([10, 0, 0, 9]), Some(None));
        assert_eq!(gateway([10, 0, 1, 9]), Some(Some(Ipv4Addr::new(10, 0, 0, 1))));
        assert_eq!(way_of(&ways[..1], Ipv4Addr::new(10, 0, 1, 9)), None);
    }
}
