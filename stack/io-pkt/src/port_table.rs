//! Which local ports are taken, by whom, and who may share one.

use core::net::{IpAddr, SocketAddr};
use std::collections::HashMap;

use inet::Device;
use inet::command::Transport;
use rustix::io::Errno;

/// Who holds a port; chosen by the caller, unique.
pub(crate) type Owner = u64;

/// What a socket allows others at its port.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sharing {
    /// `SO_REUSEADDR`.
    pub(crate) address: bool,
    /// `SO_REUSEPORT`, with the user: the sockets of a group belong to one.
    pub(crate) port: Option<u32>,
    /// `IPV6_V6ONLY`: every address of IPv6 is none of IPv4.
    pub(crate) v6_only: bool,
    /// `SO_BINDTODEVICE`: what is bound to another interface is in nobody's way.
    pub(crate) device: Device,
}

#[derive(Clone, Copy, Debug)]
struct Bound {
    owner: Owner,
    address: IpAddr,
    sharing: Sharing,
    listening: bool,
    /// The peer of a connection that did not ask for the port.
    remote: Option<SocketAddr>,
}

/// Local ports of one stack.
#[derive(Debug, Default)]
pub(crate) struct PortTable {
    bound: HashMap<(Transport, u16), Vec<Bound>>,
}

impl PortTable {
    /// Binds a port. Linux's rule: two sockets may share one if their addresses differ, if both
    /// have `SO_REUSEADDR` and neither listens, or if both have `SO_REUSEPORT` and one user.
    ///
    /// # Errors
    /// `EADDRINUSE`.
    pub(crate) fn bind(
        &mut self,
        transport: Transport,
        local: SocketAddr,
        sharing: Sharing,
        owner: Owner,
    ) -> Result<(), Errno> {
        let entries = self.bound.entry((transport, local.port())).or_default();
        let clash = entries.iter().any(|other| {
            let same = meet((other.address, other.sharing), (local.ip(), sharing));
            let by_address = sharing.address && other.sharing.address && !other.listening;
            let by_port = sharing.port.is_some() && sharing.port == other.sharing.port;
            same && !by_address && !by_port
        });
        if clash {
            return Err(Errno::ADDRINUSE);
        }
        let address = local.ip();
        entries.push(Bound { owner, address, sharing, listening: false, remote: None });
        Ok(())
    }

    /// Notes the port that was chosen for a connection; see [`Self::is_free_for`].
    pub(crate) fn connect(
        &mut self,
        transport: Transport,
        local: SocketAddr,
        remote: SocketAddr,
        owner: Owner,
    ) {
        let sharing = Sharing { address: true, ..Sharing::default() };
        let (address, remote) = (local.ip(), Some(remote));
        let entry = Bound { owner, address, sharing, listening: false, remote };
        self.bound.entry((transport, local.port())).or_default().push(entry);
    }

    /// A connection to `remote` may get this port: nobody holds it but, for TCP, connections to
    /// other peers.
    #[must_use]
    pub(crate) fn is_free_for(
        &self,
        transport: Transport,
        port: u16,
        remote: Option<SocketAddr>,
    ) -> bool {
        let entries = self.bound.get(&(transport, port)).map_or(&[][..], Vec::as_slice);
        let other_peer =
            |entry: &Bound| remote.is_some() && entry.remote.is_some() && entry.remote != remote;
        match transport {
            Transport::Stream => entries.iter().all(other_peer),
            _ => entries.is_empty(),
        }
    }

    /// Says that a bound socket listens now.
    ///
    /// # Errors
    /// `EADDRINUSE` if another does at the same address that is not of its group.
    pub(crate) fn listen(&mut self, local: SocketAddr, owner: Owner) -> Result<(), Errno> {
        let key = (Transport::Stream, local.port());
        let entries = self.bound.get_mut(&key).ok_or(Errno::INVAL)?;
        let mine = entries.iter().find(|e| e.owner == owner).ok_or(Errno::INVAL)?;
        let (group, device) = (mine.sharing.port, mine.sharing.device);
        let taken = |e: &Bound| {
            let same_group = group.is_some() && e.sharing.port == group;
            let same_device = e.sharing.device.meets(device);
            e.listening && e.owner != owner && e.address == local.ip() && same_device && !same_group
        };
        if entries.iter().any(taken) {
            return Err(Errno::ADDRINUSE);
        }
        for entry in entries.iter_mut().filter(|e| e.owner == owner) {
            entry.listening = true;
        }
        Ok(())
    }

    /// A socket is bound to an interface, or no longer, after it was bound to a port.
    pub(crate) fn set_device(
        &mut self,
        transport: Transport,
        port: u16,
        owner: Owner,
        device: Device,
    ) {
        let entries = self.bound.get_mut(&(transport, port)).into_iter().flatten();
        entries.filter(|e| e.owner == owner).for_each(|e| e.sharing.device = device);
    }

    /// Says that a socket listens no longer; it stays bound.
    pub(crate) fn unlisten(&mut self, port: u16, owner: Owner) {
        let entries = self.bound.get_mut(&(Transport::Stream, port)).into_iter().flatten();
        entries.filter(|e| e.owner == owner).for_each(|e| e.listening = false);
    }

    /// Gives a port back.
    pub(crate) fn release(&mut self, transport: Transport, port: u16, owner: Owner) {
        let key = (transport, port);
        if let Some(entries) = self.bound.get_mut(&key) {
            entries.retain(|e| e.owner != owner);
            if entries.is_empty() {
                let _ = self.bound.remove(&key);
            }
        }
    }
}

/// Is there an address that both sockets would have? Every address of IPv6 is every one of IPv4, too,
/// unless a socket keeps to IPv6.
fn meet((one, of_one): (IpAddr, Sharing), (two, of_two): (IpAddr, Sharing)) -> bool {
    if !of_one.device.meets(of_two.device) {
        return false;
    }
    match (one, two) {
        (IpAddr::V6(v6), IpAddr::V4(_)) => v6.is_unspecified() && !of_one.v6_only,
        (IpAddr::V4(_), IpAddr::V6(v6)) => v6.is_unspecified() && !of_two.v6_only,
        _ => one == two || one.is_unspecified() || two.is_unspecified(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TCP: Transport = Transport::Stream;
    const REUSE: Sharing =
        Sharing { address: true, port: None, v6_only: false, device: Device::ANY };

    fn at(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn the_same_port_twice_only_by_linux_rules() {
        let mut table = PortTable::default();
        table.bind(TCP, at("0.0.0.0:80"), REUSE, 1).unwrap();
        let alone = Sharing::default();
        assert_eq!(table.bind(TCP, at("10.0.0.1:80"), alone, 2), Err(Errno::ADDRINUSE));
        table.bind(TCP, at("10.0.0.1:80"), REUSE, 2).unwrap();
        table.listen(at("0.0.0.0:80"), 1).unwrap();
        assert_eq!(table.bind(TCP, at("10.0.0.2:80"), REUSE, 3), Err(Errno::ADDRINUSE));
        table.unlisten(80, 1);
        table.bind(TCP, at("10.0.0.2:80"), REUSE, 3).unwrap();
        table.release(TCP, 80, 3);
        table.bind(Transport::Datagram, at("0.0.0.0:80"), alone, 4).unwrap();
        table.release(TCP, 80, 1);
        table.release(TCP, 80, 2);
        table.bind(TCP, at("0.0.0.0:80"), alone, 5).unwrap();
    }

    #[test]
    fn what_is_bound_to_another_interface_is_in_nobodys_way() {
        let mut table = PortTable::default();
        let by = |interface| Sharing { device: Device::of(interface), ..Sharing::default() };
        for (owner, interface) in [(1, 1), (2, 2)] {
            table.bind(TCP, at("0.0.0.0:80"), by(interface), owner).unwrap();
            table.listen(at("0.0.0.0:80"), owner).unwrap();
        }
        let anywhere = Sharing::default();
        assert_eq!(table.bind(TCP, at("0.0.0.0:80"), anywhere, 3), Err(Errno::ADDRINUSE));
        assert_eq!(table.bind(TCP, at("0.0.0.0:80"), by(1), 3), Err(Errno::ADDRINUSE));
        table.set_device(TCP, 80, 1, Device::of(3));
        table.bind(TCP, at("0.0.0.0:80"), by(1), 3).unwrap();
    }

    #[test]
    fn every_address_of_ipv6_is_every_one_of_ipv4_too() {
        let mut table = PortTable::default();
        let (alone, only) = (Sharing::default(), Sharing { v6_only: true, ..Sharing::default() });
        table.bind(TCP, at("[::]:80"), alone, 1).unwrap();
        assert_eq!(table.bind(TCP, at("10.0.0.1:80"), alone, 2), Err(Errno::ADDRINUSE));
        table.bind(TCP, at("[::]:81"), only, 3).unwrap();
        table.bind(TCP, at("0.0.0.0:81"), alone, 4).unwrap();
        assert_eq!(table.bind(TCP, at("[2001:db8::1]:81"), alone, 5), Err(Errno::ADDRINUSE));
        table.bind(TCP, at("0.0.0.0:82"), alone, 6).unwrap();
        assert_eq!(table.bind(TCP, at("[::]:82"), alone, 7), Err(Errno::ADDRINUSE));
        table.bind(TCP, at("[2001:db8::1]:82"), alone, 8).unwrap();
    }

    #[test]
    fn a_group_of_one_user_listens_at_one_address() {
        let mut table = PortTable::default();
        let of = |uid| Sharing { port: Some(uid), ..Sharing::default() };
        for owner in 1..=3 {
            table.bind(TCP, at("0.0.0.0:80"), of(1000), owner).unwrap();
            table.listen(at("0.0.0.0:80"), owner).unwrap();
        }
        assert_eq!(table.bind(TCP, at("0.0.0.0:80"), of(1001), 4), Err(Errno::ADDRINUSE));
        assert_eq!(table.bind(TCP, at("0.0.0.0:80"), REUSE, 5), Err(Errno::ADDRINUSE));
    }

    #[test]
    fn connections_to_other_peers_share_a_port() {
        let mut table = PortTable::default();
        let (one, two) = (at("10.0.0.1:443"), at("10.0.0.2:443"));
        assert!(table.is_free_for(TCP, 40_000, Some(one)));
        table.connect(TCP, at("198.18.77.2:40000"), one, 1);
        assert!(!table.is_free_for(TCP, 40_000, Some(one)));
        assert!(table.is_free_for(TCP, 40_000, Some(two)));
        assert!(!table.is_free_for(TCP, 40_000, None), "a listener wants it alone");
        table.bind(TCP, at("0.0.0.0:40001"), REUSE, 2).unwrap();
        assert!(!table.is_free_for(TCP, 40_001, Some(two)), "somebody asked for it");
        table.connect(Transport::Datagram, at("198.18.77.2:40000"), one, 3);
        assert!(!table.is_free_for(Transport::Datagram, 40_000, Some(two)));
    }
}
