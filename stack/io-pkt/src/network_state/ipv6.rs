//! IPv6 addresses of the control plane.

use core::net::Ipv6Addr;

use fib::Route;
use inet::network::{Address6, LOOPBACK};
use rustix::io::Errno;
use types::MacAddr;

use super::{ADDRESSES_MAX, NetworkState, network};

impl NetworkState {
    /// As [`NetworkState::add_address`]. An interface with an IPv6 address has one of its link too
    /// (RFC 4291 2.1), made of its station's if the operator has given none; and it hears groups,
    /// without which no neighbour would find it.
    pub(super) fn add_address6(
        &mut self,
        name: &str,
        address: Ipv6Addr,
        len: u8,
    ) -> Result<u16, Errno> {
        let refused = address.is_unspecified() || address.is_multicast() || address.is_loopback();
        if refused || !(1..=128).contains(&len) || address.to_ipv4_mapped().is_some() {
            return Err(Errno::INVAL);
        }
        let index = self.index(name)?;
        let of_the_link = address.is_unicast_link_local();
        let clashes = self.interfaces.iter().any(|entry| {
            let same_link = !of_the_link || entry.config.index == index;
            same_link && entry.config.addresses6.iter().any(|a| a.address == address)
        });
        if clashes {
            return Err(Errno::EXIST);
        }
        let entry = self.entry(name)?;
        let (mac, addresses) = (entry.config.mac, &mut entry.config.addresses6);
        if addresses.len() >= ADDRESSES_MAX {
            return Err(Errno::NOSPC);
        }
        if index != LOOPBACK && !of_the_link && addresses.is_empty() {
            addresses.push(Address6 { address: link_local(mac), prefix_len: 64 });
        }
        addresses.push(Address6 { address, prefix_len: len });
        if let Some(port) = &mut entry.port
            && let Err(error) = port.set_allmulticast(true)
        {
            tracing::warn!("{name}: may not hear who looks for its IPv6 addresses: {error}");
        }
        if index != LOOPBACK && !of_the_link {
            // A second address of the same network finds its route there already.
            let _ = self.rib6.add(Route::connected(network(address, len), index));
        }
        Ok(index)
    }

    /// As [`NetworkState::delete_address`].
    pub(super) fn delete_address6(&mut self, name: &str, address: Ipv6Addr) -> Result<(), Errno> {
        let index = self.index(name)?;
        let addresses = &mut self.entry(name)?.config.addresses6;
        let at = addresses.iter().position(|a| a.address == address).ok_or(Errno::ADDRNOTAVAIL)?;
        let gone = addresses.remove(at);
        self.disconnect(network(gone.address, gone.prefix_len), index);
        Ok(())
    }

    /// Is the address ours? One of a link is so on one link.
    #[must_use]
    pub(crate) fn has_address6(&self, address: Ipv6Addr, zone: u32) -> bool {
        let of_a_link = address.is_unicast_link_local();
        self.interfaces.iter().any(|entry| {
            let here = !of_a_link || u32::from(entry.config.index) == zone;
            here && entry.config.addresses6.iter().any(|a| a.address == address)
        })
    }

    /// The source address for packets to a destination, which on a link is told by `zone`.
    pub(crate) fn source_for6(&self, to: Ipv6Addr, zone: u32) -> Result<Ipv6Addr, Errno> {
        if to.is_loopback() || self.has_address6(to, zone) {
            return Ok(to);
        }
        let interface = if to.is_unicast_link_local() || to.is_multicast() && zone != 0 {
            u16::try_from(zone).map_err(|_| Errno::NODEV)?
        } else {
            self.rib6.lookup(to).ok_or(Errno::NETUNREACH)?.interface
        };
        let interface = self.interfaces.get(usize::from(interface));
        interface.and_then(|e| e.config.source_for6(to)).ok_or(Errno::ADDRNOTAVAIL)
    }
}

/// A station's address on its link: fe80::/64 and the modified EUI-64 (RFC 4291 appendix A).
fn link_local(MacAddr([a, b, c, d, e, f]): MacAddr) -> Ipv6Addr {
    let pair = |high: u8, low: u8| u16::from_be_bytes([high, low]);
    Ipv6Addr::new(0xfe80, 0, 0, 0, pair(a ^ 2, b), pair(c, 0xff), pair(0xfe, d), pair(e, f))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tuning::Tuning;

    #[test]
    fn a_stations_address_on_its_link() {
        let mac = MacAddr([0x02, 0x1b, 0x63, 0x84, 0x45, 0xe6]);
        assert_eq!(link_local(mac), "fe80::1b:63ff:fe84:45e6".parse::<Ipv6Addr>().unwrap());
    }

    #[test]
    fn bad_addresses_and_routes_without_a_link_are_refused() {
        let mut state = NetworkState::new(Tuning::default());
        let mut add =
            |text: &str, len| state.add_address("lo0", text.parse::<Ipv6Addr>().unwrap(), len);
        assert_eq!(add("2001:db8::2", 129), Err(Errno::INVAL));
        for bad in ["::", "ff02::1", "::ffff:10.0.0.1"] {
            assert_eq!(add(bad, 64), Err(Errno::INVAL), "{bad}");
        }
        assert_eq!(add("2001:db8::2", 128), Ok(LOOPBACK));
        assert_eq!(add("2001:db8::2", 64), Err(Errno::EXIST));
        let gateway: Ipv6Addr = "2001:db8::1".parse().unwrap();
        let nowhere = state.add_route(Ipv6Addr::UNSPECIFIED.into(), 0, gateway.into());
        assert_eq!(nowhere, Err(Errno::NETUNREACH));
        let address: Ipv6Addr = "2001:db8::2".parse().unwrap();
        assert_eq!(state.delete_address("lo0", address), Ok(()));
        assert_eq!(state.delete_address("lo0", address), Err(Errno::ADDRNOTAVAIL));
    }
}
