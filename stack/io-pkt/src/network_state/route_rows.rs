//! Routes as the tools show them: a row for each gateway.

use core::net::IpAddr;
use core::ops::Bound;

use fib::{Net, Rib, Route, RouteFlags};
use proto::table::RouteRow;

use super::NetworkState;

/// Rows of one page: about half of what a message takes of those of IPv6.
const PAGE: usize = 512;

impl NetworkState {
    /// The next page of all routes of a table behind this destination.
    #[must_use]
    pub(crate) fn route_rows(&self, table: u8, after: Option<(IpAddr, u8)>) -> Vec<RouteRow> {
        let (rib, rib6) = self.ribs(table);
        let (v4, v6) = match after {
            None => (Bound::Unbounded, Bound::Unbounded),
            Some((IpAddr::V4(address), len)) => (behind(address, len), Bound::Unbounded),
            Some((IpAddr::V6(address), len)) => {
                return self.page(rib6, behind(address, len));
            }
        };
        let mut rows = self.page(rib, v4);
        if rows.is_empty() || rows.len() < PAGE {
            rows.extend(self.page(rib6, v6));
        }
        rows
    }

    fn page<A: fib::Address + Into<IpAddr>>(
        &self,
        rib: &Rib<A>,
        after: Bound<Net<A>>,
    ) -> Vec<RouteRow> {
        let mut rows = Vec::new();
        for route in rib.behind(after) {
            if rows.len() >= PAGE {
                break;
            }
            rows.extend(self.rows_of(rib, route));
        }
        rows
    }

    /// The route of a table by which packets to an address go.
    #[must_use]
    pub(crate) fn route_to(&self, table: u8, to: IpAddr) -> Vec<RouteRow> {
        let (rib, rib6) = self.ribs(table);
        match to {
            IpAddr::V4(to) => rib.best_active(to).map(|r| self.rows_of(rib, r)),
            IpAddr::V6(to) => rib6.best_active(to).map(|r| self.rows_of(rib6, r)),
        }
        .unwrap_or_default()
    }

    pub(super) fn rows_of<A: fib::Address + Into<IpAddr>>(
        &self,
        rib: &Rib<A>,
        route: &Route<A>,
    ) -> Vec<RouteRow> {
        let is = |flag| route.flags.contains(flag);
        let row = |hop: fib::NextHop<A>| {
            let letters = [
                ('U', rib.is_reached(hop)),
                ('G', hop.gateway.is_some()),
                ('H', route.destination.prefix_len() == A::LEN),
                ('C', is(RouteFlags::CONNECTED)),
                ('S', is(RouteFlags::STATIC)),
                ('D', is(RouteFlags::DYNAMIC)),
                ('B', is(RouteFlags::BLACKHOLE)),
                ('R', is(RouteFlags::REJECT)),
            ];
            let letters = letters.into_iter().filter(|(_, on)| *on);
            RouteRow {
                destination: route.destination.addr().into(),
                prefix_len: route.destination.prefix_len(),
                gateway: hop.gateway.map(Into::into),
                interface: self.name(hop.interface).into(),
                flags: letters.map(|(letter, _)| letter).collect(),
                mtu: route.mtu,
            }
        };
        rib.paths(route).map(row).collect()
    }
}

/// All destinations behind one, which may be none.
fn behind<A: fib::Address>(address: A, len: u8) -> Bound<Net<A>> {
    Net::containing(address, len).map_or(Bound::Unbounded, Bound::Excluded)
}
