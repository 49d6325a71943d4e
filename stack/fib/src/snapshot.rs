//! The forwarding base: an immutable snapshot that workers look up.

use core::net::Ipv4Addr;
use std::sync::Arc;

use crate::address::Address;
use crate::route::NextHop;
use crate::trie::{Hop, Trie};

/// Bits of an address that choose a piece of the address space.
pub(crate) const PIECE_BITS: u8 = 12;

/// Pieces that they tell apart.
pub(crate) const PIECES: usize = 1 << PIECE_BITS;

/// Where packets to one piece of the address space go.
#[derive(Clone, Debug)]
pub(crate) enum Piece {
    /// All to the same.
    Uniform(Hop),
    /// As the routes say that are longer than [`PIECE_BITS`].
    Divided(Arc<Trie>),
}

/// Longest-prefix match over an immutable set of routes (RFC 1812, 5.2.4.3).
///
/// ```text
/// pieces  [0] [1] … [4095]      the first 12 bits of the address choose one
///          │   └─► trie         six more bits a step; shared by all snapshots since it changed
///          └─────► next hop     no longer route leads there
/// ```
///
/// A lookup takes a step for each six bits that the longest prefix near the address has beyond the first
/// 12, however many routes there are. A route that changes has one trie made anew, or as many as its
/// prefix covers. Clones share everything.
#[derive(Clone, Debug)]
pub struct Fib<A: Address = Ipv4Addr> {
    pieces: Arc<[Piece]>,
    hops: Arc<[NextHop<A>]>,
}

impl<A: Address> Default for Fib<A> {
    fn default() -> Self {
        Self { pieces: Arc::default(), hops: Arc::default() }
    }
}

impl<A: Address> Fib<A> {
    /// Where a packet to `destination` goes next; `None`: no route.
    #[inline]
    #[must_use]
    pub fn lookup(&self, destination: A) -> Option<NextHop<A>> {
        let bits = destination.bits();
        let hop = match self.pieces.get(A::top(bits, PIECE_BITS))? {
            Piece::Uniform(hop) => *hop,
            Piece::Divided(trie) => trie.lookup::<A>(bits, PIECE_BITS),
        };
        self.hops.get((hop as usize).checked_sub(1)?).copied()
    }

    /// Bytes of memory, those that other snapshots share included.
    #[must_use]
    pub fn memory(&self) -> usize {
        let tries = self.pieces.iter().map(|piece| match piece {
            Piece::Uniform(_) => 0,
            Piece::Divided(trie) => trie.len(),
        });
        let tables = size_of_val(&*self.pieces).saturating_add(size_of_val(&*self.hops));
        tries.sum::<usize>().saturating_add(tables)
    }

    /// A snapshot in which hop `n` is the `n`th, counted from 1.
    pub(crate) fn new(pieces: &[Piece], hops: &[NextHop<A>]) -> Self {
        Self { pieces: pieces.into(), hops: hops.into() }
    }
}
