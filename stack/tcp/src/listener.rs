//! LISTEN and CLOSED (RFC 9293 §3.10.7.1, §3.10.7.2): segments that find no connection.

use types::DropReason;

use crate::{Flags, SegmentIn, SegmentOut};

/// A listening socket: its backlog, counted. Half-open connections and connections that wait for
/// `accept` count together, as `listen(2)` users expect.
#[derive(Clone, Copy, Debug)]
pub struct Listener {
    backlog: u32,
    pending: u32,
}

/// What to do with a segment for a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListenVerdict {
    /// An acceptable SYN: make a [`crate::HalfOpen`].
    Open,
    /// An ACK for a connection we do not have: send this RST.
    Reset(SegmentOut),
    /// Nothing to do.
    Drop(DropReason),
}

impl Listener {
    /// At most `backlog` connections may wait, at least one.
    #[must_use]
    pub const fn new(backlog: u32) -> Self {
        Self { backlog: if backlog == 0 { 1 } else { backlog }, pending: 0 }
    }

    /// SEGMENT ARRIVES in LISTEN: RST is ignored, ACK is answered with RST, SYN opens.
    #[must_use]
    pub fn segment_arrives(&self, seg: &SegmentIn<'_>) -> ListenVerdict {
        if seg.flags.contains(Flags::RST) {
            return ListenVerdict::Drop(DropReason::TcpResetUnacceptable);
        }
        if seg.flags.contains(Flags::ACK) {
            return ListenVerdict::Reset(SegmentOut::reset(seg.ack));
        }
        if !seg.flags.contains(Flags::SYN) || seg.flags.contains(Flags::FIN) {
            return ListenVerdict::Drop(DropReason::TcpFlags);
        }
        if self.pending >= self.backlog {
            return ListenVerdict::Drop(DropReason::TcpListenOverflow);
        }
        ListenVerdict::Open
    }

    /// A half-open connection was made.
    pub fn opened(&mut self) {
        self.pending = self.pending.saturating_add(1);
    }

    /// A half-open connection failed, or a connection was accepted.
    pub fn left(&mut self) {
        self.pending = self.pending.saturating_sub(1);
    }

    /// Connections that wait.
    #[must_use]
    pub const fn pending(&self) -> u32 {
        self.pending
    }

    /// Changes the backlog (`listen` on a listening socket).
    pub fn set_backlog(&mut self, backlog: u32) {
        self.backlog = backlog.max(1);
    }
}

/// The answer to a segment that belongs to no connection and no listener: a RST that its sender
/// will accept, or nothing if it is a RST itself (RFC 9293 §3.10.7.1).
#[must_use]
pub fn closed_reply(seg: &SegmentIn<'_>) -> Option<SegmentOut> {
    if seg.flags.contains(Flags::RST) {
        None
    } else if seg.flags.contains(Flags::ACK) {
        Some(SegmentOut::reset(seg.ack))
    } else {
        let ack = seg.seq + seg.len();
        Some(SegmentOut::control(crate::SeqNum::new(0), ack, Flags::RST | Flags::ACK))
    }
}
