//! Ports whose stations are to be forgotten (IEEE 802.1D-2004 17.11).

use std::collections::{BTreeMap, BTreeSet};

use types::Instant;

use crate::limits::FLUSH_EVERY;

/// Each is forgotten at once, and again only after a while: who says with each message that the topology has changed
/// would have tables of stations searched with each.
#[derive(Debug, Default)]
pub(super) struct Flushes {
    wanted: BTreeSet<u16>,
    rest_until: BTreeMap<u16, Instant>,
}

impl Flushes {
    pub(super) fn want(&mut self, port: u16) {
        let _ = self.wanted.insert(port);
    }

    pub(super) fn remove(&mut self, port: u16) {
        let _ = (self.wanted.remove(&port), self.rest_until.remove(&port));
    }

    /// Those that may be forgotten now.
    pub(super) fn take(&mut self, now: Instant) -> Vec<u16> {
        let Self { wanted, rest_until } = self;
        let rests = |port: &u16| rest_until.get(port).is_some_and(|until| *until > now);
        let due: Vec<u16> = wanted.iter().copied().filter(|port| !rests(port)).collect();
        wanted.retain(rests);
        rest_until.extend(due.iter().map(|port| (*port, now + FLUSH_EVERY)));
        due
    }

    /// When the next one may be that has to wait after `settled`.
    pub(super) fn next_timeout(&self, settled: Instant) -> Option<Instant> {
        let until = self.wanted.iter().filter_map(|port| self.rest_until.get(port));
        until.filter(|until| **until > settled).min().copied()
    }
}
