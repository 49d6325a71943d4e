//! Listeners of one worker: who accepts at an address, and how many may wait.

use core::net::{IpAddr, Ipv4Addr, SocketAddr};

use hashbrown::HashMap;

use crate::command::ListenerId;
use crate::limits::{HALF_OPEN_MAX, LISTENERS_MAX};
use crate::socket::Options;

/// One listener.
#[derive(Debug)]
pub(crate) struct Listener {
    /// Owner of the accepted connections.
    pub client: u16,
    /// Options they inherit.
    pub options: Options,
    /// Where it listens.
    pub local: SocketAddr,
    backlog: u32,
    /// Established, not yet accepted.
    waiting: u32,
    /// SYN received, handshake not complete.
    half_open: u32,
}

impl Listener {
    /// Linux's rule: one more than the backlog may wait to be accepted.
    fn has_room(&self) -> bool {
        self.waiting <= self.backlog
    }

    /// A SYN has arrived: takes a place for its half-open connection if there is one. While the
    /// accept queue is full no handshake is begun.
    pub(crate) fn begin(&mut self) -> bool {
        let free = self.has_room() && self.half_open < HALF_OPEN_MAX;
        self.half_open += u32::from(free);
        free
    }

    /// A handshake is complete: its connection moves to the accept queue if there is room. If not
    /// it stays half-open, and the peer's next segment tries again.
    pub(crate) fn establish(&mut self) -> bool {
        let free = self.has_room();
        if free {
            self.half_open = self.half_open.saturating_sub(1);
            self.waiting += 1;
        }
        free
    }

    /// A half-open connection is gone.
    pub(crate) fn abandon(&mut self) {
        self.half_open = self.half_open.saturating_sub(1);
    }

    /// A waiting connection has been accepted, or is gone.
    pub(crate) fn leave(&mut self) {
        self.waiting = self.waiting.saturating_sub(1);
    }
}

/// All listeners of a worker.
#[derive(Debug, Default)]
pub(crate) struct Listeners {
    by_address: HashMap<SocketAddr, ListenerId>,
    by_id: HashMap<ListenerId, Listener>,
}

impl Listeners {
    /// Adds a listener, or changes the backlog of one that is there. `false`: the table is full.
    pub(crate) fn insert(
        &mut self,
        id: ListenerId,
        client: u16,
        local: SocketAddr,
        backlog: u32,
        options: Options,
    ) -> bool {
        if let Some(listener) = self.by_id.get_mut(&id) {
            listener.backlog = backlog.max(1);
            return true;
        }
        if self.by_id.len() >= LISTENERS_MAX {
            return false;
        }
        let listener = Listener { client, options, local, backlog: backlog.max(1), waiting: 0, half_open: 0 };
        let _ = self.by_id.insert(id, listener);
        let _ = self.by_address.insert(local, id);
        true
    }

    /// The listener for a local address: the exact one, else one bound to any address.
    #[must_use]
    pub(crate) fn find(&self, local: SocketAddr) -> Option<ListenerId> {
        let any = match local.ip() {
            IpAddr::V4(_) => SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), local.port()),
            IpAddr::V6(_) => SocketAddr::new(core::net::Ipv6Addr::UNSPECIFIED.into(), local.port()),
        };
        self.by_address.get(&local).or_else(|| self.by_address.get(&any)).copied()
    }

    /// Looks a listener up.
    pub(crate) fn get_mut(&mut self, id: ListenerId) -> Option<&mut Listener> {
        self.by_id.get_mut(&id)
    }

    /// Removes a listener.
    pub(crate) fn remove(&mut self, id: ListenerId) -> Option<Listener> {
        let listener = self.by_id.remove(&id)?;
        if self.by_address.get(&listener.local) == Some(&id) {
            let _ = self.by_address.remove(&listener.local);
        }
        Some(listener)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listener(backlog: u32) -> Listeners {
        let mut listeners = Listeners::default();
        let local = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 80));
        assert!(listeners.insert(ListenerId(1), 0, local, backlog, Options::default()));
        listeners
    }

    #[test]
    fn a_burst_of_handshakes_is_not_limited_by_a_small_backlog() {
        let mut listeners = listener(5);
        let listener = listeners.get_mut(ListenerId(1)).unwrap();
        assert_eq!((0..100).filter(|_| listener.begin()).count(), 100);
        assert_eq!((0..100).filter(|_| listener.establish()).count(), 6);
        assert!(!listener.begin(), "nobody accepts: no new handshakes");
        listener.leave();
        assert!(listener.establish() && !listener.establish());
    }

    #[test]
    fn the_exact_address_wins_over_any() {
        let mut listeners = listener(5);
        let exact = SocketAddr::from(([10, 0, 0, 1], 80));
        assert!(listeners.insert(ListenerId(2), 0, exact, 5, Options::default()));
        assert_eq!(listeners.find(exact), Some(ListenerId(2)));
        assert_eq!(listeners.find(SocketAddr::from(([10, 0, 0, 2], 80))), Some(ListenerId(1)));
        assert!(listeners.remove(ListenerId(2)).is_some());
        assert_eq!(listeners.find(exact), Some(ListenerId(1)));
    }
}
