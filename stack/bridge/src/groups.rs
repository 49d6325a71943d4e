//! Which ports have listeners to a group of IP, and which lead to routers (RFC 4541).
//!
//! ```text
//!   report by a port ──► report(): the port has the group for a while
//!   query by a port  ──► query(): a router is there; what is asked about goes soon unless somebody answers
//!   a packet         ──► listeners(): some ports, or nothing: then the frame goes everywhere
//! ```
//! Who is not known to be listened to is for everybody: without anybody who asks, listeners don't go on answering.

use core::net::IpAddr;
use core::time::Duration;

use hashbrown::HashTable;
use types::Instant;

use crate::Secret;
use crate::limits::{GROUPS_MAX, LAST_MEMBER_QUERIES, MEMBERSHIP_TIME, QUERIER_TIME, SWEEP_EVERY};

#[derive(Clone, Debug)]
struct Group {
    address: IpAddr,
    /// Ports with listeners, and up to when.
    ports: Vec<(u16, Instant)>,
}

/// Somebody asks regularly.
#[derive(Clone, Copy, Debug)]
struct Asking {
    /// When all listeners have answered him for the first time.
    answered: Instant,
    last: Instant,
}

/// Somebody asks who listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asked {
    /// He asks about IPv6.
    pub inet6: bool,
    /// About this group; `None`: about all.
    pub group: Option<IpAddr>,
    /// Answers are spread over this time.
    pub max_response: Duration,
}

/// What a report has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    /// Next to nothing: that there are listeners was heard a moment ago.
    Known,
    /// The other workers are to hear of it.
    News,
    /// There are as many groups as may be.
    Refused,
}

/// A port that has listeners, for listings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listening {
    /// To this group; `None`: a router is there.
    pub group: Option<IpAddr>,
    /// The port.
    pub port: u16,
    /// It is forgotten in so long.
    pub left: Duration,
}

/// Groups and routers of a bridge.
#[derive(Debug)]
pub struct Groups {
    secret: Secret,
    groups: HashTable<Group>,
    routers: Vec<(u16, Instant)>,
    asking: [Option<Asking>; 2],
    swept: Instant,
}

/// Ports that packets to a group are for.
#[derive(Clone, Copy, Debug)]
pub struct Listeners<'a> {
    ports: &'a [(u16, Instant)],
    routers: &'a [(u16, Instant)],
    now: Instant,
}

impl Listeners<'_> {
    /// This port is one of them.
    #[must_use]
    pub fn has(&self, port: u16) -> bool {
        has(self.ports, port, self.now) || has(self.routers, port, self.now)
    }
}

impl Groups {
    /// Nobody listens yet.
    #[must_use]
    pub fn new(secret: Secret) -> Self {
        let (groups, routers) = (HashTable::new(), Vec::new());
        Self { secret, groups, routers, asking: [None; 2], swept: Instant::ZERO }
    }

    /// Somebody behind this port listens to a group.
    pub fn report(&mut self, address: IpAddr, port: u16, now: Instant) -> Heard {
        let until = now + MEMBERSHIP_TIME;
        if let Some(group) =
            self.groups.find_mut(hash(self.secret, address), |g| g.address == address)
        {
            let Some((_, expires)) = group.ports.iter_mut().find(|(there, _)| *there == port)
            else {
                group.ports.push((port, until));
                return Heard::News;
            };
            let was = core::mem::replace(expires, until);
            let fresh = was.since(now) > MEMBERSHIP_TIME.saturating_sub(SWEEP_EVERY);
            return if fresh { Heard::Known } else { Heard::News };
        }
        if self.groups.len() >= GROUPS_MAX && now.since(self.swept) >= SWEEP_EVERY {
            self.swept = now;
            self.sweep(now);
        }
        if self.groups.len() >= GROUPS_MAX {
            return Heard::Refused;
        }
        let secret = self.secret;
        let group = Group { address, ports: vec![(port, until)] };
        let _ =
            self.groups.insert_unique(hash(secret, address), group, |g| hash(secret, g.address));
        Heard::News
    }

    /// Somebody asks: behind a port, or this host itself.
    pub fn query(&mut self, asked: &Asked, port: Option<u16>, now: Instant) {
        // Who asks about one group does not hear of the others.
        if asked.group.is_none()
            && let Some(asking) = self.asking.get_mut(usize::from(asked.inet6))
        {
            let goes_on = asking.filter(|asking| now.since(asking.last) < QUERIER_TIME);
            let answered = goes_on.map_or(now + asked.max_response, |asking| asking.answered);
            *asking = Some(Asking { answered, last: now });
        }
        // Also of a bridge in the place of a router, which asks without an address (RFC 4541 2.1.1 would not have it): who
        // listens behind it is told to it alone.
        if let Some(port) = port {
            let until = now + QUERIER_TIME;
            match self.routers.iter_mut().find(|(there, _)| *there == port) {
                Some((_, expires)) => *expires = until,
                None => self.routers.push((port, until)),
            }
        }
        let Some(address) = asked.group else { return };
        if let Some(group) =
            self.groups.find_mut(hash(self.secret, address), |g| g.address == address)
        {
            let soon = now + asked.max_response.saturating_mul(LAST_MEMBER_QUERIES);
            // Those who have answered since are known to listen: another worker may have heard the question earlier.
            let answered = now + MEMBERSHIP_TIME;
            let asked = group.ports.iter_mut().filter(|(_, expires)| *expires <= answered);
            asked.for_each(|(_, expires)| *expires = soon.min(*expires));
        }
    }

    /// The ports that packets to a group are for; `None`: all.
    #[must_use]
    pub fn listeners(&self, address: IpAddr, now: Instant) -> Option<Listeners<'_>> {
        let asking = self.asking.get(usize::from(address.is_ipv6())).copied().flatten()?;
        if now.since(asking.last) >= QUERIER_TIME || asking.answered > now {
            return None;
        }
        let group = self.groups.find(hash(self.secret, address), |g| g.address == address)?;
        let known = group.ports.iter().any(|(_, expires)| *expires > now);
        known.then_some(Listeners { ports: &group.ports, routers: &self.routers, now })
    }

    /// The ports that reports are for: those of routers. `None`: none is known.
    #[must_use]
    pub fn routers(&self, now: Instant) -> Option<Listeners<'_>> {
        let known = self.routers.iter().any(|(_, expires)| *expires > now);
        known.then_some(Listeners { ports: &[], routers: &self.routers, now })
    }

    /// Forgets what was heard at a port.
    pub fn flush_port(&mut self, port: u16) {
        self.routers.retain(|(there, _)| *there != port);
        self.groups.retain(|group| {
            group.ports.retain(|(there, _)| *there != port);
            !group.ports.is_empty()
        });
    }

    /// Forgets all.
    pub fn flush(&mut self) {
        self.groups.clear();
        self.routers.clear();
        self.asking = [None; 2];
    }

    fn sweep(&mut self, now: Instant) {
        self.groups.retain(|group| {
            group.ports.retain(|(_, expires)| *expires > now);
            !group.ports.is_empty()
        });
    }

    /// All that is known now.
    pub fn rows(&self, now: Instant) -> impl Iterator<Item = Listening> + '_ {
        let row = move |group, (port, expires): (u16, Instant)| {
            (expires > now).then(|| Listening { group, port, left: expires.since(now) })
        };
        let routers = self.routers.iter().filter_map(move |router| row(None, *router));
        let groups = self.groups.iter().flat_map(move |group| {
            group.ports.iter().filter_map(move |port| row(Some(group.address), *port))
        });
        routers.chain(groups)
    }
}

fn has(ports: &[(u16, Instant)], port: u16, now: Instant) -> bool {
    ports.iter().any(|(there, expires)| *there == port && *expires > now)
}

fn hash(secret: Secret, address: IpAddr) -> u64 {
    match address {
        IpAddr::V4(v4) => secret.mix(v4.to_bits().into()),
        IpAddr::V6(v6) => {
            let [a, b, c, d, e, f, g, h, rest @ ..] = v6.octets();
            let high = u64::from_be_bytes([a, b, c, d, e, f, g, h]);
            secret.mix(secret.mix(high) ^ u64::from_be_bytes(rest))
        }
    }
}

#[cfg(test)]
mod tests;
