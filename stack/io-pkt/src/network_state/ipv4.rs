//! Addresses of IPv4.

use core::net::{IpAddr, Ipv4Addr};

use fib::Route;
use inet::network::{Address, LOOPBACK};
use rustix::io::Errno;

use super::routes::network;
use super::{ADDRESSES_MAX, NetworkState};

impl NetworkState {
    /// Adds an address and the route to its network; returns the interface's index.
    ///
    /// # Errors
    /// `ENXIO`, `EINVAL`, `EEXIST`, `ENOSPC`.
    pub(crate) fn add_address(
        &mut self,
        name: &str,
        address: impl Into<IpAddr>,
        len: u8,
    ) -> Result<u16, Errno> {
        let address = match address.into() {
            IpAddr::V4(address) => address,
            IpAddr::V6(address) => return self.add_address6(name, address, len),
        };
        let index = self.check_address(name, address, len)?;
        if self.has_address(address) {
            return Err(Errno::EXIST);
        }
        let entry = self.entry(name)?;
        if entry.config.addresses.len() >= ADDRESSES_MAX {
            return Err(Errno::NOSPC);
        }
        entry.config.addresses.push(Address { address, prefix_len: len });
        self.reconnect(index);
        Ok(index)
    }

    /// Puts an address in the place of the interface's first one. One that it has keeps its place, and has
    /// this prefix length from now on. Returns the interface's index.
    ///
    /// # Errors
    /// `ENXIO`, `EINVAL`, `EEXIST`.
    pub(crate) fn set_address(
        &mut self,
        name: &str,
        address: Ipv4Addr,
        len: u8,
    ) -> Result<u16, Errno> {
        let index = self.check_address(name, address, len)?;
        let elsewhere = self.interfaces.iter().filter(|entry| entry.config.index != index);
        if elsewhere.flat_map(|e| &e.config.addresses).any(|a| a.address == address) {
            return Err(Errno::EXIST);
        }
        let new = Address { address, prefix_len: len };
        let addresses = &mut self.entry(name)?.config.addresses;
        let at = addresses.iter().position(|a| a.address == address).unwrap_or(0);
        let old = match addresses.get_mut(at) {
            Some(place) => Some(core::mem::replace(place, new)),
            None => {
                addresses.push(new);
                None
            }
        };
        if let Some(old) = old {
            self.disconnect(network(old.address, old.prefix_len), index);
        }
        self.reconnect(index);
        Ok(index)
    }

    /// Removes an address, and its network's route if it was the last one there.
    ///
    /// # Errors
    /// `ENXIO`, `EADDRNOTAVAIL`.
    pub(crate) fn delete_address(
        &mut self,
        name: &str,
        address: impl Into<IpAddr>,
    ) -> Result<(), Errno> {
        let address = match address.into() {
            IpAddr::V4(address) => address,
            IpAddr::V6(address) => return self.delete_address6(name, address),
        };
        let entry = self.entry(name)?;
        let addresses = &mut entry.config.addresses;
        let at = addresses.iter().position(|a| a.address == address).ok_or(Errno::ADDRNOTAVAIL)?;
        let gone = addresses.remove(at);
        let index = entry.config.index;
        self.disconnect(network(gone.address, gone.prefix_len), index);
        Ok(())
    }

    /// Is it an address that this interface's end of a link can have? That excludes the network's own and
    /// everybody's (RFC 1122 3.2.1.3), but for links of two ends (RFC 3021) and hosts; this host's own
    /// network 127 is on no link.
    fn check_address(&mut self, name: &str, address: Ipv4Addr, len: u8) -> Result<u16, Errno> {
        let index = self.index(name)?;
        let nobodys = address.is_unspecified() || address.is_multicast() || address.is_broadcast();
        let stray = address.is_loopback() && index != LOOPBACK;
        let own = Address { address, prefix_len: len };
        let everybodys =
            network(address, len).addr() == address && len < 31 || own.broadcast() == Some(address);
        if nobodys || stray || !(1..=32).contains(&len) || everybodys {
            return Err(Errno::INVAL);
        }
        if self.is_joined(index) { Err(Errno::BUSY) } else { Ok(index) }
    }

    /// Adds the routes to an interface's own networks that are missing.
    pub(super) fn reconnect(&mut self, index: u16) {
        let entry = self.interfaces.get(usize::from(index)).filter(|_| index != LOOPBACK);
        let addresses = entry.map(|entry| entry.config.addresses.clone()).unwrap_or_default();
        for Address { address, prefix_len } in addresses {
            // A second address of the same network finds its route there already.
            let _ = self.rib.add(Route::connected(network(address, prefix_len), index));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network_state::tests::with_links;

    const A: Ipv4Addr = Ipv4Addr::new(198, 18, 77, 2);

    #[test]
    fn bad_addresses_and_unknown_interfaces_are_refused() {
        let mut state = with_links(1);
        assert_eq!(state.add_address("tap0", A, 24), Err(Errno::NXIO));
        assert_eq!(state.add_address("lo0", A, 33), Err(Errno::INVAL));
        assert_eq!(state.add_address("lo0", Ipv4Addr::BROADCAST, 8), Err(Errno::INVAL));
        assert_eq!(state.add_address("lo0", A, 32), Ok(LOOPBACK));
        assert_eq!(state.add_address("lo0", A, 32), Err(Errno::EXIST));
        assert_eq!(state.delete_address("lo0", A), Ok(()));
        assert_eq!(state.delete_address("lo0", A), Err(Errno::ADDRNOTAVAIL));
    }

    #[test]
    fn a_network_and_everybody_on_it_are_no_address_of_a_station() {
        let mut state = with_links(1);
        let ten = |last| Ipv4Addr::new(10, 0, 0, last);
        for (address, len) in [(ten(0), 24), (ten(255), 24), (Ipv4Addr::new(127, 0, 0, 2), 8)] {
            assert_eq!(state.add_address("tap1", address, len), Err(Errno::INVAL), "{address}");
            assert_eq!(state.set_address("tap1", address, len), Err(Errno::INVAL), "{address}");
        }
        assert_eq!(state.add_address("lo0", Ipv4Addr::new(127, 0, 0, 2), 8), Ok(LOOPBACK));
        for (address, len) in [(ten(0), 31), (ten(255), 32), (ten(7), 31)] {
            assert_eq!(state.add_address("tap1", address, len), Ok(1), "{address}/{len}");
        }
    }

    #[test]
    fn setting_the_address_replaces_the_first_and_leaves_the_aliases() {
        let mut state = with_links(2);
        let (b, alias) = (Ipv4Addr::new(198, 18, 77, 3), Ipv4Addr::new(10, 0, 1, 1));
        let have = |state: &NetworkState| state.usable_addresses(1);
        assert_eq!(state.set_address("tap1", A, 24), Ok(1));
        assert_eq!(state.add_address("tap1", alias, 24), Ok(1));
        for address in [b, A, A] {
            assert_eq!(state.set_address("tap1", address, 24), Ok(1));
            assert_eq!(have(&state), [IpAddr::from(address), alias.into()]);
            assert_eq!(state.rib.lookup(b).map(|hop| hop.interface), Some(1));
        }
        assert_eq!(state.set_address("tap1", alias, 16), Ok(1));
        assert_eq!(have(&state), [IpAddr::from(A), alias.into()]);
        let far = Ipv4Addr::new(10, 0, 9, 9);
        assert_eq!(state.rib.lookup(far).map(|hop| hop.interface), Some(1), "its new network");
        assert_eq!(state.set_address("tap2", alias, 24), Err(Errno::EXIST));
    }

    #[test]
    fn up_or_the_address_again_brings_a_deleted_route_to_the_own_network_back() {
        let mut state = with_links(1);
        let net = IpAddr::from(Ipv4Addr::new(198, 18, 77, 0));
        assert_eq!(state.add_address("tap1", A, 24), Ok(1));
        state.delete_route(0, net, 24, None).unwrap();
        assert_eq!(state.rib.lookup(A), None);
        state.set_up("tap1", true).unwrap();
        assert_eq!(state.rib.lookup(A).map(|hop| hop.interface), Some(1));
        state.delete_route(0, net, 24, None).unwrap();
        assert_eq!(state.set_address("tap1", A, 24), Ok(1));
        assert_eq!(state.rib.lookup(A).map(|hop| hop.interface), Some(1));
        state.delete_route(0, net, 24, None).unwrap();
        state.add_route(net, 24, A.into()).unwrap();
        assert_eq!(state.rib.lookup(A).map(|hop| hop.gateway), Some(None), "on the link");
    }

    #[test]
    fn an_own_address_is_no_gateway() {
        let mut state = with_links(1);
        assert_eq!(state.add_address("tap1", A, 24), Ok(1));
        let to = IpAddr::from(Ipv4Addr::new(10, 9, 0, 0));
        assert_eq!(state.add_route(to, 16, A.into()), Err(Errno::INVAL));
    }
}
