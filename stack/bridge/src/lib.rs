//! What a bridge decides (IEEE 802.1D): where stations are, and which of its ports belong to the tree.
//!
//! * [`Table`]: stations by their addresses, as they are heard, age and move. Each worker has one.
//! * [`Change`]: what a frame's source has changed in it.
//!
//! * [`stp::Tree`]: the spanning tree, rapid and not.
//! * [`Groups`]: ports that have listeners to a group (RFC 4541).
//!
//! Time and secrets are arguments; nothing here does I/O or knows a packet buffer. Finding a station
//! allocates nothing.
#![forbid(unsafe_code)]
#![warn(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod groups;
pub mod limits;
pub mod stp;
mod table;

pub use groups::{Asked, Groups, Heard, Listeners, Listening};
pub use table::{Change, Refusal, Row, Secret, Settings, Table};
