//! What is known of a port.

use types::Instant;
use wire::U16;
use wire::lacp::{Info, state};

use crate::limits::{FAST_PERIODIC, MESSAGES_PER_PERIOD, PRIORITY, SLOW_PERIODIC};

/// What the operator and the link say of a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortConfig {
    /// Its number, from 1; the lowest that has a carrier is the one of [`Failover`](crate::Protocol::Failover).
    pub number: u16,
    /// Megabits a second, 0 if unknown: ports of different speeds are not used together by LACP.
    pub speed_mbps: u32,
    /// It has a carrier.
    pub up: bool,
}

impl PortConfig {
    /// Ports with the same key may be aggregated (6.3.5).
    fn key(&self) -> u16 {
        match self.speed_mbps / 10 {
            0 => 1,
            tens => u16::try_from(tens).unwrap_or(u16::MAX),
        }
    }

    /// How much it carries beside others.
    pub(crate) fn weight(&self) -> u64 {
        u64::from(self.speed_mbps.max(1))
    }
}

/// What a port does (6.4.15, with control of each direction).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mux {
    /// It is of no aggregate.
    Detached,
    /// It is to be, when others have had the time to come too.
    Waiting,
    /// It is, and the other end is not yet ready.
    Attached,
    /// What comes in is taken.
    Collecting,
    /// It is sent by, too.
    Distributing,
}

/// A port, for listings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortRow {
    /// This end.
    pub actor: Info,
    /// The other.
    pub partner: Info,
    /// What it does.
    pub mux: Mux,
}

/// What is known of the other end (6.4.12).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    /// There is no link.
    Disabled,
    /// It was not heard for too long; what it said is still believed but not relied on.
    Expired,
    /// Nobody is there who speaks.
    Defaulted,
    /// It speaks.
    Current,
}

#[derive(Debug)]
pub(crate) struct Port {
    pub(crate) config: PortConfig,
    pub(crate) heard: Heard,
    /// When what was heard, or waited for, is too old.
    pub(crate) expires: Instant,
    pub(crate) partner: Info,
    /// It is one of those that are to be used.
    pub(crate) selected: bool,
    pub(crate) mux: Mux,
    /// When the wait for others is over.
    pub(crate) ready: Instant,
    /// When the next message is due.
    pub(crate) periodic: Instant,
    pub(crate) wants_to_speak: bool,
    /// When its messages of this period were first counted, and how many there are.
    period: Instant,
    said: u8,
}

impl Port {
    pub(crate) fn new(config: PortConfig) -> Self {
        Self {
            config,
            heard: Heard::Disabled,
            expires: Instant::ZERO,
            partner: NOBODY,
            selected: false,
            mux: Mux::Detached,
            ready: Instant::ZERO,
            periodic: Instant::ZERO,
            wants_to_speak: false,
            period: Instant::ZERO,
            said: 0,
        }
    }

    /// This end as it is told to the other.
    pub(crate) fn actor(&self, system: [u8; 6]) -> Info {
        let bit = |on: bool, bit: u8| if on { bit } else { 0 };
        Info {
            system_priority: U16::new(PRIORITY),
            system,
            key: U16::new(self.config.key()),
            port_priority: U16::new(PRIORITY),
            port: U16::new(self.config.number),
            state: state::ACTIVITY
                | state::TIMEOUT
                | state::AGGREGATION
                | bit(self.mux >= Mux::Attached, state::SYNCHRONIZATION)
                | bit(self.mux >= Mux::Collecting, state::COLLECTING)
                | bit(self.mux == Mux::Distributing, state::DISTRIBUTING)
                | bit(self.heard == Heard::Defaulted, state::DEFAULTED)
                | bit(self.heard == Heard::Expired, state::EXPIRED),
        }
    }

    /// What it does is another thing from now on; the other end is to know.
    pub(crate) fn set_mux(&mut self, mux: Mux) -> bool {
        let changes = self.mux != mux;
        self.mux = mux;
        self.wants_to_speak |= changes;
        changes
    }

    /// May it speak now? Then it does (6.4.13, 6.4.16).
    pub(crate) fn speaks(&mut self, now: Instant) -> bool {
        if self.heard == Heard::Disabled {
            self.wants_to_speak = false;
            return false;
        }
        if self.periodic <= now {
            self.wants_to_speak = true;
            self.periodic = now + self.interval();
        }
        if now.since(self.period) >= FAST_PERIODIC {
            (self.period, self.said) = (now, 0);
        }
        let speaks = self.wants_to_speak && self.said < MESSAGES_PER_PERIOD;
        if speaks {
            self.said = self.said.saturating_add(1);
            self.wants_to_speak = false;
        }
        speaks
    }

    /// How often the other end wants to hear.
    pub(crate) fn interval(&self) -> core::time::Duration {
        if self.partner.is(state::TIMEOUT) { FAST_PERIODIC } else { SLOW_PERIODIC }
    }

    /// When something is due.
    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        if self.heard == Heard::Disabled {
            return None;
        }
        let expires = (self.heard != Heard::Defaulted).then_some(self.expires);
        let ready = (self.mux == Mux::Waiting).then_some(self.ready);
        let held = self.wants_to_speak.then(|| self.period + FAST_PERIODIC);
        expires.into_iter().chain(ready).chain(held).chain([self.periodic]).min()
    }
}

/// What is taken for granted of one who does not speak (6.4.6): that it may begin to, and then wants to hear often.
pub(crate) const NOBODY: Info = Info { state: state::TIMEOUT, ..Info::NONE };
