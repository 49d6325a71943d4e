//! Two words of 32 bits that are read and written as one.

/// The two words: the one at the lower address first.
#[inline]
pub(crate) fn halves(pair: u64) -> (u32, u32) {
    let (low, high) = (low(pair), low(pair >> 32));
    if LITTLE_ENDIAN { (low, high) } else { (high, low) }
}

/// Two words as one: the first at the lower address.
#[inline]
pub(crate) fn pair(first: u32, second: u32) -> u64 {
    let (low, high) = if LITTLE_ENDIAN { (first, second) } else { (second, first) };
    u64::from(high) << 32 | u64::from(low)
}

/// A place in a stream, modulo 2^32.
#[inline]
#[expect(clippy::cast_possible_truncation, reason = "the lower half is what is asked for")]
pub(crate) fn low(position: u64) -> u32 {
    position as u32
}

const LITTLE_ENDIAN: bool = cfg!(target_endian = "little");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_word_is_at_the_lower_address() {
        let (first, second) = (0x0102_0304_u32, 0xa5b6_c7d8);
        let bytes = pair(first, second).to_ne_bytes();
        assert_eq!(bytes[..4], first.to_ne_bytes());
        assert_eq!(bytes[4..], second.to_ne_bytes());
        assert_eq!(halves(pair(first, second)), (first, second));
    }
}
