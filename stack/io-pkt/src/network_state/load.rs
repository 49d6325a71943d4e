//! Routes by the hundred thousand: they come in steps, the next snapshot for the workers is made in steps, and
//! everybody else is served between them. Until it is whole the one from before is in force.
//!
//! ```text
//!   Begin ──► Routes … ──► End ──► what earlier loads brought is swept ──► the snapshot is made ──► published
//!                           └─ or the connection closes, or says nothing for ten seconds
//! ```

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use core::time::Duration;
use std::collections::HashSet;

use fib::{Fib, Net, Rib, Route, RouteFlags};
use proto::message::{Load, Loaded, NewRoute};
use rustix::io::Errno;
use types::Instant;

use super::NetworkState;
use super::routes::{Family, mtu_of, route_errno};

/// Routes looked at in one step of the sweep: a millisecond or two.
const SWEEP_STEP: usize = 4_096;
/// Pieces of a snapshot made in one step, of 65 536: some milliseconds where routes are dense.
const PIECES_STEP: usize = 256;

/// A load that says nothing for so long has left: while it is there nobody's routes get to the workers. Its
/// asker sends one step after the other, which take milliseconds.
const SILENCE_MAX: Duration = Duration::from_secs(10);

/// A load that is under way.
#[derive(Debug)]
pub(super) struct Loading {
    /// Whose it is.
    by: u32,
    /// When it last said something.
    heard: Instant,
    stage: Stage,
    /// Destinations of routes that it has brought.
    brought: HashSet<(IpAddr, u8)>,
}

/// How far a load is.
#[derive(Clone, Copy, Debug)]
enum Stage {
    /// Routes are coming.
    Coming,
    /// What earlier loads brought goes, from here on.
    Sweeping(Net<Ipv4Addr>),
    /// The same for IPv6.
    Sweeping6(Net<Ipv6Addr>),
    /// The snapshots are being made.
    Making,
}

impl NetworkState {
    /// A step of a load by `by`. `is_there` tells whether somebody still is.
    ///
    /// # Errors
    /// `EBUSY`, `ECANCELED`.
    pub(crate) fn load(
        &mut self,
        by: u32,
        step: &Load,
        is_there: impl Fn(u32) -> bool,
        now: Instant,
    ) -> Result<Loaded, Errno> {
        let coming = self.loading.as_ref().map(|l| (l.by, matches!(l.stage, Stage::Coming)));
        if let Some(loading) = self.loading.as_mut().filter(|loading| loading.by == by) {
            loading.heard = now;
        }
        match step {
            Load::Begin => {
                if coming.is_some_and(|(owner, coming)| !coming || owner != by && is_there(owner)) {
                    return Err(Errno::BUSY);
                }
                let (stage, brought) = (Stage::Coming, HashSet::new());
                self.loading = Some(Loading { by, heard: now, stage, brought });
                self.loaded = Loaded::default();
            }
            Load::Ask => {}
            Load::Routes(_) | Load::Gone(_) | Load::End { .. } if coming != Some((by, true)) => {
                return Err(Errno::CANCELED);
            }
            Load::Routes(routes) => routes.iter().for_each(|route| self.load_one(route)),
            Load::Gone(destinations) => destinations.iter().for_each(|to| self.unload(*to)),
            Load::End { replace } => {
                let stage = if *replace { Stage::Sweeping(Net::DEFAULT) } else { Stage::Making };
                self.loading.as_mut().into_iter().for_each(|loading| loading.stage = stage);
            }
        }
        Ok(Loaded { under_way: self.loading.is_some(), ..self.loaded })
    }

    fn load_one(&mut self, new: &NewRoute) {
        match self.try_load(new) {
            Ok(()) => self.loaded.taken = self.loaded.taken.saturating_add(1),
            Err(errno) => {
                self.loaded.refused = self.loaded.refused.saturating_add(1);
                let first = (new.destination, new.prefix_len, errno.raw_os_error());
                let _ = self.loaded.first_refused.get_or_insert(first);
            }
        }
    }

    fn try_load(&mut self, new: &NewRoute) -> Result<(), Errno> {
        match new.destination {
            IpAddr::V4(to) => self.load_of(to, new),
            IpAddr::V6(to) => self.load_of(to, new),
        }
    }

    fn load_of<A: Family>(&mut self, to: A, new: &NewRoute) -> Result<(), Errno> {
        let destination = Net::new(to, new.prefix_len).map_err(|_| Errno::INVAL)?;
        let mtu = mtu_of::<A>(new.mtu)?;
        let flags = RouteFlags::STATIC | RouteFlags::LOADED;
        let route = self.operators_route(destination, new.onward)?;
        let route = Route { flags: route.flags | flags, mtu, ..route };
        if new.prefix_len == A::LEN {
            self.end_redirect(to.into());
        }
        let before = A::rib(self).route(destination).copied();
        let is_full = before.is_none() && A::rib(self).len() >= super::routes::ROUTES_MAX;
        match before {
            _ if is_full => Err(Errno::NOSPC),
            Some(before) if !before.flags.contains(RouteFlags::LOADED) => Err(Errno::EXIST),
            Some(_) if self.has_brought((new.destination, new.prefix_len)) => {
                A::rib(self).add_path(route).map_err(route_errno)
            }
            _ => A::rib(self).replace(route).map_err(route_errno),
        }?;
        if let Some(loading) = &mut self.loading {
            let _ = loading.brought.insert((new.destination, new.prefix_len));
        }
        Ok(())
    }

    fn has_brought(&self, to: (IpAddr, u8)) -> bool {
        self.loading.as_ref().is_some_and(|loading| loading.brought.contains(&to))
    }

    fn unload(&mut self, (to, prefix_len): (IpAddr, u8)) {
        let gone = match to {
            IpAddr::V4(to) => self.unload_of(to, prefix_len),
            IpAddr::V6(to) => self.unload_of(to, prefix_len),
        };
        self.loaded.gone = self.loaded.gone.saturating_add(gone.into());
    }

    /// `false`: no load has brought it.
    fn unload_of<A: Family>(&mut self, to: A, prefix_len: u8) -> bool {
        let Ok(to) = Net::new(to, prefix_len) else { return false };
        let rib = A::rib(self);
        let ours = rib.route(to).is_some_and(|route| route.flags.contains(RouteFlags::LOADED));
        ours && rib.delete(to).is_ok()
    }

    /// The routes for the workers. While many are coming, those from before.
    pub(super) fn snapshot<A: fib::Address>(&self, rib: &Rib<A>) -> Fib<A> {
        if self.loading.is_some() { rib.published() } else { rib.publish() }
    }

    /// How long until there is something to do for a load.
    #[must_use]
    pub(super) fn until_load(&self, now: Instant) -> Option<Duration> {
        self.loading.as_ref().map(|loading| match loading.stage {
            Stage::Coming => (loading.heard + SILENCE_MAX).since(now),
            _ => Duration::ZERO,
        })
    }

    /// A connection has closed: its load ends with what has come.
    pub(crate) fn load_left(&mut self, by: u32) {
        if let Some(loading) = self.loading.as_mut().filter(|loading| loading.by == by)
            && matches!(loading.stage, Stage::Coming)
        {
            loading.stage = Stage::Making;
        }
    }

    /// Does a little of what is left. `true`: now the workers are to be told.
    pub(crate) fn attend_load(&mut self, now: Instant) -> bool {
        if self.until_load(now) != Some(Duration::ZERO) {
            return false;
        }
        let Some(stage) = self.loading.as_ref().map(|loading| loading.stage) else { return false };
        let next = match stage {
            // As if its connection had closed.
            Stage::Coming => Stage::Making,
            Stage::Sweeping(from) => {
                self.sweep(from).map_or(Stage::Sweeping6(Net::DEFAULT), Stage::Sweeping)
            }
            Stage::Sweeping6(from) => self.sweep(from).map_or(Stage::Making, Stage::Sweeping6),
            Stage::Making if !self.rib.refresh(PIECES_STEP) => return false,
            Stage::Making if !self.rib6.refresh(PIECES_STEP) => return false,
            Stage::Making => {
                self.loading = None;
                return true;
            }
        };
        self.loading.as_mut().into_iter().for_each(|loading| loading.stage = next);
        false
    }

    fn sweep<A: Family>(&mut self, from: Net<A>) -> Option<Net<A>> {
        let brought = self.loading.take();
        let before = A::rib(self).len();
        let rest = A::rib(self).sweep(from, SWEEP_STEP, |route| {
            let to = (route.destination.addr().into(), route.destination.prefix_len());
            let again = brought.as_ref().is_some_and(|loading| loading.brought.contains(&to));
            route.flags.contains(RouteFlags::LOADED) && !again
        });
        self.loading = brought;
        let gone = u32::try_from(before - A::rib(self).len()).unwrap_or(u32::MAX);
        self.loaded.gone = self.loaded.gone.saturating_add(gone);
        rest
    }

    /// What has come is in force, and there is no load any longer.
    pub(super) fn end_load(&mut self) {
        self.loading = None;
    }
}

#[cfg(test)]
mod tests {
    use proto::message::Onward;

    use super::*;
    use crate::network_state::tests::with_links;

    const ONE: &str = "10.1.0.9";
    const TWO: &str = "10.1.0.10";

    fn state() -> NetworkState {
        let mut state = with_links(1);
        assert_eq!(state.add_address("tap1", Ipv4Addr::new(10, 1, 0, 1), 16), Ok(1));
        state
    }

    fn route(number: u32, gateway: &str) -> NewRoute {
        let destination = Ipv4Addr::from_bits(0x1400_0000 + (number << 8)).into();
        let onward = Onward::Gateway(gateway.parse().unwrap());
        NewRoute { destination, prefix_len: 24, onward, mtu: None }
    }

    fn step(state: &mut NetworkState, step: &Load) -> Result<Loaded, Errno> {
        state.load(1, step, |_| true, Instant::ZERO)
    }

    fn whole(state: &mut NetworkState, routes: Vec<NewRoute>, replace: bool) -> Loaded {
        let _ = step(state, &Load::Begin).unwrap();
        let _ = step(state, &Load::Routes(routes)).unwrap();
        assert!(step(state, &Load::End { replace }).unwrap().under_way);
        while !state.attend_load(Instant::ZERO) {
            assert_eq!(state.until_load(Instant::ZERO), Some(Duration::ZERO));
        }
        step(state, &Load::Ask).unwrap()
    }

    fn next(state: &NetworkState, number: u32) -> Option<String> {
        let to = Ipv4Addr::from_bits(0x1400_0007 + (number << 8));
        let hop = state.publish().fib.lookup(to)?;
        hop.gateway.map(|gateway| gateway.to_string())
    }

    #[test]
    fn a_load_is_seen_when_it_is_whole() {
        let mut state = state();
        let _ = whole(&mut state, (0..1000).map(|n| route(n, ONE)).collect(), false);
        assert_eq!(next(&state, 999).as_deref(), Some(ONE));
        let _ = step(&mut state, &Load::Begin).unwrap();
        let _ = step(&mut state, &Load::Routes(vec![route(999, TWO), route(2000, TWO)])).unwrap();
        assert_eq!(next(&state, 999).as_deref(), Some(ONE), "as before");
        assert_eq!(next(&state, 2000), None);
        let _ = step(&mut state, &Load::End { replace: false }).unwrap();
        while !state.attend_load(Instant::ZERO) {}
        assert_eq!(next(&state, 999).as_deref(), Some(TWO));
        assert_eq!(next(&state, 2000).as_deref(), Some(TWO));
        assert_eq!(next(&state, 5).as_deref(), Some(ONE), "nothing was to go");
    }

    #[test]
    fn what_a_load_does_not_bring_again_goes_and_the_operators_own_stays() {
        let mut state = state();
        let _ = whole(&mut state, (0..10_000).map(|n| route(n, ONE)).collect(), false);
        let (own, gateway) = (route(20_000, ONE).destination, ONE.parse().unwrap());
        state.add_route(own, 24, gateway).unwrap();
        let said = whole(&mut state, (5_000..6_000).map(|n| route(n, TWO)).collect(), true);
        assert_eq!((said.taken, said.refused, said.gone), (1_000, 0, 9_000));
        assert_eq!((next(&state, 4_999), next(&state, 6_000)), (None, None));
        assert_eq!(next(&state, 5_500).as_deref(), Some(TWO));
        assert_eq!(next(&state, 20_000).as_deref(), Some(ONE));
        let said = whole(&mut state, vec![route(20_000, TWO), route(1, "10.9.0.1")], true);
        assert_eq!((said.taken, said.refused), (0, 2));
        let why = (own, 24, Errno::EXIST.raw_os_error());
        assert_eq!(said.first_refused, Some(why), "an operator's own route is not overwritten");
    }

    #[test]
    fn two_lines_for_one_destination_are_two_gateways() {
        let mut state = state();
        for _ in 0..2 {
            let _ = whole(&mut state, vec![route(1, ONE), route(1, TWO)], true);
            let rows = state.route_to(0, "20.0.1.1".parse().unwrap());
            assert_eq!(rows.len(), 2, "{rows:?}");
        }
    }

    #[test]
    fn small_loads_change_what_the_ones_before_have_brought() {
        let mut state = state();
        for gateway in [ONE, TWO, ONE] {
            let _ = whole(&mut state, vec![route(1, gateway)], false);
            let _ = whole(&mut state, vec![route(2, gateway)], false);
            assert_eq!(next(&state, 1).as_deref(), Some(gateway));
            assert_eq!(
                state.route_to(0, "20.0.1.1".parse().unwrap()).len(),
                1,
                "no further gateway"
            );
        }
    }

    #[test]
    fn what_is_gone_goes_unless_it_is_the_operators() {
        let mut state = state();
        let _ = whole(&mut state, vec![route(1, ONE), route(2, ONE)], false);
        let (own, gateway) = (route(20_000, ONE).destination, ONE.parse().unwrap());
        state.add_route(own, 24, gateway).unwrap();
        let gone = [route(1, ONE).destination, route(7, ONE).destination, own];
        let _ = step(&mut state, &Load::Begin).unwrap();
        let told = step(&mut state, &Load::Gone(gone.map(|to| (to, 24)).to_vec())).unwrap();
        assert_eq!(told.gone, 1);
        assert_eq!(next(&state, 1).as_deref(), Some(ONE), "not yet");
        let _ = step(&mut state, &Load::End { replace: false }).unwrap();
        while !state.attend_load(Instant::ZERO) {}
        assert_eq!((next(&state, 1), next(&state, 2).as_deref()), (None, Some(ONE)));
        assert_eq!(next(&state, 20_000).as_deref(), Some(ONE));
    }

    #[test]
    fn only_one_loads_at_a_time_and_who_has_gone_is_in_nobodys_way() {
        let mut state = state();
        let _ = step(&mut state, &Load::Begin).unwrap();
        let _ = step(&mut state, &Load::Routes(vec![route(1, ONE)])).unwrap();
        let mut other = |step: &Load| state.load(2, step, |_| true, Instant::ZERO);
        assert_eq!(other(&Load::Begin), Err(Errno::BUSY));
        assert_eq!(other(&Load::Routes(Vec::new())), Err(Errno::CANCELED));
        state.load_left(1);
        while !state.attend_load(Instant::ZERO) {}
        assert_eq!(next(&state, 1).as_deref(), Some(ONE), "what had come is in force");
        let _ = state.load(2, &Load::Begin, |_| true, Instant::ZERO).unwrap();
        let _ = state.load(3, &Load::Begin, |_| false, Instant::ZERO).unwrap();
    }

    #[test]
    fn a_load_that_stands_still_is_over() {
        let mut state = state();
        let _ = step(&mut state, &Load::Begin).unwrap();
        let heard = Instant::ZERO + SILENCE_MAX / 2;
        let more = Load::Routes(vec![route(1, ONE)]);
        let _ = state.load(1, &more, |_| true, heard).unwrap();
        let (own, gateway) = (route(20_000, ONE).destination, ONE.parse().unwrap());
        state.add_route(own, 24, gateway).unwrap();
        assert!(!state.attend_load(Instant::ZERO + SILENCE_MAX));
        assert_eq!(state.until_load(Instant::ZERO + SILENCE_MAX), Some(SILENCE_MAX / 2));
        assert_eq!(next(&state, 20_000), None, "it waits with the others");
        while !state.attend_load(heard + SILENCE_MAX) {
            assert_eq!(state.until_load(heard + SILENCE_MAX), Some(Duration::ZERO));
        }
        assert_eq!([next(&state, 1), next(&state, 20_000)], [Some(ONE.into()), Some(ONE.into())]);
        assert_eq!(step(&mut state, &more), Err(Errno::CANCELED));
    }

    #[test]
    fn an_interface_that_goes_ends_a_load() {
        let mut state = state();
        let _ = step(&mut state, &Load::Begin).unwrap();
        let _ = step(&mut state, &Load::Routes(vec![route(1, ONE)])).unwrap();
        state.clear_interface(1);
        assert_eq!(next(&state, 1), None);
        assert_eq!(step(&mut state, &Load::Routes(Vec::new())), Err(Errno::CANCELED));
    }
}
