//! Errors about what a socket has sent (`MSG_ERRQUEUE`).

use core::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

/// What Linux says with `struct sock_extended_err`, and what comes beside it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExtendedError {
    /// Linux's errno.
    pub errno: i32,
    /// Who says so: `SO_EE_ORIGIN_*`.
    pub origin: u8,
    /// The message's type and code.
    pub kind: (u8, u8),
    /// The MTU that was too small, or the place of what is wrong in a header.
    pub info: u32,
    /// Where it went that this is about.
    #[serde(with = "crate::address")]
    pub to: SocketAddr,
    /// Who has sent the message; of a link's own addresses, on the link that it came by.
    pub offender: Option<IpAddr>,
    /// Where the message went.
    pub local: Option<IpAddr>,
    /// The stack's number of the interface it came by.
    pub interface: u32,
    /// Its TTL and TOS.
    pub ttl_tos: Option<(u8, u8)>,
    /// When it came, in nanoseconds of `CLOCK_MONOTONIC`.
    pub at_ns: u64,
    /// What it quotes of what was sent.
    pub quoted: Vec<u8>,
}
