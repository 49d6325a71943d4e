//! The forwarding base: an immutable snapshot that workers look up.

use core::cmp::Reverse;
use core::net::Ipv4Addr;

use crate::net::mask;
use crate::route::{NextHop, Route};

/// Longest-prefix match over an immutable set of routes (RFC 1812, 5.2.4.3).
///
/// ```text
/// levels   /32 [10.0.0.9]          one sorted array per prefix length in use, longest first;
///          /24 [10.0.0.0 10.0.1.0] a lookup masks the address and searches each array,
///          /0  [0.0.0.0]           so the first hit has the longest prefix
/// ```
///
/// A lookup costs at most 33 binary searches, in practice one per prefix length in use: right for a
/// host with tens of routes, where the whole structure fits in a few cache lines. It is not meant
/// for full Internet tables; DPDK's `rte_fib` is to take its place behind this same interface then.
#[derive(Clone, Debug, Default)]
pub struct Fib {
    levels: Vec<Level>,
}

/// The routes of one prefix length.
#[derive(Clone, Debug)]
struct Level {
    prefix_len: u8,
    mask: u32,
    /// Sorted by network.
    entries: Vec<(u32, NextHop)>,
}

impl Fib {
    /// Where a packet to `destination` goes next; `None`: no route.
    #[inline]
    #[must_use]
    pub fn lookup(&self, destination: Ipv4Addr) -> Option<NextHop> {
        let bits = destination.to_bits();
        self.levels.iter().find_map(|level| level.find(bits & level.mask))
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
    pub(crate) fn new<'a>(routes: impl IntoIterator<Item = &'a Route>) -> Self {
        let mut levels: Vec<Level> = Vec::new();
        for route in routes {
            let prefix_len = route.destination.prefix_len();
            let entry = (route.destination.addr().to_bits(), route.next_hop);
            match levels.iter_mut().find(|level| level.prefix_len == prefix_len) {
                Some(level) => level.entries.push(entry),
                None => {
                    levels.push(Level { prefix_len, mask: mask(prefix_len), entries: vec![entry] });
                }
            }
        }
        levels.sort_unstable_by_key(|level| Reverse(level.prefix_len));
        for level in &mut levels {
            level.entries.sort_unstable_by_key(|&(network, _)| network);
        }
        Self { levels }
    }
}

impl Level {
    #[inline]
    fn find(&self, network: u32) -> Option<NextHop> {
        let at = self.entries.binary_search_by_key(&network, |&(network, _)| network).ok()?;
        self.entries.get(at).map(|&(_, next_hop)| next_hop)
    }
}
