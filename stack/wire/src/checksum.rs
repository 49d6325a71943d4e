//! The Internet checksum (RFC 1071): the ones' complement sum of 16-bit words.
//!
//! The sum does not depend on byte order (RFC 1071, 2.B), so bytes are added as native 64-bit words
//! and swapped once at the end of a piece.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A checksum in the making. Pieces may have any length: a piece that starts at an odd offset of
/// the whole is swapped (RFC 1071, 2.B).
///
/// ```
/// use wire::Checksum;
/// // RFC 1071, 3: numerical example.
/// let sum = Checksum::new().sum(&[0x00, 0x01, 0xf2]).sum(&[0x03, 0xf4, 0xf5, 0xf6, 0xf7]);
/// assert_eq!(sum.folded(), 0xddf2);
/// assert_eq!(sum.finish(), !0xddf2);
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Checksum {
    /// Sum of 16-bit words in network order, not folded.
    sum: u64,
    /// An odd number of bytes was added: the next piece starts in the middle of a word.
    odd: bool,
}

impl Checksum {
    /// The sum of nothing.
    #[must_use]
    pub const fn new() -> Self {
        Self { sum: 0, odd: false }
    }

    /// The sum of the pseudo header that TCP and UDP checksums cover (RFC 9293, 3.1; RFC 768).
    ///
    /// `len` is the length of transport header and text.
    #[inline]
    #[must_use]
    pub const fn pseudo_v4(src: Ipv4Addr, dst: Ipv4Addr, protocol: u8, len: u16) -> Self {
        Self::new()
            .add_u32(src.to_bits())
            .add_u32(dst.to_bits())
            .add_word(protocol as u64)
            .add_u16(len)
    }

    /// The sum of the IPv6 pseudo header (RFC 8200, 8.1).
    ///
    /// `len` is the length of the upper-layer header and its data.
    #[inline]
    #[must_use]
    pub const fn pseudo_v6(src: Ipv6Addr, dst: Ipv6Addr, protocol: u8, len: u16) -> Self {
        Self::new()
            .add_u128(src.to_bits())
            .add_u128(dst.to_bits())
            .add_word(protocol as u64)
            .add_u16(len)
    }

    /// The sum of the pseudo header of either version, by the addresses'. Addresses of two versions are
    /// taken for IPv6's (RFC 4291, 2.5.5.2); no packet has them.
    #[inline]
    #[must_use]
    pub const fn pseudo(src: IpAddr, dst: IpAddr, protocol: u8, len: u16) -> Self {
        match (src, dst) {
            (IpAddr::V4(src), IpAddr::V4(dst)) => Self::pseudo_v4(src, dst, protocol, len),
            (IpAddr::V6(src), IpAddr::V6(dst)) => Self::pseudo_v6(src, dst, protocol, len),
            (IpAddr::V4(src), IpAddr::V6(dst)) => {
                Self::pseudo_v6(src.to_ipv6_mapped(), dst, protocol, len)
            }
            (IpAddr::V6(src), IpAddr::V4(dst)) => {
                Self::pseudo_v6(src, dst.to_ipv6_mapped(), protocol, len)
            }
        }
    }

    /// Adds bytes, up to 4 GiB at a time.
    #[inline]
    #[must_use]
    pub fn sum(self, bytes: &[u8]) -> Self {
        let piece = u16::from_be_bytes(fold(native_sum(bytes)).to_ne_bytes());
        let piece = if self.odd { piece.swap_bytes() } else { piece };
        let odd = self.odd ^ !bytes.len().is_multiple_of(2);
        Self { odd, ..self.add_word(piece as u64) }
    }

    /// Copies `src` to `dst` and adds it, reading `src` from memory once. `None`, and nothing is
    /// copied, if the lengths differ.
    #[must_use]
    pub fn copy_and_sum(self, dst: &mut [u8], src: &[u8]) -> Option<Self> {
        if dst.len() != src.len() {
            return None;
        }
        let pieces = dst.chunks_mut(COPY_LEN).zip(src.chunks(COPY_LEN));
        Some(pieces.fold(self, |checksum, (dst, src)| {
            dst.copy_from_slice(src);
            checksum.sum(dst)
        }))
    }

    /// Adds one word. Only at even offsets.
    #[inline]
    #[must_use]
    pub const fn add_u16(self, word: u16) -> Self {
        self.add_word(word as u64)
    }

    /// Adds two words. Only at even offsets.
    #[inline]
    #[must_use]
    pub const fn add_u32(self, words: u32) -> Self {
        self.add_word(words as u64)
    }

    /// Adds eight words, as four pairs. Only at even offsets.
    #[inline]
    const fn add_u128(self, words: u128) -> Self {
        const PAIR: u128 = 0xffff_ffff;
        self.add_u32((words >> 96) as u32)
            .add_u32((words >> 64 & PAIR) as u32)
            .add_u32((words >> 32 & PAIR) as u32)
            .add_u32((words & PAIR) as u32)
    }

    /// The sum folded to 16 bits but not complemented: what a NIC wants in the checksum field when
    /// it is to add the rest of the packet.
    #[inline]
    #[must_use]
    pub const fn folded(self) -> u16 {
        fold(self.sum)
    }

    /// The value of a checksum field that counted as zero in the sum.
    #[inline]
    #[must_use]
    pub const fn finish(self) -> u16 {
        !self.folded()
    }

    /// Whether the bytes, checksum field included, are intact.
    #[inline]
    #[must_use]
    pub const fn is_valid(self) -> bool {
        self.finish() == 0
    }

    /// A carry out of 64 bits would need 2^32 pieces.
    #[inline]
    const fn add_word(self, word: u64) -> Self {
        Self { sum: self.sum.wrapping_add(word), odd: self.odd }
    }
}

/// The checksum after a covered word changes from `old` to `new` (RFC 1624, equation 3).
#[inline]
#[must_use]
pub const fn update_u16(checksum: u16, old: u16, new: u16) -> u16 {
    Checksum::new().add_u16(!checksum).add_u16(!old).add_u16(new).finish()
}

/// The checksum after a covered pair of words, such as an address, changes (RFC 1624, equation 3).
#[inline]
#[must_use]
pub const fn update_u32(checksum: u16, old: u32, new: u32) -> u16 {
    Checksum::new().add_u16(!checksum).add_u32(!old).add_u32(new).finish()
}

/// Bytes copied before they are summed: few enough to still be in the L1 cache then.
const COPY_LEN: usize = 4096;

/// 64-bit words per step of the main loop: enough that the loop itself costs nothing beside them.
const LANES: usize = 8;

/// A number congruent, modulo 2^16 - 1, to the sum of `bytes` as native 16-bit words; zero only if
/// all bytes are zero.
///
/// Whatever fills no block is added word by word with end-around carry: for a header, whose length
/// the compiler knows, that is a handful of additions.
#[inline]
fn native_sum(bytes: &[u8]) -> u64 {
    let (blocks, rest) = bytes.as_chunks::<{ 8 * LANES }>();
    let mut total = if blocks.is_empty() { 0 } else { block_sum(blocks) };
    let (words, mut rest) = rest.as_chunks::<8>();
    for word in words {
        total = add_carry(total, u64::from_ne_bytes(*word));
    }
    let mut last = 0_u64;
    if let Some((word, after)) = rest.split_first_chunk::<4>() {
        last = last.wrapping_add(u64::from(u32::from_ne_bytes(*word)));
        rest = after;
    }
    if let Some((word, after)) = rest.split_first_chunk::<2>() {
        last = last.wrapping_add(u64::from(u16::from_ne_bytes(*word)));
        rest = after;
    }
    if let [byte] = rest {
        last = last.wrapping_add(u64::from(u16::from_ne_bytes([*byte, 0])));
    }
    add_carry(total, last)
}

/// [`native_sum`] of whole blocks: one addition with carry per word, each taking the carry of the
/// one before; a block's last comes in at its bottom, so that none has to be kept over a jump. On x86-64 that is
/// one instruction per 8 bytes, half of what vectors without a carry need there (SSE2: three for 16 bytes, and the unpacking).
#[inline(never)]
fn block_sum(blocks: &[[u8; 8 * LANES]]) -> u64 {
    let mut sum = 0_u64;
    for block in blocks {
        let mut carry = false;
        let (words, _) = block.as_chunks::<8>();
        for word in words {
            let (partial, first) = sum.overflowing_add(u64::from_ne_bytes(*word));
            let (total, second) = partial.overflowing_add(u64::from(carry));
            sum = total;
            carry = first | second;
        }
        sum = add_carry(sum, u64::from(carry));
    }
    sum
}

/// Ones' complement addition: a carry out of the top comes back in at the bottom.
#[inline]
const fn add_carry(a: u64, b: u64) -> u64 {
    let (sum, carry) = a.overflowing_add(b);
    sum.wrapping_add(carry as u64)
}

/// Adds the four 16-bit words of `sum` with end-around carry. Zero only for zero.
#[inline]
const fn fold(sum: u64) -> u16 {
    // In the upper half: both halves, and the carry of the lower one, which is theirs.
    let halves = sum.wrapping_add(sum.rotate_left(32));
    let sum = (halves >> 32) as u32;
    (sum.wrapping_add(sum.rotate_left(16)) >> 16) as u16
}
