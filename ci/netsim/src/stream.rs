//! What applications send: bytes that tell whose they are and where in the stream they belong.
//!
//! ```text
//!   0        8        16       24       32
//!   ┌────────┬────────┬────────┬────────┬──────────────────────────────────────┐
//!   │ salt   │ len    │ ask    │ close  │ pattern, a function of salt and place│
//!   └────────┴────────┴────────┴────────┴──────────────────────────────────────┘
//! ```
//! Every connection has a salt of its own, so that bytes of another connection, or of an earlier
//! one between the same ports, cannot pass for its own.

use crate::random::mix;

/// Length of the words in front.
pub const HELLO_LEN: u64 = 32;

/// One direction of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stream {
    /// Distinguishes this stream from every other.
    pub salt: u64,
    /// Length in bytes, the words in front included.
    pub len: u64,
    /// Length of the stream to send in return, without the words in front.
    pub ask: u64,
    /// 1: whoever receives this is to close first.
    pub close: u64,
}

impl Stream {
    /// The bytes from place `at` on.
    pub fn fill(&self, at: u64, out: &mut [u8]) {
        let skip = usize::try_from(HELLO_LEN.saturating_sub(at)).unwrap_or(0).min(out.len());
        let (front, back) = out.split_at_mut(skip);
        let hello = self.hello();
        for (place, at) in front.iter_mut().zip(at..) {
            *place = hello[usize::try_from(at).unwrap_or(0)];
        }
        self.fill_pattern(at + skip as u64, back);
    }

    /// The words in front, if they are complete.
    #[must_use]
    pub fn parse(hello: &[u8; 32]) -> Self {
        let word = |at: usize| {
            let mut word = [0; 8];
            word.copy_from_slice(&hello[at..at + 8]);
            u64::from_le_bytes(word)
        };
        Self { salt: word(0), len: word(8), ask: word(16), close: word(24) }
    }

    fn hello(&self) -> [u8; 32] {
        let mut hello = [0; 32];
        for (place, word) in hello.chunks_mut(8).zip([self.salt, self.len, self.ask, self.close]) {
            place.copy_from_slice(&word.to_le_bytes());
        }
        hello
    }

    fn fill_pattern(&self, at: u64, out: &mut [u8]) {
        let block = |number: u64| mix(self.salt ^ number.wrapping_mul(0x2545_f491_4f6c_dd1d));
        let skip = usize::try_from(at % 8).unwrap_or(0);
        let lead = if skip == 0 { 0 } else { (8 - skip).min(out.len()) };
        let (front, back) = out.split_at_mut(lead);
        front.copy_from_slice(&block(at / 8).to_le_bytes()[skip..skip + lead]);
        let mut number = at.div_ceil(8);
        let (words, rest) = back.as_chunks_mut::<8>();
        for word in words {
            *word = block(number).to_le_bytes();
            number += 1;
        }
        let len = rest.len();
        rest.copy_from_slice(&block(number).to_le_bytes()[..len]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_piece_equals_that_part_of_the_whole() {
        let stream = Stream { salt: 7, len: 100, ask: 3, close: 1 };
        let mut whole = [0; 100];
        stream.fill(0, &mut whole);
        assert_eq!(Stream::parse(whole.first_chunk().unwrap()), stream);
        for from in 0..100 {
            for to in from..100 {
                let mut piece = vec![0; to - from];
                stream.fill(from as u64, &mut piece);
                assert_eq!(piece, whole[from..to], "{from}..{to}");
            }
        }
    }
}
