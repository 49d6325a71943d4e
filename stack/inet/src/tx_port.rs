//! A port's transmit side: frames that wait, and where they go, which is a queue of this worker's or the
//! worker that has the only one.
//!
//! ```text
//!   worker 1: burst ──► filters ──► Line ──► worker 0: relayed ──┐
//!                                   worker 0: burst ──► filters ─┴──► the port's queue
//! ```

use std::collections::VecDeque;

use devnp::TxQueue;
use dpdk::{Burst, Lost, Mbuf};

use crate::command::Handoff;
use crate::counters::WorkerCounters;
use crate::filter;
use crate::limits::TX_BACKLOG_MAX;
use crate::steer::Line;

/// A worker's way out by one port.
pub(crate) enum TxEnd {
    /// A queue of its own.
    Own(TxQueue),
    /// The worker whose the only queue is.
    Through(Line),
}

impl TxEnd {
    /// Sends frames from the front of the burst, as many as go now, and says how many.
    #[inline]
    fn tx_burst(&mut self, interface: u16, burst: &mut Burst) -> usize {
        match self {
            Self::Own(queue) => queue.tx_burst(burst),
            Self::Through(line) => hand_over(line, interface, burst),
        }
    }

    fn own(&mut self) -> Option<&mut TxQueue> {
        match self {
            Self::Own(queue) => Some(queue),
            Self::Through(_) => None,
        }
    }
}

#[cold]
fn hand_over(line: &Line, interface: u16, burst: &mut Burst) -> usize {
    let (mut sent, mut rest) = (0, Burst::new());
    for mbuf in burst.drain() {
        let frame = Handoff::Frame { interface, mbuf };
        let kept = if rest.is_empty() { line.send(frame).err() } else { Some(frame) };
        match kept {
            None => sent += 1,
            Some(Handoff::Frame { mbuf, .. }) => rest.extend([mbuf]),
            Some(_) => {}
        }
    }
    *burst = rest;
    sent
}

/// A port's transmit side.
pub(crate) struct TxPort {
    end: TxEnd,
    /// Other workers' frames, which filters have let through there.
    relayed: Burst,
    pub(crate) burst: Burst,
    /// Frames at the burst's front that filters have let through.
    pub(crate) judged: usize,
    pub(crate) backlog: VecDeque<Mbuf>,
}

impl TxPort {
    pub(crate) fn new(end: TxEnd) -> Self {
        Self {
            end,
            relayed: Burst::new(),
            burst: Burst::new(),
            judged: 0,
            backlog: VecDeque::with_capacity(TX_BACKLOG_MAX),
        }
    }

    /// Sends what the port takes now, and says how many are gone: sent, or stopped by a filter.
    pub(crate) fn send(
        &mut self,
        interface: u16,
        desk: &mut Option<Box<lsm::Desk>>,
        counters: &WorkerCounters,
    ) -> usize {
        let stopped = match desk {
            None => 0,
            Some(desk) => filter::output(self, interface, desk, counters),
        };
        let sent = self.end.tx_burst(interface, &mut self.burst);
        self.judged = self.judged.saturating_sub(sent);
        sent + stopped
    }

    /// How many frames may be added to the burst; a full one is sent first. 0 while frames wait
    /// in the backlog.
    #[inline]
    pub(crate) fn room(
        &mut self,
        interface: u16,
        desk: &mut Option<Box<lsm::Desk>>,
        counters: &WorkerCounters,
    ) -> usize {
        if !self.backlog.is_empty() {
            return 0;
        }
        if self.burst.is_full() {
            let _ = self.send(interface, desk, counters);
        }
        self.burst.room()
    }

    /// Lets the driver look at a frame that it is to cut; `false`: it can't. Only modules have one
    /// queue for all workers, and one that cuts takes all.
    pub(crate) fn prepare(&mut self, mbuf: &mut Mbuf) -> bool {
        match &mut self.end {
            TxEnd::Own(queue) => queue.prepare(mbuf),
            TxEnd::Through(_) => true,
        }
    }

    /// Takes another worker's frame. `false`: there is no room, and it is dropped.
    pub(crate) fn relay(&mut self, interface: u16, mbuf: Mbuf) -> bool {
        if self.relayed.is_full() {
            let _ = self.send_relayed(interface);
        }
        self.relayed.push(mbuf).is_ok()
    }

    /// Sends other workers' frames. `true`: some are gone.
    pub(crate) fn send_relayed(&mut self, interface: u16) -> bool {
        !self.relayed.is_empty() && self.end.tx_burst(interface, &mut self.relayed) > 0
    }

    /// Sends what an application of DPDK has passed. `true`: something was sent.
    pub(crate) fn serve(&mut self) -> bool {
        self.end.own().is_some_and(TxQueue::serve)
    }

    /// What has been lost to one since the last call.
    pub(crate) fn take_lost(&mut self) -> Lost {
        self.end.own().map(TxQueue::take_lost).unwrap_or_default()
    }

    /// Frames that wait.
    pub(crate) fn waiting(&self) -> usize {
        let passed = match &self.end {
            TxEnd::Own(queue) => queue.waiting(),
            TxEnd::Through(_) => 0,
        };
        self.relayed.len() + self.burst.len() + self.backlog.len() + passed
    }
}
