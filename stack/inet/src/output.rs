//! From a transport segment to the wire: routing, IPv4 and Ethernet headers, neighbours, transmit queues.
//!
//! ```text
//!   tcp/udp/icmp ──► route() ──► packet() ──► resolve neighbour ──► ethernet() ──► port's burst ──► flush()
//!                                     └── one of our own addresses ──► loopback queue ──► next inhale
//! ```

use core::net::{IpAddr, Ipv4Addr};
use std::collections::VecDeque;
use std::sync::Arc;

use dpdk::{Burst, Lost, Mbuf, Mempool, TxChecksum as MbufChecksum};
use types::{DropReason, Instant, MacAddr};
use wire::{arp, ethernet, ipv4};
use zerocopy::IntoBytes;

use crate::address6::OnLink;
use crate::bridge::Bridging;
use crate::counters::WorkerCounters;
use crate::family::Family;
use crate::hearing::NeighborNews;
use crate::ids::Ids;
use crate::lagg::Slows;
use crate::limits::{NEIGHBOR_PROBE_INTERVAL, NEIGHBOR_TICK, TX_BACKLOG_MAX};
use crate::neighbor::{Ask, Due, Neighbors, Resolution};
use crate::network::{Addresses, Destination, LOOPBACK, Network, TxChecksum};
use crate::packet_out::PacketOut;
use crate::pools::{Ahead, Pools};
use crate::redirect_input::DeadHop;
use crate::timer_wheel::{Fired, Owner, Timer, Timers};
use crate::tx_port::{TxEnd, TxPort};

/// Where a packet goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Hop<A = Ipv4Addr> {
    /// Interface; [`LOOPBACK`] for our own addresses.
    pub interface: u16,
    /// The neighbour to send to.
    pub next: A,
    /// What the destination is.
    pub destination: Destination,
    /// Bytes of an IP packet on this way.
    pub mtu: u16,
    /// Who computes the transport checksum.
    pub checksum: TxChecksum,
    /// The port sends clients' bytes from where they lie.
    pub loans: bool,
    /// Most buffers of a TCP segment that the port cuts; 0: it does not.
    pub tso_buffers_max: u16,
    /// It fills in the IPv4 checksum of what it cuts; else the one of the whole stands for all.
    pub tso_ipv4_checksum: bool,
}

/// Everything between a finished segment and the wire.
pub(crate) struct Output {
    /// The configuration in force.
    pub network: Arc<Network>,
    /// Its addresses.
    pub addresses: Addresses,
    /// Its generation, for caches of [`Hop`].
    pub generation: u32,
    /// Neighbours.
    pub neighbors: Neighbors<Ipv4Addr, Mbuf>,
    /// The same for IPv6.
    pub neighbors6: Neighbors<OnLink, Mbuf>,
    /// Names of packets that may be cut.
    pub ids: Ids,
    /// Protocol modules, if there are any.
    pub desk: Option<Box<lsm::Desk>>,
    /// The neighbour table's place on the timer wheel.
    neighbors_timer: Timer,
    pub pools: Pools,
    pub ahead: Ahead,
    /// Whose this is.
    pub worker: u16,
    /// When this breath began.
    pub now: Instant,
    pub bridges: Vec<Bridging>,
    pub slows: Slows,
    ports: Vec<Option<TxPort>>,
    loopback: VecDeque<Mbuf>,
    counters: Arc<WorkerCounters>,
}

impl Output {
    /// An output without ports.
    #[must_use]
    pub(crate) fn new(pools: Pools, ids: Ids, counters: Arc<WorkerCounters>) -> Self {
        Self {
            network: Arc::new(Network::default()),
            addresses: Addresses::default(),
            generation: 0,
            neighbors: Neighbors::default(),
            neighbors6: Neighbors::default(),
            worker: ids.worker(),
            now: Instant::ZERO,
            bridges: Vec::new(),
            slows: Slows::default(),
            ids,
            desk: None,
            neighbors_timer: Timer::default(),
            pools,
            ahead: Ahead::default(),
            ports: Vec::new(),
            loopback: VecDeque::with_capacity(TX_BACKLOG_MAX),
            counters,
        }
    }

    /// Gives the worker's way out by an interface.
    pub(crate) fn add_port(&mut self, interface: u16, end: TxEnd) {
        let index = usize::from(interface);
        if self.ports.len() <= index {
            self.ports.resize_with(index + 1, || None);
        }
        if let Some(port) = self.ports.get_mut(index) {
            *port = Some(TxPort::new(end));
        }
    }

    /// Gives up an interface's transmit queue. Its neighbours are forgotten, and what waits for them
    /// or for the queue is dropped.
    pub(crate) fn remove_port(&mut self, interface: u16, now: Instant) {
        let taken = self.ports.get_mut(usize::from(interface)).and_then(Option::take);
        let mut lost = taken.map_or(0, |port| port.waiting());
        let there = self.neighbors.rows(now).filter(|row| row.interface == interface);
        let gone: Vec<Ipv4Addr> = there.map(|row| row.address).collect();
        for address in gone {
            lost += self.neighbors.forget(address).unwrap_or_default().len();
        }
        let there = self.neighbors6.rows(now).filter(|row| row.interface == interface);
        let gone: Vec<OnLink> = there.map(|row| row.address).collect();
        for address in gone {
            lost += self.neighbors6.forget(address).unwrap_or_default().len();
        }
        for _ in 0..lost {
            self.count_drop(DropReason::InterfaceDown);
        }
    }

    /// The worker's counters.
    #[must_use]
    pub(crate) fn counters(&self) -> &WorkerCounters {
        &self.counters
    }

    /// Counts a dropped packet.
    pub(crate) fn count_drop(&self, reason: DropReason) {
        self.counters.drops.count(reason as usize);
    }

    /// Packets that an application of DPDK has dropped or not seen.
    #[inline]
    pub(crate) fn count_lost(&self, lost: Lost) {
        if lost != Lost::default() {
            self.counters.drops.add(DropReason::ApplicationDropped as usize, lost.dropped);
            self.counters.drops.add(DropReason::ApplicationUnseen as usize, lost.unseen);
        }
    }

    /// An empty mbuf, or the drop is counted.
    pub(crate) fn alloc(&mut self) -> Option<Mbuf> {
        let mbuf = self.pools.frames.alloc();
        if mbuf.is_none() {
            self.count_drop(DropReason::MbufExhausted);
        }
        mbuf
    }

    /// The pool that buffers come from.
    pub(crate) fn pool(&self) -> &Mempool {
        &self.pools.frames
    }

    /// Lets the port look at a frame that it is to cut. `false`: it can't.
    pub(crate) fn prepare(&mut self, mbuf: &mut Mbuf, interface: u16) -> bool {
        let port = self.ports.get_mut(usize::from(interface));
        port.and_then(Option::as_mut).is_some_and(|port| port.prepare(mbuf))
    }

    /// Appends up to `count` frames to what the port is to send: buffers in bulk, or one of those got ahead
    /// if it is one, each made a frame by `fill`. Returns how many there are; what is missing, because a queue is full, buffers are
    /// short or one could not be filled, the caller sends one by one.
    pub(crate) fn frames(
        &mut self,
        interface: u16,
        count: u32,
        mut fill: impl FnMut(&mut Mbuf, &Mempool) -> Option<()>,
    ) -> u32 {
        let Self { ports, desk, counters, ahead, pools, .. } = self;
        let Some(Some(port)) = ports.get_mut(usize::from(interface)) else { return 0 };
        let unfilled = || counters.drops.count(DropReason::MbufExhausted as usize);
        if count == 1 {
            let room = port.room(interface, desk, counters);
            let buffer = if room > 0 { ahead.take(&pools.frames) } else { None };
            let Some(mut mbuf) = buffer else { return 0 };
            let filled = fill(&mut mbuf, &pools.frames).is_some();
            let there = filled && port.burst.push(mbuf).is_ok();
            if !there {
                unfilled();
            }
            return u32::from(there);
        }
        let (count, mut done) = (count as usize, 0);
        while done < count {
            let len = port.room(interface, desk, counters).min(count - done);
            let start = port.burst.len();
            if len == 0 || !pools.frames.alloc_burst(&mut port.burst, len) {
                break;
            }
            let empty = port.burst.iter_mut().skip(start);
            let filled = empty.map_while(|mbuf| fill(mbuf, &pools.frames)).count();
            done += filled;
            if filled < len {
                port.burst.truncate(start + filled);
                unfilled();
                break;
            }
        }
        u32::try_from(done).unwrap_or(u32::MAX)
    }

    /// Room for more frames on the way to this interface?
    #[must_use]
    pub(crate) fn has_room(&self, interface: u16) -> bool {
        if interface == LOOPBACK {
            return self.loopback.len() < TX_BACKLOG_MAX;
        }
        match self.ports.get(usize::from(interface)) {
            Some(Some(port)) => port.backlog.is_empty(),
            _ => self.carriers_have_room(interface),
        }
    }

    /// Sends a transport segment in `mbuf` as an IP packet along `hop`.
    pub(crate) fn packet<F: Family>(
        &mut self,
        mut mbuf: Mbuf,
        out: &PacketOut<F>,
        hop: &Hop<F>,
        now: Instant,
        timers: &mut Timers,
    ) {
        let segment_len = mbuf.packet_len();
        let fits = segment_len as usize + size_of::<F::Header>() <= usize::from(hop.mtu);
        let header = F::header((out.source, out.destination), out.protocol, out.ttl, out.tos);
        let Some(mut header) = header.filter(|_| fits || out.cut.here) else {
            return self.count_drop(F::TOO_BIG);
        };
        let id =
            if fits && !out.cut.on_the_way { 0 } else { self.ids.next(out.destination.into()) };
        if !fits || out.cut.on_the_way {
            F::allow_cut(&mut header, id);
        }
        if !F::set_segment_len(&mut header, segment_len) {
            return self.count_drop(F::TOO_BIG);
        }
        if !prepend(&mut mbuf, header.as_bytes()) {
            return self.count_drop(DropReason::MbufExhausted);
        }
        if let Some(l4) = out.offload {
            mbuf.set_tx_checksum(&MbufChecksum {
                l2_len: 14,
                l3_len: F::HEADER_LEN,
                l4_len: out.l4_len,
                ipv4: F::IS_IPV4,
                ipv4_header: false,
                l4: Some(l4),
                segment_len: 0,
            });
        }
        F::count_sent(self, 1);
        if fits {
            F::link(self, mbuf, hop, now, timers);
        } else {
            F::fragments(self, &mbuf, id, hop, now, timers);
        }
    }

    /// The name of a packet to a host that its sender has not given one.
    pub(crate) fn next_id(&mut self, destination: Ipv4Addr) -> u16 {
        let [_, _, a, b] = self.ids.next(destination.into()).to_be_bytes();
        u16::from_be_bytes([a, b])
    }

    /// Hands an IPv4 packet to the link `hop` names.
    pub(crate) fn link(&mut self, mbuf: Mbuf, hop: &Hop, now: Instant, timers: &mut Timers) {
        let mac = match hop.destination {
            Destination::Local => return self.loop_back(mbuf),
            Destination::Broadcast => MacAddr::BROADCAST,
            Destination::Multicast => ipv4::multicast_mac(hop.next),
            Destination::Remote => {
                let resolution = self.neighbors.resolve(hop.next, hop.interface, mbuf, now);
                let kind = ethernet::EtherType::IPV4;
                if self.act(resolution, hop.interface, kind, now, timers).is_some() {
                    self.arp_request(hop.next, hop.interface);
                }
                return;
            }
        };
        self.ethernet(mbuf, hop.interface, mac, ethernet::EtherType::IPV4);
    }

    /// Does with a packet what the neighbour table says, and says who is to be asked.
    pub(crate) fn act(
        &mut self,
        resolution: Resolution<Mbuf>,
        interface: u16,
        kind: ethernet::EtherType,
        now: Instant,
        timers: &mut Timers,
    ) -> Option<Ask> {
        match resolution {
            Resolution::Send(mbuf, mac) => {
                self.ethernet(mbuf, interface, mac, kind);
                None
            }
            Resolution::SendAndAsk(mbuf, mac) => {
                self.ethernet(mbuf, interface, mac, kind);
                Some(Ask::Station(mac))
            }
            Resolution::Wait { ask } => {
                if ask {
                    let at = Some(now + NEIGHBOR_PROBE_INTERVAL);
                    timers.arm(at, Owner::Neighbors, &mut self.neighbors_timer);
                }
                ask.then_some(Ask::Everyone)
            }
            Resolution::Drop(_, reason) => {
                self.count_drop(reason);
                None
            }
        }
    }

    /// Queues a packet to ourselves.
    pub(crate) fn loop_back(&mut self, mbuf: Mbuf) {
        if self.loopback.len() >= TX_BACKLOG_MAX {
            return self.count_drop(DropReason::TransmitQueueFull);
        }
        self.loopback.push_back(mbuf);
    }

    /// The next packets we sent to ourselves: IP packets without link header.
    pub(crate) fn take_looped(&mut self, burst: &mut Burst) {
        let count = self.loopback.len().min(burst.room());
        burst.extend(self.loopback.drain(..count));
    }

    /// Packets to ourselves are waiting.
    #[must_use]
    pub(crate) fn has_looped(&self) -> bool {
        !self.loopback.is_empty()
    }

    /// Who has this address?
    pub(crate) fn arp_request(&mut self, target: Ipv4Addr, interface: u16) {
        let network = Arc::clone(&self.network);
        let Some(config) = network.interface(interface) else { return };
        let Some(source) =
            network.source_for(target).or_else(|| config.addresses.first().map(|a| a.address))
        else {
            return;
        };
        let packet = arp::Packet::request(config.mac, source, target);
        self.arp(packet, interface, MacAddr::BROADCAST);
    }

    /// Sends an ARP packet.
    pub(crate) fn arp(&mut self, packet: arp::Packet, interface: u16, to: MacAddr) {
        let Some(mut mbuf) = self.alloc() else { return };
        if !mbuf.extend_from_slice(packet.emit().as_bytes()) {
            return self.count_drop(DropReason::MbufExhausted);
        }
        self.counters.arp.packets_sent.increment();
        self.ethernet(mbuf, interface, to, ethernet::EtherType::ARP);
    }

    /// Prepends the Ethernet header, pads runts and queues the frame for the port.
    pub(crate) fn ethernet(
        &mut self,
        mut mbuf: Mbuf,
        interface: u16,
        to: MacAddr,
        kind: ethernet::EtherType,
    ) {
        let Some(config) = self.network.interface(interface) else {
            return self.count_drop(DropReason::InterfaceDown);
        };
        if !config.up {
            return self.count_drop(DropReason::InterfaceDown);
        }
        let header = ethernet::Header::new(to, config.mac, kind);
        if !prepend(&mut mbuf, header.as_bytes()) {
            return self.count_drop(DropReason::MbufExhausted);
        }
        self.pad_and_transmit(mbuf, interface);
    }

    /// Sends a protocol module's frame, which has its Ethernet header.
    pub(crate) fn module_frame(&mut self, mbuf: Mbuf, interface: u16) {
        let Some(config) = self.network.interface(interface).filter(|config| config.up) else {
            return self.count_drop(DropReason::InterfaceDown);
        };
        let (least, most) =
            (ethernet::Header::LEN, ethernet::Header::LEN + usize::from(config.mtu));
        if !(least..=most).contains(&(mbuf.packet_len() as usize)) {
            return self.count_drop(DropReason::ModuleFrame);
        }
        self.pad_and_transmit(mbuf, interface);
    }

    fn pad_and_transmit(&mut self, mut mbuf: Mbuf, interface: u16) {
        let missing = ethernet::MIN_FRAME.saturating_sub(mbuf.packet_len() as usize);
        if missing > 0 && !mbuf.extend_from_slice(&[0; ethernet::MIN_FRAME][..missing]) {
            return self.count_drop(DropReason::MbufExhausted);
        }
        self.transmit(mbuf, interface);
    }

    /// Queues a frame for the port.
    pub(crate) fn transmit(&mut self, mbuf: Mbuf, interface: u16) {
        let Some(Some(port)) = self.ports.get_mut(usize::from(interface)) else {
            return self.transmit_over(mbuf, interface);
        };
        if port.backlog.is_empty() {
            if port.burst.is_full() {
                let _ = port.send(interface, &mut self.desk, &self.counters);
            }
            match port.burst.push(mbuf) {
                Ok(()) => {}
                Err(mbuf) => port.backlog.push_back(mbuf),
            }
        } else if port.backlog.len() < TX_BACKLOG_MAX {
            port.backlog.push_back(mbuf);
        } else {
            self.count_drop(DropReason::TransmitQueueFull);
        }
    }

    /// Sends another worker's frame by a port whose only queue is here.
    #[cold]
    pub(crate) fn relay(&mut self, mbuf: Mbuf, interface: u16) {
        let Some(Some(port)) = self.ports.get_mut(usize::from(interface)) else {
            return self.count_drop(DropReason::InterfaceDown);
        };
        if !port.relay(interface, mbuf) {
            self.count_drop(DropReason::TransmitQueueFull);
        }
    }

    /// Hands what is queued to the ports. `true`: something was sent.
    pub(crate) fn flush(&mut self) -> bool {
        for _ in 0..self.neighbors.take_lost() + self.neighbors6.take_lost() {
            self.count_drop(DropReason::NeighborTableFull);
        }
        let mut worked = false;
        let mut lost = Lost::default();
        for (port, interface) in self.ports.iter_mut().zip(0..) {
            let Some(port) = port else { continue };
            worked |= port.send_relayed(interface) | port.serve();
            loop {
                while !port.burst.is_full()
                    && let Some(mbuf) = port.backlog.pop_front()
                {
                    // There is room: the loop's condition says so.
                    let _ = port.burst.push(mbuf);
                }
                if port.burst.is_empty() {
                    break;
                }
                let sent = port.send(interface, &mut self.desk, &self.counters);
                worked |= sent > 0;
                if sent == 0 {
                    break;
                }
            }
            lost += port.take_lost();
        }
        self.count_lost(lost);
        worked
    }

    /// Frames wait because a port's queue is full.
    #[must_use]
    pub(crate) fn is_backlogged(&self) -> bool {
        self.ports.iter().flatten().any(|port| port.waiting() > 0)
    }

    /// Forgets a neighbour on whichever link, and what waits for it. `false`: it is not known.
    pub(crate) fn forget_neighbor(&mut self, address: IpAddr) -> bool {
        let lost = match address {
            IpAddr::V4(address) => self.neighbors.forget(address).map(|waiting| waiting.len()),
            IpAddr::V6(address) => {
                let interfaces =
                    0..u16::try_from(self.network.interfaces.len()).unwrap_or(u16::MAX);
                let forget = |interface| self.neighbors6.forget(OnLink { address, interface });
                let lost = interfaces.filter_map(forget).map(|waiting| waiting.len());
                lost.reduce(core::ops::Add::add)
            }
        };
        let drops = u64::try_from(lost.unwrap_or(0)).unwrap_or(0);
        self.counters.drops.add(DropReason::NeighborUnresolved as usize, drops);
        lost.is_some()
    }

    /// A neighbour has answered: sends what waited for it.
    pub(crate) fn neighbor_learned(&mut self, waiting: Vec<Mbuf>, mac: MacAddr, interface: u16) {
        for mbuf in waiting {
            let kind = if ip_version(&mbuf) == 6 {
                ethernet::EtherType::IPV6
            } else {
                ethernet::EtherType::IPV4
            };
            self.ethernet(mbuf, interface, mac, kind);
        }
    }

    /// Tells everybody on a link something about addresses.
    pub(crate) fn arp_to_all(&mut self, packet: arp::Packet, interface: u16) {
        self.arp(packet, interface, MacAddr::BROADCAST);
    }

    /// Something has become of neighbours that somebody wants to hear.
    #[inline]
    pub(crate) fn has_neighbor_news(&self) -> bool {
        self.neighbors.has_news() || self.neighbors6.has_news()
    }

    /// What that is, and how much else there was.
    pub(crate) fn take_neighbor_news(&mut self) -> (Vec<NeighborNews>, u64) {
        let (v4, unsaid4) = self.neighbors.take_news();
        let (v6, unsaid6) = self.neighbors6.take_news();
        let news = |address, interface, before, after| NeighborNews {
            address,
            interface,
            before,
            after,
            unsaid: 0,
        };
        let v4 = v4.into_iter().map(|n| news(n.address.into(), n.interface, n.before, n.after));
        let v6 =
            v6.into_iter().map(|n| news(n.address.address.into(), n.interface, n.before, n.after));
        (v4.chain(v6).collect(), unsaid4.saturating_add(unsaid6))
    }

    /// Asks again for neighbours that have not answered; returns who does not, and the packets that can't be sent.
    pub(crate) fn neighbor_timeout(
        &mut self,
        now: Instant,
        timers: &mut Timers,
    ) -> (Vec<DeadHop>, Vec<(u16, Mbuf)>) {
        let mut todo = Vec::new();
        let (mut dead, mut lost) = (Vec::new(), Vec::new());
        let of = |interface| move |packet| (interface, packet);
        self.neighbors.timeout(now, &mut todo);
        for due in todo {
            match due {
                Due::Ask(address, interface) => self.arp_request(address, interface),
                Due::Unreachable(address, interface, packets) => {
                    dead.push(DeadHop { interface, address: address.into() });
                    lost.extend(packets.into_iter().map(of(interface)));
                }
            }
        }
        let mut todo = Vec::new();
        self.neighbors6.timeout(now, &mut todo);
        for due in todo {
            match due {
                Due::Ask(address, _) => self.solicit(address, Ask::Everyone),
                Due::Unreachable(who, interface, packets) => {
                    dead.push(DeadHop { interface, address: who.address.into() });
                    lost.extend(packets.into_iter().map(of(interface)));
                }
            }
        }
        let next = [self.neighbors.next_timeout(), self.neighbors6.next_timeout()];
        if let Some(due) = next.into_iter().flatten().min() {
            let at = due.max(now + NEIGHBOR_TICK);
            timers.arm(Some(at), Owner::Neighbors, &mut self.neighbors_timer);
        }
        (dead, lost)
    }

    /// The neighbour table's timer has fired. `false`: it was not this one.
    pub(crate) fn neighbor_timer_fired(&mut self, name: Fired) -> bool {
        self.neighbors_timer.fired(name)
    }
}

/// Puts a header in front of what the buffer holds.
pub(crate) fn prepend(mbuf: &mut Mbuf, header: &[u8]) -> bool {
    let room = u16::try_from(header.len()).ok().and_then(|len| mbuf.prepend(len));
    room.map(|room| room.copy_from_slice(header)).is_some()
}

/// The version of the IP packet that the buffer begins with.
pub(crate) fn ip_version(packet: &Mbuf) -> u8 {
    packet.data().first().map_or(0, |byte| byte >> 4)
}
