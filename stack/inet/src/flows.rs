//! All TCP endpoints of a worker: the flow table and the records it points at.
//!
//! A connection's record is its socket; what has none yet or none any more has a small record here.

use core::cell::Cell;
use core::net::{IpAddr, SocketAddr, SocketAddrV6};
use std::collections::VecDeque;

use tcp::{HalfOpen, TimeWait};
use types::{DropReason, FlowKey};

use crate::command::ListenerId;
use crate::flow::{Flow, FlowHasher};
use crate::flow_table::{FlowTable, Full};
use crate::limits::ENDPOINTS_MAX;
use crate::pairs::{Pair, Pairs};
use crate::slab::Slab;
use crate::socket::{SocketId, Sockets};
use crate::timer_wheel::{Endpoint, Timer, Timers};

/// A passive open that has not completed.
#[derive(Debug)]
pub(crate) struct Embryo {
    /// The engine's state.
    pub half_open: HalfOpen,
    /// Both ends.
    pub flow: Flow,
    /// Where it will wait to be accepted.
    pub listener: ListenerId,
    /// Its handshake found the accept queue full.
    pub blocked: bool,
    /// Its place on the timer wheel.
    pub timer: Timer,
}

/// What is left of a connection.
#[derive(Debug)]
pub(crate) struct Remains {
    /// The engine's state.
    pub time_wait: TimeWait,
    /// Both ends.
    pub flow: Flow,
    /// Its place on the timer wheel.
    pub timer: Timer,
}

/// The endpoints of a worker by flow.
#[derive(Debug)]
pub(crate) struct Flows {
    table: FlowTable,
    hasher: FlowHasher,
    /// The hosts of IPv6 flows. Whatever is in the table uses its flow, and so does each socket.
    pub pairs: Pairs,
    /// The flow of the segment at hand and its hash: both were known when the burst was staged.
    staged: (Flow, u64),
    /// Its endpoint, once found: segments come in trains. Forgotten when the table changes.
    found: Cell<Option<Endpoint>>,
    /// How often the table has changed, modulo 2^32.
    changes: u32,
    /// Half-open endpoints.
    pub embryos: Slab<Embryo>,
    /// Endpoints in TIME-WAIT.
    pub remains: Slab<Remains>,
    /// Their numbers, the oldest first. One that went early leaves its number behind; if that is used
    /// again, the newcomer may be taken for the old one, which at worst ends it early too.
    oldest: VecDeque<u32>,
}

impl Flows {
    /// No endpoints; `secret` keys the hash.
    #[must_use]
    pub(crate) fn new(secret: [u8; 16]) -> Self {
        let hasher = FlowHasher::new(secret);
        Self {
            table: FlowTable::default(),
            hasher,
            pairs: Pairs::default(),
            staged: (Flow::NONE, hasher.hash(&Flow::NONE)),
            found: Cell::new(None),
            changes: 0,
            embryos: Slab::default(),
            remains: Slab::default(),
            oldest: VecDeque::new(),
        }
    }

    /// How many endpoints there are.
    #[must_use]
    pub(crate) fn len(&self) -> usize {
        self.table.len()
    }

    /// No room for another.
    #[must_use]
    pub(crate) fn is_full(&self) -> bool {
        self.len() >= ENDPOINTS_MAX
    }

    /// The flow between two hosts, addresses and ports of this one first, that talk over an interface.
    /// Let go of it. `None`: there are too many, or the addresses fit no flow.
    pub(crate) fn hold(&mut self, key: &FlowKey, interface: u16) -> Option<Flow> {
        let (local_port, remote_port) = (key.local_port, key.remote_port);
        match (key.local_addr, key.remote_addr) {
            (IpAddr::V4(local_addr), IpAddr::V4(remote_addr)) if !local_addr.is_unspecified() => {
                Some(Flow { local_addr, remote_addr, local_port, remote_port })
            }
            (IpAddr::V6(local), IpAddr::V6(remote)) => {
                let pair = Pair::new(local, remote, interface);
                self.pairs.hold(&pair, (local_port, remote_port), self.hasher)
            }
            _ => None,
        }
    }

    /// Whoever held a flow does so no longer.
    #[inline]
    pub(crate) fn let_go(&mut self, flow: &Flow) {
        if flow.pair().is_some() {
            self.pairs.let_go(flow, self.hasher);
        }
    }

    /// Both ends of a flow.
    #[must_use]
    pub(crate) fn key(&self, flow: &Flow) -> FlowKey {
        let (local_addr, remote_addr) = match self.pairs.find(flow) {
            None => (flow.local_addr.into(), flow.remote_addr.into()),
            Some(pair) => (pair.local.into(), pair.remote.into()),
        };
        let (local_port, remote_port) = (flow.local_port, flow.remote_port);
        FlowKey { local_addr, remote_addr, local_port, remote_port }
    }

    /// Where a flow arrives, for whoever listens there.
    #[must_use]
    pub(crate) fn local(&self, flow: &Flow) -> SocketAddr {
        let address = match self.pairs.find(flow) {
            None => flow.local_addr.into(),
            Some(pair) => pair.local.into(),
        };
        SocketAddr::new(address, flow.local_port)
    }

    /// Both ends of a flow as sockets see them, this host's first. Addresses of a link are told apart
    /// by its number.
    #[must_use]
    pub(crate) fn ends(&self, flow: &Flow) -> (SocketAddr, SocketAddr) {
        let end = |address: IpAddr, port, zone: u16| match address {
            IpAddr::V6(v6) if v6.is_unicast_link_local() => {
                SocketAddrV6::new(v6, port, 0, zone.into()).into()
            }
            _ => SocketAddr::new(address, port),
        };
        let key = self.key(flow);
        let zone = self.pairs.find(flow).map_or(0, |pair| pair.zone);
        (end(key.local_addr, key.local_port, zone), end(key.remote_addr, key.remote_port, zone))
    }

    /// The secret hash of a flow.
    #[must_use]
    pub(crate) fn hash(&self, flow: &Flow) -> u64 {
        self.hasher.hash(flow)
    }

    /// First stage of a burst: the bucket of this hash is needed soon.
    #[inline]
    pub(crate) fn prefetch(&self, hash: u64) {
        if let Some(bucket) = self.table.first_bucket(hash) {
            dpdk::prefetch(bucket);
        }
    }

    /// Second stage: the connection that this hash most likely belongs to.
    #[inline]
    #[must_use]
    pub(crate) fn guess(&self, hash: u64) -> Option<u32> {
        match self.table.guess(hash).map(endpoint)? {
            Endpoint::Connection(number) => Some(number),
            Endpoint::HalfOpen(_) | Endpoint::TimeWait(_) => None,
        }
    }

    /// How often the table has changed: what was found stays right while it does not.
    #[inline]
    #[must_use]
    pub(crate) const fn changes(&self) -> u32 {
        self.changes
    }

    fn changed(&mut self) {
        self.changes = self.changes.wrapping_add(1);
        self.found.set(None);
    }

    /// The segment at hand is of this flow, whose endpoint is known to be `connection`, or has to be found.
    #[inline]
    pub(crate) fn set_staged(&mut self, flow: Flow, hash: u64, connection: Option<u32>) {
        if let Some(number) = connection {
            self.staged = (flow, hash);
            self.found.set(Some(Endpoint::Connection(number)));
        } else if flow != self.staged.0 {
            self.staged = (flow, hash);
            self.found.set(None);
        }
    }

    /// The endpoint of a flow.
    #[inline]
    #[must_use]
    pub(crate) fn find(&self, flow: &Flow, sockets: &Sockets) -> Option<Endpoint> {
        let (staged, hash) = self.staged;
        if staged != *flow {
            return self.look_up(flow, self.hasher.hash(flow), sockets);
        }
        if self.found.get().is_none() {
            self.found.set(self.look_up(flow, hash, sockets));
        }
        self.found.get()
    }

    #[inline]
    fn look_up(&self, flow: &Flow, hash: u64, sockets: &Sockets) -> Option<Endpoint> {
        self.table.find(hash, |number| self.is_flow(number, flow, sockets)).map(endpoint)
    }

    /// Stores a half-open endpoint.
    ///
    /// # Errors
    /// `TcpTableFull`; nothing has changed.
    pub(crate) fn add_embryo(
        &mut self,
        embryo: Embryo,
        sockets: &Sockets,
    ) -> Result<u32, DropReason> {
        if self.is_full() {
            return Err(DropReason::TcpTableFull);
        }
        let flow = embryo.flow;
        let number = self.embryos.insert(embryo);
        if self.enter(&flow, Endpoint::HalfOpen(number), sockets).is_err() {
            let _ = self.embryos.remove(number);
            return Err(DropReason::TcpTableFull);
        }
        Ok(number)
    }

    /// Stores what is left of a connection, in its place.
    ///
    /// # Errors
    /// [`Full`]; nothing has changed.
    pub(crate) fn add_remains(&mut self, remains: Remains, sockets: &Sockets) -> Result<u32, Full> {
        let flow = remains.flow;
        let number = self.remains.insert(remains);
        let added = self.enter(&flow, Endpoint::TimeWait(number), sockets);
        if added.is_err() {
            let _ = self.remains.remove(number);
        } else {
            self.oldest.push_back(number);
        }
        added.map(|()| number)
    }

    /// A socket's connection is the flow's endpoint from now on, whatever was before. The socket
    /// must hold the stream already.
    ///
    /// # Errors
    /// [`Full`]; nothing has changed.
    pub(crate) fn add_connection(
        &mut self,
        flow: &Flow,
        id: SocketId,
        sockets: &Sockets,
    ) -> Result<(), Full> {
        self.enter(flow, Endpoint::Connection(id.index), sockets)
    }

    /// Forgets a half-open endpoint.
    pub(crate) fn remove_embryo(&mut self, number: u32, timers: &mut Timers) -> Option<Embryo> {
        let mut embryo = self.embryos.remove(number)?;
        timers.cancel(&mut embryo.timer);
        let _ = self.forget(&embryo.flow, Endpoint::HalfOpen(number));
        Some(embryo)
    }

    /// Ends TIME-WAIT.
    pub(crate) fn remove_remains(&mut self, number: u32, timers: &mut Timers) {
        let Some(mut remains) = self.remains.remove(number) else { return };
        timers.cancel(&mut remains.timer);
        let _ = self.forget(&remains.flow, Endpoint::TimeWait(number));
        while self.oldest.front().is_some_and(|number| self.remains.get(*number).is_none()) {
            let _ = self.oldest.pop_front();
        }
    }

    /// Ends the oldest TIME-WAIT if there are more than `max`. Says if it did.
    pub(crate) fn evict_remains(&mut self, max: usize, timers: &mut Timers) -> bool {
        let crowded = self.remains.len() > max || self.oldest.len() > max.saturating_mul(2);
        let oldest = if crowded { self.oldest.pop_front() } else { None };
        if let Some(number) = oldest {
            self.remove_remains(number, timers);
        }
        oldest.is_some()
    }

    /// Takes a connection's flow out of the table. `false`: it has another endpoint, or none.
    pub(crate) fn remove_connection(&mut self, flow: &Flow, id: SocketId) -> bool {
        self.forget(flow, Endpoint::Connection(id.index))
    }

    /// Is this connection its flow's endpoint?
    #[must_use]
    pub(crate) fn is_connection(&self, flow: &Flow, id: SocketId) -> bool {
        let own = number(Endpoint::Connection(id.index));
        self.table.find(self.hasher.hash(flow), |number| number == own).is_some()
    }

    fn enter(&mut self, flow: &Flow, endpoint: Endpoint, sockets: &Sockets) -> Result<(), Full> {
        self.changed();
        let (hash, number) = (self.hasher.hash(flow), number(endpoint));
        let Self { table, hasher, embryos, remains, .. } = self;
        let flow_of = |number| flow_of(number, embryos, remains, sockets);
        // The new record has this flow too, but its number is not in the table yet.
        if table.replace(hash, number, |n| flow_of(n) == Some(*flow)) {
            return Ok(());
        }
        table.insert(hash, number, |n| flow_of(n).map(|flow| hasher.hash(&flow)))?;
        if flow.pair().is_some() {
            self.pairs.hold_again(flow);
        }
        Ok(())
    }

    fn forget(&mut self, flow: &Flow, endpoint: Endpoint) -> bool {
        self.changed();
        let own = number(endpoint);
        let removed = self.table.remove(self.hasher.hash(flow), |number| number == own);
        if removed {
            self.let_go(flow);
        }
        removed
    }

    #[inline]
    fn is_flow(&self, number: u32, flow: &Flow, sockets: &Sockets) -> bool {
        match endpoint(number) {
            Endpoint::Connection(number) => sockets.is_flow(number, flow),
            _ => flow_of(number, &self.embryos, &self.remains, sockets) == Some(*flow),
        }
    }
}

#[inline]
fn flow_of(
    number: u32,
    embryos: &Slab<Embryo>,
    remains: &Slab<Remains>,
    sockets: &Sockets,
) -> Option<Flow> {
    match endpoint(number) {
        Endpoint::Connection(number) => sockets.flow(number),
        Endpoint::HalfOpen(number) => embryos.get(number).map(|embryo| embryo.flow),
        Endpoint::TimeWait(number) => remains.get(number).map(|remains| remains.flow),
    }
}

/// The two highest bits of a number in the table say what kind of record it is.
const KIND_SHIFT: u32 = 30;
const KIND_MASK: u32 = 3 << KIND_SHIFT;

#[inline]
const fn number(endpoint: Endpoint) -> u32 {
    match endpoint {
        Endpoint::Connection(number) => number,
        Endpoint::HalfOpen(number) => number | 1 << KIND_SHIFT,
        Endpoint::TimeWait(number) => number | 2 << KIND_SHIFT,
    }
}

#[inline]
const fn endpoint(number: u32) -> Endpoint {
    let record = number & !KIND_MASK;
    match number >> KIND_SHIFT {
        0 => Endpoint::Connection(record),
        1 => Endpoint::HalfOpen(record),
        _ => Endpoint::TimeWait(record),
    }
}

#[cfg(test)]
mod tests {
    use core::net::Ipv4Addr;

    use super::*;
    use tcp::{Codepoint, Flags, Options, SegmentIn, SeqNum};
    use types::Instant;

    fn embryo(flow: Flow) -> Embryo {
        let syn = SegmentIn {
            seq: SeqNum::new(7),
            ack: SeqNum::new(0),
            flags: Flags::SYN,
            window: 0xffff,
            urgent: 0,
            ecn: Codepoint::NotEct,
            options: Options::default(),
            text: &[],
        };
        let (config, iss) = (tcp::Config::default(), SeqNum::new(1));
        let half_open = HalfOpen::new(&syn, &config, iss, 0xffff, Instant::ZERO);
        let (listener, timer) = (ListenerId(1), Timer::default());
        Embryo { half_open, flow, listener, blocked: false, timer }
    }

    fn remains(port: u16) -> Remains {
        let config = tcp::Config::default();
        let tcb = tcp::Tcb::connect(&config, SeqNum::new(1), Instant::ZERO);
        let address = Ipv4Addr::LOCALHOST;
        let flow =
            Flow { local_addr: address, remote_addr: address, local_port: 80, remote_port: port };
        let time_wait = TimeWait::new(&tcb, Instant::ZERO);
        Remains { time_wait, flow, timer: Timer::default() }
    }

    #[test]
    fn the_oldest_time_wait_makes_room() {
        let (mut flows, sockets) = (Flows::new([1; 16]), Sockets::default());
        let mut timers = Timers::default();
        let mut evicted = 0;
        for port in 1..=1_000 {
            let _ = flows.add_remains(remains(port), &sockets).unwrap();
            evicted += usize::from(flows.evict_remains(100, &mut timers));
        }
        assert_eq!((flows.remains.len(), flows.len(), evicted), (100, 100, 900));
        let is_there = |port| flows.find(&remains(port).flow, &sockets).is_some();
        assert!(!is_there(900) && is_there(901));
        assert_eq!(flows.oldest.len(), 100);
    }

    /// Flows as somebody chooses them who knows the secret: both buckets of each are among sixteen.
    #[test]
    fn a_handshake_for_which_there_is_no_place_leaves_nothing() {
        let (mut flows, sockets) = (Flows::new([1; 16]), Sockets::default());
        let hasher = flows.hasher;
        let is_crowded = |flow: &Flow| {
            let hash = hasher.hash(flow);
            [hash, hash >> 24].iter().all(|bucket| bucket % 64 == 0)
        };
        let any = (0_u32..).map(|n| Flow { remote_addr: n.into(), ..remains(1).flow });
        let mut crowd = any.filter(is_crowded);
        let too_many = crowd.find(|flow| flows.add_embryo(embryo(*flow), &sockets).is_err());
        let flow = too_many.unwrap();
        let added = flows.add_embryo(embryo(flow), &sockets);
        assert_eq!(added, Err(DropReason::TcpTableFull));
        assert_eq!(flows.find(&flow, &sockets), None);
        assert_eq!(flows.embryos.len(), flows.len());
    }
}
