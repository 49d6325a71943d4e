//! What another bridge says (IEEE 802.1D-2004 17.21.8, 17.27).

use core::cmp::Ordering;
use core::time::Duration;

use types::Instant;
use wire::bpdu::{Bpdu, Config, flag};

use super::port::{Info, Port, Role};
use super::{BridgeId, Times, Tree, Vector};
use crate::limits::{EDGE_DELAY, HELLO_MIN, HELLOS_MISSED, MIGRATE_TIME};

/// A role in a message's flags.
const SAYS_OTHER: u8 = 1 << 2;
const SAYS_ROOT: u8 = 2 << 2;
const SAYS_DESIGNATED: u8 = 3 << 2;

impl Tree {
    pub(super) fn receive(&mut self, name: u16, bpdu: &Bpdu, now: Instant) {
        let (own, rapid) = (self.id(), self.config.rapid);
        let Some(port) = self.ports.get_mut(&name) else { return };
        if port.info == Info::Disabled {
            return;
        }
        let (config, is_rapid) = match bpdu {
            Bpdu::TopologyChange => {
                port.hear_version(false, rapid, now);
                return self.hear_change(name, true, now);
            }
            Bpdu::Config(config) => (config, false),
            // Who does not speak it takes it for the older kind (9.3.4).
            Bpdu::Rapid(config) => (config, rapid),
        };
        let vector = Vector {
            root: BridgeId(config.root.get()),
            cost: config.cost.get(),
            bridge: BridgeId(config.bridge.get()),
            port: config.port.get(),
        };
        if vector.bridge == own && vector.port == port.config.id() {
            // Our own message, come back.
            return;
        }
        port.hear_version(is_rapid, rapid, now);
        (port.edge, port.edge_at) = (false, now + EDGE_DELAY);
        let role = if is_rapid { config.flags & flag::ROLE } else { SAYS_DESIGNATED };
        match role {
            SAYS_DESIGNATED => port.hear_designated(config, vector, is_rapid, now),
            SAYS_ROOT | SAYS_OTHER if vector >= port.vector || port.info != Info::Received => {
                port.hear_agreement(config);
            }
            _ => {}
        }
        if config.flags & flag::ACKNOWLEDGED != 0 && !is_rapid && port.role == Role::Root {
            port.change_until = Instant::ZERO;
        }
        if config.flags & flag::TOPOLOGY_CHANGE != 0 {
            self.hear_change(name, false, now);
        }
    }

    /// Stations may have moved, says somebody behind this port (17.29, NOTIFIED_TC).
    fn hear_change(&mut self, name: u16, asks: bool, now: Instant) {
        let times = self.times;
        let Some(port) = self.ports.get_mut(&name) else { return };
        if !port.active {
            return;
        }
        if asks {
            port.note_change(&times, now);
            port.acknowledge = port.role == Role::Designated;
            port.new_info |= port.acknowledge;
        }
        self.spread_change(name, now);
    }

    /// All others are told, and what they know of stations is forgotten (17.21.18).
    pub(super) fn spread_change(&mut self, from: u16, now: Instant) {
        let times = self.times;
        self.changes = self.changes.wrapping_add(1);
        for (name, port) in &mut self.ports {
            if *name != from && port.active {
                port.note_change(&times, now);
                self.flushes.want(*name);
            }
        }
    }
}

impl Port {
    /// Which protocol the other end speaks (17.24). A while after a change nothing is changed back.
    fn hear_version(&mut self, is_rapid: bool, may: bool, now: Instant) {
        if self.rapid != (is_rapid && may) && self.migrate_at <= now {
            self.rapid = is_rapid && may;
            self.migrate_at = now + MIGRATE_TIME;
        }
    }

    fn hear_designated(&mut self, config: &Config, vector: Vector, rapid: bool, now: Instant) {
        let times = times_of(config);
        // Who said the last word may also say a worse one.
        let same_source = self.info == Info::Received
            && (vector.bridge.0 << 16, vector.port & 0xff)
                == (self.vector.bridge.0 << 16, self.vector.port & 0xff);
        let order = vector.cmp(&self.vector);
        let repeated = order == Ordering::Equal && self.info == Info::Received;
        if repeated && times == self.times {
            self.propose(config, rapid);
            return self.hold(now);
        }
        if order == Ordering::Less || same_source || self.info == Info::Aged {
            (self.agreed, self.proposing) = (false, false);
            self.propose(config, rapid);
            self.agree &= self.info == Info::Received && vector <= self.vector;
            (self.vector, self.times, self.info) = (vector, times, Info::Received);
            return self.hold(now);
        }
        // It is worse than what we say. If it forwards nevertheless, it does not hear us (17.21.10).
        if rapid && config.flags & flag::LEARNING != 0 {
            (self.disputed, self.agreed) = (true, false);
        }
        // The older protocol answers at once (802.1D-1998 8.6.4).
        self.new_info |= !rapid;
    }

    fn propose(&mut self, config: &Config, rapid: bool) {
        if rapid && config.flags & flag::PROPOSAL != 0 {
            self.proposed = true;
        }
    }

    fn hear_agreement(&mut self, config: &Config) {
        if config.flags & flag::AGREEMENT != 0 {
            (self.agreed, self.proposing) = (true, false);
        }
    }

    /// What was heard counts for some hellos (17.21.23).
    fn hold(&mut self, now: Instant) {
        let is_young = self.times.message_age + Duration::from_secs(1) <= self.times.max_age;
        let hold = self.times.hello.max(HELLO_MIN) * HELLOS_MISSED;
        self.expires = if is_young { now + hold } else { now };
    }
}

fn times_of(config: &Config) -> Times {
    let time = |parts: u16| Duration::from_nanos(u64::from(parts) * 1_000_000_000 / 256);
    Times {
        message_age: time(config.message_age.get()),
        max_age: time(config.max_age.get()),
        hello: time(config.hello.get()),
        forward_delay: time(config.forward_delay.get()),
    }
}
