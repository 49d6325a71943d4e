//! What the control plane has to know of interfaces for groups.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use inet::network::LOOPBACK;
use wire::ipv6;

use super::NetworkState;

impl NetworkState {
    /// There is an interface of this index.
    #[must_use]
    pub(crate) fn exists(&self, index: u16) -> bool {
        self.interfaces.get(usize::from(index)).is_some_and(|entry| !entry.is_gone())
    }

    /// The interface that has an address.
    #[must_use]
    pub(crate) fn interface_of(&self, address: Ipv4Addr) -> Option<u16> {
        let mut all = self.interfaces.iter().map(|entry| &entry.config);
        let has = all.find(|config| config.addresses.iter().any(|a| a.address == address));
        has.map(|config| config.index)
    }

    /// The first IPv4 address of an interface.
    #[must_use]
    pub(crate) fn first_address_of(&self, index: u16) -> Option<Ipv4Addr> {
        let entry = self.interfaces.get(usize::from(index))?;
        entry.config.addresses.first().map(|a| a.address)
    }

    /// The address of an interface on its link, if it is in use.
    #[must_use]
    pub(crate) fn link_local_of(&self, index: u16) -> Option<Ipv6Addr> {
        let entry = self.interfaces.get(usize::from(index))?;
        let usable = entry.config.addresses6.iter().filter(|a| a.state.is_usable());
        usable.map(|a| a.address).find(Ipv6Addr::is_unicast_link_local)
    }

    /// The interface for a group where nobody has named one: the route's, or the first that has an
    /// address.
    #[must_use]
    pub(crate) fn group_link(&self, group: IpAddr) -> Option<u16> {
        let up = self.interfaces.iter().skip(1).map(|entry| &entry.config).filter(|c| c.up);
        let mut up = up.filter(|config| match group {
            IpAddr::V4(_) => !config.addresses.is_empty(),
            IpAddr::V6(_) => !config.addresses6.is_empty(),
        });
        let route = match group {
            IpAddr::V4(group) => self.rib.lookup(group).map(|hop| hop.interface),
            IpAddr::V6(_) => None,
        };
        route.or_else(|| up.next().map(|config| config.index))
    }

    /// Groups that neighbours look for our IPv6 addresses in (RFC 4291 2.8).
    pub(crate) fn solicited_groups(&self) -> Vec<(u16, IpAddr)> {
        let links = self.interfaces.iter().skip(1).filter(|entry| !entry.is_gone());
        let all = links.flat_map(|entry| {
            let index = entry.config.index;
            let addresses = entry.config.addresses6.iter();
            addresses.map(move |a| (index, ipv6::solicited_node(a.address).into()))
        });
        all.collect()
    }

    /// Lets an interface's port have frames for groups, if it has not got them.
    pub(crate) fn hear_groups(&mut self, index: u16) {
        let Some(entry) = self.interfaces.get_mut(usize::from(index)) else { return };
        let Some(port) = entry.port.as_mut().filter(|port| !port.receives().1) else { return };
        if let Err(error) = port.set_allmulticast(true)
            && index != LOOPBACK
        {
            let name = &entry.config.name;
            tracing::warn!("{name}: does not hear groups: {error}");
        }
    }
}
