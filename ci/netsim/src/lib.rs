//! A deterministic world for the TCP engine: stacks, links with faults, virtual time.
//!
//! # The tour
//!
//! A [`World`] has hosts, links and one queue of events. A [`host::Host`] is a small stack around
//! the engine: it finds a packet's endpoint, keeps sockets with their buffers ([`socket`]) and runs
//! the programs that use them ([`app`]). A [`link::Link`] has a rate, a queue, a delay and faults.
//! Packets are real bytes with real checksums ([`packet`]), so that a flipped bit is found by the
//! code that finds it in production. What programs send ([`stream`]) tells whose it is and where it
//! belongs, so that every byte received is compared.
//!
//! Nothing reads a clock or a random number: one seed gives one [`trace::Trace`].
//!
//! What is done with such worlds, one file each: [`payload`], [`soak`], [`synflood`], [`table`],
//! [`example`].

#![forbid(unsafe_code)]

pub mod app;
pub mod buffer;
pub mod example;
pub mod host;
pub mod link;
pub mod packet;
pub mod passive;
pub mod payload;
pub mod random;
pub mod seeds;
pub mod soak;
pub mod socket;
pub mod stream;
pub mod synflood;
pub mod table;
pub mod trace;
pub mod world;

pub use random::Random;
pub use world::{HostId, LinkId, World};
