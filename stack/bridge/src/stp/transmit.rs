//! What this bridge says, and when (IEEE 802.1D-2004 17.26).

use core::time::Duration;

use types::Instant;
use wire::bpdu::{Bpdu, Config, flag};
use wire::{U16, U32};

use super::port::{Info, Port, Role};
use super::{Times, Tree, Vector};
use crate::limits::{HELLO_MIN, MESSAGES_PER_SECOND};

impl Tree {
    /// Messages that are due.
    pub(super) fn transmit(&mut self, now: Instant) {
        let (root, times) = (self.root, self.times);
        let (own, mut due) = (self.id(), Vec::new());
        for (name, port) in &mut self.ports {
            if port.info == Info::Disabled {
                continue;
            }
            let changing = port.change_until > now;
            if port.hello_at <= now {
                port.hello_at = now + times.hello.max(HELLO_MIN);
                port.new_info |=
                    port.role == Role::Designated || (port.role == Role::Root && changing);
            }
            if now.since(port.sent_since) >= Duration::from_secs(1) {
                (port.sent, port.sent_since) = (0, now);
            }
            if !port.new_info || port.sent >= MESSAGES_PER_SECOND {
                continue;
            }
            port.new_info = false;
            let said = Vector { bridge: own, port: port.config.id(), ..root };
            let bpdu = match (port.rapid, port.role) {
                (true, _) => Bpdu::Rapid(port.message(&said, &times, changing)),
                (false, Role::Designated) => Bpdu::Config(port.message(&said, &times, changing)),
                (false, Role::Root) if changing => Bpdu::TopologyChange,
                (false, _) => continue,
            };
            port.acknowledge = false;
            port.sent = port.sent.saturating_add(1);
            due.push((*name, bpdu));
        }
        due.into_iter().for_each(|(name, bpdu)| self.send(name, bpdu));
    }
}

impl Port {
    fn message(&self, said: &Vector, times: &Times, changing: bool) -> Config {
        let role = match self.role {
            Role::Root => 2 << 2,
            Role::Designated => 3 << 2,
            Role::Alternate | Role::Backup | Role::Disabled => 1 << 2,
        };
        let may = self.agree && self.role != Role::Designated;
        let rapid = [
            (flag::PROPOSAL, self.proposing),
            (flag::LEARNING, self.is_learning()),
            (flag::FORWARDING, self.is_forwarding()),
            (flag::AGREEMENT, may),
        ];
        let both = [(flag::TOPOLOGY_CHANGE, changing)];
        let set = |flags: &[(u8, bool)]| {
            flags.iter().filter(|(_, on)| *on).fold(0, |all, (flag, _)| all | flag)
        };
        let acknowledged = if self.acknowledge { flag::ACKNOWLEDGED } else { 0 };
        let flags = set(&both) | if self.rapid { set(&rapid) | role } else { acknowledged };
        Config {
            flags,
            root: said.root.0.into(),
            cost: U32::new(said.cost),
            bridge: said.bridge.0.into(),
            port: U16::new(said.port),
            message_age: parts(times.message_age),
            max_age: parts(times.max_age),
            hello: parts(times.hello),
            forward_delay: parts(times.forward_delay),
        }
    }
}

/// A time in 256ths of a second.
fn parts(time: Duration) -> U16 {
    let parts = time.as_nanos().saturating_mul(256) / 1_000_000_000;
    U16::new(u16::try_from(parts).unwrap_or(u16::MAX))
}
