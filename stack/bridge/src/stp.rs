//! Which ports form a tree: the rapid spanning tree protocol (IEEE 802.1D-2004 17), which speaks the older
//! one (802.1D-1998 8) with bridges that know no other.
//!
//! ```text
//!  a message ─┐                            ┌─ roles: who leads to the root, who from it, who nowhere
//!  a timer  ──┼──► what is known of a port ┼─ hand-shake: a port forwards at once if the other end agrees
//!  a link  ───┘                            └─ topology change: stations are forgotten
//!                        poll_transmit() · take_flushes() · state()
//! ```
//! Two things are more careful than the standard: a port that nobody agrees with waits for the forward delay
//! twice, not for two hellos, and so does a new one.

use core::time::Duration;
use std::collections::{BTreeMap, VecDeque};

use types::{Instant, MacAddr};
use wire::bpdu::Bpdu;

use crate::limits::{MESSAGES_MAX, ROUNDS_MAX};

mod flush;
mod port;
mod receive;
mod roles;
mod step;
mod transmit;

use flush::Flushes;
use port::{Info, Port};
pub use port::{PortConfig, PortRow, Role, State};

/// A priority and an address: the lower, the nearer to being the root.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BridgeId(pub u64);

impl BridgeId {
    /// Of a bridge.
    #[must_use]
    pub fn new(priority: u16, mac: MacAddr) -> Self {
        let [a, b, c, d, e, f] = mac.0;
        let [high, low] = priority.to_be_bytes();
        Self(u64::from_be_bytes([high, low, a, b, c, d, e, f]))
    }
}

/// What a bridge says of the root (17.5): the lower, the better.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Vector {
    root: BridgeId,
    cost: u32,
    bridge: BridgeId,
    port: u16,
}

/// The root's times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Times {
    message_age: Duration,
    max_age: Duration,
    hello: Duration,
    forward_delay: Duration,
}

/// What the operator has decided for a bridge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TreeConfig {
    /// Its priority.
    pub priority: u16,
    /// How long what is known counts (`maxage`).
    pub max_age: Duration,
    /// How often the root speaks (`hellotime`).
    pub hello: Duration,
    /// How long a port waits before it learns, and before it forwards (`fwddelay`).
    pub forward_delay: Duration,
    /// 802.1w, not the older protocol alone.
    pub rapid: bool,
}

impl Default for TreeConfig {
    /// IEEE 802.1D-2004 table 17-1.
    fn default() -> Self {
        Self {
            priority: 32768,
            max_age: Duration::from_secs(20),
            hello: Duration::from_secs(2),
            forward_delay: Duration::from_secs(15),
            rapid: true,
        }
    }
}

/// One bridge's part of the tree.
#[derive(Debug)]
pub struct Tree {
    mac: MacAddr,
    config: TreeConfig,
    ports: BTreeMap<u16, Port>,
    root: Vector,
    times: Times,
    root_port: Option<u16>,
    out: VecDeque<(u16, Bpdu)>,
    flushes: Flushes,
    changes: u64,
    /// Up to when everything is done.
    settled: Instant,
}

impl Tree {
    /// A bridge without ports: it is the root.
    #[must_use]
    pub fn new(mac: MacAddr, config: TreeConfig) -> Self {
        let id = BridgeId::new(config.priority, mac);
        Self {
            mac,
            config,
            ports: BTreeMap::new(),
            root: Vector { root: id, cost: 0, bridge: id, port: 0 },
            times: own_times(&config),
            root_port: None,
            out: VecDeque::new(),
            flushes: Flushes::default(),
            changes: 0,
            settled: Instant::ZERO,
        }
    }

    /// Its name among bridges.
    #[must_use]
    pub fn id(&self) -> BridgeId {
        BridgeId::new(self.config.priority, self.mac)
    }

    /// It has these settings already.
    #[must_use]
    pub fn is_set(&self, mac: MacAddr, config: TreeConfig) -> bool {
        (self.mac, self.config) == (mac, config)
    }

    /// Other settings, or another address.
    pub fn set(&mut self, mac: MacAddr, config: TreeConfig, now: Instant) {
        let version = config.rapid != self.config.rapid;
        (self.mac, self.config) = (mac, config);
        for port in self.ports.values_mut() {
            if version {
                port.begin(config.rapid, &config, now);
            }
            if port.info == Info::Mine {
                port.info = Info::Aged;
            }
        }
        self.settle(now);
    }

    /// A port comes, by a name of the caller's, or has other settings.
    pub fn set_port(&mut self, name: u16, config: PortConfig, now: Instant) {
        let (own, rapid) = (self.config, self.config.rapid);
        let port = self.ports.entry(name).or_insert_with(|| Port::new(config, now));
        if port.config.id() != config.id() && port.info != Info::Received {
            port.info = if port.info == Info::Disabled { Info::Disabled } else { Info::Aged };
        }
        let link = port.config.up != config.up;
        port.config = config;
        if link || (config.up && port.info == Info::Disabled) {
            port.begin(rapid, &own, now);
            port.info = if config.up { Info::Aged } else { Info::Disabled };
        }
        self.settle(now);
    }

    /// A port goes.
    pub fn remove_port(&mut self, name: u16, now: Instant) {
        if self.ports.remove(&name).is_some() {
            self.flushes.remove(name);
            self.settle(now);
        }
    }

    /// What a port may do.
    #[must_use]
    pub fn state(&self, name: u16) -> Option<State> {
        self.ports.get(&name).map(|port| port.state)
    }

    /// Its ports, by the caller's names.
    #[must_use]
    pub fn port_names(&self) -> Vec<u16> {
        self.ports.keys().copied().collect()
    }

    /// A message has come in by a port.
    pub fn bpdu_arrives(&mut self, name: u16, bpdu: &Bpdu, now: Instant) {
        self.receive(name, bpdu, now);
        self.settle(now);
    }

    /// Something may be due.
    pub fn timeout(&mut self, now: Instant) {
        for port in self.ports.values_mut() {
            if port.info == Info::Received && port.expires <= now {
                port.info = Info::Aged;
            }
        }
        self.settle(now);
    }

    /// When something is due.
    #[must_use]
    pub fn next_timeout(&self) -> Option<Instant> {
        let ports = self.ports.values().filter_map(|port| port.next_timeout(self.settled));
        ports.chain(self.flushes.next_timeout(self.settled)).min()
    }

    /// The next message to send, and by which port.
    pub fn poll_transmit(&mut self) -> Option<(u16, Bpdu)> {
        self.out.pop_front()
    }

    /// Ports whose stations are to be forgotten now.
    pub fn take_flushes(&mut self, now: Instant) -> Vec<u16> {
        self.flushes.take(now)
    }

    /// The root, what the way there costs, and the port it leads by.
    #[must_use]
    pub fn root(&self) -> (BridgeId, u32, Option<u16>) {
        (self.root.root, self.root.cost, self.root_port)
    }

    /// How often the topology has changed.
    #[must_use]
    pub fn changes(&self) -> u64 {
        self.changes
    }

    /// A port, for listings.
    #[must_use]
    pub fn row(&self, name: u16) -> Option<PortRow> {
        self.ports.get(&name).map(Port::row)
    }

    /// Roles, then each port's steps until none has any left, then messages.
    fn settle(&mut self, now: Instant) {
        self.elect(now);
        for _ in 0..ROUNDS_MAX {
            let names: Vec<u16> = self.ports.keys().copied().collect();
            let moved = names.into_iter().fold(false, |moved, name| self.step(name, now) | moved);
            if !moved {
                break;
            }
        }
        self.transmit(now);
        self.settled = now;
    }

    fn send(&mut self, name: u16, bpdu: Bpdu) {
        if self.out.len() < MESSAGES_MAX {
            self.out.push_back((name, bpdu));
        }
    }
}

/// The times of a bridge that is the root.
fn own_times(config: &TreeConfig) -> Times {
    Times {
        message_age: Duration::ZERO,
        max_age: config.max_age,
        hello: config.hello,
        forward_delay: config.forward_delay,
    }
}

#[cfg(test)]
mod tests;
