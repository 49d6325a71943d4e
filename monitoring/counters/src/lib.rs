//! Counters that one thread writes and any thread reads, without a locked instruction.
//!
//! Each worker owns its block; the exporter reads all blocks and adds them up. A write is a relaxed
//! load and a relaxed store, which the compiler turns into an ordinary `add`: there is no
//! read-modify-write cycle on the bus. The price is the one rule of this crate: *a block has one
//! writer*. A second writer is not unsound, but counts get lost.
//!
//! * [`Counter`]: a number that only grows.
//! * [`Gauge`]: a number that is set.
//! * [`Histogram`]: a distribution over power-of-two buckets.
//! * [`Drops`]: one counter per drop reason.
//! * [`counters!`]: a named block of counters with its table of names and help texts.
#![forbid(unsafe_code)]

mod block;
mod counter;
mod drops;
mod histogram;

pub use counter::{Counter, Gauge};
pub use drops::Drops;
pub use histogram::{Bucket, Histogram};
