//! Hosts, links and one queue of events in virtual time.

use core::cmp::Reverse;
use core::net::Ipv4Addr;
use core::time::Duration;
use std::collections::{BTreeMap, BinaryHeap};

use types::Instant;

use crate::app::Plan;
use crate::host::{Host, HostSettings, Outbox, Owner};
use crate::link::{Fate, Link, LinkSettings};
use crate::packet;
use crate::random::Random;
use crate::socket::SocketId;
use crate::trace::Trace;

/// A host's number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct HostId(pub usize);

/// A link's number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LinkId(pub usize);

#[derive(Debug)]
enum Event {
    Packet(Vec<u8>),
    Timer { owner: Owner, at: Instant },
}

/// Events at one instant happen in the order in which they were scheduled.
#[derive(Debug)]
struct Scheduled {
    at: Instant,
    serial: u64,
    host: usize,
    event: Event,
}

impl PartialEq for Scheduled {
    fn eq(&self, other: &Self) -> bool {
        self.serial == other.serial
    }
}

impl Eq for Scheduled {}

impl PartialOrd for Scheduled {
    fn partial_cmp(&self, other: &Self) -> Option<core::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Scheduled {
    fn cmp(&self, other: &Self) -> core::cmp::Ordering {
        (self.at, self.serial).cmp(&(other.at, other.serial))
    }
}

/// A world. The same seed and the same calls give the same trace.
#[derive(Debug)]
pub struct World {
    now: Instant,
    /// The stacks.
    pub hosts: Vec<Host>,
    /// The links.
    pub links: Vec<Link>,
    /// What was seen on the links.
    pub trace: Trace,
    /// Events so far.
    pub events: u64,
    routes: BTreeMap<(usize, Ipv4Addr), usize>,
    queue: BinaryHeap<Reverse<Scheduled>>,
    serial: u64,
    outbox: Outbox,
    random: Random,
}

impl World {
    /// An empty world. Its clock begins somewhere, so that nothing depends on zero.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        Self {
            now: Instant::from_millis(1 + random.below(1 << 32)),
            hosts: Vec::new(),
            links: Vec::new(),
            trace: Trace::default(),
            events: 0,
            routes: BTreeMap::new(),
            queue: BinaryHeap::new(),
            serial: 0,
            outbox: Outbox::default(),
            random,
        }
    }

    /// The world's time.
    #[must_use]
    pub const fn now(&self) -> Instant {
        self.now
    }

    /// A random number generator of its own for the caller.
    pub fn fork(&mut self) -> Random {
        Random::new(self.random.bits())
    }

    /// Adds a stack.
    pub fn add_host(&mut self, address: Ipv4Addr, settings: HostSettings) -> HostId {
        let seed = self.random.bits();
        self.hosts.push(Host::new(address, settings, seed));
        HostId(self.hosts.len() - 1)
    }

    /// Adds a link from one host to another.
    pub fn add_link(&mut self, from: HostId, to: HostId, settings: LinkSettings) -> LinkId {
        let link = self.links.len();
        self.links.push(Link::new(to.0, settings, self.random.bits()));
        let _ = self.routes.insert((from.0, self.hosts[to.0].address), link);
        LinkId(link)
    }

    /// Packets from one host to another take a link that exists and ends there.
    pub fn add_route(&mut self, from: HostId, to: HostId, link: LinkId) {
        let _ = self.routes.insert((from.0, self.hosts[to.0].address), link.0);
    }

    /// A client on `from` connects to `to`.
    pub fn connect(&mut self, from: HostId, to: HostId, port: u16, plan: Plan) -> SocketId {
        let address = self.hosts[to.0].address;
        let host = &mut self.hosts[from.0];
        let id = host.connect((address, port), plan, self.now + host.skew);
        self.exhale(from.0);
        id
    }

    /// A host's clock leaps forward.
    pub fn jump(&mut self, host: HostId, leap: Duration) {
        let stack = &mut self.hosts[host.0];
        let now = self.now + stack.skew + leap;
        stack.jump(leap, now);
        self.exhale(host.0);
    }

    /// Packets from nowhere arrive at a host, as one burst.
    pub fn inject<'a>(&mut self, host: HostId, packets: impl Iterator<Item = &'a [u8]>) {
        let stack = &mut self.hosts[host.0];
        for packet in packets {
            self.events += 1;
            stack.input(packet, self.now + stack.skew);
        }
        self.exhale(host.0);
    }

    /// Nothing will happen any more.
    #[must_use]
    pub fn is_still(&self) -> bool {
        self.queue.is_empty()
    }

    /// Events that wait: packets on links and timers.
    #[must_use]
    pub fn scheduled(&self) -> usize {
        self.queue.len()
    }

    /// Gives back memory that is kept to be used again.
    pub fn trim(&mut self) {
        self.queue.shrink_to_fit();
        self.outbox = Outbox::default();
        self.hosts.iter_mut().for_each(Host::trim);
    }

    /// Everything up to `end` happens, and time is `end` then.
    pub fn run_until(&mut self, end: Instant) {
        while self.step(end) {}
        self.now = self.now.max(end);
    }

    /// The next thing before or at `end` happens. `false`: there is none.
    pub fn step(&mut self, end: Instant) -> bool {
        let Some(first) = self.pop(|next| next.at <= end) else { return false };
        let (at, host) = (first.at, first.host);
        self.now = self.now.max(at);
        self.happen(first);
        // What arrives at a host at one instant is one burst.
        while let Some(more) = self.pop(|next| next.at == at && next.host == host) {
            self.happen(more);
        }
        self.exhale(host);
        true
    }

    fn pop(&mut self, wanted: impl Fn(&Scheduled) -> bool) -> Option<Scheduled> {
        let Reverse(next) = self.queue.peek()?;
        if wanted(next) { self.queue.pop().map(|Reverse(next)| next) } else { None }
    }

    fn happen(&mut self, scheduled: Scheduled) {
        self.events += 1;
        let host = &mut self.hosts[scheduled.host];
        let now = self.now + host.skew;
        match scheduled.event {
            Event::Packet(bytes) => {
                host.input(&bytes, now);
                self.outbox.spare.push(bytes);
            }
            Event::Timer { owner, at } => host.timer(owner, at, now),
        }
    }

    fn exhale(&mut self, host: usize) {
        let stack = &mut self.hosts[host];
        let skew = stack.skew;
        stack.exhale(self.now + skew, &mut self.outbox);
        let mut alarms = core::mem::take(&mut stack.alarms);
        for (at, owner) in alarms.drain(..) {
            let event = Event::Timer { owner, at };
            self.schedule((at - skew).max(self.now), host, event);
        }
        self.hosts[host].alarms = alarms;
        let mut packets = core::mem::take(&mut self.outbox.packets);
        for bytes in packets.drain(..) {
            self.send(host, bytes);
        }
        self.outbox.packets = packets;
    }

    fn send(&mut self, from: usize, mut bytes: Vec<u8>) {
        let route = (from, packet::destination(&bytes));
        let Some(&number) = self.routes.get(&route) else {
            self.outbox.spare.push(bytes);
            return;
        };
        let link = &mut self.links[number];
        let fate = link.carry(&mut bytes, self.now);
        self.trace.packet(self.now, number, &bytes, fate);
        match fate {
            Fate::Arrives(first, second) => {
                let to = link.to;
                let copy = second.map(|at| {
                    let mut copy = self.outbox.spare.pop().unwrap_or_default();
                    copy.clone_from(&bytes);
                    link.damage(&mut copy);
                    (at, copy)
                });
                link.damage(&mut bytes);
                self.schedule(first, to, Event::Packet(bytes));
                if let Some((at, copy)) = copy {
                    self.schedule(at, to, Event::Packet(copy));
                }
            }
            Fate::Lost | Fate::Overflow => self.outbox.spare.push(bytes),
            Fate::TooBig(mtu) => {
                let message = packet::too_big(&bytes, mtu);
                let at = self.now + link.settings.delay;
                self.schedule(at, from, Event::Packet(message));
                self.outbox.spare.push(bytes);
            }
        }
    }

    fn schedule(&mut self, at: Instant, host: usize, event: Event) {
        self.serial += 1;
        self.queue.push(Reverse(Scheduled { at, serial: self.serial, host, event }));
    }
}
