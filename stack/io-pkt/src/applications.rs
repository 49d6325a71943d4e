//! Applications of DPDK that are shown an interface's packets (`packet_rings`), for operators who trust them: they attach
//! as secondary processes, and see, change, drop and make packets by pointer.
//!
//! Whoever asks for an interface has it as long as the connection lasts. The kernel closes that when the application
//! ends, in whatever way, and not before its memory is gone: then its buffers are taken back.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use devnp::{RxQueue, TxQueue};
use dpdk::{Gate, Mempool, PacketRings, RingError};
use proto::Reply;
use rustix::io::Errno;

use crate::config::Rings;
use crate::control::{ConnectionId, Control};

/// The interfaces whose packets may be shown.
#[derive(Debug, Default)]
pub(crate) struct Applications {
    interfaces: BTreeMap<u16, Shown>,
}

#[derive(Debug, Default)]
struct Shown {
    wanted: Rings,
    queues: Vec<Queue>,
    owner: Option<ConnectionId>,
}

#[derive(Debug)]
struct Queue {
    worker: u16,
    name: String,
    gate: Arc<Gate>,
}

impl Applications {
    /// An interface's packets may be shown.
    pub(crate) fn allow(&mut self, interface: u16, wanted: Rings) {
        let shown = Shown { wanted, ..Shown::default() };
        let _ = self.interfaces.insert(interface, shown);
    }

    /// An interface is gone.
    pub(crate) fn forget(&mut self, interface: u16) {
        let _ = self.interfaces.remove(&interface);
    }

    /// Its packets may be shown.
    pub(crate) fn may_be_shown(&self, interface: u16) -> bool {
        self.interfaces.contains_key(&interface)
    }

    /// Somebody has the interface's packets.
    pub(crate) fn is_shown(&self, interface: u16) -> bool {
        self.interfaces.get(&interface).is_some_and(|shown| shown.owner.is_some())
    }

    /// Puts rings between a worker and a port of this name, if that is wanted.
    ///
    /// # Errors
    /// There is no room for them.
    pub(crate) fn put_between(
        &mut self,
        (interface, name): (u16, &str),
        worker: u16,
        (rx, tx): (RxQueue, TxQueue),
        pool: &Mempool,
    ) -> Result<(RxQueue, TxQueue), RingError> {
        let Some(shown) = self.interfaces.get_mut(&interface) else { return Ok((rx, tx)) };
        let wanted = shown.wanted;
        let mut rings = |direction| {
            let name = format!("{name}.{direction}{worker}");
            let rings = PacketRings::create(&name, pool, wanted.unseen)?;
            shown.queues.push(Queue { worker, name, gate: rings.gate() });
            Ok(rings)
        };
        let rx = if wanted.ingress { rx.shown_to(rings("rx")?) } else { rx };
        let tx = if wanted.egress { tx.shown_to(rings("tx")?) } else { tx };
        Ok((rx, tx))
    }

    /// What has become of packets at all rings: by name, with a sentence.
    pub(crate) fn totals(&self) -> Vec<(&'static str, &'static str, u64)> {
        const TEXTS: [(&str, &str); 7] = [
            ("shown", "Packets that an application of DPDK was given."),
            ("passed", "Packets that it gave back to go on."),
            ("injected", "Packets that it made."),
            ("dropped", "Packets that it dropped."),
            (
                "unseen_passed",
                "Packets that went on without having been shown: nobody was there, or had room.",
            ),
            ("unseen_dropped", "Packets that were dropped without having been shown."),
            ("refused", "Buffers from an application that it did not have, or that held no frame."),
        ];
        let gates = || self.interfaces.values().flat_map(|shown| &shown.queues);
        if gates().next().is_none() {
            return Vec::new();
        }
        let total = |(name, text)| {
            let of_gate = |queue: &Queue| {
                let counts = queue.gate.counts().into_iter();
                counts.filter(|(n, _)| *n == name).map(|(_, value)| value).sum::<u64>()
            };
            (name, text, gates().map(of_gate).sum())
        };
        TEXTS.into_iter().map(total).collect()
    }
}

impl Control {
    /// Shows an interface's packets to whoever has this connection, as long as it lasts.
    ///
    /// # Errors
    /// `ENXIO`; `EOPNOTSUPP` where `packet_rings` does not say so; `EBUSY` if somebody else has them, or what the last
    /// one had is not back yet.
    pub(crate) fn show_packets(
        &mut self,
        id: ConnectionId,
        interface: &str,
    ) -> Result<Reply, Errno> {
        let index = self.network.index(interface)?;
        let file_prefix = self.facts.file_prefix.clone().ok_or(Errno::OPNOTSUPP)?;
        let shown = self.applications.interfaces.get_mut(&index).ok_or(Errno::OPNOTSUPP)?;
        if shown.owner.is_some() {
            return Err(Errno::BUSY);
        }
        let opened = shown.queues.iter().take_while(|queue| queue.gate.open()).count();
        if opened < shown.queues.len() {
            shown.queues.iter().take(opened).for_each(|queue| queue.gate.close());
            return Err(Errno::BUSY);
        }
        shown.owner = Some(id);
        for queue in &shown.queues {
            if let Some(link) = self.workers.get(usize::from(queue.worker)) {
                // An application rings no bells: its rings are looked at now and then.
                let _ = link.polled.fetch_add(1, Ordering::Relaxed);
                link.doorbell.ring_always();
            }
        }
        tracing::warn!("{interface}: an application of DPDK is shown its packets");
        let queues = shown.queues.iter().map(|queue| queue.name.clone()).collect();
        Ok(Reply::Shown { file_prefix, queues })
    }

    /// A connection is gone, and with it the application that had it.
    pub(crate) fn shows_no_longer(&mut self, id: ConnectionId) {
        let shown = self.applications.interfaces.iter_mut();
        for (index, shown) in shown.filter(|(_, shown)| shown.owner == Some(id)) {
            shown.owner = None;
            for queue in &shown.queues {
                queue.gate.close();
                if let Some(link) = self.workers.get(usize::from(queue.worker)) {
                    let _ = link.polled.fetch_sub(1, Ordering::Relaxed);
                    link.doorbell.ring_always();
                }
            }
            tracing::info!("{}: the application is gone", self.network.name(*index));
        }
    }
}
