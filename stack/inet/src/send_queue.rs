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

use crate::limits::{SEND_RANGES_MAX, SPARE_QUEUES_MAX};

/// A piece of the client's transmit area.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Range {
    /// First byte, from the start of the transmit area (or of the private copy).
    pub offset: u32,
    /// Length in bytes.
    pub len: u32,
}

/// Where the bytes of a queue are.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Store<'a> {
    /// In the client's transmit area.
    Client,
    /// In the daemon's own memory: the client is gone.
    Private(&'a [u8]),
}

/// The queue is cut into more pieces than a well-behaved client makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TooManyRanges;

/// Posted and unacknowledged bytes of one stream.
///
/// A client that answers one request at a time posts one range; the rest costs memory only where
/// there is one.
#[derive(Debug, Default)]
pub(crate) struct SendQueue {
    released: u64,
    len: u32,
    /// Of the front range; that is as long as what the others leave of `len`.
    offset: u32,
    more: Option<Box<More>>,
}

const _: () = assert!(size_of::<SendQueue>() <= 24, "every idle connection pays for this");

/// What queues of more than one range had and others will need; without it each burst would allocate.
#[derive(Debug, Default)]
#[expect(clippy::vec_box, reason = "the boxes themselves are what is kept")]
pub(crate) struct Spare(Vec<Box<More>>);

impl Spare {
    fn take(&mut self) -> Box<More> {
        self.0.pop().unwrap_or_default()
    }

    fn keep(&mut self, mut more: Box<More>) {
        if self.0.len() < SPARE_QUEUES_MAX && more.private.is_none() {
            more.ranges.clear();
            more.behind = 0;
            more.cursor = Cursor::default();
            self.0.push(more);
        }
    }
}

/// What a queue of more than one range has; stays until the queue is empty.
#[derive(Debug, Default)]
struct More {
    /// After the front.
    ranges: VecDeque<Range>,
    /// How long these are together.
    behind: u32,
    private: Option<Box<[u8]>>,
    /// Where the last lookup ended: output reads the queue front to back.
    cursor: Cursor,
}

/// Position of a range behind the front, and of its first byte from the end of the front.
#[derive(Clone, Copy, Debug, Default)]
struct Cursor {
    index: usize,
    start: u32,
}

impl SendQueue {
    /// An empty queue of a stream of which so much has been released.
    pub(crate) fn resumed(released: u64) -> Self {
        Self { released, ..Self::default() }
    }

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
    pub(crate) fn store(&self) -> Store<'_> {
        match self.more.as_ref().and_then(|more| more.private.as_deref()) {
            Some(bytes) => Store::Private(bytes),
            None => Store::Client,
        }
    }

    /// Bytes of the daemon's own memory that it occupies.
    #[must_use]
    pub(crate) fn private_len(&self) -> usize {
        match self.store() {
            Store::Client => 0,
            Store::Private(bytes) => bytes.len(),
        }
    }

    fn front(&self) -> Range {
        let behind = self.more.as_ref().map_or(0, |more| more.behind);
        Range { offset: self.offset, len: self.len.saturating_sub(behind) }
    }

    fn last(&self) -> Range {
        let last = self.more.as_ref().and_then(|more| more.ranges.back());
        last.copied().unwrap_or_else(|| self.front())
    }

    /// Appends a range; one that continues the last is merged with it.
    ///
    /// # Errors
    /// [`TooManyRanges`] when the limit is reached.
    pub(crate) fn push(&mut self, range: Range, spare: &mut Spare) -> Result<(), TooManyRanges> {
        let total = self.len.checked_add(range.len).ok_or(TooManyRanges)?;
        if self.len == 0 {
            self.offset = range.offset;
        } else if self.last().end() == range.offset {
            if let Some(more) = &mut self.more
                && let Some(last) = more.ranges.back_mut()
            {
                last.len = last.len.saturating_add(range.len);
                more.behind = more.behind.saturating_add(range.len);
            }
        } else {
            let more = self.more.get_or_insert_with(|| spare.take());
            if more.ranges.len() >= SEND_RANGES_MAX - 1 {
                return Err(TooManyRanges);
            }
            more.ranges.push_back(range);
            more.behind = more.behind.saturating_add(range.len);
        }
        self.len = total;
        Ok(())
    }

    /// The peer has acknowledged `len` bytes: takes them from the front.
    pub(crate) fn release(&mut self, len: u32, spare: &mut Spare) {
        let mut left = len.min(self.len);
        let mut front = self.front();
        self.len -= left;
        self.released = self.released.saturating_add(u64::from(left));
        if self.len == 0 {
            self.offset = 0;
            if let Some(more) = self.more.take() {
                spare.keep(more);
            }
            return;
        }
        while front.len <= left {
            left -= front.len;
            let Some(more) = &mut self.more else { return };
            let Some(next) = more.ranges.pop_front() else { return };
            more.behind = more.behind.saturating_sub(next.len);
            front = next;
            more.cursor = Cursor::default();
        }
        self.offset = front.offset.wrapping_add(left);
    }

    /// The piece that holds the byte `offset` bytes after the front, from that byte on, no longer
    /// than `len`. `None` beyond the end.
    pub(crate) fn piece(&mut self, offset: u32, len: u32) -> Option<Range> {
        let front = self.front();
        let Some(behind) = offset.checked_sub(front.len) else {
            return Some(front.piece(offset, len));
        };
        let More { ranges, cursor, .. } = &mut **self.more.as_mut()?;
        if behind < cursor.start {
            *cursor = Cursor::default();
        }
        loop {
            let range = ranges.get(cursor.index)?;
            let skip = behind - cursor.start;
            if skip < range.len {
                return Some(range.piece(skip, len));
            }
            if cursor.index + 1 == ranges.len() {
                // Not beyond the last range: it may grow yet.
                return None;
            }
            cursor.start = cursor.start.saturating_add(range.len);
            cursor.index += 1;
        }
    }

    /// Moves all bytes into private memory, read with `copy_out(offset, out)`.
    pub(crate) fn make_private(&mut self, mut copy_out: impl FnMut(u32, &mut [u8])) {
        if self.len == 0 {
            return;
        }
        let mut bytes = vec![0_u8; self.len as usize];
        let mut rest = bytes.as_mut_slice();
        let front = self.front();
        let more = self.more.get_or_insert_default();
        for range in core::iter::once(&front).chain(&more.ranges) {
            let (piece, tail) = rest.split_at_mut((range.len as usize).min(rest.len()));
            copy_out(range.offset, piece);
            rest = tail;
        }
        self.offset = 0;
        **more = More { private: Some(bytes.into_boxed_slice()), ..More::default() };
    }
}

impl Range {
    fn end(&self) -> u32 {
        self.offset.wrapping_add(self.len)
    }

    fn piece(&self, skip: u32, len: u32) -> Self {
        Self { offset: self.offset.wrapping_add(skip), len: len.min(self.len - skip) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn contiguous_ranges_merge() {
        let mut queue = SendQueue::default();
        queue.push(Range { offset: 100, len: 10 }, &mut Spare::default()).unwrap();
        queue.push(Range { offset: 110, len: 5 }, &mut Spare::default()).unwrap();
        assert_eq!(queue.piece(12, 100), Some(Range { offset: 112, len: 3 }));
        assert_eq!(queue.piece(15, 1), None);
    }

    /// Looking beyond the end does not lose what the last range gains afterwards.
    #[test]
    fn a_range_that_was_read_to_its_end_grows() {
        let (mut queue, mut spare) = (SendQueue::default(), Spare::default());
        queue.push(Range { offset: 0, len: 10 }, &mut spare).unwrap();
        queue.push(Range { offset: 100, len: 5 }, &mut spare).unwrap();
        assert_eq!(queue.piece(15, 1), None);
        queue.push(Range { offset: 105, len: 5 }, &mut spare).unwrap();
        assert_eq!(queue.piece(15, 9), Some(Range { offset: 105, len: 5 }));
    }

    #[test]
    fn fragments_beyond_the_limit_are_refused() {
        let mut queue = SendQueue::default();
        for i in 0..u32::try_from(SEND_RANGES_MAX).unwrap() {
            queue.push(Range { offset: i * 2, len: 1 }, &mut Spare::default()).unwrap();
        }
        assert_eq!(
            queue.push(Range { offset: 1, len: 1 }, &mut Spare::default()),
            Err(TooManyRanges)
        );
    }

    proptest! {
        #[test]
        fn behaves_like_a_byte_queue(ops in prop::collection::vec((0u32..5000, 1u32..300, 0u32..400, any::<bool>()), 1..60)) {
            let area: Vec<u8> = (0..8192u32).map(|i| (i % 251) as u8).collect();
            let mut queue = SendQueue::default();
            let mut model: Vec<u8> = Vec::new();
            for (offset, len, at, private) in ops {
                if matches!(queue.store(), Store::Client) {
                    queue.push(Range { offset, len }, &mut Spare::default()).unwrap();
                    model.extend_from_slice(&area[offset as usize..(offset + len) as usize]);
                }
                let release = at.min(queue.len() / 2);
                queue.release(release, &mut Spare::default());
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
