//! Interfaces as sockets are bound to them: by name or number, and the ways that leave by each.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use fib::{Address, NextHop, Rib};
use inet::{Device, DeviceWay, DeviceWays};
use rustix::io::Errno;

use super::NetworkState;

/// Linux's `IFNAMSIZ`, with the byte that ends a name.
const NAME_LEN: usize = 16;

/// With more routes than these nobody looks for those that leave by an interface: the best route counts, and the link.
const ROUTES_MAX: usize = 1024;

/// So many interfaces, with those that are gone, have places before those of the latter are used again whoever was bound to them.
pub(super) const PLACES_MAX: u16 = 16_384;

impl NetworkState {
    /// By the name that a program has given, empty for none.
    ///
    /// # Errors
    /// `ENODEV`.
    pub(crate) fn device_named(&mut self, value: &[u8]) -> Result<Device, Errno> {
        let name = value.get(..NAME_LEN - 1).unwrap_or(value);
        let name = name.split(|byte| *byte == 0).next().unwrap_or_default();
        if name.is_empty() {
            return Ok(Device::ANY);
        }
        let name = str::from_utf8(name).map_err(|_| Errno::NODEV)?;
        self.index(name).map(Device::of).map_err(|_| Errno::NODEV)
    }

    /// By the number that programs have, which is one more than ours; 0 for none. As in Linux no interface needs to have
    /// it yet.
    ///
    /// # Errors
    /// `ENODEV` for one that none will have, `EINVAL`.
    pub(crate) fn device_numbered(value: &[u8]) -> Result<Device, Errno> {
        let bytes = value.first_chunk().ok_or(Errno::INVAL)?;
        let number = i32::from_ne_bytes(*bytes);
        if number == 0 {
            return Ok(Device::ANY);
        }
        match u16::try_from(number) {
            Ok(number) => Ok(Device::of(number.saturating_sub(1))),
            Err(_) if number < 0 => Err(Errno::INVAL),
            Err(_) => Err(Errno::NODEV),
        }
    }

    /// A socket is bound to an interface. `true`: the first one, and the interface is there. One that comes later is
    /// told of with the rest of it.
    pub(crate) fn use_device(&mut self, device: Device) -> bool {
        let Some(interface) = device.interface() else { return false };
        self.devices.insert(interface) && self.name_of(interface).is_some()
    }

    /// An interface goes: whoever was bound to it stays bound to nothing, as in Linux, where no number comes twice.
    pub(super) fn forsake(&mut self, interface: u16) {
        if self.devices.remove(&interface) {
            let _new = self.forsaken.insert(interface);
        }
    }

    /// Its place is not for others.
    pub(super) fn is_forsaken(&self, interface: u16) -> bool {
        self.forsaken.contains(&interface)
    }

    /// Ways by each interface that a socket has been bound to and that is there, for the workers.
    pub(super) fn device_ways(&self) -> Vec<DeviceWays> {
        let ways = |interface: &u16| DeviceWays {
            interface: *interface,
            v4: ways_by(&self.rib, *interface),
            v6: ways_by(&self.rib6, *interface),
        };
        // Whoever binds sockets to numbers that no interface has makes nobody walk over them.
        let end = u16::try_from(self.interfaces.len()).unwrap_or(u16::MAX);
        let there = self.devices.range(..end).filter(|index| self.name_of(**index).is_some());
        there.map(ways).collect()
    }

    /// The source address for packets that leave by an interface.
    #[must_use]
    pub(crate) fn source_by(&self, interface: u16, to: IpAddr) -> Option<IpAddr> {
        let config = &self.interfaces.get(usize::from(interface))?.config;
        match to {
            IpAddr::V4(to) if self.has_address(to) => Some(to.into()),
            IpAddr::V4(to) => config.source_for(to).map(Ipv4Addr::into),
            IpAddr::V6(to) => self.source_by6(interface, to).map(Ipv6Addr::into),
        }
    }

    /// An interface's name.
    #[must_use]
    pub(crate) fn name_of(&self, index: u16) -> Option<&str> {
        let entry = self.interfaces.get(usize::from(index)).filter(|entry| !entry.is_gone())?;
        Some(&entry.config.name)
    }
}

fn ways_by<A: Address>(rib: &Rib<A>, interface: u16) -> Vec<DeviceWay<A>> {
    if rib.len() > ROUTES_MAX {
        return Vec::new();
    }
    let mut ways: Vec<DeviceWay<A>> = rib
        .iter()
        .filter(|route| route.refusal().is_none())
        .filter_map(|route| {
            let leaves = |hop: &NextHop<A>| hop.interface == interface && rib.is_reached(*hop);
            let hop = rib.paths(route).find(leaves)?;
            Some(DeviceWay { destination: route.destination, gateway: hop.gateway, mtu: route.mtu })
        })
        .collect();
    ways.sort_by_key(|way| core::cmp::Reverse(way.destination.prefix_len()));
    ways
}

#[cfg(test)]
mod tests {
    use fib::{Net, Route};

    use super::super::tests::with_links;
    use super::*;

    #[test]
    fn an_interface_is_found_by_its_name_and_by_its_number() {
        let mut state = with_links(2);
        let name = state.name_of(1).unwrap().to_owned();
        for text in [name.clone(), format!("{name}\0rest")] {
            assert_eq!(state.device_named(text.as_bytes()), Ok(Device::of(1)));
        }
        assert_eq!(state.device_named(b""), Ok(Device::ANY));
        assert_eq!(state.device_named(b"nosuch0"), Err(Errno::NODEV));
        let numbered = |number: i32| NetworkState::device_numbered(&number.to_ne_bytes());
        assert_eq!((numbered(0), numbered(2)), (Ok(Device::ANY), Ok(Device::of(1))));
        assert_eq!((numbered(-1), numbered(1 << 16)), (Err(Errno::INVAL), Err(Errno::NODEV)));
        assert_eq!(NetworkState::device_numbered(&[1]), Err(Errno::INVAL));
    }

    #[test]
    fn the_ways_by_an_interface_are_those_of_its_routes_the_longest_first() {
        let mut state = with_links(2);
        assert!(state.device_ways().is_empty());
        assert!(state.use_device(Device::of(2)) && !state.use_device(Device::of(2)));
        let near = Net::new(Ipv4Addr::new(10, 0, 0, 0), 24).unwrap();
        let router = Ipv4Addr::new(10, 0, 0, 1);
        state.rib.add(Route::connected(near, 2)).unwrap();
        state.rib.add(Route::gateway(Net::DEFAULT, 2, router)).unwrap();
        let ways = state.device_ways();
        let [ways] = &ways[..] else { panic!("{ways:?}") };
        assert_eq!(ways.interface, 2);
        let gateways: Vec<_> = ways.v4.iter().map(|way| way.gateway).collect();
        assert_eq!(gateways, [None, Some(router)]);
    }

    #[test]
    fn numbers_that_no_interface_has_cost_the_workers_nothing() {
        let mut state = with_links(2);
        assert!((3..u16::MAX).all(|index| !state.use_device(Device::of(index))));
        assert!(state.device_ways().is_empty());
        assert!(state.use_device(Device::of(2)));
        let next = state.interfaces[2].config.clone();
        let identity = state.identity;
        assert_eq!(state.place(super::super::Entry::new(next, None, identity)), 3);
        let told = |state: &NetworkState| {
            state.device_ways().iter().map(|ways| ways.interface).collect::<Vec<_>>()
        };
        assert_eq!(told(&state), [2, 3], "it has come, and a socket was bound to it before");
        state.clear_interface(2);
        assert_eq!(told(&state), [3]);
    }

    #[test]
    fn who_was_bound_to_an_interface_that_is_gone_is_not_bound_to_the_next_one() {
        let mut state = with_links(3);
        let entry = |state: &NetworkState, index: usize| {
            let config = state.interfaces[index].config.clone();
            super::super::Entry::new(config, None, state.identity)
        };
        let (bound, other, next) = (entry(&state, 2), entry(&state, 3), entry(&state, 3));
        assert!(state.use_device(Device::of(2)));
        state.clear_interface(2);
        assert_eq!(state.place(bound), 4);
        state.clear_interface(3);
        assert_eq!(state.place(other), 3, "no socket was bound to this one");
        assert!(state.device_ways().is_empty());
        let end = usize::from(PLACES_MAX);
        let (filler, identity) = (entry(&state, 4), state.identity);
        state
            .interfaces
            .resize_with(end, || super::super::Entry::new(filler.config.clone(), None, identity));
        assert_eq!(state.place(next), 2, "but not without end");
    }
}
