//! Pairs of IPv6 hosts that have connections with each other, by number. A flow of IPv6 carries the
//! number of its pair where one of IPv4 carries addresses, and is no longer than that.
//!
//! ```text
//!   IPv4   │ local address │ remote address │ ports │     12 bytes
//!   IPv6   │ 0.0.0.0       │ number         │ ports │     number ──▶ both hosts, interface, way
//! ```
//! No flow of IPv4 has the local address 0.0.0.0: packets to it are not for us, ICMP that quotes
//! packets from it is not believed, and sockets are not connected from it.

use core::net::{Ipv4Addr, Ipv6Addr};

use hashbrown::HashTable;
use hashbrown::hash_table::Entry as Place;

use crate::flow::{Flow, FlowHasher};
use crate::limits::PAIRS_MAX;
use crate::output::Hop;
use crate::slab::Slab;

/// Two IPv6 hosts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pair {
    /// This host.
    pub local: Ipv6Addr,
    /// The peer.
    pub remote: Ipv6Addr,
    /// The peer's link, if its address says nothing beyond that; else 0.
    pub zone: u16,
}

impl Pair {
    /// Two hosts that talk over an interface.
    #[must_use]
    pub(crate) fn new(local: Ipv6Addr, remote: Ipv6Addr, interface: u16) -> Self {
        let zone = if remote.is_unicast_link_local() { interface } else { 0 };
        Self { local, remote, zone }
    }
}

/// Two hosts that are in use.
#[derive(Debug)]
pub(crate) struct Entry {
    pair: Pair,
    /// Endpoints and sockets with a flow between them, and who is about to make one.
    users: u32,
    /// The way to the peer, and the configuration it was looked up in.
    pub hop: Option<(Hop<Ipv6Addr>, u32)>,
}

impl Entry {
    /// The hosts.
    #[must_use]
    pub(crate) fn pair(&self) -> &Pair {
        &self.pair
    }
}

/// All pairs of a worker.
#[derive(Debug, Default)]
pub(crate) struct Pairs {
    entries: Slab<Entry>,
    by_hosts: HashTable<u32>,
}

impl Pairs {
    /// The pair's flow between two ports; it stays valid until it is let go. `None`: there are too
    /// many pairs.
    pub(crate) fn hold(
        &mut self,
        pair: &Pair,
        (local_port, remote_port): (u16, u16),
        hasher: FlowHasher,
    ) -> Option<Flow> {
        let Self { entries, by_hosts } = self;
        let hash_of = |number: &u32| entries.get(*number).map_or(0, |e| hasher.hash_pair(&e.pair));
        let is_it = |number: &u32| entries.get(*number).is_some_and(|e| e.pair == *pair);
        let number = match by_hosts.entry(hasher.hash_pair(pair), is_it, hash_of) {
            Place::Occupied(place) => *place.get(),
            Place::Vacant(_) if entries.len() >= PAIRS_MAX => return None,
            Place::Vacant(place) => {
                let number = entries.insert(Entry { pair: *pair, users: 0, hop: None });
                let _ = place.insert(number);
                number
            }
        };
        let entry = entries.get_mut(number)?;
        entry.users = entry.users.saturating_add(1);
        let (local_addr, remote_addr) = (Ipv4Addr::UNSPECIFIED, Ipv4Addr::from_bits(number));
        Some(Flow { local_addr, remote_addr, local_port, remote_port })
    }

    /// One more user of a flow that somebody holds.
    pub(crate) fn hold_again(&mut self, flow: &Flow) {
        if let Some(entry) = flow.pair().and_then(|number| self.entries.get_mut(number)) {
            entry.users = entry.users.saturating_add(1);
        }
    }

    /// A user less; the last one takes the number with it.
    pub(crate) fn let_go(&mut self, flow: &Flow, hasher: FlowHasher) {
        let Some(number) = flow.pair() else { return };
        let Some(entry) = self.entries.get_mut(number) else { return };
        entry.users = entry.users.saturating_sub(1);
        if entry.users > 0 {
            return;
        }
        let hash = hasher.hash_pair(&entry.pair);
        if let Ok(place) = self.by_hosts.find_entry(hash, |other| *other == number) {
            let _ = place.remove();
        }
        let _ = self.entries.remove(number);
    }

    /// The hosts of a flow; `None` if it is IPv4's.
    #[must_use]
    pub(crate) fn find(&self, flow: &Flow) -> Option<&Pair> {
        self.entries.get(flow.pair()?).map(|entry| &entry.pair)
    }

    /// The hosts of a flow, and the place for the way between them.
    pub(crate) fn entry(&mut self, flow: &Flow) -> Option<&mut Entry> {
        self.entries.get_mut(flow.pair()?)
    }

    /// How many there are.
    #[must_use]
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(n: u16) -> Pair {
        let host = |last| Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, last);
        Pair::new(host(1), host(n), 3)
    }

    #[test]
    fn a_pair_keeps_its_number_while_anybody_uses_it() {
        let (mut pairs, hasher) = (Pairs::default(), FlowHasher::new([3; 16]));
        let first = pairs.hold(&pair(7), (80, 1), hasher).unwrap();
        let second = pairs.hold(&pair(7), (80, 2), hasher).unwrap();
        let other = pairs.hold(&pair(8), (80, 1), hasher).unwrap();
        assert_eq!(first.pair(), second.pair());
        assert_ne!(first.pair(), other.pair());
        assert_eq!(pairs.find(&second), Some(&pair(7)));
        pairs.hold_again(&first);
        for flow in [first, second] {
            pairs.let_go(&flow, hasher);
            assert_eq!((pairs.find(&first), pairs.len()), (Some(&pair(7)), 2));
        }
        pairs.let_go(&first, hasher);
        assert_eq!((pairs.find(&first), pairs.len()), (None, 1));
        assert_eq!(pairs.find(&other), Some(&pair(8)));
    }

    #[test]
    fn thousands_come_and_go_and_each_is_found() {
        let (mut pairs, hasher) = (Pairs::default(), FlowHasher::new([4; 16]));
        let flows: Vec<Flow> =
            (0..5_000).map(|n| pairs.hold(&pair(n), (80, 1), hasher).unwrap()).collect();
        flows.iter().step_by(2).for_each(|flow| pairs.let_go(flow, hasher));
        for (n, flow) in (0..5_000).zip(&flows) {
            let again = pairs.hold(&pair(n), (80, 1), hasher).unwrap();
            assert_eq!(pairs.find(&again), Some(&pair(n)));
            if n % 2 == 1 {
                assert_eq!(again, *flow);
            }
        }
        assert_eq!(pairs.len(), 5_000);
    }

    #[test]
    fn only_an_address_of_a_link_is_told_apart_by_it() {
        let here: Ipv6Addr = "fe80::1".parse().unwrap();
        assert_ne!(Pair::new(here, here, 1), Pair::new(here, here, 2));
        assert_eq!(pair(1).zone, 0);
    }
}
