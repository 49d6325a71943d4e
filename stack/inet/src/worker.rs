//! One core's world: nothing in it is shared.
//!
//! ```text
//! inhale   commands of the control plane; rx_burst per port → input(); packets to ourselves; packets from
//!          other workers
//! attend   clients' rings, timers — each with a budget
//! exhale   each ready connection sends; tx_burst per port; wake-ups
//! ```

use core::net::IpAddr;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError};

use devnp::{RxQueue, TxQueue};
use dpdk::{Burst, Mbuf};
use hashbrown::{HashMap, HashSet};
use types::{Instant, MacAddr};

use crate::address6::OnLink;
use crate::client::Clients;
use crate::command::{CallId, Command, Event, Handoff, Outcome};
use crate::counters::WorkerCounters;
use crate::fast_open::FastOpen;
use crate::filter;
use crate::flows::Flows;
use crate::hearing::Hearing;
use crate::ids::Ids;
use crate::lender::Lender;
use crate::limits::{ICMP_ERRORS_PER_SECOND, MODULE_BLOCKS_EVERY, RESETS_PER_SECOND};
use crate::listener::Listeners;
use crate::module_stream::Turns;
use crate::output::Output;
use crate::path_mtu::PathMtus;
use crate::pools::Pools;
use crate::rate_limit::{RateLimit, StrangerLimits};
use crate::reassembly::Reassembly;
use crate::send_queue::Spare;
use crate::socket::{SocketId, Sockets};
use crate::steer::{Doorbell, Mesh};
use crate::timer_wheel::{Timer, Timers};
use crate::train::Run;
use crate::tx_port::TxEnd;
use crate::udp_owners::UdpOwners;

/// Events on their way to the control plane. A worker never waits for it: what the channel does
/// not take now is offered again in the next breath.
pub(crate) struct Events {
    channel: SyncSender<Event>,
    doorbell: Arc<Doorbell>,
    waiting: VecDeque<Event>,
    sent: bool,
}

impl Events {
    pub(crate) fn send(&mut self, event: Event) {
        self.waiting.push_back(event);
    }

    fn flush(&mut self) {
        while let Some(event) = self.waiting.pop_front() {
            match self.channel.try_send(event) {
                Ok(()) => self.sent = true,
                Err(TrySendError::Full(event)) => {
                    self.waiting.push_front(event);
                    break;
                }
                Err(TrySendError::Disconnected(_)) => return,
            }
        }
        if core::mem::take(&mut self.sent) {
            self.doorbell.ring();
        }
    }
}

struct RxPort {
    interface: u16,
    queue: RxQueue,
}

/// What a worker is made of.
pub struct Parts {
    /// Packet buffers.
    pub pools: Pools,
    /// From the control plane.
    pub commands: Receiver<Command>,
    /// To the control plane, and its doorbell.
    pub events: (SyncSender<Event>, Arc<Doorbell>),
    /// To and from the other workers.
    pub mesh: Mesh,
    /// Secret of this start, for sequence numbers and hashes (RFC 6528).
    pub secret: [u8; 16],
    /// Counters.
    pub counters: Arc<WorkerCounters>,
}

/// One core's world.
pub struct Worker {
    pub(crate) out: Output,
    pub(crate) sockets: Sockets,
    pub(crate) clients: Clients,
    /// Who lends packets to clients, if some may borrow.
    pub(crate) lender: Option<Box<Lender>>,
    pub(crate) flows: Flows,
    pub(crate) listeners: Listeners,
    pub(crate) udp_ports: HashMap<u16, Vec<SocketId>>,
    /// Who else has some.
    pub(crate) udp_owners: UdpOwners,
    /// Sockets of protocol modules.
    pub(crate) module_sockets: HashSet<SocketId>,
    /// Streams of theirs that have something to do.
    pub(crate) module_streams: Turns,
    /// Raw sockets.
    pub(crate) raw_sockets: HashSet<SocketId>,
    /// Ping sockets, by their identifiers.
    pub(crate) ping_ids: HashMap<u16, Vec<SocketId>>,
    /// Sockets that the datagram at hand goes to.
    pub(crate) group_sockets: Vec<SocketId>,
    pub(crate) timers: Timers,
    pub(crate) ready: VecDeque<SocketId>,
    /// Connections to settle when the burst ends.
    pub(crate) touched: Vec<SocketId>,
    pub(crate) spare_queues: Spare,
    /// The runs of the burst at hand.
    pub(crate) runs: Vec<Run>,
    /// Frames of a bridge's burst that are this host's.
    pub(crate) own_frames: Burst,
    /// Packets that nobody needs any more, freed together.
    pub(crate) finished: Burst,
    pub(crate) signals: Vec<SocketId>,
    /// Clients whose rings are taken from in this breath.
    pub(crate) posted: Vec<u16>,
    pub(crate) events: Events,
    pub(crate) mesh: Mesh,
    pub(crate) secret: tcp::isn::Secret,
    pub(crate) counters: Arc<WorkerCounters>,
    pub(crate) icmp_errors: StrangerLimits,
    pub(crate) resets: StrangerLimits,
    pub(crate) arp_defences: RateLimit,
    pub(crate) hearing: Hearing,
    /// News of neighbours that were too many.
    pub(crate) unsaid: u64,
    pub(crate) orphan_bytes: usize,
    /// Connections and modules' streams whose users have closed them.
    pub(crate) orphans: usize,
    pub(crate) fast_open: FastOpen,
    /// Packets of which fragments are missing.
    pub(crate) fragments: Reassembly<Mbuf>,
    pub(crate) fragments_timer: Timer,
    pub(crate) path_mtus: PathMtus,
    pub(crate) stopping: bool,
    commands: Receiver<Command>,
    rx: Vec<RxPort>,
    /// What packets come in with, where it is cheap to take.
    burst: Option<Box<Burst>>,
}

impl Worker {
    /// A worker without ports.
    #[must_use]
    pub fn new(parts: Parts) -> Self {
        let (channel, doorbell) = parts.events;
        let shown = parts.pools.shown.clone();
        let lender = shown.map(|pool| Box::new(Lender::new(pool, parts.mesh.workers())));
        Self {
            out: Output::new(
                parts.pools,
                Ids::new(parts.secret, parts.mesh.me),
                Arc::clone(&parts.counters),
            ),
            sockets: Sockets::default(),
            clients: Clients::default(),
            lender,
            flows: Flows::new(parts.secret),
            listeners: Listeners::default(),
            udp_ports: HashMap::new(),
            udp_owners: UdpOwners::default(),
            module_sockets: HashSet::new(),
            module_streams: Turns::default(),
            raw_sockets: HashSet::new(),
            ping_ids: HashMap::new(),
            group_sockets: Vec::new(),
            timers: Timers::default(),
            ready: VecDeque::new(),
            touched: Vec::new(),
            spare_queues: Spare::default(),
            runs: Vec::new(),
            own_frames: Burst::new(),
            finished: Burst::new(),
            signals: Vec::new(),
            posted: Vec::new(),
            events: Events { channel, doorbell, waiting: VecDeque::new(), sent: false },
            mesh: parts.mesh,
            secret: tcp::isn::Secret(parts.secret),
            counters: parts.counters,
            icmp_errors: StrangerLimits::new(parts.secret, ICMP_ERRORS_PER_SECOND),
            resets: StrangerLimits::new(parts.secret, RESETS_PER_SECOND),
            arp_defences: RateLimit::new(1),
            hearing: Hearing::default(),
            unsaid: 0,
            orphan_bytes: 0,
            orphans: 0,
            fast_open: FastOpen::default(),
            fragments: Reassembly::new(parts.secret),
            fragments_timer: Timer::default(),
            path_mtus: PathMtus::default(),
            stopping: false,
            commands: parts.commands,
            rx: Vec::new(),
            burst: Some(Box::default()),
        }
    }

    /// Gives the worker its queues of a port.
    pub fn add_port(&mut self, interface: u16, queue: RxQueue, tx: TxQueue) {
        self.rx.push(RxPort { interface, queue });
        self.out.add_port(interface, TxEnd::Own(tx));
    }

    /// So many connections stay awake though nothing goes on, instead of
    /// [`crate::limits::AWAKE_MAX`]. With 0 each one sleeps whenever it may.
    pub fn keep_awake(&mut self, max: usize) {
        self.sockets.awake_max = max;
    }

    /// Gives up the queues of a port; what waits to be sent there is dropped.
    pub(crate) fn remove_port(&mut self, call: CallId, interface: u16, now: Instant) {
        self.rx.retain(|port| port.interface != interface);
        self.out.remove_port(interface, now);
        self.done(call, Ok(Outcome::Done));
    }

    /// RFC 5227 2.3, RFC 4861 7.2.6: others update what they know about our address.
    pub(crate) fn announce(&mut self, interface: u16, address: IpAddr) {
        let Some(mac) = self.out.network.interface(interface).map(|i| i.mac) else { return };
        match address {
            IpAddr::V4(address) => {
                let packet = wire::arp::Packet::announcement(mac, address);
                self.out.arp(packet, interface, MacAddr::BROADCAST);
            }
            IpAddr::V6(address) => self.out.announce6(address, mac, interface),
        }
    }

    /// One round: everything that has come in, everything that is due, everything that can go out.
    /// `true`: there was work.
    pub fn breathe(&mut self, now: Instant) -> bool {
        // First: what the control plane has said before a packet was sent holds for the answer to it.
        let mut busy = self.attend_control(now);
        busy |= self.inhale(now);
        busy |= self.attend(now);
        if self.out.has_neighbor_news() {
            self.tell_of_neighbors(now);
        }
        busy |= self.exhale(now);
        self.counters.worker.breaths.increment();
        self.counters.worker.busy_breaths.add(u64::from(busy));
        busy
    }

    fn inhale(&mut self, now: Instant) -> bool {
        self.out.now = now;
        let mut busy = false;
        if let Some(desk) = &mut self.out.desk {
            desk.set_now(now);
        }
        let mut burst = self.burst.take().unwrap_or_default();
        for port in 0..self.rx.len() {
            let Some(rx) = self.rx.get_mut(port) else { break };
            let interface = rx.interface;
            busy |= rx.queue.rx_burst(&mut burst) > 0;
            self.out.count_lost(rx.queue.take_lost());
            if self.out.desk.is_some() {
                filter::input(&mut self.out, &mut burst, interface);
            }
            self.burst_input(&mut burst, interface, now);
            if self.out.desk.is_some() {
                self.deliver(now);
            }
        }
        self.burst = Some(burst);
        while let Some(handoff) = self.mesh.receive() {
            busy = true;
            self.receive_handoff(handoff, now);
        }
        if self.out.has_looped() {
            busy = true;
            self.inhale_looped(now);
        }
        if self.out.desk.is_some() {
            self.deliver(now);
        }
        self.settle_touched(now);
        self.free_finished();
        busy
    }

    /// Frees packets that have been used up, unless they are lent.
    fn free_finished(&mut self) {
        if let Some(lender) = &mut self.lender {
            lender.keep(&mut self.finished, &self.counters.loans);
        }
        self.finished.clear();
    }

    /// A packet has been used up.
    pub(crate) fn finish(&mut self, mbuf: Mbuf) {
        if self.finished.is_full() {
            self.free_finished();
        }
        // There is room now.
        let _ = self.finished.push(mbuf);
    }

    /// The last `count` packets have been used up.
    pub(crate) fn finish_back(&mut self, count: usize, burst: &mut Burst) {
        if self.finished.room() < count {
            self.free_finished();
        }
        burst.move_back(count, &mut self.finished);
    }

    /// Packets that clients have read are freed.
    #[inline(never)]
    fn end_loans(&mut self) {
        let Some(mut lender) = self.lender.take() else { return };
        let short = lender.take_short();
        if let Some(slot) = lender.take_turn() {
            self.sweep_blocks(Some(slot));
        }
        for number in 0..lender.borrowers().len() {
            let Some(slot) = lender.borrowers().get(number).copied() else { break };
            if let Some(client) = self.clients.find_mut(slot) {
                let before = lender.lent();
                client.lane.returned(|buffer| lender.give_back(buffer));
                let returned = before.saturating_sub(lender.lent());
                self.counters.loans.returned.add(returned.into());
            }
        }
        lender.free();
        self.counters.loans.pool_low.add(short.into());
        self.lender = Some(lender);
    }

    fn receive_handoff(&mut self, handoff: Handoff, now: Instant) {
        match handoff {
            Handoff::Packet { interface, mbuf } => {
                self.ip_input(mbuf, interface, now);
            }
            Handoff::Group { interface, mbuf } => self.group_handoff(&mbuf, interface, now),
            Handoff::Raw { interface, mbuf } => self.raw_handoff(&mbuf, interface, now),
            Handoff::Message { interface, mbuf } => self.message_handoff(&mbuf, interface, now),
            Handoff::Frame { interface, mbuf } => self.out.relay(mbuf, interface),
            Handoff::Station { bridge, mac, port, at } => {
                self.station_handoff(bridge, mac, port, at);
            }
            Handoff::Listening { bridge, port, group, at } => {
                self.listening_handoff(bridge, port, group, at);
            }
            Handoff::Asked { bridge, port, asked, at } => {
                self.asked_handoff(bridge, port, &asked, at);
            }
            Handoff::Claimed { by, interface, mbuf } => self.claimed_input(by, mbuf, interface),
            Handoff::Datagram { socket, owner, from, mbuf } => {
                self.module_input(socket, owner, from, mbuf);
            }
            Handoff::Neighbor { address, mac, interface, for_us, at } => {
                let waiting = match address {
                    IpAddr::V4(v4) => self.out.neighbors.learn(v4, mac, interface, for_us, at),
                    IpAddr::V6(v6) => {
                        let who = OnLink { address: v6, interface };
                        self.out.neighbors6.learn(who, mac, interface, for_us, at)
                    }
                };
                self.out.neighbor_learned(waiting, mac, interface);
            }
        }
    }

    /// Takes packets to ourselves in.
    #[inline(never)]
    fn inhale_looped(&mut self, now: Instant) {
        let mut burst = self.burst.take().unwrap_or_default();
        self.out.take_looped(&mut burst);
        if self.out.desk.is_some() {
            filter::looped(&mut self.out, &mut burst);
        }
        for mbuf in burst.drain() {
            self.loopback_input(mbuf, now);
        }
        self.burst = Some(burst);
    }

    fn attend(&mut self, now: Instant) -> bool {
        let mut busy = self.attend_clients(now);
        if busy {
            // What a client asks for rests on what the control plane has answered it, maybe since this breath began: who
            // has just taken a listener's last connection is not told of it once more.
            busy |= self.attend_control(now);
        }
        busy |= self.attend_protocols(now);
        busy | self.run_timers(now)
    }

    /// Carries out the commands of the control plane. `true`: there were some.
    pub fn attend_control(&mut self, now: Instant) -> bool {
        let mut busy = false;
        while let Ok(command) = self.commands.try_recv() {
            busy = true;
            self.command(command, now);
        }
        busy
    }

    fn exhale(&mut self, now: Instant) -> bool {
        self.sockets.prefetch_dozing();
        if self.lender.is_some() {
            self.end_loans();
        }
        let mut busy = self.transmit_ready(now);
        busy |= self.out.flush();
        busy |= self.signal_clients();
        busy |= self.sockets.doze(&mut self.clients, &mut self.timers);
        self.events.flush();
        busy
    }

    /// Nothing is waiting that a sleep would delay. Call after the `sleeping` flags are set.
    #[must_use]
    pub fn may_sleep(&self) -> bool {
        self.ready.is_empty()
            && self.events.waiting.is_empty()
            && self.module_streams.may_sleep()
            && !self.out.is_backlogged()
            && !self.out.has_looped()
            && !self.clients.any_pending()
            && !self.out.desk.as_ref().is_some_and(|desk| desk.is_pending())
    }

    /// When the next timer is due.
    #[must_use]
    pub fn next_timeout(&self) -> Option<Instant> {
        let protocols = self.out.desk.as_ref().and_then(|desk| desk.next_timeout());
        let held = self.clients.next_timeout();
        let blocks = self.module_streams.wait_for_blocks();
        let blocks = blocks.then(|| self.out.now + MODULE_BLOCKS_EVERY);
        self.timers.next().into_iter().chain(protocols).chain(held).chain(blocks).min()
    }

    /// The control plane has asked the worker to stop.
    #[must_use]
    pub fn is_stopping(&self) -> bool {
        self.stopping
    }

    /// The worker's counters.
    #[must_use]
    pub fn counters(&self) -> &Arc<WorkerCounters> {
        &self.counters
    }

    /// Endpoints, sockets and timers in use, for leak checks.
    #[must_use]
    pub fn usage(&self) -> Usage {
        Usage {
            flows: self.flows.len(),
            pairs: self.flows.pairs.len(),
            sockets: self.sockets.len(),
            asleep: self.sockets.asleep(),
            timers: self.timers.len(),
            clients: self.clients.slots().count(),
            fragments: self.fragments.held(),
            lent: self.lender.as_ref().map_or(0, |lender| lender.lent()),
        }
    }
}

/// What a worker holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// TCP endpoints.
    pub flows: usize,
    /// Pairs of IPv6 hosts with connections.
    pub pairs: usize,
    /// Sockets.
    pub sockets: usize,
    /// Sockets that sleep: connections on which nothing goes on.
    pub asleep: usize,
    /// Armed timers.
    pub timers: usize,
    /// Attached clients.
    pub clients: usize,
    /// Fragments that wait for others.
    pub fragments: usize,
    /// Packets lent to clients.
    pub lent: u32,
}
