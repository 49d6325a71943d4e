//! The forwarding base: an immutable snapshot that workers look up.

use core::net::Ipv4Addr;
use std::collections::HashSet;
use std::sync::Arc;

use crate::address::Address;
use crate::route::NextHop;
use crate::trie::{self, Words};
use crate::way::Way;

/// Bits of an address that choose a group of pieces.
pub(crate) const GROUP_BITS: u8 = 8;
/// Bits of an address that choose a piece of the address space.
pub(crate) const PIECE_BITS: u8 = 2 * GROUP_BITS;
/// Groups, and pieces of a group.
pub(crate) const STEP: usize = 1 << GROUP_BITS;

/// Where packets to one piece of the address space go, as the routes say that are longer than
/// [`PIECE_BITS`], or all to the same ([`trie::uniform`]).
pub(crate) type Piece = Words;

/// The same for the pieces whose first bits are the same. Where all go to the same, it is one piece many
/// times: what a lookup does then depends on no condition that the next one finds otherwise.
pub(crate) type Group = Arc<[Piece]>;

/// Longest-prefix match over an immutable set of routes (RFC 1812, 5.2.4.3).
///
/// ```text
/// groups [0] … [255]                      by the first 8 bits of the address
///               └─► pieces [0] … [255]     by the next 8
///                                 └─► nodes, 8 bits a step (trie.rs)
/// ```
///
/// A lookup takes a step for each eight bits of the longest prefix near the address, three at least, however
/// many routes there are. A route that changes has one piece made anew, or as many as its prefix covers; all others are
/// shared with the snapshots before. Clones share everything.
#[derive(Clone, Debug)]
pub struct Fib<A: Address = Ipv4Addr> {
    groups: Arc<[Group]>,
    ways: Arc<[Way<A>]>,
}

impl<A: Address> Default for Fib<A> {
    fn default() -> Self {
        Self { groups: Arc::default(), ways: Arc::default() }
    }
}

impl<A: Address> Fib<A> {
    /// Where a packet to `destination` goes next, by the first of several hops; `None`: no route, or one
    /// that lets no packet pass.
    #[inline]
    #[must_use]
    pub fn lookup(&self, destination: A) -> Option<NextHop<A>> {
        self.way(destination)?.first()
    }

    /// How packets to `destination` go on; `None`: no route.
    #[inline]
    #[must_use]
    pub fn way(&self, destination: A) -> Option<&Way<A>> {
        let hop = trie::lookup::<A>(self.piece(destination)?, destination.bits(), PIECE_BITS);
        self.numbered(hop)
    }

    /// The way of this number ([`Fib::numbers`]); `None`: no route.
    #[inline]
    #[must_use]
    pub fn numbered(&self, number: u32) -> Option<&Way<A>> {
        self.ways.get((number as usize).checked_sub(1)?)
    }

    #[inline]
    pub(crate) fn piece(&self, destination: A) -> Option<&Piece> {
        let bits = destination.bits();
        let pieces = self.groups.get(A::eight(bits, 0) as usize)?;
        pieces.get(A::eight(bits, GROUP_BITS) as usize)
    }

    /// Bytes of memory, those that other snapshots share included.
    #[must_use]
    pub fn memory(&self) -> usize {
        let mut seen = HashSet::new();
        let groups = self.groups.iter().filter(|group| seen.insert(group.as_ptr().cast::<u8>()));
        let groups: Vec<&Group> = groups.collect();
        let tables = groups.iter().map(|group| size_of_val(&***group)).sum::<usize>();
        let pieces = groups.iter().flat_map(|group| group.iter());
        let pieces = pieces.filter(|piece| seen.insert(piece.as_ptr().cast::<u8>()));
        let nodes = pieces.map(|piece| size_of_val(&**piece)).sum::<usize>();
        let tops = size_of_val(&*self.groups).saturating_add(size_of_val(&*self.ways));
        nodes.saturating_add(tables).saturating_add(tops)
    }

    /// A snapshot in which way `n` is the `n`th, counted from 1.
    pub(crate) fn new(groups: &[Group], ways: &[Way<A>]) -> Self {
        Self { groups: groups.into(), ways: ways.into() }
    }
}
