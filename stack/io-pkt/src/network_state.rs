//! The control plane's own copy of the network: interfaces, addresses, routes. Each change makes a
//! new snapshot for the workers.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::collections::BTreeSet;
use std::sync::Arc;

use autoconf::{Identity, Link, Origin, State};
use devnp::Port;
use fib::{Rib, Route};
use hashbrown::HashSet;
use inet::network::{
    Address, Interface, LOOPBACK, Link6, Network, RawWanted, StaticNeighbor, TxChecksum,
};
use proto::message::Loaded;
use proto::table::{AddressRow, InterfaceRow};
use rustix::io::Errno;
use types::{Instant, MacAddr};

use crate::drivers::Watch;
use crate::tuning::Tuning;

mod bridge;
mod carrier;
pub(crate) mod changes;
mod device;
mod dhcp;
mod groups;
mod ipv4;
mod ipv4ll;
pub(crate) mod ipv6;
mod lagg;
mod load;
mod neighbors;
mod redirects;
mod rename;
mod route_rows;
mod routes;
mod row;
mod tables;
pub(crate) mod tree;
mod vlan;
mod way;

use carrier::Carrier;
use device::PLACES_MAX;
use dhcp::Dhcp;
use ipv4ll::LinkLocal;
use load::Loading;
use redirects::Redirects;
use routes::network;
use tables::Table;
use vlan::Cloned;

/// Addresses of one interface.
const ADDRESSES_MAX: usize = 64;
/// MTU of `lo0`: as large as a packet buffer takes.
const LOOPBACK_MTU: u16 = 1500;

/// An interface with its port; `lo0` has none. The place of one that is gone has no name until the next
/// comes.
struct Entry {
    config: Interface,
    port: Option<Port>,
    /// What it is if it was made, not attached.
    cloned: Option<Cloned>,
    /// What the driver has said of its link.
    seen: Carrier,
    /// What each worker sleeps on.
    watches: Vec<Watch>,
    /// What IPv6 knows of its link.
    link: Link,
    /// Routers on the link are believed.
    accept_routers: bool,
    /// Addresses that change are taken before others (RFC 6724 5, rule 7).
    prefer_temporary: bool,
    /// Hosts on the link are told that this is a router, while it is one.
    advertise: bool,
    /// The operator wants its port to receive frames for others.
    promiscuous: bool,
    /// A server is asked for its address.
    dhcp: Option<Box<Dhcp>>,
    /// An IPv4 address of the link's own is wanted.
    link_local: Option<Box<LinkLocal>>,
    /// Routes in force that routers have told of.
    told_routes: Vec<Route<Ipv6Addr>>,
}

impl Entry {
    fn new(config: Interface, port: Option<Port>, identity: Identity) -> Self {
        let link = Link::new(&config.name, config.mac, identity);
        let (watches, told_routes) = (Vec::new(), Vec::new());
        let (cloned, dhcp, link_local) = (None, None, None);
        let promiscuous = port.as_ref().is_some_and(|port| port.receives().0);
        let seen = Carrier::of(port.as_ref());
        Self {
            config,
            port,
            cloned,
            seen,
            watches,
            link,
            accept_routers: false,
            prefer_temporary: true,
            advertise: false,
            promiscuous,
            dhcp,
            link_local,
            told_routes,
        }
    }

    fn is_gone(&self) -> bool {
        self.config.name.is_empty()
    }
}

/// Interfaces, routes and static neighbours.
pub(crate) struct NetworkState {
    interfaces: Vec<Entry>,
    rib: Rib,
    rib6: Rib<Ipv6Addr>,
    /// Other tables than that.
    tables: Vec<Table>,
    /// Many routes that are coming.
    loading: Option<Loading>,
    /// What has become of it, or of the last one.
    loaded: Loaded,
    neighbors: Vec<StaticNeighbor>,
    /// Neighbours that this host answers for.
    published: Vec<StaticNeighbor>,
    identity: Identity,
    /// Groups that sockets listen to, with their interfaces.
    pub(crate) groups: Arc<HashSet<(u16, IpAddr)>>,
    /// What raw sockets are open for.
    pub(crate) raw: RawWanted,
    /// Somebody watches.
    watched: bool,
    /// Routes that redirects have made.
    redirects: Redirects,
    /// Interfaces that sockets have been bound to.
    devices: BTreeSet<u16>,
    /// Those of them that are gone: sockets that are still bound to them shall not find others at their places.
    forsaken: BTreeSet<u16>,
    /// When drivers were asked of their links.
    looked: Instant,
    /// What the operator has set.
    pub(crate) tuning: Tuning,
}

impl NetworkState {
    /// Only `lo0` with 127.0.0.1 and ::1; everything else as the operator has set it.
    #[must_use]
    pub(crate) fn new(tuning: Tuning) -> Self {
        let lo0 = Interface {
            index: LOOPBACK,
            name: "lo0".into(),
            mac: MacAddr::ZERO,
            mtu: LOOPBACK_MTU,
            up: true,
            table: 0,
            addresses: vec![Address { address: Ipv4Addr::LOCALHOST, prefix_len: 8 }],
            addresses6: Vec::new(),
            link6: Link6::default(),
            dhcp: false,
            arp_watched: None,
            tx_checksum: TxChecksum::Stack,
            loans: false,
            tso_buffers_max: 0,
            tso_ipv4_checksum: false,
        };
        let identity = ipv6::identity(tuning.stable_secret);
        let mut lo0 = Entry::new(lo0, None, identity);
        lo0.link.add(Ipv6Addr::LOCALHOST, 128);
        lo0.adopt_link();
        Self {
            interfaces: vec![lo0],
            rib: Rib::new(),
            rib6: Rib::new(),
            tables: Vec::new(),
            loading: None,
            loaded: Loaded::default(),
            neighbors: Vec::new(),
            published: Vec::new(),
            identity,
            groups: Arc::default(),
            raw: RawWanted::default(),
            watched: false,
            redirects: Redirects::new(),
            devices: BTreeSet::new(),
            forsaken: BTreeSet::new(),
            looked: Instant::ZERO,
            tuning,
        }
    }

    /// Adds a port as an interface that is up and has no address yet; returns its index.
    pub(crate) fn add_port(&mut self, port: Port) -> u16 {
        let capabilities = port.capabilities();
        let offload = capabilities.tcp_checksum && capabilities.udp_checksum;
        let config = Interface {
            index: 0,
            name: port.name().into(),
            mac: port.mac(),
            mtu: port.mtu(),
            up: true,
            table: 0,
            addresses: Vec::new(),
            addresses6: Vec::new(),
            link6: Link6::default(),
            dhcp: false,
            arp_watched: None,
            tx_checksum: if offload { TxChecksum::Port } else { TxChecksum::Stack },
            loans: capabilities.loans,
            tso_buffers_max: if offload { capabilities.tso_buffers_max } else { 0 },
            tso_ipv4_checksum: capabilities.ipv4_checksum,
        };
        self.place(Entry::new(config, Some(port), self.identity))
    }

    /// Takes an interface in, at the first place that is free; returns its index.
    fn place(&mut self, mut entry: Entry) -> u16 {
        let is_free = |entry: &&Entry| entry.is_gone() && !self.is_forsaken(entry.config.index);
        let free = self.interfaces.iter().find(is_free).map(|entry| entry.config.index);
        let index = free.unwrap_or_else(|| self.next_index());
        let place = usize::from(index);
        let _again = self.forsaken.remove(&index);
        entry.config.index = index;
        match self.interfaces.get_mut(place) {
            Some(gone) => *gone = entry,
            None => self.interfaces.push(entry),
        }
        index
    }

    /// The place behind all others or, where there are so many, that of one to which a socket was bound.
    fn next_index(&self) -> u16 {
        let next = u16::try_from(self.interfaces.len()).ok().filter(|next| *next < PLACES_MAX);
        next.or_else(|| self.forsaken.first().copied()).unwrap_or(u16::MAX)
    }

    /// Takes an interface out, with its addresses, routes and static neighbours. Its index is the
    /// next one's, unless a socket was bound to it.
    pub(crate) fn remove_interface(&mut self, index: u16) -> Option<Port> {
        let entry = self.interfaces.get_mut(usize::from(index))?;
        let port = entry.port.take()?;
        self.clear_interface(index);
        Some(port)
    }

    fn clear_interface(&mut self, index: u16) {
        self.take_off_children(index);
        self.leave_bridges(index);
        self.leave_laggs(index);
        self.end_redirects_over(index);
        // Its index may be another's soon, and no snapshot may name it then.
        self.end_load();
        self.forsake(index);
        let Some(entry) = self.interfaces.get_mut(usize::from(index)) else { return };
        entry.watches.clear();
        entry.config.up = false;
        entry.config.addresses.clear();
        entry.config.addresses6.clear();
        entry.told_routes.clear();
        entry.dhcp = None;
        entry.link_local = None;
        entry.config.arp_watched = None;
        entry.config.table = 0;
        entry.config.name.clear();
        self.disconnect_all::<Ipv4Addr>(index);
        self.disconnect_all::<Ipv6Addr>(index);
        self.forget_in_tables(index);
        self.neighbors.retain(|neighbor| neighbor.interface != index);
        self.published.retain(|neighbor| neighbor.interface != index);
        self.fit_receivers();
    }

    /// Index of an interface.
    ///
    /// # Errors
    /// `ENXIO`.
    pub(crate) fn index(&mut self, name: &str) -> Result<u16, Errno> {
        self.entry(name).map(|entry| entry.config.index)
    }

    /// An interface's port.
    pub(crate) fn port_mut(&mut self, index: u16) -> Option<&mut Port> {
        self.interfaces.get_mut(usize::from(index))?.port.as_mut()
    }

    /// Notes what the workers sleep on at an interface, and returns what they slept on before.
    pub(crate) fn set_watches(&mut self, index: u16, watches: Vec<Watch>) -> Vec<Watch> {
        let entry = self.interfaces.get_mut(usize::from(index));
        entry.map(|entry| core::mem::replace(&mut entry.watches, watches)).unwrap_or_default()
    }

    /// The workers have an interface's queues.
    #[must_use]
    pub(crate) fn has_watches(&self, index: u16) -> bool {
        self.interfaces.get(usize::from(index)).is_some_and(|entry| !entry.watches.is_empty())
    }

    /// Ports with their interface index.
    pub(crate) fn ports_mut(&mut self) -> impl Iterator<Item = (u16, &mut Port)> {
        self.interfaces.iter_mut().filter_map(|e| Some((e.config.index, e.port.as_mut()?)))
    }

    /// Takes the ports out, for detaching them at exit.
    pub(crate) fn take_ports(&mut self) -> Vec<Port> {
        self.interfaces.iter_mut().filter_map(|e| e.port.take()).collect()
    }

    /// A snapshot for the workers.
    #[must_use]
    pub(crate) fn publish(&self) -> Network {
        Network {
            interfaces: self.interfaces.iter().map(published).collect(),
            fib: self.snapshot(&self.rib),
            fib6: self.snapshot(&self.rib6),
            tables: self.published_tables(),
            neighbors: self.neighbors.clone(),
            published: self.published.clone(),
            groups: Arc::clone(&self.groups),
            device_ways: self.device_ways().into(),
            raw: self.raw,
            redirected: self.redirected(),
            watched: self.watched,
            tcp: self.tuning.tcp,
            links: self.links(),
            host: self.tuning.host,
        }
    }

    fn entry(&mut self, name: &str) -> Result<&mut Entry, Errno> {
        let known = |e: &&mut Entry| e.config.name == name && !e.is_gone();
        self.interfaces.iter_mut().find(known).ok_or(Errno::NXIO)
    }

    /// Sets an interface up or down; up again brings back the routes to its own networks.
    ///
    /// # Errors
    /// `ENXIO`.
    pub(crate) fn set_up(&mut self, name: &str, up: bool) -> Result<(), Errno> {
        let index = self.index(name)?;
        let joined = self.is_joined(index);
        let entry = self.entry(name)?;
        let was_up = core::mem::replace(&mut entry.config.up, up);
        let own_network = up && !joined;
        entry.link.set_up(own_network);
        entry.adopt_link();
        if up {
            self.reconnect(index);
        } else {
            self.end_redirects_over(index);
        }
        if up && !was_up {
            self.restart_dhcp(index);
        }
        Ok(())
    }

    /// Changes an interface's MTU.
    ///
    /// # Errors
    /// `ENXIO`; `EINVAL` if the port does not take it.
    pub(crate) fn set_mtu(&mut self, name: &str, mtu: u16) -> Result<(), Errno> {
        let index = self.index(name)?;
        let most = self.cloned_mtu_max(index).unwrap_or(LOOPBACK_MTU);
        let entry = self.entry(name)?;
        if mtu < 576 {
            return Err(Errno::INVAL);
        }
        match &mut entry.port {
            Some(port) => port.set_mtu(mtu).map_err(|_| Errno::INVAL)?,
            None if mtu > most => return Err(Errno::INVAL),
            None => {}
        }
        entry.config.mtu = mtu;
        self.fit_children(index);
        Ok(())
    }

    /// Changes an interface's MAC address; returns its index.
    ///
    /// # Errors
    /// `ENXIO`, `EINVAL` for `lo0` or an address that is not of one station, the driver's error.
    pub(crate) fn set_mac(&mut self, name: &str, mac: MacAddr) -> Result<u16, Errno> {
        let entry = self.entry(name)?;
        if entry.bridge().is_some() && mac.is_unicast() {
            let index = entry.config.index;
            self.adopt_mac(index, mac);
            return Ok(index);
        }
        let port = entry.port.as_mut().filter(|_| mac.is_unicast()).ok_or(Errno::INVAL)?;
        port.set_mac(mac).map_err(|error| Errno::from_raw_os_error(error.errno()))?;
        let index = entry.config.index;
        self.adopt_mac(index, mac);
        self.fit_laggs_of(index);
        Ok(index)
    }

    /// Addresses of an interface that are in use: others are announced when it is known that nobody else has them.
    #[must_use]
    pub(crate) fn usable_addresses(&self, index: u16) -> Vec<IpAddr> {
        let entry = self.interfaces.get(usize::from(index)).filter(|entry| entry.config.up);
        let Some(Entry { config, .. }) = entry else { return Vec::new() };
        let v4 = config.addresses.iter().map(|a| a.address.into());
        let v6 = config.addresses6.iter().filter(|a| a.state.is_usable());
        v4.chain(v6.map(|a| a.address.into())).collect()
    }

    /// The port of an interface.
    ///
    /// # Errors
    /// `ENXIO`; `EOPNOTSUPP` for `lo0`, which has none.
    pub(crate) fn port_by_name(&mut self, name: &str) -> Result<&mut Port, Errno> {
        self.entry(name)?.port.as_mut().ok_or(Errno::OPNOTSUPP)
    }

    /// Name of an interface.
    #[must_use]
    pub(crate) fn name(&self, index: u16) -> &str {
        self.interfaces.get(usize::from(index)).map_or("?", |e| &e.config.name)
    }

    /// MAC address of an interface.
    #[must_use]
    pub(crate) fn mac(&self, index: u16) -> MacAddr {
        self.interfaces.get(usize::from(index)).map_or(MacAddr::ZERO, |e| e.config.mac)
    }

    /// Is this one of our addresses?
    #[must_use]
    pub(crate) fn has_address(&self, address: Ipv4Addr) -> bool {
        self.interfaces.iter().flat_map(|e| &e.config.addresses).any(|a| a.address == address)
    }

    /// Does the address mean everybody on a network of ours?
    #[must_use]
    pub(crate) fn is_broadcast(&self, address: Ipv4Addr) -> bool {
        let mut addresses = self.interfaces.iter().flat_map(|e| &e.config.addresses);
        address.is_broadcast() || addresses.any(|a| a.broadcast() == Some(address))
    }

    /// The source address for packets to a destination by a table of routes.
    #[must_use]
    pub(crate) fn source_for(&self, destination: Ipv4Addr, table: u8) -> Option<Ipv4Addr> {
        if destination.is_loopback() || self.has_address(destination) {
            return Some(destination);
        }
        let hop = self.ribs(table).0.lookup(destination)?;
        let interface = self.interfaces.get(usize::from(hop.interface))?;
        interface.config.source_for(hop.neighbor(destination))
    }

    /// MTU of the interface that packets to a destination leave by.
    #[must_use]
    pub(crate) fn mtu_for(&self, destination: Ipv4Addr) -> Option<u16> {
        if self.has_address(destination) {
            return Some(LOOPBACK_MTU);
        }
        let hop = self.rib.lookup(destination)?;
        self.interfaces.get(usize::from(hop.interface)).map(|e| e.config.mtu)
    }

    /// First address that is not the loopback's.
    #[must_use]
    pub(crate) fn first_address(&self) -> Option<Ipv4Addr> {
        self.interfaces.iter().skip(1).flat_map(|e| &e.config.addresses).map(|a| a.address).next()
    }

    /// Interfaces as protocol modules see them.
    #[must_use]
    pub(crate) fn protocol_interfaces(&self) -> Vec<lsm::Interface> {
        let there = self.interfaces.iter().filter(|e| !e.is_gone());
        let interface = |entry: &Entry| {
            let Interface { index, name, mac, mtu, up, addresses, .. } = entry.config.clone();
            let usable =
                |own: &&autoconf::Own| matches!(own.state, State::Preferred | State::Deprecated);
            let v4 = addresses.iter().map(|a| (a.address.into(), a.prefix_len));
            let v6 = entry.link.addresses().filter(usable);
            let v6 = v6.map(|own| (own.address.into(), own.prefix_len));
            lsm::Interface {
                index,
                name,
                mac,
                mtu,
                up,
                running: self.runs(entry),
                loopback: index == LOOPBACK,
                addresses: v4.chain(v6).collect(),
            }
        };
        there.map(interface).collect()
    }

    /// Interfaces as the tools show them.
    #[must_use]
    pub(crate) fn interface_rows(&self) -> Vec<InterfaceRow> {
        let there = self.interfaces.iter().filter(|e| !e.is_gone());
        there.map(|entry| self.interface_row(entry)).collect()
    }
}

fn address_rows(Entry { config, link, .. }: &Entry) -> Vec<AddressRow> {
    let row = |address, prefix_len, flags| AddressRow { address, prefix_len, flags };
    let v4 = config.addresses.iter().map(|a| row(a.address.into(), a.prefix_len, Vec::new()));
    let v6 = link.addresses().map(|a| row(a.address.into(), a.prefix_len, address_flags(a)));
    v4.chain(v6).collect()
}

/// An interface as the workers see it.
fn published(entry: &Entry) -> Interface {
    Interface { dhcp: entry.dhcp.is_some(), ..entry.config.clone() }
}

/// BSD's words for what an address may not be used for, and for where it is from.
fn address_flags(own: &autoconf::Own) -> Vec<String> {
    let state = match own.state {
        State::Duplicate => Some("duplicated"),
        State::Tentative => Some("tentative"),
        State::Optimistic => Some("optimistic"),
        State::Deprecated => Some("deprecated"),
        State::Preferred => None,
    };
    let origin: &[&str] = match own.origin {
        Origin::Advertised => &["autoconf"],
        Origin::Temporary => &["autoconf", "temporary"],
        Origin::Operator | Origin::Link => &[],
    };
    state.into_iter().chain(origin.iter().copied()).map(Into::into).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Ipv4Addr = Ipv4Addr::new(198, 18, 77, 2);

    /// `lo0` and interfaces `tap1`, `tap2`, … that have no port.
    pub(super) fn with_links(count: u16) -> NetworkState {
        let mut state = NetworkState::new(Tuning::default());
        let lo0 = state.interfaces[0].config.clone();
        let identity = state.identity;
        state.interfaces.extend((1..=count).map(|index| {
            let (addresses, addresses6) = (Vec::new(), Vec::new());
            let name = format!("tap{index}");
            let config = Interface { index, name, addresses, addresses6, ..lo0.clone() };
            Entry::new(config, None, identity)
        }));
        state
    }

    #[test]
    fn loopback_is_there_from_the_start() {
        let state = NetworkState::new(Tuning::default());
        let rows = state.interface_rows();
        assert_eq!(rows[0].name, "lo0");
        assert_eq!(rows[0].addresses[0].address, Ipv4Addr::LOCALHOST);
        assert!(rows[0].up && rows[0].running);
    }

    #[test]
    fn a_route_needs_a_gateway_on_a_link() {
        let mut state = NetworkState::new(Tuning::default());
        assert_eq!(
            state.add_route(Ipv4Addr::UNSPECIFIED.into(), 0, A.into()),
            Err(Errno::NETUNREACH)
        );
        assert_eq!(state.delete_route(0, Ipv4Addr::UNSPECIFIED.into(), 0, None), Err(Errno::SRCH));
    }
}
