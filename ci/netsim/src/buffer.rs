//! A connection's receive buffer.

use tcp::RecvBuffer;

/// A ring: unread bytes, then bytes stored ahead of a hole.
///
/// ```text
///        front          front + unread
///   ──────┼▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒┼────▒▒▒▒────┼──────
///          delivered        RCV.NXT       front + capacity
/// ```
#[derive(Debug)]
pub struct RecvRing {
    bytes: Box<[u8]>,
    front: usize,
    unread: usize,
}

impl RecvRing {
    /// Room for `capacity` bytes.
    #[must_use]
    pub fn new(capacity: u32) -> Self {
        Self { bytes: vec![0; capacity as usize].into_boxed_slice(), front: 0, unread: 0 }
    }

    /// The first unread bytes that lie together.
    #[must_use]
    pub fn readable(&self) -> &[u8] {
        let end = (self.front + self.unread).min(self.bytes.len());
        &self.bytes[self.front..end]
    }

    /// The user took the first `len` bytes of [`RecvRing::readable`].
    pub fn consume(&mut self, len: usize) {
        self.front = (self.front + len) % self.bytes.len();
        self.unread -= len;
    }

    /// Bytes that wait for the user.
    #[must_use]
    pub const fn unread(&self) -> usize {
        self.unread
    }
}

impl RecvBuffer for RecvRing {
    fn window(&self) -> u32 {
        u32::try_from(self.bytes.len() - self.unread).unwrap_or(u32::MAX)
    }

    fn write(&mut self, offset: u32, text: &[u8]) -> u32 {
        let room = self.window().saturating_sub(offset) as usize;
        let stored = &text[..text.len().min(room)];
        let at = (self.front + self.unread + offset as usize) % self.bytes.len();
        let first = stored.len().min(self.bytes.len() - at);
        self.bytes[at..at + first].copy_from_slice(&stored[..first]);
        self.bytes[..stored.len() - first].copy_from_slice(&stored[first..]);
        u32::try_from(stored.len()).unwrap_or(u32::MAX)
    }

    fn advance(&mut self, len: u32) {
        assert!(len <= self.window(), "advanced beyond the buffer");
        self.unread += len as usize;
    }
}
