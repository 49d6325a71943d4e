//! The SACK option (RFC 2018 §3): which text beyond SEG.ACK has arrived, and as first block which
//! text has arrived twice (RFC 2883 §4).

use crate::{SeqNum, limits};

/// Text from `start` up to `end`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SackBlock {
    /// Left edge: the first byte.
    pub start: SeqNum,
    /// Right edge: the byte after the last.
    pub end: SeqNum,
}

/// The blocks of one SACK option, at most four; the space for options holds no more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SackBlocks {
    blocks: [SackBlock; Self::MAX],
    count: u8,
}

impl SackBlock {
    pub(crate) fn len(&self) -> u32 {
        self.end.since(self.start)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// It names something, and nothing beyond `nxt`.
    pub(crate) fn is_sane(&self, nxt: SeqNum) -> bool {
        let len = self.end.since(self.start);
        len > 0 && len <= limits::SEND_QUEUE_MAX && self.end.at_or_before(nxt)
    }

    /// All of `other` is in this block.
    pub(crate) fn covers(&self, other: &Self) -> bool {
        self.start.at_or_before(other.start) && self.end.at_or_after(other.end)
    }
}

impl SackBlocks {
    /// Most blocks in 40 bytes of options.
    pub const MAX: usize = 4;
    /// Most blocks beside the timestamps option.
    pub(crate) const MAX_WITH_TIMESTAMPS: usize = 3;

    /// No block.
    pub const NONE: Self = Self {
        blocks: [SackBlock { start: SeqNum::new(0), end: SeqNum::new(0) }; Self::MAX],
        count: 0,
    };

    /// The blocks, the most recent first.
    #[must_use]
    pub fn as_slice(&self) -> &[SackBlock] {
        self.blocks.get(..usize::from(self.count)).unwrap_or_default()
    }

    /// There is none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Adds a block; a fifth one is left out.
    pub fn push(&mut self, block: SackBlock) {
        if let Some(place) = self.blocks.get_mut(usize::from(self.count)) {
            *place = block;
            self.count = self.count.saturating_add(1);
        }
    }

    /// Reads what stands behind kind and length. A length that is no multiple of a block's is not
    /// a SACK option.
    pub(crate) fn parse(bytes: &[u8]) -> Self {
        let mut blocks = Self::NONE;
        let (whole, rest) = bytes.as_chunks::<8>();
        if rest.is_empty() {
            for [a, b, c, d, e, f, g, h] in whole {
                blocks.push(SackBlock {
                    start: SeqNum::new(u32::from_be_bytes([*a, *b, *c, *d])),
                    end: SeqNum::new(u32::from_be_bytes([*e, *f, *g, *h])),
                });
            }
        }
        blocks
    }
}
