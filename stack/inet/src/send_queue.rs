//! Bytes a client has posted for one stream and the peer has not acknowledged.
//!
//! ```text
//!     SND.UNA                                    end of the queue
//!        │ front range        range       range      │
//!        ▼─────────────────┬──────────┬─────────────▼
//!        │ offset,len      │          │             │   ranges of the client's transmit area
//!        └─────────────────┴──────────┴─────────────┘
//! ```
//! The bytes stay where the client wrote them. When the client dies while some are unsent they are
//! copied into private memory once, so that its slot can be taken back at once.

use std::collections::VecDeque;

use crate::limits::SEND_RANGES_MAX;

/// A piece of the client's transmit area.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Range {
    /// First byte, from the start of the transmit area (or of the private copy).
    pub offset: u32,
    /// Length in bytes.
    pub len: u32,
}

/// Where the bytes of a queue are.
#[derive(Debug)]
pub(crate) enum Store {
    /// In the client's transmit area.
    Client,
    /// In the daemon's own memory: the client is gone.
    Private(Box<[u8]>),
}

/// The queue is cut into more pieces than a well-behaved client makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TooManyRanges;

/// Posted and unacknowledged bytes of one stream.
#[derive(Debug)]
pub(crate) struct SendQueue {
    ranges: VecDeque<Range>,
    len: u32,
    released: u64,
    store: Store,
    /// Where the last lookup ended: output reads the queue front to back.
    cursor: Cursor,
}

/// Position of a range in the queue and of its first byte in the stream (from SND.UNA).
#[derive(Clone, Copy, Debug, Default)]
struct Cursor {
    index: usize,
    start: u32,
}

impl Default for SendQueue {
    fn default() -> Self {
        Self {
            ranges: VecDeque::new(),
            len: 0,
            released: 0,
            store: Store::Client,
            cursor: Cursor::default(),
        }
    }
}

impl SendQueue {
    /// Bytes in the queue.
    #[must_use]
    pub(crate) fn len(&self) -> u32 {
        self.len
    }

    /// Bytes released since the stream began: what the client may use again.
    #[must_use]
    pub(crate) fn released(&self) -> u64 {
        self.released
    }

    /// Where the bytes are.
    #[must_use]
    pub(crate) fn store(&self) -> &Store {
        &self.store
    }

    /// Appends a range; one that continues the last is merged with it.
    ///
    /// # Errors
    /// [`TooManyRanges`] when the limit is reached.
    pub(crate) fn push(&mut self, range: Range) -> Result<(), TooManyRanges> {
        let total = self.len.checked_add(range.len).ok_or(TooManyRanges)?;
        let full = self.ranges.len() >= SEND_RANGES_MAX;
        match self.ranges.back_mut() {
            Some(last) if last.offset.wrapping_add(last.len) == range.offset => {
                last.len = last.len.saturating_add(range.len);
            }
            _ if full => return Err(TooManyRanges),
            _ => self.ranges.push_back(range),
        }
        self.len = total;
        Ok(())
    }

    /// The peer has acknowledged `len` bytes: takes them from the front.
    pub(crate) fn release(&mut self, len: u32) {
        let mut left = len.min(self.len);
        self.len -= left;
        self.released = self.released.saturating_add(u64::from(left));
        self.cursor = Cursor::default();
        while let Some(front) = self.ranges.front_mut() {
            if front.len > left {
                front.offset = front.offset.wrapping_add(left);
                front.len -= left;
                return;
            }
            left -= front.len;
            let _ = self.ranges.pop_front();
        }
    }

    /// The piece that holds the byte `offset` bytes after the front, from that byte on, no longer
    /// than `len`. `None` beyond the end.
    pub(crate) fn piece(&mut self, offset: u32, len: u32) -> Option<Range> {
        if offset < self.cursor.start {
            self.cursor = Cursor::default();
        }
        loop {
            let range = self.ranges.get(self.cursor.index)?;
            let skip = offset - self.cursor.start;
            if skip < range.len {
                return Some(Range {
                    offset: range.offset.wrapping_add(skip),
                    len: len.min(range.len - skip),
                });
            }
            self.cursor.start = self.cursor.start.saturating_add(range.len);
            self.cursor.index += 1;
        }
    }

    /// Moves all bytes into private memory, read with `copy_out(offset, out)`.
    pub(crate) fn make_private(&mut self, mut copy_out: impl FnMut(u32, &mut [u8])) {
        let mut bytes = vec![0_u8; self.len as usize];
        let mut rest = bytes.as_mut_slice();
        for range in &self.ranges {
            let (piece, tail) = rest.split_at_mut((range.len as usize).min(rest.len()));
            copy_out(range.offset, piece);
            rest = tail;
        }
        self.ranges.clear();
        self.ranges.push_back(Range { offset: 0, len: self.len });
        self.cursor = Cursor::default();
        self.store = Store::Private(bytes.into_boxed_slice());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn contiguous_ranges_merge() {
        let mut queue = SendQueue::default();
        queue.push(Range { offset: 100, len: 10 }).unwrap();
        queue.push(Range { offset: 110, len: 5 }).unwrap();
        assert_eq!(queue.piece(12, 100), Some(Range { offset: 112, len: 3 }));
        assert_eq!(queue.piece(15, 1), None);
    }

    #[test]
    fn fragments_beyond_the_limit_are_refused() {
        let mut queue = SendQueue::default();
        for i in 0..u32::try_from(SEND_RANGES_MAX).unwrap() {
            queue.push(Range { offset: i * 2, len: 1 }).unwrap();
        }
        assert_eq!(queue.push(Range { offset: 1, len: 1 }), Err(TooManyRanges));
    }

    proptest! {
        #[test]
        fn behaves_like_a_byte_queue(ops in prop::collection::vec((0u32..5000, 1u32..300, 0u32..400, any::<bool>()), 1..60)) {
            let area: Vec<u8> = (0..8192u32).map(|i| (i % 251) as u8).collect();
            let mut queue = SendQueue::default();
            let mut model: Vec<u8> = Vec::new();
            for (offset, len, at, private) in ops {
                if matches!(queue.store(), Store::Client) {
                    queue.push(Range { offset, len }).unwrap();
                    model.extend_from_slice(&area[offset as usize..(offset + len) as usize]);
                }
                let release = at.min(queue.len() / 2);
                queue.release(release);
                drop(model.drain(..release as usize));
                if private && matches!(queue.store(), Store::Client) && model.len() > 2000 {
                    queue.make_private(|o, out| out.copy_from_slice(&area[o as usize..][..out.len()]));
                }
                prop_assert_eq!(queue.len() as usize, model.len());
                let mut read = Vec::new();
                let mut position = at.min(queue.len());
                let start = position;
                while let Some(piece) = queue.piece(position, 100) {
                    let source = match queue.store() { Store::Client => &area[..], Store::Private(bytes) => bytes };
                    read.extend_from_slice(&source[piece.offset as usize..][..piece.len as usize]);
                    position += piece.len;
                }
                prop_assert_eq!(&read[..], &model[start as usize..]);
            }
        }
    }
}
