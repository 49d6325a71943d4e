//! Native networking between nodes, like Qnet: LWL4 frames on EtherType 0x8204 or IP protocol 106.
//!
//! A pure engine: frames, messages and time go in; frames and events come out. No I/O, no clock, no random
//! numbers but those made of a key that is handed in, no `unsafe`.
//!
//! | Module | What |
//! |---|---|
//! | `engine` | [`Engine`]: what comes in and goes out; discovery, connections, timers |
//! | `sender`, `receiver` | the two ends of a connection |
//! | `node` | another node and the paths to it |
//! | `inbox` | what waits to be read |
//! | [`frame`] | the LWL4 header, in both byte orders, with its checksum |
//! | [`names`] | who a node is; what a LAN resolver and an establishing sender say |
//! | [`kif`] | messages between a client and a server |
//! | [`limits`] | every limit, with the reason for the number |
//!
//! No frame makes this crate panic; what a peer can make it keep has a limit.
#![forbid(unsafe_code)]
#![warn(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::arithmetic_side_effects
)]

mod config;
mod crc;
mod discard;
mod engine;
pub mod frame;
mod inbox;
pub mod kif;
pub mod limits;
pub mod names;
mod node;
mod receiver;
mod rtt;
mod sender;

pub use config::{Address, Config, Link, LinkId, Policy, Transmit};
pub use discard::Discard;
pub use engine::{Engine, Event, PathState, SendError, Usage};
pub use frame::{ETHERTYPE, Frame, HEADER_LEN, Header, IP_PROTOCOL, Kind, Layer, Order};
pub use kif::Kif;
pub use names::{Fqnn, Greeting, LanMessage};
pub use node::NodeId;
