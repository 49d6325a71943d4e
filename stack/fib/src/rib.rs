//! The route base: the control plane's mutable list of routes.

use core::cell::RefCell;
use core::net::Ipv4Addr;
use core::ops::Bound;
use std::collections::{BTreeMap, HashMap};

use crate::address::Address;
use crate::changes::Changes;
use crate::net::{BadPrefix, Net};
use crate::pieces::{Leading, Pieces, Routes};
use crate::route::{NextHop, Route};
use crate::snapshot::Fib;
use crate::way::Way;

/// Why a route was not added.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddRouteError<A: Address = Ipv4Addr> {
    /// There is a route to exactly this destination; delete it first.
    #[error("there is already a route to {0}")]
    Exists(Net<A>),
    /// The route has as many gateways as it may.
    #[error("the route to {0} has as many gateways as it may; delete one first")]
    TooMany(Net<A>),
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
/// left out of the [`Fib`], and come back with the link. A route may have several gateways, which share
/// its packets by flow.
#[derive(Clone, Debug)]
pub struct Rib<A: Address = Ipv4Addr> {
    routes: BTreeMap<Net<A>, Route<A>>,
    /// Next hops beside the first.
    others: BTreeMap<Net<A>, Vec<NextHop<A>>>,
    snapshots: RefCell<Snapshots<A>>,
    /// What has changed, if somebody watches.
    watched: Option<Changes<A>>,
}

/// What was published last, what it is made of, and what was found out for it.
#[derive(Clone, Debug)]
struct Snapshots<A: Address> {
    published: Fib<A>,
    /// It is of the routes as they are.
    is_fresh: bool,
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
    /// Next hops that one route may have.
    pub const PATHS_MAX: usize = 16;

    /// No routes.
    #[must_use]
    pub fn new() -> Self {
        let snapshots = Snapshots {
            published: Fib::default(),
            is_fresh: false,
            pieces: Pieces::new(),
            gateways: HashMap::new(),
        };
        Self {
            routes: BTreeMap::new(),
            others: BTreeMap::new(),
            snapshots: RefCell::new(snapshots),
            watched: None,
        }
    }

    /// Changes are kept for [`Rib::take_changes`] from now on, or no longer.
    pub fn watch(&mut self, on: bool) {
        self.watched = on.then(Changes::default);
    }

    /// What has changed since the last call, if that is kept.
    pub fn take_changes(&mut self) -> Changes<A> {
        self.watched.as_mut().map(core::mem::take).unwrap_or_default()
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
        self.replace(route)
    }

    /// Adds a route, or one more gateway to the operator's route to the same prefix.
    ///
    /// # Errors
    /// [`AddRouteError::Exists`] if there is a route of another kind, or with another MTU, or with this
    /// gateway; [`AddRouteError::TooMany`]; [`AddRouteError::Unreachable`] if it would not be active.
    pub fn add_path(&mut self, route: Route<A>) -> Result<(), AddRouteError<A>> {
        let net = route.destination;
        let Some(first) = self.routes.get(&net) else { return self.replace(route) };
        let alike = first.flags == route.flags && first.mtu == route.mtu;
        let both = first.next_hop.gateway.and(route.next_hop.gateway);
        let (Some(_), true) = (both, alike) else { return Err(AddRouteError::Exists(net)) };
        if self.paths(first).any(|hop| hop == route.next_hop) {
            return Err(AddRouteError::Exists(net));
        }
        if self.paths(first).count() >= Self::PATHS_MAX {
            return Err(AddRouteError::TooMany(net));
        }
        let before = *first;
        self.check(&route)?;
        self.others.entry(net).or_default().push(route.next_hop);
        self.changed(net, Some(before));
        Ok(())
    }

    /// Adds a route in the place of the one to the same prefix, if there is one.
    ///
    /// # Errors
    /// [`AddRouteError::Unreachable`] if it would not be active.
    pub fn replace(&mut self, route: Route<A>) -> Result<(), AddRouteError<A>> {
        self.check(&route)?;
        let before = self.routes.insert(route.destination, route);
        let had_others = self.others.remove(&route.destination).is_some();
        let same = before.is_some_and(|before| {
            (before.next_hop, before.mtu, before.refusal())
                == (route.next_hop, route.mtu, route.refusal())
        });
        if !same || had_others {
            self.changed(route.destination, before);
        }
        Ok(())
    }

    fn check(&self, route: &Route<A>) -> Result<(), AddRouteError<A>> {
        match route.next_hop.gateway {
            Some(gateway) if !self.is_reached(route.next_hop) => {
                Err(AddRouteError::Unreachable(gateway))
            }
            _ => Ok(()),
        }
    }

    /// Deletes the route to `destination` and returns it.
    ///
    /// # Errors
    /// [`DeleteRouteError::NotFound`] if there is none to exactly this prefix.
    pub fn delete(&mut self, destination: Net<A>) -> Result<Route<A>, DeleteRouteError<A>> {
        let route = self.routes.remove(&destination);
        let route = route.ok_or(DeleteRouteError::NotFound(destination))?;
        let _others = self.others.remove(&destination);
        self.changed(destination, Some(route));
        Ok(route)
    }

    /// Takes one gateway from the route to `destination`; with the last one the route goes.
    ///
    /// # Errors
    /// [`DeleteRouteError::NotFound`] if no route to exactly this prefix has it.
    pub fn delete_path(
        &mut self,
        destination: Net<A>,
        gateway: A,
    ) -> Result<(), DeleteRouteError<A>> {
        let route = self.routes.get(&destination);
        let route = route.copied().ok_or(DeleteRouteError::NotFound(destination))?;
        let stays = |hop: &NextHop<A>| hop.gateway != Some(gateway);
        let hops: Vec<NextHop<A>> = self.paths(&route).filter(stays).collect();
        if hops.len() == self.paths(&route).count() {
            return Err(DeleteRouteError::NotFound(destination));
        }
        self.keep(&route, &hops);
        self.changed(destination, Some(route));
        Ok(())
    }

    /// Of a route these next hops are left.
    fn keep(&mut self, route: &Route<A>, hops: &[NextHop<A>]) {
        let net = route.destination;
        let _before = self.others.remove(&net);
        match hops {
            [] => {
                let _gone = self.routes.remove(&net);
            }
            [first, others @ ..] => {
                let _before = self.routes.insert(net, Route { next_hop: *first, ..*route });
                if !others.is_empty() {
                    let _none = self.others.insert(net, others.to_vec());
                }
            }
        }
    }

    /// Deletes all routes of an interface that goes away; returns how many.
    pub fn delete_interface(&mut self, interface: u16) -> usize {
        let before = self.routes.len();
        let nets: Vec<Net<A>> = self.others.keys().copied().collect();
        for net in nets {
            let Some(route) = self.routes.get(&net).copied() else { continue };
            let hops: Vec<NextHop<A>> = self.paths(&route).collect();
            let left: Vec<NextHop<A>> =
                hops.iter().filter(|hop| hop.interface != interface).copied().collect();
            if left.len() < hops.len() {
                self.note(net, Some(route));
                self.keep(&route, &left);
            }
        }
        let Self { routes, watched, .. } = self;
        routes.retain(|net, route| {
            let stays = route.next_hop.interface != interface || route.refusal().is_some();
            if let Some(changes) = watched.as_mut().filter(|_| !stays) {
                changes.note(*net, Some(*route));
            }
            stays
        });
        let snapshots = self.snapshots.get_mut();
        snapshots.is_fresh = false;
        snapshots.gateways.clear();
        snapshots.pieces.touch_all();
        before - self.routes.len()
    }

    /// Deletes, of the first `most` routes from `from` on, those that `goes` names. Returns where the rest
    /// begins, if there is one.
    pub fn sweep(
        &mut self,
        from: Net<A>,
        most: usize,
        goes: impl Fn(&Route<A>) -> bool,
    ) -> Option<Net<A>> {
        let mut all = self.routes.range(from..).map(|(_, route)| route);
        let part = all.by_ref().take(most).filter(|route| goes(route));
        let nets: Vec<Net<A>> = part.map(|route| route.destination).collect();
        let rest = all.next().map(|route| route.destination);
        for net in nets {
            // It was just found.
            let _ = self.delete(net);
        }
        rest
    }

    /// The next hops of a route, active or not.
    pub fn paths(&self, route: &Route<A>) -> impl Iterator<Item = NextHop<A>> + '_ {
        let others = self.others.get(&route.destination);
        core::iter::once(route.next_hop).chain(others.into_iter().flatten().copied())
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

    /// Whether one of a route's next hops can be reached over a link: it has no gateway, or the best route
    /// to the gateway has none and leaves by the same interface (RFC 1122, 3.3.1.1), or the gateway
    /// needs no route.
    #[must_use]
    pub fn is_active(&self, route: &Route<A>) -> bool {
        self.paths(route).any(|hop| self.is_reached(hop))
    }

    /// Whether packets reach this next hop over a link.
    #[must_use]
    pub fn is_reached(&self, hop: NextHop<A>) -> bool {
        let Some(gateway) = hop.gateway else { return true };
        if gateway.is_on_every_link() {
            return true;
        }
        if let Some(known) = self.snapshots.borrow().gateways.get(&hop) {
            return *known;
        }
        let link = NextHop { interface: hop.interface, gateway: None };
        let best = self.best(gateway).filter(|best| best.refusal().is_none());
        let on_link = best.is_some_and(|best| best.next_hop == link);
        let _before = self.snapshots.borrow_mut().gateways.insert(hop, on_link);
        on_link
    }

    /// How packets go by a route, if it is active.
    fn way(&self, route: &Route<A>) -> Option<Way<A>> {
        if let Some(refusal) = route.refusal() {
            return Some(Way::refused(refusal));
        }
        if !self.others.contains_key(&route.destination) {
            let hop = Some(route.next_hop).filter(|hop| self.is_reached(*hop));
            return Way::over(hop.as_slice(), route.mtu);
        }
        let hops: Vec<NextHop<A>> = self.paths(route).filter(|hop| self.is_reached(*hop)).collect();
        Way::over(&hops, route.mtu)
    }

    /// The route to exactly this destination.
    #[must_use]
    pub fn route(&self, destination: Net<A>) -> Option<&Route<A>> {
        self.routes.get(&destination)
    }

    /// Where a packet to `destination` goes next, by the first of several hops; `None`: no route, or one
    /// that lets no packet pass.
    #[must_use]
    pub fn lookup(&self, destination: A) -> Option<NextHop<A>> {
        let snapshots = self.snapshots.borrow();
        if snapshots.is_fresh {
            return snapshots.published.lookup(destination);
        }
        drop(snapshots);
        self.best_up_to(A::LEN, destination)?.first()
    }

    /// The route by which packets to `destination` go.
    #[must_use]
    pub fn best_active(&self, destination: A) -> Option<&Route<A>> {
        self.leading_to(A::LEN, destination).find(|route| self.is_active(route))
    }

    /// All routes behind this destination, by address and then by prefix length.
    pub fn behind(&self, after: Bound<Net<A>>) -> impl Iterator<Item = &Route<A>> + '_ {
        self.routes.range((after, Bound::Unbounded)).map(|(_, route)| route)
    }

    /// Routes to prefixes of `len` bits or fewer that hold an address, the longest first.
    fn leading_to(&self, len: u8, address: A) -> impl Iterator<Item = &Route<A>> + '_ {
        (0..=len).rev().filter_map(move |len| {
            let net = Net::containing(address, len).ok()?;
            self.routes.get(&net)
        })
    }

    /// A snapshot of the active routes for the workers. What has not changed since the last one is
    /// shared with it.
    #[must_use]
    pub fn publish(&self) -> Fib<A> {
        let _all = self.refresh(usize::MAX);
        self.published()
    }

    /// The last snapshot that was complete.
    #[must_use]
    pub fn published(&self) -> Fib<A> {
        self.snapshots.borrow().published.clone()
    }

    /// Makes the next snapshot, or a part of it: about so many of its 65 536 pieces. `true`: it is complete,
    /// and of the routes as they are.
    pub fn refresh(&self, pieces_max: usize) -> bool {
        if self.snapshots.borrow().is_fresh {
            return true;
        }
        let mut pieces =
            core::mem::replace(&mut self.snapshots.borrow_mut().pieces, Pieces::none());
        let is_fresh = pieces.update(self, pieces_max);
        let mut snapshots = self.snapshots.borrow_mut();
        if is_fresh {
            snapshots.published = pieces.publish();
        }
        snapshots.is_fresh = is_fresh;
        snapshots.pieces = pieces;
        is_fresh
    }

    /// A route came or went: what was found out for destinations in its prefix holds no longer, nor
    /// anything behind gateways there.
    fn changed(&mut self, net: Net<A>, before: Option<Route<A>>) {
        self.note(net, before);
        let snapshots = self.snapshots.get_mut();
        snapshots.is_fresh = false;
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

    /// For whoever watches: the route to this destination was so.
    fn note(&mut self, net: Net<A>, before: Option<Route<A>>) {
        if let Some(changes) = &mut self.watched {
            changes.note(net, before);
        }
    }

    /// The route to `addr` with the longest prefix, active or not.
    fn best(&self, addr: A) -> Option<&Route<A>> {
        self.leading_to(A::LEN, addr).next()
    }
}

impl<A: Address> Routes<A> for Rib<A> {
    fn best_up_to(&self, len: u8, address: A) -> Option<Way<A>> {
        self.leading_to(len, address).find_map(|route| self.way(route))
    }

    fn within(&self, net: Net<A>, into: &mut Vec<Leading<A>>) {
        let all = self.routes.range(net..=Net::host(net.last())).map(|(_, route)| route);
        let longer = all.filter(|route| route.destination.prefix_len() > net.prefix_len());
        into.extend(longer.filter_map(|route| Some((route.destination, self.way(route)?))));
    }
}
