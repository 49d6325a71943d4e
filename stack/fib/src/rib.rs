//! The route base: the control plane's mutable list of routes.

use core::cell::OnceCell;
use core::net::Ipv4Addr;
use std::collections::BTreeMap;

use crate::address::Address;
use crate::net::{BadPrefix, Net};
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
    /// What was published last, until a route changes.
    published: OnceCell<Fib<A>>,
}

impl<A: Address> Default for Rib<A> {
    fn default() -> Self {
        Self::new()
    }
}

impl<A: Address> Rib<A> {
    /// No routes.
    #[must_use]
    pub const fn new() -> Self {
        Self { routes: BTreeMap::new(), published: OnceCell::new() }
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
        let _none = self.routes_mut().insert(route.destination, route);
        Ok(())
    }

    /// Deletes the route to `destination` and returns it.
    ///
    /// # Errors
    /// [`DeleteRouteError::NotFound`] if there is none to exactly this prefix.
    pub fn delete(&mut self, destination: Net<A>) -> Result<Route<A>, DeleteRouteError<A>> {
        self.routes_mut().remove(&destination).ok_or(DeleteRouteError::NotFound(destination))
    }

    /// Deletes all routes of an interface that goes away; returns how many.
    pub fn delete_interface(&mut self, interface: u16) -> usize {
        let before = self.routes.len();
        self.routes_mut().retain(|_, route| route.next_hop.interface != interface);
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
        let link = NextHop { interface: route.next_hop.interface, gateway: None };
        self.best(gateway).is_some_and(|best| best.next_hop == link)
    }

    /// The route to exactly this destination.
    #[must_use]
    pub fn route(&self, destination: Net<A>) -> Option<&Route<A>> {
        self.routes.get(&destination)
    }

    /// Where a packet to `destination` goes next; `None`: no route.
    #[must_use]
    pub fn lookup(&self, destination: A) -> Option<NextHop<A>> {
        self.fib().lookup(destination)
    }

    /// A snapshot of the active routes for the workers. It is made once for each change of a route.
    #[must_use]
    pub fn publish(&self) -> Fib<A> {
        self.fib().clone()
    }

    fn fib(&self) -> &Fib<A> {
        let active = || self.iter().filter(|route| self.is_active(route));
        self.published.get_or_init(|| Fib::new(active()))
    }

    /// The routes, to change them.
    fn routes_mut(&mut self) -> &mut BTreeMap<Net<A>, Route<A>> {
        let _ = self.published.take();
        &mut self.routes
    }

    /// The route to `addr` with the longest prefix, active or not.
    fn best(&self, addr: A) -> Option<&Route<A>> {
        (0..=A::LEN).rev().find_map(|len| self.routes.get(&Net::containing(addr, len).ok()?))
    }
}
