//! Who on this host listens to which groups, and what a link is told of it: pure, with time and randomness
//! as arguments.
//!
//! * [`Filter`]: from which sources a group is wanted; several make one (RFC 3376 3.2, RFC 3810 4.2).
//! * [`Host`]: a link's listener. IGMPv3 and MLDv2 say the same in two formats, so one engine speaks both;
//!   it falls back to what routers of IGMPv2 and MLDv1 understand.
#![forbid(unsafe_code)]
#![warn(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::arithmetic_side_effects
)]

mod filter;
mod host;
pub mod limits;
#[cfg(test)]
mod tests;

pub use filter::{Filter, Mode};
pub use host::{Host, Query, Record, RecordKind, Report};
