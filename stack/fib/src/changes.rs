//! What has become of routes, for whoever watches them.

use core::net::Ipv4Addr;
use std::collections::BTreeMap;

use crate::address::Address;
use crate::net::Net;
use crate::route::Route;

/// Destinations whose changes are kept between two looks: those of a step of a load of routes, and of an
/// interface that goes with not very many.
const CHANGES_MAX: usize = 4096;

/// Routes that have come, gone or changed since the last look.
#[derive(Clone, Debug)]
pub struct Changes<A: Address = Ipv4Addr> {
    /// By destination: the route that there was at the last look, if there was one.
    pub before: BTreeMap<Net<A>, Option<Route<A>>>,
    /// Changes of further destinations.
    pub beyond: u64,
}

impl<A: Address> Default for Changes<A> {
    fn default() -> Self {
        Self { before: BTreeMap::new(), beyond: 0 }
    }
}

impl<A: Address> Changes<A> {
    /// The route to a destination has changed.
    pub(crate) fn note(&mut self, net: Net<A>, before: Option<Route<A>>) {
        if self.before.len() >= CHANGES_MAX && !self.before.contains_key(&net) {
            self.beyond = self.beyond.saturating_add(1);
        } else {
            let _first = self.before.entry(net).or_insert(before);
        }
    }
}
