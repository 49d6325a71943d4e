//! Which workers have sockets of a UDP port, so that each of several finds the one whom a datagram is for.

use core::net::SocketAddr;

use hashbrown::HashMap;

/// The workers of the sockets that are bound to each UDP port of IPv6 (`true`) and of IPv4, in the order in
/// which they came.
#[derive(Debug, Default)]
pub(crate) struct UdpOwners(HashMap<(u16, bool), Vec<u16>>);

impl UdpOwners {
    /// A socket of a worker's is bound to a port in the families that it has there, or no longer.
    pub(crate) fn set(&mut self, local: SocketAddr, v6_only: bool, owner: u16, bound: bool) {
        let both = local.is_ipv6() && local.ip().is_unspecified() && !v6_only;
        for six in [false, true].into_iter().filter(|six| both || *six == local.is_ipv6()) {
            let port = (local.port(), six);
            let owners = self.0.entry(port).or_default();
            if bound {
                owners.push(owner);
            } else if let Some(at) = owners.iter().position(|there| *there == owner) {
                let _ = owners.remove(at);
            }
            if owners.is_empty() {
                let _ = self.0.remove(&port);
            }
        }
    }

    /// The workers of the sockets of a port.
    #[must_use]
    pub(crate) fn of(&self, port: (u16, bool)) -> &[u16] {
        self.0.get(&port).map(Vec::as_slice).unwrap_or_default()
    }

    /// The worker other than this one that has had a socket of a port for the shortest time.
    #[must_use]
    pub(crate) fn other(&self, port: (u16, bool), me: u16) -> Option<u16> {
        self.of(port).last().copied().filter(|owner| *owner != me)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_has_an_owner_in_each_family() {
        let mut owners = UdpOwners::default();
        let (four, six) = ("0.0.0.0:53".parse().unwrap(), "[::]:53".parse().unwrap());
        let of = |owners: &UdpOwners| [false, true].map(|six| owners.of((53, six)).to_vec());
        owners.set(four, false, 0, true);
        owners.set(six, true, 1, true);
        assert_eq!(of(&owners), [vec![0], vec![1]]);
        owners.set(six, true, 1, false);
        assert_eq!(of(&owners), [vec![0], vec![]]);
        owners.set(six, false, 1, true);
        assert_eq!(of(&owners), [vec![0, 1], vec![1]], "one socket has both");
        assert_eq!([0, 1].map(|me| owners.other((53, false), me)), [Some(1), None]);
        owners.set(four, false, 0, false);
        assert_eq!(of(&owners), [vec![1], vec![1]], "the other socket stays");
    }
}
