//! Listeners of one worker: who accepts at an address, and how many may wait.
//!
//! Sockets with `SO_REUSEPORT` listen at one address as a group; each flow has its member.

use core::hash::Hash;
use core::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::collections::VecDeque;

use hashbrown::HashMap;

use crate::command::{ListenerId, SocketOption};
use crate::device::Device;
use crate::flow::Flow;
use crate::limits::LISTENERS_MAX;
use crate::option::Inherited;

/// One listener.
#[derive(Debug)]
pub(crate) struct Listener {
    /// Owner of the accepted connections.
    pub client: u16,
    /// Options they inherit.
    pub inherited: Inherited,
    /// Where it listens.
    pub local: SocketAddr,
    /// Who may wait, and how many do.
    pub engine: tcp::Listener,
    /// Half-open connections whose handshake found the accept queue full.
    blocked: VecDeque<Flow>,
}

impl Listener {
    /// Remembers a connection for which the accept queue had no room.
    pub(crate) fn block(&mut self, flow: Flow) {
        if self.blocked.len() < tcp::limits::HALF_OPEN_MAX as usize {
            self.blocked.push_back(flow);
        }
    }

    /// The connection that was refused first; it may have given up since.
    pub(crate) fn unblock(&mut self) -> Option<Flow> {
        self.blocked.pop_front()
    }
}

/// All listeners of a worker.
#[derive(Debug, Default)]
pub(crate) struct Listeners {
    by_address: HashMap<SocketAddr, Vec<ListenerId>>,
    /// Those at every IPv6 address who take connections over IPv4, too (RFC 3493 3.7), by port.
    of_both: HashMap<u16, Vec<ListenerId>>,
    /// Some have been bound to an interface.
    any_bound: bool,
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
        inherited: Inherited,
    ) -> bool {
        self.any_bound |= inherited.socket.device.interface().is_some();
        if let Some(listener) = self.by_id.get_mut(&id) {
            listener.engine.set_backlog(backlog);
            listener.inherited = inherited;
            return true;
        }
        if self.by_id.len() >= LISTENERS_MAX {
            return false;
        }
        if local.is_ipv6() && local.ip().is_unspecified() && !inherited.socket.v6_only {
            self.of_both.entry(local.port()).or_default().push(id);
        }
        let listener = Listener {
            client,
            inherited,
            local,
            engine: tcp::Listener::new(backlog),
            blocked: VecDeque::new(),
        };
        let _ = self.by_id.insert(id, listener);
        self.by_address.entry(local).or_default().push(id);
        true
    }

    /// The listener for a flow to a local address: at the exact one, else one bound to any address, of
    /// IPv4 or of both.
    /// `hash` is the flow's: it chooses the member of a group, and nobody outside can.
    #[must_use]
    pub(crate) fn find(&self, local: SocketAddr, interface: u16, hash: u64) -> Option<ListenerId> {
        if self.any_bound {
            return self.find_by(local, interface, hash);
        }
        let any = match local.ip() {
            IpAddr::V4(_) => SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), local.port()),
            IpAddr::V6(_) => SocketAddr::new(core::net::Ipv6Addr::UNSPECIFIED.into(), local.port()),
        };
        let both = || self.of_both.get(&local.port()).filter(|_| local.is_ipv4());
        let exact = self.by_address.get(&local).or_else(|| self.by_address.get(&any));
        let group = exact.or_else(both)?;
        let members = u64::try_from(group.len()).unwrap_or(1);
        let member = hash.checked_rem(members).and_then(|n| usize::try_from(n).ok())?;
        group.get(member).copied()
    }

    /// The same where some are bound to interfaces: of those at one address they come first that are bound to
    /// this one.
    #[cold]
    fn find_by(&self, local: SocketAddr, interface: u16, hash: u64) -> Option<ListenerId> {
        let any = match local.is_ipv6() {
            false => SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), local.port()),
            true => SocketAddr::new(core::net::Ipv6Addr::UNSPECIFIED.into(), local.port()),
        };
        let both = self.of_both.get(&local.port()).filter(|_| local.is_ipv4());
        let member = |group: &[ListenerId], device: Option<u16>| {
            let is_its = |id: &&ListenerId| self.device_of(**id).interface() == device;
            let count = u64::try_from(group.iter().filter(is_its).count()).ok()?;
            let member = usize::try_from(hash.checked_rem(count)?).ok()?;
            group.iter().filter(is_its).nth(member).copied()
        };
        let groups = [self.by_address.get(&local), self.by_address.get(&any), both];
        groups
            .into_iter()
            .flatten()
            .find_map(|group| member(group, Some(interface)).or_else(|| member(group, None)))
    }

    /// The interface that a listener is bound to, and its table of routes.
    #[must_use]
    pub(crate) fn device_of(&self, id: ListenerId) -> Device {
        self.by_id.get(&id).map_or(Device::ANY, |listener| listener.inherited.socket.device)
    }

    /// Sets an option for connections to come.
    pub(crate) fn set_option(&mut self, id: ListenerId, option: SocketOption) {
        if let Some(listener) = self.by_id.get_mut(&id) {
            listener.inherited.set(option);
            self.any_bound |= listener.inherited.socket.device.interface().is_some();
        }
    }

    /// A SYN that replaces a connection in TIME-WAIT finds room here.
    #[must_use]
    pub(crate) fn has_room(&self, id: ListenerId) -> bool {
        self.by_id.get(&id).is_some_and(|listener| listener.engine.has_room())
    }

    /// Looks a listener up.
    pub(crate) fn get_mut(&mut self, id: ListenerId) -> Option<&mut Listener> {
        self.by_id.get_mut(&id)
    }

    /// Removes a listener.
    pub(crate) fn remove(&mut self, id: ListenerId) -> Option<Listener> {
        let listener = self.by_id.remove(&id)?;
        leave(&mut self.by_address, &listener.local, id);
        leave(&mut self.of_both, &listener.local.port(), id);
        Some(listener)
    }
}

/// Takes a listener out of its group.
fn leave<K: Hash + Eq>(groups: &mut HashMap<K, Vec<ListenerId>>, of: &K, id: ListenerId) {
    let Some(group) = groups.get_mut(of) else { return };
    group.retain(|member| *member != id);
    if group.is_empty() {
        let _ = groups.remove(of);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::net::Ipv6Addr;

    fn flow() -> Flow {
        let address = Ipv4Addr::LOCALHOST;
        Flow { local_addr: address, remote_addr: address, local_port: 80, remote_port: 1 }
    }

    fn listener(backlog: u32) -> Listeners {
        let mut listeners = Listeners::default();
        let local = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 80));
        assert!(listeners.insert(ListenerId(1), 0, local, backlog, Inherited::default()));
        listeners
    }

    #[test]
    fn a_burst_of_handshakes_is_not_limited_by_a_small_backlog() {
        let mut listeners = listener(5);
        let listener = listeners.get_mut(ListenerId(1)).unwrap();
        for _ in 0..100 {
            listener.engine.opened();
        }
        assert_eq!((0..100).filter(|_| listener.engine.established()).count(), 6);
        listener.block(flow());
        assert_eq!(listener.unblock(), Some(flow()));
        assert_eq!(listener.unblock(), None);
        (0..2).for_each(|_| listener.engine.left());
        assert_eq!((0..3).filter(|_| listener.engine.established()).count(), 2);
    }

    #[test]
    fn the_exact_address_wins_over_any() {
        let mut listeners = listener(5);
        let exact = SocketAddr::from(([10, 0, 0, 1], 80));
        assert!(listeners.insert(ListenerId(2), 0, exact, 5, Inherited::default()));
        assert_eq!(listeners.find(exact, 1, 0), Some(ListenerId(2)));
        assert_eq!(
            listeners.find(SocketAddr::from(([10, 0, 0, 2], 80)), 1, 0),
            Some(ListenerId(1))
        );
        assert!(listeners.remove(ListenerId(2)).is_some());
        assert_eq!(listeners.find(exact, 1, 0), Some(ListenerId(1)));
    }

    #[test]
    fn a_listener_at_every_ipv6_address_takes_ipv4_unless_it_says_no() {
        let every = |port| SocketAddr::from((Ipv6Addr::UNSPECIFIED, port));
        let mut listeners = Listeners::default();
        let mut only = Inherited::default();
        only.set(SocketOption::V6Only(true));
        assert!(listeners.insert(ListenerId(1), 0, every(80), 5, Inherited::default()));
        assert!(listeners.insert(ListenerId(2), 0, every(81), 5, only));
        let at =
            |listeners: &Listeners, address: &str| listeners.find(address.parse().unwrap(), 1, 0);
        assert_eq!(at(&listeners, "10.0.0.1:80"), Some(ListenerId(1)));
        assert_eq!(at(&listeners, "[fe80::1]:80"), Some(ListenerId(1)));
        assert_eq!(at(&listeners, "10.0.0.1:81"), None);
        assert_eq!(at(&listeners, "[fe80::1]:81"), Some(ListenerId(2)));
        assert!(listeners.remove(ListenerId(1)).is_some());
        assert_eq!(at(&listeners, "10.0.0.1:80"), None);
    }

    #[test]
    fn who_is_bound_to_an_interface_comes_first_there_and_never_elsewhere() {
        let mut listeners = listener(5);
        let local = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 80));
        let exact = SocketAddr::from(([10, 0, 0, 1], 80));
        let mut bound = Inherited::default();
        bound.set(SocketOption::Device(Device::of(2)));
        assert!(listeners.insert(ListenerId(2), 0, local, 5, bound));
        assert_eq!(listeners.find(exact, 2, 0), Some(ListenerId(2)));
        assert_eq!(listeners.find(exact, 1, 0), Some(ListenerId(1)));
        assert_eq!(listeners.device_of(ListenerId(2)), Device::of(2));
        assert!(listeners.insert(ListenerId(3), 0, exact, 5, Inherited::default()));
        assert_eq!(listeners.find(exact, 2, 0), Some(ListenerId(3)), "at the address itself");
        assert!(listeners.remove(ListenerId(3)).is_some());
        assert!(listeners.remove(ListenerId(1)).is_some());
        assert_eq!(listeners.find(exact, 1, 0), None);
        listeners.set_option(ListenerId(2), SocketOption::Device(Device::of(1)));
        assert_eq!(listeners.find(exact, 1, 0), Some(ListenerId(2)));
    }

    #[test]
    fn flows_are_shared_among_the_members_of_a_group() {
        let mut listeners = listener(5);
        let local = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 80));
        for id in 2..=4 {
            assert!(listeners.insert(ListenerId(id), 0, local, 5, Inherited::default()));
        }
        let at = |listeners: &Listeners, hash| listeners.find(local, 1, hash).unwrap().0;
        let found: Vec<u64> = (0..8).map(|hash| at(&listeners, hash)).collect();
        assert_eq!(found, [1, 2, 3, 4, 1, 2, 3, 4]);
        assert!(listeners.remove(ListenerId(2)).is_some());
        let found: Vec<u64> = (0..6).map(|hash| at(&listeners, hash)).collect();
        assert_eq!(found, [1, 3, 4, 1, 3, 4]);
    }
}
