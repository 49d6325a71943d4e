//! What drivers say of their ports' links. They are asked now and then, not on each turn of the control thread:
//! some ask the kernel.

use std::time::Duration;

use devnp::Port;
use types::Instant;

use super::{Entry, NetworkState};

/// How often they are asked while something follows from it: a link that breaks is left within it.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// What a driver has said last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Carrier {
    pub(super) up: bool,
    /// 0: it does not say.
    pub(super) speed_mbps: u32,
}

impl Carrier {
    pub(super) fn of(port: Option<&Port>) -> Self {
        // What is no port needs none.
        let Some(port) = port else { return Self { up: true, speed_mbps: 0 } };
        let link = port.link().ok();
        Self {
            up: link.is_some_and(|link| link.up),
            speed_mbps: link.and_then(|link| link.speed_mbps).unwrap_or(0),
        }
    }
}

impl NetworkState {
    /// Asks the drivers of all ports.
    pub(crate) fn look_at_carriers(&mut self) {
        for entry in self.interfaces.iter_mut().filter(|entry| entry.port.is_some()) {
            entry.seen = Carrier::of(entry.port.as_ref());
        }
    }

    /// The same, if it is time.
    pub(crate) fn attend_carriers(&mut self, now: Instant) {
        if self.next_look().is_some_and(|due| due <= now) {
            self.looked = now;
            self.look_at_carriers();
        }
    }

    /// When the next look is due; `None`: nothing follows from carriers.
    pub(crate) fn next_look(&self) -> Option<Instant> {
        let follows = |entry: &Entry| {
            entry.lagg().is_some_and(|lagg| lagg.has_ports())
                || entry.bridge().is_some_and(|bridge| bridge.tree.is_some())
                || entry.config.up && entry.link_local.is_some()
        };
        self.interfaces.iter().any(follows).then(|| self.looked + LOOK_EVERY)
    }

    /// An interface has a carrier, or needs none.
    pub(super) fn runs(&self, entry: &Entry) -> bool {
        let carrier = self.carrier(entry);
        if let Some(bridge) = carrier.bridge() {
            return self.bridge_runs(bridge);
        }
        carrier.lagg().map_or(carrier.seen.up, Self::lagg_runs)
    }

    /// How fast an interface is; 0: nobody says.
    pub(super) fn speed(&self, entry: &Entry) -> u32 {
        let carrier = self.carrier(entry);
        carrier.lagg().map_or(carrier.seen.speed_mbps, Self::lagg_speed)
    }

    /// An interface, and what is over it, can be sent by or not, as an aggregated link begins or ceases to send:
    /// IPv6 waits for that, and a server is asked then.
    pub(super) fn fit_running(&mut self, index: u16) {
        let Some(entry) = self.interfaces.get(usize::from(index)) else { return };
        let runs = self.carrier(entry).lagg().is_none_or(Self::lagg_runs);
        for over in self.carried(index) {
            let Some(entry) = self.interfaces.get_mut(usize::from(over)) else { continue };
            if entry.link.set_running(runs) {
                entry.adopt_link();
                self.restart_dhcp(over);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proto::BridgeVerb;

    use super::super::tests::with_links;
    use super::*;

    fn at(millis: u64) -> Instant {
        Instant::from_millis(millis)
    }

    #[test]
    fn drivers_are_asked_ten_times_a_second_and_only_where_something_follows() {
        let mut state = with_links(1);
        assert_eq!(state.next_look(), None);
        state.set_link_local("tap1", true).unwrap();
        state.attend_carriers(at(500));
        for later in [500, 510, 599] {
            state.attend_carriers(at(later));
            assert_eq!(state.next_look(), Some(at(600)), "{later}");
        }
        state.attend_carriers(at(700));
        assert_eq!(state.next_look(), Some(at(800)));
        state.set_up("tap1", false).unwrap();
        assert_eq!(state.next_look(), None);
        state.create("lagg0", 1).unwrap();
        assert_eq!(state.next_look(), None, "it has no port");
        state.create("bridge0", 1).unwrap();
        let _ = state.change_bridge("bridge0", &BridgeVerb::Add("tap1".into()));
        assert_eq!(state.next_look(), None, "no tree");
    }
}
