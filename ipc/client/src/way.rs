//! Whether a datagram can go where it shall go, before it is posted.
//!
//! The worker that sends it looks up its way long after the call has returned. So the daemon is asked once, and
//! answers for all addresses around the one that was asked for; a thread remembers that until the network
//! changes. What changes in between is the next call's error.

use std::cell::RefCell;
use std::io;
use std::net::{IpAddr, SocketAddr};

use proto::message::{Leads, Way};
use proto::{Reply, Request};
use rustix::io::Errno;

use crate::socket::{Socket, mark};

/// Networks that one thread talks to by turns; the daemon is asked anew about one more.
const WAYS_MAX: usize = 32;

thread_local! {
    static KNOWN: RefCell<Known> = const { RefCell::new(Known::nothing()) };
}

/// What a thread knows.
struct Known {
    /// Of this client's stack.
    client: u64,
    /// Of this generation of its network.
    generation: u64,
    ways: Vec<Way>,
}

impl Known {
    const fn nothing() -> Self {
        Self { client: 0, generation: 0, ways: Vec::new() }
    }

    fn find(&self, to: IpAddr) -> Option<Leads> {
        let way = self.ways.iter().find(|way| (way.first..=way.last).contains(&to));
        way.map(|way| way.leads)
    }

    fn remember(&mut self, way: Way) {
        if self.ways.len() >= WAYS_MAX {
            self.ways.clear();
        }
        self.ways.push(way);
    }
}

impl Socket {
    /// May a datagram go to an address, from one that it names? Links of IPv6 and the peer of a connected
    /// socket have been looked at before.
    ///
    /// # Errors
    /// `ENETUNREACH`, `EHOSTUNREACH`, `EACCES`: a broadcast without `SO_BROADCAST`. `ENETUNREACH`, of IPv6
    /// `EINVAL`: the source is not ours. `EINVAL`: it is no single host's.
    pub(crate) fn check_way(
        &self,
        to: Option<SocketAddr>,
        source: Option<IpAddr>,
    ) -> io::Result<()> {
        if self.is_of_module() || self.memory.has_own_ways() {
            // Where its names lead the module knows; what leaves by one interface has ways of its own.
            return Ok(());
        }
        let leads = to.and_then(|to| self.leads(to.ip()));
        let source = source.filter(|source| !source.is_unspecified());
        if let Some(source) = source {
            if is_of_many(source) {
                return Err(Errno::INVAL.into());
            }
            let ours = matches!(self.leads(source), Some(Leads::Here | Leads::Unsaid) | None);
            let stays = to.is_none() || leads == Some(Leads::Here);
            if !ours && source.is_ipv4() {
                return Err(Errno::NETUNREACH.into());
            }
            if !ours || (source.is_loopback() && !stays) {
                return Err(Errno::INVAL.into());
            }
        }
        match leads {
            Some(Leads::Nowhere { errno }) => Err(io::Error::from_raw_os_error(errno)),
            Some(Leads::ToEverybody { refusal }) if self.memory.marks() & mark::BROADCAST == 0 => {
                Err(io::Error::from_raw_os_error(refusal))
            }
            _ => Ok(()),
        }
    }

    /// Where a way leads. `None`: that can't be found out now, and the worker will see.
    fn leads(&self, to: IpAddr) -> Option<Leads> {
        let (client, generation) = (self.channel.client(), self.channel.map().network_generation());
        let ask = |known: &RefCell<Known>| {
            // A signal's handler may have interrupted this very look-up.
            let mut known = known.try_borrow_mut().ok()?;
            if (known.client, known.generation) != (client, generation) {
                *known = Known { client, generation, ways: Vec::new() };
            }
            if let Some(leads) = known.find(to) {
                return Some(leads);
            }
            let Some(Ok(Reply::Way(way))) = self.channel.call_unless_within(Request::Way { to })
            else {
                return None;
            };
            known.remember(way);
            Some(way.leads)
        };
        KNOWN.try_with(ask).ok().flatten()
    }
}

/// A group's address or everybody's, which is never a source.
fn is_of_many(source: IpAddr) -> bool {
    let broadcast = matches!(source, IpAddr::V4(source) if source.is_broadcast());
    source.is_multicast() || broadcast
}

#[cfg(test)]
mod tests {
    use super::*;

    fn way(first: &str, last: &str, leads: Leads) -> Way {
        Way { first: first.parse().unwrap(), last: last.parse().unwrap(), leads }
    }

    #[test]
    fn a_way_is_known_from_its_first_address_to_its_last() {
        let mut known = Known::nothing();
        known.remember(way("10.0.0.0", "10.0.0.254", Leads::Away));
        known.remember(way("fd00::", "fd00::ffff", Leads::Here));
        let find = |to: &str| known.find(to.parse().unwrap());
        assert_eq!([find("10.0.0.0"), find("10.0.0.254")], [Some(Leads::Away); 2]);
        assert_eq!([find("9.255.255.255"), find("10.0.0.255"), find("fc00::1")], [None; 3]);
        assert_eq!(find("fd00::1"), Some(Leads::Here));
    }

    #[test]
    fn a_source_is_one_hosts_address() {
        let of_many = |source: &str| is_of_many(source.parse().unwrap());
        assert_eq!(["224.0.0.1", "255.255.255.255", "ff02::1"].map(of_many), [true; 3]);
        assert_eq!(["198.18.77.2", "127.0.0.1", "fe80::1"].map(of_many), [false; 3]);
    }

    #[test]
    fn a_thread_that_talks_to_everybody_forgets() {
        let mut known = Known::nothing();
        for host in 0..=u8::try_from(WAYS_MAX).unwrap() {
            let address = format!("10.0.0.{host}");
            known.remember(way(&address, &address, Leads::Away));
        }
        assert_eq!(known.ways.len(), 1);
    }
}
