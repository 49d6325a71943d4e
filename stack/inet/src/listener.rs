//! Listeners of one worker: who accepts at an address, and how many may wait.

use core::net::{IpAddr, Ipv4Addr, SocketAddr};

use hashbrown::HashMap;

use crate::command::ListenerId;
use crate::limits::LISTENERS_MAX;
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
    waiting: u32,
}

impl Listener {
    /// Takes a place in the backlog if one is free.
    pub(crate) fn take_place(&mut self) -> bool {
        let free = self.waiting < self.backlog;
        self.waiting += u32::from(free);
        free
    }

    /// Gives a place back.
    pub(crate) fn give_place(&mut self) {
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
        let listener = Listener { client, options, local, backlog: backlog.max(1), waiting: 0 };
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
