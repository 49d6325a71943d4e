//! IPv6 addresses of the control plane, and what links find out about themselves.

use core::net::Ipv6Addr;

use autoconf::limits::{PREFIX_PREFERRED_S, PREFIX_VALID_S, ROUTER_LIFETIME_S};
use autoconf::{Identity, Link, Message, News, Origin, Own, Settings};
use fib::{Net, NextHop, Route, RouteFlags};
use inet::network::{Address6, Favour, LOOPBACK, Link6, source_by6};
use rustix::io::Errno;
use types::Instant;
use wire::ndp::{RouterMessage, RouterPrefix};
use zerocopy::IntoBytes as _;

use super::{ADDRESSES_MAX, Entry, NetworkState, network};

/// What links want to have done.
#[derive(Debug, Default)]
pub(crate) struct LinkWork {
    /// Messages to send, with their interfaces.
    pub(crate) messages: Vec<(u16, Message)>,
    /// What has happened there.
    pub(crate) news: Vec<(u16, News)>,
    /// The workers must hear of something.
    pub(crate) changed: bool,
}

impl NetworkState {
    /// As [`NetworkState::add_address`]. An interface with an IPv6 address has one of its link too
    /// (RFC 4291 2.1), made of its station's if the operator has given none.
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
        if self.is_joined(index) {
            return Err(Errno::BUSY);
        }
        let of_the_link = address.is_unicast_link_local();
        let clashes = self.interfaces.iter().any(|entry| {
            let same_link = !of_the_link || entry.config.index == index;
            same_link && entry.link.addresses().any(|own| own.address == address)
        });
        if clashes {
            return Err(Errno::EXIST);
        }
        let settings = self.link_settings(index);
        let entry = self.entry(name)?;
        if entry.link.addresses().count() >= ADDRESSES_MAX {
            return Err(Errno::NOSPC);
        }
        entry.link.set(settings);
        if index != LOOPBACK && !of_the_link {
            entry.link.add_link_local();
        }
        entry.link.add(address, len);
        entry.adopt_link();
        if index != LOOPBACK && !of_the_link {
            // A second address of the same network finds its route there already.
            let _ = self.rib6.add(Route::connected(network(address, len), index));
        }
        Ok(index)
    }

    /// As [`NetworkState::delete_address`].
    pub(super) fn delete_address6(&mut self, name: &str, address: Ipv6Addr) -> Result<(), Errno> {
        let index = self.index(name)?;
        let entry = self.entry(name)?;
        let gone = entry.link.remove(address).ok_or(Errno::ADDRNOTAVAIL)?;
        entry.adopt_link();
        self.disconnect(network(gone.address, gone.prefix_len), index);
        Ok(())
    }

    /// Routers on this link are believed, or no longer, whatever holds for all links.
    ///
    /// # Errors
    /// `ENXIO`; `EOPNOTSUPP` for `lo0`.
    pub(crate) fn set_accept_routers(&mut self, name: &str, on: bool) -> Result<(), Errno> {
        let entry = self.entry(name)?;
        if entry.config.index == LOOPBACK {
            return Err(Errno::OPNOTSUPP);
        }
        entry.accept_routers = on;
        Ok(())
    }

    /// Hosts on this link are told of this router as long as it passes packets on, or no longer.
    ///
    /// # Errors
    /// `ENXIO`; `EOPNOTSUPP` for `lo0`.
    pub(crate) fn set_advertise(&mut self, name: &str, on: bool) -> Result<(), Errno> {
        let entry = self.entry(name)?;
        if entry.config.index == LOOPBACK {
            return Err(Errno::OPNOTSUPP);
        }
        entry.advertise = on;
        Ok(())
    }

    /// What is to be said to hosts when the daemon ends: that there is no router any more.
    pub(crate) fn resignations(&mut self) -> Vec<(u16, Message)> {
        for entry in &mut self.interfaces {
            entry.advertise = false;
        }
        let mut said = Vec::new();
        for index in 0..u16::try_from(self.interfaces.len()).unwrap_or(u16::MAX) {
            let settings = self.link_settings(index);
            let Some(link) = self.link_mut(index) else { continue };
            link.set(settings);
            said.extend(core::iter::from_fn(|| link.poll_transmit()).map(|what| (index, what)));
        }
        said
    }

    /// What this router says on a link, from which address of it. The prefixes are those of the operator's own
    /// addresses there.
    pub(crate) fn advertisement(&self, index: u16, is_router: bool) -> Option<(Ipv6Addr, Vec<u8>)> {
        let entry = self.interfaces.get(usize::from(index)).filter(|entry| !entry.is_gone())?;
        let config = &entry.config;
        let of_the_link = |own: &&Own| own.address.is_unicast_link_local() && own.state.is_usable();
        let source = entry.link.addresses().find(of_the_link)?.address;
        let given = entry.link.addresses().filter(|own| own.origin == Origin::Operator);
        let nets = given.filter(|own| !own.address.is_unicast_link_local() && own.prefix_len < 128);
        let mut prefixes: Vec<RouterPrefix> = nets
            .map(|own| {
                let prefix = network(own.address, own.prefix_len).addr();
                RouterPrefix::new(prefix, own.prefix_len, PREFIX_VALID_S, PREFIX_PREFERRED_S)
            })
            .collect();
        prefixes.dedup();
        let lifetime = if is_router { ROUTER_LIFETIME_S } else { 0 };
        let message = RouterMessage::new(lifetime, config.mac, config.mtu, self.tuning.ttl);
        let options = prefixes.iter().flat_map(|prefix| prefix.as_bytes()).copied();
        Some((source, message.as_bytes().iter().copied().chain(options).collect()))
    }

    /// What holds for a link. Who passes packets on is a router itself, and believes no other.
    fn link_settings(&self, index: u16) -> Settings {
        let own = self.interfaces.get(usize::from(index)).is_some_and(|entry| entry.accept_routers);
        let asked = own || self.tuning.accept_routers;
        let accept = index != LOOPBACK && asked && !self.tuning.host.forward6;
        let tells = self.interfaces.get(usize::from(index)).is_some_and(|entry| entry.advertise);
        let advertise = tells && self.tuning.host.forward6;
        let dad_count = if index == LOOPBACK { 0 } else { self.tuning.dad_count };
        let temporary = self.tuning.temporary();
        Settings { accept, advertise, dad_count, optimistic: self.tuning.optimistic, temporary }
    }

    /// A link has heard a message.
    pub(crate) fn link_mut(&mut self, index: u16) -> Option<&mut Link> {
        let entry = self.interfaces.get_mut(usize::from(index)).filter(|entry| !entry.is_gone());
        entry.map(|entry| &mut entry.link)
    }

    /// Does what is due on the links.
    pub(crate) fn attend_links(
        &mut self,
        now: Instant,
        random: &mut dyn FnMut() -> u64,
    ) -> LinkWork {
        let mut work = LinkWork::default();
        for index in 0..u16::try_from(self.interfaces.len()).unwrap_or(u16::MAX) {
            let settings = self.link_settings(index);
            let Some(entry) = self.interfaces.get_mut(usize::from(index)) else { continue };
            if entry.is_gone() {
                continue;
            }
            let favours = self.tuning.prefer_temporary;
            let favoured = core::mem::replace(&mut entry.prefer_temporary, favours);
            entry.link.set(settings);
            entry.link.timeout(now, random);
            let sent = core::iter::from_fn(|| entry.link.poll_transmit());
            work.messages.extend(sent.map(|message| (index, message)));
            work.news.extend(entry.link.take_news().into_iter().map(|news| (index, news)));
            if entry.link.take_changed() || favours != favoured {
                work.changed = true;
                entry.adopt_link();
                self.adopt_routes(index);
            }
        }
        work
    }

    /// When a link has something to do next.
    #[must_use]
    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        let there = self.interfaces.iter().filter(|entry| !entry.is_gone());
        there.filter_map(|entry| entry.link.next_timeout()).min()
    }

    /// Makes the routes that routers have told of be those in force. What the operator has said about
    /// the same destinations stays.
    fn adopt_routes(&mut self, index: u16) {
        let Some(entry) = self.interfaces.get_mut(usize::from(index)) else { return };
        let wanted = told_routes(&entry.link, index);
        let before = core::mem::take(&mut entry.told_routes);
        let (stay, go): (Vec<_>, Vec<_>) = before.into_iter().partition(|r| wanted.contains(r));
        for route in go {
            if self.rib6.route(route.destination) == Some(&route) {
                // It was just found.
                let _ = self.rib6.delete(route.destination);
            }
        }
        let rib = &mut self.rib6;
        let added = |route: &Route<Ipv6Addr>| stay.contains(route) || rib.add(*route).is_ok();
        let in_force = wanted.into_iter().filter(added).collect();
        if let Some(entry) = self.interfaces.get_mut(usize::from(index)) {
            entry.told_routes = in_force;
        }
    }

    /// Hops of new sockets' packets, if a router has told.
    #[must_use]
    pub(crate) fn told_hops(&self) -> Option<u8> {
        let there = self.interfaces.iter().filter(|entry| !entry.is_gone());
        there.filter_map(|entry| entry.link.hop_limit()).max()
    }

    /// What links have counted together.
    #[must_use]
    pub(crate) fn link_counts(&self) -> autoconf::Counts {
        let mut all = autoconf::Counts::default();
        for counts in self.interfaces.iter().map(|entry| entry.link.counts()) {
            all.duplicates += counts.duplicates;
            all.advertisements += counts.advertisements;
            all.refused += counts.refused;
        }
        all
    }

    /// Is the address ours, and in use? One of a link is so on one link.
    #[must_use]
    pub(crate) fn has_address6(&self, address: Ipv6Addr, zone: u32) -> bool {
        let of_a_link = address.is_unicast_link_local();
        self.interfaces.iter().any(|entry| {
            let here = !of_a_link || u32::from(entry.config.index) == zone;
            let is_it = |a: &Address6| a.address == address && a.state.is_usable();
            here && entry.config.addresses6.iter().any(is_it)
        })
    }

    /// The source address for packets to a destination, which on a link is told by `zone`, by a table of routes.
    pub(crate) fn source_for6(
        &self,
        to: Ipv6Addr,
        zone: u32,
        table: u8,
    ) -> Result<Ipv6Addr, Errno> {
        if to.is_loopback() || self.has_address6(to, zone) {
            return Ok(to);
        }
        let interface = if to.is_unicast_link_local() || to.is_multicast() && zone != 0 {
            u16::try_from(zone).map_err(|_| Errno::NODEV)?
        } else {
            let hop = self.ribs(table).1.lookup(to);
            let hop = hop.ok_or_else(|| self.without_way(to.into(), table))?;
            hop.interface
        };
        self.source_by6(interface, to).ok_or(Errno::ADDRNOTAVAIL)
    }

    /// The source address for packets that leave by an interface.
    pub(super) fn source_by6(&self, interface: u16, to: Ipv6Addr) -> Option<Ipv6Addr> {
        let interface = self.interfaces.get(usize::from(interface))?;
        source_by6(&interface.config, self.interfaces.iter().map(|entry| &entry.config), to)
    }
}

impl Entry {
    /// Makes what the link knows the interface's.
    pub(super) fn adopt_link(&mut self) {
        let temporary = if self.prefer_temporary { Favour::More } else { Favour::Less };
        let address = |own: &Own| Address6 {
            address: own.address,
            prefix_len: own.prefix_len,
            state: own.state,
            favour: if own.origin == Origin::Temporary { temporary } else { Favour::Same },
        };
        self.config.addresses6 = self.link.addresses().map(address).collect();
        self.config.link6 = Link6 {
            mtu: self.link.mtu(),
            accepts_routers: self.link.accepts(),
            advertises: self.link.advertises(),
        };
    }
}

/// The way to everywhere, and the prefixes on the link.
fn told_routes(link: &Link, interface: u16) -> Vec<Route<Ipv6Addr>> {
    let flags = RouteFlags::DYNAMIC;
    let on_link = link.prefixes().map(|(prefix, len)| Route {
        destination: network(prefix, len),
        next_hop: NextHop { interface, gateway: None },
        flags,
        mtu: None,
    });
    let default = link.default_router().map(|router| Route {
        destination: Net::DEFAULT,
        next_hop: NextHop { interface, gateway: Some(router) },
        flags,
        mtu: None,
    });
    on_link.chain(default).collect()
}

/// What the stable identifiers of this host are made from, unless the operator has said it: what the
/// machine is known by, or else something new.
pub(super) fn identity(told: Option<[u8; 16]>) -> Identity {
    use core::hash::Hasher as _;
    use siphasher::sip128::{Hasher128 as _, SipHasher24};
    let secret = told.unwrap_or_else(|| {
        let Ok(machine) = std::fs::read("/etc/machine-id") else {
            let mut secret = [0; 16];
            // Without randomness the daemon does not start.
            let _ = getrandom::fill(&mut secret);
            return secret;
        };
        let mut hasher = SipHasher24::new_with_key(b"io-pkt RFC 7217\0");
        hasher.write(&machine);
        hasher.finish128().as_u128().to_be_bytes()
    });
    Identity { secret }
}

#[cfg(test)]
mod tests {
    use super::super::tests::with_links;
    use super::*;
    use crate::tuning::Tuning;
    use core::time::Duration;
    use wire::ndp::Ndp;
    use wire::{icmp6, ipv4, ipv6};

    const ROUTER: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);

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

    fn attend(state: &mut NetworkState, seconds: u64) -> LinkWork {
        let mut work = LinkWork::default();
        let until = Instant::ZERO + Duration::from_secs(seconds);
        while let Some(due) = state.next_timeout().filter(|due| *due <= until) {
            let step = state.attend_links(due.max(Instant::from_nanos(1)), &mut || 1);
            work.messages.extend(step.messages);
            work.news.extend(step.news);
        }
        work
    }

    fn addresses(state: &NetworkState) -> Vec<(Ipv6Addr, bool)> {
        let all = &state.interfaces[1].config.addresses6;
        all.iter().map(|a| (a.address, a.state.is_usable())).collect()
    }

    #[test]
    fn an_address_is_ours_when_nobody_else_has_it() {
        let mut state = with_links(1);
        let address: Ipv6Addr = "2001:db8::2".parse().unwrap();
        let _ = state.add_address("tap1", address, 64).unwrap();
        assert!(!state.has_address6(address, 0));
        let work = attend(&mut state, 5);
        assert_eq!(work.messages.len(), 2, "its own and its link's: {:?}", work.messages);
        assert!(state.has_address6(address, 0));
        assert!(work.news.contains(&(1, News::Usable(address))));
    }

    /// A router for 100 s with a prefix for 50 s.
    fn advertise(state: &mut NetworkState) {
        let mut body = vec![0; 8];
        body.extend([3, 4, 64, 0xc0, 0, 0, 0, 50, 0, 0, 0, 50, 0, 0, 0, 0]);
        body.extend("2001:db8:5::".parse::<Ipv6Addr>().unwrap().octets());
        let header = icmp6::Header::new(icmp6::Type(134), icmp6::Code::ZERO, 100);
        let packet = ipv6::Header::new(ROUTER, ROUTER, ipv4::Protocol::ICMPV6, 8 + body.len());
        let packet = packet.unwrap().with_hop_limit(255);
        let message = icmp6::Message { header: &header, body: &body };
        let ndp = Ndp::parse(&packet, &message).unwrap();
        state.link_mut(1).unwrap().hear(ROUTER, &ndp, Instant::ZERO);
    }

    #[test]
    fn a_router_gives_address_and_routes_and_they_end_with_their_time() {
        let mut state = with_links(1);
        assert_eq!(state.set_accept_routers("lo0", true), Err(Errno::OPNOTSUPP));
        state.set_accept_routers("tap1", true).unwrap();
        let _ = state.attend_links(Instant::from_nanos(1), &mut || 1);
        advertise(&mut state);
        let _ = attend(&mut state, 4);
        assert_eq!(addresses(&state).len(), 2);
        assert!(addresses(&state).iter().all(|(_, usable)| *usable), "{:?}", addresses(&state));
        let far: Ipv6Addr = "2001:db9::1".parse().unwrap();
        assert_eq!(state.rib6.lookup(far).and_then(|hop| hop.gateway), Some(ROUTER));
        let near: Ipv6Addr = "2001:db8:5::9".parse().unwrap();
        assert_eq!(state.rib6.lookup(near).map(|hop| hop.gateway), Some(None));
        let _ = attend(&mut state, 60);
        assert_eq!(addresses(&state).len(), 1, "the link's own stays");
        assert_eq!(state.rib6.lookup(near).and_then(|hop| hop.gateway), Some(ROUTER));
        let _ = attend(&mut state, 100);
        assert_eq!((state.rib6.lookup(far), state.rib6.len()), (None, 0));
    }

    #[test]
    fn the_operators_default_route_is_not_a_routers() {
        let mut state = with_links(1);
        let _ = state.add_address("tap1", "2001:db8::2".parse::<Ipv6Addr>().unwrap(), 64).unwrap();
        let gateway: Ipv6Addr = "2001:db8::1".parse().unwrap();
        state.add_route(Ipv6Addr::UNSPECIFIED.into(), 0, gateway.into()).unwrap();
        state.set_accept_routers("tap1", true).unwrap();
        let _ = state.attend_links(Instant::from_nanos(1), &mut || 1);
        advertise(&mut state);
        let _ = attend(&mut state, 200);
        let far: Ipv6Addr = "2001:db9::1".parse().unwrap();
        assert_eq!(state.rib6.lookup(far).and_then(|hop| hop.gateway), Some(gateway));
    }
}
