//! Longest-prefix match in one piece of the address space.
//!
//! ```text
//! node   8 words   changes: a bit for each of 256 slots, by the next eight bits of the address, that has
//!                  another value than the one before it
//!        2 words   ranks: how many bits are set before each of those 8 words, a byte each
//!        n words   values, one for each bit that is set: a next hop, or where another node begins
//! ```
//! Nodes lie one behind the other in one array. What 256 pointers would take is bits that are counted
//! (Asai and Ohara, SIGCOMM 2015), so that a million routes fit into a core's caches.

use std::sync::Arc;

use crate::address::Address;
use crate::net::Net;

/// Bits of the address that one node looks at.
pub(crate) const STRIDE: u8 = 8;
/// Slots of a node.
const SLOTS: usize = 1 << STRIDE;
/// Set in a value that says where another node begins.
pub(crate) const NODE: u32 = 1 << 31;

/// Words of a node before its values.
pub(crate) const FIXED: usize = 10;

/// The number of a next hop, less than [`NODE`]; 0: there is no route.
pub(crate) type Hop = u32;

/// A set of routes: prefix and next hop.
pub(crate) type Entry<A> = (Net<A>, Hop);

/// The routes of one piece.
pub(crate) type Words = Arc<[u32]>;

/// Of routes sorted by address and then by length, which have the same first `skip` bits and are longer.
/// Where none leads, `inherited` does.
pub(crate) fn build<A: Address>(entries: &[Entry<A>], skip: u8, inherited: Hop) -> Words {
    let mut words = Vec::new();
    fill(&mut words, entries, skip, inherited);
    words.into()
}

/// A piece all of which goes to the same.
pub(crate) fn uniform<A: Address>(hop: Hop) -> Words {
    build::<A>(&[], 0, hop)
}

/// The next hop for an address of this piece.
#[inline]
pub(crate) fn lookup<A: Address>(words: &[u32], bits: A::Bits, mut skip: u8) -> Hop {
    let mut at = 0_usize;
    loop {
        let node = words.get(at..).unwrap_or_default();
        let value = value(node, A::eight(bits, skip)).copied().unwrap_or(0);
        if value & NODE == 0 {
            return value;
        }
        at = (value & !NODE) as usize;
        skip = skip.wrapping_add(STRIDE);
    }
}

/// The value of a slot of the node at the front.
#[inline]
pub(crate) fn value(node: &[u32], slot: u32) -> Option<&u32> {
    let (changes, behind) = node.split_first_chunk::<8>()?;
    let (ranks, values) = behind.split_first_chunk::<2>()?;
    let word = slot >> 5;
    let set = changes.get(word as usize).copied().unwrap_or(0) << (31_u32.wrapping_sub(slot & 31));
    let [low, high] = *ranks;
    let ranks = u64::from(low) | u64::from(high) << 32;
    let before = (ranks >> (8 * word)) & 0xff;
    // The first slot always has a value of its own, so that one bit is set at least.
    values.get((before as usize).wrapping_add(set.count_ones() as usize).wrapping_sub(1))
}

fn fill<A: Address>(words: &mut Vec<u32>, entries: &[Entry<A>], skip: u8, inherited: Hop) {
    let end = skip.saturating_add(STRIDE);
    // Longer ones come after those that hold them, and take their places.
    let mut hops = [inherited; SLOTS];
    let mut has_node = [false; SLOTS];
    for (net, hop) in entries {
        let slot = A::eight(net.addr().bits(), skip) as usize;
        if net.prefix_len() > end {
            has_node.iter_mut().skip(slot).take(1).for_each(|has| *has = true);
        } else {
            let count = 1_usize << end.saturating_sub(net.prefix_len()).min(STRIDE);
            hops.iter_mut().skip(slot).take(count).for_each(|place| *place = *hop);
        }
    }
    let mut changes = [0_u32; SLOTS / 32];
    let mut values = Vec::new();
    let mut last = None;
    for (slot, (hop, has_node)) in hops.iter().zip(&has_node).enumerate() {
        let value = if *has_node { None } else { Some(*hop) };
        if value.is_none() || value != last || slot == 0 {
            changes.iter_mut().skip(slot >> 5).take(1).for_each(|bits| *bits |= 1 << (slot & 31));
            values.push(value.unwrap_or(NODE));
        }
        last = value;
    }
    words.extend(changes);
    words.extend(ranks(&changes));
    let first_value = words.len();
    words.extend(&values);
    let mut rest = entries;
    let mut nodes = (first_value..).zip(values).filter(|(_, value)| *value == NODE);
    for (slot, (hop, has_node)) in hops.iter().zip(&has_node).enumerate() {
        let is_here = |(net, _): &Entry<A>| A::eight(net.addr().bits(), skip) as usize == slot;
        let (here, after) = rest.split_at(rest.iter().take_while(|e| is_here(e)).count());
        rest = after;
        if *has_node && let Some((place, _)) = nodes.next() {
            let begin = u32::try_from(words.len()).unwrap_or(0);
            words.iter_mut().skip(place).take(1).for_each(|word| *word = NODE | begin);
            // Those that end here stand before all that go on.
            let is_long = |(net, _): &Entry<A>| net.prefix_len() > end;
            let long = here.iter().position(is_long).unwrap_or(here.len());
            fill(words, here.get(long..).unwrap_or_default(), end, *hop);
        }
    }
}

/// Bits that are set before each of the words, a byte each: at most 224.
fn ranks(changes: &[u32; SLOTS / 32]) -> [u32; 2] {
    let mut ranks = 0_u64;
    let mut count = 0_u64;
    for (word, bits) in (0..).zip(changes) {
        ranks |= count << (8 * word);
        count = count.saturating_add(bits.count_ones().into());
    }
    let [a, b, c, d, e, f, g, h] = ranks.to_le_bytes();
    [u32::from_le_bytes([a, b, c, d]), u32::from_le_bytes([e, f, g, h])]
}
