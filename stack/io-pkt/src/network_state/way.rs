//! Where a datagram would go, for clients who must know before they send it.
//!
//! The answer is for all addresses between the next two at which something else begins: a route, an address
//! of ours, a broadcast address, a group. So a client that talks to a thousand hosts behind one route asks once.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use core::ops::RangeInclusive;

use fib::{Net, Refusal, Rib};
use proto::message::{Leads, Way};
use rustix::io::Errno;

use super::NetworkState;

/// With more routes than these nobody looks through them for one client's question.
const ROUTES_MAX: usize = 1024;

const THIS_HOST: RangeInclusive<u32> = 0..=0;
const LOOPBACK: RangeInclusive<u32> = 0x7f00_0000..=0x7fff_ffff;
const GROUPS: RangeInclusive<u32> = 0xe000_0000..=0xefff_ffff;
const EVERYBODY: RangeInclusive<u32> = u32::MAX..=u32::MAX;

/// ff00::/8.
const GROUPS6: RangeInclusive<u128> = 0xff << 120..=u128::MAX;
/// fe80::/10.
const LINKS6: RangeInclusive<u128> = 0xfe80 << 112..=(0xfec0 << 112) - 1;

impl NetworkState {
    /// Where datagrams to an address, and to those around it, go.
    #[must_use]
    pub(crate) fn way(&self, to: IpAddr) -> Way {
        match to {
            IpAddr::V4(to) => self.way4(to),
            IpAddr::V6(to) => self.way6(to),
        }
    }

    fn way4(&self, to: Ipv4Addr) -> Way {
        if self.rib.len() > ROUTES_MAX {
            let (first, last) = (Ipv4Addr::UNSPECIFIED.into(), Ipv4Addr::BROADCAST.into());
            return Way { first, last, leads: Leads::Unsaid };
        }
        let mut around = Around::new(to.to_bits().into(), u32::MAX.into());
        for known in [THIS_HOST, LOOPBACK, GROUPS, EVERYBODY] {
            around.limit(u128::from(*known.start())..=u128::from(*known.end()));
        }
        let bits = |ip: Ipv4Addr| u128::from(ip.to_bits());
        for address in self.interfaces.iter().flat_map(|entry| &entry.config.addresses) {
            let everybody = address.broadcast().unwrap_or(address.address);
            around.limit(bits(address.address)..=bits(address.address));
            around.limit(bits(everybody)..=bits(everybody));
        }
        around.limit_to_routes(&self.rib, bits);
        let ip = |bits: u128| Ipv4Addr::from_bits(u32::try_from(bits).unwrap_or(u32::MAX)).into();
        Way { first: ip(around.first), last: ip(around.last), leads: self.leads4(to) }
    }

    fn leads4(&self, to: Ipv4Addr) -> Leads {
        let routed = self.has_way(self.rib.lookup(to).map(|hop| hop.interface));
        let errno = self.without_way(to.into(), 0).raw_os_error();
        if to.is_unspecified() || to.is_loopback() || self.has_address(to) {
            Leads::Here
        } else if self.is_broadcast(to) {
            // Linux looks for a route first.
            let refusal = if routed { Errno::ACCESS.raw_os_error() } else { errno };
            Leads::ToEverybody { refusal }
        } else if routed || to.is_multicast() {
            Leads::Away
        } else {
            Leads::Nowhere { errno }
        }
    }

    fn way6(&self, to: Ipv6Addr) -> Way {
        if self.rib6.len() > ROUTES_MAX {
            let (first, last) = (Ipv6Addr::UNSPECIFIED, Ipv6Addr::from_bits(u128::MAX));
            return Way { first: first.into(), last: last.into(), leads: Leads::Unsaid };
        }
        let mut around = Around::new(to.to_bits(), u128::MAX);
        around.limit(0..=0);
        around.limit(GROUPS6);
        around.limit(LINKS6);
        for address in self.interfaces.iter().flat_map(|entry| &entry.config.addresses6) {
            around.limit(address.address.to_bits()..=address.address.to_bits());
        }
        around.limit_to_routes(&self.rib6, Ipv6Addr::to_bits);
        let ip = |bits| Ipv6Addr::from_bits(bits).into();
        Way { first: ip(around.first), last: ip(around.last), leads: self.leads6(to) }
    }

    fn leads6(&self, to: Ipv6Addr) -> Leads {
        let mut ours = self.interfaces.iter().flat_map(|entry| &entry.config.addresses6);
        if to.is_unspecified() || ours.any(|address| address.address == to) {
            Leads::Here
        } else if GROUPS6.contains(&to.to_bits()) || LINKS6.contains(&to.to_bits()) {
            // By which link the address alone does not say.
            Leads::Away
        } else if self.has_way(self.rib6.lookup(to).map(|hop| hop.interface)) {
            Leads::Away
        } else {
            Leads::Nowhere { errno: self.without_way(to.into(), 0).raw_os_error() }
        }
    }

    /// Linux's errno for a destination to which no way of a table leads: the operator may want it so.
    #[must_use]
    pub(crate) fn without_way(&self, to: IpAddr, table: u8) -> Errno {
        let (rib, rib6) = self.ribs(table);
        let refusal = match to {
            IpAddr::V4(to) => rib.best_active(to).and_then(|route| route.refusal()),
            IpAddr::V6(to) => rib6.best_active(to).and_then(|route| route.refusal()),
        };
        match refusal {
            None => Errno::NETUNREACH,
            Some(Refusal::Blackhole) => Errno::INVAL,
            Some(Refusal::Reject) => Errno::HOSTUNREACH,
        }
    }

    /// A route leads over an interface that is up.
    fn has_way(&self, interface: Option<u16>) -> bool {
        let entry = interface.and_then(|index| self.interfaces.get(usize::from(index)));
        entry.is_some_and(|entry| entry.config.up)
    }
}

/// The addresses around one for which the same is so.
struct Around {
    at: u128,
    first: u128,
    last: u128,
}

impl Around {
    const fn new(at: u128, last: u128) -> Self {
        Self { at, first: 0, last }
    }

    /// Something is so for this range alone.
    fn limit(&mut self, range: RangeInclusive<u128>) {
        let (first, last) = range.into_inner();
        if self.at < first {
            self.last = self.last.min(first.saturating_sub(1));
        } else {
            self.first = self.first.max(first);
        }
        if self.at > last {
            self.first = self.first.max(last.saturating_add(1));
        } else {
            self.last = self.last.min(last);
        }
    }

    fn limit_to_routes<A: fib::Address>(&mut self, rib: &Rib<A>, bits: impl Fn(A) -> u128) {
        for route in rib.iter() {
            let net: Net<A> = route.destination;
            self.limit(bits(net.addr())..=bits(net.last()));
        }
    }
}

#[cfg(test)]
mod tests {
    use proto::message::{NewRoute, Onward};

    use super::super::tests::with_links;
    use super::*;

    /// `tap1` with 198.18.77.2/24 and fd00::2/64, `tap2` with 10.1.0.2/16, a route to 203.0.113.0/24.
    fn network() -> NetworkState {
        let mut state = with_links(2);
        for (link, address, len) in
            [("tap1", "198.18.77.2", 24), ("tap1", "fd00::2", 64), ("tap2", "10.1.0.2", 16)]
        {
            let address: IpAddr = address.parse().unwrap();
            let _ = state.add_address(link, address, len).unwrap();
        }
        let (to, gateway) = ("203.0.113.0".parse().unwrap(), "198.18.77.1".parse().unwrap());
        state.add_route(to, 24, gateway).unwrap();
        state
    }

    fn way(state: &NetworkState, to: &str) -> (String, String, Leads) {
        let Way { first, last, leads } = state.way(to.parse().unwrap());
        (first.to_string(), last.to_string(), leads)
    }

    fn shown(first: &str, last: &str, leads: Leads) -> (String, String, Leads) {
        (first.into(), last.into(), leads)
    }

    const NOWHERE: Leads = Leads::Nowhere { errno: 101 };

    #[test]
    fn an_answer_is_for_all_that_lies_between_two_changes() {
        let state = network();
        for (to, first, last, leads) in [
            ("198.18.77.9", "198.18.77.3", "198.18.77.254", Leads::Away),
            ("198.18.77.2", "198.18.77.2", "198.18.77.2", Leads::Here),
            ("198.18.77.255", "198.18.77.255", "198.18.77.255", Leads::ToEverybody { refusal: 13 }),
            ("203.0.113.9", "203.0.113.0", "203.0.113.255", Leads::Away),
            ("8.8.8.8", "0.0.0.1", "10.0.255.255", NOWHERE),
            ("127.0.0.9", "127.0.0.2", "127.255.255.254", Leads::Here),
            ("224.0.0.9", "224.0.0.0", "239.255.255.255", Leads::Away),
            (
                "255.255.255.255",
                "255.255.255.255",
                "255.255.255.255",
                Leads::ToEverybody { refusal: 101 },
            ),
            ("fd00::9", "fd00::3", "fd00::ffff:ffff:ffff:ffff", Leads::Away),
            ("fd00::2", "fd00::2", "fd00::2", Leads::Here),
            ("fd01::", "fd00:0:0:1::", "fe7f:ffff:ffff:ffff:ffff:ffff:ffff:ffff", NOWHERE),
            ("ff02::1", "ff00::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", Leads::Away),
        ] {
            assert_eq!(way(&state, to), shown(first, last, leads), "{to}");
        }
    }

    #[test]
    fn what_the_operator_refuses_leads_nowhere_with_linuxs_errors() {
        let mut state = network();
        for (to, onward, errno) in
            [("9.0.0.0", Onward::Blackhole, 22), ("7.0.0.0", Onward::Reject, 113)]
        {
            let destination = to.parse().unwrap();
            let route = NewRoute { destination, prefix_len: 8, onward, mtu: None };
            state.add_new_route(0, &route).unwrap();
            assert_eq!(way(&state, to).2, Leads::Nowhere { errno }, "{to}");
        }
    }

    #[test]
    fn what_is_down_leads_nowhere() {
        let mut state = network();
        state.set_up("tap2", false).unwrap();
        assert_eq!(way(&state, "10.1.0.9").2, NOWHERE);
        assert_eq!(way(&state, "198.18.77.9").2, Leads::Away);
    }

    #[test]
    fn with_many_routes_the_worker_says_it() {
        let mut state = network();
        for number in 0..u32::try_from(ROUTES_MAX).unwrap() {
            let to = Ipv4Addr::from_bits(0x0b00_0000 + (number << 8));
            state.add_route(to.into(), 24, "198.18.77.1".parse().unwrap()).unwrap();
        }
        let all = shown("0.0.0.0", "255.255.255.255", Leads::Unsaid);
        assert_eq!(way(&state, "8.8.8.8"), all);
    }
}
