//! The forwarding base: an immutable snapshot that workers look up.

use core::cmp::Reverse;
use core::net::Ipv4Addr;
use std::sync::Arc;

use crate::address::Address;
use crate::route::{NextHop, Route};

/// Longest-prefix match over an immutable set of routes (RFC 1812, 5.2.4.3).
///
/// ```text
/// levels   /32 [10.0.0.9]          one sorted array per prefix length in use, longest first;
///          /24 [10.0.0.0 10.0.1.0] a lookup masks the address and searches each array,
///          /0  [0.0.0.0]           so the first hit has the longest prefix
/// ```
///
/// A lookup costs in practice one binary search per prefix length in use: right for a
/// host with tens of routes, where the whole structure fits in a few cache lines. It is not meant
/// for full Internet tables; DPDK's `rte_fib` is to take its place behind this same interface then.
/// Clones share the routes.
#[derive(Clone, Debug)]
pub struct Fib<A: Address = Ipv4Addr> {
    levels: Arc<[Level<A>]>,
}

/// The routes of one prefix length.
#[derive(Clone, Debug)]
struct Level<A: Address> {
    prefix_len: u8,
    mask: A::Bits,
    /// Sorted by network.
    entries: Vec<(A::Bits, NextHop<A>)>,
}

impl<A: Address> Default for Fib<A> {
    fn default() -> Self {
        Self { levels: Arc::default() }
    }
}

impl<A: Address> Fib<A> {
    /// Where a packet to `destination` goes next; `None`: no route.
    #[inline]
    #[must_use]
    pub fn lookup(&self, destination: A) -> Option<NextHop<A>> {
        let bits = destination.bits();
        self.levels.iter().find_map(|level| level.find(A::and(bits, level.mask)))
    }

    /// How many routes the snapshot has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.levels.iter().map(|level| level.entries.len()).sum()
    }

    /// Whether the snapshot has no route.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.levels.is_empty()
    }

    /// A snapshot of `routes`, which have distinct destinations.
    pub(crate) fn new<'a>(routes: impl IntoIterator<Item = &'a Route<A>>) -> Self {
        let mut levels: Vec<Level<A>> = Vec::new();
        for route in routes {
            let prefix_len = route.destination.prefix_len();
            let entry = (route.destination.addr().bits(), route.next_hop);
            match levels.iter_mut().find(|level| level.prefix_len == prefix_len) {
                Some(level) => level.entries.push(entry),
                None => {
                    levels.push(Level {
                        prefix_len,
                        mask: A::mask(prefix_len),
                        entries: vec![entry],
                    });
                }
            }
        }
        levels.sort_unstable_by_key(|level| Reverse(level.prefix_len));
        for level in &mut levels {
            level.entries.sort_unstable_by_key(|&(network, _)| network);
        }
        Self { levels: levels.into() }
    }
}

impl<A: Address> Level<A> {
    #[inline]
    fn find(&self, network: A::Bits) -> Option<NextHop<A>> {
        let at = self.entries.binary_search_by_key(&network, |&(network, _)| network).ok()?;
        self.entries.get(at).map(|&(_, next_hop)| next_hop)
    }
}
