//! Frames over several links that are used as one (IEEE 802.1AX).
//!
//! ```text
//!  burst of a port ──► LACP, markers? ──► control thread
//!                      └► the port collects? ──► burst_input(lagg0)
//!  transmit(lagg0) ──► the flow's port of those that distribute ──► transmit(port)
//! ```
//! Which ports do what is in the snapshot; a worker only looks.

use dpdk::{Burst, Mbuf};
use types::{DropReason, Instant};
use wire::ethernet;
use wire::lacp::Slow;

use crate::command::Event;
use crate::filter;
use crate::limits::SLOW_PER_SECOND;
use crate::links::Joined;
use crate::output::Output;
use crate::rate_limit::RateLimit;
use crate::spread;
use crate::worker::Worker;

/// What the control plane hears of each port of an aggregated link; a port that floods silences no other.
#[derive(Debug, Default)]
pub(crate) struct Slows(Vec<(u16, RateLimit)>);

impl Slows {
    /// Keeps what is still a port of an aggregated link.
    pub(crate) fn retain(&mut self, is_port: impl Fn(u16) -> bool) {
        self.0.retain(|(port, _)| is_port(*port));
    }

    fn permit(&mut self, port: u16, now: Instant) -> bool {
        let known = self.0.iter().position(|(there, _)| *there == port);
        let at = known.unwrap_or_else(|| {
            self.0.push((port, RateLimit::new(SLOW_PER_SECOND)));
            self.0.len().saturating_sub(1)
        });
        self.0.get_mut(at).is_some_and(|(_, limit)| limit.permit(now))
    }
}

impl Worker {
    /// A burst from a port of an aggregated link.
    pub(crate) fn lagg_input(
        &mut self,
        burst: &mut Burst,
        port: u16,
        joined: Joined,
        now: Instant,
    ) {
        if joined.lacp && burst.iter().any(is_slow) {
            self.take_slow(burst, port, now);
        }
        let network = &self.out.network;
        let is_up = |index| network.interface(index).is_some_and(|config| config.up);
        let refused = if !is_up(port) || !is_up(joined.lagg) {
            Some(DropReason::InterfaceDown)
        } else {
            (!joined.collects).then_some(DropReason::LaggNotCollecting)
        };
        if let Some(reason) = refused {
            return burst.drain().for_each(|_| self.out.count_drop(reason));
        }
        let share = network.links.lagg(joined.lagg).and_then(|l| l.traffic.of(self.mesh.me));
        if let Some(share) = share {
            burst.iter().for_each(|mbuf| share.received(mbuf.packet_len()));
        }
        // At the port filters ask for its own station; here it is the whole link's.
        if self.out.desk.is_some() {
            filter::input(&mut self.out, burst, joined.lagg);
        }
        self.burst_input(burst, joined.lagg, now);
    }

    /// What both ends say about the link is the control plane's.
    #[cold]
    fn take_slow(&mut self, burst: &mut Burst, port: u16, now: Instant) {
        let is_up = self.out.network.interface(port).is_some_and(|config| config.up);
        burst.retain(|mbuf| {
            if !is_slow(mbuf) {
                return true;
            }
            let heard = if !is_up {
                Err(DropReason::InterfaceDown)
            } else if !mbuf.linearize() {
                Err(DropReason::MbufChain)
            } else if let Err(reason) = Slow::parse(mbuf.data()) {
                Err(reason)
            } else if !self.out.slows.permit(port, now) {
                Err(DropReason::ControlQueueFull)
            } else {
                Ok(Event::HeardFrame { interface: port, frame: mbuf.data().into() })
            };
            match heard {
                Ok(event) => self.events.send(event),
                Err(reason) => self.out.count_drop(reason),
            }
            false
        });
    }
}

fn is_slow(mbuf: &Mbuf) -> bool {
    ethernet::Frame::parse(mbuf.data()).is_ok_and(|frame| Slow::is(frame.header))
}

impl Output {
    /// A frame for an aggregated link: by the port that its flow has.
    #[inline(never)]
    pub(crate) fn transmit_aggregated(&mut self, mbuf: Mbuf, interface: u16) {
        let Some(lagg) = self.network.links.lagg(interface) else {
            return self.count_drop(DropReason::InterfaceDown);
        };
        let Some(port) = lagg::spread(spread::of_frame(mbuf.data()), &lagg.distributing) else {
            return self.count_drop(DropReason::LaggNoPort);
        };
        if let Some(share) = lagg.traffic.of(self.worker) {
            share.sent(mbuf.packet_len());
        }
        self.transmit(mbuf, port);
    }
}
