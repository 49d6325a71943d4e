//! Longest-prefix match in one piece of the address space.
//!
//! ```text
//! node   children  64 bits: six more bits of the address lead to another node
//!        changes   64 bits: or to a leaf, which is another than the one before it
//!        nodes ──► [child][child] …   one for each bit of `children`, in order
//!        leaves ─► [hop][hop] …       one for each bit of `changes`, in order
//! ```
//! A poptrie (Asai and Ohara, SIGCOMM 2015): what 64 pointers would take is two words whose bits are
//! counted. A million routes fit into a core's caches.

use crate::address::Address;
use crate::net::Net;

/// Bits of the address that one node looks at.
const STRIDE: u8 = 6;

/// The number of a next hop; 0: there is no route.
pub(crate) type Hop = u32;

/// A set of routes: prefix and next hop.
pub(crate) type Entry<A> = (Net<A>, Hop);

#[derive(Clone, Copy, Debug, Default)]
struct Node {
    children: u64,
    changes: u64,
    first_child: u32,
    first_leaf: u32,
}

/// The routes of one piece, all of which are longer than `skip` bits.
#[derive(Debug)]
pub(crate) struct Trie {
    nodes: Box<[Node]>,
    leaves: Box<[Hop]>,
}

impl Trie {
    /// Of routes sorted by address and then by length, whose first `skip` bits are the same. Where none
    /// leads, `inherited` does.
    pub(crate) fn new<A: Address>(entries: &[Entry<A>], skip: u8, inherited: Hop) -> Self {
        let mut building = Building { nodes: vec![Node::default()], leaves: Vec::new() };
        building.fill(0, entries, skip, inherited);
        Self { nodes: building.nodes.into(), leaves: building.leaves.into() }
    }

    /// The next hop for an address of this piece.
    #[inline]
    pub(crate) fn lookup<A: Address>(&self, bits: A::Bits, mut skip: u8) -> Hop {
        let mut index = 0;
        while let Some(node) = self.nodes.get(index) {
            let slot = A::six(bits, skip);
            if node.children >> slot & 1 == 0 {
                let at = node.first_leaf.wrapping_add(rank(node.changes, slot));
                return self.leaves.get(at as usize).copied().unwrap_or(0);
            }
            index = node.first_child.wrapping_add(rank(node.children, slot)) as usize;
            skip = skip.wrapping_add(STRIDE);
        }
        0
    }

    /// Bytes of memory.
    pub(crate) fn len(&self) -> usize {
        size_of_val(&*self.nodes).saturating_add(size_of_val(&*self.leaves))
    }
}

/// How many of the bits up to and with `slot` are set, less one.
#[inline]
fn rank(bits: u64, slot: u32) -> u32 {
    (bits << 63_u32.wrapping_sub(slot)).count_ones().wrapping_sub(1)
}

struct Building {
    nodes: Vec<Node>,
    leaves: Vec<Hop>,
}

impl Building {
    fn fill<A: Address>(&mut self, index: usize, entries: &[Entry<A>], skip: u8, inherited: Hop) {
        let end = skip.saturating_add(STRIDE);
        // Longer ones come after those that hold them, and take their places.
        let mut hops = [inherited; 64];
        let mut children = 0_u64;
        for (net, hop) in entries {
            let slot = A::six(net.addr().bits(), skip) as usize;
            if net.prefix_len() > end {
                children |= 1 << slot;
            } else {
                let count = 1_usize << end.saturating_sub(net.prefix_len()).min(STRIDE);
                hops.iter_mut().skip(slot).take(count).for_each(|place| *place = *hop);
            }
        }
        let first_leaf = u32::try_from(self.leaves.len()).unwrap_or(u32::MAX);
        let mut changes = 0_u64;
        let mut last = None;
        for (slot, hop) in hops.iter().enumerate() {
            if children >> slot & 1 == 0 && last != Some(*hop) {
                changes |= 1 << slot;
                self.leaves.push(*hop);
                last = Some(*hop);
            }
        }
        let first_child = self.nodes.len();
        let count = children.count_ones() as usize;
        self.nodes.resize(first_child.saturating_add(count), Node::default());
        if let Some(node) = self.nodes.get_mut(index) {
            let first_child = u32::try_from(first_child).unwrap_or(u32::MAX);
            *node = Node { children, changes, first_child, first_leaf };
        }
        let mut rest = entries;
        let mut child = first_child;
        for (slot, hop) in hops.iter().enumerate() {
            let is_here = |(net, _): &Entry<A>| A::six(net.addr().bits(), skip) as usize == slot;
            let (here, after) = rest.split_at(rest.iter().take_while(|e| is_here(e)).count());
            rest = after;
            if children >> slot & 1 == 1 {
                // Those that end here stand before all that go on.
                let is_long = |(net, _): &Entry<A>| net.prefix_len() > end;
                let at = here.iter().position(is_long).unwrap_or(here.len());
                self.fill(child, here.get(at..).unwrap_or_default(), end, *hop);
                child = child.saturating_add(1);
            }
        }
    }
}
