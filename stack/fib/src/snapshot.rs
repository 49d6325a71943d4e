//! The forwarding base: an immutable snapshot that workers look up.

use core::net::Ipv4Addr;
use std::sync::Arc;

use crate::address::Address;
use crate::route::NextHop;
use crate::trie::{self, Hop, Words};
use crate::way::Way;

/// Bits of an address that choose a group of pieces.
pub(crate) const GROUP_BITS: u8 = 8;
/// Bits of an address that choose a piece of the address space.
pub(crate) const PIECE_BITS: u8 = 2 * GROUP_BITS;
/// Groups, and pieces of a group.
pub(crate) const STEP: usize = 1 << GROUP_BITS;

/// Where packets to one piece of the address space go.
#[derive(Clone, Debug)]
pub(crate) enum Piece {
    /// All to the same.
    Uniform(Hop),
    /// As the routes say that are longer than [`PIECE_BITS`].
    Divided(Words),
}

/// The same for the pieces whose first bits are the same.
#[derive(Clone, Debug)]
pub(crate) enum Group {
    /// All to the same.
    Uniform(Hop),
    /// By piece.
    Divided(Arc<[Piece]>),
}

/// Longest-prefix match over an immutable set of routes (RFC 1812, 5.2.4.3).
///
/// ```text
/// groups [0] … [255]            by the first 8 bits of the address
///         │     └─► pieces [0] … [255]     by the next 8
///         │                 │     └─► nodes, 8 bits a step (trie.rs)
///         └─► next hop      └─► next hop   no longer route leads there
/// ```
///
/// A lookup takes a step for each eight bits of the longest prefix near the address, however many routes
/// there are. A route that changes has one piece made anew, or as many as its prefix covers; all others are
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
        let bits = destination.bits();
        let hop = match self.groups.get(A::eight(bits, 0) as usize)? {
            Group::Uniform(hop) => *hop,
            Group::Divided(pieces) => match pieces.get(A::eight(bits, GROUP_BITS) as usize)? {
                Piece::Uniform(hop) => *hop,
                Piece::Divided(words) => trie::lookup::<A>(words, bits, PIECE_BITS),
            },
        };
        self.ways.get((hop as usize).checked_sub(1)?)
    }

    /// What a lookup reads first of all that not every lookup reads: who has many to do asks for it ahead,
    /// for all of them, then for [`Fib::node`] and [`Fib::value`]. `None`: nothing.
    #[inline]
    #[must_use]
    pub fn place(&self, destination: A) -> Option<&impl Sized> {
        self.piece(destination)
    }

    /// What it reads next.
    #[inline]
    #[must_use]
    pub fn node(&self, destination: A) -> Option<&[u32; 8]> {
        match self.piece(destination)? {
            Piece::Uniform(_) => None,
            Piece::Divided(words) => words.first_chunk(),
        }
    }

    /// And then.
    #[inline]
    #[must_use]
    pub fn value(&self, destination: A) -> Option<&u32> {
        match self.piece(destination)? {
            Piece::Uniform(_) => None,
            Piece::Divided(words) => trie::value(words, A::eight(destination.bits(), PIECE_BITS)),
        }
    }

    #[inline]
    fn piece(&self, destination: A) -> Option<&Piece> {
        let bits = destination.bits();
        match self.groups.get(A::eight(bits, 0) as usize)? {
            Group::Uniform(_) => None,
            Group::Divided(pieces) => pieces.get(A::eight(bits, GROUP_BITS) as usize),
        }
    }

    /// Bytes of memory, those that other snapshots share included.
    #[must_use]
    pub fn memory(&self) -> usize {
        let pieces = self.groups.iter().flat_map(|group| match group {
            Group::Uniform(_) => &[][..],
            Group::Divided(pieces) => pieces,
        });
        let each = pieces.map(|piece| match piece {
            Piece::Uniform(_) => size_of::<Piece>(),
            Piece::Divided(words) => size_of_val(&**words).saturating_add(size_of::<Piece>()),
        });
        let tables = size_of_val(&*self.groups).saturating_add(size_of_val(&*self.ways));
        each.sum::<usize>().saturating_add(tables)
    }

    /// A snapshot in which way `n` is the `n`th, counted from 1.
    pub(crate) fn new(groups: &[Group], ways: &[Way<A>]) -> Self {
        Self { groups: groups.into(), ways: ways.into() }
    }
}
