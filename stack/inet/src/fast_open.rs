//! TCP Fast Open (RFC 7413): what a worker remembers of servers, and which of its own connections
//! began with text on the SYN.

use core::net::IpAddr;
use std::collections::VecDeque;

use hashbrown::HashMap;
use tcp::isn::Secret;
use tcp::{FastOpenCookie, FastOpenLesson, FastOpenMemory, SegmentIn};
use types::{FlowKey, Instant};

use crate::command::ListenerId;
use crate::flow::Flow;
use crate::limits::{FAST_OPEN_BLACKHOLE, FAST_OPEN_SERVERS_MAX};
use crate::network::TcpSettings;
use crate::socket::SocketId;
use crate::worker::Worker;

/// What a connection attempt may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Advice {
    /// Text may go with the SYN.
    Use(FastOpenMemory),
    /// Ask for a cookie.
    Ask,
    /// A plain SYN: the path to this server eats others.
    Avoid,
}

#[derive(Clone, Copy, Debug)]
enum Server {
    Known(FastOpenMemory),
    Blackhole { until: Instant },
}

/// What is remembered of servers; the oldest is forgotten first.
#[derive(Debug, Default)]
pub(crate) struct Servers {
    by_address: HashMap<IpAddr, Server>,
    order: VecDeque<IpAddr>,
}

impl Servers {
    /// What to do with the next SYN to this server.
    #[must_use]
    pub(crate) fn advice(&self, server: IpAddr, now: Instant) -> Advice {
        match self.by_address.get(&server) {
            Some(Server::Known(memory)) => Advice::Use(*memory),
            Some(Server::Blackhole { until }) if now < *until => Advice::Avoid,
            Some(Server::Blackhole { .. }) | None => Advice::Ask,
        }
    }

    /// A connection attempt has taught something.
    pub(crate) fn learn(&mut self, server: IpAddr, lesson: FastOpenLesson, now: Instant) {
        let what = match lesson {
            FastOpenLesson::Cookie(memory) => Server::Known(memory),
            FastOpenLesson::Blackhole => Server::Blackhole { until: now + FAST_OPEN_BLACKHOLE },
        };
        if self.by_address.insert(server, what).is_none() {
            self.order.push_back(server);
        }
        if self.order.len() > FAST_OPEN_SERVERS_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            let _ = self.by_address.remove(&oldest);
        }
    }
}

/// A worker's part in Fast Open.
#[derive(Debug, Default)]
pub(crate) struct FastOpen {
    /// As a client.
    pub(crate) servers: Servers,
    /// Connections whose handshake is not complete but whose text was taken, and their listeners.
    pub(crate) unproven: HashMap<SocketId, ListenerId>,
}

impl Worker {
    /// The SYN has a cookie of ours, and the listener takes text on SYNs.
    pub(crate) fn may_fast_open(
        &mut self,
        flow: &Flow,
        listener: ListenerId,
        syn: &SegmentIn<'_>,
        now: Instant,
    ) -> bool {
        let Some(cookie) = syn.options.fast_open.filter(|cookie| !cookie.is_request()) else {
            return false;
        };
        let Some(entry) = self.listeners.get_mut(listener) else { return false };
        let limit = entry.inherited.preset.fast_open_limit();
        let (secret, time) = fast_open_secret(&self.out.network.tcp, self.secret, now);
        let FlowKey { local_addr, remote_addr, .. } = self.flows.key(flow);
        limit > 0
            && !self.flows.is_full()
            && cookie.is_valid(&secret, local_addr, remote_addr, time)
            && entry.engine.fast_opened(limit, now)
    }

    /// The cookie for a client that asks.
    pub(crate) fn fast_open_cookie(&self, flow: &Flow, now: Instant) -> FastOpenCookie {
        let key = self.flows.key(flow);
        let (secret, time) = fast_open_secret(&self.out.network.tcp, self.secret, now);
        FastOpenCookie::generate(&secret, key.local_addr, key.remote_addr, time)
    }

    /// The peer of a connection that began with text on its SYN has been heard again, or the
    /// connection is gone. `reset_at`: the peer has reset it now.
    pub(crate) fn fast_open_proven(&mut self, id: SocketId, reset_at: Option<Instant>) {
        if self.fast_open.unproven.is_empty() {
            return;
        }
        if let Some(listener) = self.fast_open.unproven.remove(&id)
            && let Some(entry) = self.listeners.get_mut(listener)
        {
            match reset_at {
                Some(now) => entry.engine.fast_open_reset(now),
                None => entry.engine.fast_open_ended(),
            }
        }
    }

    /// A connection attempt is over: what it taught is for the next one.
    pub(crate) fn fast_open_lesson(&mut self, id: SocketId, now: Instant) {
        let Some(stream) = self.sockets.stream_mut(id) else { return };
        let flow = stream.flow;
        if let Some(lesson) = stream.tcb.take_fast_open_lesson() {
            let server = self.flows.key(&flow).remote_addr;
            self.fast_open.servers.learn(server, lesson, now);
        }
    }
}

/// What cookies are made with, and of what time. An operator's key makes the same ones at any time and
/// on any host: changing it is his business.
fn fast_open_secret(settings: &TcpSettings, own: Secret, now: Instant) -> (Secret, Instant) {
    settings.fast_open_key.map_or((own, now), |key| (Secret(key), Instant::ZERO))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn memory() -> FastOpenMemory {
        FastOpenMemory { cookie: FastOpenCookie::parse(&[7; 8]).unwrap(), mss: 1460 }
    }

    #[test]
    fn a_cookie_is_used_and_a_blackhole_avoided_for_an_hour() {
        let mut servers = Servers::default();
        let (server, now) = (IpAddr::from([10, 0, 0, 1]), Instant::from_millis(5));
        assert_eq!(servers.advice(server, now), Advice::Ask);
        servers.learn(server, FastOpenLesson::Cookie(memory()), now);
        assert_eq!(servers.advice(server, now), Advice::Use(memory()));
        servers.learn(server, FastOpenLesson::Blackhole, now);
        assert_eq!(servers.advice(server, now), Advice::Avoid);
        assert_eq!(servers.advice(server, now + FAST_OPEN_BLACKHOLE), Advice::Ask);
    }

    #[test]
    fn the_oldest_server_is_forgotten_first() {
        let mut servers = Servers::default();
        let count = u32::try_from(FAST_OPEN_SERVERS_MAX).unwrap() + 10;
        let address = |n| IpAddr::from(core::net::Ipv4Addr::from_bits(0x0a00_0000 + n));
        for n in 0..count {
            servers.learn(address(n), FastOpenLesson::Cookie(memory()), Instant::ZERO);
        }
        assert_eq!(servers.by_address.len(), FAST_OPEN_SERVERS_MAX);
        assert_eq!(servers.advice(address(9), Instant::ZERO), Advice::Ask);
        assert_eq!(servers.advice(address(10), Instant::ZERO), Advice::Use(memory()));
    }
}
