//! What an address pair can be, and the words the engine shares with its caller.

use core::fmt;
use core::ops::{BitOr, BitOrAssign};

use types::DropReason;

use crate::text::len_of;
use crate::{ConnectionError, HalfOpen, Listener, Tcb, TimeWait};

/// An endpoint is in exactly one of four situations, with four sizes: a listener cannot have a
/// congestion window, a half-open entry costs at most 64 bytes and TIME-WAIT at most 32.
#[derive(Debug)]
pub enum Slot {
    /// LISTEN.
    Listener(Listener),
    /// SYN-RECEIVED of a passive open.
    HalfOpen(HalfOpen),
    /// Everything between.
    Connection(Box<Tcb>),
    /// TIME-WAIT.
    TimeWait(TimeWait),
}

/// Where received text goes: a queue in shared memory in production, a `Vec` in tests.
///
/// ```text
///   delivered │ RCV.NXT                              window()
///   ──────────┼────────▒▒▒▒▒▒▒▒─────▒▒▒▒──────────────┤
///             0        write(offset, text)            free space ends
/// ```
pub trait RecvBuffer {
    /// Bytes that fit from RCV.NXT on: the free space, counted from the first byte that was not
    /// delivered yet, text stored out of order included.
    fn window(&self) -> u32;

    /// Stores text `offset` bytes after RCV.NXT and returns how many bytes, a prefix, were stored.
    /// What is not stored is not acknowledged. The same bytes may be written again.
    fn write(&mut self, offset: u32, text: &[u8]) -> u32;

    /// The same for texts each of which begins where the one before ends.
    fn write_all(&mut self, offset: u32, texts: &[&[u8]]) -> u32 {
        let mut stored = 0_u32;
        for text in texts {
            let len = self.write(offset.saturating_add(stored), text);
            stored = stored.saturating_add(len);
            if len < len_of(text) {
                break;
            }
        }
        stored
    }

    /// The first `len` bytes from RCV.NXT on are complete: hand them to the user.
    fn advance(&mut self, len: u32);

    /// The byte `offset` bytes after RCV.NXT is urgent (RFC 9293 §3.8.5). It may not have been
    /// written yet, and it stays where it is in the stream.
    fn mark_urgent(&mut self, offset: u32) {
        let _ = offset;
    }
}

/// What happened to a connection, for its user and its owner.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Events(u16);

impl Events {
    /// Nothing.
    pub const NONE: Self = Self(0);
    /// The handshake is complete.
    pub const ESTABLISHED: Self = Self(1);
    /// Text was delivered to the receive buffer.
    pub const READABLE: Self = Self(1 << 1);
    /// Text was acknowledged: the send buffer has room.
    pub const WRITABLE: Self = Self(1 << 2);
    /// The peer will send no more text.
    pub const FIN_RECEIVED: Self = Self(1 << 3);
    /// The peer reset the connection.
    pub const RESET: Self = Self(1 << 4);
    /// The peer refused the connection.
    pub const REFUSED: Self = Self(1 << 5);
    /// The peer stopped answering.
    pub const TIMED_OUT: Self = Self(1 << 6);
    /// The block can be freed as soon as `poll_transmit` returns `None`.
    pub const CLOSED: Self = Self(1 << 7);
    /// The block can be replaced by [`TimeWait::new`] as soon as `poll_transmit` returns `None`.
    pub const TIME_WAIT: Self = Self(1 << 8);
    /// The peer has announced an urgent byte: [`RecvBuffer::mark_urgent`] was called.
    pub const URGENT: Self = Self(1 << 9);

    /// What happens with each segment of a connection that is well.
    pub const ROUTINE: Self = Self(Self::READABLE.0 | Self::WRITABLE.0);

    /// Every event of `other` happened.
    #[must_use]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Some event of `other` happened.
    #[must_use]
    pub const fn intersects(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// Nothing happened.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The events of both.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// The failure among these events.
    #[must_use]
    pub const fn error(self) -> Option<ConnectionError> {
        if self.contains(Self::REFUSED) {
            Some(ConnectionError::Refused)
        } else if self.contains(Self::RESET) {
            Some(ConnectionError::Reset)
        } else if self.contains(Self::TIMED_OUT) {
            Some(ConnectionError::TimedOut)
        } else {
            None
        }
    }
}

impl BitOr for Events {
    type Output = Self;
    fn bitor(self, other: Self) -> Self {
        self.union(other)
    }
}

impl BitOrAssign for Events {
    fn bitor_assign(&mut self, other: Self) {
        *self = self.union(other);
    }
}

impl fmt::Debug for Events {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const NAMES: [(Events, &str); 10] = [
            (Events::ESTABLISHED, "ESTABLISHED"),
            (Events::READABLE, "READABLE"),
            (Events::WRITABLE, "WRITABLE"),
            (Events::FIN_RECEIVED, "FIN_RECEIVED"),
            (Events::RESET, "RESET"),
            (Events::REFUSED, "REFUSED"),
            (Events::TIMED_OUT, "TIMED_OUT"),
            (Events::CLOSED, "CLOSED"),
            (Events::TIME_WAIT, "TIME_WAIT"),
            (Events::URGENT, "URGENT"),
        ];
        let names = NAMES.iter().filter(|(event, _)| self.contains(*event)).map(|(_, name)| name);
        f.debug_set().entries(names).finish()
    }
}

/// What a segment did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Arrival {
    /// The segment, or all of its text, was dropped for this reason. Its ACK field may still have
    /// been used: look at the other members too.
    pub drop: Option<DropReason>,
    /// Text bytes newly acknowledged: release them from the front of the send buffer before the
    /// next `poll_transmit`.
    pub acked_len: u32,
    /// Text bytes handed to the user.
    pub delivered_len: u32,
    /// What happened.
    pub events: Events,
}
