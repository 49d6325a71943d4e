//! Which worker owns a flow, and the way from one worker to another.

use core::net::IpAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering, fence};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError};

use types::FlowKey;

use crate::command::Handoff;

/// The worker that owns a flow: the same for both directions, so that a connect can choose a port
/// that leads back to its own worker.
#[must_use]
pub fn owner(flow: &FlowKey, workers: u16) -> u16 {
    if workers <= 1 {
        return 0;
    }
    let fold = |address: IpAddr| match address {
        IpAddr::V4(v4) => v4.to_bits(),
        IpAddr::V6(v6) => {
            let bits = v6.to_bits();
            let [a, b, c, d] = [bits >> 96, bits >> 64, bits >> 32, bits].map(|x| x & 0xffff_ffff);
            u32::try_from(a ^ b ^ c ^ d).unwrap_or(0)
        }
    };
    let addresses = fold(flow.local_addr) ^ fold(flow.remote_addr);
    let ports = u32::from(flow.local_port ^ flow.remote_port);
    let mixed = (addresses ^ ports.rotate_left(16) ^ ports).wrapping_mul(0x9e37_79b1);
    u16::try_from((mixed >> 16) % u32::from(workers)).unwrap_or(0)
}

/// Wakes a thread that sleeps in poll, with a system call only if it sleeps. In a cache line of its own: its
/// owner writes it at each rest, the others read it with each packet that they hand over.
#[derive(Debug)]
#[repr(align(64))]
pub struct Doorbell {
    sleeping: AtomicBool,
    eventfd: OwnedFd,
}

impl Doorbell {
    /// A doorbell of its own.
    ///
    /// # Errors
    /// The kernel's when no descriptor is free.
    pub fn new() -> rustix::io::Result<Self> {
        use rustix::event::EventfdFlags as Flags;
        let eventfd = rustix::event::eventfd(0, Flags::NONBLOCK | Flags::CLOEXEC)?;
        Ok(Self { sleeping: AtomicBool::new(false), eventfd })
    }

    /// Wakes the owner if it sleeps. Call after the message is in its queue.
    pub fn ring(&self) {
        fence(Ordering::SeqCst);
        if self.sleeping.load(Ordering::Relaxed) {
            self.ring_always();
        }
    }

    /// Wakes the owner whether or not it says that it sleeps.
    pub fn ring_always(&self) {
        // A full counter means that the owner has been rung already.
        let _ = rustix::io::write(&self.eventfd, &1_u64.to_ne_bytes());
    }

    /// The owner says that it is about to sleep; it must look at its queues once more after this.
    pub fn prepare_to_sleep(&self) {
        self.sleeping.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
    }

    /// The owner is awake again.
    pub fn awake(&self) {
        self.sleeping.store(false, Ordering::Relaxed);
        let _ = rustix::io::read(&self.eventfd, &mut [0_u8; 8]);
    }

    /// What to poll.
    #[must_use]
    pub fn fd(&self) -> impl AsFd + '_ {
        &self.eventfd
    }
}

/// The way to one worker.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    to: SyncSender<Handoff>,
    doorbell: Arc<Doorbell>,
}

impl Line {
    /// Hands something over; gives it back when the queue is full.
    pub(crate) fn send(&self, what: Handoff) -> Result<(), Handoff> {
        match self.to.try_send(what) {
            Ok(()) => {
                self.doorbell.ring();
                Ok(())
            }
            Err(TrySendError::Full(what) | TrySendError::Disconnected(what)) => Err(what),
        }
    }
}

/// One worker's connections to the others.
#[derive(Debug)]
pub struct Mesh {
    /// This worker.
    pub me: u16,
    peers: Vec<Line>,
    inbox: Receiver<Handoff>,
}

impl Mesh {
    /// `peers` by worker number, this worker included.
    #[must_use]
    pub fn new(
        me: u16,
        peers: Vec<(SyncSender<Handoff>, Arc<Doorbell>)>,
        inbox: Receiver<Handoff>,
    ) -> Self {
        let peers = peers.into_iter().map(|(to, doorbell)| Line { to, doorbell }).collect();
        Self { me, peers, inbox }
    }

    /// How many workers there are.
    #[must_use]
    pub fn workers(&self) -> u16 {
        u16::try_from(self.peers.len()).unwrap_or(1)
    }

    /// Hands something to another worker; gives it back when its queue is full.
    ///
    /// # Errors
    /// What was to be handed over.
    pub fn send(&self, to: u16, what: Handoff) -> Result<(), Handoff> {
        match self.peers.get(usize::from(to)) {
            Some(line) => line.send(what),
            None => Err(what),
        }
    }

    /// The way to one worker, to keep.
    pub(crate) fn line(&self, to: u16) -> Option<Line> {
        self.peers.get(usize::from(to)).cloned()
    }

    /// Tells all others that a neighbour was learned.
    pub fn neighbor(
        &self,
        address: IpAddr,
        mac: types::MacAddr,
        interface: u16,
        for_us: bool,
        at: types::Instant,
    ) {
        for to in 0..self.workers() {
            if to != self.me {
                // A lost note costs the other worker one ARP request.
                let _ = self.send(to, Handoff::Neighbor { address, mac, interface, for_us, at });
            }
        }
    }

    /// The next thing another worker has handed over. One that is alone has nobody to hear from.
    #[inline]
    pub fn receive(&self) -> Option<Handoff> {
        if self.workers() > 1 { self.inbox.try_recv().ok() } else { None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::net::Ipv4Addr;

    #[test]
    fn both_directions_have_the_same_owner_and_all_workers_get_flows() {
        let mut seen = [0_u32; 4];
        for port in 1..4000_u16 {
            let flow = FlowKey {
                local_addr: Ipv4Addr::new(198, 18, 77, 2).into(),
                remote_addr: Ipv4Addr::new(198, 18, 77, 1).into(),
                local_port: 80,
                remote_port: port,
            };
            let back = FlowKey {
                local_addr: flow.remote_addr,
                remote_addr: flow.local_addr,
                local_port: flow.remote_port,
                remote_port: flow.local_port,
            };
            assert_eq!(owner(&flow, 4), owner(&back, 4));
            seen[usize::from(owner(&flow, 4))] += 1;
        }
        assert!(seen.iter().all(|n| *n > 800), "{seen:?}");
    }
}
