//! How far a client says it has read.
//!
//! The word is `generation << 48 | bytes consumed modulo 2^48`: with the generation in it, neither a
//! word left over from the cell's last socket nor a late store of a thread that still used that one
//! is taken for misbehaviour of the next.

use super::lane::{CellId, Lane};
use super::misbehaved::PeerMisbehaved;

const BITS: u32 = 48;
const MASK: u64 = (1 << BITS) - 1;

/// The word for a position.
pub(crate) fn emit(generation: u16, consumed: u64) -> u64 {
    u64::from(generation).wrapping_shl(BITS) | (consumed & MASK)
}

/// The position in a word, if it is of this generation.
pub(crate) fn parse(generation: u16, word: u64) -> Option<u64> {
    (word.wrapping_shr(BITS) == u64::from(generation)).then_some(word & MASK)
}

/// Bytes consumed beyond `consumed`, of which there can be no more than `unread`.
pub(super) fn newly(
    lane: &Lane,
    cell: CellId,
    consumed: u64,
    unread: u32,
) -> Result<u32, PeerMisbehaved> {
    let Some(alleged) = parse(cell.generation, lane.consumed(cell)) else { return Ok(0) };
    let delta = alleged.wrapping_sub(consumed) & MASK;
    match u32::try_from(delta) {
        Ok(delta) if delta <= unread => Ok(delta),
        _ => Err(PeerMisbehaved::ConsumedTooMuch),
    }
}

/// Does the client's word say that it has read up to `published`? A word of the cell's last socket
/// says that it has read nothing of this one. Only ever used to spare it a token.
pub(super) fn is_all(lane: &Lane, cell: CellId, published: u64) -> bool {
    parse(cell.generation, lane.consumed(cell)).unwrap_or(0) == published & MASK
}
