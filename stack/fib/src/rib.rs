//! The route base: the control plane's mutable list of routes.

use core::cell::RefCell;
use core::net::Ipv4Addr;
use std::collections::{BTreeMap, HashMap};

use crate::address::Address;
use crate::net::{BadPrefix, Net};
use crate::pieces::{Pieces, Routes, Way};
use crate::route::{NextHop, Route};
use crate::snapshot::Fib;

/// Why a route was not added.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddRouteError<A: Address = Ipv4Addr> {
    /// There is a route to exactly this destination; delete it first.
    #[error("there is already a route to {0}")]
    Exists(Net<A>),
    /// The gateway is not on the link of the route's interface.
    #[error("gateway {0} is not on a link of the interface")]
    Unreachable(A),
    /// The destination is not a prefix. Said by [`Net::new`]; here so that `?` carries it.
    #[error(transparent)]
    BadPrefix(#[from] BadPrefix<A>),
}

/// Why a route was not deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DeleteRouteError<A: Address = Ipv4Addr> {
    /// There is no route to exactly this destination.
    #[error("there is no route to {0}")]
    NotFound(Net<A>),
}

/// All routes of an address family, one per destination.
///
/// A route through a gateway is *active* while the gateway is on a link of the route's interface.
/// Deleting the link's route does not delete the routes that depend on it: they stay listed, are
/// left out of the [`Fib`], and come back with the link.
#[derive(Clone, Debug)]
pub struct Rib<A: Address = Ipv4Addr> {
    routes: BTreeMap<Net<A>, Route<A>>,
    snapshots: RefCell<Snapshots<A>>,
}

/// What was published last, what it is made of, and what was found out for it.
#[derive(Clone, Debug)]
struct Snapshots<A: Address> {
    published: Option<Fib<A>>,
    pieces: Pieces<A>,
    /// Gateways by interface, and whether they are on its link.
    gateways: HashMap<NextHop<A>, bool>,
}

impl<A: Address> Default for Rib<A> {
    fn default() -> Self {
        Self::new()
    }
}

impl<A: Address> Rib<A> {
    /// No routes.
    #[must_use]
    pub fn new() -> Self {
        let snapshots =
            Snapshots { published: None, pieces: Pieces::new(), gateways: HashMap::new() };
        Self { routes: BTreeMap::new(), snapshots: RefCell::new(snapshots) }
    }

    /// Adds a route.
    ///
    /// # Errors
    /// [`AddRouteError::Exists`] if there is a route to the same prefix,
    /// [`AddRouteError::Unreachable`] if it would not be active.
    pub fn add(&mut self, route: Route<A>) -> Result<(), AddRouteError<A>> {
        if self.routes.contains_key(&route.destination) {
            return Err(AddRouteError::Exists(route.destination));
        }
        if let Some(gateway) = route.next_hop.gateway
            && !self.is_active(&route)
        {
            return Err(AddRouteError::Unreachable(gateway));
        }
        let _none = self.routes.insert(route.destination, route);
        self.changed(&route);
        Ok(())
    }

    /// Deletes the route to `destination` and returns it.
    ///
    /// # Errors
    /// [`DeleteRouteError::NotFound`] if there is none to exactly this prefix.
    pub fn delete(&mut self, destination: Net<A>) -> Result<Route<A>, DeleteRouteError<A>> {
        let route = self.routes.remove(&destination);
        let route = route.ok_or(DeleteRouteError::NotFound(destination))?;
        self.changed(&route);
        Ok(route)
    }

    /// Deletes all routes of an interface that goes away; returns how many.
    pub fn delete_interface(&mut self, interface: u16) -> usize {
        let before = self.routes.len();
        self.routes.retain(|_, route| route.next_hop.interface != interface);
        let snapshots = self.snapshots.get_mut();
        snapshots.published = None;
        snapshots.gateways.clear();
        snapshots.pieces.touch_all();
        before - self.routes.len()
    }

    /// All routes, active or not, by address and then by prefix length.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Route<A>> + '_ {
        self.routes.values()
    }

    /// How many routes there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.routes.len()
    }

    /// Whether there is no route.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.routes.is_empty()
    }

    /// Whether `route`'s next hop can be reached over a link: it has no gateway, or the best route
    /// to the gateway has none and leaves by the same interface (RFC 1122, 3.3.1.1), or the gateway
    /// needs no route.
    #[must_use]
    pub fn is_active(&self, route: &Route<A>) -> bool {
        let Some(gateway) = route.next_hop.gateway else { return true };
        if gateway.is_on_every_link() {
            return true;
        }
        let hop = route.next_hop;
        if let Some(known) = self.snapshots.borrow().gateways.get(&hop) {
            return *known;
        }
        let link = NextHop { interface: hop.interface, gateway: None };
        let on_link = self.best(gateway).is_some_and(|best| best.next_hop == link);
        let _before = self.snapshots.borrow_mut().gateways.insert(hop, on_link);
        on_link
    }

    /// The route to exactly this destination.
    #[must_use]
    pub fn route(&self, destination: Net<A>) -> Option<&Route<A>> {
        self.routes.get(&destination)
    }

    /// Where a packet to `destination` goes next; `None`: no route.
    #[must_use]
    pub fn lookup(&self, destination: A) -> Option<NextHop<A>> {
        self.publish().lookup(destination)
    }

    /// A snapshot of the active routes for the workers. What has not changed since the last one is
    /// shared with it.
    #[must_use]
    pub fn publish(&self) -> Fib<A> {
        if let Some(fib) = &self.snapshots.borrow().published {
            return fib.clone();
        }
        let mut pieces =
            core::mem::replace(&mut self.snapshots.borrow_mut().pieces, Pieces::none());
        pieces.update(self);
        let fib = pieces.publish();
        let mut snapshots = self.snapshots.borrow_mut();
        snapshots.pieces = pieces;
        snapshots.published = Some(fib.clone());
        fib
    }

    /// A route came or went: what was found out for destinations in its prefix holds no longer, nor
    /// anything behind gateways there.
    fn changed(&mut self, route: &Route<A>) {
        let net = route.destination;
        let snapshots = self.snapshots.get_mut();
        snapshots.published = None;
        let before = snapshots.gateways.len();
        snapshots
            .gateways
            .retain(|hop, _| hop.gateway.is_none_or(|gateway| !net.contains(gateway)));
        if snapshots.gateways.len() == before {
            snapshots.pieces.touch(net);
        } else {
            snapshots.pieces.touch_all();
        }
    }

    /// The route to `addr` with the longest prefix, active or not.
    fn best(&self, addr: A) -> Option<&Route<A>> {
        (0..=A::LEN).rev().find_map(|len| self.routes.get(&Net::containing(addr, len).ok()?))
    }
}

impl<A: Address> Routes<A> for Rib<A> {
    fn best_up_to(&self, len: u8, address: A) -> Option<NextHop<A>> {
        let mut routes = (0..=len).rev().filter_map(|len| {
            let net = Net::containing(address, len).ok()?;
            self.routes.get(&net)
        });
        routes.find(|route| self.is_active(route)).map(|route| route.next_hop)
    }

    fn within(&self, net: Net<A>, into: &mut Vec<Way<A>>) {
        let all = self.routes.range(net..=Net::host(net.last())).map(|(_, route)| route);
        let longer = all.filter(|route| route.destination.prefix_len() > net.prefix_len());
        let active = longer.filter(|route| self.is_active(route));
        into.extend(active.map(|route| (route.destination, route.next_hop)));
    }
}
