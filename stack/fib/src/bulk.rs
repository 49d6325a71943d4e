//! Many lookups at once: what each of them waits for is asked for ahead, a step of all at a time, so that
//! their waits for memory fall together.

use crate::address::Address;
use crate::snapshot::{Fib, PIECE_BITS};
use crate::trie::{self, NODE, STRIDE};

/// Lookups that go together. More would ask for more lines than a core can wait for.
const TOGETHER: usize = 32;

/// Who can ask for memory before it is read.
pub trait Ahead {
    /// Asks for the lines of this place. A hint, and no more.
    fn fetch<T>(&self, place: &T);
}

/// A lookup under way.
#[derive(Clone, Copy, Debug)]
struct Lookup<'a> {
    /// Its piece, once it is known.
    piece: &'a [u32],
    /// Where the value is that the node at hand has for it.
    value: &'a u32,
    /// Where in the piece that node begins.
    node: usize,
}

impl<A: Address> Fib<A> {
    /// What [`Fib::way`] finds for each of these destinations, as numbers for [`Fib::numbered`].
    #[inline]
    pub fn numbers(&self, to: &[A], numbers: &mut [u32], ahead: &impl Ahead) {
        for (to, numbers) in to.chunks(TOGETHER).zip(numbers.chunks_mut(TOGETHER)) {
            self.numbers_together(to, numbers, ahead);
        }
    }

    #[inline]
    fn numbers_together(&self, to: &[A], numbers: &mut [u32], ahead: &impl Ahead) {
        let mut pieces = [None; TOGETHER];
        for (to, piece) in to.iter().zip(&mut pieces) {
            *piece = self.piece(*to);
            if let Some(piece) = piece {
                ahead.fetch(*piece);
            }
        }
        let mut lookups = [Lookup { piece: &[], value: &0, node: 0 }; TOGETHER];
        for (lookup, piece) in lookups.iter_mut().zip(&pieces).take(to.len()) {
            lookup.piece = piece.map_or(&[], |piece| piece);
            fetch_node(lookup.piece, ahead);
        }
        let mut skip = PIECE_BITS;
        for (to, lookup) in to.iter().zip(&mut lookups) {
            lookup.aim::<A>(to.bits(), skip, ahead);
        }
        // Few go on from here, in most tables.
        while lookups.iter().take(to.len()).any(|lookup| lookup.value & NODE != 0) {
            skip = skip.wrapping_add(STRIDE);
            for lookup in lookups.iter_mut().filter(|lookup| lookup.value & NODE != 0) {
                lookup.node = (lookup.value & !NODE) as usize;
                fetch_node(lookup.piece.get(lookup.node..).unwrap_or_default(), ahead);
            }
            let all = to.iter().zip(&mut lookups);
            for (to, lookup) in all.filter(|(_, lookup)| lookup.value & NODE != 0) {
                lookup.aim::<A>(to.bits(), skip, ahead);
            }
        }
        for (lookup, number) in lookups.iter().zip(numbers) {
            *number = *lookup.value;
        }
    }
}

impl Lookup<'_> {
    /// Asks for the value that its node has for these bits.
    #[inline]
    fn aim<A: Address>(&mut self, bits: A::Bits, skip: u8, ahead: &impl Ahead) {
        let node = self.piece.get(self.node..).unwrap_or_default();
        self.value = trie::value(node, A::eight(bits, skip)).unwrap_or(&0);
        ahead.fetch(self.value);
    }
}

/// Asks for the fixed part of a node, which may lie in two lines.
#[inline]
fn fetch_node(node: &[u32], ahead: &impl Ahead) {
    if let Some(fixed) = node.first_chunk::<{ trie::FIXED }>() {
        let [first, .., last] = fixed;
        ahead.fetch(first);
        ahead.fetch(last);
    }
}
