//! Who leads to the root, and who from it (IEEE 802.1D-2004 17.21.25).

use core::time::Duration;

use types::Instant;

use super::port::{Info, Role, State};
use super::{Times, Tree, Vector, own_times};

impl Tree {
    /// Chooses the root, the way to it, and each port's role.
    pub(super) fn elect(&mut self, now: Instant) {
        let own = self.id();
        let mine = Vector { root: own, cost: 0, bridge: own, port: 0 };
        let way = |(name, port): (&u16, &super::Port)| {
            let heard = port.info == Info::Received && port.vector.bridge != own;
            let cost = port.vector.cost.saturating_add(port.config.cost);
            heard.then_some((Vector { cost, ..port.vector }, port.config.id(), *name))
        };
        let best = self.ports.iter().filter_map(way).min().filter(|(vector, ..)| *vector < mine);
        (self.root, self.root_port) = match best {
            Some((vector, _, name)) => (vector, Some(name)),
            None => (mine, None),
        };
        let heard = self.root_port.and_then(|name| self.ports.get(&name));
        self.times = heard.map_or_else(
            || own_times(&self.config),
            |port| {
                let message_age = port.times.message_age + Duration::from_secs(1);
                Times { message_age, ..port.times }
            },
        );
        let names: Vec<u16> = self.ports.keys().copied().collect();
        names.into_iter().for_each(|name| self.give_role(name, now));
    }

    fn give_role(&mut self, name: u16, now: Instant) {
        let (own, times, root_port) = (self.id(), self.times, self.root_port);
        let (root, cost) = (self.root.root, self.root.cost);
        let Some(port) = self.ports.get_mut(&name) else { return };
        let designated = Vector { root, cost, bridge: own, port: port.config.id() };
        let role = match port.info {
            Info::Disabled => Role::Disabled,
            Info::Aged | Info::Mine => Role::Designated,
            Info::Received if root_port == Some(name) => Role::Root,
            Info::Received if designated < port.vector => Role::Designated,
            Info::Received if port.vector.bridge == own => Role::Backup,
            Info::Received => Role::Alternate,
        };
        let says_otherwise = port.vector != designated || port.times != times;
        if role == Role::Designated && (port.info != Info::Mine || says_otherwise) {
            // (UPDATE) What was agreed holds if what is said now is not worse.
            port.agreed &= port.info == Info::Mine && designated <= port.vector;
            port.synced &= port.agreed;
            (port.proposing, port.proposed) = (false, false);
            (port.vector, port.times, port.info) = (designated, times, Info::Mine);
            port.new_info = true;
        }
        if role == port.role {
            return;
        }
        let was_root = port.role == Role::Root;
        if was_root {
            port.recent_root_until = now + times.forward_delay;
        }
        port.role = role;
        match role {
            Role::Disabled | Role::Alternate | Role::Backup => {
                port.state = State::Discarding;
                port.forward_at = now + times.forward_delay;
                (port.synced, port.sync, port.reroot) = (true, false, false);
                port.recent_root_until = Instant::ZERO;
                port.new_info |= role != Role::Disabled;
            }
            Role::Root | Role::Designated => {
                if !port.is_learning() {
                    port.forward_at = now + times.forward_delay;
                }
            }
        }
    }
}
