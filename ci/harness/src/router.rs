//! A second link of the worker, so that it has something to pass on.
//!
//! ```text
//!   PEER ──► ring0, LOCAL ──► worker ──► ring1, LOCAL_FAR ──► PEER_FAR, and what is behind it
//! ```

use core::net::Ipv4Addr;
use std::sync::Arc;

use devnp::{Port, RxQueue, TxQueue};
use dpdk::Burst;
use fib::{Ipv4Net, Rib, Route};
use inet::command::Command;
use inet::network::{Address, Interface, Network};
use types::MacAddr;
use wire::{IntoBytes, arp, ethernet, ipv4};

use crate::world::{self, World};
use crate::{LOCAL_MAC, PEER_MAC};

/// The stack's address on the second link.
pub const LOCAL_FAR: Ipv4Addr = Ipv4Addr::new(198, 18, 78, 2);
/// The peer's address on the second link.
pub const PEER_FAR: Ipv4Addr = Ipv4Addr::new(198, 18, 78, 1);
/// The stack's MAC address on the second link.
pub const LOCAL_FAR_MAC: MacAddr = MacAddr([0x02, 0, 0, 0, 1, 2]);
/// The peer's MAC address on the second link.
pub const PEER_FAR_MAC: MacAddr = MacAddr([0x02, 0, 0, 0, 1, 1]);
/// Interface of the second link.
pub const FAR: u16 = 2;

/// The peer's ends of the second link.
pub(crate) struct FarLink {
    pub(crate) to_worker: (TxQueue, Burst),
    pub(crate) from_worker: (RxQueue, Burst),
    _ports: [Port; 2],
}

impl World {
    /// Adds the second link and makes the worker a router between both. Both peers are known to it.
    ///
    /// # Errors
    /// What DPDK refused, as text.
    pub fn become_router(&mut self) -> Result<(), String> {
        let (first, (worker_rx, peer_tx)) = self.ring()?;
        let (second, (peer_rx, worker_tx)) = self.ring()?;
        self.far = Some(FarLink {
            to_worker: (peer_tx, Burst::new()),
            from_worker: (peer_rx, Burst::new()),
            _ports: [first, second],
        });
        self.send(Command::AddPort { interface: FAR, rx: worker_rx, tx: worker_tx });
        self.route([], |_| {});
        let ask = arp::Packet::request(PEER_FAR_MAC, PEER_FAR, LOCAL_FAR);
        let header = ethernet::Header::new(LOCAL_FAR_MAC, PEER_FAR_MAC, ethernet::EtherType::ARP);
        let _ = self.inject_far(&[header.as_bytes(), ask.emit().as_bytes()].concat());
        self.breathe();
        let _ = self.sent_far();
        Ok(())
    }

    /// These routes beside those of the two links, and whatever else is to be different.
    pub fn route(
        &mut self,
        routes: impl IntoIterator<Item = Route>,
        change: impl FnOnce(&mut Network),
    ) {
        let mut network = world::network();
        let far = Interface {
            index: FAR,
            name: "ring1".into(),
            mac: LOCAL_FAR_MAC,
            addresses: vec![Address { address: LOCAL_FAR, prefix_len: 24 }],
            addresses6: Vec::new(),
            ..network.interfaces[1].clone()
        };
        network.interfaces.push(far);
        let mut rib = Rib::new();
        for (address, interface) in [(crate::LOCAL, 1), (LOCAL_FAR, FAR)] {
            if let Ok(net) = Ipv4Net::containing(address, 24) {
                // An empty table refuses nothing.
                let _ = rib.add(Route::connected(net, interface));
            }
        }
        for route in routes {
            // Two routes to one place are two gateways.
            let _ = rib.add_path(route);
        }
        network.fib = rib.publish();
        network.host.forward = true;
        change(&mut network);
        self.send(Command::Network(Arc::new(network)));
        self.breathe();
    }

    /// The same for very many routes, of which the last to one place holds.
    pub fn route_all(&mut self, routes: Vec<Route>, change: impl FnOnce(&mut Network)) {
        let mut rib = Rib::new();
        for (address, interface) in [(crate::LOCAL, 1), (LOCAL_FAR, FAR)] {
            if let Ok(net) = Ipv4Net::containing(address, 24) {
                // An empty table refuses nothing.
                let _ = rib.add(Route::connected(net, interface));
            }
        }
        for route in routes {
            // Its gateway is on the link.
            let _ = rib.replace(route);
        }
        self.route([], |network| {
            network.fib = rib.publish();
            change(network);
        });
    }

    /// A frame from the second link; the next breath receives it. `false`: no buffer was free.
    pub fn inject_far(&mut self, frame: &[u8]) -> bool {
        let Some(mut mbuf) = self.pool.alloc() else { return false };
        let Some(far) = &mut self.far else { return false };
        mbuf.extend_from_slice(frame) && far.to_worker.1.push(mbuf).is_ok()
    }

    /// Takes what the worker has sent to the second link off the wire, and says how many frames.
    pub fn take_far(&mut self) -> usize {
        let Some(far) = &mut self.far else { return 0 };
        let (queue, burst) = &mut far.from_worker;
        let mut count = 0;
        while queue.rx_burst(burst) > 0 {
            count += burst.len();
            burst.clear();
        }
        count
    }

    /// What the worker has sent to the second link since the last call.
    pub fn sent_far(&mut self) -> Vec<Vec<u8>> {
        let mut frames = Vec::new();
        let Some(far) = &mut self.far else { return frames };
        let (queue, burst) = &mut far.from_worker;
        while queue.rx_burst(burst) > 0 {
            frames.extend(burst.drain().map(|mbuf| mbuf.data().to_vec()));
        }
        frames
    }
}

/// An IPv4 packet from the peer on the first link, in a frame to the stack. The header is as `change`
/// leaves it, with a checksum that fits.
#[must_use]
pub fn packet(
    source: Ipv4Addr,
    destination: Ipv4Addr,
    payload: &[u8],
    change: impl FnOnce(ipv4::Header) -> ipv4::Header,
) -> Vec<u8> {
    let kind = ethernet::EtherType::IPV4;
    let mut out = ethernet::Header::new(LOCAL_MAC, PEER_MAC, kind).as_bytes().to_vec();
    if let Some(header) = ipv4::Header::new(source, destination, ipv4::Protocol::UDP, payload.len())
    {
        out.extend_from_slice(change(header).with_checksum().as_bytes());
    }
    out.extend_from_slice(payload);
    out
}
