//! What is known of a port.

use core::time::Duration;

use types::Instant;

use super::{BridgeId, Times, TreeConfig, Vector, own_times};
use crate::limits::MIGRATE_TIME;

/// What a port is for (IEEE 802.1D-2004 17.7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It has no link.
    Disabled,
    /// It leads to the root.
    Root,
    /// It leads from the root.
    Designated,
    /// Another way to the root.
    Alternate,
    /// Another way to a link that this bridge serves already.
    Backup,
}

/// What a port does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Nothing.
    Discarding,
    /// It learns where stations are.
    Learning,
    /// It passes frames on.
    Forwarding,
}

/// What the operator, the link and the bridge say of a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortConfig {
    /// Its number, from 1 to 255.
    pub number: u8,
    /// Its priority (`ifpriority`): among equal ways the lower.
    pub priority: u8,
    /// What a way by it costs (`ifpathcost`).
    pub cost: u32,
    /// It has a carrier.
    pub up: bool,
}

impl PortConfig {
    pub(super) const fn id(&self) -> u16 {
        (self.priority as u16) << 8 | self.number as u16
    }
}

/// A port, for listings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortRow {
    /// What it is for.
    pub role: Role,
    /// What it does.
    pub state: State,
    /// Nobody but stations is there.
    pub edge: bool,
    /// It speaks 802.1w.
    pub rapid: bool,
}

/// Whose word counts at a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Info {
    /// Nobody's: there is no link.
    Disabled,
    /// What was heard is too old.
    Aged,
    /// This bridge's.
    Mine,
    /// Another's.
    Received,
}

/// A port of the tree. Names in brackets are the standard's (17.19).
#[derive(Debug)]
pub(super) struct Port {
    pub config: PortConfig,
    pub role: Role,
    pub state: State,
    pub info: Info,
    /// (portPriority, portTimes)
    pub vector: Vector,
    pub times: Times,
    /// (rcvdInfoWhile)
    pub expires: Instant,
    pub proposing: bool,
    pub proposed: bool,
    pub agree: bool,
    pub agreed: bool,
    pub sync: bool,
    pub synced: bool,
    pub disputed: bool,
    pub reroot: bool,
    /// (operEdge)
    pub edge: bool,
    /// (edgeDelayWhile)
    pub edge_at: Instant,
    /// (sendRSTP)
    pub rapid: bool,
    /// (mdelayWhile)
    pub migrate_at: Instant,
    /// (fdWhile)
    pub forward_at: Instant,
    /// (rrWhile)
    pub recent_root_until: Instant,
    /// (rbWhile)
    pub recent_backup_until: Instant,
    /// (tcWhile)
    pub change_until: Instant,
    /// It takes part in topology changes.
    pub active: bool,
    pub acknowledge: bool,
    pub hello_at: Instant,
    pub new_info: bool,
    /// (txCount) in this second.
    pub sent: u8,
    pub sent_since: Instant,
}

impl Port {
    pub(super) fn new(config: PortConfig, now: Instant) -> Self {
        let nobody = BridgeId(u64::MAX);
        Self {
            config,
            role: Role::Disabled,
            state: State::Discarding,
            info: Info::Disabled,
            vector: Vector { root: nobody, cost: u32::MAX, bridge: nobody, port: u16::MAX },
            times: own_times(&TreeConfig::default()),
            expires: now,
            proposing: false,
            proposed: false,
            agree: false,
            agreed: false,
            sync: false,
            synced: false,
            disputed: false,
            reroot: false,
            edge: false,
            edge_at: now,
            rapid: true,
            migrate_at: now,
            forward_at: now,
            recent_root_until: Instant::ZERO,
            recent_backup_until: Instant::ZERO,
            change_until: Instant::ZERO,
            active: false,
            acknowledge: false,
            hello_at: now,
            new_info: false,
            sent: 0,
            sent_since: now,
        }
    }

    /// Its link has come or gone, or it is to speak otherwise: nothing is known.
    pub(super) fn begin(&mut self, rapid: bool, own: &TreeConfig, now: Instant) {
        let config = self.config;
        let active = self.active;
        *self = Self::new(config, now);
        // Whoever forwarded is to be seen to stop.
        self.active = active;
        self.info = if config.up { Info::Aged } else { Info::Disabled };
        self.rapid = rapid;
        self.migrate_at = now + MIGRATE_TIME;
        self.edge_at = now + MIGRATE_TIME;
        self.forward_at = now + own.forward_delay;
    }

    pub(super) fn is_learning(&self) -> bool {
        self.state != State::Discarding
    }

    pub(super) fn is_forwarding(&self) -> bool {
        self.state == State::Forwarding
    }

    /// It counts in the tree.
    pub(super) fn is_in_tree(&self) -> bool {
        matches!(self.role, Role::Root | Role::Designated)
    }

    /// Stations may have moved: so long everybody behind this port is told (17.21.7).
    pub(super) fn note_change(&mut self, times: &Times, now: Instant) {
        if self.change_until > now {
            return;
        }
        self.change_until = if self.rapid {
            self.new_info = true;
            now + times.hello + Duration::from_secs(1)
        } else {
            now + times.max_age + times.forward_delay
        };
    }

    /// The next time after `settled` that counts.
    pub(super) fn next_timeout(&self, settled: Instant) -> Option<Instant> {
        if self.info == Info::Disabled {
            return None;
        }
        let waits = !self.is_forwarding() && self.is_in_tree();
        let all = [
            (self.info == Info::Received, self.expires),
            (true, self.hello_at),
            (waits, self.forward_at),
            (waits && self.reroot, self.recent_root_until),
            (waits && !self.edge, self.edge_at),
            (waits, self.recent_backup_until),
            (self.new_info, self.sent_since + Duration::from_secs(1)),
        ];
        all.into_iter().filter(|(counts, at)| *counts && *at > settled).map(|(_, at)| at).min()
    }

    pub(super) fn row(&self) -> PortRow {
        PortRow { role: self.role, state: self.state, edge: self.edge, rapid: self.rapid }
    }
}
