//! What differs from what whoever watches the network was told last.

use std::collections::BTreeMap;

use fib::{Changes, Rib};
use proto::table::AddressRow;
use proto::{Change, LinkRow, NetworkEvent};

use super::routes::Family;
use super::{Entry, NetworkState, address_rows};

/// Interfaces by name, with their addresses.
pub(crate) type Links = BTreeMap<String, (LinkRow, Vec<AddressRow>)>;

impl NetworkState {
    /// Changes are kept, or no longer.
    pub(crate) fn watch(&mut self, on: bool) {
        self.watched = on;
        self.rib.watch(on);
        self.rib6.watch(on);
    }

    /// The interfaces, as they are to be told.
    #[must_use]
    pub(crate) fn link_views(&self) -> Links {
        let there = self.interfaces.iter().filter(|entry| !entry.is_gone());
        let view = |entry: &Entry| {
            let config = &entry.config;
            let row = LinkRow {
                name: config.name.clone(),
                mac: config.mac,
                mtu: config.mtu,
                up: config.up,
                running: self.runs(entry),
            };
            (config.name.clone(), (row, address_rows(entry)))
        };
        there.map(view).collect()
    }

    /// What has become of routes since the last call.
    pub(crate) fn take_route_events(&mut self) -> Vec<NetworkEvent> {
        let (v4, v6) = (self.rib.take_changes(), self.rib6.take_changes());
        let mut events = self.route_events(&self.rib, &v4);
        events.extend(self.route_events(&self.rib6, &v6));
        events
    }

    fn route_events<A: Family>(&self, rib: &Rib<A>, changes: &Changes<A>) -> Vec<NetworkEvent> {
        let mut events = Vec::new();
        for (net, before) in &changes.before {
            let (change, route) = match (before, rib.route(*net)) {
                (None, None) => continue,
                (None, Some(now)) => (Change::Added, now),
                (Some(_), Some(now)) => (Change::Changed, now),
                (Some(before), None) => (Change::Deleted, before),
            };
            let rows = self.rows_of(rib, route).into_iter();
            events.extend(rows.map(|route| NetworkEvent::Route { change, route }));
        }
        if changes.beyond > 0 {
            events.push(NetworkEvent::Missed { count: changes.beyond });
        }
        events
    }
}

/// What is to be told of interfaces and addresses that were so, and are so now.
pub(crate) fn differences(before: &Links, now: &Links) -> Vec<NetworkEvent> {
    let mut events = Vec::new();
    let link = |change, row: &LinkRow| NetworkEvent::Interface { change, interface: row.clone() };
    for (name, (row, addresses)) in before {
        let left = now.get(name);
        addresses_differ(name, addresses, left.map_or(&[][..], |(_, all)| all), &mut events);
        match left {
            None => events.push(link(Change::Deleted, row)),
            Some((now, _)) if now != row => events.push(link(Change::Changed, now)),
            Some(_) => {}
        }
    }
    for (name, (row, addresses)) in now.iter().filter(|(name, _)| !before.contains_key(*name)) {
        events.push(link(Change::Added, row));
        addresses_differ(name, &[], addresses, &mut events);
    }
    events
}

fn addresses_differ(
    interface: &str,
    before: &[AddressRow],
    now: &[AddressRow],
    into: &mut Vec<NetworkEvent>,
) {
    let event = |change, address: &AddressRow| NetworkEvent::Address {
        change,
        interface: interface.to_owned(),
        address: address.clone(),
    };
    let of = |all: &[AddressRow], row: &AddressRow| {
        all.iter().find(|other| other.address == row.address).cloned()
    };
    let gone = before.iter().filter(|row| of(now, row).is_none());
    into.extend(gone.map(|row| event(Change::Deleted, row)));
    for row in now {
        match of(before, row) {
            None => into.push(event(Change::Added, row)),
            Some(was) if was != *row => into.push(event(Change::Changed, row)),
            Some(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use core::net::IpAddr;

    use super::super::tests::with_links;
    use super::*;

    fn said(events: Vec<NetworkEvent>) -> Vec<(Change, String)> {
        let say = |event| match event {
            NetworkEvent::Route { change, route } => {
                (change, format!("{}/{}", route.destination, route.prefix_len))
            }
            NetworkEvent::Address { change, address, .. } => (change, address.address.to_string()),
            NetworkEvent::Interface { change, interface } => (change, interface.name),
            other => panic!("{other:?}"),
        };
        events.into_iter().map(say).collect()
    }

    fn told(change: Change, what: &str) -> (Change, String) {
        (change, what.into())
    }

    #[test]
    fn routes_are_told_as_they_come_change_and_go() {
        let mut state = with_links(1);
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        let (net, first, second) = (ip("203.0.113.0"), ip("198.18.77.1"), ip("198.18.77.3"));
        let _ = state.add_address("tap1", ip("198.18.77.2"), 24).unwrap();
        state.add_route(net, 24, first).unwrap();
        assert_eq!(said(state.take_route_events()), [], "nobody watches");
        state.watch(true);
        state.add_route(net, 24, second).unwrap();
        assert_eq!(
            said(state.take_route_events()),
            [Change::Changed; 2].map(|change| told(change, "203.0.113.0/24")),
            "one for each gateway"
        );
        state.delete_route(0, net, 24, None).unwrap();
        assert!(state.add_route(ip("2001:db8::"), 32, ip("fe80::1")).is_err());
        assert_eq!(said(state.take_route_events()), [told(Change::Deleted, "203.0.113.0/24")]);
        state.add_route(net, 24, first).unwrap();
        state.delete_route(0, net, 24, None).unwrap();
        assert_eq!(said(state.take_route_events()), [], "it is as it was");
        let _ = state.add_address("tap1", ip("2001:db8::2"), 64).unwrap();
        assert_eq!(said(state.take_route_events()), [told(Change::Added, "2001:db8::/64")]);
        state.clear_interface(1);
        let gone = ["198.18.77.0/24", "2001:db8::/64"].map(|net| told(Change::Deleted, net));
        assert_eq!(said(state.take_route_events()), gone);
    }

    #[test]
    fn interfaces_and_addresses_are_told_by_what_differs() {
        let mut state = with_links(1);
        let mut before = state.link_views();
        let mut step = |state: &NetworkState| {
            let now = state.link_views();
            let events = differences(&before, &now);
            before = now;
            said(events)
        };
        assert_eq!(step(&state), []);
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        let _ = state.add_address("tap1", ip("198.18.77.2"), 24).unwrap();
        assert_eq!(step(&state), [told(Change::Added, "198.18.77.2")]);
        state.set_mtu("tap1", 1400).unwrap();
        state.delete_address("tap1", ip("198.18.77.2")).unwrap();
        let both = [told(Change::Deleted, "198.18.77.2"), told(Change::Changed, "tap1")];
        assert_eq!(step(&state), both);
        state.create("vlan7", 1).unwrap();
        assert_eq!(step(&state), [told(Change::Added, "vlan7")]);
        state.clear_interface(1);
        assert_eq!(step(&state), [told(Change::Deleted, "tap1")]);
    }
}
