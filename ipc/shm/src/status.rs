//! What a socket's cell says about it.

use core::ops::BitOr;

/// Status bits of a socket, written by its worker.
///
/// `EOF` is set after the last byte has been published, so a client that has seen it and then finds
/// the queue empty has read everything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Status(u32);

impl Status {
    /// The connection is established (UDP: `connect` has been called).
    pub const CONNECTED: Self = Self(1);
    /// The peer has sent FIN: nothing follows what has been published.
    pub const EOF: Self = Self(1 << 1);
    /// The connection is gone in both directions: reset, refused, timed out.
    pub const CLOSED: Self = Self(1 << 2);
    /// A listener has connections to accept. The worker sets it before the token and clears it
    /// before it answers the accept that took the last one.
    pub const ACCEPTABLE: Self = Self(1 << 3);

    /// Both directions are over, however it came to that: the token that is in the descriptor stays there.
    pub const GONE: Self = Self(1 << 4);

    /// Beside `CONNECTED`: the user may write, but the handshake is not over. The SYN waits for text, or has
    /// taken it along (Fast Open).
    pub const OPENING: Self = Self(1 << 5);

    /// Errors about what the socket has sent wait for its user (`MSG_ERRQUEUE`).
    pub const ERRORS: Self = Self(1 << 6);

    /// No bit.
    #[must_use]
    pub const fn empty() -> Self {
        Self(0)
    }

    /// Are all bits of `other` set?
    #[must_use]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Without the bits of `other`.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    pub(crate) const fn bits(self) -> u32 {
        self.0
    }

    pub(crate) const fn from_bits(bits: u32) -> Self {
        Self(bits)
    }
}

impl BitOr for Status {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}
