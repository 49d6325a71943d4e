//! A port's next step (IEEE 802.1D-2004 17.29 to 17.31).

use types::Instant;

use super::Tree;
use super::port::{Port, Role, State};
use crate::limits::EDGE_DELAY;

impl Tree {
    /// One step of a port, if there is one. `true`: there was.
    pub(super) fn step(&mut self, name: u16, now: Instant) -> bool {
        let Some(role) = self.ports.get(&name).map(|port| port.role) else { return false };
        let moved = match role {
            Role::Disabled => false,
            Role::Root => self.step_root(name, now),
            Role::Designated => self.step_designated(name, now),
            Role::Alternate | Role::Backup => self.step_other(name, now),
        };
        self.step_change(name, now) || moved
    }

    fn step_root(&mut self, name: u16, now: Instant) -> bool {
        if self.answer_proposal(name) {
            return true;
        }
        let delay = self.times.forward_delay;
        let others_are_cold = self.others(name).all(|p| p.recent_root_until <= now);
        let rapid = self.config.rapid;
        let Some(port) = self.ports.get_mut(&name) else { return false };
        port.recent_root_until = now + delay;
        if port.is_forwarding() {
            return core::mem::take(&mut port.reroot);
        }
        if !port.reroot {
            // (setReRootTree) Who was root a moment ago stops, so that this one may begin.
            self.ports.values_mut().for_each(|p| p.reroot = true);
            return true;
        }
        let at_once = others_are_cold && port.recent_backup_until <= now && rapid;
        port.advance(at_once, delay, now)
    }

    fn step_designated(&mut self, name: u16, now: Instant) -> bool {
        let delay = self.times.forward_delay;
        let Some(port) = self.ports.get_mut(&name) else { return false };
        if !port.edge && port.rapid && port.proposing && port.edge_at <= now {
            // (AUTO_EDGE) No bridge has answered.
            port.edge = true;
            return true;
        }
        if !port.is_forwarding() && !port.agreed && !port.proposing && !port.edge {
            (port.proposing, port.new_info) = (true, true);
            port.edge_at = port.edge_at.max(now + EDGE_DELAY);
            return true;
        }
        let settled = !port.is_learning() || port.agreed || port.edge;
        if (settled && !port.synced) || (port.sync && port.synced) {
            port.recent_root_until = Instant::ZERO;
            (port.synced, port.sync) = (true, false);
            return true;
        }
        let recent = port.recent_root_until > now;
        if !recent && port.reroot {
            port.reroot = false;
            return true;
        }
        let must_stop = (port.sync && !port.synced) || (port.reroot && recent) || port.disputed;
        if must_stop && !port.edge && port.is_learning() {
            port.state = State::Discarding;
            port.recent_root_until = Instant::ZERO;
            (port.disputed, port.forward_at) = (false, now + delay);
            (port.proposing, port.agreed) = (false, false);
            return true;
        }
        if port.sync || (recent && port.reroot) || port.is_forwarding() {
            return false;
        }
        let at_once = port.agreed || port.edge;
        let moved = port.advance(at_once, delay, now);
        if moved && port.is_forwarding() {
            port.agreed = port.rapid;
        }
        moved
    }

    fn step_other(&mut self, name: u16, now: Instant) -> bool {
        if self.answer_proposal(name) {
            return true;
        }
        let hello = self.times.hello;
        let Some(port) = self.ports.get_mut(&name) else { return false };
        if port.role == Role::Backup {
            port.recent_backup_until = now + hello * 2;
        }
        let moved = port.sync || port.reroot || !port.synced;
        (port.sync, port.reroot, port.synced) = (false, false, true);
        moved
    }

    /// The other end wants to forward: all ports that lead from here are brought to rest first, then it is
    /// told that it may (17.29.2, ROOT_PROPOSED and ROOT_AGREED).
    fn answer_proposal(&mut self, name: u16) -> bool {
        let all_synced = self.others(name).all(|p| p.synced || p.role == Role::Root);
        let Some(port) = self.ports.get_mut(&name) else { return false };
        if port.proposed && !port.agree && !all_synced {
            port.proposed = false;
            let rest = self.ports.iter_mut().filter(|(other, _)| **other != name);
            rest.filter(|(_, p)| p.role != Role::Root).for_each(|(_, p)| p.sync = true);
            return true;
        }
        if (all_synced && !port.agree) || (port.proposed && port.agree) {
            (port.proposed, port.sync, port.agree, port.new_info) = (false, false, true, true);
            return true;
        }
        false
    }

    /// Whether stations have moved because of this port (17.31).
    fn step_change(&mut self, name: u16, now: Instant) -> bool {
        let times = self.times;
        let Some(port) = self.ports.get_mut(&name) else { return false };
        let counts = port.is_in_tree() && port.is_forwarding() && !port.edge;
        if counts == port.active {
            return false;
        }
        port.active = counts;
        if counts {
            port.note_change(&times, now);
            port.new_info = true;
            self.spread_change(name, now);
        } else {
            port.change_until = Instant::ZERO;
            port.acknowledge = false;
            self.flushes.want(name);
        }
        true
    }

    fn others(&self, name: u16) -> impl Iterator<Item = &Port> {
        self.ports.iter().filter(move |(other, _)| **other != name).map(|(_, port)| port)
    }
}

impl Port {
    /// The next state, if its time has come.
    fn advance(&mut self, at_once: bool, delay: core::time::Duration, now: Instant) -> bool {
        if !at_once && self.forward_at > now {
            return false;
        }
        self.forward_at = now + delay;
        self.state = match self.state {
            State::Discarding => State::Learning,
            State::Learning | State::Forwarding => State::Forwarding,
        };
        true
    }
}
