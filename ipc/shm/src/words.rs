//! Two words of 32 bits that are read and written as one.

/// The two words: the one at the lower address first.
pub(crate) fn halves(pair: u64) -> (u32, u32) {
    let [a, b, c, d, e, f, g, h] = pair.to_ne_bytes();
    (u32::from_ne_bytes([a, b, c, d]), u32::from_ne_bytes([e, f, g, h]))
}

/// Two words as one: the first at the lower address.
pub(crate) fn pair(first: u32, second: u32) -> u64 {
    let [a, b, c, d] = first.to_ne_bytes();
    let [e, f, g, h] = second.to_ne_bytes();
    u64::from_ne_bytes([a, b, c, d, e, f, g, h])
}

/// A place in a stream, modulo 2^32.
pub(crate) fn low(position: u64) -> u32 {
    let [a, b, c, d, ..] = position.to_le_bytes();
    u32::from_le_bytes([a, b, c, d])
}
