//! Words every layer shares: time, link-layer addresses, flow keys and the names of dropped packets.
//!
//! Nothing here does I/O or knows a protocol. IP addresses are `core::net`'s.
//!
//! * [`Instant`]: a point on the monotonic clock, always passed in, never read.
//! * [`MacAddr`]: an IEEE 802 MAC-48 address.
//! * [`FlowKey`]: what identifies a transport connection.
//! * [`alike`], [`nearest`]: which name a misspelt word was meant to be.
//! * [`DropReason`]: why a packet was dropped; error value, counter, label and documentation in one.
#![forbid(unsafe_code)]

mod alike;
mod drop_reason;
mod flow;
mod mac;
mod time;

pub use alike::{alike, nearest};
pub use drop_reason::DropReason;
pub use flow::FlowKey;
pub use mac::{MacAddr, ParseMacError};
pub use time::{Instant, nanos};
