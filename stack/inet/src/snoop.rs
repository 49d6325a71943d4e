//! A bridge that passes packets to a group on to those who listen (RFC 4541): what it hears of them.
//!
//! ```text
//!  frame to a group ──► a report ──► the port has listeners ───► to routers' ports
//!                       a query ───► a router is at the port ──► to all
//!                       a packet ──────────────────────────────► to listeners' and routers' ports, if any are known
//! ```
//! Each worker knows all groups; what one hears it tells the others.

use core::net::IpAddr;
use std::sync::Arc;

use bridge::{Asked, Groups, Heard, Listeners};
use dpdk::Mbuf;
use types::{DropReason, Instant};
use wire::snoop::{Query, Snooped};

use crate::bridge::Arrival;
use crate::command::{CallId, Handoff, Outcome};
use crate::links::Bridge;
use crate::output::Output;
use crate::worker::Worker;

/// Ports that a frame to a group is for, by their places among a bridge's, of which there are 255 at most.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reach([u64; 4]);

impl Reach {
    /// All.
    pub(crate) const ALL: Self = Self([u64::MAX; 4]);

    fn of(bridge: &Bridge, listeners: Option<Listeners<'_>>) -> Self {
        let Some(listeners) = listeners else { return Self::ALL };
        let mut words = [0; 4];
        for (place, _) in bridge.members.iter().enumerate().filter(|(_, p)| listeners.has(**p)) {
            if let Some(word) = words.get_mut(place >> 6) {
                *word |= 1 << (place & 63);
            }
        }
        Self(words)
    }

    /// The port at this place is among them.
    pub(crate) fn has(&self, place: usize) -> bool {
        self.0.get(place >> 6).is_some_and(|word| word >> (place & 63) & 1 != 0)
    }

    pub(crate) fn is_all(&self) -> bool {
        self.0 == Self::ALL.0
    }
}

const fn asked(query: &Query) -> Asked {
    let Query { inet6, group, max_response } = *query;
    Asked { inet6, group, max_response }
}

impl Worker {
    /// Whom a frame to a group is for; what it says of groups is learned.
    #[cold]
    pub(crate) fn snoop(
        &mut self,
        mbuf: &Mbuf,
        arrival: &Arrival,
        now: Instant,
    ) -> Result<Reach, DropReason> {
        let (bridge, port) = (arrival.member.bridge, arrival.port);
        let snooped = Snooped::parse(mbuf.data())?;
        let network = Arc::clone(&self.out.network);
        let of = network.links.bridge(bridge).ok_or(DropReason::InterfaceDown)?;
        let groups = &mut self.out.bridging(bridge).ok_or(DropReason::InterfaceDown)?.groups;
        let others = (0..self.mesh.workers()).filter(|to| *to != self.mesh.me);
        match snooped {
            Snooped::Query(query) => {
                let asked = asked(&query);
                groups.query(&asked, Some(port), now);
                for to in others {
                    // A lost note costs frames to all until the next question.
                    let _ = self.mesh.send(to, Handoff::Asked { bridge, port, asked, at: now });
                }
                Ok(Reach::ALL)
            }
            Snooped::Report(report) => {
                report.groups(|group| match groups.report(group, port, now) {
                    Heard::Known => {}
                    Heard::Refused => self.counters.bridge.groups_refused.increment(),
                    Heard::News => {
                        for to in others.clone() {
                            let note = Handoff::Listening { bridge, port, group, at: now };
                            let _ = self.mesh.send(to, note);
                        }
                    }
                });
                Ok(Reach::of(of, groups.routers(now)))
            }
            Snooped::Data(group) => Ok(Reach::of(of, groups.listeners(group, now))),
            Snooped::Other => Ok(Reach::ALL),
        }
    }

    /// Another worker has heard of a listener.
    pub(crate) fn listening_handoff(&mut self, bridge: u16, port: u16, group: IpAddr, at: Instant) {
        if let Some(bridging) = self.out.bridging(bridge) {
            let _ = bridging.groups.report(group, port, at);
        }
    }

    /// Another worker has heard somebody ask.
    pub(crate) fn asked_handoff(&mut self, bridge: u16, port: u16, asked: &Asked, at: Instant) {
        if let Some(bridging) = self.out.bridging(bridge) {
            bridging.groups.query(asked, Some(port), at);
        }
    }

    /// Groups of a bridge, for a listing.
    pub(crate) fn list_groups(&mut self, call: CallId, bridge: u16, now: Instant) {
        let bridging = self.out.bridging(bridge);
        let rows = bridging.map(|bridging| bridging.groups.rows(now).collect()).unwrap_or_default();
        self.done(call, Ok(Outcome::Listening(rows)));
    }
}

impl Output {
    /// Whom a frame of this host's own is for.
    #[cold]
    pub(crate) fn reach(&mut self, mbuf: &Mbuf, interface: u16) -> Reach {
        let (network, now) = (Arc::clone(&self.network), self.now);
        let Some(bridge) = network.links.bridge(interface) else { return Reach::ALL };
        let Some(bridging) = self.bridging(interface) else { return Reach::ALL };
        let groups: &Groups = &bridging.groups;
        match Snooped::parse(mbuf.data()) {
            Ok(Snooped::Data(group)) => Reach::of(bridge, groups.listeners(group, now)),
            Ok(Snooped::Report(_)) => Reach::of(bridge, groups.routers(now)),
            Ok(Snooped::Query(_) | Snooped::Other) | Err(_) => Reach::ALL,
        }
    }
}
