//! Routes of the control plane, in both families.
//!
//! A network that interfaces have addresses in has one route, of the first of them that came. It goes
//! with that interface's last address there, and then the next interface has it.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use fib::{AddRouteError, Address as _, Net, Refusal, Rib, Route, RouteFlags};
use inet::network::Interface;
use proto::message::{NewRoute, Onward};
use rustix::io::Errno;

use super::NetworkState;
use super::tables::{Routes, Table};

/// Routes of one family: twice those of the whole Internet, at about 100 bytes each.
pub(super) const ROUTES_MAX: usize = 2 << 20;

/// The smallest MTU of a route: as an interface's.
const MTU_MIN: u16 = 576;
/// The same for IPv6 (RFC 8200 5).
const MTU_MIN6: u16 = 1280;

/// What there is of each family.
pub(super) trait Family: fib::Address + Into<IpAddr> {
    /// Its routes.
    fn rib(state: &mut NetworkState) -> &mut Rib<Self>;
    /// The networks of an interface's addresses, in their order.
    fn networks(of: &Interface) -> impl Iterator<Item = Net<Self>>;
    /// The interface has this address.
    fn has(of: &Interface, address: Self) -> bool;
    /// Its routes of another table.
    fn routes(table: &mut Table) -> &mut Routes<Self>;
    /// An address of this family.
    fn of(address: IpAddr) -> Option<Self>;
}

impl Family for Ipv4Addr {
    fn rib(state: &mut NetworkState) -> &mut Rib<Self> {
        &mut state.rib
    }
    fn networks(of: &Interface) -> impl Iterator<Item = Net<Self>> {
        of.addresses.iter().map(|a| network(a.address, a.prefix_len))
    }
    fn has(of: &Interface, address: Self) -> bool {
        of.addresses.iter().any(|a| a.address == address)
    }
    fn routes(table: &mut Table) -> &mut Routes<Self> {
        &mut table.v4
    }
    fn of(address: IpAddr) -> Option<Self> {
        if let IpAddr::V4(address) = address { Some(address) } else { None }
    }
}

impl Family for Ipv6Addr {
    fn rib(state: &mut NetworkState) -> &mut Rib<Self> {
        &mut state.rib6
    }
    fn networks(of: &Interface) -> impl Iterator<Item = Net<Self>> {
        of.addresses6.iter().map(|a| network(a.address, a.prefix_len))
    }
    fn has(of: &Interface, address: Self) -> bool {
        of.addresses6.iter().any(|a| a.address == address)
    }
    fn routes(table: &mut Table) -> &mut Routes<Self> {
        &mut table.v6
    }
    fn of(address: IpAddr) -> Option<Self> {
        if let IpAddr::V6(address) = address { Some(address) } else { None }
    }
}

/// The network an address belongs to.
pub(super) fn network<A: fib::Address>(address: A, len: u8) -> Net<A> {
    Net::containing(address, len).unwrap_or(Net::DEFAULT)
}

impl NetworkState {
    /// Adds a route through a gateway on one of our links. A router known by its link-local address must
    /// be on the only link that has IPv6. Through an address of ours leads only the way to its own network.
    ///
    /// # Errors
    /// `EINVAL`, `EEXIST`, `ENETUNREACH`, `ENOSPC`.
    pub(crate) fn add_route(&mut self, to: IpAddr, len: u8, gateway: IpAddr) -> Result<(), Errno> {
        let onward = Onward::Gateway(gateway);
        self.add_new_route(0, &NewRoute { destination: to, prefix_len: len, onward, mtu: None })
    }

    /// Adds any route of the operator's to a table, or one more gateway to one.
    ///
    /// # Errors
    /// `EINVAL`, `EEXIST`, `ENETUNREACH`, `ENOSPC`, `EMLINK`.
    pub(crate) fn add_new_route(&mut self, table: u8, new: &NewRoute) -> Result<(), Errno> {
        match new.destination {
            IpAddr::V4(to) => self.add_new(table, to, new),
            IpAddr::V6(to) => self.add_new(table, to, new),
        }
    }

    fn add_new<A: Family>(&mut self, table: u8, to: A, new: &NewRoute) -> Result<(), Errno> {
        let destination = Net::new(to, new.prefix_len).map_err(|_| Errno::INVAL)?;
        let mtu = mtu_of::<A>(new.mtu)?;
        if self.rib_in::<A>(table)?.len() >= ROUTES_MAX {
            return Err(Errno::NOSPC);
        }
        let route = Route { mtu, ..self.operators_route(destination, new.onward)? };
        if new.prefix_len == A::LEN && table == 0 {
            self.end_redirect(to.into());
        }
        self.fit_tables();
        self.rib_in(table)?.add_path(route).map_err(route_errno)
    }

    /// Deletes a route of a table, or takes one gateway from it.
    ///
    /// # Errors
    /// `EINVAL`, `ESRCH`.
    pub(crate) fn delete_route(
        &mut self,
        table: u8,
        to: IpAddr,
        len: u8,
        gateway: Option<IpAddr>,
    ) -> Result<(), Errno> {
        match to {
            IpAddr::V4(to) => self.delete_route_of(table, to, len, gateway),
            IpAddr::V6(to) => self.delete_route_of(table, to, len, gateway),
        }
    }

    /// A route as the operator wants it.
    pub(super) fn operators_route<A: Family>(
        &self,
        destination: Net<A>,
        onward: Onward,
    ) -> Result<Route<A>, Errno> {
        let gateway = match onward {
            Onward::Blackhole => return Ok(Route::refused(destination, Refusal::Blackhole)),
            Onward::Reject => return Ok(Route::refused(destination, Refusal::Reject)),
            Onward::Gateway(gateway) => A::of(gateway).ok_or(Errno::INVAL)?,
        };
        let mut links = self.interfaces.iter().skip(1).map(|entry| &entry.config);
        let link = if gateway.is_on_every_link() {
            let mut links = links.filter(|config| A::networks(config).next().is_some());
            links.next().filter(|_| links.next().is_none())
        } else {
            links.find(|config| A::networks(config).any(|network| network.contains(gateway)))
        };
        let link = link.ok_or(Errno::NETUNREACH)?;
        let interface = link.index;
        if A::has(link, gateway) {
            // BSD's way to say an interface: right for its own network, which may have lost its route.
            let own = A::networks(link).any(|network| network == destination);
            return if own {
                Ok(Route::connected(destination, interface))
            } else {
                Err(Errno::INVAL)
            };
        }
        Ok(Route::gateway(destination, interface, gateway))
    }

    fn delete_route_of<A: Family>(
        &mut self,
        table: u8,
        to: A,
        len: u8,
        gateway: Option<IpAddr>,
    ) -> Result<(), Errno> {
        let destination = Net::new(to, len).map_err(|_| Errno::INVAL)?;
        let rib = self.rib_in::<A>(table)?;
        let deleted = match gateway {
            None => rib.delete(destination).map(drop),
            Some(gateway) => {
                let gateway = A::of(gateway).ok_or(Errno::INVAL)?;
                rib.delete_path(destination, gateway)
            }
        };
        deleted.map_err(|_| Errno::SRCH)
    }

    /// An address in this network has left the interface.
    pub(super) fn disconnect<A: Family>(&mut self, net: Net<A>, index: u16) {
        let interface = self.interfaces.get(usize::from(index));
        let stays = interface.is_some_and(|e| A::networks(&e.config).any(|other| other == net));
        let its_own = A::rib(self).route(net).is_some_and(|route| is_connected(route, index));
        if !stays && its_own {
            // It was just found.
            let _ = A::rib(self).delete(net);
            self.inherit(net);
        }
    }

    /// The interface has no addresses any more.
    pub(super) fn disconnect_all<A: Family>(&mut self, index: u16) {
        let its_own = A::rib(self).iter().filter(|route| is_connected(route, index));
        let nets: Vec<Net<A>> = its_own.map(|route| route.destination).collect();
        let _ = A::rib(self).delete_interface(index);
        for net in nets {
            self.inherit(net);
        }
    }

    /// Another interface in the same network has had no route of its own.
    fn inherit<A: Family>(&mut self, net: Net<A>) {
        let mut others = self.interfaces.iter().skip(1).map(|entry| &entry.config);
        let heir = others.find(|config| A::networks(config).any(|other| other == net));
        if let Some(index) = heir.map(|config| config.index) {
            // Nobody else has a route to it: it was just deleted.
            let _ = A::rib(self).add(Route::connected(net, index));
        }
    }
}

/// It follows from an address of this interface.
pub(super) fn is_connected<A>(route: &Route<A>, index: u16) -> bool {
    route.flags.contains(RouteFlags::CONNECTED) && route.next_hop.interface == index
}

/// A route's MTU, if it may be that.
pub(super) fn mtu_of<A: fib::Address>(mtu: Option<u16>) -> Result<Option<u16>, Errno> {
    let least = if A::LEN > Ipv4Addr::LEN { MTU_MIN6 } else { MTU_MIN };
    if mtu.is_some_and(|mtu| mtu < least) { Err(Errno::INVAL) } else { Ok(mtu) }
}

/// What a client is told about a route that was refused.
pub(super) fn route_errno<A: fib::Address>(error: AddRouteError<A>) -> Errno {
    match error {
        AddRouteError::Exists(_) => Errno::EXIST,
        AddRouteError::Unreachable(_) => Errno::NETUNREACH,
        AddRouteError::BadPrefix(_) => Errno::INVAL,
        AddRouteError::TooMany(_) => Errno::MLINK,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network_state::tests::with_links;

    /// Addresses and a route of one family.
    struct Case {
        first: IpAddr,
        second: IpAddr,
        len: u8,
        near: IpAddr,
        elsewhere: (IpAddr, u8),
    }

    fn cases() -> [Case; 2] {
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        [
            Case {
                first: ip("10.1.0.1"),
                second: ip("10.1.0.2"),
                len: 16,
                near: ip("10.1.0.9"),
                elsewhere: (ip("10.2.0.0"), 16),
            },
            Case {
                first: ip("2001:db8:1::1"),
                second: ip("2001:db8:1::2"),
                len: 64,
                near: ip("2001:db8:1::9"),
                elsewhere: (ip("2001:db8:2::"), 64),
            },
        ]
    }

    /// Where packets to a neighbour leave.
    fn way(state: &NetworkState, to: IpAddr) -> Option<u16> {
        match to {
            IpAddr::V4(to) => state.rib.lookup(to).map(|hop| hop.interface),
            IpAddr::V6(to) => state.rib6.lookup(to).map(|hop| hop.interface),
        }
    }

    #[test]
    fn a_networks_route_goes_with_its_own_address_and_to_the_next_interface() {
        for Case { first, second, len, near, .. } in cases() {
            let mut state = with_links(2);
            assert_eq!(state.add_address("tap1", first, len), Ok(1));
            assert_eq!(state.add_address("tap2", second, len), Ok(2));
            assert_eq!(way(&state, near), Some(1));
            state.delete_address("tap2", second).unwrap();
            assert_eq!(way(&state, near), Some(1), "the other's address is not its own");
            assert_eq!(state.add_address("tap2", second, len), Ok(2));
            state.delete_address("tap1", first).unwrap();
            assert_eq!(way(&state, near), Some(2), "the other interface has it");
            state.delete_address("tap2", second).unwrap();
            assert_eq!(way(&state, near), None);
        }
    }

    #[test]
    fn a_networks_route_stays_while_its_interface_has_another_address_there() {
        for Case { first, second, len, near, .. } in cases() {
            let mut state = with_links(2);
            assert_eq!(state.add_address("tap2", first, len), Ok(2));
            assert_eq!(state.add_address("tap2", second, len), Ok(2));
            assert_eq!(state.add_address("tap1", near, len), Ok(1));
            state.delete_address("tap2", first).unwrap();
            assert_eq!(way(&state, near), Some(2));
        }
    }

    #[test]
    fn an_address_of_lo0_takes_nobodys_route_with_it() {
        for Case { first, second, len, near, .. } in cases() {
            let mut state = with_links(1);
            assert_eq!(state.add_address("tap1", first, len), Ok(1));
            assert_eq!(state.add_address("lo0", second, len), Ok(0));
            state.delete_address("lo0", second).unwrap();
            assert_eq!(way(&state, near), Some(1));
        }
    }

    #[test]
    fn an_operators_route_stays_when_an_address_of_its_network_goes() {
        for Case { first, len, near, elsewhere: (to, to_len), .. } in cases() {
            let mut state = with_links(1);
            assert_eq!(state.add_address("tap1", first, len), Ok(1));
            state.add_route(to, to_len, near).unwrap();
            let inside = match to {
                IpAddr::V4(to) => IpAddr::from(Ipv4Addr::from_bits(to.to_bits() | 7)),
                IpAddr::V6(to) => IpAddr::from(Ipv6Addr::from_bits(to.to_bits() | 7)),
            };
            assert_eq!(state.add_address("tap1", inside, to_len), Ok(1));
            state.delete_address("tap1", inside).unwrap();
            assert_eq!(way(&state, inside), Some(1));
            assert_eq!(state.delete_route(0, to, to_len, None), Ok(()));
        }
    }

    #[test]
    fn a_network_of_an_interface_that_goes_is_the_next_ones() {
        for Case { first, second, len, near, elsewhere: (to, to_len) } in cases() {
            let mut state = with_links(2);
            assert_eq!(state.add_address("tap1", first, len), Ok(1));
            assert_eq!(state.add_address("tap2", second, len), Ok(2));
            state.add_route(to, to_len, near).unwrap();
            state.clear_interface(1);
            assert_eq!(way(&state, near), Some(2));
            assert_eq!(way(&state, to), None, "routes through its routers are gone");
            assert_eq!(state.index("tap1"), Err(Errno::NXIO));
        }
    }

    #[test]
    fn a_router_known_by_its_link_is_on_the_only_one_with_ipv6() {
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        let mut state = with_links(2);
        let default = |state: &mut NetworkState| state.add_route(ip("::"), 0, ip("fe80::1"));
        assert_eq!(default(&mut state), Err(Errno::NETUNREACH));
        assert_eq!(state.add_address("tap2", ip("2001:db8:2::1"), 64), Ok(2));
        assert_eq!(default(&mut state), Ok(()));
        assert_eq!(way(&state, ip("2001:db8:9::9")), Some(2));
        assert_eq!(state.delete_route(0, ip("::"), 0, None), Ok(()));
        assert_eq!(state.add_address("tap1", ip("2001:db8:1::1"), 64), Ok(1));
        assert_eq!(default(&mut state), Err(Errno::NETUNREACH), "which of the two?");
    }
}
