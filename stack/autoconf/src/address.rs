//! One address of ours.

use core::net::Ipv6Addr;

use types::Instant;

/// What an address may be used for (RFC 4862 2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum State {
    /// Another station has it: for nothing.
    Duplicate,
    /// Nobody knows yet whether another station has it: for nothing.
    Tentative,
    /// Nobody knows yet, and it is used all the same where there is no other (RFC 4429).
    Optimistic,
    /// For what goes on, not for what begins.
    Deprecated,
    /// For everything.
    Preferred,
}

impl State {
    /// Packets may come from it and go to it.
    #[must_use]
    pub const fn is_usable(self) -> bool {
        matches!(self, Self::Optimistic | Self::Deprecated | Self::Preferred)
    }

    /// Whether another station has it is still being asked.
    #[must_use]
    pub const fn is_sought(self) -> bool {
        matches!(self, Self::Tentative | Self::Optimistic)
    }
}

/// Who wants an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The operator.
    Operator,
    /// The link: one of its own addresses.
    Link,
    /// A prefix that a router has advertised.
    Advertised,
    /// The same, and it is replaced by another from time to time (RFC 8981).
    Temporary,
}

impl Origin {
    /// A router's word has made it.
    pub(crate) const fn is_told(self) -> bool {
        matches!(self, Self::Advertised | Self::Temporary)
    }
}

/// One address of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Own {
    /// The address.
    pub address: Ipv6Addr,
    /// Prefix length.
    pub prefix_len: u8,
    /// What it may be used for.
    pub state: State,
    /// Who wants it.
    pub origin: Origin,
    /// Up to then it is there; [`Instant::FAR_FUTURE`] for ever.
    pub(crate) valid_until: Instant,
    /// Up to then it is preferred.
    pub(crate) preferred_until: Instant,
    /// No router makes it preferred, or valid, for longer.
    pub(crate) preferred_max: Instant,
    /// See there.
    pub(crate) valid_max: Instant,
    /// How many identifiers were taken before this one.
    pub(crate) tries: u8,
    pub(crate) probe: Probe,
}

/// How far the search for another station with the address is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Probe {
    /// Probes to send yet.
    pub left: u8,
    /// When the next is sent or, after the last, the address is ours; `None`: not begun.
    pub due: Option<Instant>,
    /// What they say to be known by (RFC 7527).
    pub nonce: Option<[u8; 6]>,
}

impl Own {
    /// An address that is there for ever.
    pub(crate) const fn new(address: Ipv6Addr, prefix_len: u8, origin: Origin) -> Self {
        Self {
            address,
            prefix_len,
            state: State::Tentative,
            origin,
            valid_until: Instant::FAR_FUTURE,
            preferred_until: Instant::FAR_FUTURE,
            preferred_max: Instant::FAR_FUTURE,
            valid_max: Instant::FAR_FUTURE,
            tries: 0,
            probe: Probe { left: 0, due: None, nonce: None },
        }
    }

    /// What it may be used for now that it is ours.
    pub(crate) fn lived(&self, now: Instant) -> State {
        if self.preferred_until > now { State::Preferred } else { State::Deprecated }
    }

    /// When something about it changes next.
    pub(crate) fn due(&self) -> Instant {
        let step = match self.state {
            State::Tentative | State::Optimistic => self.probe.due.unwrap_or(Instant::ZERO),
            State::Preferred => self.preferred_until,
            State::Deprecated | State::Duplicate => Instant::FAR_FUTURE,
        };
        step.min(self.valid_until)
    }
}
