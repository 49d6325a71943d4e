//! Routes that redirects have made: one to each host that a router has named a nearer next hop for.

use core::net::IpAddr;
use core::time::Duration;
use std::collections::BTreeMap;

use fib::{Net, NextHop, Route, RouteFlags};
use hashbrown::HashSet;
use inet::command::{DeadHop, Redirected};
use types::Instant;

use super::NetworkState;
use super::routes::Family;

/// As many hosts as a busy one talks to over one router; others go the old way.
const REDIRECTS_MAX: usize = 1024;

/// Then the router may say it again (NetBSD's `redirtimeout`): the nearer one may be gone, and nobody says that.
const REDIRECT_AGE: Duration = Duration::from_secs(600);

/// Hosts with such routes.
pub(super) type Redirects = BTreeMap<IpAddr, Redirect>;

/// One of them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Redirect {
    interface: u16,
    via: Option<IpAddr>,
    until: Instant,
}

impl Redirect {
    /// Who has to answer, if packets to `to` are to arrive.
    fn hop(&self, to: IpAddr) -> DeadHop {
        DeadHop { interface: self.interface, address: self.via.unwrap_or(to) }
    }
}

impl NetworkState {
    /// A router names a nearer next hop. `false`: it is not gone by.
    pub(crate) fn redirect(&mut self, said: &Redirected, now: Instant) -> bool {
        match (said.to, said.from) {
            (IpAddr::V4(to), IpAddr::V4(from)) => self.redirect_to(to, from, said, now),
            (IpAddr::V6(to), IpAddr::V6(from)) => self.redirect_to(to, from, said, now),
            _ => false,
        }
    }

    fn redirect_to<A: Family>(&mut self, to: A, from: A, said: &Redirected, now: Instant) -> bool {
        let known = self.redirects.contains_key(&said.to);
        if !known && self.redirects.len() >= REDIRECTS_MAX {
            return false;
        }
        let (host, interface) = (Net::host(to), said.interface);
        let rib = A::rib(self);
        let in_use = NextHop { interface, gateway: Some(from) };
        let now_by = rib.best_active(to).copied();
        let Some(now_by) = now_by.filter(|route| rib.paths(route).any(|hop| hop == in_use)) else {
            return false;
        };
        // What the operator has said of this very host stays.
        let is_operators = now_by.destination == host && !known;
        let next_hop = NextHop { interface, gateway: said.via.and_then(A::of) };
        let route =
            Route { destination: host, next_hop, flags: RouteFlags::DYNAMIC, mtu: now_by.mtu };
        if is_operators || rib.replace(route).is_err() {
            return false;
        }
        let redirect = Redirect { interface, via: said.via, until: now + REDIRECT_AGE };
        let _before = self.redirects.insert(said.to, redirect);
        true
    }

    /// When the first of them ends.
    fn next_redirect(&self) -> Option<Instant> {
        self.redirects.values().map(|redirect| redirect.until).min()
    }

    /// How long until there is something to do for routes.
    #[must_use]
    pub(crate) fn until_routes(&self, now: Instant) -> Option<Duration> {
        let redirect = self.next_redirect().map(|due| due.since(now));
        [self.until_load(now), redirect].into_iter().flatten().min()
    }

    /// Ends those whose time is over. `true`: there were some.
    pub(crate) fn end_redirects(&mut self, now: Instant) -> bool {
        self.end_redirects_that(|_, redirect| redirect.until <= now)
    }

    /// Ends those whose next hop does not answer. `true`: there were some.
    pub(crate) fn end_redirects_by(&mut self, hop: DeadHop) -> bool {
        self.end_redirects_that(|to, redirect| redirect.hop(to) == hop)
    }

    /// Ends those by an interface, which is down or going.
    pub(super) fn end_redirects_over(&mut self, interface: u16) {
        let _any = self.end_redirects_that(|_, redirect| redirect.interface == interface);
    }

    /// Their next hops.
    pub(super) fn redirected(&self) -> HashSet<DeadHop> {
        self.redirects.iter().map(|(to, redirect)| redirect.hop(*to)).collect()
    }

    fn end_redirects_that(&mut self, is_over: impl Fn(IpAddr, &Redirect) -> bool) -> bool {
        let over = self.redirects.iter().filter(|(to, redirect)| is_over(**to, redirect));
        let over: Vec<IpAddr> = over.map(|(to, _)| *to).collect();
        for to in &over {
            self.end_redirect(*to);
        }
        !over.is_empty()
    }

    /// The operator says himself how to reach a host, or its time is over.
    pub(super) fn end_redirect(&mut self, to: IpAddr) {
        let Some(redirect) = self.redirects.remove(&to) else { return };
        match to {
            IpAddr::V4(to) => self.delete_redirect(to, redirect),
            IpAddr::V6(to) => self.delete_redirect(to, redirect),
        }
    }

    fn delete_redirect<A: Family>(&mut self, to: A, redirect: Redirect) {
        let (interface, host) = (redirect.interface, Net::host(to));
        let hop = NextHop { interface, gateway: redirect.via.and_then(A::of) };
        let is_it = |route: &Route<A>| route.next_hop == hop && route.flags == RouteFlags::DYNAMIC;
        if A::rib(self).route(host).is_some_and(is_it) {
            // It was just found.
            let _ = A::rib(self).delete(host);
        }
    }
}

#[cfg(test)]
mod tests {
    use rustix::io::Errno;

    use super::super::tests::with_links;
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    /// `tap1` with a router to everywhere, in both families.
    fn host() -> NetworkState {
        let mut state = with_links(1);
        for (own, len, all, router) in
            [("198.18.77.2", 24, "0.0.0.0", "198.18.77.1"), ("2001:db8::2", 64, "::", "fe80::1")]
        {
            let _ = state.add_address("tap1", ip(own), len).unwrap();
            state.add_route(ip(all), 0, ip(router)).unwrap();
        }
        state
    }

    fn said(from: &str, to: &str, via: Option<&str>) -> Redirected {
        Redirected { interface: 1, from: ip(from), to: ip(to), via: via.map(ip) }
    }

    fn gateway(state: &NetworkState, to: &str) -> Option<IpAddr> {
        state.route_to(0, ip(to)).first().unwrap().gateway
    }

    #[test]
    fn a_host_is_reached_by_the_nearer_router_for_a_time() {
        let mut state = host();
        for (from, to, via) in
            [("198.18.77.1", "203.0.113.1", "198.18.77.3"), ("fe80::1", "2001:db9::1", "fe80::3")]
        {
            assert!(state.redirect(&said(from, to, Some(via)), Instant::ZERO));
            assert_eq!(gateway(&state, to), Some(ip(via)));
            // The nearer one may know one that is nearer still, and nobody else does.
            assert!(!state.redirect(&said(from, to, Some(via)), Instant::ZERO), "not in use now");
            assert!(!state.end_redirects(Instant::ZERO + REDIRECT_AGE - Duration::from_nanos(1)));
            assert!(state.end_redirects(Instant::ZERO + REDIRECT_AGE));
            assert_eq!(gateway(&state, to), Some(ip(from)));
        }
        assert_eq!(state.next_redirect(), None);
    }

    #[test]
    fn it_ends_with_its_interface_and_when_the_nearer_router_is_dead() {
        for (from, to, via) in
            [("198.18.77.1", "203.0.113.1", "198.18.77.3"), ("fe80::1", "2001:db9::1", "fe80::3")]
        {
            let mut state = host();
            let follow = |state: &mut NetworkState| {
                assert!(state.redirect(&said(from, to, Some(via)), Instant::ZERO));
                assert_eq!(gateway(state, to), Some(ip(via)));
            };
            follow(&mut state);
            let hop = DeadHop { interface: 1, address: ip(via) };
            assert_eq!(state.redirected(), HashSet::from([hop]));
            assert!(!state.end_redirects_by(DeadHop { interface: 2, ..hop }));
            assert!(!state.end_redirects_by(DeadHop { address: ip(from), ..hop }));
            assert!(state.end_redirects_by(hop));
            assert_eq!(gateway(&state, to), Some(ip(from)));
            follow(&mut state);
            state.set_up("tap1", false).unwrap();
            state.set_up("tap1", true).unwrap();
            assert_eq!(gateway(&state, to), Some(ip(from)), "it may be another link");
            follow(&mut state);
            state.clear_interface(1);
            assert_eq!((state.redirects.len(), state.next_redirect()), (0, None));
        }
    }

    #[test]
    fn a_destination_may_be_on_the_link_itself() {
        let mut state = host();
        assert!(state.redirect(&said("fe80::1", "2001:db9::1", None), Instant::ZERO));
        assert_eq!(gateway(&state, "2001:db9::1"), None);
    }

    #[test]
    fn the_operators_word_stays_and_takes_the_place_of_a_routers() {
        let mut state = host();
        let (to, first, other) = ("203.0.113.1", "198.18.77.1", "198.18.77.3");
        state.add_route(ip(to), 32, ip(first)).unwrap();
        assert!(!state.redirect(&said(first, to, Some(other)), Instant::ZERO));
        state.delete_route(0, ip(to), 32, None).unwrap();
        assert!(state.redirect(&said(first, to, Some(other)), Instant::ZERO));
        assert_eq!(state.add_route(ip(to), 32, ip("203.0.113.9")), Err(Errno::NETUNREACH));
        assert_eq!(gateway(&state, to), Some(ip(other)), "what was refused changes nothing");
        assert_eq!(state.add_route(ip(to), 32, ip("198.18.77.9")), Ok(()));
        assert!(!state.end_redirects(Instant::FAR_FUTURE));
        assert_eq!(gateway(&state, to), Some(ip("198.18.77.9")));
    }

    #[test]
    fn there_is_an_end_to_them() {
        let mut state = host();
        let followed = (0..2 * REDIRECTS_MAX).filter(|number| {
            let to = format!("10.0.{}.{}", number >> 8, number & 255);
            state.redirect(&said("198.18.77.1", &to, Some("198.18.77.3")), Instant::ZERO)
        });
        assert_eq!(followed.count(), REDIRECTS_MAX);
    }
}
