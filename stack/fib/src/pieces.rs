//! What the snapshots are made of, kept from one to the next: only what a change touches is made anew.

use std::collections::HashMap;
use std::sync::Arc;

use crate::address::Address;
use crate::net::Net;
use crate::route::NextHop;
use crate::snapshot::{Fib, PIECE_BITS, PIECES, Piece};
use crate::trie::{Entry, Hop, Trie};

/// Next hops that were ever used, at which those that still are get numbers anew.
const HOPS_MAX: usize = 65_536;

/// Pieces of the address space, and which of them are out of date.
#[derive(Clone, Debug)]
pub(crate) struct Pieces<A: Address> {
    pieces: Vec<Piece>,
    stale: Vec<bool>,
    numbers: HashMap<NextHop<A>, Hop>,
    hops: Vec<NextHop<A>>,
}

impl<A: Address> Pieces<A> {
    pub(crate) fn new() -> Self {
        Self {
            pieces: vec![Piece::Uniform(0); PIECES],
            stale: vec![true; PIECES],
            numbers: HashMap::new(),
            hops: Vec::new(),
        }
    }

    /// Nothing, until the real ones come back.
    pub(crate) fn none() -> Self {
        Self { pieces: Vec::new(), stale: Vec::new(), numbers: HashMap::new(), hops: Vec::new() }
    }

    /// What is known of these destinations holds no longer.
    pub(crate) fn touch(&mut self, net: Net<A>) {
        let first = A::top(net.addr().bits(), PIECE_BITS);
        let last = A::top(net.last().bits(), PIECE_BITS);
        self.stale.iter_mut().take(last.saturating_add(1)).skip(first).for_each(|s| *s = true);
    }

    /// Nothing holds any longer.
    pub(crate) fn touch_all(&mut self) {
        self.stale.fill(true);
    }

    /// Makes anew what does not hold. `short` gives the best of the routes to an address that are no
    /// longer than a piece, `long` all those within it that are, sorted.
    pub(crate) fn update(
        &mut self,
        short: impl Fn(A) -> Option<NextHop<A>>,
        long: impl Fn(Net<A>, &mut Vec<(Net<A>, NextHop<A>)>),
    ) {
        if self.hops.len() >= HOPS_MAX {
            self.numbers.clear();
            self.hops.clear();
            self.touch_all();
        }
        let mut routes = Vec::new();
        for number in 0..PIECES {
            if !self.stale.get(number).copied().unwrap_or(false) {
                continue;
            }
            let Some(piece) = A::piece(number, PIECE_BITS) else { continue };
            let inherited = short(piece.addr()).map_or(0, |hop| self.number(hop));
            routes.clear();
            long(piece, &mut routes);
            let entries: Vec<Entry<A>> =
                routes.iter().map(|(net, hop)| (*net, self.number(*hop))).collect();
            let made = if entries.is_empty() {
                Piece::Uniform(inherited)
            } else {
                Piece::Divided(Arc::new(Trie::new(&entries, PIECE_BITS, inherited)))
            };
            if let (Some(place), Some(stale)) =
                (self.pieces.get_mut(number), self.stale.get_mut(number))
            {
                (*place, *stale) = (made, false);
            }
        }
    }

    /// A snapshot.
    pub(crate) fn publish(&self) -> Fib<A> {
        Fib::new(&self.pieces, &self.hops)
    }

    fn number(&mut self, hop: NextHop<A>) -> Hop {
        let next = u32::try_from(self.hops.len()).unwrap_or(u32::MAX).saturating_add(1);
        let number = *self.numbers.entry(hop).or_insert(next);
        if number == next {
            self.hops.push(hop);
        }
        number
    }
}
