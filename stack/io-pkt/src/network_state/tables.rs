//! Tables of routes beside the first (FreeBSD's `setfib(2)`, `net.fibs`).
//!
//! Each has the networks that interfaces have addresses in, as the first has them, and what the operator gives it.
//! Redirects, routers' advertisements, DHCP and loads of routes are the first one's.

use core::net::{Ipv4Addr, Ipv6Addr};

use fib::{Net, Rib, Route};
use inet::network::RouteTable;
use rustix::io::Errno;

use super::NetworkState;
use super::routes::{Family, is_connected};

/// A table that something uses.
#[derive(Debug, Default)]
pub(super) struct Table {
    number: u8,
    pub(super) v4: Routes<Ipv4Addr>,
    pub(super) v6: Routes<Ipv6Addr>,
}

/// Its routes of one family.
#[derive(Debug)]
pub(super) struct Routes<A: fib::Address> {
    rib: Rib<A>,
    /// Networks of interfaces that it has been given.
    near: Vec<(Net<A>, u16)>,
}

impl<A: fib::Address> Default for Routes<A> {
    fn default() -> Self {
        Self { rib: Rib::new(), near: Vec::new() }
    }
}

impl<A: Family> Routes<A> {
    /// Takes over the networks that interfaces are in.
    fn fit(&mut self, near: &[(Net<A>, u16)]) {
        let gone: Vec<_> = self.near.extract_if(.., |there| !near.contains(there)).collect();
        for (net, index) in gone {
            if self.rib.route(net).is_some_and(|route| is_connected(route, index)) {
                // It was just found.
                let _ = self.rib.delete(net);
            }
        }
        for (net, index) in near {
            if !self.near.contains(&(*net, *index)) {
                self.near.push((*net, *index));
                // What the operator has said of that very network stays.
                let _ = self.rib.add(Route::connected(*net, *index));
            }
        }
    }

    fn forget(&mut self, interface: u16) {
        let _count = self.rib.delete_interface(interface);
        self.near.retain(|(_, index)| *index != interface);
    }
}

impl NetworkState {
    /// Somebody is to use a table. `true`: nobody did before, and the workers are to be told.
    ///
    /// # Errors
    /// `EINVAL` if there are not so many.
    pub(crate) fn use_table(&mut self, number: u8) -> Result<bool, Errno> {
        self.is_table(number)?;
        let is_new = number != 0 && !self.tables.iter().any(|table| table.number == number);
        if is_new {
            self.tables.push(Table { number, ..Table::default() });
            self.fit_tables();
        }
        Ok(is_new)
    }

    /// There is a table of this number.
    ///
    /// # Errors
    /// `EINVAL`.
    pub(crate) fn is_table(&self, number: u8) -> Result<(), Errno> {
        if u32::from(number) < self.tuning.tables { Ok(()) } else { Err(Errno::INVAL) }
    }

    /// Packets for others that come by an interface go by this table.
    ///
    /// # Errors
    /// `ENXIO`; `EINVAL` if there are not so many.
    pub(crate) fn set_table(&mut self, name: &str, number: u8) -> Result<(), Errno> {
        let _index = self.index(name)?;
        let _is_new = self.use_table(number)?;
        self.entry(name)?.config.table = number;
        Ok(())
    }

    /// Routes of a table.
    ///
    /// # Errors
    /// `EINVAL` if there are not so many.
    pub(super) fn rib_in<A: Family>(&mut self, number: u8) -> Result<&mut Rib<A>, Errno> {
        let _is_new = self.use_table(number)?;
        match self.tables.iter().position(|table| table.number == number) {
            Some(at) => {
                let table = self.tables.get_mut(at).ok_or(Errno::INVAL)?;
                Ok(&mut A::routes(table).rib)
            }
            None => Ok(A::rib(self)),
        }
    }

    /// Routes of a table that something uses, of both families; of another one, or with 0, the first one's.
    pub(super) fn ribs(&self, number: u8) -> (&Rib, &Rib<Ipv6Addr>) {
        let table = self.tables.iter().find(|table| table.number == number);
        table.map_or((&self.rib, &self.rib6), |table| (&table.v4.rib, &table.v6.rib))
    }

    /// Has all tables follow the networks of interfaces.
    pub(crate) fn fit_tables(&mut self) {
        if self.tables.is_empty() {
            return;
        }
        let (near, near6) = (self.near::<Ipv4Addr>(), self.near::<Ipv6Addr>());
        for table in &mut self.tables {
            table.v4.fit(&near);
            table.v6.fit(&near6);
        }
    }

    /// Networks of interfaces for which the first table has the routes.
    fn near<A: Family>(&mut self) -> Vec<(Net<A>, u16)> {
        let configs = self.interfaces.iter().map(|entry| &entry.config);
        let all = configs.flat_map(|config| A::networks(config).map(|net| (net, config.index)));
        let all: Vec<(Net<A>, u16)> = all.collect();
        let rib = A::rib(self);
        let has = |(net, index): &(Net<A>, u16)| {
            rib.route(*net).is_some_and(|route| is_connected(route, *index))
        };
        all.into_iter().filter(has).collect()
    }

    /// An interface goes: no table may name its number any longer.
    pub(super) fn forget_in_tables(&mut self, interface: u16) {
        for table in &mut self.tables {
            table.v4.forget(interface);
            table.v6.forget(interface);
        }
    }

    /// The tables for the workers.
    pub(super) fn published_tables(&self) -> Vec<RouteTable> {
        let published = |table: &Table| RouteTable {
            number: table.number,
            fib: table.v4.rib.publish(),
            fib6: table.v6.rib.publish(),
        };
        self.tables.iter().map(published).collect()
    }
}

#[cfg(test)]
mod tests {
    use core::net::IpAddr;

    use proto::message::{NewRoute, Onward};

    use super::super::tests::with_links;
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn state() -> NetworkState {
        let mut state = with_links(2);
        state.tuning.tables = 3;
        for (link, own, len) in
            [("tap1", "10.1.0.2", 24), ("tap2", "10.2.0.2", 24), ("tap1", "2001:db8::2", 64)]
        {
            let _ = state.add_address(link, ip(own), len).unwrap();
        }
        state
    }

    fn by(to: &str, len: u8, gateway: &str) -> NewRoute {
        let onward = Onward::Gateway(ip(gateway));
        NewRoute { destination: ip(to), prefix_len: len, onward, mtu: None }
    }

    fn gateway(state: &NetworkState, table: u8, to: &str) -> Option<IpAddr> {
        state.route_to(table, ip(to)).first()?.gateway
    }

    #[test]
    fn each_table_has_routes_of_its_own() {
        let mut state = state();
        state.add_new_route(0, &by("0.0.0.0", 0, "10.1.0.1")).unwrap();
        state.add_new_route(2, &by("0.0.0.0", 0, "10.2.0.1")).unwrap();
        state.add_new_route(2, &by("2001:db9::", 32, "2001:db8::1")).unwrap();
        let far = "203.0.113.1";
        assert_eq!(gateway(&state, 0, far), Some(ip("10.1.0.1")));
        assert_eq!(gateway(&state, 2, far), Some(ip("10.2.0.1")));
        assert_eq!(gateway(&state, 2, "2001:db9::1"), Some(ip("2001:db8::1")));
        assert_eq!(gateway(&state, 0, "2001:db9::1"), None);
        let network = state.publish();
        let way =
            |table: u8| network.table(table).unwrap().0.lookup("203.0.113.1".parse().unwrap());
        assert_eq!((way(0).unwrap().interface, way(2).unwrap().interface), (1, 2));
        assert!(network.table(1).is_none(), "nothing uses it");
        state.delete_route(2, ip("0.0.0.0"), 0, None).unwrap();
        assert_eq!(
            (gateway(&state, 2, far), gateway(&state, 0, far)),
            (None, Some(ip("10.1.0.1")))
        );
    }

    #[test]
    fn there_are_as_many_as_the_operator_wants() {
        let mut state = state();
        assert_eq!(state.add_new_route(3, &by("0.0.0.0", 0, "10.1.0.1")), Err(Errno::INVAL));
        assert_eq!(state.set_table("tap1", 3), Err(Errno::INVAL));
        assert_eq!(state.set_table("tap9", 1), Err(Errno::NXIO));
        assert_eq!(
            (state.use_table(1), state.use_table(1), state.use_table(0)),
            (Ok(true), Ok(false), Ok(false))
        );
        state.set_table("tap1", 2).unwrap();
        let network = state.publish();
        assert_eq!(network.interfaces.iter().map(|i| i.table).collect::<Vec<_>>(), [0, 2, 0]);
    }

    #[test]
    fn networks_of_interfaces_are_in_all_tables() {
        let mut state = state();
        assert_eq!(state.use_table(1), Ok(true));
        let near = |state: &mut NetworkState, to: &str| {
            state.fit_tables();
            let (rib, rib6) = state.ribs(1);
            match ip(to) {
                IpAddr::V4(to) => rib.lookup(to).map(|hop| hop.interface),
                IpAddr::V6(to) => rib6.lookup(to).map(|hop| hop.interface),
            }
        };
        assert_eq!(near(&mut state, "10.2.0.9"), Some(2));
        assert_eq!(near(&mut state, "2001:db8::9"), Some(1));
        let _ = state.add_address("tap2", ip("10.3.0.2"), 24).unwrap();
        assert_eq!(near(&mut state, "10.3.0.9"), Some(2));
        state.delete_address("tap2", ip("10.3.0.2")).unwrap();
        assert_eq!(near(&mut state, "10.3.0.9"), None);
        state.add_new_route(1, &by("0.0.0.0", 0, "10.2.0.1")).unwrap();
        state.clear_interface(2);
        assert_eq!(near(&mut state, "10.2.0.9"), None);
        assert_eq!(near(&mut state, "203.0.113.1"), None, "its number may be another's");
        assert_eq!(near(&mut state, "10.1.0.9"), Some(1));
    }
}
