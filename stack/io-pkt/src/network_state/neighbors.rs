//! Neighbours that the operator has set: such as are where he says, and such as we answer for.

use core::net::{IpAddr, Ipv4Addr};

use inet::network::StaticNeighbor;
use rustix::io::Errno;
use types::MacAddr;

use super::NetworkState;

/// Static neighbours, and as many to answer for.
const NEIGHBORS_MAX: usize = 1024;

impl NetworkState {
    /// Adds a static neighbour on the link its address belongs to.
    ///
    /// # Errors
    /// `EINVAL`, `ENETUNREACH`, `ENOSPC`.
    pub(crate) fn add_neighbor(&mut self, address: IpAddr, mac: MacAddr) -> Result<(), Errno> {
        if !mac.is_unicast() {
            return Err(Errno::INVAL);
        }
        let interface = match address {
            IpAddr::V4(v4) => self.rib.lookup(v4).filter(|hop| hop.gateway.is_none()),
            IpAddr::V6(v6) if v6.is_unicast_link_local() => return Err(Errno::INVAL),
            IpAddr::V6(v6) => {
                let hop = self.rib6.lookup(v6).filter(|hop| hop.gateway.is_none());
                hop.map(|hop| fib::NextHop { interface: hop.interface, gateway: None })
            }
        };
        let interface = interface.ok_or(Errno::NETUNREACH)?.interface;
        put(&mut self.neighbors, StaticNeighbor { address, mac, interface })
    }

    /// Lets this host answer for another one, which it passes packets on to (RFC 1027): on the link in whose
    /// network the address is. `None`: with the interface's own MAC address.
    ///
    /// # Errors
    /// `EINVAL`, `ENETUNREACH`, `ENOSPC`.
    pub(crate) fn publish_neighbor(
        &mut self,
        address: Ipv4Addr,
        mac: Option<MacAddr>,
    ) -> Result<(), Errno> {
        let mut links = self.interfaces.iter().skip(1).map(|entry| &entry.config);
        let link = links.find(|link| link.addresses.iter().any(|own| own.is_near(address)));
        let link = link.ok_or(Errno::NETUNREACH)?;
        let (mac, interface) = (mac.unwrap_or(link.mac), link.index);
        if !mac.is_unicast() || link.addresses.iter().any(|own| own.address == address) {
            return Err(Errno::INVAL);
        }
        put(&mut self.published, StaticNeighbor { address: address.into(), mac, interface })
    }

    /// Forgets a static neighbour and does not answer for it any longer; `false`: it is none.
    pub(crate) fn delete_neighbor(&mut self, address: IpAddr) -> bool {
        let all = [&mut self.neighbors, &mut self.published];
        let deleted = all.map(|all| all.extract_if(.., |n| n.address == address).count());
        deleted != [0, 0]
    }

    /// Neighbours that this host answers for.
    pub(crate) fn published(&self) -> &[StaticNeighbor] {
        &self.published
    }
}

fn put(all: &mut Vec<StaticNeighbor>, new: StaticNeighbor) -> Result<(), Errno> {
    all.retain(|n| n.address != new.address);
    if all.len() >= NEIGHBORS_MAX {
        return Err(Errno::NOSPC);
    }
    all.push(new);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network_state::tests::with_links;

    const MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 9]);

    #[test]
    fn a_neighbour_is_where_its_network_is() {
        let mut state = with_links(2);
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        assert_eq!(state.add_address("tap1", ip("10.1.0.1"), 16), Ok(1));
        assert_eq!(state.add_address("tap2", ip("2001:db8::1"), 64), Ok(2));
        assert_eq!(state.add_neighbor(ip("10.1.0.9"), MAC), Ok(()));
        assert_eq!(state.add_neighbor(ip("2001:db8::9"), MAC), Ok(()));
        assert_eq!(state.add_neighbor(ip("10.2.0.9"), MAC), Err(Errno::NETUNREACH));
        let links: Vec<u16> = state.publish().neighbors.iter().map(|n| n.interface).collect();
        assert_eq!(links, [1, 2]);
        let near = Ipv4Addr::new(10, 1, 0, 77);
        assert_eq!(state.publish_neighbor(near, Some(MAC)), Ok(()));
        assert_eq!(state.publish_neighbor(Ipv4Addr::new(10, 1, 0, 1), None), Err(Errno::INVAL));
        assert_eq!(state.publish_neighbor(Ipv4Addr::new(9, 1, 0, 1), None), Err(Errno::NETUNREACH));
        assert_eq!(state.publish().published[0].interface, 1);
        assert!(state.delete_neighbor(near.into()) && !state.delete_neighbor(near.into()));
        assert!(state.publish().published.is_empty());
        state.clear_interface(1);
        assert_eq!(state.publish().neighbors.len(), 1);
    }
}
