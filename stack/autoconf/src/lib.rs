//! How a host configures itself, on one link, IPv6 by what it hears and IPv4 by DHCP or by itself: pure, with time and randomness as arguments.
//!
//! ```text
//!   addresses of the operator ──┐                    ┌── poll_transmit: probes, solicitations
//!   what the link says ─────────┼──►  [`Link`]  ─────┼── addresses(), routes(), mtu(), hop_limit()
//!   time ───────────────────────┘                    └── news: what to log and to announce
//! ```
//!
//! | File | What | RFC |
//! |---|---|---|
//! | `link.rs` | the link's addresses, timers, messages | |
//! | `dad.rs` | is anybody there who has the address? | 4862 5.4, 7527 |
//! | `advertisement.rs` | what routers say: themselves, prefixes, MTU, hop limit | 4861 6.3, 4191, 4862 5.5 |
//! | `router.rs` | what a router says, and when | 4861 6.2 |
//! | `stable.rs` | interface identifiers that stay and tell nothing | 7217 |
//! | `temporary.rs` | addresses that change | 8981 |
//! | `dhcp.rs` | an IPv4 address from a server | 2131, 2132 |
//! | `ipv4ll.rs` | an IPv4 address of the link's own | 3927 |
//! | `limits.rs` | each limit and its reason | |
#![forbid(unsafe_code)]
#![warn(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::arithmetic_side_effects
)]

mod address;
mod advertisement;
mod dad;
pub mod dhcp;
pub mod ipv4ll;
pub mod limits;
mod link;
mod router;
mod stable;
mod temporary;
#[cfg(test)]
mod tests;

pub use address::{Origin, Own, State};
pub use link::{Counts, Link, Message, News, Settings};
pub use stable::{Identity, link_local};
pub use temporary::Temporary;
