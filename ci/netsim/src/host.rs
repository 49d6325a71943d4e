//! One stack: the engine's endpoints, a table of flows, sockets and their programs.
//!
//! A caller feeds it packets and timers and then calls [`Host::exhale`], which alone makes packets,
//! so that a burst that arrives at one instant is answered once.

use core::hash::BuildHasherDefault;
use core::net::{IpAddr, Ipv4Addr};
use std::collections::hash_map::DefaultHasher;
use std::collections::{BTreeMap, HashMap};

use tcp::isn::{self, Secret};
use tcp::{
    Algorithm, Config, FastOpenLesson, FastOpenMemory, HalfOpen, Listener, SegmentIn, SegmentOut,
    SeqNum, Tcb, TimeWait, TimeWaitVerdict,
};
use types::{FlowKey, Instant};

use crate::app::{App, Plan};
use crate::buffer::RecvRing;
use crate::packet::{self, Arrived, HEADERS_LEN};
use crate::passive::PassiveCounts;
use crate::random::Random;
use crate::socket::{Report, Socket, SocketId, Step};

/// What a timer is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Owner {
    /// A connection.
    Socket(SocketId),
    /// A connection's program.
    App(SocketId),
    /// A half-open connection or TIME-WAIT.
    Flow(FlowKey),
}

/// What kind of stack it is.
#[derive(Clone, Copy, Debug)]
pub struct HostSettings {
    /// For every connection.
    pub tcp: Config,
    /// Bytes of each receive buffer.
    pub recv_buffer: u32,
    /// Bytes of each send buffer.
    pub send_buffer: u64,
}

impl Default for HostSettings {
    fn default() -> Self {
        Self { tcp: Config::default(), recv_buffer: 256 * 1024, send_buffer: 256 * 1024 }
    }
}

/// The congestion controls that the engine has.
#[must_use]
pub fn algorithms() -> Vec<Algorithm> {
    ["reno", "cubic", "bbr"].into_iter().filter_map(Algorithm::from_name).collect()
}

/// How many of what a host holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Population {
    /// Connections and sockets whose program has not finished reading.
    pub sockets: usize,
    /// SYN-RECEIVED of passive opens.
    pub half_open: usize,
    /// TIME-WAIT.
    pub time_wait: usize,
}

impl Population {
    /// All of them.
    #[must_use]
    pub const fn total(&self) -> usize {
        self.sockets + self.half_open + self.time_wait
    }
}

#[derive(Debug)]
pub(crate) enum Endpoint {
    Connection(SocketId),
    HalfOpen { half_open: HalfOpen, port: u16, armed: Instant },
    TimeWait { time_wait: TimeWait, armed: Instant },
}

#[derive(Debug)]
pub(crate) struct Service {
    pub(crate) listener: Listener,
    pub(crate) plan: Plan,
}

/// Packets on their way out, and empty ones to fill.
#[derive(Debug, Default)]
pub struct Outbox {
    /// What was emitted, oldest first.
    pub packets: Vec<Vec<u8>>,
    /// Memory of packets that have arrived.
    pub spare: Vec<Vec<u8>>,
}

impl Outbox {
    fn emit(&mut self, flow: &FlowKey, segment: &SegmentOut, fill: impl FnOnce(&mut [u8])) {
        let mut bytes = self.spare.pop().unwrap_or_default();
        packet::emit(&mut bytes, flow, segment, fill);
        self.packets.push(bytes);
    }
}

/// A stack.
#[derive(Debug)]
pub struct Host {
    /// Its address.
    pub address: Ipv4Addr,
    /// For connections that begin from now on.
    pub settings: HostSettings,
    /// How far its clock is ahead of the world's.
    pub skew: core::time::Duration,
    /// Packets that checksum or lengths showed to be damaged.
    pub damaged: u64,
    /// What listeners did.
    pub passive: PassiveCounts,
    /// Connections that ended, in that order.
    pub reports: Vec<Report>,
    /// Timers to be started: [`Host::timer`] is to be called then, by the host's clock.
    pub alarms: Vec<(Instant, Owner)>,
    pub(crate) secret: Secret,
    pub(crate) random: Random,
    pub(crate) endpoints: HashMap<FlowKey, Endpoint, BuildHasherDefault<DefaultHasher>>,
    pub(crate) services: BTreeMap<u16, Service>,
    pub(crate) sockets: BTreeMap<SocketId, Box<Socket>>,
    /// Cookies of servers.
    fast_open: BTreeMap<IpAddr, FastOpenMemory>,
    next_socket: u64,
    touched: Vec<SocketId>,
    pub(crate) replies: Vec<(FlowKey, SegmentOut)>,
}

impl Host {
    /// A stack whose choices depend on `seed` alone.
    #[must_use]
    pub fn new(address: Ipv4Addr, settings: HostSettings, seed: u64) -> Self {
        let mut random = Random::new(seed);
        let mut secret = [0; 16];
        secret[..8].copy_from_slice(&random.bits().to_le_bytes());
        secret[8..].copy_from_slice(&random.bits().to_le_bytes());
        Self {
            address,
            settings,
            skew: core::time::Duration::ZERO,
            damaged: 0,
            passive: PassiveCounts::default(),
            reports: Vec::new(),
            alarms: Vec::new(),
            secret: Secret(secret),
            random,
            endpoints: HashMap::default(),
            services: BTreeMap::new(),
            sockets: BTreeMap::new(),
            fast_open: BTreeMap::new(),
            next_socket: 0,
            touched: Vec::new(),
            replies: Vec::new(),
        }
    }

    /// Serves clients on `port`; of the plan only what concerns a server counts.
    pub fn listen(&mut self, port: u16, backlog: u32, plan: Plan) {
        let service = Service { listener: Listener::new(backlog), plan };
        let _ = self.services.insert(port, service);
    }

    /// Connects to `remote` and does what the plan says.
    pub fn connect(&mut self, remote: (Ipv4Addr, u16), plan: Plan, now: Instant) -> SocketId {
        let flow = self.unused_flow(remote);
        let config = self.config(&flow);
        let iss = isn::initial_sequence(&self.secret, &flow, now);
        let tcb = if config.fast_open {
            let memory = self.fast_open.get(&flow.remote_addr).copied();
            Tcb::connect_fast_open(&config, iss, memory, now)
        } else {
            Tcb::connect(&config, iss, now)
        };
        let app = App::client(plan, self.random.bits());
        self.add_socket(flow, tcb, app, self.ring(), now)
    }

    /// A socket that still exists.
    #[must_use]
    pub fn socket(&self, id: SocketId) -> Option<&Socket> {
        self.sockets.get(&id).map(|socket| &**socket)
    }

    /// All sockets, oldest first.
    pub fn sockets(&self) -> impl Iterator<Item = &Socket> {
        self.sockets.values().map(|socket| &**socket)
    }

    /// What the host holds.
    #[must_use]
    pub fn population(&self) -> Population {
        let count = |which: fn(&Endpoint) -> bool| {
            self.endpoints.values().filter(|endpoint| which(endpoint)).count()
        };
        Population {
            sockets: self.sockets.len(),
            half_open: count(|endpoint| matches!(endpoint, Endpoint::HalfOpen { .. })),
            time_wait: count(|endpoint| matches!(endpoint, Endpoint::TimeWait { .. })),
        }
    }

    /// What must hold between events, beyond what the engine checks of itself.
    ///
    /// # Panics
    /// If it does not.
    pub fn assert_consistent(&self) {
        for (flow, endpoint) in &self.endpoints {
            if let Endpoint::Connection(id) = endpoint {
                let socket = self.sockets.get(id).expect("an endpoint has its socket");
                assert_eq!(socket.flow, *flow);
            }
        }
        let half_open = self.services.values().map(|service| service.listener.half_open() as usize);
        assert_eq!(half_open.sum::<usize>(), self.population().half_open, "listeners count right");
        assert!(self.touched.is_empty() && self.replies.is_empty(), "all was transmitted");
    }

    /// Gives back memory that is kept to be used again.
    pub fn trim(&mut self) {
        self.endpoints.shrink_to_fit();
        self.reports.shrink_to_fit();
        self.alarms.shrink_to_fit();
        self.touched.shrink_to_fit();
        self.replies.shrink_to_fit();
    }

    /// A packet arrives.
    pub fn input(&mut self, bytes: &[u8], now: Instant) {
        match packet::parse(bytes) {
            Ok(Arrived::Segment(flow, segment)) => self.segment_arrives(&flow, &segment, now),
            Ok(Arrived::TooBig { flow, seq, mtu }) => self.too_big(&flow, seq, mtu, now),
            Err(_) => self.damaged += 1,
        }
    }

    /// A timer that was started for `at` by the host's clock fires.
    pub fn timer(&mut self, owner: Owner, at: Instant, now: Instant) {
        match owner {
            Owner::Socket(id) => {
                if let Some(socket) = self.sockets.get_mut(&id)
                    && socket.timer(at, now)
                {
                    self.touched.push(id);
                }
            }
            Owner::App(id) => {
                if self.sockets.contains_key(&id) {
                    self.touched.push(id);
                }
            }
            Owner::Flow(flow) => self.flow_timer(&flow, at, now),
        }
    }

    /// The clock leaps: whatever is due by the new time is done.
    pub fn jump(&mut self, leap: core::time::Duration, now: Instant) {
        self.skew += leap;
        let mut flows: Vec<(FlowKey, Instant)> = self.endpoints.iter().filter_map(armed).collect();
        flows.sort_unstable();
        for (flow, at) in flows {
            self.flow_timer(&flow, at, now);
        }
        for (id, socket) in &mut self.sockets {
            socket.rearm(now);
            self.touched.push(*id);
        }
    }

    /// Programs act, connections transmit, and what has ended is freed.
    pub fn exhale(&mut self, now: Instant, outbox: &mut Outbox) {
        for (flow, segment) in self.replies.drain(..) {
            outbox.emit(&flow, &segment, |_| {});
        }
        let mut touched = core::mem::take(&mut self.touched);
        touched.dedup();
        for id in touched.drain(..) {
            let Some(socket) = self.sockets.get_mut(&id) else { continue };
            let step = socket.breathe(id, now, &mut self.alarms, |flow, segment, fill| {
                outbox.emit(flow, segment, fill);
            });
            match socket.take_lesson() {
                Some(FastOpenLesson::Cookie(memory)) => {
                    let _ = self.fast_open.insert(socket.flow.remote_addr, memory);
                }
                Some(FastOpenLesson::Blackhole) => {
                    let _ = self.fast_open.remove(&socket.flow.remote_addr);
                }
                None => {}
            }
            self.follow(id, step, now);
        }
        self.touched = touched;
    }

    fn follow(&mut self, id: SocketId, step: Step, now: Instant) {
        let Some(socket) = self.sockets.get_mut(&id) else { return };
        let flow = socket.flow;
        let ours =
            matches!(self.endpoints.get(&flow), Some(Endpoint::Connection(own)) if *own == id);
        match step {
            Step::Open => return,
            Step::Ended if ours => {
                let _ = self.endpoints.remove(&flow);
            }
            Step::TimeWait if ours => {
                let time_wait = TimeWait::new(&socket.tcb, now);
                let armed = time_wait.expires();
                self.alarms.push((armed, Owner::Flow(flow)));
                let _ = self.endpoints.insert(flow, Endpoint::TimeWait { time_wait, armed });
            }
            Step::Ended | Step::TimeWait => {}
        }
        self.reports.push(socket.report(now));
        let _ = self.sockets.remove(&id);
    }

    fn segment_arrives(&mut self, flow: &FlowKey, segment: &SegmentIn<'_>, now: Instant) {
        match self.endpoints.get_mut(flow) {
            Some(Endpoint::Connection(id)) => {
                let id = *id;
                self.connection_segment(id, segment, now);
            }
            Some(Endpoint::HalfOpen { half_open, port, .. }) => {
                let (port, verdict) = (*port, half_open.segment_arrives(segment, now));
                self.half_open_verdict(flow, port, verdict, segment, now);
            }
            Some(Endpoint::TimeWait { time_wait, .. }) => {
                match time_wait.segment_arrives(segment, now) {
                    TimeWaitVerdict::Acknowledge(ack) => self.replies.push((*flow, ack)),
                    TimeWaitVerdict::Reopen(beyond) => {
                        let _ = self.endpoints.remove(flow);
                        self.listener_segment(flow, segment, Some(beyond), now);
                    }
                    TimeWaitVerdict::Drop(_) => {}
                }
            }
            None => self.listener_segment(flow, segment, None, now),
        }
    }

    pub(crate) fn connection_segment(
        &mut self,
        id: SocketId,
        segment: &SegmentIn<'_>,
        now: Instant,
    ) {
        if let Some(socket) = self.sockets.get_mut(&id) {
            socket.segment_arrives(segment, now);
            if self.touched.last() != Some(&id) {
                self.touched.push(id);
            }
        }
    }

    pub(crate) fn ring(&self) -> RecvRing {
        RecvRing::new(self.settings.recv_buffer)
    }

    pub(crate) fn add_socket(
        &mut self,
        flow: FlowKey,
        tcb: Tcb,
        app: App,
        recv: RecvRing,
        now: Instant,
    ) -> SocketId {
        self.next_socket += 1;
        let id = SocketId(self.next_socket);
        let socket = Socket::new(flow, tcb, app, recv, self.settings.send_buffer, now);
        let _ = self.sockets.insert(id, Box::new(socket));
        let _ = self.endpoints.insert(flow, Endpoint::Connection(id));
        self.touched.push(id);
        id
    }

    fn flow_timer(&mut self, flow: &FlowKey, at: Instant, now: Instant) {
        let (alive, due, port) = match self.endpoints.get_mut(flow) {
            Some(Endpoint::HalfOpen { half_open, port, armed }) if *armed == at => {
                let alive = half_open.timeout(now);
                *armed = half_open.next_timeout();
                (alive, *armed, Some(*port))
            }
            Some(Endpoint::TimeWait { time_wait, armed }) if *armed == at => {
                *armed = time_wait.expires();
                (*armed > now, *armed, None)
            }
            _ => return,
        };
        if alive {
            self.alarms.push((due, Owner::Flow(*flow)));
            self.half_open_transmit(flow, now);
        } else {
            let _ = self.endpoints.remove(flow);
            if let Some(port) = port {
                self.abandoned(port);
            }
        }
    }

    /// RFC 1191, believed only about bytes in flight (RFC 5927 §4).
    fn too_big(&mut self, flow: &FlowKey, seq: SeqNum, mtu: u16, now: Instant) {
        if let Some(Endpoint::Connection(id)) = self.endpoints.get(flow)
            && let Some(socket) = self.sockets.get_mut(id)
            && socket.tcb.path_mtu(mtu.saturating_sub(HEADERS_LEN), seq, now)
        {
            self.touched.push(*id);
        }
    }

    pub(crate) fn config(&self, flow: &FlowKey) -> Config {
        let timestamp_offset = isn::timestamp_offset(&self.secret, flow);
        Config { timestamp_offset, ..self.settings.tcp }
    }

    /// A random port that no endpoint to that peer has.
    fn unused_flow(&mut self, (remote_addr, remote_port): (Ipv4Addr, u16)) -> FlowKey {
        loop {
            let local_port = u16::try_from(self.random.between(32_768, 60_999)).unwrap_or(u16::MAX);
            let flow = FlowKey {
                local_addr: self.address.into(),
                remote_addr: remote_addr.into(),
                local_port,
                remote_port,
            };
            if !self.endpoints.contains_key(&flow) {
                return flow;
            }
        }
    }
}

fn armed((flow, endpoint): (&FlowKey, &Endpoint)) -> Option<(FlowKey, Instant)> {
    match endpoint {
        Endpoint::Connection(_) => None,
        Endpoint::HalfOpen { armed, .. } | Endpoint::TimeWait { armed, .. } => {
            Some((*flow, *armed))
        }
    }
}
